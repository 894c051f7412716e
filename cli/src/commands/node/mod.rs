//! `node run`.

mod commands;
mod report;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_signal::{Signal, Signals};
use clawgate_core::client::{Disconnected, Ending, PauseReason, Profile, Target as ClientTarget};
use clawgate_core::credentials::{NodeScheme, Surface};
use clawgate_core::node::{DeviceFacts, NodeHost, NodeOptions};
use clawgate_core::protocol::Role;
use clawgate_std::{ClientOptions, Node, NodeEnd, NodeEvent, NodeSetup, NodeStop};
use futures_lite::StreamExt;
use serde_json::json;

use self::report::Report;
use crate::args::PlaceArgs;
use crate::commands::devices::join;
use crate::context::Context;
use crate::device::DeviceFiles;
use crate::device_args::{JoinArgs, RoleArg};
use crate::dial;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::node_args::NodeRunArgs;
use crate::target::{self, Resolved, TargetFlags};
use crate::{private_file, refusal, text};

/// Time for one attempt to connect.
const CONNECT: Duration = Duration::from_secs(15);
/// The longest name of a node.
const MAX_NAME: usize = 64;

pub(super) fn run(args: NodeRunArgs, context: &Context) -> Result<Exit, Failure> {
    let places = context.locations()?;
    let node = &context.client_config()?.node;
    let offered = commands::collect(&args, node, &context.env)?;
    let _lock = lock(&places.own.join("node.lock"))?;
    let url = match &args.pair {
        Some(code) => Some(pair(code, &args, context)?),
        None => args.url.clone(),
    };
    let resolved = target::find(Surface::NodeHost, &flags(&args, url)?, context)?;
    let files = resolved
        .device
        .clone()
        .unwrap_or_else(|| DeviceFiles::of(places, None));
    let identity = files.identity_or_new()?;
    let mut info = dial::node_info();
    if let Some(name) = &args.display_name {
        info.display_name = Some(text::plain(name).trim().chars().take(MAX_NAME).collect());
    }
    let options = NodeOptions {
        node_id: identity.id().as_str().to_owned(),
        facts: DeviceFacts {
            name: info.display_name.clone().unwrap_or_default(),
            system: info.platform.clone(),
            system_version: commands::system_version(),
            model: std::env::consts::ARCH.to_owned(),
            version: info.version.clone(),
            locale: locale(context),
        },
        approvals_path: places.exec_approvals_file().display().to_string(),
        commands: offered,
        ..NodeOptions::default()
    };
    let profile = Profile {
        caps: options.commands.caps(),
        commands: options.commands.names(),
        path_env: context.env.get("PATH").map(str::to_owned),
        ..Profile::node(info, Arc::clone(&identity))
    };
    let target = dial::first_use(ClientTarget::from(&resolved.target), &resolved, CONNECT)
        .map_err(|error| error.explain(&resolved))?;
    let mut report = Report::new(context.format, &resolved, &options);
    let (node, stop) = Node::new(NodeSetup {
        target: target.clone(),
        profile,
        client: ClientOptions::default(),
        host: NodeHost::new(options),
        approvals: places.exec_approvals_file(),
        home: places.state.clone(),
    });
    stop_on_signal(stop)?;
    let who = (&*identity, Role::Node);
    let end = node
        .run(|event| {
            match &event {
                NodeEvent::Connected(hello) => {
                    if let Some(issued) = &hello.device_token {
                        files.remember(target.route(), who, issued);
                    }
                }
                NodeEvent::ForgetDeviceToken => {
                    let auth = resolved.target.auth();
                    let stored = auth
                        .device_token()
                        .or_else(|| auth.device_token_for_retry());
                    if let Some(stored) = stored {
                        files.forget(target.route(), who, stored);
                    }
                }
                NodeEvent::Disconnected { .. } | NodeEvent::Notice(_) | NodeEvent::Warning(_) => {}
            }
            report.tell(&event);
        })
        .map_err(|error| {
            Failure::new(
                Exit::Failed,
                "system",
                format!("The node could not be started: {error}."),
                "Look at the limits of this machine.",
            )
        })?;
    match end {
        NodeEnd::Stopped => {
            report.stopped();
            Ok(Exit::Ok)
        }
        NodeEnd::Refused(why, reason) => Err(refused(&why, &reason, &resolved)),
    }
}

/// What the flags say of the target.
fn flags(args: &NodeRunArgs, url: Option<String>) -> Result<TargetFlags, Failure> {
    let scheme = if args.tls {
        NodeScheme::Tls
    } else {
        NodeScheme::Default
    };
    let place = PlaceArgs {
        url,
        port: args.port,
        secrets: args.secrets.clone(),
        no_auth: false,
        tls_fingerprint: args.tls_fingerprint.clone(),
        pin_on_first_use: args.pin_on_first_use,
    };
    let flags = TargetFlags::of_place(place, CONNECT)?;
    Ok(flags.for_node(args.host.clone(), scheme))
}

/// Joins, and gives the gateway's URL.
fn pair(code: &str, args: &NodeRunArgs, context: &Context) -> Result<String, Failure> {
    let joined = join::join(
        &JoinArgs {
            code: code.to_owned(),
            role: RoleArg::Node,
            scopes: None,
            url: args.url.clone(),
            tls_fingerprint: args.tls_fingerprint.clone(),
            timeout: CONNECT,
        },
        context,
    )?;
    Ok(joined.endpoint.url())
}

/// Two nodes with one device would throw each other out.
fn lock(path: &Path) -> Result<File, Failure> {
    let fail = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            "state_unusable",
            format!("The lock {} cannot be used: {error}.", path.display()),
            "Check the permissions of the state folder.",
        )
    };
    if let Some(folder) = path.parent() {
        private_file::make_folder(folder).map_err(fail)?;
    }
    let file = private_file::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            Exit::Failed,
            "node_running",
            "A node of this instance is already running.",
            "Stop it first, or run this one with --profile NAME.",
        )
        .fact("lock", json!(path.to_string_lossy()))),
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// The first signal begins the orderly end; the second one ends at once.
fn stop_on_signal(stop: NodeStop) -> Result<(), Failure> {
    let fail = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            "system",
            format!("Signals cannot be waited for: {error}."),
            "",
        )
    };
    let mut signals = Signals::new([Signal::Int, Signal::Term]).map_err(fail)?;
    thread::Builder::new()
        .name("clawgate-signals".into())
        .spawn(move || {
            smol::block_on(async {
                while signals.next().await.is_some() {
                    stop.stop();
                    if signals.next().await.is_some() {
                        std::process::exit(130);
                    }
                }
            });
        })
        .map_err(fail)?;
    Ok(())
}

fn locale(context: &Context) -> Option<String> {
    let names = ["LC_ALL", "LANG"];
    let value = names.iter().find_map(|name| context.env.non_blank(name))?;
    let name = value.split(['.', '@']).next()?.replace('_', "-");
    (!matches!(name.as_str(), "C" | "POSIX")).then_some(name)
}

fn refused(why: &Disconnected, reason: &PauseReason, resolved: &Resolved) -> Failure {
    let about_auth = ["AUTH_", "DEVICE_", "PAIRING_", "CONTROL_UI_"]
        .iter()
        .any(|start| reason.code.starts_with(start));
    let (exit, code, next) = if about_auth {
        let next = target::correct_credential(&resolved.target);
        (Exit::Unauthorised, "unauthorised", next)
    } else if reason.code == "DIAL_FAILED" {
        let next = "`clawgate gateway probe` with the same target shows more.".to_owned();
        (Exit::Unreachable, "unreachable", next)
    } else {
        let next = "Update the older of the two sides, or look at the gateway's log.".to_owned();
        (Exit::Refused, "refused", next)
    };
    let url = resolved.target.endpoint().url();
    let words = reason.message.trim_end_matches('.');
    let message = format!("{url} does not let this node in: {words}.");
    let failure = Failure::new(exit, code, message, next).fact("reason", json!(reason.code));
    let failure = match why {
        Disconnected::Conn(Ending::Refused(error)) => failure.fact("rpc", json!(error)),
        Disconnected::Conn(_) | Disconnected::Dial(_) | Disconnected::DialTimeout => failure,
    };
    target::with_chain(failure, &resolved.why).without(&refusal::sent(resolved))
}

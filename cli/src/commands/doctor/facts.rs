//! What this machine says: files, environment, programs, ports.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clawgate_core::channel::{BuiltChannels, Channels};
use clawgate_core::config::ConfigFile;
use clawgate_core::config::paths::Locations;
use clawgate_core::credentials::{RefAccess, shown_refs, wanted_refs};
use clawgate_core::doctor::{self, Area, Database, Debris, Finding, Program};
use clawgate_core::policy::audit::Severity;
use clawgate_core::policy::port::gateway_port;
use clawgate_core::tunnel::{FOLDERS, PROGRAM};
use clawgate_smol::Tailscale;
use clawgate_smol::store::{self, Checked};
use clawgate_std::system_program;

use crate::commands::gateway_service::survey;
use crate::commands::security;
use crate::context::Context;
use crate::port_holder;
use crate::references::with_references;
use crate::run::{LOCK, SOCKET, running_gateway};
use crate::target::TargetFlags;

pub(super) fn of_this_machine(flags: &TargetFlags, context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    match context.config_file() {
        Ok(file) => of_config(file, context, &mut findings),
        Err(failure) => {
            let code = match failure.code {
                "config_invalid" => "config.syntax",
                "config_missing" => "config.named_file_missing",
                "config_unreadable" => "config.unreadable",
                _ => "config.no_home",
            };
            findings.push(Finding::new(
                (Area::Config, code),
                Severity::Critical,
                failure.message,
                failure.next,
            ));
        }
    }
    if let Ok(places) = context.locations() {
        of_state(places, &mut findings);
        if let (Ok(file), false) = (context.config_file(), flags.is_explicit()) {
            findings.extend(port(file, places, context));
            service(file, context, &mut findings);
        }
    }
    findings
}

fn of_config(file: &ConfigFile, context: &Context, findings: &mut Vec<Finding>) {
    findings.extend(doctor::config(file));
    let shown = with_references(&file.config.secrets, &context.env, |values| {
        let access = RefAccess::Available(values);
        (
            shown_refs(&file.config, &context.env, access),
            wanted_refs(&file.config, &context.env, access),
        )
    });
    findings.extend(doctor::references(&shown));
    findings.extend(accounts(file, context));
    findings.extend(doctor::precedence(&context.env, &file.config));
    // It looks at the same config and places, which are there.
    let audit = security::findings(context).unwrap_or_default();
    findings.extend(audit.into_iter().map(doctor::of_audit));
    findings.extend(doctor::programs(file, &tailscale(), &ssh()));
}

/// Accounts of channels that cannot run, most often for want of a secret.
fn accounts(file: &ConfigFile, context: &Context) -> Vec<Finding> {
    let channels = with_references(&file.config.secrets, &context.env, |values| {
        let refs = RefAccess::Available(values);
        // Nothing is run, so nothing has to be spread.
        let seed = [0; 32];
        let BuiltChannels { channels, wanted } =
            Channels::build(&file.config, &context.env, refs, seed);
        (channels, wanted)
    });
    let broken = channels.accounts().iter().filter(|(_, it)| it.enabled);
    broken
        .filter_map(|(name, account)| {
            let why = account.machine.as_ref().err()?;
            Some(Finding::new(
                (Area::Config, "config.account_unusable"),
                Severity::Warn,
                format!("The channel account {name} does not run: {why}."),
                "Correct it in the config, or set its enabled to false.",
            ))
        })
        .collect()
}

fn tailscale() -> Program {
    match Tailscale::of_system().program() {
        Ok(path) => Program::Found(path),
        Err(error) => Program::Absent(error.to_string()),
    }
}

fn ssh() -> Program {
    match system_program(FOLDERS, PROGRAM) {
        Ok(path) => Program::Found(path),
        Err(why) => Program::Absent(why.to_string()),
    }
}

/// Who is where this machine's gateway would listen, if it does not run.
fn port(file: &ConfigFile, places: &Locations, context: &Context) -> Option<Finding> {
    let gateway = &file.config.gateway;
    if gateway.mode.is_remote() || running_gateway(&places.own).is_some() {
        return None;
    }
    let port = gateway_port(None, &context.env, gateway.port, &context.profile).port;
    let holder = port_holder::find(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Some(doctor::port_held(port, &holder.words()))
}

/// The installed service beside this shell.
fn service(file: &ConfigFile, context: &Context, findings: &mut Vec<Finding>) {
    let gateway = &file.config.gateway;
    if gateway.mode.is_remote() {
        return;
    }
    let port = gateway_port(None, &context.env, gateway.port, &context.profile).port;
    let survey = survey::look(context, port);
    findings.extend(
        survey
            .drifts()
            .map(|(code, message)| doctor::service_drift(code, message)),
    );
    findings.extend(survey.rival().map(doctor::other_service));
}

fn of_state(places: &Locations, findings: &mut Vec<Finding>) {
    let path = places.own.join(store::FILE_NAME);
    let database = match store::check_database(&path) {
        Checked::Absent => Database::Absent,
        Checked::Sound => Database::Sound,
        Checked::Damaged(why) => Database::Damaged(why),
        Checked::Unusable(why) => Database::Unusable(why),
    };
    findings.extend(doctor::database(&path.to_string_lossy(), &database));
    let set_aside = store::set_aside_files(&path).unwrap_or_default();
    let debris = set_aside
        .into_iter()
        .map(Debris::SetAside)
        .chain(stale_lock(&places.own))
        .chain(stale_socket(&places.own))
        .chain(halves(&places.own))
        .chain(halves(&places.state));
    findings.extend(debris.map(doctor::debris));
}

/// A lock file whose process is gone. The lock itself went with the process.
fn stale_lock(own: &Path) -> Option<Debris> {
    let path = own.join(LOCK);
    let text = fs::read_to_string(&path).ok()?;
    let holder: serde_json::Value = serde_json::from_str(&text).ok()?;
    let pid = holder.get("pid")?.as_u64()?;
    let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0)?;
    running_gateway(own)
        .is_none()
        .then_some(Debris::Lock { path, pid })
}

#[cfg(unix)]
fn stale_socket(own: &Path) -> Option<Debris> {
    use std::os::unix::net::UnixStream;

    let path = own.join(SOCKET);
    let refused = UnixStream::connect(&path).err()?.kind() == io::ErrorKind::ConnectionRefused;
    (refused && running_gateway(own).is_none()).then_some(Debris::Socket(path))
}

#[cfg(not(unix))]
fn stale_socket(_: &Path) -> Option<Debris> {
    None
}

/// Files that are named after the process which was to finish them, and that is gone.
fn halves(folder: &Path) -> Vec<Debris> {
    let processes = Path::new("/proc/self");
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter(|entry| {
            let name = entry.file_name();
            let pid = name
                .to_str()
                .and_then(|name| name.strip_suffix(".new")?.rsplit_once('.'))
                .and_then(|(_, pid)| pid.parse::<u32>().ok());
            pid.is_some_and(|pid| {
                processes.exists() && !Path::new("/proc").join(pid.to_string()).exists()
            })
        })
        .map(|entry| entry.path())
        .collect();
    paths.into_iter().map(Debris::Half).collect()
}

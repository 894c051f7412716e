//! `tunnel`: SSH tunnels of an instance.

mod check;
mod down;
mod install;
mod keep;
mod service;
mod status;
mod uninstall;
mod up;

use clawgate_core::credentials::{SshFlags, configured_tunnel};
use clawgate_core::tunnel::{TunnelFailure, TunnelSpec};
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::tunnel_args::{TunnelCommand, TunnelPlaceArgs, text_of};
use crate::{refusal, target};

pub(super) fn run(
    command: TunnelCommand,
    context: impl FnOnce() -> Result<Context, Failure>,
) -> Result<Exit, Failure> {
    match command {
        TunnelCommand::Up(args) => up::run(&args, &context()?),
        TunnelCommand::Status => status::run(&context()?),
        TunnelCommand::Down => down::run(&context()?),
        TunnelCommand::Install(args) => install::run(&args, &context()?),
        TunnelCommand::Uninstall => uninstall::run(&context()?),
        TunnelCommand::Keep => keep::run(),
        TunnelCommand::Child { parent, command } => Err(keep::become_child(parent, &command)),
    }
}

/// The tunnel that config and flags describe.
fn spec(args: &TunnelPlaceArgs, context: &Context) -> Result<TunnelSpec, Failure> {
    let identity = text_of(args.ssh.ssh_identity.as_ref());
    let flags = SshFlags {
        target: args.ssh.ssh.as_deref(),
        identity: identity.as_deref(),
    };
    let config = context.target_config()?;
    let mut spec = configured_tunnel(flags, &config, &context.env)
        .map_err(|error| target::bare_failure(&error))?;
    spec.remote_port = args.remote_port.unwrap_or(spec.remote_port);
    spec.local_port = args.local_port.unwrap_or(spec.local_port);
    Ok(spec)
}

/// A tunnel that is not there, in words.
fn explained(failure: &TunnelFailure, spec: &TunnelSpec) -> Failure {
    let (exit, code) = refusal::of_tunnel(failure);
    Failure::new(exit, code, failure.message(spec), failure.next_step(spec)).fact(
        "tunnel",
        json!({ "target": spec.target.to_string(), "remotePort": spec.remote_port }),
    )
}

//! `tunnel`: SSH tunnels of an instance.

mod down;
mod keep;
mod status;
mod up;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::tunnel_args::TunnelCommand;

pub(super) fn run(
    command: TunnelCommand,
    context: impl FnOnce() -> Result<Context, Failure>,
) -> Result<Exit, Failure> {
    match command {
        TunnelCommand::Up(args) => up::run(&args, &context()?),
        TunnelCommand::Status => status::run(&context()?),
        TunnelCommand::Down => down::run(&context()?),
        TunnelCommand::Keep => keep::run(),
        TunnelCommand::Child { parent, command } => Err(keep::become_child(parent, &command)),
    }
}

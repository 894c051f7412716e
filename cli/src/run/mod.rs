//! `gateway run`.

use crate::args::GatewayRunArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// Always: this build has no gateway in it.
pub(crate) fn gateway_run(args: GatewayRunArgs, context: &Context) -> Result<(), Failure> {
    let _ = (args, context);
    Err(Failure::new(
        Exit::Failed,
        "not_implemented",
        "This build cannot run a gateway.",
        "Use a build with the gateway in it.",
    ))
}

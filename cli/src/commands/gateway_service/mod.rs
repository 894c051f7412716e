//! The gateway as a service of the user: install it, look at it, start and stop it.

mod control;
mod describe;
mod drift;
mod install;
mod signal;
pub(super) mod survey;

use clawgate_core::config::ModeSetting;
use serde_json::json;

pub(super) use control::{restart, start, stop, uninstall};
pub(super) use install::install;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::service_args::LocalArgs;

/// Commands about services are about this machine. Where the configured gateway is another one, nobody
/// should stop this one by mistake.
fn local_only(local: LocalArgs, context: &Context) -> Result<(), Failure> {
    let remote = context
        .config_file()
        .is_ok_and(|file| file.config.gateway.mode == ModeSetting::Remote);
    if !remote || local.local {
        return Ok(());
    }
    let config = context.locations()?.config.clone();
    Err(Failure::new(
        Exit::Configuration,
        "remote_mode",
        format!(
            "The configured gateway is a remote one (gateway.mode is \"remote\" in {}); this command \
             is about a service of this machine, and has left it alone.",
            config.display()
        ),
        "Pass --local to mean this machine's service, or run the command on the gateway's machine.",
    )
    .fact("file", json!(config)))
}

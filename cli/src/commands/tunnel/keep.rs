//! The two programs behind tunnels: the one that holds one in the background, and the step between it and
//! `ssh`.

use std::ffi::OsString;
use std::io::{self, Read};
use std::thread;

use async_signal::{Signal, Signals};
use clawgate_std::{Hold, HoldEnd, HoldRequest, Stopper, run_as_child};
use futures_lite::StreamExt;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::tunnels;

/// The longest description of a tunnel.
const MAX_REQUEST: u64 = 64 * 1024;

/// Holds a tunnel that standard input describes. Nobody reads what this would print: the record of the
/// tunnel tells.
pub(super) fn run() -> Result<Exit, Failure> {
    // The terminal from which somebody started a command is not this one's: it outlives it.
    #[cfg(unix)]
    let _ = rustix::process::setsid();
    let mut text = String::new();
    io::stdin()
        .take(MAX_REQUEST)
        .read_to_string(&mut text)
        .map_err(|error| broken(&error))?;
    let request: HoldRequest =
        serde_json::from_str(&text).map_err(|error| broken(&error.into()))?;
    let (hold, stopper) =
        Hold::new(request.launched_by(tunnels::launcher())).map_err(|error| broken(&error))?;
    stop_on_signals(stopper)?;
    match hold.run(|_, _| {}).map_err(|error| broken(&error))? {
        HoldEnd::HeldElsewhere | HoldEnd::Idle | HoldEnd::Stopped => Ok(Exit::Ok),
        HoldEnd::GaveUp(_) => Ok(Exit::Unreachable),
    }
}

/// Ends a tunnel in good order when this process is asked to end.
pub(super) fn stop_on_signals(stopper: Stopper) -> Result<(), Failure> {
    let mut signals =
        Signals::new([Signal::Int, Signal::Term, Signal::Hup]).map_err(|error| broken(&error))?;
    thread::Builder::new()
        .name("clawgate-signals".into())
        .spawn(move || {
            smol::block_on(async {
                while signals.next().await.is_some() {
                    stopper.stop();
                }
            });
        })
        .map_err(|error| broken(&error))?;
    Ok(())
}

/// Becomes `ssh`, bound to the process that holds the tunnel.
pub(super) fn become_child(parent: u32, command: &[OsString]) -> Failure {
    broken(&run_as_child(parent, command))
}

pub(super) fn broken(error: &io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "tunnel_not_held",
        format!("The tunnel cannot be held: {error}."),
        "Check the permissions of the state folder; `clawgate config path` shows it.",
    )
}

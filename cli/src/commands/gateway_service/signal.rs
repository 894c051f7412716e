//! Telling a gateway that runs by hand to end or to start anew, and waiting until it has.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::run::{Holder, Phase, lock_holder};

/// How long a gateway may take to end, or to start anew.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(25);

/// What a gateway is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word {
    /// To end in order.
    End,
    /// To start anew without closing its port.
    Restart,
}

/// Tells the process. The lock proves that it is a gateway of this state.
pub(super) fn send(holder: &Holder, word: Word) -> Result<(), Failure> {
    let sent = deliver(holder.pid, word);
    sent.map_err(|error| {
        Failure::new(
            Exit::Failed,
            "signal_failed",
            format!("Process {} cannot be told anything: {error}.", holder.pid),
            "It may be another user's: log in as that user.",
        )
        .fact("pid", json!(holder.pid))
    })
}

#[cfg(unix)]
fn deliver(pid: u32, word: Word) -> std::io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(std::io::ErrorKind::InvalidInput)?;
    let signal = match word {
        Word::End => Signal::TERM,
        Word::Restart => Signal::USR2,
    };
    Ok(kill_process(pid, signal)?)
}

#[cfg(not(unix))]
fn deliver(_pid: u32, _word: Word) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Waits until nobody holds the state.
pub(super) fn until_gone(own: &Path, pid: u32) -> Result<(), Failure> {
    wait(
        || {
            lock_holder(own)
                .is_none_or(|holder| holder.pid != pid)
                .then_some(Ok(()))
        },
        pid,
    )
}

/// Waits until a gateway serves that began after this one.
pub(super) fn until_anew(own: &Path, before: &Holder) -> Result<Holder, Failure> {
    wait(
        || match lock_holder(own) {
            Some(holder) if holder.since != before.since && holder.phase == Phase::Serving => {
                Some(Ok(holder))
            }
            Some(holder) if holder.since == before.since => {
                let new = holder
                    .not_restarted
                    .filter(|why| before.not_restarted.as_ref() != Some(why))?;
                Some(Err(Failure::new(
                    Exit::Configuration,
                    "restart_refused",
                    format!("The gateway would not start anew, so it goes on as it is: {new}"),
                    "Correct that, then try again; `clawgate gateway run --check` tries it too.",
                )))
            }
            Some(_) => None,
            None => None,
        },
        before.pid,
    )
}

fn wait<T>(mut look: impl FnMut() -> Option<Result<T, Failure>>, pid: u32) -> Result<T, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        if begun.elapsed() >= PATIENCE {
            return Err(Failure::new(
                Exit::TimedOut,
                "gateway_timeout",
                format!(
                    "The gateway (process {pid}) has not done so within {} s.",
                    PATIENCE.as_secs()
                ),
                "Look at its log: gateway.log in its folder, or `clawgate logs`.",
            )
            .fact("pid", json!(pid)));
        }
        thread::sleep(POLL);
    }
}

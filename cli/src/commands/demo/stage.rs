//! What the demo waits for: lines of its processes, the connection, and Ctrl-C, in one queue.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use clawgate_core::frame::RawJson;
use clawgate_std::{CallError, ClientEvent};
use futures_lite::StreamExt;

use crate::exit::Exit;
use crate::failure::Failure;

/// Who is on stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Gateway,
    Node,
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Heard {
    /// A call has ended.
    Answer(&'static str, Result<RawJson, CallError>),
    /// The connection of the one who asks.
    Client(ClientEvent),
    /// A process ended its output.
    Ended(Who),
    /// Ctrl-C, or a request to stop.
    Interrupt,
    /// The bot said this in the chat; or why it did not.
    Chat(Result<String, String>),
    /// A process printed a line.
    Said(Who, String),
}

/// The queue. Everything in it has the time at which it came.
#[derive(Debug)]
pub(super) struct Stage {
    sender: Sender<(Instant, Heard)>,
    heard: Receiver<(Instant, Heard)>,
    end: Instant,
}

impl Stage {
    pub(super) fn new(end: Instant) -> Result<Self, Failure> {
        let (sender, heard) = channel();
        let stage = Self { sender, heard, end };
        let mut signals = Signals::new(stops()).map_err(|error| system(&error.to_string()))?;
        let to = stage.sender.clone();
        spawn("clawgate-signals", move || {
            smol::block_on(async {
                while signals.next().await.is_some() {
                    let _ = to.send((Instant::now(), Heard::Interrupt));
                }
            });
        })?;
        Ok(stage)
    }

    /// Where what happens is put.
    pub(super) fn teller(&self) -> impl Fn(Heard) + Clone + Send + 'static {
        let to = self.sender.clone();
        // Nobody listens any more when this fails.
        move |heard| drop(to.send((Instant::now(), heard)))
    }

    /// Waits for the first thing of which `wanted` makes something.
    ///
    /// # Errors
    /// On Ctrl-C, at the end of a process, when the time is over, and as `wanted` says.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        mut wanted: impl FnMut(Instant, Heard) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok((_, Heard::Interrupt)) => {
                    return Err(Failure::new(
                        Exit::Interrupted,
                        "interrupted",
                        "Interrupted; nothing was left behind.",
                        "",
                    ));
                }
                Ok((_, Heard::Ended(who))) => {
                    let name = match who {
                        Who::Gateway => "gateway",
                        Who::Node => "node",
                    };
                    return Err(Failure::new(
                        Exit::Failed,
                        "demo_process_ended",
                        format!("The {name} of the demo ended by itself."),
                        "Its last words are below.",
                    ));
                }
                Ok((at, heard)) => {
                    if let Some(found) = wanted(at, heard)? {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(
                        Exit::TimedOut,
                        "timeout",
                        format!("This did not happen in time: {what}."),
                        "Try again when the machine is less busy.",
                    ));
                }
            }
        }
    }

    /// Waits until a process has ended its output. Gives up after a while, and at once on Ctrl-C.
    pub(super) fn wait_for_end(&self, who: Who, at_most: Duration) {
        let end = Instant::now() + at_most;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok((_, Heard::Ended(ended))) if ended == who => return,
                Ok((_, Heard::Interrupt)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

#[cfg(unix)]
fn stops() -> Vec<Signal> {
    vec![Signal::Int, Signal::Term, Signal::Hup]
}

#[cfg(not(unix))]
fn stops() -> Vec<Signal> {
    vec![Signal::Int, Signal::Term]
}

pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| system(&error.to_string()))
}

pub(super) fn system(why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        "system",
        format!("The demo could not be started: {why}."),
        "Look at the limits of this machine.",
    )
}

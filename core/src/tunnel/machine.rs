//! When `ssh` is started, looked at, stopped, and started again.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::failure::{FailureKind, Mending, TunnelFailure};
use super::spec::KeepAlive;
use crate::client::{Backoff, RetryHint};
use crate::rng::{Rng, Seed};

/// How often the listener is looked for while `ssh` logs in (spec hostpolicy §7).
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long `ssh` may take to end before it is killed (spec hostpolicy §7).
pub const KILL_AFTER: Duration = Duration::from_millis(1500);

/// A tunnel that stood for so long was a good one: the next attempt after it comes soon.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// The longest pause while somebody waits.
const WANTED: Duration = Duration::from_secs(1);

/// Bytes that are kept of what `ssh` says; the end counts.
const MAX_STDERR: usize = 16 * 1024;

/// Ports that are tried one after the other when each is taken from under `ssh`.
const PORT_ATTEMPTS: u32 = 3;

/// What becomes of a tunnel whose first attempt fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It is given up: somebody waits for an answer.
    FirstMustSucceed,
    /// It is tried again like a lost one.
    Retry,
}

/// How a tunnel is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelSettings {
    /// The local port that is wanted.
    pub local_port: u16,
    /// How soon silence counts as a loss. It is only handed through, to the command line of `ssh`.
    pub keep_alive: KeepAlive,
    /// How long one attempt may take until `ssh` listens.
    pub ready_within: Duration,
    /// What becomes of it when the first attempt fails.
    pub patience: Patience,
}

impl TunnelSettings {
    /// 15 s for an attempt, and the keep-alives of spec hostpolicy §7.
    pub fn new(local_port: u16, patience: Patience) -> Self {
        Self {
            local_port,
            keep_alive: KeepAlive::default(),
            ready_within: Duration::from_secs(15),
            patience,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ssh exited with code {code}"),
            Self::Signal(signal) => write!(f, "ssh was ended by signal {signal}"),
            Self::Unknown => f.write_str("ssh ended"),
        }
    }
}

/// Who listens on the port that `ssh` was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// That very `ssh`.
    Ours,
    /// Nobody yet.
    Nobody,
    /// Somebody else.
    Stranger,
}

/// What the host is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See whether the wanted port of 127.0.0.1 is free, and find one that is: then
    /// [`Tunnel::handle_ports`].
    FindPort {
        /// The wanted one.
        wanted: u16,
    },
    /// Start `ssh` for this local port: then [`Tunnel::handle_started`] or
    /// [`Tunnel::handle_start_failed`].
    Start {
        /// The port.
        port: u16,
    },
    /// Find out who listens on the port: then [`Tunnel::handle_listener`].
    Look {
        /// The port.
        port: u16,
    },
    /// Ask `ssh` to end (`SIGTERM`).
    Terminate,
    /// End it (`SIGKILL`).
    Kill,
}

/// What became of the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `ssh` was started.
    Opening {
        /// For this local port.
        port: u16,
    },
    /// It can be used.
    Open {
        /// On this local port.
        port: u16,
    },
    /// It stands, and a connection through it came to nothing on the other side.
    Trouble(TunnelFailure),
    /// It is not there, and is tried again.
    Lost {
        /// Why.
        failure: TunnelFailure,
        /// When.
        again_in: Duration,
    },
    /// It is over, since time does not mend it.
    GaveUp(TunnelFailure),
    /// It is over, as was asked.
    Stopped,
}

/// Why an `ssh` is being ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum After {
    Fail(TunnelFailure),
    Stop,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Finding,
    Starting {
        port: u16,
    },
    Opening {
        port: u16,
        end: Instant,
        look_at: Instant,
        seen: Listener,
    },
    Open {
        port: u16,
        since: Instant,
    },
    Ending {
        port: u16,
        kill_at: Option<Instant>,
        after: After,
    },
    Waiting {
        until: Instant,
    },
    Over,
}

/// One tunnel that is held. Like the other machines it does nothing itself: the host does what
/// [`Tunnel::poll_action`] says, and tells what came of it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use clawgate_core::tunnel::{
///     Action, Event, Exit, LOOK_EVERY, Listener, Patience, Tunnel, TunnelSettings,
/// };
///
/// let start = Instant::now();
/// let mut tunnel = Tunnel::new(TunnelSettings::new(18789, Patience::Retry), [7; 32]);
/// assert_eq!(tunnel.poll_action(), Some(Action::FindPort { wanted: 18789 }));
///
/// // Somebody has that port: another one is taken.
/// tunnel.handle_ports(start, None, Some(50_123));
/// assert_eq!(tunnel.poll_action(), Some(Action::Start { port: 50_123 }));
/// tunnel.handle_started(start);
///
/// // Nothing is sent before the listener is known to be ours.
/// let at = tunnel.poll_timeout().unwrap();
/// tunnel.handle_timeout(at);
/// assert_eq!(tunnel.poll_action(), Some(Action::Look { port: 50_123 }));
/// tunnel.handle_listener(at, Listener::Ours);
/// assert_eq!(tunnel.poll_event(), Some(Event::Opening { port: 50_123 }));
/// assert_eq!(tunnel.poll_event(), Some(Event::Open { port: 50_123 }));
///
/// // A network that goes away is waited for, with longer and longer pauses.
/// tunnel.handle_stderr("Timeout, server studio not responding.");
/// tunnel.handle_exit(at, Exit::Code(255));
/// let Some(Event::Lost { again_in, .. }) = tunnel.poll_event() else { panic!() };
/// assert!(again_in <= Duration::from_secs(1));
/// assert_eq!(tunnel.poll_timeout(), Some(at + again_in));
/// ```
#[derive(Debug)]
pub struct Tunnel {
    settings: TunnelSettings,
    state: State,
    backoff: Backoff,
    stderr: String,
    /// The port that was used last: whoever has its address finds it again.
    last_port: u16,
    ports_lost: u32,
    was_open: bool,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

impl Tunnel {
    /// A tunnel that is to be opened at once. The seed spreads the attempts of many clients.
    pub fn new(settings: TunnelSettings, seed: Seed) -> Self {
        let mut tunnel = Self {
            settings,
            state: State::Finding,
            backoff: Backoff::new(Rng::new(seed)),
            stderr: String::new(),
            last_port: settings.local_port,
            ports_lost: 0,
            was_open: false,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        };
        tunnel.find_port();
        tunnel
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What became of it.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Tunnel::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Opening { end, look_at, .. } => Some(*end.min(look_at)),
            State::Ending { kill_at, .. } => *kill_at,
            State::Waiting { until } => Some(*until),
            State::Finding | State::Starting { .. } | State::Open { .. } | State::Over => None,
        }
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// The port on which it can be used now.
    pub fn open_port(&self) -> Option<u16> {
        match self.state {
            State::Open { port, .. } => Some(port),
            State::Finding
            | State::Starting { .. }
            | State::Opening { .. }
            | State::Ending { .. }
            | State::Waiting { .. }
            | State::Over => None,
        }
    }

    /// The ports that were found: the wanted one, if it is free, and another free one.
    pub fn handle_ports(&mut self, now: Instant, wanted: Option<u16>, spare: Option<u16>) {
        if self.state != State::Finding {
            return;
        }
        match wanted.or(spare) {
            Some(port) => {
                self.stderr.clear();
                self.state = State::Starting { port };
                self.actions.push_back(Action::Start { port });
            }
            None => {
                let failure = TunnelFailure::new(FailureKind::LocalPortTaken, "no port is free");
                self.fail(now, failure);
            }
        }
    }

    /// `ssh` was started.
    pub fn handle_started(&mut self, now: Instant) {
        let State::Starting { port } = self.state else {
            // Nobody wants it any more.
            self.end_ssh(now, self.last_port, After::Stop);
            return;
        };
        self.last_port = port;
        self.state = State::Opening {
            port,
            end: now + self.settings.ready_within,
            look_at: now + LOOK_EVERY,
            seen: Listener::Nobody,
        };
        self.events.push_back(Event::Opening { port });
    }

    /// `ssh` could not be started.
    pub fn handle_start_failed(&mut self, now: Instant, failure: TunnelFailure) {
        if matches!(self.state, State::Starting { .. }) {
            self.fail(now, failure);
        }
    }

    /// Who listens on the port.
    pub fn handle_listener(&mut self, now: Instant, listener: Listener) {
        let State::Opening {
            port, ref mut seen, ..
        } = self.state
        else {
            return;
        };
        *seen = listener;
        if listener == Listener::Ours {
            self.state = State::Open { port, since: now };
            self.was_open = true;
            self.ports_lost = 0;
            self.events.push_back(Event::Open { port });
        }
    }

    /// A line that `ssh` said on standard error.
    pub fn handle_stderr(&mut self, line: &str) {
        self.stderr.push_str(line.get(..1024).unwrap_or(line));
        self.stderr.push('\n');
        let mut surplus = self.stderr.len().saturating_sub(MAX_STDERR);
        while !self.stderr.is_char_boundary(surplus) {
            surplus += 1;
        }
        self.stderr.drain(..surplus);
        if matches!(self.state, State::Open { .. })
            && let Some(failure) = TunnelFailure::of_line(line)
        {
            self.events.push_back(Event::Trouble(failure));
        }
    }

    /// `ssh` has ended, and all that it said was handed in.
    pub fn handle_exit(&mut self, now: Instant, exit: Exit) {
        let failure = || TunnelFailure::of_exit(exit, &self.stderr);
        match self.state {
            State::Opening { .. } => {
                let failure = failure();
                if failure.kind() == FailureKind::LocalPortTaken && self.ports_lost < PORT_ATTEMPTS
                {
                    self.ports_lost += 1;
                    self.find_port();
                } else {
                    self.fail(now, failure);
                }
            }
            State::Open { since, .. } => {
                let failure = match failure() {
                    // It stood, so that is not why.
                    other if other.kind() == FailureKind::Other => {
                        TunnelFailure::new(FailureKind::Lost, other.said())
                    }
                    failure => failure,
                };
                if now.saturating_duration_since(since) >= GOOD_AFTER {
                    self.backoff.reset();
                }
                self.fail(now, failure);
            }
            State::Ending { ref after, .. } => match after.clone() {
                After::Fail(failure) => self.fail(now, failure),
                After::Stop => self.stopped(),
            },
            State::Finding | State::Starting { .. } | State::Waiting { .. } | State::Over => {}
        }
    }

    /// A moment that [`Tunnel::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Opening {
                port, end, seen, ..
            } if now >= end => {
                let kind = match seen {
                    Listener::Stranger => FailureKind::Stranger,
                    Listener::Nobody | Listener::Ours => FailureKind::NotListening,
                };
                let said = self.stderr.lines().last().unwrap_or_default();
                let failure = TunnelFailure::new(kind, said);
                self.end_ssh(now, port, After::Fail(failure));
            }
            State::Opening {
                port,
                ref mut look_at,
                ..
            } if now >= *look_at => {
                *look_at = now + LOOK_EVERY;
                self.actions.push_back(Action::Look { port });
            }
            State::Ending {
                ref mut kill_at, ..
            } if kill_at.is_some_and(|at| now >= at) => {
                *kill_at = None;
                self.actions.push_back(Action::Kill);
            }
            State::Waiting { until } if now >= until => self.find_port(),
            State::Finding
            | State::Starting { .. }
            | State::Opening { .. }
            | State::Open { .. }
            | State::Ending { .. }
            | State::Waiting { .. }
            | State::Over => {}
        }
    }

    /// The listener of an open tunnel is not ours any more, though `ssh` runs: it is ended, and the tunnel
    /// opened again.
    pub fn handle_listener_lost(&mut self, now: Instant) {
        if let State::Open { port, .. } = self.state {
            let failure = TunnelFailure::new(FailureKind::Stranger, "");
            self.end_ssh(now, port, After::Fail(failure));
        }
    }

    /// Somebody waits for the tunnel: it is tried again soon, however long the pause was to be.
    pub fn handle_wanted(&mut self, now: Instant) {
        if let State::Waiting { ref mut until } = self.state {
            *until = (*until).min(now + WANTED);
        }
    }

    /// Ends it for good.
    pub fn stop(&mut self, now: Instant) {
        match self.state {
            State::Opening { port, .. } | State::Open { port, .. } => {
                self.end_ssh(now, port, After::Stop);
            }
            State::Ending { ref mut after, .. } => *after = After::Stop,
            State::Finding | State::Starting { .. } | State::Waiting { .. } => self.stopped(),
            State::Over => {}
        }
    }

    fn find_port(&mut self) {
        self.state = State::Finding;
        self.actions.push_back(Action::FindPort {
            wanted: self.last_port,
        });
    }

    fn end_ssh(&mut self, now: Instant, port: u16, after: After) {
        self.actions.push_back(Action::Terminate);
        self.state = State::Ending {
            port,
            kill_at: Some(now + KILL_AFTER),
            after,
        };
    }

    fn fail(&mut self, now: Instant, failure: TunnelFailure) {
        let first = !self.was_open && self.settings.patience == Patience::FirstMustSucceed;
        if first || failure.kind().mending() == Mending::Hand {
            self.state = State::Over;
            self.events.push_back(Event::GaveUp(failure));
            return;
        }
        let again_in = self.backoff.next_delay(RetryHint::Backoff);
        self.state = State::Waiting {
            until: now + again_in,
        };
        self.events.push_back(Event::Lost { failure, again_in });
    }

    fn stopped(&mut self) {
        self.state = State::Over;
        self.actions.clear();
        self.events.push_back(Event::Stopped);
    }
}

#[cfg(test)]
mod tests;

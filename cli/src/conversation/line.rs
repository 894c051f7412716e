//! A connection that comes back when it is lost, with everything that a conversation waits for in one
//! queue: events, answers, lines that are typed, and Ctrl-C.

use std::io::{self, BufRead};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use clawgate_core::client::{
    Call, CallError as NoAnswer, Disconnected, Hello, Next, RequestError, Target,
};
use clawgate_core::frame::{IncomingEvent, RawJson};
use clawgate_core::protocol::Role;
use clawgate_std::{CallError, Client, ClientEvent};
use futures_lite::StreamExt;
use serde_json::Value;

use crate::dial;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::refusal;
use crate::target::Resolved;

/// The capability of clients that want to see calls of tools.
const TOOL_EVENTS: &str = "tool-events";

/// The longest line that is read.
const MAX_LINE: u64 = 1024 * 1024;

/// Events that wait to be shown; more wait in the client, which tells when it drops some.
const MAX_EVENTS: usize = 256;

/// Time for a call that asks for something which the gateway has at hand.
const QUICK: Duration = Duration::from_secs(30);

/// What a conversation waits for. `T` names the calls that it makes.
#[derive(Debug)]
pub(crate) enum Input<T> {
    /// A call has ended.
    Answer(T, Result<RawJson, CallError>),
    /// A connection stands: the first one, or another one after a loss.
    Connected(Box<Hello>),
    /// Standard input is at its end.
    EndOfLines,
    /// An event of the gateway.
    Event(IncomingEvent),
    /// Ctrl-C, or a request to stop.
    Interrupt,
    /// A line that was asked for.
    Line(String),
    /// The connection is lost, and is being made again.
    Lost(String),
    /// Events are missing.
    Missed,
    /// There will be no connection any more.
    Over(Box<Failure>),
}

/// The connection and the queue.
#[derive(Debug)]
pub(crate) struct Line<T> {
    client: Client,
    inputs: Receiver<Input<T>>,
    sender: Sender<Input<T>>,
    /// One for each event in the queue, so that it does not grow without end.
    taken: Receiver<()>,
    hello: Box<Hello>,
    resolved: Resolved,
    /// Asks for another line of standard input.
    next_line: Option<SyncSender<()>>,
}

impl<T: Clone + Send + 'static> Line<T> {
    /// Connects once, with the failure in words if that does not succeed, and stays connected by the
    /// same way.
    ///
    /// # Errors
    /// When there is no connection.
    pub(crate) fn open(
        resolved: Resolved,
        methods: &[&str],
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let until = Instant::now() + timeout;
        let (client, events) = dial::stay(&resolved, methods, &[TOOL_EVENTS], timeout)?;
        let keeper = TokenKeeper::of(&resolved);
        let explain = resolved.clone();
        let (sender, inputs) = channel();
        let (room, taken) = sync_channel(MAX_EVENTS);
        let to = sender.clone();
        spawn("clawgate-events", move || {
            for event in events {
                keeper.look_at(&event);
                if let Some(input) = input_of(event, &explain)
                    && (room.send(()).is_err() || to.send(input).is_err())
                {
                    return;
                }
            }
        })?;
        let mut line = Self {
            client,
            inputs,
            sender,
            taken,
            hello: Box::new(Hello::read(&RawJson::empty_object())),
            resolved,
            next_line: None,
        };
        line.first_hello(until)?;
        Ok(line)
    }

    fn first_hello(&mut self, until: Instant) -> Result<(), Failure> {
        loop {
            match self.next(Some(until)) {
                Ok(Input::Connected(_)) => return Ok(()),
                Ok(Input::Over(failure)) => return Err(*failure),
                Ok(_) => {}
                Err(Ended::Gone(failure)) => return Err(failure),
                Err(Ended::Late) => {
                    return Err(Failure::new(
                        Exit::TimedOut,
                        "timeout",
                        "The gateway did not answer in time.",
                        "Look at its log, or raise --connect-timeout.",
                    ));
                }
            }
        }
    }

    /// What the gateway said at the start of the newest connection.
    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Takes Ctrl-C and requests to stop as inputs from now on.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub(crate) fn take_signals(&self) -> Result<(), Failure> {
        let mut signals = Signals::new([Signal::Int, Signal::Term]).map_err(no_signals)?;
        let to = self.sender.clone();
        spawn("clawgate-signals", move || {
            smol::block_on(async {
                while signals.next().await.is_some() {
                    if to.send(Input::Interrupt).is_err() {
                        return;
                    }
                }
            });
        })
    }

    /// Reads standard input, a line each time when one is asked for.
    ///
    /// # Errors
    /// When this machine gives no thread.
    pub(crate) fn take_lines(&mut self) -> Result<(), Failure> {
        let (ask, asked) = sync_channel::<()>(1);
        let to = self.sender.clone();
        self.next_line = Some(ask);
        spawn("clawgate-lines", move || {
            let mut stdin = io::stdin().lock();
            for () in asked {
                let input = match read_line(&mut stdin) {
                    Some(line) => Input::Line(line),
                    None => Input::EndOfLines,
                };
                let is_end = matches!(input, Input::EndOfLines);
                if to.send(input).is_err() || is_end {
                    return;
                }
            }
        })
    }

    /// Asks for the next line. Asking twice is asking once.
    pub(crate) fn ask_for_line(&self) {
        if let Some(ask) = &self.next_line {
            // It is asked for already, or there are no more.
            let _ = ask.try_send(());
        }
    }

    /// Makes a call whose answer comes as an input. One that could not be sent is answered too.
    pub(crate) fn call(&self, name: T, method: &str, params: &Value) {
        self.send(name, call(method, params).timeout(QUICK));
    }

    /// The same for a call that the gateway may take its time for.
    pub(crate) fn call_for(&self, name: T, method: &str, params: &Value, at_most: Duration) {
        self.send(name, call(method, params).timeout(at_most));
    }

    /// The same for a call that is answered twice.
    pub(crate) fn call_until_final(&self, name: T, method: &str, params: &Value) {
        self.send(name, call(method, params).until_final());
    }

    fn send(&self, name: T, call: Call) {
        let (to, not_sent) = (self.sender.clone(), name.clone());
        let outcome = self.client.call_then(call, move |outcome| {
            // Nobody waits for it any more when this fails.
            let _ = to.send(Input::Answer(name, outcome));
        });
        if let Err(error) = outcome {
            let _ = self.sender.send(Input::Answer(not_sent, Err(error)));
        }
    }

    /// Waits for the next input, until `end` at most.
    ///
    /// # Errors
    /// When the client is gone, or the time is over.
    pub(crate) fn next(&mut self, end: Option<Instant>) -> Result<Input<T>, Ended> {
        let input = match end {
            None => self.inputs.recv().map_err(|_| Ended::Gone(gone()))?,
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                match self.inputs.recv_timeout(left) {
                    Ok(input) => input,
                    Err(RecvTimeoutError::Timeout) => return Err(Ended::Late),
                    Err(RecvTimeoutError::Disconnected) => return Err(Ended::Gone(gone())),
                }
            }
        };
        let is_event = matches!(
            input,
            Input::Connected(_) | Input::Event(_) | Input::Lost(_) | Input::Missed | Input::Over(_)
        );
        if is_event {
            let _ = self.taken.try_recv();
        }
        if let Input::Connected(hello) = &input {
            self.hello.clone_from(hello);
        }
        Ok(input)
    }

    /// A call that has no result, in words.
    pub(crate) fn explain(&self, method: &str, error: &CallError) -> Failure {
        refusal::call(method, error, &self.resolved, &self.hello)
    }

    /// Ends the connection in good order.
    pub(crate) fn close(self) {
        self.client.close();
    }
}

/// Keeps what the gateway says of this device's token.
#[derive(Debug)]
struct TokenKeeper {
    resolved: Resolved,
    target: Target,
}

impl TokenKeeper {
    fn of(resolved: &Resolved) -> Self {
        Self {
            target: Target::from(&resolved.target),
            resolved: resolved.clone(),
        }
    }

    fn look_at(&self, event: &ClientEvent) {
        let issued = if let ClientEvent::Connected(hello) = event {
            hello.device_token.as_ref()
        } else {
            None
        };
        let is_spoilt = matches!(event, ClientEvent::ForgetDeviceToken);
        if issued.is_none() && !is_spoilt {
            return;
        }
        let files = self.resolved.device.as_ref();
        let Some((files, known)) = files.and_then(|files| Some((files, files.known()?))) else {
            return;
        };
        let (route, who) = (self.target.route(), (&*known.identity, Role::Operator));
        if let Some(issued) = issued {
            files.remember(route, who, issued);
        }
        let auth = self.resolved.target.auth();
        let stored = auth
            .device_token()
            .or_else(|| auth.device_token_for_retry());
        if let Some(stored) = stored.filter(|_| is_spoilt) {
            files.forget(route, who, stored);
        }
    }
}

/// Why there is no input.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client is gone.
    Gone(Failure),
    /// The time is over.
    Late,
}

/// Whether a call has no answer because the connection was lost: it may have been carried out.
pub(crate) fn is_lost(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Answer(NoAnswer::Ended(_)) | CallError::NotSent(RequestError::NotConnected)
    )
}

fn call(method: &str, params: &Value) -> Call {
    let params = RawJson::encode(params).unwrap_or_else(|_| RawJson::empty_object());
    Call::new(method, params)
}

fn input_of<T>(event: ClientEvent, resolved: &Resolved) -> Option<Input<T>> {
    Some(match event {
        ClientEvent::Connected(hello) => Input::Connected(hello),
        ClientEvent::Event(event) => Input::Event(event),
        ClientEvent::Gap(_) | ClientEvent::HistoryLost(_) | ClientEvent::Missed(_) => Input::Missed,
        ClientEvent::ForgetDeviceToken | ClientEvent::Resumed { .. } => return None,
        ClientEvent::Disconnected { why, next } => match next {
            Next::Retry(_) => Input::Lost(words(&why)),
            Next::Paused(reason) => {
                Input::Over(Box::new(refused(&words(&why), &reason.message, resolved)))
            }
            Next::Stop => return None,
        },
    })
}

fn words(why: &Disconnected) -> String {
    match why {
        Disconnected::Conn(ending) => ending.to_string(),
        Disconnected::Dial(words) => words.clone(),
        Disconnected::DialTimeout => "the gateway did not answer in time".to_owned(),
    }
}

fn refused(why: &str, reason: &str, resolved: &Resolved) -> Failure {
    let failure = Failure::new(
        Exit::Unauthorised,
        "unauthorised",
        format!(
            "The gateway does not let this client in again: {}.",
            reason.trim_end_matches('.')
        ),
        "`clawgate gateway probe` with the same target shows more.",
    )
    .note(why);
    failure.without(&refusal::sent(resolved))
}

fn gone() -> Failure {
    Failure::new(
        Exit::Failed,
        "client_stopped",
        "The client stopped by itself.",
        "Look at the limits of this machine.",
    )
}

fn no_signals(error: io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "system",
        format!("Signals cannot be waited for: {error}."),
        "",
    )
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| {
            Failure::new(
                Exit::Failed,
                "system",
                format!("No thread could be started: {error}."),
                "Look at the limits of this machine.",
            )
        })
}

/// One line without its end; nothing at the end of the input. What is too long is cut into several.
fn read_line(input: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    match io::Read::take(&mut *input, MAX_LINE).read_until(b'\n', &mut bytes) {
        Ok(0) | Err(_) => None,
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_ends_and_the_last_one_needs_none() {
        let mut input = &b"one\r\n\ntwo"[..];
        let lines: Vec<String> = std::iter::from_fn(|| read_line(&mut input)).collect();
        assert_eq!(lines, ["one", "", "two"]);
    }
}

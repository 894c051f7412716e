//! A headless node over a lasting client. What to do is decided by [`clawgate_core::node`]; this
//! runs programs, reads files, and carries requests and answers.

mod approvals;
mod job;
mod look;
#[cfg(unix)]
mod program;
mod sample;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use clawgate_core::{
    client::{
        Call, CallError as NoAnswer, Disconnected, Hello, Next, PauseReason, Profile, Target,
    },
    node::{
        Comeback, HostNotice, JobId, NodeCall, NodeCallId, NodeHost, NodeOutcome, NodeWork,
        after_pause,
    },
    protocol::{RpcCode, RpcError},
};

pub use self::approvals::{read_approvals, replace_approvals};
use self::job::Kill;
pub use self::look::find_program;
use crate::{
    client::{Client, ClientEvent, ClientOptions},
    error::CallError,
    os,
};

/// Time that programs get to be gone when a node stops.
const GRACE: Duration = Duration::from_secs(5);

/// What a node is made of.
#[derive(Debug)]
pub struct NodeSetup {
    /// Its gateway.
    pub target: Target,
    /// What it says of itself.
    pub profile: Profile,
    /// Its client's limits.
    pub client: ClientOptions,
    /// What decides.
    pub host: NodeHost,
    /// The file of exec approvals.
    pub approvals: PathBuf,
    /// The folder whose disk is told of.
    pub home: PathBuf,
}

/// What a node tells.
#[derive(Debug)]
pub enum NodeEvent {
    /// A connection stands.
    Connected(Box<Hello>),
    /// There is none.
    Disconnected {
        /// Why.
        why: Disconnected,
        /// When it will knock again; `None` for never.
        again: Option<Duration>,
    },
    /// Something about its standing at the gateway.
    Notice(HostNotice),
    /// The stored device token is worthless: delete it.
    ForgetDeviceToken,
    /// Something did not go as it should, in words.
    Warning(String),
}

/// How a node ended.
#[derive(Debug)]
pub enum NodeEnd {
    /// Somebody stopped it.
    Stopped,
    /// It is not let in, and nothing that it can do helps.
    Refused(Disconnected, PauseReason),
}

/// A node that runs in the thread of its caller.
///
/// ```no_run
/// use std::sync::Arc;
/// use clawgate_core::{
///     client::{Profile, Route, Target},
///     device::DeviceIdentity,
///     node::{NodeHost, NodeOptions},
///     policy::{Endpoint, Scheme},
///     protocol::{AuthParams, ClientId, ClientInfo, ClientMode},
/// };
/// use clawgate_std::{ClientOptions, Node, NodeSetup};
///
/// let identity = Arc::new(DeviceIdentity::from_seed(&[7; 32]));
/// let options = NodeOptions { node_id: identity.id().as_str().into(), ..NodeOptions::default() };
/// let info = ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1.0.0", "linux");
/// let profile = Profile {
///     commands: options.commands.names(),
///     caps: options.commands.caps(),
///     ..Profile::node(info, identity)
/// };
/// let route = Route::unpinned(Endpoint::local(Scheme::Ws, 18789));
/// let (node, stop) = Node::new(NodeSetup {
///     target: Target::new(route, AuthParams::default(), None),
///     profile,
///     client: ClientOptions::default(),
///     host: NodeHost::new(options),
///     approvals: "/tmp/exec-approvals.json".into(),
///     home: "/tmp".into(),
/// });
/// let end = node.run(|event| println!("{event:?}"))?;
/// # drop((end, stop));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Node {
    setup: NodeSetup,
    inputs: Receiver<Input>,
    sender: Sender<Input>,
}

/// Stops a node from any thread.
#[derive(Clone, Debug)]
pub struct NodeStop(Sender<Input>);

impl NodeStop {
    /// Ends the node in good order: its programs are ended and its connection is closed.
    pub fn stop(&self) {
        // A node that has ended needs no stop.
        let _ = self.0.send(Input::Stop);
    }
}

#[derive(Debug)]
enum Input {
    Answer(NodeCallId, &'static str, Result<(), CallError>),
    Client(ClientEvent),
    Outcome(JobId, NodeOutcome),
    Stop,
}

impl Node {
    /// A node that has not started yet, and how to stop it.
    pub fn new(setup: NodeSetup) -> (Self, NodeStop) {
        let (sender, inputs) = channel();
        let stop = NodeStop(sender.clone());
        let node = Self {
            setup,
            inputs,
            sender,
        };
        (node, stop)
    }

    /// Runs until it is stopped, or not let in for good.
    ///
    /// # Errors
    /// When the system gives no thread, no wake-up or no random bytes.
    pub fn run(self, tell: impl FnMut(NodeEvent)) -> io::Result<NodeEnd> {
        let Self {
            setup,
            inputs,
            sender,
        } = self;
        let (client, events) = Client::start(setup.target, setup.profile, setup.client)?;
        let forward = sender.clone();
        thread::Builder::new()
            .name("clawgate-node-events".into())
            .spawn(move || {
                for event in events {
                    if forward.send(Input::Client(event)).is_err() {
                        break;
                    }
                }
            })?;
        let mut running = Running {
            client,
            host: setup.host,
            places: job::Places {
                approvals: setup.approvals,
                home: setup.home,
            },
            sender,
            kills: BTreeMap::new(),
            resume: None,
            tell,
        };
        let end = running.serve(&inputs);
        running.finish(&inputs);
        running.client.close();
        Ok(end)
    }
}

struct Running<T> {
    client: Client,
    host: NodeHost,
    places: job::Places,
    sender: Sender<Input>,
    kills: BTreeMap<JobId, Kill>,
    /// When to knock again after a pause.
    resume: Option<Instant>,
    tell: T,
}

impl<T: FnMut(NodeEvent)> Running<T> {
    fn serve(&mut self, inputs: &Receiver<Input>) -> NodeEnd {
        loop {
            self.drain();
            let until = [self.host.poll_timeout(), self.resume]
                .into_iter()
                .flatten()
                .min();
            let input = match until {
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => inputs.recv_timeout(until.saturating_duration_since(os::now().mono)),
            };
            match input {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return NodeEnd::Stopped,
                Ok(Input::Client(event)) => {
                    if let Some(end) = self.on_client(event) {
                        return end;
                    }
                }
                Ok(Input::Outcome(job, outcome)) => self.on_outcome(job, outcome),
                Ok(Input::Answer(id, method, answer)) => self.on_answer(id, method, answer),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = os::now();
            if self.host.poll_timeout().is_some_and(|at| at <= now.mono) {
                self.host.handle_timeout(now);
            }
            if self.resume.is_some_and(|at| at <= now.mono) {
                self.resume = None;
                self.client.resume();
            }
        }
    }

    /// Ends what runs, and waits for it a while.
    fn finish(&mut self, inputs: &Receiver<Input>) {
        let end = os::now().mono + GRACE;
        self.host.stop();
        self.drain();
        while !self.host.is_idle() {
            let left = end.saturating_duration_since(os::now().mono);
            match inputs.recv_timeout(left) {
                Ok(Input::Outcome(job, outcome)) => self.on_outcome(job, outcome),
                Ok(Input::Answer(..) | Input::Client(_) | Input::Stop) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
            self.drain();
        }
    }

    fn on_client(&mut self, event: ClientEvent) -> Option<NodeEnd> {
        let now = os::now();
        match event {
            ClientEvent::Connected(hello) => {
                self.resume = None;
                self.host.handle_connected(now, hello.max_payload);
                (self.tell)(NodeEvent::Connected(hello));
            }
            ClientEvent::Disconnected { why, next } => {
                self.host.handle_disconnected(now);
                let again = match next {
                    Next::Retry(after) => Some(after),
                    Next::Paused(reason) => match after_pause(&reason) {
                        Comeback::After(wait) => {
                            self.resume = Some(now.mono + wait);
                            Some(wait)
                        }
                        Comeback::Never => return Some(NodeEnd::Refused(why, reason)),
                    },
                    Next::Stop => None,
                };
                (self.tell)(NodeEvent::Disconnected { why, again });
            }
            ClientEvent::Event(event) => {
                self.host.handle_event(now, &event.event, &event.payload);
            }
            ClientEvent::ForgetDeviceToken => (self.tell)(NodeEvent::ForgetDeviceToken),
            ClientEvent::Missed(count) => {
                let words = format!("{count} events of the gateway were missed");
                (self.tell)(NodeEvent::Warning(words));
            }
            // The requests of a gateway are not numbered.
            ClientEvent::Gap(_) | ClientEvent::HistoryLost(_) | ClientEvent::Resumed { .. } => {}
        }
        None
    }

    fn on_outcome(&mut self, job: JobId, outcome: NodeOutcome) {
        self.kills.remove(&job);
        self.host.handle_outcome(os::now(), job, outcome);
    }

    fn on_answer(&mut self, id: NodeCallId, method: &str, answer: Result<(), CallError>) {
        let now = os::now();
        let error = match answer {
            Ok(()) => return self.host.handle_answer(now, id, Ok(())),
            Err(CallError::Answer(NoAnswer::Rpc(error))) => error,
            Err(other) => {
                let lost = matches!(other, CallError::Answer(NoAnswer::Ended(_)));
                if method == "node.invoke.result" && !lost {
                    (self.tell)(NodeEvent::Warning(format!("an answer was lost: {other}")));
                }
                RpcError::new(RpcCode::Unavailable, other.to_string())
            }
        };
        self.host.handle_answer(now, id, Err(&error));
    }

    /// Carries out what the machine wants.
    fn drain(&mut self) {
        while let Some(work) = self.host.poll_work() {
            self.start(work);
        }
        while let Some(call) = self.host.poll_call() {
            self.send(call);
        }
        while let Some(notice) = self.host.poll_notice() {
            (self.tell)(NodeEvent::Notice(notice));
        }
    }

    fn start(&mut self, work: NodeWork) {
        if let NodeWork::Kill(job) = work {
            // Dropping it is the kill.
            self.kills.remove(&job);
            return;
        }
        let sender = self.sender.clone();
        let report = move |job, outcome| {
            // A node that has ended waits for nothing.
            let _ = sender.send(Input::Outcome(job, outcome));
        };
        if let Some((job, kill)) = job::start(work, &self.places, report) {
            self.kills.insert(job, kill);
        }
    }

    fn send(&self, call: NodeCall) {
        let NodeCall { id, method, params } = call;
        let sender = self.sender.clone();
        let then = move |outcome: Result<_, CallError>| {
            let _ = sender.send(Input::Answer(id, method, outcome.map(|_| ())));
        };
        if let Err(error) = self.client.call_then(Call::new(method, params), then) {
            let _ = self.sender.send(Input::Answer(id, method, Err(error)));
        }
    }
}

//! A client that stays: one thread owns the session and its socket; any thread may call.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use clawgate_core::{
    client::{
        Action, AttemptId, Call, CallError as NoAnswer, DialFailure, Disconnected, Ending, Gap,
        Hello, Limits, Next, Phase, Profile, RequestError, Session, SessionEvent, Target,
    },
    frame::{IncomingEvent, RawJson},
    ids::RequestId,
    transmit::Transmit,
};
use mio::Waker;

use crate::{
    budget::{Budget, Cancel},
    dial::{Dialled, dial},
    error::{CallError, ConnectError},
    os,
    socket::{Received, Sent, Socket},
    waiter::Waiter,
};

/// Calls that may wait to be taken over by the client's thread.
const MAX_COMMANDS: usize = 1024;
/// Messages that are taken before anything else gets its turn.
const BURST: usize = 32;

/// How a client is made.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Limits of its connections; `total`, where given, is for the client as a whole.
    pub limits: Limits,
    /// Events that may wait for the reader. More are dropped, and [`ClientEvent::Missed`] says how
    /// many.
    pub max_events: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_events: 1024,
        }
    }
}

/// What a client tells its reader.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// A connection stands; calls can be made. State of an earlier one is stale.
    Connected(Box<Hello>),
    /// There is no connection.
    Disconnected {
        /// Why.
        why: Disconnected,
        /// What the client does about it.
        next: Next,
    },
    /// An event of the gateway.
    Event(IncomingEvent),
    /// The stored device token is worthless: delete it.
    ForgetDeviceToken,
    /// The gateway skipped events because this client was slow.
    Gap(Gap),
    /// Events were dropped because they were not read in time.
    Missed(u64),
}

/// A lasting client with reconnection. Clones are not needed: share it in an `Arc`.
///
/// ```no_run
/// use std::time::Duration;
/// use clawgate_core::{
///     client::{Call, Profile, Route, Target},
///     frame::RawJson,
///     policy::{Endpoint, Scheme},
///     protocol::{AuthParams, ClientId, ClientInfo, ClientMode},
/// };
/// use clawgate_std::{Client, ClientEvent, ClientOptions};
///
/// let route = Route::unpinned(Endpoint::local(Scheme::Ws, 18789));
/// let target = Target::new(route, AuthParams::default(), None);
/// let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1.0.0", "linux");
/// let profile = Profile::operator(info, vec!["operator.read".into()]);
/// let (client, events) = Client::start(target, profile, ClientOptions::default())?;
/// client.wait_connected(Duration::from_secs(10));
/// let status = client.call(Call::new("status", RawJson::empty_object()))?;
/// for event in events {
///     if let ClientEvent::Event(event) = event {
///         println!("{}", event.event);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A call under way. Dropping it cancels the call.
#[derive(Debug)]
pub struct PendingCall {
    answer: Receiver<Result<RawJson, CallError>>,
    /// Until there is a result.
    ticket: Option<Ticket>,
    shared: Arc<Shared>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket(u64);

type Answer = SyncSender<Result<RawJson, CallError>>;

enum Command {
    Call(Call, Ticket, Answer),
    Cancel(Ticket),
    Dialled(AttemptId, Box<Result<(Socket, Waiter), Box<ConnectError>>>),
    Resume(SyncSender<()>),
    Stop,
}

#[derive(Debug)]
struct Shared {
    waker: Arc<Waker>,
    inbox: Mutex<Inbox>,
    phase: Mutex<Phase>,
    phase_changed: Condvar,
}

#[derive(Default)]
struct Inbox {
    commands: VecDeque<Command>,
    tickets: u64,
    closed: bool,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} commands)", self.commands.len())
    }
}

impl Client {
    /// Starts to connect in a thread of its own, and gives the receiver of the events.
    ///
    /// # Errors
    /// When the system gives no thread, no wake-up or no random bytes.
    pub fn start(
        target: Target,
        profile: Profile,
        options: ClientOptions,
    ) -> io::Result<(Self, Receiver<ClientEvent>)> {
        let waiter = Waiter::new()?;
        let shared = Arc::new(Shared {
            waker: Arc::clone(waiter.waker()),
            inbox: Mutex::default(),
            phase: Mutex::new(Phase::Connecting),
            phase_changed: Condvar::new(),
        });
        let (events, reader) = sync_channel(options.max_events.max(1));
        let dial_limit = options.limits.connect;
        let session = Session::new(target, profile, options.limits, os::seed()?, os::now());
        let worker = Worker {
            session,
            waiter,
            shared: Arc::clone(&shared),
            socket: None,
            dialling: None,
            dial_limit,
            calls: BTreeMap::new(),
            tickets: BTreeMap::new(),
            events,
            missed: 0,
        };
        let thread = thread::Builder::new()
            .name("clawgate-client".into())
            .spawn(move || worker.run())?;
        let client = Self {
            shared,
            thread: Some(thread),
        };
        Ok((client, reader))
    }

    /// Makes a call over the present connection and waits for its result.
    ///
    /// # Errors
    /// When it was not sent or has no result. Without a connection it fails at once.
    pub fn call(&self, call: Call) -> Result<RawJson, CallError> {
        self.start_call(call)?.wait()
    }

    /// Sends a call without waiting.
    ///
    /// # Errors
    /// When too many calls wait to be sent, or the client has stopped.
    pub fn start_call(&self, call: Call) -> Result<PendingCall, CallError> {
        let (sender, answer) = sync_channel(1);
        let mut inbox = self.shared.inbox();
        if inbox.closed {
            return Err(RequestError::NotConnected.into());
        }
        if inbox.commands.len() >= MAX_COMMANDS {
            return Err(RequestError::BufferFull.into());
        }
        inbox.tickets += 1;
        let ticket = Ticket(inbox.tickets);
        inbox
            .commands
            .push_back(Command::Call(call, ticket, sender));
        drop(inbox);
        self.shared.wake();
        Ok(PendingCall {
            answer,
            ticket: Some(ticket),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Where the client stands.
    pub fn phase(&self) -> Phase {
        *self.shared.phase()
    }

    /// Waits until it is connected. Gives up when it pauses, stops, or the time is over, and gives
    /// the phase that it was in then.
    pub fn wait_connected(&self, at_most: Duration) -> Phase {
        let undecided = |phase: &mut Phase| matches!(phase, Phase::Connecting | Phase::Waiting);
        let (phase, _) = self
            .shared
            .phase_changed
            .wait_timeout_while(self.shared.phase(), at_most, undecided)
            .unwrap_or_else(PoisonError::into_inner);
        *phase
    }

    /// Dials at once, out of a pause or a wait. After it, [`Client::wait_connected`] waits for the
    /// new attempt.
    pub fn resume(&self) {
        let (done, is_done) = sync_channel(1);
        self.shared.push(Command::Resume(done));
        // A client that has stopped drops the command, and that is an answer too.
        let _ = is_done.recv();
    }

    /// Closes the connection in good order and waits for the thread. Calls under way fail.
    pub fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.shared.push(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed, and there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.finish();
    }
}

impl PendingCall {
    /// Waits for the result.
    ///
    /// # Errors
    /// When there is none.
    pub fn wait(mut self) -> Result<RawJson, CallError> {
        let outcome = self.answer.recv();
        self.ticket = None;
        outcome.unwrap_or_else(|_| Err(NoAnswer::Ended(Ending::Stopped).into()))
    }

    /// Waits for a while; gives the call back when there is no result yet.
    ///
    /// # Errors
    /// The call itself, to go on waiting or to cancel.
    pub fn wait_timeout(mut self, at_most: Duration) -> Result<Result<RawJson, CallError>, Self> {
        match self.answer.recv_timeout(at_most) {
            Ok(outcome) => {
                self.ticket = None;
                Ok(outcome)
            }
            Err(RecvTimeoutError::Timeout) => Err(self),
            Err(RecvTimeoutError::Disconnected) => {
                self.ticket = None;
                Ok(Err(NoAnswer::Ended(Ending::Stopped).into()))
            }
        }
    }

    /// Forgets the call. The gateway may still carry it out.
    pub fn cancel(self) {}
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.push(Command::Cancel(ticket));
        }
    }
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, command: Command) {
        let mut inbox = self.inbox();
        if !inbox.closed {
            inbox.commands.push_back(command);
            drop(inbox);
            self.wake();
        }
    }

    fn wake(&self) {
        // It fails only when the poller is gone, and then nobody waits.
        let _ = self.waker.wake();
    }
}

struct Worker {
    session: Session,
    waiter: Waiter,
    shared: Arc<Shared>,
    socket: Option<Socket>,
    dialling: Option<(AttemptId, Cancel)>,
    dial_limit: Duration,
    calls: BTreeMap<RequestId, (Ticket, Answer)>,
    tickets: BTreeMap<Ticket, RequestId>,
    events: SyncSender<ClientEvent>,
    missed: u64,
}

impl Worker {
    fn run(mut self) {
        loop {
            self.take_commands();
            self.after_input();
            let received = self.receive();
            let now = os::now();
            if self
                .session
                .poll_timeout()
                .is_some_and(|(at, _)| at <= now.mono)
            {
                self.session.handle_timeout(now);
                self.after_input();
            }
            if self.session.phase() == Phase::Stopped {
                break;
            }
            if !received {
                let until = self.session.poll_timeout().map(|(at, _)| at);
                if self.waiter.wait(until).is_err() {
                    break;
                }
            }
        }
        self.finish();
    }

    fn finish(self) {
        if let Some((_, cancel)) = &self.dialling {
            cancel.cancel();
        }
        let mut inbox = self.shared.inbox();
        inbox.closed = true;
        // Their answers are dropped, which tells the callers.
        inbox.commands = VecDeque::new();
        drop(inbox);
        *self.shared.phase() = Phase::Stopped;
        self.shared.phase_changed.notify_all();
    }

    fn take_commands(&mut self) {
        let commands = std::mem::take(&mut self.shared.inbox().commands);
        for command in commands {
            let now = os::now();
            match command {
                Command::Call(call, ticket, answer) => match self.session.request(now, call) {
                    Ok(id) => {
                        self.tickets.insert(ticket, id.clone());
                        self.calls.insert(id, (ticket, answer));
                    }
                    Err(error) => drop(answer.try_send(Err(error.into()))),
                },
                Command::Cancel(ticket) => {
                    if let Some(id) = self.tickets.remove(&ticket) {
                        self.calls.remove(&id);
                        self.session.cancel(&id);
                    }
                }
                Command::Dialled(attempt, result) => self.on_dialled(attempt, *result),
                Command::Resume(done) => {
                    self.session.resume(now);
                    self.after_input();
                    let _ = done.try_send(());
                }
                Command::Stop => self.session.stop(now),
            }
        }
    }

    fn on_dialled(
        &mut self,
        attempt: AttemptId,
        result: Result<(Socket, Waiter), Box<ConnectError>>,
    ) {
        if !matches!(&self.dialling, Some((current, _)) if *current == attempt) {
            return;
        }
        self.dialling = None;
        let now = os::now();
        let moved = result.map(|(mut socket, waiter)| {
            let moved = socket.move_to(&waiter, &self.waiter);
            (socket, moved)
        });
        match moved {
            Ok((socket, Ok(()))) => {
                self.socket = Some(socket);
                self.session.dialled(now, attempt);
            }
            Ok((_, Err(error))) => {
                let failure = DialFailure::Transient(error.to_string());
                self.session.dial_failed(now, attempt, failure);
            }
            Err(error) => {
                let mut words = error.to_string();
                if let Some(step) = error.next_step() {
                    words = format!("{words}; {step}");
                }
                let failure = if error.is_transient() {
                    DialFailure::Transient(words)
                } else {
                    DialFailure::Final(words)
                };
                self.session.dial_failed(now, attempt, failure);
            }
        }
    }

    /// What has to follow every input: events, actions, writing, the published phase.
    fn after_input(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Accepted { .. } => {}
                SessionEvent::Answer { id, outcome } => {
                    if let Some((ticket, answer)) = self.calls.remove(&id) {
                        self.tickets.remove(&ticket);
                        // The caller may have gone.
                        let _ = answer.try_send(outcome.map_err(Into::into));
                    }
                }
                SessionEvent::Connected(hello) => self.tell(ClientEvent::Connected(hello)),
                SessionEvent::Disconnected { why, next } => {
                    self.tell(ClientEvent::Disconnected { why, next });
                }
                SessionEvent::Event(event) => self.tell(ClientEvent::Event(event)),
                SessionEvent::ForgetDeviceToken => self.tell(ClientEvent::ForgetDeviceToken),
                SessionEvent::Gap(gap) => self.tell(ClientEvent::Gap(gap)),
            }
        }
        while let Some(action) = self.session.poll_action() {
            self.act(action);
        }
        if let Some(socket) = &mut self.socket {
            let session = &mut self.session;
            if socket.transmit(|| session.poll_transmit()) == Sent::Terminate {
                self.socket = None;
            }
        }
        let phase = self.session.phase();
        let mut published = self.shared.phase();
        if *published != phase {
            *published = phase;
            self.shared.phase_changed.notify_all();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Abort(attempt) => {
                self.socket = None;
                if let Some((_, cancel)) = self.dialling.take_if(|(current, _)| *current == attempt)
                {
                    cancel.cancel();
                }
            }
            Action::Close { code, reason, .. } => {
                if let Some(mut socket) = self.socket.take() {
                    let mut close = Some(Transmit::Close { code, reason });
                    socket.transmit(|| close.take());
                }
            }
            Action::Dial(attempt) => self.dial(attempt),
        }
    }

    fn dial(&mut self, attempt: AttemptId) {
        let cancel = Cancel::new();
        let budget = Budget::new(Some(self.dial_limit), &cancel);
        let route = self.session.target().route().clone();
        let shared = Arc::clone(&self.shared);
        self.dialling = Some((attempt, cancel));
        let spawned = thread::Builder::new()
            .name("clawgate-dial".into())
            .spawn(move || {
                let result = Waiter::new()
                    .map_err(|error| Box::new(ConnectError::of_system(&route, &error)))
                    .and_then(|mut waiter| {
                        let Dialled { socket, .. } = dial(&route, &mut waiter, &budget)?;
                        Ok((socket, waiter))
                    });
                shared.push(Command::Dialled(attempt, Box::new(result)));
            });
        if let Err(error) = spawned {
            self.dialling = None;
            let failure = DialFailure::Transient(error.to_string());
            self.session.dial_failed(os::now(), attempt, failure);
        }
    }

    /// Reads a burst, and says whether there may be more.
    fn receive(&mut self) -> bool {
        for _ in 0..BURST {
            let Some(socket) = &mut self.socket else {
                return false;
            };
            let received = socket.receive();
            let now = os::now();
            match received {
                Received::Nothing => return false,
                // The session reports a failure as an event.
                Received::Text(text) => drop(self.session.handle_text(now, text)),
                Received::Binary(bytes) => drop(self.session.handle_binary(now, bytes)),
                Received::Close { code, reason } => {
                    self.session.handle_close(now, code, reason.as_str());
                }
                Received::Lost => {
                    self.socket = None;
                    self.session.handle_disconnect(now);
                }
                Received::Oversized => self.session.handle_oversized(now),
                Received::Other => {}
            }
            self.after_input();
        }
        true
    }

    /// Gives an event to the reader, or counts it as missed. A reader that is gone misses nothing.
    fn tell(&mut self, event: ClientEvent) {
        if self.missed > 0 {
            match self.events.try_send(ClientEvent::Missed(self.missed)) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => self.missed = 0,
                Err(TrySendError::Full(_)) => {
                    self.missed += 1;
                    return;
                }
            }
        }
        if let Err(TrySendError::Full(_)) = self.events.try_send(event) {
            self.missed += 1;
        }
    }
}

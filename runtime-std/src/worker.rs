//! The thread behind a lasting client: it owns the session and the socket, takes commands from
//! other threads, and dials in threads of its own.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use clawgate_core::{
    client::{Action, AttemptId, Call, DialFailure, Phase, Profile, Session, SessionEvent, Target},
    frame::RawJson,
    ids::RequestId,
    transmit::Transmit,
};
use mio::Waker;

use crate::{
    budget::{Budget, Cancel},
    client::{ClientEvent, ClientOptions},
    dial::{Dialled, dial},
    error::{CallError, ConnectError},
    os,
    socket::{Received, Sent, Socket},
    waiter::Waiter,
};

/// Messages that are taken before anything else gets its turn.
const BURST: usize = 32;

pub(crate) type Started = (Arc<Shared>, JoinHandle<()>, Receiver<ClientEvent>);

/// Starts the thread.
pub(crate) fn start(
    target: Target,
    profile: Profile,
    options: ClientOptions,
) -> io::Result<Started> {
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
    Ok((shared, thread, reader))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// Takes the result of a call; dropped when there is none.
pub(crate) type Answer = Box<dyn FnOnce(Result<RawJson, CallError>) + Send>;

pub(crate) enum Command {
    Call(Call, Ticket, Answer),
    Cancel(Ticket),
    Dialled(AttemptId, Box<Result<(Socket, Waiter), Box<ConnectError>>>),
    Resume(SyncSender<()>),
    Stop,
}

#[derive(Debug)]
pub(crate) struct Shared {
    waker: Arc<Waker>,
    inbox: Mutex<Inbox>,
    phase: Mutex<Phase>,
    pub(crate) phase_changed: Condvar,
}

#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) commands: VecDeque<Command>,
    pub(crate) tickets: u64,
    pub(crate) closed: bool,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} commands)", self.commands.len())
    }
}

impl Shared {
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, command: Command) {
        let mut inbox = self.inbox();
        if !inbox.closed {
            inbox.commands.push_back(command);
            drop(inbox);
            self.wake();
        }
    }

    pub(crate) fn wake(&self) {
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
                    Err(error) => answer(Err(error.into())),
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
                        answer(outcome.map_err(Into::into));
                    }
                }
                SessionEvent::Connected(hello) => self.tell(ClientEvent::Connected(hello)),
                SessionEvent::Disconnected { why, next } => {
                    self.tell(ClientEvent::Disconnected { why, next });
                }
                SessionEvent::Event(event) => self.tell(ClientEvent::Event(event)),
                SessionEvent::ForgetDeviceToken => self.tell(ClientEvent::ForgetDeviceToken),
                SessionEvent::Gap(gap) => self.tell(ClientEvent::Gap(gap)),
                SessionEvent::HistoryLost(loss) => self.tell(ClientEvent::HistoryLost(loss)),
                SessionEvent::Resumed { events } => self.tell(ClientEvent::Resumed { events }),
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

//! Calls over one connection, from one thread.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use clawgate_core::{
    client::{
        Call, CallError as NoAnswer, ClientConn, Ending, Event, Hello, Limits, Profile,
        RequestError, Route, Stage as ConnStage, Target,
    },
    frame::RawJson,
    ids::RequestId,
    policy::{Endpoint, Scheme, TlsFingerprint},
    protocol::AuthParams,
};

use crate::{
    budget::{Budget, Cancel, Interrupt},
    dial::{Dialled, dial, dial_owner},
    error::{CallError, ConnectError, Problem, TokenFate},
    os,
    socket::{Received, Sent, Socket},
    timings::{Stage, Timings},
    waiter::Waiter,
};

/// How a connection is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time for everything together: dialling, handshake, calls. `None` leaves the limits of the
    /// stages.
    pub total: Option<Duration>,
    /// Limits of the connection; their `total` is not used.
    pub limits: Limits,
    /// Ends every wait early.
    pub cancel: Cancel,
}

impl Default for Options {
    /// 10 s in all, as the official CLI has it (spec protocol §10).
    fn default() -> Self {
        Self {
            total: Some(Duration::from_secs(10)),
            limits: Limits::default(),
            cancel: Cancel::new(),
        }
    }
}

/// Connects, makes one call, and closes.
///
/// ```no_run
/// use clawgate_core::{
///     client::{Call, Profile, Route, Target},
///     frame::RawJson,
///     policy::{Endpoint, Scheme},
///     protocol::{AuthParams, ClientId, ClientInfo, ClientMode},
/// };
/// use clawgate_std::{Options, call};
///
/// let route = Route::unpinned(Endpoint::local(Scheme::Ws, 18789));
/// let target = Target::new(route, AuthParams::default(), None);
/// let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1.0.0", "linux");
/// let profile = Profile::operator(info, vec!["operator.read".into()]);
/// let health = Call::new("health", RawJson::empty_object());
/// match call(&target, profile, Options::default(), health) {
///     Ok(payload) => println!("{}", payload.as_str()),
///     Err(error) => eprintln!("{error}"),
/// }
/// ```
///
/// # Errors
/// When there is no connection, or the call has no result.
pub fn call(
    target: &Target,
    profile: Profile,
    options: Options,
    call: Call,
) -> Result<RawJson, CallError> {
    let mut connection = Connection::open(target, profile, options)?;
    let result = connection.call(call);
    connection.close();
    result
}

/// An established connection. Dropping it drops the socket; [`Connection::close`] is more polite.
#[derive(Debug)]
pub struct Connection {
    conn: ClientConn,
    socket: Socket,
    waiter: Waiter,
    budget: Budget,
    hello: Hello,
    timings: Timings,
    certificate: Option<TlsFingerprint>,
    started: BTreeMap<RequestId, Instant>,
    answers: BTreeMap<RequestId, Result<RawJson, NoAnswer>>,
    max_started: usize,
}

/// A connection whose handshake is not done.
struct Opening {
    conn: ClientConn,
    socket: Socket,
    waiter: Waiter,
    budget: Budget,
}

impl Connection {
    /// Dials the target and waits for the hello. Where that may help, it tries a second time at
    /// once: see [`Target::second_attempt`].
    ///
    /// # Errors
    /// When that fails, with the stage that it came to.
    pub fn open(
        target: &Target,
        profile: Profile,
        options: Options,
    ) -> Result<Self, Box<ConnectError>> {
        let budget = Budget::new(options.total, &options.cancel);
        let first = Self::attempt(target, profile.clone(), &options.limits, &budget);
        let second = match &first {
            Err(error) => error.ending().and_then(|end| target.second_attempt(end)),
            Ok(_) => None,
        };
        match second {
            Some(target) => Self::attempt(&target, profile, &options.limits, &budget),
            None => first,
        }
    }

    /// Connects to the gateway of this machine by its owner's socket. Nothing is presented: the
    /// system tells the gateway who comes. The socket is used only if it belongs to this user or to
    /// root.
    ///
    /// # Errors
    /// When that fails; [`Problem::Socket`] tells whether anybody listens there at all.
    pub fn open_owner(
        socket: &Path,
        profile: Profile,
        options: Options,
    ) -> Result<Self, Box<ConnectError>> {
        let budget = Budget::new(options.total, &options.cancel);
        let route = Route::unpinned(Endpoint::local(Scheme::Ws, 0));
        let target = Target::new(route, AuthParams::default(), None);
        let dial = |waiter: &mut Waiter| dial_owner(socket, target.route(), waiter, &budget);
        Self::establish(&target, profile, &options.limits, &budget, dial).map_err(|mut error| {
            error.url = format!("unix:{}", socket.display());
            error
        })
    }

    fn attempt(
        target: &Target,
        profile: Profile,
        limits: &Limits,
        budget: &Budget,
    ) -> Result<Self, Box<ConnectError>> {
        let dial = |waiter: &mut Waiter| dial(target.route(), waiter, budget);
        Self::establish(target, profile, limits, budget, dial).map_err(|mut error| {
            let spoilt = |ending| target.is_stored_token_spoilt(ending);
            if error.ending().is_some_and(spoilt) {
                error.token = TokenFate::Spoilt;
            }
            error
        })
    }

    fn establish(
        target: &Target,
        profile: Profile,
        limits: &Limits,
        budget: &Budget,
        dial: impl FnOnce(&mut Waiter) -> Result<Dialled, Box<ConnectError>>,
    ) -> Result<Self, Box<ConnectError>> {
        let fail = |stage, problem, timings| {
            Box::new(ConnectError::new(target.route(), stage, problem, timings))
        };
        let system = |error: std::io::Error| {
            let problem = Problem::System(error.to_string());
            fail(Stage::Dns, problem, Timings::default())
        };
        let mut waiter = Waiter::new().map_err(system)?;
        let seed = os::seed().map_err(system)?;
        let Dialled {
            socket,
            mut timings,
            certificate,
        } = dial(&mut waiter)?;
        let max_started = limits.max_pending;
        let limits = Limits {
            total: None,
            ..limits.clone()
        };
        let mut opening = Opening {
            conn: ClientConn::new(target, profile, limits, seed, os::now()),
            socket,
            waiter,
            budget: budget.clone(),
        };
        match opening.handshake(&mut timings) {
            Ok(hello) => Ok(Self {
                conn: opening.conn,
                socket: opening.socket,
                waiter: opening.waiter,
                budget: opening.budget,
                hello,
                timings,
                certificate,
                started: BTreeMap::new(),
                answers: BTreeMap::new(),
                max_started,
            }),
            Err((stage, problem)) => Err(fail(stage, problem, timings)),
        }
    }

    /// What the gateway said at the start.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// How long each stage took.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// The certificate that the gateway has shown. `None` without TLS.
    pub fn certificate(&self) -> Option<&TlsFingerprint> {
        self.certificate.as_ref()
    }

    /// Makes a call and waits for its result.
    ///
    /// # Errors
    /// When it was not sent or has no result.
    pub fn call(&mut self, call: Call) -> Result<RawJson, CallError> {
        let id = self.start(call)?;
        self.wait(&id)
    }

    /// Sends a call. Any number may be under way, up to [`Limits::max_pending`] whose results were
    /// not fetched with [`Connection::wait`].
    ///
    /// # Errors
    /// When it was not sent.
    pub fn start(&mut self, call: Call) -> Result<RequestId, RequestError> {
        if self.started.len() >= self.max_started {
            return Err(RequestError::TooManyPending {
                limit: self.max_started,
            });
        }
        let id = self.conn.request(os::now(), call)?;
        self.started.insert(id.clone(), Instant::now());
        let conn = &mut self.conn;
        self.socket.transmit(|| conn.poll_transmit());
        Ok(id)
    }

    /// Waits for the result of a call that was started. A result can be fetched once.
    ///
    /// # Errors
    /// When there is none.
    pub fn wait(&mut self, id: &RequestId) -> Result<RawJson, CallError> {
        loop {
            if let Some(outcome) = self.answers.remove(id) {
                if let Some(since) = self.started.remove(id) {
                    self.timings.record(Stage::Call, since);
                }
                return Ok(outcome?);
            }
            if !self.started.contains_key(id) {
                return Err(RequestError::NotConnected.into());
            }
            if let Err(interrupt) = self.budget.check() {
                self.started.remove(id);
                self.conn.cancel(id);
                return Err(match interrupt {
                    Interrupt::Cancelled => CallError::Cancelled,
                    Interrupt::Deadline => NoAnswer::Timeout.into(),
                });
            }
            turn(
                &mut self.conn,
                &mut self.socket,
                &mut self.waiter,
                self.budget.deadline,
            );
            while let Some(event) = self.conn.poll_event() {
                match event {
                    Event::Answer { id, outcome } => {
                        if self.started.contains_key(&id) {
                            self.answers.insert(id, outcome);
                        }
                    }
                    Event::Accepted { .. }
                    | Event::Ended(_)
                    | Event::Event(_)
                    | Event::Gap(_)
                    | Event::Hello(_) => {}
                }
            }
        }
    }

    /// Closes in good order: the gateway gets [`Limits::close_grace`] to answer.
    pub fn close(mut self) {
        self.conn.close(os::now());
        while self.conn.stage() != ConnStage::Closed && self.budget.check().is_ok() {
            turn(
                &mut self.conn,
                &mut self.socket,
                &mut self.waiter,
                self.budget.deadline,
            );
            while self.conn.poll_event().is_some() {}
        }
    }
}

impl Opening {
    fn handshake(&mut self, timings: &mut Timings) -> Result<Hello, (Stage, Problem)> {
        let mut start = Instant::now();
        let mut stage = Stage::Challenge;
        loop {
            turn(
                &mut self.conn,
                &mut self.socket,
                &mut self.waiter,
                self.budget.deadline,
            );
            if stage == Stage::Challenge && self.conn.stage() > ConnStage::AwaitChallenge {
                // A connection that has ended has reached the next stage only if `connect` went
                // out, which the ending tells better.
                if self.conn.stage() <= ConnStage::Established {
                    timings.record(Stage::Challenge, start);
                    stage = Stage::Hello;
                    start = Instant::now();
                }
            }
            while let Some(event) = self.conn.poll_event() {
                match event {
                    Event::Hello(hello) => {
                        timings.record(Stage::Hello, start);
                        return Ok(*hello);
                    }
                    Event::Ended(ending) => {
                        let conn = &mut self.conn;
                        self.socket.transmit(|| conn.poll_transmit());
                        let stage = match ending {
                            Ending::Refused(_) => Stage::Hello,
                            Ending::Closed { .. }
                            | Ending::Failed(_)
                            | Ending::Lost
                            | Ending::Stopped => stage,
                        };
                        return Err((stage, Problem::Ended(ending)));
                    }
                    Event::Accepted { .. }
                    | Event::Answer { .. }
                    | Event::Event(_)
                    | Event::Gap(_) => {}
                }
            }
            self.budget
                .check()
                .map_err(|interrupt| (stage, interrupt.into()))?;
        }
    }
}

/// Messages that are taken before anything else gets its turn.
const BURST: usize = 32;

/// Writes, reads, and waits for whatever is next if there was nothing to read. Events are left to
/// the caller.
fn turn(
    conn: &mut ClientConn,
    socket: &mut Socket,
    waiter: &mut Waiter,
    deadline: Option<Instant>,
) {
    if socket.transmit(|| conn.poll_transmit()) == Sent::Terminate {
        return;
    }
    if pump(conn, socket) == Pumped::Nothing {
        let due = conn.poll_timeout().map(|(at, _)| at);
        let until = [due, deadline].into_iter().flatten().min();
        if waiter.wait(until).is_err() {
            conn.handle_disconnect();
        }
    }
    let now = os::now();
    if conn.poll_timeout().is_some_and(|(at, _)| at <= now.mono) {
        conn.handle_timeout(now);
    }
    socket.transmit(|| conn.poll_transmit());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pumped {
    Nothing,
    Something,
}

fn pump(conn: &mut ClientConn, socket: &mut Socket) -> Pumped {
    let mut pumped = Pumped::Nothing;
    for _ in 0..BURST {
        match socket.receive() {
            Received::Nothing => return pumped,
            // The machine keeps its failure and reports it as the ending.
            Received::Text(text) => drop(conn.handle_text(os::now(), text)),
            Received::Binary(bytes) => drop(conn.handle_binary(os::now(), bytes)),
            Received::Close { code, reason } => conn.handle_close(code, reason.as_str()),
            Received::Lost => {
                conn.handle_disconnect();
                return Pumped::Something;
            }
            Received::Oversized => conn.handle_oversized(os::now()),
            Received::Other => {}
        }
        pumped = Pumped::Something;
        if conn.stage() == ConnStage::Closed {
            break;
        }
    }
    pumped
}

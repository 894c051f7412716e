//! A client that lasts: one connection after the other.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use bytestring::ByteString;

use super::{
    Action, Attempt, AttemptId, Backoff, Call, ClientConn, DialFailure, Disconnected, Ending,
    Event, Gap, Limits, Next, PauseReason, Phase, Profile, RequestError, RetryHint, SessionEvent,
    SessionTimer, Stage, Target, Verdict, judge,
    resume::Resumption,
    verdict::{close_spoils_stored_token, spoils_stored_token},
};
use crate::{
    error::Error,
    ids::RequestId,
    protocol::RESUME_CAP,
    rng::{Rng, Seed},
    time::{Now, Timers},
    transmit::Transmit,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Dial,
    Retry,
    Total,
}

#[derive(Debug)]
enum State {
    Dialling(AttemptId),
    Connected(AttemptId, Box<ClientConn>),
    Waiting,
    Paused,
    Stopped,
}

/// A lasting client. It dials at once, dials again after each loss, and stops to think when the
/// gateway says that trying again is useless.
///
/// ```
/// use std::time::Instant;
/// use clawgate_core::{
///     client::{Action, DialFailure, Limits, Phase, Profile, Route, Session, SessionTimer, Target},
///     policy::{Endpoint, Scheme},
///     protocol::{AuthParams, ClientId, ClientInfo, ClientMode},
///     time::{Now, WallTime},
/// };
///
/// # #[allow(clippy::disallowed_methods)]
/// let now = Now { mono: Instant::now(), wall: WallTime(1_737_264_000_000) };
/// let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1.0.0", "linux");
/// let route = Route::unpinned(Endpoint::local(Scheme::Ws, 18789));
/// let target = Target::new(route, AuthParams::default(), None);
/// let profile = Profile::operator(info, vec![]);
/// let mut session = Session::new(target, profile, Limits::default(), [7; 32], now);
///
/// let Some(Action::Dial(attempt)) = session.poll_action() else { panic!() };
/// session.dial_failed(now, attempt, DialFailure::Transient("connection refused".into()));
/// assert!(session.poll_event().is_some()); // Disconnected, with the time of the next attempt
/// assert_eq!(session.phase(), Phase::Waiting);
///
/// let (at, timer) = session.poll_timeout().unwrap();
/// assert_eq!(timer, SessionTimer::Retry);
/// session.handle_timeout(now.after(at - now.mono));
/// assert!(matches!(session.poll_action(), Some(Action::Dial(_))));
/// ```
#[derive(Debug)]
pub struct Session {
    target: Target,
    profile: Profile,
    limits: Limits,
    rng: Rng,
    backoff: Backoff,
    state: State,
    attempts: u64,
    device_retry: DeviceRetry,
    resumption: Resumption,
    timers: Timers<Own>,
    actions: VecDeque<Action>,
    events: VecDeque<SessionEvent>,
}

/// Whether the stored device token was already offered beside a refused shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeviceRetry {
    Available,
    /// The attempt that is under way makes the offer.
    UnderWay,
    Spent,
}

impl Session {
    /// Starts with an [`Action::Dial`]. `limits.total`, where given, is for the session as a whole.
    pub fn new(target: Target, profile: Profile, limits: Limits, seed: Seed, now: Now) -> Self {
        let mut rng = Rng::new(seed);
        let mut session = Self {
            backoff: Backoff::new(Rng::new(rng.seed())),
            rng,
            resumption: Resumption::of(&profile),
            target,
            profile,
            state: State::Waiting,
            attempts: 0,
            device_retry: DeviceRetry::Available,
            timers: Timers::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            limits,
        };
        if let Some(total) = session.limits.total {
            session.timers.arm(Own::Total, now.mono + total);
        }
        session.dial(now);
        session
    }

    /// Reports an attempt as dialled: the WebSocket is open and nothing was read from it.
    pub fn dialled(&mut self, now: Now, attempt: AttemptId) {
        if !matches!(self.state, State::Dialling(current) if current == attempt) {
            return;
        }
        self.timers.disarm(Own::Dial);
        let auth = match self.device_retry {
            DeviceRetry::UnderWay => self.target.auth_with_device_token(),
            DeviceRetry::Available | DeviceRetry::Spent => self.target.auth(),
        };
        let limits = Limits {
            total: None,
            ..self.limits.clone()
        };
        let conn = ClientConn::with_auth(auth, self.profile.clone(), limits, self.rng.seed(), now);
        self.state = State::Connected(attempt, Box::new(conn));
    }

    /// Reports an attempt as failed.
    pub fn dial_failed(&mut self, now: Now, attempt: AttemptId, failure: DialFailure) {
        if !matches!(self.state, State::Dialling(current) if current == attempt) {
            return;
        }
        // The host has given the attempt up by itself.
        self.state = State::Waiting;
        match failure {
            DialFailure::Final(message) => self.pause(
                Disconnected::Dial(message.clone()),
                PauseReason {
                    code: "DIAL_FAILED".into(),
                    message,
                },
            ),
            DialFailure::Transient(message) => {
                self.retry(now, Disconnected::Dial(message), RetryHint::Backoff);
            }
        }
    }

    /// Takes a text message of the attempt's socket.
    ///
    /// # Errors
    /// When the connection failed. The session goes on by itself: read its events.
    pub fn handle_text(&mut self, now: Now, text: ByteString) -> Result<(), Error> {
        let result = self
            .conn()
            .map_or(Ok(()), |conn| conn.handle_text(now, text));
        self.collect(now);
        result
    }

    /// Takes a binary message of the attempt's socket.
    ///
    /// # Errors
    /// As [`Session::handle_text`].
    pub fn handle_binary(&mut self, now: Now, bytes: Bytes) -> Result<(), Error> {
        let result = self
            .conn()
            .map_or(Ok(()), |conn| conn.handle_binary(now, bytes));
        self.collect(now);
        result
    }

    /// Takes the gateway's close frame.
    pub fn handle_close(&mut self, now: Now, code: Option<u16>, reason: &str) {
        if let Some(conn) = self.conn() {
            conn.handle_close(code, reason);
        }
        self.collect(now);
    }

    /// Takes the end of the attempt's transport.
    pub fn handle_disconnect(&mut self, now: Now) {
        if let Some(conn) = self.conn() {
            conn.handle_disconnect();
        }
        self.collect(now);
    }

    /// Takes a message that is over the host's receive limit.
    pub fn handle_oversized(&mut self, now: Now) {
        if let Some(conn) = self.conn() {
            conn.handle_oversized(now);
        }
        self.collect(now);
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.timers.expired(now.mono) {
            match timer {
                Own::Dial => self.retry(now, Disconnected::DialTimeout, RetryHint::Backoff),
                Own::Retry => self.dial(now),
                Own::Total => self.stop(now),
            }
        }
        if let Some(conn) = self.conn() {
            conn.handle_timeout(now);
        }
        self.collect(now);
    }

    /// Sends a call over the present connection.
    ///
    /// # Errors
    /// When it was not sent. Nothing is kept for a later connection.
    pub fn request(&mut self, now: Now, call: Call) -> Result<RequestId, RequestError> {
        self.conn().map_or(Err(RequestError::NotConnected), |conn| {
            conn.request(now, call)
        })
    }

    /// Forgets a call, as [`ClientConn::cancel`].
    pub fn cancel(&mut self, id: &RequestId) -> bool {
        self.conn().is_some_and(|conn| conn.cancel(id))
    }

    /// Dials at once, out of a pause or a wait. For the moment when somebody has changed what was
    /// wrong.
    pub fn resume(&mut self, now: Now) {
        if matches!(self.state, State::Paused | State::Waiting) {
            self.dial(now);
        }
    }

    /// Ends the session. An open connection is closed in good order: go on until
    /// [`Session::phase`] is [`Phase::Stopped`].
    pub fn stop(&mut self, now: Now) {
        self.timers.disarm_all();
        match &mut self.state {
            State::Connected(_, conn) => {
                conn.close(now);
                self.collect(now);
            }
            State::Dialling(attempt) => {
                self.actions.push_back(Action::Abort(*attempt));
                self.stopped(Disconnected::Conn(Ending::Stopped));
            }
            State::Waiting | State::Paused => {
                self.stopped(Disconnected::Conn(Ending::Stopped));
            }
            State::Stopped => {}
        }
    }

    /// The next thing for the host to do. Call it after every input.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next thing to write to the present socket. Call it after every input.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.conn()?.poll_transmit()
    }

    /// The next event. Call it after every input until it gives `None`.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// When to call [`Session::handle_timeout`], and what for. It may change with every input.
    pub fn poll_timeout(&self) -> Option<(Instant, SessionTimer)> {
        let own = self.timers.next().map(|(at, timer)| {
            let timer = match timer {
                Own::Dial => SessionTimer::Dial,
                Own::Retry => SessionTimer::Retry,
                Own::Total => SessionTimer::Total,
            };
            (at, timer)
        });
        let conn = match &self.state {
            State::Connected(_, conn) => conn.poll_timeout(),
            State::Dialling(_) | State::Waiting | State::Paused | State::Stopped => None,
        };
        own.into_iter()
            .chain(conn.map(|(at, timer)| (at, SessionTimer::Conn(timer))))
            .min_by_key(|(at, _)| *at)
    }

    /// Where to dial.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Where the session stands.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Connected(_, conn) => match conn.stage() {
                Stage::AwaitChallenge | Stage::AwaitHello => Phase::Connecting,
                Stage::Established => Phase::Connected,
                Stage::Closing => Phase::Stopping,
                Stage::Closed => Phase::Stopped,
            },
            State::Dialling(_) => Phase::Connecting,
            State::Waiting => Phase::Waiting,
            State::Paused => Phase::Paused,
            State::Stopped => Phase::Stopped,
        }
    }

    fn conn(&mut self) -> Option<&mut ClientConn> {
        match &mut self.state {
            State::Connected(_, conn) => Some(conn),
            State::Dialling(_) | State::Waiting | State::Paused | State::Stopped => None,
        }
    }

    fn dial(&mut self, now: Now) {
        self.timers.disarm(Own::Retry);
        self.attempts += 1;
        let attempt = AttemptId(self.attempts);
        self.state = State::Dialling(attempt);
        self.timers.arm(Own::Dial, now.mono + self.limits.connect);
        self.actions.push_back(Action::Dial(attempt));
    }

    /// Passes the connection's events on, and acts on its end.
    fn collect(&mut self, now: Now) {
        while let Some(event) = self.conn().and_then(ClientConn::poll_event) {
            match event {
                Event::Accepted { id, payload } => {
                    self.events
                        .push_back(SessionEvent::Accepted { id, payload });
                }
                Event::Answer { id, outcome } if self.resumption.is_its(&id) => {
                    self.events.extend(self.resumption.answered(outcome));
                }
                Event::Answer { id, outcome } => {
                    self.events.push_back(SessionEvent::Answer { id, outcome });
                }
                Event::Ended(ending) => {
                    self.resumption.cut();
                    self.on_ended(now, ending);
                }
                Event::Event(event) => {
                    let events = self.resumption.arrived(event, self.limits.max_events);
                    self.events.extend(events);
                }
                Event::Gap(gap) if self.resumption.covers() => self.ask_for_past(now, gap),
                Event::Gap(gap) => self.events.push_back(SessionEvent::Gap(gap)),
                Event::Hello(hello) => {
                    self.backoff.reset();
                    self.device_retry = DeviceRetry::Available;
                    if let Some(issued) = &hello.device_token {
                        self.target.store(issued.token.clone());
                    }
                    let offered = hello.capabilities.iter().any(|cap| cap == RESUME_CAP);
                    self.events.push_back(SessionEvent::Connected(hello));
                    self.events.extend(self.resumption.connected(offered));
                    if self.resumption.is_offered() {
                        self.ask_for_events(now);
                    }
                }
            }
        }
        if let State::Connected(_, conn) = &self.state
            && conn.stage() == Stage::Closed
            && !conn.wants_write()
        {
            self.state = State::Stopped;
        }
    }

    /// Events are missing in the middle of a connection: the gateway may still have them.
    fn ask_for_past(&mut self, now: Now, gap: Gap) {
        if !self.ask_for_events(now) {
            self.events.push_back(SessionEvent::Gap(gap));
        }
    }

    /// Asks for what was missed, unless it is being asked for. Tells whether it is on its way.
    fn ask_for_events(&mut self, now: Now) -> bool {
        if self.resumption.is_asking() {
            return true;
        }
        let call = Call::new("events.resume", self.resumption.question());
        match self.request(now, call) {
            Ok(id) => {
                self.resumption.asked(id);
                true
            }
            Err(_) => false,
        }
    }

    fn on_ended(&mut self, now: Now, ending: Ending) {
        let attempt = self.attempt();
        let why = Disconnected::Conn(ending.clone());
        match ending {
            Ending::Stopped => {
                // The connection stays for its close handshake.
                let next = Next::Stop;
                self.events
                    .push_back(SessionEvent::Disconnected { why, next });
            }
            Ending::Refused(error) => {
                if spoils_stored_token(&error, attempt) {
                    self.forget_stored();
                }
                let verdict = judge(&error, attempt);
                if self.device_retry == DeviceRetry::UnderWay {
                    self.device_retry = DeviceRetry::Spent;
                }
                match verdict {
                    Verdict::Pause(reason) => self.pause(why, reason),
                    Verdict::Retry(hint) => self.retry(now, why, hint),
                    Verdict::RetryWithDeviceToken => {
                        self.device_retry = DeviceRetry::UnderWay;
                        self.retry(now, why, RetryHint::Soon);
                    }
                }
            }
            Ending::Closed { code, reason } => {
                if close_spoils_stored_token(code, reason.as_str(), attempt) {
                    self.forget_stored();
                }
                self.retry(now, why, RetryHint::Backoff);
            }
            Ending::Failed(Error::Local(misuse)) => {
                let reason = PauseReason {
                    code: "CONNECT_IMPOSSIBLE".into(),
                    message: misuse.to_string(),
                };
                self.pause(why, reason);
            }
            Ending::Failed(Error::Peer(_)) | Ending::Lost => {
                self.retry(now, why, RetryHint::Backoff);
            }
        }
    }

    fn attempt(&self) -> Attempt {
        match (self.target.attempt(), self.device_retry) {
            (Attempt::Replaceable, DeviceRetry::Spent) => Attempt::Plain,
            (Attempt::Replaceable, DeviceRetry::UnderWay) => Attempt::Stored,
            (
                attempt @ (Attempt::Plain | Attempt::Replaceable | Attempt::Stored),
                DeviceRetry::Available | DeviceRetry::Spent | DeviceRetry::UnderWay,
            ) => attempt,
        }
    }

    fn forget_stored(&mut self) {
        self.target.forget_stored();
        self.events.push_back(SessionEvent::ForgetDeviceToken);
    }

    fn retry(&mut self, now: Now, why: Disconnected, hint: RetryHint) {
        let delay = self.backoff.next_delay(hint);
        self.leave();
        self.state = State::Waiting;
        self.timers.arm(Own::Retry, now.mono + delay);
        let next = Next::Retry(delay);
        self.events
            .push_back(SessionEvent::Disconnected { why, next });
    }

    fn pause(&mut self, why: Disconnected, reason: PauseReason) {
        self.leave();
        self.state = State::Paused;
        let next = Next::Paused(reason);
        self.events
            .push_back(SessionEvent::Disconnected { why, next });
    }

    fn stopped(&mut self, why: Disconnected) {
        self.state = State::Stopped;
        let next = Next::Stop;
        self.events
            .push_back(SessionEvent::Disconnected { why, next });
    }

    /// Gives the present attempt up.
    fn leave(&mut self) {
        self.timers.disarm(Own::Dial);
        match &mut self.state {
            State::Dialling(attempt) => self.actions.push_back(Action::Abort(*attempt)),
            State::Connected(attempt, conn) => {
                let attempt = *attempt;
                let action = match conn.poll_transmit() {
                    Some(Transmit::Close { code, reason }) => Action::Close {
                        attempt,
                        code,
                        reason,
                    },
                    Some(Transmit::Ping | Transmit::Terminate | Transmit::Text(_)) | None => {
                        Action::Abort(attempt)
                    }
                };
                self.actions.push_back(action);
            }
            State::Waiting | State::Paused | State::Stopped => {}
        }
    }
}

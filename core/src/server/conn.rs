//! The connection machine.

use std::{collections::VecDeque, fmt, sync::Arc, time::Instant};

use bytestring::ByteString;
use serde_json::json;

use super::{
    Admission, Delivery, Event, PeerFacts, Refusal, TransportFault,
    handshake::{self, Rejected},
    outbox::{Numbers, Outbox, Overflow},
};
use crate::{
    error::{ApiMisuse, Error, PeerFault},
    frame::{
        Droppable, FrameError, OutboundEvent, RawJson, Request, encode_response,
        id_of_broken_request,
    },
    ids::RequestId,
    limits::Limits,
    methods::{self, Denied, METHODS},
    metrics::{CallResult, CloseCause, ConnCounts, HandshakeResult},
    protocol::{CloseCode, CloseReason, RESUME_CAP, Role, RpcError},
    rng::{Rng, Seed},
    scope::ScopeSet,
    time::{Now, Timers},
    transmit::Transmit,
};

/// Why a connection wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The other side takes too long to close.
    CloseGrace,
    /// The handshake takes too long.
    Handshake,
    /// A ping is due.
    Ping,
    /// A pong is overdue.
    Pong,
}

/// The gateway's side of one connection.
///
/// After each `handle_*` call, drain [`ServerConn::poll_event`] until it gives `None`, and re-arm
/// [`ServerConn::poll_timeout`]. [`ServerConn::deliver`] may be called at any time. What
/// [`ServerConn::poll_transmit`] gives is written in order, and reported by
/// [`ServerConn::handle_written`] once it has left: the difference is the buffer that
/// `max_buffered_bytes` limits.
///
/// ```
/// use std::{sync::Arc, time::Instant};
/// use clawgate_core::{
///     limits::Limits,
///     server::{PeerFacts, ServerConn},
///     time::{Now, WallTime},
///     transmit::Transmit,
/// };
///
/// # #[allow(clippy::disallowed_methods)]
/// let now = Now { mono: Instant::now(), wall: WallTime(1_737_264_000_000) };
/// let peer = PeerFacts::direct([127, 0, 0, 1].into());
/// let mut conn = ServerConn::new(Arc::new(Limits::default()), peer, [7; 32], now);
///
/// // The server speaks first.
/// let Some(Transmit::Text(challenge)) = conn.poll_transmit() else { panic!() };
/// assert!(challenge.contains("connect.challenge"));
///
/// // Whatever is not a `connect` ends the connection.
/// let frame = r#"{"type":"req","id":"1","method":"health"}"#;
/// assert!(conn.handle_text(now, frame.into()).is_err());
/// assert!(matches!(conn.poll_transmit(), Some(Transmit::Text(_)))); // the error, for request 1
/// assert!(matches!(conn.poll_transmit(), Some(Transmit::Close { .. })));
/// ```
#[derive(Debug)]
pub struct ServerConn {
    limits: Arc<Limits>,
    state: State,
    outbox: Outbox,
    events: VecDeque<Event>,
    timers: Timers<Timer>,
    failure: Option<Error>,
    /// What is counted here and not in the outbox.
    counts: ConnCounts,
}

#[derive(Debug)]
enum State {
    AwaitConnect(Box<Handshake>),
    Deciding(Box<Deciding>),
    Established(Established),
    /// A close is on its way, or the socket is gone.
    Closed,
}

#[derive(Debug)]
struct Handshake {
    nonce: String,
    peer: PeerFacts,
}

struct Deciding {
    id: RequestId,
    /// Whether the client wants the gateway's own numbers of events.
    numbers: Numbers,
    /// Frames that came before the decision.
    early: VecDeque<ByteString>,
}

impl fmt::Debug for Deciding {
    /// Shows the number of early frames only: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deciding")
            .field("id", &self.id)
            .field("early", &self.early.len())
            .finish()
    }
}

#[derive(Debug)]
struct Established {
    role: Role,
    scopes: ScopeSet,
    in_flight: usize,
    role_violations: u32,
}

impl ServerConn {
    /// Starts with the challenge in the outbound buffer and the handshake deadline armed.
    pub fn new(limits: Arc<Limits>, peer: PeerFacts, seed: Seed, now: Now) -> Self {
        let nonce = Rng::new(seed).uuid();
        let mut conn = Self {
            outbox: Outbox::default(),
            events: VecDeque::new(),
            timers: Timers::new(),
            failure: None,
            counts: ConnCounts::default(),
            state: State::Closed,
            limits,
        };
        let challenge = json!({ "nonce": nonce, "ts": now.wall.0, "capabilities": [] });
        // A JSON value always has a text.
        if let Ok(payload) = RawJson::encode(&challenge) {
            let event = OutboundEvent::new("connect.challenge", &payload, None, Droppable::Never);
            conn.send(now, event.encode(None));
        }
        conn.timers
            .arm(Timer::Handshake, now.mono + conn.limits.handshake);
        conn.state = State::AwaitConnect(Box::new(Handshake { nonce, peer }));
        conn
    }

    /// Takes a text message, or a binary one whose bytes are UTF-8.
    ///
    /// # Errors
    /// When the connection has failed, now or before.
    pub fn handle_text(&mut self, now: Now, text: ByteString) -> Result<(), Error> {
        self.check_input()?;
        self.timers.disarm(Timer::Pong);
        self.counts.messages_in = self.counts.messages_in.wrapping_add(1);
        self.counts.bytes_in = self.counts.bytes_in.wrapping_add(text.len() as u64);
        if text.len() > self.frame_limit() {
            let fault = self.oversized();
            return self.fail(now, CloseCause::Oversized, fault);
        }
        match &mut self.state {
            State::AwaitConnect(handshake) => {
                let frame = Request::parse(&text);
                match handshake::check(frame, &handshake.peer, &handshake.nonce, now.wall) {
                    Ok((id, connect)) => {
                        let resumes = connect.params.caps.iter().any(|cap| cap == RESUME_CAP);
                        self.state = State::Deciding(Box::new(Deciding {
                            id,
                            numbers: if resumes {
                                Numbers::Shown
                            } else {
                                Numbers::LeftOut
                            },
                            early: VecDeque::new(),
                        }));
                        self.events.push_back(Event::Connect(connect));
                        Ok(())
                    }
                    Err(rejected) => self.reject(now, rejected),
                }
            }
            State::Deciding(deciding) => {
                if deciding.early.len() >= self.limits.max_handshake_frames {
                    let reason = "too many pending handshake frames";
                    let fault = PeerFault::new(CloseCode::Policy, reason);
                    return self.fail(now, CloseCause::Impatient, fault);
                }
                deciding.early.push_back(text);
                Ok(())
            }
            State::Established(_) => self.handle_request(now, &text),
            State::Closed => Ok(()),
        }
    }

    /// Takes a binary message: its bytes are decoded as UTF-8 text (spec protocol §1).
    ///
    /// # Errors
    /// When they are not UTF-8, or the connection has failed.
    pub fn handle_binary(&mut self, now: Now, bytes: bytes::Bytes) -> Result<(), Error> {
        if let Ok(text) = ByteString::try_from(bytes) {
            self.handle_text(now, text)
        } else {
            self.check_input()?;
            self.fail(now, CloseCause::Protocol, not_utf8())
        }
    }

    /// Takes a WebSocket pong.
    pub fn handle_pong(&mut self) {
        self.timers.disarm(Timer::Pong);
    }

    /// Takes the news that the host cannot read on. The connection closes with the code that
    /// fits.
    pub fn handle_fault(&mut self, now: Now, fault: TransportFault) {
        let (cause, fault) = match fault {
            TransportFault::NotUtf8 => (CloseCause::Protocol, not_utf8()),
            TransportFault::Oversized => (CloseCause::Oversized, self.oversized()),
            TransportFault::Protocol => {
                let fault = PeerFault::new(CloseCode::Protocol, "broken WebSocket frame");
                (CloseCause::Protocol, fault)
            }
        };
        let _ = self.fail(now, cause, fault);
    }

    /// Reports text bytes as written to the socket.
    pub fn handle_written(&mut self, bytes: usize) {
        self.outbox.written(bytes);
    }

    /// The peer closed, or the socket is gone. Nothing is sent any more.
    pub fn handle_closed(&mut self) {
        self.note_end(CloseCause::Peer);
        self.state = State::Closed;
        self.timers.disarm_all();
        self.events = VecDeque::new();
        self.outbox.terminate();
    }

    /// Acts on every timer that is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.timers.expired(now.mono) {
            match timer {
                Timer::CloseGrace => self.outbox.terminate(),
                Timer::Handshake => {
                    let fault = PeerFault::new(CloseCode::Policy, "handshake timeout");
                    let _ = self.fail(now, CloseCause::HandshakeTimeout, fault);
                }
                Timer::Ping => {
                    self.outbox.ping();
                    let next = now.mono + self.limits.ping_interval;
                    self.timers.arm(Timer::Ping, next);
                    // A pong that is still missing keeps its deadline: it is due together with
                    // this ping.
                    if !self.timers.is_armed(Timer::Pong) {
                        self.timers.arm(Timer::Pong, next);
                    }
                }
                Timer::Pong => {
                    let fault = PeerFault::new(CloseCode::TryAgainLater, "heartbeat timeout");
                    let _ = self.fail(now, CloseCause::Heartbeat, fault);
                    self.outbox.terminate();
                }
            }
        }
    }

    /// Takes a value from the gateway. What no longer fits the state is dropped: its request or
    /// connection is gone.
    pub fn deliver(&mut self, now: Now, delivery: Delivery) {
        match delivery {
            Delivery::Admit(admission) => self.admit(now, *admission),
            Delivery::Close { code, reason } => {
                self.close(now, CloseCause::Gateway, code, reason);
            }
            Delivery::Event(event) => {
                if matches!(self.state, State::Established(_)) {
                    let result = self.outbox.event(&event, self.limits.max_buffered_bytes);
                    self.check_overflow(now, result);
                }
            }
            Delivery::Interim { id, payload } => {
                if matches!(self.state, State::Established(_)) {
                    self.send(now, encode_response(&id, &Ok(payload)));
                }
            }
            Delivery::Refuse(refusal) => {
                if let State::Deciding(deciding) = &self.state {
                    let id = Some(deciding.id.clone());
                    let _ = self.reject(now, Rejected { id, refusal });
                }
            }
            Delivery::Response { id, outcome } => {
                if let State::Established(established) = &mut self.state {
                    established.in_flight = established.in_flight.saturating_sub(1);
                    self.send(now, encode_response(&id, &outcome));
                }
            }
            Delivery::Targeted(event) => {
                if matches!(self.state, State::Established(_)) {
                    self.send(now, event.encode(None));
                }
            }
        }
    }

    /// The next thing to write. Call it after every input and delivery, whenever the socket takes
    /// more.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop()
    }

    /// The next event. Call it after every `handle_*` until it gives `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() && self.events.capacity() > 0 {
            self.events = VecDeque::new();
        }
        event
    }

    /// When to call [`ServerConn::handle_timeout`], and what for. It may change with every input.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.timers.next()
    }

    /// Whether [`ServerConn::poll_transmit`] has something.
    pub fn wants_write(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether the handshake is done and no close is under way.
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// Whether a close is under way: nothing more is accepted.
    pub fn is_closing(&self) -> bool {
        self.outbox.is_closing()
    }

    /// Whether the socket is to be dropped at once, however full its buffers are.
    pub fn is_terminated(&self) -> bool {
        self.outbox.is_terminated()
    }

    /// Bytes of the largest message that is accepted in this state.
    pub fn frame_limit(&self) -> usize {
        match self.state {
            State::AwaitConnect(_) | State::Deciding(_) => self.limits.pre_auth_frame,
            State::Established(_) | State::Closed => self.limits.max_payload,
        }
    }

    /// Bytes that wait for the socket.
    pub fn buffered(&self) -> usize {
        self.outbox.buffered()
    }

    /// Events that were dropped because the buffer was full.
    pub fn dropped_events(&self) -> u64 {
        self.outbox.dropped()
    }

    /// What it has counted so far.
    pub fn counts(&self) -> ConnCounts {
        ConnCounts {
            bytes_out: self.outbox.sent(),
            dropped_events: self.outbox.dropped(),
            peak_buffered: self.outbox.peak(),
            ..self.counts
        }
    }

    /// Calls that wait for their answer.
    pub fn in_flight(&self) -> usize {
        match &self.state {
            State::Established(established) => established.in_flight,
            State::AwaitConnect(_) | State::Deciding(_) | State::Closed => 0,
        }
    }

    /// Why the connection failed, if it did.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    fn oversized(&self) -> PeerFault {
        let reason = match self.state {
            State::AwaitConnect(_) | State::Deciding(_) => "preauth payload too large",
            State::Established(_) | State::Closed => "payload too large",
        };
        PeerFault::new(CloseCode::TooBig, reason)
    }

    fn check_input(&self) -> Result<(), Error> {
        debug_assert!(
            self.events.is_empty(),
            "drain poll_event before the next input"
        );
        match (&self.failure, &self.state) {
            (Some(failure), _) => Err(failure.clone()),
            (None, State::Closed) => Err(ApiMisuse::InputAfterClose.into()),
            (None, State::AwaitConnect(_) | State::Deciding(_) | State::Established(_)) => Ok(()),
        }
    }

    fn handle_request(&mut self, now: Now, text: &ByteString) -> Result<(), Error> {
        let request = match Request::parse(text) {
            Ok(request) => request,
            // Nobody could match an answer to this (spec protocol §2).
            Err(FrameError::NotJson { .. }) => return Ok(()),
            Err(error @ (FrameError::Shape(_) | FrameError::TooDeep)) => {
                let id = match error {
                    FrameError::TooDeep => RequestId::new("invalid"),
                    FrameError::NotJson { .. } | FrameError::Shape(_) => id_of_broken_request(text),
                };
                let error = RpcError::invalid_request(format!("invalid request frame: {error}"));
                self.note_refused("", &id, CallResult::InvalidRequest);
                return self.answer(now, &id, error);
            }
        };
        if &*request.method == "connect" {
            let error = RpcError::invalid_request("connect is only valid as the first request");
            self.note_refused("", &request.id, CallResult::InvalidRequest);
            return self.answer(now, &request.id, error);
        }
        let State::Established(established) = &mut self.state else {
            return Ok(());
        };
        match methods::authorize(&request.method, established.role, &established.scopes) {
            Ok(method) => {
                established.role_violations = 0;
                if established.in_flight >= self.limits.max_in_flight {
                    let message = "too many calls in flight on this connection; wait for answers";
                    self.note_refused(method.name, &request.id, CallResult::TooMany);
                    return self.answer(now, &request.id, RpcError::retry_later(message, 100));
                }
                established.in_flight += 1;
                self.events.push_back(Event::Request { method, request });
                Ok(())
            }
            Err(Denied::Call(error)) => {
                established.role_violations = 0;
                let result = if error.detail_code() == Some("MISSING_SCOPE") {
                    CallResult::MissingScope
                } else {
                    CallResult::UnknownMethod
                };
                self.note_refused(&request.method, &request.id, result);
                self.answer(now, &request.id, error)
            }
            Err(Denied::Role(error)) => {
                established.role_violations += 1;
                let too_many = established.role_violations > self.limits.max_role_violations;
                self.note_refused(&request.method, &request.id, CallResult::WrongRole);
                self.answer(now, &request.id, error)?;
                if too_many {
                    let reason = "repeated unauthorized calls";
                    let fault = PeerFault::new(CloseCode::Policy, reason);
                    return self.fail(now, CloseCause::Unauthorized, fault);
                }
                Ok(())
            }
        }
    }

    /// The gateway is told of a call that it does not see.
    fn note_refused(&mut self, method: &str, id: &RequestId, result: CallResult) {
        self.events.push_back(Event::Refused {
            method: METHODS.iter().find(|spec| spec.name == method),
            id: id.clone(),
            result,
        });
    }

    /// The first reason is the one that counts.
    fn note_end(&mut self, cause: CloseCause) {
        if matches!(self.state, State::AwaitConnect(_) | State::Deciding(_)) {
            let result = match cause {
                CloseCause::HandshakeTimeout => HandshakeResult::TimedOut,
                CloseCause::Oversized | CloseCause::Impatient => HandshakeResult::TooLarge,
                CloseCause::Gateway => HandshakeResult::Unavailable,
                CloseCause::Protocol => HandshakeResult::Malformed,
                CloseCause::Heartbeat
                | CloseCause::Peer
                | CloseCause::Refused
                | CloseCause::SlowConsumer
                | CloseCause::Unauthorized => HandshakeResult::Gone,
            };
            self.counts.handshake.get_or_insert(result);
        }
        self.counts.closed.get_or_insert(cause);
    }

    fn answer(&mut self, now: Now, id: &RequestId, error: RpcError) -> Result<(), Error> {
        self.send(now, encode_response(id, &Err(error)));
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn admit(&mut self, now: Now, admission: Admission) {
        let State::Deciding(deciding) = &mut self.state else {
            return;
        };
        let id = deciding.id.clone();
        let early = std::mem::take(&mut deciding.early);
        self.outbox.show_numbers(deciding.numbers);
        self.counts.handshake = Some(HandshakeResult::Admitted);
        self.state = State::Established(Established {
            role: admission.role,
            scopes: admission.scopes,
            in_flight: 0,
            role_violations: 0,
        });
        self.timers.disarm(Timer::Handshake);
        self.timers
            .arm(Timer::Ping, now.mono + self.limits.ping_interval);
        self.send(now, encode_response(&id, &Ok(admission.hello)));
        for text in early {
            if self.handle_request(now, &text).is_err() {
                break;
            }
        }
    }

    fn reject(&mut self, now: Now, rejected: Rejected) -> Result<(), Error> {
        self.counts.handshake = Some(HandshakeResult::of(&rejected.refusal));
        let Refusal {
            error,
            code,
            reason,
        } = *rejected.refusal;
        let fault = PeerFault::new(code, reason.as_str());
        if let Some(id) = rejected.id {
            self.send(now, encode_response(&id, &Err(error)));
        }
        self.fail(now, CloseCause::Refused, fault)
    }

    fn fail(&mut self, now: Now, cause: CloseCause, fault: PeerFault) -> Result<(), Error> {
        let first = self.failure.get_or_insert_with(|| fault.clone().into());
        let error = first.clone();
        self.close(now, cause, fault.code, CloseReason::new(fault.reason));
        Err(error)
    }

    fn close(&mut self, now: Now, cause: CloseCause, code: CloseCode, reason: CloseReason) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.note_end(cause);
        self.state = State::Closed;
        self.outbox.close(code, reason);
        self.timers.disarm_all();
        self.timers
            .arm(Timer::CloseGrace, now.mono + self.limits.close_grace);
    }

    fn send(&mut self, now: Now, text: ByteString) {
        let result = self.outbox.text(text, self.limits.max_buffered_bytes);
        self.check_overflow(now, result);
    }

    fn check_overflow(&mut self, now: Now, result: Result<(), Overflow>) {
        if result == Err(Overflow) {
            self.outbox.discard();
            let fault = PeerFault::new(CloseCode::Policy, "slow consumer");
            let _ = self.fail(now, CloseCause::SlowConsumer, fault);
        }
    }
}

fn not_utf8() -> PeerFault {
    PeerFault::new(CloseCode::InvalidText, "message is not UTF-8")
}

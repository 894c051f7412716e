//! One dialled connection.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;

use super::{
    Call, CallError, Ending, Event, Hello, Limits, Profile, RequestError, Stage, Target, Timer,
    introduction::Introduction,
    pending::{Pending, Settled},
    sequence::Sequence,
};
use crate::{
    error::{ApiMisuse, Error, PeerFault},
    frame::{Incoming, IncomingEvent, IncomingResponse, RawJson, encode_request},
    ids::RequestId,
    limits::Limits as GatewayLimits,
    protocol::{AuthParams, CloseCode, CloseReason, RpcError},
    rng::{Rng, Seed},
    time::{Now, Timers},
    transmit::Transmit,
};

/// One dialled connection, from the upgraded WebSocket to its end.
///
/// ```
/// use std::time::Instant;
/// use clawgate_core::{
///     client::{Call, ClientConn, Event, Limits, Profile, Route, Target},
///     frame::RawJson,
///     policy::{Endpoint, Scheme},
///     protocol::{AuthParams, ClientId, ClientInfo, ClientMode},
///     time::{Now, WallTime},
///     transmit::Transmit,
/// };
///
/// # #[allow(clippy::disallowed_methods)]
/// let now = Now { mono: Instant::now(), wall: WallTime(1_737_264_000_000) };
/// let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1.0.0", "linux");
/// let profile = Profile::operator(info, vec!["operator.read".into()]);
/// let route = Route::unpinned(Endpoint::local(Scheme::Ws, 18789));
/// let target = Target::new(route, AuthParams::default(), None);
/// let mut conn = ClientConn::new(&target, profile, Limits::default(), [7; 32], now);
///
/// // The gateway speaks first; then `connect` goes out.
/// let challenge = r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
/// conn.handle_text(now, challenge.into())?;
/// let Some(Transmit::Text(connect)) = conn.poll_transmit() else { panic!() };
/// let id = connect.split('"').nth(7).unwrap();
///
/// // Any `ok` answer is a hello.
/// conn.handle_text(now, format!(r#"{{"type":"res","id":"{id}","ok":true}}"#).into())?;
/// assert!(matches!(conn.poll_event(), Some(Event::Hello(_))));
///
/// let call = conn.request(now, Call::new("health", RawJson::empty_object()))?;
/// assert!(matches!(conn.poll_transmit(), Some(Transmit::Text(_))));
/// let answer = format!(r#"{{"type":"res","id":"{call}","ok":true,"payload":{{"ok":true}}}}"#);
/// conn.handle_text(now, answer.into())?;
/// let Some(Event::Answer { id, outcome }) = conn.poll_event() else { panic!() };
/// assert_eq!((id, outcome.unwrap().as_str()), (call, r#"{"ok":true}"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ClientConn {
    limits: Limits,
    state: State,
    rng: Rng,
    calls_made: u64,
    pending: Pending,
    sequence: Sequence,
    outbox: VecDeque<Transmit>,
    buffered: usize,
    events: VecDeque<Event>,
    timers: Timers<Timer>,
    last_received: Instant,
    ignored: u64,
    dropped: u64,
    failure: Option<Error>,
}

#[derive(Debug)]
enum State {
    AwaitChallenge(Box<Introduction>),
    AwaitHello { connect: RequestId },
    Established { tick: Duration, max_payload: usize },
    Closing,
    Closed,
}

impl ClientConn {
    /// Starts to wait for the challenge, on a WebSocket that is open and from which nothing was
    /// read. The host must have dialled the target's route: its credentials will be sent.
    pub fn new(target: &Target, profile: Profile, limits: Limits, seed: Seed, now: Now) -> Self {
        Self::with_auth(target.auth(), profile, limits, seed, now)
    }

    pub(super) fn with_auth(
        auth: AuthParams,
        profile: Profile,
        limits: Limits,
        seed: Seed,
        now: Now,
    ) -> Self {
        let mut timers = Timers::new();
        timers.arm(Timer::Challenge, now.mono + limits.challenge);
        if let Some(total) = limits.total {
            timers.arm(Timer::Total, now.mono + total);
        }
        Self {
            limits,
            state: State::AwaitChallenge(Box::new(Introduction { profile, auth })),
            rng: Rng::new(seed),
            calls_made: 0,
            pending: Pending::default(),
            sequence: Sequence::default(),
            outbox: VecDeque::new(),
            buffered: 0,
            events: VecDeque::new(),
            timers,
            last_received: now.mono,
            ignored: 0,
            dropped: 0,
            failure: None,
        }
    }

    /// Takes a text message. One that is no frame of a gateway is ignored and counted.
    ///
    /// # Errors
    /// When the gateway broke the handshake, or the connection had failed or ended before.
    pub fn handle_text(&mut self, now: Now, text: ByteString) -> Result<(), Error> {
        self.check_input()?;
        let Ok(frame) = Incoming::parse(&text) else {
            self.ignored += 1;
            return Ok(());
        };
        self.last_received = now.mono;
        match (&self.state, frame) {
            (State::Closing | State::Closed, _) => Ok(()),
            (State::AwaitChallenge(_), Incoming::Event(event))
                if &*event.event == "connect.challenge" =>
            {
                self.on_challenge(now, &event.payload)
            }
            (State::AwaitHello { .. } | State::Established { .. }, Incoming::Event(event))
                if &*event.event != "connect.challenge" =>
            {
                self.on_event(event);
                Ok(())
            }
            (State::AwaitHello { connect }, Incoming::Response(response))
                if response.id == *connect =>
            {
                self.on_connect_answer(now, response.outcome);
                self.failure.clone().map_or(Ok(()), Err)
            }
            (State::Established { .. }, Incoming::Response(response)) => {
                self.on_answer(response);
                Ok(())
            }
            (
                State::AwaitChallenge(_) | State::AwaitHello { .. } | State::Established { .. },
                Incoming::Event(_) | Incoming::Response(_),
            ) => {
                self.ignored += 1;
                Ok(())
            }
        }
    }

    /// Takes a binary message, whose bytes should be UTF-8 text.
    ///
    /// # Errors
    /// As [`ClientConn::handle_text`].
    pub fn handle_binary(&mut self, now: Now, bytes: Bytes) -> Result<(), Error> {
        if let Ok(text) = ByteString::try_from(bytes) {
            return self.handle_text(now, text);
        }
        self.check_input()?;
        self.ignored += 1;
        Ok(())
    }

    /// Takes the gateway's close frame. The WebSocket library answers it.
    pub fn handle_close(&mut self, code: Option<u16>, reason: &str) {
        self.end(Ending::Closed {
            code,
            reason: CloseReason::new(reason),
        });
        self.finish();
    }

    /// Takes the end of the transport.
    pub fn handle_disconnect(&mut self) {
        self.end(Ending::Lost);
        self.finish();
    }

    /// Takes a message of which the host only knows that it is over its receive limit, because it
    /// stopped reading.
    pub fn handle_oversized(&mut self, now: Now) {
        self.fail(now, CloseCode::TooBig, "message over the receive limit");
    }

    /// Acts on every deadline that has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.timers.expired(now.mono) {
            match timer {
                Timer::Challenge => {
                    self.fail(now, CloseCode::Policy, "connect challenge timeout");
                }
                Timer::CloseGrace => {
                    self.finish();
                    self.push(Transmit::Terminate);
                }
                Timer::Connect => {
                    self.fail(now, CloseCode::ClientTimeout, "connect timeout");
                }
                Timer::Request => {}
                Timer::Tick => self.on_tick(now),
                Timer::Total => {
                    let reason = match self.stage() {
                        Stage::AwaitChallenge => "deadline passed before the challenge",
                        Stage::AwaitHello => "deadline passed before the answer to connect",
                        Stage::Established | Stage::Closing | Stage::Closed => "deadline passed",
                    };
                    self.fail(now, CloseCode::ClientTimeout, reason);
                }
            }
        }
        while let Some(id) = self.pending.expired(now.mono) {
            let outcome = Err(CallError::Timeout);
            self.events.push_back(Event::Answer { id, outcome });
        }
    }

    /// Sends a call. Its id comes back with [`Event::Answer`].
    ///
    /// # Errors
    /// When it was not sent. The connection is as it was.
    pub fn request(&mut self, now: Now, call: Call) -> Result<RequestId, RequestError> {
        let State::Established { max_payload, .. } = self.state else {
            return Err(RequestError::NotConnected);
        };
        if call.method.is_empty() {
            return Err(RequestError::NoMethod);
        }
        if self.pending.len() >= self.limits.max_pending {
            return Err(RequestError::TooManyPending {
                limit: self.limits.max_pending,
            });
        }
        let id = self.next_id();
        let text = encode_request(&id, &call.method, &call.params);
        if text.len() > max_payload {
            return Err(RequestError::TooBig {
                size: text.len(),
                limit: max_payload,
            });
        }
        if self.buffered + text.len() > self.limits.max_buffered_bytes {
            return Err(RequestError::BufferFull);
        }
        let deadline = call
            .time_limit(&self.limits)
            .and_then(|limit| now.mono.checked_add(limit));
        self.pending.insert(id.clone(), call.expect, deadline);
        self.push(Transmit::Text(text));
        Ok(id)
    }

    /// Forgets a call: no event will speak of it. The gateway may still carry it out, for the
    /// protocol cannot take a request back. Whether there was such a call is returned.
    pub fn cancel(&mut self, id: &RequestId) -> bool {
        self.pending.remove(id)
    }

    /// Closes the connection.
    pub fn close(&mut self, now: Now) {
        if self.end(Ending::Stopped) {
            self.send_close(now, CloseCode::Normal, "");
        }
    }

    /// The next thing to write. Call it after every input, whenever the socket takes more.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.outbox.pop_front()?;
        self.buffered = self.buffered.saturating_sub(transmit.buffered_len());
        Some(transmit)
    }

    /// The next event. Call it after every `handle_*` and `close` until it gives `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`ClientConn::handle_timeout`], and what for. It may change with every input.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let request = self.pending.next_deadline().map(|at| (at, Timer::Request));
        [self.timers.next(), request]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// Whether [`ClientConn::poll_transmit`] has something.
    pub fn wants_write(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// How far the connection has come.
    pub fn stage(&self) -> Stage {
        match self.state {
            State::AwaitChallenge(_) => Stage::AwaitChallenge,
            State::AwaitHello { .. } => Stage::AwaitHello,
            State::Established { .. } => Stage::Established,
            State::Closing => Stage::Closing,
            State::Closed => Stage::Closed,
        }
    }

    /// Calls that wait for an answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Messages that were no frame of a gateway, or nobody's answer.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Events that were dropped because the host did not read them.
    pub fn dropped_events(&self) -> u64 {
        self.dropped
    }

    /// Why the connection failed, if it did.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    fn check_input(&self) -> Result<(), Error> {
        match (&self.failure, &self.state) {
            (Some(failure), _) => Err(failure.clone()),
            (None, State::Closed) => Err(ApiMisuse::InputAfterClose.into()),
            (
                None,
                State::AwaitChallenge(_)
                | State::AwaitHello { .. }
                | State::Established { .. }
                | State::Closing,
            ) => Ok(()),
        }
    }

    fn on_challenge(&mut self, now: Now, payload: &RawJson) -> Result<(), Error> {
        let State::AwaitChallenge(introduction) = &self.state else {
            return Ok(());
        };
        let params = match introduction.answer(payload) {
            Ok(params) => params,
            Err(problem) => {
                self.fail(now, CloseCode::Policy, problem);
                return self.failure.clone().map_or(Ok(()), Err);
            }
        };
        let connect = self.next_id();
        let text = encode_request(&connect, "connect", &params);
        if text.len() > GatewayLimits::default().pre_auth_frame {
            let error = Error::Local(ApiMisuse::ConnectTooBig);
            self.failure = Some(error.clone());
            self.end(Ending::Failed(error.clone()));
            self.send_close(now, CloseCode::Normal, "");
            return Err(error);
        }
        self.state = State::AwaitHello { connect };
        self.timers.disarm(Timer::Challenge);
        self.timers
            .arm(Timer::Connect, now.mono + self.limits.connect);
        self.push(Transmit::Text(text));
        Ok(())
    }

    fn on_connect_answer(&mut self, now: Now, outcome: Result<RawJson, RpcError>) {
        self.timers.disarm(Timer::Connect);
        match outcome {
            Ok(payload) => {
                let hello = Hello::read(&payload);
                self.state = State::Established {
                    tick: hello.tick_interval,
                    max_payload: hello.max_payload,
                };
                self.arm_tick(now, hello.tick_interval);
                self.events.push_back(Event::Hello(Box::new(hello)));
            }
            Err(error) => {
                let fault = PeerFault::new(CloseCode::Policy, "connect failed");
                self.failure = Some(fault.into());
                self.end(Ending::Refused(error));
                self.send_close(now, CloseCode::Policy, "connect failed");
            }
        }
    }

    fn on_answer(&mut self, response: IncomingResponse) {
        let accepted = || response.outcome.as_ref().is_ok_and(is_accepted);
        match (self.pending.settle(&response.id, accepted), response) {
            (
                Settled::Accepted,
                IncomingResponse {
                    id,
                    outcome: Ok(payload),
                },
            ) => self.events.push_back(Event::Accepted { id, payload }),
            (Settled::Accepted | Settled::Done, IncomingResponse { id, outcome }) => {
                let outcome = outcome.map_err(CallError::Rpc);
                self.events.push_back(Event::Answer { id, outcome });
            }
            (Settled::Unknown, _) => self.ignored += 1,
        }
    }

    fn on_event(&mut self, event: IncomingEvent) {
        let gap = event.seq.and_then(|seq| self.sequence.observe(seq));
        for event in gap.map(Event::Gap).into_iter().chain([Event::Event(event)]) {
            if self.events.len() < self.limits.max_events {
                self.events.push_back(event);
            } else {
                self.dropped += 1;
            }
        }
    }

    fn on_tick(&mut self, now: Now) {
        let State::Established { tick, .. } = self.state else {
            return;
        };
        if now.mono.saturating_duration_since(self.last_received) > tick * 2 {
            self.fail(now, CloseCode::ClientTimeout, "tick timeout");
        } else {
            self.arm_tick(now, tick);
        }
    }

    fn arm_tick(&mut self, now: Now, tick: Duration) {
        let interval = tick.max(Duration::from_secs(1));
        self.timers.arm(Timer::Tick, now.mono + interval);
    }

    /// `"<n>:<uuid>"`: the number for people, the UUID so that no two connections share an id.
    fn next_id(&mut self) -> RequestId {
        self.calls_made += 1;
        RequestId::new(format!("{}:{}", self.calls_made, self.rng.uuid()))
    }

    fn push(&mut self, transmit: Transmit) {
        self.buffered += transmit.buffered_len();
        self.outbox.push_back(transmit);
    }

    fn fail(&mut self, now: Now, code: CloseCode, reason: &str) {
        let error = Error::from(PeerFault::new(code, reason));
        if self.end(Ending::Failed(error.clone())) {
            self.failure = Some(error);
            self.send_close(now, code, reason);
        }
    }

    /// Ends every call and reports why, once. What was not written is dropped, as its calls have
    /// been reported.
    fn end(&mut self, ending: Ending) -> bool {
        if matches!(self.state, State::Closing | State::Closed) {
            return false;
        }
        self.state = State::Closed;
        self.timers.disarm_all();
        self.outbox.clear();
        self.buffered = 0;
        for id in self.pending.drain() {
            let outcome = Err(CallError::Ended(ending.clone()));
            self.events.push_back(Event::Answer { id, outcome });
        }
        self.events.push_back(Event::Ended(ending));
        true
    }

    fn send_close(&mut self, now: Now, code: CloseCode, reason: &str) {
        self.state = State::Closing;
        self.timers
            .arm(Timer::CloseGrace, now.mono + self.limits.close_grace);
        self.push(Transmit::Close {
            code,
            reason: CloseReason::new(reason),
        });
    }

    /// The close handshake is over, or there is nothing left to do it with.
    fn finish(&mut self) {
        self.state = State::Closed;
        self.timers.disarm_all();
        self.outbox.clear();
        self.buffered = 0;
    }
}

fn is_accepted(payload: &RawJson) -> bool {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        status: serde_json::Value,
    }
    payload
        .parse::<Status>()
        .is_ok_and(|payload| payload.status == "accepted")
}

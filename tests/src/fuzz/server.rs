//! A body for the gateway's side of one connection.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use clawgate_core::{
    error::{ApiMisuse, Error},
    frame::{Droppable, FrameError, OutboundEvent, RawJson, Request},
    ids::RequestId,
    limits::Limits,
    methods,
    protocol::{CloseCode, CloseReason, Role, RpcError},
    scope::ScopeSet,
    server::{
        Admission, ConnectRequest, Delivery, Event, PeerFacts, Refusal, ServerConn, TransportFault,
    },
    time::Now,
    transmit::Transmit,
};

use super::script::{self, TOKEN};

/// A script of frames, times, writes and deliveries for one connection. Whoever shows the fixed
/// token is let in.
pub fn server_handshake(data: &[u8]) {
    let mut rig = Rig::new();
    for (operation, argument) in script::lines(data) {
        rig.operate(operation, argument);
        rig.check();
    }
    rig.finish();
}

/// What has left the connection so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sent {
    Texts,
    Close,
    Terminate,
}

struct Rig {
    conn: ServerConn,
    limits: Arc<Limits>,
    now: Now,
    nonce: String,
    /// A `connect` that is not decided, and whether the host is slow to decide.
    connect: Option<Box<ConnectRequest>>,
    slow: bool,
    scopes: ScopeSet,
    role: Role,
    requests: VecDeque<RequestId>,
    sent: Sent,
    unwritten: usize,
    /// Frames that are owed an answer, and answers that left.
    asked: usize,
    answered: usize,
    /// Events of the sequence, and the number of the last one that left.
    events: u64,
    last: u64,
    closed: bool,
}

impl Rig {
    fn new() -> Self {
        let limits = Arc::new(Limits {
            pre_auth_frame: 3_000,
            max_payload: 3_500,
            max_buffered_bytes: 6_000,
            max_in_flight: 4,
            max_handshake_frames: 3,
            max_role_violations: 3,
            handshake: Duration::from_secs(5),
            ping_interval: Duration::from_secs(4),
            ..Limits::default()
        });
        let now = script::start();
        let peer = PeerFacts::direct([127, 0, 0, 1].into());
        let mut conn = ServerConn::new(Arc::clone(&limits), peer, [7; 32], now);
        let Some(Transmit::Text(challenge)) = conn.poll_transmit() else {
            panic!("no challenge");
        };
        conn.handle_written(challenge.len());
        let challenge: serde_json::Value = json(&challenge);
        let nonce = challenge
            .pointer("/payload/nonce")
            .and_then(|nonce| nonce.as_str());
        let nonce = nonce.unwrap_or_default().to_owned();
        assert!(!nonce.is_empty());
        Self {
            conn,
            limits,
            now,
            nonce,
            connect: None,
            slow: false,
            scopes: ScopeSet::NONE,
            role: Role::Operator,
            requests: VecDeque::new(),
            sent: Sent::Texts,
            unwritten: 0,
            asked: 0,
            answered: 0,
            events: 0,
            last: 0,
            closed: false,
        }
    }

    fn operate(&mut self, operation: u8, argument: &[u8]) {
        match operation {
            b't' => {
                if let Some(text) = script::text(argument) {
                    self.say(text);
                }
            }
            b'b' => {
                let before = self.conn.failure().cloned();
                if script::text(argument).is_none() && !self.closed {
                    let result = self.conn.handle_binary(self.now, argument.to_vec().into());
                    self.check_result(before, result);
                }
            }
            b'c' => {
                let text = script::connect(argument, &self.nonce, self.now.wall.0);
                self.say(&text);
            }
            b'd' => self.decide(),
            b'e' => self.event(argument),
            b'f' => {
                let fault = match argument.first() {
                    Some(b'0') => TransportFault::NotUtf8,
                    Some(b'1') => TransportFault::Oversized,
                    _ => TransportFault::Protocol,
                };
                self.conn.handle_fault(self.now, fault);
            }
            b'h' => self.slow = true,
            b'k' => self.conn.deliver(
                self.now,
                Delivery::Close {
                    code: CloseCode::ServiceRestart,
                    reason: CloseReason::new("service restart"),
                },
            ),
            b'p' => self.conn.handle_pong(),
            b'r' => {
                for _ in 0..script::number(argument).clamp(1, 50) {
                    self.transmit();
                }
            }
            b'u' => self.conn.deliver(
                self.now,
                Delivery::Refuse(Box::new(Refusal::new(
                    RpcError::invalid_request("no"),
                    CloseCode::Policy,
                ))),
            ),
            b'w' => self.wait(script::millis(argument)),
            b'x' => self.answer(argument),
            b'a' => {
                self.conn.handle_written(self.unwritten);
                self.unwritten = 0;
            }
            b'z' => {
                self.conn.handle_closed();
                self.closed = true;
                assert_eq!(self.conn.poll_timeout(), None);
            }
            _ => {}
        }
        self.drain();
    }

    fn say(&mut self, text: &str) {
        if self.closed {
            return;
        }
        let before = self.conn.failure().cloned();
        let open = !self.conn.is_closing();
        let fits = text.len() <= self.conn.frame_limit();
        let answerable = match Request::parse(&text.into()) {
            Ok(_) => true,
            Err(FrameError::NotJson { .. }) => false,
            Err(FrameError::Shape(_) | FrameError::TooDeep) => {
                self.conn.is_established() || self.connect.is_some()
            }
        };
        let result = self.conn.handle_text(self.now, text.into());
        if open && fits && answerable {
            self.asked += 1;
        }
        self.check_result(before, result);
    }

    /// A failed connection stays failed, and says so in the same words.
    fn check_result(&self, before: Option<Error>, result: Result<(), Error>) {
        let failure = self.conn.failure();
        if before.is_some() {
            assert_eq!(failure, before.as_ref());
        }
        match (&result, failure) {
            (Ok(()), None) => {}
            (Err(Error::Local(ApiMisuse::InputAfterClose)), None) => {
                assert!(self.conn.is_closing());
            }
            (Err(error), Some(failure)) => {
                assert_eq!(error, failure);
                assert!(self.conn.is_closing());
            }
            _ => panic!("{result:?} with failure {failure:?}"),
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.conn.poll_event() {
            match event {
                Event::Connect(connect) => {
                    assert!(self.connect.is_none(), "a second connect");
                    assert!(!self.conn.is_established());
                    self.connect = Some(connect);
                    if !self.slow {
                        self.decide();
                    }
                }
                Event::Request { method, request } => {
                    assert_eq!(&*request.method, method.name);
                    assert!(methods::authorize(method.name, self.role, &self.scopes).is_ok());
                    self.requests.push_back(request.id);
                }
                Event::Refused { method, .. } => {
                    assert!(method.is_none_or(|method| {
                        methods::METHODS
                            .iter()
                            .any(|known| known.name == method.name)
                    }));
                }
            }
        }
    }

    fn decide(&mut self) {
        let Some(connect) = self.connect.take() else {
            return;
        };
        let token = connect.params.auth.token.as_ref();
        let delivery = if token.is_some_and(|token| token.expose() == TOKEN) {
            self.role = connect.role;
            self.scopes = ScopeSet::parse(&connect.params.scopes);
            Delivery::Admit(Box::new(Admission {
                role: self.role,
                scopes: self.scopes.clone(),
                hello: RawJson::empty_object(),
            }))
        } else {
            let error = RpcError::invalid_request("unauthorized");
            Delivery::Refuse(Box::new(Refusal::new(error, CloseCode::Policy)))
        };
        self.conn.deliver(self.now, delivery);
        if !self.conn.is_established() {
            return;
        }
        // Requests that came early are events now.
        let mut early = 0;
        while let Some(event) = self.conn.poll_event() {
            match event {
                Event::Connect(_) => panic!("a connect after the admission"),
                Event::Refused { .. } => {}
                Event::Request { request, .. } => self.requests.push_back(request.id),
            }
            early += 1;
        }
        assert!(early <= self.limits.max_handshake_frames);
    }

    fn event(&mut self, argument: &[u8]) {
        let (kind, size) = argument.split_first().unwrap_or((&b'd', b""));
        let size = usize::try_from(script::number(size).min(8_000)).unwrap_or_default();
        let payload = RawJson::encode(&"x".repeat(size))
            .unwrap_or_else(|error| panic!("a string without a JSON form: {error}"));
        let droppable = match kind {
            b'n' => Droppable::Never,
            _ => Droppable::IfSlow,
        };
        let event = OutboundEvent::new("e", &payload, None, droppable);
        if *kind == b't' {
            self.conn.deliver(self.now, Delivery::Targeted(event));
            return;
        }
        let established = self.conn.is_established();
        let fits = self.conn.buffered() + event.max_len() <= self.limits.max_buffered_bytes;
        let dropped = self.conn.dropped_events();
        self.conn.deliver(self.now, Delivery::Event(event));
        if established {
            self.events += 1;
            let drops = !fits && droppable == Droppable::IfSlow;
            assert_eq!(self.conn.dropped_events() - dropped, u64::from(drops));
            assert_eq!(self.conn.is_closing(), !fits && !drops);
        }
    }

    fn answer(&mut self, argument: &[u8]) {
        let known = self.requests.pop_front();
        if known.is_none() && !self.conn.is_closing() {
            // Nobody asked, so nothing may be answered by a host that keeps the rules.
            return;
        }
        let size = usize::try_from(script::number(argument).min(8_000)).unwrap_or_default();
        let outcome = if size % 2 == 0 {
            RawJson::encode(&"x".repeat(size)).map_err(|_| RpcError::invalid_request("no"))
        } else {
            Err(RpcError::invalid_request("x".repeat(size)))
        };
        let id = known.unwrap_or_else(|| RequestId::new("late"));
        self.conn
            .deliver(self.now, Delivery::Response { id, outcome });
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        for _ in 0..1_000 {
            let next = self.conn.poll_timeout().filter(|(at, _)| *at <= end.mono);
            let Some((at, _)) = next else { break };
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            self.conn.handle_timeout(self.now);
            let next = self.conn.poll_timeout();
            assert!(
                next.is_none_or(|(at, _)| at > self.now.mono),
                "a stale timer"
            );
        }
        self.now = end;
    }

    fn transmit(&mut self) {
        let Some(transmit) = self.conn.poll_transmit() else {
            return;
        };
        match transmit {
            Transmit::Text(text) => {
                assert_eq!(self.sent, Sent::Texts, "{text} comes after the end");
                self.unwritten += text.len();
                self.read(&text);
            }
            Transmit::Ping => assert_eq!(self.sent, Sent::Texts, "a ping after the end"),
            Transmit::Close { reason, .. } => {
                assert_eq!(self.sent, Sent::Texts, "a second close");
                assert!(reason.as_str().len() <= 120);
                self.sent = Sent::Close;
            }
            Transmit::Terminate => self.sent = Sent::Terminate,
        }
    }

    fn read(&mut self, text: &str) {
        let frame = json(text);
        match frame.get("type").and_then(|kind| kind.as_str()) {
            Some("event") => {
                if let Some(seq) = frame.get("seq").and_then(serde_json::Value::as_u64) {
                    assert!(self.last < seq && seq <= self.events, "number {seq}");
                    self.last = seq;
                }
            }
            Some("res") => {
                self.answered += 1;
                assert!(
                    self.answered <= self.asked,
                    "an answer that nobody asked for"
                );
            }
            _ => panic!("{text} is no frame of a gateway"),
        }
    }

    fn check(&self) {
        assert!(self.conn.buffered() <= self.limits.max_buffered_bytes);
        assert!(self.conn.in_flight() <= self.limits.max_in_flight);
        assert!(!self.conn.is_established() || self.conn.in_flight() == self.requests.len());
        assert!(!(self.conn.is_established() && self.conn.is_closing()));
    }

    /// Everything is written; what is owed is paid, or the connection is over.
    fn finish(&mut self) {
        while self.conn.wants_write() {
            self.transmit();
        }
        self.conn.handle_written(self.unwritten);
        assert!(self.closed || self.conn.buffered() == 0);
        if self.conn.is_established() {
            assert_eq!(self.asked, self.answered + self.requests.len());
            assert!(self.events >= self.last);
        } else if self.conn.is_closing() {
            assert!(self.sent >= Sent::Close);
            self.wait(Duration::from_secs(60));
            self.transmit();
            assert_eq!(self.sent, Sent::Terminate, "a close without an end");
            assert_eq!(self.conn.poll_timeout(), None);
        } else {
            // Nobody waits for ever for a handshake.
            self.wait(Duration::from_secs(60));
            assert!(self.conn.is_closing());
        }
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text} is no JSON: {error}"))
}

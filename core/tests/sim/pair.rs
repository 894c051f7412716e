//! The two machines and the link between them.
#![allow(unreachable_pub, reason = "a module of one test binary")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::common::{Host, token_rule};
use bytestring::ByteString;
use clawgate_core::{
    client::{
        Action, AttemptId, Call, CallError, DialFailure, Hello, Phase, Profile, Route, Session,
        SessionEvent, Target,
    },
    device::DeviceIdentity,
    frame::RawJson,
    gateway::{Effect, EffectOutcome, Gateway, ProcessStats},
    ids::{ConnId, RequestId},
    limits::Limits,
    policy::{Endpoint, Scheme},
    protocol::{AuthParams, ClientId, ClientInfo, ClientMode, CloseCode, CloseReason},
    rng::{Rng, Seed},
    secret::Secret,
    server::{PeerFacts, ServerConn},
    time::{Now, WallTime},
    transmit::Transmit,
};

/// What travels over the link.
#[derive(Debug)]
enum Parcel {
    Close(CloseCode, CloseReason),
    /// The transport has ended.
    End,
    Text(ByteString),
}

/// One direction: what was sent arrives later, and in order.
#[derive(Default)]
struct Lane {
    parcels: VecDeque<(Instant, Parcel)>,
}

impl Lane {
    fn send(&mut self, at: Instant, parcel: Parcel) {
        let at = self.parcels.back().map_or(at, |(last, _)| at.max(*last));
        self.parcels.push_back((at, parcel));
    }

    fn arrived(&mut self, now: Instant) -> Option<Parcel> {
        let (at, _) = self.parcels.front()?;
        (*at <= now)
            .then(|| self.parcels.pop_front())?
            .map(|(_, parcel)| parcel)
    }

    fn next(&self) -> Option<Instant> {
        self.parcels.front().map(|(at, _)| *at)
    }
}

/// How the link behaves.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The longest latency; each parcel draws its own.
    pub latency: Duration,
    /// The link is cut before this delivery, counted over the whole run.
    pub cut_at: Option<u64>,
    /// One of this many dials fails; 0 for none.
    pub dial_failures: u64,
}

pub const PERFECT: Link = Link {
    latency: Duration::ZERO,
    cut_at: None,
    dial_failures: 0,
};

pub struct Pair {
    pub session: Session,
    pub gateway: Gateway,
    pub limits: Arc<Limits>,
    pub server: Option<(ConnId, ServerConn)>,
    dialling: Option<(Instant, AttemptId)>,
    to_client: Lane,
    to_server: Lane,
    pub link: Link,
    rng: Rng,
    start: Instant,
    pub now: Now,
    pub conns: u64,
    deliveries: u64,
    pub open: BTreeMap<RequestId, &'static str>,
    pub answered: Vec<(&'static str, Result<RawJson, CallError>)>,
    pub hellos: Vec<Hello>,
    pub log: Vec<String>,
}

impl Pair {
    pub fn new(seed: Seed, token: &str, link: Link) -> Self {
        let now = Now {
            mono: Instant::now(),
            wall: WallTime(1_737_264_000_000),
        };
        let mut rng = Rng::new(seed);
        let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
        let mut profile = Profile::operator(info, vec!["operator.read".into()]);
        if rng.u64().is_multiple_of(2) {
            profile.device = Some(Arc::new(DeviceIdentity::from_seed(&rng.seed())));
        }
        let auth = AuthParams {
            token: Some(Secret::new(token)),
            ..AuthParams::default()
        };
        let route = Route::unpinned(Endpoint::local(Scheme::Ws, 1));
        let target = Target::new(route, auth, None);
        let limits = Limits::default();
        Self {
            session: Session::new(
                target,
                profile,
                clawgate_core::client::Limits::default(),
                rng.seed(),
                now,
            ),
            gateway: Host::gateway(&token_rule("right"), &limits, now),
            limits: Arc::new(limits),
            server: None,
            dialling: None,
            to_client: Lane::default(),
            to_server: Lane::default(),
            link,
            rng,
            start: now.mono,
            now,
            conns: 0,
            deliveries: 0,
            open: BTreeMap::new(),
            answered: Vec::new(),
            hellos: Vec::new(),
            log: Vec::new(),
        }
    }

    pub fn call(&mut self, method: &'static str) -> Option<RequestId> {
        let call = Call::new(method, RawJson::empty_object());
        let id = self.session.request(self.now, call).ok()?;
        self.open.insert(id.clone(), method);
        self.settle();
        Some(id)
    }

    pub fn cancel(&mut self, id: &RequestId) {
        let was_open = self.open.remove(id).is_some();
        assert_eq!(self.session.cancel(id), was_open);
    }

    /// Lets time pass, from event to event.
    pub fn run(&mut self, by: Duration) {
        let end = self.now.after(by);
        self.settle();
        for _ in 0..10_000 {
            let next = [
                self.to_client.next(),
                self.to_server.next(),
                self.dialling.map(|(at, _)| at),
                self.session.poll_timeout().map(|(at, _)| at),
                self.gateway.poll_timeout().map(|(at, _)| at),
                self.server
                    .as_ref()
                    .and_then(|(_, conn)| conn.poll_timeout())
                    .map(|(at, _)| at),
            ];
            let next = next.into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end.mono) else {
                self.now = end;
                return;
            };
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            self.step();
            self.settle();
        }
        panic!("it never comes to rest:\n{}", self.log.join("\n"));
    }

    /// Runs until the client is connected, at most this long.
    pub fn connected(&mut self, at_most: Duration) {
        let end = self.now.mono + at_most;
        while self.session.phase() != Phase::Connected && self.now.mono < end {
            self.run(Duration::from_millis(100));
        }
        assert_eq!(self.session.phase(), Phase::Connected);
    }

    /// Does what is due now.
    fn step(&mut self) {
        let now = self.now;
        if let Some((_, attempt)) = self.dialling.take_if(|(at, _)| *at <= now.mono) {
            self.finish_dial(attempt);
        }
        while let Some(parcel) = self.to_server.arrived(now.mono) {
            if self.cut() {
                break;
            }
            let Some((id, conn)) = &mut self.server else {
                continue;
            };
            match parcel {
                Parcel::Text(text) => drop(conn.handle_text(now, text)),
                Parcel::Close(..) | Parcel::End => {
                    let id = *id;
                    conn.handle_closed();
                    self.gateway.close(now, id);
                    self.server = None;
                    let at = self.arrival();
                    self.to_client.send(at, Parcel::End);
                }
            }
            self.settle();
        }
        while let Some(parcel) = self.to_client.arrived(now.mono) {
            if self.cut() {
                break;
            }
            match parcel {
                Parcel::Text(text) => drop(self.session.handle_text(now, text)),
                Parcel::Close(code, reason) => {
                    self.session
                        .handle_close(now, Some(code.code()), reason.as_str());
                }
                Parcel::End => self.session.handle_disconnect(now),
            }
            self.settle();
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.mono);
        if due(self.session.poll_timeout().map(|(at, _)| at)) {
            self.session.handle_timeout(now);
            self.settle();
        }
        if due(self.gateway.poll_timeout().map(|(at, _)| at)) {
            self.gateway.handle_timeout(now);
            self.settle();
        }
        if let Some((_, conn)) = &mut self.server
            && due(conn.poll_timeout().map(|(at, _)| at))
        {
            conn.handle_timeout(now);
        }
    }

    /// Counts a delivery, and cuts the link if this is the one.
    fn cut(&mut self) -> bool {
        self.deliveries += 1;
        if self.link.cut_at != Some(self.deliveries) {
            return false;
        }
        self.drop_link();
        self.settle();
        true
    }

    pub fn drop_link(&mut self) {
        self.note("cut");
        self.to_client = Lane::default();
        self.to_server = Lane::default();
        if let Some((id, mut conn)) = self.server.take() {
            conn.handle_closed();
            self.gateway.close(self.now, id);
        }
        self.session.handle_disconnect(self.now);
    }

    /// Moves values until nothing moves any more.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some(event) = self.session.poll_event() {
                self.observe(event);
                moved = true;
            }
            while let Some(action) = self.session.poll_action() {
                self.act(action);
                moved = true;
            }
            while let Some(transmit) = self.session.poll_transmit() {
                let at = self.arrival();
                self.to_server.send(at, parcel(transmit));
                moved = true;
            }
            moved |= self.settle_gateway();
            if !moved {
                return;
            }
        }
    }

    fn settle_gateway(&mut self) -> bool {
        let mut moved = false;
        while let Some((id, event)) = self
            .server
            .as_mut()
            .and_then(|(id, conn)| Some((*id, conn.poll_event()?)))
        {
            self.gateway.handle_event(self.now, id, event);
            self.deliver();
            moved = true;
        }
        self.deliver();
        while let Some(request) = self.gateway.poll_effect() {
            let stats = ProcessStats { rss_bytes: 1 };
            let outcome = match request.effect {
                Effect::ReadProcess => EffectOutcome::Process(stats),
                Effect::ReadConfig | Effect::TailLog(_) => EffectOutcome::Failed("no".into()),
            };
            self.gateway.complete(self.now, request.id, outcome);
            self.deliver();
            moved = true;
        }
        loop {
            let Some((_, conn)) = &mut self.server else {
                return moved;
            };
            let Some(transmit) = conn.poll_transmit() else {
                return moved;
            };
            moved = true;
            match transmit {
                Transmit::Ping => conn.handle_pong(),
                Transmit::Terminate => {
                    if let Some((id, mut conn)) = self.server.take() {
                        conn.handle_closed();
                        self.gateway.close(self.now, id);
                    }
                    let at = self.arrival();
                    self.to_client.send(at, Parcel::End);
                }
                transmit @ (Transmit::Close { .. } | Transmit::Text(_)) => {
                    conn.handle_written(transmit.buffered_len());
                    let at = self.arrival();
                    self.to_client.send(at, parcel(transmit));
                }
            }
        }
    }

    fn deliver(&mut self) {
        while let Some((id, delivery)) = self.gateway.poll_delivery() {
            if let Some((current, conn)) = &mut self.server
                && *current == id
            {
                conn.deliver(self.now, delivery);
            }
        }
    }

    fn act(&mut self, action: Action) {
        self.note(&format!("{action:?}"));
        match action {
            Action::Dial(attempt) => {
                let at = self.arrival();
                self.dialling = Some((at, attempt));
            }
            Action::Abort(_) => {
                self.dialling = None;
                let at = self.arrival();
                self.to_server.send(at, Parcel::End);
            }
            Action::Close { code, reason, .. } => {
                let at = self.arrival();
                self.to_server.send(at, Parcel::Close(code, reason));
            }
        }
    }

    fn finish_dial(&mut self, attempt: AttemptId) {
        if self.rng.u64().is_multiple_of(self.link.dial_failures) {
            let failure = DialFailure::Transient("unlucky".into());
            self.session.dial_failed(self.now, attempt, failure);
            return;
        }
        // What is left of an earlier connection does not reach this one.
        if let Some((id, mut conn)) = self.server.take() {
            conn.handle_closed();
            self.gateway.close(self.now, id);
        }
        self.to_client = Lane::default();
        self.to_server = Lane::default();
        let peer = PeerFacts::direct([127, 0, 0, 1].into());
        let id = ConnId(self.conns);
        self.conns += 1;
        if let Err(refusal) = self.gateway.open(id, peer.ip) {
            let failure = DialFailure::Transient(format!("{refusal:?}"));
            self.session.dial_failed(self.now, attempt, failure);
            return;
        }
        let conn = ServerConn::new(Arc::clone(&self.limits), peer, self.rng.seed(), self.now);
        self.server = Some((id, conn));
        self.session.dialled(self.now, attempt);
    }

    fn observe(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Answer { id, outcome } => {
                let method = self.open.remove(&id).expect("a call ends once");
                self.note(&format!("{method}: {:?}", outcome.as_ref().map(drop)));
                self.answered.push((method, outcome));
            }
            SessionEvent::Connected(hello) => {
                self.note("connected");
                self.hellos.push(*hello);
            }
            SessionEvent::Disconnected { why, next } => {
                self.note(&format!("{why:?}, then {next:?}"));
            }
            SessionEvent::Event(event) => self.note(&event.event),
            SessionEvent::Gap(gap) => panic!("the link loses nothing: {gap:?}"),
            SessionEvent::Accepted { .. } | SessionEvent::ForgetDeviceToken => {}
        }
    }

    fn arrival(&mut self) -> Instant {
        let most = u64::try_from(self.link.latency.as_micros()).unwrap();
        self.now.mono + Duration::from_micros(self.rng.u64() % (most + 1))
    }

    fn note(&mut self, text: &str) {
        let at = self.now.mono - self.start;
        self.log.push(format!("{at:?} {text}"));
    }
}

fn parcel(transmit: Transmit) -> Parcel {
    match transmit {
        Transmit::Close { code, reason } => Parcel::Close(code, reason),
        Transmit::Text(text) => Parcel::Text(text),
        Transmit::Ping | Transmit::Terminate => Parcel::End,
    }
}

//! A host in memory: it does what a runtime does, with virtual time and no sockets.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test binary uses its part, and says what its tests may do"
)]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clawgate_core::{
    agent::Agent,
    channel::{Channels, PostId},
    device::{DeviceIdentity, PayloadVersion, SignedFacts},
    frame::RawJson,
    gateway::{
        AdmissionPolicy, Effect, EffectOutcome, EffectRequest, Gateway, GatewaySetup, HostInfo,
        HttpAnswer, HttpRequest, HttpVerdict, OpenRefusal, WorkLog,
    },
    ids::{ConnId, EffectId},
    job::JobEvent,
    limits::Limits,
    metrics::{ConnSample, HostSample},
    policy::{AuthRule, RequestHeaders, SecretKind, TailscaleLogin},
    protocol::{ClientId, ClientInfo, ClientMode, Role},
    secret::Secret,
    server::{Event, PeerFacts, ServerConn},
    store::{Commit, Epoch, MemoryStore, Row, StoreFailure, Table, TranscriptPage, Write},
    time::{Now, WallTime},
    transmit::Transmit,
};
use serde_json::{Value, json};

/// The moment at which virtual time starts.
pub fn start() -> Now {
    #[allow(clippy::disallowed_methods, reason = "virtual time starts anywhere")]
    Now {
        mono: Instant::now(),
        wall: WallTime(1_737_264_000_000),
    }
}

/// Parameters of a local CLI.
pub fn connect_params(token: &str, scopes: &[&str]) -> Value {
    json!({
        "minProtocol": 4,
        "maxProtocol": 4,
        "client": {"id": "cli", "mode": "cli", "version": "1", "platform": "linux"},
        "caps": [],
        "auth": {"token": token},
        "role": "operator",
        "scopes": scopes,
    })
}

/// A gateway that asks for this token.
pub fn token_rule(token: &str) -> AuthRule {
    AuthRule::Shared {
        kind: SecretKind::Token,
        secret: Some(Secret::new(token)),
        tailscale: TailscaleLogin::Off,
    }
}

struct Line {
    conn: ServerConn,
    inbox: VecDeque<Value>,
    closed: Option<(u16, String)>,
    held: Option<Vec<Event>>,
    stalled: bool,
}

/// What a host keeps on disk.
#[derive(Default)]
pub struct Disk {
    pub rows: BTreeMap<(Table, String), RawJson>,
    pub audit: Vec<Value>,
    /// Transcripts.
    pub store: MemoryStore,
    /// What every commit comes to, while it is set.
    pub failure: Option<StoreFailure>,
    /// Where commits wait for [`Host::write`], if the disk is slow.
    pub waiting: Option<VecDeque<Commit>>,
    /// Every commit that became durable, for tests that look at each.
    pub log: Option<VecDeque<Commit>>,
    /// What is built on a commit that was lost is lost too.
    lost: Option<Epoch>,
}

impl Disk {
    /// Makes a commit durable, as it is reported.
    pub fn take(&mut self, commit: &Commit) -> Result<(), StoreFailure> {
        if self.lost == Some(commit.epoch) {
            return Err(StoreFailure::Io("an earlier change was lost".into()));
        }
        if self.failure.is_some() {
            self.lost = Some(commit.epoch);
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.store.apply(commit);
        if let Some(log) = &mut self.log {
            log.push_back(commit.clone());
        }
        for write in commit.writes.clone() {
            match write {
                Write::Append(_) | Write::Forget { .. } => {}
                Write::Audit { entry } => self.audit.push(entry.parse().unwrap()),
                Write::Delete { table, key } => {
                    self.rows.remove(&(table, key));
                }
                Write::Put {
                    table,
                    key,
                    document,
                } => {
                    self.rows.insert((table, key), document);
                }
            }
        }
        Ok(())
    }

    pub fn rows(&self) -> Vec<Row> {
        self.rows
            .iter()
            .map(|((table, key), document)| Row {
                table: *table,
                key: key.clone(),
                document: document.clone(),
            })
            .collect()
    }
}

pub struct Host {
    pub disk: Disk,
    pub gateway: Gateway,
    pub limits: Limits,
    pub effects: Vec<EffectRequest>,
    /// Answers to requests over HTTP that have a body.
    pub posts: Vec<(PostId, HttpAnswer)>,
    /// Questions about transcripts that the host is slow to answer, if it is.
    pub held_reads: Option<VecDeque<EffectRequest>>,
    answers: VecDeque<(EffectId, TranscriptPage)>,
    sampled: VecDeque<EffectId>,
    agent: Option<fn() -> Box<dyn Agent>>,
    channels: Option<Box<dyn Fn() -> Channels>>,
    /// Every call that a connection let through to a handler.
    pub handled: Vec<(ConnId, &'static str)>,
    pub now: Now,
    lines: BTreeMap<ConnId, Line>,
    next: u64,
    /// Each run of the gateway has randomness of its own.
    runs: u8,
    policy: AdmissionPolicy,
}

/// A program on a device, and what it sends.
#[derive(Clone)]
pub struct Device {
    pub seed: u8,
    pub client: ClientInfo,
    pub role: Role,
    pub scopes: Vec<String>,
    /// The fields of `auth`.
    pub auth: Value,
    /// Further fields of `connect`, such as `commands`.
    pub claims: Value,
    pub peer: PeerFacts,
}

impl Device {
    /// An app of an operator, from elsewhere.
    pub fn remote(seed: u8, scopes: &[&str]) -> Self {
        Self {
            seed,
            client: ClientInfo::new(ClientId::OpenclawTui, ClientMode::Ui, "1", "linux"),
            role: Role::Operator,
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            auth: json!({}),
            claims: json!({}),
            peer: PeerFacts::direct([203, 0, 113, seed].into()),
        }
    }

    /// A node, from elsewhere.
    pub fn node(seed: u8) -> Self {
        Self {
            client: ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1", "linux"),
            role: Role::Node,
            ..Self::remote(seed, &[])
        }
    }

    pub fn local(mut self) -> Self {
        self.peer = PeerFacts::direct([127, 0, 0, 1].into());
        self
    }

    pub fn with(mut self, auth: Value) -> Self {
        self.auth = auth;
        self
    }

    pub fn id(&self) -> String {
        DeviceIdentity::from_seed(&[self.seed; 32])
            .id()
            .as_str()
            .into()
    }

    /// The parameters of `connect`, signed for a challenge.
    pub fn params(&self, challenge: &Value) -> Value {
        let identity = DeviceIdentity::from_seed(&[self.seed; 32]);
        let signed = ["token", "deviceToken", "bootstrapToken"]
            .iter()
            .find_map(|name| self.auth[*name].as_str())
            .unwrap_or_default();
        let facts = SignedFacts {
            device_id: identity.id().as_str(),
            client: &self.client,
            role: self.role,
            scopes: &self.scopes,
            signed_at: challenge["payload"]["ts"].as_u64().unwrap(),
            secret: &Secret::new(signed),
            nonce: challenge["payload"]["nonce"].as_str().unwrap(),
        };
        let mut params = json!({
            "minProtocol": 4,
            "maxProtocol": 4,
            "client": self.client,
            "caps": [],
            "auth": self.auth,
            "role": self.role,
            "scopes": self.scopes,
            "device": identity.prove(&facts, PayloadVersion::V3),
        });
        for (name, value) in self.claims.as_object().unwrap() {
            params[name] = value.clone();
        }
        params
    }
}

impl Host {
    pub fn new(auth: AuthRule) -> Self {
        let now = start();
        let limits = Limits::default();
        Self {
            disk: Disk::default(),
            gateway: Self::gateway(&AdmissionPolicy::new(auth.clone()), &limits, &[], 2, now),
            limits,
            effects: Vec::new(),
            posts: Vec::new(),
            held_reads: None,
            answers: VecDeque::new(),
            sampled: VecDeque::new(),
            agent: None,
            channels: None,
            handled: Vec::new(),
            now,
            lines: BTreeMap::new(),
            next: 0,
            runs: 2,
            policy: AdmissionPolicy::new(auth),
        }
    }

    /// Starts anew with another policy; only before the first connection.
    pub fn with_policy(mut self, change: impl FnOnce(&mut AdmissionPolicy)) -> Self {
        change(&mut self.policy);
        self.restart();
        self
    }

    /// The process ends at once and starts again: only what is on disk is left.
    pub fn restart(&mut self) {
        self.lines.clear();
        self.effects.clear();
        self.disk.lost = None;
        if let Some(waiting) = &mut self.disk.waiting {
            waiting.clear();
        }
        if let Some(held) = &mut self.held_reads {
            held.clear();
        }
        let rows = self.disk.rows();
        self.runs = self.runs.wrapping_add(1);
        self.answers.clear();
        self.gateway = Self::gateway(&self.policy, &self.limits, &rows, self.runs, self.now);
        if let Some(agent) = self.agent {
            let gateway = std::mem::replace(
                &mut self.gateway,
                Self::gateway(&self.policy, &self.limits, &[], self.runs, self.now),
            );
            self.gateway = gateway.with_agent(agent());
        }
        if let Some(channels) = &self.channels {
            let gateway = std::mem::replace(
                &mut self.gateway,
                Self::gateway(&self.policy, &self.limits, &[], self.runs, self.now),
            );
            self.gateway = gateway.with_channels(channels());
        }
    }

    /// Starts anew with channels; only before the first connection.
    pub fn with_channels(mut self, channels: impl Fn() -> Channels + 'static) -> Self {
        self.channels = Some(Box::new(channels));
        self.restart();
        self
    }

    /// Starts anew with another agent; only before the first connection.
    pub fn with_agent(mut self, agent: fn() -> Box<dyn Agent>) -> Self {
        self.agent = Some(agent);
        self.restart();
        self
    }

    /// The host answers one of the questions that it is slow with.
    pub fn read(&mut self) -> bool {
        let Some(request) = self.held_reads.as_mut().and_then(VecDeque::pop_front) else {
            return false;
        };
        let Effect::ReadTranscript(query) = &request.effect else {
            panic!("{request:?} is no question about a transcript");
        };
        let outcome = EffectOutcome::Transcript(self.disk.store.query(query));
        self.complete(request.id, outcome);
        true
    }

    /// Opens a connection of a device and gives the answer to its `connect`, waiting as long as
    /// the gateway holds it back.
    pub fn join(&mut self, device: &Device) -> (ConnId, Value) {
        let conn = self.open_peer(device.peer.clone()).unwrap();
        let challenge = self.recv(conn);
        self.call(conn, "1", "connect", device.params(&challenge));
        for _ in 0..3 {
            if let Some(answer) = self.try_recv(conn) {
                return (conn, answer);
            }
            self.advance(Duration::from_secs(2));
        }
        panic!("no answer to connect");
    }

    /// As [`Host::join`], when it must succeed; gives the `auth` of the hello.
    pub fn welcome(&mut self, device: &Device) -> (ConnId, Value) {
        let (conn, answer) = self.join(device);
        assert_eq!(answer["ok"], true, "{answer}");
        (conn, answer["payload"]["auth"].clone())
    }

    /// As [`Host::join`], when it must fail; gives the error.
    pub fn refused(&mut self, device: &Device) -> Value {
        let (_, answer) = self.join(device);
        assert_eq!(answer["ok"], false, "{answer}");
        answer["error"].clone()
    }

    /// The answer to a call.
    pub fn ask(&mut self, conn: ConnId, method: &str, params: Value) -> Value {
        self.call(conn, "ask", method, params);
        self.recv_response(conn)
    }

    /// The payload of a call that must succeed.
    pub fn get(&mut self, conn: ConnId, method: &str, params: Value) -> Value {
        let answer = self.ask(conn, method, params);
        assert_eq!(answer["ok"], true, "{method}: {answer}");
        answer["payload"].clone()
    }

    /// Starts anew with other limits; only before the first connection.
    pub fn with_limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self.restart();
        self
    }

    fn gateway(
        policy: &AdmissionPolicy,
        limits: &Limits,
        rows: &[Row],
        seed: u8,
        now: Now,
    ) -> Gateway {
        let setup = GatewaySetup {
            limits: Arc::new(limits.clone()),
            admission: policy.clone(),
            host: HostInfo::new("0.0.0", "host"),
            identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
        };
        Gateway::restore(setup, rows, [seed; 32], now)
    }

    pub fn try_open(&mut self) -> Result<ConnId, OpenRefusal> {
        self.try_open_with(&[])
    }

    /// A local peer whose upgrade had these headers.
    pub fn open_with(&mut self, headers: &[(&str, &str)]) -> ConnId {
        self.try_open_with(headers).unwrap()
    }

    fn try_open_with(&mut self, headers: &[(&str, &str)]) -> Result<ConnId, OpenRefusal> {
        let mut peer = PeerFacts::direct([127, 0, 0, 1].into());
        peer.headers = RequestHeaders::new(headers.iter().copied());
        self.open_peer(peer)
    }

    pub fn open_peer(&mut self, peer: PeerFacts) -> Result<ConnId, OpenRefusal> {
        let id = ConnId(self.next);
        self.next += 1;
        self.gateway.open(id, peer.ip)?;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&id.0.to_le_bytes());
        let conn = ServerConn::new(Arc::new(self.limits.clone()), peer, seed, self.now);
        let line = Line {
            conn,
            inbox: VecDeque::new(),
            closed: None,
            held: None,
            stalled: false,
        };
        self.lines.insert(id, line);
        self.pump();
        Ok(id)
    }

    pub fn open(&mut self) -> ConnId {
        self.try_open().unwrap()
    }

    /// Takes the challenge and connects; the answer must be a hello.
    pub fn authenticate(&mut self, conn: ConnId, token: &str, scopes: &[&str]) {
        assert_eq!(self.recv(conn)["event"], "connect.challenge");
        self.call(conn, "1", "connect", connect_params(token, scopes));
        assert_eq!(self.recv(conn)["ok"], true);
    }

    pub fn connect(&mut self, token: &str, scopes: &[&str]) -> ConnId {
        let conn = self.open();
        self.authenticate(conn, token, scopes);
        conn
    }

    /// Connects as a node whose device signs the challenge.
    pub fn connect_node(&mut self, token: &str) -> ConnId {
        let conn = self.open();
        let challenge = self.recv(conn);
        let client = ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1", "linux");
        let identity = DeviceIdentity::from_seed(&[9; 32]);
        let secret = Secret::new(token);
        let facts = SignedFacts {
            device_id: identity.id().as_str(),
            client: &client,
            role: Role::Node,
            scopes: &[],
            signed_at: challenge["payload"]["ts"].as_u64().unwrap(),
            secret: &secret,
            nonce: challenge["payload"]["nonce"].as_str().unwrap(),
        };
        let mut params = connect_params(token, &[]);
        params["client"] = json!(client);
        params["role"] = "node".into();
        params["device"] = json!(identity.prove(&facts, PayloadVersion::V3));
        self.call(conn, "1", "connect", params);
        assert_eq!(self.recv(conn)["payload"]["auth"]["role"], "node");
        for greeting in ["voicewake.changed", "voicewake.routing.changed"] {
            assert_eq!(self.recv(conn)["event"], greeting);
        }
        conn
    }

    pub fn send_text(&mut self, conn: ConnId, text: &str) {
        let now = self.now;
        if let Some(line) = self.lines.get_mut(&conn) {
            let _ = line.conn.handle_text(now, text.to_owned().into());
        }
        self.pump();
    }

    pub fn call(&mut self, conn: ConnId, id: &str, method: &str, params: Value) {
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        self.send_text(conn, &frame.to_string());
    }

    pub fn complete(&mut self, effect: EffectId, outcome: EffectOutcome) {
        self.gateway.complete(self.now, effect, outcome);
        self.pump();
    }

    /// The head of a request over HTTP is here.
    pub fn head(&mut self, request: &HttpRequest<'_>) -> HttpVerdict {
        let verdict = self.gateway.handle_http(self.now, request);
        self.pump();
        verdict
    }

    /// The body of a request over HTTP is here.
    pub fn post(&mut self, post: PostId, request: &HttpRequest<'_>, body: Bytes) {
        self.gateway.handle_post(self.now, post, request, body);
        self.pump();
    }

    /// Something came of a job.
    pub fn job(&mut self, job: EffectId, event: JobEvent) {
        self.gateway.handle_job(self.now, job, event);
        self.pump();
    }

    pub fn shutdown(&mut self, reason: &str) {
        self.gateway.shutdown(self.now, reason);
        self.pump();
    }

    pub fn drop_connection(&mut self, conn: ConnId) {
        if let Some(mut line) = self.lines.remove(&conn) {
            line.conn.handle_closed();
            self.gateway.count_gone(&line.conn.counts());
            self.gateway.close(self.now, conn);
        }
        self.pump();
    }

    /// Drops a connection, and hands its events over when it is gone.
    pub fn drop_before_release(&mut self, conn: ConnId) {
        let held = self.lines.get_mut(&conn).unwrap().held.take().unwrap();
        self.drop_connection(conn);
        for event in held {
            self.gateway.handle_event(self.now, conn, event);
            self.carry();
        }
    }

    /// Calls that end are kept for a log from now on; only before the first connection.
    pub fn keep_work_log(&mut self) {
        let other = Self::gateway(&self.policy, &self.limits, &[], self.runs, self.now);
        let gateway = std::mem::replace(&mut self.gateway, other);
        self.gateway = gateway.with_work_log(WorkLog::Kept);
    }

    /// What the host counts.
    pub fn sample(&self) -> HostSample {
        let conns = self.lines.iter().map(|(id, line)| ConnSample {
            id: *id,
            counts: line.conn.counts(),
            buffered: line.conn.buffered(),
        });
        HostSample {
            conns: conns.collect(),
            ..HostSample::default()
        }
    }

    /// Lets time pass, from deadline to deadline.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.after(by);
        for _ in 0..10_000 {
            let next = self
                .lines
                .values()
                .filter_map(|line| line.conn.poll_timeout().map(|(at, _)| at))
                .chain(self.gateway.poll_timeout().map(|(at, _)| at))
                .min()
                .filter(|at| *at <= end.mono);
            let Some(at) = next else {
                self.now = end;
                return;
            };
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            let now = self.now;
            if self
                .gateway
                .poll_timeout()
                .is_some_and(|(at, _)| at <= now.mono)
            {
                self.gateway.handle_timeout(now);
            }
            for line in self.lines.values_mut() {
                line.conn.handle_timeout(now);
                line.conn.handle_pong();
            }
            self.pump();
        }
        panic!("timers never come to rest");
    }

    pub fn try_recv(&mut self, conn: ConnId) -> Option<Value> {
        self.lines.get_mut(&conn)?.inbox.pop_front()
    }

    pub fn recv(&mut self, conn: ConnId) -> Value {
        self.try_recv(conn).expect("a frame for the client")
    }

    /// The next response, past events.
    pub fn recv_response(&mut self, conn: ConnId) -> Value {
        loop {
            let frame = self.recv(conn);
            if frame["type"] == "res" {
                return frame;
            }
        }
    }

    pub fn closed(&self, conn: ConnId) -> Option<(u16, String)> {
        self.lines.get(&conn)?.closed.clone()
    }

    pub fn dropped_events(&self, conn: ConnId) -> u64 {
        self.lines[&conn].conn.dropped_events()
    }

    pub fn buffered(&self, conn: ConnId) -> usize {
        self.lines[&conn].conn.buffered()
    }

    /// From now on the client reads nothing.
    pub fn stall(&mut self, conn: ConnId) {
        self.lines.get_mut(&conn).unwrap().stalled = true;
    }

    /// Keeps the connection's events from the gateway, as a busy host would.
    pub fn hold_events(&mut self, conn: ConnId) {
        self.lines.get_mut(&conn).unwrap().held = Some(Vec::new());
    }

    pub fn release_events(&mut self, conn: ConnId) {
        for event in self.lines.get_mut(&conn).unwrap().held.take().unwrap() {
            self.gateway.handle_event(self.now, conn, event);
            self.carry();
        }
        self.pump();
    }

    /// The slow disk is through with the oldest commit that waits. Tells whether there was one.
    pub fn write(&mut self) -> bool {
        let Some(commit) = self.disk.waiting.as_mut().and_then(VecDeque::pop_front) else {
            return false;
        };
        let outcome = self.disk.take(&commit);
        self.gateway.handle_committed(self.now, commit.id, outcome);
        self.pump();
        true
    }

    /// Moves values until nothing moves any more.
    fn pump(&mut self) {
        loop {
            self.carry();
            let ids: Vec<ConnId> = self.lines.keys().copied().collect();
            let mut moved = false;
            for id in ids {
                let Some(line) = self.lines.get_mut(&id) else {
                    continue;
                };
                while !line.stalled {
                    let Some(transmit) = line.conn.poll_transmit() else {
                        break;
                    };
                    match transmit {
                        Transmit::Text(text) => {
                            line.conn.handle_written(text.len());
                            line.inbox.push_back(serde_json::from_str(&text).unwrap());
                        }
                        Transmit::Close { code, reason } => {
                            line.closed
                                .get_or_insert_with(|| (code.code(), reason.to_string()));
                        }
                        Transmit::Ping => line.conn.handle_pong(),
                        Transmit::Terminate => {}
                    }
                }
                if line.stalled && line.conn.is_closing() {
                    line.stalled = false;
                    moved = true;
                }
                let events: Vec<Event> =
                    std::iter::from_fn(|| self.lines.get_mut(&id)?.conn.poll_event()).collect();
                for event in events {
                    moved = true;
                    if let Event::Request { method, .. } = &event {
                        self.handled.push((id, method.name));
                    }
                    let line = self.lines.get_mut(&id).unwrap();
                    if let Some(held) = &mut line.held {
                        held.push(event);
                    } else {
                        self.gateway.handle_event(self.now, id, event);
                        self.carry();
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn carry(&mut self) {
        loop {
            while let Some((conn, delivery)) = self.gateway.poll_delivery() {
                if let Some(line) = self.lines.get_mut(&conn) {
                    line.conn.deliver(self.now, delivery);
                }
            }
            while let Some(answer) = self.gateway.poll_answer() {
                self.posts.push(answer);
            }
            while let Some(request) = self.gateway.poll_effect() {
                match (&request.effect, &mut self.held_reads) {
                    (Effect::ReadTranscript(query), None) => {
                        let page = self.disk.store.query(query);
                        self.answers.push_back((request.id, page));
                    }
                    (Effect::ReadTranscript(_), Some(held)) => held.push_back(request),
                    (Effect::SampleHost, _) => self.sampled.push_back(request.id),
                    (_, _) => self.effects.push(request),
                }
            }
            let Some(commit) = self.gateway.poll_commit() else {
                if let Some(id) = self.sampled.pop_front() {
                    let sample = self.sample();
                    self.gateway.handle_sample(self.now, id, &sample);
                    continue;
                }
                let Some((id, page)) = self.answers.pop_front() else {
                    return;
                };
                let outcome = EffectOutcome::Transcript(page);
                self.gateway.complete(self.now, id, outcome);
                continue;
            };
            if let Some(waiting) = &mut self.disk.waiting {
                waiting.push_back(commit);
                continue;
            }
            let outcome = self.disk.take(&commit);
            self.gateway.handle_committed(self.now, commit.id, outcome);
        }
    }
}

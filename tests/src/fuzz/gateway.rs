//! A body for the gateway with several connections.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use clawgate_core::{
    config::AuthMode,
    device::DeviceIdentity,
    gateway::{
        AdmissionPolicy, ConfigText, Effect, EffectOutcome, EffectRequest, Gateway, GatewaySetup,
        HostInfo, LogTail, Phase, ProcessStats, ServerSecrets,
    },
    ids::{ConnId, EffectId, RequestId, SessionId},
    limits::Limits,
    policy::{
        AuthRule, SecretKind, TailscaleLogin, Whois,
        server_auth::{ServerSecret, ServerSecretSource},
    },
    protocol::Role,
    scope::{Scope, ScopeSet},
    secret::Secret,
    server::{Delivery, Event, PeerFacts, ServerConn},
    store::{MemoryStore, Row, StoreFailure, Table, TranscriptQuery},
    time::Now,
    transmit::Transmit,
};

use super::script::{self, TOKEN};

/// No call takes longer than the question whether a program may run.
const LONGEST_CALL: Duration = Duration::from_secs(1_900);

/// Stands in the configuration file.
const CONFIG_SECRET: &str = "config-file-password";

/// A script for up to ten connections of one gateway and their host: a digit says which connection,
/// the byte after it what happens there.
pub fn gateway(data: &[u8]) {
    let mut rig = Rig::new();
    for (operation, argument) in script::lines(data) {
        rig.operate(operation, argument);
        rig.check();
    }
    rig.finish();
}

struct Line {
    conn: ServerConn,
    ip: [u8; 4],
    nonce: String,
    signed_at: u64,
    /// Calls that the gateway has and did not answer.
    open: BTreeMap<RequestId, usize>,
    rights: Option<(Role, ScopeSet)>,
    /// Events that the host keeps back.
    held: Option<VecDeque<Event>>,
    stalled: bool,
}

/// Whether the disk takes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Full,
    Works,
}

struct Rig {
    gateway: Gateway,
    limits: Arc<Limits>,
    now: Now,
    lines: BTreeMap<ConnId, Line>,
    next: u64,
    slots: [Option<ConnId>; 10],
    effects: VecDeque<EffectRequest>,
    /// What is on disk.
    store: MemoryStore,
    disk: Disk,
    /// An event of a connection that is gone.
    stray: Option<(ConnId, Event)>,
}

impl Rig {
    fn new() -> Self {
        let limits = Arc::new(Limits {
            max_buffered_bytes: 20_000,
            max_in_flight: 3,
            max_connections: 8,
            max_pre_auth_per_ip: 2,
            max_pre_auth_loopback: 4,
            max_presence: 3,
            max_dedupe: 2,
            max_system_events: 2,
            max_sessions: 3,
            max_queued_runs: 2,
            max_active_runs: 2,
            run: Duration::from_secs(5),
            ..Limits::default()
        });
        let rule = AuthRule::Shared {
            kind: SecretKind::Token,
            secret: Some(Secret::new(TOKEN)),
            tailscale: TailscaleLogin::Off,
        };
        let setup = GatewaySetup {
            limits: Arc::clone(&limits),
            admission: AdmissionPolicy::new(rule),
            host: HostInfo::new("0.0.0", "host"),
            identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
        };
        let now = script::start();
        Self {
            gateway: Gateway::new(setup, [2; 32], now),
            limits,
            now,
            lines: BTreeMap::new(),
            next: 0,
            slots: [None; 10],
            effects: VecDeque::new(),
            store: MemoryStore::default(),
            disk: Disk::Works,
            stray: None,
        }
    }

    fn operate(&mut self, operation: u8, argument: &[u8]) {
        match operation {
            b'0'..=b'9' => {
                let slot = usize::from(operation - b'0');
                if let Some((what, argument)) = argument.split_first() {
                    self.operate_line(slot, *what, argument);
                }
            }
            b'E' => {
                if let Some(request) = self.effects.pop_front() {
                    let outcome = self.outcome(argument, Some(&request.effect));
                    self.gateway.complete(self.now, request.id, outcome);
                }
            }
            b'e' => {
                let id = EffectId(script::number(argument));
                let pending = self.effects.iter().position(|request| request.id == id);
                let request = pending.and_then(|pending| self.effects.remove(pending));
                let effect = request.as_ref().map(|request| &request.effect);
                let outcome = self.outcome(argument, effect);
                self.gateway.complete(self.now, id, outcome);
            }
            b'!' => {
                if let Some((conn, event)) = self.stray.take() {
                    self.gateway.handle_event(self.now, conn, event);
                }
            }
            b'D' => self.disk = Disk::Full,
            b'd' => self.disk = Disk::Works,
            b'S' => self.gateway.shutdown(self.now, "script"),
            b'w' => self.wait(script::millis(argument)),
            _ => {}
        }
        self.pump();
    }

    fn operate_line(&mut self, slot: usize, operation: u8, argument: &[u8]) {
        let Some(place) = self.slots.get_mut(slot) else {
            return;
        };
        let Some(id) = *place else {
            if operation == b'o' {
                self.open(slot, argument);
            }
            return;
        };
        let now = self.now;
        let Some(line) = self.lines.get_mut(&id) else {
            *place = None;
            return;
        };
        match operation {
            b't' => {
                if let Some(text) = script::text(argument) {
                    let _ = line.conn.handle_text(now, text.into());
                }
            }
            b'c' => {
                let text = script::connect(argument, &line.nonce, line.signed_at);
                let _ = line.conn.handle_text(now, text.into());
            }
            b'h' => line.held = Some(line.held.take().unwrap_or_default()),
            b'g' => {
                for event in line.held.take().unwrap_or_default() {
                    self.hand(id, event);
                }
            }
            b's' => line.stalled = true,
            b'r' => line.stalled = false,
            b'p' => line.conn.handle_pong(),
            b'z' => self.close(id),
            _ => {}
        }
    }

    fn open(&mut self, slot: usize, argument: &[u8]) {
        let ip = match argument.first() {
            Some(b'r') => [10, 0, 0, 1],
            _ => [127, 0, 0, 1],
        };
        let id = ConnId(self.next);
        let peer = PeerFacts::direct(ip.into());
        if self.gateway.open(id, peer.ip).is_err() {
            return;
        }
        self.next += 1;
        let mut seed = [0; 32];
        for (place, byte) in seed.iter_mut().zip(id.0.to_le_bytes()) {
            *place = byte;
        }
        let mut conn = ServerConn::new(Arc::clone(&self.limits), peer, seed, self.now);
        let Some(Transmit::Text(challenge)) = conn.poll_transmit() else {
            panic!("no challenge");
        };
        conn.handle_written(challenge.len());
        let challenge: serde_json::Value = json(&challenge);
        let nonce = challenge.pointer("/payload/nonce");
        let line = Line {
            conn,
            ip,
            nonce: nonce
                .and_then(|nonce| nonce.as_str())
                .unwrap_or_default()
                .into(),
            signed_at: self.now.wall.0,
            open: BTreeMap::new(),
            rights: None,
            held: None,
            stalled: false,
        };
        self.lines.insert(id, line);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(id);
        }
    }

    fn close(&mut self, id: ConnId) {
        let Some(mut line) = self.lines.remove(&id) else {
            return;
        };
        line.conn.handle_closed();
        // The host of a script may be careless with what it kept.
        if let Some(event) = line.held.and_then(|mut held| held.pop_front()) {
            self.stray = Some((id, event));
        }
        self.gateway.close(self.now, id);
        for place in &mut self.slots {
            *place = place.filter(|taken| *taken != id);
        }
    }

    fn hand(&mut self, id: ConnId, event: Event) {
        if let (Event::Request { request, .. }, Some(line)) = (&event, self.lines.get_mut(&id)) {
            *line.open.entry(request.id.clone()).or_default() += 1;
        }
        self.gateway.handle_event(self.now, id, event);
        self.carry();
    }

    fn carry(&mut self) {
        loop {
            while let Some((id, delivery)) = self.gateway.poll_delivery() {
                self.check_durable(&delivery);
                let Some(line) = self.lines.get_mut(&id) else {
                    panic!("a delivery for {id}, which is gone");
                };
                line.check_delivery(&delivery);
                line.conn.deliver(self.now, delivery);
            }
            while let Some(request) = self.gateway.poll_effect() {
                self.effects.push_back(request);
            }
            let Some(commit) = self.gateway.poll_commit() else {
                return;
            };
            let outcome = match self.disk {
                Disk::Full => Err(StoreFailure::Full),
                Disk::Works => {
                    self.store.apply(&commit);
                    Ok(())
                }
            };
            self.gateway.handle_committed(self.now, commit.id, outcome);
        }
    }

    /// What an honest host answers, or what the script makes of it.
    fn outcome(&self, argument: &[u8], effect: Option<&Effect>) -> EffectOutcome {
        match (argument.first(), effect) {
            (Some(b'f' | b'x'), _) => outcome(argument, effect),
            (_, Some(Effect::ReadTranscript(query))) => {
                EffectOutcome::Transcript(self.store.query(query))
            }
            _ => outcome(argument, effect),
        }
    }

    /// A message that is acknowledged is on disk.
    fn check_durable(&self, delivery: &Delivery) {
        let Delivery::Response {
            outcome: Ok(payload),
            ..
        } = delivery
        else {
            return;
        };
        let payload = json(payload.as_str());
        let (Some("started"), Some(run)) = (payload["status"].as_str(), payload["runId"].as_str())
        else {
            return;
        };
        // Words that reset a session need no run.
        let is_kept = |row: &Row| row.table == Table::Run && row.key == run;
        let is_reset = self
            .rows(Table::Session)
            .any(|session| session["lastSeq"] == 0);
        assert!(
            is_reset || self.store.rows().iter().any(is_kept),
            "{run} was acknowledged and is not on disk"
        );
    }

    fn rows(&self, table: Table) -> impl Iterator<Item = serde_json::Value> {
        let rows = self.store.rows().into_iter();
        rows.filter(move |row| row.table == table)
            .map(|row| json(row.document.as_str()))
    }

    /// Transcripts have neither gaps nor strangers: they are as their sessions say.
    fn check_transcripts(&self) {
        for session in self.rows(Table::Session) {
            let number = |name: &str| session[name].as_u64().unwrap_or_default();
            let id = session["sessionId"].as_str().unwrap_or_default();
            let query = TranscriptQuery::After {
                session: SessionId::new(id),
                after: 0,
                limit: usize::MAX,
                max_bytes: usize::MAX,
            };
            let page = self.store.query(&query);
            let seqs: Vec<u64> = page.messages.iter().map(|message| message.seq).collect();
            let expected: Vec<u64> = (number("forgotten") + 1..=number("lastSeq")).collect();
            assert_eq!(seqs, expected, "{session}");
        }
        let mut running: BTreeMap<String, usize> = BTreeMap::new();
        for run in self.rows(Table::Run) {
            if run["state"] == "running" && run["mode"] != "collect" && run["mode"] != "steer" {
                let key = run["sessionKey"].as_str().unwrap_or_default();
                *running.entry(key.to_owned()).or_default() += 1;
            }
        }
        assert!(running.values().all(|count| *count <= 1), "{running:?}");
    }

    /// Moves values until nothing moves any more.
    fn pump(&mut self) {
        loop {
            self.carry();
            let ids: Vec<ConnId> = self.lines.keys().copied().collect();
            let mut moved = false;
            for id in ids {
                while let Some(event) = self.poll_event(id) {
                    moved = true;
                    self.hand(id, event);
                }
                if self.write(id) {
                    moved = true;
                    self.close(id);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// The next event, unless the host keeps it back.
    fn poll_event(&mut self, id: ConnId) -> Option<Event> {
        let line = self.lines.get_mut(&id)?;
        if let Some(held) = &mut line.held {
            held.extend(std::iter::from_fn(|| line.conn.poll_event()));
            return None;
        }
        line.conn.poll_event()
    }

    /// Writes what the client takes, and says whether the connection is over.
    fn write(&mut self, id: ConnId) -> bool {
        let Some(line) = self.lines.get_mut(&id) else {
            return false;
        };
        if line.conn.is_terminated() {
            return true;
        }
        while !line.stalled {
            match line.conn.poll_transmit() {
                None => break,
                Some(Transmit::Text(text)) => {
                    line.conn.handle_written(text.len());
                    json(&text);
                    assert!(!text.contains(CONFIG_SECRET), "{text}");
                }
                Some(Transmit::Close { .. } | Transmit::Ping) => {}
                Some(Transmit::Terminate) => return true,
            }
        }
        false
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        for _ in 0..5_000 {
            let lines = self
                .lines
                .values()
                .filter_map(|line| line.conn.poll_timeout());
            let next = lines
                .map(|(at, _)| at)
                .chain(self.gateway.poll_timeout().map(|(at, _)| at))
                .min()
                .filter(|at| *at <= end.mono);
            let Some(at) = next else { break };
            self.now = self.now.after(at.saturating_duration_since(self.now.mono));
            let mono = self.now.mono;
            if self
                .gateway
                .poll_timeout()
                .is_some_and(|(at, _)| at <= mono)
            {
                self.gateway.handle_timeout(self.now);
                let next = self.gateway.poll_timeout();
                assert!(next.is_none_or(|(at, _)| at > mono), "{next:?} is stale");
            }
            for line in self.lines.values_mut() {
                line.conn.handle_timeout(self.now);
                let next = line.conn.poll_timeout();
                assert!(next.is_none_or(|(at, _)| at > mono), "{next:?} is stale");
            }
            self.pump();
        }
        self.now = end;
    }

    fn check(&self) {
        self.check_transcripts();
        assert_eq!(self.gateway.connections(), self.lines.len());
        assert!(self.lines.len() <= self.limits.max_connections);
        for line in self.lines.values() {
            assert!(line.conn.buffered() <= self.limits.max_buffered_bytes);
            assert!(line.conn.in_flight() <= self.limits.max_in_flight);
        }
    }

    /// No call outlives the time of its effect, and nothing outlives its connection.
    fn finish(&mut self) {
        for line in self.lines.values_mut() {
            line.stalled = false;
        }
        let ids: Vec<ConnId> = self.lines.keys().copied().collect();
        for id in ids {
            let held = self.lines.get_mut(&id).and_then(|line| line.held.take());
            for event in held.unwrap_or_default() {
                self.hand(id, event);
            }
        }
        self.pump();
        self.effects.clear();
        self.disk = Disk::Works;
        // Questions about programs wait the longest.
        self.wait(LONGEST_CALL);
        for (id, line) in &self.lines {
            assert!(line.open.is_empty(), "{id} waits for {:?}", line.open);
            assert_eq!(line.conn.in_flight(), 0);
        }
        while let Some(id) = self.lines.keys().next().copied() {
            self.close(id);
            self.carry();
        }
        self.check();
        // The disk works, and nobody asks for anything: every run comes to its end.
        let open: Vec<_> = self
            .rows(Table::Run)
            .filter(|run| run["state"] == "running" || run["state"] == "queued")
            .collect();
        assert!(
            open.is_empty() || *self.gateway.phase() != Phase::Running,
            "{open:?}"
        );
        self.gateway.shutdown(self.now, "the end");
        assert_eq!(*self.gateway.phase(), Phase::Stopped, "a call is left over");
        assert!(self.gateway.poll_delivery().is_none());
        // The last presence rows run out.
        self.wait(self.limits.presence_ttl);
        let shown = format!("{:?}", self.gateway);
        assert!(!shown.contains(CONFIG_SECRET), "{shown}");
        assert!(
            !shown.contains("Row {"),
            "presence rows are left over: {shown}"
        );
    }
}

impl Line {
    fn check_delivery(&mut self, delivery: &Delivery) {
        let reads = self
            .rights
            .as_ref()
            .is_some_and(|(role, scopes)| *role == Role::Operator && scopes.allows(Scope::Read));
        match delivery {
            Delivery::Admit(admission) => {
                assert!(self.rights.is_none(), "admitted twice");
                assert!(
                    self.ip == [127, 0, 0, 1] || admission.scopes.is_empty(),
                    "scopes for a stranger"
                );
                self.rights = Some((admission.role, admission.scopes.clone()));
            }
            Delivery::Close { .. } | Delivery::Refuse(_) => {}
            Delivery::Event(event) => {
                assert!(self.rights.is_some(), "an event before the admission");
                assert!(
                    event.name() != "presence" || reads,
                    "presence for one who may not read"
                );
            }
            Delivery::Interim { id, .. } => {
                assert!(self.open.contains_key(id), "{id} was not asked");
            }
            Delivery::Response { id, .. } => {
                let open = self.open.get_mut(id);
                let open = open.unwrap_or_else(|| panic!("{id} was not asked, or answered before"));
                *open -= 1;
                if *open == 0 {
                    self.open.remove(id);
                }
            }
            Delivery::Targeted(event) => {
                assert!(
                    self.rights.is_some(),
                    "{} before the admission",
                    event.name()
                );
            }
        }
    }
}

/// What a host answers: `f` fails, `x` is of a kind that may be wrong, all else is honest.
fn outcome(argument: &[u8], effect: Option<&Effect>) -> EffectOutcome {
    let process = EffectOutcome::Process(ProcessStats { rss_bytes: 7 });
    match (argument.first(), effect) {
        (Some(b'f'), _) => EffectOutcome::Failed("no".into()),
        (Some(b'x'), _) | (_, None | Some(Effect::ReadProcess)) => process,
        (_, Some(Effect::ReadConfig)) => EffectOutcome::Config(ConfigText {
            text: Some(format!(
                r#"{{"gateway":{{"auth":{{"password":"{CONFIG_SECRET}"}}}}}}"#
            )),
        }),
        (
            _,
            Some(
                Effect::HoldLock(_)
                | Effect::KeepExecApprovals { .. }
                | Effect::KeepToken(_)
                | Effect::ReleaseLock(_),
            ),
        ) => EffectOutcome::Done,
        (_, Some(Effect::ReadExecApprovals)) => {
            EffectOutcome::ExecApprovals(clawgate_core::node::ApprovalsText::Missing)
        }
        (_, Some(Effect::ReadSecrets)) => EffectOutcome::Secrets(Box::new(ServerSecrets {
            mode: AuthMode::Token,
            secret: Some(ServerSecret {
                secret: Secret::new(CONFIG_SECRET),
                source: ServerSecretSource::Generated,
            }),
            warnings: Vec::new(),
        })),
        (_, Some(Effect::SampleHost)) => EffectOutcome::Failed("no numbers here".into()),
        (_, Some(Effect::FeedJob(..) | Effect::StartJob(_) | Effect::StopJob(_))) => {
            EffectOutcome::Failed("no jobs here".into())
        }
        (_, Some(Effect::ReadTranscript(_))) => {
            EffectOutcome::Transcript(clawgate_core::store::TranscriptPage::default())
        }
        (_, Some(Effect::Whois(_))) => EffectOutcome::Whois(Whois::Unknown),
        (_, Some(Effect::TailLog(tail))) => EffectOutcome::Log(LogTail {
            file: "gateway.log".into(),
            cursor: tail.cursor.unwrap_or_default(),
            size: 0,
            lines: Vec::new(),
            truncated: None,
            reset: None,
        }),
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text} is no JSON: {error}"))
}

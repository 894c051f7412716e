//! A gateway, its disk, its clients and nodes, and what may happen to them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use clawgate_core::{
    gateway::Effect,
    ids::EffectId,
    job::{JobEnd, JobEvent, JobFailure, Reached},
    store::StoreFailure,
};
use serde_json::{Value, json};

use crate::{
    agent::{self, Given},
    clients::{Client, Question},
    common::{Host, connect_params, token_rule},
    dice::Dice,
    ledger::{Bounds, Ledger},
    nodes::{Line, Node},
};

pub const TOKEN: &str = "hunter2";

/// Small enough to be reached.
const LIMITS: Bounds = Bounds {
    queued: 3,
    runs: 24,
    sessions: 4,
};

const SESSIONS: [&str; 5] = ["main", "a", "b", "c", "d"];
const COMMANDS: [&str; 6] = [
    "weather.get",
    "lamp.set",
    "door.open",
    "never.claimed",
    "system.run",
    "system.run",
];
const SCOPES: [&str; 5] = [
    "operator.read",
    "operator.write",
    "operator.admin",
    "operator.pairing",
    "operator.approvals",
];

/// A message that was sent.
#[derive(Clone)]
struct Sent {
    run: String,
    session: String,
    text: String,
}

pub struct World {
    seed: u64,
    steps: usize,
    pub host: Host,
    dice: Dice,
    pub ledger: Ledger,
    pub clients: Vec<Client>,
    nodes: Vec<Node>,
    /// Jobs under way.
    jobs: BTreeSet<EffectId>,
    sent: Vec<Sent>,
    /// Runs that somebody wanted to stop.
    unwanted: BTreeSet<String>,
    /// Answers of the gateway itself, which are no runs.
    notes: BTreeSet<String>,
    numbers: u64,
}

impl Drop for World {
    #[allow(clippy::print_stderr, reason = "for whoever reads a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "failed with CLAWGATE_SIM_SEED={} at {}",
                self.seed, self.steps
            );
        }
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        agent::given();
        agent::heard();
        let mut host = Host::new(token_rule(TOKEN))
            .with_limits(|limits| {
                limits.max_active_runs = 2;
                limits.max_queued_runs = LIMITS.queued;
                limits.max_runs = LIMITS.runs;
                limits.max_sessions = LIMITS.sessions;
                limits.run = Duration::from_secs(30);
            })
            .with_agent(agent::scripted);
        host.disk.log = Some(VecDeque::new());
        Self {
            seed,
            steps: 0,
            host,
            dice: Dice::new(seed),
            ledger: Ledger::new(LIMITS),
            clients: Vec::new(),
            nodes: vec![
                Node::new(
                    1,
                    &[
                        "weather.get",
                        "lamp.set",
                        "system.run",
                        "system.run.prepare",
                    ],
                ),
                Node::new(2, &["door.open"]),
            ],
            jobs: BTreeSet::new(),
            sent: Vec::new(),
            unwanted: BTreeSet::new(),
            notes: BTreeSet::new(),
            numbers: 0,
        }
    }

    pub fn step(&mut self) {
        self.steps += 1;
        match self.dice.below(100) {
            0..26 => self.write_to_agent(),
            26..30 => self.wait_for_run(),
            30..34 => self.stop(),
            34 => self.reset(),
            35 => self.delete(),
            36..38 => self.inject(),
            38 => self.compact(),
            39..41 => self.create(),
            41..49 => self.come(),
            49 => self.leave(),
            50..54 => self.decide(),
            54..66 => self.answer_node(),
            66..72 => self.feed_job(),
            72..74 => self.invoke(),
            74..90 => self.trouble(),
            _ => {
                let by = self.dice.pick(&[1, 60, 60, 300, 300, 1_000, 3_000, 12_000]);
                self.host.advance(Duration::from_millis(by));
            }
        }
        self.look();
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Asks as one of the clients.
    fn ask(&mut self, method: &str, params: Value, question: Question) {
        if self.clients.is_empty() {
            self.join();
        }
        if self.clients.is_empty() {
            return;
        }
        let at = self.dice.below(self.clients.len());
        let id = format!("q{}", self.number());
        self.clients[at].open.insert(id.clone(), question);
        let conn = self.clients[at].conn;
        self.host.call(conn, &id, method, params);
    }

    fn join(&mut self) {
        let conn = self.host.open();
        self.host.recv(conn);
        let mut params = connect_params(TOKEN, &SCOPES);
        params["caps"] = json!(["tool-events"]);
        self.host.call(conn, "1", "connect", params);
        let answer = self.host.try_recv(conn);
        if answer.is_none_or(|answer| answer["ok"] != true) {
            // It leans on something that the disk does not take.
            return self.host.drop_connection(conn);
        }
        self.clients.push(Client::new(conn));
        let at = self.clients.len() - 1;
        for session in SESSIONS {
            let id = format!("q{}", self.number());
            self.clients[at].open.insert(id.clone(), Question::Other);
            let params = json!({ "key": session });
            self.host
                .call(conn, &id, "sessions.messages.subscribe", params);
        }
    }

    fn script(&mut self) -> String {
        let mut words = vec![format!("#{}", self.number())];
        for _ in 0..self.dice.below(5) {
            let word = match self.dice.below(12) {
                0..5 => "t".into(),
                5 => "r".into(),
                6 => "nap".into(),
                7 => "job".into(),
                8..11 => {
                    let targets: Vec<String> = (0..1 + self.dice.below(3))
                        .map(|_| {
                            let command = self.dice.pick(&COMMANDS);
                            let node = if command == "door.open" { 2 } else { 1 };
                            format!("{node}/{command}")
                        })
                        .collect();
                    let what = self.dice.pick(&["call", "call", "work"]);
                    format!("{what}={}", targets.join(","))
                }
                _ => self.dice.pick(&["hang", "hang", "fail"]).into(),
            };
            words.push(word);
        }
        words.join(" ")
    }

    fn write_to_agent(&mut self) {
        let again = self.dice.one_in(8) && !self.sent.is_empty();
        let from = if self.dice.one_in(10) { 60 } else { 4 };
        let sent = if again {
            let from = self.sent.len().saturating_sub(from);
            self.dice.pick(&self.sent[from..])
        } else {
            let sent = Sent {
                run: format!("k{}", self.number()),
                session: self.dice.pick(&SESSIONS).into(),
                text: self.script(),
            };
            self.sent.push(sent.clone());
            sent
        };
        let Sent { run, session, text } = sent;
        if self.dice.one_in(3) {
            let mut params =
                json!({ "sessionKey": session, "message": text, "idempotencyKey": run });
            if self.dice.one_in(2) {
                params["timeout"] = json!(1 + self.dice.below(20));
            }
            let accepted = false;
            return self.ask("agent", params, Question::Agent { run, accepted });
        }
        let mut params = json!({ "sessionKey": session, "message": text, "idempotencyKey": run });
        let mode = self
            .dice
            .pick(&["", "collect", "collect", "interrupt", "steer", "steer"]);
        if !mode.is_empty() {
            params["queueMode"] = json!(mode);
        }
        if self.dice.one_in(2) {
            params["timeoutMs"] = json!(self.dice.below(15_000));
        }
        self.ask("chat.send", params, Question::Send(run));
    }

    /// A run that may be known.
    fn some_run(&mut self) -> (String, String) {
        let from = self.sent.len().saturating_sub(6);
        match self.sent.get(from..) {
            Some(recent) if !recent.is_empty() && !self.dice.one_in(10) => {
                let sent = self.dice.pick(recent);
                (sent.run, sent.session)
            }
            _ => ("k0".into(), "main".into()),
        }
    }

    fn wait_for_run(&mut self) {
        let (run, _) = self.some_run();
        let mut params = json!({ "runId": run });
        if self.dice.one_in(2) {
            params["timeoutMs"] = json!(self.dice.below(20_000));
        }
        self.ask("agent.wait", params, Question::Wait(run));
    }

    fn unwant_session(&mut self, session: &str) {
        let of_session = self.sent.iter().filter(|sent| sent.session == session);
        self.unwanted
            .extend(of_session.map(|sent| sent.run.clone()));
    }

    fn stop(&mut self) {
        let (run, session) = self.some_run();
        match self.dice.below(5) {
            0 => {
                let params = json!({ "sessionKey": session });
                self.ask("chat.abort", params, Question::Other);
            }
            1 => {
                self.unwanted.insert(run.clone());
                let params = json!({ "sessionKey": session, "runId": run });
                self.ask("chat.abort", params, Question::Other);
            }
            2 => {
                self.unwant_session(&session);
                let params = json!({ "key": session, "clearQueued": true });
                self.ask("sessions.abort", params, Question::Other);
            }
            3 => {
                let params = json!({ "key": session });
                self.ask("sessions.abort", params, Question::Other);
            }
            _ => {
                self.unwant_session(&session);
                let word = self.dice.pick(&["/stop", "/new"]);
                let key = format!("note{}", self.number());
                self.notes.insert(key.clone());
                let params =
                    json!({ "sessionKey": session, "message": word, "idempotencyKey": key });
                self.ask("chat.send", params, Question::Other);
            }
        }
    }

    fn reset(&mut self) {
        let session = self.dice.pick(&SESSIONS);
        self.unwant_session(session);
        let params = json!({ "key": session });
        self.ask("sessions.reset", params, Question::Reset);
    }

    fn delete(&mut self) {
        let session = self.dice.pick(&SESSIONS);
        self.unwant_session(session);
        let params = json!({ "key": session, "deleteTranscript": self.dice.one_in(2) });
        self.ask("sessions.delete", params, Question::Other);
    }

    fn inject(&mut self) {
        let session = self.dice.pick(&SESSIONS);
        let params = json!({ "sessionKey": session, "message": "by hand" });
        self.ask("chat.inject", params, Question::Inject);
    }

    fn compact(&mut self) {
        let session = self.dice.pick(&SESSIONS);
        let params = json!({ "key": session, "maxLines": 1 + self.dice.below(4) });
        self.ask("sessions.compact", params, Question::Other);
    }

    fn create(&mut self) {
        let session = self.dice.pick(&SESSIONS);
        let mut params = json!({ "key": session, "label": "made" });
        if self.dice.one_in(2) {
            let run = format!("k{}", self.number());
            let text = self.script();
            params["message"] = json!(text);
            params["idempotencyKey"] = json!(run);
            let session = session.into();
            self.sent.push(Sent { run, session, text });
        }
        self.ask("sessions.create", params, Question::Other);
    }

    fn come(&mut self) {
        match self.dice.below(3) {
            0 if self.clients.len() < 4 => self.join(),
            1 => self.ask("node.pair.list", json!({}), Question::Approve),
            _ => {
                for node in &mut self.nodes {
                    if node.line == Line::Away {
                        node.come(&mut self.host);
                    }
                }
            }
        }
    }

    fn leave(&mut self) {
        match self.dice.below(8) {
            0..3 if !self.clients.is_empty() => {
                let at = self.dice.below(self.clients.len());
                let client = self.clients.swap_remove(at);
                self.host.drop_connection(client.conn);
            }
            3 => {
                let at = self.dice.below(self.nodes.len());
                let params = json!({ "nodeId": self.nodes[at].device.id() });
                self.ask("node.pair.remove", params, Question::Other);
            }
            _ => {
                let at = self.dice.below(self.nodes.len());
                self.nodes[at].go(&mut self.host);
            }
        }
    }

    /// Somebody says whether a program may run.
    fn decide(&mut self) {
        let questions: Vec<String> = self.ledger.questions.iter().cloned().collect();
        if questions.is_empty() {
            return;
        }
        let id = self.dice.pick(&questions);
        let decision = self.dice.pick(&["allow-once", "allow-once", "deny"]);
        let params = json!({ "id": id, "decision": decision });
        self.ask("exec.approval.resolve", params, Question::Other);
    }

    fn answer_node(&mut self) {
        let at = self.dice.below(self.nodes.len());
        let old = self.dice.one_in(4);
        let node = &mut self.nodes[at];
        let asked = if old {
            node.past.last().cloned()
        } else {
            node.asked.pop()
        };
        let Some(asked) = asked else { return };
        let is_first = asked["idempotencyKey"]
            .as_str()
            .unwrap()
            .matches(':')
            .count()
            == 2;
        let error = match self.dice.below(6) {
            _ if asked["command"] == "system.run" && is_first => Some("approval required"),
            0 => Some("NODE_NOT_READY"),
            1 => Some("BROKEN"),
            _ => None,
        };
        if error == Some("NODE_NOT_READY") && !old {
            // It has not begun, and may be asked again.
            let key = asked["idempotencyKey"].as_str().unwrap();
            self.ledger.keys.remove(key);
        }
        node.answer(&mut self.host, &asked, error);
        if self.dice.one_in(4) {
            node.answer(&mut self.host, &asked, None);
        }
        node.past.push(asked);
    }

    fn feed_job(&mut self) {
        let jobs: Vec<EffectId> = self.jobs.iter().copied().collect();
        if jobs.is_empty() {
            return;
        }
        let job = self.dice.pick(&jobs);
        let event = match self.dice.below(3) {
            0 => JobEvent::Data("x".into()),
            1 => JobEvent::Ended(JobEnd::Exit(Some(0))),
            _ => JobEvent::Failed(JobFailure {
                reached: Reached::Perhaps,
                message: "broken".into(),
            }),
        };
        if !matches!(event, JobEvent::Data(_)) {
            self.jobs.remove(&job);
        }
        self.host.job(job, event);
    }

    fn invoke(&mut self) {
        let at = self.dice.below(self.nodes.len());
        let params = json!({
            "nodeId": self.nodes[at].device.id(),
            "command": self.dice.pick(&COMMANDS),
            "idempotencyKey": format!("invoke-{}", self.number()),
            "timeoutMs": 1 + self.dice.below(20_000),
        });
        self.ask("node.invoke", params, Question::Other);
    }

    fn trouble(&mut self) {
        match self.dice.below(20) {
            0 => self.host.disk.failure = Some(StoreFailure::Full),
            1..3 => self.host.disk.failure = None,
            3 => {
                let waiting = &mut self.host.disk.waiting;
                waiting.get_or_insert_default();
            }
            4 => self.hurry_disk(),
            5 => {
                self.host.held_reads.get_or_insert_default();
            }
            6 => self.hurry_reads(),
            7..12 => {
                self.host.read();
            }
            12 if self.dice.one_in(3) => self.crash(),
            _ => {
                for _ in 0..1 + self.dice.below(3) {
                    if !self.host.write() {
                        break;
                    }
                    self.look();
                }
            }
        }
    }

    fn hurry_disk(&mut self) {
        while self.host.write() {
            self.look();
        }
        self.host.disk.waiting = None;
    }

    fn hurry_reads(&mut self) {
        while self.host.read() {
            self.look();
        }
        self.host.held_reads = None;
    }

    fn crash(&mut self) {
        self.look();
        self.host.restart();
        self.clients.clear();
        self.jobs.clear();
        for node in &mut self.nodes {
            node.lose();
        }
    }

    /// Takes what happened, and holds it against the rules.
    fn look(&mut self) {
        while let Some(commit) = self.host.disk.log.as_mut().and_then(VecDeque::pop_front) {
            self.ledger.apply(&commit);
        }
        for request in std::mem::take(&mut self.host.effects) {
            match request.effect {
                Effect::StartJob(_) => {
                    self.jobs.insert(request.id);
                }
                Effect::StopJob(job) => {
                    self.jobs.remove(&job);
                }
                _ => {}
            }
        }
        for given in agent::given() {
            self.check_given(&given);
        }
        for text in agent::heard() {
            let sent = self.sent.iter().rev().find(|sent| sent.text == text);
            let run = &sent.expect("somebody sent it").run;
            assert!(self.ledger.is_accepted(run), "{run} is heard, and not kept");
        }
        for node in &mut self.nodes {
            node.look(&mut self.host, &mut self.ledger);
        }
        let mut further = Vec::new();
        for client in &mut self.clients {
            while let Some(frame) = self.host.try_recv(client.conn) {
                further.extend(client.hear(&frame, &self.ledger, &self.notes));
            }
            assert_eq!(self.host.closed(client.conn), None);
        }
        for (method, params) in further {
            self.ask(method, params, Question::Other);
            self.look();
        }
        for (run, fate) in &self.ledger.fates {
            let lost = fate.over && !fate.began && !self.unwanted.contains(run);
            assert!(!lost, "the message of {run} is lost");
        }
    }

    /// What the agent was given is the message of the run, or one that is answered with it.
    fn check_given(&self, given: &Given) {
        let (run, message) = (given.run.as_str(), &given.message);
        let row = &self.ledger.runs.get(run);
        let fate = self.ledger.fates.get(run);
        assert!(
            fate.is_some_and(|fate| fate.began),
            "{run} is given to the agent: {row:?}"
        );
        let is_new = !given.before.contains(message);
        let is_again = fate.is_some_and(|fate| fate.life > 0);
        assert!(is_new || is_again, "{run} hears its message twice");
        let sent = self.sent.iter().rev().find(|sent| sent.text == *message);
        let sent = sent.unwrap_or_else(|| panic!("{run} is given {message:?}"));
        if sent.run != run {
            let other = &self.ledger.runs[&sent.run];
            assert_eq!(other["mode"], "collect", "{run} is given {message:?}");
            assert_eq!(row.unwrap()["startedAt"], other["startedAt"]);
        }
    }

    /// The disk works, the host is quick, nodes and clients are silent: everything comes to rest.
    pub fn rest(&mut self) {
        self.steps += 1;
        self.host.disk.failure = None;
        self.hurry_disk();
        self.hurry_reads();
        self.look();
        assert_eq!(agent::jobs(), self.jobs.len(), "jobs that do not run");
        for _ in 0..150 {
            self.host.advance(Duration::from_secs(10));
            self.look();
        }
        for (run, row) in &self.ledger.runs {
            assert!(crate::ledger::is_over(row), "{run} never ends: {row}");
        }
        for client in &self.clients {
            assert!(client.open.is_empty(), "{:?} wait for ever", client.open);
        }
        assert!(self.jobs.is_empty(), "jobs that nobody stopped");
        self.join();
        let conn = self.clients.pop().unwrap().conn;
        while self.host.try_recv(conn).is_some() {}
        let list = self.host.get(conn, "sessions.list", json!({}));
        let mut shown = BTreeMap::new();
        for row in list["sessions"].as_array().unwrap() {
            assert_eq!(row["hasActiveRun"], false, "{row}");
            let key = row["key"].as_str().unwrap().to_owned();
            let params = json!({ "sessionKey": key, "limit": 1 });
            let page = self.host.get(conn, "chat.history", params);
            shown.insert(key, page["totalMessages"].as_u64().unwrap());
        }
        let kept = self.ledger.sessions.iter();
        let kept: BTreeMap<String, u64> = kept
            .map(|(key, row)| (key.clone(), self.ledger.length(row)))
            .collect();
        assert_eq!(shown, kept);
        self.host.drop_connection(conn);
    }

    /// Runs that ended after they had begun.
    pub fn answered(&self) -> usize {
        let fates = self.ledger.fates.values();
        fates.filter(|fate| fate.over && fate.began).count()
    }

    /// Calls that nodes got; and those of them that somebody allowed.
    pub fn calls(&self) -> (usize, usize) {
        let allowed = self.ledger.keys.iter();
        let allowed = allowed.filter(|key| key.ends_with(":approved"));
        (self.ledger.keys.len(), allowed.count())
    }
}

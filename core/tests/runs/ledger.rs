//! What is on disk, commit by commit, and the rules that it must keep at each.

use std::collections::{BTreeMap, BTreeSet};

use clawgate_core::store::{Author, Commit, Message, Table, Write};
use serde_json::Value;

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub queued: usize,
    pub runs: usize,
    pub sessions: usize,
}

/// What is durable.
pub struct Ledger {
    bounds: Bounds,
    pub runs: BTreeMap<String, Value>,
    pub sessions: BTreeMap<String, Value>,
    pub nodes: BTreeMap<String, Value>,
    pub requests: BTreeSet<String>,
    /// Questions whether a program may run that wait for somebody.
    pub questions: BTreeSet<String>,
    /// Idempotency keys of all calls that nodes got.
    pub keys: BTreeSet<String>,
    transcripts: BTreeMap<String, Transcript>,
    /// Every message that ever was durable, by id.
    pub messages: BTreeSet<String>,
    /// Every life of a session that ever was durable.
    pub lives: BTreeSet<String>,
    /// What became of each run that was ever durable.
    pub fates: BTreeMap<String, Fate>,
    /// Runs that begin in the commit at hand.
    begun: BTreeSet<String>,
}

/// What became of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// How many runs of this id were there before.
    pub life: usize,
    pub began: bool,
    pub over: bool,
    /// How often its message came into a transcript.
    pub inputs: usize,
}

#[derive(Default)]
struct Transcript {
    last: u64,
    first: u64,
}

impl Ledger {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            runs: BTreeMap::new(),
            sessions: BTreeMap::new(),
            nodes: BTreeMap::new(),
            requests: BTreeSet::new(),
            questions: BTreeSet::new(),
            keys: BTreeSet::new(),
            transcripts: BTreeMap::new(),
            messages: BTreeSet::new(),
            lives: BTreeSet::new(),
            fates: BTreeMap::new(),
            begun: BTreeSet::new(),
        }
    }

    /// Whether a node may be asked this: somebody approved the command, it is new, and if a run wants
    /// it, it is on record.
    pub fn check_asked(&mut self, node: &str, asked: &Value) {
        self.check_approved(node, asked);
        let key = asked["idempotencyKey"].as_str().unwrap();
        assert!(self.keys.insert(key.to_owned()), "sent twice: {asked}");
        let mut parts = key.split(':');
        let (Some(run), Some(order), Some(call)) = (parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let row = &self.runs[run];
        assert_eq!(
            row["order"].to_string(),
            order,
            "of an earlier run: {asked}"
        );
        let calls = row["calls"].as_array().unwrap();
        let made = calls.iter().any(|made| made["id"] == call);
        assert!(made, "not on record: {asked}");
    }

    /// Whether somebody approved what a node is asked.
    pub fn check_approved(&self, node: &str, asked: &Value) {
        let approved = &self.nodes[node]["approval"]["commands"];
        let approved = approved.as_array().expect("somebody approved it");
        assert!(
            approved.contains(&asked["command"]),
            "not approved: {asked}"
        );
    }

    /// Whether a run was accepted.
    pub fn is_accepted(&self, run: &str) -> bool {
        self.fates.contains_key(run)
    }

    pub fn is_over(&self, run: &str) -> bool {
        self.fates.get(run).is_some_and(|fate| fate.over)
    }

    /// Messages of the present life of a session.
    pub fn length(&self, session: &Value) -> u64 {
        let id = session["sessionId"].as_str().unwrap();
        self.transcripts
            .get(id)
            .map_or(0, |transcript| transcript.last + 1 - transcript.first)
    }

    pub fn apply(&mut self, commit: &Commit) {
        self.begun.clear();
        for write in &commit.writes {
            match write {
                Write::Append(message) => self.append(message),
                Write::Audit { .. } => {}
                Write::Delete { table, key } => self.delete(*table, key),
                Write::Forget { session, keep_from } => {
                    self.forget(session.as_str(), *keep_from);
                }
                Write::Put {
                    table,
                    key,
                    document,
                } => self.put(*table, key, document.parse().unwrap()),
            }
        }
        self.check();
    }

    fn append(&mut self, message: &Message) {
        assert!(
            self.messages.insert(message.id.clone()),
            "the id of a message was used before"
        );
        let session = message.session.as_str().to_owned();
        let transcript = self
            .transcripts
            .entry(session.clone())
            .or_insert(Transcript { last: 0, first: 1 });
        assert_eq!(message.seq, transcript.last + 1, "a gap in {session}");
        transcript.last = message.seq;
        let document: Value = message.document.parse().unwrap();
        let Some(run) = document["__openclaw"]["runId"].as_str() else {
            return;
        };
        let row = &self.runs[run];
        assert_eq!(
            row["state"], "running",
            "{run} has words, but is not under way"
        );
        assert_eq!(
            row["sessionId"].as_str(),
            Some(session.as_str()),
            "words of {run} in another life of its session"
        );
        if message.author == Author::User {
            let fate = self.fates.get_mut(run).unwrap();
            fate.inputs += 1;
            assert_eq!(fate.inputs, 1, "the message of {run} is there twice");
        }
    }

    fn forget(&mut self, session: &str, keep_from: Option<u64>) {
        match (keep_from, self.transcripts.get_mut(session)) {
            (None, _) => {
                self.transcripts.remove(session);
            }
            (Some(first), Some(transcript)) => {
                assert!(first <= transcript.last, "nothing would stay of {session}");
                transcript.first = transcript.first.max(first);
            }
            (Some(_), None) => {}
        }
    }

    fn delete(&mut self, table: Table, key: &str) {
        match table {
            Table::Run => {
                let row = self.runs.remove(key).expect("a run that is known");
                assert!(is_over(&row), "{key} is forgotten before its end");
            }
            Table::Session => {
                self.sessions.remove(key);
            }
            Table::Node => {
                self.nodes.remove(key);
            }
            Table::NodeRequest => {
                self.requests.remove(key);
            }
            Table::ExecApproval => {
                self.questions.remove(key);
            }
            _ => {}
        }
    }

    fn put(&mut self, table: Table, key: &str, row: Value) {
        match table {
            Table::Run => self.put_run(key, row),
            Table::Session => {
                let life = row["sessionId"].as_str().unwrap().to_owned();
                self.lives.insert(life);
                self.sessions.insert(key.to_owned(), row);
            }
            Table::Node => {
                self.nodes.insert(key.to_owned(), row);
            }
            Table::NodeRequest => {
                self.requests.insert(key.to_owned());
            }
            Table::ExecApproval if row.get("ended").is_none() => {
                self.questions.insert(key.to_owned());
            }
            Table::ExecApproval => {
                self.questions.remove(key);
            }
            _ => {}
        }
    }

    fn put_run(&mut self, run: &str, row: Value) {
        let before = self.runs.get(run);
        let was = before.map_or("none", |row| row["state"].as_str().unwrap());
        let is = row["state"].as_str().unwrap();
        match (was, is) {
            ("none", "queued") => {
                let life = self.fates.get(run).map_or(0, |fate| fate.life + 1);
                let fate = Fate {
                    life,
                    ..Fate::default()
                };
                self.fates.insert(run.to_owned(), fate);
            }
            ("queued", "running") => {
                let next = self.next_of(&row);
                assert_eq!(next.as_deref(), Some(run), "{run} goes before its turn");
                self.check_alone(run, &row);
                self.fates.get_mut(run).unwrap().began = true;
                self.begun.insert(run.to_owned());
            }
            ("running", "running") => check_calls(&self.runs[run], &row),
            ("queued", "aborted" | "failed")
            | ("running", "done" | "failed" | "aborted" | "timeout" | "cut") => {
                self.fates.get_mut(run).unwrap().over = true;
            }
            _ => panic!("{run} goes from {was} to {is}"),
        }
        assert_eq!(
            row.get("input").is_some(),
            is == "queued",
            "{run} is {is}: {row}"
        );
        self.runs.insert(run.to_owned(), row);
    }

    /// The run whose turn it is: those that interrupt go first, the newest of them before the others;
    /// all else in the order of acceptance.
    fn next_of(&self, row: &Value) -> Option<String> {
        let order = |(_, row): &(&String, &Value)| {
            let order = row["order"].as_i64().unwrap();
            let interrupts = row["mode"] == "interrupt";
            (!interrupts, if interrupts { -order } else { order })
        };
        self.runs
            .iter()
            .filter(|(_, other)| other["sessionKey"] == row["sessionKey"])
            .filter(|(_, other)| other["state"] == "queued")
            .min_by_key(order)
            .map(|(run, _)| run.clone())
    }

    /// No other run of the session is under way, but those that are answered together with it.
    fn check_alone(&self, run: &str, row: &Value) {
        for (other, found) in &self.runs {
            if found["sessionKey"] != row["sessionKey"] || found["state"] != "running" {
                continue;
            }
            let steered = row["mode"] == "steer";
            let together = steered
                || self.begun.contains(other)
                    && found["mode"] == "collect"
                    && row["mode"] == "collect";
            assert!(together, "{run} begins while {other} is under way");
        }
    }

    fn check(&self) {
        for (run, fate) in &self.fates {
            if fate.began {
                assert_eq!(fate.inputs, 1, "{run} began without its message");
            } else {
                assert_eq!(fate.inputs, 0, "the message of {run} came before its turn");
            }
        }
        for (key, row) in &self.sessions {
            let id = row["sessionId"].as_str().unwrap();
            let last = self.transcripts.get(id).map_or(0, |found| found.last);
            assert_eq!(row["lastSeq"].as_u64(), Some(last), "the end of {key}");
        }
        assert!(
            self.sessions.len() <= self.bounds.sessions,
            "too many sessions"
        );
        let over = self.runs.values().filter(|row| is_over(row)).count();
        assert!(over <= self.bounds.runs, "{over} runs that are over");
        for key in self.sessions.keys() {
            let of_key = |row: &&Value| row["sessionKey"] == **key && row["state"] == "queued";
            let queued = self.runs.values().filter(of_key).count();
            assert!(
                queued <= self.bounds.queued,
                "{queued} messages wait in {key}"
            );
        }
    }
}

pub fn is_over(row: &Value) -> bool {
    !matches!(row["state"].as_str(), Some("queued" | "running"))
}

/// No call is forgotten, and none that has ended begins again.
fn check_calls(before: &Value, after: &Value) {
    let calls = |row: &Value| row["calls"].as_array().cloned().unwrap_or_default();
    let (before, after) = (calls(before), calls(after));
    assert!(after.len() >= before.len(), "a call is forgotten");
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(old["id"], new["id"]);
        let is_same = old["state"] == new["state"];
        assert!(is_same || old["state"] == "sent", "{old} becomes {new}");
    }
}

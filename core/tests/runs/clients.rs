//! Operators: what they have asked, and whether what they hear can be true.

use std::collections::{BTreeMap, BTreeSet};

use clawgate_core::ids::ConnId;
use serde_json::{Value, json};

use super::ledger::Ledger;

/// What a client waits for.
#[derive(Clone, Debug)]
pub enum Question {
    /// `agent`: two answers.
    Agent {
        run: String,
        accepted: bool,
    },
    /// What waits for approval; the answer is an approval.
    Approve,
    Inject,
    Reset,
    Send(String),
    Wait(String),
    Other,
}

/// Where a client has got to in what it hears of a run.
#[derive(Default)]
struct Heard {
    agent: u64,
    chat: u64,
    agent_over: bool,
    chat_over: bool,
}

pub struct Client {
    pub conn: ConnId,
    pub open: BTreeMap<String, Question>,
    /// By the id of the run, and how many there were of that id before.
    heard: BTreeMap<(String, usize), Heard>,
}

impl Client {
    pub fn new(conn: ConnId) -> Self {
        Self {
            conn,
            open: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Holds a frame against what is durable. Gives a call that it leads to.
    pub fn hear(
        &mut self,
        frame: &Value,
        ledger: &Ledger,
        notes: &BTreeSet<String>,
    ) -> Option<(&'static str, Value)> {
        if frame["type"] == "res" {
            return self.answer(frame, ledger);
        }
        let payload = &frame["payload"];
        let run = || payload["runId"].as_str().unwrap().to_owned();
        match frame["event"].as_str().unwrap() {
            "chat" => {
                let run = run();
                if notes.contains(&run) {
                    return None;
                }
                if let Some(message) = run.strip_prefix("inject-") {
                    assert!(ledger.messages.contains(message), "{run} is not on disk");
                    return None;
                }
                let heard = self.of_run(&run, ledger);
                assert!(!heard.chat_over, "{run} goes on after its end: {frame}");
                let seq = payload["seq"].as_u64().unwrap();
                assert!(seq > heard.chat, "{run}: {seq} after {}", heard.chat);
                heard.chat = seq;
                if payload["state"] != "delta" {
                    heard.chat_over = true;
                    assert!(ledger.is_over(&run), "the end of {run} is not on disk");
                }
            }
            "agent" => {
                let run = run();
                let heard = self.of_run(&run, ledger);
                assert!(!heard.agent_over, "{run} goes on after its end: {frame}");
                let seq = payload["seq"].as_u64().unwrap();
                assert!(seq > heard.agent, "{run}: {seq} after {}", heard.agent);
                heard.agent = seq;
                let fate = &ledger.fates[&run];
                match payload["data"]["phase"].as_str() {
                    Some("end" | "error") if payload["stream"] == "lifecycle" => {
                        heard.agent_over = true;
                        assert!(fate.over, "the end of {run} is not on disk");
                    }
                    _ => assert!(fate.began, "{run} is told to run: {frame}"),
                }
            }
            "session.message" => {
                let id = payload["messageId"].as_str().unwrap();
                assert!(ledger.messages.contains(id), "{frame} is not on disk");
            }
            _ => {}
        }
        None
    }

    fn of_run(&mut self, run: &str, ledger: &Ledger) -> &mut Heard {
        let fate = ledger.fates.get(run);
        let fate = fate.unwrap_or_else(|| panic!("nobody accepted {run}"));
        self.heard.entry((run.to_owned(), fate.life)).or_default()
    }

    fn answer(&mut self, frame: &Value, ledger: &Ledger) -> Option<(&'static str, Value)> {
        let id = frame["id"].as_str().unwrap();
        let question = self.open.get_mut(id);
        let question = question.unwrap_or_else(|| panic!("an answer too many: {frame}"));
        let payload = &frame["payload"];
        if frame["ok"] == false {
            self.open.remove(id);
            return None;
        }
        let mut next = None;
        match question {
            Question::Agent { run, accepted } => match payload["status"].as_str().unwrap() {
                "accepted" => {
                    assert!(!*accepted, "accepted twice: {frame}");
                    assert!(ledger.is_accepted(run), "{run} is not on disk: {frame}");
                    *accepted = true;
                    return None;
                }
                "in_flight" => assert!(ledger.is_accepted(run), "{frame}"),
                _ => assert!(ledger.is_over(run), "{run} is not over: {frame}"),
            },
            Question::Approve => {
                let pending = payload["pending"].as_array();
                let request = pending.and_then(|pending| pending.first());
                let request = request.map(|request| json!({ "requestId": request["requestId"] }));
                next = request.map(|request| ("node.pair.approve", request));
            }
            Question::Inject => {
                let message = payload["messageId"].as_str().unwrap();
                assert!(ledger.messages.contains(message), "{frame} is not on disk");
            }
            Question::Reset => {
                let life = payload["entry"]["sessionId"].as_str().unwrap();
                assert!(ledger.lives.contains(life), "{frame} is not on disk");
            }
            Question::Send(run) => match payload["status"].as_str().unwrap() {
                "started" | "in_flight" => {
                    assert!(ledger.is_accepted(run), "{run} is not on disk: {frame}");
                }
                _ => assert!(ledger.is_over(run), "{run} is not over: {frame}"),
            },
            Question::Wait(run) => {
                if payload.get("endedAt").is_some() {
                    assert!(ledger.is_over(run), "{run} is not over: {frame}");
                }
            }
            Question::Other => {}
        }
        self.open.remove(id);
        next
    }
}

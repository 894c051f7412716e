//! What each side is owed, written down apart from the machines under test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use clawgate_core::{
    client::{CallError, Gap},
    frame::{Droppable, OutboundEvent, RawJson},
    ids::RequestId,
};
use serde_json::Value;

use crate::{cast::Rights, work::Ask};

/// What became of an event that was given to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    Dropped,
    Queued,
    /// The connection closes, because it is too slow.
    TheEnd,
}

/// One connection as the gateway's side has to treat it.
pub struct LineBook {
    rights: Rights,
    /// Requests without an answer, by id; a hand-written client may use one twice.
    open: BTreeMap<String, usize>,
    seq: u64,
    dropped: BTreeSet<u64>,
    /// Events that are in the outbound buffer.
    due: VecDeque<(u64, String)>,
}

impl LineBook {
    pub fn new(rights: Rights) -> Self {
        Self {
            rights,
            open: BTreeMap::new(),
            seq: 0,
            dropped: BTreeSet::new(),
            due: VecDeque::new(),
        }
    }

    /// A message reaches the connection. What is not JSON is owed no answer.
    pub fn asked(&mut self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            return;
        };
        let id = frame["id"].as_str().filter(|id| !id.is_empty());
        *self.open.entry(id.unwrap_or("invalid").into()).or_default() += 1;
    }

    pub fn open(&self) -> usize {
        self.open.values().sum()
    }

    pub fn is_asked(&self, id: &RequestId) -> bool {
        self.open.contains_key(id.as_str())
    }

    /// An event was delivered to an established connection.
    pub fn numbered(&mut self, event: &OutboundEvent, room: usize, became: Became) {
        assert!(
            event.name() != "presence" || self.rights.allow("operator.read"),
            "presence for a client that may not read"
        );
        self.seq += 1;
        let right = match (event.max_len() <= room, event.droppable()) {
            (true, _) => Became::Queued,
            (false, Droppable::IfSlow) => Became::Dropped,
            (false, Droppable::Never) => Became::TheEnd,
        };
        assert_eq!(became, right, "{} with room for {room} bytes", event.name());
        match became {
            Became::Dropped => {
                self.dropped.insert(self.seq);
            }
            Became::Queued => self.due.push_back((self.seq, event.name().into())),
            Became::TheEnd => {}
        }
    }

    /// A text leaves for the client.
    pub fn sent(&mut self, text: &str) {
        let frame: Value = serde_json::from_str(text).unwrap();
        match frame["type"].as_str() {
            Some("res") => {
                let id = frame["id"].as_str().unwrap();
                let open = self.open.get_mut(id);
                let open = open.unwrap_or_else(|| panic!("{id} was not asked, or answered before"));
                *open -= 1;
                if *open == 0 {
                    self.open.remove(id);
                }
                self.check_snapshot(&frame["payload"]);
            }
            Some("event") if frame["event"] == "connect.challenge" => {
                assert_eq!((self.seq, &frame["seq"]), (0, &Value::Null));
            }
            Some("event") if frame["seq"].is_null() => {
                // What a node is told when it comes.
                let name = frame["event"].as_str().unwrap();
                assert!(name.starts_with("voicewake."), "sent {text}");
            }
            Some("event") => {
                let due = self.due.pop_front();
                let sent = frame["seq"].as_u64().map(|seq| (seq, &frame["event"]));
                assert!(
                    matches!((&due, sent), (Some((due, name)), Some((seq, event)))
                        if *due == seq && name == event),
                    "sent {text}, due {due:?}"
                );
            }
            other => panic!("a frame of type {other:?}"),
        }
    }

    /// The gap that the client has to be told before the event `received`.
    pub fn gap(&self, last: Option<u64>, received: u64) -> Option<Gap> {
        let expected = last? + 1;
        for seq in expected..received {
            assert!(
                self.dropped.contains(&seq),
                "event {seq} was lost, not dropped"
            );
        }
        (expected < received).then_some(Gap { expected, received })
    }

    fn check_snapshot(&self, payload: &Value) {
        if payload["type"] != "hello-ok" {
            return;
        }
        let snapshot = &payload["snapshot"];
        let reads = self.rights.allow("operator.read");
        let rows = snapshot["presence"].as_array().unwrap();
        assert_eq!(
            rows.is_empty(),
            !reads,
            "presence in a hello for {}",
            payload["auth"]
        );
        let paths = ["configPath", "stateDir", "authMode"];
        let admin = self.rights.allow("operator.admin");
        assert!(
            paths
                .iter()
                .all(|path| snapshot.get(path).is_some() == admin)
        );
    }
}

/// The calls of one client.
#[derive(Default)]
pub struct CallBook {
    open: BTreeMap<RequestId, Ask>,
    cancelled: BTreeSet<RequestId>,
    pub made: usize,
    pub answered: usize,
    pub failed: usize,
}

impl CallBook {
    pub fn made(&mut self, id: RequestId, ask: Ask) {
        self.made += 1;
        let before = self.open.insert(id.clone(), ask);
        assert!(before.is_none(), "{id} is used twice");
    }

    /// One call that waits, if there is any.
    pub fn any(&self) -> Option<RequestId> {
        self.open.keys().next().cloned()
    }

    pub fn cancelled(&mut self, id: RequestId) {
        assert!(self.open.remove(&id).is_some());
        self.cancelled.insert(id);
    }

    pub fn ended(&mut self, id: &RequestId, outcome: &Result<RawJson, CallError>, rights: &Rights) {
        assert!(
            !self.cancelled.contains(id),
            "{id} was cancelled and still answered"
        );
        let ask = self.open.remove(id);
        let ask = ask.unwrap_or_else(|| panic!("{id} was not asked, or answered before"));
        ask.check(rights, outcome);
        match outcome {
            Ok(_) | Err(CallError::Rpc(_)) => self.answered += 1,
            Err(CallError::Ended(_) | CallError::Timeout) => self.failed += 1,
        }
    }

    pub fn open(&self) -> usize {
        self.open.len()
    }

    pub fn taken_back(&self) -> usize {
        self.cancelled.len()
    }
}

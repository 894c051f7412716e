//! Idempotency keys: a repeated call gets the first one's answer, after a restart too (spec protocol
//! §7).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    frame::RawJson,
    protocol::RpcError,
    store::{CommitId, Journal, Mirror, Record, Row, Table},
    time::{Now, WallTime},
};

/// What a key stands for: keys of different methods do not meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DedupeKey(String);

impl DedupeKey {
    pub(super) fn new(method: &'static str, key: &str) -> Self {
        Self(format!("{method}:{key}"))
    }
}

/// What to do with a call that carries a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The same key came with other parameters.
    Conflict,
    /// It was answered.
    Done(Result<RawJson, RpcError>),
    /// It is the first.
    New,
}

/// A remembered answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    key: String,
    /// The digest of the parameters.
    params: String,
    outcome: Outcome,
    at_ms: WallTime,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Done(Value),
    Failed(RpcError),
}

impl Record for Entry {
    const TABLE: Table = Table::Dedupe;

    fn key(&self) -> &str {
        &self.key
    }
}

/// Remembers answers, for a time and up to a number.
#[derive(Debug)]
pub(super) struct Dedupe {
    entries: Mirror<Entry>,
    /// In the order of their end.
    order: VecDeque<(Instant, String)>,
    max: usize,
    ttl: Duration,
}

impl Dedupe {
    /// Takes the rows of the last run. Gives the keys of those that cannot be read.
    pub(super) fn restore(
        rows: &[Row],
        now: Now,
        max: usize,
        ttl: Duration,
    ) -> (Self, Vec<String>) {
        let (entries, unreadable) = Mirror::<Entry>::restore(rows);
        let mut order: Vec<(Instant, String)> = entries
            .values()
            .map(|entry| {
                let age = Duration::from_millis(now.wall.0.saturating_sub(entry.at_ms.0));
                (now.mono + ttl.saturating_sub(age), entry.key.clone())
            })
            .collect();
        order.sort();
        let dedupe = Self {
            entries,
            order: order.into(),
            max,
            ttl,
        };
        (dedupe, unreadable)
    }

    pub(super) fn look(&self, now: Instant, key: &DedupeKey, params: &RawJson) -> Seen {
        let ended = |key: &str| {
            self.order
                .iter()
                .any(|(end, other)| other == key && *end <= now)
        };
        match self.entries.get(&key.0) {
            None => Seen::New,
            Some(_) if ended(&key.0) => Seen::New,
            Some(entry) if entry.params != fingerprint(params) => Seen::Conflict,
            Some(entry) => Seen::Done(match &entry.outcome {
                Outcome::Done(value) => {
                    Ok(RawJson::encode(value).unwrap_or_else(|_| RawJson::empty_object()))
                }
                Outcome::Failed(error) => Err(error.clone()),
            }),
        }
    }

    pub(super) fn keep(
        &mut self,
        journal: &mut Journal,
        now: Now,
        key: DedupeKey,
        params: &RawJson,
        outcome: &Result<RawJson, RpcError>,
    ) {
        while self
            .order
            .front()
            .is_some_and(|(end, _)| *end <= now.mono || self.entries.len() >= self.max)
        {
            if let Some((_, key)) = self.order.pop_front() {
                self.entries.remove(journal, &key);
            }
        }
        let outcome = match outcome {
            Ok(answer) => Outcome::Done(answer.parse().unwrap_or_default()),
            Err(error) => Outcome::Failed(error.clone()),
        };
        self.order.push_back((now.mono + self.ttl, key.0.clone()));
        let entry = Entry {
            key: key.0,
            params: fingerprint(params),
            outcome,
            at_ms: now.wall,
        };
        self.entries.put(journal, entry);
    }

    /// The commit that an answer of before waits for.
    pub(super) fn unsettled(&self, key: &DedupeKey) -> Option<CommitId> {
        self.entries.unsettled(&key.0)
    }

    pub(super) fn settle(&mut self, commit: CommitId) {
        self.entries.settle(commit);
    }

    pub(super) fn roll_back(&mut self, commit: CommitId, now: Now) {
        self.entries.roll_back(commit);
        let entries = &self.entries;
        self.order.retain(|(_, key)| entries.get(key).is_some());
        // What the lost commit had dropped is here again, and has to end some time.
        let known: Vec<String> = self.order.iter().map(|(_, key)| key.clone()).collect();
        for entry in self.entries.values() {
            if !known.contains(&entry.key) {
                self.order
                    .push_back((now.mono + self.ttl, entry.key.clone()));
            }
        }
    }
}

fn fingerprint(params: &RawJson) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(params.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &'static str) -> RawJson {
        RawJson::checked(text).unwrap()
    }

    fn key(name: &str) -> DedupeKey {
        DedupeKey::new("system-event", name)
    }

    fn start() -> Now {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        Now {
            mono: Instant::now(),
            wall: WallTime(1_737_264_000_000),
        }
    }

    const TTL: Duration = Duration::from_secs(300);

    #[test]
    fn keys_are_remembered_for_a_time_and_up_to_a_number() {
        let now = start();
        let mut journal = Journal::default();
        let mut dedupe = Dedupe::restore(&[], now, 2, TTL).0;
        let answer = Ok(params("1"));
        for name in ["a", "b"] {
            assert_eq!(dedupe.look(now.mono, &key(name), &params("{}")), Seen::New);
            dedupe.keep(&mut journal, now, key(name), &params("{}"), &answer);
        }
        let look =
            |dedupe: &Dedupe, at: Instant, name: &str| dedupe.look(at, &key(name), &params("{}"));
        assert_eq!(look(&dedupe, now.mono, "a"), Seen::Done(answer.clone()));
        assert_eq!(
            dedupe.look(now.mono, &key("a"), &params("[]")),
            Seen::Conflict
        );
        let other_method = DedupeKey::new("wake", "a");
        assert_eq!(
            dedupe.look(now.mono, &other_method, &params("{}")),
            Seen::New
        );
        dedupe.keep(&mut journal, now, key("c"), &params("{}"), &answer);
        assert_eq!(look(&dedupe, now.mono, "a"), Seen::New);
        let end = now.mono + TTL;
        let almost = end - Duration::from_millis(1);
        assert_eq!(look(&dedupe, almost, "b"), Seen::Done(answer));
        assert_eq!(look(&dedupe, end, "b"), Seen::New);
    }

    #[test]
    fn a_restart_forgets_nothing_and_prolongs_nothing() {
        let now = start();
        let mut journal = Journal::default();
        let mut dedupe = Dedupe::restore(&[], now, 2, TTL).0;
        let error = Err(RpcError::invalid_request("no"));
        dedupe.keep(&mut journal, now, key("a"), &params("{}"), &error);
        let rows: Vec<Row> = journal
            .seal()
            .unwrap()
            .writes
            .into_iter()
            .filter_map(|write| match write {
                crate::store::Write::Put {
                    table,
                    key,
                    document,
                } => Some(Row {
                    table,
                    key,
                    document,
                }),
                crate::store::Write::Append(_)
                | crate::store::Write::Audit { .. }
                | crate::store::Write::Delete { .. }
                | crate::store::Write::Forget { .. } => None,
            })
            .collect();
        let later = now.after(TTL - Duration::from_secs(1));
        let (dedupe, unreadable) = Dedupe::restore(&rows, later, 2, TTL);
        assert!(unreadable.is_empty());
        let look = |at: Now| dedupe.look(at.mono, &key("a"), &params("{}"));
        assert_eq!(look(later), Seen::Done(error));
        assert_eq!(look(later.after(Duration::from_secs(1))), Seen::New);
    }
}

//! Idempotency keys: a repeated call gets the first one's answer (spec protocol §6).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::{frame::RawJson, methods::Method, protocol::RpcError};

/// What a key stands for: keys of different methods do not meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DedupeKey(Method, Box<str>);

impl DedupeKey {
    pub(super) fn new(method: Method, key: &str) -> Self {
        Self(method, key.into())
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

#[derive(Debug)]
struct Entry {
    params: [u8; 32],
    outcome: Result<RawJson, RpcError>,
}

/// Remembers answers, for a time and up to a number.
#[derive(Debug)]
pub(super) struct Dedupe {
    entries: BTreeMap<DedupeKey, Entry>,
    /// In the order of their end.
    order: VecDeque<(Instant, DedupeKey)>,
    max: usize,
    ttl: Duration,
}

impl Dedupe {
    pub(super) fn new(max: usize, ttl: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            max,
            ttl,
        }
    }

    pub(super) fn look(&mut self, now: Instant, key: &DedupeKey, params: &RawJson) -> Seen {
        self.expire(now);
        match self.entries.get(key) {
            None => Seen::New,
            Some(entry) if entry.params != fingerprint(params) => Seen::Conflict,
            Some(entry) => Seen::Done(entry.outcome.clone()),
        }
    }

    pub(super) fn keep(
        &mut self,
        now: Instant,
        key: DedupeKey,
        params: &RawJson,
        outcome: Result<RawJson, RpcError>,
    ) {
        self.expire(now);
        if self.entries.len() >= self.max
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        let entry = Entry {
            params: fingerprint(params),
            outcome,
        };
        if self.entries.insert(key.clone(), entry).is_none() {
            self.order.push_back((now + self.ttl, key));
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, key)) = self.order.pop_front() {
                self.entries.remove(&key);
            }
        }
    }
}

fn fingerprint(params: &RawJson) -> [u8; 32] {
    Sha256::digest(params.as_str().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &'static str) -> RawJson {
        RawJson::checked(text).unwrap()
    }

    #[test]
    fn keys_are_remembered_for_a_time_and_up_to_a_number() {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        let start = Instant::now();
        let ttl = Duration::from_secs(300);
        let mut dedupe = Dedupe::new(2, ttl);
        let key = |name: &str| DedupeKey::new(Method::SystemEvent, name);
        let answer = Ok(params("1"));
        for name in ["a", "b"] {
            assert_eq!(dedupe.look(start, &key(name), &params("{}")), Seen::New);
            dedupe.keep(start, key(name), &params("{}"), answer.clone());
        }
        assert_eq!(
            dedupe.look(start, &key("a"), &params("{}")),
            Seen::Done(answer.clone())
        );
        assert_eq!(dedupe.look(start, &key("a"), &params("[]")), Seen::Conflict);
        let other_method = DedupeKey::new(Method::Wake, "a");
        assert_eq!(dedupe.look(start, &other_method, &params("{}")), Seen::New);
        dedupe.keep(start, key("c"), &params("{}"), answer.clone());
        assert_eq!(dedupe.look(start, &key("a"), &params("{}")), Seen::New);
        let almost = start + ttl - Duration::from_millis(1);
        assert_eq!(
            dedupe.look(almost, &key("b"), &params("{}")),
            Seen::Done(answer)
        );
        assert_eq!(
            dedupe.look(start + ttl, &key("b"), &params("{}")),
            Seen::New
        );
    }
}

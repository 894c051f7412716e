//! Answers that are kept, so that a repeated request is answered again and not carried out again
//! (spec protocol §7: the gateway passes the key on and leaves this to the node).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::request::Invoke;

const WINDOW: Duration = Duration::from_secs(300);
const MAX_ANSWERS: usize = 1000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What tells requests apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(String);

/// What has to be the same in a repeated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print([u8; 32]);

impl Key {
    pub(super) fn of(invoke: &Invoke) -> Option<Self> {
        invoke.key.clone().map(Self)
    }
}

impl Print {
    pub(super) fn of(invoke: &Invoke) -> Self {
        let mut hash = Sha256::new();
        hash.update((invoke.command.len() as u64).to_be_bytes());
        hash.update(invoke.command.as_bytes());
        hash.update(invoke.params.as_deref().unwrap_or_default().as_bytes());
        Self(hash.finalize().into())
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The payload, as JSON text.
    Done(String),
    /// A code and words.
    Failed(&'static str, String),
}

impl Reply {
    fn size(&self) -> usize {
        match self {
            Self::Done(text) | Self::Failed(_, text) => text.len(),
        }
    }
}

/// The answers of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Replies {
    kept: BTreeMap<Key, (Print, Reply)>,
    order: VecDeque<(Instant, Key)>,
    bytes: usize,
}

impl Replies {
    pub(super) fn get(&mut self, now: Instant, key: &Key) -> Option<&(Print, Reply)> {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.drop_oldest();
        }
        self.kept.get(key)
    }

    pub(super) fn keep(&mut self, now: Instant, key: Key, print: Print, reply: Reply) {
        self.bytes += reply.size();
        if let Some((_, old)) = self.kept.insert(key.clone(), (print, reply)) {
            self.bytes -= old.size();
            self.order.retain(|(_, known)| *known != key);
        }
        self.order.push_back((now + WINDOW, key));
        while self.order.len() > MAX_ANSWERS || self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front()
            && let Some((_, reply)) = self.kept.remove(&key)
        {
            self.bytes -= reply.size();
        }
    }
}

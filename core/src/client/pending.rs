//! Calls that wait for their answer.

use std::{collections::BTreeMap, time::Instant};

use crate::ids::RequestId;

/// Which answer a call waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// The first one.
    #[default]
    First,
    /// The one after `payload.status:"accepted"` (spec protocol §2).
    Final,
}

#[derive(Debug)]
struct Entry {
    expect: Expect,
    deadline: Option<Instant>,
}

/// What becomes of a call when an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// It still waits for the final answer.
    Accepted,
    /// This was its answer.
    Done,
    /// Nobody waits for this answer.
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: BTreeMap<RequestId, Entry>,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn insert(&mut self, id: RequestId, expect: Expect, deadline: Option<Instant>) {
        self.calls.insert(id, Entry { expect, deadline });
    }

    /// Takes an answer; `accepted` says whether it is only the first of two, and is asked only
    /// where that matters.
    pub(super) fn settle(&mut self, id: &RequestId, accepted: impl FnOnce() -> bool) -> Settled {
        match self.calls.get(id) {
            None => Settled::Unknown,
            Some(entry) if entry.expect == Expect::Final && accepted() => Settled::Accepted,
            Some(_) => {
                self.calls.remove(id);
                Settled::Done
            }
        }
    }

    /// Forgets a call. Its answer will be unknown.
    pub(super) fn remove(&mut self, id: &RequestId) -> bool {
        self.calls.remove(id).is_some()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.calls.values().filter_map(|entry| entry.deadline).min()
    }

    /// Removes and gives one call whose deadline has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Option<RequestId> {
        let (id, _) = self
            .calls
            .iter()
            .find(|(_, entry)| entry.deadline.is_some_and(|deadline| deadline <= now))?;
        let id = id.clone();
        self.calls.remove(&id);
        Some(id)
    }

    /// Removes and gives every call.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = RequestId> + use<> {
        std::mem::take(&mut self.calls).into_keys()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_ends_once() {
        let mut pending = Pending::default();
        let (a, b) = (RequestId::new("a"), RequestId::new("b"));
        pending.insert(a.clone(), Expect::First, None);
        pending.insert(b.clone(), Expect::Final, None);
        assert_eq!(pending.settle(&a, || true), Settled::Done);
        assert_eq!(pending.settle(&a, || false), Settled::Unknown);
        assert_eq!(pending.settle(&b, || true), Settled::Accepted);
        assert_eq!(pending.settle(&b, || true), Settled::Accepted);
        assert_eq!(pending.settle(&b, || false), Settled::Done);
        assert_eq!(pending.settle(&b, || false), Settled::Unknown);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "an epoch for virtual time")]
    fn deadlines_expire_one_by_one() {
        let epoch = Instant::now();
        let at = |s| epoch + Duration::from_secs(s);
        let mut pending = Pending::default();
        pending.insert(RequestId::new("a"), Expect::First, Some(at(2)));
        pending.insert(RequestId::new("b"), Expect::First, Some(at(1)));
        pending.insert(RequestId::new("c"), Expect::First, None);
        assert_eq!(pending.next_deadline(), Some(at(1)));
        assert_eq!(pending.expired(at(1)), Some(RequestId::new("b")));
        assert_eq!(pending.expired(at(1)), None);
        assert_eq!(pending.next_deadline(), Some(at(2)));
        assert!(!pending.remove(&RequestId::new("b")));
        assert_eq!(pending.drain().count(), 2);
        assert_eq!(pending.len(), 0);
    }
}

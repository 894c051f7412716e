//! What waits for a bot: the list of its updates, and who asks for them.
//!
//! An update stays until a call of `getUpdates` names a higher offset. Of two calls that wait at the same
//! time the earlier one ends with 409, and the later one goes on waiting.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use serde_json::{Value, json};

/// How many confirmed updates are kept for faults that bring them again.
const KEPT: usize = 10_000;

/// The first number of an update. The real service begins anywhere.
const FIRST: i64 = 700_000_001;

/// The list of one bot.
#[derive(Debug)]
pub(crate) struct Updates {
    next: i64,
    waiting: VecDeque<Update>,
    confirmed: VecDeque<Update>,
    allowed: Option<BTreeSet<String>>,
    poll: Option<Poll>,
    polls: u64,
}

#[derive(Clone, Debug)]
struct Update {
    number: i64,
    body: Value,
}

/// A call of `getUpdates` that has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PollNumber(u64);

#[derive(Clone, Copy, Debug)]
struct Poll {
    number: PollNumber,
    limit: usize,
    until: Instant,
}

/// How a call of `getUpdates` begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Begun {
    /// It is answered at once.
    Ended(Vec<Value>),
    /// It waits.
    Waits(PollNumber),
}

/// What came of a call of `getUpdates` that waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Polled {
    /// These.
    Updates(Vec<Value>),
    /// Nothing yet, until this moment at the latest.
    Wait(Instant),
    /// Somebody else asks now.
    Conflict,
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            next: FIRST,
            waiting: VecDeque::new(),
            confirmed: VecDeque::new(),
            allowed: None,
            poll: None,
            polls: 0,
        }
    }
}

impl Updates {
    /// Adds an update of a kind, such as `message`, unless the bot does not want this kind.
    pub(crate) fn push(&mut self, kind: &str, body: &Value) {
        let wanted = self
            .allowed
            .as_ref()
            .is_none_or(|kinds| kinds.contains(kind));
        if wanted {
            let number = self.next;
            self.next += 1;
            let body = json!({"update_id": number, kind: body});
            self.waiting.push_back(Update { number, body });
        }
    }

    /// `allowed_updates`: from now on only these kinds; all of them when there is none.
    pub(crate) fn allow(&mut self, kinds: BTreeSet<String>) {
        self.allowed = Some(kinds).filter(|kinds| !kinds.is_empty());
    }

    /// How many wait.
    pub(crate) fn pending(&self) -> usize {
        self.waiting.len()
    }

    /// Whether somebody waits for updates now.
    pub(crate) fn is_polled(&self) -> bool {
        self.poll.is_some()
    }

    pub(crate) fn drop_pending(&mut self) {
        self.waiting.clear();
    }

    /// Begins a call of `getUpdates`. It waits for updates until the moment, if there is one.
    pub(crate) fn begin(&mut self, offset: i64, limit: usize, until: Option<Instant>) -> Begun {
        self.confirm(offset);
        match until.filter(|_| self.waiting.is_empty()) {
            None => Begun::Ended(self.first(limit)),
            Some(until) => {
                self.polls += 1;
                let number = PollNumber(self.polls);
                self.poll = Some(Poll {
                    number,
                    limit,
                    until,
                });
                Begun::Waits(number)
            }
        }
    }

    /// What came of a call that waits.
    pub(crate) fn check(&mut self, number: PollNumber, now: Instant) -> Polled {
        let Some(poll) = self.poll.filter(|poll| poll.number == number) else {
            return Polled::Conflict;
        };
        if self.waiting.is_empty() && now < poll.until {
            return Polled::Wait(poll.until);
        }
        self.poll = None;
        Polled::Updates(self.first(poll.limit))
    }

    /// The last confirmed updates.
    pub(crate) fn confirmed(&self, count: usize) -> Vec<Value> {
        let skip = self.confirmed.len().saturating_sub(count);
        self.confirmed
            .iter()
            .skip(skip)
            .map(|update| update.body.clone())
            .collect()
    }

    fn first(&self, limit: usize) -> Vec<Value> {
        self.waiting
            .iter()
            .take(limit)
            .map(|update| update.body.clone())
            .collect()
    }

    fn confirm(&mut self, offset: i64) {
        let confirmed = if offset < 0 {
            let keep = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
            self.waiting.len().saturating_sub(keep)
        } else if offset > self.next.saturating_add(10) {
            // The service does not believe in an offset that lies in the future.
            0
        } else {
            self.waiting
                .partition_point(|update| update.number < offset)
        };
        self.confirmed.extend(self.waiting.drain(..confirmed));
        let excess = self.confirmed.len().saturating_sub(KEPT);
        self.confirmed.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn with(count: i64) -> Updates {
        let mut updates = Updates::default();
        for number in 0..count {
            updates.push("message", &json!({ "n": number }));
        }
        updates
    }

    fn ask(updates: &mut Updates, offset: i64, limit: usize) -> Vec<i64> {
        match updates.begin(offset, limit, None) {
            Begun::Ended(found) => found
                .iter()
                .map(|update| update["update_id"].as_i64().unwrap() - FIRST)
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn wait(updates: &mut Updates, until: Instant) -> PollNumber {
        match updates.begin(0, 100, Some(until)) {
            Begun::Waits(number) => number,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn updates_stay_until_a_higher_offset() {
        let mut updates = with(3);
        assert_eq!(ask(&mut updates, 0, 2), [0, 1]);
        assert_eq!(ask(&mut updates, 0, 100), [0, 1, 2]);
        assert_eq!(ask(&mut updates, FIRST + 2, 100), [2]);
        assert_eq!(ask(&mut updates, 0, 100), [2]);
        assert_eq!(ask(&mut updates, FIRST + 3, 100), [] as [i64; 0]);
        assert_eq!(updates.confirmed(2).len(), 2);
    }

    #[test]
    fn a_negative_offset_keeps_the_last_ones_and_forgets_the_others() {
        let mut updates = with(5);
        assert_eq!(ask(&mut updates, -2, 100), [3, 4]);
        assert_eq!(updates.pending(), 2);
    }

    #[test]
    fn an_offset_in_the_future_confirms_nothing() {
        let mut updates = with(1);
        assert_eq!(ask(&mut updates, FIRST + 1000, 100), [0]);
    }

    #[test]
    fn the_later_of_two_polls_wins() {
        let now = Instant::now();
        let until = now + Duration::from_secs(50);
        let mut updates = with(0);
        let first = wait(&mut updates, until);
        assert_eq!(updates.check(first, now), Polled::Wait(until));
        let second = wait(&mut updates, until);
        assert_eq!(updates.check(first, now), Polled::Conflict);
        updates.push("message", &json!({}));
        assert!(matches!(updates.check(second, now), Polled::Updates(found) if found.len() == 1));
        assert!(!updates.is_polled());
    }

    #[test]
    fn a_poll_ends_empty_when_its_time_is_over() {
        let now = Instant::now();
        let mut updates = with(0);
        let poll = wait(&mut updates, now);
        assert_eq!(updates.check(poll, now), Polled::Updates(vec![]));
    }

    #[test]
    fn kinds_that_are_not_allowed_do_not_come() {
        let mut updates = with(0);
        updates.allow(["message".to_owned()].into());
        updates.push("edited_message", &json!({}));
        assert_eq!(updates.pending(), 0);
        updates.allow(BTreeSet::new());
        updates.push("edited_message", &json!({}));
        assert_eq!(updates.pending(), 1);
    }
}

//! Who waits: runs in their sessions, and sessions for a place among the runs under way.
//!
//! What all of them come to is counted as they come and go, so that a gateway with many sessions takes
//! a message as fast as one with few.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::RunRecord;
use crate::{gateway::sessions::SessionKey, ids::RunId};

/// Runs that wait, by session, the next one first.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// None of them is empty.
    sessions: BTreeMap<SessionKey, VecDeque<Waiting>>,
    runs: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    run: RunId,
    /// What its message takes.
    bytes: usize,
}

impl Waiting {
    fn of(record: &RunRecord) -> Self {
        Self {
            run: record.run_id.clone(),
            bytes: record.input.as_ref().map_or(0, |input| input.weight()),
        }
    }
}

impl Queues {
    /// Runs in all sessions.
    pub(super) const fn runs(&self) -> usize {
        self.runs
    }

    /// Bytes of the messages in all sessions, roughly.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Runs of one session.
    pub(super) fn runs_of(&self, key: &SessionKey) -> usize {
        self.sessions.get(key).map_or(0, VecDeque::len)
    }

    /// The next run of a session.
    pub(super) fn first(&self, key: &SessionKey) -> Option<&RunId> {
        let first = self.sessions.get(key)?.front()?;
        Some(&first.run)
    }

    /// The runs of a session in their order.
    pub(super) fn of(&self, key: &SessionKey) -> impl Iterator<Item = &RunId> {
        let queue = self.sessions.get(key).into_iter().flatten();
        queue.map(|waiting| &waiting.run)
    }

    /// Sessions in which a run waits.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &SessionKey> {
        self.sessions.keys()
    }

    /// A run goes before all others of its session.
    pub(super) fn push_front(&mut self, record: &RunRecord) {
        let waiting = self.count(record);
        self.queue_of(record).push_front(waiting);
    }

    /// A run goes behind all others of its session.
    pub(super) fn push_back(&mut self, record: &RunRecord) {
        let waiting = self.count(record);
        self.queue_of(record).push_back(waiting);
    }

    /// A run waits no more.
    pub(super) fn remove(&mut self, key: &SessionKey, run: &RunId) {
        let Some(queue) = self.sessions.get_mut(key) else {
            return;
        };
        let at = queue.iter().position(|waiting| waiting.run == *run);
        if let Some(waiting) = at.and_then(|at| queue.remove(at)) {
            self.runs -= 1;
            self.bytes -= waiting.bytes;
        }
        if queue.is_empty() {
            self.sessions.remove(key);
        }
    }

    fn count(&mut self, record: &RunRecord) -> Waiting {
        let waiting = Waiting::of(record);
        self.runs += 1;
        self.bytes += waiting.bytes;
        waiting
    }

    fn queue_of(&mut self, record: &RunRecord) -> &mut VecDeque<Waiting> {
        self.sessions.entry(record.session_key.clone()).or_default()
    }
}

/// Sessions whose turn it would be, were there not too many runs under way; the next one first.
#[derive(Debug, Default)]
pub(super) struct Ready {
    order: VecDeque<SessionKey>,
    /// The same ones.
    known: BTreeSet<SessionKey>,
}

impl Ready {
    /// A session goes behind all others, unless it is among them.
    pub(super) fn push(&mut self, key: &SessionKey) {
        if self.known.insert(key.clone()) {
            self.order.push_back(key.clone());
        }
    }

    pub(super) fn pop(&mut self) -> Option<SessionKey> {
        let key = self.order.pop_front()?;
        self.known.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::sessions::MessageDraft;

    fn record(session: &str, run: &str, text: &str) -> RunRecord {
        let run_id = RunId::new(run);
        let input = MessageDraft::input(format!("{run}-m"), text, &[], &run_id, None);
        serde_json::from_value(serde_json::json!({
            "runId": run_id,
            "sessionKey": format!("agent:main:{session}"),
            "agentId": "main",
            "fingerprint": "",
            "state": "queued",
            "mode": "followup",
            "options": {},
            "acceptedAt": 1,
            "order": 1,
            "input": input,
        }))
        .unwrap()
    }

    #[test]
    fn the_counts_are_those_of_what_waits() {
        let records = [
            record("a", "1", "one"),
            record("a", "2", "and two"),
            record("b", "3", "three"),
        ];
        let mut queues = Queues::default();
        queues.push_back(&records[0]);
        queues.push_front(&records[1]);
        queues.push_back(&records[2]);
        let key = &records[0].session_key;
        assert_eq!(queues.first(key), Some(&records[1].run_id));
        assert_eq!((queues.runs(), queues.runs_of(key)), (3, 2));
        let all: usize = records.iter().map(|record| Waiting::of(record).bytes).sum();
        assert_eq!(queues.bytes(), all);
        // What does not wait there is not missed.
        queues.remove(key, &records[2].run_id);
        assert_eq!((queues.runs(), queues.bytes()), (3, all));
        for record in &records {
            queues.remove(&record.session_key, &record.run_id);
        }
        assert_eq!((queues.runs(), queues.bytes()), (0, 0));
        assert_eq!(queues.sessions().count(), 0);
    }

    #[test]
    fn a_session_is_ready_once() {
        let mut ready = Ready::default();
        let [a, b] = ["a", "b"].map(|name| SessionKey::resolve(name, "main").unwrap());
        for key in [&a, &b, &a] {
            ready.push(key);
        }
        assert_eq!(ready.pop(), Some(a.clone()));
        ready.push(&a);
        assert_eq!(
            (ready.pop(), ready.pop(), ready.pop()),
            (Some(b), Some(a), None)
        );
    }
    /// What is done to queues, to the run of a number in a session of a number.
    #[derive(Clone, Debug)]
    enum Step {
        Front(u8, u8, String),
        Back(u8, u8, String),
        Remove(u8, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let place = || (0_u8..3, 0_u8..12);
        prop_oneof![
            (place(), ".{0,20}").prop_map(|((key, run), text)| Step::Front(key, run, text)),
            (place(), ".{0,20}").prop_map(|((key, run), text)| Step::Back(key, run, text)),
            place().prop_map(|(key, run)| Step::Remove(key, run)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn queues_are_one_list(steps in prop::collection::vec(step(), 0..80)) {
            let made = |key: u8, run: u8, text: &str| {
                record(&format!("s{key}"), &format!("r{run}"), text)
            };
            let mut queues = Queues::default();
            let mut list = VecDeque::<RunRecord>::new();
            for step in steps {
                match step {
                    // A run waits in one place.
                    Step::Front(_, run, _) | Step::Back(_, run, _)
                        if list.iter().any(|found| found.run_id.as_str() == format!("r{run}")) => {}
                    Step::Front(key, run, text) => {
                        let record = made(key, run, &text);
                        queues.push_front(&record);
                        list.push_front(record);
                    }
                    Step::Back(key, run, text) => {
                        let record = made(key, run, &text);
                        queues.push_back(&record);
                        list.push_back(record);
                    }
                    Step::Remove(key, run) => {
                        let gone = made(key, run, "");
                        queues.remove(&gone.session_key, &gone.run_id);
                        list.retain(|found| {
                            (&found.session_key, &found.run_id) != (&gone.session_key, &gone.run_id)
                        });
                    }
                }
                let bytes: usize = list.iter().map(|record| Waiting::of(record).bytes).sum();
                prop_assert_eq!((queues.runs(), queues.bytes()), (list.len(), bytes));
                let keys: BTreeSet<&SessionKey> =
                    list.iter().map(|record| &record.session_key).collect();
                prop_assert!(queues.sessions().eq(keys));
                for key in 0..3 {
                    let key = made(key, 0, "").session_key;
                    let of_key = list.iter().filter(|record| record.session_key == key);
                    let runs: Vec<&RunId> = of_key.map(|record| &record.run_id).collect();
                    prop_assert_eq!(queues.first(&key), runs.first().copied());
                    prop_assert_eq!(queues.runs_of(&key), runs.len());
                    prop_assert!(queues.of(&key).eq(runs));
                }
            }
        }
    }
}

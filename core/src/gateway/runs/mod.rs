//! Runs of agents: one at a time in each session, in the order in which their messages came (seed
//! 002, *Command flow*; spec protocol §6.4, §6.5).
//!
//! | file | rule |
//! | --- | --- |
//! | `record` | what is kept of a run |
//! | `active` | what a run under way has in memory |
//! | `submit` | a message becomes a run, or joins the one that it repeats |
//! | `queues` | who waits |
//! | `steer` | a message for the run under way |
//! | `start` | whose turn it is, and what the agent is given |
//! | `drive` | what the agent wants |
//! | `tools` | its calls of nodes |
//! | `consent` | somebody's word before a node runs a program |
//! | `events` | what clients hear |
//! | `finish` | the end, whatever it is |
//! | `recover` | runs that a crash or a full disk left behind |
//! | `wait` | callers that wait for an end |

mod active;
mod consent;
mod drive;
mod events;
mod finish;
mod queues;
mod record;
mod recover;
mod start;
mod steer;
mod submit;
mod tools;
mod wait;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

pub(super) use finish::RunEnd;
pub(super) use record::{CallRecord, QueueMode, RunOptions, RunOutcome, RunRecord, RunState};
pub(super) use submit::{Submission, Submitted};
pub(super) use wait::{RunWaiter, Wants, state_payload};

use super::sessions::SessionKey;
use crate::{
    ids::{EffectId, RunId},
    store::{CommitId, Journal, Mirror, Row},
    time::Now,
    trace::Span,
};
use active::ActiveRun;
use queues::{Queues, Ready};
use steer::Steering;
use wait::Waiters;

/// All runs: those under way, those that wait, and the last ones that are over.
#[derive(Debug, Default)]
pub(super) struct RunBook {
    records: Mirror<RunRecord>,
    active: BTreeMap<RunId, ActiveRun>,
    /// The run under way of each busy session.
    busy: BTreeMap<SessionKey, RunId>,
    queues: Queues,
    ready: Ready,
    steering: Steering,
    /// Jobs of runs.
    jobs: BTreeMap<EffectId, (RunId, crate::agent::JobNo)>,
    /// Runs that are over, the oldest first.
    over: VecDeque<RunId>,
    /// Runs that are answered together with another one.
    merged: BTreeMap<RunId, Vec<RunId>>,
    waiters: Waiters,
    /// The last numbers of the `agent` and `chat` events of runs that ended since the start.
    numbers: BTreeMap<RunId, (u64, u64)>,
    /// The place of the newest run.
    last_order: u64,
    /// When text that was gathered is to be told.
    flush_at: Option<Instant>,
    /// Runs that belong to a trace of whoever asked for them, until they are over or the gateway ends.
    spans: BTreeMap<RunId, Span>,
    /// Whether runs of before a restart have to be looked at.
    to_recover: bool,
}

impl RunBook {
    /// Takes the rows of the last run. Gives the keys of those that cannot be read.
    pub(super) fn restore(rows: &[Row]) -> (Self, Vec<String>) {
        let (records, unreadable) = Mirror::<RunRecord>::restore(rows);
        let to_recover = records.values().any(|record| !record.state.is_over());
        let mut book = Self {
            last_order: records
                .values()
                .map(|record| record.order)
                .max()
                .unwrap_or(0),
            to_recover,
            records,
            ..Self::default()
        };
        book.rebuild_queues();
        (book, unreadable)
    }

    fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }

    pub(super) fn get(&self, run: &RunId) -> Option<&RunRecord> {
        self.records.get(run.as_str())
    }

    /// The place of a run in the trace of whoever asked for it.
    pub(super) fn span(&self, run: &RunId) -> Option<Span> {
        self.spans.get(run).copied()
    }

    /// A run is over.
    pub(super) fn forget_span(&mut self, run: &RunId) {
        self.spans.remove(run);
    }

    /// Runs under way in all sessions.
    pub(super) fn running(&self) -> usize {
        self.active.len()
    }

    /// Runs that wait in all sessions.
    pub(super) fn queued(&self) -> usize {
        self.queues.runs()
    }

    /// Bytes of the messages that wait in all sessions.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queues.bytes()
    }

    /// Jobs of runs that are under way.
    pub(super) fn jobs_under_way(&self) -> usize {
        self.jobs.len()
    }

    /// The run under way of a session, and the text that it has said so far.
    pub(super) fn in_flight(&self, key: &SessionKey) -> Option<(&RunId, &str)> {
        let run = self.busy.get(key)?;
        let text = self
            .active
            .get(run)
            .map_or("", |active| active.text.as_str());
        Some((run, text))
    }

    /// Runs of a session that are not over, the one under way first.
    pub(super) fn unfinished(&self, key: &SessionKey) -> Vec<RunId> {
        let under_way = self.busy.get(key).into_iter();
        under_way.chain(self.queues.of(key)).cloned().collect()
    }

    /// Runs of a session that wait, the next one first.
    pub(super) fn waiting(&self, key: &SessionKey) -> impl Iterator<Item = &RunRecord> {
        self.queues.of(key).filter_map(|run| self.get(run))
    }

    /// The last change of a run that is not durable yet.
    pub(super) fn unsettled(&self, run: &RunId) -> Option<CommitId> {
        self.records.unsettled(run.as_str())
    }

    pub(super) fn settle(&mut self, commit: CommitId) {
        self.records.settle(commit);
        if self.numbers.len() > self.records.len() && self.records.is_settled() {
            let records = &self.records;
            self.numbers
                .retain(|run, _| records.get(run.as_str()).is_some());
        }
    }

    pub(super) fn roll_back(&mut self, commit: CommitId) {
        self.records.roll_back(commit);
        self.steering.roll_back(commit);
    }

    fn put(&mut self, journal: &mut Journal, record: RunRecord) {
        self.records.put(journal, record);
    }

    fn change(
        &mut self,
        journal: &mut Journal,
        run: &RunId,
        change: impl FnOnce(&mut RunRecord),
    ) -> Option<RunRecord> {
        let mut record = self.get(run)?.clone();
        change(&mut record);
        self.records.put(journal, record.clone());
        Some(record)
    }

    /// The messages of both are answered by one run.
    fn merged_into(&mut self, run: &RunId, by: &RunId) {
        self.merged.entry(by.clone()).or_default().push(run.clone());
    }

    fn take_merged(&mut self, by: &RunId) -> Vec<RunId> {
        self.merged.remove(by).unwrap_or_default()
    }

    /// The run that answers the message of a run: another one if they were joined.
    fn answering<'a>(&'a self, run: &'a RunId) -> &'a RunId {
        let mut joined = self.merged.iter();
        joined
            .find(|(_, merged)| merged.contains(run))
            .map_or(run, |(by, _)| by)
    }

    fn is_merged(&self, run: &RunId) -> bool {
        self.answering(run) != run
    }

    /// Forgets that runs were joined, where that was taken back.
    fn forget_unmerged(&mut self) {
        let records = &self.records;
        let runs = |run: &RunId| {
            let record = records.get(run.as_str());
            record.is_some_and(|record| record.state == RunState::Running)
        };
        for merged in self.merged.values_mut() {
            merged.retain(runs);
        }
        self.merged.retain(|_, merged| !merged.is_empty());
    }

    /// Makes the queues, and the list of what is over, say what the records say.
    fn rebuild_queues(&mut self) {
        let mut queued: Vec<&RunRecord> = self
            .records
            .values()
            .filter(|record| record.state == RunState::Queued)
            .collect();
        // As they were put there: the newest interruption first.
        queued.sort_by_key(|record| match record.mode {
            QueueMode::Interrupt => (0, u64::MAX - record.order),
            QueueMode::Collect | QueueMode::Followup | QueueMode::Steer => (1, record.order),
        });
        let mut queues = Queues::default();
        for record in queued {
            queues.push_back(record);
        }
        self.queues = queues;
        let mut over: Vec<&RunRecord> = self
            .records
            .values()
            .filter(|record| record.state.is_over())
            .collect();
        over.sort_by_key(|record| (record.ended_at, record.order));
        self.over = over.iter().map(|record| record.run_id.clone()).collect();
    }

    /// Forgets the oldest runs that are over, beyond a number.
    pub(super) fn trim(&mut self, journal: &mut Journal, max: usize) {
        while self.over.len() > max {
            if let Some(run) = self.over.pop_front() {
                self.records.remove(journal, run.as_str());
            }
        }
    }

    /// The first deadline of the runs and of those who wait for them.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let runs = self.active.values().map(|active| active.deadline);
        let waits = self.waiters.next_deadline();
        runs.chain(waits).chain(self.flush_at).min()
    }

    /// Whether runs of before a restart have to be looked at.
    pub(super) const fn is_to_recover(&self) -> bool {
        self.to_recover
    }

    /// Runs whose time is over.
    fn late(&self, now: Now) -> Vec<RunId> {
        self.active
            .iter()
            .filter(|(_, active)| active.deadline <= now.mono)
            .map(|(run, _)| run.clone())
            .collect()
    }
}

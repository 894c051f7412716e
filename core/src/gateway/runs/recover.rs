//! Runs that a crash or a full disk left behind.

use super::{RunEnd, RunState, Wants};
use crate::{
    gateway::{Gateway, sessions::SessionKey},
    ids::RunId,
    time::Now,
};

/// How often a run is begun again.
const MAX_REPEATS: u32 = 3;

impl Gateway {
    /// After a restart: runs that were under way are marked as cut, and not tried again, since they may
    /// have done something; but a run that called no node, and whose answer somebody outside waits for,
    /// begins again. Those that had not begun begin now.
    pub(in crate::gateway) fn recover_runs(&mut self, now: Now) {
        self.runs.to_recover = false;
        self.end_lost_runs(now);
        let keys: Vec<SessionKey> = self.runs.queues.sessions().cloned().collect();
        for key in keys {
            self.start_next(now, &key);
        }
    }

    /// Runs that are under way by their record and by nothing else.
    fn end_lost_runs(&mut self, now: Now) {
        let lost: Vec<(RunId, SessionKey)> = self
            .runs
            .records
            .values()
            .filter(|record| record.state == RunState::Running)
            .filter(|record| !self.runs.active.contains_key(&record.run_id))
            .filter(|record| !self.runs.is_merged(&record.run_id))
            .map(|record| (record.run_id.clone(), record.session_key.clone()))
            .collect();
        for (run, key) in lost {
            if self.may_begin_again(&run) {
                self.begin_again(now, &run);
                continue;
            }
            let outcome = RunEnd::Cut.outcome_of_nothing();
            self.conclude_run(now, &key, &run, RunState::Cut, &outcome, None);
            self.answer_waiters(now, &run);
        }
    }

    /// Whether a run that was cut can begin again and nobody is harmed: somebody outside waits for its
    /// answer, and no node was called.
    fn may_begin_again(&self, run: &RunId) -> bool {
        self.runs.get(run).is_some_and(|record| {
            record.options.deliver.is_some()
                && record.calls.is_empty()
                && record.said.is_some()
                && record.repeats < MAX_REPEATS
        })
    }

    fn begin_again(&mut self, now: Now, run: &RunId) {
        let record = self.runs.change(&mut self.out.journal, run, |record| {
            record.state = RunState::Queued;
            record.started_at = None;
            record.repeats += 1;
        });
        if let Some(record) = record {
            self.runs.queues.push_front(&record);
        }
        self.note_new_attempt(now, run);
    }

    /// Changes were not kept: what is in memory has to agree with the records again.
    pub(in crate::gateway) fn lose_runs(&mut self, now: Now) {
        let strays: Vec<RunId> = self
            .runs
            .active
            .iter()
            .filter(|(run, active)| {
                let record = self.runs.get(run);
                !record.is_some_and(|record| {
                    record.state == RunState::Running && record.repeats == active.repeats
                })
            })
            .map(|(run, _)| run.clone())
            .collect();
        for run in strays {
            self.cancel_agent(now, &run);
            if let Some(active) = self.runs.active.remove(&run) {
                self.runs.busy.remove(&active.key);
            }
            self.runs.take_merged(&run);
        }
        self.runs.forget_unmerged();
        self.runs.rebuild_queues();
        let known = |run: &RunId| self.runs.records.get(run.as_str()).is_some();
        // The caller of `agent` for a run that is not there any more was told so in its answer. One who
        // only waits, waits for its time.
        self.runs
            .waiters
            .retain(|waiter| waiter.wants != Wants::Final || known(&waiter.run));
        // Ends that were not kept, and turns that were not taken, are tried again when the disk works.
        self.runs.to_recover = true;
    }
}

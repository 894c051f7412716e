//! A message for the run under way (spec protocol §6.4, `queueMode: "steer"`).
//!
//! It waits for its turn like any other, and is said to the agent once it is durable: what was refused
//! because the disk took nothing must not have been heard.

use std::collections::VecDeque;

use crate::{
    gateway::{Gateway, sessions::SessionKey},
    ids::RunId,
    store::CommitId,
    time::Now,
};

/// Messages that runs under way may hear, and the commits that keep them; the oldest first.
#[derive(Debug, Default)]
pub(super) struct Steering {
    waiting: VecDeque<(CommitId, SessionKey, RunId)>,
}

impl Steering {
    /// The message of a run, which this commit keeps, is for the run under way.
    pub(super) fn push(&mut self, commit: CommitId, key: &SessionKey, run: &RunId) {
        self.waiting.push_back((commit, key.clone(), run.clone()));
    }

    /// The next message that this commit, or one before it, made durable.
    fn pop(&mut self, commit: CommitId) -> Option<(SessionKey, RunId)> {
        let (_, key, run) = self.waiting.pop_front_if(|(of, _, _)| *of <= commit)?;
        Some((key, run))
    }

    /// A commit, and all after it, did not happen.
    pub(super) fn roll_back(&mut self, commit: CommitId) {
        self.waiting.retain(|(of, _, _)| *of < commit);
    }
}

impl Gateway {
    /// Says messages that are durable now to the runs under way.
    pub(in crate::gateway) fn steer_runs(&mut self, now: Now, commit: CommitId) {
        while let Some((key, run)) = self.runs.steering.pop(commit) {
            self.steer_run(now, &key, &run);
        }
    }

    /// Says a message to the run under way, if that can still make use of it.
    fn steer_run(&mut self, now: Now, key: &SessionKey, run: &RunId) {
        // Those that came before have their turn first. One whose turn it was, or that was stopped, is
        // not there any more.
        if self.runs.queues.first(key) != Some(run) || self.runs.unsettled(run).is_some() {
            return;
        }
        let Some(active) = self.runs.busy.get(key).cloned() else {
            return;
        };
        let input = self.runs.get(run).and_then(|record| record.input.as_ref());
        let Some(text) = input
            .filter(|input| input.attachments().is_empty())
            .map(|input| input.text.clone())
        else {
            return;
        };
        if self.agent.steer(now, &active, &text) {
            self.runs.queues.remove(key, run);
            self.join_run(now, key, run, &active);
            self.drive_agent(now);
        }
    }
}

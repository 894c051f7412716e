//! What the gateway has to say, and how long it waits until it may say it.
//!
//! Whatever follows a change in the same input is held back until the change is durable: an answer,
//! an event, a piece of work. Later values for a connection that waits queue up behind it, so that a
//! connection sees one order; all other connections go on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use super::{Effect, EffectRequest, HttpAnswer};
use crate::{
    channel::PostId,
    ids::{ConnId, EffectId},
    protocol::{CloseCode, RpcError},
    server::{Delivery, Refusal},
    store::{Commit, CommitId, Journal, StoreFailure},
};

#[derive(Debug)]
enum Output {
    Answer(PostId, HttpAnswer),
    Delivery(ConnId, Delivery),
    Effect(EffectRequest),
}

/// Why something is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It stands behind something else for the same connection.
    Behind,
    /// It tells of a change that is not durable yet.
    Unsaved,
}

#[derive(Debug, Default)]
pub(super) struct Outputs {
    pub(super) journal: Journal,
    answers: VecDeque<(PostId, HttpAnswer)>,
    deliveries: VecDeque<(ConnId, Delivery)>,
    effects: VecDeque<EffectRequest>,
    commits: VecDeque<Commit>,
    /// By the commit that it waits for.
    held: BTreeMap<CommitId, Vec<(Reason, Output)>>,
    /// For each connection that waits: the last commit that it waits for.
    waiting: BTreeMap<ConnId, CommitId>,
    /// An earlier commit that what this input says builds on.
    leans: Option<CommitId>,
    next_effect: u64,
}

impl Outputs {
    /// What this input says from now on tells of an earlier change, which may not be durable yet.
    pub(super) fn lean_on(&mut self, commit: Option<CommitId>) {
        self.leans = self.leans.max(commit);
    }

    /// The commit for which what is said now waits.
    pub(super) fn builds_on(&self) -> Option<CommitId> {
        self.journal.open().max(self.leans)
    }

    pub(super) fn deliver(&mut self, conn: ConnId, delivery: Delivery) {
        let (commit, reason) = match (self.builds_on(), self.waiting.get(&conn)) {
            (Some(commit), Some(before)) => (commit.max(*before), Reason::Unsaved),
            (Some(commit), None) => (commit, Reason::Unsaved),
            (None, Some(commit)) => (*commit, Reason::Behind),
            (None, None) => {
                self.deliveries.push_back((conn, delivery));
                return;
            }
        };
        self.waiting.insert(conn, commit);
        self.hold(commit, reason, Output::Delivery(conn, delivery));
    }

    /// Answers a request that came over HTTP.
    pub(super) fn answer(&mut self, post: PostId, answer: HttpAnswer) {
        match self.builds_on() {
            Some(commit) => self.hold(commit, Reason::Unsaved, Output::Answer(post, answer)),
            None => self.answers.push_back((post, answer)),
        }
    }

    pub(super) fn effect(&mut self, effect: Effect) -> EffectId {
        let id = EffectId(self.next_effect);
        self.next_effect += 1;
        let before = later_of(&effect).and_then(|job| self.waits_for(job));
        let request = EffectRequest { id, effect };
        match self.builds_on().max(before) {
            Some(commit) => self.hold(commit, Reason::Unsaved, Output::Effect(request)),
            None => self.effects.push_back(request),
        }
        id
    }

    /// The commit for which work on a job waits. What comes later must not overtake it.
    fn waits_for(&self, job: EffectId) -> Option<CommitId> {
        let is_of = |output: &Output| match output {
            Output::Effect(request) => request.id == job || later_of(&request.effect) == Some(job),
            Output::Answer(..) | Output::Delivery(..) => false,
        };
        let mut held = self.held.iter().rev();
        held.find(|(_, held)| held.iter().any(|(_, output)| is_of(output)))
            .map(|(commit, _)| *commit)
    }

    /// Ends an input: its changes become a commit.
    pub(super) fn seal(&mut self) {
        self.leans = None;
        self.commits.extend(self.journal.seal());
    }

    /// A commit, and all before it, is durable.
    pub(super) fn release(&mut self, commit: CommitId) {
        let later = self.held.split_off(&CommitId(commit.0.saturating_add(1)));
        for (_, output) in mem::replace(&mut self.held, later).into_values().flatten() {
            if let Output::Delivery(conn, _) = &output
                && self.waiting.get(conn).is_some_and(|last| *last <= commit)
            {
                self.waiting.remove(conn);
            }
            self.emit(output);
        }
    }

    /// A commit, and all after it, did not happen. Whoever waited is told. Gives the work that will
    /// not be done.
    pub(super) fn fail(&mut self, failure: &StoreFailure) -> Vec<EffectRequest> {
        self.journal.begin_epoch();
        self.waiting.clear();
        let mut undone = Vec::new();
        // Who was told of a failure in place of the first of two answers gets no second one.
        let mut refused = BTreeSet::new();
        for held in mem::take(&mut self.held).into_values().flatten() {
            match held {
                (Reason::Behind, output) => self.emit(output),
                (Reason::Unsaved, Output::Effect(request)) => undone.push(request),
                (Reason::Unsaved, Output::Answer(post, _)) => {
                    let answer = HttpAnswer::later(Duration::from_secs(5));
                    self.answers.push_back((post, answer));
                }
                (Reason::Unsaved, Output::Delivery(conn, delivery)) => {
                    if let Delivery::Response { id, .. } = &delivery
                        && refused.contains(&(conn, id.clone()))
                    {
                        continue;
                    }
                    if let Delivery::Interim { id, .. } = &delivery {
                        refused.insert((conn, id.clone()));
                    }
                    if let Some(instead) = unsaved(delivery, failure) {
                        self.deliveries.push_back((conn, instead));
                    }
                }
            }
        }
        undone
    }

    /// A connection is gone: nothing waits for it any more. Work goes on.
    pub(super) fn forget(&mut self, conn: ConnId) {
        if self.waiting.remove(&conn).is_some() {
            let is_its = |output: &Output| matches!(output, Output::Delivery(to, _) if *to == conn);
            self.held.retain(|_, held| {
                held.retain(|(_, output)| !is_its(output));
                !held.is_empty()
            });
        }
    }

    pub(super) fn poll_delivery(&mut self) -> Option<(ConnId, Delivery)> {
        self.deliveries.pop_front()
    }

    pub(super) fn poll_answer(&mut self) -> Option<(PostId, HttpAnswer)> {
        self.answers.pop_front()
    }

    pub(super) fn poll_effect(&mut self) -> Option<EffectRequest> {
        self.effects.pop_front()
    }

    pub(super) fn poll_commit(&mut self) -> Option<Commit> {
        self.commits.pop_front()
    }

    /// Whether the host has taken everything.
    pub(super) fn is_drained(&self) -> bool {
        self.is_told() && self.commits.is_empty()
    }

    /// Whether the host has taken everything but commits.
    pub(super) fn is_told(&self) -> bool {
        self.answers.is_empty() && self.deliveries.is_empty() && self.effects.is_empty()
    }

    /// Whether something waits for the disk.
    pub(super) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    fn hold(&mut self, commit: CommitId, reason: Reason, output: Output) {
        self.held.entry(commit).or_default().push((reason, output));
    }

    fn emit(&mut self, output: Output) {
        match output {
            Output::Answer(post, answer) => self.answers.push_back((post, answer)),
            Output::Delivery(conn, delivery) => self.deliveries.push_back((conn, delivery)),
            Output::Effect(request) => self.effects.push_back(request),
        }
    }
}

/// The job that the effect goes on with, if it is such an effect.
fn later_of(effect: &Effect) -> Option<EffectId> {
    if let Effect::FeedJob(job, _) | Effect::StopJob(job) = effect {
        Some(*job)
    } else {
        None
    }
}

/// What to say in place of something that tells of a lost change.
fn unsaved(delivery: Delivery, failure: &StoreFailure) -> Option<Delivery> {
    let error = || RpcError::retry_later(format!("nothing was changed: {failure}"), 1_000);
    match delivery {
        Delivery::Admit(_) | Delivery::Refuse(_) => Some(Delivery::Refuse(Box::new(Refusal::new(
            error(),
            CloseCode::TryAgainLater,
        )))),
        Delivery::Interim { id, .. } | Delivery::Response { id, outcome: Ok(_) } => {
            Some(Delivery::Response {
                id,
                outcome: Err(error()),
            })
        }
        Delivery::Close { .. } | Delivery::Response { .. } => Some(delivery),
        Delivery::Event(_) | Delivery::Targeted(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::RawJson,
        ids::RequestId,
        store::{Table, Write},
    };

    fn answer(id: &str) -> Delivery {
        Delivery::Response {
            id: RequestId::new(id),
            outcome: Ok(RawJson::empty_object()),
        }
    }

    fn change(outputs: &mut Outputs) {
        outputs.journal.stage(Write::Delete {
            table: Table::Meta,
            key: "x".into(),
        });
    }

    fn said(outputs: &mut Outputs) -> Vec<(u64, String)> {
        std::iter::from_fn(|| outputs.poll_delivery())
            .map(|(conn, delivery)| {
                let Delivery::Response { id, outcome } = delivery else {
                    panic!("{delivery:?} is no answer");
                };
                let failed = if outcome.is_ok() { "" } else { " failed" };
                (conn.0, format!("{id}{failed}"))
            })
            .collect()
    }

    fn pair(conn: u64, text: &str) -> (u64, String) {
        (conn, text.into())
    }

    #[test]
    fn what_tells_of_a_change_waits_and_others_go_on() {
        let mut outputs = Outputs::default();
        outputs.deliver(ConnId(1), answer("before"));
        change(&mut outputs);
        outputs.deliver(ConnId(1), answer("changed"));
        let effect = outputs.effect(Effect::ReadProcess);
        outputs.seal();
        let first = outputs.poll_commit().unwrap();
        outputs.deliver(ConnId(1), answer("behind"));
        outputs.deliver(ConnId(2), answer("other"));
        assert_eq!(said(&mut outputs), [pair(1, "before"), pair(2, "other")]);
        assert!(outputs.poll_effect().is_none());
        outputs.release(first.id);
        assert_eq!(said(&mut outputs), [pair(1, "changed"), pair(1, "behind")]);
        assert_eq!(
            outputs.poll_effect().map(|request| request.id),
            Some(effect)
        );
        assert!(!outputs.is_waiting());
    }

    #[test]
    fn a_failed_commit_is_told_and_ends_the_epoch() {
        let mut outputs = Outputs::default();
        change(&mut outputs);
        outputs.deliver(ConnId(1), answer("lost"));
        let effect = outputs.effect(Effect::ReadProcess);
        outputs.seal();
        outputs.deliver(ConnId(1), answer("behind"));
        let first = outputs.poll_commit().unwrap();
        let undone: Vec<EffectId> = outputs
            .fail(&StoreFailure::Full)
            .iter()
            .map(|request| request.id)
            .collect();
        assert_eq!(undone, [effect]);
        assert_eq!(
            said(&mut outputs),
            [pair(1, "lost failed"), pair(1, "behind")]
        );
        change(&mut outputs);
        outputs.seal();
        let second = outputs.poll_commit().unwrap();
        assert!(second.epoch > first.epoch && second.id > first.id);
    }

    #[test]
    fn a_call_with_two_answers_is_refused_once() {
        let mut outputs = Outputs::default();
        for first in [true, false] {
            change(&mut outputs);
            let answer = if first {
                let id = RequestId::new("twice");
                let payload = RawJson::empty_object();
                Delivery::Interim { id, payload }
            } else {
                answer("twice")
            };
            outputs.deliver(ConnId(1), answer);
            outputs.seal();
        }
        outputs.fail(&StoreFailure::Full);
        assert_eq!(said(&mut outputs), [pair(1, "twice failed")]);
    }

    #[test]
    fn what_builds_on_a_change_of_before_waits_for_it_and_fails_with_it() {
        let mut outputs = Outputs::default();
        change(&mut outputs);
        let first = outputs.journal.open();
        outputs.seal();
        outputs.lean_on(first);
        outputs.deliver(ConnId(1), answer("leaning"));
        outputs.seal();
        outputs.deliver(ConnId(2), answer("other"));
        assert_eq!(said(&mut outputs), [pair(2, "other")]);
        outputs.fail(&StoreFailure::Full);
        assert_eq!(said(&mut outputs), [pair(1, "leaning failed")]);
    }

    #[test]
    fn the_audit_log_holds_nobody_up() {
        let mut outputs = Outputs::default();
        outputs.journal.stage(Write::Audit {
            entry: RawJson::empty_object(),
        });
        outputs.deliver(ConnId(1), answer("now"));
        outputs.seal();
        assert_eq!(said(&mut outputs), [pair(1, "now")]);
        assert!(outputs.poll_commit().is_some());
    }
}

//! The end of a run, whatever it is.

use std::time::Duration;

use serde_json::{Value, json};

use super::{RunOutcome, RunState};
use crate::{
    agent::{FailureKind, RunDone, RunFailed},
    gateway::{
        Gateway,
        sessions::{MessageDraft, SessionKey},
    },
    ids::RunId,
    store::Message,
    time::Now,
};

/// Bytes of a reply that a run's record keeps. All of it is in the transcript.
const KEPT_TEXT: usize = 32 * 1024;

/// How a run ends.
#[derive(Clone, Debug)]
pub(in crate::gateway) enum RunEnd {
    /// Somebody stopped it, for this reason.
    Aborted(String),
    /// The gateway stopped while it ran.
    Cut,
    Done(RunDone),
    Failed(RunFailed),
    /// Its time was over.
    Timeout,
}

impl RunEnd {
    const fn state(&self) -> RunState {
        match self {
            Self::Aborted(_) => RunState::Aborted,
            Self::Cut => RunState::Cut,
            Self::Done(_) => RunState::Done,
            Self::Failed(_) => RunState::Failed,
            Self::Timeout => RunState::Timeout,
        }
    }

    /// What is kept of one that said nothing that is known.
    pub(super) fn outcome_of_nothing(self) -> RunOutcome {
        self.outcome(String::new())
    }

    /// What is kept of it. `text` is what the run had said.
    fn outcome(self, text: String) -> RunOutcome {
        let said = RunOutcome {
            text,
            ..RunOutcome::default()
        };
        match self {
            Self::Aborted(why) => RunOutcome {
                error: Some(why),
                stop_reason: Some("aborted".into()),
                ..said
            },
            Self::Cut => RunOutcome {
                error: Some(
                    "the gateway stopped while this run was under way; it was not tried again"
                        .into(),
                ),
                kind: Some(FailureKind::Unknown),
                ..said
            },
            Self::Done(done) => RunOutcome {
                text: done.text,
                usage: done.usage,
                provider: done.provider,
                model: done.model,
                stop_reason: done.stop_reason,
                ..RunOutcome::default()
            },
            Self::Failed(failed) => RunOutcome {
                error: Some(failed.message),
                kind: Some(failed.kind),
                http_status: failed.http_status,
                usage: failed.usage,
                provider: failed.provider,
                model: failed.model,
                ..said
            },
            Self::Timeout => RunOutcome {
                error: Some("the run took too long".into()),
                kind: Some(FailureKind::Timeout),
                stop_reason: Some("timeout".into()),
                ..said
            },
        }
    }
}

impl Gateway {
    /// Ends a run: its words go to the transcript, its record says how it went, everybody who waits
    /// is told, and the next one of its session begins.
    pub(super) fn end_run(&mut self, now: Now, run: &RunId, end: RunEnd) {
        if !matches!(end, RunEnd::Done(_) | RunEnd::Failed(_)) {
            self.cancel_agent(now, run);
        }
        let Some(active) = self.runs.active.remove(run) else {
            return;
        };
        for effect in active.jobs.values() {
            self.runs.jobs.remove(effect);
        }
        for call in active.calls.values() {
            self.cancel_call(now, call);
        }
        self.runs.busy.remove(&active.key);
        let state = end.state();
        let outcome = end.outcome(active.text.clone());
        let key = active.key.clone();
        let mut all = self.runs.take_merged(run);
        all.insert(0, run.clone());
        self.conclude_run(now, &key, run, state, &outcome, Some(active));
        for other in all.iter().skip(1) {
            self.keep_end(now, other, state, &outcome);
            self.tell_end(now, &key, other, state, &outcome, None, None);
        }
        for ended in &all {
            self.answer_waiters(now, ended);
        }
        self.start_next(now, &key);
        self.start_ready(now);
    }

    /// Keeps the end of a run and tells of it.
    pub(super) fn conclude_run(
        &mut self,
        now: Now,
        key: &SessionKey,
        run: &RunId,
        state: RunState,
        outcome: &RunOutcome,
        active: Option<super::ActiveRun>,
    ) {
        // A session that has begun anew since does not hear of its former life.
        let life = self.sessions.get(key).map(|entry| &entry.session_id);
        let is_here = self
            .runs
            .get(run)
            .is_some_and(|record| record.session_id.as_ref() == life);
        let message = is_here
            .then(|| self.keep_words(now, key, run, state, outcome))
            .flatten();
        self.keep_end(now, run, state, outcome);
        self.sessions.change(&mut self.out.journal, key, |entry| {
            if let Some(usage) = outcome.usage {
                entry.usage.input = entry.usage.input.saturating_add(usage.input);
                entry.usage.output = entry.usage.output.saturating_add(usage.output);
            }
            if let Some(last) = entry.last_run.as_mut().filter(|last| last.run_id == *run) {
                last.status = state.row_status();
                last.error.clone_from(&outcome.error);
                last.ended_at = Some(now.wall);
                last.provider.clone_from(&outcome.provider);
                last.model.clone_from(&outcome.model);
            }
        });
        if let Some(message) = &message {
            self.tell_message(key, message);
        }
        self.tell_end(now, key, run, state, outcome, message.as_ref(), active);
        self.tell_session(now, key, "run-ended");
    }

    /// What the run said, in the transcript; or why it said nothing.
    fn keep_words(
        &mut self,
        now: Now,
        key: &SessionKey,
        run: &RunId,
        state: RunState,
        outcome: &RunOutcome,
    ) -> Option<Message> {
        let id = self.rng.uuid();
        let draft = match (&outcome.error, outcome.text.is_empty()) {
            (Some(error), true) => {
                let kind = match state {
                    RunState::Aborted => "run-aborted",
                    RunState::Cut => "run-cut",
                    RunState::Queued
                    | RunState::Running
                    | RunState::Done
                    | RunState::Failed
                    | RunState::Timeout => "run-failed-before-reply",
                };
                let text = format!("This turn ended before a reply: {error}.");
                MessageDraft::note(id, kind, &text, Some(run))
            }
            (_, false) => MessageDraft::reply(id, run, &outcome.text).told_by(
                outcome.provider.as_deref(),
                outcome.model.as_deref(),
                outcome.usage,
                outcome.stop_reason.as_deref(),
            ),
            (None, true) => return None,
        };
        self.sessions.append(&mut self.out.journal, now, key, draft)
    }

    fn keep_end(&mut self, now: Now, run: &RunId, state: RunState, outcome: &RunOutcome) {
        let mut kept = outcome.clone();
        if kept.text.len() > KEPT_TEXT {
            let end = kept.text.floor_char_boundary(KEPT_TEXT);
            kept.text.truncate(end);
        }
        self.runs.change(&mut self.out.journal, run, |record| {
            record.state = state;
            record.ended_at = Some(now.wall);
            record.input = None;
            record.outcome = Some(kept);
        });
        let started = self.runs.get(run).and_then(|record| record.started_at);
        let took = started.map(|at| Duration::from_millis(now.wall.0.saturating_sub(at.0)));
        self.run_over(run, state, took);
        self.runs.over.push_back(run.clone());
        self.deliver_end(now, run, state, outcome);
    }

    /// Stops a run, under way or waiting; one that another run answers too, with that one. Gives whether
    /// there was one.
    pub(in crate::gateway) fn abort_run(&mut self, now: Now, run: &RunId, why: &str) -> bool {
        let answering = self.runs.answering(run).clone();
        if self.runs.active.contains_key(&answering) {
            self.end_run(now, &answering, RunEnd::Aborted(why.into()));
            return true;
        }
        let Some(record) = self
            .runs
            .get(run)
            .filter(|record| record.state == RunState::Queued)
        else {
            return false;
        };
        let key = record.session_key.clone();
        self.runs.queues.remove(&key, run);
        let outcome = RunEnd::Aborted(why.into()).outcome(String::new());
        self.keep_end(now, run, RunState::Aborted, &outcome);
        self.tell_end(now, &key, run, RunState::Aborted, &outcome, None, None);
        self.answer_waiters(now, run);
        true
    }

    /// Stops everything that a session has under way or waiting. Gives what was stopped.
    pub(in crate::gateway) fn abort_session(
        &mut self,
        now: Now,
        key: &SessionKey,
        why: &str,
        waiting_too: bool,
    ) -> Vec<RunId> {
        let mut runs = self.runs.unfinished(key);
        if !waiting_too {
            runs.retain(|run| self.runs.active.contains_key(run));
        } else {
            // Those that wait go first, so that none of them begins in between.
            runs.reverse();
        }
        runs.retain(|run| self.abort_run(now, run, why));
        runs
    }

    /// Ends a run because of the gateway and not of its agent.
    pub(super) fn fail_run(&mut self, now: Now, run: &RunId, message: &str) {
        self.cancel_agent(now, run);
        let failed = RunFailed {
            kind: FailureKind::Unknown,
            message: message.into(),
            provider: None,
            model: None,
            http_status: None,
            usage: None,
        };
        self.end_run(now, run, RunEnd::Failed(failed));
    }

    /// Ends runs whose time is over.
    pub(in crate::gateway) fn expire_runs(&mut self, now: Now) {
        for run in self.runs.late(now) {
            self.end_run(now, &run, RunEnd::Timeout);
        }
        self.expire_waits(now);
        if self.runs.flush_at.is_some_and(|at| at <= now.mono) {
            self.flush_text(now);
        }
    }
}

/// `errorDetail` of a `chat` event.
pub(super) fn error_detail(outcome: &RunOutcome) -> Option<Value> {
    let fields: serde_json::Map<String, Value> = [
        ("provider", outcome.provider.as_deref().map(Value::from)),
        ("model", outcome.model.as_deref().map(Value::from)),
        (
            "httpStatus",
            outcome.http_status.map(|status| json!(status)),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

//! Callers that wait for the end of a run: `agent`, and `agent.wait` (spec protocol §6.5).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use serde_json::{Value, json};

use super::{RunRecord, RunState};
use crate::{
    frame::RawJson,
    gateway::{Gateway, sessions::usage_json},
    ids::{ConnId, RequestId, RunId},
    protocol::{RpcCode, RpcError},
    server::Delivery,
    time::Now,
};

/// A caller that waits.
#[derive(Debug)]
pub(in crate::gateway) struct RunWaiter {
    pub(in crate::gateway) conn: ConnId,
    pub(in crate::gateway) id: RequestId,
    pub(in crate::gateway) run: RunId,
    pub(in crate::gateway) wants: Wants,
}

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Wants {
    /// The second answer to `agent`.
    Final,
    /// The answer to `agent.wait`, until then at most.
    State(Instant),
}

impl RunWaiter {
    const fn deadline(&self) -> Option<Instant> {
        match self.wants {
            Wants::Final => None,
            Wants::State(until) => Some(until),
        }
    }
}

/// All callers that wait.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// By their run and the order in which they came.
    waiting: BTreeMap<(RunId, u64), RunWaiter>,
    /// Those of them that wait for so long and no longer.
    deadlines: BTreeSet<(Instant, RunId, u64)>,
    last: u64,
}

impl Waiters {
    fn push(&mut self, waiter: RunWaiter) {
        self.last += 1;
        if let Some(at) = waiter.deadline() {
            self.deadlines.insert((at, waiter.run.clone(), self.last));
        }
        self.waiting.insert((waiter.run.clone(), self.last), waiter);
    }

    /// When the first of them has waited for long enough.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _, _)| *at)
    }

    /// Takes those who wait for a run, in their order.
    fn take(&mut self, run: &RunId) -> Vec<RunWaiter> {
        let all = (run.clone(), 0)..=(run.clone(), u64::MAX);
        let places: Vec<u64> = self
            .waiting
            .range(all)
            .map(|((_, place), _)| *place)
            .collect();
        let found = places.into_iter();
        found
            .filter_map(|place| self.remove(run.clone(), place))
            .collect()
    }

    /// Takes one who has waited for long enough.
    fn take_late(&mut self, now: Instant) -> Option<RunWaiter> {
        let (_, run, place) = self.deadlines.first().filter(|(at, _, _)| *at <= now)?;
        self.remove(run.clone(), *place)
    }

    /// Forgets all others.
    pub(super) fn retain(&mut self, keep: impl Fn(&RunWaiter) -> bool) {
        self.waiting.retain(|_, waiter| keep(waiter));
        let waiting = &self.waiting;
        self.deadlines
            .retain(|(_, run, place)| waiting.contains_key(&(run.clone(), *place)));
    }

    fn remove(&mut self, run: RunId, place: u64) -> Option<RunWaiter> {
        let waiter = self.waiting.remove(&(run.clone(), place))?;
        if let Some(at) = waiter.deadline() {
            self.deadlines.remove(&(at, run, place));
        }
        Some(waiter)
    }
}

impl Gateway {
    pub(in crate::gateway) fn wait_for_run(&mut self, waiter: RunWaiter) {
        self.runs.waiters.push(waiter);
    }

    /// A run is over: whoever waits for it is told.
    pub(super) fn answer_waiters(&mut self, now: Now, run: &RunId) {
        let Some(record) = self.runs.get(run).cloned() else {
            return;
        };
        for waiter in self.runs.waiters.take(run) {
            let outcome = match waiter.wants {
                Wants::Final => self.final_answer(now, &record),
                Wants::State(_) => answer(&state_payload(&record)),
            };
            let id = waiter.id;
            self.deliver(waiter.conn, Delivery::Response { id, outcome });
        }
    }

    /// Waits that have been long enough.
    pub(super) fn expire_waits(&mut self, now: Now) {
        while let Some(waiter) = self.runs.waiters.take_late(now.mono) {
            let queued = self
                .runs
                .get(&waiter.run)
                .is_some_and(|record| record.state == RunState::Queued);
            let payload = if queued {
                json!({
                    "runId": waiter.run,
                    "status": "pending",
                    "timeoutPhase": "queue",
                    "providerStarted": false,
                })
            } else {
                json!({ "runId": waiter.run, "status": "timeout" })
            };
            let (id, outcome) = (waiter.id, answer(&payload));
            self.deliver(waiter.conn, Delivery::Response { id, outcome });
        }
    }

    /// A connection is gone. The runs that it asked for go on.
    pub(in crate::gateway) fn forget_waits(&mut self, conn: ConnId) {
        self.runs.waiters.retain(|waiter| waiter.conn != conn);
    }

    /// The final answer to `agent`.
    pub(in crate::gateway) fn final_answer(
        &self,
        now: Now,
        record: &RunRecord,
    ) -> Result<RawJson, RpcError> {
        let outcome = record.outcome.clone().unwrap_or_default();
        let started = record.started_at.unwrap_or(record.accepted_at);
        let ended = record.ended_at.unwrap_or(now.wall);
        let payload = match record.state {
            RunState::Done => {
                let mut meta = json!({
                    "sessionId": record.session_id,
                    "provider": outcome.provider,
                    "model": outcome.model,
                    "usage": outcome.usage.map(usage_json),
                });
                if let Value::Object(fields) = &mut meta {
                    fields.retain(|_, value| !value.is_null());
                }
                json!({
                    "runId": record.run_id,
                    "status": "ok",
                    "summary": "completed",
                    "result": {
                        "payloads": [{ "text": outcome.text }],
                        "meta": {
                            "durationMs": ended.0.saturating_sub(started.0),
                            "agentMeta": meta,
                        },
                    },
                })
            }
            RunState::Aborted | RunState::Timeout => json!({
                "runId": record.run_id,
                "status": "timeout",
                "summary": "aborted",
                "stopReason": outcome.stop_reason,
                "providerStarted": record.started_at.is_some(),
            }),
            RunState::Cut | RunState::Failed | RunState::Queued | RunState::Running => {
                let message = outcome.error.unwrap_or_else(|| "the run failed".into());
                let details = json!({
                    "runId": record.run_id,
                    "status": "error",
                    "summary": message,
                });
                return Err(RpcError::new(RpcCode::Unavailable, message).with_details(details));
            }
        };
        answer(&payload)
    }
}

/// The answer to `agent.wait` for a run that is over.
pub(in crate::gateway) fn state_payload(record: &RunRecord) -> Value {
    let outcome = record.outcome.as_ref();
    let status = match record.state {
        RunState::Done => "ok",
        RunState::Timeout => "timeout",
        RunState::Queued
        | RunState::Running
        | RunState::Failed
        | RunState::Aborted
        | RunState::Cut => "error",
    };
    let mut payload = json!({
        "runId": record.run_id,
        "status": status,
        "startedAt": record.started_at,
        "endedAt": record.ended_at,
        "error": outcome.and_then(|outcome| outcome.error.clone()),
        "stopReason": outcome.and_then(|outcome| outcome.stop_reason.clone()),
    });
    if let Value::Object(fields) = &mut payload {
        fields.retain(|_, value| !value.is_null());
    }
    payload
}

fn answer(payload: &Value) -> Result<RawJson, RpcError> {
    RawJson::encode(payload).map_err(|_| RpcError::invalid_request("no JSON"))
}

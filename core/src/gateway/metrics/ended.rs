//! Work that has ended, for a host that keeps a log: calls, calls of nodes, runs of agents.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::calls::CallEnded;
use crate::{
    gateway::{
        Gateway,
        nodes::{Invoke, InvokeFault},
        runs::RunState,
    },
    ids::RunId,
    metrics::{InvokeResult, Label, RunResult},
    trace::Span,
};

/// Pieces of work that wait for a host that keeps a log; the oldest ones go first.
const MAX_ENDED: usize = 1_024;

/// Whether the host writes a log of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkLog {
    /// It does, and polls [`Gateway::poll_ended`].
    Kept,
    /// It does not.
    #[default]
    Off,
}

/// Work that has ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// A call of a client.
    Call(CallEnded),
    /// Something that the gateway did for somebody.
    Work(WorkEnded),
}

/// Something that the gateway did for somebody, and that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkEnded {
    /// What it was.
    pub kind: WorkKind,
    /// The node's id, or that of the run.
    pub id: String,
    /// The node's command, or the agent's id.
    pub what: String,
    /// How it ended.
    pub result: &'static str,
    /// How long it took, where it began.
    pub took: Option<Duration>,
    /// Where it stands in the trace of whoever wanted it.
    pub span: Option<Span>,
    /// Whether an operator wants to read of it.
    pub is_notable: bool,
}

/// What a piece of work was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// A call of a node.
    NodeCall,
    /// A run of an agent.
    Run,
}

/// Work that ended and is not told yet.
#[derive(Debug, Default)]
pub(in crate::gateway) struct EndedWork {
    log: WorkLog,
    ended: VecDeque<Ended>,
}

impl EndedWork {
    pub(super) fn push(&mut self, ended: Ended) {
        if self.log == WorkLog::Off {
            return;
        }
        if self.ended.len() >= MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
    }
}

impl Gateway {
    /// Keeps everything that ends for [`Gateway::poll_ended`].
    #[must_use]
    pub fn with_work_log(mut self, log: WorkLog) -> Self {
        self.ended.log = log;
        self
    }

    /// The next piece of work that has ended, for a log. A host that does not want them leaves them.
    pub fn poll_ended(&mut self) -> Option<Ended> {
        self.ended.ended.pop_front()
    }

    /// A piece of work that another one caused.
    pub(in crate::gateway) fn child_of(&mut self, cause: Option<Span>) -> Option<Span> {
        cause.map(|cause| cause.traceparent().child(self.rng.u64().to_be_bytes()))
    }

    /// A call of a node is over.
    pub(in crate::gateway) fn invoke_over<T>(
        &mut self,
        now: Instant,
        invoke: &Invoke,
        outcome: &Result<T, InvokeFault>,
    ) {
        let result = self.count_invoke(now, invoke.began, outcome);
        self.ended.push(Ended::Work(WorkEnded {
            kind: WorkKind::NodeCall,
            id: invoke.call.node.clone(),
            what: invoke.call.command.clone(),
            result: result.name(),
            took: Some(now.saturating_duration_since(invoke.began)),
            span: invoke.span,
            is_notable: !matches!(result, InvokeResult::Ok | InvokeResult::Cancelled),
        }));
    }

    /// A run is over; `took` from its turn on, if it came.
    pub(in crate::gateway) fn run_over(
        &mut self,
        run: &RunId,
        state: RunState,
        took: Option<Duration>,
    ) {
        let span = self.runs.span(run);
        self.runs.forget_span(run);
        let Some(result) = self.count_run(state, took) else {
            return;
        };
        let agent = self.runs.get(run).map(|record| record.agent_id.clone());
        self.ended.push(Ended::Work(WorkEnded {
            kind: WorkKind::Run,
            id: run.to_string(),
            what: agent.unwrap_or_default(),
            result: result.name(),
            took,
            span,
            is_notable: !matches!(result, RunResult::Done | RunResult::Aborted),
        }));
    }
}

//! What is counted where it happens: connections, jobs, runs, calls of nodes, requests over HTTP.

use std::time::{Duration, Instant};

use crate::{
    gateway::{Effect, Gateway, HttpVerdict, OpenRefusal, nodes::InvokeFault, runs::RunState},
    job::{JobEvent, JobSpec},
    metrics::{
        ConnCounts, HttpClass, HttpRoute, InvokeResult, JobKind, JobResult, OpenRefused, RunResult,
    },
};

impl Gateway {
    /// A connection is gone, and this is what it counted. Call it once for each, before
    /// [`Gateway::close`].
    ///
    /// [`crate::server::ServerConn::counts`] gives it.
    pub fn count_gone(&mut self, counts: &ConnCounts) {
        self.metrics.gone.add(counts);
    }

    pub(in crate::gateway) fn count_open(&mut self, opened: Result<(), OpenRefusal>) {
        match opened {
            Ok(()) => self.metrics.accepted += 1,
            Err(refusal) => self.metrics.refused.add(match refusal {
                OpenRefusal::Stopping => OpenRefused::Stopping,
                OpenRefusal::TooMany => OpenRefused::TooMany,
                OpenRefusal::TooManyFromAddress => OpenRefused::TooManyFromAddress,
            }),
        }
    }

    pub(in crate::gateway) fn count_http(&mut self, route: HttpRoute, verdict: &HttpVerdict) {
        let class = match verdict {
            HttpVerdict::Answer(answer) => HttpClass::of_status(answer.status),
            HttpVerdict::Body { .. } | HttpVerdict::Upgrade => HttpClass::Taken,
            HttpVerdict::Metrics(_) => HttpClass::Ok,
        };
        self.metrics.http(route, class);
    }

    /// Work goes to the host.
    pub(in crate::gateway) fn count_effect(&mut self, effect: &Effect) {
        if let Effect::StartJob(spec) = effect {
            self.metrics.jobs_started.add(match **spec {
                JobSpec::Http(_) => JobKind::Http,
                JobSpec::Program(_) => JobKind::Program,
            });
        } else if let Effect::StopJob(_) = effect {
            self.metrics.jobs.add(JobResult::Stopped);
        }
    }

    pub(in crate::gateway) fn count_job(&mut self, event: &JobEvent) {
        match event {
            JobEvent::Ended(_) => self.metrics.jobs.add(JobResult::Ended),
            JobEvent::Failed(_) => self.metrics.jobs.add(JobResult::Failed),
            JobEvent::Head(_) | JobEvent::Data(_) => {}
        }
    }

    /// A call of a node that began then is over.
    pub(super) fn count_invoke<T>(
        &mut self,
        now: Instant,
        began: Instant,
        outcome: &Result<T, InvokeFault>,
    ) -> InvokeResult {
        let result = match outcome {
            Ok(_) => InvokeResult::Ok,
            Err(fault) => match fault {
                InvokeFault::Cancelled => InvokeResult::Cancelled,
                InvokeFault::Disconnected { .. } => InvokeResult::Disconnected,
                InvokeFault::Node { .. } => InvokeResult::NodeError,
                InvokeFault::PairingChanged => InvokeResult::PairingChanged,
                InvokeFault::Queued { .. } => InvokeResult::Queued,
                InvokeFault::Stopping => InvokeResult::Stopping,
                InvokeFault::TimedOut => InvokeResult::TimedOut,
                InvokeFault::TooLarge { .. } | InvokeFault::Unreadable => InvokeResult::BadResult,
                InvokeFault::Unsaved => InvokeResult::Unsaved,
            },
        };
        let took = now.saturating_duration_since(began);
        self.metrics.invoke(result, took);
        result
    }

    /// A run is over; `took` from its turn on, if it came.
    pub(super) fn count_run(
        &mut self,
        state: RunState,
        took: Option<Duration>,
    ) -> Option<RunResult> {
        let result = run_result(state)?;
        self.metrics.run(result, took);
        Some(result)
    }
}

/// How a run that is over ended.
const fn run_result(state: RunState) -> Option<RunResult> {
    match state {
        RunState::Queued | RunState::Running => None,
        RunState::Done => Some(RunResult::Done),
        RunState::Failed => Some(RunResult::Failed),
        RunState::Aborted => Some(RunResult::Aborted),
        RunState::Timeout => Some(RunResult::TimedOut),
        RunState::Cut => Some(RunResult::Cut),
    }
}

//! All that the gateway counts.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    CallResult, CloseCause, CommitResult, ConnCounts, Counters, HandshakeResult, Histogram,
    HttpClass, HttpRoute, InvokeResult, JobResult, Label, OpenRefused, RunResult, label::labels,
};
use crate::{
    methods::{METHODS, Method, MethodSpec},
    store::CommitId,
};

labels! {
    /// What a job is.
    JobKind {
        /// An HTTP request.
        Http = "http",
        /// A program.
        Program = "program",
    }
}

/// Calls of one method.
#[derive(Clone, Debug, Default)]
pub struct CallCell {
    /// How they ended.
    pub results: Counters<CallResult>,
    /// How long they took, those apart that were refused or abandoned before an answer.
    pub times: Histogram,
}

/// All that the gateway counts. The size is fixed, but for commits that are under way.
///
/// ```
/// use std::time::Duration;
/// use clawgate_core::{methods::Method, metrics::{CallResult, Metrics}};
///
/// let mut metrics = Metrics::default();
/// metrics.call(Some(Method::Health), CallResult::Ok, Some(Duration::from_millis(2)));
/// metrics.call(None, CallResult::UnknownMethod, None);
/// let (name, cell) = metrics.calls().next().unwrap();
/// assert_eq!((name, cell.results.get(CallResult::Ok)), ("health", 1));
/// ```
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Connections that were taken.
    pub accepted: u64,
    /// Sockets that were not.
    pub refused: Counters<OpenRefused>,
    /// What connections counted that are gone.
    pub gone: ConnTotals,
    /// Calls of each method, and of none that there is.
    calls: Box<[CallCell]>,
    /// Calls of nodes.
    pub invokes: Counters<InvokeResult>,
    /// How long they took.
    pub invoke_times: Histogram,
    /// Commits.
    pub commits: Counters<CommitResult>,
    /// How long they took until they were durable.
    pub commit_times: Histogram,
    commits_under_way: VecDeque<(CommitId, Instant)>,
    /// Jobs that were started.
    pub jobs_started: Counters<JobKind>,
    /// Jobs that are over, whatever they were.
    pub jobs: Counters<JobResult>,
    /// Runs of agents that are over.
    pub runs: Counters<RunResult>,
    /// How long they took, from their turn on.
    pub run_times: Histogram,
    http: [Counters<HttpClass>; 5],
}

impl Default for Metrics {
    fn default() -> Self {
        let calls = METHODS.len() + 1;
        Self {
            accepted: 0,
            refused: Counters::default(),
            gone: ConnTotals::default(),
            calls: vec![CallCell::default(); calls].into(),
            invokes: Counters::default(),
            invoke_times: Histogram::default(),
            commits: Counters::default(),
            commit_times: Histogram::default(),
            commits_under_way: VecDeque::new(),
            jobs_started: Counters::default(),
            jobs: Counters::default(),
            runs: Counters::default(),
            run_times: Histogram::default(),
            http: Default::default(),
        }
    }
}

impl Metrics {
    /// A call ended; `None` for a method that there is not. `took` is left out where nothing was done.
    pub fn call(&mut self, method: Option<Method>, result: CallResult, took: Option<Duration>) {
        let place = method.map_or(METHODS.len(), |method| method as usize);
        if let Some(cell) = self.calls.get_mut(place) {
            cell.results.add(result);
            if let Some(took) = took {
                cell.times.observe(took);
            }
        }
    }

    /// Methods that were called, with what is known of their calls; `unknown` stands for all that
    /// there are not.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, &CallCell)> {
        let known = METHODS.iter().map(|spec| (spec.name, spec.method as usize));
        known
            .chain([(UNKNOWN, METHODS.len())])
            .filter_map(|(name, place)| Some((name, self.calls.get(place)?)))
            .filter(|(_, cell)| cell.results.sum() > 0)
    }

    /// A call of a node ended.
    pub fn invoke(&mut self, result: InvokeResult, took: Duration) {
        self.invokes.add(result);
        self.invoke_times.observe(took);
    }

    /// A run of an agent ended; `took` is left out where its turn never came.
    pub fn run(&mut self, result: RunResult, took: Option<Duration>) {
        self.runs.add(result);
        if let Some(took) = took {
            self.run_times.observe(took);
        }
    }

    /// A request over HTTP was answered.
    pub fn http(&mut self, route: HttpRoute, class: HttpClass) {
        if let Some(classes) = self.http.get_mut(route.index()) {
            classes.add(class);
        }
    }

    /// How many requests over HTTP there were of each kind.
    pub fn requests(&self) -> impl Iterator<Item = (HttpRoute, &Counters<HttpClass>)> {
        HttpRoute::all().zip(&self.http)
    }

    /// A commit goes to the host.
    pub fn commit_given(&mut self, now: Instant, commit: CommitId) {
        self.commits_under_way.push_back((commit, now));
    }

    /// A commit is durable, or it is not and never will be.
    pub fn commit_done(&mut self, now: Instant, commit: CommitId, result: CommitResult) {
        while let Some((id, since)) = self.commits_under_way.front().copied()
            && id <= commit
        {
            self.commits_under_way.pop_front();
            if id == commit {
                self.commits.add(result);
                self.commit_times
                    .observe(now.saturating_duration_since(since));
            }
        }
    }

    /// Commits that the host has and has not reported.
    pub fn commits_waiting(&self) -> usize {
        self.commits_under_way.len()
    }
}

/// What stands for methods that there are not.
const UNKNOWN: &str = "unknown";

/// What several connections counted.
#[derive(Clone, Debug, Default)]
pub struct ConnTotals {
    /// How their handshakes ended.
    pub handshakes: Counters<HandshakeResult>,
    /// Why they ended.
    pub closed: Counters<CloseCause>,
    /// Messages that came.
    pub messages_in: u64,
    /// Bytes of those.
    pub bytes_in: u64,
    /// Bytes of messages that left.
    pub bytes_out: u64,
    /// Events that were dropped because a buffer was full.
    pub dropped_events: u64,
}

impl ConnTotals {
    /// Adds what one counted.
    pub fn add(&mut self, counts: &ConnCounts) {
        if let Some(result) = counts.handshake {
            self.handshakes.add(result);
        }
        if let Some(cause) = counts.closed {
            self.closed.add(cause);
        }
        self.messages_in = self.messages_in.wrapping_add(counts.messages_in);
        self.bytes_in = self.bytes_in.wrapping_add(counts.bytes_in);
        self.bytes_out = self.bytes_out.wrapping_add(counts.bytes_out);
        self.dropped_events = self.dropped_events.wrapping_add(counts.dropped_events);
    }
}

/// A call that waits for its answer.
#[derive(Clone, Debug)]
pub(crate) struct CallUnderWay {
    pub(crate) id: crate::ids::RequestId,
    pub(crate) method: &'static MethodSpec,
    pub(crate) since: Instant,
    pub(crate) span: Option<crate::trace::Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_a_place_of_its_own() {
        let mut metrics = Metrics::default();
        for spec in METHODS {
            metrics.call(Some(spec.method), CallResult::Ok, None);
        }
        metrics.call(None, CallResult::UnknownMethod, None);
        let mut names = Vec::new();
        for (name, cell) in metrics.calls() {
            assert_eq!(cell.results.sum(), 1, "{name}");
            names.push(name);
        }
        assert_eq!(names.len(), METHODS.len() + 1);
        assert_eq!(names.last(), Some(&UNKNOWN));
    }

    #[test]
    fn a_commit_is_timed_from_its_way_out_to_its_report() {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        let start = Instant::now();
        let later = |millis| start + Duration::from_millis(millis);
        let mut metrics = Metrics::default();
        metrics.commit_given(start, CommitId(1));
        metrics.commit_given(later(1), CommitId(2));
        assert_eq!(metrics.commits_waiting(), 2);
        metrics.commit_done(later(5), CommitId(1), CommitResult::Ok);
        metrics.commit_done(later(6), CommitId(2), CommitResult::Failed);
        metrics.commit_done(later(7), CommitId(2), CommitResult::Failed);
        assert_eq!(metrics.commits_waiting(), 0);
        assert_eq!(metrics.commit_times.sum(), Duration::from_millis(10));
        let seen: Vec<_> = metrics.commits.seen().collect();
        assert_eq!(seen, [("ok", 1), ("failed", 1)]);
    }
}

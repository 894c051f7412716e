//! Calls that nodes work on: to whom they go, until when, and to whom their end is told (spec protocol
//! §8.4).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    frame::RawJson,
    gateway::approvals::Decision,
    ids::{ConnId, InvokeId, RequestId, RunId, ToolCallId},
    store::CommitId,
    trace::Span,
};

/// Time for a call whose caller names none.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time that a call may name, in milliseconds: timers of node hosts count no further, and
/// one that overflows ends at once.
const MAX_TIMEOUT_MS: u64 = 2_147_483_647;

/// Pauses before a node that was not ready is asked again.
const PAUSES_MS: [u64; 4] = [100, 250, 500, 1_000];

/// Parts of an output that may wait for one before them.
const MAX_WAITING_CHUNKS: usize = 128;

/// What a node says before it has begun with a call.
pub(crate) const NOT_READY: &str = "NODE_NOT_READY";

/// Who wants a call, and learns of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InvokeOrigin {
    /// A caller of `node.invoke`.
    Caller {
        conn: ConnId,
        /// The request to answer.
        request: RequestId,
    },
    /// A caller of a method that passes a call of the gateway's own on, such as
    /// `exec.approvals.node.get`. It is answered with what the node says, and nothing around it.
    Relay {
        conn: ConnId,
        /// The request to answer.
        request: RequestId,
    },
    /// A run of an agent.
    Run {
        run: RunId,
        /// Its call.
        call: ToolCallId,
        /// Somebody's word that the node may run the program.
        verdict: Option<Decision>,
    },
    /// A caller of `tools.invoke`.
    Tool {
        conn: ConnId,
        /// The request to answer.
        request: RequestId,
        /// The tool, as the caller named it.
        name: String,
    },
}

impl InvokeOrigin {
    /// Whether it ends with this connection.
    pub(crate) fn is_of(&self, conn: ConnId) -> bool {
        match self {
            Self::Caller { conn: own, .. }
            | Self::Relay { conn: own, .. }
            | Self::Tool { conn: own, .. } => *own == conn,
            // It goes on without those who hear of it.
            Self::Run { .. } => false,
        }
    }
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallTime {
    /// So long. It counts from the moment at which the call is made.
    Within(Duration),
    /// As long as the node and whoever asks are there.
    Unlimited,
}

impl CallTime {
    /// `timeoutMs` of the wire: nothing is the default, and 0 no limit.
    pub(crate) fn of_millis(millis: Option<u64>) -> Self {
        match millis {
            None => Self::Within(DEFAULT_TIMEOUT),
            Some(0) => Self::Unlimited,
            Some(millis) => Self::Within(Duration::from_millis(millis.min(MAX_TIMEOUT_MS))),
        }
    }
}

/// A call to make.
#[derive(Clone, Debug)]
pub(crate) struct NodeCall {
    /// The node's id.
    pub(crate) node: String,
    pub(crate) command: String,
    pub(crate) params: Option<RawJson>,
    pub(crate) time: CallTime,
    /// Goes to the node unchanged: a node that knows it has done the work.
    pub(crate) idempotency_key: String,
    pub(crate) session_key: Option<String>,
}

/// What a node gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeReply {
    /// The result, if there is one.
    pub(crate) payload: Option<RawJson>,
    /// The result as the node wrote it, if it sent text.
    pub(crate) payload_json: Option<String>,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvokeFault {
    /// Whoever asked does not want it any more.
    #[error("node invoke cancelled")]
    Cancelled,
    /// The node went away.
    #[error("node disconnected ({command})")]
    Disconnected { command: String },
    /// The node says so.
    #[error("{}", message.as_deref().unwrap_or("node invoke failed"))]
    Node {
        code: Option<String>,
        message: Option<String>,
    },
    /// What was approved changed while the node worked.
    #[error("node pairing changed after dispatch")]
    PairingChanged,
    /// The app has to be in the foreground; it will fetch the call.
    #[error("node command queued until iOS returns to foreground")]
    Queued { action: String },
    /// The gateway stops.
    #[error("gateway stopped before the call was done")]
    Stopping,
    /// The deadline has passed.
    #[error("node invoke timed out")]
    TimedOut,
    /// More than the gateway takes.
    #[error("the node's result has {bytes} bytes, and the gateway takes at most {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// What allowed it could not be kept, so it was never sent.
    #[error("nothing was sent to the node: the gateway's state could not be saved")]
    Unsaved,
    /// The result is text that is no JSON, or nests too deeply.
    #[error("the node's result is not readable as JSON")]
    Unreadable,
}

impl InvokeFault {
    /// The code, where there is one.
    pub(crate) fn code(&self) -> Option<&str> {
        Some(match self {
            Self::Cancelled => "ABORTED",
            Self::Disconnected { .. } => "DISCONNECTED",
            Self::Node { code, .. } => return code.as_deref(),
            Self::PairingChanged => "PAIRING_CHANGED",
            Self::Queued { .. } => "QUEUED_UNTIL_FOREGROUND",
            Self::Stopping => "STOPPING",
            Self::TimedOut => "TIMEOUT",
            Self::TooLarge { .. } => "RESULT_TOO_LARGE",
            Self::Unreadable => "INVALID_RESULT",
            Self::Unsaved => "UNSAVED",
        })
    }

    /// Whether the node has done with the call, or is gone.
    pub(crate) const fn is_by_node(&self) -> bool {
        match self {
            Self::Disconnected { .. }
            | Self::Node { .. }
            | Self::Queued { .. }
            | Self::TooLarge { .. }
            | Self::Unreadable
            | Self::Unsaved => true,
            Self::Cancelled | Self::PairingChanged | Self::Stopping | Self::TimedOut => false,
        }
    }
}

/// A call that has ended.
#[derive(Clone, Debug)]
pub(crate) struct EndedInvoke {
    pub(crate) origin: InvokeOrigin,
    pub(crate) node: String,
    pub(crate) command: String,
    pub(crate) outcome: Result<NodeReply, InvokeFault>,
}

/// Where a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The node has it, under this name.
    Sent(String),
    /// The node was not ready; it is asked again then.
    Resting(Instant),
}

/// A call in flight.
#[derive(Debug)]
pub(crate) struct Invoke {
    pub(crate) origin: InvokeOrigin,
    pub(crate) call: NodeCall,
    /// The node's connection.
    pub(crate) conn: ConnId,
    /// The commit that its sending waits for.
    pub(crate) unsaved: Option<CommitId>,
    /// When it was made.
    pub(crate) began: Instant,
    /// Its place in the trace of whoever asked.
    pub(crate) span: Option<Span>,
    deadline: Option<Instant>,
    stage: Stage,
    /// Pauses that have been made.
    rests: usize,
    progress: Progress,
}

impl Invoke {
    /// The time that is left, as the node is told: 0 for no limit.
    pub(crate) fn time_left_ms(&self, now: Instant) -> u64 {
        self.deadline.map_or(0, |deadline| {
            crate::time::millis(deadline.saturating_duration_since(now)).max(1)
        })
    }

    /// The name under which the node has it.
    pub(crate) fn wire_id(&self) -> Option<&str> {
        match &self.stage {
            Stage::Sent(id) => Some(id),
            Stage::Resting(_) => None,
        }
    }

    fn wakes(&self) -> Option<Instant> {
        let rest = match self.stage {
            Stage::Sent(_) => None,
            Stage::Resting(until) => Some(until),
        };
        rest.into_iter().chain(self.deadline).min()
    }
}

/// The output of a call, part by part, put in order.
#[derive(Debug, Default)]
struct Progress {
    next: u64,
    waiting: BTreeMap<u64, String>,
    began: bool,
}

impl Progress {
    /// Takes a part; gives those that are in order now, or nothing for one that is not wanted.
    fn take(&mut self, seq: u64, chunk: String) -> Option<Vec<String>> {
        let is_gap = seq > self.next;
        if seq < self.next
            || self.waiting.contains_key(&seq)
            || (is_gap && self.waiting.len() >= MAX_WAITING_CHUNKS)
        {
            return None;
        }
        self.began = true;
        self.waiting.insert(seq, chunk);
        let mut ready = Vec::new();
        while let Some(chunk) = self.waiting.remove(&self.next) {
            self.next += 1;
            ready.push(chunk);
        }
        Some(ready)
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The deadline of this call has passed.
    Late(InvokeId),
    /// This call may be sent again.
    Again(InvokeId),
}

/// Why no more calls are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// The node works on as many as it may.
    Node,
    /// All nodes together do.
    Gateway,
}

/// All calls in flight.
#[derive(Debug, Default)]
pub(crate) struct Invokes {
    calls: BTreeMap<InvokeId, Invoke>,
    by_wire: BTreeMap<String, InvokeId>,
    wakes: BTreeSet<(Instant, InvokeId)>,
    next: u64,
}

impl Invokes {
    /// Whether there is room for another call of a node.
    pub(crate) fn room(&self, node: &str, per_node: usize, all: usize) -> Result<(), Busy> {
        if self.calls.len() >= all {
            return Err(Busy::Gateway);
        }
        if self.of_node(node) >= per_node {
            return Err(Busy::Node);
        }
        Ok(())
    }

    /// Takes a call that is about to be sent under a name.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        origin: InvokeOrigin,
        call: NodeCall,
        conn: ConnId,
        wire_id: String,
        unsaved: Option<CommitId>,
    ) -> InvokeId {
        let id = InvokeId(self.next);
        self.next += 1;
        let deadline = match call.time {
            CallTime::Unlimited => None,
            // A time that no clock can tell is none.
            CallTime::Within(time) => now.checked_add(time),
        };
        self.by_wire.insert(wire_id.clone(), id);
        let invoke = Invoke {
            origin,
            call,
            conn,
            unsaved,
            began: now,
            span: None,
            deadline,
            stage: Stage::Sent(wire_id),
            rests: 0,
            progress: Progress::default(),
        };
        self.wakes.extend(invoke.wakes().map(|at| (at, id)));
        self.calls.insert(id, invoke);
        id
    }

    /// A call belongs to a trace.
    pub(crate) fn trace(&mut self, id: InvokeId, span: Option<Span>) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.span = span;
        }
    }

    pub(crate) fn get(&self, id: InvokeId) -> Option<&Invoke> {
        self.calls.get(&id)
    }

    /// Calls that a node works on.
    pub(crate) fn of_node(&self, node: &str) -> usize {
        let of_node = self.calls.values().filter(|call| call.call.node == node);
        of_node.count()
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The call that a connection has under a name. Another connection's is not found.
    pub(crate) fn find(&self, conn: ConnId, wire_id: &str) -> Option<InvokeId> {
        let id = *self.by_wire.get(wire_id)?;
        (self.calls.get(&id)?.conn == conn).then_some(id)
    }

    /// Those that the test picks.
    pub(crate) fn pick(&self, picks: impl Fn(&Invoke) -> bool) -> Vec<InvokeId> {
        let picked = self.calls.iter().filter(|(_, call)| picks(call));
        picked.map(|(id, _)| *id).collect()
    }

    /// Ends a call.
    pub(crate) fn end(&mut self, id: InvokeId) -> Option<Invoke> {
        let call = self.calls.remove(&id)?;
        if let Some(wire_id) = call.wire_id() {
            self.by_wire.remove(wire_id);
        }
        if let Some(at) = call.wakes() {
            self.wakes.remove(&(at, id));
        }
        Some(call)
    }

    /// The node was not ready: the call rests, if there is another attempt and time for it. A node
    /// that has begun cannot be not ready.
    pub(crate) fn rest(&mut self, now: Instant, id: InvokeId) -> bool {
        let Some(call) = self.calls.get_mut(&id) else {
            return false;
        };
        let Some(pause) = PAUSES_MS.get(call.rests).filter(|_| !call.progress.began) else {
            return false;
        };
        let until = now + Duration::from_millis(*pause);
        if call.deadline.is_some_and(|deadline| deadline <= until) {
            return false;
        }
        if let Some(at) = call.wakes() {
            self.wakes.remove(&(at, id));
        }
        if let Stage::Sent(wire_id) = &call.stage {
            self.by_wire.remove(wire_id);
        }
        call.rests += 1;
        call.stage = Stage::Resting(until);
        self.wakes.extend(call.wakes().map(|at| (at, id)));
        true
    }

    /// A call that rested is sent again, under a new name.
    pub(crate) fn resume(&mut self, id: InvokeId, wire_id: String) {
        if let Some(call) = self.calls.get_mut(&id) {
            if let Some(at) = call.wakes() {
                self.wakes.remove(&(at, id));
            }
            self.by_wire.insert(wire_id.clone(), id);
            call.stage = Stage::Sent(wire_id);
            self.wakes.extend(call.wakes().map(|at| (at, id)));
        }
    }

    /// Takes a part of a call's output; gives the parts that are in order now.
    pub(crate) fn progress(
        &mut self,
        id: InvokeId,
        seq: u64,
        chunk: String,
    ) -> Option<Vec<String>> {
        self.calls.get_mut(&id)?.progress.take(seq, chunk)
    }

    /// When something is due next.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Something that is due, the earliest first.
    pub(crate) fn due(&self, now: Instant) -> Option<Due> {
        let (_, id) = *self.wakes.first().filter(|(at, _)| *at <= now)?;
        let late = |call: &Invoke| call.deadline.is_some_and(|deadline| deadline <= now);
        Some(if self.calls.get(&id).is_some_and(late) {
            Due::Late(id)
        } else {
            Due::Again(id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_out_in_order_and_once() {
        let mut progress = Progress::default();
        let take = |progress: &mut Progress, seq: u64| progress.take(seq, seq.to_string());
        assert_eq!(take(&mut progress, 1), Some(vec![]));
        assert_eq!(take(&mut progress, 1), None, "twice");
        assert_eq!(take(&mut progress, 2), Some(vec![]));
        let ready = ["0", "1", "2"].map(String::from).to_vec();
        assert_eq!(take(&mut progress, 0), Some(ready));
        assert_eq!(take(&mut progress, 2), None, "late");
        for seq in 4..4 + MAX_WAITING_CHUNKS as u64 {
            assert_eq!(take(&mut progress, seq), Some(vec![]));
        }
        assert_eq!(take(&mut progress, 999), None, "too many wait");
        assert_eq!(
            take(&mut progress, 3).map(|parts| parts.len()),
            Some(MAX_WAITING_CHUNKS + 1)
        );
    }

    fn call(time: CallTime) -> NodeCall {
        NodeCall {
            node: "n".into(),
            command: "system.which".into(),
            params: None,
            time,
            idempotency_key: "k".into(),
            session_key: None,
        }
    }

    fn origin() -> InvokeOrigin {
        InvokeOrigin::Caller {
            conn: ConnId(1),
            request: RequestId::new("1"),
        }
    }

    fn start() -> Instant {
        #[allow(clippy::disallowed_methods, reason = "any start will do")]
        Instant::now()
    }

    #[test]
    fn a_call_rests_while_there_is_time_and_never_after_it_began() {
        let (mut invokes, now) = (Invokes::default(), start());
        let time = CallTime::Within(Duration::from_millis(1_000));
        let id = invokes.begin(now, origin(), call(time), ConnId(2), "a".into(), None);
        assert_eq!(invokes.find(ConnId(2), "a"), Some(id));
        assert_eq!(invokes.find(ConnId(3), "a"), None, "another connection's");
        let mut at = now;
        for (pause, name) in [(100, "b"), (250, "c"), (500, "d")] {
            assert!(invokes.rest(at, id));
            assert_eq!(invokes.find(ConnId(2), "a"), None);
            at += Duration::from_millis(pause);
            assert_eq!(invokes.next_wake(), Some(at));
            assert_eq!(invokes.due(at), Some(Due::Again(id)));
            invokes.resume(id, name.into());
            assert_eq!(invokes.find(ConnId(2), name), Some(id));
        }
        assert_eq!(invokes.get(id).map(|call| call.time_left_ms(at)), Some(150));
        assert!(!invokes.rest(at, id), "the next pause ends too late");
        assert_eq!(invokes.due(at), None);
        at += Duration::from_millis(150);
        assert_eq!(invokes.due(at), Some(Due::Late(id)));
        assert!(invokes.end(id).is_some() && invokes.next_wake().is_none());

        let id = invokes.begin(
            now,
            origin(),
            call(CallTime::Unlimited),
            ConnId(2),
            "e".into(),
            None,
        );
        assert_eq!(invokes.next_wake(), None);
        assert_eq!(invokes.progress(id, 0, "x".into()), Some(vec!["x".into()]));
        assert!(!invokes.rest(now, id), "it has begun");
    }

    #[test]
    fn a_time_is_bounded_and_nothing_is_a_default() {
        let of = CallTime::of_millis;
        let most = Duration::from_millis(MAX_TIMEOUT_MS);
        assert_eq!(of(Some(u64::MAX)), CallTime::Within(most));
        assert_eq!(of(Some(0)), CallTime::Unlimited);
        assert_eq!(of(None), CallTime::Within(DEFAULT_TIMEOUT));
    }
}

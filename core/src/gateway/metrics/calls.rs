//! Calls from their arrival to their answer: how long they took, how they ended, and to which trace
//! they belong.

use std::time::{Duration, Instant};

use super::ended::Ended;
use crate::{
    frame::Request,
    gateway::{Gateway, clients::Conn},
    ids::{ConnId, RequestId},
    methods::{Method, MethodSpec},
    metrics::{CallResult, CallUnderWay},
    trace::Span,
};

/// Calls that take longer are worth a line of the log.
const SLOW: Duration = Duration::from_secs(1);

/// Methods that are there to wait for somebody or something.
const WAITING: [Method; 10] = [
    Method::Agent,
    Method::AgentWait,
    Method::ChatSend,
    Method::DeviceScopesWaitUpgrade,
    Method::ExecApprovalRequest,
    Method::ExecApprovalWaitDecision,
    Method::NodeInvoke,
    Method::Send,
    Method::SessionsSend,
    Method::ToolsInvoke,
];

/// A call that has ended.
#[derive(Clone, Debug)]
pub struct CallEnded {
    /// Whose it was.
    pub conn: ConnId,
    /// The request, as the client named it.
    pub request: RequestId,
    /// The method; `None` when there is no such.
    pub method: Option<&'static MethodSpec>,
    /// How it ended.
    pub result: CallResult,
    /// The time from its arrival to its answer; `None` where it was refused on the spot.
    pub took: Option<Duration>,
    /// Where it stands in its caller's trace, if it named one.
    pub span: Option<Span>,
}

impl CallEnded {
    /// The method's name; `unknown` when there is no such.
    pub fn method_name(&self) -> &'static str {
        self.method.map_or("unknown", |spec| spec.name)
    }

    /// Whether an operator wants to read of it: it was refused or failed, or it took long and is none
    /// of those that wait by nature.
    pub fn is_notable(&self) -> bool {
        let waits = |spec: &&MethodSpec| WAITING.contains(&spec.method);
        match self.result {
            CallResult::Abandoned => false,
            CallResult::Ok => {
                self.took.is_some_and(|took| took >= SLOW)
                    && !self.method.as_ref().is_some_and(waits)
            }
            CallResult::InvalidRequest
            | CallResult::MissingScope
            | CallResult::Forbidden
            | CallResult::NotPaired
            | CallResult::Unavailable
            | CallResult::WrongRole
            | CallResult::UnknownMethod
            | CallResult::TooMany
            | CallResult::Other => true,
        }
    }
}

impl Gateway {
    /// The time by now, where the last input took some. What is polled from here on counts as done at
    /// this moment.
    pub fn advance(&mut self, now: Instant) {
        self.clock = self.clock.max(now);
    }

    /// A call arrives. From here to the end of the input, what it causes belongs to its trace.
    pub(in crate::gateway) fn call_began(
        &mut self,
        now: Instant,
        conn: ConnId,
        method: &'static MethodSpec,
        request: &Request,
    ) {
        let span = request
            .trace
            .map(|parent| parent.child(self.rng.u64().to_be_bytes()));
        self.span = span;
        if let Some(Conn::Admitted(client)) = self.conns.get_mut(&conn) {
            client.calls.push(CallUnderWay {
                id: request.id.clone(),
                method,
                since: now,
                span,
            });
        }
    }

    /// A call that the connection answered itself.
    pub(in crate::gateway) fn call_refused(
        &mut self,
        conn: ConnId,
        method: Option<&'static MethodSpec>,
        request: RequestId,
        result: CallResult,
    ) {
        self.metrics
            .call(method.map(|spec| spec.method), result, None);
        self.ended.push(Ended::Call(CallEnded {
            conn,
            request,
            method,
            result,
            took: None,
            span: None,
        }));
    }

    /// The answer to a call goes out.
    pub(in crate::gateway) fn call_answered(
        &mut self,
        conn: ConnId,
        id: &RequestId,
        result: CallResult,
    ) {
        let (Some(Conn::Admitted(client)) | Some(Conn::Leaving(client))) =
            self.conns.get_mut(&conn)
        else {
            return;
        };
        // The oldest one, where a client used a name twice.
        let place = client.calls.iter().position(|call| call.id == *id);
        if let Some(place) = place {
            let call = client.calls.remove(place);
            self.call_ended(conn, call, result);
        }
    }

    /// Whoever called is gone.
    pub(in crate::gateway) fn calls_abandoned(&mut self, conn: ConnId, calls: Vec<CallUnderWay>) {
        for call in calls {
            self.call_ended(conn, call, CallResult::Abandoned);
        }
    }

    fn call_ended(&mut self, conn: ConnId, call: CallUnderWay, result: CallResult) {
        let took = self.clock.saturating_duration_since(call.since);
        let timed = (result != CallResult::Abandoned).then_some(took);
        self.metrics.call(Some(call.method.method), result, timed);
        self.ended.push(Ended::Call(CallEnded {
            conn,
            request: call.id,
            method: Some(call.method),
            result,
            took: Some(took),
            span: call.span,
        }));
    }
}

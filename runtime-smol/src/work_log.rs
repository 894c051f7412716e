//! One line of the log for each call, each connection, each call of a node and each run, at its end.
//! Parameters, results and messages are never written.

use clawgate_core::{
    gateway::{CallEnded, Ended, WorkEnded, WorkKind},
    ids::ConnId,
    metrics::{ConnCounts, Label},
    server::ConnectRequest,
    trace::{Span, SpanId, TraceId, TraceParent},
};
use tracing::{Level, debug, enabled, event};

/// Characters of a request's id that are written: clients choose them.
const MAX_ID: usize = 64;

/// Writes the line of what has ended.
pub(crate) fn ended(ended: &Ended) {
    match ended {
        Ended::Call(ended) => call(ended),
        Ended::Work(ended) => work(ended),
    }
}

fn work(work: &WorkEnded) {
    if !work.is_notable && !enabled!(Level::DEBUG) {
        return;
    }
    let millis = work.took.map(|took| took.as_secs_f64() * 1e3);
    let (trace, span, parent) = spans(work.span);
    let id = short(&work.id);
    macro_rules! line {
        ($level:expr, $id:ident, $what:ident, $message:literal) => {
            event!(
                $level,
                $id = id,
                $what = work.what.as_str(),
                result = work.result,
                durationMs = millis,
                traceId = trace.map(display),
                spanId = span.map(display),
                parentSpanId = parent.map(display),
                $message
            )
        };
    }
    match (work.kind, work.is_notable) {
        (WorkKind::NodeCall, true) => line!(Level::INFO, node, command, "node call"),
        (WorkKind::NodeCall, false) => line!(Level::DEBUG, node, command, "node call"),
        (WorkKind::Run, true) => line!(Level::INFO, run, agent, "run"),
        (WorkKind::Run, false) => line!(Level::DEBUG, run, agent, "run"),
    }
}

fn short(id: &str) -> &str {
    id.get(..id.floor_char_boundary(MAX_ID)).unwrap_or_default()
}

fn spans(span: Option<Span>) -> (Option<TraceId>, Option<SpanId>, Option<SpanId>) {
    span.map_or((None, None, None), |span| {
        (Some(span.trace()), Some(span.id()), Some(span.parent()))
    })
}

fn call(call: &CallEnded) {
    if !call.is_notable() && !enabled!(Level::DEBUG) {
        return;
    }
    let id = short(call.request.as_str());
    let millis = call.took.map(|took| took.as_secs_f64() * 1e3);
    let (trace, span, parent) = spans(call.span);
    macro_rules! line {
        ($level:expr) => {
            event!(
                $level,
                conn = %call.conn,
                req = id,
                method = call.method_name(),
                result = call.result.name(),
                durationMs = millis,
                traceId = trace.map(display),
                spanId = span.map(display),
                parentSpanId = parent.map(display),
                "call"
            )
        };
    }
    if call.is_notable() {
        line!(Level::INFO);
    } else {
        line!(Level::DEBUG);
    }
}

/// Writes the line of a client that wants to come in.
pub(crate) fn connect(conn: ConnId, request: &ConnectRequest) {
    let trace = request.peer.headers.get("traceparent");
    let trace = trace.and_then(|value| TraceParent::parse(&value));
    debug!(
        conn = %conn,
        client = request.params.client.id.as_str(),
        role = request.role.as_str(),
        traceId = trace.map(|trace| display(trace.trace())),
        parentSpanId = trace.map(|trace| display(trace.span())),
        "connect"
    );
}

/// Writes the line of a connection that is gone.
pub(crate) fn gone(conn: ConnId, counts: &ConnCounts) {
    debug!(
        conn = %conn,
        handshake = counts.handshake.map(Label::name),
        result = counts.closed.map(Label::name),
        messagesIn = counts.messages_in,
        bytesIn = counts.bytes_in,
        bytesOut = counts.bytes_out,
        droppedEvents = counts.dropped_events,
        "connection closed"
    );
}

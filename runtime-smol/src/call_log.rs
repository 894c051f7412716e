//! One line of the log for each call, each connection and its end. Parameters and results are never
//! written.

use clawgate_core::{
    gateway::CallEnded,
    ids::ConnId,
    metrics::{ConnCounts, Label},
    server::ConnectRequest,
    trace::TraceParent,
};
use tracing::{Level, debug, enabled, event};

/// Characters of a request's id that are written: clients choose them.
const MAX_ID: usize = 64;

/// Writes the line of a call.
pub(crate) fn call(call: &CallEnded) {
    if !call.is_notable() && !enabled!(Level::DEBUG) {
        return;
    }
    let id = call.request.as_str();
    let id = id.get(..id.floor_char_boundary(MAX_ID)).unwrap_or_default();
    let millis = call.took.map(|took| took.as_secs_f64() * 1e3);
    let (trace, span, parent) = call.span.map_or((None, None, None), |span| {
        (Some(span.trace()), Some(span.id()), Some(span.parent()))
    });
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

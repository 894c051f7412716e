//! `ServerConn` by itself, in virtual time.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

use std::{sync::Arc, time::Instant};

use clawgate_core::{
    limits::Limits,
    server::{Event, PeerFacts, ServerConn},
    time::{Now, WallTime},
};

const CONNECT: &str = r#"{"type":"req","id":"1","method":"connect","params":{"minProtocol":4,
    "maxProtocol":4,"client":{"id":"cli","mode":"cli","version":"1","platform":"linux"},
    "auth":{"token":"hunter2"}}}"#;

fn now() -> Now {
    Now {
        mono: Instant::now(),
        wall: WallTime(1_737_264_000_000),
    }
}

/// A connection whose `connect` waits for a decision.
fn deciding(now: Now) -> ServerConn {
    let peer = PeerFacts::direct([127, 0, 0, 1].into());
    let mut conn = ServerConn::new(Arc::new(Limits::default()), peer, [7; 32], now);
    conn.handle_text(now, CONNECT.into()).unwrap();
    assert!(matches!(conn.poll_event(), Some(Event::Connect(_))));
    conn
}

#[test]
fn nothing_that_was_sent_early_is_shown() {
    let now = now();
    let mut conn = deciding(now);
    conn.handle_text(now, CONNECT.into()).unwrap();
    assert!(!format!("{conn:?}").contains("hunter2"));
}

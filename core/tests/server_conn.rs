//! `ServerConn` by itself, in virtual time: its deadlines and what it shows.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clawgate_core::{
    frame::RawJson,
    limits::Limits,
    protocol::Role,
    scope::ScopeSet,
    server::{Admission, Delivery, Event, PeerFacts, ServerConn},
    time::{Now, WallTime},
    transmit::Transmit,
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

fn admit(conn: &mut ServerConn, now: Now) {
    let admission = Admission {
        role: Role::Operator,
        scopes: ScopeSet::NONE,
        hello: RawJson::empty_object(),
    };
    conn.deliver(now, Delivery::Admit(admission.into()));
    assert!(conn.is_established());
    while conn.poll_transmit().is_some() {}
}

#[test]
fn nothing_that_was_sent_early_is_shown() {
    let now = now();
    let mut conn = deciding(now);
    conn.handle_text(now, CONNECT.into()).unwrap();
    assert!(!format!("{conn:?}").contains("hunter2"));
}

/// Acts on the next deadline, and gives the time that it took and what is written then.
fn wait(conn: &mut ServerConn, now: &mut Now) -> (Duration, Vec<Transmit>) {
    let waited = conn.poll_timeout().unwrap().0 - now.mono;
    *now = now.after(waited);
    conn.handle_timeout(*now);
    let written = std::iter::from_fn(|| conn.poll_transmit()).collect();
    (waited, written)
}

#[test]
fn a_refusal_that_finds_no_room_is_told_as_the_failure_that_it_became() {
    let (now, peer) = (now(), PeerFacts::direct([127, 0, 0, 1].into()));
    let limits = Limits {
        max_buffered_bytes: 200,
        ..Limits::default()
    };
    let mut conn = ServerConn::new(Arc::new(limits), peer, [7; 32], now);
    let frame = r#"{"type":"req","id":"1","method":"health"}"#;
    let error = conn.handle_text(now, frame.into()).unwrap_err();
    assert_eq!(error.to_string(), "peer: slow consumer");
    assert_eq!(conn.failure(), Some(&error));
    assert_eq!(conn.handle_text(now, frame.into()), Err(error));
}

#[test]
fn a_connection_without_pongs_is_dropped_and_one_with_them_stays() {
    let (mut now, interval) = (now(), Limits::default().ping_interval);
    let mut conn = deciding(now);
    admit(&mut conn, now);
    for _ in 0..10 {
        assert_eq!(wait(&mut conn, &mut now), (interval, vec![Transmit::Ping]));
        conn.handle_pong();
    }
    assert_eq!(wait(&mut conn, &mut now), (interval, vec![Transmit::Ping]));
    assert_eq!(
        wait(&mut conn, &mut now),
        (interval, vec![Transmit::Terminate])
    );
    assert!(
        conn.failure()
            .unwrap()
            .to_string()
            .contains("heartbeat timeout")
    );
}

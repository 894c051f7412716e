//! Pings of the gateway, and the end of a client that answers none of them (spec protocol §1).

mod common;

use std::{sync::Arc, time::Duration};

use clawgate_core::{
    frame::RawJson,
    limits::Limits,
    protocol::Role,
    scope::ScopeSet,
    server::{Admission, Delivery, Event, PeerFacts, ServerConn},
    time::Now,
    transmit::Transmit,
};
use common::{connect_params, start};
use serde_json::json;

/// A connection that is in, with nothing left to write.
fn established(now: Now) -> ServerConn {
    let peer = PeerFacts::direct([127, 0, 0, 1].into());
    let mut conn = ServerConn::new(Arc::new(Limits::default()), peer, [7; 32], now);
    let params = connect_params("token", &[]);
    let connect = json!({"type": "req", "id": "1", "method": "connect", "params": params});
    conn.handle_text(now, connect.to_string().into()).unwrap();
    assert!(matches!(conn.poll_event(), Some(Event::Connect(_))));
    let admission = Admission {
        role: Role::Operator,
        scopes: ScopeSet::default(),
        hello: RawJson::empty_object(),
    };
    conn.deliver(now, Delivery::Admit(Box::new(admission)));
    while conn.poll_transmit().is_some() {}
    conn
}

/// Lets time pass up to the next deadline.
fn next_deadline(conn: &mut ServerConn, now: Now) -> Now {
    let (at, _) = conn.poll_timeout().unwrap();
    let now = now.after(at.saturating_duration_since(now.mono));
    conn.handle_timeout(now);
    now
}

#[test]
fn a_client_that_answers_no_ping_is_dropped_after_two_intervals() {
    let begin = start();
    let mut conn = established(begin);

    let first = next_deadline(&mut conn, begin);
    assert_eq!(first.mono - begin.mono, Duration::from_secs(25));
    assert_eq!(conn.poll_transmit(), Some(Transmit::Ping));
    assert!(!conn.is_closing());

    let second = next_deadline(&mut conn, first);
    assert_eq!(second.mono - begin.mono, Duration::from_secs(50));
    assert!(conn.is_terminated());
    assert_eq!(conn.poll_transmit(), Some(Transmit::Terminate));
    assert!(!conn.is_established());
}

#[test]
fn any_answer_keeps_a_client() {
    let mut now = start();
    let mut conn = established(now);
    for turn in 0..10 {
        now = next_deadline(&mut conn, now);
        assert_eq!(conn.poll_transmit(), Some(Transmit::Ping));
        if turn % 2 == 0 {
            conn.handle_pong();
        } else {
            let text = "what this says does not matter";
            conn.handle_text(now, text.into()).unwrap();
        }
    }
    assert!(conn.is_established());
}

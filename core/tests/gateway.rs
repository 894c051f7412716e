//! The gateway and server connections, wired in memory as a host wires them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::time::Duration;

use clawgate_core::gateway::{EffectOutcome, ProcessStats};
use common::{Host, connect_params, token_rule};
use serde_json::{Value, json};

fn token_host() -> Host {
    Host::new(token_rule("hunter2"))
}

const PROCESS: EffectOutcome = EffectOutcome::Process(ProcessStats { rss_bytes: 7 });

#[test]
fn a_client_connects_calls_and_gets_answers() {
    let mut host = token_host();
    let conn = host.open();
    let challenge = host.recv(conn);
    assert_eq!(challenge["event"], "connect.challenge");
    host.call(
        conn,
        "1",
        "connect",
        connect_params("hunter2", &["operator.read"]),
    );
    let hello = host.recv(conn);
    assert_eq!(hello["ok"], true, "{hello}");
    assert_eq!(hello["payload"]["type"], "hello-ok");
    assert_eq!(hello["payload"]["auth"]["scopes"], json!(["operator.read"]));
    host.call(conn, "2", "health", json!({}));
    assert_eq!(host.recv(conn)["payload"]["ok"], true);
    host.call(conn, "3", "set-heartbeats", json!({"enabled": true}));
    assert_eq!(
        host.recv(conn)["error"]["details"]["missingScope"],
        "operator.admin"
    );
}

#[test]
fn a_wrong_token_is_refused_with_its_detail_code_and_a_close() {
    let mut host = token_host();
    let conn = host.open();
    host.recv(conn);
    host.call(
        conn,
        "1",
        "connect",
        connect_params("wrong", &["operator.read"]),
    );
    // Guessing is slow, on this machine too.
    host.advance(Duration::from_millis(249));
    assert_eq!(host.try_recv(conn), None);
    host.advance(Duration::from_millis(1));
    let refusal = host.recv(conn);
    assert_eq!(refusal["error"]["code"], "INVALID_REQUEST");
    assert_eq!(refusal["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
    assert_eq!(
        refusal["error"]["details"]["recommendedNextStep"],
        "update_auth_credentials"
    );
    let (code, reason) = host.closed(conn).unwrap();
    assert_eq!(code, 1008);
    assert!(
        reason.starts_with("unauthorized: gateway token mismatch"),
        "{reason}"
    );
    assert!(!refusal.to_string().contains("hunter2"));
}

#[test]
fn a_probe_without_a_device_gets_no_scopes() {
    let mut host = token_host();
    let conn = host.open();
    host.recv(conn);
    let mut params = connect_params("hunter2", &["operator.admin"]);
    params["client"]["mode"] = "probe".into();
    host.call(conn, "1", "connect", params);
    assert_eq!(host.recv(conn)["payload"]["auth"]["scopes"], json!([]));
    host.call(conn, "2", "status", json!({}));
    assert_eq!(host.recv(conn)["error"]["details"]["code"], "MISSING_SCOPE");
    host.call(conn, "3", "health", json!({}));
    assert_eq!(host.recv(conn)["ok"], true);
}

#[test]
fn status_waits_for_the_host_and_a_lost_connection_forgets_it() {
    let mut host = token_host();
    let conn = host.connect("hunter2", &["operator.read"]);
    host.call(conn, "2", "status", json!({}));
    assert!(host.try_recv(conn).is_none());
    let effect = host.effects.pop().unwrap();
    host.complete(effect.id, PROCESS);
    let status = host.recv(conn);
    assert_eq!(status["payload"]["processMemory"]["rssBytes"], 7);
    assert_eq!(status["payload"]["sessions"]["paths"], json!([]));

    host.call(conn, "3", "status", json!({}));
    let effect = host.effects.pop().unwrap();
    host.drop_connection(conn);
    host.complete(effect.id, PROCESS);
    assert_eq!(host.gateway.connections(), 0);
}

#[test]
fn events_of_a_connection_that_is_gone_come_to_nothing() {
    let mut host = token_host();
    let newcomer = host.open();
    host.recv(newcomer);
    host.hold_events(newcomer);
    host.call(newcomer, "1", "connect", connect_params("hunter2", &[]));
    host.drop_before_release(newcomer);
    assert_eq!(host.gateway.connections(), 0);

    let caller = host.connect("hunter2", &["operator.read"]);
    host.hold_events(caller);
    host.call(caller, "2", "status", json!({}));
    host.drop_before_release(caller);
    assert!(host.effects.is_empty());
    assert_eq!(host.gateway.connections(), 0);
}

#[test]
fn an_effect_that_never_comes_fails_its_call_in_time() {
    let mut host = token_host();
    let conn = host.connect("hunter2", &["operator.read"]);
    host.call(conn, "2", "logs.tail", json!({}));
    host.advance(host.limits.effect);
    let answer = host.recv_response(conn);
    assert_eq!(answer["error"]["code"], "UNAVAILABLE");
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("log read failed")
    );
}

#[test]
fn ticks_come_in_sequence_to_everybody() {
    let mut host = token_host();
    let (a, b) = (
        host.connect("hunter2", &[]),
        host.connect("hunter2", &["operator.read"]),
    );
    host.advance(Duration::from_secs(61));
    for conn in [a, b] {
        let events: Vec<Value> = std::iter::from_fn(|| host.try_recv(conn)).collect();
        let mut names: Vec<_> = events
            .iter()
            .map(|event| event["event"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["health", "tick", "tick"]);
        let numbers: Vec<_> = events
            .iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
    }
}

#[test]
fn presence_is_told_to_readers_once_for_many_changes() {
    let mut host = token_host();
    let reader = host.connect("hunter2", &["operator.read"]);
    let other = host.connect("hunter2", &["operator.admin"]);
    let blind = host.connect("hunter2", &["operator.pairing"]);
    for number in 0..5 {
        let id = format!("e{number}");
        host.call(
            other,
            &id,
            "system-event",
            json!({"text": "Node: up", "deviceId": id}),
        );
        assert_eq!(host.recv(other)["ok"], true);
    }
    host.advance(Duration::from_secs(1));
    let event = host.recv(reader);
    assert_eq!(event["event"], "presence");
    assert_eq!(event["payload"]["presence"].as_array().unwrap().len(), 6);
    assert!(event["stateVersion"]["presence"].as_u64().unwrap() > 1);
    assert!(host.try_recv(reader).is_none());
    assert!(host.try_recv(blind).is_none());
}

#[test]
fn a_repeated_idempotency_key_changes_nothing_twice() {
    let mut host = token_host();
    let conn = host.connect("hunter2", &["operator.admin"]);
    let params = json!({"text": "hello", "idempotencyKey": "k"});
    for id in ["2", "3"] {
        host.call(conn, id, "system-event", params.clone());
        assert_eq!(host.recv(conn)["payload"]["ok"], true);
    }
    host.call(
        conn,
        "4",
        "system-event",
        json!({"text": "other", "idempotencyKey": "k"}),
    );
    assert_eq!(host.recv(conn)["error"]["code"], "INVALID_REQUEST");
    host.call(conn, "5", "status", json!({}));
    let effect = host.effects.pop().unwrap();
    host.complete(effect.id, PROCESS);
    assert_eq!(
        host.recv(conn)["payload"]["queuedSystemEvents"],
        json!(["hello"])
    );
}

#[test]
fn shutdown_waits_for_calls_then_tells_everybody() {
    let mut host = token_host();
    let conn = host.connect("hunter2", &["operator.read"]);
    host.call(conn, "2", "status", json!({}));
    let effect = host.effects.pop().unwrap();
    host.shutdown("gateway stopping");
    assert!(host.try_recv(conn).is_none());
    host.call(conn, "3", "health", json!({}));
    assert_eq!(host.recv(conn)["error"]["retryable"], true);
    assert!(host.try_open().is_err());
    host.complete(effect.id, PROCESS);
    assert_eq!(host.recv(conn)["ok"], true);
    let event = host.recv(conn);
    assert_eq!(event["event"], "shutdown");
    assert_eq!(event["payload"]["reason"], "gateway stopping");
    assert_eq!(host.closed(conn).unwrap(), (1012, "service restart".into()));
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    let mut host = token_host();
    let conn = host.connect("hunter2", &["operator.read"]);
    host.call(conn, "2", "status", json!({}));
    host.shutdown("gateway stopping");
    host.advance(host.limits.drain);
    assert_eq!(host.recv_response(conn)["error"]["code"], "UNAVAILABLE");
    assert_eq!(host.closed(conn).unwrap().0, 1012);
}

#[test]
fn unauthenticated_connections_of_one_address_are_limited() {
    let limit = 5;
    let mut host = token_host().with_limits(|limits| limits.max_pre_auth_loopback = limit);
    let conns: Vec<_> = (0..limit).map(|_| host.open()).collect();
    assert!(host.try_open().is_err());
    host.drop_connection(conns[0]);
    assert!(host.try_open().is_ok());
    host.authenticate(conns[1], "hunter2", &[]);
    assert!(host.try_open().is_ok());
    assert!(host.try_open().is_err());
}

#[test]
fn handshakes_have_a_deadline_and_frames_a_limit() {
    let mut host = token_host();
    let slow = host.open();
    host.advance(host.limits.handshake);
    assert_eq!(
        host.closed(slow).unwrap(),
        (1008, "handshake timeout".into())
    );

    let padded = |bytes: usize| {
        let frame = json!({"type": "req", "id": "1", "method": "connect", "params": {"x": ""}});
        let frame = frame.to_string();
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - frame.len())))
    };
    let limit = host.limits.pre_auth_frame;
    let big = host.open();
    host.recv(big);
    host.send_text(big, &padded(limit + 1));
    assert_eq!(
        host.closed(big).unwrap(),
        (1009, "preauth payload too large".into())
    );

    let edge = host.open();
    host.recv(edge);
    host.send_text(edge, &padded(limit));
    assert_eq!(host.recv(edge)["error"]["code"], "INVALID_REQUEST");
}

#[test]
fn a_slow_reader_loses_droppable_events_and_then_the_connection() {
    let mut host = token_host().with_limits(|limits| limits.max_buffered_bytes = 40_000);
    let slow = host.connect("hunter2", &["operator.read"]);
    let admin = host.connect("hunter2", &["operator.admin"]);
    host.stall(slow);
    for number in 0..4 {
        let text = format!("Node: {}", "x".repeat(4_000));
        let device = number.to_string();
        host.call(
            admin,
            "e",
            "system-event",
            json!({"text": text, "deviceId": device}),
        );
        host.advance(Duration::from_millis(200));
        while host.try_recv(admin).is_some() {}
    }
    assert!(host.closed(slow).is_none());
    assert!(host.dropped_events(slow) > 0, "{}", host.buffered(slow));
    assert!(host.buffered(slow) <= 40_000);
    for _ in 0..3_000 {
        host.advance(host.limits.tick_interval);
        while host.try_recv(admin).is_some() {}
        if host.closed(slow).is_some() {
            break;
        }
    }
    assert_eq!(host.closed(slow).unwrap(), (1008, "slow consumer".into()));
    assert!(host.closed(admin).is_none());
}

#[test]
fn frames_that_come_during_the_decision_are_kept_up_to_a_number() {
    let mut host = token_host();
    let conn = host.open();
    host.recv(conn);
    host.hold_events(conn);
    host.call(conn, "1", "connect", connect_params("hunter2", &[]));
    for id in 0..15 {
        host.call(conn, &format!("h{id}"), "health", json!({}));
    }
    host.release_events(conn);
    assert_eq!(host.recv(conn)["id"], "1");
    for id in 0..15 {
        assert_eq!(host.recv(conn)["id"], format!("h{id}"));
    }

    let greedy = host.open();
    host.recv(greedy);
    host.hold_events(greedy);
    host.call(greedy, "1", "connect", connect_params("hunter2", &[]));
    for _ in 0..16 {
        host.call(greedy, "h", "health", json!({}));
    }
    assert_eq!(
        host.closed(greedy).unwrap(),
        (1008, "too many pending handshake frames".into())
    );
}

#[test]
fn broken_frames_after_the_handshake_are_answered_and_the_connection_stays() {
    let mut host = token_host();
    let conn = host.connect("hunter2", &["operator.read"]);
    host.send_text(conn, "not json");
    assert!(host.try_recv(conn).is_none());
    for (frame, id) in [
        (r#"{"type":"req","id":"x"}"#, "x"),
        (r#"{"type":"req","method":"health"}"#, "invalid"),
        (
            r#"{"type":"req","id":"x","method":"health","other":1}"#,
            "x",
        ),
        ("[]", "invalid"),
    ] {
        host.send_text(conn, frame);
        let answer = host.recv(conn);
        assert_eq!(answer["id"], id, "{frame}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("invalid request frame: "), "{message}");
    }
    host.call(conn, "2", "health", json!({}));
    assert_eq!(host.recv(conn)["ok"], true);
}

#[test]
fn a_node_that_keeps_calling_what_it_may_not_is_closed() {
    let mut host = Host::new(token_rule("hunter2"));
    let conn = host.connect_node("hunter2");
    for _ in 0..11 {
        host.call(conn, "x", "status", json!({}));
        assert_eq!(
            host.recv(conn)["error"]["message"],
            "unauthorized role: node"
        );
    }
    assert_eq!(
        host.closed(conn).unwrap(),
        (1008, "repeated unauthorized calls".into())
    );
}

#[test]
fn a_node_without_a_device_is_refused() {
    let mut host = token_host();
    let conn = host.open();
    host.recv(conn);
    let mut params = connect_params("hunter2", &[]);
    params["role"] = "node".into();
    host.call(conn, "1", "connect", params);
    assert_eq!(
        host.recv(conn)["error"]["details"]["code"],
        "DEVICE_IDENTITY_REQUIRED"
    );
}

fn refusal_of(host: &mut Host, headers: &[(&str, &str)], client: &str) -> Value {
    let conn = host.open_with(headers);
    host.recv(conn);
    let mut params = connect_params("hunter2", &["operator.read"]);
    params["client"]["id"] = client.into();
    host.call(conn, "1", "connect", params);
    host.recv(conn)
}

#[test]
fn pages_of_other_origins_stay_out_even_with_the_token() {
    let mut host = token_host();
    let host_header = ("host", "127.0.0.1:18789");
    let evil = [host_header, ("origin", "https://evil.example.com")];
    let refused = refusal_of(&mut host, &evil, "cli");
    assert_eq!(
        refused["error"]["details"]["code"],
        "CONTROL_UI_ORIGIN_NOT_ALLOWED"
    );
    assert_eq!(refused["error"]["details"]["reason"], "origin not allowed");
    let missing = refusal_of(&mut host, &[host_header], "webchat-ui");
    assert_eq!(
        missing["error"]["details"]["reason"],
        "origin missing or invalid"
    );
    let rebound = [
        ("host", "evil.example.com"),
        ("origin", "http://evil.example.com"),
    ];
    assert_eq!(refusal_of(&mut host, &rebound, "cli")["ok"], false);
    let own = [host_header, ("origin", "http://127.0.0.1:18789")];
    assert_eq!(refusal_of(&mut host, &own, "webchat-ui")["ok"], true);
}

#[test]
fn a_header_of_the_upgrade_narrows_the_scopes() {
    let mut host = token_host();
    let conn = host.open_with(&[("x-openclaw-scopes", "operator.read, operator.talk")]);
    host.recv(conn);
    host.call(
        conn,
        "1",
        "connect",
        connect_params("hunter2", &["operator.admin"]),
    );
    let scopes = host.recv(conn)["payload"]["auth"]["scopes"].clone();
    assert_eq!(
        scopes,
        json!(["operator.read", "operator.sessions.read", "operator.talk"])
    );
    let conn = host.open_with(&[("x-openclaw-scopes", "")]);
    host.recv(conn);
    host.call(
        conn,
        "1",
        "connect",
        connect_params("hunter2", &["operator.admin"]),
    );
    assert_eq!(host.recv(conn)["payload"]["auth"]["scopes"], json!([]));
}

#[test]
fn blanks_around_a_secret_do_not_count_and_blanks_alone_are_none() {
    let mut host = token_host();
    for (token, code) in [
        (" hunter2 ", None),
        ("  ", Some("DEVICE_IDENTITY_REQUIRED")),
    ] {
        let conn = host.open();
        host.recv(conn);
        host.call(conn, "1", "connect", connect_params(token, &[]));
        let answer = host.recv(conn);
        assert_eq!(
            answer["error"]["details"]["code"].as_str(),
            code,
            "{answer}"
        );
    }
}

#[test]
fn what_is_kept_for_others_is_limited_at_the_byte() {
    let mut host = token_host();
    let conn = host.connect("hunter2", &["operator.admin"]);
    let limit = host.limits.max_system_event;
    let empty = json!({"text": ""}).to_string().len();
    for (bytes, fits) in [(limit, true), (limit + 1, false)] {
        let text = "x".repeat(bytes - empty);
        host.call(conn, "e", "system-event", json!({"text": text}));
        assert_eq!(host.recv_response(conn)["ok"], fits, "{bytes}");
    }
}

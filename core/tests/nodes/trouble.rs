//! Calls that end otherwise than by a result.

use std::time::Duration;

use clawgate_core::{ids::ConnId, store::StoreFailure};
use serde_json::{Value, json};

use crate::{
    common::Host,
    scene::{
        ADMIN, Node, approved, drain, events, finish, host, invoke_params, join, linux, operator,
        request_of, start,
    },
};

const WRITE: &[&str] = &["operator.write"];

fn scene(host: &mut Host) -> (Node, ConnId, Value) {
    let node = approved(host, &linux(1, &["system.which", "weather.get"]));
    let caller = operator(host, WRITE);
    let asked = start(host, caller, "1", &node, "weather.get");
    (node, caller, asked)
}

fn cancelled(host: &mut Host, node: &Node, asked: &Value) {
    let told = events(host, node.conn, "node.invoke.cancel");
    let expected = json!({ "invokeId": asked["id"], "nodeId": node.id });
    assert_eq!(told, [expected]);
}

fn fault(host: &mut Host, caller: ConnId) -> String {
    let error = host.recv_response(caller)["error"].clone();
    error["details"]["nodeError"]["code"]
        .as_str()
        .unwrap()
        .into()
}

#[test]
fn the_deadline_ends_a_call_and_the_node_is_told() {
    let mut host = host();
    let (node, caller, asked) = scene(&mut host);
    host.advance(Duration::from_millis(29_999));
    drain(&mut host, caller);
    assert!(events(&mut host, node.conn, "node.invoke.cancel").is_empty());
    host.advance(Duration::from_millis(1));
    assert_eq!(fault(&mut host, caller), "TIMEOUT");
    cancelled(&mut host, &node, &asked);
    let said = finish(&mut host, &node, &asked, json!({}));
    assert_eq!(said["payload"]["ignored"], true, "too late");
    assert!(events(&mut host, caller, "x").is_empty());
}

#[test]
fn a_call_without_a_deadline_waits_for_as_long_as_the_node_is_there() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["weather.get"]));
    let caller = operator(&mut host, WRITE);
    let mut params = invoke_params(&node.id, "weather.get");
    params["timeoutMs"] = json!(0);
    host.call(caller, "1", "node.invoke", params);
    let asked = events(&mut host, node.conn, "node.invoke.request").remove(0);
    assert_eq!(asked["timeoutMs"], 0);
    host.advance(Duration::from_secs(3_600));
    assert!(events(&mut host, node.conn, "node.invoke.cancel").is_empty());
    drain(&mut host, caller);
    host.drop_connection(node.conn);
    assert_eq!(fault(&mut host, caller), "DISCONNECTED");
}

#[test]
fn a_node_that_vanishes_fails_its_calls_at_once() {
    let mut host = host();
    let (node, caller, _) = scene(&mut host);
    host.drop_connection(node.conn);
    let error = host.recv_response(caller)["error"].clone();
    assert_eq!(error["code"], "UNAVAILABLE");
    assert_eq!(
        error["message"],
        "DISCONNECTED: node disconnected (weather.get)"
    );
    assert_eq!(error["details"]["nodeCommandDispatched"], true);
}

#[test]
fn a_caller_that_goes_takes_its_calls_along() {
    let mut host = host();
    let (node, caller, asked) = scene(&mut host);
    host.drop_connection(caller);
    cancelled(&mut host, &node, &asked);
    let said = finish(&mut host, &node, &asked, json!({}));
    assert_eq!(said["payload"]["ignored"], true);
}

#[test]
fn the_newer_of_two_connections_takes_over() {
    let mut host = host();
    let (node, caller, asked) = scene(&mut host);
    let newer = join(&mut host, &linux(1, &["weather.get"]));
    let (code, reason) = host.closed(node.conn).unwrap();
    assert_eq!(code, 1008);
    assert_eq!(reason, "replaced by a newer connection of this node");
    assert_eq!(fault(&mut host, caller), "DISCONNECTED");
    host.drop_connection(node.conn);
    drain(&mut host, newer.conn);
    let said = finish(&mut host, &newer, &asked, json!({}));
    assert_eq!(said["payload"]["ignored"], true, "the other one's call");
    let again = start(&mut host, caller, "2", &newer, "weather.get");
    finish(&mut host, &newer, &again, json!({}));
    assert_eq!(host.recv_response(caller)["ok"], true);
}

#[test]
fn what_is_not_approved_any_more_is_stopped() {
    let mut host = host();
    let (node, caller, asked) = scene(&mut host);
    let admin = operator(&mut host, ADMIN);
    host.get(admin, "node.pair.remove", json!({ "nodeId": node.id }));
    cancelled(&mut host, &node, &asked);
    let error = host.recv_response(caller)["error"].clone();
    assert_eq!(error["details"]["code"], "PAIRING_CHANGED");
}

#[test]
fn a_result_that_is_too_large_is_said_so() {
    let mut host = host().with_limits(|limits| limits.max_node_result = 1_000);
    let (node, caller, asked) = scene(&mut host);
    let fits = json!({ "payloadJSON": format!("\"{}\"", "x".repeat(998)) });
    finish(&mut host, &node, &asked, fits);
    assert_eq!(host.recv_response(caller)["ok"], true);
    let asked = start(&mut host, caller, "2", &node, "weather.get");
    let large = json!({ "payloadJSON": format!("\"{}\"", "x".repeat(999)) });
    let said = finish(&mut host, &node, &asked, large);
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.contains("1001 bytes"), "{message}");
    let error = host.recv_response(caller)["error"].clone();
    assert_eq!(
        error["message"],
        "RESULT_TOO_LARGE: the node's result has 1001 bytes, and the gateway takes at most 1000"
    );
}

#[test]
fn calls_in_flight_are_bounded_for_a_node_and_in_all() {
    let mut host = host().with_limits(|limits| {
        limits.max_invokes_per_node = 2;
        limits.max_invokes = 3;
    });
    let one = approved(&mut host, &linux(1, &["weather.get"]));
    let two = approved(&mut host, &linux(2, &["weather.get"]));
    let caller = operator(&mut host, WRITE);
    let first = start(&mut host, caller, "1", &one, "weather.get");
    start(&mut host, caller, "2", &one, "weather.get");
    let full = host.ask(caller, "node.invoke", invoke_params(&one.id, "weather.get"));
    assert_eq!(full["error"]["retryable"], true);
    let third = start(&mut host, caller, "3", &two, "weather.get");
    let full = host.ask(caller, "node.invoke", invoke_params(&two.id, "weather.get"));
    assert_eq!(full["error"]["retryable"], true);
    for (node, asked) in [(&one, &first), (&two, &third)] {
        finish(&mut host, node, asked, json!({}));
        assert_eq!(host.recv_response(caller)["ok"], true);
    }
    start(&mut host, caller, "4", &one, "weather.get");
}

#[test]
fn a_gateway_that_stops_lets_nodes_finish() {
    let mut host = host();
    let (node, caller, asked) = scene(&mut host);
    host.shutdown("test");
    let refused = host.ask(
        caller,
        "node.invoke",
        invoke_params(&node.id, "weather.get"),
    );
    assert_eq!(refused["error"]["message"], "gateway is stopping");
    let said = finish(&mut host, &node, &asked, json!({ "payload": 7 }));
    assert_eq!(said["payload"], json!({ "ok": true }));
    assert_eq!(host.recv_response(caller)["payload"]["payload"], 7);
    assert_eq!(
        host.closed(caller).unwrap().0,
        1012,
        "nothing is left to do"
    );
}

#[test]
fn a_gateway_that_stops_waits_for_nodes_no_longer_than_it_says() {
    let mut host = host();
    let (node, caller, asked) = scene(&mut host);
    host.shutdown("test");
    host.advance(Duration::from_secs(5));
    assert_eq!(fault(&mut host, caller), "STOPPING");
    cancelled(&mut host, &node, &asked);
}

#[test]
fn nothing_is_sent_on_an_approval_that_is_not_durable() {
    let mut host = host();
    let node = join(&mut host, &linux(1, &["weather.get"]));
    let request = request_of(&mut host, &node.id).unwrap();
    let admin = operator(&mut host, ADMIN);
    let caller = operator(&mut host, WRITE);
    drain(&mut host, node.conn);
    host.disk.waiting = Some(Default::default());
    let params = json!({ "requestId": request });
    host.call(admin, "a", "node.pair.approve", params.clone());
    let call = invoke_params(&node.id, "weather.get");
    host.call(caller, "1", "node.invoke", call.clone());
    assert!(node_events(&mut host, &node).is_empty(), "the disk is slow");
    host.disk.failure = Some(StoreFailure::Full);
    while host.write() {}
    assert!(node_events(&mut host, &node).is_empty(), "and full");
    assert_eq!(host.recv_response(admin)["ok"], false);
    assert_eq!(fault(&mut host, caller), "UNSAVED");

    host.disk.failure = None;
    while host.write() {}
    host.call(admin, "a", "node.pair.approve", params);
    host.call(caller, "2", "node.invoke", call);
    assert!(node_events(&mut host, &node).is_empty());
    while host.write() {}
    assert_eq!(
        node_events(&mut host, &node),
        ["node.pair.resolved", "node.invoke.request"]
    );
}

/// The names of the events that are for this node alone.
fn node_events(host: &mut Host, node: &Node) -> Vec<String> {
    let names = drain(host, node.conn).into_iter();
    names
        .filter_map(|frame| frame["event"].as_str().map(String::from))
        .filter(|name| name.starts_with("node."))
        .collect()
}

//! What nodes report, offer and fetch.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    common::Host,
    scene::{
        ADMIN, Node, approve, approved, drain, events, finish, host, join, linux, operator, row,
        start,
    },
};

const READ: &[&str] = &["operator.read"];
const WRITE: &[&str] = &["operator.write"];

fn event(host: &mut Host, node: &Node, name: &str, payload: Value) -> Value {
    let params = json!({ "event": name, "payloadJSON": payload.to_string() });
    host.ask(node.conn, "node.event", params)
}

#[test]
fn a_node_that_was_not_approved_has_nothing_to_say() {
    let mut host = host();
    let node = join(&mut host, &linux(1, &["weather.get"]));
    let said = event(
        &mut host,
        &node,
        "voice.transcript",
        json!({ "text": "hi" }),
    );
    assert_eq!(said["error"]["details"]["code"], "PAIRING_CHANGED");
    assert_eq!(said["error"]["retryable"], true);
    let inventory = json!({ "protocolFeatures": [], "workerHost": { "enabled": false } });
    let said = host.ask(node.conn, "node.runnerInventory.update", inventory.clone());
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.contains("awaiting operator approval"), "{message}");
    approve(&mut host, &node.id);
    let said = host.ask(node.conn, "node.runnerInventory.update", inventory);
    assert_eq!(said["payload"], json!({ "nodeId": node.id }));
    let said = event(
        &mut host,
        &node,
        "voice.transcript",
        json!({ "text": "hi" }),
    );
    assert_eq!(said["payload"], json!({ "ok": true }));
}

#[test]
fn host_stats_are_shown_and_told() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &[]));
    let reader = operator(&mut host, READ);
    let stats = json!({
        "cpuCount": 2,
        "loadAverage": [1.5, 1.0, 0.5],
        "memoryTotalBytes": 100,
        "memoryFreeBytes": 40,
        "diskTotalBytes": 10,
        "diskAvailableBytes": 10,
    });
    let said = event(&mut host, &node, "node.host.stats", stats.clone());
    assert_eq!(
        said["payload"],
        json!({ "ok": true, "event": "node.host.stats", "handled": true, "reason": "updated" })
    );
    let told = events(&mut host, reader, "node.hostStats").remove(0);
    assert_eq!(told["nodeId"], node.id);
    assert_eq!(told["hostStats"]["memoryFreeBytes"], 40);
    assert!(told["hostStats"]["updatedAtMs"].is_u64());
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["hostStats"], told["hostStats"]);
    for (field, value) in [
        ("cpuCount", json!(0)),
        ("memoryFreeBytes", json!(101)),
        ("diskAvailableBytes", json!(11)),
        ("diskAvailableBytes", Value::Null),
        ("loadAverage", json!([1.0, 1.0])),
        ("loadAverage", json!([-1.0, 1.0, 1.0])),
        ("more", json!(1)),
    ] {
        let mut odd = stats.clone();
        odd[field] = value;
        let said = event(&mut host, &node, "node.host.stats", odd);
        assert_eq!(said["payload"]["reason"], "invalid_payload", "{field}");
        assert_eq!(said["payload"]["handled"], false);
    }
}

#[test]
fn the_node_in_use_is_known() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &[]));
    let other = approved(&mut host, &linux(2, &[]));
    let reader = operator(&mut host, READ);
    let idle = |seconds: u64| json!({ "idleSeconds": seconds, "source": "app" });
    let said = event(&mut host, &node, "node.presence.activity", idle(5));
    assert_eq!(said["payload"]["reason"], "updated");
    event(&mut host, &other, "node.presence.activity", idle(60));
    let told = events(&mut host, reader, "node.presence");
    assert_eq!(told[0]["nodeId"], node.id);
    let (active, updated) = (&told[0]["lastActiveAtMs"], &told[0]["presenceUpdatedAtMs"]);
    assert_eq!(updated.as_u64().unwrap() - active.as_u64().unwrap(), 5_000);
    let list = host.get(reader, "node.list", json!({}));
    assert_eq!(list["activeNodeId"], node.id);
    assert_eq!(row(&mut host, &node.id, READ).unwrap()["active"], true);
    assert_eq!(
        row(&mut host, &other.id, READ).unwrap()["active"],
        Value::Null
    );

    // The system's own report takes a permission that was approved.
    let system = json!({ "idleSeconds": 0 });
    let said = event(&mut host, &node, "node.presence.activity", system);
    assert_eq!(said["payload"]["reason"], "permission_required");
    let clear = json!({ "action": "clear" });
    let said = event(&mut host, &node, "node.presence.activity", clear.clone());
    assert_eq!(said["payload"]["reason"], "cleared");
    let told = events(&mut host, reader, "node.presence").pop().unwrap();
    assert_eq!(told["lastActiveAtMs"], Value::Null);
    let said = event(&mut host, &node, "node.presence.activity", clear);
    assert_eq!(said["payload"]["reason"], "already_clear");
    for odd in [json!({}), json!({ "action": "x" }), idle(2_592_001)] {
        let said = event(&mut host, &node, "node.presence.activity", odd);
        assert_eq!(said["payload"]["reason"], "invalid_payload");
    }
    let list = host.get(reader, "node.list", json!({}));
    assert_eq!(list["activeNodeId"], other.id);
}

#[test]
fn a_node_says_that_it_is_alive() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &[]));
    host.advance(Duration::from_secs(60));
    let said = event(
        &mut host,
        &node,
        "node.presence.alive",
        json!({ "trigger": "silent_push" }),
    );
    assert_eq!(said["payload"]["handled"], true);
    let seen = host.now.wall.0;
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["lastSeenReason"], "silent_push");
    assert_eq!(known["lastSeenAtMs"], seen);
    let odd = json!({ "trigger": "boredom" });
    let said = event(&mut host, &node, "node.presence.alive", odd);
    assert_eq!(said["payload"]["reason"], "invalid_payload");
    host.drop_connection(node.conn);
    let away = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(away["lastDisconnectedAtMs"], host.now.wall.0);
    assert_eq!(away["connectedAtMs"], Value::Null);
}

#[test]
fn a_node_follows_sessions() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &[]));
    let followers =
        |host: &Host, key: &str| -> Vec<_> { host.gateway.node_subscribers(key).collect() };
    let main = json!({ "sessionKey": "agent:main:main" });
    event(&mut host, &node, "chat.subscribe", main.clone());
    assert_eq!(followers(&host, "agent:main:main"), [node.conn]);
    assert_eq!(followers(&host, "agent:main:other"), []);
    event(&mut host, &node, "chat.unsubscribe", main.clone());
    assert_eq!(followers(&host, "agent:main:main"), []);
    event(&mut host, &node, "chat.subscribe", main);
    host.drop_connection(node.conn);
    assert_eq!(followers(&host, "agent:main:main"), []);
}

#[test]
fn a_node_reports_only_on_programs_that_it_was_asked_to_run() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["system.run"]));
    let caller = operator(&mut host, WRITE);
    let done = json!({ "runId": "r1", "sessionKey": "s", "exitCode": 1, "output": "no" });
    let said = event(&mut host, &node, "exec.finished", done.clone());
    assert_eq!(said["payload"]["reason"], "unmatched_exec_event");
    let params = json!({
        "nodeId": node.id,
        "command": "system.run",
        "params": { "command": ["ls"], "runId": "r1", "sessionKey": "s" },
        "idempotencyKey": "k",
    });
    host.call(caller, "1", "node.invoke", params);
    let started = json!({ "runId": "r1", "sessionKey": "s", "command": "ls" });
    for (name, payload, handled) in [
        ("exec.started", &started, Value::Null),
        ("exec.finished", &done, Value::Null),
        ("exec.finished", &done, json!(false)),
    ] {
        let said = event(&mut host, &node, name, payload.clone());
        assert_eq!(said["payload"]["handled"], handled, "{name}");
    }
}

#[test]
fn events_may_be_values_and_unknown_ones_are_said_to_be() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &[]));
    let params = json!({ "event": "node.presence.alive", "payload": { "trigger": "manual" } });
    let said = host.ask(node.conn, "node.event", params);
    assert_eq!(said["payload"]["handled"], true);
    let said = event(&mut host, &node, "made.up", json!({}));
    assert_eq!(
        said["payload"],
        json!({ "ok": true, "event": "made.up", "handled": false, "reason": "unsupported_event" })
    );
    for quiet in [
        ("voice.transcript", json!({ "text": "x".repeat(20_001) })),
        ("agent.request", json!({ "message": "do it" })),
        (
            "notifications.changed",
            json!({ "change": "posted", "key": "k", "title": "t" }),
        ),
        ("notifications.changed", json!({})),
    ] {
        let said = event(&mut host, &node, quiet.0, quiet.1);
        assert_eq!(said["payload"], json!({ "ok": true }), "{}", quiet.0);
    }
}

#[test]
fn tools_are_shown_where_their_command_may_run() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["weather.get", "camera.snap"]));
    let tool = |name: &str, command: &str| {
        json!({
            "pluginId": "p",
            "name": name,
            "description": "What the weather is.",
            "parameters": { "type": "object" },
            "command": command,
        })
    };
    let update = json!({ "tools": [
        tool("weather", "weather.get"),
        tool("snap", "camera.snap"),
        tool("not a name", "weather.get"),
    ] });
    let said = host.get(node.conn, "node.pluginTools.update", update);
    assert_eq!(said["tools"], json!([tool("weather", "weather.get")]));
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["nodePluginTools"], said["tools"]);
    let tools = host.gateway.agent_tools();
    assert_eq!(tools.len(), 1, "what is dangerous is not offered");
    assert_eq!(tools[0].command, "weather.get");
    assert_eq!(tools[0].node_name, "node-1");
    assert_eq!(
        tools[0].description.as_deref(),
        Some("What the weather is.")
    );
    assert_eq!(
        tools[0].parameters.as_ref().unwrap().as_str(),
        r#"{"type":"object"}"#
    );
    host.drop_connection(node.conn);
    assert!(host.gateway.agent_tools().is_empty());
}

#[test]
fn skills_are_checked_and_kept_for_the_connection() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &[]));
    let skill =
        |name: &str, content: &str| json!({ "name": name, "description": "d", "content": content });
    let good = json!({ "skills": [skill("a-b1", "text")] });
    let said = host.get(node.conn, "node.skills.update", good.clone());
    assert_eq!(said, json!({ "nodeId": node.id, "skills": good["skills"] }));
    let many: Vec<Value> = (0..65).map(|n| skill(&format!("s{n}"), "x")).collect();
    for odd in [
        json!([skill("A", "x")]),
        json!([skill("a--b", "x")]),
        json!([skill("-a", "x")]),
        json!([skill("a", "")]),
        json!([skill("a", &"x".repeat(65_537))]),
        json!(many),
    ] {
        let said = host.ask(node.conn, "node.skills.update", json!({ "skills": odd }));
        assert_eq!(said["error"]["code"], "INVALID_REQUEST");
    }
    let bins = host.get(node.conn, "skills.bins", json!({}));
    assert_eq!(bins, json!({ "bins": [] }));
    let said = host.ask(
        node.conn,
        "node.pluginSurface.refresh",
        json!({ "surface": "canvas" }),
    );
    assert_eq!(
        said["error"]["message"],
        "canvas plugin surface unavailable"
    );
}

#[test]
fn work_waits_for_a_node_that_sleeps() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &[]));
    host.drop_connection(node.conn);
    let caller = operator(&mut host, WRITE);
    let params = json!({
        "nodeId": node.id,
        "type": "location.request",
        "priority": "high",
        "expiresInMs": 60_000,
    });
    let queued = host.get(caller, "node.pending.enqueue", params.clone());
    assert_eq!(queued["revision"], 1);
    assert_eq!(queued["wakeTriggered"], false);
    assert_eq!(queued["queued"]["type"], "location.request");
    let mut odd = params.clone();
    odd["expiresInMs"] = json!(999);
    let said = host.ask(caller, "node.pending.enqueue", odd);
    assert_eq!(said["ok"], false);
    let mut odd = params;
    odd["nodeId"] = json!("nobody");
    let said = host.ask(caller, "node.pending.enqueue", odd);
    assert_eq!(said["error"]["message"], "unknown nodeId");
    let node = join(&mut host, &linux(1, &[]));
    let drained = host.get(node.conn, "node.pending.drain", json!({}));
    assert_eq!(drained["nodeId"], node.id);
    assert_eq!(drained["items"][0]["id"], queued["queued"]["id"]);
    assert_eq!(drained["items"][1]["id"], "baseline-status");
    assert_eq!(drained["hasMore"], false);
    let said = host.ask(node.conn, "node.pending.drain", json!({ "maxItems": 11 }));
    assert_eq!(said["ok"], false);
}

#[test]
fn operators_cannot_play_nodes() {
    let mut host = host();
    let admin = operator(&mut host, ADMIN);
    for method in [
        "node.event",
        "node.invoke.result",
        "node.invoke.progress",
        "node.pending.pull",
        "node.pluginTools.update",
        "skills.bins",
    ] {
        let said = host.ask(admin, method, json!({}));
        assert_eq!(
            said["error"]["message"], "unauthorized role: operator",
            "{method}"
        );
    }
    let node = approved(&mut host, &linux(1, &["weather.get"]));
    let asked = start(&mut host, admin, "1", &node, "weather.get");
    finish(&mut host, &node, &asked, json!({}));
    drain(&mut host, node.conn);
    let said = host.ask(node.conn, "node.list", json!({}));
    assert_eq!(said["error"]["message"], "unauthorized role: node");
}

//! Calls: to the node, and back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    common::Host,
    scene::{
        ADMIN, approved, drain, events, finish, host, invoke_params, join, linux, operator, start,
    },
};

const WRITE: &[&str] = &["operator.write"];

fn error(host: &mut Host, caller: clawgate_core::ids::ConnId, params: Value) -> Value {
    let answer = host.ask(caller, "node.invoke", params);
    assert_eq!(answer["ok"], false, "{answer}");
    answer["error"].clone()
}

#[test]
fn a_call_goes_to_the_node_and_its_result_comes_back() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["system.which"]));
    let caller = operator(&mut host, WRITE);
    let mut params = invoke_params(&node.id, "system.which");
    params["timeoutMs"] = json!(15_000);
    params["sessionKey"] = json!("agent:main:main");
    host.call(caller, "1", "node.invoke", params);
    let frames = drain(&mut host, node.conn);
    let frame = frames
        .iter()
        .find(|frame| frame["event"] == "node.invoke.request")
        .unwrap();
    assert_eq!(frame["seq"], Value::Null);
    let asked = &frame["payload"];
    assert_eq!(asked["nodeId"], node.id);
    assert_eq!(asked["command"], "system.which");
    assert_eq!(asked["paramsJSON"], r#"{"bins":["sh"]}"#);
    assert_eq!(asked["timeoutMs"], 15_000);
    assert_eq!(asked["idempotencyKey"], "key-1");
    assert_eq!(asked["sessionKey"], "agent:main:main");
    assert!(
        host.try_recv(caller).is_none(),
        "nothing before the node answers"
    );

    let text = r#"{"bins":{"sh":"/usr/bin/sh"}}"#;
    let said = finish(&mut host, &node, asked, json!({ "payloadJSON": text }));
    assert_eq!(said["payload"], json!({ "ok": true }));
    assert_eq!(
        host.recv_response(caller)["payload"],
        json!({
            "ok": true,
            "nodeId": node.id,
            "command": "system.which",
            "payload": { "bins": { "sh": "/usr/bin/sh" } },
            "payloadJSON": text,
        })
    );
    // Twice is once.
    let said = finish(&mut host, &node, asked, json!({ "payloadJSON": text }));
    assert_eq!(said["payload"], json!({ "ok": true, "ignored": true }));
    assert!(host.try_recv(caller).is_none());
}

#[test]
fn results_may_be_values_or_nothing_and_must_be_readable() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["system.which"]));
    let caller = operator(&mut host, WRITE);
    let deep = "[".repeat(101) + &"]".repeat(101);
    for (result, payload, payload_json) in [
        (json!({}), Value::Null, Value::Null),
        (json!({ "payload": [1] }), json!([1]), Value::Null),
        (
            json!({ "payloadJSON": null, "error": null }),
            Value::Null,
            Value::Null,
        ),
        (json!({ "payloadJSON": "null" }), Value::Null, json!("null")),
        (
            json!({ "payloadJSON": " 7 ", "payload": 8 }),
            json!(7),
            json!(" 7 "),
        ),
    ] {
        let asked = start(&mut host, caller, "1", &node, "system.which");
        finish(&mut host, &node, &asked, result.clone());
        let answer = host.recv_response(caller)["payload"].clone();
        assert_eq!(answer["payload"], payload, "{result}");
        assert_eq!(answer["payloadJSON"], payload_json, "{result}");
    }
    for text in ["{", "plain words", &deep] {
        let asked = start(&mut host, caller, "1", &node, "system.which");
        finish(&mut host, &node, &asked, json!({ "payloadJSON": text }));
        let error = host.recv_response(caller)["error"].clone();
        assert_eq!(error["details"]["nodeError"]["code"], "INVALID_RESULT");
    }
}

#[test]
fn what_a_node_says_went_wrong_reaches_the_caller() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["system.which"]));
    let caller = operator(&mut host, WRITE);
    for (error, message) in [
        (
            json!({ "code": "BAD", "message": "no such thing" }),
            "BAD: no such thing",
        ),
        (json!({ "message": "no such thing" }), "no such thing"),
        (json!({ "code": "BAD" }), "BAD: node invoke failed"),
        (Value::Null, "node invoke failed"),
    ] {
        let asked = start(&mut host, caller, "1", &node, "system.which");
        let result = json!({ "ok": false, "error": error });
        finish(&mut host, &node, &asked, result);
        let told = host.recv_response(caller)["error"].clone();
        assert_eq!(told["code"], "UNAVAILABLE");
        assert_eq!(told["message"], message);
        assert_eq!(told["details"]["nodeCommandDispatched"], true);
        assert_eq!(told["details"]["nodeError"]["code"], error["code"]);
    }
}

#[test]
fn calls_that_cannot_be_made_say_why() {
    let mut host = host();
    let all = ["system.which", "camera.snap", "weather.get", "fs.listDir"];
    let node = approved(&mut host, &linux(1, &all));
    let fresh = join(&mut host, &linux(2, &["system.which"]));
    let caller = operator(&mut host, WRITE);
    let not_listed = "command not allowlisted";
    let not_claimed = "command not declared by node";
    for (command, reason, hint) in [
        ("camera.snap", not_listed, "gateway.nodes.commands.allow"),
        ("sms.send", not_listed, "gateway.nodes.commands.allow"),
        ("location.get", not_listed, "platform \"linux\""),
        ("talk.ptt.start", not_listed, "Talk-capable"),
        ("system.run", not_claimed, "does not offer"),
        ("other.thing", not_claimed, "does not offer"),
    ] {
        let told = error(&mut host, caller, invoke_params(&node.id, command));
        assert_eq!(told["code"], "INVALID_REQUEST", "{command}");
        assert_eq!(told["details"]["reason"], reason, "{command}");
        assert_eq!(told["details"]["command"], command);
        let message = told["message"].as_str().unwrap();
        assert!(
            message.starts_with("node command not allowed: "),
            "{message}"
        );
        assert!(message.contains(hint), "{message}");
    }
    let told = error(&mut host, caller, invoke_params(&fresh.id, "system.which"));
    assert_eq!(told["details"]["reason"], "node did not declare commands");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("clawgate nodes approve"), "{message}");

    for private in ["system.execApprovals.get", "worker.launch.v1"] {
        let told = error(&mut host, caller, invoke_params(&node.id, private));
        assert_eq!(told["code"], "INVALID_REQUEST");
        assert!(
            told["message"]
                .as_str()
                .unwrap()
                .starts_with("node.invoke does not allow")
        );
    }
    let told = error(&mut host, caller, invoke_params(&node.id, "fs.listDir"));
    assert_eq!(told["details"]["missingScope"], "operator.admin");
    let told = error(&mut host, caller, invoke_params("nobody", "system.which"));
    assert_eq!(told["code"], "UNAVAILABLE");
    assert_eq!(told["details"]["code"], "PAIRING_CHANGED");
    assert_eq!(told["retryable"], true);
    host.drop_connection(node.conn);
    let told = error(&mut host, caller, invoke_params(&node.id, "system.which"));
    assert_eq!(told["details"]["code"], "NOT_CONNECTED");
    assert_eq!(told["details"]["nodeCommandDispatched"], false);
    assert!(events(&mut host, fresh.conn, "node.invoke.request").is_empty());
    let reader = operator(&mut host, &["operator.read"]);
    let told = error(&mut host, reader, invoke_params(&node.id, "system.which"));
    assert_eq!(told["details"]["missingScope"], "operator.write");
}

#[test]
fn administrators_reach_further_and_no_further() {
    let mut host = host();
    let commands = ["fs.listDir", "system.execApprovals.get"];
    let node = approved(&mut host, &linux(1, &commands));
    let admin = operator(&mut host, ADMIN);
    let asked = start(&mut host, admin, "1", &node, "fs.listDir");
    finish(&mut host, &node, &asked, json!({}));
    assert_eq!(host.recv_response(admin)["ok"], true);
    let told = error(&mut host, admin, invoke_params(&node.id, commands[1]));
    assert_eq!(told["code"], "INVALID_REQUEST");
    // There is a method for that.
    let params = json!({ "nodeId": node.id });
    host.call(admin, "2", "exec.approvals.node.get", params);
    let asked = events(&mut host, node.conn, "node.invoke.request").remove(0);
    assert_eq!(asked["command"], commands[1]);
    assert_eq!(asked["paramsJSON"], "{}");
    let rules = json!({ "exists": true, "hash": "h" });
    finish(&mut host, &node, &asked, json!({ "payload": rules }));
    assert_eq!(host.recv_response(admin)["payload"], rules);
}

#[test]
fn nobody_brings_his_own_approval_of_a_program() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["system.run"]));
    let caller = operator(&mut host, ADMIN);
    let mut params = invoke_params(&node.id, "system.run");
    params["params"] = json!({ "command": ["ls"], "approved": true });
    let told = error(&mut host, caller, params.clone());
    assert_eq!(told["code"], "INVALID_REQUEST");
    assert!(events(&mut host, node.conn, "node.invoke.request").is_empty());
    params["params"] = json!({ "command": ["ls"], "nonsense": 1 });
    host.call(caller, "1", "node.invoke", params);
    let asked = events(&mut host, node.conn, "node.invoke.request").remove(0);
    assert_eq!(asked["paramsJSON"], r#"{"command":["ls"]}"#);
}

#[test]
fn a_node_that_is_not_ready_is_asked_again_within_the_deadline() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["system.which"]));
    let caller = operator(&mut host, WRITE);
    let not_ready = json!({ "ok": false, "error": { "code": "NODE_NOT_READY" } });
    let mut asked = start(&mut host, caller, "1", &node, "system.which");
    let mut left = 30_000;
    for pause in [100, 250, 500, 1_000] {
        assert_eq!(asked["timeoutMs"], left);
        let said = finish(&mut host, &node, &asked, not_ready.clone());
        assert_eq!(said["payload"], json!({ "ok": true }));
        host.advance(Duration::from_millis(pause - 1));
        assert!(events(&mut host, node.conn, "node.invoke.request").is_empty());
        host.advance(Duration::from_millis(1));
        let before = asked["id"].clone();
        asked = events(&mut host, node.conn, "node.invoke.request").remove(0);
        assert_ne!(asked["id"], before, "each attempt has a name of its own");
        assert_eq!(asked["idempotencyKey"], "key-1");
        left -= pause;
    }
    finish(&mut host, &node, &asked, not_ready.clone());
    let told = host.recv_response(caller)["error"].clone();
    assert_eq!(told["details"]["nodeError"]["code"], "NODE_NOT_READY");

    // No attempt begins that the deadline would cut.
    let mut params = invoke_params(&node.id, "system.which");
    params["timeoutMs"] = json!(100);
    host.call(caller, "2", "node.invoke", params);
    let asked = events(&mut host, node.conn, "node.invoke.request").remove(0);
    finish(&mut host, &node, &asked, not_ready);
    assert_eq!(host.recv_response(caller)["ok"], false);
}

#[test]
fn output_is_taken_in_parts() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["system.which"]));
    let caller = operator(&mut host, WRITE);
    let asked = start(&mut host, caller, "1", &node, "system.which");
    let mut part = |seq: u64, chunk: &str| {
        let params = json!({
            "invokeId": asked["id"],
            "nodeId": node.id,
            "seq": seq,
            "chunk": chunk,
        });
        host.ask(node.conn, "node.invoke.progress", params)
    };
    assert_eq!(
        part(1, "b")["payload"],
        json!({ "ok": true, "ignored": false })
    );
    assert_eq!(part(1, "b")["payload"]["ignored"], true);
    assert_eq!(part(0, "a")["payload"]["ignored"], false);
    let large = "x".repeat(16_385);
    assert_eq!(
        part(2, &large)["error"]["message"],
        "progress chunk too large"
    );
    // It has begun: it cannot be not ready any more.
    let not_ready = json!({ "ok": false, "error": { "code": "NODE_NOT_READY" } });
    finish(&mut host, &node, &asked, not_ready);
    assert_eq!(host.recv_response(caller)["ok"], false);
}

#[test]
fn a_node_speaks_only_for_itself() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["system.which"]));
    let other = approved(&mut host, &linux(2, &["system.which"]));
    let caller = operator(&mut host, WRITE);
    let asked = start(&mut host, caller, "1", &node, "system.which");
    let forged = json!({ "id": asked["id"], "nodeId": node.id, "ok": true });
    let answer = host.ask(other.conn, "node.invoke.result", forged);
    assert_eq!(answer["error"]["message"], "nodeId mismatch");
    let said = finish(&mut host, &other, &asked, json!({}));
    assert_eq!(said["payload"]["ignored"], true, "not its call");
    assert!(host.try_recv(caller).is_none());
}

#[test]
fn an_ios_app_in_the_background_fetches_its_calls_later() {
    let mut host = host().with_policy(|policy| {
        policy.node_commands = clawgate_core::gateway::NodeCommandPolicy::new(
            &["camera.snap"],
            &[],
            Default::default(),
        );
    });
    let mut device = linux(1, &["camera.snap", "location.get"]);
    device.client.platform = "iOS 18.4".into();
    device.client.device_family = Some("iPhone".into());
    let node = approved(&mut host, &device);
    let caller = operator(&mut host, WRITE);
    let background = json!({
        "ok": false,
        "error": { "code": "NODE_BACKGROUND_UNAVAILABLE", "message": "in the background" },
    });
    let asked = start(&mut host, caller, "1", &node, "location.get");
    finish(&mut host, &node, &asked, background.clone());
    let told = host.recv_response(caller)["error"].clone();
    assert_eq!(
        told["details"]["code"],
        Value::Null,
        "only what has to be seen waits"
    );
    let asked = start(&mut host, caller, "2", &node, "camera.snap");
    finish(&mut host, &node, &asked, background);
    let told = host.recv_response(caller)["error"].clone();
    assert_eq!(told["details"]["code"], "QUEUED_UNTIL_FOREGROUND");
    assert_eq!(told["retryable"], true);
    let pulled = host.get(node.conn, "node.pending.pull", json!({}));
    assert_eq!(pulled["nodeId"], node.id);
    let action = &pulled["actions"][0];
    assert_eq!(action["id"], told["details"]["queuedActionId"]);
    assert_eq!(action["command"], "camera.snap");
    assert_eq!(action["paramsJSON"], r#"{"bins":["sh"]}"#);
    let params = json!({ "ids": [action["id"]] });
    let left = host.get(node.conn, "node.pending.ack", params);
    assert_eq!(left["remainingCount"], 0);
}

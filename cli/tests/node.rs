//! `node run` and `nodes …` against small gateways.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout},
};

use common::{Fake, Manner, Sandbox, wrong_token};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A gateway with two nodes, one of which waits for an approval.
fn gateway(method: &str, params: &Value) -> Result<Value, Value> {
    let office = json!({
        "nodeId": "aaa111", "displayName": "Office", "platform": "linux", "connected": true,
        "approvalState": "approved", "caps": ["system"], "commands": ["device.info", "system.which"],
        "hostStats": { "memoryFreeBytes": 1_u64 << 30, "memoryTotalBytes": 2_u64 << 30,
            "loadAverage": [0.5, 0.25, 0.125] },
    });
    let garden = json!({ "nodeId": "aaa222", "displayName": "Garden", "connected": false });
    match method {
        "node.list" => Ok(json!({ "ts": 1, "nodes": [office, garden] })),
        "node.describe" => Ok(office),
        "node.pair.list" => Ok(json!({ "paired": [], "pending": [
            { "requestId": "req-1", "nodeId": "aaa222", "displayName": "Garden",
              "commands": ["lights.set"] },
        ] })),
        "node.pair.approve" => Ok(json!({ "requestId": params["requestId"], "node": garden })),
        "node.pair.reject" | "node.pair.remove" | "node.rename" => Ok(params.clone()),
        "node.invoke" if params["command"] == "fails" => Err(json!({
            "code": "UNAVAILABLE", "message": "lights are out",
            "details": { "nodeError": { "code": "COMMAND_FAILED", "message": "lights are out" } },
        })),
        "node.invoke" => Ok(json!({
            "ok": true, "nodeId": params["nodeId"], "command": params["command"],
            "payload": { "params": params["params"], "timed": params["timeoutMs"].is_u64(),
                "keyed": params["idempotencyKey"].is_string() },
        })),
        _ if method.starts_with("node.") => Ok(json!({ "ok": true })),
        _ => Err(json!({ "code": "INVALID_REQUEST", "message": "unknown method" })),
    }
}

fn nodes(args: &[&str]) -> common::Outcome {
    let fake = Fake::start(Manner::Answer(gateway));
    let url = fake.url();
    let all = [&["nodes"], args, &["--url", &url, "--token", "t"]].concat();
    Sandbox::new().run(&all)
}

#[test]
fn nodes_are_shown_to_people_and_to_programs() {
    let listed = nodes(&["list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(listed.stdout.contains("Office") && listed.stdout.contains("approved"));
    assert_eq!(
        nodes(&["list", "--json"]).json()["nodes"][1]["nodeId"],
        "aaa222"
    );
    let status = nodes(&["status"]);
    assert!(
        status.stdout.starts_with("2 known, 1 connected, 1 waiting"),
        "{status:?}"
    );
    assert!(status.stdout.contains("1.0 GiB of 2.0 GiB"), "{status:?}");
    assert_eq!(nodes(&["status", "--json"]).json()["counts"]["pending"], 1);
    let described = nodes(&["describe", "office"]);
    assert!(
        described.stdout.contains("device.info, system.which"),
        "{described:?}"
    );
    assert!(nodes(&["pending"]).stdout.contains("req-1"));
}

#[test]
fn nodes_are_named_and_what_is_unclear_is_told() {
    for (args, code) in [
        (&["approve", "req"][..], 0),
        (&["approve", "aaa222"], 0),
        (&["reject", "req-1"], 0),
        (&["rename", "garden", "Lawn"], 0),
        (&["remove", "aaa1"], 0),
        (&["describe", "aaa"], 2),
        (&["describe", "cellar"], 6),
        (&["approve", "nothing"], 6),
        (&["invoke", "aaa", "device.info"], 2),
    ] {
        let outcome = nodes(args);
        assert_eq!(outcome.code, code, "{args:?}: {outcome:?}");
    }
    let error = nodes(&["describe", "aaa", "--json"]).error();
    assert_eq!(error["code"], "ambiguous_id");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("aaa111, aaa222")
    );
}

#[test]
fn a_command_of_a_node_is_called() {
    let outcome = nodes(&[
        "invoke",
        "Office",
        "lights.set",
        "--params",
        "{on: true}",
        "--json",
    ]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let answer = outcome.json();
    assert_eq!(answer["nodeId"], "aaa111");
    assert_eq!(
        answer["payload"],
        json!({ "params": { "on": true }, "timed": true, "keyed": true })
    );
    let plain = nodes(&["invoke", "Office", "lights.set"]);
    assert_eq!(
        plain.json()["params"],
        json!({}),
        "only what the node answered"
    );
    let failed = nodes(&["invoke", "Office", "fails"]);
    assert_eq!(failed.code, 6);
    assert!(failed.stderr.contains("lights are out"), "{failed:?}");
}

/// A node that runs until it is told to end.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let all = [&["node", "run", "--json"], args].concat();
        let mut child = sandbox.command(&all).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn state(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:?}"))
    }

    fn terminate(&self) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    }

    fn end(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

#[test]
fn a_node_tells_its_states_and_ends_in_good_order() {
    let fake = Fake::start(Manner::Answer(gateway));
    let sandbox = Sandbox::with_config(
        r#"{"node":{"commands":{"lights.set":{"program":"/bin/sh","description":"Lights."}},
            "exec":{"policy":"deny"}}}"#,
    );
    let url = fake.url();
    let args = [
        "--url",
        &url,
        "--token",
        "t",
        "--command",
        "door.open=/bin/sh",
    ];
    let mut node = Running::start(&sandbox, &args);
    let connected = node.state();
    assert_eq!(connected["state"], "connected");
    let ready = node.state();
    assert_eq!(ready["state"], "ready");
    let commands = ready["commands"].to_string();
    assert!(commands.contains("lights.set") && commands.contains("door.open"));
    assert!(!commands.contains("system.run\""), "nothing may be run");
    // A second one would be the same device.
    let second = sandbox.run(&["node", "run", "--url", &url, "--json"]);
    assert_eq!(
        (second.code, &second.error()["code"]),
        (1, &json!("node_running"))
    );
    node.terminate();
    assert_eq!(node.state(), json!({ "state": "stopped" }));
    assert_eq!(node.end(), 0);
    let connect = &fake.connects()[0];
    assert_eq!(connect["role"], "node");
    assert_eq!(connect["device"]["id"], connected["nodeId"]);
    assert_eq!(connect["client"]["id"], "node-host");
}

#[test]
fn a_node_that_waits_for_its_pairing_says_how_to_approve_it() {
    let fake = Fake::start(Manner::Refuse(json!({
        "code": "NOT_PAIRED", "message": "pairing required",
        "details": { "code": "PAIRING_REQUIRED", "requestId": "r-1",
            "approveCommand": "clawgate devices approve r-1" },
    })));
    let args = ["--url", &fake.url(), "--token", "t"];
    let mut node = Running::start(&Sandbox::new(), &args);
    let waiting = node.state();
    assert_eq!(
        (&waiting["state"], &waiting["requestId"]),
        (&json!("awaiting-pairing"), &json!("r-1"))
    );
    assert!(
        waiting["next"]
            .as_str()
            .unwrap()
            .contains("clawgate devices approve r-1")
    );
    node.terminate();
    assert_eq!(node.state()["state"], "stopped");
    assert_eq!(node.end(), 0);
}

#[test]
fn a_node_that_is_not_let_in_ends() {
    let fake = Fake::start(Manner::Refuse(wrong_token()));
    let url = fake.url();
    let outcome = Sandbox::new().run(&["node", "run", "--url", &url, "--token", "t", "--json"]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert_eq!(outcome.error()["reason"], "AUTH_TOKEN_MISMATCH");
}

#[test]
fn a_node_passes_over_the_remote_gateway_in_local_mode() {
    let own = Fake::start(Manner::Answer(gateway));
    let remote = Fake::start(Manner::Answer(gateway));
    let config = json!({ "gateway": {
        "mode": "local", "port": own.port,
        "remote": { "url": remote.url(), "token": "of-the-remote-gateway" },
    } });
    let sandbox = Sandbox::with_config(&config.to_string());
    let mut node = Running::start(&sandbox, &[]);
    assert_eq!(node.state()["state"], "connected");
    node.terminate();
    let auth = own.connects()[0]["auth"].to_string();
    assert!(!auth.contains("of-the-remote-gateway"), "{auth}");
    assert!(!remote.was_visited());
    while node.state()["state"] != "stopped" {}
    assert_eq!(node.end(), 0);
}

#[test]
fn commands_that_cannot_work_are_told_of_at_the_start() {
    for (args, code) in [
        (&["--command", "lights.set"][..], 2),
        (&["--command", "lights.set=/no/such/program"], 2),
        (&["--command", "system.run=/bin/sh"], 2),
        (&["--command", "1=/bin/sh"], 2),
        (&["--exec", "full"], 2),
        (&["--url", "ws://a", "--host", "b"], 2),
    ] {
        let all = [&["node", "run"], args].concat();
        let outcome = Sandbox::new().run(&all);
        assert_eq!(outcome.code, code, "{args:?}: {outcome:?}");
    }
    let broken = Sandbox::with_config(r#"{"node":{"commands":{"lights.set":{"args":["x"]}}}}"#);
    let outcome = broken.run(&["node", "run", "--json"]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert_eq!(outcome.error()["path"], "node.commands.lights.set");
}

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test panics on what it does not expect"
)]

use serde_json::{Value, json};

use super::*;
use crate::agent::ToolCall;
use crate::agent::testing::{Rig, request, tool};

fn rig(rules: &[Value]) -> Rig<BuiltinAgent> {
    let rules = rules
        .iter()
        .map(|rule| Rule::from_value(rule).unwrap())
        .collect();
    Rig::new(BuiltinAgent::new(PerAgent::all(rules)))
}

/// The calls and the reply among outputs.
fn split(outputs: Vec<AgentOutput>) -> (Vec<ToolCall>, Option<String>) {
    let mut calls = Vec::new();
    let mut reply = None;
    for output in outputs {
        assert!(reply.is_none(), "something follows the end");
        match output {
            AgentOutput::ToolCall(call) => calls.push(call),
            AgentOutput::Done(done) => reply = Some(done.text),
            AgentOutput::Text(_) => {}
            other => panic!("{other:?}"),
        }
    }
    (calls, reply)
}

fn reply(rules: &[Value], message: &str) -> String {
    split(rig(rules).start(request(message))).1.unwrap()
}

#[test]
fn commands_are_answered_at_once() {
    for (message, parts) in [
        ("/help", &["/invoke NODE COMMAND {json}", "/nodes"][..]),
        (
            "/status",
            &["Agent main", "2 connected nodes", "3 commands", "0 rules"],
        ),
        (
            "/nodes",
            &[
                "Desk Phone (n1, linux): device.status, system.notify",
                "server (n2",
            ],
        ),
        ("/echo  a  b", &["a  b"]),
        ("/nonsense", &["no command /nonsense", "/help"]),
        ("/invoke", &["Write `/invoke NODE"]),
        ("good morning", &["\"good morning\"", "/help"]),
        (
            "/invoke nobody a.b",
            &["no connected node \"nobody\"", "Desk Phone, server"],
        ),
        (
            "/invoke server a.b",
            &["server offers no command \"a.b\"", "system.run"],
        ),
    ] {
        let reply = reply(&[], message);
        for part in parts {
            assert!(reply.contains(part), "{message}: {reply}");
        }
    }
    let mut alone = request("/nodes");
    alone.tools.clear();
    let (_, reply) = split(rig(&[]).start(alone));
    assert!(reply.unwrap().contains("clawgate node run"));
}

#[test]
fn a_long_message_is_repeated_in_part() {
    let reply = reply(&[], &"ä".repeat(10_000));
    assert!(reply.contains("ä…\"") && reply.len() < 1_000, "{reply}");
}

#[test]
fn invoke_asks_the_node_and_shows_its_result() {
    for (message, node) in [
        ("/invoke server system.run {\"command\":[\"ls\"]}", "n2"),
        ("/invoke SERVER system.run {\"command\":[\"ls\"]}", "n2"),
        ("/invoke \"desk phone\" system.notify", "n1"),
        ("/invoke n1 system.notify", "n1"),
    ] {
        let mut rig = rig(&[]);
        let (calls, reply) = split(rig.start(request(message)));
        assert_eq!((calls.len(), reply), (1, None), "{message}");
        assert_eq!(calls[0].node, node);
        let (_, reply) = split(rig.answer(&calls[0].id, r#"{"code":0}"#));
        assert_eq!(reply.unwrap(), "{\n  \"code\": 0\n}");
        assert!(rig.answer(&calls[0].id, "1").is_empty(), "a second answer");
    }
    let mut rig = rig(&[]);
    let (calls, _) = split(rig.start(request("/invoke server system.run")));
    let (_, reply) = split(rig.fail(&calls[0].id, "TIMEOUT", "no answer in 30 s."));
    assert_eq!(
        reply.unwrap(),
        "server did not do system.run: no answer in 30 s (TIMEOUT)"
    );
}

#[test]
fn two_nodes_of_one_name_are_told_apart_by_id() {
    let mut message = request("/invoke twin a.b");
    message.tools = vec![tool("t1", "twin", "a.b"), tool("t2", "Twin", "a.b")];
    let (_, reply) = split(rig(&[]).start(message));
    assert!(reply.unwrap().contains("t1, t2"));
}

#[test]
fn a_rule_asks_and_replies_by_its_template() {
    let rules = [
        json!({
            "match": "how full is {node}", "node": "{node}", "command": "device.status",
            "reply": "{node} is at {result.battery.level}.",
            "error": "No luck with {node}: {error.message} [{error.code}]",
        }),
        json!({ "match": "hello*", "reply": "Hello." }),
        json!({ "match": "*", "node": "server", "command": "system.run" }),
    ];
    assert_eq!(reply(&rules, "hello there"), "Hello.");

    let mut full = rig(&rules);
    let (calls, _) = split(full.start(request("How full is  Desk Phone")));
    assert_eq!(calls[0].command, "device.status");
    let (_, reply) = split(full.answer(&calls[0].id, r#"{"battery":{"level":0.5}}"#));
    assert_eq!(reply.unwrap(), "Desk Phone is at 0.5.");

    let mut failing = rig(&rules);
    let (calls, _) = split(failing.start(request("how full is desk phone")));
    let (_, reply) = split(failing.fail(&calls[0].id, "X", "asleep"));
    assert_eq!(reply.unwrap(), "No luck with desk phone: asleep [X]");

    let mut gone = rig(&rules);
    let (_, reply) = split(gone.start(request("how full is the fridge")));
    assert!(
        reply
            .unwrap()
            .starts_with("No luck with the fridge: There is no connected node")
    );

    let mut plain = rig(&rules);
    let (calls, _) = split(plain.start(request("anything")));
    assert_eq!(
        split(plain.answer(&calls[0].id, "null")).1.unwrap(),
        "Done."
    );
}

#[test]
fn calls_of_a_rule_run_at_once_unless_one_needs_the_other() {
    let rules = [json!({
        "match": "level {n}",
        "calls": [
            { "node": "n1", "command": "device.status", "as": "phone" },
            { "node": "server", "command": "system.run", "params": { "n": "{n:number}" } },
            { "node": "n1", "command": "system.notify", "params": { "body": "{phone.level}" } },
        ],
        "reply": "{phone.level} {result2} {result3.ok}",
    })];
    let mut one = rig(&rules);
    let (calls, _) = split(one.start(request("level 7")));
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].params.as_str(), r#"{"n":7}"#);
    assert!(one.answer(&calls[1].id, "\"ran\"").is_empty());
    let (last, _) = split(one.answer(&calls[0].id, r#"{"level":3}"#));
    assert_eq!(last[0].params.as_str(), r#"{"body":"3"}"#);
    let (_, reply) = split(one.answer(&last[0].id, r#"{"ok":true}"#));
    assert_eq!(reply.unwrap(), "3 ran true");

    let mut failing = rig(&rules);
    let (calls, _) = split(failing.start(request("level 7")));
    assert!(
        failing.fail(&calls[0].id, "X", "asleep").is_empty(),
        "one is still under way"
    );
    let (more, reply) = split(failing.answer(&calls[1].id, "1"));
    assert!(more.is_empty(), "nothing starts after a failure");
    assert_eq!(
        reply.unwrap(),
        "Desk Phone did not do device.status: asleep (X)"
    );

    let mut words = rig(&rules);
    let (calls, _) = split(words.start(request("level high")));
    let (_, reply) = split(words.answer(&calls[0].id, "{}"));
    assert_eq!(reply.unwrap(), "n has to be a number.");
}

#[test]
fn a_run_ends_by_a_cancel_or_its_deadline_and_hears_nothing_after() {
    let mut cancelled = rig(&[]);
    let (calls, _) = split(cancelled.start(request("/invoke server system.run")));
    assert!(cancelled.give(AgentInput::Cancel).is_empty());
    assert!(cancelled.answer(&calls[0].id, "1").is_empty());
    assert_eq!(cancelled.agent.poll_timeout(), None);

    let mut late = rig(&[]);
    let (calls, _) = split(late.start(request("/invoke server system.run")));
    assert_eq!(late.wait().as_secs(), 600);
    assert!(matches!(
        late.outputs().as_slice(),
        [AgentOutput::Failed(failed)] if failed.kind == FailureKind::Timeout
    ));
    assert!(late.answer(&calls[0].id, "1").is_empty());
}

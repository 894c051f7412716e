//! The machine against a host that does what it is told, step by step.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    node::{
        ApprovalsText, Captured, CommandName, CustomCommand, ExecPolicy, Found, Looked,
        MachineSample, Memory, RunEnd, RunSpec, Written,
    },
    protocol::RpcCode,
    secret::Secret,
    time::WallTime,
};

const NODE: &str = "node-1";
const MIB: usize = 1024 * 1024;

fn start() -> Now {
    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    let mono = Instant::now();
    Now {
        mono,
        wall: WallTime(1_737_264_000_000),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A node with the command `lights.set`, connected; its first words are passed over.
struct Bench {
    node: NodeHost,
    now: Now,
    approvals: ApprovalsText,
}

impl Bench {
    fn new(exec: ExecPolicy) -> Self {
        let mut commands = NodeCommands {
            exec,
            ..NodeCommands::default()
        };
        let name = CommandName::parse("lights.set").unwrap();
        let command = CustomCommand {
            description: Some("Sets the lights.".into()),
            timeout: Some(seconds(20)),
            ..CustomCommand::new("/opt/lights".into())
        };
        commands.custom.insert(name, command);
        let mut bench = Self {
            node: NodeHost::new(NodeOptions {
                node_id: NODE.into(),
                commands,
                approvals_path: "/state/exec-approvals.json".into(),
                limits: NodeLimits {
                    max_running: 4,
                    ..NodeLimits::default()
                },
                ..NodeOptions::default()
            }),
            now: start(),
            approvals: ApprovalsText::Missing,
        };
        bench.connect();
        bench
    }

    fn connect(&mut self) {
        self.node.handle_connected(self.now, 25 * MIB);
        while let Some(work) = self.node.poll_work() {
            assert!(matches!(work, NodeWork::Sample(_)), "{work:?}");
        }
        while self.node.poll_call().is_some() {}
    }

    fn invoke(&mut self, id: &str, command: &str, params: &Value, more: Value) {
        let mut payload = json!({
            "id": id, "nodeId": NODE, "command": command, "paramsJSON": params.to_string(),
        });
        for (name, value) in more.as_object().unwrap() {
            payload[name] = value.clone();
        }
        let payload = RawJson::encode(&payload).unwrap();
        self.node
            .handle_event(self.now, "node.invoke.request", &payload);
    }

    fn cancel(&mut self, id: &str) {
        let payload = RawJson::encode(&json!({ "invokeId": id, "nodeId": NODE })).unwrap();
        self.node
            .handle_event(self.now, "node.invoke.cancel", &payload);
    }

    /// Looks up what is asked for: every program is in `/usr/bin`, but `nowhere`.
    fn look(&mut self) {
        let Some(NodeWork::Look(job, look)) = self.node.poll_work() else {
            panic!("no look");
        };
        let find = |name: &String| {
            let path = if name.starts_with('/') {
                name.clone()
            } else {
                format!("/usr/bin/{name}")
            };
            (name != "nowhere").then(|| Found {
                real: path.clone(),
                path,
            })
        };
        let looked = Looked {
            programs: look.programs.iter().map(find).collect(),
            folder: Ok(look.folder.unwrap_or_else(|| "/home".into())),
            approvals: self.approvals.clone(),
        };
        let outcome = NodeOutcome::Looked(looked);
        self.node.handle_outcome(self.now, job, outcome);
    }

    fn started(&mut self) -> (JobId, RunSpec) {
        match self.node.poll_work() {
            Some(NodeWork::Run(job, spec)) => (job, spec),
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, outcome: Written) {
        let Some(NodeWork::WriteApprovals { job, before, after }) = self.node.poll_work() else {
            panic!("no write");
        };
        assert_eq!(before, self.approvals);
        if outcome == Written::Done {
            self.approvals = ApprovalsText::Text(after);
        }
        let outcome = NodeOutcome::Wrote(outcome);
        self.node.handle_outcome(self.now, job, outcome);
    }

    fn end(&mut self, job: JobId, code: Option<i32>, stdout: &str) {
        let end = RunEnd {
            code,
            stdout: Captured {
                bytes: Bytes::from(stdout.to_owned()),
                truncated: false,
            },
            stderr: Captured {
                bytes: Bytes::from_static(b"careful"),
                truncated: false,
            },
        };
        let outcome = NodeOutcome::Ran(end);
        self.node.handle_outcome(self.now, job, outcome);
    }

    fn killed(&mut self) -> JobId {
        match self.node.poll_work() {
            Some(NodeWork::Kill(job)) => job,
            other => panic!("{other:?}"),
        }
    }

    /// The next call: `node.invoke.result`, or an event with its payload.
    fn call(&mut self) -> Value {
        let call = self.node.poll_call().expect("a call");
        let params: Value = call.params.parse().unwrap();
        match call.method {
            "node.invoke.result" => params,
            "node.event" => {
                let payload = params["payloadJSON"].as_str().unwrap();
                json!({ "event": params["event"],
                    "payload": serde_json::from_str::<Value>(payload).unwrap() })
            }
            other => panic!("{other}"),
        }
    }

    /// The payload of the next answer.
    fn payload(&mut self) -> Value {
        let answer = self.call();
        assert_eq!(answer["ok"], true, "{answer}");
        serde_json::from_str(answer["payloadJSON"].as_str().unwrap()).unwrap()
    }

    fn error(&mut self) -> (String, String) {
        let answer = self.call();
        assert_eq!(answer["ok"], false, "{answer}");
        let text = |name: &str| answer["error"][name].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.node.handle_timeout(self.now);
    }

    fn is_quiet(&mut self) -> bool {
        self.node.poll_work().is_none() && self.node.poll_call().is_none()
    }
}

fn run(words: &[&str]) -> Value {
    json!({ "command": words })
}

fn allow(pattern: &str) -> ApprovalsText {
    let text = json!({ "version": 1, "agents": { "main": { "allowlist": [pattern] } } });
    ApprovalsText::Text(Secret::new(text.to_string()))
}

#[test]
fn a_program_that_is_allowed_runs_and_its_end_is_told() {
    let mut bench = Bench::new(ExecPolicy::Allowlist);
    bench.approvals = allow("/usr/bin/git");
    bench.invoke(
        "1",
        "system.run",
        &run(&["git", "status", "a b"]),
        json!({}),
    );
    bench.look();
    let (job, spec) = bench.started();
    assert_eq!(spec.program.to_str(), Some("/usr/bin/git"));
    assert_eq!(
        spec.args,
        ["status", "a b"],
        "no shell takes the words apart"
    );
    bench.end(job, Some(0), "clean");
    let event = bench.call();
    assert_eq!(event["event"], "exec.finished");
    assert_eq!(event["payload"]["output"], "clean\ncareful");
    assert_eq!(event["payload"]["command"], "git status \"a b\"");
    let payload = bench.payload();
    assert_eq!(
        payload,
        json!({ "exitCode": 0, "timedOut": false, "success": true, "stdout": "clean",
            "stderr": "careful", "error": null })
    );
    assert!(bench.node.is_idle() && bench.is_quiet());
}

#[test]
fn what_may_not_run_is_refused_and_told() {
    for (policy, words, reason, message) in [
        (
            ExecPolicy::Ask,
            vec!["rm", "-r", "/"],
            "approval-required",
            "SYSTEM_RUN_DENIED: approval required",
        ),
        (
            ExecPolicy::Allowlist,
            vec!["sh", "-c", "git status"],
            "allowlist-miss",
            "SYSTEM_RUN_DENIED: allowlist miss",
        ),
        (
            ExecPolicy::Ask,
            vec!["nowhere"],
            "approval-required",
            "SYSTEM_RUN_DENIED: approval required",
        ),
    ] {
        let mut bench = Bench::new(policy);
        bench.approvals = allow("/usr/bin/git");
        bench.invoke("1", "system.run", &run(&words), json!({}));
        bench.look();
        let event = bench.call();
        assert_eq!(event["event"], "exec.denied");
        assert_eq!(event["payload"]["reason"], reason);
        let (code, words) = bench.error();
        assert_eq!(
            (code.as_str(), words.as_str()),
            ("SYSTEM_RUN_DENIED", message)
        );
        assert!(bench.node.is_idle() && bench.is_quiet());
    }
}

#[test]
fn a_node_that_denies_does_not_offer_to_run() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    assert!(
        !bench
            .node
            .options()
            .commands
            .names()
            .contains(&"system.run".to_owned())
    );
    bench.invoke("1", "system.run", &run(&["ls"]), json!({}));
    assert_eq!(bench.error().1, "command not supported");
}

/// The parameters of a run that somebody approved, made from what `system.run.prepare` gave.
fn approved(prepared: &Value, decision: &str) -> Value {
    let plan = &prepared["plan"];
    json!({
        "command": plan["argv"], "cwd": plan["cwd"], "approved": true,
        "approvalDecision": decision, "systemRunPlan": plan,
    })
}

#[test]
fn an_approval_for_always_is_kept_before_anything_runs() {
    let mut bench = Bench::new(ExecPolicy::Ask);
    bench.invoke("1", "system.run.prepare", &run(&["touch", "x"]), json!({}));
    bench.look();
    let prepared = bench.payload();
    assert_eq!(prepared["plan"]["argv"], json!(["/usr/bin/touch", "x"]));
    assert_eq!(
        prepared["execPolicy"],
        json!({ "security": "allowlist", "ask": "on-miss" })
    );
    bench.invoke(
        "2",
        "system.run",
        &approved(&prepared, "allow-always"),
        json!({}),
    );
    bench.look();
    bench.write(Written::Done);
    let (job, _) = bench.started();
    bench.end(job, Some(0), "");
    bench.call();
    bench.payload();
    // From now on it runs without a question, with other arguments too.
    bench.invoke("3", "system.run", &run(&["touch", "y"]), json!({}));
    bench.look();
    bench.started();
}

#[test]
fn an_approval_that_cannot_be_kept_runs_nothing() {
    let mut bench = Bench::new(ExecPolicy::Ask);
    bench.invoke("1", "system.run.prepare", &run(&["touch", "x"]), json!({}));
    bench.look();
    let prepared = bench.payload();
    bench.invoke(
        "2",
        "system.run",
        &approved(&prepared, "allow-always"),
        json!({}),
    );
    bench.look();
    bench.write(Written::Failed("disk full".into()));
    assert_eq!(
        bench.call()["payload"]["reason"],
        "approval-state-write-failed"
    );
    assert_eq!(bench.error().0, "SYSTEM_RUN_DENIED");
    assert!(bench.node.is_idle());
}

#[test]
fn an_approval_is_worthless_once_the_rules_have_changed() {
    let mut bench = Bench::new(ExecPolicy::Ask);
    bench.invoke("1", "system.run.prepare", &run(&["touch", "x"]), json!({}));
    bench.look();
    let prepared = bench.payload();
    let stricter = r#"{"version":1,"defaults":{"ask":"always"}}"#;
    bench.approvals = ApprovalsText::Text(Secret::new(stricter));
    bench.invoke(
        "2",
        "system.run",
        &approved(&prepared, "allow-once"),
        json!({}),
    );
    bench.look();
    assert_eq!(bench.call()["event"], "exec.denied");
    assert!(bench.error().1.contains("policy changed"));
}

#[test]
fn the_file_of_approvals_is_replaced_only_as_it_was_read() {
    let mut bench = Bench::new(ExecPolicy::Ask);
    let file = json!({ "version": 1, "agents": { "main": { "allowlist": [] } } });
    bench.invoke(
        "1",
        "system.execApprovals.set",
        &json!({ "file": file }),
        json!({}),
    );
    bench.look();
    bench.write(Written::Done);
    let first = bench.payload();
    assert_eq!(first["exists"], true);
    bench.invoke("2", "system.execApprovals.get", &json!({}), json!({}));
    bench.look();
    assert_eq!(bench.payload()["hash"], first["hash"]);
    // Without the state that was read, and with another one.
    for base in [json!(null), json!("other")] {
        let params = json!({ "file": file, "baseHash": base });
        bench.invoke("3", "system.execApprovals.set", &params, json!({}));
        bench.look();
        assert_eq!(bench.error().0, "INVALID_REQUEST");
    }
    let params = json!({ "file": file, "baseHash": first["hash"] });
    bench.invoke("4", "system.execApprovals.set", &params, json!({}));
    bench.look();
    bench.write(Written::Changed);
    assert!(bench.error().1.contains("changed"));
}

#[test]
fn a_command_gets_json_and_gives_json() {
    for (code, stdout, expected) in [
        (Some(0), " {\"on\":true}\n", Ok(json!({ "on": true }))),
        (Some(0), "null", Ok(json!(null))),
        (Some(0), "done", Err("COMMAND_OUTPUT_INVALID")),
        (Some(0), "", Err("COMMAND_OUTPUT_INVALID")),
        (Some(0), "{} {}", Err("COMMAND_OUTPUT_INVALID")),
        (Some(3), "{}", Err("COMMAND_FAILED")),
        (None, "{}", Err("COMMAND_FAILED")),
    ] {
        let mut bench = Bench::new(ExecPolicy::Deny);
        bench.invoke("1", "lights.set", &json!({ "on": true }), json!({}));
        let (job, spec) = bench.started();
        assert_eq!(spec.stdin, Bytes::from_static(b"{\"on\":true}"));
        bench.end(job, code, stdout);
        match expected {
            Ok(payload) => assert_eq!(bench.payload(), payload),
            Err(expected) => {
                let (code, message) = bench.error();
                assert_eq!(code, expected, "{stdout}");
                let names_the_error = message.contains("careful");
                assert_eq!(names_the_error, code == "COMMAND_FAILED", "{message}");
            }
        }
    }
}

#[test]
fn a_repeated_request_is_answered_again_and_not_carried_out_again() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    let key = || json!({ "idempotencyKey": "k" });
    bench.invoke("1", "lights.set", &json!({ "on": true }), key());
    let (job, _) = bench.started();
    // While it runs, the second one waits for the same end.
    bench.invoke("2", "lights.set", &json!({ "on": true }), key());
    assert!(bench.is_quiet());
    bench.end(job, Some(0), "{\"n\":1}");
    for id in ["1", "2"] {
        let answer = bench.call();
        assert_eq!((&answer["id"], &answer["ok"]), (&json!(id), &json!(true)));
    }
    // Afterwards, and over another connection, the answer is known.
    bench.node.handle_disconnected(bench.now);
    bench.connect();
    bench.invoke("3", "lights.set", &json!({ "on": true }), key());
    assert_eq!(bench.payload(), json!({ "n": 1 }));
    // Another request under the same key is a mistake.
    bench.invoke("4", "lights.set", &json!({ "on": false }), key());
    assert_eq!(bench.error().0, "INVALID_REQUEST");
    // After a while the key is forgotten.
    bench.pass(seconds(301));
    while bench.node.poll_work().is_some() || bench.node.poll_call().is_some() {}
    bench.invoke("5", "lights.set", &json!({ "on": true }), key());
    bench.started();
}

#[test]
fn a_refusal_is_not_kept_so_that_an_approval_helps() {
    let mut bench = Bench::new(ExecPolicy::Ask);
    let key = || json!({ "idempotencyKey": "k" });
    bench.invoke("1", "system.run", &run(&["ls"]), key());
    bench.look();
    bench.call();
    bench.error();
    bench.approvals = allow("ls");
    bench.invoke("2", "system.run", &run(&["ls"]), key());
    bench.look();
    bench.started();
}

#[test]
fn a_program_is_ended_when_its_time_is_over() {
    for (command, params, more, after) in [
        (
            "lights.set",
            json!({}),
            json!({ "timeoutMs": 5000 }),
            seconds(5),
        ),
        (
            "lights.set",
            json!({}),
            json!({ "timeoutMs": 0 }),
            seconds(20),
        ),
        (
            "system.run",
            json!({ "command": ["ls"], "timeoutMs": 2000 }),
            json!({}),
            seconds(2),
        ),
    ] {
        let mut bench = Bench::new(ExecPolicy::Allowlist);
        bench.approvals = allow("ls");
        bench.invoke("1", command, &params, more);
        if command == "system.run" {
            bench.look();
        }
        let (job, _) = bench.started();
        assert!(bench.node.poll_timeout().unwrap() <= bench.now.mono + after);
        bench.pass(after);
        assert_eq!(bench.killed(), job);
        // A second deadline does not end it twice.
        bench.pass(seconds(1));
        bench.end(job, None, "so far");
        if command == "system.run" {
            bench.call();
            let payload = bench.payload();
            assert_eq!(
                (&payload["timedOut"], &payload["stdout"]),
                (&json!(true), &json!("so far"))
            );
        } else {
            assert_eq!(bench.error().0, "TIMEOUT");
        }
    }
}

#[test]
fn the_answer_leaves_before_the_gateway_gives_up() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    bench.invoke("1", "lights.set", &json!({}), json!({ "timeoutMs": 1000 }));
    bench.started();
    let deadline = bench.node.poll_timeout().unwrap();
    assert!(deadline < bench.now.mono + seconds(1));
}

#[test]
fn time_can_run_out_before_anything_ran() {
    let mut bench = Bench::new(ExecPolicy::Ask);
    bench.invoke(
        "1",
        "system.run",
        &run(&["ls"]),
        json!({ "timeoutMs": 100 }),
    );
    let Some(NodeWork::Look(job, _)) = bench.node.poll_work() else {
        panic!()
    };
    bench.pass(seconds(1));
    assert_eq!(bench.error().0, "TIMEOUT");
    // What comes late starts nothing.
    let looked = Looked {
        programs: vec![],
        folder: Ok("/".into()),
        approvals: ApprovalsText::Missing,
    };
    let outcome = NodeOutcome::Looked(looked);
    bench.node.handle_outcome(bench.now, job, outcome);
    assert!(bench.is_quiet() && bench.node.is_idle());
}

#[test]
fn a_cancel_ends_the_program_and_nothing_is_answered() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    bench.invoke(
        "1",
        "lights.set",
        &json!({}),
        json!({ "idempotencyKey": "k" }),
    );
    let (job, _) = bench.started();
    bench.invoke(
        "2",
        "lights.set",
        &json!({}),
        json!({ "idempotencyKey": "k" }),
    );
    bench.cancel("1");
    assert!(bench.is_quiet(), "somebody still waits");
    bench.cancel("2");
    assert_eq!(bench.killed(), job);
    bench.cancel("2");
    bench.cancel("never was");
    bench.end(job, None, "");
    assert!(bench.is_quiet() && bench.node.is_idle());
    // It ran, so a repeated request must not run it again.
    bench.invoke(
        "3",
        "lights.set",
        &json!({}),
        json!({ "idempotencyKey": "k" }),
    );
    assert_eq!(bench.error().0, "CANCELLED");
}

#[test]
fn a_program_with_a_key_outlives_its_connection() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    bench.invoke(
        "1",
        "lights.set",
        &json!({}),
        json!({ "idempotencyKey": "k" }),
    );
    bench.invoke("2", "lights.set", &json!({}), json!({}));
    let (keyed, _) = bench.started();
    let (other, _) = bench.started();
    bench.node.handle_disconnected(bench.now);
    assert_eq!(bench.killed(), other);
    bench.end(other, None, "");
    bench.connect();
    bench.invoke(
        "3",
        "lights.set",
        &json!({}),
        json!({ "idempotencyKey": "k" }),
    );
    bench.end(keyed, Some(0), "7");
    let answer = bench.call();
    assert_eq!((&answer["id"], &answer["ok"]), (&json!("3"), &json!(true)));
    assert!(
        bench.is_quiet(),
        "the first request is of another connection"
    );
}

#[test]
fn more_than_the_limit_is_told_to_come_again() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    for id in ["1", "2", "3", "4"] {
        bench.invoke(id, "lights.set", &json!({}), json!({}));
        bench.started();
    }
    bench.invoke("5", "lights.set", &json!({}), json!({}));
    assert_eq!(bench.error().0, "NODE_NOT_READY");
}

#[test]
fn a_result_that_is_too_long_is_not_sent() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    bench.invoke("1", "lights.set", &json!({}), json!({}));
    let (job, _) = bench.started();
    // Within what is read, and too long once it is quoted.
    let long = format!("\"{}\"", "\\\\".repeat(3 * MIB / 2));
    bench.end(job, Some(0), &long);
    assert_eq!(bench.error().0, "RESULT_TOO_LARGE");
}

#[test]
fn requests_of_others_and_the_same_request_twice_are_passed_over() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    bench.invoke("1", "lights.set", &json!({}), json!({ "nodeId": "other" }));
    assert!(bench.is_quiet());
    bench.invoke("1", "lights.set", &json!({}), json!({}));
    bench.started();
    bench.invoke("1", "lights.set", &json!({}), json!({}));
    assert!(bench.is_quiet());
}

#[test]
fn a_node_tells_of_itself_until_it_is_approved() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    bench.node.handle_disconnected(bench.now);
    bench.node.handle_connected(bench.now, 25 * MIB);
    let calls: Vec<NodeCall> = std::iter::from_fn(|| bench.node.poll_call()).collect();
    let methods: Vec<&str> = calls.iter().map(|call| call.method).collect();
    assert_eq!(
        methods,
        ["node.runnerInventory.update", "node.pluginTools.update"]
    );
    let tools: Value = calls[1].params.parse().unwrap();
    assert_eq!(tools["tools"][0]["command"], "lights.set");
    let waits = RpcError::new(
        RpcCode::Unavailable,
        "node capability surface is awaiting operator approval; run `openclaw nodes approve r-1`",
    );
    bench
        .node
        .handle_answer(bench.now, calls[0].id, Err(&waits));
    bench.node.handle_answer(bench.now, calls[1].id, Ok(()));
    let notice = bench.node.poll_notice();
    assert_eq!(notice, Some(HostNotice::AwaitsApproval(Some("r-1".into()))));
    assert!(bench.node.poll_call().is_none());
    let resolved = RawJson::checked(r#"{"decision":"approved"}"#).unwrap();
    let now = bench.now;
    bench
        .node
        .handle_event(now, "node.pair.resolved", &resolved);
    let again = bench.node.poll_call().unwrap();
    assert_eq!(again.method, "node.runnerInventory.update");
    bench.node.handle_answer(now, again.id, Ok(()));
    assert_eq!(bench.node.poll_notice(), Some(HostNotice::Approved));
}

#[test]
fn figures_are_told_every_minute() {
    let mut bench = Bench::new(ExecPolicy::Deny);
    bench.node.handle_disconnected(bench.now);
    bench.node.handle_connected(bench.now, 25 * MIB);
    while bench.node.poll_call().is_some() {}
    let sample = MachineSample {
        processors: 2,
        memory: Some(Memory { total: 2, free: 1 }),
        ..MachineSample::default()
    };
    for _ in 0..2 {
        let Some(NodeWork::Sample(job)) = bench.node.poll_work() else {
            panic!("no sample");
        };
        let outcome = NodeOutcome::Sampled(Box::new(sample));
        bench.node.handle_outcome(bench.now, job, outcome);
        assert_eq!(bench.call()["event"], "node.host.stats");
        assert!(bench.is_quiet());
        bench.pass(seconds(60));
        while bench.node.poll_call().is_some() {}
    }
}

/// What happens to a node, in any order.
#[derive(Clone, Debug)]
enum Step {
    Invoke { id: u8, key: Option<u8>, run: bool },
    Cancel(u8),
    Look,
    End(bool),
    Wait(u16),
    Drop,
    Connect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), prop::option::of(0..3_u8), any::<bool>())
            .prop_map(|(id, key, run)| Step::Invoke { id, key, run }),
        1 => any::<u8>().prop_map(Step::Cancel),
        3 => Just(Step::Look),
        3 => any::<bool>().prop_map(Step::End),
        1 => (0..40_000_u16).prop_map(Step::Wait),
        1 => Just(Step::Drop),
        1 => Just(Step::Connect),
    ]
}

proptest! {
    /// No program runs twice under one key, none runs that the rules do not cover, no request is
    /// answered twice, and what is killed was running.
    #[test]
    fn whatever_happens_nothing_runs_twice_or_unasked(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut bench = Bench::new(ExecPolicy::Allowlist);
        bench.approvals = allow("/usr/bin/git");
        let begun = bench.now.mono;
        let mut looks = VecDeque::new();
        let mut running: Vec<JobId> = Vec::new();
        let mut keys_run: BTreeMap<String, u32> = BTreeMap::new();
        let mut answered: BTreeMap<(u64, String), u32> = BTreeMap::new();
        let (mut connection, mut up, mut asked) = (0_u64, true, 0_u64);
        for step in steps {
            match step {
                Step::Invoke { id, key, run } => {
                    asked += 1;
                    let id = format!("{id}-{asked}");
                    let more = key.map_or_else(|| json!({}),
                        |key| json!({ "idempotencyKey": format!("k{key}-{run}") }));
                    // The environment carries the key to where the program starts.
                    let program = if run { "git" } else { "rm" };
                    let name = more.get("idempotencyKey").cloned().unwrap_or_default();
                    let params = json!({ "command": [program], "env": { "K": name.as_str().unwrap_or("") } });
                    bench.invoke(&id, "system.run", &params, more);
                }
                Step::Cancel(id) => {
                    let known = (1..=asked).map(|at| format!("{id}-{at}"));
                    for id in known {
                        bench.cancel(&id);
                    }
                }
                Step::Look => if let Some((job, look)) = looks.pop_front() {
                    let look: super::super::Look = look;
                    let find = |name: &String| Some(Found {
                        path: format!("/usr/bin/{name}"), real: format!("/usr/bin/{name}"),
                    });
                    let looked = Looked {
                        programs: look.programs.iter().map(find).collect(),
                        folder: Ok("/".into()),
                        approvals: bench.approvals.clone(),
                    };
                    bench.node.handle_outcome(bench.now, job, NodeOutcome::Looked(looked));
                },
                Step::End(well) => if !running.is_empty() {
                    let job = running.remove(0);
                    bench.end(job, well.then_some(0), "x");
                },
                Step::Wait(millis) => bench.pass(Duration::from_millis(millis.into())),
                Step::Drop => { bench.node.handle_disconnected(bench.now); up = false; }
                Step::Connect => if !up {
                    bench.node.handle_connected(bench.now, 25 * MIB);
                    connection += 1;
                    up = true;
                },
            }
            while let Some(work) = bench.node.poll_work() {
                match work {
                    NodeWork::Look(job, look) => looks.push_back((job, look)),
                    NodeWork::Run(job, spec) => {
                        prop_assert_eq!(spec.program.to_str(), Some("/usr/bin/git"));
                        let key = spec.env["K"].clone();
                        if !key.is_empty() {
                            *keys_run.entry(key).or_default() += 1;
                        }
                        running.push(job);
                    }
                    NodeWork::Kill(job) => prop_assert!(running.contains(&job)),
                    NodeWork::Sample(_) => {}
                    NodeWork::WriteApprovals { .. } => prop_assert!(false, "nothing is approved"),
                }
            }
            while let Some(call) = bench.node.poll_call() {
                prop_assert!(up);
                if call.method == "node.invoke.result" {
                    let params: Value = call.params.parse().unwrap();
                    let id = params["id"].as_str().unwrap().to_owned();
                    *answered.entry((connection, id)).or_default() += 1;
                }
            }
        }
        prop_assert!(answered.values().all(|times| *times == 1));
        // Afterwards the answers are forgotten.
        if bench.now.mono - begun < seconds(300) {
            prop_assert!(keys_run.values().all(|times| *times == 1), "{:?}", keys_run);
        }
        bench.node.stop();
        for job in running {
            bench.end(job, None, "");
        }
        prop_assert!(bench.node.is_idle());
    }
}

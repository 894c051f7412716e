//! Approvals, as those who ask and those who decide meet them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::{collections::VecDeque, time::Duration};

use clawgate_core::{
    gateway::{Effect, EffectOutcome, EffectRequest},
    ids::ConnId,
    node::ApprovalsText,
    secret::Secret,
    store::StoreFailure,
};
use common::{Host, connect_params, token_rule};
use proptest::prelude::*;
use serde_json::{Value, json};

const TOKEN: &str = "hunter2";
const APPROVALS: &[&str] = &["operator.approvals"];

fn host() -> Host {
    Host::new(token_rule(TOKEN))
}

/// A program that shows approvals to a person.
fn reviewer(host: &mut Host) -> ConnId {
    let conn = host.open();
    host.recv(conn);
    let mut params = connect_params(TOKEN, APPROVALS);
    params["caps"] = json!(["exec-approvals"]);
    host.call(conn, "1", "connect", params);
    assert_eq!(host.recv(conn)["ok"], true);
    conn
}

fn asker(host: &mut Host) -> ConnId {
    host.connect(TOKEN, APPROVALS)
}

fn ask(host: &mut Host, conn: ConnId, call: &str, params: Value) {
    host.call(conn, call, "exec.approval.request", params);
}

fn twice(command: &str) -> Value {
    json!({ "command": command, "twoPhase": true })
}

/// The next frame that is not an event of another kind.
fn next(host: &mut Host, conn: ConnId) -> Value {
    loop {
        let frame = host.recv(conn);
        let noise = ["health", "presence", "tick"];
        if !noise.iter().any(|name| frame["event"] == *name) {
            return frame;
        }
    }
}

fn pending(host: &mut Host, conn: ConnId) -> Vec<String> {
    host.get(conn, "exec.approval.list", json!({}))
        .as_array()
        .unwrap()
        .iter()
        .map(|approval| approval["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_question_is_accepted_shown_decided_and_answered_on_one_id() {
    let mut host = host();
    let (reviewer, asker) = (reviewer(&mut host), asker(&mut host));
    ask(&mut host, asker, "q", twice("rm -rf build"));
    // It holds the scope, so it sees its own question too.
    let mut frames = [next(&mut host, asker), next(&mut host, asker)];
    frames.sort_by_key(|frame| frame["type"] == "event");
    let accepted = &frames[0];
    assert_eq!(accepted["id"], "q");
    assert_eq!(accepted["payload"]["status"], "accepted");
    assert_eq!(accepted["payload"]["deliveryRoute"], "approval-client");
    let id = accepted["payload"]["id"].as_str().unwrap().to_owned();
    let created = accepted["payload"]["createdAtMs"].as_u64().unwrap();
    assert_eq!(accepted["payload"]["expiresAtMs"], created + 1_800_000);

    let requested = next(&mut host, reviewer);
    assert_eq!(requested["event"], "exec.approval.requested");
    assert_eq!(requested["payload"]["id"], id);
    assert_eq!(requested["payload"]["request"]["command"], "rm -rf build");
    let shown = host.get(reviewer, "exec.approval.get", json!({ "id": id }));
    assert_eq!(shown["commandText"], "rm -rf build");
    assert_eq!(
        shown["allowedDecisions"],
        json!(["allow-once", "allow-always", "deny"])
    );
    assert_eq!(pending(&mut host, reviewer), [id.as_str()]);
    let one = host.get(reviewer, "approval.get", json!({ "id": id }));
    assert_eq!(one["approval"]["status"], "pending");

    // The beginning of an id is enough where it is one's own.
    let decide = json!({ "id": id[..8], "decision": "allow-once" });
    let answer = host.get(reviewer, "exec.approval.resolve", decide.clone());
    assert_eq!(answer, json!({ "ok": true }));
    let resolved = host.recv(asker);
    assert_eq!(resolved["event"], "exec.approval.resolved");
    assert_eq!(resolved["payload"]["decision"], "allow-once");
    let decision = host.recv(asker);
    assert_eq!(
        (&decision["id"], &decision["ok"]),
        (&json!("q"), &json!(true))
    );
    assert_eq!(decision["payload"]["decision"], "allow-once");
    assert_eq!(decision["payload"]["id"], id);
    assert!(host.try_recv(asker).is_none());

    // The same again is fine, another is not, and nothing waits any more.
    assert_eq!(host.get(reviewer, "exec.approval.resolve", decide), answer);
    let other = host.ask(
        reviewer,
        "exec.approval.resolve",
        json!({ "id": id, "decision": "deny" }),
    );
    assert_eq!(
        other["error"]["details"]["reason"],
        "APPROVAL_ALREADY_RESOLVED"
    );
    let unknown = host.ask(
        reviewer,
        "exec.approval.resolve",
        json!({ "id": "nobody-asked-this", "decision": "deny" }),
    );
    assert_eq!(unknown["error"]["details"]["reason"], "APPROVAL_NOT_FOUND");
    assert!(pending(&mut host, reviewer).is_empty());
    let waited = host.get(asker, "exec.approval.waitDecision", json!({ "id": id }));
    assert_eq!(waited["decision"], "allow-once");
    let one = host.get(reviewer, "approval.get", json!({ "id": id }));
    assert_eq!(one["approval"]["status"], "allowed");
    assert_eq!(one["approval"]["reason"], "user");
}

#[test]
fn without_a_reviewer_it_ends_at_once_unless_the_asker_can_wait() {
    let mut host = host();
    let asker = asker(&mut host);
    // Another holder of the scope that shows nothing to anybody is no reviewer.
    host.connect(TOKEN, APPROVALS);
    ask(&mut host, asker, "q", twice("ls"));
    let answer = host.recv_response(asker);
    assert_eq!(answer["payload"]["decision"], json!(null));
    assert_eq!(answer["payload"]["terminalReason"], "no-route");
    assert_eq!(answer["payload"]["resolvedBy"], "no-approval-route");
    let history = host.get(asker, "approval.history", json!({}));
    assert_eq!(history["items"][0]["status"], "denied");
    assert_eq!(history["items"][0]["reason"], "no-route");

    let params = json!({"command": "ls", "twoPhase": true, "requireDeliveryRoute": false});
    ask(&mut host, asker, "q", params);
    assert_eq!(
        host.recv_response(asker)["payload"]["deliveryRoute"],
        "none"
    );
    assert_eq!(pending(&mut host, asker).len(), 1);
}

#[test]
fn its_time_runs_out() {
    let mut host = host();
    let (_reviewer, asker) = (reviewer(&mut host), asker(&mut host));
    ask(
        &mut host,
        asker,
        "q",
        json!({"command": "ls", "timeoutMs": 5_000}),
    );
    host.advance(Duration::from_millis(4_999));
    let id = pending(&mut host, asker).remove(0);
    host.call(
        asker,
        "w",
        "exec.approval.waitDecision",
        json!({ "id": id }),
    );
    host.advance(Duration::from_millis(1));
    for call in ["q", "w"] {
        let answer = host.recv_response(asker);
        assert_eq!(answer["id"], call);
        assert_eq!(answer["payload"]["decision"], json!(null));
        assert_eq!(answer["payload"]["terminalReason"], "timeout");
    }
    let late = json!({ "id": id, "decision": "allow-once" });
    let late = host.ask(asker, "exec.approval.resolve", late);
    assert_eq!(late["error"]["details"]["reason"], "APPROVAL_NOT_FOUND");
}

#[test]
fn what_waits_and_what_was_decided_survive_a_restart() {
    let mut host = host();
    let (first, asker) = (reviewer(&mut host), asker(&mut host));
    for command in ["one", "two"] {
        let params = json!({"command": command, "id": command, "timeoutMs": 60_000});
        ask(&mut host, asker, command, params);
    }
    let deny = json!({ "id": "one", "decision": "deny" });
    host.get(first, "exec.approval.resolve", deny.clone());
    host.advance(Duration::from_secs(20));
    host.restart();

    let (reviewer, asker) = (reviewer(&mut host), asker_again(&mut host));
    assert_eq!(pending(&mut host, reviewer), ["two"]);
    host.get(reviewer, "exec.approval.resolve", deny);
    host.call(
        asker,
        "w",
        "exec.approval.waitDecision",
        json!({ "id": "two" }),
    );
    // The time that passed before counts.
    host.advance(Duration::from_secs(39));
    assert!(
        host.try_recv(asker)
            .is_none_or(|frame| frame["type"] == "event")
    );
    host.advance(Duration::from_secs(1));
    assert_eq!(
        host.recv_response(asker)["payload"]["terminalReason"],
        "timeout"
    );
}

fn asker_again(host: &mut Host) -> ConnId {
    asker(host)
}

#[test]
fn always_leaves_a_grant_that_covers_the_same_and_can_be_taken_back() {
    let mut host = host();
    let (reviewer, asker) = (reviewer(&mut host), asker(&mut host));
    let same = json!({"command": "make", "cwd": "/src", "env": {"CC": "gcc"}});
    ask(&mut host, asker, "q", same.clone());
    let id = pending(&mut host, reviewer).remove(0);
    let always = json!({"id": id, "decision": "allow-always", "grantExpiresInDays": 2});
    host.get(reviewer, "exec.approval.resolve", always);
    assert_eq!(
        host.recv_response(asker)["payload"]["decision"],
        "allow-always"
    );

    host.restart();
    let (reviewer, asker) = (self::reviewer(&mut host), self::asker(&mut host));
    ask(&mut host, asker, "q", same.clone());
    assert_eq!(
        host.recv_response(asker)["payload"]["decision"],
        "allow-always"
    );
    let grants = host.get(reviewer, "exec.approval.grants.list", json!({}));
    assert_eq!(grants["grants"][0]["useCount"], 1);
    assert_eq!(grants["grants"][0]["mintedByApprovalId"], id);

    // Another folder, environment or command is another matter, and so is a careful asker.
    for (field, value) in [
        ("cwd", json!("/other")),
        ("env", json!({"CC": "evil"})),
        ("command", json!("make install")),
        ("ask", json!("always")),
    ] {
        let mut other = same.clone();
        other[field] = value;
        other["id"] = field.into();
        ask(&mut host, asker, field, other);
        assert!(
            pending(&mut host, reviewer).contains(&field.to_owned()),
            "{field}"
        );
    }
    let once = host.ask(
        reviewer,
        "exec.approval.resolve",
        json!({ "id": "ask", "decision": "allow-always" }),
    );
    assert_eq!(
        once["error"]["details"]["reason"],
        "APPROVAL_ALLOW_ALWAYS_UNAVAILABLE"
    );

    let grant = grants["grants"][0]["grantId"].clone();
    for outcome in ["revoked", "already-revoked"] {
        let answer = host.get(
            reviewer,
            "exec.approval.grants.revoke",
            json!({ "grantId": grant }),
        );
        assert_eq!(answer["outcome"], outcome);
    }
    let mut again = same;
    again["id"] = "again".into();
    ask(&mut host, asker, "again", again);
    assert!(pending(&mut host, reviewer).contains(&"again".to_owned()));
}

#[test]
fn a_grant_ends_with_its_days() {
    let mut host = host();
    let (reviewer, asker) = (reviewer(&mut host), asker(&mut host));
    ask(
        &mut host,
        asker,
        "q",
        json!({"command": "make", "id": "first"}),
    );
    let always = json!({"id": "first", "decision": "allow-always", "grantExpiresInDays": 1});
    host.get(reviewer, "exec.approval.resolve", always);
    host.restart();
    host.now = host.now.after(Duration::from_secs(24 * 3_600));
    let (reviewer, asker) = (self::reviewer(&mut host), self::asker(&mut host));
    ask(
        &mut host,
        asker,
        "q",
        json!({"command": "make", "id": "second"}),
    );
    assert_eq!(pending(&mut host, reviewer), ["second"]);
}

#[test]
fn scopes_are_asked_for() {
    let mut host = host();
    let other = host.connect(
        TOKEN,
        &["operator.read", "operator.write", "operator.pairing"],
    );
    for method in [
        "exec.approval.request",
        "exec.approval.list",
        "exec.approval.get",
        "exec.approval.waitDecision",
        "exec.approval.resolve",
        "exec.approval.grants.list",
        "exec.approval.grants.revoke",
        "approval.get",
        "approval.resolve",
        "approval.history",
    ] {
        let answer = host.ask(other, method, json!({}));
        assert_eq!(
            answer["error"]["details"]["missingScope"],
            "operator.approvals"
        );
    }
    // Nor does it hear of any.
    let (_reviewer, asker) = (reviewer(&mut host), asker(&mut host));
    ask(&mut host, asker, "q", json!({"command": "ls"}));
    while let Some(frame) = host.try_recv(other) {
        assert!(
            !frame["event"]
                .as_str()
                .unwrap_or_default()
                .contains("approval")
        );
    }
}

#[test]
fn there_is_an_end_to_how_many_wait_and_are_remembered() {
    let mut host = host().with_limits(|limits| {
        limits.max_pending_approvals = 3;
        limits.max_decided_approvals = 2;
    });
    let (reviewer, asker) = (reviewer(&mut host), asker(&mut host));
    for number in 0..3 {
        let id = format!("id-{number}");
        ask(&mut host, asker, &id, json!({"command": "ls", "id": id}));
    }
    let full = host.ask(asker, "exec.approval.request", json!({"command": "ls"}));
    assert_eq!(full["error"]["retryable"], true);
    let taken = json!({"command": "ls", "id": "id-0"});
    let taken = host.ask(asker, "exec.approval.request", taken);
    assert_eq!(taken["error"]["message"], "approval id already pending");
    for number in 0..3 {
        let id = format!("id-{number}");
        let decide = json!({ "id": id, "decision": "deny" });
        host.get(reviewer, "exec.approval.resolve", decide);
        host.advance(Duration::from_millis(5));
    }
    let page = host.get(reviewer, "approval.history", json!({"limit": 1}));
    assert_eq!(page["items"][0]["id"], "id-2");
    let cursor = page["nextCursor"].clone();
    let page = host.get(reviewer, "approval.history", json!({ "cursor": cursor }));
    assert_eq!(
        page["items"].as_array().unwrap().len(),
        1,
        "the oldest is forgotten"
    );
    assert_eq!(page["items"][0]["id"], "id-1");
    assert_eq!(page["nextCursor"], json!(null));
}

#[test]
fn nothing_hides_in_a_command() {
    let mut host = host();
    let (reviewer, asker) = (reviewer(&mut host), asker(&mut host));
    let odd = json!({"command": "echo ok\u{200b}\u{202e} #\nrm -rf ~", "id": "odd"});
    ask(&mut host, asker, "q", odd);
    let shown = host.get(reviewer, "exec.approval.get", json!({ "id": "odd" }));
    assert_eq!(
        shown["commandText"],
        "echo ok\\u{200b}\\u{202e} #\\nrm -rf ~"
    );
    for (params, problem) in [
        (json!({"command": " "}), "command is required"),
        (json!({"command": "x", "id": "plugin:1"}), "reserved"),
        (json!({"command": "x", "id": ".."}), "approval id"),
        (
            json!({"command": "x", "host": "node"}),
            "nodeId is required",
        ),
        (
            json!({"command": "x", "host": "node", "nodeId": "n"}),
            "systemRunPlan",
        ),
        (json!({"command": "x", "timeoutMs": 0}), "timeoutMs"),
        (json!({"command": "x".repeat(70_000)}), "bytes"),
        (
            json!({"command": "x", "scope": {"kind": "payment"}}),
            "scope",
        ),
    ] {
        let answer = host.ask(asker, "exec.approval.request", params);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(problem), "{message}");
    }
}

#[test]
fn a_question_that_could_not_be_kept_was_never_asked() {
    for two in [false, true] {
        let mut host = host();
        let (reviewer, asker) = (reviewer(&mut host), asker(&mut host));
        host.disk.failure = Some(StoreFailure::Full);
        let params = json!({"command": "ls", "twoPhase": two});
        ask(&mut host, asker, "q", params);
        let answer = host.recv_response(asker);
        assert_eq!((&answer["id"], &answer["ok"]), (&json!("q"), &json!(false)));
        host.advance(Duration::from_secs(4_000));
        while let Some(frame) = host.try_recv(asker) {
            assert_eq!(frame["type"], "event", "answered twice: {frame}");
        }
        host.disk.failure = None;
        host.disk.waiting = None;
        assert!(pending(&mut host, reviewer).is_empty());
    }
}

#[test]
fn a_decision_that_could_not_be_kept_was_none() {
    let mut host = host();
    let (reviewer, asker) = (reviewer(&mut host), asker(&mut host));
    ask(&mut host, asker, "q", json!({"command": "ls", "id": "x"}));
    host.disk.failure = Some(StoreFailure::Full);
    let decide = json!({"id": "x", "decision": "allow-always"});
    let lost = host.ask(reviewer, "exec.approval.resolve", decide.clone());
    assert_eq!(lost["ok"], false);
    assert_eq!(host.recv_response(asker)["ok"], false);
    host.disk.failure = None;
    host.restart();
    let (reviewer, asker) = (self::reviewer(&mut host), self::asker(&mut host));
    let grants = host.get(reviewer, "exec.approval.grants.list", json!({}));
    assert_eq!(grants["grants"], json!([]));
    host.call(
        asker,
        "w",
        "exec.approval.waitDecision",
        json!({ "id": "x" }),
    );
    host.get(reviewer, "exec.approval.resolve", decide);
    assert_eq!(
        host.recv_response(asker)["payload"]["decision"],
        "allow-always"
    );
}

#[derive(Clone, Debug)]
enum Step {
    /// A reviewer decides.
    Decide(usize, &'static str),
    /// The disk is through with a commit, or loses it.
    Write(bool),
    Wait(u64),
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let decision = prop::sample::select(vec!["allow-once", "allow-always", "deny"]);
    let step = prop_oneof![
        4 => (0..3_usize, decision).prop_map(|(who, what)| Step::Decide(who, what)),
        4 => prop::bool::weighted(0.9).prop_map(Step::Write),
        1 => (1..40_u64).prop_map(Step::Wait),
        1 => (0..3_usize).prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever decides, in whatever order, with whatever the disk does: one decision wins, whoever
    /// asked hears of exactly that one, and what reviewers are told agrees.
    #[test]
    fn one_winner(steps in steps()) {
        let mut host = host();
        let reviewers = [0, 1, 2].map(|_| reviewer(&mut host));
        let asker = asker(&mut host);
        let params = json!({"command": "ls", "id": "x", "timeoutMs": 60_000});
        ask(&mut host, asker, "q", params);
        host.disk.waiting = Some(VecDeque::new());
        let mut here = [true; 3];
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Decide(who, what) if here[who] => {
                    let decide = json!({"id": "x", "decision": what});
                    let call = format!("{what} {number}");
                    host.call(reviewers[who], &call, "exec.approval.resolve", decide);
                }
                Step::Write(good) => {
                    host.disk.failure = (!good).then_some(StoreFailure::Full);
                    host.write();
                    host.disk.failure = None;
                }
                Step::Wait(seconds) => host.advance(Duration::from_secs(seconds)),
                Step::Drop(who) if here[who] => {
                    here[who] = false;
                    host.drop_connection(reviewers[who]);
                }
                Step::Decide(..) | Step::Drop(_) => {}
            }
        }
        while host.write() {}
        let mut winners = Vec::new();
        for (who, conn) in reviewers.into_iter().enumerate() {
            let mut told = Vec::new();
            while let Some(frame) = host.try_recv(conn).filter(|_| here[who]) {
                if frame["event"] == "exec.approval.resolved" {
                    told.push(frame["payload"]["decision"].as_str().unwrap().to_owned());
                }
                if frame["type"] == "res" && frame["ok"] == true && frame["payload"]["ok"] == true {
                    let call = frame["id"].as_str().unwrap();
                    winners.push(call.split(' ').next().unwrap().to_owned());
                }
            }
            prop_assert!(told.len() <= 1, "told twice: {told:?}");
            winners.extend(told);
        }
        let mut answers = Vec::new();
        while let Some(frame) = host.try_recv(asker) {
            if frame["type"] == "res" {
                answers.push(frame);
            }
        }
        prop_assert!(answers.len() <= 1, "answered twice");
        if let Some(decision) = answers.first().and_then(|frame| frame["payload"]["decision"].as_str()) {
            winners.push(decision.to_owned());
        }
        winners.dedup();
        winners.sort();
        winners.dedup();
        prop_assert!(winners.len() <= 1, "several won: {winners:?}");
        // What is on disk is what was said.
        host.disk.waiting = None;
        host.restart();
        let reader = self::asker(&mut host);
        let kept = host.get(reader, "approval.get", json!({"id": "x"}));
        let kept = kept["approval"]["decision"].as_str().map(str::to_owned);
        if let Some(winner) = winners.first() {
            prop_assert_eq!(kept.as_ref(), Some(winner));
        }
    }
}

/// The effect that the gateway waits for.
fn wanted(host: &mut Host) -> EffectRequest {
    host.effects.pop().expect("an effect")
}

#[test]
fn the_file_of_the_host_is_shown_and_replaced_by_those_who_know_it() {
    let mut host = host();
    let admin = host.connect(TOKEN, &["operator.admin"]);
    let missing = |host: &mut Host| {
        let effect = wanted(host);
        assert_eq!(effect.effect, Effect::ReadExecApprovals);
        let missing = EffectOutcome::ExecApprovals(ApprovalsText::Missing);
        host.complete(effect.id, missing);
    };
    host.call(admin, "get", "exec.approvals.get", json!({}));
    missing(&mut host);
    let shown = host.recv_response(admin)["payload"].clone();
    assert_eq!(shown["exists"], false);
    assert_eq!(shown["resolvedDefaults"]["security"], "full");
    assert!(
        shown["path"]
            .as_str()
            .unwrap()
            .ends_with("exec-approvals.json")
    );

    let file = json!({
        "version": 1,
        "socket": {"path": "/x.sock", "token": "s3cret"},
        "defaults": {"security": "deny"},
        "agents": {},
    });
    host.call(admin, "set", "exec.approvals.set", json!({ "file": file }));
    missing(&mut host);
    let effect = wanted(&mut host);
    let Effect::KeepExecApprovals { text, over } = effect.effect else {
        panic!("another effect");
    };
    assert_eq!(over, ApprovalsText::Missing);
    host.complete(effect.id, EffectOutcome::Done);
    let set = host.recv_response(admin);
    assert_eq!(set["payload"]["resolvedDefaults"]["security"], "deny");
    assert!(!set.to_string().contains("s3cret"));

    // From now on only those who have read it may replace it.
    let there = ApprovalsText::Text(text);
    let hash = set["payload"]["hash"].clone();
    for (base, problem) in [
        (json!({ "file": file }), "hash required"),
        (json!({ "file": file, "baseHash": "x" }), "changed since"),
        (
            json!({ "file": {"version": 2}, "baseHash": hash }),
            "invalid exec approvals",
        ),
    ] {
        host.call(admin, "set", "exec.approvals.set", base);
        let effect = wanted(&mut host);
        host.complete(effect.id, EffectOutcome::ExecApprovals(there.clone()));
        let answer = host.recv_response(admin);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(problem), "{message}");
    }
    // Whoever comes between the look and the writing wins.
    let good = json!({ "file": file, "baseHash": hash });
    host.call(admin, "set", "exec.approvals.set", good);
    let effect = wanted(&mut host);
    host.complete(effect.id, EffectOutcome::ExecApprovals(there));
    let effect = wanted(&mut host);
    let other = ApprovalsText::Text(Secret::new("{}"));
    host.complete(effect.id, EffectOutcome::ExecApprovals(other));
    let answer = host.recv_response(admin);
    assert_eq!(
        answer["error"]["details"]["reason"],
        "EXEC_APPROVALS_CHANGED"
    );
}

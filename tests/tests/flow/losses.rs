//! What a run survives, and what ends it: the loss of its client, of its node, of the gateway.

use clawgate_tests::failure::TestResult;
use clawgate_tests::gate::Gate;
use serde_json::json;

use crate::support::{Run, SESSION, client, gateway, history, node, rules, text};

#[test]
fn a_run_goes_on_without_its_client() -> TestResult {
    let gateway = gateway(rules(), &[], &[])?;
    let node = node(&gateway)?;
    let gate = Gate::new()?;
    let message = format!("wait at {}", gate.port());
    let mut first = client(&gateway)?;
    let run = Run::send(&mut first, "left-alone", &message)?;
    let waiting = gate.wait()?;
    drop(first);
    let mut second = client(&gateway)?;
    let wait = second.request(
        "agent.wait",
        json!({ "runId": run.id, "timeoutMs": 60_000 }),
    )?;
    waiting.go_on();
    let over = second.answer(&wait)?.payload()?;
    assert_eq!(over["status"], "ok", "{over}");
    let said = history(&mut second)?;
    let reply = format!("The gate {} is open.", gate.port());
    assert_eq!(said.last().map(|(_, text)| text), Some(&reply));
    assert_eq!(node.ran()?.len(), 1);
    Ok(())
}

#[test]
fn the_loss_of_the_node_fails_its_call_at_once_and_the_run_goes_on() -> TestResult {
    let gateway = gateway(rules(), &[], &[])?;
    let mut node = node(&gateway)?;
    let gate = Gate::new()?;
    let mut client = client(&gateway)?;
    let message = format!("wait at {}", gate.port());
    let mut run = Run::send(&mut client, "node-lost", &message)?;
    let _waiting = gate.wait()?;
    node.kill()?;
    // The call might have taken as long as the run: ten minutes.
    let told = run.tool(&mut client, "result")?;
    assert_eq!(told["isError"], true, "{told}");
    let end = run.end(&mut client, "final")?;
    let reply = text(&end["message"]);
    assert!(reply.starts_with("The box is lost: "), "{reply}");
    assert_eq!(node.ran()?.len(), 1);
    Ok(())
}

#[test]
fn a_run_that_the_end_of_the_gateway_cuts_is_marked_and_never_tried_again() -> TestResult {
    let mut gateway = gateway(rules(), &[], &[])?;
    let node = node(&gateway)?;
    let gate = Gate::new()?;
    let mut before = client(&gateway)?;
    let message = format!("wait at {}", gate.port());
    let run = Run::send(&mut before, "cut-1", &message)?;
    // Another one waits for its turn in the same session.
    let queued = Run::send(&mut before, "cut-2", "/echo still here")?;
    let waiting = gate.wait()?;
    gateway.kill()?;
    gateway.restart()?;
    let mut after = client(&gateway)?;
    let over = after
        .call("agent.wait", json!({ "runId": run.id }))?
        .payload()?;
    assert_eq!(over["status"], "error", "{over}");
    let why = over["error"].as_str().unwrap_or_default();
    assert!(why.contains("not tried again"), "{over}");
    // The one that waited is answered now.
    let other = after
        .call("agent.wait", json!({ "runId": queued.id }))?
        .payload()?;
    assert_eq!(other["status"], "ok", "{other}");
    let page = after
        .call("chat.history", json!({ "sessionKey": SESSION }))?
        .payload()?;
    let messages = page["messages"].as_array().cloned().unwrap_or_default();
    let notes: Vec<_> = messages
        .iter()
        .filter(|message| message["customType"] == "run-cut")
        .collect();
    assert_eq!(notes.len(), 1, "{page}");
    assert_eq!(messages.last().map(text).as_deref(), Some("still here"));
    // The same message again is the same run, which is over.
    let again = after
        .call(
            "chat.send",
            json!({ "sessionKey": SESSION, "message": message, "idempotencyKey": run.id }),
        )?
        .payload()?;
    assert_eq!(again["status"], "error", "{again}");
    waiting.go_on();
    // The node comes back, and does what comes next; what was cut it did once.
    node.state("ready")?;
    let mut next = Run::send(&mut after, "cut-3", "how warm is the kitchen")?;
    next.end(&mut after, "final")?;
    let ran = node.ran()?;
    assert_eq!(
        ran,
        [json!({ "gate": gate.port() }), json!({ "room": "kitchen" })]
    );
    Ok(())
}

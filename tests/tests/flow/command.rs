//! An agent that is a program.

use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::GatewayProcess;
use serde_json::json;

use crate::support::{self, Run, assert_answered, client, history, node};

fn gateway() -> TestResult<GatewayProcess> {
    let program = env!("CARGO_BIN_EXE_agent_program");
    support::gateway(
        json!({ "backend": "command", "command": [program] }),
        &[],
        &[],
    )
}

#[test]
fn a_program_asks_the_node_and_answers() -> TestResult {
    let gateway = gateway()?;
    let node = node(&gateway)?;
    let mut client = client(&gateway)?;
    let mut run = Run::send(&mut client, "command-1", "kitchen")?;
    let asked = run.tool(&mut client, "start")?;
    assert_eq!(asked["args"], json!({ "room": "kitchen" }));
    run.tool(&mut client, "result")?;
    let end = run.end(&mut client, "final")?;
    run.print("command");
    assert_eq!(end["usage"]["totalTokens"], 12, "{end}");
    assert_answered(&mut client, "kitchen", "It is 21.5 degrees in the kitchen.")?;
    assert_eq!(node.ran()?, [json!({ "room": "kitchen" })]);
    Ok(())
}

#[test]
fn a_crash_of_the_program_ends_the_run_with_a_clear_error() -> TestResult {
    let gateway = gateway()?;
    let mut client = client(&gateway)?;
    let mut run = Run::send(&mut client, "crash-1", "crash")?;
    let end = run.end(&mut client, "error")?;
    let error = end["errorMessage"].as_str().unwrap_or_default();
    assert!(
        error.contains("agent_program") && error.contains('7'),
        "{end}"
    );
    let waited = client
        .call("agent.wait", json!({ "runId": run.id }))?
        .payload()?;
    assert_eq!(waited["status"], "error", "{waited}");
    assert_eq!(waited["error"], end["errorMessage"]);
    // What was said before the crash is not lost, and the session goes on.
    let said = history(&mut client)?;
    assert!(
        said.iter().any(|(_, text)| text == "I was about"),
        "{said:?}"
    );
    let mut next = Run::send(&mut client, "crash-2", "crash")?;
    next.end(&mut client, "error")?;
    Ok(())
}

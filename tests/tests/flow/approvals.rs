//! A program that an agent wants to run on a node which asks first.

use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::GatewayProcess;
use clawgate_tests::node_process::{NodeProcess, NodeSetup};
use clawgate_tests::raw_client::RawClient;
use serde_json::{Value, json};

use crate::support::{self, Run, client, text, tool};

struct Asked {
    _gateway: GatewayProcess,
    node: NodeProcess,
    client: RawClient,
    run: Run,
    approval: Value,
}

/// An agent wants to run a program, and somebody is asked.
fn ask() -> TestResult<Asked> {
    let gateway = support::gateway(json!({ "backend": "builtin" }), &[], &[])?;
    let setup = NodeSetup {
        name: "box".to_owned(),
        exec: Some("ask".to_owned()),
        ..NodeSetup::default()
    };
    let node = NodeProcess::approved(&gateway, setup)?;
    let mut client = client(&gateway)?;
    let params = json!({ "command": [tool(), "by", "an", "agent"] });
    let mut run = Run::send(
        &mut client,
        "exec-1",
        &format!("/invoke box system.run {params}"),
    )?;
    run.tool(&mut client, "start")?;
    let mut event = client.event("exec.approval.requested")?;
    let approval = event["payload"].take();
    assert_eq!(
        approval["request"]["commandArgv"], params["command"],
        "{approval}"
    );
    assert_eq!(approval["request"]["nodeId"], node.id(), "{approval}");
    assert_eq!(approval["request"]["runId"], run.id, "{approval}");
    assert!(
        node.ran()?.is_empty(),
        "nothing runs before somebody has said so"
    );
    Ok(Asked {
        _gateway: gateway,
        node,
        client,
        run,
        approval,
    })
}

impl Asked {
    fn resolve(&mut self, decision: &str) -> TestResult<Value> {
        let params = json!({ "id": self.approval["id"], "decision": decision });
        self.client
            .call("exec.approval.resolve", params)?
            .payload()?;
        let event = self.client.event("exec.approval.resolved")?;
        assert_eq!(event["payload"]["id"], self.approval["id"]);
        assert_eq!(event["payload"]["decision"], decision, "{event}");
        let told = self.run.tool(&mut self.client, "result")?;
        let end = self.run.end(&mut self.client, "final")?;
        println!("{decision}: {}", text(&end["message"]));
        Ok(told)
    }
}

#[test]
fn what_is_allowed_once_runs_once() -> TestResult {
    let mut asked = ask()?;
    let told = asked.resolve("allow-once")?;
    assert_eq!(told["isError"], false, "{told}");
    assert_eq!(told["result"]["exitCode"], 0, "{told}");
    assert_eq!(
        asked.node.ran()?,
        [json!({ "words": ["by", "an", "agent"] })]
    );
    // The word was for that one time.
    let again = format!(
        "/invoke box system.run {}",
        json!({ "command": [tool(), "by", "an", "agent"] })
    );
    let mut second = Run::send(&mut asked.client, "exec-2", &again)?;
    let event = asked.client.event("exec.approval.requested")?;
    assert_ne!(event["payload"]["id"], asked.approval["id"]);
    let abort = json!({ "sessionKey": support::SESSION, "runId": second.id });
    asked.client.call("chat.abort", abort)?.payload()?;
    second.end(&mut asked.client, "aborted")?;
    assert_eq!(asked.node.ran()?.len(), 1);
    Ok(())
}

#[test]
fn what_is_denied_does_not_run() -> TestResult {
    let mut asked = ask()?;
    let told = asked.resolve("deny")?;
    assert_eq!(told["isError"], true, "{told}");
    assert!(
        told["result"].to_string().contains("not approved"),
        "{told}"
    );
    assert!(asked.node.ran()?.is_empty());
    Ok(())
}

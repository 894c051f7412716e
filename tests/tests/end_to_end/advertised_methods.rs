//! What the gateway advertises, it answers, and as the published schema says.

use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::GatewayProcess;
use clawgate_tests::raw_client::{Answer, RawClient, operator_params};
use clawgate_tests::schema::check_params;
use serde_json::{Value, json};

/// Methods that need no parameters and change nothing, or nothing that matters to a gateway which is
/// about to be thrown away.
const WITHOUT_PARAMETERS: [&str; 28] = [
    "agent.identity.get",
    "agents.list",
    "channels.status",
    "config.get",
    "config.schema",
    "cron.list",
    "cron.status",
    "device.pair.list",
    "exec.approvals.get",
    "gateway.identity.get",
    "gateway.restart.preflight",
    "health",
    "last-heartbeat",
    "logs.tail",
    "models.list",
    "node.list",
    "node.pair.list",
    "secrets.reload",
    "sessions.list",
    "sessions.subscribe",
    "status",
    "system-presence",
    "tools.catalog",
    "tts.status",
    "update.status",
    "usage.status",
    "voicewake.get",
    "voicewake.routing.get",
];

fn sample(method: &str) -> Option<Value> {
    match method {
        method if WITHOUT_PARAMETERS.contains(&method) => Some(json!({})),
        "set-heartbeats" => Some(json!({"enabled": false})),
        "system-event" => Some(json!({"text": "Node: laptop"})),
        "wake" => Some(json!({"mode": "now", "text": "hello"})),
        _ => None,
    }
}

fn connect(gateway: &GatewayProcess) -> TestResult<(RawClient, Vec<String>)> {
    let mut client = RawClient::dial(&gateway.url())?;
    client.event("connect.challenge")?;
    let params = operator_params(gateway.token(), &["operator.admin"]);
    let hello = client.call("connect", params)?.payload()?;
    let methods = hello
        .pointer("/features/methods")
        .cloned()
        .unwrap_or_default();
    Ok((client, serde_json::from_value(methods)?))
}

#[test]
fn advertised_methods_answer_as_the_schema_says() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let (mut client, methods) = connect(&gateway)?;

    let mut problems = Vec::new();
    for method in methods {
        let Some(params) = sample(&method) else {
            continue;
        };
        check_params(&method, Some(&params))?;
        // The client checks each answer against the schema.
        match client.call(&method, params) {
            Ok(Answer::Payload(_)) => {}
            Ok(Answer::Refused(error)) => problems.push(format!("{method}: refused: {error}")),
            Err(failure) => problems.push(failure.to_string()),
        }
    }

    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

#[test]
fn no_advertised_method_is_unknown() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let (mut client, methods) = connect(&gateway)?;

    let mut unknown = Vec::new();
    for method in methods {
        // No method has such a parameter: it is refused before it does anything.
        let answer = client.call(&method, json!({"no such parameter": true}))?;
        if matches!(&answer, Answer::Refused(error) if error["message"].as_str().is_some_and(|message| message.starts_with("unknown method")))
        {
            unknown.push(method);
        }
    }

    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    Ok(())
}

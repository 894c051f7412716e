//! An agent that asks a chat-completions endpoint.

use std::time::{Duration, Instant};

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::GatewayProcess;
use clawgate_tests::model_endpoint::{ModelEndpoint, piece};
use clawgate_tests::node_process::{NodeProcess, NodeSetup};
use clawgate_tests::raw_client::RawClient;
use serde_json::{Value, json};

use crate::support::{self, Run, SESSION, assert_answered, client, history, tool};

const FIRST_KEY: &str = "key-one-7c1f0a5e";
const SECOND_KEY: &str = "key-two-91b2d384";

/// A gateway that asks the endpoint with these profiles, each named by a variable with its key.
pub(crate) fn gateway(endpoint: &ModelEndpoint) -> TestResult<GatewayProcess> {
    let models = json!({ "providers": { "lab": {
        "baseUrl": endpoint.base_url(),
        "models": [{ "id": "small", "contextWindow": 8_000 }],
    } } });
    let profile = |variable: &str| json!({ "provider": "lab", "mode": "api_key", "key": format!("${{{variable}}}") });
    let auth = json!({
        "profiles": { "lab:first": profile("FIRST_KEY"), "lab:second": profile("SECOND_KEY") },
        "order": { "lab": ["lab:first", "lab:second"] },
        "cooldowns": { "rateLimitBackoffMs": 1 },
    });
    support::gateway(
        json!({ "backend": "openai", "model": "lab/small" }),
        &[("models", models), ("auth", auth)],
        &[("FIRST_KEY", FIRST_KEY), ("SECOND_KEY", SECOND_KEY)],
    )
}

/// The node `box` with a command that agents are offered as a tool.
pub(crate) fn node(gateway: &GatewayProcess, client: &mut RawClient) -> TestResult<NodeProcess> {
    let command = json!({
        "program": tool(),
        "description": "How warm a room is.",
        "parameters": { "type": "object", "properties": { "room": { "type": "string" } } },
    });
    let setup = NodeSetup {
        config: json!({ "commands": { "room.read": command } }),
        commands: Vec::new(),
        ..support::box_setup()
    };
    let node = NodeProcess::approved(gateway, setup)?;
    // The node tells what its commands mean after it was approved.
    Deadline::after(PATIENCE).poll("the node's tools", || {
        let tools = client.call("tools.effective", json!({ "sessionKey": SESSION }))?;
        let tools = tools.payload()?.to_string();
        Ok(tools.contains("room.read").then_some(()))
    })?;
    Ok(node)
}

pub(crate) fn text_of(pieces: &[&str]) -> String {
    pieces
        .iter()
        .map(|text| piece(&json!({ "content": text }), None))
        .collect()
}

pub(crate) fn done() -> String {
    let usage = json!({
        "choices": [], "usage": { "prompt_tokens": 11, "completion_tokens": 6, "total_tokens": 17 },
    });
    format!(
        "{}data: {usage}\n\ndata: [DONE]\n\n",
        piece(&json!({}), Some("stop"))
    )
}

/// Two calls of tools whose arguments come in pieces, one among the other.
pub(crate) fn two_calls(function: &str) -> String {
    let call = |index: u64, id: &str, arguments: &str| {
        let mut call = json!({ "index": index, "function": { "arguments": arguments } });
        if !id.is_empty() {
            call["id"] = json!(id);
            call["type"] = json!("function");
            call["function"]["name"] = json!(function);
        }
        piece(&json!({ "tool_calls": [call] }), None)
    };
    let pieces = [
        ": the model is loading\n\n".to_owned(),
        piece(&json!({ "role": "assistant", "content": null }), None),
        call(0, "call_a", ""),
        call(0, "", "{\"ro"),
        call(1, "call_b", "{"),
        call(0, "", "om\":\"kü"),
        call(1, "", "\"room\": \"cellar\"}").replace('\n', "\r\n"),
        call(0, "", "che\"}"),
        piece(&json!({}), Some("tool_calls")),
        "data: [DONE]\n\n".to_owned(),
    ];
    pieces.concat()
}

/// Nothing that anybody may read has a key in it.
fn assert_no_key(gateway: &GatewayProcess, client: &mut RawClient) -> TestResult {
    for method in [
        "status",
        "models.authStatus",
        "config.get",
        "health",
        "models.list",
    ] {
        client.call(method, json!({}))?.payload()?;
    }
    for key in [FIRST_KEY, SECOND_KEY] {
        assert!(!client.recorded().contains(key), "a frame has a key");
        assert!(!gateway.log().contains(key), "the log has a key");
        for file in files(&gateway.state_dir())? {
            let bytes = std::fs::read(&file)?;
            let found = bytes
                .windows(key.len())
                .any(|window| window == key.as_bytes());
            assert!(!found, "{} has a key", file.display());
        }
    }
    Ok(())
}

fn files(folder: &std::path::Path) -> TestResult<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() && entry.file_name() != "openclaw.json" {
            // Its database is open in another process: reading it here takes no lock away.
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn profile(client: &mut RawClient, name: &str) -> TestResult<Value> {
    let status = client.call("status", json!({}))?.payload()?;
    let rows = status["authProfiles"].as_array().into_iter().flatten();
    let mut rows = rows.filter(|row| row["profileId"] == name);
    Ok(rows.next().cloned().unwrap_or_default())
}

#[test]
fn a_model_calls_tools_in_a_stream_and_answers() -> TestResult {
    let endpoint = ModelEndpoint::open()?;
    let gateway = gateway(&endpoint)?;
    let mut client = client(&gateway)?;
    let node = node(&gateway, &mut client)?;
    for (index, cut) in (1..).zip([1, 7, 4_096]) {
        let question = format!("how warm is it, by {cut} bytes?");
        let mut run = Run::send(&mut client, &format!("openai-{cut}"), &question)?;
        let mut asked = endpoint.next()?;
        assert_eq!(asked.bearer(), Some(FIRST_KEY));
        let body = asked.body();
        assert_eq!(
            (&body["model"], &body["stream"]),
            (&json!("small"), &json!(true))
        );
        let function = body["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|tool| {
                tool["function"]["description"]
                    .to_string()
                    .contains("How warm")
            })
            .and_then(|tool| tool["function"]["name"].as_str())
            .unwrap_or_default()
            .to_owned();
        asked.begin()?;
        asked.stream(&two_calls(&function), cut)?;
        asked.end();
        for _ in 0..2 {
            run.tool(&mut client, "start")?;
        }
        for _ in 0..2 {
            let told = run.tool(&mut client, "result")?;
            assert_eq!(told["isError"], false, "{told}");
        }
        let mut asked = endpoint.next()?;
        let messages = asked.body()["messages"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let results: Vec<&Value> = messages
            .iter()
            .filter(|message| message["role"] == "tool")
            .collect();
        assert_eq!(results.len(), 2, "of this run alone: {messages:?}");
        assert_eq!(
            results.first().map(|it| &it["tool_call_id"]),
            Some(&json!("call_a"))
        );
        assert!(
            results
                .iter()
                .all(|it| it["content"].to_string().contains("21.5"))
        );
        asked.begin()?;
        asked.stream(&text_of(&["It is 21,5", " °C", " in both."]), cut)?;
        run.until(&mut client, "a piece of the reply", |frame| {
            frame["payload"]["state"] == "delta"
        })?;
        asked.stream(&text_of(&[" Good"]), cut)?;
        asked.stream(&done(), cut)?;
        asked.end();
        let end = run.end(&mut client, "final")?;
        run.print("openai");
        let reply = "It is 21,5 °C in both. Good";
        assert_eq!(support::text(&end["message"]), reply);
        assert!(reply.starts_with(&run.pieces()), "{:?}", run.pieces());
        assert_eq!(end["usage"]["totalTokens"], 17, "{end}");
        assert_answered(&mut client, &question, reply)?;
        assert_eq!(node.ran()?.len(), index * 2);
    }
    let mut rooms = node.ran()?;
    rooms.truncate(2);
    assert!(rooms.contains(&json!({ "room": "küche" })), "{rooms:?}");
    assert!(rooms.contains(&json!({ "room": "cellar" })), "{rooms:?}");
    assert_no_key(&gateway, &mut client)
}

#[test]
fn a_refused_key_cools_down_and_the_next_one_is_used() -> TestResult {
    let endpoint = ModelEndpoint::open()?;
    let gateway = gateway(&endpoint)?;
    let mut client = client(&gateway)?;
    let mut run = Run::send(&mut client, "refused", "hello")?;
    let asked = endpoint.next()?;
    assert_eq!(asked.bearer(), Some(FIRST_KEY));
    let words = json!({ "error": { "message": format!("wrong key {FIRST_KEY}") } });
    asked.answer("401 Unauthorized", "", &words.to_string())?;
    let mut asked = endpoint.next()?;
    assert_eq!(asked.bearer(), Some(SECOND_KEY));
    asked.begin()?;
    asked.stream(&text_of(&["Hello."]), 5)?;
    asked.stream(&done(), 5)?;
    asked.end();
    let end = run.end(&mut client, "final")?;
    assert_eq!(support::text(&end["message"]), "Hello.");
    let first = profile(&mut client, "lab:first")?;
    assert_eq!(first["status"], "cooldown", "{first}");
    assert!(first["cooldownUntil"].is_u64(), "{first}");
    assert_eq!(profile(&mut client, "lab:second")?["status"], "ok");
    // While it cools down, nobody tries it.
    let mut run = Run::send(&mut client, "refused-2", "again")?;
    let mut asked = endpoint.next()?;
    assert_eq!(asked.bearer(), Some(SECOND_KEY));
    asked.begin()?;
    asked.stream(&(text_of(&["Again."]) + &done()), 50)?;
    asked.end();
    run.end(&mut client, "final")?;
    // When both are refused, the run says so, without the key that the endpoint puts into its words.
    let mut run = Run::send(&mut client, "refused-3", "and again")?;
    let words = json!({ "error": { "message": format!("wrong key {SECOND_KEY}") } });
    endpoint
        .next()?
        .answer("401 Unauthorized", "", &words.to_string())?;
    let end = run.end(&mut client, "error")?;
    let why = end["errorMessage"].to_string();
    assert!(why.contains("lab") && why.contains("401"), "{end}");
    assert_no_key(&gateway, &mut client)
}

#[test]
fn an_endpoint_that_wants_a_pause_gets_it() -> TestResult {
    let endpoint = ModelEndpoint::open()?;
    let gateway = gateway(&endpoint)?;
    let mut client = client(&gateway)?;
    let mut run = Run::send(&mut client, "too-fast", "hello")?;
    let busy = json!({ "error": { "message": "slow down" } }).to_string();
    let mut refused = Instant::now();
    // Each of the two keys is tried once before anybody waits.
    for key in [FIRST_KEY, SECOND_KEY] {
        let asked = endpoint.next()?;
        assert_eq!(asked.bearer(), Some(key));
        refused = Instant::now();
        asked.answer("429 Too Many Requests", "Retry-After: 1\r\n", &busy)?;
    }
    run.until(&mut client, "word of the pause", |frame| {
        frame["payload"]["stream"] == "run_status"
    })?;
    let mut asked = endpoint.next()?;
    assert!(
        refused.elapsed() >= Duration::from_secs(1),
        "not sooner than it asked for"
    );
    asked.begin()?;
    asked.stream(&(text_of(&["Hello."]) + &done()), 9)?;
    asked.end();
    let end = run.end(&mut client, "final")?;
    assert_eq!(support::text(&end["message"]), "Hello.");
    assert!(!endpoint.is_asked());
    assert_no_key(&gateway, &mut client)
}

#[test]
fn an_abort_closes_the_connection_to_the_endpoint() -> TestResult {
    let endpoint = ModelEndpoint::open()?;
    let gateway = gateway(&endpoint)?;
    let mut client = client(&gateway)?;
    let mut run = Run::send(&mut client, "aborted", "tell me a long story")?;
    let mut asked = endpoint.next()?;
    asked.begin()?;
    asked.stream(&text_of(&["Once upon a time"]), 3)?;
    run.until(&mut client, "a piece of the reply", |frame| {
        frame["payload"]["state"] == "delta"
    })?;
    let abort = json!({ "sessionKey": SESSION, "runId": run.id });
    let aborted = client.call("chat.abort", abort)?.payload()?;
    assert_eq!(aborted["runIds"], json!([run.id]));
    asked.closed()?;
    let end = run.end(&mut client, "aborted")?;
    assert_eq!(support::text(&end["message"]), "Once upon a time");
    let said = history(&mut client)?;
    assert_eq!(
        said.last().map(|(_, text)| text.as_str()),
        Some("Once upon a time")
    );
    Ok(())
}

//! Messages that are too long, and sessions that begin too slowly.

use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::{GatewayProcess, Settings};
use clawgate_tests::raw_client::{Closed, RawClient, operator_params};
use serde_json::json;

use crate::support::{both, operator, with};

const MAX_BEFORE_HELLO: usize = 64 * 1024;
const MAX_AFTER_HELLO: usize = 25 * 1024 * 1024;

#[test]
fn a_connect_that_is_too_long_is_cut_off() -> TestResult {
    let (gateway, mut client) = both()?;

    let path = "x".repeat(MAX_BEFORE_HELLO);
    client.connect("a", with(operator(&gateway, &[]), "pathEnv", json!(path)))?;

    assert_eq!(client.wait("a", "close")?["code"], 1009);
    Ok(())
}

#[test]
fn a_call_that_is_too_long_is_cut_off_and_the_client_comes_back() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("a", operator(&gateway, &[]))?;
    client.hello("a")?;

    client.calls(
        "a",
        vec![json!({"id": "1", "method": "health", "padding": MAX_AFTER_HELLO})],
    )?;

    assert_eq!(client.wait("a", "close")?["code"], 1009);
    let error = client.answer("a", "1")?;
    assert!(
        error["error"]["message"].as_str().unwrap().contains("1009"),
        "{error}"
    );
    client.hello("a")?;
    Ok(())
}

#[test]
fn the_limit_before_the_session_is_exact() -> TestResult {
    let gateway = GatewayProcess::start()?;

    let mut client = RawClient::dial(&gateway.url())?;
    client.event("connect.challenge")?;
    let id = send_connect_of_length(&mut client, &gateway, MAX_BEFORE_HELLO)?;
    assert_eq!(client.answer(&id)?.payload()?["type"], "hello-ok");

    let mut client = RawClient::dial(&gateway.url())?;
    client.event("connect.challenge")?;
    send_connect_of_length(&mut client, &gateway, MAX_BEFORE_HELLO + 1)?;
    assert_eq!(client.closed()?.code, 1009);
    Ok(())
}

/// Sends a valid `connect` that is as long as wanted.
fn send_connect_of_length(
    client: &mut RawClient,
    gateway: &GatewayProcess,
    length: usize,
) -> TestResult<String> {
    let mut params = operator_params(gateway.token(), &[]);
    let shortest = params.to_string().len() + RawClient::request_overhead("connect");
    let path = "x".repeat(length - shortest - r#""pathEnv":"","#.len());
    if let Some(params) = params.as_object_mut() {
        params.insert("pathEnv".to_owned(), json!(path));
    }
    client.request("connect", params)
}

#[test]
fn long_messages_are_welcome_within_the_session() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let mut client = RawClient::operator(&gateway.url(), gateway.token(), &["operator.admin"])?;

    let answer = client.call(
        "no.such.method",
        json!({"padding": "x".repeat(1024 * 1024)}),
    )?;

    assert_eq!(
        answer.refusal()?["message"],
        "unknown method: no.such.method"
    );
    Ok(())
}

#[test]
fn who_says_nothing_is_shown_out() -> TestResult {
    let gateway = GatewayProcess::start_with(Settings {
        environment: vec![("OPENCLAW_HANDSHAKE_TIMEOUT_MS".to_owned(), "500".to_owned())],
        ..Settings::default()
    })?;
    let mut client = RawClient::dial(&gateway.url())?;

    let closed = client.closed()?;

    assert_eq!(
        closed,
        Closed {
            code: 1008,
            reason: "handshake timeout".to_owned()
        }
    );
    Ok(())
}

#[test]
fn a_session_outlives_the_time_for_the_handshake() -> TestResult {
    let gateway = GatewayProcess::start_with(Settings {
        environment: vec![(
            "OPENCLAW_HANDSHAKE_TIMEOUT_MS".to_owned(),
            "2000".to_owned(),
        )],
        ..Settings::default()
    })?;
    let mut session = RawClient::operator(&gateway.url(), gateway.token(), &["operator.read"])?;

    // Somebody who came later and says nothing has been shown out, so the time is over.
    RawClient::dial(&gateway.url())?.closed()?;

    assert_eq!(session.call("health", json!({}))?.payload()?["ok"], true);
    Ok(())
}

#[test]
fn calls_sent_behind_connect_are_answered_after_it() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let mut client = RawClient::dial(&gateway.url())?;
    client.event("connect.challenge")?;

    let connect = client.request(
        "connect",
        operator_params(gateway.token(), &["operator.read"]),
    )?;
    let health = client.request("health", json!({}))?;
    let presence = client.request("system-presence", json!({}))?;

    assert_eq!(client.answer(&connect)?.payload()?["type"], "hello-ok");
    assert_eq!(client.answer(&health)?.payload()?["ok"], true);
    assert!(client.answer(&presence)?.payload()?.is_array());
    Ok(())
}

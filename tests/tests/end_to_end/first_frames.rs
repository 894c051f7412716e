//! What a gateway makes of frames that no published client would send.

use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::GatewayProcess;
use clawgate_tests::raw_client::{RawClient, operator_params};
use serde_json::json;

#[test]
fn the_gateway_speaks_first() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::dial(&gateway.url())?;
        let challenge = client.event("connect.challenge")?;
        assert!(challenge["payload"]["ts"].as_u64().unwrap() > 1_600_000_000_000);
        assert!(challenge.get("seq").is_none());
        nonces.push(challenge["payload"]["nonce"].clone());
    }
    assert_ne!(nonces[0], nonces[1]);
    Ok(())
}

#[test]
fn any_path_leads_to_the_gateway() -> TestResult {
    let gateway = GatewayProcess::start()?;
    for path in ["/", "/ws", "/base/path?x=1"] {
        RawClient::dial(&format!("{}{path}", gateway.url()))?.event("connect.challenge")?;
    }
    Ok(())
}

#[test]
fn the_first_request_must_be_connect() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let mut client = RawClient::dial(&gateway.url())?;
    client.event("connect.challenge")?;

    let refusal = client.call("health", json!({}))?.refusal()?;
    let closed = client.closed()?;

    assert_eq!(refusal["code"], "INVALID_REQUEST");
    assert_eq!(closed.code, 1008);
    assert_eq!(
        closed.reason,
        "invalid handshake: first request must be connect"
    );
    Ok(())
}

#[test]
fn a_first_frame_that_is_no_request_ends_the_connection() -> TestResult {
    let gateway = GatewayProcess::start()?;
    for text in [
        r#"{"type":"event","event":"tick"}"#,
        r#"{"type":"req"}"#,
        "[]",
        "null",
    ] {
        let mut client = RawClient::dial(&gateway.url())?;
        client.event("connect.challenge")?;

        client.send_text(text)?;

        assert_eq!(client.closed()?.code, 1008, "{text}");
    }
    Ok(())
}

#[test]
fn an_unknown_member_of_connect_is_refused() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let mut client = RawClient::dial(&gateway.url())?;
    client.event("connect.challenge")?;
    let mut params = operator_params(gateway.token(), &[]);
    params["surprise"] = json!(true);

    let refusal = client.call("connect", params)?.refusal()?;
    let closed = client.closed()?;

    let message = refusal["message"].as_str().unwrap();
    assert!(message.starts_with("invalid connect params: "), "{message}");
    assert_eq!(closed.code, 1008);
    Ok(())
}

#[test]
fn a_malformed_request_within_the_session_is_answered() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let mut client = RawClient::operator(&gateway.url(), gateway.token(), &["operator.read"])?;
    let cases = [
        (r#"{"type":"req","id":"broken","method":7}"#, "broken"),
        (r#"{"type":"req","method":"health"}"#, "invalid"),
        (r#"{"type":"event","event":"tick"}"#, "invalid"),
    ];
    for (frame, id) in cases {
        client.send_broken(frame, id)?;

        let refusal = client.answer(id)?.refusal()?;
        assert_eq!(refusal["code"], "INVALID_REQUEST", "{frame}");
        let message = refusal["message"].as_str().unwrap();
        assert!(message.starts_with("invalid request frame: "), "{message}");
    }
    assert_eq!(client.call("health", json!({}))?.payload()?["ok"], true);
    Ok(())
}

#[test]
fn text_that_is_no_json_is_ignored_within_the_session() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let mut client = RawClient::operator(&gateway.url(), gateway.token(), &["operator.read"])?;

    client.send_text("not json")?;

    assert_eq!(client.call("health", json!({}))?.payload()?["ok"], true);
    assert_eq!(
        client.kept().filter(|frame| frame["type"] == "res").count(),
        0
    );
    Ok(())
}

#[test]
fn a_close_is_answered_with_the_same_code() -> TestResult {
    let gateway = GatewayProcess::start()?;
    for code in [None, Some(1000), Some(4000)] {
        let mut client = RawClient::operator(&gateway.url(), gateway.token(), &["operator.read"])?;

        client.send_close(code)?;

        assert_eq!(client.closed()?.code, code.unwrap_or(1005));
    }
    Ok(())
}

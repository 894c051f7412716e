//! The published client introduces itself: what it gets, and how it takes a refusal.

use clawgate_tests::failure::TestResult;
use clawgate_tests::reference_client::ReferenceClient;
use serde_json::{Value, json};

use crate::support::{DEVICE, DEVICE_ID, both, node_host, operator, with};

/// Waits for the end of a refused handshake: the error of the answer, and the close.
fn refusal(client: &mut ReferenceClient, name: &str) -> TestResult<(Value, Value)> {
    let mut report = client.wait(name, "connect-error")?;
    let close = client.wait(name, "close")?;
    Ok((
        report.get_mut("error").map(Value::take).unwrap_or_default(),
        close,
    ))
}

#[test]
fn the_right_token_opens_a_session() -> TestResult {
    let (gateway, mut client) = both()?;

    client.connect("a", operator(&gateway, &["operator.read"]))?;
    let hello = client.hello("a")?;

    assert_eq!(hello["type"], "hello-ok");
    assert_eq!(hello["protocol"], 4);
    assert_eq!(hello["auth"]["role"], "operator");
    assert_eq!(hello["auth"]["scopes"], json!(["operator.read"]));
    assert_eq!(hello["policy"]["maxPayload"], 25 * 1024 * 1024);
    assert_eq!(hello["policy"]["maxBufferedBytes"], 50 * 1024 * 1024);
    assert_eq!(hello["policy"]["tickIntervalMs"], 30_000);
    assert_eq!(hello["snapshot"]["presence"][0]["mode"], "gateway");
    for method in ["health", "status", "system-presence", "config.get"] {
        let methods = hello["features"]["methods"].as_array().unwrap();
        assert!(methods.contains(&json!(method)), "{method}");
    }
    for event in [
        "connect.challenge",
        "tick",
        "presence",
        "health",
        "shutdown",
    ] {
        let events = hello["features"]["events"].as_array().unwrap();
        assert!(events.contains(&json!(event)), "{event}");
    }
    Ok(())
}

#[test]
fn connections_have_ids_of_their_own() -> TestResult {
    let (gateway, mut client) = both()?;

    client.connect("a", operator(&gateway, &["operator.read"]))?;
    client.connect("b", operator(&gateway, &["operator.read"]))?;

    let (a, b) = (client.hello("a")?, client.hello("b")?);
    assert_ne!(a["server"]["connId"], b["server"]["connId"]);
    assert_eq!(a["server"]["version"], b["server"]["version"]);
    Ok(())
}

#[test]
fn the_token_may_come_as_the_password() -> TestResult {
    let (gateway, mut client) = both()?;
    let options = with(operator(&gateway, &["operator.read"]), "token", Value::Null);

    client.connect("a", with(options, "password", json!(gateway.token())))?;

    assert_eq!(
        client.hello("a")?["auth"]["scopes"],
        json!(["operator.read"])
    );
    Ok(())
}

#[test]
fn a_wrong_token_is_refused_for_good() -> TestResult {
    let (gateway, mut client) = both()?;

    client.connect(
        "a",
        with(
            operator(&gateway, &["operator.read"]),
            "token",
            json!("wrong"),
        ),
    )?;
    let (error, close) = refusal(&mut client, "a")?;

    assert_eq!(error["code"], "INVALID_REQUEST");
    assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISMATCH");
    assert_eq!(error["details"]["authReason"], "token_mismatch");
    assert_eq!(error["details"]["canRetryWithDeviceToken"], false);
    assert_eq!(
        error["details"]["recommendedNextStep"],
        "update_auth_credentials"
    );
    assert_eq!(close["code"], 1008);
    assert_eq!(close["reason"], error["message"]);
    // The client gives up rather than knock again with the same token.
    assert_eq!(
        client.wait("a", "reconnect-paused")?["detailCode"],
        "AUTH_TOKEN_MISMATCH"
    );
    Ok(())
}

#[test]
fn a_refusal_never_repeats_the_secret() -> TestResult {
    let (gateway, mut client) = both()?;
    let wrong = "a-wrong-token-that-must-not-come-back";

    client.connect("a", with(operator(&gateway, &[]), "token", json!(wrong)))?;
    let (error, close) = refusal(&mut client, "a")?;

    assert!(!error.to_string().contains(wrong), "{error}");
    assert!(!close.to_string().contains(wrong), "{close}");
    assert!(!gateway.log().contains(wrong), "{}", gateway.log());
    assert!(
        !gateway.log().contains(gateway.token()),
        "{}",
        gateway.log()
    );
    Ok(())
}

#[test]
fn without_token_and_device_a_device_is_asked_for() -> TestResult {
    let (gateway, mut client) = both()?;

    client.connect(
        "a",
        with(operator(&gateway, &["operator.read"]), "token", Value::Null),
    )?;
    let (error, close) = refusal(&mut client, "a")?;

    assert_eq!(error["code"], "NOT_PAIRED");
    assert_eq!(error["details"]["code"], "DEVICE_IDENTITY_REQUIRED");
    assert_eq!(close["code"], 1008);
    assert_eq!(close["reason"], "device identity required");
    Ok(())
}

#[test]
fn a_device_without_token_is_told_that_it_is_missing() -> TestResult {
    let (gateway, mut client) = both()?;

    client.connect_device("a", DEVICE, with(node_host(&gateway), "token", Value::Null))?;
    let (error, close) = refusal(&mut client, "a")?;

    assert_eq!(error["code"], "INVALID_REQUEST");
    assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISSING");
    assert_eq!(error["details"]["authReason"], "token_missing");
    assert_eq!(
        error["details"]["recommendedNextStep"],
        "update_auth_configuration"
    );
    assert_eq!(close["code"], 1008);
    Ok(())
}

#[test]
fn a_device_does_not_make_up_for_a_wrong_token() -> TestResult {
    let (gateway, mut client) = both()?;
    let options = with(node_host(&gateway), "token", json!("wrong"));

    client.connect_device("a", DEVICE, options)?;
    let (error, close) = refusal(&mut client, "a")?;

    assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISMATCH");
    assert_eq!(close["code"], 1008);
    assert_eq!(
        client.wait("a", "reconnect-paused")?["detailCode"],
        "AUTH_TOKEN_MISMATCH"
    );
    Ok(())
}

#[test]
fn protocols_without_a_common_version_are_refused() -> TestResult {
    let (gateway, mut client) = both()?;
    let options = with(operator(&gateway, &[]), "minProtocol", json!(1));

    client.connect("a", with(options, "maxProtocol", json!(3)))?;
    let (error, close) = refusal(&mut client, "a")?;

    assert_eq!(error["code"], "INVALID_REQUEST");
    assert_eq!(
        error["details"],
        json!({
            "code": "PROTOCOL_MISMATCH",
            "clientMinProtocol": 1,
            "clientMaxProtocol": 3,
            "expectedProtocol": 4,
            "minimumProbeProtocol": 3,
        })
    );
    assert_eq!(close["code"], 1002);
    assert_eq!(
        client.wait("a", "reconnect-paused")?["detailCode"],
        "PROTOCOL_MISMATCH"
    );
    Ok(())
}

#[test]
fn an_unknown_kind_of_client_is_refused() -> TestResult {
    let (gateway, mut client) = both()?;

    client.connect(
        "a",
        with(operator(&gateway, &[]), "clientName", json!("ios-node")),
    )?;
    let (error, close) = refusal(&mut client, "a")?;

    assert_eq!(error["code"], "INVALID_REQUEST");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("invalid connect params: "), "{message}");
    assert!(message.contains("/client/id"), "{message}");
    assert_eq!(close["code"], 1008);
    Ok(())
}

#[test]
fn only_local_programs_keep_their_scopes_without_a_device() -> TestResult {
    let (gateway, mut client) = both()?;
    let cases = [
        ("cli", "cli", json!(["operator.read"])),
        ("gateway-client", "backend", json!(["operator.read"])),
        ("test", "test", json!([])),
        ("cli", "probe", json!([])),
    ];
    for (id, mode, granted) in cases {
        let name = format!("{id}/{mode}");
        let options = with(
            operator(&gateway, &["operator.read"]),
            "clientName",
            json!(id),
        );

        client.connect(&name, with(options, "mode", json!(mode)))?;

        assert_eq!(client.hello(&name)?["auth"]["scopes"], granted, "{name}");
    }
    Ok(())
}

#[test]
fn a_probe_gets_health_and_is_told_which_scope_the_rest_needs() -> TestResult {
    let (gateway, mut client) = both()?;
    let options = with(
        operator(&gateway, &["operator.read"]),
        "clientName",
        json!("cli"),
    );
    let options = with(options, "mode", json!("probe"));
    // An older probe, which speaks only the version before this one.
    let options = with(options, "minProtocol", json!(3));

    client.connect("a", with(options, "maxProtocol", json!(3)))?;
    client.hello("a")?;
    client.calls(
        "a",
        ["health", "status", "system-presence", "config.get"]
            .map(|method| json!({"id": method, "method": method, "params": {}}))
            .to_vec(),
    )?;

    assert_eq!(client.answer("a", "health")?["payload"]["ok"], true);
    for method in ["status", "system-presence", "config.get"] {
        let answer = client.answer("a", method)?;
        assert_eq!(answer["error"]["code"], "FORBIDDEN", "{method}");
        assert_eq!(
            answer["error"]["details"]["missingScope"], "operator.read",
            "{method}"
        );
    }
    Ok(())
}

#[test]
fn a_node_must_prove_a_device() -> TestResult {
    let (gateway, mut client) = both()?;

    client.connect("a", node_host(&gateway))?;
    let (error, close) = refusal(&mut client, "a")?;

    assert_eq!(error["code"], "NOT_PAIRED");
    assert_eq!(error["details"]["code"], "DEVICE_IDENTITY_REQUIRED");
    assert_eq!(close["code"], 1008);
    Ok(())
}

#[test]
fn a_local_node_is_let_in_by_its_device() -> TestResult {
    let (gateway, mut client) = both()?;

    client.connect_device("a", DEVICE, node_host(&gateway))?;
    let hello = client.hello("a")?;

    assert_eq!(hello["auth"]["role"], "node");
    assert_eq!(hello["auth"]["scopes"], json!([]));
    Ok(())
}

#[test]
fn a_local_operator_with_a_device_keeps_the_scopes_it_asks_for() -> TestResult {
    let (gateway, mut client) = both()?;
    let options = with(
        operator(&gateway, &["operator.read"]),
        "clientName",
        json!("test"),
    );

    client.connect_device("a", DEVICE, with(options, "mode", json!("test")))?;

    assert_eq!(
        client.hello("a")?["auth"]["scopes"],
        json!(["operator.read"])
    );
    Ok(())
}

#[test]
fn a_device_shows_in_the_presence_of_others() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("reader", operator(&gateway, &["operator.read"]))?;
    client.hello("reader")?;

    client.connect_device("node", DEVICE, node_host(&gateway))?;
    client.hello("node")?;

    client.wait_for("reader", "the presence of the device", |report| {
        report
            .pointer("/event/payload/presence")
            .and_then(Value::as_array)
            .is_some_and(|entries| entries.iter().any(|entry| entry["deviceId"] == DEVICE_ID))
    })?;
    Ok(())
}

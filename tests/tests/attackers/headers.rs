//! Headers that claim to be somebody else.

use clawgate_core::policy::{AuthRule, LoopbackProxy, TrustedProxies, TrustedProxyRule};
use clawgate_tests::failure::TestResult;
use clawgate_tests::raw_client::operator_params;
use serde_json::{Value, json};

use crate::raw::{Answer, RawSocket, UPGRADE, first};
use crate::server::{TOKEN, TestServer};

fn upgrade_with(fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    UPGRADE.replacen("\r\n", &format!("\r\n{fields}"), 1)
}

fn refused_upgrade(server: &TestServer, fields: &[&str]) -> TestResult<Answer> {
    let mut socket = RawSocket::dial(server.address())?;
    socket.send(upgrade_with(fields))?;
    socket.answer()
}

/// The answer to a sound `connect` of a local program, after an upgrade with these fields.
fn connect_with(server: &TestServer, fields: &[&str], scopes: &[&str]) -> TestResult<Value> {
    connect_as(server, fields, operator_params(TOKEN, scopes))
}

fn connect_as(server: &TestServer, fields: &[&str], params: Value) -> TestResult<Value> {
    let mut socket = RawSocket::dial(server.address())?;
    socket.send(upgrade_with(fields))?;
    socket.expect_upgrade()?;
    let connect = json!({ "type": "req", "id": "1", "method": "connect", "params": params });
    socket.send_frame(first::TEXT, connect.to_string())?;
    socket.message("id", "1")
}

#[test]
fn nobody_forwards_for_others_unless_he_is_trusted() -> TestResult {
    let server = TestServer::start()?;
    for fields in [
        &["X-Forwarded-For: 127.0.0.1"][..],
        &[
            "X-Forwarded-For: 198.51.100.4",
            "X-Forwarded-For: 127.0.0.1",
        ],
        &["x-forwarded-anything: 1"],
        &["X-Real-IP: 127.0.0.1"],
        &["Forwarded: for=127.0.0.1;proto=https"],
        &["Tailscale-User-Login: ann@example.org"],
        &["Tailscale-Funnel-Request: ?1"],
        &[
            "X-Forwarded-For: 100.64.0.5",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: gw.ts.net",
            "Tailscale-User-Login: ann@example.org",
        ],
    ] {
        let refused = refused_upgrade(&server, fields)?;
        assert_eq!(refused.status, 403, "{fields:?}");
        let body: Value = serde_json::from_str(&refused.body)?;
        assert_eq!(body["error"]["type"], "proxy_attribution_required");
    }
    assert_eq!(server.connections(), 0);
    Ok(())
}

#[test]
fn a_user_is_believed_from_a_trusted_proxy_alone() -> TestResult {
    let rules = |loopback, proxies: &'static str| {
        TestServer::start_strict(
            |_| {},
            move |policy| {
                policy.proxies = TrustedProxies::parse([proxies]);
                policy.auth = AuthRule::TrustedProxy {
                    rule: Some(TrustedProxyRule {
                        user_header: "X-User".into(),
                        allow_users: vec!["ann".into()],
                        loopback,
                        ..TrustedProxyRule::default()
                    }),
                    local_password: None,
                };
            },
        )
    };
    let reason = |server: &TestServer, fields: &[&str]| -> TestResult<String> {
        let answer = connect_with(server, fields, &["operator.admin"])?;
        let reason = &answer["error"]["details"]["authReason"];
        Ok(reason.as_str().unwrap_or("none").to_owned())
    };
    let forwarded = "X-Forwarded-For: 198.51.100.4";
    // This machine is no proxy by itself.
    let server = rules(LoopbackProxy::Refused, "10.0.0.1")?;
    assert_eq!(
        reason(&server, &["X-User: ann"])?,
        "trusted_proxy_untrusted_source"
    );
    // It is one only if the operator says so twice.
    let server = rules(LoopbackProxy::Refused, "127.0.0.1")?;
    let spoofed = reason(&server, &[forwarded, "X-User: ann"])?;
    assert_eq!(spoofed, "trusted_proxy_loopback_source");
    let server = rules(LoopbackProxy::Allowed, "127.0.0.1")?;
    for (fields, right) in [
        (
            &[forwarded, "X-User: mallory"][..],
            "trusted_proxy_user_not_allowed",
        ),
        // A second header does not hide the first.
        (
            &[forwarded, "X-User: mallory", "X-User: ann"],
            "trusted_proxy_user_not_allowed",
        ),
        (
            &[forwarded, "X-User: Ann"],
            "trusted_proxy_user_not_allowed",
        ),
        (&[forwarded, "X-User:  "], "trusted_proxy_user_missing"),
        // It names a user and not for whom it speaks.
        (&["X-User: ann"], "proxy_attribution_required"),
        (&[forwarded, "X-User: ann"], "none"),
    ] {
        assert_eq!(reason(&server, fields)?, right, "{fields:?}");
    }
    Ok(())
}

#[test]
fn the_scopes_header_only_takes_away() -> TestResult {
    let server = TestServer::start()?;
    let granted = |header: &str, scopes: &[&str]| -> TestResult<Value> {
        let field = format!("X-OpenClaw-Scopes: {header}");
        Ok(connect_with(&server, &[&field], scopes)?["payload"]["auth"]["scopes"].clone())
    };
    let read = ["operator.read"];
    for (header, right) in [
        (
            "operator.admin",
            json!(["operator.read", "operator.sessions.read"]),
        ),
        (
            "operator.read, operator.admin",
            json!(["operator.read", "operator.sessions.read"]),
        ),
        ("operator.approvals", json!([])),
        ("operator.nonsense", json!([])),
        ("*", json!([])),
        ("", json!([])),
    ] {
        assert_eq!(granted(header, &read)?, right, "{header:?}");
    }
    let capped = granted("operator.read", &["operator.admin"])?;
    assert!(!capped.to_string().contains("admin") && !capped.to_string().contains("write"));
    Ok(())
}

#[test]
fn pages_of_other_sites_stay_out_with_the_right_token() -> TestResult {
    let server = TestServer::start()?;
    let port = server.address().port();
    let rebound = format!("rebound.example.net:{port}");
    for (host, origin) in [
        ("localhost", "https://evil.example.net"),
        ("localhost", "null"),
        ("localhost", ""),
        ("localhost", "file://"),
        ("localhost", "http://localhost.evil.example.net"),
        ("localhost", "http://127.0.0.1.evil.example.net"),
        ("localhost", "http://localhost@evil.example.net"),
        ("localhost", "http://evil.example.net/localhost"),
        ("localhost", "http://localhost, https://evil.example.net"),
        ("localhost", "chrome-extension://localhost.evil"),
        // A name that was made to lead here.
        (rebound.as_str(), &format!("http://{rebound}")),
    ] {
        let fields = [&*format!("Origin: {origin}")];
        let request =
            upgrade_with(&fields).replacen("Host: localhost", &format!("Host: {host}"), 1);
        let mut socket = RawSocket::dial(server.address())?;
        socket.send(request)?;
        socket.expect_upgrade()?;
        let params = operator_params(TOKEN, &["operator.read"]);
        let connect = json!({ "type": "req", "id": "1", "method": "connect", "params": params });
        socket.send_frame(first::TEXT, connect.to_string())?;
        let answer = socket.message("id", "1")?;
        let code = &answer["error"]["details"]["code"];
        assert_eq!(
            code, "CONTROL_UI_ORIGIN_NOT_ALLOWED",
            "{origin:?} on {host}: {answer}"
        );
        assert_eq!(socket.frame_of(first::CLOSE)?.close()?.0, 1008);
    }
    Ok(())
}

#[test]
fn a_local_page_does_not_pass_for_a_local_program() -> TestResult {
    let server = TestServer::start()?;
    // The origin is accepted, and the token is right; but a page brings no device.
    let origin = ["Origin: http://localhost:5173"];
    for (id, mode) in [("gateway-client", "backend"), ("cli", "cli")] {
        let mut params = operator_params(TOKEN, &["operator.admin"]);
        params["client"]["id"] = id.into();
        params["client"]["mode"] = mode.into();
        let answer = connect_as(&server, &origin, params)?;
        assert_eq!(answer["payload"]["auth"]["scopes"], json!([]), "{answer}");
    }
    let mut params = operator_params(TOKEN, &["operator.admin"]);
    params["client"]["id"] = "openclaw-control-ui".into();
    params["client"]["mode"] = "ui".into();
    let refused = connect_as(&server, &origin, params)?;
    let code = &refused["error"]["details"]["code"];
    assert_eq!(code, "CONTROL_UI_DEVICE_IDENTITY_REQUIRED", "{refused}");
    Ok(())
}

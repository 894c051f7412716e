//! Somebody between a client and the gateway changes what the client sends.

use clawgate_tests::failure::TestResult;
use clawgate_tests::raw_client::RawClient;
use serde_json::{Value, json};

use crate::devices::{Device, code};
use crate::server::{TOKEN, TestServer};

#[test]
fn whatever_the_signature_covers_cannot_be_changed() -> TestResult {
    let server = TestServer::start()?;
    let device = Device::app(7, &["operator.read"]).with(json!({ "token": TOKEN }));
    let changes: [(&str, Value); 8] = [
        ("/scopes", json!(["operator.read", "operator.admin"])),
        ("/scopes", json!(["operator.admin"])),
        ("/scopes", json!([])),
        ("/role", json!("node")),
        ("/client/id", json!("cli")),
        ("/client/mode", json!("cli")),
        ("/client/platform", json!("windows")),
        ("/device/signedAt", json!(1)),
    ];
    for (place, value) in changes {
        let changed = device.connect_changed(&server.url(), |params| {
            if let Some(field) = params.pointer_mut(place) {
                *field = value.clone();
            }
        })?;
        let code = code(changed)?;
        let right = match place {
            "/device/signedAt" => "DEVICE_AUTH_SIGNATURE_EXPIRED",
            _ => "DEVICE_AUTH_SIGNATURE_INVALID",
        };
        assert_eq!(code, right, "{place} {value}");
    }
    // The secret is covered too: another one cannot be slipped in beside the proof.
    let other = device.connect_changed(&server.url(), |params| {
        params["auth"] = json!({ "token": "another", "password": TOKEN });
    })?;
    assert_eq!(code(other)?, "DEVICE_AUTH_SIGNATURE_INVALID");
    Ok(())
}

#[test]
fn without_its_proof_a_client_loses_its_scopes() -> TestResult {
    let server = TestServer::start()?;
    let device = Device::app(7, &["operator.admin"]).with(json!({ "token": TOKEN }));
    let (mut client, answer) = device.connect_changed(&server.url(), |params| {
        if let Value::Object(fields) = params {
            fields.remove("device");
        }
    })?;
    let hello = answer.payload()?;
    assert_eq!(hello["auth"]["scopes"], json!([]));
    assert_eq!(hello["auth"]["deviceToken"], Value::Null);
    for method in [
        "status",
        "system-presence",
        "config.get",
        "device.pair.list",
    ] {
        let refused = client.call(method, json!({}))?.refusal()?;
        assert_eq!(refused["details"]["code"], "MISSING_SCOPE", "{method}");
    }
    Ok(())
}

#[test]
fn older_versions_of_the_protocol_are_refused_with_both_ranges() -> TestResult {
    let server = TestServer::start()?;
    let device = Device::app(7, &["operator.read"]).with(json!({ "token": TOKEN }));
    for (min, max) in [(1, 3), (3, 3), (5, 9)] {
        let (client, answer) = device.connect_changed(&server.url(), |params| {
            params["minProtocol"] = json!(min);
            params["maxProtocol"] = json!(max);
        })?;
        let refusal = answer.clone().refusal()?;
        assert_eq!(refusal["details"]["clientMaxProtocol"], max);
        assert_eq!(refusal["details"]["expectedProtocol"], 4);
        assert_eq!(code((client, answer))?, "PROTOCOL_MISMATCH");
    }
    Ok(())
}

#[test]
fn nobody_speaks_before_the_hello() -> TestResult {
    let server = TestServer::start()?;
    for method in ["health", "status", "system-event", "device.pair.list"] {
        let mut client = RawClient::dial(&server.url())?;
        client.event("connect.challenge")?;
        let refused = client.call(method, json!({}))?.refusal()?;
        assert_eq!(refused["code"], "INVALID_REQUEST", "{method}");
        assert_eq!(client.closed()?.code, 1008, "{method}");
    }
    Ok(())
}

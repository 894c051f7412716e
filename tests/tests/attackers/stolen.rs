//! Somebody has a device's token, and not its key.

use clawgate_tests::failure::TestResult;
use clawgate_tests::raw_client::RawClient;
use serde_json::json;

use crate::devices::{Device, code};
use crate::server::{TOKEN, TestServer};

const READ: &[&str] = &["operator.read"];

#[test]
fn a_device_token_is_worth_nothing_without_the_key_of_its_device() -> TestResult {
    let server = TestServer::start()?;
    let url = server.url();
    let victim = Device::app(7, READ);
    let (_, auth) = victim
        .clone()
        .with(json!({ "token": TOKEN }))
        .welcome(&url)?;
    let stolen = &auth["deviceToken"];
    assert!(stolen.is_string(), "{auth}");
    let own = json!({ "deviceToken": stolen });
    let as_shared = json!({ "token": stolen });

    // With a key of the thief, known to the gateway or not.
    let thief = Device::app(8, READ);
    assert_eq!(
        thief.clone().with(own.clone()).refused(&url)?,
        "AUTH_DEVICE_TOKEN_MISMATCH"
    );
    thief
        .clone()
        .with(json!({ "token": TOKEN }))
        .welcome(&url)?;
    assert_eq!(
        thief.clone().with(own.clone()).refused(&url)?,
        "AUTH_DEVICE_TOKEN_MISMATCH"
    );
    assert_eq!(
        thief.clone().with(as_shared.clone()).refused(&url)?,
        "AUTH_TOKEN_MISMATCH"
    );
    // With the key of the thief and the name of the victim.
    let named = thief
        .clone()
        .with(own.clone())
        .connect_changed(&url, |params| {
            params["device"]["id"] = victim.id().into();
        })?;
    assert_eq!(code(named)?, "DEVICE_AUTH_DEVICE_ID_MISMATCH");
    // Without any key.
    let bare = thief
        .with(own.clone())
        .connect_changed(&url, |params| params["device"] = json!(null))?;
    assert!(bare.1.refusal().is_ok());
    let mut client = RawClient::dial(&url)?;
    client.event("connect.challenge")?;
    let mut params = clawgate_tests::raw_client::operator_params("", READ);
    params["auth"] = as_shared;
    let answer = client.call("connect", params)?;
    assert_eq!(code((client, answer))?, "AUTH_TOKEN_MISMATCH");
    // Its device still comes in.
    assert_eq!(victim.with(own).welcome(&url)?.1["method"], "device-token");
    Ok(())
}

#[test]
fn a_token_serves_one_role_and_no_more_scopes_than_it_was_made_for() -> TestResult {
    let server = TestServer::start()?;
    let url = server.url();
    let app = Device::app(7, READ);
    let (_, auth) = app.with(json!({ "token": TOKEN })).welcome(&url)?;
    let own = json!({ "deviceToken": auth["deviceToken"] });
    for scopes in [
        &["operator.admin"][..],
        &["operator.read", "operator.write"],
        &["operator.pairing"],
    ] {
        let wider = Device::app(7, scopes).with(own.clone());
        assert_eq!(wider.refused(&url)?, "AUTH_SCOPE_MISMATCH", "{scopes:?}");
    }
    let node = Device::node(7).with(own);
    assert_eq!(node.refused(&url)?, "AUTH_DEVICE_TOKEN_MISMATCH");
    Ok(())
}

#[test]
fn a_token_that_was_revoked_ends_its_connection_and_opens_no_other() -> TestResult {
    let server = TestServer::start()?;
    let url = server.url();
    let victim = Device::app(7, READ);
    let (_, auth) = victim
        .clone()
        .with(json!({ "token": TOKEN }))
        .welcome(&url)?;
    let own = victim
        .clone()
        .with(json!({ "deviceToken": auth["deviceToken"] }));
    let (mut connected, _) = own.welcome(&url)?;
    let mut admin = server.client()?;
    let target = json!({ "deviceId": victim.id(), "role": "operator" });
    admin.call("device.token.revoke", target)?.payload()?;
    assert_eq!(connected.closed()?.code, 4001);
    assert_eq!(own.refused(&url)?, "AUTH_DEVICE_TOKEN_MISMATCH");
    Ok(())
}

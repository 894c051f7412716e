//! Device tokens: whose they are, and how they end.

use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::support::{DEVICE, THIEF, all, app, pair, refusal, shared};

const READ: &[&str] = &["operator.read"];

#[test]
fn a_rotated_token_ends_its_connections_at_once_and_is_worth_nothing() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    let hello = pair(
        &owner,
        &mut client,
        "a",
        &app(&gateway, READ, &shared(&gateway)),
    )?;
    let old = hello["auth"]["deviceToken"].clone();
    client.stop("a")?;
    client.connect_device("b", DEVICE.0, app(&gateway, READ, &json!({})))?;
    client.hello("b")?;

    let rotated = owner.json(&["devices", "rotate", &DEVICE.1[..8]])?;
    let close = client.wait("b", "close")?;
    assert_eq!(close["code"], 4001);
    assert_eq!(close["reason"], "client invalidated: device-token-rotated");
    client.stop("b")?;

    // The owner of the files sees the new token; the old one lets nobody in.
    let new = rotated["rotated"]["token"].clone();
    assert_ne!(new, old);
    let explicit = |token| app(&gateway, READ, &json!({ "deviceToken": token }));
    client.connect_device("old", DEVICE.0, explicit(old))?;
    let details = refusal(&mut client, "old")?;
    assert_eq!(details["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    client.connect_device("new", DEVICE.0, explicit(new))?;
    assert_eq!(client.hello("new")?["auth"]["method"], "device-token");
    Ok(())
}

#[test]
fn a_revoked_device_is_out_until_it_is_approved_again() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    let options = app(&gateway, READ, &shared(&gateway));
    let hello = pair(&owner, &mut client, "a", &options)?;

    owner.json(&["devices", "revoke", DEVICE.1])?;
    let close = client.wait("a", "close")?;
    assert_eq!(close["reason"], "client invalidated: device-token-revoked");
    client.stop("a")?;

    let token = json!({ "deviceToken": hello["auth"]["deviceToken"] });
    client.connect_device("b", DEVICE.0, app(&gateway, READ, &token))?;
    let details = refusal(&mut client, "b")?;
    assert_eq!(details["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    // The gateway's own token does not make up for it.
    client.connect_device("c", DEVICE.0, options.clone())?;
    assert_eq!(refusal(&mut client, "c")?["code"], "PAIRING_REQUIRED");

    let hello_again = pair(&owner, &mut client, "d", &options)?;
    assert_ne!(
        hello_again["auth"]["deviceToken"],
        hello["auth"]["deviceToken"]
    );
    Ok(())
}

#[test]
fn a_removed_device_is_a_stranger() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    let options = app(&gateway, READ, &shared(&gateway));
    pair(&owner, &mut client, "a", &options)?;

    owner.json(&["devices", "rename", &DEVICE.1[..8], "the phone"])?;
    let list = owner.json(&["devices", "list"])?;
    assert_eq!(list["paired"][0]["operatorLabel"], "the phone");
    owner.json(&["devices", "remove", &DEVICE.1[..8]])?;

    let close = client.wait("a", "close")?;
    assert_eq!(close["reason"], "client invalidated: device-pair-removed");
    assert_eq!(owner.json(&["devices", "list"])?["paired"], json!([]));
    client.stop("a")?;
    client.connect_device("b", DEVICE.0, options)?;
    assert_eq!(refusal(&mut client, "b")?["reason"], "not-paired");
    Ok(())
}

#[test]
fn a_stolen_token_is_worth_nothing_to_another_device() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    let hello = pair(
        &owner,
        &mut client,
        "a",
        &app(&gateway, READ, &shared(&gateway)),
    )?;
    let stolen = &hello["auth"]["deviceToken"];

    for (field, code) in [
        ("deviceToken", "AUTH_DEVICE_TOKEN_MISMATCH"),
        ("token", "AUTH_TOKEN_MISMATCH"),
    ] {
        let options = app(&gateway, READ, &json!({ field: stolen }));
        client.connect_device(field, THIEF, options.clone())?;
        assert_eq!(refusal(&mut client, field)?["code"], code);
        // Without any device it is no better.
        let bare = format!("{field} without a device");
        client.connect(&bare, options)?;
        let details = refusal(&mut client, &bare)?;
        assert_ne!(details["code"], "PAIRING_REQUIRED", "{details}");
    }
    // The device that it belongs to is not disturbed.
    client.call("a", "1", "status", json!({}))?;
    assert_eq!(client.answer("a", "1")?["ok"], true);
    Ok(())
}

#[test]
fn a_device_with_a_wrong_shared_token_is_told_of_its_own_and_comes_in_by_it() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    pair(
        &owner,
        &mut client,
        "a",
        &app(&gateway, READ, &shared(&gateway)),
    )?;
    client.stop("a")?;

    let wrong = json!({ "token": "out of date" });
    client.connect_device("b", DEVICE.0, app(&gateway, READ, &wrong))?;
    let report = client.wait("b", "connect-error")?;
    let details = &report["error"]["details"];
    assert_eq!(details["code"], "AUTH_TOKEN_MISMATCH");
    assert_eq!(details["canRetryWithDeviceToken"], true);
    assert_eq!(details["recommendedNextStep"], "retry_with_device_token");
    // The client does as it is told, by itself.
    assert_eq!(client.hello("b")?["auth"]["method"], "device-token");
    Ok(())
}

//! A device asks, somebody answers, and it comes in.

use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::support::{DEVICE, all, app, approve, node, pair, refusal, shared};

#[test]
fn the_published_client_pairs_and_comes_back_by_its_token() -> TestResult {
    let (mut gateway, owner, mut client) = all()?;
    let options = app(&gateway, &["operator.read"], &shared(&gateway));

    client.connect_device("a", DEVICE.0, options.clone())?;
    let details = refusal(&mut client, "a")?;
    assert_eq!(details["code"], "PAIRING_REQUIRED");
    assert_eq!(details["reason"], "not-paired");
    assert_eq!(details["deviceId"], DEVICE.1);
    // It waits for a human and does not knock again.
    client.wait("a", "reconnect-paused")?;

    approve(&owner, &details)?;
    client.connect_device("b", DEVICE.0, options)?;
    let hello = client.hello("b")?;
    assert_eq!(hello["auth"]["method"], "token");
    assert_eq!(hello["auth"]["scopes"], json!(["operator.read"]));
    let token = hello["auth"]["deviceToken"].clone();
    assert!(token.is_string(), "{hello}");
    assert_eq!(client.wait("b", "device-token")?["deviceId"], DEVICE.1);

    // From now on without the gateway's token, and after a restart too.
    let bare = app(&gateway, &["operator.read"], &json!({}));
    client.connect_device("c", DEVICE.0, bare.clone())?;
    let hello = client.hello("c")?;
    assert_eq!(hello["auth"]["method"], "device-token");
    assert_eq!(hello["auth"]["deviceToken"], token);
    client.stop("b")?;
    gateway.stop()?;
    gateway.restart()?;
    client.connect_device("d", DEVICE.0, bare)?;
    let hello = client.hello("d")?;
    assert_eq!(hello["auth"]["method"], "device-token");
    assert_eq!(hello["auth"]["deviceToken"], token);
    client.call("d", "1", "status", json!({}))?;
    assert_eq!(client.answer("d", "1")?["ok"], true);
    Ok(())
}

#[test]
fn a_node_pairs_in_its_role_and_gets_a_token_of_its_own() -> TestResult {
    let (gateway, owner, mut client) = all()?;

    let hello = pair(
        &owner,
        &mut client,
        "node",
        &node(&gateway, &shared(&gateway)),
    )?;
    assert_eq!(hello["auth"]["role"], "node");
    assert_eq!(hello["auth"]["scopes"], json!([]));

    client.connect_device("again", DEVICE.0, node(&gateway, &json!({})))?;
    let again = client.hello("again")?;
    assert_eq!(again["auth"]["method"], "device-token");
    assert_eq!(again["auth"]["deviceToken"], hello["auth"]["deviceToken"]);

    // Being a node makes nobody an operator.
    client.connect_device("operator", DEVICE.0, app(&gateway, &[], &shared(&gateway)))?;
    let details = refusal(&mut client, "operator")?;
    assert_eq!(details["reason"], "role-upgrade");
    Ok(())
}

#[test]
fn the_list_tells_who_asks_and_who_is_paired() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    let options = app(&gateway, &["operator.read"], &shared(&gateway));
    client.connect_device("a", DEVICE.0, options)?;
    let details = refusal(&mut client, "a")?;

    let list = owner.json(&["devices", "list"])?;
    let request = &list["pending"][0];
    assert_eq!(request["requestId"], details["requestId"]);
    assert_eq!(request["deviceId"], DEVICE.1);
    assert_eq!(request["scopes"], json!(["operator.read"]));
    assert!(list["via"].as_str().unwrap().starts_with("unix:"), "{list}");
    let text = owner.run(&["devices", "list"])?.stdout;
    let id = details["requestId"].as_str().unwrap();
    assert!(
        text.contains(id) && text.contains("No device is paired"),
        "{text}"
    );

    // A beginning of the id is enough, and the approval shows who it is for.
    let ran = owner.run(&["devices", "approve", &id[..8]])?;
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in [id, DEVICE.1, "test", "operator.read", "this machine"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    let list = owner.json(&["devices", "list"])?;
    assert_eq!(list["pending"], json!([]));
    assert_eq!(list["paired"][0]["deviceId"], DEVICE.1);
    Ok(())
}

#[test]
fn the_newest_request_is_approved_only_with_a_yes() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    client.connect_device("a", DEVICE.0, node(&gateway, &shared(&gateway)))?;
    refusal(&mut client, "a")?;

    let asked = owner.run(&["devices", "approve", "--latest", "--json"])?;
    assert_eq!(asked.code, 2, "{asked:?}");
    assert_eq!(asked.error()?["code"], "approval_unconfirmed");
    assert_eq!(owner.json(&["devices", "list"])?["paired"], json!([]));

    let approved = owner.json(&["devices", "approve", "--latest", "--yes"])?;
    assert_eq!(approved["request"]["role"], "node");
    assert_eq!(approved["device"]["deviceId"], DEVICE.1);
    Ok(())
}

#[test]
fn a_rejected_device_stays_out_and_may_ask_again() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    let options = app(&gateway, &["operator.read"], &shared(&gateway));
    client.connect_device("a", DEVICE.0, options.clone())?;
    let first = refusal(&mut client, "a")?["requestId"].clone();

    let rejected = owner.json(&["devices", "reject", first.as_str().unwrap()])?;
    assert_eq!(rejected["request"]["deviceId"], DEVICE.1);
    let again = owner.run(&["devices", "approve", first.as_str().unwrap(), "--json"])?;
    assert_eq!(again.code, 6, "{again:?}");
    assert_eq!(again.error()?["code"], "not_found");

    client.connect_device("b", DEVICE.0, options)?;
    let details = refusal(&mut client, "b")?;
    assert_eq!(details["code"], "PAIRING_REQUIRED");
    assert_ne!(details["requestId"], first);
    Ok(())
}

#[test]
fn more_scopes_are_asked_for_anew() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    let with = |scopes: &[&str]| app(&gateway, scopes, &shared(&gateway));
    pair(&owner, &mut client, "a", &with(&["operator.read"]))?;

    client.connect_device("b", DEVICE.0, with(&["operator.read", "operator.write"]))?;
    let details = refusal(&mut client, "b")?;
    assert_eq!(details["reason"], "scope-upgrade");
    assert_eq!(details["approvedScopes"], json!(["operator.read"]));

    approve(&owner, &details)?;
    client.connect_device("c", DEVICE.0, with(&["operator.read", "operator.write"]))?;
    let scopes = client.hello("c")?["auth"]["scopes"].clone();
    assert_eq!(scopes, json!(["operator.read", "operator.write"]));
    Ok(())
}

//! Pairing, device tokens and join tokens, as devices and operators meet them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::time::Duration;

use clawgate_core::{
    gateway::LocalApproval, ids::ConnId, policy::TrustedProxies, protocol::Role, server::PeerFacts,
    store::StoreFailure,
};
use common::{Device, Host, token_rule};
use serde_json::{Value, json};

const READ: &[&str] = &["operator.read"];
const TOKEN: &str = "hunter2";

fn host() -> Host {
    Host::new(token_rule(TOKEN))
}

fn shared() -> Value {
    json!({ "token": TOKEN })
}

/// The owner of the gateway's files, who may do everything.
fn owner(host: &mut Host) -> ConnId {
    let conn = host.open_peer(PeerFacts::owner()).unwrap();
    host.recv(conn);
    let params = common::connect_params("", &["operator.admin", "operator.pairing"]);
    host.call(conn, "1", "connect", params);
    assert_eq!(host.recv(conn)["ok"], true);
    conn
}

/// Asks, has it approved, and comes in; gives the `auth` of the hello.
fn pair(host: &mut Host, device: &Device) -> (ConnId, Value) {
    let refusal = host.refused(&device.clone().with(shared()));
    let request = refusal["details"]["requestId"].clone();
    let owner = owner(host);
    host.get(
        owner,
        "device.pair.approve",
        json!({ "requestId": request }),
    );
    host.drop_connection(owner);
    host.welcome(&device.clone().with(shared()))
}

fn token_of(auth: &Value) -> Value {
    json!({ "deviceToken": auth["deviceToken"].as_str().expect("a device token") })
}

#[test]
fn a_remote_device_waits_for_an_approval_and_then_has_a_token_of_its_own() {
    let mut host = host();
    let app = Device::remote(7, READ);
    let refusal = host.refused(&app.clone().with(shared()));
    assert_eq!(refusal["code"], "NOT_PAIRED");
    let details = &refusal["details"];
    assert_eq!(details["code"], "PAIRING_REQUIRED");
    assert_eq!(details["reason"], "not-paired");
    let request = details["requestId"].as_str().unwrap().to_owned();
    assert_eq!(
        details["approveCommand"],
        format!("clawgate devices approve {request}")
    );
    assert!(refusal["message"].as_str().unwrap().contains(&request));

    // The same question keeps its id: somebody may be typing it.
    let again = host.refused(&app.clone().with(shared()));
    assert_eq!(again["details"]["requestId"], request);

    let owner = owner(&mut host);
    let list = host.get(owner, "device.pair.list", json!({}));
    assert_eq!(list["pending"][0]["requestId"], request);
    assert_eq!(list["pending"][0]["remoteIp"], "203.0.113.7");
    let approved = host.get(
        owner,
        "device.pair.approve",
        json!({ "requestId": request }),
    );
    assert_eq!(approved["device"]["deviceId"], app.id());
    assert_eq!(approved["device"]["approvedVia"], "operator");

    let (first, auth) = host.welcome(&app.clone().with(shared()));
    assert_eq!(auth["scopes"], json!(READ));
    host.drop_connection(first);
    // The token is enough from now on, after a restart too, and stays the same.
    host.restart();
    let (_, by_token) = host.welcome(&app.clone().with(token_of(&auth)));
    assert_eq!(by_token["method"], "device-token");
    assert_eq!(by_token["deviceToken"], auth["deviceToken"]);
    // Older clients send it in the field of the shared token.
    let as_token = json!({ "token": auth["deviceToken"] });
    assert_eq!(
        host.welcome(&app.with(as_token)).1["method"],
        "device-token"
    );
    // Nothing that is kept holds a token.
    let kept: String = host
        .disk
        .rows()
        .iter()
        .map(|row| row.document.as_str())
        .collect();
    assert!(!kept.contains(auth["deviceToken"].as_str().unwrap()) && !kept.contains(TOKEN));
}

#[test]
fn a_token_is_worth_nothing_to_another_device_role_or_for_more_scopes() {
    let mut host = host();
    let app = Device::remote(7, READ);
    let (_, auth) = pair(&mut host, &app);
    let mut thief = Device::remote(8, READ).with(token_of(&auth));
    let code = |host: &mut Host, device: &Device| {
        host.refused(device)["details"]["code"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(code(&mut host, &thief), "AUTH_DEVICE_TOKEN_MISMATCH");
    thief = Device::node(7).with(token_of(&auth));
    assert_eq!(code(&mut host, &thief), "AUTH_DEVICE_TOKEN_MISMATCH");
    let greedy = Device::remote(7, &["operator.admin"]).with(token_of(&auth));
    assert_eq!(code(&mut host, &greedy), "AUTH_SCOPE_MISMATCH");
    let guess = app.with(json!({ "deviceToken": "guess" }));
    assert_eq!(code(&mut host, &guess), "AUTH_DEVICE_TOKEN_MISMATCH");
}

#[test]
fn more_scopes_or_another_role_are_asked_for_anew() {
    let mut host = host();
    let (_, auth) = pair(&mut host, &Device::remote(7, READ));
    let wider = Device::remote(7, &["operator.read", "operator.write"]);
    let refusal = host.refused(&wider.clone().with(shared()));
    assert_eq!(refusal["details"]["reason"], "scope-upgrade");
    assert_eq!(refusal["details"]["approvedScopes"], json!(READ));
    let node = host.refused(&Device::node(7).with(shared()));
    assert_eq!(node["details"]["reason"], "role-upgrade");
    // Until then it has what it had.
    host.welcome(&Device::remote(7, READ).with(token_of(&auth)));
    let (_, wide) = pair(&mut host, &wider);
    assert_eq!(wide["scopes"], json!(["operator.read", "operator.write"]));
    // The old token was for less and is not made more of.
    let refused = host.refused(&Device::remote(7, READ).with(token_of(&auth)));
    assert_eq!(refused["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
}

#[test]
fn another_kind_of_machine_is_asked_for_anew_and_an_update_is_not() {
    let mut host = host();
    let mut app = Device::remote(7, READ);
    app.client.platform = "macOS 15.1".into();
    pair(&mut host, &app);
    app.client.platform = "macOS 15.2".into();
    host.welcome(&app.clone().with(shared()));
    app.client.platform = "linux".into();
    let refusal = host.refused(&app.with(shared()));
    assert_eq!(refusal["details"]["reason"], "metadata-upgrade");
}

#[test]
fn devices_on_this_machine_come_in_at_once_as_far_as_the_spec_goes() {
    let mut host = host();
    // New programs and nodes with the right token.
    let (_, auth) = host.welcome(&Device::remote(7, READ).local().with(shared()));
    assert!(auth["deviceToken"].is_string());
    host.welcome(&Device::node(8).local().with(shared()));
    // More scopes with the shared token, but not with a device token.
    let wide = Device::remote(7, &["operator.admin"]).local();
    let refused = host.refused(&wide.clone().with(token_of(&auth)));
    assert_eq!(refused["details"]["code"], "AUTH_SCOPE_MISMATCH");
    host.welcome(&wide.with(shared()));
    // A known operator does not become a node unasked.
    let node = host.refused(&Device::node(7).local().with(shared()));
    assert_eq!(node["details"]["reason"], "role-upgrade");
    // Neither does a page of a browser, or a known device of another kind.
    let mut page = Device::remote(9, READ).local().with(shared());
    page.peer.headers = clawgate_core::policy::RequestHeaders::new([
        ("host", "127.0.0.1:18789"),
        ("origin", "http://127.0.0.1:18789"),
    ]);
    assert_eq!(host.refused(&page)["details"]["reason"], "not-paired");
    let mut other = Device::remote(7, READ).local().with(shared());
    other.client.platform = "windows".into();
    assert_eq!(
        host.refused(&other)["details"]["reason"],
        "metadata-upgrade"
    );
}

#[test]
fn nobody_comes_in_unasked_where_the_operator_wants_to_be_asked() {
    let mut host = host().with_policy(|policy| policy.pairing.local = LocalApproval::Ask);
    for device in [Device::remote(7, READ), Device::node(8)] {
        let refusal = host.refused(&device.local().with(shared()));
        assert_eq!(refusal["details"]["reason"], "not-paired");
    }
}

#[test]
fn new_nodes_of_a_named_network_come_in_and_nothing_else_from_there() {
    let mut host = host().with_policy(|policy| {
        policy.pairing.node_networks = TrustedProxies::parse(["203.0.113.0/24"]);
    });
    host.welcome(&Device::node(7).with(shared()));
    let operator = host.refused(&Device::remote(8, READ).with(shared()));
    assert_eq!(operator["details"]["reason"], "not-paired");
    let mut far = Device::node(9).with(shared());
    far.peer = PeerFacts::direct([198, 51, 100, 1].into());
    assert_eq!(host.refused(&far)["details"]["reason"], "not-paired");
    // The network stands for no secret.
    let code = host.refused(&Device::node(10))["details"]["code"].clone();
    assert_eq!(code, "AUTH_TOKEN_MISSING");
}

#[test]
fn requests_end_and_their_number_is_bounded() {
    let mut host = host().with_limits(|limits| limits.max_pair_requests = 2);
    let owner = owner(&mut host);
    let ask = |host: &mut Host, seed| host.refused(&Device::remote(seed, READ).with(shared()));
    let first = ask(&mut host, 1);
    ask(&mut host, 2);
    let third = ask(&mut host, 3);
    assert_eq!(third["details"]["reason"], "too-many-requests");
    assert!(third["details"]["requestId"].is_null());
    // Neither does one that waits already get a second place, for another role.
    let node = host.refused(&Device::node(1).with(shared()));
    assert_eq!(node["details"]["reason"], "too-many-requests");
    // One that waits already is not turned away.
    assert!(ask(&mut host, 1)["details"]["requestId"].is_string());
    let pending = |host: &mut Host| {
        let list = host.get(owner, "device.pair.list", json!({}));
        list["pending"].as_array().unwrap().len()
    };
    assert_eq!(pending(&mut host), 2);
    host.advance(Duration::from_secs(300));
    assert_eq!(pending(&mut host), 0);
    let request = first["details"]["requestId"].clone();
    let late = host.ask(
        owner,
        "device.pair.approve",
        json!({ "requestId": request }),
    );
    assert_eq!(late["error"]["message"], "unknown requestId");
    assert!(ask(&mut host, 3)["details"]["requestId"].is_string());
}

#[test]
fn a_request_outlives_a_restart_and_ends_on_time() {
    let mut host = host();
    let refusal = host.refused(&Device::remote(7, READ).with(shared()));
    host.advance(Duration::from_secs(200));
    host.restart();
    host.advance(Duration::from_secs(99));
    let conn = owner(&mut host);
    let list = host.get(conn, "device.pair.list", json!({}));
    assert_eq!(
        list["pending"][0]["requestId"],
        refusal["details"]["requestId"]
    );
    host.advance(Duration::from_secs(2));
    let list = host.get(conn, "device.pair.list", json!({}));
    assert_eq!(list["pending"], json!([]));
}

#[test]
fn operators_that_may_pair_hear_of_requests_and_others_do_not() {
    let mut host = host();
    let pairing = host.connect(TOKEN, &["operator.pairing"]);
    let reader = host.connect(TOKEN, READ);
    let refusal = host.refused(&Device::remote(7, READ).with(shared()));
    let request = refusal["details"]["requestId"].clone();
    let heard = host.recv(pairing);
    assert_eq!(heard["event"], "device.pair.requested");
    assert_eq!(heard["payload"]["requestId"], request);
    let params = json!({ "requestId": request });
    host.call(pairing, "2", "device.pair.reject", params);
    let resolved = host.recv(pairing);
    assert_eq!(resolved["event"], "device.pair.resolved");
    assert_eq!(resolved["payload"]["decision"], "rejected");
    assert_eq!(
        host.recv(pairing)["payload"]["deviceId"],
        Device::remote(7, READ).id()
    );
    while let Some(frame) = host.try_recv(reader) {
        assert!(
            !frame["event"]
                .as_str()
                .unwrap_or_default()
                .starts_with("device.")
        );
    }
}

#[test]
fn an_approver_gives_nothing_that_it_does_not_hold() {
    let mut host = host();
    let admin = host.refused(&Device::remote(7, &["operator.admin"]).with(shared()));
    let node = host.refused(&Device::node(8).with(shared()));
    let plain = host.refused(&Device::remote(9, READ).with(shared()));
    let pairing = host.connect(TOKEN, &["operator.pairing", "operator.read"]);
    let mut approve = |refusal: &Value| {
        let request = refusal["details"]["requestId"].clone();
        host.ask(
            pairing,
            "device.pair.approve",
            json!({ "requestId": request }),
        )
    };
    for refused in [&admin, &node] {
        let answer = approve(refused);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("device pairing approval denied"),
            "{answer}"
        );
    }
    assert_eq!(approve(&plain)["ok"], true);
    let denied =
        host.disk.audit.iter().filter(|entry| {
            entry["action"] == "device.pair.approve" && entry["verdict"] == "denied"
        });
    assert_eq!(denied.count(), 2);
}

#[test]
fn a_device_manages_itself_and_sees_nobody_else() {
    let mut host = host();
    let scopes = ["operator.pairing", "operator.read"];
    let (_, mine) = pair(&mut host, &Device::remote(7, &scopes));
    pair(&mut host, &Device::remote(8, READ));
    host.refused(&Device::remote(9, READ).with(shared()));
    let (conn, _) = host.welcome(&Device::remote(7, &scopes).with(token_of(&mine)));
    let list = host.get(conn, "device.pair.list", json!({}));
    assert_eq!(list["pending"], json!([]));
    assert_eq!(list["paired"].as_array().unwrap().len(), 1);
    let other = Device::remote(8, READ).id();
    for (method, params) in [
        ("device.pair.remove", json!({ "deviceId": other })),
        (
            "device.pair.rename",
            json!({ "deviceId": other, "label": "x" }),
        ),
        (
            "device.token.rotate",
            json!({ "deviceId": other, "role": "operator" }),
        ),
        (
            "device.token.revoke",
            json!({ "deviceId": other, "role": "operator" }),
        ),
    ] {
        assert_eq!(host.ask(conn, method, params)["ok"], false, "{method}");
    }
    let own = Device::remote(7, READ).id();
    host.get(
        conn,
        "device.pair.rename",
        json!({ "deviceId": own, "label": " desk " }),
    );
    let wide = json!({ "deviceId": own, "role": "operator", "scopes": ["operator.admin"] });
    assert_eq!(host.ask(conn, "device.token.rotate", wide)["ok"], false);
    let rotated = host.get(
        conn,
        "device.token.rotate",
        json!({ "deviceId": own, "role": "operator" }),
    );
    assert_eq!(rotated["tokenDelivery"], "in-band");
    assert_eq!(
        host.closed(conn),
        Some((4001, "client invalidated: device-token-rotated".into()))
    );
    host.refused(&Device::remote(7, &scopes).with(token_of(&mine)));
    let fresh = json!({ "deviceToken": rotated["token"] });
    host.welcome(&Device::remote(7, &scopes).with(fresh));
}

#[test]
fn an_operator_that_is_no_device_removes_nodes_too_and_approves_none() {
    let mut host = host();
    let node = Device::node(8).local().with(shared());
    host.welcome(&node);
    let operator = host.connect(TOKEN, &["operator.pairing"]);
    let params = json!({ "deviceId": node.id(), "label": "attic" });
    host.get(operator, "device.pair.rename", params);
    let removed = json!({ "deviceId": node.id() });
    assert_eq!(
        host.get(operator, "device.pair.remove", removed.clone()),
        removed
    );

    let asking = host.refused(&Device::node(9).with(shared()));
    let request = json!({ "requestId": asking["details"]["requestId"] });
    let denied = host.ask(operator, "device.pair.approve", request);
    assert_eq!(denied["ok"], false, "{denied}");
}

#[test]
fn revocation_and_removal_disconnect_at_once() {
    let mut host = host();
    let app = Device::remote(7, READ);
    let (conn, auth) = pair(&mut host, &app);
    let chief = owner(&mut host);
    let target = json!({ "deviceId": app.id(), "role": "operator" });
    let rotated = host.get(chief, "device.token.rotate", target.clone());
    // The owner can hand it to a device that lost its own.
    assert!(rotated["token"].is_string());
    assert_eq!(host.closed(conn).unwrap().0, 4001);
    let (conn, _) = host.welcome(&app.clone().with(json!({ "deviceToken": rotated["token"] })));
    host.get(chief, "device.token.revoke", target);
    assert_eq!(
        host.closed(conn),
        Some((4001, "client invalidated: device-token-revoked".into()))
    );
    host.refused(&app.clone().with(json!({ "deviceToken": rotated["token"] })));
    // The shared secret does not bring it back by itself.
    let back = host.refused(&app.clone().with(shared()));
    assert_eq!(back["details"]["reason"], "role-upgrade");
    let (conn, again) = pair(&mut host, &app);
    assert_ne!(again["deviceToken"], auth["deviceToken"]);
    host.get(chief, "device.pair.remove", json!({ "deviceId": app.id() }));
    assert_eq!(
        host.closed(conn),
        Some((4001, "client invalidated: device-pair-removed".into()))
    );
    let gone = host.refused(&app.with(token_of(&again)));
    assert_eq!(gone["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
}

#[test]
fn an_operator_without_the_files_sees_no_token_of_another() {
    let mut host = host();
    let app = Device::remote(7, READ);
    pair(&mut host, &app);
    let admin = host.connect(TOKEN, &["operator.admin"]);
    let target = json!({ "deviceId": app.id(), "role": "operator" });
    let rotated = host.get(admin, "device.token.rotate", target);
    assert_eq!(rotated["tokenDelivery"], "withheld-cross-device");
    assert!(rotated["token"].is_null());
}

#[test]
fn a_wrong_secret_with_a_known_device_says_that_its_token_would_do() {
    let mut host = host();
    let app = Device::remote(7, READ);
    let (_, auth) = pair(&mut host, &app);
    let wrong = json!({ "token": "old" });
    let refusal = host.refused(&app.clone().with(wrong.clone()));
    assert_eq!(refusal["details"]["code"], "AUTH_TOKEN_MISMATCH");
    assert_eq!(refusal["details"]["canRetryWithDeviceToken"], true);
    assert_eq!(
        refusal["details"]["recommendedNextStep"],
        "retry_with_device_token"
    );
    let both = json!({ "token": "old", "deviceToken": auth["deviceToken"] });
    assert_eq!(host.welcome(&app.with(both)).1["method"], "device-token");
    let stranger = host.refused(&Device::remote(8, READ).with(wrong));
    assert_eq!(stranger["details"]["canRetryWithDeviceToken"], false);
}

#[test]
fn a_lost_commit_is_told_and_leaves_nothing_behind() {
    let mut host = host();
    let app = Device::remote(7, READ);
    host.disk.failure = Some(StoreFailure::Full);
    let refusal = host.refused(&app.clone().with(shared()));
    assert_eq!(refusal["code"], "UNAVAILABLE");
    assert_eq!(refusal["retryable"], true);
    assert!(refusal["message"].as_str().unwrap().contains("no space"));
    let reader = host.connect(TOKEN, READ);
    let health = host.get(reader, "health", json!({}));
    let error = health["plugins"]["errors"][0]["error"].as_str().unwrap();
    assert!(error.contains("no space"), "{error}");
    host.disk.failure = None;
    let (_, auth) = pair(&mut host, &app);
    host.restart();
    host.welcome(&app.clone().with(token_of(&auth)));
    let reader = host.connect(TOKEN, READ);
    assert!(host.get(reader, "health", json!({}))["plugins"].is_null());

    // A change that is lost was not made.
    let chief = owner(&mut host);
    host.disk.failure = Some(StoreFailure::Io("broken".into()));
    let removed = host.ask(chief, "device.pair.remove", json!({ "deviceId": app.id() }));
    assert_eq!(removed["error"]["code"], "UNAVAILABLE");
    host.disk.failure = None;
    let list = host.get(chief, "device.pair.list", json!({}));
    assert_eq!(list["paired"][0]["deviceId"], app.id());
    host.welcome(&app.with(token_of(&auth)));
}

#[test]
fn a_gateway_that_changes_nothing_notices_that_the_disk_works_again() {
    let mut host = host();
    host.disk.failure = Some(StoreFailure::Full);
    host.refused(&Device::remote(7, READ).with(shared()));
    let problems = |host: &mut Host| {
        let reader = host.connect(TOKEN, READ);
        let health = host.get(reader, "health", json!({}));
        health["plugins"]["errors"].clone()
    };
    host.advance(Duration::from_secs(120));
    assert!(problems(&mut host).is_array());
    host.disk.failure = None;
    // The connection of the reader is a change too: to the audit log.
    host.advance(Duration::from_secs(60));
    let before = host.disk.audit.len();
    assert!(problems(&mut host).is_null());
    assert!(before > 0, "nothing was tried");
}

#[test]
fn a_join_token_lets_a_machine_in_with_what_was_approved_beforehand() {
    let mut host = host();
    let chief = owner(&mut host);
    let asked = json!({
        "role": "node",
        "commands": ["system.notify"],
        "uses": 1,
        "ttlMs": 60_000,
        "url": "wss://gw.example.org",
    });
    let invite = host.get(chief, "device.invite.create", asked);
    let join = json!({ "bootstrapToken": invite["token"] });
    assert!(invite["setupCode"].is_string());
    // Not for another role.
    let operator = host.refused(&Device::remote(7, &["operator.admin"]).with(join.clone()));
    assert_eq!(operator["details"]["code"], "AUTH_BOOTSTRAP_TOKEN_INVALID");
    let (_, auth) = host.welcome(&Device::node(7).with(join.clone()));
    assert_eq!(auth["method"], "bootstrap-token");
    let list = host.get(chief, "device.pair.list", json!({}));
    assert_eq!(list["paired"][0]["approvedVia"], "invite");
    // Used up for others; a device whose answer was lost may come again.
    let other = host.refused(&Device::node(8).with(join.clone()));
    assert_eq!(other["details"]["code"], "AUTH_BOOTSTRAP_TOKEN_INVALID");
    host.welcome(&Device::node(7).with(join));
    host.restart();
    host.welcome(&Device::node(7).with(token_of(&auth)));
    let kept: String = host
        .disk
        .rows()
        .iter()
        .map(|row| row.document.as_str())
        .collect();
    assert!(!kept.contains(invite["token"].as_str().unwrap()));
}

#[test]
fn a_device_that_was_turned_out_does_not_return_by_the_join_token_that_it_used() {
    for method in ["device.pair.remove", "device.token.revoke"] {
        let mut host = host();
        let chief = owner(&mut host);
        let invite = host.get(chief, "device.invite.create", json!({ "uses": 1 }));
        let join = json!({ "bootstrapToken": invite["token"] });
        let node = Device::node(7).with(join);
        host.welcome(&node);
        let params = match method {
            "device.pair.remove" => json!({ "deviceId": node.id() }),
            _ => json!({ "deviceId": node.id(), "role": "node" }),
        };
        host.get(chief, method, params);
        let refused = host.refused(&node);
        let code = &refused["details"]["code"];
        assert_eq!(code, "AUTH_BOOTSTRAP_TOKEN_INVALID", "{method}");
    }
}

#[test]
fn a_join_token_that_is_open_approves_a_device_anew_and_counts_it() {
    let mut host = host();
    let chief = owner(&mut host);
    let invite = host.get(chief, "device.invite.create", json!({ "uses": 2 }));
    let node = Device::node(7).with(json!({ "bootstrapToken": invite["token"] }));
    let first = host.welcome(&node).1["deviceToken"].clone();
    let target = json!({ "deviceId": node.id(), "role": "node" });
    host.get(chief, "device.token.revoke", target);
    let second = host.welcome(&node).1["deviceToken"].clone();
    assert!(second.is_string() && second != first, "{second}");
    let other = Device::node(8).with(json!({ "bootstrapToken": invite["token"] }));
    assert_eq!(
        host.refused(&other)["details"]["code"],
        "AUTH_BOOTSTRAP_TOKEN_INVALID"
    );
}

#[test]
fn join_tokens_end_are_revoked_and_take_an_approver() {
    let mut host = host();
    let chief = owner(&mut host);
    let create = |host: &mut Host, params: Value| host.get(chief, "device.invite.create", params);
    let invite = create(&mut host, json!({ "ttlMs": 1_000 }));
    let join = |invite: &Value| json!({ "bootstrapToken": invite["token"] });
    host.advance(Duration::from_secs(1));
    host.refused(&Device::node(7).with(join(&invite)));
    let invite = create(&mut host, json!({}));
    host.get(
        chief,
        "device.invite.revoke",
        json!({ "inviteId": invite["inviteId"] }),
    );
    host.refused(&Device::node(7).with(join(&invite)));
    let pairing = host.connect(TOKEN, &["operator.pairing"]);
    let denied = host.ask(pairing, "device.invite.create", json!({ "role": "node" }));
    assert_eq!(denied["error"]["details"]["code"], "MISSING_SCOPE");
    let wide = json!({ "role": "operator", "scopes": ["operator.admin"] });
    assert_eq!(host.ask(pairing, "device.invite.create", wide)["ok"], false);
    for odd in [
        json!({ "uses": 0 }),
        json!({ "uses": 1_001 }),
        json!({ "ttlMs": 0 }),
        json!({ "role": "node", "scopes": ["operator.read"] }),
        json!({ "role": "operator", "commands": ["system.run"] }),
        json!({ "url": "ws://public.example.org" }),
    ] {
        let answer = host.ask(chief, "device.invite.create", odd.clone());
        assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{odd}");
    }
}

#[test]
fn a_join_token_never_gives_an_operator_more_than_it_says() {
    let mut host = host();
    let chief = owner(&mut host);
    let terms = json!({ "role": "operator", "scopes": ["operator.read"] });
    let invite = host.get(chief, "device.invite.create", terms);
    let greedy = Device::remote(7, &["operator.admin"]);
    let (_, auth) = host.welcome(&greedy.with(json!({ "bootstrapToken": invite["token"] })));
    assert_eq!(
        auth["scopes"],
        json!(["operator.read", "operator.sessions.read"])
    );
}

#[test]
fn a_connected_device_asks_for_more_and_hears_the_answer() {
    let mut host = host();
    let app = Device::remote(7, READ);
    let (conn, _) = pair(&mut host, &app);
    let more = json!({ "scopes": ["operator.read", "operator.write"] });
    let request = host.get(conn, "device.scopes.requestUpgrade", more)["requestId"].clone();
    host.call(
        conn,
        "wait",
        "device.scopes.waitUpgrade",
        json!({ "requestId": request }),
    );
    assert_eq!(host.try_recv(conn), None);
    let chief = owner(&mut host);
    host.get(
        chief,
        "device.pair.approve",
        json!({ "requestId": request }),
    );
    let answer = host.recv_response(conn);
    assert_eq!(answer["payload"]["status"], "approved");
    let token = json!({ "deviceToken": answer["payload"]["deviceToken"] });
    let wide = Device::remote(7, &["operator.read", "operator.write"]);
    host.welcome(&wide.with(token));
    let less = json!({ "scopes": ["operator.approvals"] });
    let refused = host.ask(conn, "device.scopes.requestUpgrade", less);
    assert_eq!(refused["ok"], false);
}

#[test]
fn whoever_waits_hears_of_an_approval_that_came_another_way() {
    let mut host = host();
    let (conn, _) = pair(&mut host, &Device::remote(7, READ));
    let more = ["operator.read", "operator.write"];
    let asked = json!({ "scopes": more });
    let request = host.get(conn, "device.scopes.requestUpgrade", asked)["requestId"].clone();
    let wait = json!({ "requestId": request });
    host.call(conn, "wait", "device.scopes.waitUpgrade", wait);
    let pairing = host.connect(TOKEN, &["operator.pairing"]);
    // The same device comes from this machine, where the token is enough for more.
    host.welcome(&Device::remote(7, &more).local().with(shared()));
    let answer = host.recv_response(conn);
    assert_eq!(answer["payload"]["status"], "approved");
    assert_eq!(host.recv(pairing)["payload"]["requestId"], request);
}

#[test]
fn removal_answers_what_the_device_had_asked_for() {
    let mut host = host();
    let app = Device::remote(7, READ);
    pair(&mut host, &app);
    let refusal = host.refused(&Device::remote(7, &["operator.admin"]).with(shared()));
    let pairing = host.connect(TOKEN, &["operator.pairing"]);
    let chief = owner(&mut host);
    host.get(chief, "device.pair.remove", json!({ "deviceId": app.id() }));
    let resolved = host.recv(pairing);
    assert_eq!(
        resolved["payload"]["requestId"],
        refusal["details"]["requestId"]
    );
    assert_eq!(resolved["payload"]["decision"], "rejected");
}

#[test]
fn failures_of_each_kind_are_counted_by_themselves() {
    let mut host = host();
    let app = Device::remote(7, READ);
    let (_, auth) = pair(&mut host, &app);
    for _ in 0..10 {
        host.refused(&app.clone().with(json!({ "deviceToken": "guess" })));
    }
    let locked = host.refused(&app.clone().with(token_of(&auth)));
    assert_eq!(locked["details"]["code"], "AUTH_RATE_LIMITED");
    assert!(locked["retryAfterMs"].as_u64().unwrap() > 200_000);
    // The shared secret is another kind.
    host.welcome(&app.clone().with(shared()));
    host.advance(Duration::from_secs(300));
    host.welcome(&app.with(token_of(&auth)));
}

#[test]
fn every_decision_is_in_the_audit_log_and_no_secret_is() {
    let mut host = host();
    let app = Device::remote(7, READ);
    let (_, auth) = pair(&mut host, &app);
    host.refused(&app.with(json!({ "token": "wrong-secret" })));
    let log = serde_json::to_string(&host.disk.audit).unwrap();
    for expected in [
        "not-paired",
        "device.pair.approve",
        "token_mismatch",
        "203.0.113.7",
    ] {
        assert!(log.contains(expected), "{expected} is not in {log}");
    }
    for secret in [TOKEN, "wrong-secret", auth["deviceToken"].as_str().unwrap()] {
        assert!(!log.contains(secret));
    }
}

#[test]
fn the_owner_needs_no_secret_and_a_node_still_needs_a_device() {
    let mut host = host();
    owner(&mut host);
    let conn = host.open_peer(PeerFacts::owner()).unwrap();
    host.recv(conn);
    let mut params = common::connect_params("", &[]);
    params["role"] = json!(Role::Node);
    host.call(conn, "1", "connect", params);
    let code = host.recv(conn)["error"]["details"]["code"].clone();
    assert_eq!(code, "DEVICE_IDENTITY_REQUIRED");
}

//! What a node claims, and what becomes of it.

use std::time::Duration;

use clawgate_core::{protocol::Role, store::StoreFailure};
use serde_json::{Value, json};

use crate::{
    common::Device,
    scene::{
        ADMIN, Node, TOKEN, approve, approved, drain, events, finish, host, join, linux, operator,
        request_of, row, start,
    },
};

const READ: &[&str] = &["operator.read"];

#[test]
fn a_claim_counts_for_nothing_until_it_is_approved() {
    let mut host = host();
    let watcher = operator(&mut host, ADMIN);
    let node = join(&mut host, &linux(1, &["system.which", "system.run"]));
    let asked = events(&mut host, watcher, "node.pair.requested");
    assert_eq!(asked.len(), 1);
    let asked = &asked[0];
    assert_eq!(asked["nodeId"], node.id);
    assert_eq!(asked["commands"], json!(["system.run", "system.which"]));
    assert_eq!(asked["caps"], json!(["system"]));
    assert_eq!(asked["silent"], true, "it runs on this machine");
    assert_eq!(
        asked["requiredApproveScopes"],
        json!(["operator.pairing", "operator.admin"])
    );
    let waiting = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(waiting["approvalState"], "pending-approval");
    assert_eq!(waiting["commands"], json!([]));
    assert_eq!(waiting["caps"], json!([]));
    assert_eq!(waiting["connected"], true);
    assert_eq!(waiting["pendingRequestId"], Value::Null);
    let whole = row(&mut host, &node.id, &["operator.read", "operator.pairing"]).unwrap();
    assert_eq!(whole["pendingRequestId"], asked["requestId"]);
    assert_eq!(whole["pendingDeclaredCommands"], asked["commands"]);

    let params = json!({ "requestId": asked["requestId"] });
    let answer = host.get(watcher, "node.pair.approve", params.clone());
    assert_eq!(answer["requestId"], asked["requestId"]);
    assert_eq!(answer["node"]["nodeId"], node.id);
    let frames = drain(&mut host, node.conn);
    let told = frames
        .iter()
        .find(|frame| frame["event"] == "node.pair.resolved")
        .expect("the node is told");
    assert_eq!(told["payload"]["decision"], "approved");
    assert_eq!(told["seq"], Value::Null, "outside the sequence");
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["approvalState"], "approved");
    assert_eq!(known["commands"], json!(["system.run", "system.which"]));
    let again = host.ask(watcher, "node.pair.approve", params);
    assert_eq!(again["error"]["message"], "unknown requestId");
}

#[test]
fn approving_takes_the_scopes_that_the_commands_take() {
    for (commands, enough) in [
        (&[][..], "operator.pairing"),
        (&["weather.get"][..], "operator.write"),
        (&["system.notify"][..], "operator.write"),
        (&["weather.get", "system.run"][..], "operator.admin"),
        (&["system.which"][..], "operator.admin"),
        (&["fs.listDir"][..], "operator.admin"),
        (&["system.execApprovals.get"][..], "operator.admin"),
    ] {
        let mut host = host();
        let node = join(&mut host, &linux(1, commands));
        let request = request_of(&mut host, &node.id).unwrap();
        let params = json!({ "requestId": request });
        for scope in ["operator.pairing", "operator.write", "operator.admin"] {
            let scopes = ["operator.pairing", scope];
            let conn = operator(&mut host, &scopes);
            let answer = host.ask(conn, "node.pair.approve", params.clone());
            if scope == enough {
                assert_eq!(answer["ok"], true, "{commands:?} {scope}: {answer}");
                break;
            }
            assert_eq!(answer["error"]["code"], "FORBIDDEN", "{commands:?} {scope}");
            let details = &answer["error"]["details"];
            assert_eq!(details["code"], "MISSING_SCOPE");
            assert_eq!(details["missingScope"], enough);
        }
        let writer = operator(&mut host, &["operator.write"]);
        let answer = host.ask(writer, "node.pair.approve", params);
        assert_eq!(
            answer["error"]["details"]["missingScope"],
            "operator.pairing"
        );
    }
}

#[test]
fn what_no_node_of_its_kind_may_claim_is_left_out() {
    let mut host = host();
    let claims = [
        "system.which",
        "location.get",
        "worker.launch.v1",
        "a b",
        "",
    ];
    let mut device = linux(1, &claims[..4]);
    let node = join(&mut host, &device);
    approve(&mut host, &node.id);
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["commands"], json!(["system.which"]));
    device.client.device_family = Some("Mac".into());
    device.seed = 2;
    let odd = join(&mut host, &device);
    approve(&mut host, &odd.id);
    let known = row(&mut host, &odd.id, READ).unwrap();
    assert_eq!(
        known["commands"],
        json!(["location.get"]),
        "unknown platform"
    );
}

#[test]
fn a_wider_claim_asks_again_and_keeps_what_it_had() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["system.which", "weather.get"]));
    host.drop_connection(node.conn);
    let away = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(away["connected"], false);
    assert_eq!(away["commands"], json!(["system.which", "weather.get"]));

    // Less than before needs no approval, and gets no more than it claims.
    let less = join(&mut host, &linux(1, &["weather.get"]));
    assert_eq!(request_of(&mut host, &node.id), None);
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["commands"], json!(["weather.get"]));
    host.drop_connection(less.conn);

    let more = join(&mut host, &linux(1, &["weather.get", "system.notify"]));
    let first = request_of(&mut host, &node.id).expect("it asks");
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["approvalState"], "pending-reapproval");
    assert_eq!(known["commands"], json!(["weather.get"]));
    host.drop_connection(more.conn);
    // The same question keeps its id, another one does not: nobody approves what was never shown.
    let same = join(&mut host, &linux(1, &["weather.get", "system.notify"]));
    assert_eq!(request_of(&mut host, &node.id), Some(first.clone()));
    host.drop_connection(same.conn);
    let watcher = operator(&mut host, ADMIN);
    join(&mut host, &linux(1, &["weather.get", "system.run"]));
    assert_ne!(request_of(&mut host, &node.id), Some(first.clone()));
    let told = events(&mut host, watcher, "node.pair.resolved");
    assert_eq!(told[0]["requestId"], first);
    assert_eq!(told[0]["decision"], "rejected");
    let stale = host.ask(watcher, "node.pair.approve", json!({ "requestId": first }));
    assert_eq!(stale["error"]["message"], "unknown requestId");
}

#[test]
fn a_claim_that_is_taken_back_takes_its_request_along() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["weather.get"]));
    host.drop_connection(node.conn);
    let more = join(&mut host, &linux(1, &["weather.get", "system.run"]));
    assert!(request_of(&mut host, &node.id).is_some());
    host.drop_connection(more.conn);
    join(&mut host, &linux(1, &["weather.get"]));
    assert_eq!(request_of(&mut host, &node.id), None);
}

#[test]
fn permissions_are_approved_too() {
    let mut host = host();
    let mut device = linux(1, &["weather.get"]);
    device.claims["permissions"] = json!({ "accessibility": false });
    let node = approved(&mut host, &device);
    host.drop_connection(node.conn);
    device.claims["permissions"] = json!({ "accessibility": true });
    join(&mut host, &device);
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["permissions"], json!({ "accessibility": false }));
    assert_eq!(known["approvalState"], "pending-reapproval");
    approve(&mut host, &node.id);
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["permissions"], json!({ "accessibility": true }));
}

#[test]
fn a_rejection_leaves_the_node_with_what_it_had() {
    let mut host = host();
    let node = join(&mut host, &linux(1, &["weather.get"]));
    let request = request_of(&mut host, &node.id).unwrap();
    let admin = operator(&mut host, ADMIN);
    let answer = host.get(admin, "node.pair.reject", json!({ "requestId": request }));
    assert_eq!(answer, json!({ "requestId": request, "nodeId": node.id }));
    assert_eq!(request_of(&mut host, &node.id), None);
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["approvalState"], "unapproved");
    assert_eq!(known["commands"], json!([]));
}

#[test]
fn removing_a_node_takes_its_role_its_approval_and_its_connection() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["weather.get"]));
    let admin = operator(&mut host, ADMIN);
    let params = json!({ "nodeId": node.id });
    host.call(admin, "r", "node.pair.remove", params.clone());
    let told = events(&mut host, admin, "node.pair.resolved");
    assert_eq!(told[0]["decision"], "removed");
    assert_eq!(told[0]["requestId"], "");
    assert_eq!(host.closed(node.conn).unwrap().0, 4001);
    assert_eq!(row(&mut host, &node.id, ADMIN), None);
    let paired = host.get(admin, "device.pair.list", json!({}))["paired"].clone();
    assert_eq!(paired, json!([]), "it had no other role");
    let again = host.ask(admin, "node.pair.remove", params);
    assert_eq!(again["error"]["message"], "unknown nodeId");
    // It starts from nothing.
    join(&mut host, &linux(1, &["weather.get"]));
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["approvalState"], "pending-approval");
}

#[test]
fn a_device_that_is_also_an_operator_stays_one() {
    let mut host = host();
    let (conn, auth) = host.welcome(&linux(1, &["weather.get"]));
    let id = linux(1, &[]).id();
    let node = Node { conn, id };
    approve(&mut host, &node.id);
    let mut app = linux(1, &[]);
    app.claims = json!({});
    app.role = Role::Operator;
    app.scopes = vec!["operator.read".into()];
    let admin = operator(&mut host, ADMIN);
    let (app, _) = host.welcome(&app);
    host.get(admin, "node.pair.remove", json!({ "nodeId": node.id }));
    assert!(host.closed(node.conn).is_some());
    assert_eq!(host.closed(app), None);
    let paired = host.get(admin, "device.pair.list", json!({}))["paired"].clone();
    assert_eq!(paired[0]["roles"], json!(["operator"]));
    assert_eq!(row(&mut host, &node.id, ADMIN), None);

    // Its old token does not come back with the role.
    let mut again = linux(1, &["weather.get"]);
    let refusal = host.refused(&again);
    let params = json!({ "requestId": refusal["details"]["requestId"] });
    host.get(admin, "device.pair.approve", params);
    again.auth = json!({ "deviceToken": auth["deviceToken"] });
    let refusal = host.refused(&again);
    assert_eq!(refusal["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
}

#[test]
fn removing_the_device_removes_what_was_approved_for_it() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["weather.get"]));
    let admin = operator(&mut host, ADMIN);
    let params = json!({ "deviceId": node.id });
    host.get(admin, "device.pair.remove", params);
    assert_eq!(row(&mut host, &node.id, ADMIN), None);
    join(&mut host, &linux(1, &["weather.get"]));
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["commands"], json!([]));
}

#[test]
fn a_join_token_approves_the_commands_that_it_names() {
    let mut host = host();
    let admin = operator(&mut host, ADMIN);
    let invite = host.get(
        admin,
        "device.invite.create",
        json!({ "commands": ["weather.get", "system.which", "not.claimed"] }),
    );
    let mut device = Device::node(3).with(json!({ "bootstrapToken": invite["token"] }));
    device.client.device_family = Some("Linux".into());
    device.claims = json!({
        "caps": ["system"],
        "commands": ["weather.get", "system.which", "system.run"],
    });
    let node = join(&mut host, &device);
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["commands"], json!(["system.which", "weather.get"]));
    assert_eq!(known["caps"], json!(["system"]));
    assert_eq!(
        known["approvalState"], "pending-reapproval",
        "for system.run"
    );
    let writer = operator(&mut host, &["operator.write"]);
    let asked = start(&mut host, writer, "i", &node, "weather.get");
    finish(&mut host, &node, &asked, json!({}));
    assert_eq!(host.recv_response(writer)["ok"], true);
}

#[test]
fn devices_answer_only_for_themselves() {
    let mut host = host();
    let node = join(&mut host, &linux(1, &["weather.get"]));
    let request = request_of(&mut host, &node.id).unwrap();
    // An app that came by its own device token.
    let mut app = Device::remote(7, &["operator.pairing", "operator.write"])
        .local()
        .with(json!({ "token": TOKEN }));
    let (conn, auth) = host.welcome(&app);
    host.drop_connection(conn);
    app.auth = json!({ "deviceToken": auth["deviceToken"] });
    let (app, _) = host.welcome(&app);
    for (method, params, denied) in [
        (
            "node.pair.approve",
            json!({ "requestId": request }),
            "node pairing approval denied",
        ),
        (
            "node.pair.approve",
            json!({ "requestId": "nope" }),
            "node pairing approval denied",
        ),
        (
            "node.pair.reject",
            json!({ "requestId": request }),
            "node pairing rejection denied",
        ),
        (
            "node.pair.remove",
            json!({ "nodeId": node.id }),
            "node pairing removal denied",
        ),
        (
            "node.rename",
            json!({ "nodeId": node.id, "displayName": "x" }),
            "node rename denied",
        ),
    ] {
        let answer = host.ask(app, method, params);
        assert_eq!(answer["error"]["message"], denied, "{method}");
    }
    let list = host.get(app, "node.pair.list", json!({}));
    assert_eq!(list, json!({ "pending": [], "paired": [] }));
}

#[test]
fn requests_are_bounded_and_those_of_absent_nodes_make_room() {
    let mut host = host().with_limits(|limits| limits.max_node_requests = 2);
    let first = join(&mut host, &linux(1, &["weather.get"]));
    host.advance(Duration::from_secs(1));
    let second = join(&mut host, &linux(2, &["weather.get"]));
    let third = join(&mut host, &linux(3, &["weather.get"]));
    assert_eq!(request_of(&mut host, &third.id), None, "no room");
    let mut audit = host.disk.audit.iter();
    let entry = audit.find(|entry| entry["action"] == "node.pair.request");
    assert_eq!(entry.unwrap()["reason"], "too-many-requests");
    host.drop_connection(second.conn);
    host.drop_connection(third.conn);
    let third = join(&mut host, &linux(3, &["weather.get"]));
    assert!(request_of(&mut host, &third.id).is_some());
    assert!(request_of(&mut host, &first.id).is_some(), "it is there");
    assert_eq!(request_of(&mut host, &second.id), None);
}

#[test]
fn what_was_approved_asked_and_named_outlives_a_restart() {
    let mut host = host();
    let node = approved(&mut host, &linux(1, &["weather.get"]));
    let other = join(&mut host, &linux(2, &["weather.get"]));
    let request = request_of(&mut host, &other.id);
    let admin = operator(&mut host, ADMIN);
    let params = json!({ "nodeId": node.id, "displayName": " Kitchen " });
    let answer = host.get(admin, "node.rename", params);
    assert_eq!(
        answer,
        json!({ "nodeId": node.id, "displayName": "Kitchen" })
    );
    host.restart();
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["displayName"], "Kitchen");
    assert_eq!(known["commands"], json!(["weather.get"]));
    assert_eq!(known["connected"], false);
    assert_eq!(request_of(&mut host, &other.id), request);
}

#[test]
fn an_approval_that_could_not_be_kept_never_was() {
    let mut host = host();
    let node = join(&mut host, &linux(1, &["weather.get"]));
    let request = request_of(&mut host, &node.id).unwrap();
    let admin = operator(&mut host, ADMIN);
    drain(&mut host, node.conn);
    host.disk.failure = Some(StoreFailure::Full);
    let answer = host.ask(admin, "node.pair.approve", json!({ "requestId": request }));
    assert_eq!(answer["error"]["retryable"], true);
    assert!(events(&mut host, node.conn, "node.pair.resolved").is_empty());
    host.disk.failure = None;
    let known = row(&mut host, &node.id, READ).unwrap();
    assert_eq!(known["commands"], json!([]));
    assert_eq!(request_of(&mut host, &node.id), Some(request));
}

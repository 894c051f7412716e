//! A gateway, operators, and nodes with claims.

use clawgate_core::ids::ConnId;
use serde_json::{Value, json};

use crate::common::{Device, Host, token_rule};

pub const TOKEN: &str = "hunter2";
pub const ADMIN: &[&str] = &["operator.admin", "operator.pairing"];

pub fn host() -> Host {
    Host::new(token_rule(TOKEN))
}

pub fn operator(host: &mut Host, scopes: &[&str]) -> ConnId {
    host.connect(TOKEN, scopes)
}

/// A Linux node on this machine, with the shared token: its device is paired at once.
pub fn linux(seed: u8, commands: &[&str]) -> Device {
    let mut device = Device::node(seed).local().with(json!({ "token": TOKEN }));
    device.client.display_name = Some(format!("node-{seed}"));
    device.client.device_family = Some("Linux".into());
    device.claims = json!({ "caps": ["system"], "commands": commands });
    device
}

/// A connected node.
#[derive(Clone, Debug)]
pub struct Node {
    pub conn: ConnId,
    pub id: String,
}

pub fn join(host: &mut Host, device: &Device) -> Node {
    let (conn, _) = host.welcome(device);
    Node {
        conn,
        id: device.id(),
    }
}

/// The id of the request that waits for a node.
pub fn request_of(host: &mut Host, node: &str) -> Option<String> {
    let admin = operator(host, ADMIN);
    let pending = host.get(admin, "node.pair.list", json!({}))["pending"].clone();
    host.drop_connection(admin);
    let pending = pending.as_array().unwrap();
    let request = pending.iter().find(|request| request["nodeId"] == node)?;
    Some(request["requestId"].as_str().unwrap().into())
}

pub fn approve(host: &mut Host, node: &str) {
    let request = request_of(host, node).expect("a request waits");
    let admin = operator(host, ADMIN);
    host.get(admin, "node.pair.approve", json!({ "requestId": request }));
    host.drop_connection(admin);
}

/// A connected node, approved as it is.
pub fn approved(host: &mut Host, device: &Device) -> Node {
    let node = join(host, device);
    approve(host, &node.id);
    drain(host, node.conn);
    node
}

/// Everything that a connection was sent.
pub fn drain(host: &mut Host, conn: ConnId) -> Vec<Value> {
    std::iter::from_fn(|| host.try_recv(conn)).collect()
}

/// The payloads of one kind of event that a connection was sent.
pub fn events(host: &mut Host, conn: ConnId, name: &str) -> Vec<Value> {
    let frames = drain(host, conn).into_iter();
    frames
        .filter(|frame| frame["event"] == name)
        .map(|frame| frame["payload"].clone())
        .collect()
}

pub fn invoke_params(node: &str, command: &str) -> Value {
    json!({
        "nodeId": node,
        "command": command,
        "params": { "bins": ["sh"] },
        "idempotencyKey": "key-1",
    })
}

/// Starts a call of `id`, and gives what the node is asked.
pub fn start(host: &mut Host, caller: ConnId, id: &str, node: &Node, command: &str) -> Value {
    host.call(caller, id, "node.invoke", invoke_params(&node.id, command));
    let mut asked = events(host, node.conn, "node.invoke.request");
    assert_eq!(asked.len(), 1, "one request for the node");
    asked.remove(0)
}

/// The node's answer to a call; gives what the gateway says to it.
pub fn finish(host: &mut Host, node: &Node, asked: &Value, result: Value) -> Value {
    let mut params = json!({ "id": asked["id"], "nodeId": node.id, "ok": true });
    for (name, value) in result.as_object().unwrap() {
        params[name] = value.clone();
    }
    host.ask(node.conn, "node.invoke.result", params)
}

/// The row of a node in `node.list`.
pub fn row(host: &mut Host, node: &str, scopes: &[&str]) -> Option<Value> {
    let conn = operator(host, scopes);
    let list = host.get(conn, "node.list", json!({}));
    host.drop_connection(conn);
    let rows = list["nodes"].as_array().unwrap();
    rows.iter().find(|row| row["nodeId"] == node).cloned()
}

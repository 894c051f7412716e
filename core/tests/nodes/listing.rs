//! How nodes are shown and found.

use clawgate_core::gateway::UnknownNode;
use serde_json::{Value, json};

use crate::scene::{ADMIN, approved, host, join, linux, operator};

#[test]
fn those_who_are_there_come_first_and_then_names_count() {
    let mut host = host();
    let mut named = |seed: u8, name: &str| {
        let mut device = linux(seed, &[]);
        device.client.display_name = Some(name.into());
        approved(&mut host, &device)
    };
    let away = named(1, "aaa");
    let (bert, anna) = (named(2, "bert"), named(3, "Anna"));
    host.drop_connection(away.conn);
    let reader = operator(&mut host, &["operator.read"]);
    let list = host.get(reader, "node.list", json!({}));
    let ids: Vec<&Value> = list["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| &node["nodeId"])
        .collect();
    assert_eq!(ids, [&json!(anna.id), &json!(bert.id), &json!(away.id)]);
    let admin = operator(&mut host, ADMIN);
    let one = host.get(admin, "node.describe", json!({ "nodeId": anna.id }));
    assert_eq!(one["displayName"], "Anna");
    assert!(one["ts"].is_u64());
    let none = host.ask(admin, "node.describe", json!({ "nodeId": "x" }));
    assert_eq!(none["error"]["message"], "unknown nodeId");
}

#[test]
fn nodes_are_found_by_id_name_and_beginning() {
    let mut host = host();
    let one = join(&mut host, &linux(1, &[]));
    let two = join(&mut host, &linux(2, &[]));
    let admin = operator(&mut host, ADMIN);
    let find = |host: &crate::common::Host, name: &str| host.gateway.find_node(name);
    assert_eq!(find(&host, &one.id), Ok(one.id.clone()));
    assert_eq!(find(&host, " NODE-2 "), Ok(two.id.clone()));
    assert_eq!(find(&host, &two.id[..8]), Ok(two.id.clone()));
    assert!(matches!(
        find(&host, &two.id[..3]),
        Err(UnknownNode::None(_))
    ));
    assert!(matches!(find(&host, ""), Err(UnknownNode::None(_))));
    for id in [&one.id, &two.id] {
        let params = json!({ "nodeId": id, "displayName": "Box" });
        host.get(admin, "node.rename", params);
    }
    let Err(UnknownNode::Ambiguous { ids, .. }) = find(&host, "box") else {
        panic!("two are called so");
    };
    assert_eq!(ids.len(), 2);
    let params = json!({ "nodeId": one.id, "displayName": " " });
    assert_eq!(host.ask(admin, "node.rename", params)["ok"], false);
    let params = json!({ "nodeId": "x", "displayName": "y" });
    let none = host.ask(admin, "node.rename", params);
    assert_eq!(none["error"]["message"], "unknown nodeId");
}

//! Agents, their files, and Voice Wake, as clients meet them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use clawgate_core::ids::ConnId;
use common::{Device, Host, token_rule};
use serde_json::{Value, json};

const TOKEN: &str = "hunter2";

fn host() -> (Host, ConnId) {
    let mut host = Host::new(token_rule(TOKEN));
    let admin = host.connect(TOKEN, &["operator.admin"]);
    (host, admin)
}

fn refusal(host: &mut Host, conn: ConnId, method: &str, params: Value) -> String {
    let answer = host.ask(conn, method, params);
    assert_eq!(answer["ok"], false, "{method}: {answer}");
    answer["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn an_agent_is_made_changed_listed_and_deleted_and_survives_a_restart() {
    let (mut host, admin) = host();
    let made = host.get(
        admin,
        "agents.create",
        json!({"name": "My Helper", "emoji": "🦀", "model": "local/small"}),
    );
    assert_eq!(made["agentId"], "my-helper");
    assert_eq!(made["model"], "local/small");
    host.get(
        admin,
        "agents.update",
        json!({"agentId": "my-helper", "name": "Crab", "model": null}),
    );
    host.restart();
    let admin = host.connect(TOKEN, &["operator.admin"]);
    let list = host.get(admin, "agents.list", json!({}));
    assert_eq!(list["defaultId"], "main");
    let row = &list["agents"][1];
    assert_eq!(
        (&row["id"], &row["name"]),
        (&json!("my-helper"), &json!("Crab"))
    );
    assert_eq!(row["identity"]["emoji"], "🦀");
    assert_eq!(row["model"], json!(null));
    let identity = json!({"sessionKey": "agent:my-helper:main"});
    let identity = host.get(admin, "agent.identity.get", identity);
    assert_eq!(identity["name"], "Crab");
    assert_eq!(
        host.get(admin, "agent.identity.get", json!({}))["agentId"],
        "main"
    );

    host.get(admin, "agents.delete", json!({"agentId": "my-helper"}));
    let list = host.get(admin, "agents.list", json!({}));
    assert_eq!(list["agents"].as_array().unwrap().len(), 1);
}

#[test]
fn what_makes_no_agent_is_refused() {
    let (mut host, admin) = host();
    for (method, params, problem) in [
        ("agents.create", json!({"name": "!!"}), "no valid id"),
        ("agents.create", json!({"name": "Main"}), "exists already"),
        (
            "agents.create",
            json!({"name": "x", "workspace": "/tmp"}),
            "database",
        ),
        (
            "agents.create",
            json!({"name": "x".repeat(200)}),
            "characters",
        ),
        ("agents.delete", json!({"agentId": "main"}), "default"),
        ("agents.delete", json!({"agentId": "nobody"}), "not found"),
        ("agents.update", json!({"agentId": "nobody"}), "not found"),
        (
            "agents.files.list",
            json!({"agentId": "nobody"}),
            "not found",
        ),
        (
            "agent.identity.get",
            json!({"sessionKey": "agent:x"}),
            "malformed",
        ),
    ] {
        let message = refusal(&mut host, admin, method, params);
        assert!(message.contains(problem), "{method}: {message}");
    }
    let mut host = host.with_limits(|limits| limits.max_agents = 1);
    let admin = host.connect(TOKEN, &["operator.admin"]);
    host.get(admin, "agents.create", json!({"name": "one"}));
    let message = refusal(&mut host, admin, "agents.create", json!({"name": "two"}));
    assert!(message.contains("delete some first"), "{message}");
}

#[test]
fn files_are_records_with_closed_names_and_a_finite_size() {
    let (mut host, admin) = host();
    let list = host.get(admin, "agents.files.list", json!({"agentId": "main"}));
    let names: Vec<&str> = list["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "AGENTS.md",
            "SOUL.md",
            "IDENTITY.md",
            "USER.md",
            "BOOTSTRAP.md",
            "MEMORY.md"
        ]
    );
    let set = json!({"agentId": "main", "name": "SOUL.md", "content": "be brief"});
    host.get(admin, "agents.files.set", set);
    host.restart();
    let reader = host.connect(TOKEN, &["operator.read"]);
    let wanted = json!({"agentId": "main", "name": "SOUL.md"});
    let file = host.get(reader, "agents.files.get", wanted);
    assert_eq!(file["file"]["content"], "be brief");
    assert_eq!(file["file"]["size"], 8);
    let absent = json!({"agentId": "main", "name": "MEMORY.md"});
    let absent = host.get(reader, "agents.files.get", absent);
    assert_eq!(absent["file"]["missing"], true);

    for name in ["../SOUL.md", "TOOLS.md", "soul.md", ""] {
        let params = json!({"agentId": "main", "name": name});
        let message = refusal(&mut host, reader, "agents.files.get", params);
        assert!(message.contains("unsupported file"), "{message}");
    }
    let set = json!({"agentId": "main", "name": "SOUL.md", "content": "x".repeat(300_000)});
    let message = refusal(&mut host, reader, "agents.files.set", set.clone());
    assert_eq!(message, "missing scope: operator.admin");
    let admin = host.connect(TOKEN, &["operator.admin"]);
    assert!(refusal(&mut host, admin, "agents.files.set", set).contains("bytes"));
}

#[test]
fn readers_and_nodes_are_told_of_words_and_routes_and_nodes_when_they_come() {
    let (mut host, admin) = host();
    let reader = host.connect(TOKEN, &["operator.read"]);
    let stranger = host.connect(TOKEN, &["operator.pairing"]);
    let node = Device::node(9).with(json!({ "token": TOKEN })).local();
    let (node, _) = host.welcome(&node);
    let greeting = [host.recv(node), host.recv(node)];
    assert_eq!(greeting[0]["event"], "voicewake.changed");
    assert_eq!(
        greeting[0]["payload"]["triggers"],
        json!(["openclaw", "claude", "computer"])
    );
    assert_eq!(greeting[1]["event"], "voicewake.routing.changed");
    assert_eq!(
        greeting[1]["payload"]["config"]["defaultTarget"],
        json!({"mode": "current"})
    );
    assert_eq!(greeting[1]["seq"], json!(null));

    let set = host.get(admin, "voicewake.set", json!({"triggers": [" hey "]}));
    assert_eq!(set, json!({"triggers": ["hey"]}));
    let routes = json!({"config": {"routes": [{"trigger": "Hey", "target": {"agentId": "main"}}]}});
    host.get(admin, "voicewake.routing.set", routes);
    for conn in [reader, node] {
        let told = heard(&mut host, conn);
        assert_eq!(told, ["voicewake.changed", "voicewake.routing.changed"]);
    }
    assert!(heard(&mut host, stranger).is_empty());
    let message = refusal(&mut host, reader, "voicewake.set", json!({"triggers": []}));
    assert_eq!(message, "missing scope: operator.write");
    let message = refusal(
        &mut host,
        admin,
        "voicewake.set",
        json!({"triggers": "hey"}),
    );
    assert_eq!(message, "voicewake.set requires triggers: string[]");

    host.restart();
    let reader = host.connect(TOKEN, &["operator.read"]);
    let kept = host.get(reader, "voicewake.get", json!({}));
    assert_eq!(kept, json!({"triggers": ["hey"]}));
    let kept = host.get(reader, "voicewake.routing.get", json!({}));
    assert_eq!(kept["config"]["routes"][0]["trigger"], "hey");
}

/// The names of the voice events that wait for a client.
fn heard(host: &mut Host, conn: ConnId) -> Vec<String> {
    std::iter::from_fn(|| host.try_recv(conn))
        .filter_map(|frame| frame["event"].as_str().map(str::to_owned))
        .filter(|name| name.starts_with("voicewake"))
        .collect()
}

#[test]
fn texts_wait_for_the_session_that_they_are_for() {
    let (mut host, admin) = host();
    host.get(
        admin,
        "system-event",
        json!({"text": "a", "sessionKey": "agent:main:work", "wake": true}),
    );
    host.get(admin, "wake", json!({"mode": "now", "text": "b"}));
    let wrong = json!({"mode": "now", "text": "b", "agentId": "nobody"});
    assert!(refusal(&mut host, admin, "wake", wrong).contains("agentId"));
    assert!(
        refusal(
            &mut host,
            admin,
            "wake",
            json!({"mode": "soon", "text": "b"})
        )
        .contains("invalid wake params")
    );
}

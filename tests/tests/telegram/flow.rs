//! From a chat to a node and back, with each kind of agent, and what a reply can be.

use clawgate_bot_api::{Attachment, FileKind, SentMessage};
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use clawgate_tests::model_endpoint::{ModelEndpoint, piece};
use clawgate_tests::node_process::{NodeProcess, NodeSetup};
use clawgate_tests::raw_client::RawClient;
use serde_json::{Value, json};

use crate::support::{Change, Scene, tool};

/// Checks the steps that every message takes which asks a node, in this order.
fn assert_steps(scene: &Scene, backend: &str, question: &str) -> TestResult {
    let asked = scene.message(question, "sent")?;
    let steps = scene.trace(backend, &asked["id"])?;
    let mut left = steps.iter();
    for wanted in [
        "received",
        "given to the agent",
        "calls ",
        "answered",
        "answered by the agent",
        "given to the service",
        "taken by the service",
        "its answer is sent",
    ] {
        assert!(
            left.any(|step| step.contains(wanted)),
            "{wanted} is missing, or late: {steps:?}"
        );
    }
    Ok(())
}

fn only_answer(scene: &Scene) -> TestResult<SentMessage> {
    let mut sent = scene.told(1)?;
    assert_eq!(sent.len(), 1, "{sent:?}");
    Ok(sent.remove(0))
}

#[test]
fn the_builtin_agent_asks_a_node_and_answers_in_the_chat() -> TestResult {
    let scene = Scene::start()?;
    let node = scene.node()?;
    let question = "how warm is the kitchen";
    scene.api.says(&scene.anna, question)?;
    let answer = only_answer(&scene)?;
    assert_eq!(answer.text, "It is 21.5 degrees in the kitchen.");
    assert_eq!(node.ran()?, [json!({ "room": "kitchen" })]);
    assert_steps(&scene, "builtin", question)
}

#[test]
fn a_model_asks_a_node_and_answers_in_the_chat() -> TestResult {
    let endpoint = ModelEndpoint::open()?;
    let models = json!({ "providers": { "lab": {
        "baseUrl": endpoint.base_url(),
        "apiKey": "key-of-the-lab",
        "models": [{ "id": "small", "contextWindow": 8_000 }],
    } } });
    let scene = Scene::with(Change {
        agent: Some(json!({ "backend": "openai", "model": "lab/small" })),
        config: vec![("models", models)],
        ..Change::default()
    })?;
    let node = node_with_a_tool(&scene)?;
    let question = "Is the kitchen warm?";
    scene.api.says(&scene.anna, question)?;
    let mut asked = endpoint.next()?;
    // While the model thinks, Anna sees that somebody works.
    let action = scene.see(|state| state.actions().first().cloned())?;
    assert_eq!((action.action.as_str(), action.chat.0), ("typing", 7));
    let tools = asked.body()["tools"].as_array().cloned();
    let function = tools
        .iter()
        .flatten()
        .map(|tool| &tool["function"])
        .find(|function| function["description"].to_string().contains("How warm"))
        .map(|function| function["name"].clone());
    asked.begin()?;
    let call = json!({ "tool_calls": [{
        "index": 0, "id": "call_a", "type": "function",
        "function": { "name": function, "arguments": "{\"room\":\"kitchen\"}" },
    }] });
    let end = "data: [DONE]\n\n";
    let calls = piece(&call, None) + &piece(&json!({}), Some("tool_calls")) + end;
    asked.stream(&calls, 100)?;
    asked.end();
    let mut asked = endpoint.next()?;
    assert!(asked.body()["messages"].to_string().contains("21.5"));
    asked.begin()?;
    let text = piece(&json!({ "content": "**Warm**: 21.5 °C." }), None);
    asked.stream(&(text + &piece(&json!({}), Some("stop")) + end), 100)?;
    asked.end();
    let answer = only_answer(&scene)?;
    assert_eq!(answer.text, "Warm: 21.5 °C.");
    let kinds: Vec<_> = answer.entities.iter().map(|entity| entity.kind).collect();
    assert_eq!(kinds, ["bold"]);
    assert_eq!(node.ran()?, [json!({ "room": "kitchen" })]);
    assert_steps(&scene, "openai", question)
}

/// The node `box` with a command that agents are offered as a tool.
fn node_with_a_tool(scene: &Scene) -> TestResult<NodeProcess> {
    let command = json!({
        "program": tool(),
        "description": "How warm a room is.",
        "parameters": { "type": "object", "properties": { "room": { "type": "string" } } },
    });
    let setup = NodeSetup {
        name: "box".to_owned(),
        config: json!({ "commands": { "room.read": command } }),
        ..NodeSetup::default()
    };
    let node = NodeProcess::approved(&scene.gateway, setup)?;
    let (url, token) = (scene.gateway.url(), scene.gateway.token());
    let mut client = RawClient::operator(&url, token, &["operator.read"])?;
    // The node tells what its commands mean after it was approved.
    Deadline::after(PATIENCE).poll("the node's tools", || {
        let session = json!({ "sessionKey": "agent:main:main" });
        let tools = client.call("tools.effective", session)?.payload()?;
        Ok(tools.to_string().contains("room.read").then_some(()))
    })?;
    Ok(node)
}

#[test]
fn a_program_asks_a_node_and_answers_in_the_chat() -> TestResult {
    let program = env!("CARGO_BIN_EXE_agent_program");
    let scene = Scene::with(Change {
        agent: Some(json!({ "backend": "command", "command": [program] })),
        ..Change::default()
    })?;
    let node = scene.node()?;
    scene.api.says(&scene.anna, "kitchen")?;
    let answer = only_answer(&scene)?;
    assert_eq!(answer.text, "It is 21.5 degrees in the kitchen.");
    assert_eq!(node.ran()?, [json!({ "room": "kitchen" })]);
    assert_steps(&scene, "command", "kitchen")
}

#[test]
fn a_picture_of_a_node_is_a_photo_in_the_chat() -> TestResult {
    let scene = Scene::start()?;
    let _node = scene.node()?;
    scene.api.says(&scene.anna, "look")?;
    let sent = scene.told(2)?;
    let texts: Vec<&str> = sent.iter().map(|it| it.text.as_str()).collect();
    assert!(texts.contains(&"This is 1 pixel wide."), "{texts:?}");
    let photos: Vec<&Attachment> = sent.iter().filter_map(|it| it.file.as_ref()).collect();
    let [photo] = photos[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(photo.kind, FileKind::Photo);
    assert!(
        photo
            .data()
            .is_some_and(|data| data.starts_with(b"\x89PNG"))
    );
    scene.message("look", "sent")?;
    Ok(())
}

#[test]
fn a_long_reply_comes_in_several_messages_in_order() -> TestResult {
    let scene = Scene::start()?;
    scene.api.says(&scene.anna, "talk")?;
    scene.message("talk", "sent")?;
    let sent = scene.told(2)?;
    assert!(sent.iter().all(|it| it.text.encode_utf16().count() <= 4096));
    let words = |text: &str| -> Vec<String> { text.split_whitespace().map(Into::into).collect() };
    let told: Vec<String> = sent.iter().flat_map(|it| words(&it.text)).collect();
    let mut meant = words(&crate::support::long_reply());
    meant.retain(|word| !word.starts_with("```"));
    assert_eq!(told, meant);
    // Code stays code on both sides of a cut.
    for message in &sent {
        let code = message.text.contains("answer = 42");
        let is_marked = message.entities.iter().any(|entity| entity.kind == "pre");
        assert_eq!(code, is_marked, "{message:?}");
    }
    Ok(())
}

#[test]
fn nobody_is_told_the_token() -> TestResult {
    let scene = Scene::start()?;
    let _node = scene.node()?;
    scene.api.says(&scene.anna, "how warm is the kitchen")?;
    scene.told(1)?;
    // Words of the service that hold the token are the worst case.
    let words = format!("Not Found: no method for /bot{}", crate::support::TOKEN);
    let refused = clawgate_bot_api::Act::Answer(clawgate_bot_api::Answer::error(400, &words));
    scene.api.fault(crate::support::of_sending(refused));
    scene.api.says(&scene.anna, "how warm is the cellar")?;
    let failed = scene.message("how warm is the cellar", "failed")?;
    let mut printed = String::new();
    for command in [
        &["channels", "status"][..],
        &["channels", "status", "--json"],
        &["messages", "list", "--json"],
        &[
            "messages",
            "trace",
            failed["id"].as_str().unwrap_or_default(),
        ],
        &["health", "--json"],
        &["status", "--json"],
        &["config", "get", "channels"],
        &["logs"],
    ] {
        let ran = scene.owner.run(command)?;
        printed.push_str(&ran.stdout);
        printed.push_str(&ran.stderr);
    }
    assert!(
        printed.contains("door_bot") && printed.contains("cellar"),
        "{printed}"
    );
    assert_tokenless(&scene, &printed)
}

fn assert_tokenless(scene: &Scene, printed: &str) -> TestResult {
    let key = crate::support::KEY;
    assert!(
        !printed.contains(key),
        "a command prints the token: {printed}"
    );
    assert!(!scene.gateway.log().contains(key), "the log has the token");
    let has = |bytes: &[u8]| {
        let mut windows = bytes.windows(key.len());
        windows.any(|window| window == key.as_bytes())
    };
    for process in std::fs::read_dir("/proc")? {
        // A process may end while one looks.
        let words = std::fs::read(process?.path().join("cmdline")).unwrap_or_default();
        assert!(!has(&words), "the token is among the words of a process");
    }
    let mut folders = vec![scene.gateway.home().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let found = has(&std::fs::read(&path)?);
                assert!(!found, "{} has the token", path.display());
            }
        }
    }
    Ok(())
}

#[test]
fn every_message_of_a_chat_is_answered_in_order() -> TestResult {
    let scene = Scene::start()?;
    let _node = scene.node()?;
    let rooms: Vec<String> = (0..20).map(|number| format!("room{number}")).collect();
    for room in &rooms {
        let question = format!("how warm is the {room}");
        scene.api.says(&scene.anna, &question)?;
    }
    let sent = scene.told(rooms.len())?;
    let told: Vec<&str> = sent.iter().map(|it| it.text.as_str()).collect();
    let meant: Vec<String> = rooms
        .iter()
        .map(|room| format!("It is 21.5 degrees in the {room}."))
        .collect();
    assert_eq!(told, meant);
    let open: Vec<Value> = scene.messages(&["--state", "uncertain"])?;
    assert!(open.is_empty(), "{open:?}");
    Ok(())
}

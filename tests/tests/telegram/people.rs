//! Who is heard where: groups, topics, strangers who are let in; and what an operator says.

use clawgate_bot_api::{BotApi, Post};
use clawgate_tests::command_line::Machine;
use clawgate_tests::failure::TestResult;
use clawgate_tests::gate::Gate;
use clawgate_tests::gateway_process::{GatewayProcess, Settings};
use serde_json::json;

use crate::support::{Change, LIMIT, Scene};

/// A gateway that hears everybody in groups who calls it.
fn open_to_groups() -> TestResult<Scene> {
    Scene::with(Change {
        telegram: vec![
            ("groupPolicy", json!("open")),
            ("replyToMode", json!("first")),
        ],
        ..Change::default()
    })
}

#[test]
fn in_a_group_the_bot_answers_those_who_call_it() -> TestResult {
    let scene = open_to_groups()?;
    let _node = scene.node()?;
    let group = scene.api.group(-1_001, "Kitchen");
    let say = |text: &str| scene.api.post(Post::by(&scene.anna, text).in_group(group));
    say("how warm is the cellar")?;
    let asked = say("@door_bot how warm is the kitchen")?;
    let sent = scene.api.wait_for_sent(group, 1, LIMIT)?;
    // An answer to the bot needs no name.
    let answer = sent.first().map(|it| it.message_id).unwrap_or(asked);
    let post = Post::by(&scene.anna, "how warm is the hall");
    scene.api.post(post.in_group(group).replying_to(answer))?;
    let sent = scene.api.wait_for_sent(group, 2, LIMIT)?;
    let told: Vec<_> = sent
        .iter()
        .map(|it| (it.text.as_str(), it.reply_to))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        told.first(),
        Some(&("It is 21.5 degrees in the kitchen.", Some(asked)))
    );
    assert_eq!(
        told.last().map(|(text, _)| *text),
        Some("It is 21.5 degrees in the hall.")
    );
    let known = scene.messages(&[])?;
    assert!(
        !known
            .iter()
            .any(|row| row["text"].to_string().contains("cellar"))
    );
    Ok(())
}

#[test]
fn topics_are_apart_and_do_not_wait_for_each_other() -> TestResult {
    let scene = open_to_groups()?;
    let node = scene.node()?;
    let forum = scene.api.forum(-1_002, "House");
    let (slow, quick) = (
        scene.api.topic(forum, "slow")?,
        scene.api.topic(forum, "quick")?,
    );
    let gate = Gate::new()?;
    let wait = format!("@door_bot wait at {}", gate.port());
    scene
        .api
        .post(Post::by(&scene.anna, &wait).in_group(forum).in_topic(slow))?;
    let waiting = gate.wait()?;
    let ask = Post::by(&scene.anna, "@door_bot how warm is the attic");
    scene.api.post(ask.in_group(forum).in_topic(quick))?;
    let sent = scene.api.wait_for_sent(forum, 1, LIMIT)?;
    let told: Vec<_> = sent
        .iter()
        .map(|it| (it.thread, it.text.as_str()))
        .collect();
    assert_eq!(told, [(Some(quick), "It is 21.5 degrees in the attic.")]);
    waiting.go_on();
    let sent = scene.api.wait_for_sent(forum, 2, LIMIT)?;
    assert_eq!(sent.last().and_then(|it| it.thread), Some(slow));
    assert_eq!(node.ran()?.len(), 2);
    // Each has a session of its own.
    let sessions = scene.owner.json(&["sessions", "list"])?.to_string();
    for topic in [slow, quick] {
        assert!(
            sessions.contains(&format!("-1002:topic:{topic}")),
            "{sessions}"
        );
    }
    Ok(())
}

#[test]
fn a_stranger_is_let_in_by_a_code() -> TestResult {
    let scene = Scene::with(Change {
        telegram: vec![("dmPolicy", json!("pairing")), ("allowFrom", json!([]))],
        ..Change::default()
    })?;
    let node = scene.node()?;
    scene.api.says(&scene.anna, "how warm is the kitchen")?;
    let sent = scene.told(1)?;
    let list = scene.owner.json(&["pairing", "list"])?;
    let request = &list["requests"][0];
    assert_eq!(request["senderId"], "7", "{list}");
    let code = request["requestId"].as_str().unwrap_or_default();
    let told = sent.first().map(|it| it.text.as_str()).unwrap_or_default();
    assert!(!code.is_empty() && told.contains(code), "{told}");
    assert!(told.contains(&format!("clawgate pairing approve telegram {code}")));
    assert!(node.ran()?.is_empty(), "nobody asks for a stranger");
    scene
        .owner
        .json(&["pairing", "approve", "telegram", code])?;
    scene.told(2)?;
    scene.api.says(&scene.anna, "how warm is the kitchen")?;
    let sent = scene.told(3)?;
    assert_eq!(
        sent.last().map(|it| it.text.as_str()),
        Some("It is 21.5 degrees in the kitchen.")
    );
    assert_eq!(node.ran()?.len(), 1, "what was said before was not heard");
    // Others are still strangers, and one who is turned away is not told.
    let berta = scene.api.user(8, "Berta");
    scene.api.says(&berta, "and me?")?;
    scene.api.wait_for_sent(&berta, 1, LIMIT)?;
    let list = scene.owner.json(&["pairing", "list"])?;
    let code = list["requests"][0]["requestId"]
        .as_str()
        .unwrap_or_default();
    scene.owner.json(&["pairing", "reject", code])?;
    let list = scene.owner.json(&["pairing", "list"])?;
    assert_eq!(list["requests"], json!([]));
    assert_eq!(scene.api.sent(&berta).len(), 1);
    Ok(())
}

#[test]
fn an_operator_says_something_once_and_sees_how_the_channel_fares() -> TestResult {
    let scene = Scene::start()?;
    scene.api.says(&scene.anna, "/echo hello")?;
    scene.told(1)?;
    let row = scene.account("a healthy account", |row| row["healthState"] == "healthy")?;
    assert_eq!(row["name"], "@door_bot", "{row}");
    assert_eq!(row["lastError"], json!(null), "{row}");
    let shown = scene.owner.run(&["channels", "status"])?;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("healthy"), "{shown:?}");
    let send = [
        "send",
        "--channel",
        "telegram",
        "--to",
        "7",
        "--message",
        "**Dinner** is ready",
        "--idempotency-key",
        "dinner",
    ];
    let first = scene.owner.json(&send)?;
    let again = scene.owner.json(&send)?;
    assert_eq!(first["messageId"], again["messageId"]);
    let sent = scene.told(2)?;
    let told: Vec<&str> = sent.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(told, ["hello", "Dinner is ready"]);
    // Somebody who never wrote cannot be written to, and the command says so.
    let nobody = scene
        .owner
        .run(&["send", "--to", "99", "--message", "hi", "--json"])?;
    assert!(
        nobody.error()?.to_string().contains("no such chat"),
        "{nobody:?}"
    );
    // Stopped stays stopped, and what was written meanwhile is answered afterwards.
    scene.owner.json(&["channels", "stop", "telegram"])?;
    scene.account("a stopped account", |row| row["healthState"] == "stopped")?;
    scene.api.says(&scene.anna, "/echo later")?;
    scene.owner.json(&["channels", "start", "telegram"])?;
    let sent = scene.told(3)?;
    assert_eq!(sent.last().map(|it| it.text.as_str()), Some("later"));
    Ok(())
}

#[test]
fn words_that_are_changed_before_their_turn_count() -> TestResult {
    let scene = Scene::start()?;
    let _node = scene.node()?;
    let gate = Gate::new()?;
    let wait = format!("wait at {}", gate.port());
    scene.api.says(&scene.anna, &wait)?;
    let waiting = gate.wait()?;
    let next = scene.api.says(&scene.anna, "/echo wrong")?;
    scene.message("/echo wrong", "received")?;
    scene.api.edits(&scene.anna, next, "/echo right")?;
    scene.message("/echo right", "received")?;
    waiting.go_on();
    let sent = scene.told(2)?;
    let told: Vec<&str> = sent.iter().map(|it| it.text.as_str()).collect();
    let opened = format!("The gate {} is open.", gate.port());
    assert_eq!(told, [opened.as_str(), "right"]);
    // Too late: the answer stands, and no other one comes.
    scene.message("/echo right", "sent")?;
    scene.api.edits(&scene.anna, next, "/echo too late")?;
    scene.api.says(&scene.anna, "/echo last")?;
    let sent = scene.told(3)?;
    assert_eq!(sent.last().map(|it| it.text.as_str()), Some("last"));
    assert_eq!(sent.len(), 3);
    Ok(())
}

#[test]
fn two_bots_of_one_gateway_answer_for_themselves() -> TestResult {
    let api = BotApi::start()?;
    let (first, second) = ("111:first-key-of-two", "222:second-key-of-two");
    let bots = [
        api.add_bot(first, "first_bot")?,
        api.add_bot(second, "second_bot")?,
    ];
    let anna = api.user(7, "Anna");
    let account = |token: &str| json!({ "botToken": token });
    let telegram = json!({
        "apiRoot": api.url(),
        "dmPolicy": "open",
        "allowFrom": ["*"],
        "accounts": { "one": account(first), "two": account(second) },
    });
    let agents = json!({ "defaults": { "backend": "builtin" } });
    let gateway = GatewayProcess::start_with(Settings {
        config: vec![
            ("agents".to_owned(), agents),
            ("channels".to_owned(), json!({ "telegram": telegram })),
        ],
        ..Settings::default()
    })?;
    for (bot, word) in bots.iter().zip(["one", "two"]) {
        let post = Post::by(&anna, &format!("/echo {word}"));
        api.post(post.to(*bot))?;
    }
    let sent = api.wait_for_sent(&anna, 2, LIMIT)?;
    let mut told: Vec<_> = sent.iter().map(|it| (it.bot, it.text.as_str())).collect();
    told.sort_unstable();
    let meant: Vec<_> = bots.into_iter().zip(["one", "two"]).collect();
    assert_eq!(told, meant);
    // Each can be stopped by itself.
    let owner = Machine::of(&gateway);
    owner.json(&["channels", "stop", "telegram", "--account", "two"])?;
    let status = owner.json(&["channels", "status"])?;
    let rows = status["channelAccounts"]["telegram"].as_array();
    let states: Vec<_> = rows
        .into_iter()
        .flatten()
        .map(|row| (&row["accountId"], &row["healthState"]))
        .collect();
    assert_eq!(
        states,
        [
            (&json!("one"), &json!("healthy")),
            (&json!("two"), &json!("stopped")),
        ]
    );
    Ok(())
}

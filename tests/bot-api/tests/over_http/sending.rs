//! `sendMessage` and what belongs to it.

use serde_json::json;

use crate::client::Scene;
use clawgate_bot_api::Post;

#[test]
fn a_message_arrives_as_it_was_sent() {
    let scene = Scene::new();
    let question = scene.api.says(&scene.anna, "hello?").unwrap();
    let answer = scene.call(
        "sendMessage",
        &json!({
            "chat_id": 7,
            "text": "<b>Hello</b> &amp; welcome",
            "parse_mode": "HTML",
            "reply_parameters": {"message_id": question.0},
            "disable_notification": true,
        }),
    );
    let result = answer.result();
    assert_eq!(result["text"], "Hello & welcome");
    assert_eq!(
        result["entities"],
        json!([{"type": "bold", "offset": 0, "length": 5}])
    );
    assert_eq!(result["reply_to_message"]["text"], "hello?");
    assert_eq!(result["from"]["username"], "example_bot");
    let sent = scene.api.sent(&scene.anna);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].message_id.0, result["message_id"]);
    assert_eq!(sent[0].text, "Hello & welcome");
    assert_eq!(sent[0].parse_mode.as_deref(), Some("HTML"));
    assert_eq!(sent[0].reply_to, Some(question));
    assert!(sent[0].silent);
}

#[test]
fn texts_that_the_service_does_not_take_are_refused() {
    let scene = Scene::greeted();
    let long = "🙂".repeat(2049);
    for (text, parse_mode, complaint) in [
        ("", "", "message text is empty"),
        (" \n", "", "text must be non-empty"),
        ("<b></b>", "HTML", "text must be non-empty"),
        (&long, "", "message is too long"),
        (
            "<p>x</p>",
            "HTML",
            "can't parse entities: Unsupported start tag \"p\" at byte offset 0",
        ),
        (
            "<b>x",
            "HTML",
            "can't parse entities: Can't find end tag corresponding to start tag \"b\"",
        ),
        ("x", "MarkdownV2", "unsupported parse_mode"),
    ] {
        let params = json!({"chat_id": 7, "text": text, "parse_mode": parse_mode});
        let answer = scene.call("sendMessage", &params);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.description(), format!("Bad Request: {complaint}"));
    }
    assert!(scene.api.sent(&scene.anna).is_empty());
    assert!(scene.api.calls().iter().all(|call| !call.taken));
}

#[test]
fn markup_does_not_count_towards_the_length() {
    let scene = Scene::greeted();
    let text = format!("<b>{}</b>", "🙂".repeat(2048));
    let params = json!({"chat_id": 7, "text": text, "parse_mode": "HTML"});
    assert_eq!(scene.call("sendMessage", &params).status, 200);
}

#[test]
fn a_bot_cannot_write_first_nor_where_it_is_blocked() {
    let scene = Scene::new();
    let send = |chat: i64| scene.call("sendMessage", &json!({"chat_id": chat, "text": "hello"}));
    assert_eq!(send(7).description(), "Bad Request: chat not found");
    scene.api.says(&scene.anna, "/start").unwrap();
    assert_eq!(send(7).status, 200);
    scene.api.block(scene.bot, &scene.anna).unwrap();
    let refused = send(7);
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.description(),
        "Forbidden: bot was blocked by the user"
    );
    scene.api.unblock(scene.bot, &scene.anna).unwrap();
    assert_eq!(send(7).status, 200);
    let group = scene.api.group(-5, "Group");
    scene.api.block(scene.bot, group).unwrap();
    assert_eq!(
        send(-5).description(),
        "Forbidden: bot was kicked from the supergroup chat"
    );
    assert_eq!(
        scene
            .call("sendMessage", &json!({"text": "hello"}))
            .description(),
        "Bad Request: chat_id is empty"
    );
}

#[test]
fn topics_are_kept_apart() {
    let scene = Scene::new();
    let forum = scene.api.forum(-1001, "Plans");
    let topic = scene.api.topic(forum, "Trip").unwrap();
    let send = |thread: i64| {
        let params = json!({"chat_id": -1001, "text": "x", "message_thread_id": thread});
        scene.call("sendMessage", &params)
    };
    assert_eq!(send(topic.0).result()["message_thread_id"], topic.0);
    assert_eq!(send(0).result()["message_thread_id"], json!(null));
    for unknown in [1, 99] {
        assert_eq!(
            send(unknown).description(),
            "Bad Request: message thread not found"
        );
    }
    let threads: Vec<_> = scene
        .api
        .sent(forum)
        .iter()
        .map(|sent| sent.thread)
        .collect();
    assert_eq!(threads, [Some(topic), None]);
}

#[test]
fn what_is_answered_must_be_there() {
    let scene = Scene::greeted();
    let send = |reply: serde_json::Value| {
        let params = json!({"chat_id": 7, "text": "x", "reply_parameters": reply});
        scene.call("sendMessage", &params)
    };
    assert_eq!(
        send(json!({"message_id": 99})).description(),
        "Bad Request: message to be replied not found"
    );
    let sent = send(json!({"message_id": 99, "allow_sending_without_reply": true}));
    assert_eq!(sent.status, 200);
}

#[test]
fn a_bot_edits_its_own_messages() {
    let scene = Scene::new();
    let theirs = scene.api.says(&scene.anna, "hello").unwrap();
    let sent = scene.call("sendMessage", &json!({"chat_id": 7, "text": "one"}));
    let own = sent.result()["message_id"].as_i64().unwrap();
    let edit = |id: i64, text: &str| {
        let params = json!({"chat_id": 7, "message_id": id, "text": text});
        scene.call("editMessageText", &params)
    };
    let edited = edit(own, "two").result();
    assert_eq!(edited["text"], "two");
    assert!(edited["edit_date"].is_u64());
    assert!(
        edit(own, "two")
            .description()
            .starts_with("Bad Request: message is not modified")
    );
    assert_eq!(
        edit(theirs.0, "x").description(),
        "Bad Request: message can't be edited"
    );
    assert_eq!(
        edit(99, "x").description(),
        "Bad Request: message to edit not found"
    );
    let sent = scene.api.sent(&scene.anna);
    assert_eq!((sent[0].text.as_str(), sent[0].edits), ("two", 1));
}

#[test]
fn chat_actions_are_seen() {
    let scene = Scene::greeted();
    let act = |action: &str| scene.call("sendChatAction", &json!({"chat_id": 7, "action": action}));
    assert_eq!(act("typing").result(), true);
    assert_eq!(
        act("sleeping").description(),
        "Bad Request: wrong parameter action in request"
    );
    let actions = scene.api.actions();
    assert_eq!(actions.len(), 1);
    assert_eq!(
        (actions[0].chat.0, actions[0].action.as_str()),
        (7, "typing")
    );
}

#[test]
fn messages_of_all_chats_have_one_order() {
    let scene = Scene::greeted();
    let bert = scene.api.user(8, "Bert");
    scene.api.says(&bert, "/start").unwrap();
    scene.api.post(Post::by(&bert, "again")).unwrap();
    for (chat, text) in [(8, "a"), (7, "b"), (8, "c")] {
        scene.call("sendMessage", &json!({"chat_id": chat, "text": text}));
    }
    let all = scene.api.look(|state| state.sent_everywhere());
    let order: Vec<_> = all
        .iter()
        .map(|sent| (sent.chat.0, sent.text.as_str()))
        .collect();
    assert_eq!(order, [(8, "a"), (7, "b"), (8, "c")]);
    assert_eq!(scene.api.look(|state| state.sent_count()), 3);
}

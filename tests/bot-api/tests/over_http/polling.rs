//! `getUpdates`.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::{LIMIT, Scene};
use clawgate_bot_api::Post;

fn ids(updates: &[Value]) -> Vec<i64> {
    updates
        .iter()
        .map(|update| update["update_id"].as_i64().unwrap())
        .collect()
}

fn texts(updates: &[Value]) -> Vec<&str> {
    updates
        .iter()
        .map(|update| update["message"]["text"].as_str().unwrap())
        .collect()
}

#[test]
fn updates_come_until_they_are_confirmed() {
    let scene = Scene::new();
    for text in ["one", "two", "three"] {
        scene.api.says(&scene.anna, text).unwrap();
    }
    let all = scene.updates(&json!({}));
    assert_eq!(texts(&all), ["one", "two", "three"]);
    assert_eq!(scene.updates(&json!({})), all);
    let second = ids(&all)[1];
    assert_eq!(
        texts(&scene.updates(&json!({"offset": second, "limit": 1}))),
        ["two"]
    );
    assert_eq!(texts(&scene.updates(&json!({}))), ["two", "three"]);
    assert_eq!(texts(&scene.updates(&json!({"offset": -1}))), ["three"]);
    assert_eq!(scene.api.look(|state| state.pending_updates(scene.bot)), 1);
}

#[test]
fn a_long_poll_ends_when_somebody_writes() {
    let scene = Scene::new();
    let mut connection = scene.connect();
    connection
        .ask("getUpdates", &json!({"timeout": 50}))
        .unwrap();
    scene
        .api
        .wait_for(LIMIT, |state| state.is_polled(scene.bot).then_some(()))
        .unwrap();
    scene.api.says(&scene.anna, "hello").unwrap();
    let updates = connection.answer().unwrap().result();
    assert_eq!(texts(updates.as_array().unwrap()), ["hello"]);
    let message = &updates[0]["message"];
    assert_eq!(
        message["from"],
        json!({"id": 7, "is_bot": false, "first_name": "Anna"})
    );
    assert_eq!(
        message["chat"],
        json!({"id": 7, "first_name": "Anna", "type": "private"})
    );
}

#[test]
fn a_long_poll_ends_empty_after_its_time() {
    let scene = Scene::new();
    let begun = Instant::now();
    assert!(scene.updates(&json!({"timeout": 1})).is_empty());
    assert!(begun.elapsed().as_millis() >= 1000);
}

#[test]
fn the_earlier_of_two_polls_ends_with_a_conflict() {
    let scene = Scene::new();
    let polled = || {
        let wait = |state: &clawgate_bot_api::State| state.is_polled(scene.bot).then_some(());
        scene.api.wait_for(LIMIT, wait).unwrap();
    };
    let mut first = scene.connect();
    first.ask("getUpdates", &json!({"timeout": 50})).unwrap();
    polled();
    let mut second = scene.connect();
    second.ask("getUpdates", &json!({"timeout": 50})).unwrap();
    let answer = first.answer().unwrap();
    assert_eq!(answer.status, 409);
    assert_eq!(
        answer.description(),
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
    );
    scene.api.says(&scene.anna, "hello").unwrap();
    assert_eq!(
        second.answer().unwrap().result().as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_webhook_keeps_updates_from_polls() {
    let scene = Scene::new();
    scene.api.set_webhook(scene.bot, "https://bot.example.org/");
    let refused = scene.call("getUpdates", &json!({}));
    assert_eq!(refused.status, 409);
    assert!(refused.description().contains("use deleteWebhook"));
    assert_eq!(
        scene.call("getWebhookInfo", &json!({})).result()["url"],
        "https://bot.example.org/"
    );
    let deleted = scene.call("deleteWebhook", &json!({}));
    assert_eq!(deleted.json()["description"], "Webhook was deleted");
    assert!(scene.updates(&json!({})).is_empty());
}

#[test]
fn only_wanted_kinds_of_updates_come() {
    let scene = Scene::new();
    scene.updates(&json!({"allowed_updates": ["message"]}));
    let id = scene.api.says(&scene.anna, "hello").unwrap();
    scene.api.edits(&scene.anna, id, "hello!").unwrap();
    assert_eq!(scene.updates(&json!({})).len(), 1);
    scene.updates(&json!({"allowed_updates": ["message", "edited_message"]}));
    scene.api.edits(&scene.anna, id, "hello!!").unwrap();
    let updates = scene.updates(&json!({}));
    assert_eq!(updates[1]["edited_message"]["text"], "hello!!");
    assert!(updates[1]["edited_message"]["edit_date"].is_u64());
    assert_eq!(
        updates[1]["edited_message"]["message_id"],
        updates[0]["message"]["message_id"]
    );
}

#[test]
fn groups_topics_and_replies_are_told() {
    let scene = Scene::new();
    let forum = scene.api.forum(-1001, "Plans");
    let topic = scene.api.topic(forum, "Trip").unwrap();
    let post = Post::by(&scene.anna, "@example_bot where?")
        .in_group(forum)
        .in_topic(topic);
    let question = scene.api.post(post).unwrap();
    let post = Post::by(&scene.anna, "tell me")
        .in_group(forum)
        .in_topic(topic)
        .replying_to(question);
    scene.api.post(post).unwrap();
    let updates = scene.updates(&json!({}));
    let message = &updates[0]["message"];
    assert_eq!(
        message["chat"],
        json!({"id": -1001, "title": "Plans", "type": "supergroup", "is_forum": true})
    );
    assert_eq!(message["message_thread_id"], topic.0);
    assert_eq!(message["is_topic_message"], true);
    assert_eq!(
        message["entities"],
        json!([{"type": "mention", "offset": 0, "length": 12}])
    );
    assert_eq!(
        updates[1]["message"]["reply_to_message"]["text"],
        "@example_bot where?"
    );
}

#[test]
fn each_bot_has_its_own_chats_and_updates() {
    let scene = Scene::new();
    let other = scene.api.add_bot("99:other", "other_bot").unwrap();
    scene
        .api
        .post(Post::by(&scene.anna, "to the other").to(other))
        .unwrap();
    assert!(scene.updates(&json!({})).is_empty());
    assert_eq!(scene.api.look(|state| state.pending_updates(other)), 1);
}

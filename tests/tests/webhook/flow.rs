//! Messages in and replies out, and what is refused on the way.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::bridge::{Bridge, PATH, SECRET, ask, message, now, operator, post, post_signed};

#[test]
fn a_message_is_answered_where_it_was_written() -> TestResult {
    let bridge = Bridge::open()?;
    let gateway = bridge.gateway(&json!({}))?;
    let answer = post(&gateway, &message("m1", "/echo hello"))?;
    assert_eq!(
        (answer.status, answer.json()?),
        (202, json!({ "ok": true, "id": "m1" }))
    );
    let part = bridge.next()?;
    let key = part["key"].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        part,
        json!({
            "key": key, "chat": "ada", "replyTo": "m1", "silent": false,
            "part": { "type": "text", "text": "hello" },
        })
    );
    // A thread is a place of its own.
    let mut threaded = message("m2", "/echo there");
    threaded["thread"] = "t1".into();
    assert_eq!(post(&gateway, &threaded)?.status, 202);
    let part = bridge.next()?;
    assert_eq!(
        (&part["thread"], &part["part"]["text"]),
        (&json!("t1"), &json!("there"))
    );
    Ok(())
}

#[test]
fn in_groups_it_answers_whoever_addresses_it() -> TestResult {
    let bridge = Bridge::open()?;
    let gateway = bridge.gateway(&json!({ "typing": true }))?;
    let mut overheard = message("m1", "/echo overheard");
    overheard["kind"] = "group".into();
    assert_eq!(post(&gateway, &overheard)?.status, 202);
    let mut addressed = message("m2", "/echo addressed");
    addressed["kind"] = "group".into();
    addressed["addressed"] = true.into();
    assert_eq!(post(&gateway, &addressed)?.status, 202);
    let mut typed = false;
    loop {
        let part = bridge.next()?;
        if part["part"]["text"] == "addressed" {
            break;
        }
        assert!(part["typing"].is_boolean(), "{part}");
        assert_eq!(part["chat"], "ada");
        typed = true;
    }
    assert!(typed, "nobody said that the agent works");
    Ok(())
}

#[test]
fn what_is_not_signed_right_is_not_heard() -> TestResult {
    let bridge = Bridge::open()?;
    let gateway = bridge.gateway(&json!({}))?;
    let hello = message("m1", "/echo hello");
    let wrong = post_signed(&gateway, &hello, "not the secret of the bridge", now())?;
    let unsigned = format!("POST {PATH} HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\n{{}}");
    let unsigned = ask(gateway.address(), &unsigned)?;
    assert_eq!((wrong.status, unsigned.status), (401, 401));
    assert_eq!(wrong.body, unsigned.body);
    let late = post_signed(&gateway, &hello, SECRET, now() - 400)?;
    assert_eq!(late.status, 409);
    assert!(late.body.contains("seconds ago"), "{}", late.body);
    let early = post_signed(&gateway, &hello, SECRET, now() + 400)?;
    assert!(early.body.contains("in the future"), "{}", early.body);
    let mut wordless = hello.clone();
    wordless["sender"] = json!({ "name": "Ada" });
    let wordless = post(&gateway, &wordless)?;
    assert_eq!(
        (wordless.status, &wordless.json()?["error"]["field"]),
        (400, &json!("sender"))
    );
    assert!(!bridge.has_more());
    // The status says what was wrong, without the secret.
    let health = operator(&gateway)?.call("health", json!({}))?.payload()?;
    assert!(!gateway.log().contains(SECRET) && !health.to_string().contains(SECRET));
    Ok(())
}

#[test]
fn the_same_message_is_answered_once() -> TestResult {
    let bridge = Bridge::open()?;
    let gateway = bridge.gateway(&json!({}))?;
    for _ in 0..3 {
        assert_eq!(post(&gateway, &message("m1", "/echo once"))?.status, 202);
    }
    assert_eq!(post(&gateway, &message("m2", "/echo twice"))?.status, 202);
    let texts = [bridge.next()?, bridge.next()?].map(|part| part["part"]["text"].clone());
    assert_eq!(texts, [json!("once"), json!("twice")]);
    assert!(!bridge.has_more());
    Ok(())
}

#[test]
fn a_reply_is_sent_until_the_bridge_has_it() -> TestResult {
    let bridge = Bridge::open()?;
    let gateway = bridge.gateway(&json!({}))?;
    bridge.be_busy(1);
    bridge.break_after(2);
    assert_eq!(post(&gateway, &message("m1", "/echo hello"))?.status, 202);
    let part = bridge.next()?;
    assert_eq!(part["part"]["text"], "hello");
    // It is said again with the same key, until the bridge confirms it.
    let key = part["key"].as_str().unwrap_or_default();
    Deadline::after(PATIENCE).poll("the third try", || {
        Ok((bridge.times(key) == 3).then_some(()))
    })?;
    assert_eq!(post(&gateway, &message("m2", "/echo next"))?.status, 202);
    assert_eq!(bridge.next()?["part"]["text"], "next");
    assert_eq!((bridge.keys().len(), bridge.times(key)), (2, 3));
    Ok(())
}

#[test]
fn a_file_of_a_message_reaches_the_agent() -> TestResult {
    let bridge = Bridge::open()?;
    let gateway = bridge.gateway(&json!({}))?;
    let mut with_file = message("m1", "/echo seen");
    with_file["files"] = json!([{
        "name": "note.txt", "mimeType": "text/plain", "data": STANDARD.encode("hello"),
    }]);
    assert_eq!(post(&gateway, &with_file)?.status, 202);
    assert_eq!(bridge.next()?["part"]["text"], "seen");
    Ok(())
}

#[test]
fn another_secret_is_taken_up_without_a_restart() -> TestResult {
    let bridge = Bridge::open()?;
    let gateway = bridge.gateway(&json!({}))?;
    let config = gateway.state_dir().join("openclaw.json");
    let other = "another secret of the bridge";
    let text = std::fs::read_to_string(&config)?.replace(SECRET, other);
    std::fs::write(&config, text)?;
    operator(&gateway)?
        .call("secrets.reload", json!({}))?
        .payload()?;
    let hello = message("m1", "/echo hello");
    let statuses = [SECRET, other].map(|secret| post_signed(&gateway, &hello, secret, now()));
    let [old, new] = statuses;
    assert_eq!((old?.status, new?.status), (401, 202));
    Ok(())
}

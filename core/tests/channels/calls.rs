//! What operators ask for by calls.

use std::time::Duration;

use clawgate_core::{channel::DmPolicy, ids::ConnId, store::StoreFailure};
use serde_json::{Value, json};

use crate::world::{Fate, TOKEN, World};

const ALL: [&str; 4] = [
    "operator.admin",
    "operator.read",
    "operator.write",
    "operator.pairing",
];

fn operator(world: &mut World) -> ConnId {
    world.host.connect(TOKEN, &ALL)
}

fn message(text: &str, key: &str) -> Value {
    json!({ "to": "a", "message": text, "idempotencyKey": key })
}

/// The answer to a call, past events, if there is one by now.
fn answer(world: &mut World, conn: ConnId) -> Option<Value> {
    while let Some(frame) = world.host.try_recv(conn) {
        if frame["type"] == "res" {
            return Some(frame);
        }
    }
    None
}

fn send(world: &mut World, conn: ConnId, params: Value) -> Option<Value> {
    world.host.call(conn, "send", "send", params);
    world.sort();
    answer(world, conn)
}

fn error(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap()
}

#[test]
fn status_shows_every_account_and_what_is_wrong() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    let status = world.host.get(conn, "channels.status", json!({}));
    assert_eq!(status["channelOrder"], json!(["toy"]));
    assert_eq!(status["channelLabels"]["toy"], "Toy");
    assert_eq!(status["channelDefaultAccountId"]["toy"], "default");
    let row = &status["channelAccounts"]["toy"][0];
    assert_eq!(
        (&row["accountId"], &row["connected"]),
        (&json!("default"), &json!(true))
    );
    assert_eq!(status["channels"]["toy"]["running"], true);
    assert_eq!(status["statusIssues"], json!([]));
    let unknown = world
        .host
        .ask(conn, "channels.status", json!({ "channel": "fax" }));
    assert_eq!(error(&unknown), "unknown channel 'fax': configured are toy");

    let mut world = World::new(|account| account.machine = Err("botToken is missing".into()));
    let conn = operator(&mut world);
    let status = world
        .host
        .get(conn, "channels.status", json!({ "channel": "toy" }));
    assert_eq!(status["channelAccounts"]["toy"][0]["configured"], false);
    let issue = json!({
        "channel": "toy", "accountId": "default", "kind": "config", "message": "botToken is missing",
    });
    assert_eq!(status["statusIssues"], json!([issue]));
    let refused = world
        .host
        .ask(conn, "channels.start", json!({ "channel": "toy" }));
    assert_eq!(
        error(&refused),
        "toy/default cannot run: botToken is missing"
    );
}

#[test]
fn a_stopped_account_stays_stopped_until_it_is_started() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    let stopped = world
        .host
        .get(conn, "channels.stop", json!({ "channel": "toy" }));
    assert_eq!(
        stopped,
        json!({ "channel": "toy", "accountId": "default", "stopped": true })
    );
    world.sort();
    assert_eq!(world.job_of("poll"), None);
    world.crash();
    assert_eq!(world.job_of("poll"), None, "over restarts, too");
    let conn = operator(&mut world);
    let refused = send(&mut world, conn, message("hello", "k")).unwrap();
    assert!(error(&refused).contains("channels start toy"), "{refused}");
    let params = json!({ "channel": "toy", "accountId": "default" });
    let started = world.host.get(conn, "channels.start", params.clone());
    assert_eq!(
        started,
        json!({
            "channel": "toy", "accountId": "default", "started": true, "outcome": "started",
        })
    );
    world.sort();
    world.says("a", "hello");
    assert_eq!(world.service.told("a"), ["re: hello"]);
    let again = world.host.get(conn, "channels.start", params);
    assert_eq!(again["outcome"], "already-running");
    let unknown = json!({ "channel": "toy", "accountId": "work" });
    let unknown = world.host.ask(conn, "channels.stop", unknown);
    assert_eq!(
        error(&unknown),
        "unknown account 'work' of toy: there is default"
    );
    let actions: Vec<&str> = world
        .host
        .disk
        .audit
        .iter()
        .filter_map(|entry| entry["action"].as_str())
        .filter(|action| action.starts_with("channels."))
        .collect();
    assert_eq!(
        actions,
        ["channels.stop", "channels.start", "channels.start"]
    );
}

#[test]
fn a_blocked_account_is_tried_again_when_somebody_starts_it() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    world.says("a", "one");
    world.service.state().locked_out = true;
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Lost);
    let params = json!({ "channel": "toy" });
    let status = world.host.get(conn, "channels.status", params.clone());
    let row = &status["channelAccounts"]["toy"][0];
    assert_eq!(
        (&row["healthState"], &row["running"]),
        (&json!("blocked"), &json!(false))
    );
    assert_eq!(world.job_of("poll"), None);
    world.service.state().locked_out = false;
    let started = world.host.get(conn, "channels.start", params.clone());
    assert_eq!(started["outcome"], "started", "{started}");
    world.sort();
    world.says("a", "two");
    assert_eq!(world.service.told("a"), ["re: one", "re: two"]);
    let again = world.host.get(conn, "channels.start", params);
    assert_eq!(again["outcome"], "already-running", "{again}");
}

#[test]
fn a_disk_that_takes_nothing_leaves_an_account_as_it_was() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    world.host.disk.failure = Some(StoreFailure::Full);
    let refused = world
        .host
        .ask(conn, "channels.stop", json!({ "channel": "toy" }));
    assert_eq!(refused["ok"], false, "{refused}");
    world.host.disk.failure = None;
    world.host.advance(Duration::from_secs(120));
    world.sort();
    world.says("a", "hello");
    assert_eq!(world.service.told("a"), ["re: hello"]);

    world
        .host
        .get(conn, "channels.stop", json!({ "channel": "toy" }));
    world.host.disk.failure = Some(StoreFailure::Full);
    world
        .host
        .ask(conn, "channels.start", json!({ "channel": "toy" }));
    world.host.disk.failure = None;
    world.host.advance(Duration::from_secs(120));
    world.sort();
    assert_eq!(world.job_of("poll"), None, "it is still stopped");
}

#[test]
fn people_are_let_in_and_turned_away_by_their_codes() {
    let mut world = World::new(|account| account.access.dm = DmPolicy::Pairing);
    let conn = operator(&mut world);
    for chat in ["a", "b", "c"] {
        world.says(chat, "hello");
    }
    let all = world.host.get(conn, "channels.pairing.list", json!({}));
    assert_eq!(all["accounts"][0]["channelLabel"], "Toy");
    assert_eq!(
        all["limits"],
        json!({ "pendingPerAccount": 3, "ttlMs": 3_600_000 })
    );
    assert_eq!(all["commandOwnerConfigured"], false);
    let requests = all["requests"].as_array().unwrap().clone();
    let senders: Vec<&str> = requests
        .iter()
        .map(|request| request["senderId"].as_str().unwrap())
        .collect();
    assert_eq!(senders, ["user-a", "user-b", "user-c"]);
    let code = |index: usize| requests[index]["requestId"].as_str().unwrap().to_owned();
    assert!(world.service.told("a")[0].contains(&code(0)));
    let params = |index: usize, more: Value| {
        let mut params = json!({
            "channel": "toy", "accountId": "default", "requestId": code(index),
        });
        for (name, value) in more.as_object().unwrap() {
            params[name] = value.clone();
        }
        params
    };
    let owner = json!({ "notify": true, "bootstrapCommandOwner": true });

    let pairing = world.host.connect(TOKEN, &["operator.pairing"]);
    let refused = world.host.ask(
        pairing,
        "channels.pairing.approve",
        params(0, owner.clone()),
    );
    assert_eq!(
        refused["error"]["details"]["missingScope"],
        "operator.admin"
    );

    let approved = world
        .host
        .get(conn, "channels.pairing.approve", params(0, owner.clone()));
    assert_eq!(
        approved,
        json!({
            "requestId": code(0),
            "senderId": "user-a",
            "notification": "sent",
            "commandOwnerBootstrap": "configured",
        })
    );
    world.sort();
    world.settle();
    assert_eq!(world.service.told("a").len(), 2, "they are told");
    let second = world
        .host
        .get(conn, "channels.pairing.approve", params(1, owner));
    assert_eq!(second["commandOwnerBootstrap"], "already-configured");
    let third = world
        .host
        .get(conn, "channels.pairing.dismiss", params(2, json!({})));
    assert_eq!(third, json!({ "requestId": code(2), "senderId": "user-c" }));
    let gone = world
        .host
        .ask(conn, "channels.pairing.dismiss", params(2, json!({})));
    assert!(error(&gone).starts_with("unknown requestId"), "{gone}");
    let left = world
        .host
        .get(conn, "channels.pairing.list", json!({ "channel": "toy" }));
    assert_eq!(left["requests"], json!([]));
    assert_eq!(left["commandOwnerConfigured"], true);
    world.sort();
    world.settle();
    world.says("a", "it is me");
    assert_eq!(world.service.told("a").last().unwrap(), "re: it is me");

    let out = world
        .host
        .get(conn, "channels.logout", json!({ "channel": "toy" }));
    assert_eq!(out["cleared"], true);
    assert_eq!(out["loggedOut"], true);
    let left = world.host.get(conn, "channels.pairing.list", json!({}));
    assert_eq!(
        left["commandOwnerConfigured"], false,
        "nobody is let in any more"
    );
}

#[test]
fn a_message_is_sent_once_for_each_key() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    assert_eq!(
        send(&mut world, conn, message("hello", "k")),
        None,
        "it waits"
    );
    assert_eq!(
        send(&mut world, conn, message("hello", "k")),
        None,
        "and so do both"
    );
    let job = world.job_of("send").unwrap();
    world.end(job, Fate::Works);
    let expected = json!({ "runId": "k", "messageId": "remote", "channel": "toy", "chatId": "a" });
    for _ in 0..2 {
        assert_eq!(answer(&mut world, conn).unwrap()["payload"], expected);
    }
    let again = send(&mut world, conn, message("hello", "k")).unwrap();
    assert_eq!(again["payload"], expected);
    let other = send(&mut world, conn, message("good bye", "k")).unwrap();
    assert_eq!(error(&other), "idempotencyKey was used for another message");
    assert_eq!(world.service.told("a"), ["hello"]);
}

#[test]
fn a_file_is_sent_with_its_name_and_type() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    let params = json!({
        "to": "a", "channel": "toy", "buffer": "aGVsbG8=", "filename": "plan.pdf",
        "idempotencyKey": "k", "message": "the plan",
    });
    send(&mut world, conn, params);
    world.settle();
    assert_eq!(answer(&mut world, conn).unwrap()["ok"], true);
    assert_eq!(
        world.service.told("a"),
        ["file:application/pdf:5", "the plan"]
    );
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_reason() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    for (change, problem) in [
        (json!({ "message": " " }), "message or buffer is needed"),
        (json!({ "to": " " }), "to is missing"),
        (json!({ "channel": "fax" }), "unknown channel 'fax'"),
        (json!({ "accountId": "work" }), "unknown account 'work'"),
        (json!({ "buffer": "no base64" }), "buffer is no base64"),
        (
            json!({ "mediaUrl": "https://example.com/a.png" }),
            "give the file itself",
        ),
        (json!({ "asVoice": true }), "asVoice is not implemented"),
        (json!({ "idempotencyKey": "" }), "idempotencyKey must have"),
        (json!({ "surprise": 1 }), "surprise"),
    ] {
        let mut params = message("hello", "k");
        for (name, value) in change.as_object().unwrap() {
            params[name] = value.clone();
        }
        let refused = send(&mut world, conn, params).unwrap();
        assert!(error(&refused).contains(problem), "{refused}");
    }
    assert_eq!(world.job_of("send"), None);
}

#[test]
fn a_caller_is_told_when_it_takes_long_and_the_message_goes_on() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    assert_eq!(send(&mut world, conn, message("hello", "k")), None);
    let job = world.job_of("send").unwrap();
    world.end(job, Fate::Unreached);
    for _ in 0..100 {
        world.host.advance(Duration::from_secs(1));
        world.sort();
        if let Some(job) = world.job_of("send") {
            world.end(job, Fate::Unreached);
        }
    }
    let late = answer(&mut world, conn).unwrap();
    assert_eq!(late["error"]["retryable"], true, "{late}");
    assert_eq!(
        late["error"]["details"],
        json!({ "message": "m1", "state": "replying" })
    );
    assert!(error(&late).contains("broken"), "{late}");
    world.host.advance(Duration::from_secs(61));
    world.sort();
    world.settle();
    assert_eq!(world.service.told("a"), ["hello"]);
    let asked_again = send(&mut world, conn, message("hello", "k")).unwrap();
    assert_eq!(asked_again["ok"], true, "{asked_again}");
}

#[test]
fn a_message_that_the_disk_did_not_take_is_refused_at_once() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    world.host.disk.failure = Some(StoreFailure::Full);
    let refused = send(&mut world, conn, message("hello", "k")).unwrap();
    assert_eq!(refused["error"]["retryable"], true, "{refused}");
    world.host.disk.failure = None;
    world.host.advance(Duration::from_secs(120));
    world.sort();
    world.settle();
    assert_eq!(world.service.told("a"), Vec::<String>::new());
    send(&mut world, conn, message("hello", "k"));
    world.settle();
    assert_eq!(world.service.told("a"), ["hello"]);
    assert_eq!(answer(&mut world, conn).unwrap()["ok"], true);
}

#[test]
fn a_chat_takes_so_many_messages_and_no_more() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    let max = world.host.limits.max_waiting_per_chat;
    for number in 0..max {
        assert_eq!(
            send(&mut world, conn, message("hello", &number.to_string())),
            None
        );
    }
    let refused = send(&mut world, conn, message("hello", "one more")).unwrap();
    assert_eq!(refused["error"]["retryable"], true, "{refused}");
    let elsewhere = json!({ "to": "b", "message": "hello", "idempotencyKey": "b" });
    assert_eq!(send(&mut world, conn, elsewhere), None);
    world.settle();
    assert_eq!(world.service.told("a").len(), max);
    assert_eq!(world.service.told("b"), ["hello"]);
}

#[test]
fn messages_are_listed_traced_and_sent_again() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    world.says("a", "fine");
    world.service.says("b", "hello");
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    let job = world.job_of("send").unwrap();
    world.host.advance(Duration::from_millis(40));
    world.end(job, Fate::Lost);
    world.settle();
    let all = world.host.get(conn, "messages.list", json!({ "limit": 3 }));
    assert_eq!(all["total"], 4);
    assert_eq!(all["messages"].as_array().unwrap().len(), 3);
    let uncertain = json!({ "state": "uncertain", "chat": "b" });
    let uncertain = world.host.get(conn, "messages.list", uncertain);
    let rows = uncertain["messages"].as_array().unwrap();
    let ways: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["id"].as_str().unwrap(),
                row["direction"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(ways, [("m4", "out"), ("m3", "in")]);
    let status = world.host.get(conn, "channels.status", json!({}));
    assert_eq!(status["channelAccounts"]["toy"][0]["uncertain"], 1);

    let trace = world
        .host
        .get(conn, "messages.trace", json!({ "id": "M3" }));
    assert_eq!(trace["message"]["text"], "hello");
    assert_eq!(trace["related"][0]["id"], "m4");
    let hops: Vec<_> = trace["hops"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hop| {
            let (message, what) = (hop["message"].as_str(), hop["what"].as_str());
            (
                message.unwrap(),
                what.unwrap(),
                hop["afterMs"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        hops,
        [
            ("m3", "received", 0),
            ("m3", "given to the agent", 0),
            ("m3", "answered by the agent", 0),
            ("m4", "to be sent", 0),
            ("m4", "given to the service", 0),
            ("m4", "perhaps taken by the service: broken", 40),
            ("m3", "nobody knows whether its answer was sent", 0),
        ]
    );
    let of_answer = world
        .host
        .get(conn, "messages.trace", json!({ "id": "m4" }));
    assert_eq!(of_answer["hops"], trace["hops"]);

    let resent = world
        .host
        .get(conn, "messages.resend", json!({ "id": "m3" }));
    assert_eq!(
        resent,
        json!({ "id": "m3", "resent": "m4", "state": "replying" })
    );
    world.sort();
    world.settle();
    assert_eq!(world.service.told("b"), ["re: hello"]);
    let left = world
        .host
        .get(conn, "messages.list", json!({ "state": "uncertain" }));
    assert_eq!(left["total"], 0);
    let refused = world
        .host
        .ask(conn, "messages.resend", json!({ "id": "m4" }));
    assert!(error(&refused).contains("m4 is sent"), "{refused}");
    let unknown = world
        .host
        .ask(conn, "messages.trace", json!({ "id": "m99" }));
    assert!(error(&unknown).contains("no message m99"), "{unknown}");
    let odd = world
        .host
        .ask(conn, "messages.list", json!({ "state": "lost" }));
    assert!(error(&odd).contains("state must be"), "{odd}");
}

#[test]
fn a_run_of_an_operator_is_answered_in_a_chat_too() {
    let mut world = World::new(|_| {});
    let conn = operator(&mut world);
    let run = |key: &str, more: Value| {
        let mut params = json!({ "message": "hello", "idempotencyKey": key });
        for (name, value) in more.as_object().unwrap() {
            params[name] = value.clone();
        }
        params
    };
    let to = json!({ "deliver": true, "channel": "toy", "to": "a", "threadId": "7" });
    world.host.call(conn, "1", "agent", run("1", to));
    world.sort();
    world.settle();
    assert_eq!(world.service.told("a"), ["re: hello"]);
    while answer(&mut world, conn).is_some() {}

    let nowhere = world
        .host
        .ask(conn, "agent", run("2", json!({ "deliver": true })));
    assert!(error(&nowhere).contains("channel and to"), "{nowhere}");
    let half = world
        .host
        .ask(conn, "agent", run("3", json!({ "to": "a" })));
    assert!(error(&half).contains("deliver: true"), "{half}");

    // The session of a chat says where its answers go.
    let own = json!({
        "deliver": true, "sessionKey": "agent:main:toy:direct:b",
        "idempotencyKey": "4", "message": "hello",
    });
    world.host.call(conn, "4", "chat.send", own);
    world.sort();
    world.settle();
    assert_eq!(world.service.told("b"), ["re: hello"]);
    let named = json!({
        "deliver": true, "sessionKey": "main", "originatingChannel": "toy", "originatingTo": "c",
        "idempotencyKey": "5", "message": "hello",
    });
    world.host.call(conn, "5", "chat.send", named);
    world.sort();
    world.settle();
    assert_eq!(world.service.told("c"), ["re: hello"]);
}

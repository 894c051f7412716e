//! Telegram's part is played by the stand-in.

use std::time::Duration;

use clawgate_bot_api::{Act, BotApi, Fault, Taken, User};
use serde_json::json;

use crate::{common::Outcome, support::World};

/// Nothing here takes so long, unless it hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// What no output may show.
const MARK: &str = "31415926";

struct Desk {
    world: World,
    api: BotApi,
    anna: User,
}

impl Desk {
    /// Only one gateway of a machine may have a bot, so each test has a number of its own.
    fn new(number: u32, policy: &str) -> Self {
        let api = BotApi::start().unwrap();
        let bot = format!("{number}:Secret-of-the-bot-{MARK}");
        api.add_bot(&bot, "door_bot").unwrap();
        let anna = api.user(7, "Anna");
        let mut telegram = json!({
            "botToken": bot, "apiRoot": api.url(), "dmPolicy": policy, "allowFrom": ["*"],
        });
        if policy != "open" {
            telegram["allowFrom"] = json!([]);
        }
        let world = World::configured(&json!({ "channels": { "telegram": telegram } }));
        Self { world, api, anna }
    }

    /// The text of what the bot said last, when it has said so much.
    fn told(&self, count: usize) -> String {
        let sent = self.api.wait_for_sent(&self.anna, count, LIMIT).unwrap();
        sent.last().unwrap().text.clone()
    }

    /// Runs a command whose output must not show the bot's token.
    fn run(&self, args: &[&str], code: i32) -> Outcome {
        let outcome = self.world.run(args);
        assert_eq!(outcome.code, code, "{args:?}: {outcome:?}");
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(MARK), "{args:?}: {outcome:?}");
        }
        outcome
    }
}

#[test]
fn a_stranger_is_let_in_and_answered() {
    let desk = Desk::new(1, "pairing");
    desk.api.says(&desk.anna, "/echo hello").unwrap();
    let told = desk.told(1);
    let asking = desk.run(&["pairing", "list", "telegram"], 0);
    let code = asking
        .stdout
        .lines()
        .find(|line| line.contains("Anna"))
        .and_then(|line| line.split_whitespace().next())
        .unwrap();
    assert!(told.contains(code), "{told}: {asking:?}");
    let approved = desk.run(&["pairing", "approve", "telegram", code, "--owner"], 0);
    assert!(
        approved.stdout.contains("may let others in"),
        "{approved:?}"
    );
    desk.told(2);
    desk.api.says(&desk.anna, "/echo hello").unwrap();
    assert_eq!(desk.told(3), "hello");

    let status = desk.run(&["channels", "status"], 0);
    assert!(status.stdout.contains("door_bot"), "{status:?}");
    assert!(status.stdout.contains("healthy"), "{status:?}");
    desk.run(&["health"], 0);
    let list = desk
        .run(&["messages", "list", "--chat", "7", "--json"], 0)
        .json();
    let asked = list["messages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["direction"] == "in")
        .unwrap();
    let trace = desk.run(&["messages", "trace", asked["id"].as_str().unwrap()], 0);
    for step in ["received", "given to the agent", "given to the service"] {
        assert!(trace.stdout.contains(step), "{trace:?}");
    }
    desk.run(&["logs", "--limit", "100"], 0);
}

#[test]
fn what_is_said_by_hand_arrives_once_for_each_key() {
    let desk = Desk::new(2, "open");
    desk.api.says(&desk.anna, "/echo hello").unwrap();
    assert_eq!(desk.told(1), "hello");
    let plan = desk.world.sandbox.write("plan.txt", "dig here");
    let send = [
        "send",
        "--channel",
        "telegram",
        "--to",
        "7",
        "--message",
        "the **plan**",
        "--file",
        &plan,
        "--silent",
        "--idempotency-key",
        "k",
    ];
    for _ in 0..2 {
        let sent = desk.run(&send, 0);
        assert!(sent.stdout.contains("in telegram:7"), "{sent:?}");
    }
    let sent = desk.api.sent(&desk.anna);
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(sent[1].file.is_some() && sent[1].silent, "{sent:?}");
    assert_eq!(sent[2].text, "the plan");
    let nobody = desk.run(&["send", "--to", "99", "--message", "hello"], 6);
    assert!(nobody.stderr.contains("was not sent"), "{nobody:?}");
}

#[test]
fn what_is_uncertain_is_shown_and_sent_again_by_hand_alone() {
    let desk = Desk::new(3, "open");
    desk.api.says(&desk.anna, "/echo hello").unwrap();
    desk.told(1);
    desk.api
        .fault(Fault::on("sendMessage").act(Act::Taken(Taken::Reset)));
    let send = [
        "send",
        "--to",
        "7",
        "--message",
        "once",
        "--idempotency-key",
        "k",
    ];
    for _ in 0..2 {
        let sent = desk.run(&send, 6);
        assert!(sent.stderr.contains("nobody knows whether"), "{sent:?}");
    }
    assert_eq!(desk.api.sent(&desk.anna).len(), 2);
    let list = desk.run(&["messages", "list", "--state", "uncertain"], 0);
    let id = list
        .stdout
        .lines()
        .find(|line| line.contains("once"))
        .and_then(|line| line.split_whitespace().next())
        .unwrap();
    let health = desk.run(&["health"], 0);
    assert!(health.stdout.contains("1 uncertain"), "{health:?}");
    desk.run(&["messages", "resend", id], 0);
    assert_eq!(desk.told(3), "once");
    desk.run(&send, 0);
    assert_eq!(desk.api.sent(&desk.anna).len(), 3);
}

#[test]
fn a_channel_is_stopped_and_started() {
    let desk = Desk::new(4, "open");
    desk.run(&["channels", "stop", "telegram"], 0);
    let status = desk.run(&["channels", "status"], 0);
    assert!(status.stdout.contains("stopped"), "{status:?}");
    desk.api.says(&desk.anna, "/echo hello").unwrap();
    let refused = desk.run(&["send", "--to", "7", "--message", "hello"], 6);
    assert!(refused.stderr.contains("channels start"), "{refused:?}");
    desk.run(&["channels", "start", "telegram"], 0);
    assert_eq!(desk.told(1), "hello");
    let out = desk.run(&["channels", "logout", "telegram"], 0);
    assert!(out.stdout.contains("telegram/default"), "{out:?}");
}

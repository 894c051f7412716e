//! `chat` over pipes.

use serde_json::Value;

use crate::support::{Proxy, World};

#[test]
fn each_line_is_a_message_and_waits_for_its_reply() {
    let world = World::new();
    let lines = "/echo one\n\n/echo two\n//status\n/wrong\n";
    let outcome = world.run_with(&["chat"], lines);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let replies: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(replies[..2], ["one", "two"]);
    assert!(replies[2].contains("agent:main:main"), "{replies:?}");
    assert!(
        outcome.stdout.contains("/wrong"),
        "the agent got it: {replies:?}"
    );
    let earlier = world.run_with(&["chat", "--history", "10"], "");
    assert!(
        earlier
            .stdout
            .starts_with("you     /echo one\nagent   one\n"),
        "{earlier:?}"
    );
}

#[test]
fn programs_get_one_line_for_each_reply() {
    let world = World::new();
    let args = ["chat", "--json", "--session-key", "work"];
    let outcome = world.run_with(&args, "/echo a\\nb\n/echo c\n");
    let replies: Vec<Value> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(replies.len(), 2, "{outcome:?}");
    assert_eq!(replies[1]["text"], "c");
    assert_eq!(replies[1]["status"], "ok");
    assert_eq!(replies[1]["sessionKey"], "agent:main:work");
}

#[test]
fn commands_look_at_sessions_and_change_them() {
    let world = World::new();
    let lines = "/help\n/status\n/echo here\n/session side\n/echo there\n/sessions\n/history 2\n\
                 /new\n/history\n/history x\n/abort\n/quit\n/echo never\n";
    let outcome = world.run_with(&["chat"], lines);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for part in [
        "/history [NUMBER]",
        "Gateway ",
        "nothing was said yet",
        "here\nthere\n",
        "agent:main:side",
        "you     /echo there\nagent   there\n",
        "A new session has begun.",
    ] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome:?}");
    }
    assert!(
        outcome.stderr.contains("usage: /history NUMBER"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("nothing is under way"),
        "{outcome:?}"
    );
    assert!(!outcome.stdout.contains("never"));
}

#[test]
fn ctrl_c_stops_the_run_and_ends_a_conversation_of_a_script() {
    let world = World::with_node();
    let mut chat = world.chat_at(world.port, &[]);
    chat.say("wait");
    world.is_asked();
    let run = world.active_run();
    chat.interrupt();
    let outcome = chat.end();
    assert_eq!(outcome.code, 130, "{outcome:?}");
    assert!(
        outcome.stderr.contains("the run was stopped"),
        "{outcome:?}"
    );
    world.is_over(&run);
    assert_eq!(
        world.json(&["sessions", "show", "main"])["hasActiveRun"],
        false
    );
}

#[test]
fn the_exit_code_is_that_of_the_last_run() {
    let world = World::with_node();
    let mut chat = world.chat_at(world.port, &[]);
    chat.say("/echo fine");
    assert_eq!(chat.line(), "fine\n");
    chat.say("wait");
    world.is_asked();
    assert_eq!(world.run(&["sessions", "abort", "main"]).code, 0);
    let outcome = chat.end();
    assert_eq!(outcome.code, 6, "{outcome:?}");
}

#[test]
fn nothing_is_lost_or_said_twice_when_the_connection_is_lost_in_mid_run() {
    let world = World::with_node();
    let proxy = Proxy::new(world.port);
    let mut chat = world.chat_at(proxy.port, &[]);
    chat.say("/echo before");
    assert_eq!(chat.line(), "before\n");
    chat.say("wait");
    world.is_asked();
    let run = world.active_run();
    // It ends while nobody listens.
    proxy.cut();
    world.open_gate("first");
    world.is_over(&run);
    proxy.mend();
    assert_eq!(chat.line(), "the gate said first\n");
    // It ends when somebody listens again.
    chat.say("wait");
    world.is_asked();
    proxy.cut();
    proxy.mend();
    world.open_gate("second");
    assert_eq!(chat.line(), "the gate said second\n");
    // What was typed while there was no connection is said after it came back.
    proxy.cut();
    chat.say("/echo after");
    proxy.mend();
    assert_eq!(chat.line(), "after\n");
    let outcome = chat.end();
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, ""),
        "{outcome:?}"
    );
    let said = world.said();
    let asked: Vec<&str> = said
        .iter()
        .filter(|(role, _)| role == "user")
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(asked, ["/echo before", "wait", "wait", "/echo after"]);
}

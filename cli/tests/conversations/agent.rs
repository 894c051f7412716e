//! `agent`.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{Proxy, Running, World};

#[test]
fn the_reply_is_printed_for_people_and_for_programs() {
    let world = World::new();
    let plain = world.run(&["agent", "--message", "/echo one\ntwo"]);
    assert_eq!((plain.code, plain.stdout.as_str()), (0, "one\ntwo\n"));
    let answer = world.json(&["agent", "--message", "/echo hi", "--session-key", "work"]);
    assert_eq!(answer["status"], "ok");
    assert_eq!(answer["result"]["payloads"][0]["text"], "hi");
    let streamed = world.run_with(
        &["agent", "--stream", "--message", "-"],
        "/echo from a pipe\n",
    );
    assert_eq!(
        (streamed.code, streamed.stdout.as_str()),
        (0, "from a pipe\n")
    );
    let events = world.run(&["agent", "--stream", "--json", "-m", "/echo x"]);
    let lines: Vec<Value> = events
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().any(|line| line["event"] == "chat"),
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap()["status"], "ok");
    let empty = world.run_with(&["agent", "--message", "-", "--json"], " \n");
    assert_eq!(
        (empty.code, &empty.error()["code"]),
        (2, &"message_empty".into())
    );
}

#[test]
fn a_message_with_the_same_key_is_said_once() {
    let world = World::new();
    let args = [
        "agent",
        "--message",
        "/echo once",
        "--idempotency-key",
        "k-1",
    ];
    for _ in 0..2 {
        let answer = world.json(&args);
        assert_eq!(answer["runId"], "k-1");
        assert_eq!(answer["result"]["payloads"][0]["text"], "once");
    }
    assert_eq!(world.said().len(), 2);
}

#[test]
fn the_end_of_a_run_outlives_the_connection_on_which_it_began() {
    let world = World::with_node();
    let proxy = Proxy::new(world.port);
    let args = [
        "agent",
        "--stream",
        "--message",
        "wait",
        "--idempotency-key",
        "k-1",
    ];
    let agent = Running::start(&mut world.command_at(proxy.port, &args));
    world.is_asked();
    proxy.cut();
    world.open_gate("open");
    world.is_over("k-1");
    proxy.mend();
    let outcome = agent.end();
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "the gate said open\n"),
        "{outcome:?}"
    );
    let said = world.said();
    let asked = said.iter().filter(|(role, _)| role == "user").count();
    assert_eq!(asked, 1, "said once: {said:?}");
}

#[test]
fn a_run_that_goes_on_is_waited_for_again() {
    let world = World::with_node();
    let proxy = Proxy::new(world.port);
    let args = ["agent", "--message", "wait", "--idempotency-key", "k-1"];
    let agent = Running::start(world.command_at(proxy.port, &args).stderr(Stdio::piped()));
    world.is_asked();
    proxy.cut();
    proxy.mend();
    world.open_gate("late");
    let outcome = agent.end();
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "the gate said late\n"),
        "{outcome:?}"
    );
}

#[test]
fn ctrl_c_stops_the_run() {
    let world = World::with_node();
    let agent = Running::start(&mut world.command(&["agent", "--message", "wait"]));
    world.is_asked();
    let run = world.active_run();
    agent.interrupt();
    let outcome = agent.end();
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (130, ""),
        "{outcome:?}"
    );
    world.is_over(&run);
    let session = world.json(&["sessions", "show", "main"]);
    assert_eq!(session["hasActiveRun"], false);
    let next = world.run(&["agent", "--message", "/echo next"]);
    assert_eq!(next.stdout, "next\n", "the session is free");
}

#[test]
fn a_run_that_others_stop_is_a_failure() {
    let world = World::with_node();
    let agent = Running::start(&mut world.command(&["agent", "--message", "wait", "--json"]));
    world.is_asked();
    assert_eq!(world.run(&["sessions", "abort", "main"]).code, 0);
    let outcome = agent.end();
    assert_eq!(
        (outcome.code, &outcome.error()["code"]),
        (6, &"run_aborted".into())
    );
}

//! What people see, one rule at a time.

use std::time::Duration;

use clawgate_core::{
    channel::{DmPolicy, GroupPolicy, GroupRule},
    store::{StoreFailure, Table},
};
use serde_json::Value;

use crate::world::{Fate, World};

fn states(world: &World) -> Vec<(String, String)> {
    let rows = world.host.disk.rows.iter();
    let mut found: Vec<(u64, String, String)> = rows
        .filter(|((table, _), _)| *table == Table::ChannelMessage)
        .map(|(_, document)| {
            let record: Value = document.parse().unwrap();
            (
                record["order"].as_u64().unwrap(),
                record["text"].as_str().unwrap().to_owned(),
                record["state"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|(_, text, state)| (text, state))
        .collect()
}

fn pair(text: &str, state: &str) -> (String, String) {
    (text.into(), state.into())
}

#[test]
fn a_message_is_answered_where_it_was_written() {
    let mut world = World::new(|_| {});
    world.says("a", "hello");
    world.says("b", "one|two");
    assert_eq!(world.service.told("a"), ["re: hello"]);
    assert_eq!(world.service.told("b"), ["re: one", "two"]);
    assert_eq!(
        states(&world),
        [
            pair("hello", "sent"),
            pair("re: hello", "sent"),
            pair("one|two", "sent"),
            pair("re: one|two", "sent"),
        ]
    );
}

#[test]
fn each_chat_has_a_session_of_its_own() {
    let mut world = World::new(|_| {});
    world.says("a", "first");
    world.says("b", "second");
    world.says("a", "history");
    assert_eq!(world.service.told("a")[1], "first,re: first");
}

#[test]
fn nothing_is_confirmed_to_the_service_before_it_is_on_disk() {
    let mut world = World::new(|_| {});
    world.host.disk.waiting = Some(std::collections::VecDeque::new());
    world.service.says("a", "hello");
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    assert_eq!(world.job_of("poll"), None, "it waits for the disk");
    world.crash();
    world.host.disk.waiting = None;
    world.wake();
    world.settle();
    assert_eq!(world.service.told("a"), ["re: hello"]);
}

#[test]
fn an_answer_that_is_lost_leaves_the_reply_uncertain_and_it_is_not_repeated() {
    let mut world = World::new(|_| {});
    world.service.says("a", "hello");
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    let send = world.job_of("send").unwrap();
    world.end(send, Fate::AnswerLost);
    world.settle();
    world.crash();
    world.settle();
    assert_eq!(world.service.told("a"), ["re: hello"]);
    assert_eq!(
        states(&world),
        [pair("hello", "uncertain"), pair("re: hello", "uncertain")]
    );
}

#[test]
fn a_crash_while_a_reply_is_sent_leaves_it_uncertain_and_the_rest_follows() {
    let mut world = World::new(|_| {});
    world.service.says("a", "one|two");
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    assert!(world.job_of("send").is_some());
    world.crash();
    world.settle();
    assert_eq!(world.service.told("a"), ["two"]);
    assert_eq!(states(&world)[1], pair("re: one|two", "uncertain"));
}

#[test]
fn what_certainly_did_not_arrive_is_sent_later() {
    let mut world = World::new(|_| {});
    world.service.says("a", "hello");
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    for _ in 0..5 {
        let send = world.job_of("send").unwrap();
        world.end(send, Fate::Unreached);
        assert!(world.job_of("send").is_none(), "it waits");
        world.host.advance(Duration::from_secs(70));
        world.sort();
    }
    world.settle();
    assert_eq!(world.service.told("a"), ["re: hello"]);
}

#[test]
fn a_run_that_was_cut_before_it_did_anything_begins_again() {
    let mut world = World::new(|_| {});
    world.service.says("a", "think hard");
    world.service.says("a", "and then");
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    assert!(world.job_of("think").is_some());
    world.crash();
    world.settle();
    assert_eq!(world.service.told("a"), ["re: hard", "re: and then"]);
    world.says("a", "history");
    assert_eq!(
        world.service.told("a")[2],
        "think hard,re: hard,and then,re: and then",
        "it stands in the session once"
    );
}

#[test]
fn a_run_that_is_cut_again_and_again_is_given_up_and_said_so() {
    let mut world = World::new(|_| {});
    world.service.says("a", "think hard");
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    for _ in 0..3 {
        assert!(world.job_of("think").is_some());
        world.crash();
    }
    assert!(world.job_of("think").is_some());
    world.crash();
    world.settle();
    let told = world.service.told("a");
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("interrupted"), "{told:?}");
}

#[test]
fn chats_do_not_wait_for_each_other() {
    let mut world = World::new(|_| {});
    world.service.says("a", "think hard");
    world.service.says("b", "quick");
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    let send = world.job_of("send").unwrap();
    world.end(send, Fate::Works);
    assert_eq!(world.service.told("b"), ["re: quick"]);
    assert!(world.service.told("a").is_empty());
    assert!(world.service.state().typing["a"]);
    world.settle();
    assert_eq!(world.service.told("a"), ["re: hard"]);
    assert!(!world.service.state().typing["a"]);
}

#[test]
fn one_chat_cannot_fill_the_queues_of_all() {
    let mut world = World::new(|_| {});
    let max = world.host.limits.max_waiting_per_chat;
    world.service.says("a", "think hard");
    for number in 0..max + 5 {
        world.service.says("a", &number.to_string());
    }
    world.service.says("b", "hello");
    world.settle();
    let told = world.service.told("a");
    assert_eq!(
        told.len(),
        max + 2,
        "one notice for all that were turned away"
    );
    assert_eq!(
        told.iter()
            .filter(|text| text.contains("not taken"))
            .count(),
        1
    );
    assert_eq!(world.service.told("b"), ["re: hello"]);
}

#[test]
fn when_all_queues_are_full_messages_stay_with_the_service() {
    let mut world = World::new(|_| {});
    world.host = std::mem::replace(
        &mut world.host,
        crate::common::Host::new(crate::common::token_rule(crate::world::TOKEN)),
    )
    .with_limits(|limits| limits.max_waiting_messages = 10);
    world.jobs.clear();
    world.wake();
    for chat in 0..20 {
        world.service.says(&format!("c{chat}"), "think hard");
        world.service.says(&format!("c{chat}"), "again");
    }
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    assert_eq!(world.job_of("poll"), None);
    world.settle();
    assert!(world.job_of("poll").is_some());
    for chat in 0..20 {
        assert_eq!(world.service.told(&format!("c{chat}")).len(), 2);
    }
}

#[test]
fn a_stop_does_not_wait_for_its_turn_and_a_reset_does() {
    let mut world = World::new(|_| {});
    world.service.says("a", "think hard");
    world.service.says("a", "later");
    world.service.says("a", "/stop");
    world.settle();
    assert_eq!(world.service.told("a"), ["This was stopped.", "Stopped."]);
    world.says("a", "before");
    world.says("a", "/new");
    world.says("a", "history");
    let told = world.service.told("a");
    assert_eq!(told[2..], ["re: before", "A new session has begun."]);
}

#[test]
fn an_edit_counts_until_its_message_is_read() {
    let mut world = World::new(|_| {});
    world.service.says("a", "think hard");
    world.service.says("a", "old words");
    world.service.says("a", "new words");
    world.service.state().written[2].edit_of = Some(1);
    world.settle();
    assert_eq!(world.service.told("a"), ["re: hard", "re: new words"]);
    world.service.says("a", "too late");
    world.service.state().written[3].edit_of = Some(1);
    world.settle();
    assert_eq!(world.service.told("a").len(), 2);
}

#[test]
fn strangers_are_paired_by_an_operator_or_an_owner() {
    let mut world = World::new(|account| account.access.dm = DmPolicy::Pairing);
    world.says("a", "let me in");
    world.says("a", "please");
    let told = world.service.told("a");
    assert_eq!(told.len(), 1, "a code is told once: {told:?}");
    let code = told[0]
        .split("approve toy ")
        .nth(1)
        .unwrap()
        .trim()
        .to_owned();
    assert_eq!(code.len(), 8);
    assert!(!told[0].contains("re:"));
}

#[test]
fn groups_are_deaf_until_they_are_named() {
    let mut world = World::new(|account| account.access.group = GroupPolicy::Allowlist);
    world.says("group", "hello");
    assert!(world.service.told("group").is_empty());
    let mut open = World::new(|_| {});
    open.says("group", "hello");
    assert_eq!(open.service.told("group"), ["re: hello"]);
    open.service.says("group", "not for you");
    open.service.state().written[1].addressed = false;
    open.settle();
    assert_eq!(open.service.told("group").len(), 1);
}

#[test]
fn people_who_are_listed_are_heard_in_groups_that_are_named() {
    let heard = |group_allow_from: Option<&'static str>, group: Option<&'static str>| {
        let mut world = World::new(move |account| {
            account.access.group = GroupPolicy::Allowlist;
            account.access.allow_from = ["*".to_owned()].into();
            account.access.group_allow_from = group_allow_from.map(|id| [id.to_owned()].into());
            account.access.groups = group
                .map(|id| (id.to_owned(), GroupRule::default()))
                .into_iter()
                .collect();
        });
        world.says("group", "hello");
        !world.service.told("group").is_empty()
    };
    assert!(!heard(None, None));
    assert!(!heard(None, Some("another")));
    assert!(heard(None, Some("group")));
    assert!(heard(Some("*"), None));
    assert!(!heard(Some("somebody else"), Some("group")));
}

#[test]
fn a_failure_is_said_without_its_reason() {
    let mut world = World::new(|_| {});
    world.says("a", "fail the provider's key is wrong");
    let told = world.service.told("a");
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("did not work") && !told[0].contains("key"),
        "{told:?}"
    );
}

#[test]
fn an_agent_with_nothing_to_say_says_nothing() {
    let mut world = World::new(|_| {});
    world.says("a", "quiet");
    assert!(world.service.told("a").is_empty());
    assert_eq!(states(&world), [pair("quiet", "sent")]);
}

#[test]
fn files_come_with_their_message() {
    let mut world = World::new(|_| {});
    world.service.says("a", "files");
    world.service.state().written[0].files = 3;
    world.settle();
    assert_eq!(world.service.told("a"), ["3 files"]);
}

#[test]
fn a_full_disk_loses_nothing() {
    let mut world = World::new(|_| {});
    world.service.says("a", "hello");
    world.host.disk.failure = Some(StoreFailure::Full);
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    assert_eq!(
        world.job_of("poll"),
        None,
        "it hears nothing while it can keep nothing"
    );
    world.host.disk.failure = None;
    world.host.advance(Duration::from_secs(120));
    world.sort();
    world.settle();
    assert_eq!(world.service.told("a"), ["re: hello"]);
}

#[test]
fn what_is_uncertain_outlives_what_is_over() {
    let mut world = World::new(|_| {});
    world.service.says("b", "hello");
    let poll = world.job_of("poll").unwrap();
    world.end(poll, Fate::Works);
    world.sort();
    let send = world.job_of("send").unwrap();
    world.end(send, Fate::AnswerLost);
    world.settle();
    let mut talk = |messages: usize| {
        for number in 0..messages {
            world.says("a", &number.to_string());
        }
        let states = states(&world);
        states
            .iter()
            .filter(|(_, state)| state == "uncertain")
            .count()
    };
    assert_eq!(talk(1_100), 2, "the question and its answer");
}

#[test]
fn what_is_over_is_forgotten_beyond_a_number() {
    let mut world = World::new(|_| {});
    for number in 0..1_100 {
        world.says("a", &number.to_string());
    }
    assert_eq!(states(&world).len(), world.host.limits.max_kept_messages);
}

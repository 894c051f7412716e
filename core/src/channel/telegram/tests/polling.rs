use super::*;

#[test]
fn messages_come_with_the_cursor_before_the_next_poll_begins() {
    let (mut rig, poll) = Rig::running();
    assert_eq!(poll.method(), "getUpdates");
    assert_eq!(
        poll.params(),
        json!({ "timeout": 25, "limit": 100, "allowed_updates": ["message", "edited_message"] })
    );
    assert_eq!(rig.status().name.as_deref(), Some("@example_bot"));
    assert_eq!(rig.status().last_contact, Some(WallTime(1_000)));
    rig.outputs.clear();
    rig.ok(&poll, json!([update(10, "a"), update(11, "b")]));
    assert!(matches!(rig.outputs[0], ChannelOutput::Received { .. }));
    assert!(matches!(rig.outputs[1], ChannelOutput::StartJob(..)));
    let poll = rig.call();
    assert_eq!(poll.params()["offset"], 12);
    let received = rig.received();
    let [(cursor, messages)] = &received[..] else {
        panic!("{received:?}");
    };
    assert_eq!(cursor.as_deref(), Some("12"));
    let texts: Vec<&str> = messages
        .iter()
        .map(|message| message.text.as_str())
        .collect();
    assert_eq!(texts, ["a", "b"]);
    // Nothing new is nothing to keep.
    rig.ok(&poll, json!([]));
    assert_eq!(rig.call().params()["offset"], 12);
    assert!(rig.received().is_empty());
}

#[test]
fn the_cursor_that_was_kept_counts_also_for_a_bot_that_runs() {
    let mut rig = Rig::new();
    let poll = rig.run(Some("500"));
    assert_eq!(poll.params()["offset"], 500);
    rig.ok(&poll, json!([update(500, "a")]));
    let poll = rig.call();
    assert_eq!(poll.params()["offset"], 501);
    rig.received();
    rig.say(1, outgoing("hello"));
    let errand = rig.call();
    rig.start(Some("500"));
    assert_eq!(rig.stopped(), [poll.job]);
    let again = rig.call();
    assert_eq!(again.params()["offset"], 500);
    // What was asked before does not count any more; errands go on.
    rig.ok(&poll, json!([update(501, "x")]));
    rig.ok(&errand, json!({ "message_id": 5 }));
    assert_eq!(rig.sent(), SendOutcome::Sent(Some("5".to_owned())));
}

#[test]
fn what_is_not_understood_still_counts_as_seen() {
    let (mut rig, poll) = Rig::running();
    let strange = json!([
        { "update_id": 3, "message": { "text": 5 } },
        { "update_id": 4 },
        5,
        { "update_id": "x" },
        update(2, "a"),
    ]);
    rig.ok(&poll, strange);
    assert_eq!(rig.call().params()["offset"], 5);
    let received = rig.received();
    assert_eq!(received[0].0.as_deref(), Some("5"));
    assert_eq!(received[0].1.len(), 1);
}

#[test]
fn updates_that_come_again_are_dropped_and_not_asked_for_without_end() {
    let mut rig = Rig::new();
    let poll = rig.run(Some("10"));
    rig.ok(
        &poll,
        json!([update(9, "old"), update(10, "new"), update(10, "new")]),
    );
    let poll = rig.call();
    let received = rig.received();
    assert_eq!(received[0].1.len(), 1);
    rig.ok(&poll, json!([update(9, "old"), update(10, "new")]));
    assert!(rig.received().is_empty(), "a pause, and no poll");
    assert!(rig.wait() <= Duration::from_secs(1));
    assert_eq!(rig.call().params()["offset"], 11);
}

#[test]
fn a_new_row_of_ids_after_a_quiet_week_is_followed() {
    let mut rig = Rig::new();
    let poll = rig.run(Some("900000000"));
    rig.ok(&poll, json!([update(5, "hello")]));
    assert_eq!(rig.call().params()["offset"], 6);
    assert_eq!(rig.received()[0].0.as_deref(), Some("6"));
}

#[test]
fn a_token_that_is_not_known_stops_the_bot_with_what_to_do() {
    for code in [401, 404] {
        let mut rig = Rig::new();
        rig.start(None);
        let me = rig.call();
        rig.refuse(&me, code, "Unauthorized");
        assert_eq!(rig.status().link, Link::Blocked);
        let problem = rig.problem();
        assert!(problem.contains("@BotFather") && problem.contains("clawgate secrets reload"));
        assert_eq!(rig.bot.poll_timeout(), None);
        rig.outputs.clear();
        rig.start(None);
        assert_eq!(rig.call().method(), "getMe");
        assert_eq!(rig.status().link, Link::Connecting);
    }
    // Also when it was taken back later.
    let (mut rig, poll) = Rig::running();
    rig.refuse(&poll, 401, "Unauthorized");
    assert_eq!(rig.status().link, Link::Blocked);
    assert!(rig.calls().is_empty());
}

#[test]
fn another_poller_is_explained_and_tried_again() {
    let (mut rig, poll) = Rig::running();
    rig.refuse(
        &poll,
        409,
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
    );
    assert_eq!(rig.status().link, Link::Failing);
    assert!(rig.problem().contains("another program polls"));
    rig.wait();
    let poll = rig.call();
    assert_eq!(
        poll.params()["timeout"],
        0,
        "it shows at once whether it is over"
    );
    rig.ok(&poll, json!([]));
    assert_eq!(
        (rig.status().link, rig.status().problem),
        (Link::Connected, None)
    );
}

#[test]
fn a_webhook_is_removed_once() {
    let words = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook";
    let (mut rig, poll) = Rig::running();
    rig.refuse(&poll, 409, words);
    assert!(rig.problem().contains("webhook"));
    let remove = rig.call();
    assert_eq!(remove.method(), "deleteWebhook");
    assert_eq!(remove.params(), json!({ "drop_pending_updates": false }));
    rig.ok(&remove, json!(true));
    let poll = rig.call();
    assert_eq!(poll.method(), "getUpdates");
    // Somebody sets it again and again: that is for people to settle.
    rig.refuse(&poll, 409, words);
    assert!(rig.calls().is_empty());
    assert!(rig.problem().contains("set again"));
    rig.wait();
    let poll = rig.call();
    rig.ok(&poll, json!([]));
    assert_eq!(rig.status().link, Link::Connected);
}

#[test]
fn the_time_that_the_service_asks_for_is_waited() {
    let (mut rig, poll) = Rig::running();
    let body = json!({
        "ok": false, "error_code": 429, "description": "Too Many Requests: retry after 17",
        "parameters": { "retry_after": 17 },
    });
    rig.answer(&poll, 429, body.to_string());
    assert_eq!(rig.wait(), Duration::from_secs(17));
    let poll = rig.call();
    // Or in the header alone, from something in front of the API.
    let head = HttpHead {
        status: 429,
        content_type: None,
        retry_after: Some(Duration::from_secs(9)),
    };
    rig.event(&poll, JobEvent::Head(head));
    rig.event(&poll, JobEvent::Ended(JobEnd::Complete));
    assert_eq!(rig.wait(), Duration::from_secs(9));
}

#[test]
fn faults_are_tried_again_ever_more_slowly() {
    type Fault = dyn Fn(&mut Rig, &Call);
    let faults: [&Fault; 6] = [
        &|rig, poll| rig.answer(poll, 502, "<html>bad gateway</html>"),
        &|rig, poll| rig.answer(poll, 200, "{\"ok\":tr"),
        &|rig, poll| rig.ok(poll, json!({ "not": "a list" })),
        &|rig, poll| rig.fail(poll, Reached::No),
        &|rig, poll| {
            rig.head(poll, 200);
            rig.data(poll, "{\"ok\":true,");
            rig.fail(poll, Reached::Perhaps);
        },
        &|rig, poll| {
            rig.head(poll, 200);
            rig.data(poll, vec![b' '; 9 * 1024 * 1024]);
        },
    ];
    for fault in faults {
        let (mut rig, mut poll) = Rig::running();
        let mut longest = Duration::ZERO;
        for _ in 0..10 {
            fault(&mut rig, &poll);
            assert_eq!(rig.status().link, Link::Failing);
            assert!(
                rig.problem().contains("127.0.0.1:8081"),
                "{}",
                rig.problem()
            );
            let pause = rig.wait();
            assert!(pause >= Duration::from_millis(500) && pause <= Duration::from_secs(30));
            longest = longest.max(pause);
            poll = rig.call();
        }
        assert!(longest >= Duration::from_secs(15));
        rig.ok(&poll, json!([update(1, "a")]));
        assert_eq!(rig.status().link, Link::Connected);
        rig.call();
        let received = rig.outputs.iter();
        assert_eq!(
            received
                .filter(|output| matches!(output, ChannelOutput::Received { .. }))
                .count(),
            1
        );
    }
}

#[test]
fn fewer_are_asked_for_after_an_answer_that_did_not_come_through() {
    let (mut rig, poll) = Rig::running();
    rig.answer(&poll, 200, "garbage");
    rig.wait();
    let poll = rig.call();
    assert_eq!(poll.params()["limit"], 50);
    rig.ok(&poll, json!([]));
    assert_eq!(rig.call().params()["limit"], 100);
}

#[test]
fn a_poll_that_goes_silent_is_begun_again() {
    let (mut rig, poll) = Rig::running();
    assert_eq!(rig.wait(), Duration::from_secs(40));
    assert_eq!(rig.stopped(), [poll.job]);
    let status = rig.status();
    assert_eq!((status.link, status.restarts), (Link::Failing, 1));
    assert!(status.problem.unwrap().contains("went silent"));
    let poll = rig.call();
    rig.ok(&poll, json!([]));
    assert_eq!(rig.status().link, Link::Connected);
    assert_eq!(rig.status().restarts, 1);
}

#[test]
fn a_body_that_never_ends_is_cut_off() {
    let (mut rig, poll) = Rig::running();
    rig.head(&poll, 200);
    for _ in 0..6 {
        rig.data(&poll, " ");
        rig.advance(Duration::from_secs(9));
        assert_eq!(rig.status().restarts, 0);
    }
    rig.data(&poll, " ");
    rig.advance(Duration::from_secs(9));
    assert_eq!(rig.stopped(), [poll.job]);
    assert_eq!(rig.status().restarts, 1);
    assert!(rig.problem().contains("more than a minute"));
    rig.call();
}

#[test]
fn nothing_is_asked_for_while_there_is_no_room() {
    let (mut rig, poll) = Rig::running();
    rig.act(|bot, now| bot.room(now, Room::Full));
    rig.ok(&poll, json!([update(1, "a")]));
    assert!(rig.calls().is_empty());
    assert_eq!(rig.received().len(), 1);
    assert_eq!(rig.bot.poll_timeout(), None);
    rig.act(|bot, now| bot.room(now, Room::Free));
    assert_eq!(rig.call().params()["offset"], 2);
    rig.act(|bot, now| bot.room(now, Room::Free));
    assert!(rig.calls().is_empty(), "one poll at a time");
}

#[test]
fn a_stop_ends_everything() {
    let (mut rig, poll) = Rig::running();
    rig.say(1, outgoing("hello"));
    rig.act(|bot, now| bot.working(now, &place("7", None), true));
    let mut jobs = vec![poll.job];
    jobs.extend(rig.calls().iter().map(|call| call.job));
    rig.act(|bot, now| bot.stop(now));
    let mut stopped = rig.stopped();
    stopped.sort();
    assert_eq!(stopped, jobs);
    assert_eq!(rig.status().link, Link::Stopped);
    assert_eq!(rig.bot.poll_timeout(), None);
}

#[test]
fn typing_is_shown_every_five_seconds_until_the_end() {
    let (mut rig, _) = Rig::running();
    let topic = place("-100", Some("4"));
    rig.act(|bot, now| bot.working(now, &topic, true));
    rig.act(|bot, now| bot.working(now, &topic, true));
    let call = rig.call();
    assert_eq!(call.method(), "sendChatAction");
    assert_eq!(
        call.params(),
        json!({ "chat_id": -100, "action": "typing", "message_thread_id": 4 })
    );
    rig.refuse(&call, 400, "whatever");
    assert_eq!(rig.wait(), Duration::from_secs(5));
    let call = rig.call();
    // One that hangs is not joined by others.
    rig.advance(Duration::from_secs(5));
    assert!(rig.calls().is_empty());
    rig.act(|bot, now| bot.working(now, &topic, false));
    assert_eq!(rig.stopped(), [call.job]);
    rig.advance(Duration::from_secs(6));
    assert!(rig.calls().is_empty());
    assert_eq!(rig.status().problem, None);
}

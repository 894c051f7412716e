use super::*;
use crate::channel::{FileBytes, ReplyTo};

fn not_sent(wait: Option<u64>) -> impl Fn(&SendOutcome) -> bool {
    move |outcome| {
        matches!(outcome, SendOutcome::NotSent { wait: found, .. }
            if *found == wait.map(Duration::from_secs))
    }
}

fn file(name: &str, mime_type: &str, size: usize) -> Outgoing {
    Outgoing {
        part: Part::File(FileBytes {
            name: Some(name.to_owned()),
            mime_type: mime_type.to_owned(),
            data: Bytes::from(vec![b'x'; size]),
        }),
        ..outgoing("")
    }
}

#[test]
fn a_text_goes_out_with_all_that_belongs_to_it() {
    let (mut rig, _) = Rig::running();
    let said = Outgoing {
        place: place("-100", Some("4")),
        reply_to: Some(ReplyTo::Heard("31".to_owned())),
        silent: true,
        ..outgoing("**hi** <you>")
    };
    rig.say(1, said);
    let call = rig.call();
    assert_eq!(call.http.method, HttpMethod::Post);
    assert_eq!(call.method(), "sendMessage");
    assert_eq!(
        call.params(),
        json!({
            "chat_id": -100, "text": "<b>hi</b> &lt;you&gt;", "parse_mode": "HTML",
            "message_thread_id": 4, "disable_notification": true,
            "reply_parameters": { "message_id": 31, "allow_sending_without_reply": true },
        })
    );
    rig.ok(&call, json!({ "message_id": 32 }));
    assert_eq!(rig.sent(), SendOutcome::Sent(Some("32".to_owned())));
}

#[test]
fn the_general_topic_is_never_named() {
    let (mut rig, _) = Rig::running();
    let said = Outgoing {
        place: place("-100", Some("1")),
        ..outgoing("hi")
    };
    rig.say(1, said);
    assert_eq!(rig.call().params().get("message_thread_id"), None);
}

#[test]
fn an_answer_that_somebody_asked_for_is_shown() {
    let (mut rig, _) = Rig::running();
    let said = Outgoing {
        reply_to: Some(ReplyTo::Named("31".to_owned())),
        ..outgoing("hi")
    };
    rig.say(1, said);
    assert_eq!(
        rig.call().params()["reply_parameters"]["message_id"],
        31,
        "although the account shows no answers"
    );
}

#[test]
fn answers_are_shown_as_configured() {
    let answer = |text: &str| Outgoing {
        reply_to: Some(ReplyTo::Heard("31".to_owned())),
        ..outgoing(text)
    };
    for (mode, shown) in [
        (ReplyToMode::Off, [false, false, false]),
        (ReplyToMode::First, [true, true, false]),
        (ReplyToMode::All, [true, true, true]),
    ] {
        let mut rig = Rig::with(mode);
        rig.run(None);
        let mut found = Vec::new();
        // The first one does not arrive, so the second one is the first.
        for arrives in [false, true, true] {
            rig.say(1, answer("a"));
            let call = rig.call();
            found.push(call.params().get("reply_parameters").is_some());
            if arrives {
                rig.ok(&call, json!({ "message_id": 1 }));
            } else {
                rig.fail(&call, Reached::No);
            }
            rig.sent();
        }
        assert_eq!(found, shown, "{mode:?}");
    }
}

#[test]
fn markup_that_is_refused_goes_out_as_it_was_written() {
    let (mut rig, _) = Rig::running();
    rig.say(1, outgoing("**hi**"));
    let call = rig.call();
    rig.refuse(
        &call,
        400,
        "Bad Request: can't parse entities: Unsupported start tag",
    );
    let call = rig.call();
    assert_eq!(call.params(), json!({ "chat_id": 7, "text": "**hi**" }));
    rig.refuse(&call, 400, "Bad Request: can't parse entities");
    assert!(
        matches!(rig.sent(), SendOutcome::Refused(_)),
        "once is enough"
    );
}

#[test]
fn what_is_known_about_the_delivery_is_told() {
    type Fault = dyn Fn(&mut Rig, &Call);
    type Check = dyn Fn(&SendOutcome) -> bool;
    let refused = |part: &'static str| move |outcome: &SendOutcome| matches!(outcome, SendOutcome::Refused(why) if why.contains(part));
    let uncertain = |outcome: &SendOutcome| matches!(outcome, SendOutcome::Uncertain(_));
    let cases: [(&Fault, &Check); 14] = [
        (
            &|rig, call| {
                let body = json!({
                    "ok": false, "error_code": 429, "description": "Too Many Requests",
                    "parameters": { "retry_after": 12 },
                });
                rig.answer(call, 429, body.to_string());
            },
            &not_sent(Some(12)),
        ),
        (
            &|rig, call| rig.refuse(call, 401, "Unauthorized"),
            &not_sent(None),
        ),
        (
            &|rig, call| rig.refuse(call, 403, "Forbidden: bot was blocked by the user"),
            &refused("blocked the bot"),
        ),
        (
            &|rig, call| rig.refuse(call, 400, "Bad Request: chat not found"),
            &refused("no such chat"),
        ),
        (
            &|rig, call| rig.refuse(call, 400, "Bad Request: message thread not found"),
            &refused("thread not found"),
        ),
        (
            &|rig, call| rig.refuse(call, 500, "Internal Server Error"),
            &uncertain,
        ),
        (&|rig, call| rig.answer(call, 502, "<html>"), &uncertain),
        (&|rig, call| rig.answer(call, 200, "<html>"), &uncertain),
        (&|rig, call| rig.answer(call, 200, ""), &uncertain),
        (
            &|rig, call| {
                rig.head(call, 200);
                rig.data(call, "{\"ok\":true,\"result\":");
                rig.fail(call, Reached::Perhaps);
            },
            &uncertain,
        ),
        (
            &|rig, call| {
                rig.head(call, 400);
                rig.fail(call, Reached::Perhaps);
            },
            &refused("400"),
        ),
        (&|rig, call| rig.fail(call, Reached::No), &not_sent(None)),
        (&|rig, call| rig.fail(call, Reached::Perhaps), &uncertain),
        (
            &|rig, call| {
                rig.advance(Duration::from_secs(60));
                assert_eq!(rig.stopped().last(), Some(&call.job));
            },
            &uncertain,
        ),
    ];
    for (index, (fault, check)) in cases.iter().enumerate() {
        let (mut rig, _) = Rig::running();
        rig.say(1, outgoing("hi"));
        let call = rig.call();
        fault(&mut rig, &call);
        rig.calls();
        let outcome = rig.sent();
        assert!(check(&outcome), "{index}: {outcome:?}");
    }
}

#[test]
fn a_group_that_became_another_is_followed_once() {
    let (mut rig, _) = Rig::running();
    let said = Outgoing {
        place: place("-5", None),
        ..outgoing("**hi**")
    };
    rig.say(1, said);
    let moved = json!({
        "ok": false, "error_code": 400,
        "description": "Bad Request: group chat was upgraded to a supergroup chat",
        "parameters": { "migrate_to_chat_id": -1005 },
    });
    let call = rig.call();
    rig.answer(&call, 400, moved.to_string());
    let call = rig.call();
    assert_eq!(call.params()["chat_id"], -1005);
    rig.answer(&call, 400, moved.to_string());
    assert!(matches!(rig.sent(), SendOutcome::Refused(why) if why.contains("upgraded")));
}

#[test]
fn eight_at_a_time_and_the_others_in_order() {
    let (mut rig, _) = Rig::running();
    for errand in 0..12 {
        let said = Outgoing {
            place: place(&errand.to_string(), None),
            ..outgoing("hi")
        };
        rig.say(errand, said);
    }
    let first = rig.calls();
    assert_eq!(first.len(), 8);
    rig.ok(&first[3], json!({ "message_id": 1 }));
    assert_eq!(rig.call().params()["chat_id"], 8);
    rig.fail(&first[0], Reached::No);
    assert_eq!(rig.call().params()["chat_id"], 9);
    // One that hangs makes room in the end.
    rig.advance(Duration::from_secs(61));
    let chats: Vec<Value> = rig
        .calls()
        .iter()
        .filter(|call| call.method() == "sendMessage")
        .map(|call| call.params()["chat_id"].clone())
        .collect();
    assert_eq!(chats, [json!(10), json!(11)]);
}

#[test]
fn files_go_out_as_what_they_are() {
    for (mime_type, size, method, field) in [
        ("image/jpeg", 10, "sendPhoto", "photo"),
        ("image/png", 10, "sendPhoto", "photo"),
        ("image/png", 11 << 20, "sendDocument", "document"),
        ("image/svg+xml", 10, "sendDocument", "document"),
        ("video/mp4", 10, "sendVideo", "video"),
        ("audio/ogg", 10, "sendVoice", "voice"),
        ("audio/mpeg", 10, "sendAudio", "audio"),
        ("text/plain", 10, "sendDocument", "document"),
    ] {
        let (mut rig, _) = Rig::running();
        rig.search = size < 100;
        let said = Outgoing {
            place: place("-100", Some("4")),
            reply_to: Some(ReplyTo::Heard("8".to_owned())),
            ..file("dir/a \"b\".x", mime_type, size)
        };
        rig.say(1, said);
        let call = rig.call();
        assert_eq!(call.method(), method, "{mime_type}");
        let form = call.form();
        let boundary = form
            .lines()
            .next()
            .unwrap()
            .trim_start_matches("--")
            .to_owned();
        let HeaderText::Plain(content_type) = &call.http.headers.last().unwrap().1 else {
            panic!();
        };
        assert_eq!(
            *content_type,
            format!("multipart/form-data; boundary={boundary}")
        );
        for part in [
            "name=\"chat_id\"\r\n\r\n-100\r\n".to_owned(),
            "name=\"message_thread_id\"\r\n\r\n4\r\n".to_owned(),
            "\"message_id\":8".to_owned(),
            format!(
                "name=\"{field}\"; filename=\"a %22b%22.x\"\r\ncontent-type: {mime_type}\r\n\r\nxxx"
            ),
        ] {
            assert!(form.contains(&part), "{part}");
        }
        assert!(form.ends_with(&format!("x\r\n--{boundary}--\r\n")));
        rig.ok(&call, json!({ "message_id": 2 }));
        assert_eq!(rig.sent(), SendOutcome::Sent(Some("2".to_owned())));
    }
}

#[test]
fn a_picture_that_is_refused_goes_out_as_a_document() {
    let (mut rig, _) = Rig::running();
    rig.say(1, file("a.png", "image/png", 5));
    let call = rig.call();
    rig.refuse(&call, 400, "Bad Request: PHOTO_INVALID_DIMENSIONS");
    let call = rig.call();
    assert_eq!(call.method(), "sendDocument");
    rig.refuse(&call, 400, "Bad Request: PHOTO_INVALID_DIMENSIONS");
    assert!(matches!(rig.sent(), SendOutcome::Refused(_)));
    // What is no fault of the file is no reason.
    rig.say(1, file("a.png", "image/png", 5));
    let call = rig.call();
    rig.refuse(&call, 400, "Bad Request: chat not found");
    assert!(matches!(rig.sent(), SendOutcome::Refused(_)));
}

#[test]
fn a_large_file_has_more_time_and_one_that_is_too_large_is_refused() {
    let (mut rig, _) = Rig::running();
    rig.search = false;
    rig.say(1, file("a.bin", "application/zip", 40 << 20));
    rig.call();
    rig.advance(Duration::from_secs(300));
    rig.calls();
    assert!(
        !rig.outputs
            .iter()
            .any(|output| matches!(output, ChannelOutput::Sent(..)))
    );
    rig.advance(Duration::from_secs(100));
    rig.calls();
    assert!(matches!(rig.sent(), SendOutcome::Uncertain(_)));
    rig.say(1, file("a.bin", "application/zip", (50 << 20) + 1));
    assert!(matches!(rig.sent(), SendOutcome::Refused(why) if why.contains("51 MB")));
    rig.say(1, file("a.bin", "application/zip", 0));
    assert!(matches!(rig.sent(), SendOutcome::Refused(_)));
    rig.say(1, outgoing(" \n"));
    assert!(matches!(rig.sent(), SendOutcome::Refused(_)));
    rig.say(1, outgoing(&"x".repeat(4_097)));
    assert!(matches!(rig.sent(), SendOutcome::Refused(_)));
}

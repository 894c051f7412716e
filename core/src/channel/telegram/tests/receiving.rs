use super::*;
use crate::channel::{ChatKind, Revision};

/// What becomes of one update.
fn read(update: Value) -> Option<Incoming> {
    let (mut rig, poll) = Rig::running();
    rig.ok(&poll, json!([update]));
    rig.call();
    let mut received = rig.received();
    let (_, mut messages) = received.remove(0);
    messages.pop()
}

fn group(change: Value) -> Value {
    let mut message = json!({
        "message_id": 5, "date": 1_700_000_000,
        "chat": { "id": -100, "type": "supergroup", "title": "Friends" },
        "from": { "id": 7, "is_bot": false, "first_name": "Ada", "last_name": "L" },
    });
    let fields = message.as_object_mut().unwrap();
    fields.extend(change.as_object().unwrap().clone());
    json!({ "update_id": 1, "message": message })
}

#[test]
fn a_text_says_who_wrote_what_and_where() {
    let message = read(update(3, "hello")).unwrap();
    assert_eq!(message.id, "3");
    assert_eq!(message.place, place("7", None));
    assert_eq!(message.kind, ChatKind::Direct);
    assert_eq!(message.sender.id, "7");
    assert_eq!(message.sender.username.as_deref(), Some("ada"));
    assert_eq!(message.at, WallTime(1_700_000_000_000));
    assert!(message.addressed);
    let message = read(group(json!({ "text": "hello" }))).unwrap();
    assert_eq!(message.kind, ChatKind::Group);
    assert_eq!(message.title.as_deref(), Some("Friends"));
    assert_eq!(message.sender.name.as_deref(), Some("Ada L"));
    assert!(!message.addressed);
}

#[test]
fn topics_are_places_of_their_own_and_answers_in_groups_are_not() {
    let topic = json!({ "text": "a", "message_thread_id": 9, "is_topic_message": true });
    assert_eq!(read(group(topic)).unwrap().place, place("-100", Some("9")));
    let answer = json!({ "text": "a", "message_thread_id": 9 });
    assert_eq!(read(group(answer)).unwrap().place, place("-100", None));
}

#[test]
fn an_edit_has_the_id_of_what_it_changes() {
    let mut edited = message(8, "better");
    edited["edit_date"] = json!(1_700_000_060);
    let message = read(json!({ "update_id": 1, "edited_message": edited })).unwrap();
    assert_eq!(
        (message.id.as_str(), message.revision),
        ("8", Revision::Edit)
    );
    assert_eq!(message.at, WallTime(1_700_000_060_000));
}

#[test]
fn the_bot_is_called_by_name_by_command_or_by_an_answer() {
    let called = |text: &str, entities: Value| {
        let message = read(group(json!({ "text": text, "entities": entities }))).unwrap();
        (message.addressed, message.text)
    };
    let entity = |kind: &str, offset: usize, length: usize| json!({ "type": kind, "offset": offset, "length": length });
    let yes = |text: &str| (true, text.to_owned());
    let no = |text: &str| (false, text.to_owned());
    // Places are counted in UTF-16: the picture has two units.
    assert_eq!(
        called("😀 hi @Example_Bot", json!([entity("mention", 6, 12)])),
        yes("😀 hi @Example_Bot")
    );
    assert_eq!(
        called("@example_bot, ping", json!([entity("mention", 0, 12)])),
        yes("ping")
    );
    assert_eq!(
        called("@example_bot", json!([entity("mention", 0, 12)])),
        yes("@example_bot")
    );
    assert_eq!(
        called("@other_bot", json!([entity("mention", 0, 10)])),
        no("@other_bot")
    );
    assert_eq!(called("@example_bot", json!([])), no("@example_bot"));
    assert_eq!(
        called(
            "/status@example_bot now",
            json!([entity("bot_command", 0, 19)])
        ),
        yes("/status now")
    );
    assert_eq!(
        called("/status", json!([entity("bot_command", 0, 7)])),
        yes("/status")
    );
    assert_eq!(
        called("/status@other", json!([entity("bot_command", 0, 13)])),
        no("/status@other")
    );
    let mut named = entity("text_mention", 0, 3);
    named["user"] = json!({ "id": 99 });
    assert_eq!(called("Bot help", json!([named])), yes("Bot help"));
    // Places beyond the text, or within a letter, mark nothing.
    for (offset, length) in [(50, 3), (1, 1), (usize::MAX, 2)] {
        let odd = json!([entity("mention", offset, length)]);
        assert_eq!(called("😀", odd), no("😀"));
    }
    let answer =
        json!({ "text": "yes", "reply_to_message": { "from": { "id": 99 }, "text": "Sure?" } });
    let answer = read(group(answer)).unwrap();
    assert!(answer.addressed);
    assert_eq!(answer.quoted.as_deref(), Some("Sure?"));
    // The message that made a topic is answered by everything in it.
    let topic = json!({ "text": "yes", "reply_to_message": {
        "from": { "id": 99 }, "forum_topic_created": { "name": "Bot's own" },
    } });
    assert!(!read(group(topic)).unwrap().addressed);
    let quote = json!({
        "text": "this", "quote": { "text": "a part" },
        "reply_to_message": { "from": { "id": 5 }, "text": "a part of it" },
    });
    let quote = read(group(quote)).unwrap();
    assert!(!quote.addressed);
    assert_eq!(quote.quoted.as_deref(), Some("a part"));
}

#[test]
fn files_come_with_their_caption() {
    let file = |change: Value| {
        let message = read(group(change)).unwrap();
        let [file] = &message.files[..] else {
            panic!("{message:?}");
        };
        (message.text.clone(), file.clone())
    };
    let photo = json!({ "caption": "look", "photo": [
        { "file_id": "s", "width": 90, "height": 90, "file_size": 1 },
        { "file_id": "l", "width": 900, "height": 900, "file_size": 9 },
        { "file_id": "m", "width": 300, "height": 300 },
    ] });
    let (text, photo) = file(photo);
    assert_eq!((text.as_str(), photo.id.as_str()), ("look", "l"));
    assert_eq!(
        (photo.mime_type.as_str(), photo.size),
        ("image/jpeg", Some(9))
    );
    let document = json!({ "document": { "file_id": "d", "file_name": "a.pdf", "mime_type": "application/pdf" } });
    let (_, document) = file(document);
    assert_eq!(document.name.as_deref(), Some("a.pdf"));
    assert_eq!(document.mime_type, "application/pdf");
    for (kind, mime_type) in [
        ("voice", "audio/ogg"),
        ("audio", "audio/mpeg"),
        ("video", "video/mp4"),
        ("video_note", "video/mp4"),
        ("animation", "video/mp4"),
        ("document", "application/octet-stream"),
    ] {
        let (text, found) = file(json!({ kind: { "file_id": "x" } }));
        assert_eq!((text.as_str(), found.mime_type.as_str()), ("", mime_type));
    }
    let (_, animation) =
        file(json!({ "animation": { "file_id": "a" }, "document": { "file_id": "b" } }));
    assert_eq!(animation.id, "a");
    let (text, sticker) = file(json!({ "sticker": { "file_id": "s", "emoji": "👋" } }));
    assert_eq!(
        (text.as_str(), sticker.mime_type.as_str()),
        ("[sticker 👋]", "image/webp")
    );
}

#[test]
fn what_has_no_words_gets_some() {
    let words = |change: Value| read(group(change)).unwrap().text;
    let place = json!({ "latitude": 52.5, "longitude": 13.4 });
    assert_eq!(words(json!({ "location": place })), "[location 52.5, 13.4]");
    assert_eq!(
        words(
            json!({ "location": place, "venue": { "title": "Bar", "address": "Main St", "location": place } })
        ),
        "[venue Bar, Main St, 52.5, 13.4]"
    );
    assert_eq!(
        words(json!({ "contact": { "first_name": "Ada", "phone_number": "+1" } })),
        "[contact Ada, +1]"
    );
    assert_eq!(
        words(
            json!({ "poll": { "question": "Tea?", "options": [{ "text": "yes" }, { "text": "no" }] } })
        ),
        "[poll Tea?, yes / no]"
    );
    assert_eq!(
        words(json!({ "dice": { "emoji": "🎲", "value": 4 } })),
        "[dice 🎲, 4]"
    );
}

#[test]
fn what_nobody_wrote_is_passed_over() {
    assert_eq!(
        read(group(json!({ "new_chat_members": [{ "id": 8 }] }))),
        None
    );
    assert_eq!(read(group(json!({ "pinned_message": {} }))), None);
    let bot = json!({ "id": 5, "is_bot": true, "first_name": "B" });
    assert_eq!(read(group(json!({ "text": "a", "from": bot }))), None);
    let own = json!({ "id": 99, "first_name": "B" });
    assert_eq!(read(group(json!({ "text": "a", "from": own }))), None);
    let channel = json!({ "id": -100, "type": "channel" });
    assert_eq!(
        read(group(json!({ "text": "a", "sender_chat": channel }))),
        None
    );
    let post = json!({ "update_id": 1, "channel_post": message(1, "a") });
    assert_eq!(read(post), None);
}

//! What goes wrong when a test says so, and what is on record about it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer as Got, LIMIT, Scene, header};
use clawgate_bot_api::{Act, Answer, Attachment, Call, ChatId, DOWNLOAD, Fault, Post, Taken};

fn hello() -> Value {
    json!({"chat_id": 7, "text": "hello"})
}

/// Sends a message into a fault. Gives what came, what is on record, and how often it was delivered.
fn send_into(act: Act) -> (std::io::Result<Got>, Call, usize) {
    let scene = Scene::greeted();
    scene.api.fault(Fault::on("sendMessage").act(act));
    let got = scene.try_call("sendMessage", &hello());
    let call = scene.api.calls().remove(0);
    assert!(call.faulty);
    // The fault is over.
    let delivered = scene.api.sent(&scene.anna).len();
    assert_eq!(scene.call("sendMessage", &hello()).status, 200);
    (got, call, delivered)
}

#[test]
fn errors_come_in_place_of_the_call() {
    let (got, call, delivered) = send_into(Act::Answer(Answer::too_many_requests(2)));
    let got = got.unwrap();
    assert_eq!(got.status, 429);
    assert_eq!(header(&got.head, "retry-after"), Some("2"));
    assert_eq!(got.json()["parameters"], json!({"retry_after": 2}));
    assert_eq!(got.description(), "Too Many Requests: retry after 2");
    assert_eq!((call.status, call.taken, delivered), (Some(429), false, 0));

    let (got, ..) = send_into(Act::Answer(Answer::internal_error()));
    assert_eq!(got.unwrap().description(), "Internal Server Error");

    let (got, ..) = send_into(Act::Answer(Answer::bad_gateway()));
    let got = got.unwrap();
    assert_eq!(
        (got.status, header(&got.head, "content-type")),
        (502, Some("text/html"))
    );
    assert!(got.body.starts_with(b"<html>"));
}

#[test]
fn a_lost_call_is_not_carried_out() {
    let (got, call, delivered) = send_into(Act::LostReset);
    assert_eq!(got.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!((call.status, call.taken, delivered), (None, false, 0));
}

#[test]
fn a_lost_answer_hides_that_the_call_was_carried_out() {
    let (got, call, delivered) = send_into(Act::Taken(Taken::Reset));
    assert_eq!(got.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!((call.status, call.taken, delivered), (None, true, 1));

    let (got, call, delivered) = send_into(Act::Taken(Taken::Answer(Answer::bad_gateway())));
    assert_eq!(got.unwrap().status, 502);
    assert_eq!((call.status, call.taken, delivered), (Some(502), true, 1));

    let (got, call, delivered) = send_into(Act::Taken(Taken::Answer(Answer::garbage())));
    assert!(serde_json::from_slice::<Value>(&got.unwrap().body).is_err());
    assert_eq!((call.taken, delivered), (true, 1));
}

#[test]
fn an_answer_is_cut_off_where_the_fault_says() {
    for (taken, bytes, end) in [
        (
            Taken::ResetAfterHead,
            false,
            Err(ErrorKind::ConnectionReset),
        ),
        (Taken::ResetInBody, true, Err(ErrorKind::ConnectionReset)),
        (Taken::CloseInBody, true, Ok(())),
    ] {
        let scene = Scene::greeted();
        scene
            .api
            .fault(Fault::on("sendMessage").act(Act::Taken(taken)));
        let mut connection = scene.connect();
        connection.ask("sendMessage", &hello()).unwrap();
        let head = connection.head().unwrap();
        let length: usize = header(&head, "content-length").unwrap().parse().unwrap();
        let (body, ended) = connection.rest();
        assert_eq!(!body.is_empty(), bytes);
        assert!(body.len() < length);
        assert_eq!(ended.map_err(|error| error.kind()), end);
        let call = scene.api.calls().remove(0);
        assert_eq!((call.status, call.taken), (None, true));
    }
}

#[test]
fn a_slow_answer_comes_in_pieces_and_whole() {
    let scene = Scene::greeted();
    let pause = Duration::from_millis(2);
    scene
        .api
        .fault(Fault::on("getMe").act(Act::Taken(Taken::Trickle { piece: 10, pause })));
    let begun = Instant::now();
    assert_eq!(scene.call("getMe", &json!({})).result()["id"], 123_456);
    assert!(begun.elapsed() >= pause * 10);
}

#[test]
fn a_silent_poll_never_ends_by_itself() {
    let scene = Scene::greeted();
    scene
        .api
        .fault(Fault::on("getUpdates").act(Act::LostSilence));
    let mut silent = scene.connect();
    silent.ask("getUpdates", &json!({"timeout": 1})).unwrap();
    scene
        .api
        .wait_for(LIMIT, |state| {
            state.calls_of("getUpdates").next().map(|_| ())
        })
        .unwrap();
    // Others are served, and it is still there when the service stops.
    assert_eq!(scene.updates(&json!({})).len(), 1);
    drop(scene);
    assert!(silent.rest().0.is_empty());
}

#[test]
fn updates_come_again() {
    let scene = Scene::new();
    for text in ["one", "two", "three"] {
        scene.api.says(&scene.anna, text).unwrap();
    }
    let numbers = |params: &Value| -> Vec<i64> {
        let updates = scene.updates(params);
        updates
            .iter()
            .map(|update| update["update_id"].as_i64().unwrap())
            .collect()
    };
    let all = numbers(&json!({}));
    scene
        .api
        .fault(Fault::on("getUpdates").act(Act::UpdatesTwice));
    assert_eq!(numbers(&json!({"offset": all[2]})), [all[2], all[2]]);
    scene
        .api
        .fault(Fault::on("getUpdates").act(Act::UpdatesAgain(1)));
    assert_eq!(numbers(&json!({})), [all[1], all[2]]);
    scene
        .api
        .fault(Fault::on("getUpdates").act(Act::UpdatesAgain(usize::MAX)));
    assert_eq!(numbers(&json!({})), all);
    assert_eq!(numbers(&json!({})), all[2..]);
}

#[test]
fn faults_wait_for_their_chat_and_their_turn() {
    let scene = Scene::greeted();
    let bert = scene.api.user(8, "Bert");
    scene.api.says(&bert, "/start").unwrap();
    let down = || Act::Answer(Answer::internal_error());
    scene.api.fault(
        Fault::on("sendMessage")
            .in_chat(ChatId(8))
            .skip(1)
            .times(2)
            .act(down()),
    );
    scene.api.fault(
        Fault::on("sendMessage")
            .in_chat(&bert)
            .skip(2)
            .act(Act::LostReset),
    );
    let send = |chat: i64| {
        let params = json!({"chat_id": chat, "text": "hello"});
        scene
            .try_call("sendMessage", &params)
            .map(|got| got.status)
            .unwrap_or_default()
    };
    let came: Vec<_> = [8, 7, 8, 7, 8, 8, 8].into_iter().map(send).collect();
    assert_eq!(came, [200, 200, 500, 200, 500, 0, 200]);
    scene.api.fault(Fault::on_any().forever());
    assert_eq!([send(7), send(8), send(7)], [500; 3]);
    scene.api.clear_faults();
    assert_eq!(send(7), 200);
}

#[test]
fn downloads_go_wrong_too() {
    let scene = Scene::new();
    let file = Attachment::document("a.txt", "text/plain", b"0123456789");
    scene
        .api
        .post(Post::by(&scene.anna, "").with(file))
        .unwrap();
    let document = scene.updates(&json!({}))[0]["message"]["document"].clone();
    let found = scene
        .call("getFile", &json!({"file_id": document["file_id"]}))
        .result();
    let path = format!(
        "/file/bot{}/{}",
        crate::client::TOKEN,
        found["file_path"].as_str().unwrap()
    );
    scene
        .api
        .fault(Fault::on(DOWNLOAD).act(Act::Taken(Taken::CloseInBody)));
    assert!(scene.connect().get(&path).is_err());
    assert_eq!(scene.connect().get(&path).unwrap().body, b"0123456789");
}

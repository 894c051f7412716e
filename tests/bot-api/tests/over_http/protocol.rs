//! HTTP and the envelope.

use std::time::Duration;

use serde_json::json;

use crate::client::{Connection, LIMIT, Scene, TOKEN, header};
use clawgate_bot_api::{BotApi, Wrong};

#[test]
fn a_bot_learns_who_it_is() {
    let scene = Scene::new();
    let me = scene.call("getMe", &json!({})).result();
    assert_eq!(me["id"], 123_456);
    assert_eq!(me["is_bot"], true);
    assert_eq!(me["username"], "example_bot");
    // Names of methods count without case.
    assert_eq!(scene.call("GETME", &json!({})).result(), me);
}

#[test]
fn parameters_come_in_every_form() {
    let scene = Scene::greeted();
    let path = format!("/bot{TOKEN}/sendMessage");
    let mut connection = scene.connect();
    connection
        .get(&format!("{path}?chat_id=7&text=a+%26%20b"))
        .unwrap();
    connection
        .post(
            &path,
            "application/x-www-form-urlencoded",
            b"chat_id=7&text=%F0%9F%99%82",
        )
        .unwrap();
    connection.answer().unwrap();
    connection
        .post(
            &path,
            "multipart/form-data; boundary=\"b\"",
            b"--b\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n7\r\n--b\r\n\
              Content-Disposition: form-data; name=\"text\"\r\n\r\nform\r\n--b--\r\n",
        )
        .unwrap();
    connection.answer().unwrap();
    let head = format!(
        "POST {path}?chat_id=7 HTTP/1.1\r\nContent-Type: application/json; charset=utf-8\r\n\
         Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    );
    connection.send(head.as_bytes()).unwrap();
    assert!(connection.head().unwrap().starts_with("HTTP/1.1 100 "));
    connection
        .send(b"9\r\n{\"text\":\"\r\n9;x=y\r\nchunks\"} \r\n0\r\nT: x\r\n\r\n")
        .unwrap();
    let answer = connection.answer().unwrap();
    assert_eq!(header(&answer.head, "connection"), Some("keep-alive"));
    let texts: Vec<_> = scene
        .api
        .sent(&scene.anna)
        .into_iter()
        .map(|sent| sent.text)
        .collect();
    assert_eq!(texts, ["a & b", "🙂", "form", "chunks"]);
}

#[test]
fn a_connection_closes_when_it_is_asked_to() {
    let scene = Scene::new();
    let mut connection = scene.connect();
    let request = format!("GET /bot{TOKEN}/getMe HTTP/1.1\r\nConnection: close\r\n\r\n");
    connection.send(request.as_bytes()).unwrap();
    assert_eq!(connection.answer().unwrap().status, 200);
    assert!(connection.rest().1.is_ok());
}

#[test]
fn what_is_not_there_is_refused_in_the_envelope() {
    let scene = Scene::new();
    let get = |path: &str| scene.connect().get(path).unwrap();
    let unknown = get("/bot99:other/getMe");
    assert_eq!(
        (unknown.status, unknown.description()),
        (401, "Unauthorized".to_owned())
    );
    assert_eq!(
        get("/botnobody/getMe").description(),
        "Unauthorized: invalid token specified"
    );
    let method = scene.call("sendNothing", &json!({}));
    assert_eq!(
        (method.status, method.description()),
        (404, "Not Found: method not found".to_owned())
    );
    assert_eq!(get("/").status, 404);
    scene.api.revoke(TOKEN);
    assert_eq!(scene.call("getMe", &json!({})).status, 401);
    let mut connection = scene.connect();
    connection
        .post(&format!("/bot{TOKEN}/getMe"), "application/json", b"{")
        .unwrap();
    assert_eq!(connection.answer().unwrap().status, 401);
    assert_eq!(scene.api.add_bot("nobody", "x"), Err(Wrong::NoToken));
}

#[test]
fn commands_are_taken() {
    let scene = Scene::new();
    let commands = json!([{"command": "help", "description": "Help"}]);
    assert_eq!(
        scene
            .call("setMyCommands", &json!({"commands": commands}))
            .result(),
        true
    );
    assert_eq!(scene.call("setMyCommands", &json!({})).status, 400);
}

#[test]
fn calls_are_on_record_with_their_parameters() {
    let scene = Scene::greeted();
    scene.call(
        "sendMessage",
        &json!({"chat_id": 7, "text": "hello", "reply_markup": {"a": [1]}}),
    );
    let calls = scene.api.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].params["reply_markup"], "{\"a\":[1]}");
    assert_eq!(
        (calls[0].taken, calls[0].status, calls[0].faulty),
        (true, Some(200), false)
    );
    assert_eq!(calls[0].to_string(), "0 sendMessage in 7: 200, taken");
    scene.api.forget_history();
    assert!(scene.api.calls().is_empty());
    scene.call("getMe", &json!({}));
    assert_eq!(scene.api.calls()[0].number.0, 1);
}

#[test]
fn waiting_in_vain_tells_the_last_calls() {
    let scene = Scene::new();
    scene.call("getMe", &json!({}));
    let failed = scene
        .api
        .wait_for_sent(&scene.anna, 1, Duration::ZERO)
        .unwrap_err();
    assert!(
        failed.to_string().ends_with("0 getMe: 200, taken"),
        "{failed}"
    );
}

#[test]
fn it_stops_at_once_whatever_goes_on() {
    let api = BotApi::start().unwrap();
    let bot = api.add_bot(TOKEN, "example_bot").unwrap();
    let url = api.url();
    let mut idle = Connection::to(&url);
    let mut polling = Connection::to(&url);
    polling.ask("getUpdates", &json!({"timeout": 50})).unwrap();
    api.wait_for(LIMIT, |state| state.is_polled(bot).then_some(()))
        .unwrap();
    drop(api);
    assert!(idle.rest().0.is_empty());
    assert!(polling.rest().0.is_empty());
    let address = url.strip_prefix("http://").unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
}

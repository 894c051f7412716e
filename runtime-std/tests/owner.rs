//! The socket of the gateway's owner, with a small gateway behind it.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::{
    fs,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
};

use clawgate_core::{
    client::{Call, Profile},
    frame::RawJson,
    protocol::{ClientId, ClientInfo, ClientMode},
};
use clawgate_std::{ConnectError, Connection, Options, Problem, Stage};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

fn profile() -> Profile {
    let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
    Profile::operator(info, vec!["operator.admin".into()])
}

fn refusal(socket: &Path) -> Box<ConnectError> {
    Connection::open_owner(socket, profile(), Options::default()).unwrap_err()
}

fn request(socket: &mut WebSocket<UnixStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn answer(socket: &mut WebSocket<UnixStream>, id: &Value, payload: &Value) {
    let frame = json!({ "type": "res", "id": id, "ok": true, "payload": payload });
    socket.send(Message::text(frame.to_string())).unwrap();
}

#[test]
fn calls_go_over_the_socket_and_nothing_is_presented() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let gateway = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        let challenge = json!({
            "type": "event", "event": "connect.challenge", "payload": { "nonce": "n", "ts": 1 },
        });
        socket.send(Message::text(challenge.to_string())).unwrap();
        let connect = request(&mut socket);
        answer(&mut socket, &connect["id"], &json!({}));
        let call = request(&mut socket);
        answer(
            &mut socket,
            &call["id"],
            &json!({ "method": call["method"] }),
        );
        connect
    });

    let mut connection = Connection::open_owner(&path, profile(), Options::default()).unwrap();
    assert!(connection.timings().of(Stage::Socket).is_some());
    let result = connection
        .call(Call::new("health", RawJson::empty_object()))
        .unwrap();
    assert_eq!(result.as_str(), r#"{"method":"health"}"#);
    drop(connection);
    let connect = gateway.join().unwrap();
    assert!(connect["params"]["auth"].is_null() && connect["params"]["device"].is_null());
}

#[test]
fn a_socket_that_nobody_listens_at_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let is_gone =
        |error: &ConnectError| matches!(error.problem, Problem::Socket { is_gone, .. } if is_gone);
    let missing = refusal(&path);
    assert!(is_gone(&missing), "{missing}");
    assert!(missing.url.starts_with("unix:"), "{missing}");

    // What an earlier gateway left behind.
    drop(UnixListener::bind(&path).unwrap());
    let stale = refusal(&path);
    assert!(is_gone(&stale), "{stale}");
}

#[test]
fn what_is_no_socket_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    fs::write(&path, "").unwrap();
    let error = refusal(&path);
    assert!(
        matches!(error.problem, Problem::Socket { is_gone: false, .. }),
        "{error}"
    );
    // Neither is a link to one, for it may lead anywhere.
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    let _listener = UnixListener::bind(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let error = refusal(&link);
    assert!(
        matches!(error.problem, Problem::Socket { is_gone: false, .. }),
        "{error}"
    );
}

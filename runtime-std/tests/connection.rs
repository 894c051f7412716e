//! One connection over real sockets: results, refusals, deadlines at each stage, cancellation.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

mod common;

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use clawgate_core::{
    client::{self, Ending, RequestError},
    secret::Secret,
};
use clawgate_std::{CallError, Cancel, ConnectError, Connection, Problem, Stage};
use common::{
    DEADLINES, FakeGateway, LONG, Peer, SHORT, call, cancellable, drain, profile, signal, target,
    within,
};
use serde_json::json;

fn open_error(gateway: &FakeGateway, options: clawgate_std::Options) -> Box<ConnectError> {
    match Connection::open(&gateway.target(), profile(), options) {
        Ok(_) => panic!("it connected"),
        Err(error) => error,
    }
}

#[test]
fn a_call_gets_its_result() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        let connect = peer.welcome();
        assert_eq!(connect["params"]["auth"]["token"], "hunter2");
        peer.echo();
    });
    let payload =
        clawgate_std::call(&gateway.target(), profile(), within(LONG), call("health")).unwrap();
    assert_eq!(payload.as_str(), r#"{"method":"health"}"#);
    gateway.join();
}

#[test]
fn several_calls_may_be_under_way_and_answered_in_any_order() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        let requests = [(); 3].map(|()| peer.request().unwrap());
        for request in requests.iter().rev() {
            peer.answer(request, request["method"].clone());
        }
        peer.echo();
    });
    let mut connection = Connection::open(&gateway.target(), profile(), within(LONG)).unwrap();
    assert_eq!(connection.hello().server_version.as_deref(), Some("9"));
    let ids = ["a", "b", "c"].map(|method| connection.start(call(method)).unwrap());
    for (id, method) in ids.iter().zip(["a", "b", "c"]) {
        assert_eq!(
            connection.wait(id).unwrap().as_str(),
            format!("\"{method}\"")
        );
    }
    assert!(matches!(
        connection.wait(&ids[0]),
        Err(CallError::NotSent(RequestError::NotConnected))
    ));
    let stages: Vec<Stage> = connection
        .timings()
        .stages()
        .map(|(stage, _)| stage)
        .collect();
    assert_eq!(
        stages,
        [
            Stage::Tcp,
            Stage::Upgrade,
            Stage::Challenge,
            Stage::Hello,
            Stage::Call
        ]
    );
    connection.close();
    gateway.join();
}

#[test]
fn a_large_result_arrives_whole() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        let request = peer.request().unwrap();
        let sent = request["params"].as_str().unwrap().len();
        peer.answer(&request, "x".repeat(sent).into());
        peer.echo();
    });
    let mut connection = Connection::open(&gateway.target(), profile(), within(LONG)).unwrap();
    let big = 8 * 1024 * 1024;
    let params = clawgate_core::frame::RawJson::encode(&"y".repeat(big)).unwrap();
    let result = connection.call(client::Call::new("big", params)).unwrap();
    assert_eq!(result.as_str().len(), big + 2);
    connection.close();
    gateway.join();
}

#[test]
fn a_refusal_carries_the_gateways_words() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.challenge();
        let connect = peer.request().unwrap();
        peer.refuse(
            &connect,
            json!({"code":"INVALID_REQUEST","message":"unauthorized: token mismatch",
                "details":{"code":"AUTH_TOKEN_MISMATCH"}}),
        );
        assert!(peer.request().is_none());
    });
    let error = open_error(&gateway, within(LONG));
    assert_eq!(error.stage, Stage::Hello);
    assert_eq!(
        error.refusal().unwrap().detail_code(),
        Some("AUTH_TOKEN_MISMATCH")
    );
    assert!(error.next_step().unwrap().contains("credential"));
    assert!(error.to_string().contains("token mismatch"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    gateway.join();
}

#[test]
fn a_stored_device_token_gets_one_second_attempt() {
    let gateway = FakeGateway::start(2, |number, stream| {
        let mut peer = Peer::accept(stream);
        peer.challenge();
        let connect = peer.request().unwrap();
        let auth = &connect["params"]["auth"];
        assert_eq!(auth["token"], "hunter2");
        if number == 0 {
            assert!(auth["deviceToken"].is_null());
            peer.refuse(
                &connect,
                json!({"code":"INVALID_REQUEST","message":"no",
                    "details":{"code":"AUTH_TOKEN_MISMATCH"}}),
            );
            assert!(peer.request().is_none());
        } else {
            assert_eq!(auth["deviceToken"], "stored");
            peer.answer(&connect, json!({}));
            peer.echo();
        }
    });
    let route = gateway.target().route().clone();
    let target = client::Target::new(route, common::token(), Some(Secret::new("stored")));
    Connection::open(&target, profile(), within(LONG))
        .unwrap()
        .close();
    gateway.join();
}

#[test]
fn a_close_without_a_word_is_tried_again_once() {
    let gateway = FakeGateway::start(2, |_, stream| {
        let mut peer = Peer::accept(stream);
        let frame = tungstenite::protocol::CloseFrame {
            code: 1000.into(),
            reason: "".into(),
        };
        peer.socket.close(Some(frame)).unwrap();
        peer.request();
    });
    let error = open_error(&gateway, within(LONG));
    assert!(
        matches!(
            error.ending(),
            Some(Ending::Closed {
                code: Some(1000),
                ..
            })
        ),
        "{error}"
    );
    gateway.join();
}

#[test]
fn a_silent_gateway_meets_the_deadline_at_its_stage() {
    type Script = fn(std::net::TcpStream);
    let scripts: [(Stage, Script); 3] = [
        (Stage::Upgrade, |stream| {
            drain(stream);
        }),
        (Stage::Challenge, |stream| {
            let mut peer = Peer::accept(stream);
            assert!(peer.request().is_none());
        }),
        (Stage::Hello, |stream| {
            let mut peer = Peer::accept(stream);
            peer.challenge();
            peer.request().unwrap();
            assert!(peer.request().is_none());
        }),
    ];
    for (stage, script) in scripts {
        let reached = DEADLINES.into_iter().any(|deadline| {
            let gateway = FakeGateway::start(1, move |_, stream| script(stream));
            let error = open_error(&gateway, within(deadline));
            assert_eq!(error.problem, Problem::Deadline);
            assert!(error.to_string().contains(error.stage.as_str()), "{error}");
            assert!(error.stage <= stage);
            error.stage == stage
        });
        assert!(reached, "{stage} was never reached");
    }
}

#[test]
fn a_silent_call_meets_the_same_deadline() {
    let reached = DEADLINES.into_iter().any(|deadline| {
        let gateway = FakeGateway::start(1, |_, stream| {
            let mut peer = Peer::accept(stream);
            peer.welcome();
            peer.request().unwrap();
            assert!(peer.request().is_none());
        });
        let slow = call("slow").timeout(LONG);
        let result = clawgate_std::call(&gateway.target(), profile(), within(deadline), slow);
        result == Err(CallError::Answer(client::CallError::Timeout))
    });
    assert!(reached, "the call was never reached");
}

#[test]
fn a_call_with_its_own_deadline_leaves_the_connection_usable() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        peer.request().unwrap();
        peer.echo();
    });
    let mut connection = Connection::open(&gateway.target(), profile(), within(LONG)).unwrap();
    assert_eq!(
        connection.call(call("slow").timeout(SHORT)),
        Err(CallError::Answer(client::CallError::Timeout))
    );
    assert!(connection.call(call("health")).is_ok());
    connection.close();
    gateway.join();
}

#[test]
fn a_connection_lost_during_a_call_is_told_at_once() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        peer.request().unwrap();
    });
    let mut connection = Connection::open(&gateway.target(), profile(), within(LONG)).unwrap();
    assert_eq!(
        connection.call(call("health")),
        Err(CallError::Answer(client::CallError::Ended(Ending::Lost)))
    );
    assert_eq!(
        connection.call(call("health")),
        Err(CallError::NotSent(RequestError::NotConnected))
    );
    gateway.join();
}

#[test]
fn a_close_of_the_gateway_is_told_with_its_reason() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        peer.request().unwrap();
        let frame = tungstenite::protocol::CloseFrame {
            code: 1012.into(),
            reason: "service restart".into(),
        };
        peer.socket.close(Some(frame)).unwrap();
        peer.request();
    });
    let mut connection = Connection::open(&gateway.target(), profile(), within(LONG)).unwrap();
    let error = connection.call(call("health")).unwrap_err();
    assert!(
        error.to_string().contains("(1012): service restart"),
        "{error}"
    );
    drop(connection);
    gateway.join();
}

#[test]
fn nobody_listening_is_told_with_a_next_step() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("ws://{addr}");
    let error = Connection::open(&target(&url), profile(), within(LONG)).unwrap_err();
    assert_eq!(error.stage, Stage::Tcp);
    assert!(matches!(&error.problem, Problem::Tcp(failed) if failed.len() == 1));
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.next_step().unwrap().contains("start the gateway"));
}

#[test]
fn a_refused_upgrade_shows_status_and_message() {
    let gateway = FakeGateway::start(1, |_, mut stream| {
        let body = r#"{"error":{"message":"slow down","type":"rate_limited"}}"#;
        // In one piece: what comes later than the head is not waited for.
        let answer = format!(
            "HTTP/1.1 429 Too Many Requests\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).unwrap();
        drain(stream);
    });
    let error = open_error(&gateway, within(LONG));
    assert_eq!(error.stage, Stage::Upgrade);
    assert!(matches!(
        error.problem,
        Problem::Upgrade { status: 429, .. }
    ));
    assert!(
        error.to_string().ends_with("HTTP 429: slow down"),
        "{error}"
    );
    gateway.join();
}

#[test]
fn what_is_no_gateway_is_told() {
    let gateway = FakeGateway::start(1, |_, mut stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").unwrap();
        drain(stream);
    });
    let error = open_error(&gateway, within(LONG));
    assert!(matches!(error.problem, Problem::NotWebSocket(_)), "{error}");
    assert!(error.next_step().unwrap().contains("wss://"));
    gateway.join();
}

#[test]
fn names_are_resolved_and_every_address_is_tried() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        peer.echo();
    });
    let url = format!("ws://localhost:{}", gateway.addr.port());
    let connection = Connection::open(&target(&url), profile(), within(LONG)).unwrap();
    assert!(connection.timings().of(Stage::Dns).is_some());
    connection.close();
    gateway.join();
}

#[test]
fn ipv6_is_dialled() {
    let gateway = FakeGateway::on("[::1]:0", 1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        peer.echo();
    });
    // A machine without IPv6 has nothing to test.
    let Ok(gateway) = gateway else { return };
    let connection = Connection::open(&gateway.target(), profile(), within(LONG)).unwrap();
    connection.close();
    gateway.join();
}

#[test]
fn every_wait_can_be_cancelled() {
    type Script = fn(std::net::TcpStream, std::sync::mpsc::Sender<()>);
    let scripts: [(Stage, Script); 3] = [
        (Stage::Upgrade, |mut stream, waiting| {
            let mut first = [0];
            stream.read_exact(&mut first).unwrap();
            waiting.send(()).unwrap();
            drain(stream);
        }),
        (Stage::Hello, |stream, waiting| {
            let mut peer = Peer::accept(stream);
            peer.challenge();
            peer.request().unwrap();
            waiting.send(()).unwrap();
            assert!(peer.request().is_none());
        }),
        (Stage::Call, |stream, waiting| {
            let mut peer = Peer::accept(stream);
            peer.welcome();
            peer.request().unwrap();
            waiting.send(()).unwrap();
            assert!(peer.request().is_none());
        }),
    ];
    for (stage, script) in scripts {
        let (waiting, is_waiting) = signal();
        let gateway = FakeGateway::start(1, move |_, stream| script(stream, waiting.clone()));
        let cancel = Cancel::new();
        let canceller = thread::spawn({
            let cancel = cancel.clone();
            move || {
                is_waiting.recv().unwrap();
                cancel.cancel();
            }
        });
        let result = clawgate_std::call(
            &gateway.target(),
            profile(),
            cancellable(&cancel),
            call("slow"),
        );
        match result {
            Err(CallError::Cancelled) => assert_eq!(stage, Stage::Call),
            Err(CallError::Connect(error)) => {
                assert_eq!((error.stage, error.problem), (stage, Problem::Cancelled));
            }
            other => panic!("{other:?}"),
        }
        canceller.join().unwrap();
        gateway.join();
    }
}

//! The HTTP side of the port: requests that are slow, too large, broken or refused.

use std::io::{ErrorKind, Read};

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Attempt, Failure, TestResult};
use clawgate_tests::raw_client::{RawClient, operator_params};
use serde_json::{Value, json};
use std::time::Duration;

use crate::raw::{Answer, RawSocket, UPGRADE, first, frame};
use crate::server::{TOKEN, TestServer};

fn ask(server: &TestServer, request: &str) -> TestResult<Answer> {
    let mut socket = RawSocket::dial(server.address())?;
    // The server may have seen enough before everything is sent.
    let _ = socket.send(request);
    socket.answer().attempt(|| format!("asking {request:.60}"))
}

/// The usual upgrade with more header fields.
fn upgrade_with(fields: &str) -> String {
    UPGRADE.replacen("\r\n", &format!("\r\n{fields}"), 1)
}

#[test]
fn probes_answer_get_and_head() -> TestResult {
    let server = TestServer::start()?;
    for path in [
        "/health",
        "/healthz?x=1",
        "/ready",
        "/readyz",
        "/startup",
        "/startupz",
    ] {
        let get = ask(&server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))?;
        assert_eq!(get.status, 200, "{path}");
        assert!(get.head.contains("Cache-Control: no-store\r\n"), "{path}");
        assert!(
            get.head.contains("Content-Type: application/json"),
            "{path}"
        );
        let body: Value = serde_json::from_str(&get.body)?;
        assert!(
            body["ok"] == true || body["ready"] == true,
            "{path}: {body}"
        );

        let head = ask(&server, &format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"))?;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert!(head.head.contains("Content-Length: "), "{path}");
        assert!(!head.head.contains("Content-Length: 0"), "{path}");
    }
    Ok(())
}

#[test]
fn other_methods_and_paths_are_refused() -> TestResult {
    let server = TestServer::start()?;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let body = "x".repeat(5_000);
        let len = body.len();
        let refused = ask(
            &server,
            &format!(
                "{method} /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n{body}"
            ),
        )?;
        assert_eq!(refused.status, 405, "{method}");
        assert!(refused.head.contains("Allow: GET, HEAD\r\n"), "{method}");
    }
    for path in ["/", "/nothing", "/health/", "/../healthz"] {
        let missing = ask(&server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))?;
        assert_eq!(missing.status, 404, "{path}");
    }
    let head = ask(&server, "HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n")?;
    assert_eq!((head.status, head.body.as_str()), (404, ""));
    Ok(())
}

#[test]
fn details_are_for_callers_that_nobody_forwards() -> TestResult {
    let server = TestServer::start()?;
    let detailed = ask(&server, "GET /startupz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    assert!(detailed.body.contains("uptimeMs"), "{}", detailed.body);

    let forwarded = ask(
        &server,
        "GET /startupz HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.51.100.4\r\n\r\n",
    )?;

    assert_eq!(
        serde_json::from_str::<Value>(&forwarded.body)?,
        json!({"ok": true, "status": "started"})
    );
    Ok(())
}

#[test]
fn a_head_that_is_too_large_is_refused() -> TestResult {
    let server = TestServer::start()?;
    // More than the server reads, so that unread bytes are left when it answers.
    let long = "x".repeat(200 * 1024);
    let refused = ask(&server, &upgrade_with(&format!("X-Long: {long}\r\n")))?;
    assert_eq!(refused.status, 431);
    Ok(())
}

#[test]
fn too_many_fields_are_refused() -> TestResult {
    let server = TestServer::start()?;
    let few = "X: 1\r\n".repeat(59);
    let many = "X: 1\r\n".repeat(60);
    let mut socket = RawSocket::dial(server.address())?;
    socket.send(upgrade_with(&few))?;
    socket.expect_upgrade()?;
    assert_eq!(ask(&server, &upgrade_with(&many))?.status, 431);
    Ok(())
}

#[test]
fn what_is_no_http_is_refused() -> TestResult {
    let server = TestServer::start()?;
    for request in [
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        "{\"type\":\"req\"}\r\n\r\n",
    ] {
        assert_eq!(ask(&server, request)?.status, 400, "{request:?}");
    }
    Ok(())
}

#[test]
fn an_incomplete_upgrade_is_refused() -> TestResult {
    let server = TestServer::start()?;
    for (missing, instead) in [
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        ("Connection: Upgrade\r\n", ""),
        ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n"),
        ("GET / HTTP/1.1", "POST / HTTP/1.1"),
        ("GET / HTTP/1.1", "GET / HTTP/1.0"),
    ] {
        let refused = ask(&server, &UPGRADE.replace(missing, instead))?;
        assert_eq!(refused.status, 400, "{missing}");
    }
    Ok(())
}

#[test]
fn another_version_of_websocket_is_told_ours() -> TestResult {
    let server = TestServer::start()?;
    for version in ["Sec-WebSocket-Version: 8\r\n", ""] {
        let refused = ask(
            &server,
            &UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", version),
        )?;
        assert_eq!(refused.status, 426, "{version}");
        assert!(
            refused.head.contains("Sec-WebSocket-Version: 13\r\n"),
            "{}",
            refused.head
        );
    }
    Ok(())
}

#[test]
fn a_client_that_nobody_vouches_for_is_refused_in_json() -> TestResult {
    let server = TestServer::start()?;
    for field in [
        "X-Forwarded-For: 198.51.100.4\r\n",
        "Forwarded: for=198.51.100.4\r\n",
    ] {
        let refused = ask(&server, &upgrade_with(field))?;
        assert_eq!(refused.status, 403, "{field}");
        let body: Value = serde_json::from_str(&refused.body)?;
        assert_eq!(
            body["error"]["type"], "proxy_attribution_required",
            "{field}"
        );
        assert!(body["error"]["message"].is_string(), "{field}");
    }
    Ok(())
}

#[test]
fn a_request_may_come_in_any_pieces() -> TestResult {
    let server = TestServer::start()?;
    let mut socket = RawSocket::dial(server.address())?;
    for byte in UPGRADE.as_bytes() {
        socket.send([*byte])?;
    }
    socket.expect_upgrade()?;
    assert_eq!(
        socket.message("event", "connect.challenge")?["type"],
        "event"
    );

    // The whole introduction at once, before the server has said anything.
    let connect = json!({
        "type": "req", "id": "1", "method": "connect", "params": operator_params(TOKEN, &[]),
    });
    let mut all = UPGRADE.as_bytes().to_vec();
    all.extend(frame(first::TEXT, connect.to_string().as_bytes()));
    let mut socket = RawSocket::dial(server.address())?;
    socket.send(all)?;
    socket.expect_upgrade()?;
    let hello = socket.message("type", "res")?;
    assert_eq!(hello["payload"]["type"], "hello-ok", "{hello}");
    Ok(())
}

#[test]
fn a_head_that_never_ends_is_cut_off_while_others_are_served() -> TestResult {
    let server = TestServer::start_with(|limits| {
        limits.request_head = Duration::from_millis(300);
    })?;
    let mut slow = RawSocket::dial(server.address())?;
    slow.send("GET / HTTP/1.1\r\nX-Slow: ")?;
    let deadline = Deadline::after(PATIENCE);
    loop {
        // One more byte for each probe that others make meanwhile.
        if slow.send("x").is_err() {
            return Ok(());
        }
        let probe = ask(&server, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")?;
        assert_eq!(probe.status, 200);
        slow.stream().set_nonblocking(true)?;
        let ended = match slow.stream().read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => return Err(Failure::new("an answer to half a request")),
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        slow.stream().set_nonblocking(false)?;
        if ended {
            return Ok(());
        }
        if deadline.remaining().is_none() {
            return Err(Failure::new("the slow client is still there"));
        }
    }
}

#[test]
fn a_full_gateway_says_so_until_somebody_leaves() -> TestResult {
    let server = TestServer::start_with(|limits| limits.max_connections = 2)?;
    let first = server.client()?;
    let _second = RawSocket::upgraded(server.address())?;

    let refused = ask(&server, UPGRADE)?;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (503, "too many connections")
    );
    let probe = ask(&server, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")?;
    assert_eq!(probe.status, 200);

    drop(first);
    Deadline::after(PATIENCE).poll("a free place", || Ok(RawClient::dial(&server.url()).ok()))?;
    Ok(())
}

#[test]
fn one_address_cannot_take_all_places_without_logging_in() -> TestResult {
    let server = TestServer::start_with(|limits| limits.max_pre_auth_loopback = 1)?;
    let waiting = RawSocket::upgraded(server.address())?;

    let refused = ask(&server, UPGRADE)?;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.body, "too many unauthenticated sockets");

    drop(waiting);
    Deadline::after(PATIENCE).poll("a free place", || Ok(server.client().ok()))?;
    // Who is in takes none of these places.
    let _in = server.client()?;
    server.client()?;
    Ok(())
}

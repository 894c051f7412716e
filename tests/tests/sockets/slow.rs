//! A client that does not read.

use std::time::Duration;

use clawgate_core::limits::Limits;
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use clawgate_tests::raw_client::operator_params;
use serde_json::json;

use crate::raw::{RawSocket, first};
use crate::server::{TOKEN, TestServer};

/// Nearly a megabyte each. Together far more than the system's buffers and the limit take.
const CALLS: usize = 40;

/// What the client says after its calls, and all others hear.
const TOLD: &str = "I have asked for a lot";

fn small_buffer(limits: &mut Limits) {
    limits.max_buffered_bytes = 2 * 1024 * 1024;
    limits.effect = PATIENCE;
}

fn server(change: impl FnOnce(&mut Limits)) -> TestResult<TestServer> {
    let server = TestServer::start_with(change)?;
    server.write_log(&format!("{}\n", "x".repeat(900)).repeat(1_000))?;
    Ok(server)
}

/// A client that has asked for more than it reads.
fn glutton(server: &TestServer) -> TestResult<RawSocket> {
    let mut socket = RawSocket::upgraded(server.address())?;
    let scopes = ["operator.admin"];
    let connect = json!({
        "type": "req", "id": "0", "method": "connect", "params": operator_params(TOKEN, &scopes),
    });
    socket.send_frame(first::TEXT, connect.to_string())?;
    socket.message("id", "0")?;
    let params = json!({"limit": 1_000, "maxBytes": 1_000_000});
    let calls = (1..=CALLS).map(|id| (id, "logs.tail", &params));
    let told = json!({"text": TOLD});
    for (id, method, params) in calls.chain([(CALLS + 1, "system-event", &told)]) {
        let request = json!({
            "type": "req", "id": id.to_string(), "method": method, "params": params,
        });
        // The server may have had enough before all are sent.
        if socket.send_frame(first::TEXT, request.to_string()).is_err() {
            break;
        }
    }
    Ok(socket)
}

#[test]
fn a_client_that_does_not_read_is_told_and_shown_out_while_others_are_served() -> TestResult {
    let server = server(|limits| {
        small_buffer(limits);
        // Time for it to read what it was sent, and then the close frame.
        limits.close_grace = Duration::from_secs(60);
    })?;
    let mut other = server.client()?;
    let mut slow = glutton(&server)?;
    other.wait_for("the news of the slow client", |frame| {
        frame["event"] == "presence" && frame.to_string().contains(TOLD)
    })?;
    // All calls are taken now. Effects are done in order, so this answer comes after theirs.
    assert!(other.call("status", json!({}))?.payload()?.is_object());

    let mut answers = 0;
    let close = loop {
        let frame = slow.frame()?;
        match frame.first {
            first::CLOSE => break frame.close()?,
            first::TEXT if frame.json()?["type"] == "res" => answers += 1,
            _ => {}
        }
    };

    assert_eq!(close, (1008, "slow consumer".to_owned()));
    assert!((1..CALLS).contains(&answers), "{answers} answers");
    slow.send_frame(first::CLOSE, 1008_u16.to_be_bytes())?;
    slow.expect_end()?;
    assert!(other.call("status", json!({}))?.payload()?.is_object());
    Ok(())
}

#[test]
fn who_never_reads_is_dropped_when_the_grace_is_over() -> TestResult {
    let server = server(|limits| {
        small_buffer(limits);
        limits.close_grace = Duration::from_millis(100);
    })?;
    let _slow = glutton(&server)?;
    Deadline::after(PATIENCE).poll("the slow client to be dropped", || {
        Ok((server.connections() == 0).then_some(()))
    })
}

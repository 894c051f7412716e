//! WebSocket frames in unusual shapes and orders.

use std::time::Duration;

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use clawgate_tests::raw_client::operator_params;
use serde_json::json;

use crate::raw::{RawSocket, first, frame, frame_head};
use crate::server::{TOKEN, TestServer};

fn request(id: &str, method: &str, params: &serde_json::Value) -> String {
    json!({"type": "req", "id": id, "method": method, "params": params}).to_string()
}

/// A raw socket that is in.
fn connected(server: &TestServer) -> TestResult<RawSocket> {
    let mut socket = RawSocket::upgraded(server.address())?;
    socket.message("event", "connect.challenge")?;
    let connect = request("1", "connect", &operator_params(TOKEN, &["operator.read"]));
    socket.send_frame(first::TEXT, connect)?;
    let hello = socket.message("id", "1")?;
    assert_eq!(hello.get("ok"), Some(&true.into()), "{hello}");
    Ok(socket)
}

fn health(id: &str) -> String {
    request(id, "health", &json!({}))
}

#[test]
fn the_size_of_a_first_message_is_refused_by_its_header() -> TestResult {
    let server = TestServer::start()?;
    let mut socket = RawSocket::upgraded(server.address())?;

    // Not a byte of the payload is sent.
    socket.send(frame_head(first::TEXT, 64 * 1024 + 1))?;
    socket.send([0; 4])?;

    let (code, reason) = socket.frame_of(first::CLOSE)?.close()?;
    assert_eq!((code, reason.as_str()), (1009, "preauth payload too large"));
    Ok(())
}

#[test]
fn fragments_of_a_first_message_count_together() -> TestResult {
    let server = TestServer::start()?;
    let mut socket = RawSocket::upgraded(server.address())?;

    socket.send_frame(first::TEXT_BEGINS, [b' '; 40_000])?;
    socket.send_frame(first::TEXT_ENDS, [b' '; 40_000])?;

    assert_eq!(socket.frame_of(first::CLOSE)?.close()?.0, 1009);
    Ok(())
}

#[test]
fn the_limit_of_a_session_is_its_own() -> TestResult {
    let server = TestServer::start_with(|limits| limits.max_payload = 100_000)?;
    let mut socket = connected(&server)?;
    let padded = |len: usize| {
        let bare = request("big", "health", &json!({"padding": ""})).len();
        request("big", "health", &json!({"padding": "x".repeat(len - bare)}))
    };

    socket.send_frame(first::TEXT, padded(100_000))?;
    assert_eq!(socket.message("id", "big")?["ok"], true);
    // Whether the whole message can be sent depends on when the server closes.
    let _ = socket.send_frame(first::TEXT, padded(100_001));

    let (code, reason) = socket.frame_of(first::CLOSE)?.close()?;
    assert_eq!((code, reason.as_str()), (1009, "payload too large"));
    Ok(())
}

#[test]
fn a_message_may_come_in_fragments_with_pings_between() -> TestResult {
    let server = TestServer::start()?;
    let mut socket = connected(&server)?;
    let text = health("fragmented");
    let (begin, end) = text.split_at(10);

    socket.send_frame(first::TEXT_BEGINS, begin)?;
    socket.send_frame(first::PING, "between")?;
    for byte in end.bytes() {
        socket.send_frame(first::TEXT_GOES_ON, [byte])?;
    }
    assert_eq!(socket.frame_of(first::PONG)?.payload, b"between");
    socket.send_frame(first::TEXT_ENDS, "")?;

    assert_eq!(socket.message("id", "fragmented")?["ok"], true);
    Ok(())
}

#[test]
fn a_message_may_come_byte_by_byte() -> TestResult {
    let server = TestServer::start()?;
    let mut socket = connected(&server)?;
    for byte in frame(first::TEXT, health("slow").as_bytes()) {
        socket.send([byte])?;
    }
    assert_eq!(socket.message("id", "slow")?["ok"], true);
    Ok(())
}

#[test]
fn pings_are_answered_before_and_after_the_handshake() -> TestResult {
    let server = TestServer::start()?;
    let mut before = RawSocket::upgraded(server.address())?;
    let after = connected(&server)?;
    before.send_frame(first::PING, "")?;
    assert_eq!(before.frame_of(first::PONG)?.payload, b"");
    let mut socket = after;
    for payload in ["x", &"x".repeat(125)] {
        socket.send_frame(first::PING, payload)?;
        assert_eq!(socket.frame_of(first::PONG)?.payload, payload.as_bytes());
    }
    // A pong that nobody asked for is fine.
    socket.send_frame(first::PONG, "?")?;
    socket.send_frame(first::TEXT, health("2"))?;
    assert_eq!(socket.message("id", "2")?["ok"], true);
    Ok(())
}

#[test]
fn who_answers_no_ping_is_dropped() -> TestResult {
    let server = TestServer::start_with(|limits| {
        limits.ping_interval = Duration::from_millis(200);
    })?;
    let mut silent = connected(&server)?;
    assert_eq!(silent.frame_of(first::PING)?.payload, b"");
    silent.expect_end()?;
    Ok(())
}

#[test]
fn a_close_is_echoed_and_the_server_ends_the_connection() -> TestResult {
    let server = TestServer::start()?;
    for payload in [&b""[..], b"\x03\xe8", b"\x0f\xa0bye"] {
        let mut socket = connected(&server)?;
        socket.send_frame(first::CLOSE, payload)?;
        assert_eq!(
            socket.frame_of(first::CLOSE)?.payload.get(..2),
            payload.get(..2)
        );
        assert_eq!(socket.expect_end()?, b"");
    }
    Ok(())
}

#[test]
fn broken_frames_end_their_connection_and_no_other() -> TestResult {
    let server = TestServer::start_with(|limits| {
        limits.close_grace = Duration::from_millis(100);
    })?;
    let mut other = connected(&server)?;
    let unmasked = [first::TEXT, 2, b'{', b'}'];
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("no mask", unmasked.to_vec(), 1002),
        ("a reserved bit", frame(0xc1, b"{}"), 1002),
        ("a reserved opcode", frame(0x83, b"{}"), 1002),
        ("a long ping", frame(first::PING, &[0; 126]), 1002),
        ("a fragmented ping", frame(0x09, b""), 1002),
        ("no beginning", frame(first::TEXT_ENDS, b"{}"), 1002),
        ("a close of one byte", frame(first::CLOSE, b"\x03"), 1002),
        (
            "text that is not UTF-8",
            frame(first::TEXT, b"\xff\xfe"),
            1007,
        ),
        (
            "bytes that are not UTF-8",
            frame(first::BINARY, b"\xff\xfe"),
            1007,
        ),
    ];
    for (what, bytes, expected) in cases {
        let mut socket = connected(&server)?;
        socket.send(bytes)?;
        let (code, _) = socket.frame_of(first::CLOSE)?.close()?;
        assert_eq!(code, expected, "{what}");
        // Not answering the close makes no difference.
        socket.expect_end()?;
    }
    other.send_frame(first::TEXT, health("2"))?;
    assert_eq!(other.message("id", "2")?["ok"], true);
    Ok(())
}

#[test]
fn bytes_that_are_text_are_taken_as_text() -> TestResult {
    let server = TestServer::start()?;
    let mut socket = connected(&server)?;
    socket.send_frame(first::BINARY, health("bytes"))?;
    assert_eq!(socket.message("id", "bytes")?["ok"], true);
    Ok(())
}

#[test]
fn who_is_gone_in_the_middle_of_a_frame_leaves_nothing_behind() -> TestResult {
    let server = TestServer::start()?;
    let mut other = connected(&server)?;
    for _ in 0..20 {
        let mut in_a_head = RawSocket::dial(server.address())?;
        in_a_head.send("GET / HT")?;
        let mut in_a_header = connected(&server)?;
        in_a_header.send(frame_head(first::TEXT, 70_000).get(..5).unwrap_or_default())?;
        let mut in_a_payload = connected(&server)?;
        in_a_payload.send(frame_head(first::TEXT, 1_000))?;
        in_a_payload.send([7; 500])?;
        // What was sent to it and is unread makes the end of this one abrupt.
        let mut unread = connected(&server)?;
        unread.send_frame(first::TEXT, health("2"))?;
        unread.send(frame_head(first::TEXT, 1_000))?;
    }
    Deadline::after(PATIENCE).poll("the connections to go", || {
        Ok((server.connections() == 1).then_some(()))
    })?;
    other.send_frame(first::TEXT, health("2"))?;
    assert_eq!(other.message("id", "2")?["ok"], true);
    Ok(())
}

/// After a large message the server replaces the codec by a small one. Ticks tell that the time for
/// it has passed.
#[test]
fn a_connection_goes_on_after_its_buffers_were_given_back() -> TestResult {
    let server = TestServer::start_with(|limits| {
        limits.tick_interval = Duration::from_millis(1_300);
    })?;
    let mut socket = connected(&server)?;
    let large = request("large", "health", &json!({"padding": "x".repeat(1 << 20)}));
    let ticks = |socket: &mut RawSocket| -> TestResult {
        for _ in 0..2 {
            socket.message("event", "tick")?;
        }
        Ok(())
    };

    socket.send_frame(first::TEXT, &large)?;
    assert_eq!(socket.message("id", "large")?["ok"], true);
    ticks(&mut socket)?;
    socket.send_frame(first::TEXT, health("2"))?;
    assert_eq!(socket.message("id", "2")?["ok"], true);

    // The codec must stay while it holds half a message, or half a header.
    socket.send_frame(first::TEXT, &large)?;
    let text = health("3");
    let (begin, end) = text.split_at(20);
    socket.send_frame(first::TEXT_BEGINS, begin)?;
    ticks(&mut socket)?;
    let last = frame(first::TEXT_ENDS, end.as_bytes());
    let (header, rest) = last.split_at(1);
    socket.send(header)?;
    ticks(&mut socket)?;
    socket.send(rest)?;
    assert_eq!(socket.message("id", "3")?["ok"], true);
    Ok(())
}

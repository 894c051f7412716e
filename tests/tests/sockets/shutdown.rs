//! The orderly end of a server.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::raw_client::Closed;
use serde_json::json;

use crate::raw::{RawSocket, UPGRADE, first};
use crate::server::TestServer;

fn restart() -> Closed {
    Closed {
        code: 1012,
        reason: "service restart".to_owned(),
    }
}

#[test]
fn everybody_is_told_and_the_server_ends() -> TestResult {
    let mut server = TestServer::start()?;
    let mut clients = vec![server.client()?, server.client()?];
    let mut waiting = RawSocket::upgraded(server.address())?;

    server.stop("moving house");

    for client in &mut clients {
        let event = client.event("shutdown")?;
        assert_eq!(event["payload"]["reason"], "moving house");
        assert_eq!(client.closed()?, restart());
    }
    // Who is not in yet gets no event.
    let close = waiting.frame_of(first::CLOSE)?;
    assert_eq!(close.close()?.0, 1012);
    waiting.send_frame(first::CLOSE, &close.payload)?;
    waiting.expect_end()?;
    server.join();
    Ok(())
}

#[test]
fn the_port_is_free_once_the_server_has_ended() -> TestResult {
    let mut server = TestServer::start()?;
    let address = server.address();
    let mut client = server.client()?;
    server.stop("moving house");
    client.closed()?;
    server.join();

    assert!(
        TcpStream::connect(address).is_err(),
        "the port still listens"
    );
    clawgate_smol::listen(address.ip(), address.port())?;
    Ok(())
}

#[test]
fn who_ignores_the_close_does_not_hold_it_up() -> TestResult {
    let mut server = TestServer::start_with(|limits| {
        limits.close_grace = Duration::from_millis(100);
    })?;
    let _silent = RawSocket::upgraded(server.address())?;
    let mut in_a_head = RawSocket::dial(server.address())?;
    in_a_head.send("GET / HTTP/1.1\r\n")?;
    server.stop("moving house");
    server.join();
    Ok(())
}

#[test]
fn a_running_call_is_finished_and_new_ones_are_refused() -> TestResult {
    let mut server = TestServer::start_with(|limits| {
        limits.drain = PATIENCE;
        limits.effect = PATIENCE;
    })?;
    // Reading the configuration takes until this test writes it.
    let path = server.config_path();
    if !Command::new("mkfifo").arg(&path).status()?.success() {
        return Err(Failure::new("mkfifo failed"));
    }
    let mut client = server.client()?;
    let running = client.request("config.get", json!({}))?;
    // Calls of a connection are taken in order, so this answer says that the first one runs.
    client.call("health", json!({}))?.payload()?;

    server.stop("moving house");

    Deadline::after(PATIENCE).poll("the refusal of new work", || {
        let mut probe = RawSocket::dial(server.address())?;
        probe.send("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let answer = probe.answer()?;
        Ok((answer.status == 503).then_some(()))
    })?;
    let mut late = RawSocket::dial(server.address())?;
    late.send(UPGRADE)?;
    let refused = late.answer()?;
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (503, "gateway is stopping")
    );
    let refusal = client.call("health", json!({}))?.refusal()?;
    assert_eq!(refusal["code"], "UNAVAILABLE");

    let write = thread::spawn(move || fs::write(path, "{}"));
    assert_eq!(client.answer(&running)?.payload()?["exists"], true);
    client.event("shutdown")?;
    assert_eq!(client.closed()?, restart());
    server.join();
    write
        .join()
        .map_err(|_| Failure::new("the writer panicked"))??;
    Ok(())
}

#[test]
fn a_call_that_never_ends_does_not_hold_it_up() -> TestResult {
    let mut server = TestServer::start_with(|limits| {
        limits.drain = Duration::from_millis(100);
        limits.effect = PATIENCE;
    })?;
    let path = server.config_path();
    if !Command::new("mkfifo").arg(&path).status()?.success() {
        return Err(Failure::new("mkfifo failed"));
    }
    let mut client = server.client()?;
    let running = client.request("config.get", json!({}))?;
    client.call("health", json!({}))?.payload()?;

    server.stop("moving house");

    let refusal = client.answer(&running)?.refusal()?;
    assert_eq!(refusal["code"], "UNAVAILABLE");
    assert_eq!(refusal["retryable"], true);
    client.event("shutdown")?;
    assert_eq!(client.closed()?, restart());
    server.join();
    // Lets the thread that reads it go.
    fs::write(path, "{}")?;
    Ok(())
}

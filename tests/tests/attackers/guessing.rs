//! Somebody guesses, from as many addresses as there are on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use clawgate_core::policy::LoopbackRule;
use clawgate_tests::deadline::PATIENCE;
use clawgate_tests::failure::{Attempt, TestResult};
use clawgate_tests::raw_client::operator_params;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::raw::{RawSocket, UPGRADE, first};
use crate::server::{TOKEN, TestServer};

const ATTEMPTS: u32 = 3;

/// A gateway that spares nobody.
fn strict() -> TestResult<TestServer> {
    TestServer::start_strict(
        |_| {},
        |policy| {
            policy.rate_limit.max_attempts = ATTEMPTS;
            policy.rate_limit.loopback = LoopbackRule::Limited;
        },
    )
}

/// Dials from one of the addresses of this machine.
fn dial_from(from: Ipv4Addr, to: SocketAddr) -> TestResult<RawSocket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into())?;
    socket
        .connect_timeout(&to.into(), PATIENCE)
        .attempt(|| format!("dialling from {from}"))?;
    RawSocket::of(TcpStream::from(socket))
}

fn try_token(server: &TestServer, from: Ipv4Addr, field: &str, token: &str) -> TestResult<Value> {
    let mut socket = dial_from(from, server.address())?;
    socket.send(if field.is_empty() {
        UPGRADE.to_owned()
    } else {
        UPGRADE.replacen("\r\n", &format!("\r\n{field}\r\n"), 1)
    })?;
    socket.expect_upgrade()?;
    let params = operator_params(token, &["operator.read"]);
    let connect = json!({ "type": "req", "id": "1", "method": "connect", "params": params });
    socket.send_frame(first::TEXT, connect.to_string())?;
    socket.message("id", "1")
}

fn code(answer: &Value) -> &str {
    answer["error"]["details"]["code"].as_str().unwrap_or("in")
}

#[test]
fn each_of_many_addresses_is_locked_and_the_good_client_is_not() -> TestResult {
    let server = strict()?;
    let mut good = server.client()?;
    for host in 2..=40_u8 {
        let from = Ipv4Addr::new(127, 0, host, host);
        for attempt in 0..ATTEMPTS {
            let guess = try_token(&server, from, "", &format!("guess-{host}-{attempt}"))?;
            assert_eq!(code(&guess), "AUTH_TOKEN_MISMATCH", "{from}");
        }
        // Even the right one is not looked at any more.
        let locked = try_token(&server, from, "", TOKEN)?;
        assert_eq!(code(&locked), "AUTH_RATE_LIMITED", "{from}");
        assert!(
            locked["error"]["retryAfterMs"].as_u64() > Some(60_000),
            "{locked}"
        );
        assert!(!locked.to_string().contains(TOKEN));
        good.call("health", json!({}))?.payload()?;
    }
    // Nobody else is locked out by it.
    server.client()?.call("health", json!({}))?.payload()?;
    Ok(())
}

#[test]
fn missing_secrets_lock_nobody_out() -> TestResult {
    let server = strict()?;
    let from = Ipv4Addr::new(127, 0, 0, 9);
    for _ in 0..4 * ATTEMPTS {
        assert_eq!(
            code(&try_token(&server, from, "", "")?),
            "DEVICE_IDENTITY_REQUIRED"
        );
    }
    assert_eq!(code(&try_token(&server, from, "", TOKEN)?), "in");
    Ok(())
}

//! Bodies that come late, not at all, in a strange form, or from somebody who has gone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clawgate_core::channel::webhook::{Webhook, WebhookSetup};
use clawgate_core::channel::{AccessPolicy, Account, AccountRef, Channel, Channels, DmPolicy};
use clawgate_core::device::DeviceIdentity;
use clawgate_core::gateway::{AdmissionPolicy, GatewaySetup, HostInfo};
use clawgate_core::limits::Limits;
use clawgate_core::policy::AuthRule;
use clawgate_core::secret::Secret;
use clawgate_smol::{HostFiles, Server, ServerOptions, State, Tailscale};
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Attempt, Failure, TestResult};
use serde_json::json;

use crate::bridge::{Bridge, PATH, SECRET, ask, message, now, read_answer};

/// A gateway within this process, with limits that suit the test.
struct Small {
    server: Option<Server>,
    address: SocketAddr,
}

impl Small {
    fn start(change: impl FnOnce(&mut Limits)) -> TestResult<Self> {
        let mut limits = Limits::default();
        change(&mut limits);
        let webhook: Box<dyn Channel> = Box::new(
            Webhook::new(WebhookSetup {
                account: AccountRef::new("webhook", "default"),
                secret: Secret::new(SECRET),
                url: None,
                typing: false,
            })
            .map_err(Failure::new)?,
        );
        let account = Account {
            label: "Webhook".into(),
            enabled: true,
            access: AccessPolicy {
                dm: DmPolicy::Open,
                ..AccessPolicy::default()
            },
            lock: None,
            digest: [0; 32],
            machine: Ok(webhook),
        };
        let setup = GatewaySetup {
            limits: Arc::new(limits),
            admission: AdmissionPolicy::new(AuthRule::None),
            host: HostInfo::new("0.0.0", "host"),
            identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
        };
        let options = ServerOptions {
            seed: [2; 32],
            secrets: None,
            approvals: None,
            locks: None,
            channels: Channels::default().with(AccountRef::new("webhook", "default"), account),
            agent: None,
            state: State::Memory,
            owner: None,
            managed: None,
            tailscale: Tailscale::of_system(),
            threads: 2,
            files: HostFiles {
                config: PathBuf::new(),
                log: PathBuf::new(),
            },
            tls: None,
        };
        let listener = clawgate_smol::listen(Ipv4Addr::LOCALHOST.into(), 0)?;
        let address = listener.local_addr()?;
        Ok(Self {
            server: Some(Server::start(vec![listener], setup, options)?),
            address,
        })
    }

    /// Sends the head of a request, and leaves the socket open.
    fn head(&self, fields: &str) -> TestResult<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "POST {PATH} HTTP/1.1\r\nHost: g\r\n{fields}\r\n")?;
        Ok(stream)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stopper().stop("end of the test");
            server.join();
        }
    }
}

/// The header fields of a message that is signed now, and its body.
fn signed() -> (String, String) {
    let body = message("m1", "/echo hello").to_string();
    let seconds = now();
    let secret = Secret::new(SECRET);
    let signature = clawgate_core::channel::webhook::sign(&secret, seconds, PATH, body.as_bytes());
    let fields = format!(
        "Content-Length: {}\r\nx-clawgate-timestamp: {seconds}\r\nx-clawgate-signature: {signature}\r\n",
        body.len()
    );
    (fields, body)
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() -> TestResult {
    let gateway = Small::start(|limits| limits.request_head = Duration::from_millis(200))?;
    let mut stream = gateway.head("Content-Length: 10\r\n")?;
    stream.write_all(b"half")?;
    let answer = read_answer(&mut stream)?;
    assert_eq!(answer.status, 408, "{answer:?}");
    Ok(())
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() -> TestResult {
    let gateway = Small::start(|_| {})?;
    let (fields, body) = signed();
    let mut stream = gateway.head(&format!("Expect: 100-continue\r\n{fields}"))?;
    let mut told = [0; 25];
    stream.read_exact(&mut told)?;
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes())?;
    assert_eq!(read_answer(&mut stream)?.status, 202);
    Ok(())
}

#[test]
fn a_body_may_come_in_pieces_and_be_followed_by_anything() -> TestResult {
    let gateway = Small::start(|_| {})?;
    let (fields, body) = signed();
    let mut stream = gateway.head(&fields)?;
    for piece in body.as_bytes().chunks(7) {
        stream.write_all(piece)?;
        stream.flush()?;
    }
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let answer = read_answer(&mut stream)?;
    assert_eq!(
        (answer.status, answer.json()?),
        (202, json!({ "ok": true, "id": "m1" }))
    );
    assert!(answer.head.contains("Connection: close"), "{}", answer.head);
    Ok(())
}

#[test]
fn whoever_goes_away_makes_room() -> TestResult {
    let gateway = Small::start(|limits| limits.max_posts = 2)?;
    let _first = gateway.head("Content-Length: 10\r\n")?;
    let second = gateway.head("Content-Length: 10\r\n")?;
    let (fields, body) = signed();
    let request = format!("POST {PATH} HTTP/1.1\r\nHost: g\r\n{fields}\r\n{body}");
    // The two may not have been seen yet.
    let full = Deadline::after(PATIENCE).poll("no room", || {
        let answer = ask(gateway.address, &request)?;
        Ok((answer.status == 503).then_some(answer))
    })?;
    assert!(full.head.contains("Retry-After: 5"), "{}", full.head);
    drop(second);
    Deadline::after(PATIENCE).poll("room again", || {
        let answer = ask(gateway.address, &request)?;
        Ok((answer.status == 202).then_some(()))
    })
}

#[test]
fn what_has_no_length_or_too_much_is_refused_before_it_is_read() -> TestResult {
    let bridge = Bridge::open()?;
    let gateway = bridge.gateway(&json!({}))?;
    for (line, fields, status) in [
        (format!("POST {PATH}"), "", 411),
        (
            format!("POST {PATH}"),
            "Transfer-Encoding: chunked\r\n",
            411,
        ),
        (format!("POST {PATH}"), "Content-Length: 1048577\r\n", 413),
        (format!("GET {PATH}"), "", 405),
        (
            "POST /channels/webhook/other".to_owned(),
            "Content-Length: 2\r\n",
            404,
        ),
        (
            format!("POST {PATH}"),
            "Content-Length: 2\r\nX-Forwarded-For: 1.2.3.4\r\n",
            403,
        ),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: g\r\n{fields}\r\n");
        let answer = ask(gateway.address(), &request).attempt(|| request.clone())?;
        assert_eq!(answer.status, status, "{request}");
    }
    Ok(())
}

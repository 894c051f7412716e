//! Headers for a proxy in front of the gateway: on the upgrade, under TLS, and nowhere else.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

mod common;

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, mpsc},
};

use clawgate_core::{
    client::{Route, Target},
    policy::{EdgeHeaders, Endpoint, TlsFingerprint, TlsTrust, UrlPolicy},
    secret::Secret,
};
use clawgate_std::{Connection, Problem, Stage};
use common::{FakeGateway, LONG, profile, token, within};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned, crypto::ring::default_provider,
    pki_types::PrivateKeyDer,
};

const EDGE: &str = "edge-secret";

fn identity() -> (TlsFingerprint, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["gateway.example".into()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let fingerprint = TlsFingerprint::of_certificate(made.cert.der());
    (fingerprint, Arc::new(config))
}

fn target(gateway: &FakeGateway, pin: TlsFingerprint) -> Target {
    let url = format!("wss://{}", gateway.addr);
    let endpoint = Endpoint::parse(&url, UrlPolicy::Strict).unwrap();
    let headers = EdgeHeaders::new(vec![
        ("CF-Access-Client-Secret".into(), Secret::new(EDGE)),
        ("Authorization".into(), Secret::new("Basic eDp5")),
    ]);
    let route = Route::new(endpoint, TlsTrust::Pinned(pin.into()))
        .unwrap()
        .with_headers(headers.unwrap())
        .unwrap();
    Target::new(route, token(), None)
}

fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Answers the upgrade with this text and gives the head that came.
fn answering(config: Arc<ServerConfig>, answer: String) -> (FakeGateway, mpsc::Receiver<String>) {
    let (send, heads) = mpsc::channel();
    let gateway = FakeGateway::start(1, move |_, stream: TcpStream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let head = head(&mut stream);
        // After a failed handshake there is nobody to answer.
        let _ = stream.write_all(answer.as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
        send.send(head).unwrap();
    });
    (gateway, heads)
}

#[test]
fn the_proxy_gets_its_headers_with_the_upgrade() {
    let (pin, config) = identity();
    let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned();
    let (gateway, heads) = answering(config, answer);
    let target = target(&gateway, pin);
    assert!(!format!("{target:?}").contains(EDGE));
    let error = Connection::open(&target, profile(), within(LONG)).unwrap_err();
    assert!(
        matches!(error.problem, Problem::Upgrade { status: 403, .. }),
        "{error}"
    );
    assert!(!format!("{error:?}").contains(EDGE));
    let head = heads.recv().unwrap().to_ascii_lowercase();
    assert!(
        head.contains(&format!("\r\ncf-access-client-secret: {EDGE}\r\n")),
        "{head}"
    );
    assert!(head.contains("\r\nauthorization: basic edp5\r\n"), "{head}");
    gateway.join();
}

#[test]
fn nobody_gets_them_before_the_certificate_is_checked() {
    let (_, config) = identity();
    let (gateway, heads) = answering(config, String::new());
    let target = target(&gateway, TlsFingerprint::from([7; 32]));
    let error = Connection::open(&target, profile(), within(LONG)).unwrap_err();
    assert_eq!(error.stage, Stage::Tls);
    assert_eq!(heads.recv().unwrap(), "");
    gateway.join();
}

#[test]
fn a_redirect_is_named_and_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let addr = elsewhere.local_addr().unwrap();
        let (pin, config) = identity();
        let answer = format!(
            "HTTP/1.1 {status} Moved\r\nLocation: wss://{addr}/in?secret=1\r\nContent-Length: 0\r\n\r\n"
        );
        let (gateway, heads) = answering(config, answer);
        let error = Connection::open(&target(&gateway, pin), profile(), within(LONG)).unwrap_err();
        assert_eq!(
            error.problem,
            Problem::Redirected {
                status,
                host: Some(addr.to_string())
            }
        );
        let shown = error.to_string();
        assert!(
            shown.contains(&addr.to_string()) && !shown.contains("secret"),
            "{shown}"
        );
        assert!(heads.recv().unwrap().contains(EDGE));
        // The other host was not even dialled.
        assert_eq!(
            elsewhere.accept().unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        gateway.join();
    }
}

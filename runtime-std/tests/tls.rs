//! TLS with real certificates on loopback: the pin alone decides, before anything is sent.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

mod common;

use std::{io::Write, net::TcpStream, sync::Arc};

use clawgate_core::{
    client::{Route, Target},
    policy::{Endpoint, TlsFingerprint, TlsPins, TlsTrust, UrlPolicy},
};
use clawgate_std::{Connection, Problem, Stage, look_at_certificate};
use common::{DEADLINES, FakeGateway, LONG, Peer, call, drain, profile, token, within};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
    version::{TLS12, TLS13},
};

struct Identity {
    fingerprint: TlsFingerprint,
    config: Arc<ServerConfig>,
}

fn identity(versions: &[&'static rustls::SupportedProtocolVersion]) -> Identity {
    let made = rcgen::generate_simple_self_signed(vec!["gateway.example".into()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    Identity {
        fingerprint: TlsFingerprint::of_certificate(&certificate),
        config: Arc::new(config),
    }
}

fn tls(config: &Arc<ServerConfig>, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

fn target(gateway: &FakeGateway, pin: Option<TlsFingerprint>) -> Target {
    let trust = pin.map_or(TlsTrust::Authorities, |pin| TlsTrust::Pinned(pin.into()));
    trusting(gateway, trust)
}

fn trusting(gateway: &FakeGateway, trust: TlsTrust) -> Target {
    let url = format!("wss://{}", gateway.addr);
    let endpoint = Endpoint::parse(&url, UrlPolicy::Strict).unwrap();
    Target::new(Route::new(endpoint, trust).unwrap(), token(), None)
}

#[test]
fn the_pinned_certificate_is_enough() {
    for version in [&TLS12, &TLS13] {
        let Identity {
            fingerprint,
            config,
        } = identity(&[version]);
        let gateway = FakeGateway::start(1, move |_, stream| {
            let mut peer = Peer::accept(tls(&config, stream));
            peer.welcome();
            peer.echo();
        });
        let target = target(&gateway, Some(fingerprint));
        let mut connection = Connection::open(&target, profile(), within(LONG)).unwrap();
        assert!(connection.timings().of(Stage::Tls).is_some());
        let params = clawgate_core::frame::RawJson::encode(&"y".repeat(1 << 20)).unwrap();
        let big = clawgate_core::client::Call::new("big", params);
        assert!(connection.call(big).is_ok());
        assert!(connection.call(call("health")).is_ok());
        connection.close();
        gateway.join();
    }
}

#[test]
fn one_pin_of_a_list_is_enough_while_certificates_change_over() {
    let (old, new) = (identity(&[&TLS13]), identity(&[&TLS13]));
    let texts = [old.fingerprint.to_string(), new.fingerprint.to_string()];
    let pins = TlsPins::parse(&texts).unwrap();
    let gateway = FakeGateway::start(2, move |number, stream| {
        let identity = if number == 0 { &old } else { &new };
        let mut peer = Peer::accept(tls(&identity.config, stream));
        peer.welcome();
        peer.echo();
    });
    let target = trusting(&gateway, TlsTrust::Pinned(pins));
    for text in texts {
        let connection = Connection::open(&target, profile(), within(LONG)).unwrap();
        assert_eq!(connection.certificate().unwrap().to_string(), text);
        connection.close();
    }
    gateway.join();
}

#[test]
fn a_first_use_begins_with_the_authorities() {
    let Identity { config, .. } = identity(&[&TLS13]);
    let gateway = FakeGateway::start(1, move |_, stream| {
        let mut stream = tls(&config, stream);
        let mut seen = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut seen);
        assert!(seen.is_empty(), "nothing may be sent");
    });
    let target = trusting(&gateway, TlsTrust::FirstUse);
    let error = look_at_certificate(target.route(), &within(LONG)).unwrap_err();
    assert!(
        matches!(
            error.problem,
            Problem::Certificate(_) | Problem::NoAuthorities
        ),
        "{error}"
    );
    gateway.join();
}

#[test]
fn a_look_at_a_certificate_sends_nothing() {
    let Identity {
        fingerprint,
        config,
    } = identity(&[&TLS13]);
    let gateway = FakeGateway::start(1, move |_, stream| {
        let mut stream = tls(&config, stream);
        let mut seen = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut seen);
        assert!(seen.is_empty(), "nothing may be sent");
    });
    let target = target(&gateway, Some(fingerprint));
    let seen = look_at_certificate(target.route(), &within(LONG)).unwrap();
    assert_eq!(seen, Some(fingerprint));
    gateway.join();
}

#[test]
fn another_certificate_is_refused_before_anything_is_sent() {
    for version in [&TLS12, &TLS13] {
        let Identity {
            fingerprint,
            config,
        } = identity(&[version]);
        let gateway = FakeGateway::start(1, move |_, stream| {
            let mut stream = tls(&config, stream);
            let mut seen = Vec::new();
            let result = std::io::Read::read_to_end(&mut stream, &mut seen);
            assert!(result.is_err(), "the handshake must fail");
            assert!(seen.is_empty(), "nothing may be sent");
        });
        let pin = TlsFingerprint::from([7; 32]);
        let error =
            Connection::open(&target(&gateway, Some(pin)), profile(), within(LONG)).unwrap_err();
        assert_eq!(error.stage, Stage::Tls);
        assert_eq!(
            error.problem,
            Problem::PinMismatch {
                pinned: pin.into(),
                seen: fingerprint
            }
        );
        for shown in [pin, fingerprint] {
            assert!(error.to_string().contains(&shown.to_string()), "{error}");
        }
        assert!(!error.is_transient());
        gateway.join();
    }
}

#[test]
fn without_a_pin_the_authorities_decide() {
    let Identity { config, .. } = identity(&[&TLS13]);
    let gateway = FakeGateway::start(1, move |_, stream| {
        let mut stream = tls(&config, stream);
        let mut seen = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut seen);
        assert!(seen.is_empty(), "nothing may be sent");
    });
    let error = Connection::open(&target(&gateway, None), profile(), within(LONG)).unwrap_err();
    assert_eq!(error.stage, Stage::Tls);
    // A machine without authorities refuses before it sends anything.
    assert!(
        matches!(
            error.problem,
            Problem::Certificate(_) | Problem::NoAuthorities
        ),
        "{error}"
    );
    assert!(error.next_step().unwrap().contains("tlsFingerprint"));
    gateway.join();
}

#[test]
fn a_port_without_tls_is_told() {
    let gateway = FakeGateway::start(1, |_, mut stream| {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        drain(stream);
    });
    let pin = TlsFingerprint::from([7; 32]);
    let error =
        Connection::open(&target(&gateway, Some(pin)), profile(), within(LONG)).unwrap_err();
    assert_eq!(
        (error.stage, &error.problem),
        (Stage::Tls, &Problem::NotTls)
    );
    gateway.join();
}

#[test]
fn a_silent_tls_port_meets_the_deadline() {
    let pin = TlsFingerprint::from([7; 32]);
    let reached = DEADLINES.into_iter().any(|deadline| {
        let gateway = FakeGateway::start(1, |_, stream| {
            drain(stream);
        });
        let target = target(&gateway, Some(pin));
        let error = Connection::open(&target, profile(), within(deadline)).unwrap_err();
        assert_eq!(error.problem, Problem::Deadline);
        error.stage == Stage::Tls
    });
    assert!(reached, "TLS was never reached");
}

//! TLS on the gateway's port, with real certificates and sockets.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use clawgate_core::client::{Call, Profile, Route, Target};
use clawgate_core::frame::RawJson;
use clawgate_core::policy::{Endpoint, TlsFingerprint, TlsTrust, UrlPolicy};
use clawgate_core::protocol::{AuthParams, ClientId, ClientInfo, ClientMode};
use clawgate_core::secret::Secret;
use clawgate_std::{CallError, ConnectError, Connection, Options, Problem};
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Failure, TestResult};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use crate::server::{TOKEN, TestServer};
use crate::tls_files::{Pair, PairFiles};

fn target(address: SocketAddr, trust: TlsTrust) -> TestResult<Target> {
    let endpoint = Endpoint::parse(&format!("wss://{address}"), UrlPolicy::Strict)?;
    let auth = AuthParams {
        token: Some(Secret::new(TOKEN)),
        ..AuthParams::default()
    };
    Ok(Target::new(Route::new(endpoint, trust)?, auth, None))
}

fn attempt(
    address: SocketAddr,
    pin: TlsFingerprint,
) -> TestResult<Result<Connection, Box<ConnectError>>> {
    let target = target(address, TlsTrust::Pinned(pin.into()))?;
    let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1", "linux");
    let options = Options {
        total: Some(PATIENCE),
        ..Options::default()
    };
    Ok(Connection::open(
        &target,
        Profile::operator(info, vec![]),
        options,
    ))
}

fn connect(address: SocketAddr, pin: TlsFingerprint) -> TestResult<Connection> {
    Ok(attempt(address, pin)??)
}

fn refused(address: SocketAddr, pin: TlsFingerprint) -> TestResult<Problem> {
    match attempt(address, pin)? {
        Ok(_) => Err(Failure::new("connected")),
        Err(error) => Ok(error.problem),
    }
}

fn is_well(connection: &mut Connection) -> Result<(), CallError> {
    let health = Call::new("health", RawJson::empty_object());
    connection.call(health).map(|_| ())
}

fn dial(address: SocketAddr) -> TestResult<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Makes a handshake by hand, with one version, trusting one certificate.
fn handshake(
    address: SocketAddr,
    pair: &Pair,
    version: &'static SupportedProtocolVersion,
) -> TestResult<Result<StreamOwned<ClientConnection, TcpStream>, rustls::Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pair.certificate.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    let mut session = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = dial(address)?;
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut stream) {
            let tls = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return match tls {
                Some(tls) => Ok(Err(tls.clone())),
                None => Err(error.into()),
            };
        }
    }
    Ok(Ok(StreamOwned::new(session, stream)))
}

#[test]
fn the_given_certificate_is_served_and_the_protocol_runs_over_it() -> TestResult {
    let pair = Pair::make()?;
    let files = PairFiles::with(&pair)?;
    let server = TestServer::start_tls(files.port()?, |_| {})?;
    let mut connection = connect(server.address(), pair.fingerprint)?;
    assert_eq!(connection.certificate(), Some(&pair.fingerprint));
    is_well(&mut connection)?;
    // Larger than any buffer on the way.
    let params = RawJson::encode(&serde_json::json!({ "x": "y".repeat(3 << 20) }))
        .map_err(|error| Failure::new(error.to_string()))?;
    let refusal = connection.call(Call::new("no.such.method", params));
    assert!(refusal.is_err_and(|error| error.rpc().is_some()));
    is_well(&mut connection)?;
    connection.close();
    Ok(())
}

#[test]
fn the_port_speaks_tls_1_3_and_nothing_older() -> TestResult {
    let pair = Pair::make()?;
    let files = PairFiles::with(&pair)?;
    let server = TestServer::start_tls(files.port()?, |_| {})?;
    assert!(handshake(server.address(), &pair, &TLS13)?.is_ok());
    let refused = handshake(server.address(), &pair, &TLS12)?;
    assert_eq!(
        refused.err(),
        Some(rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
        ))
    );
    Ok(())
}

#[test]
fn plaintext_on_a_tls_port_is_told_to_use_tls() -> TestResult {
    let files = PairFiles::with(&Pair::make()?)?;
    let server = TestServer::start_tls(files.port()?, |_| {})?;
    let mut stream = dial(server.address())?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("wss://"), "{answer}");
    // What is neither TLS nor HTTP gets no answer.
    let mut stream = dial(server.address())?;
    stream.write_all(b"\x00")?;
    let mut answer = Vec::new();
    // Unread bytes turn the end into a reset.
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    assert_eq!(server.connections(), 0);
    Ok(())
}

#[test]
fn tls_on_a_plaintext_port_is_ended() -> TestResult {
    let server = TestServer::start()?;
    let problem = refused(server.address(), TlsFingerprint::from([7; 32]))?;
    assert_eq!(problem, Problem::NotTls);
    Ok(())
}

#[test]
fn garbage_after_the_first_byte_ends_the_connection() -> TestResult {
    let pair = Pair::make()?;
    let files = PairFiles::with(&pair)?;
    let server = TestServer::start_tls(files.port()?, |_| {})?;
    for garbage in [&b"\x16\x03\x01\x00\x05hello"[..], &[0x16; 64]] {
        let mut stream = dial(server.address())?;
        stream.write_all(garbage)?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // At most an alert.
        assert!(answer.len() < 32, "{answer:?}");
    }
    is_well(&mut connect(server.address(), pair.fingerprint)?)?;
    Ok(())
}

#[test]
fn a_replaced_certificate_is_taken_up_and_open_connections_stay() -> TestResult {
    let (old, new) = (Pair::make()?, Pair::make()?);
    let files = PairFiles::with(&old)?;
    let port = files.port()?;
    let server = TestServer::start_tls(port.clone(), |_| {})?;
    let mut open = connect(server.address(), old.fingerprint)?;

    files.write(&new.certificate, &new.key)?;
    Deadline::after(PATIENCE).poll("the new certificate", || {
        Ok((port.fingerprint() == new.fingerprint).then_some(()))
    })?;
    is_well(&mut open)?;
    is_well(&mut connect(server.address(), new.fingerprint)?)?;
    // Whoever has pinned the old one stops before anything is sent.
    assert_eq!(
        refused(server.address(), old.fingerprint)?,
        Problem::PinMismatch {
            pinned: old.fingerprint.into(),
            seen: new.fingerprint,
        }
    );
    Ok(())
}

#[test]
fn a_broken_replacement_leaves_the_old_pair_in_use() -> TestResult {
    let (old, half, new) = (Pair::make()?, Pair::make()?, Pair::make()?);
    let files = PairFiles::with(&old)?;
    let port = files.port()?;
    let server = TestServer::start_tls(port.clone(), |_| {})?;
    let certificate = &files.files.certificate;
    files.replace(certificate, &half.certificate)?;
    // The server looks at the files by itself too, so either of the two may be the first.
    port.refresh();
    is_well(&mut connect(server.address(), old.fingerprint)?)?;
    files.replace(certificate, "garbage")?;
    port.refresh();
    is_well(&mut connect(server.address(), old.fingerprint)?)?;
    fs::remove_file(&files.files.key)?;
    port.refresh();
    is_well(&mut connect(server.address(), old.fingerprint)?)?;
    files.write(&new.certificate, &new.key)?;
    port.refresh();
    is_well(&mut connect(server.address(), new.fingerprint)?)?;
    Ok(())
}

#[test]
fn hundreds_of_half_open_handshakes_do_not_keep_a_good_client_out() -> TestResult {
    const CROWD: usize = 600;
    let wanted = 2 * CROWD as u64 + 500;
    if rlimit::increase_nofile_limit(wanted)? < wanted {
        return Err(Failure::new(format!("this test needs {wanted} open files")));
    }
    let pair = Pair::make()?;
    let files = PairFiles::with(&pair)?;
    let server = TestServer::start_tls(files.port()?, |_| {})?;
    let mut good = connect(server.address(), pair.fingerprint)?;
    let mut crowd = Vec::with_capacity(CROWD);
    for number in 0..CROWD {
        let mut stream = dial(server.address())?;
        // Nothing, a first byte, the head of a record, a record without its end.
        let start = [
            &b""[..],
            b"\x16",
            b"\x16\x03\x01\x02\x00",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ];
        stream.write_all(start[number % start.len()])?;
        crowd.push(stream);
        if number % 100 == 0 {
            is_well(&mut good)?;
        }
    }
    for _ in 0..10 {
        is_well(&mut connect(server.address(), pair.fingerprint)?)?;
    }
    is_well(&mut good)?;
    Ok(())
}

#[test]
fn a_handshake_that_does_not_go_on_is_ended_at_the_deadline() -> TestResult {
    let pair = Pair::make()?;
    let files = PairFiles::with(&pair)?;
    let server = TestServer::start_tls(files.port()?, |limits| {
        limits.request_head = Duration::from_millis(200);
    })?;
    for start in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = dial(server.address())?;
        stream.write_all(start)?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => assert_eq!(answer, b""),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
    // After the handshake, the request head is under the same deadline.
    let mut silent = handshake(server.address(), &pair, &TLS13)??;
    let end = silent.read_to_end(&mut Vec::new());
    // It comes without a farewell, which the library takes for an error; a timeout is none.
    let kind = end.err().map(|error| error.kind());
    assert!(
        matches!(
            kind,
            Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
        ),
        "{kind:?}"
    );
    assert_eq!(server.connections(), 0);
    Ok(())
}

//! TLS through the commands: the gateway's own certificate, pins, the first use, and headers for a
//! proxy.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use clawgate_core::policy::TlsFingerprint;
use common::{SECRET, Sandbox};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;

/// How long something may take that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who vouches for certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Pair {
    certificate: String,
    key: String,
    sha256: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pair(&self) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            sha256: TlsFingerprint::of_certificate(certificate.der()).to_string(),
        }
    }
}

/// A gateway with TLS, and what it said at its start.
struct Gateway {
    child: Child,
    port: String,
    sha256: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(sandbox: &Sandbox) -> Self {
        let mut child = sandbox
            .command(&["gateway", "run", "--port", "0"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("\n  tls ") {
            assert_ne!(out.read_line(&mut lines).unwrap(), 0, "{lines}");
        }
        let words: Vec<&str> = lines.split_whitespace().collect();
        let find = |start: &str| {
            words
                .iter()
                .find_map(|word| word.strip_prefix(start))
                .unwrap()
        };
        let port = find("wss://127.0.0.1:").to_owned();
        let sha256 = find("sha256:").to_owned();
        assert!(!lines.contains(" ws://"), "{lines}");
        Self {
            child,
            port,
            sha256,
        }
    }

    fn url(&self) -> String {
        format!("wss://127.0.0.1:{}", self.port)
    }
}

const LOCAL: &str = "{ gateway: { mode: 'local', bind: 'loopback', tls: { enabled: true } } }";

/// A gateway with a given certificate and a known token.
fn with_pair(pair: &Pair) -> Sandbox {
    let sandbox = Sandbox::new();
    let certificate = sandbox.write("cert.pem", &pair.certificate);
    let key = sandbox.write("key.pem", &pair.key);
    sandbox.write(
        ".openclaw/openclaw.json",
        &json!({ "gateway": {
            "mode": "local", "bind": "loopback", "auth": { "token": SECRET },
            "tls": { "enabled": true, "certPath": certificate, "keyPath": key },
        }})
        .to_string(),
    );
    sandbox
}

#[test]
fn the_first_start_makes_a_certificate_that_local_commands_pin() {
    let sandbox = Sandbox::with_config(LOCAL);
    let gateway = Gateway::start(&sandbox);
    let files = sandbox.path(".openclaw/gateway/tls");
    #[cfg(unix)]
    for file in fs::read_dir(&files).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
    let port = ["--port", gateway.port.as_str()];
    let health = sandbox.run(&[&["health"], &port[..]].concat());
    assert_eq!(health.code, 0, "{health:?}");
    let status = sandbox.run(&[&["gateway", "status", "--json"], &port[..]].concat());
    assert_eq!(status.json()["tls"]["sha256"], gateway.sha256.as_str());
    let text = sandbox.run(&[&["gateway", "status"], &port[..]].concat());
    assert!(text.stdout.contains(&format!("sha256:{}", gateway.sha256)));
    // The gateway that is told of by the lock is the one with TLS.
    let lock = fs::read_to_string(sandbox.path(".openclaw/clawgate/gateway.lock")).unwrap();
    assert!(
        lock.contains("wss://") && !lock.contains("\"ws://"),
        "{lock}"
    );

    let first = gateway.sha256.clone();
    drop(gateway);
    assert_eq!(Gateway::start(&sandbox).sha256, first);
}

#[test]
fn another_program_on_the_port_does_not_get_the_local_token() {
    let sandbox = Sandbox::with_config(LOCAL);
    let gateway = Gateway::start(&sandbox);
    let files = sandbox.path(".openclaw/gateway/tls");
    let foreign = Sandbox::with_config(LOCAL);
    drop(Gateway::start(&foreign));
    fs::copy(
        foreign.path(".openclaw/gateway/tls/gateway-cert.pem"),
        files.join("gateway-cert.pem"),
    )
    .unwrap();
    // The gateway keeps the old pair, since the new one has no key; the client goes by the file.
    let outcome = sandbox.run(&["health", "--json", "--port", &gateway.port]);
    assert_eq!(outcome.code, 7, "{outcome:?}");
    assert_eq!(outcome.error()["code"], "certificate_pin_mismatch");
    assert_eq!(outcome.error()["got"], gateway.sha256.as_str());
}

#[test]
fn half_a_pair_or_a_broken_one_stops_the_start_and_is_named() {
    let pair = Authority::new().pair();
    let other = Authority::new().pair();
    let files = ["gateway-cert.pem", "gateway-key.pem"];
    let cases = [
        (
            [Some(pair.certificate.as_str()), None],
            "tls_file_missing",
            files[1],
        ),
        (
            [None, Some(pair.key.as_str())],
            "tls_file_missing",
            files[0],
        ),
        (
            [Some(&pair.certificate), Some("x")],
            "tls_unusable",
            files[1],
        ),
        ([Some("x"), Some(&pair.key)], "tls_unusable", files[0]),
        (
            [Some(&pair.certificate), Some(&other.key)],
            "tls_unusable",
            files[1],
        ),
    ];
    for (texts, code, named) in cases {
        let sandbox = Sandbox::with_config(LOCAL);
        for (name, text) in files.iter().zip(texts) {
            if let Some(text) = text {
                sandbox.write(&format!(".openclaw/gateway/tls/{name}"), text);
            }
        }
        let outcome = sandbox.run(&["gateway", "run", "--port", "0", "--json"]);
        assert_eq!(outcome.code, 78, "{outcome:?}");
        let error = outcome.error();
        assert_eq!(error["code"], code, "{outcome:?}");
        assert!(
            error["message"].as_str().unwrap().contains(named),
            "{outcome:?}"
        );
        assert!(!error["next"].as_str().unwrap().is_empty(), "{outcome:?}");
    }
    let sandbox = Sandbox::with_config(
        "{ gateway: { mode: 'local', bind: 'loopback', tls: { enabled: true, autoGenerate: false } } }",
    );
    let outcome = sandbox.run(&["gateway", "run", "--port", "0", "--json"]);
    assert_eq!(outcome.error()["code"], "tls_file_missing");
    assert!(!sandbox.path(".openclaw/gateway/tls").exists());
}

#[test]
fn a_pin_in_any_spelling_is_enough_and_another_one_ends_it() {
    let pair = Authority::new().pair();
    let server = with_pair(&pair);
    let gateway = Gateway::start(&server);
    let pairs: Vec<String> = pair
        .sha256
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
        .collect();
    let remote = |pin: serde_json::Value| {
        let config = json!({ "gateway": { "mode": "remote", "remote": {
            "url": gateway.url(), "token": SECRET, "tlsFingerprint": pin,
        }}});
        Sandbox::with_config(&config.to_string())
    };
    for pin in [
        json!(pair.sha256),
        json!(format!("SHA256:{}", pair.sha256.to_uppercase())),
        json!(pairs.join(":")),
        json!(format!(" sha256:{}", pairs.join(":"))),
        json!(["00".repeat(32), pair.sha256]),
    ] {
        let outcome = remote(pin.clone()).run(&["health"]);
        assert_eq!(outcome.code, 0, "{pin} {outcome:?}");
    }
    let wrong = "00".repeat(32);
    let outcome = remote(json!(wrong)).run(&["health", "--json"]);
    assert_eq!(outcome.code, 7, "{outcome:?}");
    let error = outcome.error();
    assert_eq!(error["code"], "certificate_pin_mismatch");
    assert_eq!(error["expected"], json!([wrong]));
    assert_eq!(error["got"], pair.sha256.as_str());
    let text = remote(json!(wrong)).run(&["health"]);
    for shown in [wrong.as_str(), &pair.sha256] {
        assert!(text.stderr.contains(shown), "{text:?}");
    }
    // A pin on the command line is for the URL beside it; the one in the config is not.
    let sandbox = remote(json!(pair.sha256));
    let token = sandbox.write("token", SECRET);
    let url = gateway.url();
    let named = ["health", "--url", &url, "--token-file", &token, "--json"];
    let outcome = sandbox.run(&named);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    let outcome = sandbox.run(&[&named[..], &["--tls-fingerprint", &pair.sha256]].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let plain = url.replace("wss", "ws");
    let outcome = sandbox.run(&[
        "health",
        "--url",
        &plain,
        "--token-file",
        &token,
        "--tls-fingerprint",
        &pair.sha256,
        "--json",
    ]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert_eq!(outcome.error()["code"], "tls_fingerprint_requires_wss");
}

#[test]
fn what_the_system_trusts_is_pinned_on_first_use_and_a_swap_is_found() {
    let authority = Authority::new();
    let (old, new) = (authority.pair(), authority.pair());
    let server = with_pair(&old);
    let gateway = Gateway::start(&server);
    let client = Sandbox::new();
    let roots = client.write("roots.pem", &authority.0.pem());
    let token = client.write("token", SECRET);
    let client = client.env("SSL_CERT_FILE", &roots);
    let url = gateway.url();
    let place = format!("127.0.0.1:{}", gateway.port);
    let plain = ["health", "--url", &url, "--token-file", &token, "--json"];
    let pinning = [&plain[..], &["--pin-on-first-use"]].concat();

    assert_eq!(client.run(&plain).code, 0);
    assert_eq!(
        client.run(&["pins", "list", "--json"]).json()["pins"],
        json!([])
    );
    let first = client.run(&pinning);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.stderr.contains(&old.sha256), "{first:?}");
    let pins = client.run(&["pins", "list", "--json"]).json()["pins"].clone();
    assert_eq!(pins[0]["place"], place.as_str());
    assert_eq!(pins[0]["sha256"], old.sha256.as_str());
    assert!(client.run(&["pins", "list"]).stdout.contains(&old.sha256));
    let again = client.run(&pinning);
    assert_eq!((again.code, again.stderr.as_str()), (0, ""), "{again:?}");

    server.write("cert.pem", &new.certificate);
    server.write("key.pem", &new.key);
    // The gateway takes the new pair up by itself.
    let deadline = Instant::now() + PATIENCE;
    while client.run(&pinning).code == 0 {
        assert!(Instant::now() < deadline, "the certificate was not swapped");
        thread::sleep(Duration::from_millis(20));
    }
    // The authority vouches for the new one, and that does not help: with the flag or without.
    for args in [&pinning[..], &plain] {
        let swapped = client.run(args);
        assert_eq!(swapped.code, 7, "{swapped:?}");
        let error = swapped.error();
        assert_eq!(error["expected"], json!([old.sha256]));
        assert_eq!(error["got"], new.sha256.as_str());
        let command = format!("clawgate pins remove {place}");
        assert!(
            error["next"].as_str().unwrap().contains(&command),
            "{error}"
        );
    }
    let removed = client.run(&["pins", "remove", &place, "--json"]);
    assert_eq!(removed.json()["removed"]["sha256"], old.sha256.as_str());
    let twice = client.run(&["pins", "remove", &place, "--json"]);
    assert_eq!(
        (twice.code, twice.error()["code"].as_str()),
        (1, Some("pin_not_found"))
    );
    assert_eq!(client.run(&pinning).code, 0);
}

#[test]
fn what_the_system_does_not_trust_is_never_pinned() {
    let server = with_pair(&Authority::new().pair());
    let gateway = Gateway::start(&server);
    let client = Sandbox::new();
    let roots = client.write("roots.pem", &Authority::new().0.pem());
    let client = client.env("SSL_CERT_FILE", &roots);
    let token = client.write("token", SECRET);
    let config = json!({ "gateway": { "mode": "remote", "remote": {
        "url": gateway.url(), "token": SECRET, "tlsTrust": "first-use",
    }}});
    client.write(".openclaw/openclaw.json", &config.to_string());
    let url = gateway.url();
    for args in [
        &["health", "--json"][..],
        &[
            "health",
            "--url",
            &url,
            "--token-file",
            &token,
            "--pin-on-first-use",
            "--json",
        ],
    ] {
        let outcome = client.run(args);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert_eq!(outcome.error()["code"], "certificate", "{outcome:?}");
    }
    assert!(!client.path(".openclaw/clawgate/pins.json").exists());
}

#[test]
fn a_broken_list_of_pins_stops_connections_that_it_may_be_about() {
    let server = with_pair(&Authority::new().pair());
    let gateway = Gateway::start(&server);
    let client = Sandbox::new();
    let token = client.write("token", SECRET);
    client.write(".openclaw/clawgate/pins.json", "{");
    let url = gateway.url();
    let args = ["health", "--url", &url, "--token-file", &token, "--json"];
    let outcome = client.run(&args);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert_eq!(outcome.error()["code"], "pins_unusable");
    assert_eq!(client.run(&["pins", "list", "--json"]).code, 78);
    let pinned = [&args[..], &["--tls-fingerprint", &gateway.sha256]].concat();
    assert_eq!(client.run(&pinned).code, 0);
}

/// Serves each pair to one connection, and gives the heads of the requests that came.
fn edges(
    pairs: &[&Pair],
    answer: impl Fn(&str) -> String + Send + 'static,
) -> (u16, JoinHandle<Vec<String>>) {
    let configs: Vec<_> = pairs
        .iter()
        .map(|pair| {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            ServerConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap()
        })
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let mut heads = Vec::new();
        for config in configs {
            let (stream, _) = listener.accept().unwrap();
            let session = ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = StreamOwned::new(session, stream);
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            if !head.is_empty() {
                stream.write_all(answer(&head).as_bytes()).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
            heads.push(head);
        }
        heads
    });
    (port, serving)
}

fn edge(
    pair: &Pair,
    answer: impl Fn(&str) -> String + Send + 'static,
) -> (u16, JoinHandle<Vec<String>>) {
    edges(&[pair], answer)
}

#[test]
fn a_swap_between_the_first_use_and_the_connection_is_found() {
    let authority = Authority::new();
    let (first, second) = (authority.pair(), authority.pair());
    let (port, serving) = edges(&[&first, &second], |_| String::new());
    let client = Sandbox::new();
    let roots = client.write("roots.pem", &authority.0.pem());
    let token = client.write("token", SECRET);
    let client = client.env("SSL_CERT_FILE", &roots);
    let url = format!("wss://127.0.0.1:{port}");
    let outcome = client.run(&[
        "health",
        "--url",
        &url,
        "--token-file",
        &token,
        "--pin-on-first-use",
        "--json",
    ]);
    assert_eq!(outcome.code, 7, "{outcome:?}");
    assert_eq!(outcome.error()["got"], second.sha256.as_str());
    assert_eq!(serving.join().unwrap(), ["", ""], "something was sent");
}

fn behind_a_proxy(port: u16, pair: &Pair, edge: &serde_json::Value) -> Sandbox {
    let config = json!({ "gateway": { "mode": "remote", "remote": {
        "url": format!("wss://127.0.0.1:{port}"), "token": "t", "tlsFingerprint": pair.sha256,
        "edgeAuth": edge,
    }}});
    Sandbox::with_config(&config.to_string()).env("EDGE", SECRET)
}

fn edge_headers() -> serde_json::Value {
    json!({
        "X-Edge": { "source": "env", "id": "EDGE" }, "Authorization": "Bearer ${EDGE}",
    })
}

#[test]
fn a_proxy_that_repeats_the_header_does_not_get_it_shown() {
    let pair = Authority::new().pair();
    for format in [&["health"][..], &["health", "--json"]] {
        let (port, serving) = edge(&pair, |head| {
            let value = head
                .lines()
                .find_map(|line| line.strip_prefix("x-edge: "))
                .unwrap_or_else(|| panic!("no header in {head}"));
            let bearer = format!("authorization: Bearer {value}");
            assert!(head.lines().any(|line| line == bearer), "{head}");
            let body = format!("denied: {value}");
            let len = body.len();
            format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {len}\r\n\r\n{body}")
        });
        // `run` checks that the secret is nowhere in the output.
        let outcome = behind_a_proxy(port, &pair, &edge_headers()).run(format);
        assert_eq!(outcome.code, 4, "{outcome:?}");
        serving.join().unwrap();
    }
}

#[test]
fn a_redirect_is_an_error_that_names_the_host() {
    let pair = Authority::new().pair();
    let (port, serving) = edge(&pair, |_| {
        "HTTP/1.1 302 Found\r\nLocation: https://login.example.com/in?state=abc\r\n\r\n".to_owned()
    });
    let outcome = behind_a_proxy(port, &pair, &edge_headers()).run(&["health", "--json"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    let error = outcome.error();
    assert_eq!(error["code"], "redirected");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("login.example.com") && !message.contains("abc"),
        "{message}"
    );
    serving.join().unwrap();
}

#[test]
fn a_header_without_its_secret_stops_before_anything_is_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let pair = Authority::new().pair();
    for (edge, code) in [
        (json!({ "X-Edge": "${GONE}" }), "edge_auth_unavailable"),
        (json!({ "X-Edge": "Bearer ${GONE}" }), "edge_auth_invalid"),
    ] {
        let outcome = behind_a_proxy(port, &pair, &edge).run(&["health", "--json"]);
        assert_eq!(outcome.code, 78, "{outcome:?}");
        let error = outcome.error();
        assert_eq!(error["code"], code);
        assert_eq!(error["path"], "gateway.remote.edgeAuth");
    }
    assert!(listener.accept().is_err());
}

//! Which certificate a client accepts, and which headers it adds for a proxy, seen from outside.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

use clawgate_core::client;
use clawgate_core::config::{Config, EnvVars};
use clawgate_core::credentials::{
    FirstUse, Presented, RefAccess, Request, Surface, Target, resolve,
};
use clawgate_core::policy::{PinBook, PinPlace, TlsFingerprint, TlsTrust};
use clawgate_core::secret::Secret;
use clawgate_core::secrets::RefValues;
use clawgate_core::time::WallTime;
use serde_json::{Value, json};

const URL: &str = "wss://gw.example.com";

fn remote(mut remote: Value) -> Config {
    remote["token"] = json!("t");
    if remote["url"].is_null() {
        remote["url"] = json!(URL);
    }
    Config::from_value(&json!({ "gateway": { "mode": "remote", "remote": remote } }))
}

fn pin(byte: u8) -> TlsFingerprint {
    TlsFingerprint::from([byte; 32])
}

fn book(place: &str, byte: u8) -> PinBook {
    let mut book = PinBook::new();
    book.remember(PinPlace::parse(place).unwrap(), pin(byte), WallTime(1));
    book
}

fn trust(target: &Target) -> String {
    match target.tls_trust() {
        TlsTrust::Pinned(pins) => pins.to_string(),
        TlsTrust::Authorities | TlsTrust::FirstUse => target.tls_trust().as_str().to_owned(),
    }
}

#[test]
fn an_old_and_a_new_certificate_overlap() {
    let env = EnvVars::new();
    let pairs = ["AB"; 32].join(":");
    let list = json!([pairs, format!("sha256:{}", "cd".repeat(32))]);
    let config = remote(json!({ "tlsFingerprint": list }));
    let target = resolve(&Request::new(Surface::Call, &env, &config))
        .outcome
        .unwrap();
    assert_eq!(
        trust(&target),
        format!("{}, {}", "ab".repeat(32), "cd".repeat(32))
    );
    for broken in [
        json!([]),
        json!(["ab".repeat(32), "zz"]),
        json!(["ab".repeat(32), 7]),
        json!("ab"),
    ] {
        let config = remote(json!({ "tlsFingerprint": broken }));
        let outcome = resolve(&Request::new(Surface::Call, &env, &config)).outcome;
        assert_eq!(outcome.unwrap_err().code(), "invalid_tls_fingerprint");
    }
}

#[test]
fn a_stored_pin_is_for_its_host_and_port_and_gives_way_to_a_written_one() {
    let env = EnvVars::new();
    let stored = book("gw.example.com:443", 1);
    let other = book("gw.example.com:8443", 1);
    let first = remote(json!({ "tlsTrust": "first-use" }));
    let plain = remote(json!({}));
    let written = remote(json!({ "tlsFingerprint": "02".repeat(32) }));
    for (config, pins, expected) in [
        (&plain, &stored, "01".repeat(32)),
        (&first, &stored, "01".repeat(32)),
        (&written, &stored, "02".repeat(32)),
        (&plain, &other, "authorities".to_owned()),
        (&first, &other, "first-use".to_owned()),
    ] {
        let mut request = Request::new(Surface::Call, &env, config);
        request.pins = pins;
        assert_eq!(trust(&resolve(&request).outcome.unwrap()), expected);
    }
}

#[test]
fn another_address_is_pinned_on_first_use_only_when_the_flag_asks_for_it() {
    let (env, token) = (EnvVars::new(), Secret::new("cli"));
    let config = remote(json!({ "tlsTrust": "first-use" }));
    let mut request = Request::new(Surface::Call, &env, &config);
    request.flags.url = Some("wss://elsewhere.example.com");
    request.flags.token = Some(&token);
    assert_eq!(trust(&resolve(&request).outcome.unwrap()), "authorities");
    request.flags.first_use = FirstUse::Pin;
    assert_eq!(trust(&resolve(&request).outcome.unwrap()), "first-use");
}

#[test]
fn a_rule_for_certificates_on_plaintext_is_an_error() {
    let (env, token) = (EnvVars::new(), Secret::new("cli"));
    let plain = "ws://192.168.1.5:18789";
    for rule in [
        json!({ "url": plain, "tlsTrust": "first-use" }),
        json!({ "url": plain, "tlsFingerprint": "ab".repeat(32) }),
    ] {
        let config = remote(rule);
        let error = resolve(&Request::new(Surface::Call, &env, &config)).outcome;
        assert_eq!(error.unwrap_err().code(), "tls_fingerprint_requires_wss");
    }
    let config = remote(json!({}));
    let fingerprint = "ab".repeat(32);
    for (pin, first_use) in [
        (Some(fingerprint.as_str()), FirstUse::ByConfig),
        (None, FirstUse::Pin),
    ] {
        let mut request = Request::new(Surface::Call, &env, &config);
        request.flags.url = Some(plain);
        request.flags.token = Some(&token);
        request.flags.tls_fingerprint = pin;
        request.flags.first_use = first_use;
        let error = resolve(&request).outcome.unwrap_err();
        assert_eq!(error.code(), "tls_fingerprint_requires_wss");
    }
}

#[test]
fn the_gateway_of_this_machine_must_show_its_own_certificate() {
    let env = EnvVars::new();
    let config = Config::from_value(&json!({ "gateway": {
        "port": 4000, "auth": { "token": "t" }, "tls": { "enabled": true },
    }}));
    let mut request = Request::new(Surface::Call, &env, &config);
    request.local_certificate = Some(pin(3));
    let target = resolve(&request).outcome.unwrap();
    assert_eq!(target.endpoint().url(), "wss://127.0.0.1:4000");
    assert_eq!(trust(&target), "03".repeat(32));
    // Whoever listens on another port is not that gateway.
    request.flags.port = Some(4001);
    assert_eq!(trust(&resolve(&request).outcome.unwrap()), "authorities");
}

fn headers(config: &Config, change: impl FnOnce(&mut Request<'_>)) -> Result<Vec<String>, String> {
    let env: EnvVars = [("EDGE", "from-env"), ("OPENCLAW_GATEWAY_TOKEN", "e")]
        .into_iter()
        .collect();
    let mut request = Request::new(Surface::Call, &env, config);
    change(&mut request);
    let resolution = resolve(&request);
    assert!(!format!("{resolution:?}").contains("hunter2"));
    let target = resolution.outcome.map_err(|error| {
        assert!(!error.to_string().contains("hunter2"));
        error.code().to_owned()
    })?;
    let route = client::Target::from(&target);
    let lines = route.route().headers().iter();
    Ok(lines
        .map(|(name, value)| format!("{name}: {}", value.expose()))
        .collect())
}

#[test]
fn edge_headers_go_to_the_configured_gateway_and_nowhere_else() {
    let config = remote(json!({ "edgeAuth": {
        "X-Edge": "hunter2", "X-Env": "${EDGE}",
        "X-Ref": { "source": "env", "id": "EDGE" },
    }}));
    let sent = vec![
        "X-Edge: hunter2".to_owned(),
        "X-Env: from-env".to_owned(),
        "X-Ref: from-env".to_owned(),
    ];
    assert_eq!(headers(&config, |_| {}), Ok(sent.clone()));
    let token = Secret::new("cli");
    let mut flags = headers(&config, |request| {
        request.flags.presented = Presented::Nothing
    });
    assert_eq!(flags, Ok(vec![]), "--no-auth sends no credential");
    // The same address from another source is not the configured one.
    for url in [URL, "wss://elsewhere.example.com"] {
        let env: EnvVars = [
            ("OPENCLAW_GATEWAY_URL", url),
            ("OPENCLAW_GATEWAY_TOKEN", "e"),
        ]
        .into_iter()
        .collect();
        let request = Request::new(Surface::Call, &env, &config);
        assert!(resolve(&request).outcome.unwrap().edge_headers().is_empty());
        let mut request = Request::new(Surface::Call, &env, &config);
        request.flags.url = Some(url);
        request.flags.token = Some(&token);
        assert!(resolve(&request).outcome.unwrap().edge_headers().is_empty());
    }
    flags = Ok(sent);
    assert_eq!(headers(&config, |_| {}), flags);
}

#[test]
fn a_header_that_cannot_be_sent_stops_the_connection() {
    for (edge, code) in [
        (json!({}), "edge_auth_invalid"),
        (json!([]), "edge_auth_invalid"),
        (json!("hunter2"), "edge_auth_invalid"),
        (json!({ "Host": "hunter2" }), "edge_auth_invalid"),
        (json!({ "X-A": "hunter2", "x-a": "v" }), "edge_auth_invalid"),
        (json!({ "X-A": " " }), "edge_auth_invalid"),
        (json!({ "X-A": 7 }), "edge_auth_invalid"),
        (json!({ "X-A": "hunter2\r\nX: y" }), "edge_auth_invalid"),
        (json!({ "X-A": "Bearer ${EDGE}" }), "edge_auth_invalid"),
        (json!({ "X-A": "${NEVER_SET}" }), "edge_auth_unavailable"),
    ] {
        let config = remote(json!({ "edgeAuth": edge }));
        assert_eq!(headers(&config, |_| {}), Err(code.to_owned()), "{edge}");
    }
    let plain = remote(json!({
        "url": "ws://192.168.1.5:18789", "edgeAuth": { "X-A": "hunter2" },
    }));
    assert_eq!(
        headers(&plain, |_| {}),
        Err("edge_auth_requires_wss".to_owned())
    );
}

#[test]
fn the_host_is_asked_for_every_reference_of_a_header_at_once() {
    let env = EnvVars::new();
    let mut config = remote(json!({ "edgeAuth": {
        "X-A": { "source": "exec", "provider": "vault", "id": "a" },
        "X-B": { "source": "exec", "provider": "vault", "id": "b" },
    }}));
    config.secrets = Config::from_value(&json!({ "secrets": {
        "providers": { "vault": { "source": "exec", "command": "/v" } },
    }}))
    .secrets;
    let first = resolve(&Request::new(Surface::Call, &env, &config));
    assert_eq!(first.wanted.len(), 2);
    let mut values = RefValues::new();
    for (index, wanted) in first.wanted.into_iter().enumerate() {
        values.insert(wanted, Ok(&format!("value {index}")));
    }
    let mut request = Request::new(Surface::Call, &env, &config);
    request.refs = RefAccess::Available(&values);
    let target = resolve(&request).outcome.unwrap();
    let sent: Vec<_> = target
        .edge_headers()
        .iter()
        .map(|(name, value)| (name, value.expose()))
        .collect();
    assert_eq!(sent, [("X-A", "value 0"), ("X-B", "value 1")]);
}

#[test]
fn the_explanation_names_rules_and_headers_without_values() {
    let env = EnvVars::new();
    let config = remote(json!({
        "tlsFingerprint": "ab".repeat(32), "edgeAuth": { "X-Edge": "hunter2" },
    }));
    let why = resolve(&Request::new(Surface::Call, &env, &config)).explanation;
    let shown = serde_json::to_value(&why).unwrap();
    assert_eq!(shown["tlsTrust"], "pinned");
    assert_eq!(shown["tlsPinSource"], "gateway.remote.tlsFingerprint");
    assert_eq!(shown["tlsFingerprints"], json!(["ab".repeat(32)]));
    assert_eq!(shown["edgeHeaders"], json!(["X-Edge"]));
    assert!(!shown.to_string().contains("hunter2"));
}

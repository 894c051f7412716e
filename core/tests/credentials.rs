//! What a client presents, seen from outside: device tokens, the token of the local gateway, pins,
//! ports, nodes, references that the host reads, and the explanation.
#![allow(clippy::unwrap_used)]

use clawgate_core::client::IssuedToken;
use clawgate_core::config::paths::Profile;
use clawgate_core::config::{Config, EnvVars};
use clawgate_core::credentials::{
    CredentialError, DeviceTokens, NodeScheme, NodeTarget, Presented, RefAccess, Request, Source,
    Surface, Target, TokenBook, locate, resolve,
};
use clawgate_core::device::DeviceIdentity;
use clawgate_core::policy::{Endpoint, SecretKind, TlsTrust, UrlPolicy};
use clawgate_core::protocol::Role;
use clawgate_core::secret::Secret;
use clawgate_core::secrets::RefValues;
use clawgate_core::time::WallTime;
use serde_json::{Value, json};

fn config(gateway: Value) -> Config {
    Config::from_value(&json!({ "gateway": gateway }))
}

fn env(variables: &[(&str, &str)]) -> EnvVars {
    variables.iter().copied().collect()
}

fn token_of(target: &Target) -> (Option<Source>, Option<&str>) {
    let auth = target.auth();
    let sent = auth.token().or_else(|| auth.device_token());
    (auth.source(SecretKind::Token), sent.map(Secret::expose))
}

/// A book with the token "device" for one gateway.
fn book(device: &DeviceIdentity, url: &str, trust: &TlsTrust) -> TokenBook {
    let endpoint = Endpoint::parse(url, UrlPolicy::Strict).unwrap();
    let issued = IssuedToken {
        token: Secret::new("device"),
        role: "operator".into(),
        scopes: vec!["operator.read".into()],
        issued_at: None,
    };
    let mut book = TokenBook::new();
    let who = (device.id(), Role::Operator);
    assert!(book.remember((&endpoint, trust), who, &issued, WallTime(1)));
    book
}

fn device() -> DeviceIdentity {
    DeviceIdentity::from_seed(&[7; 32])
}

#[test]
fn a_device_token_is_sent_only_where_no_shared_secret_is() {
    let (env, device) = (EnvVars::new(), device());
    let bare = config(json!({}));
    let book = book(&device, "ws://127.0.0.1:18789", &TlsTrust::Authorities);
    let mut request = Request::new(Surface::Call, &env, &bare);
    request.device_tokens = Some(DeviceTokens {
        book: &book,
        device: device.id(),
    });
    let target = resolve(&request).outcome.unwrap();
    assert_eq!(token_of(&target), (Some(Source::Device), Some("device")));

    let shared = config(json!({ "auth": { "token": "shared" } }));
    request.config = &shared;
    let target = resolve(&request).outcome.unwrap();
    assert_eq!(
        token_of(&target),
        (Some(Source::ConfigAuth), Some("shared"))
    );
    let retry = target.auth().device_token_for_retry();
    assert_eq!(
        retry.map(Secret::expose),
        Some("device"),
        "this machine may get both"
    );

    // The token of one role is not the token of the other.
    request.config = &bare;
    request.surface = Surface::NodeHost;
    assert_eq!(token_of(&resolve(&request).outcome.unwrap()), (None, None));
}

#[test]
fn a_device_token_goes_to_the_gateway_that_gave_it_by_whatever_name_it_was_found() {
    let device = device();
    let bare = config(json!({}));
    let url = "wss://gw.example.com";
    let book = book(&device, url, &TlsTrust::Authorities);
    let ask = |flag: Option<&str>, variable: Option<&str>, presented| {
        let env: EnvVars = variable
            .map(|url| ("OPENCLAW_GATEWAY_URL", url))
            .into_iter()
            .collect();
        let mut request = Request::new(Surface::Call, &env, &bare);
        request.flags.url = flag;
        request.flags.presented = presented;
        request.device_tokens = Some(DeviceTokens {
            book: &book,
            device: device.id(),
        });
        match resolve(&request).outcome {
            Ok(target) => token_of(&target).0.map_or("none", Source::as_str),
            Err(error) => error.code(),
        }
    };
    let rule = Presented::ByRule;
    assert_eq!(ask(Some(url), None, rule), "device");
    assert_eq!(ask(None, Some(url), rule), "device");
    assert_eq!(ask(Some(url), None, Presented::Nothing), "none");
    for other in [
        "wss://gw.example.com:444",
        "wss://gw.example.net",
        "ws://127.0.0.1:1",
    ] {
        assert_eq!(ask(Some(other), None, rule), "explicit_auth_required");
        assert_eq!(ask(None, Some(other), rule), "explicit_auth_required");
    }
}

#[test]
fn a_device_token_is_retried_only_at_this_machine_or_behind_a_pin() {
    let (env, device) = (EnvVars::new(), device());
    let book = book(&device, "wss://gw.example.com", &TlsTrust::Authorities);
    let remote = |pin: Option<String>| {
        config(json!({ "mode": "remote", "remote": {
            "url": "wss://gw.example.com", "token": "t", "tlsFingerprint": pin,
        }}))
    };
    for (pin, retried) in [(None, false), (Some("ab".repeat(32)), true)] {
        let config = remote(pin);
        let mut request = Request::new(Surface::Call, &env, &config);
        request.device_tokens = Some(DeviceTokens {
            book: &book,
            device: device.id(),
        });
        let target = resolve(&request).outcome.unwrap();
        assert_eq!(target.auth().device_token_for_retry().is_some(), retried);
    }
}

#[test]
fn the_token_of_the_local_gateway_is_the_last_resort_and_for_it_alone() {
    let own = Secret::new("own");
    let ask = |gateway: Value, variables: &[(&str, &str)], port: Option<u16>| {
        let (config, env) = (config(gateway), env(variables));
        let mut request = Request::new(Surface::Call, &env, &config);
        request.local_token = Some(&own);
        request.flags.port = port;
        match resolve(&request).outcome {
            Ok(target) => token_of(&target).0.map_or("none", Source::as_str),
            Err(error) => error.code(),
        }
    };
    assert_eq!(ask(json!({}), &[], None), "file");
    assert_eq!(ask(json!({}), &[], Some(18789)), "file");
    assert_eq!(
        ask(json!({ "remote": { "token": "r" } }), &[], None),
        "config.remote"
    );
    assert_eq!(
        ask(json!({ "auth": { "token": "a" } }), &[], None),
        "config.auth"
    );
    assert_eq!(
        ask(json!({}), &[("OPENCLAW_GATEWAY_TOKEN", "e")], None),
        "env"
    );
    // Somebody else may listen there.
    assert_eq!(ask(json!({}), &[], Some(4000)), "credentials_required");
    let elsewhere = [("OPENCLAW_GATEWAY_URL", "ws://127.0.0.1:18789")];
    assert_eq!(ask(json!({}), &elsewhere, None), "explicit_auth_required");
    let broken = json!({ "auth": { "token": "${NEVER_SET}" } });
    assert_eq!(ask(broken, &[], None), "secret_ref_unavailable");
    let remote = json!({ "mode": "remote", "remote": { "url": "wss://gw.example.com" } });
    assert_eq!(ask(remote, &[], None), "credentials_required");
}

#[test]
fn the_token_of_the_local_gateway_follows_it_to_the_port_it_was_started_on() {
    let own = Secret::new("own");
    let (config, env) = (config(json!({})), env(&[]));
    let ask = |port: Option<u16>| {
        let mut request = Request::new(Surface::Call, &env, &config);
        request.local_token = Some(&own);
        request.local_port = Some(4000);
        request.flags.port = port;
        resolve(&request).outcome.map(|target| token_of(&target).0)
    };
    assert_eq!(ask(Some(4000)), Ok(Some(Source::File)));
    // It runs, and not there: whoever listens on the configured port is somebody else.
    assert!(ask(None).is_err());
    assert!(ask(Some(18789)).is_err());
}

#[test]
fn a_pin_belongs_to_the_configured_gateway() {
    let pin = "ab".repeat(32);
    let gateway = |url: &str| {
        config(json!({ "mode": "remote", "remote": {
            "url": url, "token": "t", "tlsFingerprint": format!("SHA256:{pin}"),
        }}))
    };
    let (env, token) = (EnvVars::new(), Secret::new("cli"));
    let wss = gateway("wss://gw.example.com");
    let mut request = Request::new(Surface::Call, &env, &wss);
    let target = resolve(&request).outcome.unwrap();
    assert_eq!(target.tls_pins().unwrap().to_string(), pin);

    request.flags.url = Some("wss://elsewhere.example.com");
    request.flags.token = Some(&token);
    assert!(resolve(&request).outcome.unwrap().tls_pins().is_none());
    request.flags.tls_fingerprint = Some("not a pin");
    let error = resolve(&request).outcome.unwrap_err();
    assert_eq!(error.code(), "invalid_tls_fingerprint");

    let ws = gateway("ws://192.168.1.5:18789");
    let error = resolve(&Request::new(Surface::Call, &env, &ws))
        .outcome
        .unwrap_err();
    assert_eq!(error.code(), "tls_fingerprint_requires_wss");
}

#[test]
fn a_port_means_this_machine() {
    let env = env(&[
        ("OPENCLAW_GATEWAY_URL", "wss://env.example.com"),
        ("OPENCLAW_GATEWAY_TOKEN", "e"),
    ]);
    let remote = config(json!({ "mode": "remote", "tls": { "enabled": true },
        "remote": { "url": "wss://gw.example.com", "token": "r" } }));
    let mut request = Request::new(Surface::Call, &env, &remote);
    request.flags.port = Some(4000);
    let target = resolve(&request).outcome.unwrap();
    assert_eq!(target.endpoint().url(), "wss://127.0.0.1:4000");
    assert_eq!(token_of(&target).0, Some(Source::Env));
    request.flags.url = Some("wss://elsewhere.example.com");
    assert_eq!(resolve(&request).outcome, Err(CredentialError::UrlAndPort));
}

#[test]
fn a_profile_has_a_port_of_its_own() {
    let env = env(&[("OPENCLAW_PROFILE", "rescue")]);
    let profile = Profile::choose(None, false, &env).unwrap();
    let config = config(json!({}));
    let mut request = Request::new(Surface::Probe, &env, &config);
    request.profile = &profile;
    let place = locate(&request).unwrap();
    assert_eq!(place.endpoint().url(), "ws://127.0.0.1:23532");
}

#[test]
fn a_node_goes_where_its_own_flags_say() {
    let env = env(&[("OPENCLAW_GATEWAY_URL", "wss://env.example.com")]);
    let remote = config(
        json!({ "mode": "remote", "remote": { "url": "wss://gw.example.com", "token": "r" } }),
    );
    let mut request = Request::new(Surface::NodeHost, &env, &remote);
    assert_eq!(
        locate(&request).unwrap().endpoint().url(),
        "ws://127.0.0.1:18789"
    );
    request.flags.node = NodeTarget {
        host: Some("gw.lan.example.com"),
        scheme: NodeScheme::Tls,
    };
    request.flags.port = Some(4000);
    let target = resolve(&request).outcome.unwrap();
    assert_eq!(target.endpoint().url(), "wss://gw.lan.example.com:4000");
    assert_eq!(token_of(&target).0, Some(Source::ConfigRemote));
    request.flags.node.scheme = NodeScheme::Default;
    assert_eq!(locate(&request).unwrap_err().code(), "insecure_url");
    request.flags.node.host = Some("fd00::1");
    assert_eq!(
        locate(&request).unwrap().endpoint().url(),
        "ws://[fd00::1]:4000"
    );
}

#[test]
fn the_graver_fault_is_reported_first() {
    let (env, config) = (EnvVars::new(), config(json!({})));
    let mut request = Request::new(Surface::Call, &env, &config);
    request.flags.url = Some("ws://elsewhere.example.com");
    assert_eq!(
        resolve(&request).outcome.unwrap_err().code(),
        "insecure_url"
    );
}

#[test]
fn the_host_reads_only_the_references_that_matter() {
    let file = Config::from_value(&json!({
        "gateway": { "auth": {
            "mode": "token",
            "token": { "source": "exec", "provider": "vault", "id": "gw" },
            "password": { "source": "exec", "provider": "vault", "id": "other" },
        }},
        "secrets": { "providers": { "vault": { "source": "exec", "command": "/v" } } },
    }));
    let env = EnvVars::new();
    let mut values = RefValues::new();
    let mut request = Request::new(Surface::Call, &env, &file);
    let first = resolve(&request);
    assert_eq!(
        first.outcome.unwrap_err().path(),
        Some("gateway.auth.token")
    );
    let [wanted] = <[_; 1]>::try_from(first.wanted).unwrap();
    assert_eq!(
        (wanted.provider.as_str(), wanted.id.as_str()),
        ("vault", "gw")
    );

    values.insert(wanted, Ok(" read \n"));
    request.refs = RefAccess::Available(&values);
    let second = resolve(&request);
    assert!(second.wanted.is_empty());
    let target = second.outcome.unwrap();
    assert_eq!(token_of(&target), (Some(Source::ConfigAuth), Some("read")));
}

#[test]
fn a_broken_reference_behind_the_environment_is_said() {
    let env = env(&[("OPENCLAW_GATEWAY_TOKEN", "e")]);
    let config = config(json!({ "auth": { "token": "${NEVER_SET}" } }));
    let target = resolve(&Request::new(Surface::Call, &env, &config))
        .outcome
        .unwrap();
    let warnings: Vec<String> = target.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "gateway.auth.token refers to a secret that could not be read (NEVER_SET is not set, or \
          blank); env is used instead."
        ]
    );
}

#[test]
fn the_explanation_names_what_was_passed_over_and_why() {
    let env = env(&[("OPENCLAW_GATEWAY_TOKEN", "e")]);
    let config = config(json!({ "auth": { "token": "a" }, "remote": { "token": "r" } }));
    let shown = json!(resolve(&Request::new(Surface::Call, &env, &config)).explanation);
    assert_eq!(shown["url"], "ws://127.0.0.1:18789");
    assert_eq!(shown["urlSource"], "local loopback");
    assert_eq!(
        shown["token"],
        json!({ "present": true, "source": "env", "id": Secret::new("e").id() })
    );
    assert_eq!(
        shown["password"],
        json!({ "present": false, "source": "none", "id": null })
    );
    assert_eq!(shown["error"], Value::Null);
    let why = |source: &str| {
        let skipped = shown["skipped"].as_array().unwrap();
        let found = skipped
            .iter()
            .find(|skipped| skipped["kind"] == "token" && skipped["source"] == source);
        found.unwrap()["why"].as_str().unwrap().to_owned()
    };
    assert_eq!(why("cli"), "--token was not given");
    assert_eq!(why("config.auth"), "env stands before it");
    assert_eq!(why("config.remote"), "gateway.auth.token is configured");
    assert_eq!(why("device"), "there is no device token");
}

#[test]
fn the_explanation_of_an_error_says_what_to_type() {
    let env = env(&[("OPENCLAW_GATEWAY_TOKEN", "e")]);
    let config = config(json!({}));
    let mut request = Request::new(Surface::Call, &env, &config);
    request.flags.url = Some("wss://elsewhere.example.com");
    let shown = json!(resolve(&request).explanation);
    assert_eq!(shown["url"], "wss://elsewhere.example.com");
    assert_eq!(shown["error"]["code"], "explicit_auth_required");
    assert!(shown["error"]["next"].as_str().unwrap().contains("--token"));
    let skipped = shown["skipped"].as_array().unwrap();
    let env = skipped
        .iter()
        .find(|skipped| skipped["source"] == "env")
        .unwrap();
    assert!(env["why"].as_str().unwrap().contains("--url never borrows"));
}

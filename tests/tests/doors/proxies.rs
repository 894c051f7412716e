//! Proxies: those that are trusted, and those that only say so.

use clawgate_tests::failure::TestResult;
use serde_json::{Value, json};

use crate::caller::{Caller, Program};
use crate::gateway::{Gateway, TOKEN};

const ORIGIN: &str = "https://gw.example.com";

/// Mode `trusted-proxy`; 127.0.0.2 is the proxy.
fn config() -> Value {
    json!({
        "auth": {
            "mode": "trusted-proxy",
            "trustedProxy": {
                "userHeader": "X-Forwarded-User",
                "requiredHeaders": ["X-Forwarded-Proto"],
                "allowUsers": ["ada@example.com"],
                "allowLoopback": true,
            },
        },
        "trustedProxies": ["127.0.0.2", "127.0.1.0/24"],
        "controlUi": {"allowedOrigins": [ORIGIN]},
    })
}

/// What the proxy sends for Ada, who sits at 203.0.113.7.
fn for_ada(gateway: &Gateway) -> Caller {
    gateway
        .caller()
        .from(2)
        .for_client("203.0.113.7")
        .with("X-Forwarded-Proto", "https")
        .with("X-Forwarded-User", "ada@example.com")
        .with("Origin", ORIGIN)
}

#[test]
fn a_user_whom_the_proxy_names_is_let_in() -> TestResult {
    let gateway = Gateway::start(&config())?;
    let auth = for_ada(&gateway).enter(&Program::control_ui(7))?;
    assert_eq!(auth["method"], "trusted-proxy");
    assert_eq!(auth["scopes"], json!(["operator.admin"]));
    // Ada comes by the proxy, and gets nothing to come around it with.
    assert!(auth.get("deviceToken").is_none(), "{auth}");
    let entry = gateway.audit(1, |entry| entry["verdict"] == "allowed")?;
    assert_eq!(entry[0]["user"], "ada@example.com");
    assert_eq!(entry[0]["from"], "203.0.113.7");
    Ok(())
}

#[test]
fn nobody_else_is() -> TestResult {
    let gateway = Gateway::start(&config())?;
    let page = Program::control_ui(7);
    let base = || {
        gateway
            .caller()
            .from(2)
            .for_client("203.0.113.7")
            .with("Origin", ORIGIN)
    };
    let https = |caller: Caller| caller.with("X-Forwarded-Proto", "https");
    let ada = |caller: Caller| caller.with("X-Forwarded-User", "ada@example.com");
    for (caller, reason) in [
        (
            ada(base()),
            "trusted_proxy_missing_header_X-Forwarded-Proto",
        ),
        (
            ada(base().with("X-Forwarded-Proto", " ")),
            "trusted_proxy_missing_header_X-Forwarded-Proto",
        ),
        (https(base()), "trusted_proxy_user_missing"),
        (
            https(base()).with("X-Forwarded-User", "eve@example.com"),
            "trusted_proxy_user_not_allowed",
        ),
        (
            https(base()).with("X-Forwarded-User", "ADA@example.com"),
            "trusted_proxy_user_not_allowed",
        ),
        // A second value does not hide behind the first.
        (ada(ada(https(base()))), "trusted_proxy_user_not_allowed"),
        // Not through the proxy at all; a local program cannot be Ada by saying so.
        (
            gateway.caller().from(3).with("Origin", ORIGIN),
            "trusted_proxy_untrusted_source",
        ),
    ] {
        assert_eq!(caller.refused_for(&page)?, reason, "{caller:?}");
    }
    Ok(())
}

#[test]
fn a_proxy_on_this_machine_counts_only_where_that_is_said() -> TestResult {
    let mut config = config();
    config["auth"]["trustedProxy"]["allowLoopback"] = json!(false);
    let gateway = Gateway::start(&config)?;
    let reason = for_ada(&gateway).refused_for(&Program::control_ui(7))?;
    assert_eq!(reason, "trusted_proxy_loopback_source");
    Ok(())
}

#[test]
fn a_token_is_no_way_around_the_proxy() -> TestResult {
    let mut config = config();
    config["auth"]["password"] = json!("the-local-password");
    let gateway = Gateway::start(&config)?;
    let cli = Program::cli();
    let direct = gateway.caller();
    let refused = "trusted_proxy_untrusted_source";
    assert_eq!(
        direct.refused_for(&cli.clone().showing("token", TOKEN))?,
        refused
    );
    let guess = cli.clone().showing("password", "guess");
    assert_eq!(direct.refused_for(&guess)?, "password_mismatch");
    // The password is for programs on this machine, and for them alone.
    let right = cli.showing("password", "the-local-password");
    assert_eq!(direct.enter(&right)?["method"], "password");
    let forwarded = gateway
        .caller()
        .from(2)
        .for_client("203.0.113.7")
        .with("X-Forwarded-Proto", "https");
    assert_eq!(forwarded.refused_for(&right)?, "trusted_proxy_user_missing");
    Ok(())
}

#[test]
fn headers_of_strangers_are_refused_and_written_down() -> TestResult {
    let gateway = Gateway::start(&config())?;
    let strange = [
        ("Forwarded", "for=198.51.100.4"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", "gw.example.com"),
        ("X-Real-IP", "127.0.0.1"),
        ("Tailscale-User-Login", "ada@example.com"),
        ("Tailscale-Funnel-Request", "?1"),
    ];
    for (name, value) in strange {
        let answer = gateway.caller().from(9).with(name, value).upgrade()?;
        let Err(answer) = answer else {
            panic!("{name} was believed");
        };
        assert_eq!(answer.status, 403, "{name}");
        let body = answer.json()?;
        assert_eq!(body["error"]["type"], "proxy_attribution_required");
        assert!(!answer.body.contains(value), "{}", answer.body);
    }
    let entries = gateway.audit(strange.len(), |entry| entry["action"] == "upgrade")?;
    for ((name, value), entry) in strange.iter().zip(&entries) {
        assert_eq!(entry["verdict"], "denied");
        assert_eq!(entry["reason"], "proxy_attribution_required");
        assert_eq!(entry["from"], "127.0.0.9");
        assert_eq!(entry["subject"], name.to_lowercase());
        // Values are a stranger's text.
        assert!(!entry.to_string().contains(value), "{entry}");
    }
    Ok(())
}

#[test]
fn a_trusted_proxy_must_name_a_client() -> TestResult {
    let gateway = Gateway::start(&config())?;
    for forwarded in [
        "127.0.0.1",
        "127.0.0.2",
        "127.0.1.9",
        "unknown",
        "",
        "1.2.3",
    ] {
        let caller = gateway.caller().from(2).for_client(forwarded);
        let Err(answer) = caller.upgrade()? else {
            panic!("{forwarded:?} was taken for a client");
        };
        assert_eq!(answer.status, 403, "{forwarded}");
    }
    Ok(())
}

#[test]
fn the_chain_is_read_from_the_right() -> TestResult {
    let gateway = Gateway::with_token(json!({"trustedProxies": ["127.0.0.2", "10.0.0.0/8"]}))?;
    let wrong = Program::cli().showing("token", "wrong");
    for (chain, client) in [
        ("198.51.100.1, 203.0.113.5", "203.0.113.5"),
        ("203.0.113.5, 10.1.2.3", "203.0.113.5"),
        ("203.0.113.6:4711, 10.1.2.3, 127.0.0.2", "203.0.113.6"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
    ] {
        let caller = gateway.caller().from(2).for_client(chain);
        assert_eq!(caller.refused_for(&wrong)?, "token_mismatch", "{chain}");
        gateway.audit(1, |entry| entry["from"] == client)?;
    }
    Ok(())
}

#[test]
fn another_header_names_the_client_only_where_that_is_said() -> TestResult {
    let proxies = json!({"trustedProxies": ["127.0.0.2"]});
    let by_real_ip = |gateway: &Gateway| gateway.caller().from(2).with("X-Real-IP", "203.0.113.5");
    let gateway = Gateway::with_token(proxies.clone())?;
    assert!(by_real_ip(&gateway).upgrade()?.is_err());

    let mut config = proxies;
    config["allowRealIpFallback"] = json!(true);
    let gateway = Gateway::with_token(config)?;
    let wrong = Program::cli().showing("token", "wrong");
    let caller = by_real_ip(&gateway);
    assert_eq!(caller.refused_for(&wrong)?, "token_mismatch");
    gateway.audit(1, |entry| entry["from"] == "203.0.113.5")?;
    Ok(())
}

#[test]
fn a_client_behind_a_proxy_is_not_local() -> TestResult {
    let gateway = Gateway::with_token(json!({"trustedProxies": ["127.0.0.2"]}))?;
    let cli = Program::cli().showing("token", TOKEN);
    let local = gateway.caller().enter(&cli)?;
    assert_eq!(local["scopes"], json!(["operator.admin"]));
    let remote = gateway.caller().from(2).for_client("203.0.113.5");
    assert_eq!(remote.enter(&cli)?["scopes"], json!([]));
    let error = remote.refused(&cli.on_device(5))?;
    assert_eq!(error["details"]["code"], "PAIRING_REQUIRED", "{error}");
    Ok(())
}

#[test]
fn a_proxy_may_narrow_the_scopes_of_its_users() -> TestResult {
    let gateway = Gateway::start(&config())?;
    for (header, scopes) in [
        (
            "operator.read, operator.nonsense",
            json!(["operator.read", "operator.sessions.read"]),
        ),
        ("", json!([])),
    ] {
        let caller = for_ada(&gateway).with("X-OpenClaw-Scopes", header);
        let auth = caller.enter(&Program::control_ui(7))?;
        assert_eq!(auth["scopes"], scopes, "{header}");
    }
    Ok(())
}

#[test]
fn probes_answer_through_any_proxy_and_tell_nothing() -> TestResult {
    let gateway = Gateway::start(&config())?;
    for caller in [
        gateway.caller().from(9).for_client("203.0.113.5"),
        gateway.caller().from(2).for_client("203.0.113.5"),
        for_ada(&gateway),
    ] {
        for (path, body) in [
            ("/healthz", json!({"ok": true, "status": "live"})),
            ("/readyz", json!({"ready": true})),
            ("/startupz", json!({"ok": true, "status": "started"})),
        ] {
            let answer = caller.get(path)?;
            assert_eq!((answer.status, answer.json()?), (200, body), "{path}");
        }
    }
    Ok(())
}

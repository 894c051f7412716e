//! Limits on guessing.

use clawgate_tests::failure::TestResult;
use serde_json::{Value, json};

use crate::caller::{Caller, Program};
use crate::gateway::{Gateway, TOKEN};

/// Three wrong secrets lock for ten minutes, on this machine too. 127.0.0.2 is a trusted proxy.
fn strict() -> Value {
    json!({
        "auth": {"rateLimit": {
            "maxAttempts": 3, "windowMs": 600_000, "lockoutMs": 600_000, "exemptLoopback": false,
        }},
        "trustedProxies": ["127.0.0.2"],
    })
}

fn right() -> Program {
    Program::cli().showing("token", TOKEN)
}

fn wrong() -> Program {
    Program::cli().showing("token", "a-wrong-guess")
}

/// Guesses until the lockout.
fn lock_out(caller: &Caller) -> TestResult {
    for _ in 0..3 {
        assert_eq!(caller.refused_for(&wrong())?, "token_mismatch");
    }
    Ok(())
}

fn is_locked(caller: &Caller) -> TestResult<bool> {
    let answer = caller.connect(&right())?;
    let code = &answer["error"]["details"]["code"];
    assert!(
        answer["ok"] == true || code == "AUTH_RATE_LIMITED",
        "{answer}"
    );
    Ok(answer["ok"] == false)
}

#[test]
fn a_guesser_is_locked_out_and_others_are_not() -> TestResult {
    let gateway = Gateway::with_token(strict())?;
    let (guesser, other) = (gateway.caller().from(5), gateway.caller().from(6));
    lock_out(&guesser)?;
    // The right token does not help now: it may have been guessed.
    let error = guesser.refused(&right())?;
    assert_eq!(error["details"]["code"], "AUTH_RATE_LIMITED", "{error}");
    assert_eq!(error["retryable"], true);
    let wait = error["retryAfterMs"].as_u64().unwrap_or_default();
    assert!((1..=600_000).contains(&wait), "{error}");
    assert!(!is_locked(&other)?);
    gateway.audit(1, |entry| entry["reason"] == "rate_limited")?;
    Ok(())
}

#[test]
fn kinds_of_credentials_are_counted_apart() -> TestResult {
    let gateway = Gateway::with_token(strict())?;
    let caller = gateway.caller().from(5);
    let device = Program::cli().on_device(5);
    let auth = caller.enter(&device.clone().showing("token", TOKEN))?;
    let token = auth["deviceToken"].as_str().unwrap_or_default().to_owned();
    lock_out(&caller)?;
    assert!(is_locked(&caller)?);
    let own = device.clone().showing("deviceToken", &token);
    assert_eq!(caller.enter(&own)?["method"], "device-token");

    // And the other way round.
    let caller = gateway.caller().from(6);
    for _ in 0..3 {
        let error = caller.refused(&device.clone().showing("deviceToken", "guess"))?;
        assert_eq!(
            error["details"]["code"], "AUTH_DEVICE_TOKEN_MISMATCH",
            "{error}"
        );
    }
    let error = caller.refused(&own)?;
    assert_eq!(error["details"]["code"], "AUTH_RATE_LIMITED", "{error}");
    assert!(!is_locked(&caller)?);
    Ok(())
}

#[test]
fn success_forgets_and_silence_is_no_guess() -> TestResult {
    let gateway = Gateway::with_token(strict())?;
    let caller = gateway.caller().from(5);
    for _ in 0..3 {
        for _ in 0..2 {
            assert_eq!(caller.refused_for(&wrong())?, "token_mismatch");
        }
        assert!(!is_locked(&caller)?);
    }
    for _ in 0..5 {
        let error = caller.refused(&Program::cli())?;
        assert_eq!(
            error["details"]["code"], "DEVICE_IDENTITY_REQUIRED",
            "{error}"
        );
        assert_eq!(
            caller.refused_for(&Program::cli().on_device(5))?,
            "token_missing"
        );
    }
    assert!(!is_locked(&caller)?);
    Ok(())
}

#[test]
fn http_and_the_websocket_count_together() -> TestResult {
    let gateway = Gateway::with_token(strict())?;
    let caller = gateway.caller().from(2).for_client("203.0.113.5");
    for _ in 0..2 {
        assert_eq!(caller.clone().bearing("guess").get("/readyz")?.status, 401);
    }
    assert_eq!(caller.refused_for(&wrong())?, "token_mismatch");
    assert!(is_locked(&caller)?);
    let locked = caller.clone().bearing(TOKEN).get("/readyz")?;
    assert_eq!(locked.status, 429);
    let wait: u64 = locked.header("retry-after").unwrap_or_default().parse()?;
    assert!((1..=600).contains(&wait), "{}", locked.head);
    assert_eq!(locked.json()?["error"]["type"], "rate_limited");
    // Whether the gateway lives is nobody's secret.
    assert_eq!(caller.bearing(TOKEN).get("/healthz")?.status, 200);
    Ok(())
}

#[test]
fn behind_a_proxy_each_client_has_its_own_count() -> TestResult {
    let gateway = Gateway::with_token(strict())?;
    let client = |ip: &str| gateway.caller().from(2).for_client(ip);
    lock_out(&client("203.0.113.5"))?;
    for same in [
        "203.0.113.5",
        "::ffff:203.0.113.5",
        "198.51.100.1, 203.0.113.5",
    ] {
        assert!(is_locked(&client(same))?, "{same}");
    }
    // Nobody is locked out by what a client wrote in front of the chain.
    assert!(!is_locked(&client("198.51.100.1"))?);
    assert!(!is_locked(&client("203.0.113.6"))?);
    Ok(())
}

#[test]
fn one_network_of_ipv6_is_one_client() -> TestResult {
    let gateway = Gateway::with_token(strict())?;
    let client = |ip: &str| gateway.caller().from(2).for_client(ip);
    for last in 1..=3 {
        let caller = client(&format!("2001:db8:1:2::{last}"));
        assert_eq!(caller.refused_for(&wrong())?, "token_mismatch");
    }
    assert!(is_locked(&client("2001:db8:1:2:ffff::4"))?);
    assert!(!is_locked(&client("2001:db8:1:3::4"))?);
    Ok(())
}

#[test]
fn many_addresses_do_not_end_a_lockout() -> TestResult {
    let gateway = Gateway::with_token(strict())?;
    let guesser = gateway.caller().from(5);
    lock_out(&guesser)?;
    for last in 10..=250 {
        let caller = gateway.caller().from(last);
        assert_eq!(caller.refused_for(&wrong())?, "token_mismatch");
    }
    assert!(is_locked(&guesser)?);
    assert!(!is_locked(&gateway.caller().from(6))?);
    Ok(())
}

#[test]
fn another_origin_for_each_guess_is_no_way_out() -> TestResult {
    let gateway = Gateway::with_token(strict())?;
    for port in 1..=3 {
        let origin = format!("http://localhost:{port}");
        let caller = gateway.caller().from(5).with("Origin", &origin);
        assert_eq!(caller.refused_for(&wrong())?, "token_mismatch");
    }
    let next = gateway
        .caller()
        .from(5)
        .with("Origin", "http://localhost:9");
    let error = next.refused(&right())?;
    assert_eq!(error["details"]["code"], "AUTH_RATE_LIMITED", "{error}");
    Ok(())
}

#[test]
fn this_machine_is_slowed_down_and_not_locked_out() -> TestResult {
    let mut config = strict();
    config["auth"]["rateLimit"]["exemptLoopback"] = json!(true);
    let gateway = Gateway::with_token(config)?;
    let caller = gateway.caller();
    for _ in 0..4 {
        assert_eq!(caller.refused_for(&wrong())?, "token_mismatch");
    }
    assert!(!is_locked(&caller)?);
    // A page is counted by its origin, and locked out alone.
    let page = gateway.caller().with("Origin", "http://localhost:5173");
    lock_out(&page)?;
    let error = page.refused(&right())?;
    assert_eq!(error["details"]["code"], "AUTH_RATE_LIMITED", "{error}");
    assert!(!is_locked(&caller)?);
    Ok(())
}

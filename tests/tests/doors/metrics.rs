//! `/metrics` on the gateway's own port: who may read it, and that it counts what really came.

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::openmetrics::{self, Numbers};
use serde_json::json;

use crate::caller::{Answer, Caller, Program};
use crate::gateway::{Gateway, TOKEN};

const CLIENT: &str = "203.0.113.5";

fn read(answer: &Answer) -> TestResult<Numbers> {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    openmetrics::read(&answer.body).map_err(Failure::new)
}

#[test]
fn the_numbers_are_for_this_machine_and_for_those_who_authorise() -> TestResult {
    let gateway = Gateway::with_token(json!({"trustedProxies": ["127.0.0.2"]}))?;
    let path = "/metrics";
    let local = gateway.caller();
    read(&local.get(path)?)?;
    let head = local.ask("HEAD", path)?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(local.ask("POST", path)?.status, 405);

    // Elsewhere, by a proxy that is trusted; and what only looks like this machine.
    let remote = gateway.caller().from(2).for_client(CLIENT);
    let refused = remote.get(path)?;
    assert_eq!(refused.status, 401);
    assert!(!refused.body.contains("clawgate_"), "{refused:?}");
    assert_eq!(remote.clone().bearing("guess").get(path)?.status, 401);
    read(&remote.bearing(TOKEN).get(path)?)?;
    let spoofed: Caller = gateway.caller().for_client("127.0.0.1");
    assert_eq!(spoofed.get(path)?.status, 403);

    // Pages in a browser of this machine.
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        let page = gateway.caller().with(name, value);
        assert_eq!(page.get(path)?.status, 403, "{name}");
    }
    let rebound = gateway
        .caller()
        .with("Host", "evil.example")
        .with("Sec-Fetch-Site", "same-origin");
    assert_eq!(rebound.get(path)?.status, 403);
    Ok(())
}

#[test]
fn what_came_is_counted() -> TestResult {
    let gateway = Gateway::with_token(json!({}))?;
    let caller = gateway.caller();
    caller.enter(&Program::cli().showing("token", TOKEN))?;
    let wrong = Program::cli().showing("token", "canary-of-a-guess");
    caller.refused(&wrong)?;
    let answer = caller.get("/metrics")?;
    let numbers = read(&answer)?;
    let handshakes = |result| numbers.get("clawgate_handshakes_total", &[("result", result)]);
    assert_eq!(handshakes("ok"), 1.0);
    assert_eq!(handshakes("AUTH_TOKEN_MISMATCH"), 1.0);
    assert_eq!(numbers.get("clawgate_connections_accepted_total", &[]), 2.0);
    // What was decided is written down; nobody waits for that.
    Deadline::after(PATIENCE).poll("a commit", || {
        let numbers = read(&caller.get("/metrics")?)?;
        let commits = numbers.get("clawgate_store_commits_total", &[("result", "ok")]);
        let times = numbers.get("clawgate_store_commit_duration_seconds_sum", &[]);
        Ok((commits >= 1.0 && times > 0.0).then_some(()))
    })?;
    for secret in [TOKEN, "canary-of-a-guess"] {
        assert!(!answer.body.contains(secret), "{secret}");
    }
    let old = caller.with("Accept", "text/plain").get("/metrics")?;
    assert_eq!(
        old.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(old.body.contains("# TYPE clawgate_calls_total counter\n"));
    Ok(())
}

//! The shared secret changes while clients come and go, and nobody is turned away in the time of
//! grace.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use clawgate_tests::failure::{Attempt, TestResult};
use clawgate_tests::gateway_process::GatewayProcess;
use clawgate_tests::raw_client::{Closed, RawClient, operator_params};
use serde_json::{Value, json};

/// Comings and goings of each client before and after each step.
const ROUNDS: usize = 10;

const ADMIN: &[&str] = &["operator.admin"];

fn write_token(gateway: &GatewayProcess, token: &str) -> TestResult {
    let path = gateway.state_dir().join("openclaw.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
    if let Some(place) = config.pointer_mut("/gateway/auth/token") {
        *place = json!(token);
    }
    Ok(fs::write(path, config.to_string())?)
}

/// Connects, asks, leaves, and reports each round until it is told to stop.
fn come_and_go(url: &str, token: &str, stop: &AtomicBool, report: &Sender<TestResult>) {
    while !stop.load(Ordering::Relaxed) {
        let round = RawClient::operator(url, token, &["operator.read"]).and_then(|mut client| {
            client.call("health", json!({}))?.payload()?;
            client.call("status", json!({}))?.payload()?;
            Ok(())
        });
        let failed = round.is_err();
        if report.send(round).is_err() || failed {
            return;
        }
    }
}

fn rounds(reports: &[&Receiver<TestResult>]) -> TestResult {
    for reports in reports {
        // What happened so far happened before.
        for report in reports.try_iter() {
            report?;
        }
        for _ in 0..ROUNDS {
            reports.recv()?.attempt(|| "in a round".to_owned())?;
        }
    }
    Ok(())
}

fn auth_changed() -> Closed {
    Closed {
        code: 4001,
        reason: "gateway auth changed".to_owned(),
    }
}

fn is_refused(gateway: &GatewayProcess, token: &str) -> TestResult<bool> {
    let mut client = RawClient::dial(&gateway.url())?;
    client.event("connect.challenge")?;
    let error = client
        .call("connect", operator_params(token, ADMIN))?
        .refusal()?;
    Ok(error.pointer("/details/code") == Some(&json!("AUTH_TOKEN_MISMATCH")))
}

#[test]
fn a_rotation_under_load_turns_nobody_away() -> TestResult {
    let mut gateway = GatewayProcess::start()?;
    let (url, old) = (gateway.url(), gateway.token().to_owned());
    let mut admin = RawClient::operator(&url, &old, ADMIN)?;
    let mut lasting = RawClient::operator(&url, &old, ADMIN)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (old_report, old_rounds) = channel();
        let (new_report, new_rounds) = channel();
        scope.spawn(|| {
            let report = old_report;
            come_and_go(&url, &old, &stop, &report);
        });
        let tested = (|| -> TestResult {
            rounds(&[&old_rounds])?;
            write_token(&gateway, "token-number-two")?;
            let answer = admin.call("secrets.reload", json!({"graceMs": 3_600_000}))?;
            assert_eq!(answer.payload()?["changed"], true);
            scope.spawn(|| {
                let report = new_report;
                come_and_go(&url, "token-number-two", &stop, &report);
            });
            rounds(&[&old_rounds, &new_rounds])?;
            // Whoever was in stays in, and is known to need the new secret.
            lasting.call("health", json!({}))?.payload()?;
            let status = admin.call("secrets.status", json!({}))?.payload()?;
            assert!(status["retired"][0]["clientCount"].as_u64() >= Some(2));
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        tested
    })?;

    // The grace outlives the process.
    gateway.stop()?;
    gateway.restart()?;
    let mut by_old = RawClient::operator(&url, &old, ADMIN)?;
    let mut by_new = RawClient::operator(&url, "token-number-two", ADMIN)?;

    // And it ends: here because the next change leaves none.
    write_token(&gateway, "token-number-three")?;
    by_new
        .call("secrets.reload", json!({"graceMs": 0}))?
        .payload()?;
    assert_eq!(by_old.closed()?, auth_changed());
    assert_eq!(by_new.closed()?, auth_changed());
    for gone in [old.as_str(), "token-number-two"] {
        assert!(is_refused(&gateway, gone)?, "{gone}");
    }
    let log = gateway.log();
    assert!(!log.contains("token-number"), "{log}");
    Ok(())
}

#[test]
fn an_old_secret_ends_on_time() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let mut by_old = RawClient::operator(&gateway.url(), gateway.token(), ADMIN)?;
    write_token(&gateway, "token-number-two")?;
    by_old
        .call("secrets.reload", json!({"graceMs": 1_000}))?
        .payload()?;
    assert_eq!(by_old.closed()?, auth_changed());
    assert!(is_refused(&gateway, gateway.token())?);
    RawClient::operator(&gateway.url(), "token-number-two", ADMIN)?;
    Ok(())
}

#[test]
fn a_secret_that_cannot_be_read_leaves_the_old_one_in_force() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let mut admin = RawClient::operator(&gateway.url(), gateway.token(), ADMIN)?;
    write_token(&gateway, "${NEVER_SET}")?;
    let error = admin.call("secrets.reload", json!({}))?.refusal()?;
    assert_eq!(error["code"], "UNAVAILABLE");
    let message = error["message"].as_str().unwrap_or_default();
    for part in [
        "secrets.reload failed",
        "gateway.auth.token",
        "NEVER_SET is not set",
        "old secret stays valid",
    ] {
        assert!(message.contains(part), "{message}");
    }
    RawClient::operator(&gateway.url(), gateway.token(), ADMIN)?;
    admin.call("health", json!({}))?.payload()?;
    Ok(())
}

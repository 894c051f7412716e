//! The change of the shared secret, as operators and clients meet it, in virtual time.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::time::Duration;

use clawgate_core::config::AuthMode;
use clawgate_core::gateway::{Effect, EffectOutcome, ServerSecrets};
use clawgate_core::ids::ConnId;
use clawgate_core::policy::server_auth::{ServerSecret, ServerSecretSource};
use clawgate_core::secret::Secret;
use clawgate_core::server::PeerFacts;
use clawgate_core::store::StoreFailure;
use common::{Host, connect_params, token_rule};
use serde_json::{Value, json};

const ADMIN: &[&str] = &["operator.admin"];
const OLD: &str = "hunter2-old";
const NEW: &str = "hunter2-new";
const MINUTE: Duration = Duration::from_secs(60);

fn host() -> Host {
    Host::new(token_rule(OLD))
}

fn read(token: &str, source: ServerSecretSource) -> EffectOutcome {
    EffectOutcome::Secrets(Box::new(ServerSecrets {
        mode: AuthMode::Token,
        secret: Some(ServerSecret {
            secret: Secret::new(token),
            source,
        }),
        warnings: vec!["a warning".into()],
    }))
}

/// Calls `secrets.reload`; the host finds this token.
fn reload(host: &mut Host, conn: ConnId, grace_ms: u64, token: &str) -> Value {
    host.call(conn, "r", "secrets.reload", json!({ "graceMs": grace_ms }));
    let request = host.effects.pop().expect("an effect");
    assert_eq!(request.effect, Effect::ReadSecrets);
    host.complete(request.id, read(token, ServerSecretSource::ConfigAuth));
    host.recv_response(conn)
}

/// Whether a token lets a local client in; says why not.
fn enters(host: &mut Host, token: &str) -> Result<ConnId, String> {
    let conn = host.open();
    host.recv(conn);
    host.call(conn, "1", "connect", connect_params(token, ADMIN));
    host.advance(Duration::from_secs(2));
    let answer = host.recv_response(conn);
    if answer["ok"] == true {
        Ok(conn)
    } else {
        Err(answer["error"]["details"]["code"].as_str().unwrap().into())
    }
}

fn status(host: &mut Host, conn: ConnId) -> Value {
    let status = host.get(conn, "secrets.status", json!({}));
    assert!(!status.to_string().contains("hunter2"));
    status
}

const MISMATCH: &str = "AUTH_TOKEN_MISMATCH";
const CLOSED: Option<(u16, &str)> = Some((4001, "gateway auth changed"));

fn closed(host: &Host, conn: ConnId) -> Option<(u16, String)> {
    host.closed(conn)
}

fn is_closed(host: &Host, conn: ConnId) -> bool {
    let closed = closed(host, conn);
    closed
        .as_ref()
        .map(|(code, reason)| (*code, reason.as_str()))
        == CLOSED
}

#[test]
fn both_secrets_count_for_the_time_of_grace_and_then_the_old_one_ends_with_its_clients() {
    let mut host = host();
    let early = host.connect(OLD, ADMIN);
    let answer = reload(&mut host, early, 600_000, NEW);
    assert_eq!(answer["payload"]["ok"], true, "{answer}");
    assert_eq!(answer["payload"]["changed"], true);
    assert_eq!(answer["payload"]["warningCount"], 1);
    assert!(!answer.to_string().contains("hunter2"));

    let by_new = enters(&mut host, NEW).unwrap();
    let by_old = enters(&mut host, OLD).unwrap();
    assert_eq!(enters(&mut host, "guess"), Err(MISMATCH.into()));
    let shown = status(&mut host, by_new);
    assert_eq!(shown["source"], "config.auth");
    assert_eq!(shown["current"]["clientCount"], 1);
    let [retired] = shown["retired"].as_array().unwrap().as_slice() else {
        panic!("{shown}");
    };
    assert_eq!(retired["clientCount"], 2);
    assert_eq!(retired["clients"][0]["clientId"], "cli");
    let (since, until) = (&retired["retiredAtMs"], &retired["expiresAtMs"]);
    assert_eq!(until.as_u64().unwrap() - since.as_u64().unwrap(), 600_000);

    host.advance(9 * MINUTE);
    assert!(closed(&host, by_old).is_none());
    host.advance(MINUTE);
    assert!(is_closed(&host, early) && is_closed(&host, by_old));
    assert!(closed(&host, by_new).is_none());
    assert_eq!(enters(&mut host, OLD), Err(MISMATCH.into()));
    assert_eq!(status(&mut host, by_new)["retired"], json!([]));
    assert!(host.disk.rows.is_empty(), "nothing of the old one is kept");
}

#[test]
fn without_a_word_the_old_secret_ends_at_once_after_the_answer() {
    let mut host = host();
    let (caller, other) = (host.connect(OLD, ADMIN), host.connect(OLD, ADMIN));
    let owner = host.open_peer(PeerFacts::owner()).unwrap();
    host.recv(owner);
    host.call(owner, "1", "connect", connect_params("", ADMIN));
    host.recv(owner);
    host.call(caller, "r", "secrets.reload", json!({}));
    let request = host.effects.pop().unwrap();
    host.complete(request.id, read(NEW, ServerSecretSource::Env));
    assert_eq!(host.recv_response(caller)["payload"]["retired"], json!([]));
    assert!(is_closed(&host, caller) && is_closed(&host, other));
    assert!(
        closed(&host, owner).is_none(),
        "who came by no secret stays"
    );
    assert_eq!(enters(&mut host, OLD), Err(MISMATCH.into()));
    assert!(enters(&mut host, NEW).is_ok());
}

#[test]
fn no_grace_ends_earlier_secrets_too() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    reload(&mut host, conn, 600_000, NEW);
    let by_new = enters(&mut host, NEW).unwrap();
    reload(&mut host, by_new, 0, "hunter2-newest");
    assert!(is_closed(&host, conn) && is_closed(&host, by_new));
    for gone in [OLD, NEW] {
        assert_eq!(enters(&mut host, gone), Err(MISMATCH.into()), "{gone}");
    }
    assert!(host.disk.rows.is_empty());
}

#[test]
fn an_unchanged_secret_changes_nothing() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    let answer = reload(&mut host, conn, 0, OLD);
    assert_eq!(answer["payload"]["changed"], false, "{answer}");
    assert!(closed(&host, conn).is_none());
}

#[test]
fn what_cannot_be_read_keeps_the_old_secret_and_says_why() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    let other_mode = EffectOutcome::Secrets(Box::new(ServerSecrets {
        mode: AuthMode::Password,
        secret: None,
        warnings: Vec::new(),
    }));
    let none = EffectOutcome::Secrets(Box::new(ServerSecrets {
        mode: AuthMode::Token,
        secret: None,
        warnings: Vec::new(),
    }));
    for (outcome, why) in [
        (
            EffectOutcome::Failed("gateway.auth.token refers to file:main:/a".into()),
            "secrets.reload failed: gateway.auth.token refers to file:main:/a. The old secret stays",
        ),
        (other_mode, "gateway.auth.mode is password by now"),
        (none, "no secret is configured any more"),
        (EffectOutcome::Done, "an answer of the wrong kind"),
    ] {
        host.call(conn, "r", "secrets.reload", json!({}));
        let request = host.effects.pop().unwrap();
        host.complete(request.id, outcome);
        let answer = host.recv_response(conn);
        assert_eq!(answer["error"]["code"], "UNAVAILABLE");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(why), "{message}");
        assert!(closed(&host, conn).is_none());
        assert!(enters(&mut host, OLD).is_ok());
    }
    // A host that never answers.
    host.call(conn, "r", "secrets.reload", json!({}));
    host.advance(MINUTE);
    let message = host.recv_response(conn)["error"]["message"].to_string();
    assert!(message.contains("took too long"), "{message}");
}

#[test]
fn only_admins_change_secrets_and_the_grace_is_bounded() {
    let mut host = host();
    let reader = host.connect(OLD, &["operator.read", "operator.write"]);
    for method in ["secrets.reload", "secrets.rotate", "secrets.status"] {
        let answer = host.ask(reader, method, json!({}));
        assert_eq!(
            answer["error"]["details"]["missingScope"], "operator.admin",
            "{method}"
        );
    }
    let admin = host.connect(OLD, ADMIN);
    for params in [
        json!({ "graceMs": 7 * 24 * 3_600_000_u64 + 1 }),
        json!({ "graceMs": -1 }),
        json!({ "grace": "10m" }),
    ] {
        let answer = host.ask(admin, "secrets.reload", params);
        assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{answer}");
    }
    assert!(host.effects.is_empty());
}

#[test]
fn the_grace_survives_a_restart_and_ends_on_time() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    reload(&mut host, conn, 600_000, NEW);
    let kept = format!("{:?}", host.disk.rows);
    assert!(
        !host.disk.rows.is_empty() && !kept.contains("hunter2"),
        "{kept}"
    );
    host.advance(4 * MINUTE);
    let mut host = host.with_policy(|policy| policy.auth = token_rule(NEW));
    assert!(enters(&mut host, NEW).is_ok());
    let by_old = enters(&mut host, OLD).unwrap();
    host.advance(5 * MINUTE);
    assert!(closed(&host, by_old).is_none());
    host.advance(MINUTE);
    assert!(is_closed(&host, by_old));
    assert_eq!(enters(&mut host, OLD), Err(MISMATCH.into()));
}

#[test]
fn a_grace_that_ended_while_the_gateway_was_down_lets_nobody_in() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    reload(&mut host, conn, 600_000, NEW);
    // The gateway is down: time passes, and its timers do nothing.
    host.now = host.now.after(11 * MINUTE);
    let mut host = host.with_policy(|policy| policy.auth = token_rule(NEW));
    assert_eq!(enters(&mut host, OLD), Err(MISMATCH.into()));
    assert!(enters(&mut host, NEW).is_ok());
    assert!(host.disk.rows.is_empty());
}

#[test]
fn a_clock_that_was_set_back_gives_no_more_time() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    reload(&mut host, conn, 600_000, NEW);
    host.now.wall.0 -= 30 * 24 * 3_600_000;
    let mut host = host.with_policy(|policy| policy.auth = token_rule(NEW));
    let by_old = enters(&mut host, OLD).unwrap();
    host.advance(10 * MINUTE);
    assert!(is_closed(&host, by_old));
}

#[test]
fn another_kind_of_secret_does_not_inherit_the_grace() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    reload(&mut host, conn, 600_000, NEW);
    let mut host = host.with_policy(|policy| {
        policy.auth = clawgate_core::policy::AuthRule::Shared {
            kind: clawgate_core::policy::SecretKind::Password,
            secret: Some(Secret::new(NEW)),
            tailscale: clawgate_core::policy::TailscaleLogin::Off,
        };
    });
    assert!(enters(&mut host, NEW).is_ok());
    assert_eq!(enters(&mut host, OLD), Err("AUTH_PASSWORD_MISMATCH".into()));
}

#[test]
fn a_change_that_could_not_be_kept_was_not_made() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    host.disk.failure = Some(StoreFailure::Full);
    let answer = reload(&mut host, conn, 600_000, NEW);
    assert_eq!(answer["ok"], false, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("nothing was changed"), "{message}");
    assert_eq!(enters(&mut host, NEW), Err(MISMATCH.into()));
    assert!(enters(&mut host, OLD).is_ok());
    host.disk.failure = None;
    assert_eq!(reload(&mut host, conn, 600_000, NEW)["ok"], true);
    assert!(enters(&mut host, NEW).is_ok() && enters(&mut host, OLD).is_ok());
}

/// A gateway whose token is its own.
fn own_token_host() -> (Host, ConnId) {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    host.call(conn, "r", "secrets.reload", json!({}));
    let request = host.effects.pop().unwrap();
    host.complete(request.id, read(OLD, ServerSecretSource::Generated));
    host.recv_response(conn);
    (host, conn)
}

fn kept_token(effect: &Effect) -> Secret {
    match effect {
        Effect::KeepToken(token) => token.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_made_token_is_rotated_and_written_down_before_the_answer() {
    let (mut host, conn) = own_token_host();
    host.call(conn, "r", "secrets.rotate", json!({}));
    let request = host.effects.pop().unwrap();
    let token = kept_token(&request.effect);
    assert_eq!(token.expose().len(), 48);
    assert!(!format!("{request:?}").contains(token.expose()));
    assert!(
        host.try_recv(conn).is_none(),
        "answered before it is written"
    );
    // Whatever the host writes now, both let clients in.
    assert!(enters(&mut host, OLD).is_ok() && enters(&mut host, token.expose()).is_ok());
    let again = host.ask(conn, "secrets.rotate", json!({}));
    assert_eq!(again["error"]["retryable"], true, "{again}");

    host.complete(request.id, EffectOutcome::Done);
    let answer = host.recv_response(conn);
    assert_eq!(answer["payload"]["changed"], true, "{answer}");
    assert!(!answer.to_string().contains(token.expose()));
    assert!(closed(&host, conn).is_none());
    host.advance(10 * MINUTE);
    assert!(is_closed(&host, conn));
    assert_eq!(enters(&mut host, OLD), Err(MISMATCH.into()));
    assert!(enters(&mut host, token.expose()).is_ok());
}

#[test]
fn a_token_that_could_not_be_written_down_is_given_up() {
    let (mut host, conn) = own_token_host();
    // The last one ends while the host still tries.
    for grace in [0, 600_000, 1_000] {
        host.call(conn, "r", "secrets.rotate", json!({ "graceMs": grace }));
        let request = host.effects.pop().unwrap();
        let token = kept_token(&request.effect);
        host.advance(Duration::from_secs(5));
        host.complete(request.id, EffectOutcome::Failed("no space".into()));
        let by_old = enters(&mut host, OLD).unwrap();
        assert_eq!(enters(&mut host, token.expose()), Err(MISMATCH.into()));
        assert_eq!(status(&mut host, by_old)["retired"], json!([]), "{grace}");
        assert!(host.disk.rows.is_empty());
        if closed(&host, conn).is_none() {
            let answer = host.recv_response(conn);
            assert_eq!(answer["error"]["code"], "UNAVAILABLE", "{answer}");
        }
    }
    assert!(is_closed(&host, conn));
}

#[test]
fn a_rotation_goes_on_when_its_caller_leaves() {
    let (mut host, conn) = own_token_host();
    host.call(conn, "r", "secrets.rotate", json!({}));
    let request = host.effects.pop().unwrap();
    let token = kept_token(&request.effect);
    host.drop_connection(conn);
    host.complete(request.id, EffectOutcome::Failed("no space".into()));
    assert_eq!(enters(&mut host, token.expose()), Err(MISMATCH.into()));
    assert!(enters(&mut host, OLD).is_ok());
}

#[test]
fn a_configured_token_is_not_rotated() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    reload(&mut host, conn, 0, OLD);
    let answer = host.ask(conn, "secrets.rotate", json!({}));
    assert_eq!(answer["error"]["code"], "INVALID_REQUEST");
    assert!(host.effects.is_empty());
}

#[test]
fn each_guess_counts_once_and_a_lockout_holds_for_old_secrets_too() {
    let mut host = host();
    let conn = host.connect(OLD, ADMIN);
    reload(&mut host, conn, 600_000, NEW);
    let attempt = |host: &mut Host, token: &str| {
        let peer = PeerFacts::direct([203, 0, 113, 9].into());
        let conn = host.open_peer(peer).unwrap();
        host.recv(conn);
        host.call(conn, "1", "connect", connect_params(token, ADMIN));
        host.advance(Duration::from_secs(2));
        let answer = host.recv_response(conn);
        host.drop_connection(conn);
        answer["error"]["details"]["code"].clone()
    };
    for guess in 0..10 {
        let code = attempt(&mut host, &format!("guess {guess}"));
        assert_eq!(code, MISMATCH, "guess {guess}");
    }
    for token in [OLD, NEW, "guess"] {
        assert_eq!(attempt(&mut host, token), "AUTH_RATE_LIMITED", "{token}");
    }
}

#[test]
fn a_secret_that_comes_back_takes_its_clients_along() {
    let mut host = host();
    let by_old = host.connect(OLD, ADMIN);
    reload(&mut host, by_old, 600_000, NEW);
    let by_new = enters(&mut host, NEW).unwrap();
    reload(&mut host, by_old, 600_000, OLD);
    let shown = status(&mut host, by_old);
    assert_eq!(shown["current"]["clientCount"], 1, "{shown}");
    assert_eq!(shown["retired"][0]["clientCount"], 1);
    assert_eq!(shown["retired"].as_array().unwrap().len(), 1);
    host.advance(10 * MINUTE);
    assert!(is_closed(&host, by_new) && closed(&host, by_old).is_none());
}

#[test]
fn no_more_than_four_replaced_secrets_count() {
    let mut host = host();
    let first = host.connect(OLD, ADMIN);
    let mut conn = first;
    for turn in 0..5 {
        assert!(closed(&host, first).is_none());
        let token = format!("hunter2-{turn}");
        assert_eq!(reload(&mut host, conn, 600_000, &token)["ok"], true);
        conn = enters(&mut host, &token).unwrap();
    }
    assert!(is_closed(&host, first));
    assert_eq!(enters(&mut host, OLD), Err(MISMATCH.into()));
    let shown = status(&mut host, conn);
    assert_eq!(shown["retired"].as_array().unwrap().len(), 4);
    assert!(enters(&mut host, "hunter2-0").is_ok());
}

//! A client session and a gateway joined by a simulated link, in virtual time. Everything follows
//! from one seed, and a failing run names it.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

#[path = "../common/mod.rs"]
mod common;
mod pair;

use std::time::Duration;

use clawgate_core::{
    client::{CallError, Ending, Phase},
    rng::Rng,
};
use common::{Host, token_rule};
use pair::{Link, PERFECT, Pair};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn client_and_gateway_understand_each_other() {
    let mut pair = Pair::new([1; 32], "right", PERFECT);
    pair.connected(SECOND);
    assert_eq!(pair.hellos[0].protocol, Some(4));
    assert!(pair.hellos[0].offers("status"));
    for method in ["health", "status", "system-presence"] {
        pair.call(method).unwrap();
    }
    pair.run(SECOND);
    assert_eq!(pair.answered.len(), 3);
    assert!(pair.answered.iter().all(|(_, outcome)| outcome.is_ok()));
}

#[test]
fn an_idle_connection_lives_on_ticks() {
    let link = Link {
        latency: Duration::from_millis(300),
        ..PERFECT
    };
    let mut pair = Pair::new([2; 32], "right", link);
    pair.run(Duration::from_secs(3600));
    assert_eq!(pair.session.phase(), Phase::Connected);
    assert_eq!(pair.hellos.len(), 1, "{}", pair.log.join("\n"));
}

#[test]
fn a_wrong_token_is_tried_once() {
    let mut pair = Pair::new([3; 32], "wrong", PERFECT);
    pair.run(Duration::from_secs(600));
    assert_eq!(pair.session.phase(), Phase::Paused);
    assert_eq!(pair.conns, 1);
    assert_eq!(pair.gateway.connections(), 0);
}

#[test]
fn a_gateway_that_goes_silent_is_left_and_found_again() {
    let mut pair = Pair::new([4; 32], "right", PERFECT);
    pair.connected(SECOND);
    // The gateway's end is gone and nobody tells the client.
    let (id, mut conn) = pair.server.take().unwrap();
    conn.handle_closed();
    pair.gateway.close(pair.now, id);
    pair.run(Duration::from_secs(180));
    assert_eq!(pair.session.phase(), Phase::Connected);
    assert_eq!(pair.hellos.len(), 2);
    assert!(pair.log.iter().any(|line| line.contains("tick timeout")));
}

#[test]
fn a_restart_of_the_gateway_is_survived() {
    let mut pair = Pair::new([5; 32], "right", PERFECT);
    pair.connected(SECOND);
    pair.gateway.shutdown(pair.now, "restart");
    pair.run(Duration::from_millis(10));
    pair.run(Duration::from_secs(10));
    assert!(pair.log.iter().any(|line| line.contains("1012")));
    pair.gateway = Host::gateway(&token_rule("right"), &pair.limits, pair.now);
    pair.connected(Duration::from_secs(60));
}

#[test]
fn a_cut_at_any_moment_loses_no_call_and_repeats_none() {
    // The latency keeps the moments apart: before the challenge, within the handshake, between
    // calls and answers.
    for cut_at in 1..=24 {
        let link = Link {
            latency: Duration::from_millis(20),
            cut_at: Some(cut_at),
            dial_failures: 0,
        };
        let mut pair = Pair::new([6; 32], "right", link);
        let mut made = 0;
        while made < 8 {
            pair.connected(Duration::from_secs(120));
            for method in ["health", "status"] {
                made += usize::from(pair.call(method).is_some());
            }
            pair.run(SECOND);
        }
        let log = pair.log.join("\n");
        assert_eq!(pair.answered.len(), made, "cut at {cut_at}:\n{log}");
        assert!(pair.open.is_empty(), "cut at {cut_at}:\n{log}");
        let failed = pair.answered.iter().filter(|(_, outcome)| outcome.is_err());
        assert!(failed.count() <= 2, "cut at {cut_at}:\n{log}");
        assert!(pair.conns <= 2, "cut at {cut_at}:\n{log}");
        assert_eq!(pair.gateway.connections(), 1, "cut at {cut_at}:\n{log}");
    }
}

#[test]
fn a_stop_at_any_moment_comes_to_an_end() {
    for steps in 0..40 {
        let link = Link {
            latency: Duration::from_millis(20),
            ..PERFECT
        };
        let mut pair = Pair::new([7; 32], "right", link);
        pair.run(Duration::from_millis(2 * steps));
        pair.call("status");
        pair.session.stop(pair.now);
        pair.run(SECOND);
        let log = pair.log.join("\n");
        assert_eq!(pair.session.phase(), Phase::Stopped, "{steps}:\n{log}");
        assert!(pair.open.is_empty(), "{steps}:\n{log}");
        assert_eq!(pair.gateway.connections(), 0, "{steps}:\n{log}");
    }
}

/// Prints the seed when the test fails.
struct Seeded(u64);

impl Drop for Seeded {
    #[allow(clippy::print_stderr, reason = "it is what the test has to say")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

#[test]
fn whatever_happens_every_call_ends_once_and_the_client_returns() {
    for number in 0..60_u64 {
        let _seed = Seeded(number);
        let mut seed = [8; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let mut dice = Rng::new(seed);
        let link = Link {
            latency: Duration::from_millis(dice.u64() % 500),
            cut_at: None,
            dial_failures: dice.u64() % 4,
        };
        let mut pair = Pair::new(dice.seed(), "right", link);
        let mut made = 0;
        let mut cancelled = 0;
        for _ in 0..60 {
            match dice.u64() % 8 {
                0 => pair.drop_link(),
                1 => {
                    if let Some(id) = pair.open.keys().next().cloned() {
                        pair.cancel(&id);
                        cancelled += 1;
                    }
                }
                2 => pair.session.resume(pair.now),
                3 => pair.run(Duration::from_secs(dice.u64() % 90)),
                _ => made += usize::from(pair.call("status").is_some()),
            }
            pair.run(Duration::from_millis(dice.u64() % 2_000));
        }
        pair.link.dial_failures = 0;
        pair.run(Duration::from_secs(120));
        assert_eq!(pair.session.phase(), Phase::Connected);
        assert!(pair.open.is_empty());
        assert_eq!(pair.answered.len() + cancelled, made);
        for (_, outcome) in &pair.answered {
            assert!(
                matches!(outcome, Ok(_) | Err(CallError::Ended(Ending::Lost))),
                "{outcome:?}"
            );
        }
        assert_eq!(pair.gateway.connections(), 1);
        pair.call("health").unwrap();
        pair.run(SECOND);
        assert!(pair.answered.last().unwrap().1.is_ok());
    }
}

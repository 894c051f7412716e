//! Many at once: half-open, oversized and slow handshakes, and devices that ask to be paired.

use std::time::Duration;

use clawgate_core::gateway::LocalApproval;
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Failure, TestResult};
use serde_json::{Value, json};

use crate::devices::Device;
use crate::raw::{RawSocket, UPGRADE, first, frame_head};
use crate::server::{TOKEN, TestServer};

/// Of each kind.
const CROWD: usize = 400;

/// A gateway that waits no longer than a test can.
fn impatient() -> TestResult<TestServer> {
    // Both ends of every connection are in this process.
    let wanted = 8 * CROWD as u64 + 500;
    if rlimit::increase_nofile_limit(wanted)? < wanted {
        return Err(Failure::new(format!("this test needs {wanted} open files")));
    }
    TestServer::start_with(|limits| {
        limits.request_head = Duration::from_secs(3);
        limits.handshake = Duration::from_secs(3);
        limits.close_grace = Duration::from_millis(200);
    })
}

#[test]
fn broken_handshakes_by_the_thousand_do_not_disturb_a_good_client() -> TestResult {
    let server = impatient()?;
    let mut good = server.client()?;
    let mut attackers = Vec::new();
    for round in 0..CROWD {
        // Nothing at all; half a head; an upgrade and no word; a first frame that is too large; half
        // of a first frame.
        let mut silent = RawSocket::dial(server.address())?;
        let mut slow = RawSocket::dial(server.address())?;
        slow.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")?;
        let mut upgraded = RawSocket::dial(server.address())?;
        upgraded.send(UPGRADE)?;
        let mut large = RawSocket::dial(server.address())?;
        large.send(UPGRADE)?;
        large.send(frame_head(first::TEXT, 1 << 30))?;
        let mut half = RawSocket::dial(server.address())?;
        half.send(UPGRADE)?;
        half.send(frame_head(first::TEXT, 1_000))?;
        if round % 50 == 0 {
            // A byte more now and then does not give a head more time. It may be over already.
            let _ = slow.send("x");
            good.call("status", json!({}))?.payload()?;
            server.client()?.call("health", json!({}))?.payload()?;
        }
        let _ = silent.send("");
        attackers.extend([silent, slow, upgraded, large, half]);
    }
    good.call("status", json!({}))?.payload()?;
    for mut attacker in attackers {
        attacker.expect_end()?;
    }
    Deadline::after(PATIENCE).poll("the crowd to be gone", || {
        Ok((server.connections() == 1).then_some(()))
    })?;
    good.call("status", json!({}))?.payload()?;
    Ok(())
}

#[test]
fn heads_that_drip_are_cut_off_at_the_deadline_all_together() -> TestResult {
    let server = impatient()?;
    let mut good = server.client()?;
    let mut dripping = Vec::new();
    for _ in 0..100 {
        let mut socket = RawSocket::dial(server.address())?;
        socket.send("GET / HTTP/1.1\r\n")?;
        dripping.push(socket);
    }
    // They go on as long as they are let.
    let deadline = Deadline::after(PATIENCE);
    while !dripping.is_empty() {
        assert!(
            deadline.remaining().is_some(),
            "{} still drip",
            dripping.len()
        );
        dripping.retain_mut(|socket| socket.send("X-Drip: 1\r\n").is_ok());
        good.call("health", json!({}))?.payload()?;
    }
    Ok(())
}

#[test]
fn a_flood_of_pairing_requests_is_bounded_and_disturbs_nobody() -> TestResult {
    const LIMIT: usize = 20;
    let server = TestServer::start_strict(
        |limits| limits.max_pair_requests = LIMIT,
        |policy| policy.pairing.local = LocalApproval::Ask,
    )?;
    let url = server.url();
    let shared = json!({ "token": TOKEN });
    let mut admin = server.client()?;
    let pending = |list: &Value| list["pending"].as_array().map_or(0, Vec::len);

    let friend = Device::node(200).with(shared.clone());
    let (_, asked) = friend.connect(&url)?;
    let request = asked.refusal()?["details"]["requestId"].clone();
    let approve = json!({ "requestId": request });
    admin.call("device.pair.approve", approve)?.payload()?;
    let (mut connected, _) = friend.welcome(&url)?;

    let mut turned_away = 0;
    for seed in 0..60 {
        let (_, answer) = Device::node(seed).with(shared.clone()).connect(&url)?;
        let refusal = answer.refusal()?;
        assert_eq!(refusal["details"]["code"], "PAIRING_REQUIRED");
        if refusal["details"]["reason"] == "too-many-requests" {
            assert_eq!(refusal["retryable"], true);
            turned_away += 1;
        }
    }
    assert_eq!(turned_away, 60 - LIMIT);
    let list = admin.call("device.pair.list", json!({}))?.payload()?;
    assert_eq!(pending(&list), LIMIT);
    // Who is paired is served, and comes in again.
    connected.call("health", json!({}))?.payload()?;
    friend.welcome(&url)?;
    // Every answer of an operator makes room.
    let first = list["pending"][0]["requestId"].clone();
    let reject = json!({ "requestId": first });
    admin.call("device.pair.reject", reject)?.payload()?;
    let late = Device::node(150).with(shared).connect(&url)?.1.refusal()?;
    assert!(late["details"]["requestId"].is_string(), "{late}");
    Ok(())
}

//! The gateway is killed between a message and its reply.

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::bridge::{Bridge, message, post};

#[test]
fn what_was_taken_is_answered_once_and_in_order() -> TestResult {
    let bridge = Bridge::open()?;
    let mut gateway = bridge.gateway(&json!({}))?;
    let ids: Vec<String> = (0..6).map(|number| format!("m{number}")).collect();
    for id in &ids {
        let said = message(id, &format!("/echo {id}"));
        assert_eq!(post(&gateway, &said)?.status, 202);
        gateway.kill()?;
        gateway.restart()?;
        // The bridge does not know whether its message arrived, and sends it again.
        assert_eq!(post(&gateway, &said)?.status, 202);
    }
    for id in &ids {
        let part = bridge.next()?;
        assert_eq!(part["replyTo"], id.as_str(), "{part}");
    }
    assert!(!bridge.has_more());
    Ok(())
}

#[test]
fn a_reply_that_was_under_way_is_sent_again_under_its_key() -> TestResult {
    let bridge = Bridge::open()?;
    let mut gateway = bridge.gateway(&json!({}))?;
    bridge.break_after(1);
    assert_eq!(post(&gateway, &message("m1", "/echo hello"))?.status, 202);
    let part = bridge.next()?;
    gateway.kill()?;
    gateway.restart()?;
    let key = part["key"].as_str().unwrap_or_default();
    Deadline::after(PATIENCE).poll("the second try", || {
        Ok((bridge.times(key) >= 2).then_some(()))
    })?;
    assert_eq!(post(&gateway, &message("m2", "/echo next"))?.status, 202);
    assert_eq!(bridge.next()?["replyTo"], "m2");
    assert_eq!(bridge.keys().len(), 2);
    Ok(())
}

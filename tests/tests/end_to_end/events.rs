//! The published client listens to events.

use std::time::Duration;

use clawgate_tests::failure::TestResult;
use serde_json::{Value, json};

use crate::support::{both, operator};

/// More than two of the longest periods after which something is sent unasked.
const PERIODIC_PATIENCE: Duration = Duration::from_secs(125);

fn system_event(text: &str) -> Value {
    json!({"text": text, "instanceId": text, "host": "a-laptop", "mode": "local"})
}

#[test]
fn each_system_event_reaches_readers_as_the_next_presence() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("reader", operator(&gateway, &["operator.read"]))?;
    client.connect("admin", operator(&gateway, &["operator.admin"]))?;
    client.hello("reader")?;
    client.hello("admin")?;

    let mut versions = Vec::new();
    for n in 1..=5 {
        let text = format!("Node: laptop {n}");
        client.call("admin", &text, "system-event", system_event(&text))?;
        assert_eq!(client.answer("admin", &text)?["ok"], true);

        let event = client.event("reader", "presence")?;
        let entries = event["payload"]["presence"].as_array().unwrap();
        assert!(entries.iter().any(|entry| entry["text"] == text), "{event}");
        versions.push(event["stateVersion"]["presence"].as_u64().unwrap());
    }

    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    Ok(())
}

#[test]
fn sequence_numbers_have_no_gaps() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("reader", operator(&gateway, &["operator.read"]))?;
    client.connect("admin", operator(&gateway, &["operator.admin"]))?;
    client.hello("reader")?;
    client.hello("admin")?;

    let mut sequence = Vec::new();
    for n in 0..10 {
        let text = format!("event {n}");
        client.call("admin", &text, "system-event", system_event(&text))?;
        loop {
            let event = client.wait("reader", "event")?["event"].take();
            sequence.push(event["seq"].as_u64().unwrap());
            if event.to_string().contains(&text) {
                break;
            }
        }
    }

    assert!(
        sequence.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{sequence:?}"
    );
    assert_eq!(
        client
            .kept("reader")
            .filter(|report| report["saw"] == "gap")
            .count(),
        0
    );
    Ok(())
}

#[test]
fn presence_is_only_for_those_who_may_read() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("nobody", operator(&gateway, &[]))?;
    client.connect("admin", operator(&gateway, &["operator.admin"]))?;
    client.hello("nobody")?;
    client.hello("admin")?;

    client.call("admin", "1", "system-event", system_event("Node: laptop"))?;
    client.event("admin", "presence")?;
    client.call("nobody", "after", "health", json!({}))?;
    client.answer("nobody", "after")?;

    let presence = client
        .kept("nobody")
        .filter(|report| report["event"]["event"] == "presence");
    assert_eq!(presence.count(), 0);
    Ok(())
}

#[test]
fn ticks_and_health_arrive_unasked() -> TestResult {
    let (gateway, mut client) = both()?;
    client.set_patience(PERIODIC_PATIENCE);
    client.connect("a", operator(&gateway, &[]))?;
    client.hello("a")?;

    let tick = client.event("a", "tick")?;
    let health = client.event("a", "health")?;

    assert!(tick["payload"]["ts"].as_u64().unwrap() > 1_600_000_000_000);
    assert!(tick["seq"].is_u64());
    assert_eq!(health["payload"]["ok"], true);
    assert!(health["stateVersion"]["health"].is_u64());
    Ok(())
}

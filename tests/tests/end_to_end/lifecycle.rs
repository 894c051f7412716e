//! The gateway stops, starts again, and the published client follows.

use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::support::{both, operator};

#[test]
fn a_stopping_gateway_says_so_and_closes_every_session() -> TestResult {
    let (mut gateway, mut client) = both()?;
    for name in ["a", "b"] {
        client.connect(name, operator(&gateway, &["operator.read"]))?;
        client.hello(name)?;
    }

    gateway.ask_to_stop()?;

    for name in ["a", "b"] {
        let shutdown = client.event(name, "shutdown")?;
        assert!(!shutdown["payload"]["reason"].as_str().unwrap().is_empty());
        let close = client.wait(name, "close")?;
        assert_eq!(close["code"], 1012);
        assert_eq!(close["reason"], "service restart");
    }
    assert!(gateway.wait_until_stopped()?.success());
    Ok(())
}

#[test]
fn clients_come_back_after_a_restart() -> TestResult {
    let (mut gateway, mut client) = both()?;
    client.connect("a", operator(&gateway, &["operator.read"]))?;
    let before = client.hello("a")?;

    gateway.stop()?;
    client.wait("a", "close")?;
    gateway.restart()?;
    let after = client.hello("a")?;
    client.call("a", "1", "health", json!({}))?;

    assert_eq!(client.answer("a", "1")?["ok"], true);
    assert_ne!(after["server"]["connId"], before["server"]["connId"]);
    assert_eq!(after["auth"], before["auth"]);
    assert_eq!(
        client
            .kept("a")
            .filter(|report| report["saw"] == "gap")
            .count(),
        0
    );
    Ok(())
}

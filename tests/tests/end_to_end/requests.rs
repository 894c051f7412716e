//! The published client calls methods.

use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::support::{DEVICE, both, node_host, operator};

#[test]
fn a_hundred_calls_at_once_all_get_their_own_answer() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("a", operator(&gateway, &["operator.read"]))?;
    client.hello("a")?;
    let methods = ["health", "system-presence", "no.such.method", "status"];

    let calls = (0..100).map(|n| json!({"id": n.to_string(), "method": methods[n % 4]}));
    client.calls("a", calls.collect())?;

    for n in 0..100 {
        let answer = client.answer("a", &n.to_string())?;
        match n % 4 {
            0 => assert_eq!(answer["payload"]["ok"], true, "{n}"),
            1 => assert!(answer["payload"].is_array(), "{n}"),
            2 => assert_eq!(answer["error"]["code"], "FORBIDDEN", "{n}"),
            _ => assert!(answer["payload"]["runtimeVersion"].is_string(), "{n}"),
        }
    }
    Ok(())
}

#[test]
fn clients_do_not_get_each_others_answers() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("reader", operator(&gateway, &["operator.read"]))?;
    client.connect("nobody", operator(&gateway, &[]))?;
    client.hello("reader")?;
    client.hello("nobody")?;

    for name in ["reader", "nobody"] {
        client.call(name, "same-id", "system-presence", json!({}))?;
    }

    assert_eq!(client.answer("reader", "same-id")?["ok"], true);
    assert_eq!(client.answer("nobody", "same-id")?["ok"], false);
    Ok(())
}

#[test]
fn a_method_that_does_not_exist_is_named() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("a", operator(&gateway, &["operator.admin"]))?;
    client.hello("a")?;

    client.call("a", "1", "no.such.method", json!({}))?;

    let answer = client.answer("a", "1")?;
    assert_eq!(answer["error"]["code"], "INVALID_REQUEST");
    assert_eq!(answer["error"]["message"], "unknown method: no.such.method");
    Ok(())
}

#[test]
fn a_missing_scope_is_named() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("a", operator(&gateway, &["operator.read"]))?;
    client.hello("a")?;

    client.call("a", "1", "system-event", json!({"text": "hello"}))?;

    let answer = client.answer("a", "1")?;
    assert_eq!(answer["error"]["code"], "FORBIDDEN");
    assert_eq!(answer["error"]["message"], "missing scope: operator.admin");
    assert_eq!(
        answer["error"]["details"],
        json!({
            "code": "MISSING_SCOPE",
            "missingScope": "operator.admin",
            "requiredScopes": ["operator.admin"],
        })
    );
    Ok(())
}

#[test]
fn a_missing_parameter_is_named() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("a", operator(&gateway, &["operator.admin"]))?;
    client.hello("a")?;

    client.call("a", "1", "system-event", json!({}))?;

    let answer = client.answer("a", "1")?;
    assert_eq!(answer["error"]["code"], "INVALID_REQUEST");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("invalid system-event params: "),
        "{message}"
    );
    assert!(message.contains("'text'"), "{message}");
    Ok(())
}

#[test]
fn a_refused_call_leaves_the_session_open() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect("a", operator(&gateway, &["operator.read"]))?;
    client.hello("a")?;

    client.call("a", "1", "no.such.method", json!({}))?;
    client.answer("a", "1")?;
    client.call("a", "2", "health", json!({}))?;

    assert_eq!(client.answer("a", "2")?["ok"], true);
    Ok(())
}

#[test]
fn a_node_may_ask_for_health_and_not_for_what_operators_see() -> TestResult {
    let (gateway, mut client) = both()?;
    client.connect_device("a", DEVICE, node_host(&gateway))?;
    client.hello("a")?;

    client.call("a", "1", "status", json!({}))?;
    client.call("a", "2", "health", json!({}))?;

    let status = client.answer("a", "1")?;
    assert_eq!(status["error"]["code"], "INVALID_REQUEST");
    assert_eq!(status["error"]["message"], "unauthorized role: node");
    assert_eq!(client.answer("a", "2")?["ok"], true);
    Ok(())
}

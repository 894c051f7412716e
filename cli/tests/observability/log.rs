//! What the log says of connections and calls, and what it never says.

use serde_json::{Value, json};

use crate::gateway::{Gateway, TOKEN};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

fn line_of<'a>(lines: &'a [Value], id: &str) -> &'a Value {
    let found = lines.iter().find(|line| line["req"] == id);
    found.unwrap_or_else(|| panic!("no line of {id}: {lines:#?}"))
}

#[test]
fn each_call_is_one_line_with_its_end_and_its_trace_and_no_secret() {
    let gateway = Gateway::start(&["--verbose", "--log-format", "json"], &json!({}));
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let mut client = gateway.client(TOKEN, &[("traceparent", &parent)]);
    assert_eq!(client.answer("c")["ok"], true);
    let call = |id: &str, method: &str, params: Value, trace: &str| {
        let mut frame = json!({"type": "req", "id": id, "method": method, "params": params});
        if !trace.is_empty() {
            frame["traceparent"] = trace.into();
        }
        frame
    };
    let secret = json!({"text": "canary-of-the-text"});
    client.send(&call("call-1", "system-event", secret, &parent));
    assert_eq!(client.answer("call-1")["ok"], true);
    client.send(&call("call-2", "health", json!({}), "canary-of-the-trace"));
    assert_eq!(client.answer("call-2")["ok"], true);
    client.send(&call("call-3", "canary.of.a.method", json!({}), ""));
    assert_eq!(client.answer("call-3")["ok"], false);
    client.send(&call("call-4", "send", json!({"canary-of-a-name": 1}), ""));
    assert_eq!(client.answer("call-4")["ok"], false);
    let message = json!({
        "sessionKey": "main", "message": "canary-of-a-message", "idempotencyKey": "run-1",
    });
    client.send(&call("call-5", "chat.send", message, &parent));
    assert_eq!(client.answer("call-5")["ok"], true);
    let wait = json!({"runId": "run-1", "timeoutMs": 60_000});
    client.send(&call("call-6", "agent.wait", wait, ""));
    assert_eq!(client.answer("call-6")["ok"], true);
    let mut wrong = gateway.client("canary-of-a-guess", &[]);
    assert_eq!(wrong.answer("c")["ok"], false);
    let (stderr, file) = gateway.end();

    assert_eq!(lines(&stderr).len(), lines(&file).len());
    let lines = lines(&file);
    let traced = line_of(&lines, "call-1");
    for (name, value) in [
        ("level", json!("debug")),
        ("message", json!("call")),
        ("method", json!("system-event")),
        ("result", json!("ok")),
        ("traceId", json!(TRACE)),
        ("parentSpanId", json!(SPAN)),
    ] {
        assert_eq!(traced[name], value, "{traced}");
    }
    assert!(traced["durationMs"].as_f64().is_some(), "{traced}");
    assert!(traced["conn"].as_str().unwrap().starts_with("conn-"));
    let own = traced["spanId"].as_str().unwrap();
    assert!(own.len() == 16 && own != SPAN, "{traced}");
    assert_eq!(line_of(&lines, "call-2")["traceId"], Value::Null);
    // What the call caused belongs to its trace.
    let run = lines.iter().find(|line| line["message"] == "run").unwrap();
    assert_eq!(
        (&run["run"], &run["result"]),
        (&json!("run-1"), &json!("done"))
    );
    assert_eq!(run["traceId"], TRACE);
    assert_eq!(run["parentSpanId"], line_of(&lines, "call-5")["spanId"]);
    // What went wrong is told without --verbose, too.
    let unknown = line_of(&lines, "call-3");
    assert_eq!(
        (&unknown["level"], &unknown["method"]),
        (&json!("info"), &json!("unknown"))
    );
    assert_eq!(unknown["result"], "unknown_method");
    assert_eq!(line_of(&lines, "call-4")["result"], "invalid_request");
    let connect = lines.iter().find(|line| line["message"] == "connect");
    assert_eq!(connect.unwrap()["traceId"], TRACE);
    assert!(
        !file.contains("canary") && !stderr.contains("canary"),
        "{file}"
    );
}

#[test]
fn the_config_says_how_much_is_written_and_how() {
    let logging = json!({ "level": "warn", "consoleStyle": "pretty", "maxFileBytes": 65_536 });
    let gateway = Gateway::start(&[], &logging);
    let (stderr, file) = gateway.end();
    assert!(stderr.contains(" INFO  gateway ready"), "{stderr}");
    assert!(
        !stderr.contains('\u{1b}') && !file.contains("gateway ready"),
        "{file}"
    );
}

#[test]
fn a_client_that_fails_in_a_loop_does_not_fill_the_log() {
    let gateway = Gateway::start(&[], &json!({}));
    let mut client = gateway.client(TOKEN, &[]);
    assert_eq!(client.answer("c")["ok"], true);
    for number in 0..500 {
        let id = format!("n{number}");
        client.send(&json!({"type": "req", "id": id, "method": "no.such", "params": {}}));
        assert_eq!(client.answer(&id)["ok"], false);
    }
    // Something else is told all the same.
    client
        .send(&json!({"type": "req", "id": "last", "method": "logs.tail", "params": {"limit": 0}}));
    assert_eq!(client.answer("last")["ok"], false);
    let (_, file) = gateway.end();
    let lines = lines(&file);
    let repeated = lines
        .iter()
        .filter(|line| line["result"] == "unknown_method");
    let repeated = repeated.count();
    assert!((20..200).contains(&repeated), "{repeated}");
    assert_eq!(line_of(&lines, "last")["method"], "logs.tail");
}

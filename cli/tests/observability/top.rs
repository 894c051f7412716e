//! `gateway top` where its output is no terminal.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::gateway::Gateway;

fn output(gateway: &Gateway, args: &[&str]) -> String {
    let output = gateway.command(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_page_tells_what_the_gateway_has_done() {
    let gateway = Gateway::start(&[], &json!({}));
    output(&gateway, &["health"]);
    let text = output(&gateway, &["gateway", "top"]);
    for part in [
        "Gateway      clawgate ",
        "numbers since the start",
        "Connections  1 operator; 2 accepted, 0 refused, 0 closed as slow",
        "METHOD",
        "health",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(
        !text.contains("CONNECTION  ") && !text.contains('\u{1b}'),
        "{text}"
    );
    let text = output(&gateway, &["gateway", "top", "--once", "--connections"]);
    assert!(
        text.contains("CONNECTION") && text.contains("OF BUDGET"),
        "{text}"
    );

    let page = output(&gateway, &["gateway", "top", "--once", "--json", "-c"]);
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["connections"]["open"]["operator"], 1);
    let health = page["methods"].as_array().unwrap().iter();
    let health = health.clone().find(|row| row["method"] == "health");
    assert_eq!(health.unwrap()["count"], 1);
    assert_eq!(page["clients"].as_array().unwrap().len(), 1);
    assert_eq!(page["clients"][0]["client"], "cli");
}

#[test]
fn json_comes_in_each_interval_until_nobody_reads_it() {
    let gateway = Gateway::start(&[], &json!({}));
    let mut child = gateway
        .command(&["gateway", "top", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut pages = Vec::new();
    for _ in 0..3 {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        pages.push(serde_json::from_str::<Value>(&line).unwrap());
    }
    drop(out);
    assert!(child.wait().unwrap().success());
    let since_start: Vec<_> = pages.iter().map(|page| &page["sinceStart"]).collect();
    assert_eq!(since_start, [true, false, false]);
    // In each interval one call ended: the one before.
    assert_eq!(pages[2]["calls"]["count"], 1);
    assert_eq!(pages[2]["methods"][0]["method"], "clawgate.metrics");
}

#[test]
fn who_may_not_read_is_told() {
    let gateway = Gateway::start(&[], &json!({}));
    let output = gateway
        .command(&["gateway", "top", "--once", "--token", "wrong", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["ok"], false);
}

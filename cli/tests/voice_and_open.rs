//! What the desktop app does beside chatting, in a terminal: Voice Wake, and the chat page.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{SECRET, Sandbox, closed_port};
use serde_json::{Value, json};

/// A gateway of its own, with the built-in agent.
struct Gateway {
    sandbox: Sandbox,
    child: Child,
}

impl Gateway {
    fn start() -> Self {
        let config = json!({
            "gateway": {
                "mode": "local", "bind": "loopback", "port": closed_port(),
                "auth": { "mode": "token", "token": SECRET },
            },
            "agents": { "list": [{ "id": "main" }, { "id": "ops" }] },
        });
        let sandbox = Sandbox::with_config(&config.to_string());
        let mut child = sandbox
            .command(&["gateway", "run"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines
                .map_while(Result::ok)
                .any(|it| it.contains("is ready"))
        );
        Self { sandbox, child }
    }

    fn call(&self, method: &str, params: &Value) {
        let params = params.to_string();
        let outcome = self
            .sandbox
            .run(&["gateway", "call", method, "--params", &params]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }

    /// What comes of these lines, one event for each.
    fn hears(&self, lines: &str) -> Vec<Value> {
        let outcome = self.sandbox.run_with(&["voice", "--json"], lines);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let events = outcome.stdout.lines();
        events.map(|it| serde_json::from_str(it).unwrap()).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_follows_a_wake_word_is_said_where_the_gateway_routes_it() {
    let gateway = Gateway::start();
    gateway.call(
        "voicewake.set",
        &json!({ "triggers": ["Hey Bot", "Robot"] }),
    );
    let routes = json!([{ "trigger": "robot", "target": { "agentId": "ops" } }]);
    let routing = json!({ "config": { "routes": routes, "defaultTarget": { "mode": "current" } } });
    gateway.call("voicewake.routing.set", &routing);

    let events = gateway.hears(
        "a secret between us\nhey, bot! /echo one\ncomputer /echo no\nRobot:\n/echo two\n/echo no\n",
    );
    assert_eq!(
        events,
        [
            json!({
                "type": "reply", "word": "hey bot", "text": "/echo one",
                "sessionKey": "main", "reply": "one",
            }),
            json!({ "type": "listening", "word": "robot" }),
            json!({
                "type": "reply", "word": "robot", "text": "/echo two",
                "sessionKey": "agent:ops:main", "reply": "two",
            }),
        ]
    );
    let history = gateway
        .sandbox
        .run(&["sessions", "search", "secret", "--json"]);
    assert!(!history.stdout.contains("between us"), "{history:?}");

    // For people, the reply alone.
    let outcome = gateway
        .sandbox
        .run_with(&["voice"], "hey bot /echo three\n");
    assert_eq!(outcome.stdout, "three\n", "{outcome:?}");
    assert!(
        outcome.stderr.contains("wake words: hey bot, robot"),
        "{outcome:?}"
    );
}

#[test]
fn nothing_is_heard_without_a_gateway() {
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    let url = format!("ws://127.0.0.1:{}", closed_port());
    let arguments = ["voice", "--url", &url, "--token-file", &token, "--json"];
    let outcome = sandbox.run_with(&arguments, "computer hello\n");
    assert_eq!(outcome.code, 3, "{outcome:?}");
}

#[test]
fn a_gateway_without_a_page_is_said_to_have_none() {
    let gateway = Gateway::start();
    let outcome = gateway.sandbox.run(&["open", "--print", "--json"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let error = outcome.error();
    assert_eq!(error["code"], "no_chat_page");
    assert!(error["next"].as_str().unwrap().contains("clawgate chat"));
}

/// A web server that gives these answers in turn, and keeps what it was asked.
fn page_server(answers: Vec<&'static str>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let asked = Arc::clone(&seen);
    thread::spawn(move || {
        for (stream, answer) in listener.incoming().flatten().zip(answers) {
            let mut stream = stream;
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap();
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            asked.lock().unwrap().push(text);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (port, seen)
}

const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html>";

#[test]
fn the_url_of_a_page_holds_no_secret_and_none_is_sent() {
    let (port, seen) = page_server(vec![PAGE]);
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    let url = format!("ws://user:{SECRET}@127.0.0.1:{port}/ui?token={SECRET}#{SECRET}");
    let outcome = sandbox.run(&["open", "--print", "--url", &url, "--token-file", &token]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout, format!("http://127.0.0.1:{port}/ui/\n"));
    let seen = seen.lock().unwrap().join("\n");
    assert!(seen.starts_with("GET /ui/ HTTP/1.1\r\n"), "{seen}");
    assert!(!seen.contains(SECRET), "{seen}");
}

#[test]
fn a_redirect_is_followed_on_the_same_gateway_only() {
    let moved = "HTTP/1.1 302 Found\r\nLocation: /chat/?x=1\r\n\r\n";
    let (port, _) = page_server(vec![moved, PAGE]);
    let sandbox = Sandbox::new();
    let url = format!("ws://127.0.0.1:{port}");
    let flags = ["open", "--print", "--no-auth", "--json", "--url"];
    let outcome = sandbox.run(&[&flags[..], &[&url]].concat());
    let answer = outcome.json();
    assert_eq!(answer["url"], format!("http://127.0.0.1:{port}/chat/"));
    assert_eq!(answer["opened"], false);

    for elsewhere in [
        "HTTP/1.1 302 Found\r\nLocation: https://evil.example.com/\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: //evil.example.com/\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
    ] {
        let (port, _) = page_server(vec![elsewhere]);
        let url = format!("ws://127.0.0.1:{port}");
        let outcome = sandbox.run(&[&flags[..], &[&url]].concat());
        assert_eq!(outcome.error()["code"], "no_chat_page", "{elsewhere}");
    }
    let (port, _) = page_server(vec!["SSH-2.0-other\r\n"]);
    let url = format!("ws://127.0.0.1:{port}");
    let outcome = sandbox.run(&[&flags[..], &[&url]].concat());
    assert_eq!(outcome.code, 3, "{outcome:?}");
}

#[test]
fn without_a_program_that_opens_pages_the_way_out_is_named() {
    if ["/usr/bin", "/bin"]
        .iter()
        .any(|it| std::fs::exists(format!("{it}/xdg-open")).unwrap())
    {
        // It would open a browser on the desk of whoever runs the tests.
        return;
    }
    let (port, _) = page_server(vec![PAGE]);
    let url = format!("ws://127.0.0.1:{port}");
    let outcome = Sandbox::new().run(&["open", "--no-auth", "--json", "--url", &url]);
    assert_eq!(outcome.error()["code"], "not_opened", "{outcome:?}");
}

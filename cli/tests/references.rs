//! Secret references in the commands and in the gateway: what they read, what they never read, and
//! what they say when there is no value.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{SECRET, Sandbox};
use serde_json::{Value, json};

/// A sandbox with a file of secrets and a program that knows one and leaves a mark when it runs.
fn sandbox(gateway: &Value) -> Sandbox {
    let sandbox = Sandbox::new();
    let file = sandbox.write(
        "secrets.json",
        &format!(r#"{{"gw":{{"token":"{SECRET}"}}}}"#),
    );
    close(&file, 0o600);
    let text = sandbox.write(
        "vault.text",
        &format!(
            "#!/bin/sh\n: > \"$0.ran\"\necho '{{\"protocolVersion\":1,\"values\":{{\"gw\":\"{SECRET}\"}}}}'\n"
        ),
    );
    // Copied by another process: a program that anybody here holds open for writing cannot be run.
    let program = path_in(&sandbox, "vault");
    let copied = Command::new("cp").args([&text, &program]).status().unwrap();
    assert!(copied.success());
    close(&program, 0o700);
    let config = json!({
        "gateway": gateway,
        "secrets": { "providers": {
            "main": { "source": "file", "path": "~/secrets.json" },
            "vault": { "source": "exec", "command": program, "timeoutMs": 60_000 },
        }},
    });
    sandbox.write(".openclaw/openclaw.json", &config.to_string());
    sandbox
}

fn path_in(sandbox: &Sandbox, name: &str) -> String {
    sandbox.path(name).to_string_lossy().into_owned()
}

fn close(path: &str, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn file_ref() -> Value {
    json!({ "source": "file", "provider": "main", "id": "/gw/token" })
}

fn exec_ref() -> Value {
    json!({ "source": "exec", "provider": "vault", "id": "gw" })
}

fn ran(sandbox: &Sandbox) -> bool {
    Path::new(&path_in(sandbox, "vault.ran")).exists()
}

#[test]
fn files_and_programs_give_credentials() {
    for (token, shown) in [
        (file_ref(), "file:main:/gw/token"),
        (exec_ref(), "exec:vault:gw"),
    ] {
        let sandbox = sandbox(&json!({ "auth": { "mode": "token", "token": token } }));
        let outcome = sandbox.run(&["auth", "explain", "--json"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let answer = outcome.json();
        assert_eq!(answer["token"]["source"], "config.auth");
        assert_eq!(
            answer["references"],
            json!([{
                "path": "gateway.auth.token", "reference": shown, "status": "resolved", "why": null,
            }])
        );
    }
}

#[test]
fn what_is_not_needed_is_not_run() {
    let token = json!({ "auth": { "mode": "token", "token": exec_ref() } });
    let by_env = sandbox(&token).env("OPENCLAW_GATEWAY_TOKEN", SECRET);
    let outcome = by_env.run(&["auth", "explain", "--json"]);
    assert_eq!(outcome.json()["token"]["source"], "env");
    assert_eq!(outcome.json()["references"][0]["status"], "not-read");
    assert!(!ran(&by_env));

    let by_flag = sandbox(&token);
    let flag = by_flag.write("flag", SECRET);
    let outcome = by_flag.run(&["auth", "explain", "--json", "--token-file", &flag]);
    assert_eq!(outcome.json()["token"]["source"], "cli");
    assert!(!ran(&by_flag));
    let outcome = by_flag.run(&["config", "validate", "--json"]);
    assert_eq!(outcome.json()["references"][0]["status"], "not-read");
    assert!(!ran(&by_flag));
    by_flag.run(&["auth", "explain"]);
    assert!(ran(&by_flag), "the mark tells");

    let other_kind = sandbox(&json!({ "auth": {
        "mode": "token", "token": file_ref(), "password": exec_ref(),
    }}));
    assert_eq!(other_kind.run(&["auth", "explain"]).code, 0);
    assert!(!ran(&other_kind));
}

#[test]
fn a_reference_without_a_value_fails_closed_and_says_where_and_why() {
    let sandbox = sandbox(&json!({
        "auth": { "mode": "token", "token": file_ref() },
        "remote": { "token": SECRET },
    }));
    close(&path_in(&sandbox, "secrets.json"), 0o644);
    for command in [
        &["health", "--json"][..],
        &["gateway", "call", "status", "--json"],
        &["auth", "explain", "--json"],
    ] {
        let outcome = sandbox.run(command);
        assert_eq!(outcome.code, 78, "{outcome:?}");
        let error = outcome.json()["error"].clone();
        assert_eq!(error["code"], "secret_ref_unavailable", "{outcome:?}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with("gateway.auth.token refers to file:main:/gw/token"),
            "{message}"
        );
        assert!(
            message.contains("is open to others (mode 0644)"),
            "{message}"
        );
        let next = error["next"].as_str().unwrap();
        assert!(next.contains("chmod 600"), "{next}");
    }
    // The gateway does not start on it either, and does not make a token of its own.
    let outcome = sandbox.run(&["gateway", "run", "--allow-unconfigured", "--port", "0"]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert!(outcome.stderr.contains("gateway.auth.token"), "{outcome:?}");
    assert!(outcome.stderr.contains("open to others"), "{outcome:?}");
    assert!(!Path::new(&path_in(&sandbox, ".openclaw/clawgate/gateway.token")).exists());
}

#[test]
fn a_store_is_said_to_be_not_implemented() {
    let store = json!({ "source": "store", "id": "GATEWAY_TOKEN" });
    let sandbox = sandbox(&json!({ "auth": { "mode": "token", "token": store } }));
    let outcome = sandbox.run(&["health"]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("gateway.auth.token refers to store:default:GATEWAY_TOKEN")
            && outcome
                .stderr
                .contains("the source store is not implemented"),
        "{outcome:?}"
    );
}

#[test]
fn a_gateway_starts_on_a_reference_and_its_clients_come_in_by_it() {
    let sandbox = sandbox(
        &json!({ "mode": "local", "bind": "loopback", "auth": { "mode": "token", "token": exec_ref() } }),
    );
    let mut gateway = sandbox
        .command(&["gateway", "run", "--port", "0"])
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(gateway.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("ws://127.0.0.1:"));
    let Some(port) = port else {
        panic!("not ready: {:?}", gateway.wait_with_output());
    };
    let outcome = sandbox.run(&["health", "--json", "--port", port]);
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn variables_are_filled_into_the_config() {
    let sandbox = Sandbox::with_config(&format!(
        "{{ gateway: {{ mode: 'remote', remote: {{ url: 'wss://${{GW_HOST}}:${{GW_PORT}}', token: '{SECRET}' }} }} }}"
    ))
    .env("GW_HOST", "gw.example.com");
    let outcome = sandbox.run(&["config", "validate"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome
            .stdout
            .contains("gateway.remote.url: the variable GW_PORT is not set"),
        "{outcome:?}"
    );
    let sandbox = sandbox.env("GW_PORT", "8443");
    let outcome = sandbox.run(&["auth", "explain", "--json"]);
    assert_eq!(outcome.json()["url"], "wss://gw.example.com:8443");
}

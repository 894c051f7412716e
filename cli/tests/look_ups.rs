//! Commands that send nothing: `auth explain`, `url check`, `config`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{SECRET, Sandbox};
use serde_json::{Value, json};

fn explain(sandbox: &Sandbox, more: &[&str]) -> (i32, Value) {
    let outcome = sandbox.run(&[&["auth", "explain", "--json"], more].concat());
    (outcome.code, outcome.json())
}

#[test]
fn every_source_has_its_name() {
    let config = format!("{{ gateway: {{ auth: {{ token: '{SECRET}' }} }} }}");
    let cases = [
        (Sandbox::with_config(&config), "config.auth"),
        (
            Sandbox::with_config(&config.replace("auth", "remote")),
            "config.remote",
        ),
        (
            Sandbox::with_config(&config).env("OPENCLAW_GATEWAY_TOKEN", SECRET),
            "env",
        ),
    ];
    for (sandbox, source) in cases {
        let (code, answer) = explain(&sandbox, &[]);
        assert_eq!(code, 0, "{answer}");
        assert_eq!(answer["token"]["source"], source);
        assert_eq!(answer["token"]["present"], true);
        assert_eq!(answer["token"]["id"].as_str().unwrap().len(), 8);
        assert_eq!(
            answer["password"],
            json!({ "present": false, "source": "none", "id": null })
        );
        assert_eq!(answer["url"], "ws://127.0.0.1:18789");
        assert_eq!(answer["mode"], "local");
        assert!(
            answer["skipped"]
                .as_array()
                .unwrap()
                .iter()
                .all(|skipped| skipped["why"].is_string())
        );
        assert!(answer["error"].is_null());
    }
    let sandbox = Sandbox::new();
    sandbox.write(".openclaw/clawgate/gateway.token", SECRET);
    assert_eq!(explain(&sandbox, &[]).1["token"]["source"], "file");
    let token = sandbox.write("token", SECRET);
    let flags = ["--url", "wss://gw.example.com", "--token-file", &token];
    assert_eq!(explain(&sandbox, &flags).1["token"]["source"], "cli");
}

#[test]
fn the_local_token_follows_the_gateway_to_the_port_it_runs_on() {
    let sandbox = Sandbox::new();
    sandbox.write(".openclaw/clawgate/gateway.token", SECRET);
    assert_eq!(
        explain(&sandbox, &["--port", "19001"]).1["token"]["source"],
        "none"
    );
    // This test's own process stands for the gateway.
    let holder = json!({ "pid": std::process::id(), "addresses": ["ws://127.0.0.1:19001"] });
    sandbox.write(".openclaw/clawgate/gateway.lock", &holder.to_string());
    assert_eq!(
        explain(&sandbox, &["--port", "19001"]).1["token"]["source"],
        "file"
    );
    assert_eq!(
        explain(&sandbox, &["--port", "19002"]).1["token"]["source"],
        "none"
    );
    let closed = common::closed_port().to_string();
    let args = ["health", "--no-auth", "--port", &closed];
    let outcome = sandbox.run(&args);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.stderr.contains("--port 19001"), "{outcome:?}");
}

#[test]
fn errors_have_the_code_that_the_command_would_fail_with() {
    let remote = |rest: &str| {
        Sandbox::with_config(&format!(
            "{{ gateway: {{ mode: 'remote', remote: {{ url: 'wss://h.example.com', {rest} }} }} }}"
        ))
    };
    let cases = [
        (Sandbox::new(), &[][..], 4, "credentials_required"),
        (
            Sandbox::new(),
            &["--url", "wss://h"],
            4,
            "explicit_auth_required",
        ),
        (
            Sandbox::new(),
            &["--url", "ws://h.example.com"],
            2,
            "insecure_url",
        ),
        (
            Sandbox::new().env("OPENCLAW_GATEWAY_URL", "ws://h.example.com"),
            &[],
            78,
            "insecure_url",
        ),
        (
            remote("tlsFingerprint: 'zz', token: 't'"),
            &[],
            78,
            "invalid_tls_fingerprint",
        ),
        (
            remote("token: { source: 'file', provider: 'p', id: '/x' }"),
            &[],
            78,
            "secret_ref_unavailable",
        ),
        (Sandbox::with_config("{"), &[], 78, "config_invalid"),
    ];
    for (sandbox, flags, code, name) in cases {
        let (found, answer) = explain(&sandbox, flags);
        assert_eq!(found, code, "{answer}");
        assert_eq!(answer["error"]["code"], name, "{answer}");
        for field in ["message", "next"] {
            assert!(
                !answer["error"][field].as_str().unwrap().is_empty(),
                "{answer}"
            );
        }
        assert_eq!(answer["token"]["present"], false);
    }
}

#[test]
fn a_look_at_a_remote_gateway_takes_its_own_token_only() {
    let sandbox =
        Sandbox::with_config("{ gateway: { mode: 'remote', remote: { url: 'wss://h' } } }")
            .env("OPENCLAW_GATEWAY_TOKEN", SECRET);
    let (_, call) = explain(&sandbox, &["--surface", "call"]);
    let (_, probe) = explain(&sandbox, &["--surface", "probe"]);
    assert_eq!(call["token"]["source"], "env");
    assert_eq!(probe["token"]["source"], "none");
}

#[test]
fn urls_are_judged_one_line_each() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&[
        "url",
        "check",
        "--json",
        "ws://192.168.1.20:18789",
        &format!("ws://ada:{SECRET}@gw.example.com"),
    ]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let lines: Vec<Value> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["ok"], &lines[0]["class"], &lines[0]["port"]),
        (&json!(true), &json!("private"), &json!(18789))
    );
    assert_eq!(lines[1]["host"], "gw.example.com");
    assert!(lines[1]["next"].as_str().unwrap().contains("wss://"));

    let outcome = sandbox.run_with(
        &["url", "check", "-"],
        "wss://a.example.com\n\nws://[::1]\n",
    );
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout.lines().count(), 2);
}

#[test]
fn config_values_are_shown_without_secrets() {
    let sandbox = Sandbox::with_config(&format!(
        "{{ gateway: {{ port: 19001, auth: {{ mode: 'token', token: '{SECRET}' }} }} }}"
    ));
    let get = |key: &str| sandbox.run(&["config", "get", key]);
    assert_eq!(get("gateway.auth.mode").stdout, "token\n");
    assert_eq!(get("gateway.port").stdout, "19001\n");
    assert_eq!(get("gateway.auth").code, 0);
    assert_eq!(get("gateway.nothing").code, 1);
    let all = sandbox.run(&["config", "get", "--json"]);
    assert_eq!(all.json()["gateway"]["port"], 19001);
    let path = sandbox
        .run(&["config", "path", "--profile", "ops", "--json"])
        .json();
    assert_eq!(path["exists"], false);
    assert!(
        path["config"]
            .as_str()
            .unwrap()
            .ends_with("/.openclaw-ops/openclaw.json")
    );
}

#[test]
fn findings_have_a_place_and_the_nearest_key() {
    let text = "{\n  gateway: {\n    prot: 1,\n    bind: 'lann',\n  },\n}";
    let sandbox = Sandbox::with_config(text);
    let outcome = sandbox.run(&["config", "validate"]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    for part in [
        "openclaw.json:3:5: warning: gateway.prot: unknown key",
        "did you mean \"port\"?",
        "openclaw.json:4:",
        "error: gateway.bind",
    ] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome:?}");
    }
    let json = sandbox.run(&["config", "validate", "--json"]);
    assert_eq!((json.code, &json.json()["ok"]), (78, &json!(false)));
    assert_eq!(json.json()["warnings"][0]["line"], 3);

    let good = Sandbox::with_config("{ gateway: { mode: 'local' } }");
    assert_eq!(good.run(&["config", "validate"]).code, 0);
    assert_eq!(Sandbox::new().run(&["config", "validate"]).code, 0);
    let broken = Sandbox::with_config("{ a: 1 2 }").run(&["config", "validate", "--json"]);
    assert_eq!(broken.code, 78);
    assert_eq!(broken.json()["issues"][0]["line"], 1);
}

#[test]
fn a_config_that_was_named_must_exist() {
    let outcome = Sandbox::new().run(&["config", "get", "--config", "/nonexistent.json", "--json"]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert_eq!(outcome.error()["code"], "config_missing");
}

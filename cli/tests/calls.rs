//! What the client commands send and print.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;

use common::{Fake, Manner, SECRET, Sandbox, closed_port, small_gateway};
use serde_json::json;

#[test]
fn each_command_asks_for_the_least_that_it_needs() {
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    for (command, scopes) in [
        (&["health"][..], json!([])),
        (&["gateway", "status"], json!(["operator.read"])),
        (&["gateway", "probe"], json!(["operator.read"])),
        (
            &["gateway", "call", "system-event"],
            json!(["operator.admin"]),
        ),
    ] {
        let gateway = Fake::start(Manner::Answer(small_gateway));
        let url = gateway.url();
        sandbox.run(&[command, &["--url", &url, "--token-file", &token]].concat());
        let connects = gateway.connects();
        assert_eq!(connects.len(), 1, "{command:?}");
        assert_eq!(connects[0]["scopes"], scopes, "{command:?}");
        assert_eq!(connects[0]["client"]["id"], "cli");
        assert_eq!(connects[0]["client"]["mode"], "cli");
        assert_eq!(connects[0]["auth"], json!({ "token": SECRET }));
    }
}

#[test]
fn without_credentials_the_backend_client_connects_and_presents_nothing() {
    let gateway = Fake::start(Manner::Answer(small_gateway));
    let sandbox = Sandbox::new().env("OPENCLAW_GATEWAY_TOKEN", SECRET);
    let outcome = sandbox.run(&["health", "--url", &gateway.url(), "--no-auth"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let connect = &gateway.connects()[0];
    assert_eq!(connect["client"]["id"], "gateway-client");
    assert!(connect["auth"].is_null());
}

#[test]
fn secrets_from_files_and_standard_input_stay_out_of_the_process_list() {
    let mute = Fake::start(Manner::Mute);
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", &format!("{SECRET}\n"));
    let url = mute.url();
    let mut child = sandbox
        .command(&["health", "--url", &url, "--token-file", &token])
        .spawn()
        .unwrap();
    mute.wait();
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    if let Ok(arguments) = arguments {
        assert!(arguments.contains("--token-file") && !arguments.contains(SECRET));
    }

    let gateway = Fake::start(Manner::Answer(small_gateway));
    let url = gateway.url();
    let outcome = sandbox.run_with(
        &["health", "--url", &url, "--password-file", "-"],
        &format!("{SECRET}\n"),
    );
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(gateway.connects()[0]["auth"], json!({ "password": SECRET }));
}

#[test]
fn a_call_prints_the_result_as_it_came() {
    let gateway = Fake::start(Manner::Answer(|method, params| {
        Ok(json!({ "method": method, "params": params }))
    }));
    let sandbox = Sandbox::new();
    let url = gateway.url();
    let call = |params: &str, stdin: &str| {
        let args = [
            "gateway",
            "call",
            "m",
            "--url",
            &url,
            "--no-auth",
            "--params",
            params,
        ];
        sandbox.run_with(&args, stdin)
    };
    let outcome = call("{limit: 20, /* JSON5 */ q: 'x',}", "");
    assert_eq!(
        outcome.stdout,
        "{\"method\":\"m\",\"params\":{\"limit\":20,\"q\":\"x\"}}\n"
    );
    assert_eq!(call("-", "{\"a\": 1}").json()["params"], json!({ "a": 1 }));
}

#[test]
fn health_and_status_have_stable_keys() {
    let gateway = Fake::start(Manner::Answer(small_gateway));
    let sandbox = Sandbox::new();
    let url = gateway.url();
    let health = sandbox
        .run(&["health", "--url", &url, "--no-auth", "--json"])
        .json();
    assert_eq!(health["ok"], true);
    assert_eq!(health["health"]["sessions"]["count"], 2);
    assert_eq!(health["target"]["url"], url);

    let status = sandbox.run(&["status", "--all", "--url", &url, "--no-auth", "--json"]);
    assert_eq!(status.code, 0, "{status:?}");
    let status = status.json();
    assert_eq!(status["version"], "9.9.9");
    assert_eq!(status["methods"], json!(["health", "status"]));
    assert_eq!(status["results"]["status"]["uptimeMs"], 200_000);
    assert_eq!(status["errors"]["node.list"]["code"], "refused");

    let status = sandbox
        .run(&["gateway", "status", "--url", &url, "--no-auth", "--json"])
        .json();
    assert_eq!(
        (&status["ok"], &status["reachable"], &status["rpc"]["ok"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert_eq!(status["uptimeMs"], 200_000);
}

#[test]
fn text_for_people_is_plain_and_complete() {
    let gateway = Fake::start(Manner::Answer(small_gateway));
    let sandbox = Sandbox::new();
    let url = gateway.url();
    let shown = sandbox
        .run(&["status", "--deep", "--url", &url, "--no-auth"])
        .stdout;
    for part in [&url, "Health", "3 min 20 s", "main", "Sessions"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains('\u{1b}'));
}

#[test]
fn text_of_a_gateway_cannot_steer_the_terminal() {
    let gateway = Fake::start(Manner::Refuse(json!({
        "code": "INVALID_REQUEST", "message": "\u{1b}[2Jboo\u{9b}",
    })));
    let outcome = Sandbox::new().run(&["health", "--url", &gateway.url(), "--no-auth"]);
    assert!(outcome.stderr.contains("boo"), "{outcome:?}");
    assert!(
        !outcome.stderr.contains(['\u{1b}', '\u{9b}']),
        "{outcome:?}"
    );
}

#[test]
fn a_probe_looks_at_the_remote_gateway_and_at_this_machine() {
    let remote = Fake::start(Manner::Answer(small_gateway));
    let local = closed_port();
    let sandbox = Sandbox::with_config(&format!(
        "{{ gateway: {{ mode: 'remote', port: {local}, remote: {{ url: '{}', token: '{SECRET}' }} }} }}",
        remote.url()
    ));
    let outcome = sandbox.run(&["gateway", "probe", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let answer = outcome.json();
    let targets = answer["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2, "{answer}");
    let verdicts = |index: usize| {
        let target = &targets[index];
        ["reachable", "authenticated", "authorised"].map(|key| target[key].clone())
    };
    assert_eq!(verdicts(0), [json!(true), json!(true), json!(true)]);
    assert_eq!(verdicts(1), [json!(false), json!(null), json!(null)]);
    assert_eq!(targets[0]["primary"], true);
    for stage in ["tcp", "upgrade", "challenge", "hello", "call"] {
        assert!(
            targets[0]["timingsMs"][stage].is_number(),
            "{stage}: {answer}"
        );
    }
    assert!(targets[0]["timingsMs"]["tls"].is_null());
    // The remote gateway's token is for the remote gateway.
    assert_eq!(targets[1]["auth"]["token"]["present"], false);
}

#[test]
fn a_probe_tells_who_is_known_from_who_is_allowed() {
    let gateway = Fake::start(Manner::Answer(common::no_scopes));
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    let url = gateway.url();
    let args = [
        "gateway",
        "probe",
        "--url",
        &url,
        "--token-file",
        &token,
        "--json",
    ];
    let outcome = sandbox.run(&args);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    let target = &outcome.json()["targets"][0];
    assert_eq!(target["authenticated"], true);
    assert_eq!(target["authorised"], false);
    assert_eq!(
        target["error"]["rpc"]["details"]["missingScope"],
        "operator.read"
    );
}

#[test]
fn a_gateway_that_repeats_the_secret_does_not_get_it_shown() {
    let gateway = Fake::start(Manner::Refuse(json!({
        "code": "INVALID_REQUEST",
        "message": format!("unauthorized: {SECRET} is wrong"),
        "details": { "code": "AUTH_TOKEN_MISMATCH", "sent": [SECRET] },
    })));
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    let url = gateway.url();
    let args = ["health", "--url", &url, "--token-file", &token];
    assert_eq!(sandbox.run(&args).code, 4);
    let outcome = sandbox.run(&[&args[..], &["--json"]].concat());
    assert_eq!(
        outcome.error()["rpc"]["details"]["sent"],
        json!(["(secret)"])
    );
}

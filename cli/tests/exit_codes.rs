//! Every documented exit code, from the real process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{Fake, Manner, SECRET, Sandbox, closed_port, no_scopes, small_gateway, wrong_token};
use serde_json::json;

/// Each client command, as it is typed.
const CLIENTS: [&[&str]; 6] = [
    &["health"],
    &["status"],
    &["gateway", "health"],
    &["gateway", "status"],
    &["gateway", "probe"],
    &["gateway", "call", "status"],
];

fn with<'a>(command: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [command, more].concat()
}

#[test]
fn a_gateway_that_answers_is_success() {
    let gateway = Fake::start(Manner::Answer(small_gateway));
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    for command in CLIENTS {
        let url = gateway.url();
        let args = with(command, &["--url", &url, "--token-file", &token]);
        let outcome = sandbox.run(&args);
        assert_eq!(outcome.code, 0, "{args:?} {outcome:?}");
        assert_eq!(outcome.stderr, "", "{args:?}");
    }
}

#[test]
fn a_gateway_that_is_not_well_fails_the_check() {
    let gateway = Fake::start(Manner::Answer(|_, _| Ok(json!({ "ok": false }))));
    let outcome = Sandbox::new().run(&["health", "--url", &gateway.url(), "--no-auth", "--json"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(outcome.json()["ok"], false);
}

#[test]
fn a_closed_port_is_unreachable() {
    let url = format!("ws://127.0.0.1:{}", closed_port());
    let sandbox = Sandbox::new();
    for command in CLIENTS {
        let outcome = sandbox.run(&with(command, &["--url", &url, "--no-auth"]));
        assert_eq!(outcome.code, 3, "{command:?} {outcome:?}");
        assert!(outcome.stderr.contains("next: "), "{outcome:?}");
    }
}

#[test]
fn what_is_no_gateway_is_unreachable() {
    let web = Fake::start(Manner::Http);
    let outcome = Sandbox::new().run(&["health", "--url", &web.url(), "--no-auth", "--json"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert_eq!(outcome.error()["stage"], "upgrade");
}

#[test]
fn a_gateway_that_says_nothing_is_timed_out() {
    let mute = Fake::start(Manner::Mute);
    let sandbox = Sandbox::new();
    for command in CLIENTS {
        let url = mute.url();
        let args = with(command, &["--url", &url, "--no-auth", "--timeout", "200"]);
        let outcome = sandbox.run(&args);
        assert_eq!(outcome.code, 5, "{command:?} {outcome:?}");
        assert!(outcome.stderr.contains("next: "), "{outcome:?}");
    }
}

#[test]
fn a_wrong_token_is_unauthorised_and_every_command_tells_the_whole_chain() {
    let strict = Fake::start(Manner::Refuse(wrong_token()));
    let sandbox = Sandbox::new()
        .env("OPENCLAW_GATEWAY_TOKEN", SECRET)
        .env("OPENCLAW_GATEWAY_PORT", &strict.port.to_string());
    for command in CLIENTS {
        let outcome = sandbox.run(command);
        assert_eq!(outcome.code, 4, "{command:?} {outcome:?}");
        for part in [
            &strict.url(),
            "token: from env (id ",
            "correct or unset OPENCLAW_GATEWAY_TOKEN",
            "clawgate auth explain",
        ] {
            let shown = outcome.stderr.to_lowercase();
            assert!(shown.contains(&part.to_lowercase()), "{part}: {outcome:?}");
        }
        let json = sandbox.run(&with(command, &["--json"]));
        assert_eq!(json.code, 4, "{command:?}");
        let shown = json.json().to_string();
        for part in [r#""source":"env""#, &strict.url(), "AUTH_TOKEN_MISMATCH"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}

#[test]
fn a_missing_scope_is_unauthorised_and_an_rpc_error_is_refused() {
    let gateway = Fake::start(Manner::Answer(no_scopes));
    let sandbox = Sandbox::new();
    let url = gateway.url();
    let call = |method| {
        sandbox.run(&[
            "gateway",
            "call",
            method,
            "--url",
            &url,
            "--no-auth",
            "--json",
        ])
    };
    let outcome = call("status");
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(outcome.error()["auth"]["token"].is_object(), "{outcome:?}");

    let gateway = Fake::start(Manner::Answer(small_gateway));
    let url = gateway.url();
    let outcome = sandbox.run(&[
        "gateway",
        "call",
        "x.y",
        "--url",
        &url,
        "--no-auth",
        "--json",
    ]);
    assert_eq!(outcome.code, 6, "{outcome:?}");
    assert_eq!(outcome.error()["rpc"]["message"], "unknown method: x.y");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    let empty = sandbox.write("empty", " \n");
    let cases: [&[&str]; 12] = [
        &["nonsense"],
        &["health", "--nonsense"],
        &["health", "--timeout", "0"],
        &["health", "--port", "99999"],
        &["health", "--url", "ws://127.0.0.1:1", "--port", "1"],
        &["health", "--no-auth", "--token-file", &token],
        &["health", "--token", SECRET, "--token-file", &token],
        &["health", "--token-file", &empty],
        &["health", "--token-file", "/nonexistent/file"],
        &["health", "--url", "ws://gw.example.com", "--no-auth"],
        &["gateway", "call", "x", "--params", "{a: 'b' 'c'}"],
        &["health", "--profile", "a/b"],
    ];
    for args in cases {
        let outcome = sandbox.run(args);
        assert_eq!(outcome.code, 2, "{args:?} {outcome:?}");
        assert_eq!(outcome.stdout, "", "{args:?}");
        let json = sandbox.run(&with(args, &["--json"]));
        assert_eq!(json.code, 2, "{args:?} {json:?}");
        json.error();
    }
}

#[test]
fn a_broken_config_is_a_configuration_error_only_where_it_is_needed() {
    let gateway = Fake::start(Manner::Answer(small_gateway));
    let sandbox = Sandbox::with_config("{\n  gateway: {\n    port: 1 2\n}}");
    let outcome = sandbox.run(&["health", "--json"]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert_eq!(outcome.error()["line"], 3);

    let token = sandbox.write("token", SECRET);
    let url = gateway.url();
    let outcome = sandbox.run(&["health", "--url", &url, "--token-file", &token]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stderr.contains("openclaw.json:3:"), "{outcome:?}");
}

#[test]
fn a_value_that_decides_the_target_never_counts_as_absent() {
    for text in [
        "{ gateway: { auth: { token: 12345 } } }",
        "{ gateway: { mode: 'Remote' } }",
        "{ gateway: { mode: 'remote', remote: { url: 'wss://h', tlsFingerprint: 7 } } }",
    ] {
        let outcome = Sandbox::with_config(text).run(&["health", "--json"]);
        assert_eq!(outcome.code, 78, "{text} {outcome:?}");
        assert_eq!(outcome.error()["code"], "config_value_invalid");
    }
}

#[test]
fn a_url_without_credentials_is_refused_before_anything_is_sent() {
    let gateway = Fake::start(Manner::Answer(small_gateway));
    let sandbox = Sandbox::with_config("{ gateway: { auth: { token: 'from-config' } } }")
        .env("OPENCLAW_GATEWAY_TOKEN", SECRET);
    for command in CLIENTS {
        let url = gateway.url();
        let outcome = sandbox.run(&with(command, &["--url", &url, "--json"]));
        assert_eq!(outcome.code, 4, "{command:?} {outcome:?}");
        assert!(outcome.stdout.contains("explicit_auth_required"));
    }
    assert!(!gateway.was_visited());
}

#[test]
fn remote_mode_without_a_url_is_a_configuration_error() {
    let sandbox = Sandbox::with_config("{ gateway: { mode: 'remote' } }");
    let outcome = sandbox.run(&["gateway", "call", "health", "--json"]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert_eq!(outcome.error()["path"], "gateway.remote.url");
}

#[test]
fn help_and_version_are_success() {
    let sandbox = Sandbox::new();
    for args in [
        &["--help"][..],
        &["--version"],
        &["gateway", "probe", "--help"],
        &["completion", "bash"],
    ] {
        let outcome = sandbox.run(args);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{args:?}");
    }
    let help = sandbox.run(&["--help"]).stdout;
    for part in ["78  configuration", "Examples:", "--token-file"] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert_eq!(
        json!(sandbox.run(&["--version"]).stdout.starts_with("clawgate ")),
        true
    );
}

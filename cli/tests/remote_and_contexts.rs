//! `remote` and `context`: what is written, what is refused, and that no credential goes elsewhere.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Fake, Manner, SECRET, Sandbox, closed_port, small_gateway, wrong_token};
use serde_json::{Value, json};

const FILE: &str = ".openclaw/openclaw.json";

fn presented(gateway: &Fake) -> Vec<Value> {
    gateway
        .connects()
        .iter()
        .map(|connect| connect["auth"].clone())
        .collect()
}

#[test]
fn a_remote_gateway_is_set_shown_tested_and_cleared() {
    let gateway = Fake::start(Manner::Answer(small_gateway));
    let sandbox = Sandbox::with_config("{\n  // ours\n  gateway: { mode: 'local' },\n}\n");
    let token = sandbox.write("token", SECRET);
    let outcome = sandbox.run(&[
        "remote",
        "set",
        "--url",
        &gateway.url(),
        "--token-file",
        &token,
    ]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome
            .stdout
            .contains("gateway.mode: \"local\" -> \"remote\""),
        "{outcome:?}"
    );
    let text = fs::read_to_string(sandbox.path(FILE)).unwrap();
    assert!(text.contains("// ours") && text.contains(SECRET), "{text}");

    let outcome = sandbox.run(&["remote", "show"]);
    assert!(outcome.stdout.contains("set (not shown)"), "{outcome:?}");
    let outcome = sandbox.run(&["remote", "test"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.contains("Every step works."), "{outcome:?}");
    assert_eq!(presented(&gateway)[0]["token"], SECRET);

    // Another gateway gets nothing of this one.
    let other = Fake::start(Manner::Answer(small_gateway));
    let outcome = sandbox.run(&["remote", "set", "--url", &other.url()]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stderr.contains("gateway.remote.token"),
        "{outcome:?}"
    );
    assert!(
        !fs::read_to_string(sandbox.path(FILE))
            .unwrap()
            .contains(SECRET)
    );
    let outcome = sandbox.run(&["remote", "test", "--json"]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert_eq!(outcome.json()["failedStep"], "settings");
    assert!(other.connects().is_empty());

    let outcome = sandbox.run(&["remote", "clear"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(
        fs::read_to_string(sandbox.path(FILE)).unwrap(),
        "{\n  // ours\n  gateway: { mode: 'local' },\n}\n"
    );
    let outcome = sandbox.run(&["remote", "test", "--json"]);
    assert_eq!(outcome.error()["code"], "remote_not_configured");
}

#[test]
fn what_clients_refuse_is_not_written() {
    let text = "{ gateway: { mode: 'local' } }";
    let sandbox = Sandbox::with_config(text);
    let pin = "ab".repeat(32);
    for (flags, code) in [
        (&["--url", "ws://gw.example.com"][..], "insecure_url"),
        (&["--url", "gw.example.com"], "insecure_url"),
        (
            &["--url", "ws://10.0.0.1", "--tls-fingerprint", &pin],
            "tls_fingerprint_requires_wss",
        ),
        (
            &["--url", "wss://gw.example.com", "--tls-fingerprint", "ab"],
            "invalid_tls_fingerprint",
        ),
        (
            &[
                "--url",
                "wss://gw.example.com",
                "--ssh-target",
                "-oProxyCommand=x",
            ],
            "invalid_ssh_target",
        ),
        (
            &[
                "--url",
                "ws://10.0.0.1",
                "--edge-auth-ref",
                "X-Key=env:default:K",
            ],
            "edge_auth_requires_wss",
        ),
        (
            &["--url", "wss://gw.example.com", "--token-ref", "hunter"],
            "invalid_reference",
        ),
        (&["--ssh-identity", "/key"], "remote_url_missing"),
    ] {
        for command in [
            &["remote", "set", "--json"][..],
            &["context", "add", "lab", "--json"],
        ] {
            let outcome = sandbox.run(&[command, flags].concat());
            assert_eq!(outcome.code, 2, "{command:?} {flags:?} {outcome:?}");
            assert_eq!(outcome.error()["code"], code, "{outcome:?}");
        }
    }
    assert_eq!(fs::read_to_string(sandbox.path(FILE)).unwrap(), text);
    let outcome = sandbox.run(&["context", "list", "--json"]);
    assert_eq!(outcome.json()["contexts"], json!([]));
}

#[test]
fn the_first_step_that_fails_is_named() {
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    let refusing = Fake::start(Manner::Refuse(wrong_token()));
    let web = Fake::start(Manner::Http);
    let closed = format!("ws://127.0.0.1:{}", closed_port());
    for (url, code, step) in [
        (closed.as_str(), 3, "tcp"),
        (&web.url(), 3, "upgrade"),
        (&refusing.url(), 4, "authentication"),
    ] {
        let outcome = sandbox.run(&[
            "remote",
            "test",
            "--url",
            url,
            "--token-file",
            &token,
            "--json",
        ]);
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert_eq!(outcome.json()["failedStep"], step, "{outcome:?}");
    }
}

#[test]
fn no_credential_crosses_contexts() {
    let (lab, home, configured) = (
        Fake::start(Manner::Answer(small_gateway)),
        Fake::start(Manner::Answer(small_gateway)),
        Fake::start(Manner::Answer(small_gateway)),
    );
    let config = format!(
        "{{ gateway: {{ mode: 'remote', auth: {{ token: 'auth-token' }},
            remote: {{ url: '{}', token: 'remote-token', password: 'remote-password' }} }} }}",
        configured.url()
    );
    let sandbox = Sandbox::with_config(&config)
        .env("OPENCLAW_GATEWAY_TOKEN", "env-token")
        .env("OPENCLAW_GATEWAY_PASSWORD", "env-password");
    let token = sandbox.write("token", SECRET);
    let url = lab.url();
    let outcome = sandbox.run(&[
        "context",
        "add",
        "lab",
        "--url",
        &url,
        "--token-file",
        &token,
    ]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let mode = fs::metadata(sandbox.path(".openclaw/clawgate/contexts.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let outcome = sandbox.run(&["context", "add", "home", "--url", &home.url()]);
    assert_eq!(outcome.code, 0, "{outcome:?}");

    let outcome = sandbox.run(&["--context", "lab", "health"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for auth in presented(&lab) {
        assert_eq!(auth, json!({ "token": SECRET }));
    }
    // A context without a credential has none, whatever else there is.
    let outcome = sandbox.run(&["--context", "home", "health", "--json"]);
    assert_eq!(outcome.code, 4, "{outcome:?}");
    let error = outcome.error();
    assert_eq!(error["code"], "credentials_required");
    assert_eq!(
        error["target"]["context"],
        json!({ "name": "home", "from": "--context" })
    );
    assert!(home.connects().is_empty());
    let explained = sandbox.run(&["auth", "explain", "--context", "home"]);
    assert!(
        explained
            .stdout
            .contains("not env: a context takes no credentials from elsewhere"),
        "{explained:?}"
    );
    // Probes go without.
    let outcome = sandbox.run(&["gateway", "probe", "--context", "home", "--json"]);
    assert_eq!(outcome.json()["targets"][0]["target"]["url"], home.url());
    for auth in presented(&home) {
        assert!(
            auth.get("token").is_none() && auth.get("password").is_none(),
            "{auth}"
        );
    }
    assert!(
        configured.connects().is_empty(),
        "{:?}",
        configured.connects()
    );
    // Without a context, the config counts.
    let outcome = sandbox.run(&["health", "--context", "default"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(presented(&configured)[0]["token"], "remote-token");
}

#[test]
fn a_context_is_put_in_force_by_flag_environment_or_use() {
    let lab = Fake::start(Manner::Answer(small_gateway));
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    let url = lab.url();
    let flags = [
        "context",
        "add",
        "lab",
        "--url",
        &url,
        "--token-file",
        &token,
        "--use",
    ];
    let outcome = sandbox.run(&flags);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(sandbox.run(&flags).code, 2, "it is there already");
    let outcome = sandbox.run(&["status"]);
    assert!(
        outcome.stdout.contains("(context lab, by context use)"),
        "{outcome:?}"
    );
    let outcome = sandbox.run(&["context", "show"]);
    assert!(
        outcome.stdout.contains(&url) && outcome.stdout.contains("set (not shown)"),
        "{outcome:?}"
    );

    for (args, code) in [
        (
            &[
                "health",
                "--context",
                "lab",
                "--url",
                "ws://127.0.0.1:1",
                "--json",
            ][..],
            "context_and_target",
        ),
        (
            &["health", "--context", "lab", "--port", "1", "--json"],
            "context_and_target",
        ),
        (
            &["health", "--context", "gone", "--json"],
            "unknown_context",
        ),
        (
            &["health", "--context", "../x", "--json"],
            "invalid_context",
        ),
        (
            &["gateway", "run", "--context", "lab", "--json"],
            "context_not_here",
        ),
    ] {
        let outcome = sandbox.run(args);
        assert_eq!(outcome.code, 2, "{args:?} {outcome:?}");
        assert_eq!(outcome.error()["code"], code);
    }
    let outcome = sandbox.run(&["context", "use", "default"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");

    let by_env = sandbox.env("CLAWGATE_CONTEXT", "lab");
    let outcome = by_env.run(&["auth", "explain", "--json"]);
    assert_eq!(
        outcome.json()["context"],
        json!({ "name": "lab", "from": "CLAWGATE_CONTEXT" })
    );
    assert_eq!(outcome.json()["token"]["source"], "context");
    let both = by_env.env("OPENCLAW_GATEWAY_URL", "wss://elsewhere.example.com");
    let outcome = both.run(&["health", "--json"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert_eq!(outcome.error()["code"], "context_and_env_url");
    let outcome = both.run(&["context", "remove", "lab"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn each_context_and_each_profile_has_its_own_files() {
    let gateway = Fake::start(Manner::Devices);
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    for profile in ["default", "ops"] {
        let url = gateway.url();
        let flags = [
            "--profile",
            profile,
            "context",
            "add",
            "lab",
            "--url",
            &url,
            "--token-file",
            &token,
        ];
        assert_eq!(sandbox.run(&flags).code, 0, "{profile}");
    }
    let outcome = sandbox.run(&["--context", "lab", "gateway", "call", "status"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let tokens = sandbox.path(".openclaw/clawgate/device-tokens.context-lab.json");
    assert!(tokens.exists());
    assert!(
        !sandbox
            .path(".openclaw/clawgate/device-tokens.json")
            .exists()
    );
    let outcome = sandbox.run(&["context", "remove", "lab"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(!tokens.exists());
    let list = sandbox
        .run(&["--profile", "ops", "context", "list", "--json"])
        .json();
    assert_eq!(list["contexts"][0]["name"], "lab");
}

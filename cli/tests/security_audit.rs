//! `security audit` on real files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Outcome, SECRET, Sandbox};
use serde_json::Value;

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The findings about files, as `severity id name`.
fn about_files(outcome: &Outcome) -> Vec<String> {
    outcome.json()["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["id"].as_str().unwrap().starts_with("files."))
        .map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap().to_owned();
            let name = text("place").rsplit('/').next().unwrap().to_owned();
            format!("{} {} {name}", text("severity"), text("id"))
        })
        .collect()
}

#[test]
fn files_of_a_careless_owner_are_found_and_mended() {
    let sandbox = Sandbox::new();
    let config = format!(
        "{{ gateway: {{ bind: 'loopback', auth: {{ token: '{SECRET}' }}, tls: {{ certPath: '~/c.pem', keyPath: '~/k.pem' }} }} }}"
    );
    let config = sandbox.write(".openclaw/openclaw.json", &config);
    let token = sandbox.write(".openclaw/clawgate/gateway.token", SECRET);
    let key = sandbox.write("k.pem", "");
    let certificate = sandbox.write("c.pem", "");
    let backup = sandbox.write(".openclaw/clawgate/backups/old.sqlite", "");
    let damaged = sandbox.write(".openclaw/clawgate/state.sqlite.corrupt-20260101", "");
    let own = Path::new(&token).parent().unwrap();
    for (path, mode) in [
        (Path::new(&config), 0o644),
        (Path::new(&token), 0o600),
        (Path::new(&key), 0o640),
        (Path::new(&certificate), 0o644),
        (Path::new(&backup), 0o666),
        (Path::new(&damaged), 0o600),
        (own, 0o755),
        (&own.join("backups"), 0o700),
        (own.parent().unwrap(), 0o700),
    ] {
        chmod(path, mode);
    }
    let found = sandbox.run(&["security", "audit", "--json"]);
    assert_eq!(found.code, 1, "{found:?}");
    assert_eq!(
        about_files(&found),
        [
            "critical files.readable openclaw.json",
            "critical files.writable old.sqlite",
            "warn files.damaged_state state.sqlite.corrupt-20260101",
            "warn files.readable clawgate",
            "warn files.readable k.pem",
        ]
    );
    assert_eq!(mode(&config), 0o644, "looking changes nothing");

    let fixed = sandbox.run(&["security", "audit", "--fix", "--json"]);
    let changes: Vec<(Value, Value)> = fixed.json()["fixed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (change["from"].clone(), change["to"].clone()))
        .collect();
    assert_eq!(changes.len(), 4, "{changes:?}");
    assert_eq!(
        about_files(&fixed),
        ["warn files.damaged_state state.sqlite.corrupt-20260101"]
    );
    for path in [&config, &key, &backup, &token] {
        assert_eq!(mode(path), 0o600, "{path}");
    }
    assert_eq!((mode(own), mode(&certificate)), (0o700, 0o644));

    // What is left is not of this level.
    sandbox.write(
        ".openclaw/openclaw.json",
        "{ gateway: { bind: 'loopback' } }",
    );
    sandbox.write(
        ".openclaw/clawgate/gateway.token",
        &"0123456789abcdef".repeat(3),
    );
    let critical = sandbox.run(&["security", "audit", "--level", "critical"]);
    assert_eq!(critical.code, 0, "{critical:?}");
    assert!(
        critical.stdout.contains("0 critical, 1 warn"),
        "{critical:?}"
    );
}

#[test]
fn findings_say_what_to_change() {
    let sandbox = Sandbox::with_config(
        "{ gateway: { mode: 'local', bind: 'lan', auth: { mode: 'none' }, trustedProxies: ['0.0.0.0/0'],
           controlUi: { allowedOrigins: ['*'] } } }",
    )
    .env("OPENCLAW_ALLOW_INSECURE_PRIVATE_WS", "1");
    let outcome = sandbox.run(&["security", "audit"]);
    assert_eq!(outcome.code, 1);
    for line in [
        "critical  gateway  start.refuse_bind_without_auth",
        "critical  gateway.trustedProxies[0]  proxies.too_broad",
        "critical  gateway.controlUi.allowedOrigins  origins.any",
        "Write the proxy's own address.",
        "warn      OPENCLAW_ALLOW_INSECURE_PRIVATE_WS  env.break_glass",
    ] {
        assert!(outcome.stdout.contains(line), "{line}: {outcome:?}");
    }
}

#[test]
fn an_untouched_machine_passes_and_a_broken_config_does_not() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&["security", "audit", "--level", "info"]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "Nothing found.\n"),
        "{outcome:?}"
    );
    let broken = Sandbox::with_config("{ gateway: ");
    assert_eq!(broken.run(&["security", "audit"]).code, 78);
    let wrong = sandbox.run(&["security", "audit", "--level", "grave"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

//! What may be shown to strangers: the support bundle and the page of `status --all`. Secrets are planted
//! everywhere, and looked for in every writing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clawgate_core::client::IssuedToken;
use clawgate_core::credentials::TokenBook;
use clawgate_core::device::DeviceIdentity;
use clawgate_core::policy::{Endpoint, TlsTrust, UrlPolicy};
use clawgate_core::protocol::Role;
use clawgate_core::secret::Secret;
use clawgate_core::time::WallTime;
use common::{Fake, Manner, SECRET, Sandbox, closed_port, small_gateway};
use flate2::read::GzDecoder;
use serde_json::json;

/// Secrets of different places, each one of its own.
fn canary(place: &str) -> String {
    format!("canary-of-{place}-71c0b5d9e2")
}

const PLACES: [&str; 11] = [
    "older", "service", "env", "password", "bot", "unknown", "file", "kept", "device", "header",
    "notes",
];

/// A home in which every place holds a secret of its own.
fn planted() -> Sandbox {
    let sandbox = Sandbox::new()
        .env("OPENCLAW_GATEWAY_TOKEN", &canary("env"))
        .env("USER", "adalovelace");
    let secrets = sandbox.write(
        "secrets.json",
        &json!({ "token": canary("file") }).to_string(),
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let config = json!({
        "gateway": {
            "mode": "local",
            "bind": "loopback",
            "port": closed_port(),
            "auth": {
                "token": { "source": "file", "provider": "box", "id": "/token" },
                "password": canary("password"),
            },
            "remote": {
                "url": "wss://gw.example.com",
                "edgeAuth": { "X-Edge": canary("header") },
            },
            "notes": canary("unknown"),
        },
        "secrets": { "providers": { "box": {
            "source": "file", "path": secrets, "mode": "json",
        } } },
        "channels": { "telegram": { "botToken": canary("bot") } },
        "mySecretSauce": { "anything": canary("unknown") },
        "agents": { "list": [{ "id": "main", "name": canary("notes") }] },
    });
    sandbox.write(".openclaw/openclaw.json", &config.to_string());
    sandbox.write(".openclaw/clawgate/gateway.token", &canary("kept"));
    sandbox.write(".openclaw/clawgate/device-tokens.json", tokens().expose());
    sandbox.write(".openclaw/clawgate/device.key", &"k".repeat(32));
    let older = json!({ "gateway": { "auth": { "token": canary("older") } } });
    sandbox.write(".openclaw/openclaw.json.bak", &older.to_string());
    let service = format!("OPENCLAW_GATEWAY_TOKEN=\"{}\"\n", canary("service"));
    sandbox.write(".openclaw/clawgate/service.env", &service);
    let home = sandbox.path("").to_string_lossy().into_owned();
    let line = format!(
        r#"{{"timestamp":"2026-01-02T03:04:05Z","level":"WARN","fields":{{"message":"a client of adalovelace at 203.0.114.77 asked for wss://gw.example.com and {home}"}}}}"#
    );
    sandbox.write(".openclaw/clawgate/gateway.log", &format!("{line}\n"));
    sandbox
}

/// The file of a device to which a gateway gave a token.
fn tokens() -> Secret {
    let gateway = Endpoint::parse("wss://gw.example.com", UrlPolicy::Strict).unwrap();
    let device = DeviceIdentity::from_seed(&[b'k'; 32]);
    let issued = IssuedToken {
        token: Secret::new(canary("device")),
        role: "operator".into(),
        scopes: vec!["operator.read".into()],
        issued_at: None,
    };
    let mut book = TokenBook::new();
    let way = (&gateway, &TlsTrust::Authorities);
    let who = (device.id(), Role::Operator);
    assert!(book.remember(way, who, &issued, WallTime(1)));
    book.to_text()
}

fn writings(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = STANDARD.encode(secret);
    vec![
        secret.to_owned(),
        hex,
        base64[..base64.len() - 4].to_owned(),
    ]
}

fn assert_no_canary(what: &str, text: &str) {
    for place in PLACES {
        for writing in writings(&canary(place)) {
            assert!(!text.contains(&writing), "{place} in {what}:\n{text}");
        }
    }
}

fn assert_no_names(what: &str, sandbox: &Sandbox, text: &str) {
    let home = sandbox.path("").to_string_lossy().into_owned();
    let home = home.trim_end_matches('/');
    for name in [home, "adalovelace", "gw.example.com", "203.0.114.77"] {
        assert!(!text.contains(name), "{name} in {what}:\n{text}");
    }
}

fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        })
        .collect()
}

#[test]
fn a_bundle_holds_what_helps_and_no_secret() {
    let sandbox = planted();
    let to = sandbox.path("bundle.tar.gz");
    let path = to.to_string_lossy().into_owned();
    let outcome = sandbox.run(&["support", "bundle", "--to", &path, "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let answer = outcome.json();
    assert!(
        answer["secretsLookedFor"].as_u64().unwrap() >= 8,
        "{answer}"
    );

    let entries = unpacked(&to);
    let names: Vec<&str> = entries.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "about.txt",
            "config.json",
            "database.sql",
            "doctor.json",
            "log.txt",
            "status.txt",
            "versions.json"
        ]
    );
    for (name, text) in &entries {
        assert_no_canary(name, text);
        assert_no_names(name, &sandbox, text);
    }
    assert!(entries["config.json"].contains("\"bind\": \"loopback\""));
    assert!(entries["log.txt"].contains("at 203.0.x.x asked for wss://g….e….com and ~"));
    assert!(entries["status.txt"].contains("reach.tcp"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&to).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    // It can be read first, and again afterwards.
    let read = sandbox.run(&["support", "read", &path]);
    assert_eq!(read.code, 0, "{read:?}");
    for (name, text) in &entries {
        assert!(read.stdout.contains(&format!("==== {name} ")), "{name}");
        assert!(read.stdout.contains(text.as_str()), "{name}");
    }
    // Nothing is written over.
    let again = sandbox.run(&["support", "bundle", "--to", &path, "--json"]);
    assert_eq!(again.error()["code"], "support_bundle_not_written");
}

#[test]
fn a_bundle_that_would_hold_a_secret_is_not_written() {
    let quoted = "canary \"with\" quotes/and+signs";
    let secrets = [
        "env", "password", "file", "kept", "device", "bot", "header", "older", "service",
    ]
    .map(canary)
    .map(|secret| (secret.clone(), secret))
    .to_vec();
    let mut written = secrets;
    let percent: String = quoted.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let percent = percent
        .replace("%63%61%6E%61%72%79", "canary")
        .replace("%77%69%74%68", "with")
        .replace("%71%75%6F%74%65%73", "quotes")
        .replace("%61%6E%64", "and")
        .replace("%73%69%67%6E%73", "signs");
    for writing in [
        STANDARD.encode(format!("x{quoted}")),
        serde_json::to_string(quoted).unwrap(),
        percent,
    ] {
        written.push((quoted.to_owned(), writing));
    }
    for (secret, writing) in written {
        let sandbox = planted().env("MY_OTHER_PASSWORD", &secret);
        let log = sandbox.path(".openclaw/clawgate/gateway.log");
        let mut text = fs::read_to_string(&log).unwrap();
        text.push_str(&format!("a line with {writing} in it\n"));
        fs::write(&log, text).unwrap();
        let to = sandbox.path("bundle.tar.gz");
        let path = to.to_string_lossy().into_owned();
        let outcome = sandbox.run(&["support", "bundle", "--to", &path, "--json"]);
        let error = outcome.error();
        assert_eq!(
            error["code"], "support_secret_found",
            "{writing}: {outcome:?}"
        );
        assert_eq!(error["entry"], "log.txt");
        assert!(!outcome.stdout.contains(&writing), "{outcome:?}");
        assert!(!to.exists());
        // Not even for reading.
        let read = sandbox.run(&["support", "bundle", "--read"]);
        assert_eq!(read.code, 1);
        assert!(!read.stdout.contains(&writing));

        let without = ["support", "bundle", "--to", &path, "--leave-out", "log.txt"];
        let outcome = sandbox.run(&without);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(!unpacked(&to).contains_key("log.txt"));
    }
}

#[test]
fn a_bundle_can_be_looked_at_without_being_written() {
    let sandbox = planted();
    let list = sandbox.run(&["support", "bundle", "--list"]);
    assert!(list.stdout.contains("config.json  "), "{list:?}");
    let read = sandbox.run(&["support", "bundle", "--read"]);
    assert_eq!(read.code, 0, "{read:?}");
    assert!(read.stdout.contains("==== doctor.json "), "{read:?}");
    assert_no_canary("--read", &read.stdout);
    let wrong = sandbox.run(&["support", "bundle", "--leave-out", "x", "--json"]);
    assert_eq!(wrong.error()["code"], "no_such_entry");
    let none = sandbox.run(&["support", "read", "/nowhere.tar.gz", "--json"]);
    assert_eq!(none.error()["code"], "support_bundle_unreadable");
}

#[test]
fn short_secrets_are_told_of() {
    let sandbox = planted().env("SOME_TOKEN", "abc");
    let to = sandbox.path("b.tar.gz").to_string_lossy().into_owned();
    let outcome = sandbox.run(&["support", "bundle", "--to", &to]);
    assert!(
        outcome.stdout.contains("too short to look for: SOME_TOKEN"),
        "{outcome:?}"
    );
}

#[test]
fn the_page_of_status_is_safe_to_paste() {
    fn gateway(
        method: &str,
        params: &serde_json::Value,
    ) -> Result<serde_json::Value, serde_json::Value> {
        match method {
            "node.list" => Ok(json!({ "nodes": [{ "connected": true }, { "connected": false }] })),
            "device.pair.list" => Ok(json!({ "paired": [{}], "pending": [] })),
            "logs.tail" => Ok(json!({ "file": "f", "cursor": 1, "size": 1, "lines": [
                r#"{"timestamp":"T","level":"ERROR","fields":{"message":"lost 203.0.114.77 of adalovelace"}}"#,
                r#"{"timestamp":"T","level":"INFO","fields":{"message":"nothing"}}"#,
            ] })),
            _ => small_gateway(method, params),
        }
    }
    let fake = Fake::start(Manner::Answer(gateway));
    let sandbox = planted();
    let token = sandbox.write("token", SECRET);
    let outcome = sandbox.run(&[
        "status",
        "--all",
        "--url",
        &fake.url(),
        "--token-file",
        &token,
    ]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let page = &outcome.stdout;
    assert_no_canary("the page", page);
    assert_no_names("the page", &sandbox, page);
    for line in [
        "Version",
        "gateway 9.9.9",
        "Health",
        "2, 1 connected",
        "1 paired, 0 waiting",
        "T ERROR lost 203.0.x.x of (user)",
        "Findings",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    assert!(!page.contains("nothing"), "{page}");
    assert!(
        !page.contains("(id "),
        "ids of short secrets could be guessed: {page}"
    );

    // Without a gateway there is a page all the same.
    let outcome = sandbox.run(&["status", "--all"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert_no_canary("the page", &outcome.stdout);
    assert_no_names("the page", &sandbox, &outcome.stdout);
    assert!(outcome.stdout.contains("reach.tcp"), "{outcome:?}");
}

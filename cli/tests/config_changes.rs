//! `config set`, `unset`, `patch`, `why`, and what happens to the file when a write goes wrong.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use common::{SECRET, Sandbox};
use serde_json::json;

const FILE: &str = ".openclaw/openclaw.json";

const TEXT: &str = "\
{
  // who we are
  gateway: {
    mode: 'local', // never remote
    auth: { token: 'hunter2-hunter2-hunter2' },
  },
}
";

#[test]
fn a_change_says_what_it_needs_and_keeps_comments_and_what_was_there() {
    let sandbox = Sandbox::with_config(TEXT);
    let read = || fs::read_to_string(sandbox.path(FILE)).unwrap();

    let outcome = sandbox.run(&["config", "set", "gateway.port", "18790", "--dry-run"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(
        outcome.stdout,
        "gateway.port: not set -> 18790 (needs a restart of the gateway)\n\
         Nothing was written (--dry-run).\n"
    );
    assert_eq!(read(), TEXT);

    let outcome = sandbox.run(&["config", "set", "gateway.port", "18790"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let with_port = TEXT.replace("' },\n  }", "' },\n    port: 18790,\n  }");
    assert_eq!(read(), with_port);
    let backup = sandbox.path(".openclaw/openclaw.json.bak");
    assert_eq!(fs::read_to_string(&backup).unwrap(), TEXT);
    for path in [sandbox.path(FILE), backup] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    let secret = sandbox.write("secret", &format!("{SECRET}-two\n"));
    let outcome = sandbox.run(&[
        "config",
        "set",
        "gateway.auth.token",
        "--value-file",
        &secret,
    ]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stdout.contains("taken up while the gateway runs"),
        "{outcome:?}"
    );
    assert!(
        read().contains(&format!("token: '{SECRET}-two'")),
        "{}",
        read()
    );

    let outcome = sandbox.run(&["config", "unset", "gateway.port", "--json"]);
    let answer = outcome.json();
    assert_eq!(answer["needs"], "restart", "{outcome:?}");
    assert_eq!(answer["changes"][0]["before"], 18790);
    assert_eq!(answer["written"], true);
    assert!(!read().contains("port"));
    assert!(sandbox.path(".openclaw/openclaw.json.bak.2").exists());

    let patch = "{ gateway: { bind: 'lan', auth: null }, channels: {} }";
    let outcome = sandbox.run_with(&["config", "patch", "-"], patch);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(
        read(),
        "{\n  // who we are\n  gateway: {\n    mode: 'local', // never remote\n    bind: 'lan',\n  },\n  \
         channels: {},\n}\n"
    );
}

#[test]
fn what_could_not_be_used_is_refused_and_the_file_stays() {
    let sandbox = Sandbox::with_config(TEXT);
    for (args, code, name) in [
        (
            &["config", "set", "gateway.port", "many"][..],
            78,
            "config_change_invalid",
        ),
        (
            &["config", "set", "gateway.mode.x", "1"],
            2,
            "config_no_place",
        ),
        (&["config", "unset", "gateway"], 2, "config_emptied"),
        (
            &["config", "unset", "gateway.bind"],
            1,
            "config_key_not_set",
        ),
        (&["config", "set", "a..b", "1"], 2, "usage"),
        (&["config", "patch", "/nowhere/patch"], 2, "file_unreadable"),
        (&["config", "diff"], 1, "no_last_good_config"),
        (&["config", "restore"], 1, "no_last_good_config"),
    ] {
        let outcome = sandbox.run(&[args, &["--json"]].concat());
        assert_eq!(outcome.code, code, "{args:?} {outcome:?}");
        assert_eq!(outcome.error()["code"], name, "{outcome:?}");
    }
    assert_eq!(fs::read_to_string(sandbox.path(FILE)).unwrap(), TEXT);
    assert!(!sandbox.path(".openclaw/openclaw.json.bak").exists());
}

#[test]
fn a_broken_file_is_named_with_its_line() {
    let sandbox = Sandbox::with_config("{\n  gateway: {\n    port 1\n  }\n}");
    let outcome = sandbox.run(&["config", "set", "gateway.port", "1", "--json"]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    assert_eq!(outcome.error()["line"], 3);
}

#[test]
fn a_symbolic_link_stays_one() {
    let sandbox = Sandbox::new();
    let real = sandbox.write("dotfiles/claw.json5", "{ gateway: { mode: 'local' } }");
    fs::create_dir_all(sandbox.path(".openclaw")).unwrap();
    symlink(&real, sandbox.path(FILE)).unwrap();
    let outcome = sandbox.run(&["config", "set", "gateway.port", "1"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        fs::symlink_metadata(sandbox.path(FILE))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        fs::read_to_string(&real).unwrap(),
        "{ gateway: { mode: 'local', port: 1 } }"
    );
}

#[test]
fn why_tells_the_line_the_environment_and_the_need() {
    let text = "{\n  gateway: {\n    bind: '${WHERE}',\n    auth: { token: 'hunter2-hunter2-hunter2' },\n  },\n}";
    let sandbox = Sandbox::with_config(text)
        .env("WHERE", "lan")
        .env("OPENCLAW_GATEWAY_PORT", "1234");
    let bind = sandbox
        .run(&["config", "why", "gateway.bind", "--json"])
        .json();
    assert_eq!(bind["value"], "${WHERE}");
    assert_eq!(bind["effective"], "lan");
    assert_eq!((&bind["line"], &bind["column"]), (&json!(3), &json!(5)));
    assert_eq!(
        bind["variables"],
        json!([{ "name": "WHERE", "set": true, "role": "named" }])
    );
    let port = sandbox
        .run(&["config", "why", "gateway.port", "--json"])
        .json();
    assert_eq!(
        (&port["set"], &port["needs"]),
        (&json!(false), &json!("restart"))
    );
    assert_eq!(port["variables"][0]["role"], "before");
    let token = sandbox.run(&["config", "why", "gateway.auth.token"]);
    assert!(token.stdout.contains("(secret)"), "{token:?}");
    assert!(token.stdout.contains("openclaw.json:4:13"), "{token:?}");
}

/// Values that are told apart, and long enough for a write to take a while.
fn long(letter: &str) -> String {
    format!(
        "{{ gateway: {{ mode: 'local' }}, mine: '{}' }}\n",
        letter.repeat(3_000_000)
    )
}

#[test]
fn a_writer_that_is_killed_leaves_the_old_file_or_the_new_one() {
    let sandbox = Sandbox::with_config(&long("a"));
    let folder = sandbox.path(".openclaw");
    let other = sandbox.write("value", &"b".repeat(3_000_000));
    for round in 0..12_u32 {
        let before = fs::read_to_string(sandbox.path(FILE)).unwrap();
        let value = if before.contains("aaa") { "b" } else { "a" };
        fs::write(&other, value.repeat(3_000_000)).unwrap();
        let args = ["config", "set", "mine", "--value-file", &other];
        let mut child = sandbox
            .command(&args)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Killed as soon as one, two, three files of a write in progress are seen, or later.
        let mut seen = 0;
        while child.try_wait().unwrap().is_none() {
            let unfinished = fs::read_dir(&folder)
                .unwrap()
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().ends_with(".new"));
            seen += u32::from(unfinished);
            if seen > round * 3 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let after = fs::read_to_string(sandbox.path(FILE)).unwrap();
        assert!(
            after == before || after == long(value),
            "round {round}: {} bytes",
            after.len()
        );
    }
    // What was left behind is swept away by the next one.
    let outcome = sandbox.run(&["config", "set", "mine", "done"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let mut left = fs::read_dir(&folder).unwrap().flatten();
    assert!(!left.any(|entry| entry.file_name().to_string_lossy().ends_with(".new")));
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    let sandbox = Sandbox::with_config(TEXT);
    let program = env!("CARGO_BIN_EXE_clawgate");
    let script =
        format!("trap '' XFSZ; ulimit -f 0; exec {program} config set gateway.port 1 --json");
    let inode = fs::metadata(sandbox.path(FILE)).unwrap().ino();
    let output = Command::new("sh")
        .args(["-c", &script])
        .env_clear()
        .env("HOME", sandbox.path(""))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("config_not_written"), "{shown}");
    assert_eq!(fs::read_to_string(sandbox.path(FILE)).unwrap(), TEXT);
    assert_eq!(fs::metadata(sandbox.path(FILE)).unwrap().ino(), inode);
    let names: Vec<String> = fs::read_dir(sandbox.path(".openclaw"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(
        names
            .iter()
            .all(|name| name == "openclaw.json" || name.ends_with(".lock")),
        "{names:?}"
    );
}

#[test]
fn writers_at_once_lose_nothing() {
    let sandbox = Sandbox::with_config("{ gateway: { mode: 'local' } }");
    let keys: Vec<String> = (0..8).map(|number| format!("mine.key{number}")).collect();
    let children: Vec<_> = keys
        .iter()
        .map(|key| {
            sandbox
                .command(&["config", "set", key, "1"])
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let mine = sandbox.run(&["config", "get", "mine", "--json"]).json();
    assert_eq!(mine.as_object().unwrap().len(), keys.len(), "{mine}");
}

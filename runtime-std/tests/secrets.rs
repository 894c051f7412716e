//! Secret references, with real files and real programs.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use clawgate_core::config::{Config, EnvVars, RefSource};
use clawgate_core::secrets::{RefValues, WantedRef};
use clawgate_std::read_secrets;
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn file(&self, name: &str, mode: u32, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        set_mode(&path, mode);
        path
    }

    /// Copied by another process: a program that a fork of this one holds open for writing could not
    /// be run.
    fn script(&self, name: &str, body: &str) -> PathBuf {
        let text = self.file(
            "text",
            0o600,
            &format!(
                "#!/bin/sh
{body}
"
            ),
        );
        let path = self.path(name);
        let copied = Command::new("cp").args([&text, &path]).status().unwrap();
        assert!(copied.success());
        set_mode(&path, 0o700);
        path
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What the ids of a provider give; nothing in a fault may hold the marked secret.
fn ask_all(provider: &Value, ids: &[&str]) -> Vec<Result<String, String>> {
    let source = match provider["source"].as_str() {
        Some("file") => RefSource::File,
        _ => RefSource::Exec,
    };
    let wanted: Vec<WantedRef> = ids
        .iter()
        .map(|id| WantedRef {
            source: source.clone(),
            provider: "p".into(),
            id: (*id).into(),
        })
        .collect();
    let config = Config::from_value(&json!({ "secrets": { "providers": { "p": provider } } }));
    let env: EnvVars = [("OUTER", "outer"), ("PASSED", "passed"), ("PATH", "/bin")]
        .into_iter()
        .collect();
    let mut values = RefValues::new();
    read_secrets(&wanted, &config.secrets, &env, &mut values);
    assert!(!format!("{values:?}").contains("hunter2"));
    wanted
        .iter()
        .map(|wanted| match values.get(wanted).unwrap() {
            Ok(secret) => Ok(secret.expose().to_owned()),
            Err(fault) => {
                let said = format!("{fault} {}", fault.next_step());
                assert!(!said.contains("hunter2"), "{said}");
                Err(fault.to_string())
            }
        })
        .collect()
}

fn ask(provider: &Value, id: &str) -> Result<String, String> {
    let mut answers = ask_all(provider, &[id]);
    answers.pop().unwrap()
}

fn file_at(path: &Path) -> Value {
    json!({ "source": "file", "path": path, "mode": "singleValue" })
}

fn program_at(path: &Path) -> Value {
    json!({ "source": "exec", "command": path, "timeoutMs": 60_000 })
}

/// A provider with one more key.
fn with(mut provider: Value, key: &str, value: Value) -> Value {
    provider[key] = value;
    provider
}

#[test]
fn files_are_read_whole_or_pointed_into() {
    let place = Place::new();
    let single = place.file("single", 0o600, "hunter2\n");
    assert_eq!(ask(&file_at(&single), "value").as_deref(), Ok("hunter2"));
    let many = place.file(
        "many.json",
        0o400,
        r#"{ "gw": { "a/b": "one", "c": "two" } }"#,
    );
    let provider = json!({ "source": "file", "path": many });
    assert_eq!(
        ask_all(&provider, &["/gw/a~1b", "/gw/c"]),
        [Ok("one".to_owned()), Ok("two".to_owned())]
    );
}

#[test]
fn files_that_others_had_their_hands_on_are_not_read() {
    let place = Place::new();
    for mode in [0o640, 0o604, 0o620, 0o602] {
        let open = place.file("open", mode, "hunter2");
        let reason = format!("{} is open to others (mode {mode:04o})", open.display());
        assert_eq!(ask(&file_at(&open), "value"), Err(reason));
        let trusted = with(file_at(&open), "allowInsecurePath", json!(true));
        assert_eq!(ask(&trusted, "value").as_deref(), Ok("hunter2"));
        fs::remove_file(open).unwrap();
    }
    let good = place.file("good", 0o600, "hunter2");
    symlink(&good, place.path("link")).unwrap();
    let link = ask(&file_at(&place.path("link")), "value").unwrap_err();
    assert!(link.ends_with("link is a symbolic link"), "{link}");
    let folder = place.path("folder");
    fs::create_dir(&folder).unwrap();
    fs::copy(&good, folder.join("inner")).unwrap();
    let inner = file_at(&folder.join("inner"));
    assert_eq!(ask(&inner, "value").as_deref(), Ok("hunter2"));
    set_mode(&folder, 0o777);
    let swapped = ask(&inner, "value").unwrap_err();
    assert!(
        swapped.ends_with("can be written by everybody"),
        "{swapped}"
    );
    fs::hard_link(&good, place.path("second")).unwrap();
    let linked = ask(&file_at(&good), "value").unwrap_err();
    assert!(linked.ends_with("several names (hard links)"), "{linked}");
}

#[test]
fn a_link_above_a_file_is_followed_and_what_it_leads_to_is_judged() {
    let place = Place::new();
    let folder = place.path("real");
    fs::create_dir(&folder).unwrap();
    let secret = place.file("real/secret", 0o600, "hunter2");
    symlink(&folder, place.path("short")).unwrap();
    let through = file_at(&place.path("short/secret"));
    assert_eq!(ask(&through, "value").as_deref(), Ok("hunter2"));
    set_mode(&secret, 0o644);
    assert!(ask(&through, "value").is_err());
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let place = Place::new();
    let pipe = place.path("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let folder = place.path("folder");
    fs::create_dir(&folder).unwrap();
    for path in [&pipe, &folder, &PathBuf::from("/dev/null")] {
        for provider in [file_at(path), program_at(path)] {
            let reason = ask(&provider, "value").unwrap_err();
            assert!(reason.ends_with("is not a file"), "{reason}");
        }
    }
    let gone = ask(&file_at(&place.path("gone")), "value").unwrap_err();
    assert!(gone.ends_with("does not exist"), "{gone}");
    let no_folder = place.file("single", 0o600, "x").join("below");
    let gone = ask(&file_at(&no_folder), "value").unwrap_err();
    assert!(gone.ends_with("does not exist"), "{gone}");
    let long = place.file("long", 0o600, &"x".repeat(101));
    let long = with(file_at(&long), "maxBytes", json!(100));
    let reason = ask(&long, "value").unwrap_err();
    assert!(reason.ends_with("is longer than 100 bytes"), "{reason}");
}

#[test]
fn programs_answer_in_protocol_1() {
    let place = Place::new();
    // It answers with its question as the value.
    let echo = place.script(
        "echo",
        r#"q=$(sed 's/"/\\"/g'); printf '{"protocolVersion":1,"values":{"a":"%s"}}' "$q""#,
    );
    let program = with(program_at(&echo), "passEnv", json!(["PATH"]));
    let question: Value = serde_json::from_str(&ask(&program, "a").unwrap()).unwrap();
    assert_eq!(
        question,
        json!({ "protocolVersion": 1, "provider": "p", "ids": ["a"] })
    );
    // One run serves all ids.
    let counter = place.path("runs");
    let count = place.script(
        "count",
        &format!(
            "echo run >> {}\necho '{{\"protocolVersion\":1,\"values\":{{\"a\":\"1\",\"b\":\"2\"}}}}'",
            counter.display()
        ),
    );
    assert_eq!(
        ask_all(&program_at(&count), &["a", "b"]),
        [Ok("1".to_owned()), Ok("2".to_owned())]
    );
    assert_eq!(fs::read_to_string(counter).unwrap(), "run\n");
}

#[test]
fn programs_get_the_variables_they_are_given_and_no_shell() {
    let env = PathBuf::from("/usr/bin/env").canonicalize().unwrap();
    let plain = with(program_at(&env), "jsonOnly", json!(false));
    assert_eq!(
        ask(&plain, "a"),
        Err(format!("{} wrote nothing", env.display())),
        "the environment is not empty"
    );
    let mut some = with(plain, "passEnv", json!(["PASSED", "NOT_SET"]));
    some["env"] = json!({ "SET": "inner" });
    let mut lines: Vec<String> = ask(&some, "a")
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["PASSED=passed", "SET=inner"]);

    let echo = PathBuf::from("/bin/echo").canonicalize().unwrap();
    let mut words = with(program_at(&echo), "jsonOnly", json!(false));
    words["args"] = json!(["$HOME; echo b", "`id`"]);
    assert_eq!(ask(&words, "a").as_deref(), Ok("$HOME; echo b `id`"));
    let folder = Place::new();
    let pwd = with(
        program_at(&folder.script("where", "pwd -P")),
        "jsonOnly",
        json!(false),
    );
    assert_eq!(
        ask(&pwd, "a"),
        Ok(folder
            .path("")
            .to_string_lossy()
            .trim_end_matches('/')
            .to_owned())
    );
}

#[test]
fn a_program_that_takes_too_long_ends_with_all_its_children() {
    let place = Place::new();
    let pipe = place.path("alive");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let heard = {
        let pipe = pipe.clone();
        // Its end comes when the last child has let go of the pipe.
        thread::spawn(move || {
            let mut said = String::new();
            fs::File::open(pipe)
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            said
        })
    };
    let slow = place.script(
        "slow",
        &format!(
            "exec 3>{}\necho started >&3\n(sleep 60; echo survived >&3) &\nsleep 60; echo survived >&3",
            pipe.display()
        ),
    );
    let slow = with(program_at(&slow), "env", json!({ "PATH": "/bin:/usr/bin" }));
    let slow = with(slow, "timeoutMs", json!(3000));
    let reason = ask(&slow, "a").unwrap_err();
    assert!(
        reason.ends_with("did not end within 3000 ms and was stopped"),
        "{reason}"
    );
    assert_eq!(heard.join().unwrap(), "started\n");
}

#[test]
fn a_child_that_stays_behind_is_ended_and_not_waited_for() {
    let place = Place::new();
    let pipe = place.path("alive");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let heard = {
        let pipe = pipe.clone();
        thread::spawn(move || fs::read_to_string(pipe).unwrap())
    };
    // The child keeps the output open.
    let left = place.script(
        "left",
        &format!(
            "exec 3>{}\n(sleep 60; echo survived >&3) &\necho '{{\"protocolVersion\":1,\"values\":{{\"a\":\"hunter2\"}}}}'",
            pipe.display()
        ),
    );
    let left = with(program_at(&left), "env", json!({ "PATH": "/bin:/usr/bin" }));
    assert_eq!(ask(&left, "a").as_deref(), Ok("hunter2"));
    assert_eq!(heard.join().unwrap(), "");
}

#[test]
fn programs_that_misbehave_are_stopped_or_refused() {
    let place = Place::new();
    let path = "PATH=/bin:/usr/bin";
    for (name, body, extra, reason) in [
        (
            "flood",
            format!("{path}; while :; do echo hunter2hunter2hunter2; done"),
            json!({ "maxOutputBytes": 1000 }),
            "wrote more than 1000 bytes and was stopped",
        ),
        (
            "mute",
            format!("{path} exec sleep 60"),
            json!({ "noOutputTimeoutMs": 300 }),
            "wrote nothing for 300 ms and was stopped",
        ),
        (
            "failing",
            "echo hunter2; echo hunter2 >&2; exit 3".to_owned(),
            json!({}),
            "ended with exit code 3",
        ),
        (
            "killed",
            "kill -9 $$".to_owned(),
            json!({}),
            "was ended by a signal",
        ),
        (
            "garbage",
            "echo '{hunter2'".to_owned(),
            json!({}),
            "wrote something other than JSON",
        ),
        (
            "binary",
            "printf '\\377\\376'".to_owned(),
            json!({ "jsonOnly": false }),
            "wrote something other than UTF-8",
        ),
        ("empty", "exit 0".to_owned(), json!({}), "wrote nothing"),
        (
            "deaf",
            "exec 0<&-; echo '{\"protocolVersion\":1,\"values\":{}}'".to_owned(),
            json!({}),
            "gave no value for this id",
        ),
    ] {
        let mut provider = program_at(&place.script(name, &body));
        for (key, value) in extra.as_object().unwrap() {
            provider[key] = value.clone();
        }
        let found = ask(&provider, "a").unwrap_err();
        assert!(found.ends_with(reason), "{name}: {found}");
    }
    let plain = place.file("plain", 0o600, "#!/bin/sh\n");
    let found = ask(&program_at(&plain), "a").unwrap_err();
    assert!(found.contains("could not be started"), "{found}");
}

#[test]
fn programs_that_others_had_their_hands_on_are_not_run() {
    let place = Place::new();
    let answer = "touch ran; echo '{\"protocolVersion\":1,\"values\":{\"a\":\"hunter2\"}}'";
    let answer = format!("PATH=/bin:/usr/bin\n{answer}");
    for (mode, runs) in [(0o755, true), (0o775, false), (0o757, false)] {
        let program = place.script("program", &answer);
        set_mode(&program, mode);
        let found = ask(&program_at(&program), "a");
        assert_eq!(found.is_ok(), runs, "{mode:o}: {found:?}");
        assert_eq!(place.path("ran").exists(), runs, "{mode:o}");
        let _ = fs::remove_file(place.path("ran"));
        let trusted = with(program_at(&program), "allowInsecurePath", json!(true));
        assert_eq!(ask(&trusted, "a").as_deref(), Ok("hunter2"), "{mode:o}");
        let _ = fs::remove_file(place.path("ran"));
    }
    set_mode(&place.path("program"), 0o700);
    symlink(place.path("program"), place.path("link")).unwrap();
    let link = program_at(&place.path("link"));
    let refused = ask(&link, "a").unwrap_err();
    assert!(refused.ends_with("link is a symbolic link"), "{refused}");
    let followed = with(link, "allowSymlinkCommand", json!(true));
    assert_eq!(ask(&followed, "a").as_deref(), Ok("hunter2"));
    fs::remove_file(place.path("ran")).unwrap();

    let other = Place::new();
    let outside = with(
        program_at(&place.path("program")),
        "trustedDirs",
        json!([other.path("")]),
    );
    let refused = ask(&outside, "a").unwrap_err();
    assert!(
        refused.ends_with("lies outside the provider's trustedDirs"),
        "{refused}"
    );
    // Neither .. nor a link leads out of a trusted folder.
    symlink(place.path(""), other.path("way")).unwrap();
    for way in ["way/program", "way/../way/program"] {
        let sneaky = with(outside.clone(), "command", json!(other.path(way)));
        assert!(ask(&sneaky, "a").is_err(), "{way}");
    }
    assert!(!place.path("ran").exists());
    let inside = with(outside, "trustedDirs", json!([place.path("")]));
    assert_eq!(ask(&inside, "a").as_deref(), Ok("hunter2"));
}

#[test]
fn providers_are_read_side_by_side() {
    // Each program waits for the other: one after the other, neither would end in time.
    let place = Place::new();
    let mut providers = json!({});
    for (name, other) in [("one", "two"), ("two", "one")] {
        let pipe = place.path(name);
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let body = if name == "one" {
            format!(
                "echo x > {}; read x < {}",
                place.path("two").display(),
                pipe.display()
            )
        } else {
            format!(
                "read x < {}; echo x > {}",
                pipe.display(),
                place.path(other).display()
            )
        };
        let answer = "echo '{\"protocolVersion\":1,\"values\":{\"a\":\"hunter2\"}}'";
        let program = place.script(&format!("{name}.sh"), &format!("{body}\n{answer}"));
        providers[name] = program_at(&program);
    }
    let wanted = ["one", "two"].map(|provider| WantedRef {
        source: RefSource::Exec,
        provider: provider.into(),
        id: "a".into(),
    });
    let config = Config::from_value(&json!({ "secrets": { "providers": providers } }));
    let mut values = RefValues::new();
    read_secrets(&wanted, &config.secrets, &EnvVars::new(), &mut values);
    for wanted in &wanted {
        assert!(values.get(wanted).unwrap().is_ok(), "{values:?}");
    }
}

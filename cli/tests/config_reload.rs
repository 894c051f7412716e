//! The config file of a running gateway: what is taken up, what needs a restart, and what is refused; and
//! a start with a file that cannot be used.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use common::{SECRET, Sandbox};
use serde_json::Value;

const FILE: &str = ".openclaw/openclaw.json";

/// Long after this, something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

struct Gateway {
    child: Child,
    port: String,
    log: Receiver<String>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(sandbox: &Sandbox, more: &[&str]) -> Self {
        let flags = ["gateway", "run", "--port", "0", "--bind", "loopback"];
        let mut child = sandbox.command(&[&flags, more].concat()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("ws://127.0.0.1:"))
            .map(str::to_owned);
        let Some(port) = port else {
            panic!("not ready: {:?}", child.wait_with_output());
        };
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, port, log }
    }

    /// Waits until the gateway says something.
    fn says(&self, words: &str) -> String {
        loop {
            let line = self
                .log
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("never said: {words}"));
            assert!(!line.contains(SECRET), "{line}");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn health(&self, sandbox: &Sandbox, token: &str) -> (i32, Vec<String>) {
        let file = sandbox.write("presented", token);
        // The config may be one that no client could go by.
        let url = format!("ws://127.0.0.1:{}", self.port);
        let flags = ["health", "--url", &url, "--token-file", &file, "--json"];
        let outcome = sandbox.run(&flags);
        let problems = outcome.json()["problems"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (outcome.code, problems.iter().map(text).collect())
    }
}

fn config(token: &str, more: &str) -> String {
    format!(
        "{{\n  gateway: {{\n    mode: 'local',\n    auth: {{ token: '{SECRET}-{token}' }},\n{more}  }},\n}}\n"
    )
}

#[test]
fn what_can_change_does_and_the_rest_is_named() {
    let sandbox = Sandbox::with_config(&config("one", ""));
    let gateway = Gateway::start(&sandbox, &[]);
    let put = |text: &str| sandbox.write(FILE, text);
    let (one, two) = (format!("{SECRET}-one"), format!("{SECRET}-two"));
    assert_eq!(gateway.health(&sandbox, &one), (0, vec![]));

    // The secret, a channel, an agent and a limit, by hand and by command.
    put(&config("two", "    auth2: 1,\n"));
    let line = gateway.says("config taken up");
    assert!(line.contains("gateway.auth.token"), "{line}");
    assert_eq!(gateway.health(&sandbox, &two).0, 0);
    assert_eq!(gateway.health(&sandbox, &one).0, 4);
    let patch = "{ channels: { webhook: { accounts: { site: { secret: '0123456789abcdef' } } } },
        agents: { list: [{ id: 'main' }, { id: 'second' }] },
        gateway: { auth: { rateLimit: { maxAttempts: 3 } } } }";
    let outcome = sandbox.run_with(&["config", "patch", "-"], patch);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let line = gateway.says("config taken up");
    for key in [
        "agents.list",
        "channels.webhook",
        "gateway.auth.rateLimit.maxAttempts",
    ] {
        assert!(line.contains(key), "{key}: {line}");
    }
    let token = sandbox.write("token", &two);
    let place = ["--port", &gateway.port, "--token-file", &token, "--json"];
    let health = sandbox.run(&[&["gateway", "call", "health"], &place[..]].concat());
    assert!(
        health.stdout.contains("\"second\"") && health.stdout.contains("webhook"),
        "{health:?}"
    );

    // What needs a restart.
    let outcome = sandbox.run(&["config", "set", "gateway.port", "1"]);
    assert!(outcome.stdout.contains("needs a restart"), "{outcome:?}");
    gateway.says("needs a restart of the gateway for gateway.port");
    let (code, problems) = gateway.health(&sandbox, &two);
    assert_eq!(code, 0);
    assert_eq!(
        problems,
        ["the config needs a restart of the gateway for gateway.port"]
    );
    let outcome = sandbox.run(&["config", "unset", "gateway.port"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    gateway.says("the config says what the gateway runs with");
    assert_eq!(gateway.health(&sandbox, &two), (0, vec![]));
}

#[test]
fn a_broken_edit_is_refused_with_its_line_and_the_gateway_goes_on() {
    let sandbox = Sandbox::with_config(&config("one", ""));
    let gateway = Gateway::start(&sandbox, &[]);
    let one = format!("{SECRET}-one");
    for (broken, why) in [
        (
            format!("{{\n  gateway: {{ auth: {{ token: '{SECRET}-two'\n"),
            "openclaw.json:2:20",
        ),
        (
            config("two", "    port: 'many',\n"),
            "line 5, column 5: gateway.port",
        ),
        (
            config("two", "    tailscale: { mode: 'funnel' },\n"),
            "funnel",
        ),
        (String::new(), "not JSON5"),
    ] {
        sandbox.write(FILE, &broken);
        let line = gateway.says("is not taken up");
        assert!(line.contains(why), "{why}: {line}");
        let (code, problems) = gateway.health(&sandbox, &one);
        assert_eq!(code, 0, "{problems:?}");
        assert!(
            problems[0].contains("goes on with what it said before"),
            "{problems:?}"
        );
        assert!(problems[0].contains(why), "{problems:?}");
    }
    fs::remove_file(sandbox.path(FILE)).unwrap();
    gateway.says("is gone");
    sandbox.write(FILE, &config("one", ""));
    gateway.says("the config says what the gateway runs with");
    assert_eq!(gateway.health(&sandbox, &one), (0, vec![]));
}

#[test]
fn nothing_is_taken_up_where_reload_is_off() {
    let sandbox = Sandbox::with_config(&config(
        "one",
        "    reload: { mode: 'off', debounceMs: 0 },\n",
    ));
    let gateway = Gateway::start(&sandbox, &[]);
    sandbox.write(
        FILE,
        &config("two", "    reload: { mode: 'off', debounceMs: 0 },\n"),
    );
    gateway.says("needs a restart of the gateway for gateway.auth.token");
    assert_eq!(gateway.health(&sandbox, &format!("{SECRET}-one")).0, 0);
    // Switched on, it takes up what waited.
    sandbox.write(FILE, &config("two", "    reload: { mode: 'hybrid' },\n"));
    gateway.says("config taken up");
    assert_eq!(
        gateway.health(&sandbox, &format!("{SECRET}-two")),
        (0, vec![])
    );
}

#[test]
fn a_gateway_with_a_broken_file_starts_on_the_last_one_that_worked() {
    let sandbox = Sandbox::with_config(&config("one", ""));
    for profile in ["default", "ops"] {
        let (file, state) = match profile {
            "ops" => (".openclaw-ops/openclaw.json", ".openclaw-ops/clawgate"),
            _ => (FILE, ".openclaw/clawgate"),
        };
        let by_profile = ["--profile", profile];
        let broken = "{\n  gateway: {\n    mode: 'local'\n    bind: 'lan'\n";
        // Nothing has worked yet.
        sandbox.write(file, broken);
        let first = sandbox.run(&[&["gateway", "run", "--json"], &by_profile[..]].concat());
        assert_eq!(first.code, 78, "{first:?}");
        assert_eq!(first.error()["code"], "config_invalid");

        sandbox.write(file, &config("one", ""));
        drop(Gateway::start(&sandbox, &by_profile));
        let kept = sandbox.path(&format!("{state}/config.last-good.json"));
        assert_eq!(fs::read_to_string(&kept).unwrap(), config("one", ""));
        assert_eq!(
            fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
            0o600
        );

        sandbox.write(file, broken);
        let gateway = Gateway::start(&sandbox, &by_profile);
        let line = gateway.says("runs on the last config that worked");
        assert!(
            line.contains("openclaw.json:4:5") && line.contains("config restore"),
            "{line}"
        );
        let (code, problems) = gateway.health(&sandbox, &format!("{SECRET}-one"));
        assert_eq!(code, 0);
        assert!(
            problems[0].contains("runs on the last config that worked"),
            "{problems:?}"
        );
        assert_eq!(fs::read_to_string(&kept).unwrap(), config("one", ""));

        let url = format!("ws://127.0.0.1:{}", gateway.port);
        let token = sandbox.write("token", &format!("{SECRET}-one"));
        let status = sandbox.run(&["gateway", "status", "--url", &url, "--token-file", &token]);
        assert!(
            status
                .stdout
                .contains("runs on the last config that worked"),
            "{status:?}"
        );
        let diff = sandbox.run(&[&["config", "diff"], &by_profile[..]].concat());
        assert_eq!(diff.code, 78, "{diff:?}");
        sandbox.write(file, &config("two", "    port: 1,\n"));
        gateway.says("needs a restart of the gateway for gateway.port");
        let diff = sandbox.run(&[&["config", "diff"], &by_profile[..]].concat());
        assert_eq!(diff.code, 1, "{diff:?}");
        for words in [
            "gateway.port: not set -> 1",
            "gateway.auth.token: (secret), another one",
        ] {
            assert!(diff.stdout.contains(words), "{words}: {diff:?}");
        }
        let outcome = sandbox.run(&[&["config", "restore"], &by_profile[..]].concat());
        assert_eq!(outcome.code, 0, "{outcome:?}");
        gateway.says("config taken up");
        assert_eq!(
            gateway.health(&sandbox, &format!("{SECRET}-one")),
            (0, vec![])
        );
        let backup = sandbox.path(&format!("{file}.bak"));
        assert_eq!(
            fs::read_to_string(backup).unwrap(),
            config("two", "    port: 1,\n")
        );
        let diff = sandbox.run(&[&["config", "diff"], &by_profile[..]].concat());
        assert_eq!(diff.code, 0, "{diff:?}");
    }
}

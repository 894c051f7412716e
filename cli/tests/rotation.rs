//! `secrets reload`, `secrets rotate` and `secrets status` against a running gateway.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Child;

use common::{SECRET, Sandbox};

struct Gateway(Child, String);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Gateway {
    fn start(sandbox: &Sandbox) -> Self {
        let flags = ["gateway", "run", "--port", "0", "--bind", "loopback"];
        let mut child = sandbox.command(&flags).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("ws://127.0.0.1:"));
        let Some(port) = port else {
            panic!("not ready: {:?}", child.wait_with_output());
        };
        let port = port.to_owned();
        Self(child, port)
    }
}

#[test]
fn a_made_token_is_rotated_in_its_file_and_the_old_one_works_for_a_while() {
    let sandbox = Sandbox::new();
    let gateway = Gateway::start(&sandbox);
    let port = ["--port", gateway.1.as_str()];
    let file = sandbox.path(".openclaw/clawgate/gateway.token");
    let before = fs::read_to_string(&file).unwrap();
    let old = sandbox.write("old", &before);
    let by_old = [&["health", "--token-file", &old], &port[..]].concat();

    let outcome = sandbox.run(&[&["secrets", "rotate", "--grace", "1h"], &port[..]].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.contains("valid until"), "{outcome:?}");
    let after = fs::read_to_string(&file).unwrap();
    assert!(before != after && after.trim().len() == 48);
    assert!(!outcome.stdout.contains(after.trim()), "{outcome:?}");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Without a word, commands of the same user take the new one from the file.
    for command in [&by_old, &[&["health"], &port[..]].concat()] {
        let outcome = sandbox.run(command);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    let outcome = sandbox.run(&[&["secrets", "status", "--json"], &port[..]].concat());
    let status = outcome.json();
    assert_eq!(status["source"], "generated", "{outcome:?}");
    assert_eq!(status["retired"].as_array().unwrap().len(), 1);

    let outcome = sandbox.run(&[&["secrets", "rotate", "--grace", "0"], &port[..]].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let outcome = sandbox.run(&by_old);
    assert_ne!(outcome.code, 0, "{outcome:?}");
    let log = fs::read_to_string(sandbox.path(".openclaw/clawgate/gateway.log")).unwrap();
    for token in [before, after] {
        assert!(!log.contains(token.trim()));
    }
}

#[test]
fn a_file_that_changed_is_read_again_and_a_broken_one_is_not_taken() {
    let sandbox = Sandbox::with_config(
        "{ gateway: { mode: 'local', auth: { mode: 'token', token: { source: 'file', provider: 'main', id: 'value' } } },
           secrets: { providers: { main: { source: 'file', path: '~/token', mode: 'singleValue' } } } }",
    );
    let put = |text: &str, mode: u32| {
        let path = sandbox.write("token", text);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    put(&format!("{SECRET}-one\n"), 0o600);
    let gateway = Gateway::start(&sandbox);
    let port = ["--port", gateway.1.as_str()];
    let one = sandbox.write("one", &format!("{SECRET}-one"));
    let by_one = |command: &[&str]| {
        let flags = ["--token-file", one.as_str()];
        sandbox.run(&[command, &flags[..], &port[..]].concat())
    };

    put(&format!("{SECRET}-two\n"), 0o644);
    let outcome = by_one(&["secrets", "reload", "--grace", "1h"]);
    assert_ne!(outcome.code, 0, "{outcome:?}");
    for part in ["gateway.auth.token", "open to others", "stays valid"] {
        assert!(outcome.stderr.contains(part), "{part}: {outcome:?}");
    }
    assert_eq!(by_one(&["health"]).code, 0);

    put(&format!("{SECRET}-two\n"), 0o600);
    let outcome = by_one(&["secrets", "reload", "--grace", "1h"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.contains("a new secret"), "{outcome:?}");
    assert_eq!(by_one(&["health"]).code, 0, "the old one counts too");
    let outcome = sandbox.run(&[&["health"], &port[..]].concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let outcome = sandbox.run(&[&["secrets", "rotate"], &port[..]].concat());
    assert_ne!(outcome.code, 0, "a configured secret is not ours to rotate");
    let outcome = sandbox.run(&[&["secrets", "reload", "--grace", "8d"], &port[..]].concat());
    assert!(outcome.stderr.contains("7 days"), "{outcome:?}");
}

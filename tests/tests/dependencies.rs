//! What the crates may be built from: the core stays pure, nothing that ships has a second runtime
//! or TLS stack, and every licence is known.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::Value;

/// Crates that reach outside the process, read a clock, or make randomness.
const IMPURE: [&str; 22] = [
    "async-io",
    "async-net",
    "chrono",
    "fastrand",
    "getrandom",
    "jiff",
    "libc",
    "mio",
    "nix",
    "polling",
    "rand",
    "rand_core",
    "ring",
    "rustix",
    "rustls",
    "signal-hook",
    "smol",
    "socket2",
    "time",
    "tokio",
    "tungstenite",
    "uuid",
];

/// Crates that ship in no binary.
const BANNED: [&str; 6] = [
    "async-std",
    "aws-lc-rs",
    "native-tls",
    "openssl",
    "reqwest",
    "tokio",
];

/// Licences that a dependency may offer.
const LICENCES: [&str; 11] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "CDLA-Permissive-2.0",
    "MIT-0",
];

fn cargo(arguments: &[&str]) -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .current_dir(workspace)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names of everything that a package is built from, without tests and build scripts.
fn tree(package: &str) -> BTreeSet<String> {
    cargo(&[
        "tree", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}",
    ])
    .lines()
    .filter_map(|line| line.split(' ').next())
    .map(str::to_owned)
    .collect()
}

#[test]
fn the_core_has_no_runtime_socket_clock_or_randomness() {
    let names = tree("clawgate-core");
    assert!(names.contains("serde_json"), "{names:?}");
    for impure in IMPURE {
        assert!(
            !names.contains(impure),
            "clawgate-core is built from {impure}"
        );
    }
}

#[test]
fn the_core_touches_no_file_thread_or_clock() {
    fn visit(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // A module of tests in a file or a folder of its own.
            if path.file_stem().is_some_and(|name| name == "tests") {
                continue;
            }
            if path.is_dir() {
                visit(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in code.lines().enumerate() {
                let outside = [
                    "std::fs",
                    "std::net",
                    "std::process",
                    "std::thread",
                    "::now()",
                ];
                let is_comment = line.trim_start().starts_with("//");
                if !is_comment && outside.iter().any(|word| line.contains(word)) {
                    found.push(format!("{}:{}: {line}", path.display(), number + 1));
                }
            }
        }
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    visit(&workspace.join("core/src"), &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_that_ships_has_a_second_runtime_or_tls_stack() {
    let names = tree("clawgate-cli");
    for banned in BANNED {
        assert!(!names.contains(banned), "clawgate is built from {banned}");
    }
}

#[test]
fn every_dependency_comes_from_the_registry_under_a_known_licence() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--locked"])).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(source) = package["source"].as_str() else {
            assert!(name.starts_with("clawgate-"), "{name} is a path dependency");
            continue;
        };
        assert!(
            source.starts_with("registry+"),
            "{name} comes from {source}"
        );
        let licence = package["license"].as_str().unwrap_or_default();
        let all_known = licence
            .split(" AND ")
            .map(|part| part.trim_matches(['(', ')']))
            .all(|part| {
                part.split([' ', '/'])
                    .collect::<Vec<_>>()
                    .join(" ")
                    .split(" OR ")
                    .any(|choice| LICENCES.contains(&choice.trim_matches(['(', ')', ' '])))
                    || part
                        .split('/')
                        .any(|choice| LICENCES.contains(&choice.trim()))
            });
        assert!(all_known, "{name} is under {licence:?}");
    }
}

//! What packages and images are made of, checked as far as that goes without building them.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
    command.args(args).env_clear().env("HOME", home);
    command.stdin(Stdio::null());
    command
}

/// Instructions of a Dockerfile, lines joined.
fn instructions() -> Vec<(String, String)> {
    read("Dockerfile")
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

#[test]
fn the_packaged_unit_is_what_install_writes() {
    let home = tempfile::tempdir().unwrap();
    let printed = command(home.path(), &["gateway", "install", "--print"])
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let at = home.path().to_str().unwrap();
    let unit = printed.split("\n\n# ").next().unwrap();
    let mut wanted: Vec<String> = unit
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| match line.split_once('=') {
            Some(("ExecStart", _)) => "ExecStart=/usr/bin/clawgate gateway run".to_owned(),
            Some(("ReadWritePaths", _)) => "ReadWritePaths=-%h/.openclaw".to_owned(),
            _ => line.replace(at, "%h"),
        })
        .collect();
    let packaged = read("packaging/clawgate-gateway.service");
    let mut have: Vec<String> = packaged
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(str::to_owned)
        .collect();
    have.retain(|line| line != "ExecStartPre=+/bin/mkdir -p -m 0700 %h/.openclaw");
    // A home among the temporary files, as that of this test, goes without.
    for lines in [&mut wanted, &mut have] {
        lines.retain(|line| line != "PrivateTmp=yes");
    }
    assert_eq!(have, wanted);
}

#[test]
fn systemd_accepts_the_packaged_unit() {
    let folder = tempfile::tempdir().unwrap();
    // The program is not installed here.
    let unit = read("packaging/clawgate-gateway.service").replace("/usr/bin/clawgate", "/bin/true");
    let path = folder.path().join("clawgate-gateway.service");
    fs::write(&path, unit).unwrap();
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--user", "--man=no"])
        .arg(path)
        .env("XDG_RUNTIME_DIR", folder.path())
        .output();
    match verify {
        Ok(verify) => {
            let said = String::from_utf8_lossy(&verify.stderr);
            assert!(
                verify.status.success() && !said.contains("clawgate"),
                "{said}"
            );
        }
        Err(_) => println!("systemd-analyze is missing: the unit was not verified"),
    }
}

#[test]
fn the_image_is_small_and_without_rights() {
    let all = instructions();
    let last = |name: &str| {
        let found = all.iter().rev().find(|(have, _)| have == name);
        found.map(|(_, rest)| rest.as_str()).unwrap_or_default()
    };
    assert!(last("FROM").contains("distroless"), "{all:?}");
    assert_eq!(last("USER"), "nonroot");
    assert_eq!(last("VOLUME"), "/state");
    assert!(last("ENV").contains("OPENCLAW_STATE_DIR=/state"));
    assert!(last("HEALTHCHECK").contains("[\"/usr/bin/clawgate\", \"health\""));
    assert_eq!(last("ENTRYPOINT"), "[\"/usr/bin/clawgate\"]");
    for (name, rest) in &all {
        let words: Vec<&str> = rest.split_whitespace().collect();
        if name == "COPY" && !rest.contains("--from") && words != [".", "."] {
            assert!(root().join(words[0]).exists(), "{rest}");
        }
        assert!(
            !rest.contains("TOKEN") && !rest.contains("PASSWORD"),
            "{rest}"
        );
    }
}

/// What the image runs, with its environment and the config that lies in it.
#[test]
fn the_gateway_of_the_image_wants_a_secret_and_is_healthy() {
    let state = tempfile::tempdir().unwrap();
    let config = read("packaging/container.json");
    fs::write(state.path().join("openclaw.json"), config).unwrap();
    // The checks of a start only: nothing is opened to others here.
    let check = |token: Option<&str>| {
        let mut command = command(state.path(), &["gateway", "run", "--check"]);
        command.env("OPENCLAW_STATE_DIR", state.path());
        command.envs(token.map(|token| ("OPENCLAW_GATEWAY_TOKEN", token)));
        command.output().unwrap()
    };
    let open = check(None);
    assert_eq!(open.status.code(), Some(78));
    let said = String::from_utf8(open.stderr).unwrap();
    assert!(said.contains("without a secret"), "{said}");
    assert!(check(Some("a-token-of-this-test")).status.success());

    let with = |args: &[&str]| {
        let mut command = command(state.path(), args);
        command
            .env("OPENCLAW_STATE_DIR", state.path())
            .env("OPENCLAW_GATEWAY_TOKEN", "a-token-of-this-test");
        command
    };
    let mut gateway = with(&["gateway", "run", "--bind", "loopback", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(gateway.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let address = line.split("ws://127.0.0.1:").nth(1).unwrap();
    let port = address.split_whitespace().next().unwrap();
    let health = with(&["health", "--timeout", "4000", "--port", port])
        .output()
        .unwrap();
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    assert!(health.status.success(), "{health:?}");
}

#[test]
fn the_package_brings_files_that_exist() {
    let manifest = read("cli/Cargo.toml");
    let assets: Vec<&str> = manifest
        .lines()
        .filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next())
        .collect();
    assert!(assets.len() >= 4, "{assets:?}");
    for asset in assets {
        // The program is built for the package.
        if !asset.starts_with("target/") {
            assert!(root().join("cli").join(asset).exists(), "{asset}");
        }
    }
}

//! `clawgate gateway run` as a process: its first start, its files, its lock, its end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

struct Gateway {
    child: Child,
    out: BufReader<ChildStdout>,
    url: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    /// Starts one on a free port and waits until it says that it is ready.
    fn start(home: &Path) -> Self {
        let mut child = run(home, &["--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("ws://"))
            .unwrap_or_else(|| panic!("no address in {line:?}"))
            .to_owned();
        Self { child, out, url }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawgate"));
    command.env_clear().env("HOME", home).stdin(Stdio::null());
    command
}

fn run(home: &Path, flags: &[&str]) -> Command {
    let mut command = command(home);
    command.args(["gateway", "run"]).args(flags);
    command
}

fn refused(home: &Path, flags: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = run(home, flags).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

fn own(home: &Path) -> PathBuf {
    home.join(".openclaw/clawgate")
}

fn write_config(home: &Path, text: &str) {
    fs::create_dir_all(home.join(".openclaw")).unwrap();
    fs::write(home.join(".openclaw/openclaw.json"), text).unwrap();
}

#[test]
fn the_first_start_makes_a_token_that_survives_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let first = Gateway::start(home);
    let token = fs::read_to_string(own(home).join("gateway.token")).unwrap();
    assert_eq!(token.trim().len(), 48);
    #[cfg(unix)]
    for file in fs::read_dir(own(home)).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} is open to others", file.path());
    }
    let port = first.url.rsplit(':').next().unwrap();
    let health = command(home)
        .args(["health", "--json", "--port", port])
        .output()
        .unwrap();
    assert!(
        health.status.success(),
        "{}",
        String::from_utf8_lossy(&health.stdout)
    );
    assert!(!home.join(".openclaw/openclaw.json").exists());

    first.signal("-KILL");
    drop(first);
    let second = Gateway::start(home);
    assert_eq!(
        fs::read_to_string(own(home).join("gateway.token")).unwrap(),
        token
    );
    let log = fs::read_to_string(own(home).join("gateway.log")).unwrap();
    assert!(log.contains("gateway ready") && !log.contains(token.trim()));
    drop(second);
}

#[test]
fn a_second_gateway_is_told_who_holds_the_state() {
    let home = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(home.path());
    let (code, message) = refused(home.path(), &["--port", "0"]);
    assert_eq!(code, 78);
    let holder = format!("process {}", gateway.child.id());
    assert!(
        message.contains(&holder) && message.contains(&gateway.url),
        "{message}"
    );
    assert!(message.contains("--profile"), "{message}");
}

#[test]
fn a_signal_ends_it_in_order() {
    for name in ["-TERM", "-INT"] {
        let home = tempfile::tempdir().unwrap();
        let mut gateway = Gateway::start(home.path());
        gateway.signal(name);
        let mut rest = String::new();
        gateway.out.read_to_string(&mut rest).unwrap();
        assert_eq!(gateway.child.wait().unwrap().code(), Some(0), "{name}");
        let log = fs::read_to_string(own(home.path()).join("gateway.log")).unwrap();
        assert!(log.contains("\"stopped\""), "{log}");
    }
}

/// The health payload, as text.
fn health(home: &Path, gateway: &Gateway) -> String {
    let port = gateway.url.rsplit(':').next().unwrap();
    let Output { stdout, .. } = command(home)
        .args(["gateway", "call", "health", "--json", "--port", port])
        .output()
        .unwrap();
    String::from_utf8(stdout).unwrap()
}

#[test]
fn a_damaged_database_is_reported_until_somebody_has_seen_to_it() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let database = own(home).join("state.sqlite");
    drop(Gateway::start(home));
    fs::write(&database, "no database").unwrap();
    // The start that sets it aside, and the next one.
    for _ in 0..2 {
        let gateway = Gateway::start(home);
        let health = health(home, &gateway);
        assert!(health.contains("state.sqlite.corrupt-"), "{health}");
        let log = fs::read_to_string(own(home).join("gateway.log")).unwrap();
        assert!(log.contains("state.sqlite.corrupt-"), "{log}");
    }
    // The file, and what lay beside it when the first gateway was killed.
    let mut aside: Vec<PathBuf> = fs::read_dir(own(home))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".corrupt-"))
        .collect();
    aside.sort();
    assert_eq!(fs::read(&aside[0]).unwrap(), b"no database");
    for file in aside {
        fs::remove_file(file).unwrap();
    }
    let gateway = Gateway::start(home);
    let health = health(home, &gateway);
    assert!(
        health.contains("\"ok\":true") && !health.contains("corrupt"),
        "{health}"
    );
}

#[test]
fn a_running_gateway_can_be_backed_up() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let _gateway = Gateway::start(home);
    let copy = home.join("copy.sqlite");
    let output = command(home)
        .args(["backup", "--to", copy.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(&copy).unwrap().starts_with(b"SQLite format 3"));
}

#[test]
fn nobody_outside_reaches_a_gateway_without_a_secret() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for flags in [&["--bind", "lan"][..], &["--bind", "lan", "--auth", "none"]] {
        let (code, message) = refused(home, flags);
        assert_eq!(code, 78, "{flags:?}: {message}");
        assert!(message.contains("without a secret"), "{message}");
    }
    assert!(!own(home).join("gateway.token").exists());
    let (code, message) = refused(home, &["--token", "change-me-now"]);
    assert_eq!(code, 78, "{message}");
    assert!(!message.contains("change-me-now"), "{message}");
}

#[test]
fn a_configuration_that_cannot_be_used_says_where() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write_config(home, "{ gateway: {\n  mode: 'local', port: 'many' } }");
    let (code, message) = refused(home, &[]);
    assert_eq!(code, 78);
    assert!(
        message.contains("line 2") && message.contains("gateway.port"),
        "{message}"
    );
    write_config(home, "{ gateway: { mode: }");
    assert!(refused(home, &[]).1.contains("openclaw.json:1:"));
    write_config(home, "{ gateway: { mode: 'remote' } }");
    let (code, message) = refused(home, &[]);
    assert_eq!(code, 78);
    assert!(message.contains("--allow-unconfigured"), "{message}");
}

#[test]
fn secrets_in_files_stay_out_of_the_process_list() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("token"), "file-secret-7\n").unwrap();
    let file = home.join("token");
    let mut child = run(
        home,
        &["--port", "0", "--token-file", file.to_str().unwrap()],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..2 {
        out.read_line(&mut text).unwrap();
    }
    if let Ok(arguments) = fs::read(format!("/proc/{}/cmdline", child.id())) {
        assert!(!String::from_utf8_lossy(&arguments).contains("file-secret-7"));
    }
    assert!(
        text.contains("from the command line") && !text.contains("file-secret-7"),
        "{text}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let log = fs::read_to_string(own(home).join("gateway.log")).unwrap();
    assert!(!log.contains("file-secret-7"));
}

#[test]
fn a_gateway_behind_a_proxy_reports_headers_of_strangers() {
    let home = tempfile::tempdir().unwrap();
    write_config(
        home.path(),
        "{ gateway: { mode: 'local', trustedProxies: ['10.0.0.1'], controlUi: { enabled: false },
           auth: { mode: 'trusted-proxy', trustedProxy: { userHeader: 'x-forwarded-user' } } } }",
    );
    let mut gateway = Gateway::start(home.path());
    let mut auth = String::new();
    gateway.out.read_line(&mut auth).unwrap();
    assert!(
        auth.contains("trusted-proxy, users named by x-forwarded-user"),
        "{auth}"
    );

    let address = gateway.url.strip_prefix("ws://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              X-Forwarded-User: root\r\nX-Forwarded-For: 198.51.100.77\r\n\r\n",
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let log = fs::read_to_string(home.path().join(".openclaw/clawgate/gateway.log")).unwrap();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("refused proxy headers from 127.0.0.1"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(
        told[0].contains("x-forwarded-user, x-forwarded-for"),
        "{told:?}"
    );
    assert!(!log.contains("198.51.100.77"), "{log}");
}

#[test]
fn a_tailscale_service_is_not_pretended() {
    let home = tempfile::tempdir().unwrap();
    write_config(
        home.path(),
        "{ gateway: { mode: 'local', auth: { token: 'a-long-token-of-this-test' },
           tailscale: { mode: 'serve', serviceName: 'svc:gateway' } } }",
    );
    let (code, said) = refused(home.path(), &[]);
    assert_eq!(code, 78, "{said}");
    assert!(
        said.contains("Remove gateway.tailscale.serviceName"),
        "{said}"
    );
}

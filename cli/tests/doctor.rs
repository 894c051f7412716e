//! `doctor`: each finding is made to happen, with real files, processes and sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use common::{Fake, Manner, SECRET, Sandbox, closed_port, no_scopes, small_gateway, wrong_token};
use serde_json::{Value, json};

/// What `doctor --json` says.
fn doctor(sandbox: &Sandbox, more: &[&str]) -> Value {
    sandbox.run(&[&["doctor", "--json"], more].concat()).json()
}

fn found<'a>(report: &'a Value, code: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|it| it["code"] == code);
    let found = found.unwrap_or_else(|| panic!("no {code} in {report:#}"));
    for words in ["what", "remedy"] {
        assert!(!found[words].as_str().unwrap().is_empty(), "{found}");
    }
    found
}

fn has(report: &Value, code: &str) -> bool {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().any(|it| it["code"] == code)
}

/// The state of one step of the way.
fn step(report: &Value, name: &str) -> String {
    let steps = report["steps"].as_array().unwrap();
    let step = steps.iter().find(|it| it["step"] == name).unwrap();
    step["state"].as_str().unwrap().to_owned()
}

/// A config with nothing that is wrong, but for what the test adds.
fn config(gateway: Value) -> Sandbox {
    let mut all = json!({ "mode": "local", "bind": "loopback", "port": closed_port() });
    for (key, value) in gateway.as_object().unwrap() {
        all[key] = value.clone();
    }
    Sandbox::with_config(&json!({ "gateway": all }).to_string())
}

fn with_token() -> Value {
    json!({ "auth": { "token": "4f9f6d0c52e74a1b8f0f6c1e7a6b2d9c" } })
}

fn calls(manner: Manner) -> (Fake, Sandbox) {
    let fake = Fake::start(manner);
    let sandbox = Sandbox::new();
    sandbox.write("token", SECRET);
    (fake, sandbox)
}

fn at(fake: &Fake, sandbox: &Sandbox) -> Value {
    let token = sandbox.path("token").to_string_lossy().into_owned();
    doctor(sandbox, &["--url", &fake.url(), "--token-file", &token])
}

#[test]
fn a_way_without_faults_has_no_finding() {
    let (fake, sandbox) = calls(Manner::Answer(healthy));
    let report = at(&fake, &sandbox);
    let findings = report["findings"].as_array().unwrap();
    let of_reach = findings.iter().filter(|it| it["area"] == "reach");
    assert_eq!(of_reach.count(), 0, "{report:#}");
    for name in ["target", "tcp", "upgrade", "challenge", "auth", "scope"] {
        assert_eq!(step(&report, name), "ok", "{report:#}");
    }
    for name in ["dns", "tls", "pin"] {
        assert_eq!(step(&report, name), "-", "{report:#}");
    }
}

fn healthy(method: &str, params: &Value) -> Result<Value, Value> {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    match method {
        "health" => Ok(json!({ "ok": true, "ts": u64::try_from(now.as_millis()).unwrap() })),
        _ => small_gateway(method, params),
    }
}

#[test]
fn the_config_file() {
    let sandbox = Sandbox::with_config("{ gateway: { mode: }");
    let report = doctor(&sandbox, &[]);
    let what = found(&report, "config.syntax")["what"].as_str().unwrap();
    assert!(what.contains(":1:20:"), "{what}");
    assert_eq!(found(&report, "config.syntax")["severity"], "critical");

    let sandbox = config(json!({ "bind": "everywhere", "prot": 1 }));
    let report = doctor(&sandbox, &[]);
    found(&report, "config.value");
    let ignored = found(&report, "config.ignored")["what"].as_str().unwrap();
    assert!(ignored.contains("gateway.prot"), "{ignored}");

    found(&doctor(&Sandbox::new(), &[]), "config.missing");
    let nowhere = doctor(&Sandbox::new(), &["--config", "/nowhere/openclaw.json"]);
    found(&nowhere, "config.named_file_missing");

    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path(".openclaw/openclaw.json")).unwrap();
    found(&doctor(&sandbox, &[]), "config.unreadable");
}

#[test]
fn an_account_that_does_not_run() {
    let text = json!({ "channels": { "telegram": { "botToken": "${NO_SUCH_TOKEN}" } } });
    let sandbox = Sandbox::with_config(&text.to_string());
    let report = doctor(&sandbox, &[]);
    let what = found(&report, "config.account_unusable")["what"].as_str();
    assert!(what.unwrap().contains("telegram"), "{report:#}");
}

#[test]
fn references_without_a_value() {
    let sandbox = config(json!({ "auth": { "token": "${NO_SUCH_TOKEN}" } }));
    let report = doctor(&sandbox, &[]);
    let unresolved = found(&report, "secrets.unresolved");
    assert!(
        unresolved["what"]
            .as_str()
            .unwrap()
            .contains("gateway.auth.token")
    );
    assert!(
        unresolved["remedy"]
            .as_str()
            .unwrap()
            .contains("NO_SUCH_TOKEN")
    );
    let sandbox = sandbox.env("NO_SUCH_TOKEN", SECRET);
    assert!(!has(&doctor(&sandbox, &[]), "secrets.unresolved"));

    // A file that is really read.
    let sandbox = Sandbox::new();
    let secrets = sandbox.write("secrets.json", "{}");
    let provider = json!({ "source": "file", "path": secrets, "mode": "json" });
    let token = json!({ "source": "file", "provider": "box", "id": "/gateway/token" });
    let text = json!({
        "gateway": { "mode": "local", "auth": { "token": token } },
        "secrets": { "providers": { "box": provider } },
    });
    sandbox.write(".openclaw/openclaw.json", &text.to_string());
    let report = doctor(&sandbox, &[]);
    found(&report, "secrets.unresolved");
}

#[test]
fn sources_that_hide_others() {
    let shell = config(json!({ "auth": { "token": "the-configured-one" } }))
        .env("OPENCLAW_GATEWAY_TOKEN", SECRET)
        .env("OPENCLAW_GATEWAY_PORT", "1");
    let report = doctor(&shell, &[]);
    found(&report, "precedence.env_token_shadows");
    found(&report, "precedence.env_port_shadows");

    let remote = json!({ "mode": "remote", "remote": {
        "url": "ws://127.0.0.1:1", "token": "the-configured-one", "password": "the-configured-one",
    } });
    let shell = config(remote)
        .env("OPENCLAW_GATEWAY_TOKEN", SECRET)
        .env("OPENCLAW_GATEWAY_PASSWORD", SECRET)
        .env("OPENCLAW_GATEWAY_URL", "ws://127.0.0.1:2");
    let report = doctor(&shell, &[]);
    found(&report, "precedence.env_token_unused");
    found(&report, "precedence.env_password_shadows");
    found(&report, "precedence.env_url_shadows");

    let shell = config(json!({})).env("OPENCLAW_GATEWAY_PORT", "many");
    found(&doctor(&shell, &[]), "precedence.env_port_ignored");
}

#[cfg(unix)]
#[test]
fn exposure_and_modes_come_from_the_audit_and_modes_are_mended() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = config(json!({ "auth": { "mode": "none" } }));
    let key = sandbox.write(".openclaw/clawgate/identity.key", "k");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let report = doctor(&sandbox, &[]);
    found(&report, "security.auth.none");
    let findings = report["findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|it| it["fixable"] == true),
        "{report:#}"
    );

    let report = doctor(&sandbox, &["--fix"]);
    let fixed = report["fixed"].as_array().unwrap();
    assert!(
        fixed.iter().any(|it| it["file"] == key.as_str()),
        "{report:#}"
    );
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn programs_that_are_missing() {
    let sandbox = config(json!({ "tailscale": { "mode": "serve" } }));
    let report = doctor(&sandbox, &[]);
    let here = [
        "/usr/bin",
        "/usr/sbin",
        "/usr/local/bin",
        "/opt/homebrew/bin",
    ];
    let there = here
        .iter()
        .any(|it| fs::exists(format!("{it}/tailscale")).unwrap());
    assert_eq!(has(&report, "programs.tailscale_missing"), !there);
}

/// Hides the system's ssh in a view of the files of its own.
#[cfg(target_os = "linux")]
#[test]
fn ssh_that_anybody_may_have_changed_is_as_good_as_none() {
    use std::os::unix::fs::PermissionsExt;

    let remote =
        json!({ "url": "ws://127.0.0.1:1", "transport": "ssh", "sshTarget": "a@127.0.0.1" });
    let sandbox = config(json!({ "mode": "remote", "remote": remote }));
    let other = sandbox.write("ssh", "#!/bin/sh\n");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o777)).unwrap();
    let hide = format!("test ! -e /usr/bin/ssh || mount --bind '{other}' /usr/bin/ssh");
    let permitted = Command::new("unshare")
        .args(["--mount", "sh", "-c", &hide])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !permitted {
        use std::io::Write as _;
        let _ = writeln!(
            std::io::stderr(),
            "NOT TESTED HERE: a missing ssh. Hiding it needs root and `unshare`."
        );
        return;
    }
    let doctor = sandbox.command(&["doctor", "--json"]);
    let program = doctor.get_program().to_string_lossy().into_owned();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg(format!(
            "{hide}; exec '{program}' doctor --json --timeout 2000"
        ))
        .env("HOME", sandbox.path(""))
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    found(&report, "programs.ssh_missing");
}

#[test]
fn clocks_that_differ() {
    fn behind(method: &str, params: &Value) -> Result<Value, Value> {
        match method {
            "health" => Ok(json!({ "ok": true, "ts": 1_737_264_000_000_u64 })),
            _ => small_gateway(method, params),
        }
    }
    let (fake, sandbox) = calls(Manner::Answer(behind));
    let report = at(&fake, &sandbox);
    let skew = found(&report, "clock.skew");
    assert_eq!(skew["severity"], "critical");
    assert!(skew["what"].as_str().unwrap().contains("behind"), "{skew}");
    let (fake, sandbox) = calls(Manner::Answer(healthy));
    assert!(!has(&at(&fake, &sandbox), "clock.skew"));
}

#[test]
fn versions_that_differ() {
    let (fake, sandbox) = calls(Manner::Answer(healthy));
    let report = at(&fake, &sandbox);
    let what = found(&report, "versions.differ")["what"].as_str().unwrap();
    assert!(what.contains("9.9.9"), "{what}");
    assert_eq!(report["versions"]["gateway"], "9.9.9");
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_that_somebody_else_holds() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let sandbox = config(json!({ "port": port }));
    let report = doctor(&sandbox, &["--timeout", "300"]);
    let what = found(&report, "ports.held")["what"].as_str().unwrap();
    assert!(
        what.contains(&format!("process {}", std::process::id())),
        "{what}"
    );
    drop(holder);
    assert!(!has(&doctor(&sandbox, &[]), "ports.held"));
}

/// A real gateway in the sandbox.
struct Running(Child);

impl Running {
    fn start(sandbox: &Sandbox) -> Self {
        let mut child = sandbox
            .command(&["gateway", "run"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .map_while(Result::ok)
            .any(|it| it.contains("is ready"));
        assert!(ready);
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_killed_gateway_leaves_is_told_and_removed() {
    let sandbox = config(json!({}));
    let running = Running::start(&sandbox);
    let report = doctor(&sandbox, &["--fix"]);
    for code in [
        "state.lock_stale",
        "state.socket_stale",
        "reach.target",
        "reach.tcp",
    ] {
        assert!(!has(&report, code), "{report:#}");
    }
    running.kill();
    let half = sandbox.write(".openclaw/clawgate/gateway.token.4194304.new", SECRET);

    let report = doctor(&sandbox, &[]);
    found(&report, "state.half_written");
    found(&report, "state.socket_stale");
    let lock = found(&report, "state.lock_stale");
    assert!(lock["what"].as_str().unwrap().contains("which is gone"));

    let report = doctor(&sandbox, &["--fix"]);
    let errors = report["fixed"].as_array().unwrap();
    assert!(errors.iter().all(|it| it["error"].is_null()), "{report:#}");
    for code in [
        "state.half_written",
        "state.socket_stale",
        "state.lock_stale",
    ] {
        assert!(!has(&report, code), "{report:#}");
    }
    assert!(!fs::exists(half).unwrap());
    assert!(!fs::exists(sandbox.path(".openclaw/clawgate/gateway.sock")).unwrap());
    // Whatever was removed, the next gateway starts.
    Running::start(&sandbox).kill();
}

#[test]
fn a_damaged_database() {
    let sandbox = config(json!({}));
    Running::start(&sandbox).kill();
    let path = sandbox.path(".openclaw/clawgate/state.sqlite");
    for beside in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{beside}", path.display()));
    }
    let mut bytes = fs::read(&path).unwrap();
    if bytes.len() < 8192 {
        // Everything was in the log beside it.
        bytes = b"SQLite format 3\0".to_vec();
    }
    bytes.truncate(bytes.len() / 2);
    fs::write(&path, &bytes).unwrap();
    let report = doctor(&sandbox, &[]);
    found(&report, "state.database_damaged");

    fs::write(&path, vec![b'x'; 100_000]).unwrap();
    found(&doctor(&sandbox, &[]), "state.database_damaged");
    Running::start(&sandbox).kill();
    found(&doctor(&sandbox, &[]), "state.database_set_aside");
}

#[test]
fn a_database_of_another_program() {
    let sandbox = config(json!({}));
    let path = sandbox.path(".openclaw/clawgate/state.sqlite");
    fs::create_dir_all(&path).unwrap();
    found(&doctor(&sandbox, &[]), "state.database_unusable");
}

#[test]
fn the_first_step_that_fails_is_named() {
    // Nobody is there.
    let report = doctor(&config(with_token()), &[]);
    let tcp = found(&report, "reach.tcp");
    assert_eq!(tcp["severity"], "warn", "a gateway may be meant not to run");
    assert_eq!(step(&report, "tcp"), "failed");
    assert_eq!(step(&report, "upgrade"), "?");

    // There is no such name.
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    let nowhere = [
        "--url",
        "wss://no-such-host.invalid",
        "--token-file",
        &token,
    ];
    let report = doctor(&sandbox, &nowhere);
    found(&report, "reach.dns");
    assert_eq!(step(&report, "tcp"), "?");

    // No target may be used.
    let insecure = ["--url", "ws://gw.example.com", "--token-file", &token];
    found(&doctor(&sandbox, &insecure), "reach.target");

    // What answers speaks no TLS.
    let (fake, sandbox) = calls(Manner::Http);
    let url = fake.url().replace("ws://", "wss://");
    let report = doctor(&sandbox, &["--url", &url, "--token-file", &token]);
    found(&report, "reach.tls");

    let report = at(&fake, &sandbox);
    found(&report, "reach.upgrade");
    assert_eq!(step(&report, "tcp"), "ok");

    let (fake, sandbox) = calls(Manner::Refuse(wrong_token()));
    let report = at(&fake, &sandbox);
    let auth = found(&report, "reach.auth");
    assert!(
        auth["remedy"].as_str().unwrap().contains("--token"),
        "{auth}"
    );
    assert_eq!(step(&report, "challenge"), "ok");

    let (fake, sandbox) = calls(Manner::Answer(no_scopes));
    let report = at(&fake, &sandbox);
    found(&report, "reach.scope");
    assert_eq!(step(&report, "auth"), "ok");
}

/// A service that was installed from another shell, and one of OpenClaw's.
#[cfg(target_os = "linux")]
#[test]
fn a_service_that_has_drifted() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = config(with_token());
    let manager = sandbox.write("systemctl", "#!/bin/sh\nexit 0\n");
    fs::set_permissions(&manager, fs::Permissions::from_mode(0o755)).unwrap();
    let sandbox = sandbox.env("CLAWGATE_SERVICE_MANAGER", &manager);
    let unit = ".config/systemd/user/clawgate-gateway.service";
    sandbox.write(unit, "[Service]\nExecStart=/nowhere/clawgate gateway run\n");
    let state = ".openclaw/clawgate/service.env";
    sandbox.write(state, "OPENCLAW_GATEWAY_PASSWORD=\"another\"\n");
    sandbox.write(
        ".config/systemd/user/openclaw-gateway.service",
        "[Service]\n",
    );
    let report = doctor(&sandbox, &[]);
    found(&report, "service.unit_differs");
    found(&report, "service.openclaw_too");
    let secret = found(&report, "service.secret_differs");
    assert!(!secret.to_string().contains("another"), "{secret}");

    sandbox.write(state, "no variable\n");
    found(
        &doctor(&sandbox, &[]),
        "service.environment_file_unreadable",
    );
    // The service does not get the variable that this shell has.
    let elsewhere = json!({ "gateway": { "mode": "local", "bind": "loopback",
        "auth": { "mode": "password", "password": "${PASSWORD_OF_THE_SHELL}" } } });
    sandbox.write(".openclaw/openclaw.json", &elsewhere.to_string());
    sandbox.write(state, "");
    found(&doctor(&sandbox, &[]), "service.would_not_start");
}

/// The SSH server is not there.
#[cfg(unix)]
#[test]
fn a_tunnel_that_does_not_open_is_named() {
    let (local, ssh) = (closed_port(), closed_port());
    let remote = json!({
        "url": format!("ws://127.0.0.1:{local}"), "token": SECRET, "transport": "ssh",
        "sshTarget": format!("ada@127.0.0.1:{ssh}"),
    });
    let sandbox = config(json!({ "mode": "remote", "remote": remote }));
    let report = doctor(&sandbox, &["--timeout", "20000"]);
    if has(&report, "programs.ssh_missing") {
        return;
    }
    found(&report, "reach.tunnel");
    assert_eq!(step(&report, "tcp"), "?");
}

/// A listener that takes the WebSocket upgrade and then says nothing.
#[test]
fn a_gateway_that_never_asks_is_named_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        while socket.read().is_ok() {}
    });
    let sandbox = Sandbox::new();
    let token = sandbox.write("token", SECRET);
    let url = format!("ws://127.0.0.1:{port}");
    let report = doctor(
        &sandbox,
        &["--url", &url, "--token-file", &token, "--timeout", "1000"],
    );
    found(&report, "reach.challenge");
    assert_eq!(step(&report, "upgrade"), "ok");
    silent.join().unwrap();
}

#[test]
fn another_certificate_than_the_pinned_one() {
    let sandbox = config(json!({ "tls": { "enabled": true } }));
    let running = Running::start(&sandbox);
    let url = doctor(&sandbox, &[])["target"]["url"].clone();
    let url = url.as_str().unwrap();
    let pin = "00".repeat(32);
    let wrong = ["--url", url, "--no-auth", "--tls-fingerprint", &pin];
    let report = doctor(&sandbox, &wrong);
    found(&report, "reach.pin");
    assert_eq!(step(&report, "tls"), "ok");
    // Of this machine's own gateway the certificate is known.
    let report = doctor(&sandbox, &[]);
    assert_eq!(step(&report, "pin"), "ok", "{report:#}");
    running.kill();
}

#[test]
fn the_level_decides_about_the_exit_code_and_text_is_for_people() {
    let sandbox = config(with_token());
    sandbox.run(&["doctor", "--fix"]);
    let outcome = sandbox.run(&["doctor", "--level", "critical"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stdout.contains("warn      reach.tcp"),
        "{outcome:?}"
    );
    assert!(outcome.stdout.contains("0 critical, "), "{outcome:?}");
    assert_eq!(sandbox.run(&["doctor"]).code, 1);
}

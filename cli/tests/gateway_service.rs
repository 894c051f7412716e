//! `clawgate gateway install`, `start`, `stop`, `restart`, `status` and `uninstall`, with a stand-in for
//! the manager's program that writes down what it is asked.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use common::{SECRET, Sandbox};

const UNIT: &str = ".config/systemd/user/clawgate-gateway.service";

/// A home whose manager answers from a file, and the config of a gateway on a free port.
fn home() -> (Sandbox, u16) {
    let sandbox = Sandbox::new();
    let script = "#!/bin/sh\n\
         cd \"$(dirname \"$0\")\"\n\
         echo \"$*\" >> asked\n\
         [ -f fail ] && { cat fail >&2; exit 1; }\n\
         case \"$*\" in *' show '*) cat answer 2>/dev/null;; esac\n\
         exit 0\n";
    let program = sandbox.write("systemctl", script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let config = format!("{{ gateway: {{ mode: 'local', bind: 'loopback', port: {port} }} }}");
    sandbox.write(".openclaw/openclaw.json", &config);
    (sandbox.env("CLAWGATE_SERVICE_MANAGER", &program), port)
}

fn asked(sandbox: &Sandbox) -> Vec<String> {
    let path = sandbox.path("asked");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(path);
    text.lines().map(str::to_owned).collect()
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    fs::read_to_string(sandbox.path(name)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn by_hand(sandbox: &Sandbox) -> Gateway {
    let mut child = sandbox
        .command(&["gateway", "run"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("is ready"), "{line}");
    // Somebody has to read it.
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    Gateway(child)
}

#[test]
fn secrets_go_into_a_file_of_their_own() {
    let (sandbox, _) = home();
    let sandbox = sandbox
        .env("OPENCLAW_GATEWAY_TOKEN", SECRET)
        .env("UNRELATED", "x");
    let installed = sandbox.run(&["gateway", "install"]);
    assert_eq!(installed.code, 0, "{installed:?}");
    let unit = read(&sandbox, UNIT);
    assert!(!unit.contains(SECRET), "{unit}");
    for line in [
        "Type=notify",
        "WatchdogSec=60",
        "RestartPreventExitStatus=78",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    ] {
        assert!(unit.lines().any(|have| have == line), "{line} in {unit}");
    }
    let state = sandbox.path(".openclaw");
    let line = format!("ReadWritePaths={}", state.display());
    assert!(unit.contains(&line), "{unit}");
    assert_eq!(unit.matches("ReadWritePaths").count(), 1);
    let file = sandbox.path(".openclaw/clawgate/service.env");
    assert_eq!(mode(&file), 0o600);
    let variables = fs::read_to_string(file).unwrap();
    assert_eq!(variables, format!("OPENCLAW_GATEWAY_TOKEN=\"{SECRET}\"\n"));
    assert_eq!(mode(&sandbox.path(UNIT)), 0o644);
    let said = asked(&sandbox);
    assert!(
        said.contains(&"--user daemon-reload".to_owned()),
        "{said:?}"
    );
    assert!(said.contains(&"--user restart clawgate-gateway.service".to_owned()));

    // The same again changes nothing, and starts nothing anew.
    let again = sandbox.run(&["gateway", "install", "--json"]);
    assert_eq!(again.json()["changed"], serde_json::json!([]));
    let said = asked(&sandbox);
    assert!(
        said.contains(&"--user start clawgate-gateway.service".to_owned()),
        "{said:?}"
    );

    let removed = sandbox.run(&["gateway", "uninstall"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert!(!sandbox.path(UNIT).exists());
    assert!(!sandbox.path(".openclaw/clawgate/service.env").exists());
    let said = asked(&sandbox);
    assert!(
        said.contains(&"--user disable --now clawgate-gateway.service".to_owned()),
        "{said:?}"
    );
}

#[test]
fn print_shows_the_files_and_changes_nothing() {
    let (sandbox, port) = home();
    let sandbox = sandbox.env("OPENCLAW_GATEWAY_TOKEN", SECRET);
    let printed = sandbox.run(&["gateway", "install", "--print", "--socket-activation"]);
    assert_eq!(printed.code, 0, "{printed:?}");
    let line = format!("ListenStream=127.0.0.1:{port}\nListenStream=[::1]:{port}\n");
    assert!(printed.stdout.contains(&line), "{}", printed.stdout);
    assert!(
        printed
            .stdout
            .contains("OPENCLAW_GATEWAY_TOKEN=(secret, id ")
    );
    let launchd = sandbox.run(&["gateway", "install", "--print", "--manager", "launchd"]);
    assert!(
        launchd
            .stdout
            .contains("<string>ai.clawgate.gateway</string>"),
        "{launchd:?}"
    );
    assert!(launchd.stdout.contains("<string>--env-file</string>"));
    assert!(asked(&sandbox).is_empty());
    assert!(!sandbox.path(".config").exists());
    assert!(!sandbox.path(".openclaw/clawgate").exists());
}

#[test]
fn profiles_have_services_of_their_own() {
    let (sandbox, _) = home();
    sandbox.write(
        ".openclaw-rescue/openclaw.json",
        "{ gateway: { mode: 'local', bind: 'loopback' } }",
    );
    let printed = sandbox.run(&["--profile", "rescue", "gateway", "install", "--print"]);
    let text = &printed.stdout;
    assert!(
        text.contains("clawgate-gateway-rescue.service"),
        "{printed:?}"
    );
    assert!(text.contains(" --profile rescue gateway run\n"), "{text}");
    assert!(text.contains(".openclaw-rescue\n"), "{text}");
}

#[test]
fn where_it_would_not_start_nothing_is_installed() {
    let (sandbox, _) = home();
    sandbox.write(
        ".openclaw/openclaw.json",
        "{ gateway: { mode: 'local', bind: 'lan', auth: { mode: 'none' } } }",
    );
    let refused = sandbox.run(&["gateway", "install", "--json"]);
    assert_eq!(refused.code, 78);
    assert_eq!(refused.error()["code"], "refuse_bind_without_auth");
    assert!(!sandbox.path(UNIT).exists());
    // A secret that only this shell has goes along, so that the service has it too.
    let config = "{ gateway: { mode: 'local', bind: 'loopback', auth: { token: '${MY_TOKEN}' } } }";
    sandbox.write(".openclaw/openclaw.json", config);
    let sandbox = sandbox.env("MY_TOKEN", SECRET);
    let installed = sandbox.run(&["gateway", "install"]);
    assert_eq!(installed.code, 0, "{installed:?}");
    let variables = read(&sandbox, ".openclaw/clawgate/service.env");
    assert!(variables.starts_with("MY_TOKEN="), "{variables}");
}

#[test]
fn without_a_manager_nothing_is_written() {
    let (sandbox, _) = home();
    sandbox.write("fail", "Failed to connect to bus: No medium found");
    let refused = sandbox.run(&["gateway", "install", "--json"]);
    assert_eq!(refused.code, 1);
    assert_eq!(refused.error()["code"], "no_user_manager");
    assert!(!sandbox.path(UNIT).exists());
    assert!(!sandbox.path(".openclaw/clawgate/service.env").exists());
}

#[test]
fn a_service_of_openclaw_is_not_joined_by_accident() {
    let (sandbox, _) = home();
    sandbox.write(".config/systemd/user/openclaw-gateway.service", "");
    let refused = sandbox.run(&["gateway", "install", "--json"]);
    let error = refused.error();
    assert_eq!(error["code"], "openclaw_service_present");
    let next = error["next"].as_str().unwrap();
    assert!(
        next.contains("systemctl --user disable --now openclaw-gateway.service"),
        "{next}"
    );
    assert_eq!(sandbox.run(&["gateway", "install", "--force"]).code, 0);
}

#[test]
fn a_remote_gateway_is_no_reason_to_touch_the_local_service() {
    let (sandbox, _) = home();
    assert_eq!(sandbox.run(&["gateway", "install"]).code, 0);
    asked(&sandbox);
    sandbox.write(
        ".openclaw/openclaw.json",
        "{ gateway: { mode: 'remote', remote: { url: 'ws://127.0.0.1:9' } } }",
    );
    for command in ["install", "uninstall", "start", "stop", "restart"] {
        let refused = sandbox.run(&["gateway", command, "--json"]);
        assert_eq!(refused.code, 78, "{command}");
        assert_eq!(refused.error()["code"], "remote_mode", "{command}");
    }
    let status = sandbox.run(&["gateway", "status", "--json"]);
    assert!(status.json()["service"].is_null(), "{status:?}");
    assert!(asked(&sandbox).is_empty());
    assert_eq!(sandbox.run(&["gateway", "stop", "--local"]).code, 0);
    // Nothing runs by the manager's word, so there is nothing to stop.
    assert!(asked(&sandbox).iter().all(|line| line.contains(" show ")));
}

#[test]
fn a_gateway_that_runs_by_hand_is_seen_and_stopped() {
    let (sandbox, port) = home();
    let mut gateway = by_hand(&sandbox);
    let pid = gateway.0.id();
    let status = sandbox.run(&["gateway", "status", "--json"]).json();
    assert_eq!(status["ok"], true, "{status}");
    assert_eq!(status["service"]["installed"], false);
    assert_eq!(status["process"]["pid"], pid);
    assert_eq!(status["port"]["port"], port);
    assert_eq!(status["port"]["holder"]["pid"], pid);
    assert_eq!(status["port"]["holder"]["gateway"]["pid"], pid);
    let text = sandbox.run(&["gateway", "status"]).stdout;
    assert!(
        text.contains(&format!("process {pid} runs by hand")),
        "{text}"
    );

    let refused = sandbox.run(&["gateway", "install", "--json"]);
    assert_eq!(refused.error()["code"], "gateway_runs_by_hand");
    let stopped = sandbox.run(&["gateway", "stop", "--json"]).json();
    assert_eq!(stopped["result"], "stopped");
    assert_eq!(stopped["pid"], pid);
    assert!(gateway.0.wait().unwrap().success());
    let again = sandbox.run(&["gateway", "stop", "--json"]).json();
    assert_eq!(again["result"], "not running");
    let start = sandbox.run(&["gateway", "start", "--json"]);
    assert_eq!(start.error()["code"], "service_not_installed");
}

#[test]
fn status_shows_the_service_and_where_it_has_drifted() {
    let (sandbox, port) = home();
    assert_eq!(sandbox.run(&["gateway", "install"]).code, 0);
    sandbox.write(
        "answer",
        "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nMainPID=0\n\
         InactiveEnterTimestamp=@1700000000\nExecMainCode=1\nExecMainStatus=78\n",
    );
    let calm = sandbox.run(&["gateway", "status", "--json"]).json();
    let service = &calm["service"];
    assert_eq!(service["activity"], "failed");
    assert_eq!(service["lastExit"], 78);
    assert_eq!(service["since"], "2023-11-14T22:13:20.000Z");
    assert_eq!(service["drift"], serde_json::json!([]), "{calm}");
    // What was there before is still there.
    for key in ["ok", "target", "auth", "reachable", "rpc", "error"] {
        assert!(calm.get(key).is_some(), "{key}");
    }

    let unit = read(&sandbox, UNIT).replace("WatchdogSec=60", "WatchdogSec=1");
    sandbox.write(UNIT, &unit);
    let stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let sandbox = sandbox.env("OPENCLAW_GATEWAY_TOKEN", SECRET);
    let drifted = sandbox
        .run(&["gateway", "status", "--json", "--timeout", "500"])
        .json();
    let codes: Vec<&str> = drifted["service"]["drift"]
        .as_array()
        .unwrap()
        .iter()
        .map(|drift| drift["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["unit_differs", "secret_differs"], "{drifted}");
    assert_eq!(drifted["port"]["holder"]["pid"], std::process::id());
    assert!(drifted["port"]["holder"]["gateway"].is_null());
    let text = sandbox
        .run(&["gateway", "status", "--timeout", "500"])
        .stdout;
    assert!(
        text.contains("has WatchdogSec=1, would be WatchdogSec=60"),
        "{text}"
    );
    assert!(
        text.contains("OPENCLAW_GATEWAY_TOKEN is set in this shell only"),
        "{text}"
    );
    drop(stranger);
}

#[test]
fn the_units_pass_systemds_own_check() {
    let (sandbox, _) = home();
    let installed = sandbox.run(&["gateway", "install", "--socket-activation"]);
    assert_eq!(installed.code, 0, "{installed:?}");
    let socket = UNIT.replace(".service", ".socket");
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--user", "--man=no"])
        .args([sandbox.path(UNIT), sandbox.path(&socket)])
        .env("XDG_RUNTIME_DIR", sandbox.path(""))
        .output();
    match verify {
        Ok(verify) => {
            let said = String::from_utf8_lossy(&verify.stderr);
            assert!(
                verify.status.success() && !said.contains("clawgate"),
                "{said}"
            );
        }
        Err(_) => println!("systemd-analyze is missing: the units were not verified"),
    }
    // Without sockets again, the manager closes its own.
    asked(&sandbox);
    assert_eq!(sandbox.run(&["gateway", "install"]).code, 0);
    let said = asked(&sandbox);
    assert!(
        said.contains(&"--user disable --now clawgate-gateway.socket".to_owned()),
        "{said:?}"
    );
    assert!(!sandbox.path(&socket).exists());
}

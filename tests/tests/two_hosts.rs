//! A gateway on one host and its clients on another: network namespaces that the test makes, joined by
//! a cable of their own. No packet leaves them.
//!
//! They take root and the program `ip`. Where they are not permitted the tests say so, and what needs
//! no second host is tested all the same.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clawgate_tests::command_line::Ran;
use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Attempt, Failure, TestResult};
use clawgate_tests::gateway_process::{GatewayProcess, Settings, clawgate};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOKEN: &str = "a-token-that-both-hosts-of-the-test-know";
const GATEWAY: &str = "10.99.7.1";
const CLIENT: &str = "10.99.7.2";
const PORT: u16 = 18789;

/// A network namespace, for as long as a process in it lives.
struct Host {
    keeper: Child,
    home: TempDir,
}

impl Host {
    fn new() -> TestResult<Self> {
        // Ends by itself when the test is killed: its input closes.
        let keeper = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .attempt(|| "could not start unshare".to_owned())?;
        let host = Self {
            keeper,
            home: TempDir::new()?,
        };
        let own = fs::read_link("/proc/self/ns/net")?;
        let its = format!("/proc/{}/ns/net", host.keeper.id());
        Deadline::after(PATIENCE).poll("a network namespace", || {
            Ok(fs::read_link(&its)
                .is_ok_and(|its| its != own)
                .then_some(()))
        })?;
        Ok(host)
    }

    /// A program on this host.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--target", &self.keeper.id().to_string(), "--"])
            .arg(program.as_ref())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn ip(&self, arguments: &[&str]) -> TestResult {
        let output = self.command("ip").args(arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("ip {arguments:?}: {errors}")))
    }

    fn plug_in(&self, cable: &str, address: &str) -> TestResult {
        self.ip(&["link", "set", "lo", "up"])?;
        self.ip(&["address", "add", &format!("{address}/24"), "dev", cable])?;
        self.ip(&["link", "set", cable, "up"])
    }

    /// Runs clawgate here to its end.
    fn run(&self, arguments: &[&str]) -> TestResult<Ran> {
        let output = self.command(clawgate()?).args(arguments).output()?;
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn json(&self, arguments: &[&str]) -> TestResult<Value> {
        let ran = self.run(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&ran.stdout).attempt(|| format!("{arguments:?}: {ran:?}"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Two hosts and a cable, or nothing where that is not permitted.
fn two_hosts() -> TestResult<Option<(Host, Host)>> {
    let permitted = Command::new("unshare")
        .args(["--net", "ip", "link", "set", "lo", "up"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !permitted {
        // Loud, so that nobody takes the silence for a proof.
        let _ = writeln!(
            io::stderr(),
            "NOT TESTED HERE: two hosts. Network namespaces need root, `unshare` and `ip` (iproute2)."
        );
        return Ok(None);
    }
    let (gateway, client) = (Host::new()?, Host::new()?);
    let other = client.keeper.id().to_string();
    gateway.ip(&[
        "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", &other,
    ])?;
    gateway.plug_in("cable0", GATEWAY)?;
    client.plug_in("cable1", CLIENT)?;
    Ok(Some((gateway, client)))
}

/// A gateway that listens on all addresses of its host, and shows a certificate of its own.
struct LanGateway {
    child: Child,
    fingerprint: String,
}

impl LanGateway {
    fn start(host: &Host) -> TestResult<Self> {
        let state = host.home.path().join(".openclaw");
        fs::create_dir_all(&state)?;
        let config = json!({
            "gateway": {
                "mode": "local",
                "bind": "lan",
                "port": PORT,
                "auth": {"mode": "token", "token": TOKEN},
                "tls": {"enabled": true},
                "controlUi": {"enabled": false},
            },
            "update": {"checkOnStart": false},
        });
        fs::write(state.join("openclaw.json"), config.to_string())?;
        let mut child = host
            .command(clawgate()?)
            .args(["gateway", "run"])
            // The tests may run in a container, where nothing is advertised otherwise.
            .env("OPENCLAW_DISABLE_BONJOUR", "0")
            .env("OPENCLAW_MDNS_HOSTNAME", "attic")
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or_else(no_output)?).lines();
        let mut gateway = Self {
            child,
            fingerprint: String::new(),
        };
        let line = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("sha256:").map(|(_, rest)| rest.to_owned()));
        gateway.fingerprint = line
            .and_then(|line| Some(line.split_whitespace().next()?.to_owned()))
            .ok_or_else(|| Failure::new("the gateway named no certificate"))?;
        Ok(gateway)
    }

    fn ask_to_stop(&self) -> TestResult {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.ok_or_else(no_output)?, Signal::TERM)?)
    }
}

impl Drop for LanGateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn no_output() -> Failure {
    Failure::new("the gateway has no output")
}

#[test]
fn a_gateway_is_found_from_another_host_and_says_goodbye() -> TestResult {
    let Some((there, here)) = two_hosts()? else {
        return Ok(());
    };
    let mut watch = here
        .command(clawgate()?)
        .args(["discover", "--watch", "--timeout", "60000", "--json"])
        .spawn()?;
    let output = watch.stdout.take().ok_or_else(no_output)?;
    let mut events = BufReader::new(output).lines();
    let mut next = |wanted: &str| -> TestResult<Value> {
        for line in events.by_ref() {
            let event: Value = serde_json::from_str(&line?)?;
            if event["event"] == wanted {
                return Ok(event);
            }
        }
        Err(Failure::new(format!("the watch ended without {wanted:?}")))
    };
    let mut gateway = LanGateway::start(&there)?;

    let found = next("found")?;
    assert_eq!(found["instanceName"], "attic (OpenClaw)");
    assert_eq!(found["host"], "attic.local");
    assert_eq!(found["addresses"], json!([GATEWAY]));
    let url = format!("wss://{GATEWAY}:{PORT}");
    assert_eq!(found["wsUrl"], url.as_str());
    assert_eq!(found["trusted"], false);
    let hints = &found["hints"];
    assert_eq!(hints["gatewayTlsSha256"], gateway.fingerprint.as_str());
    for said_in_full_mode_only in ["sshPort", "cliPath", "tailnetDns"] {
        assert_eq!(hints[said_in_full_mode_only], Value::Null);
    }
    let heard = Deadline::after(PATIENCE).poll("a gateway to be heard", || {
        let heard = here.json(&["discover"])?;
        Ok((heard["count"] == 1).then_some(heard))
    })?;
    assert_eq!(heard["beacons"][0]["wsUrl"], url.as_str());

    gateway.ask_to_stop()?;
    let gone = next("gone")?;
    assert_eq!(gone["instanceName"], "attic (OpenClaw)");
    gateway.child.wait()?;
    watch.kill()?;
    watch.wait()?;
    Ok(())
}

#[test]
fn a_pin_holds_between_hosts_and_what_was_discovered_is_none() -> TestResult {
    let Some((there, here)) = two_hosts()? else {
        return Ok(());
    };
    let gateway = LanGateway::start(&there)?;
    let url = format!("wss://{GATEWAY}:{PORT}");
    let token = here.home.path().join("token");
    fs::write(&token, TOKEN)?;
    let token = token.to_string_lossy().into_owned();
    let health = |more: &[&str]| {
        let arguments = [&["health", "--url", &url], more].concat();
        here.run(&arguments)
    };
    let pinned = ["--tls-fingerprint", &gateway.fingerprint];
    let with_token = ["--token-file", &token];

    let right = health(&[pinned, with_token].concat())?;
    assert_eq!(right.code, 0, "{right:?}");
    let no_token = health(&[&pinned[..], &["--no-auth"]].concat())?;
    assert_eq!(no_token.code, 4, "{no_token:?}");
    let wrong = "00".repeat(32);
    let wrong = health(&[["--tls-fingerprint", &wrong], with_token].concat())?;
    assert_eq!(wrong.code, 7, "{wrong:?}");
    // Hearing of the gateway and its fingerprint changes nothing about whom this host trusts.
    let heard = Deadline::after(PATIENCE).poll("a gateway to be heard", || {
        let heard = here.json(&["discover"])?;
        Ok((heard["count"] == 1).then_some(heard))
    })?;
    let claimed = &heard["beacons"][0]["hints"]["gatewayTlsSha256"];
    assert_eq!(*claimed, gateway.fingerprint.as_str());
    let unknown = health(&with_token)?;
    assert_eq!(unknown.code, 3, "{unknown:?}");
    assert!(unknown.stderr.contains("not trusted"), "{unknown:?}");
    assert_eq!(here.json(&["pins", "list"])?["pins"], json!([]));
    Ok(())
}

#[test]
fn plaintext_goes_to_near_hosts_only() -> TestResult {
    let Some((_, here)) = two_hosts()? else {
        return Ok(());
    };
    let token = here.home.path().join("token");
    fs::write(&token, TOKEN)?;
    let token = token.to_string_lossy().into_owned();
    let code = |url: &str| {
        let arguments = ["health", "--url", url, "--token-file", &token];
        here.json(&arguments).map(|answer| answer["error"].clone())
    };
    for url in ["ws://gateway.example.com", "ws://203.0.114.5:18789"] {
        assert_eq!(code(url)?["code"], "insecure_url", "{url}");
    }
    // Near enough to be dialled; nobody is there.
    let near = here.run(&[
        "health",
        "--url",
        &format!("ws://{GATEWAY}:1"),
        "--token-file",
        &token,
    ])?;
    assert_eq!(near.code, 3, "{near:?}");
    Ok(())
}

#[test]
fn a_gateway_on_loopback_is_not_advertised() -> TestResult {
    let advertising = |mode: &str| -> TestResult<String> {
        let gateway = GatewayProcess::start_with(Settings {
            config: vec![("discovery".into(), json!({"mdns": {"mode": mode}}))],
            environment: vec![("OPENCLAW_DISABLE_BONJOUR".into(), "0".into())],
            ..Settings::default()
        })?;
        let log = gateway.state_dir().join("clawgate/gateway.log");
        Deadline::after(Duration::from_secs(30)).poll("a word about mdns", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let line = text.lines().find(|line| line.contains("mdns"));
            Ok(line.map(str::to_owned))
        })
    };
    assert!(advertising("minimal")?.contains("it listens on loopback only"));
    assert!(advertising("off")?.contains("discovery.mdns.mode is off"));
    Ok(())
}

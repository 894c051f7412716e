//! The tunnel as a service: a stand-in for the user's service manager runs the unit's own command line, so
//! that the very `ssh` of the service is tried against a real `sshd`.

use std::fs;

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::{Failure, TestResult};
use serde_json::{Value, json};

use crate::support::{Far, Stranger, kill, pid_in, runs, wait_until_gone};

/// `systemctl --user` as far as it is asked: it starts what `ExecStart` says, and tells how that stands.
const MANAGER: &str = r#"#!/bin/sh
[ "$1" = "--user" ] && shift
what=$1; shift
for word in "$@"; do
  case "$word" in *.service) unit=$word ;; esac
done
file="$HOME/.config/systemd/user/$unit"
pid=$(cat "$HOME/$unit.pid" 2>/dev/null)
runs() { [ -n "$pid" ] && [ -r "/proc/$pid/stat" ] && ! grep -q ') Z ' "/proc/$pid/stat"; }
case "$what" in
  start|restart)
    runs && kill "$pid"
    line=$(sed -n 's/^ExecStart=//p' "$file")
    sh -c "exec $line" </dev/null >/dev/null 2>>"$HOME/service.err" &
    echo $! > "$HOME/$unit.pid" ;;
  stop|disable)
    runs && kill "$pid"
    rm -f "$HOME/$unit.pid" ;;
  show)
    if [ ! -e "$file" ]; then echo LoadState=not-found; exit 0; fi
    echo LoadState=loaded
    if runs; then
      echo ActiveState=active; echo "MainPID=$pid"; echo "ActiveEnterTimestamp=@1795323901"
    else
      echo ActiveState=failed; echo ExecMainCode=1; echo ExecMainStatus=255
    fi
    echo UnitFileState=enabled ;;
esac
exit 0
"#;

/// What the user has in the config before.
const CONFIG: &str =
    "{\n  // The gateway is elsewhere.\n  gateway: {\n    mode: \"remote\", // for good\n  },\n}\n";

struct Site {
    far: Far,
    flags: Vec<String>,
}

impl Site {
    fn new() -> TestResult<Option<Self>> {
        let Some(mut far) = Far::new()? else {
            return Ok(None);
        };
        let manager = far.sshd.write("systemctl", MANAGER, 0o755)?;
        far.client
            .0
            .set_env("CLAWGATE_SERVICE_MANAGER", manager.to_string_lossy());
        // The stand-in is a shell script.
        let path = std::env::var("PATH").unwrap_or_default();
        far.client.0.set_env("PATH", path);
        fs::write(far.client.0.state_dir().join("openclaw.json"), CONFIG)?;
        let token = far.sshd.write("token", far.gateway.token(), 0o600)?;
        let flags = [
            "--ssh",
            &far.sshd.target(),
            "--local-port",
            &far.wanted.to_string(),
            "--remote-port",
            &far.gateway.address().port().to_string(),
            "--token-file",
            &token.to_string_lossy(),
        ]
        .map(str::to_owned)
        .to_vec();
        Ok(Some(Self { far, flags }))
    }

    fn install(&self, more: &[&str]) -> TestResult<(i32, Value)> {
        let mut arguments = vec!["tunnel", "install", "--json"];
        arguments.extend(self.flags.iter().map(String::as_str));
        arguments.extend(more);
        let ran = self.far.client.0.run(&arguments)?;
        let answer = serde_json::from_str(&ran.stdout);
        Ok((
            ran.code,
            answer.map_err(|_| Failure::new(format!("{ran:?}")))?,
        ))
    }

    fn status(&self) -> TestResult<(i32, Value)> {
        let ran = self.far.client.0.run(&["tunnel", "status", "--json"])?;
        Ok((ran.code, serde_json::from_str(&ran.stdout)?))
    }

    /// Everything of the user's that an installation touches.
    fn files(&self) -> TestResult<(String, String, bool)> {
        let client = &self.far.client.0;
        Ok((
            fs::read_to_string(self.far.sshd.client_config())?,
            fs::read_to_string(client.state_dir().join("openclaw.json"))?,
            client.home().join(".config").exists()
                || self.far.sshd.path("clawgate-tunnel.conf").exists(),
        ))
    }

    /// Waits until every check passes.
    fn is_up(&self) -> TestResult<Value> {
        Deadline::after(PATIENCE).poll("every check to pass", || {
            let (code, status) = self.status()?;
            Ok((code == 0).then_some(status))
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The service is nobody's child, so it has to be ended here.
        let _ = self.far.client.0.run(&["tunnel", "uninstall"]);
    }
}

#[test]
fn installed_used_and_taken_back() -> TestResult {
    let Some(site) = Site::new()? else {
        return Ok(());
    };
    let before = site.files()?;
    let (code, answer) = site.install(&["--yes"])?;
    assert_eq!(code, 0, "{answer}");
    let steps: Vec<&str> = answer["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|step| step["step"].as_str())
        .collect();
    assert_eq!(steps, ["login", "host", "include", "config", "service"]);

    // The user's file has one line more, at its head; the config keeps its comments.
    let (ssh_config, config, _) = site.files()?;
    assert!(ssh_config.starts_with("Include ") && ssh_config.ends_with(&before.0));
    assert!(config.contains("// for good"), "{config}");
    let status = site.is_up()?;
    let service = &status["service"];
    assert_eq!(service["host"], "remote-gateway");
    assert_eq!(service["state"], "running");
    let ssh = pid_in(&service["sshPid"])?;

    // Commands use the tunnel of the service, and open none of their own.
    site.far.client.0.json(&["health"])?;
    site.far.client.0.json(&["status", "--deep"])?;
    assert_eq!(site.status()?.1["tunnels"], json!([]));

    // It is gone: that is told, and a stranger on its port hears nothing.
    kill(ssh);
    wait_until_gone(ssh)?;
    let stranger = Stranger::on(site.far.wanted)?;
    let (code, status) = site.status()?;
    assert_eq!(code, 1, "{status}");
    let failed: Vec<&str> = status["service"]["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["ok"] == false)
        .filter_map(|check| check["name"].as_str())
        .collect();
    assert_eq!(failed, ["running", "port"], "{status}");
    site.far.client.0.json(&["health"])?;
    assert_ne!(site.far.tunnel()?["localPort"], site.far.wanted);
    assert_eq!(stranger.heard(), 0);

    // Everything of the user's is as it was, but the config.
    let removed = site.far.client.0.json(&["tunnel", "uninstall"])?;
    assert_eq!(
        removed["removed"].as_array().map(Vec::len),
        Some(4),
        "{removed}"
    );
    assert_eq!(site.files()?.0, before.0);
    assert_eq!(site.status()?.1["service"], Value::Null);
    Ok(())
}

/// The machine has another name in the user's own file, which a block of another name would not get.
#[test]
fn a_name_of_the_users_own_file_is_understood() -> TestResult {
    let Some(mut site) = Site::new()? else {
        return Ok(());
    };
    let port = site.far.sshd.port();
    let path = site.far.sshd.client_config();
    let config = fs::read_to_string(&path)?
        + &format!("Host studio\n  HostName 127.0.0.1\n  HostKeyAlias [127.0.0.1]:{port}\n");
    fs::write(&path, config)?;
    let user = clawgate_tests::ssh_server::user();
    let target = format!("{user}@studio:{port}");
    if let Some(flag) = site.flags.get_mut(1) {
        target.clone_into(flag);
    }
    let (code, answer) = site.install(&["--yes"])?;
    assert_eq!(code, 0, "{answer}");
    let status = site.is_up()?;
    assert_eq!(status["service"]["target"], json!(target));
    site.far.client.0.json(&["health"])?;
    assert_eq!(site.status()?.1["tunnels"], json!([]));
    Ok(())
}

#[test]
fn installed_twice_is_installed_once() -> TestResult {
    let Some(site) = Site::new()? else {
        return Ok(());
    };
    assert_eq!(site.install(&["--yes"])?.0, 0);
    site.is_up()?;
    let first = site.files()?;
    // The line is there, so nobody is asked; the tunnel is open, so its port is the service's.
    let (code, answer) = site.install(&[])?;
    assert_eq!(code, 0, "{answer}");
    assert_eq!(site.files()?, first);
    let status = site.is_up()?;
    assert!(runs(pid_in(&status["service"]["sshPid"])?));
    Ok(())
}

#[test]
fn nothing_is_changed_before_it_may_be() -> TestResult {
    let Some(site) = Site::new()? else {
        return Ok(());
    };
    let before = site.files()?;
    let (code, printed) = site.install(&["--print"])?;
    assert_eq!(code, 0, "{printed}");
    let text = printed.to_string();
    for part in [
        "Host remote-gateway",
        "LocalForward 127.0.0.1:",
        "Include ",
        "ExecStart=",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(site.far.gateway.token()), "{text}");
    assert_eq!(site.files()?, before);

    // Nobody is there to be asked.
    let (code, answer) = site.install(&[])?;
    assert_eq!((code, &answer["error"]["code"]), (2, &json!("unconfirmed")));
    assert_eq!(site.files()?, before);

    // A key that is not let in: the command that changes that, and nothing else.
    site.far.sshd.write("authorized_keys", "", 0o600)?;
    let (code, answer) = site.install(&["--yes"])?;
    let error = &answer["error"];
    assert_eq!(
        (code, &error["code"]),
        (3, &json!("ssh_key_refused")),
        "{answer}"
    );
    let next = error["next"].as_str().unwrap_or_default();
    assert!(next.contains("`ssh-copy-id "), "{next}");
    assert_eq!(site.files()?, before);
    Ok(())
}

#[test]
fn a_machine_with_a_gateway_of_its_own_is_left_alone() -> TestResult {
    let Some(site) = Site::new()? else {
        return Ok(());
    };
    let config = site.far.client.0.state_dir().join("openclaw.json");
    fs::write(config, "{ gateway: { mode: \"local\" } }")?;
    let (code, answer) = site.install(&["--yes"])?;
    assert_eq!(
        (code, &answer["error"]["code"]),
        (78, &json!("tunnel_mode_local"))
    );
    Ok(())
}

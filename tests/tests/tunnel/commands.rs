//! Commands that reach a gateway through a tunnel that they open and share.

use std::fs;
use std::process::Stdio;

use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::gateway_process::Settings;
use clawgate_tests::node_process::{NodeProcess, NodeSetup};
use serde_json::{Value, json};

use crate::support::{Far, pid_in, runs, wait_until_gone};

#[test]
fn every_command_reaches_a_gateway_that_listens_on_its_own_machine_only() -> TestResult {
    let settings = Settings {
        config: vec![(
            "agents".to_owned(),
            json!({ "defaults": { "backend": "builtin" } }),
        )],
        ..Settings::default()
    };
    let Some(far) = Far::with(settings)? else {
        return Ok(());
    };
    let node = NodeProcess::approved(
        &far.gateway,
        NodeSetup {
            name: "box".into(),
            ..NodeSetup::default()
        },
    )?;
    let health = far.client.0.json(&["health"])?;
    assert_eq!(health["ok"], true, "{health}");
    let status = far.client.0.json(&["status", "--deep"])?;
    assert_eq!(status["ok"], true, "{status}");
    assert_eq!(status["target"]["tunnel"]["target"], far.sshd.target());
    let invoked = far
        .client
        .0
        .json(&["nodes", "invoke", "box", "device.info"])?;
    assert!(invoked.is_object(), "{invoked}");
    let reply = far
        .client
        .0
        .json(&["agent", "--message", "/nodes"])?
        .to_string();
    assert!(reply.contains("box"), "{reply}");
    assert!(!node.id().is_empty());

    // All of it went through one connection.
    let tunnel = far.tunnel()?;
    assert_eq!(tunnel["state"], "open", "{tunnel}");
    assert_eq!(tunnel["localPort"], far.wanted);
    assert_eq!(tunnel["holding"], "idle");
    let logins = far.sshd.log().matches("Accepted publickey").count();
    assert_eq!(logins, 1, "{}", far.sshd.log());

    // `down` leaves nothing behind.
    let closed = far.client.0.json(&["tunnel", "down"])?;
    assert_eq!(closed["closed"], json!([far.sshd.target()]));
    wait_until_gone(pid_in(&tunnel["pid"])?)?;
    wait_until_gone(pid_in(&tunnel["sshPid"])?)?;
    Ok(())
}

#[test]
fn commands_at_once_open_one_tunnel() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    let mut children = Vec::new();
    for _ in 0..6 {
        let mut command = far
            .client
            .0
            .command(&["health", "--json", "--timeout", "30000"])?;
        children.push(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?,
        );
    }
    for child in children {
        let output = child.wait_with_output()?;
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(far.sshd.log().matches("Accepted publickey").count(), 1);
    Ok(())
}

#[test]
fn the_holder_knows_no_credential() -> TestResult {
    let Some(mut far) = Far::new()? else {
        return Ok(());
    };
    let token = far.gateway.token().to_owned();
    far.client
        .0
        .set_env("OPENCLAW_GATEWAY_TOKEN", token.clone());
    far.client.0.json(&["health"])?;
    let tunnel = far.tunnel()?;
    for pid in [pid_in(&tunnel["pid"])?, pid_in(&tunnel["sshPid"])?] {
        for file in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}"))?;
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(&token), "{file} of {pid}: {text}");
        }
    }
    let folder = far.client.0.state_dir().join("clawgate/tunnels");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        assert!(!text.contains(&token), "{}", path.display());
    }
    Ok(())
}

#[test]
fn a_tunnel_that_was_ordered_is_held_until_it_is_closed() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    let up = far.client.0.json(&["tunnel", "up", "--background"])?;
    assert_eq!(
        (&up["ok"], &up["localPort"]),
        (&json!(true), &json!(far.wanted))
    );
    far.client.0.json(&["health"])?;
    let tunnel = far.tunnel()?;
    assert_eq!(
        (&tunnel["holding"], &tunnel["pid"]),
        (&json!("held"), &up["pid"])
    );
    // Once more is no failure, and no second one.
    let again = far.client.0.json(&["tunnel", "up", "--background"])?;
    assert_eq!(again["pid"], up["pid"]);
    let (code, error) = far.error_of(&["tunnel", "up"])?;
    assert_eq!((code, &error["code"]), (1, &json!("tunnel_held")));
    assert!(runs(pid_in(&up["pid"])?));
    far.client.0.json(&["tunnel", "down"])?;
    wait_until_gone(pid_in(&up["pid"])?)?;
    let ran = far.client.0.run(&["tunnel", "status"])?;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "No tunnel is open.\n"));
    Ok(())
}

#[test]
fn an_unused_tunnel_of_a_command_makes_room_for_an_ordered_one() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    far.client.0.json(&["health"])?;
    let first = far.tunnel()?;
    let up = far.client.0.json(&["tunnel", "up", "--background"])?;
    assert_ne!(up["pid"], first["pid"]);
    assert_eq!(up["localPort"], far.wanted);
    assert!(!runs(pid_in(&first["sshPid"])?));
    Ok(())
}

#[test]
fn a_probe_looks_through_a_tunnel_of_its_own() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    far.configure(&json!({ "transport": "direct", "sshTarget": null, "url": null }))?;
    let target = far.sshd.target();
    let probe = |arguments: &[&str]| -> TestResult<(i32, Value)> {
        let ran = far.client.0.run(
            &[
                &["gateway", "probe", "--json", "--timeout", "20000"],
                arguments,
            ]
            .concat(),
        )?;
        let parsed = serde_json::from_str(&ran.stdout);
        Ok((
            ran.code,
            parsed.map_err(|_| Failure::new(format!("{ran:?}")))?,
        ))
    };
    let (code, report) = probe(&["--ssh", &target])?;
    assert_eq!(code, 0, "{report}");
    let first = &report["targets"][0];
    assert_eq!(first["authorised"], true, "{report}");
    assert_eq!(first["auth"]["token"]["source"], "config.remote");
    assert_eq!(first["target"]["tunnel"]["target"], json!(target));
    assert!(first["timingsMs"]["tunnel"].is_number(), "{report}");
    assert_eq!(report["warnings"], json!([]));
    // It does not stay.
    let tunnel = far.tunnel()?;
    if let Ok(pid) = pid_in(&tunnel["pid"]) {
        wait_until_gone(pid)?;
    }

    // A tunnel that cannot be opened is a warning, and the direct ways are tried all the same.
    let missing = free_target()?;
    let (_, report) = probe(&["--ssh", &missing])?;
    let warning = &report["warnings"][0];
    assert_eq!(warning["code"], "ssh_tunnel_failed", "{report}");
    assert_eq!(warning["cause"], "ssh_refused");
    assert_eq!(report["targets"].as_array().map(Vec::len), Some(1));

    // What is written in a way that ssh could misread is never tried.
    let ran = far
        .client
        .0
        .run(&["gateway", "probe", "--ssh=-oProxyCommand=x", "--json"])?;
    assert!(ran.stdout.contains("ssh_target_invalid"), "{ran:?}");
    Ok(())
}

fn free_target() -> TestResult<String> {
    let port = clawgate_tests::gateway_process::free_port()?;
    Ok(format!("nobody@127.0.0.1:{port}"))
}

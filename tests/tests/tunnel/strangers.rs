//! Other programs on the ports of tunnels: none of them ever hears a byte.

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::support::{Far, Stranger, Up, kill, pid_in, wait_until_gone};

#[test]
fn a_port_that_somebody_has_is_left_to_him() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    let stranger = Stranger::on(far.wanted)?;
    far.client.0.json(&["health"])?;
    let tunnel = far.tunnel()?;
    assert_eq!(tunnel["wantedPort"], far.wanted);
    assert_ne!(tunnel["localPort"], far.wanted);
    far.client.0.json(&["status", "--deep"])?;
    assert_eq!(stranger.heard(), 0);
    Ok(())
}

#[test]
fn whoever_takes_the_port_of_a_dead_tunnel_hears_nothing() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    far.client.0.json(&["health"])?;
    let tunnel = far.tunnel()?;
    let (keeper, ssh) = (pid_in(&tunnel["pid"])?, pid_in(&tunnel["sshPid"])?);
    // The holder ends as by a power cut, and its ssh with it: no orphan squats the port.
    kill(keeper);
    wait_until_gone(ssh)?;
    // The record still says that the tunnel is open on that port.
    let stranger = Stranger::on(far.wanted)?;
    far.client.0.json(&["health"])?;
    assert_ne!(far.tunnel()?["localPort"], far.wanted);
    assert_eq!(stranger.heard(), 0);
    Ok(())
}

#[test]
fn whoever_takes_the_port_while_the_holder_lives_hears_nothing() -> TestResult {
    let Some(mut far) = Far::new()? else {
        return Ok(());
    };
    let up = Up::start(&far, &[])?;
    assert_eq!(up.event("open")?["localPort"], far.wanted);
    far.client.0.json(&["health"])?;
    // The tunnel breaks while its machine is away, so that the port is free for a while.
    far.sshd.kill();
    up.event("lost")?;
    let stranger = Stranger::on(far.wanted)?;
    let (_, error) = far.error_of(&["health", "--timeout", "1500"])?;
    assert_eq!(error["code"], "ssh_refused", "{error}");
    far.sshd.restart()?;
    let open = up.event("open")?;
    assert_ne!(open["localPort"], far.wanted);
    assert_eq!(open["wantedPort"], far.wanted);
    far.client.0.json(&["health"])?;
    assert_eq!(stranger.heard(), 0);
    Ok(())
}

#[test]
fn a_forged_record_leads_nowhere() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    let up = Up::start(&far, &[])?;
    up.event("open")?;
    let folder = far.client.0.state_dir().join("clawgate/tunnels");
    let key = far.tunnel()?["key"].as_str().unwrap_or_default().to_owned();
    let path = folder.join(format!("{key}.json"));
    let other = clawgate_tests::gateway_process::free_port()?;
    let stranger = Stranger::on(other)?;
    let mut record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    record["localPort"] = json!(other);
    std::fs::write(&path, record.to_string())?;
    let (code, error) = far.error_of(&["health", "--timeout", "1000"])?;
    assert_eq!((code, &error["code"]), (5, &json!("timeout")), "{error}");
    // A record that names the stranger's own process is about one that is no ssh of the holder's; the
    // proof is about the process, so this is what a user could do to himself only.
    assert_eq!(stranger.heard(), 0);
    Ok(())
}

#[test]
fn an_orphan_is_ended_by_proof_alone() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    // A process that is not the ssh of the record, though the record gives its number.
    let mut innocent = std::process::Command::new("sleep").arg("600").spawn()?;
    far.client.0.json(&["health"])?;
    let tunnel = far.tunnel()?;
    let folder = far.client.0.state_dir().join("clawgate/tunnels");
    let path = folder.join(format!(
        "{}.json",
        tunnel["key"].as_str().unwrap_or_default()
    ));
    let mut record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    kill(pid_in(&tunnel["pid"])?);
    wait_until_gone(pid_in(&tunnel["sshPid"])?)?;
    record["ssh"]["pid"] = json!(innocent.id());
    std::fs::write(&path, record.to_string())?;
    far.client.0.json(&["health"])?;
    let survived = innocent.try_wait()?.is_none();
    innocent.kill()?;
    innocent.wait()?;
    assert!(survived);
    Deadline::after(PATIENCE).poll("the new tunnel", || {
        Ok((far.tunnel()?["state"] == "open").then_some(()))
    })
}

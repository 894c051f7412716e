//! Everything between the client and the gateway goes away and comes back.

use std::time::Instant;

use clawgate_tests::deadline::{Deadline, PATIENCE};
use clawgate_tests::failure::TestResult;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Far, Up, kill, pid_in, wait_until_gone};

#[test]
fn a_server_that_ends_and_comes_back() -> TestResult {
    let Some(mut far) = Far::new()? else {
        return Ok(());
    };
    let mut up = Up::start(&far, &[])?;
    let first = up.event("open")?;
    far.sshd.kill();
    let lost = up.event("lost")?;
    assert_eq!(lost["error"]["code"], "ssh_lost", "{lost}");
    let refused = up.event("lost")?;
    assert_eq!(refused["error"]["code"], "ssh_refused", "{refused}");
    far.sshd.restart()?;
    let back = Instant::now();
    let again = up.event("open")?;
    println!("sshd back: tunnel open after {:?}", back.elapsed());
    // Whoever has the address finds it again.
    assert_eq!(again["localPort"], first["localPort"]);
    far.client.0.json(&["health"])?;
    let tunnel = far.tunnel()?;
    assert_eq!(tunnel["reopened"], 1, "{tunnel}");
    assert_eq!(tunnel["lastError"]["code"], "ssh_refused");

    // A polite end leaves nothing behind.
    let ssh = pid_in(&tunnel["sshPid"])?;
    clawgate_tests::ssh_server::signal(up.pid(), Signal::TERM);
    up.event("closed")?;
    assert_eq!(up.end()?, Some(0));
    wait_until_gone(ssh)
}

#[test]
fn a_command_opens_again_what_was_lost() -> TestResult {
    let Some(mut far) = Far::new()? else {
        return Ok(());
    };
    far.client.0.json(&["health"])?;
    far.sshd.kill();
    let (code, error) = far.error_of(&["health", "--timeout", "5000"])?;
    assert_eq!(code, 3, "{error}");
    assert_eq!(error["code"], "ssh_refused", "{error}");
    far.sshd.restart()?;
    let back = Instant::now();
    far.client.0.json(&["health"])?;
    println!("sshd back: health after {:?}", back.elapsed());
    Ok(())
}

#[test]
fn another_host_key_ends_it() -> TestResult {
    let Some(mut far) = Far::new()? else {
        return Ok(());
    };
    let mut up = Up::start(&far, &[])?;
    up.event("open")?;
    far.sshd.kill();
    far.sshd.replace_host_key()?;
    far.sshd.restart()?;
    // It goes on as long as nobody answers, and stops where another machine does.
    let error = loop {
        let said = up.next()?;
        if said["ok"] == false {
            break said["error"].clone();
        }
        assert_ne!(said["event"], "open", "{said}");
    };
    assert_eq!(error["code"], "ssh_host_key_changed", "{error}");
    assert_eq!(up.end()?, Some(7));
    let (code, error) = far.error_of(&["health"])?;
    assert_eq!((code, &error["code"]), (7, &json!("ssh_host_key_changed")));
    let next = error["next"].as_str().unwrap_or_default();
    let known_hosts = far.sshd.path("known_hosts");
    assert!(
        next.contains("ssh-keygen -R") && next.contains(&*known_hosts.to_string_lossy()),
        "{next}"
    );

    // Once somebody has accepted the new key, all is well.
    far.sshd.know_host("")?;
    far.client.0.json(&["health"])?;
    Ok(())
}

#[test]
fn a_gateway_that_ends_and_comes_back() -> TestResult {
    let Some(mut far) = Far::new()? else {
        return Ok(());
    };
    let up = Up::start(&far, &[])?;
    up.event("open")?;
    far.client.0.json(&["health"])?;
    far.gateway.stop()?;
    let (code, error) = far.error_of(&["health"])?;
    assert_eq!(
        (code, &error["code"]),
        (3, &json!("tunnel_gateway_absent")),
        "{error}"
    );
    let trouble = up.event("trouble")?;
    assert_eq!(trouble["error"]["code"], "tunnel_gateway_absent");
    far.gateway.restart()?;
    let back = Instant::now();
    far.client.0.json(&["health"])?;
    println!("gateway back: health after {:?}", back.elapsed());
    assert_eq!(far.tunnel()?["reopened"], 0);
    Ok(())
}

#[test]
fn silence_is_a_loss() -> TestResult {
    let Some(mut far) = Far::new()? else {
        return Ok(());
    };
    let up = Up::start(&far, &["--keep-alive", "1"])?;
    up.event("open")?;
    far.sshd.freeze(true);
    let silent = Instant::now();
    let lost = up.event("lost")?;
    println!("silence: noticed after {:?}", silent.elapsed());
    assert_eq!(lost["error"]["code"], "ssh_silent", "{lost}");
    far.sshd.freeze(false);
    far.sshd.kill();
    far.sshd.restart()?;
    let back = Instant::now();
    up.event("open")?;
    println!("silence over: tunnel open after {:?}", back.elapsed());
    far.client.0.json(&["health"])?;
    Ok(())
}

#[test]
fn an_ssh_that_somebody_kills_is_started_again() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    let up = Up::start(&far, &[])?;
    up.event("open")?;
    kill(pid_in(&far.tunnel()?["sshPid"])?);
    let lost = up.event("lost")?;
    assert_eq!(lost["error"]["code"], "ssh_lost", "{lost}");
    up.event("open")?;
    far.client.0.json(&["health"])?;
    Ok(())
}

#[test]
fn a_holder_that_somebody_kills_takes_its_ssh_along() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    let up = Up::start(&far, &[])?;
    up.event("open")?;
    let ssh = pid_in(&far.tunnel()?["sshPid"])?;
    kill(up.pid());
    wait_until_gone(ssh)?;
    drop(up);
    Deadline::after(PATIENCE).poll("the tunnel to count as closed", || {
        Ok((far.tunnel()?["state"] == "closed").then_some(()))
    })
}

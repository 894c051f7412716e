//! One test for each way in which `ssh` fails, each made to happen with the real one.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

use clawgate_core::policy::SshTarget;
use clawgate_core::tunnel::{Exit, FailureKind, KeepAlive, TunnelFailure, TunnelSpec};
use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::gateway_process::free_port;
use clawgate_tests::ssh_server::SshServer;
use serde_json::{Value, json};

use crate::support::Far;

/// Runs `health`, which has to fail in this way, and gives what it says to do.
fn fails_with(far: &Far, code: &str, exit: i32) -> TestResult<String> {
    let (got, error) = far.error_of(&["health", "--timeout", "25000"])?;
    assert_eq!((error["code"].as_str(), got), (Some(code), exit), "{error}");
    assert!(error["stage"].is_string(), "{error}");
    Ok(error["next"].as_str().unwrap_or_default().to_owned())
}

/// The same with changes of `gateway.remote`.
fn with(changes: &Value, code: &str, exit: i32) -> TestResult<String> {
    let Some(far) = Far::new()? else {
        return Ok(String::new());
    };
    far.configure(changes)?;
    fails_with(&far, code, exit)
}

#[test]
fn an_unknown_host_key() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    far.sshd.write("known_hosts", "", 0o600)?;
    let next = fails_with(&far, "ssh_host_key_unknown", 3)?;
    let by_hand = format!("-p {} ", far.sshd.port());
    assert!(next.contains("`ssh ") && next.contains(&by_hand), "{next}");
    // The policy that leaves it to ssh_config cannot ask anybody either.
    far.configure(&json!({ "sshHostKeyPolicy": "openssh" }))?;
    fails_with(&far, "ssh_host_key_unknown", 3)?;
    // But it does what the file says.
    let path = far.sshd.client_config();
    let config = std::fs::read_to_string(&path)? + "StrictHostKeyChecking accept-new\n";
    std::fs::write(&path, config)?;
    far.client.0.json(&["health"])?;
    Ok(())
}

#[test]
fn a_revoked_host_key() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    far.sshd.know_host("@revoked ")?;
    fails_with(&far, "ssh_host_key_revoked", 7)?;
    Ok(())
}

#[test]
fn a_key_that_is_not_let_in() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    far.sshd.write("authorized_keys", "", 0o600)?;
    let next = fails_with(&far, "ssh_key_refused", 3)?;
    let target = far.sshd.target();
    let destination = target
        .rsplit_once(':')
        .map_or("", |(destination, _)| destination);
    assert!(
        next.contains("`ssh-copy-id ") && next.contains(destination),
        "{next}"
    );
    Ok(())
}

#[test]
fn too_many_keys() -> TestResult {
    let Some(sshd) = SshServer::start_with("MaxAuthTries 1")? else {
        return Ok(());
    };
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    for name in ["one", "two", "three"] {
        sshd.make_key(name)?;
    }
    let path = sshd.client_config();
    let config = std::fs::read_to_string(&path)?;
    let key = |name| format!("IdentityFile {}\n", sshd.path(name).display());
    let config = key("one") + &key("two") + &key("three") + &config;
    // The client of this test reads the other server's file.
    std::fs::write(far.sshd.client_config(), config)?;
    far.configure(&json!({ "sshTarget": sshd.target() }))?;
    fails_with(&far, "ssh_too_many_keys", 3)?;
    Ok(())
}

#[test]
fn a_key_file_that_is_missing() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    // Without another key that would do.
    let path = far.sshd.client_config();
    let config = std::fs::read_to_string(&path)?;
    let config: String = config
        .lines()
        .map(|line| {
            if line.starts_with("IdentityFile") {
                "IdentityFile none\n".to_owned()
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    std::fs::write(&path, config)?;
    let missing = far.sshd.path("not there").to_string_lossy().into_owned();
    far.configure(&json!({ "sshIdentity": missing }))?;
    let next = fails_with(&far, "ssh_identity_missing", 78)?;
    assert!(next.contains(&format!("'{missing}'")), "{next}");
    Ok(())
}

#[test]
fn a_key_file_that_others_may_read() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    // The one key that is let in: only then does `ssh` look into its file.
    far.sshd.make_key("open_key")?;
    std::fs::rename(
        far.sshd.path("open_key.pub"),
        far.sshd.path("authorized_keys"),
    )?;
    let key = std::fs::read_to_string(far.sshd.path("open_key"))?;
    let open = far.sshd.write("open_key", &key, 0o644)?;
    far.configure(&json!({ "sshIdentity": open.to_string_lossy() }))?;
    let next = fails_with(&far, "ssh_identity_exposed", 78)?;
    assert!(
        next.contains(&format!("chmod 600 {}", open.display())),
        "{next}"
    );
    Ok(())
}

#[test]
fn a_key_file_that_is_none() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    far.sshd.write("authorized_keys", "", 0o600)?;
    let junk = far.sshd.write("junk", "junk\n", 0o600)?;
    far.configure(&json!({ "sshIdentity": junk.to_string_lossy() }))?;
    fails_with(&far, "ssh_identity_unusable", 78)?;
    Ok(())
}

#[test]
fn a_name_without_an_address() -> TestResult {
    // Too long for a name, so that nobody is asked for it.
    let target = format!("nobody@{}.invalid", "x".repeat(70));
    with(&json!({ "sshTarget": target }), "ssh_name_not_found", 3)?;
    Ok(())
}

#[test]
fn a_port_without_a_server() -> TestResult {
    let target = format!("nobody@127.0.0.1:{}", free_port()?);
    let next = with(&json!({ "sshTarget": target }), "ssh_refused", 3)?;
    assert!(next.is_empty() || next.contains("sshd"), "{next}");
    Ok(())
}

#[test]
fn a_server_that_never_answers() -> TestResult {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let target = format!("nobody@127.0.0.1:{}", listener.local_addr()?.port());
    with(&json!({ "sshTarget": target }), "ssh_timeout", 5)?;
    drop(listener);
    Ok(())
}

#[test]
fn a_server_that_stops_in_the_middle_of_the_login() -> TestResult {
    let port = serve(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-slow\r\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    })?;
    let target = format!("nobody@127.0.0.1:{port}");
    with(&json!({ "sshTarget": target }), "tunnel_not_listening", 5)?;
    Ok(())
}

#[test]
fn a_server_that_closes_at_once() -> TestResult {
    let port = serve(drop)?;
    let target = format!("nobody@127.0.0.1:{port}");
    with(&json!({ "sshTarget": target }), "ssh_closed_early", 3)?;
    Ok(())
}

#[test]
fn a_server_that_is_none() -> TestResult {
    let port = serve(|mut stream| {
        let mut buffer = [0; 64];
        let _ = stream.read(&mut buffer);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    })?;
    let target = format!("nobody@127.0.0.1:{port}");
    with(&json!({ "sshTarget": target }), "ssh_closed_early", 3)?;
    Ok(())
}

#[test]
fn no_common_algorithm() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    let path = far.sshd.client_config();
    let config = std::fs::read_to_string(&path)? + "Ciphers aes128-cbc\n";
    std::fs::write(&path, config)?;
    fails_with(&far, "ssh_no_common_algorithm", 3)?;
    Ok(())
}

#[test]
fn a_configuration_that_ssh_cannot_use() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    std::fs::write(far.sshd.client_config(), "NoSuchOption yes\n")?;
    fails_with(&far, "ssh_config_invalid", 78)?;
    std::fs::remove_file(far.sshd.client_config())?;
    fails_with(&far, "ssh_config_invalid", 78)?;
    Ok(())
}

#[test]
fn a_server_that_forwards_nothing() -> TestResult {
    let Some(sshd) = SshServer::start_with("AllowTcpForwarding no")? else {
        return Ok(());
    };
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    std::fs::copy(sshd.client_config(), far.sshd.client_config())?;
    far.configure(&json!({ "sshTarget": sshd.target() }))?;
    let next = fails_with(&far, "tunnel_forward_forbidden", 3)?;
    assert!(next.contains("AllowTcpForwarding"), "{next}");
    Ok(())
}

#[test]
fn a_gateway_that_is_not_there() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    far.configure(&json!({ "remotePort": free_port()? }))?;
    let next = fails_with(&far, "tunnel_gateway_absent", 3)?;
    assert!(next.contains("clawgate gateway status"), "{next}");
    Ok(())
}

#[test]
fn a_tunnel_without_a_machine() -> TestResult {
    let Some(far) = Far::new()? else {
        return Ok(());
    };
    far.configure(&json!({ "sshTarget": null }))?;
    let (code, error) = far.error_of(&["health"])?;
    assert_eq!((code, &error["code"]), (78, &json!("ssh_target_missing")));
    assert_eq!(error["path"], "gateway.remote.sshTarget");
    far.configure(&json!({ "url": "wss://gw.example.com" }))?;
    let (code, error) = far.error_of(&["health"])?;
    assert_eq!((code, &error["code"]), (78, &json!("tunnel_url_elsewhere")));
    Ok(())
}

/// Ports are found free before `ssh` is started, so this happens only when somebody is faster. `ssh` is
/// called with the very command line of a tunnel.
#[test]
fn a_local_port_that_is_taken() -> TestResult {
    let Some(sshd) = SshServer::start()? else {
        return Ok(());
    };
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let kind = call_ssh(&sshd, taken.local_addr()?.port(), &[])?;
    assert_eq!(kind, FailureKind::LocalPortTaken);
    Ok(())
}

#[test]
fn a_local_port_that_is_forbidden() -> TestResult {
    let Some(sshd) = SshServer::start()? else {
        return Ok(());
    };
    // Whoever may use such ports gives that up first.
    let without_rights = ["setpriv", "--bounding-set=-net_bind_service"];
    let is_root = rustix::process::geteuid().is_root();
    let before: &[&str] = if is_root { &without_rights } else { &[] };
    let floor = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")?;
    if floor.trim() == "0" {
        writeln!(
            std::io::stderr(),
            "NOT TESTED: every user may use every port of this machine"
        )?;
        return Ok(());
    }
    assert_eq!(call_ssh(&sshd, 1, before)?, FailureKind::LocalPortForbidden);
    Ok(())
}

#[test]
fn no_way_to_the_machine() -> TestResult {
    let Some(sshd) = SshServer::start()? else {
        return Ok(());
    };
    // A network of its own, in which even loopback is down.
    let alone = ["unshare", "-rn"];
    let is_allowed = Command::new("unshare")
        .args(["-rn", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_allowed {
        writeln!(
            std::io::stderr(),
            "NOT TESTED: this machine lets nobody have a network of his own (unshare -rn)"
        )?;
        return Ok(());
    }
    assert_eq!(call_ssh(&sshd, free_port()?, &alone)?, FailureKind::NoRoute);
    Ok(())
}

fn call_ssh(sshd: &SshServer, local_port: u16, before: &[&str]) -> TestResult<FailureKind> {
    let target = SshTarget::parse(&sshd.target())?;
    let spec = TunnelSpec {
        config_file: Some(sshd.client_config().to_string_lossy().into_owned()),
        ..TunnelSpec::new(target, 1)
    };
    let words = before.iter().copied().chain(["ssh"]).map(str::to_owned);
    let words: Vec<String> = words
        .chain(spec.arguments(local_port, KeepAlive::default()))
        .collect();
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Failure::new("no command"))?;
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let exit = output.status.code().map_or(Exit::Unknown, Exit::Code);
    let failure = TunnelFailure::of_exit(exit, &said);
    println!("{failure}");
    Ok(failure.kind())
}

/// Somebody on a port of loopback who does this with each connection.
fn serve(what: impl Fn(std::net::TcpStream) + Send + 'static) -> TestResult<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    // Ends with the test, which is a process of its own.
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            what(stream);
        }
    });
    Ok(port)
}

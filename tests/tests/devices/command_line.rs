//! The command line as a device, and as the owner's way in.

use std::fs;

use clawgate_tests::command_line::Machine;
use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::GatewayProcess;
use serde_json::json;

use crate::support::gateway;

/// A machine that joined as an operator with these scopes.
fn joined(gateway: &GatewayProcess, scopes: &str) -> TestResult<(Machine, String)> {
    let (owner, machine) = (Machine::of(gateway), Machine::new()?);
    let url = gateway.url();
    let invite = owner.json(&[
        "devices",
        "invite",
        "--role",
        "operator",
        "--scopes",
        scopes,
        "--join-url",
        &url,
    ])?;
    let code = invite["invite"]["setupCode"].as_str().unwrap();
    let ran = machine.run_with(&["devices", "join", "-", "--role", "operator"], code)?;
    assert_eq!(ran.code, 0, "{ran:?}");
    let own = machine.json(&["devices", "self"])?;
    Ok((machine, own["deviceId"].as_str().unwrap().to_owned()))
}

#[test]
fn a_stored_token_makes_up_for_a_wrong_shared_one_on_this_machine() -> TestResult {
    let gateway = gateway()?;
    let (machine, _) = joined(&gateway, "operator.read")?;
    let url = gateway.url();
    let call = [
        "gateway",
        "call",
        "status",
        "--url",
        &url,
        "--token",
        "out-of-date",
    ];

    let by_device = machine.run(&call)?;
    assert_eq!(by_device.code, 0, "{by_device:?}");
    // A machine without a device has nothing else to offer.
    let stranger = Machine::new()?.run(&call)?;
    assert_eq!(stranger.code, 4, "{stranger:?}");
    Ok(())
}

#[test]
fn a_refused_token_is_dropped_and_another_one_can_be_had() -> TestResult {
    let gateway = gateway()?;
    let owner = Machine::of(&gateway);
    let (machine, id) = joined(&gateway, "operator.read")?;
    let url = gateway.url();
    let call = ["gateway", "call", "status", "--url", &url];

    owner.json(&["devices", "rotate", &id])?;
    let refused = machine.run(&[&call[..], &["--json"]].concat())?;
    assert_eq!(refused.code, 4, "{refused:?}");
    let details = refused.error()?["rpc"]["details"].clone();
    assert_eq!(details["code"], "AUTH_DEVICE_TOKEN_MISMATCH");
    assert_eq!(machine.json(&["devices", "self"])?["tokens"], json!([]));
    // Nothing is left to send, and the command says so before it connects.
    let empty = machine.run(&[&call[..], &["--json"]].concat())?;
    assert_eq!(empty.error()?["code"], "explicit_auth_required");
    Ok(())
}

#[test]
fn a_device_rotates_its_own_token_and_keeps_the_new_one() -> TestResult {
    let gateway = gateway()?;
    let (machine, id) = joined(&gateway, "operator.read,operator.pairing")?;
    let url = gateway.url();

    let rotated = machine.json(&["devices", "rotate", &id[..8], "--url", &url])?;
    assert_eq!(rotated["kept"], true);
    assert!(rotated["rotated"]["token"].is_null(), "{rotated}");
    let status = machine.run(&["gateway", "call", "status", "--url", &url])?;
    assert_eq!(status.code, 0, "{status:?}");
    // It manages itself and nobody else.
    let list = machine.json(&["devices", "list", "--url", &url])?;
    assert_eq!(list["paired"].as_array().unwrap().len(), 1);
    Ok(())
}

#[test]
fn looking_at_a_gateway_makes_no_device() -> TestResult {
    let gateway = gateway()?;
    let machine = Machine::new()?;
    let (url, token) = (gateway.url(), gateway.token());
    let looks: [&[&str]; 4] = [
        &["health"],
        &["status"],
        &["gateway", "status"],
        &["gateway", "probe"],
    ];
    for look in looks {
        for auth in [&["--token", token][..], &["--no-auth"]] {
            machine.run(&[look, &["--url", &url], auth].concat())?;
        }
    }
    assert_eq!(machine.json(&["devices", "self"])?["deviceId"], json!(null));
    assert!(!machine.state_dir().exists(), "a look leaves no trace");
    assert_eq!(
        Machine::of(&gateway).json(&["devices", "list"])?["pending"],
        json!([])
    );
    Ok(())
}

#[test]
fn the_owner_comes_in_when_nobody_can_log_in() -> TestResult {
    let gateway = gateway()?;
    let owner = Machine::of(&gateway);
    // The config is beyond repair, and the gateway goes on.
    fs::write(gateway.state_dir().join("openclaw.json"), "{ broken")?;

    let list = owner.json(&["devices", "list"])?;
    assert!(list["via"].as_str().unwrap().starts_with("unix:"), "{list}");
    let login = owner.run(&["gateway", "call", "status", "--json"])?;
    assert_eq!(login.code, 78, "{login:?}");
    Ok(())
}

#[test]
fn without_the_socket_the_port_is_used() -> TestResult {
    let gateway = gateway()?;
    let owner = Machine::of(&gateway);
    fs::remove_file(gateway.state_dir().join("clawgate/gateway.sock"))?;

    let list = owner.json(&["devices", "list"])?;
    assert!(list["via"].as_str().unwrap().starts_with("ws://"), "{list}");
    Ok(())
}

#[test]
fn flags_that_name_another_way_are_obeyed() -> TestResult {
    let gateway = gateway()?;
    let owner = Machine::of(&gateway);
    let wrong = owner.run(&["devices", "list", "--token", "wrong", "--json"])?;
    assert_eq!(wrong.code, 4, "{wrong:?}");
    let right = owner.json(&["devices", "list", "--token", gateway.token()])?;
    assert!(
        right["via"].as_str().unwrap().starts_with("ws://"),
        "{right}"
    );
    Ok(())
}

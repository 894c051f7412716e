//! Join tokens: an approval given beforehand.

use clawgate_tests::command_line::Machine;
use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::GatewayProcess;
use serde_json::{Value, json};

use crate::support::{DEVICE, THIEF, all, gateway, node, refusal};

fn invite(owner: &Machine, gateway: &GatewayProcess, more: &[&str]) -> TestResult<Value> {
    let url = gateway.url();
    let arguments = [&["devices", "invite", "--join-url", &url], more].concat();
    Ok(owner.json(&arguments)?["invite"].clone())
}

fn text<'a>(invite: &'a Value, field: &str) -> &'a str {
    invite[field].as_str().unwrap()
}

#[test]
fn an_unattended_machine_joins_by_a_setup_code_and_comes_back_by_its_own_token() -> TestResult {
    let mut gateway = gateway()?;
    let (owner, machine) = (Machine::of(&gateway), Machine::new()?);
    let grants = ["--role", "operator", "--scopes", "operator.read"];
    let invite = invite(&owner, &gateway, &grants)?;
    let code = text(&invite, "setupCode");

    let joined = machine.run_with(&["devices", "join", "-", "--role", "operator"], code)?;
    assert_eq!(joined.code, 0, "{joined:?}");
    let shown = format!("{}{}", joined.stdout, joined.stderr);
    assert!(!shown.contains(text(&invite, "token")), "{shown}");
    let own = machine.json(&["devices", "self"])?;
    assert_eq!(own["tokens"][0]["role"], "operator");

    gateway.stop()?;
    gateway.restart()?;
    let url = gateway.url();
    let status = machine.run(&["gateway", "call", "status", "--url", &url])?;
    assert_eq!(status.code, 0, "{status:?}");
    // It got what the join token was for, and no more.
    let write = machine.run(&["gateway", "call", "wake", "--url", &url, "--json"])?;
    assert_eq!(write.code, 4, "{write:?}");

    let list = owner.json(&["devices", "list"])?;
    assert_eq!(list["paired"][0]["deviceId"], own["deviceId"]);
    assert_eq!(list["paired"][0]["approvedVia"], "invite");
    Ok(())
}

#[test]
fn a_join_token_lets_in_as_many_devices_as_it_says() -> TestResult {
    let gateway = gateway()?;
    let (owner, first, second) = (Machine::of(&gateway), Machine::new()?, Machine::new()?);
    let invite = invite(&owner, &gateway, &["--commands", "system.which,system.run"])?;
    assert_eq!(invite["commands"], json!(["system.which", "system.run"]));
    let (token, url) = (text(&invite, "token"), gateway.url());
    let join = ["devices", "join", "-", "--url", &url, "--json"];

    assert_eq!(first.run_with(&join, token)?.code, 0);
    let refused = second.run_with(&join, token)?;
    assert_eq!(refused.code, 4, "{refused:?}");
    let error = refused.error()?;
    assert_eq!(
        error["rpc"]["details"]["code"],
        "AUTH_BOOTSTRAP_TOKEN_INVALID"
    );
    assert!(!error.to_string().contains(token), "{error}");
    // The device that it let in may come again, until it has kept its token.
    assert_eq!(first.run_with(&join, token)?.code, 0);
    assert_eq!(
        owner.json(&["devices", "list"])?["paired"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    Ok(())
}

#[test]
fn a_join_token_is_for_one_role_and_can_be_taken_back() -> TestResult {
    let gateway = gateway()?;
    let (owner, machine) = (Machine::of(&gateway), Machine::new()?);
    let made = invite(&owner, &gateway, &["--role", "node", "--label", "attic"])?;
    let code = text(&made, "setupCode");
    let join = |role| machine.run_with(&["devices", "join", "-", "--role", role, "--json"], code);

    assert_eq!(join("operator")?.code, 4);
    let invites = owner.json(&["devices", "invites"])?;
    assert_eq!(invites["invites"][0]["label"], "attic");
    assert!(!invites.to_string().contains(text(&made, "token")));
    owner.json(&["devices", "uninvite", &text(&made, "inviteId")[..8]])?;
    assert_eq!(join("node")?.code, 4);
    assert_eq!(owner.json(&["devices", "invites"])?["invites"], json!([]));
    Ok(())
}

#[test]
fn the_published_node_joins_by_a_join_token() -> TestResult {
    let (gateway, owner, mut client) = all()?;
    let invite = invite(&owner, &gateway, &[])?;
    let options = node(&gateway, &json!({ "bootstrapToken": invite["token"] }));

    client.connect_device("a", DEVICE.0, options.clone())?;
    let hello = client.hello("a")?;
    assert_eq!(hello["auth"]["method"], "bootstrap-token");
    assert_eq!(hello["auth"]["role"], "node");
    client.stop("a")?;

    // It goes on with the token that it was given, and the join token is used up.
    client.connect_device("b", DEVICE.0, options.clone())?;
    let again = client.hello("b")?;
    assert_eq!(again["auth"]["method"], "device-token");
    assert_eq!(again["auth"]["deviceToken"], hello["auth"]["deviceToken"]);
    client.connect_device("c", THIEF, options)?;
    let details = refusal(&mut client, "c")?;
    assert_eq!(details["code"], "AUTH_BOOTSTRAP_TOKEN_INVALID");
    Ok(())
}

//! What most of these tests begin with.

use clawgate_tests::command_line::Machine;
use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::gateway_process::{GatewayProcess, Settings};
use clawgate_tests::reference_client::ReferenceClient;
use serde_json::{Value, json};

/// A seed of a device identity, and the id of its device.
pub(crate) const DEVICE: (&str, &str) = (
    "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
    "65b60673d6ed884bf01c2c222d82ada0740f29ac3355d6a925c81f17f47a27b8",
);

/// The seed of another device.
pub(crate) const THIEF: &str = "ff02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";

/// A gateway that asks its operator about every device, those on its own machine too; the machine of
/// that operator; and the published client.
pub(crate) fn all() -> TestResult<(GatewayProcess, Machine, ReferenceClient)> {
    let gateway = gateway()?;
    let owner = Machine::of(&gateway);
    Ok((gateway, owner, ReferenceClient::start()?))
}

/// The gateway alone.
pub(crate) fn gateway() -> TestResult<GatewayProcess> {
    GatewayProcess::start_with(Settings {
        gateway: vec![(
            "nodes".into(),
            json!({ "pairing": { "autoApproveLocal": false } }),
        )],
        ..Settings::default()
    })
}

/// Options of an app that presents these credentials.
pub(crate) fn app(gateway: &GatewayProcess, scopes: &[&str], credentials: &Value) -> Value {
    let mut options = json!({
        "url": gateway.url(),
        "clientName": "test",
        "mode": "test",
        "scopes": scopes,
        "platform": "linux",
    });
    add(&mut options, credentials);
    options
}

/// Options of a node that presents these credentials.
pub(crate) fn node(gateway: &GatewayProcess, credentials: &Value) -> Value {
    let mut options = json!({
        "url": gateway.url(),
        "clientName": "node-host",
        "mode": "node",
        "role": "node",
        "scopes": [],
        "platform": "linux",
        "deviceFamily": "Linux",
        "caps": ["system"],
        "commands": ["system.which"],
    });
    add(&mut options, credentials);
    options
}

/// The gateway's token as credentials.
pub(crate) fn shared(gateway: &GatewayProcess) -> Value {
    json!({ "token": gateway.token() })
}

fn add(options: &mut Value, more: &Value) {
    if let (Some(options), Some(more)) = (options.as_object_mut(), more.as_object()) {
        options.extend(more.clone());
    }
}

/// Waits for the end of a refused handshake, and gives the details of the error.
pub(crate) fn refusal(client: &mut ReferenceClient, name: &str) -> TestResult<Value> {
    let report = client.wait(name, "connect-error")?;
    client.wait(name, "close")?;
    Ok(report["error"]["details"].clone())
}

/// Connects with a device that is not known, has the owner approve it with the very command that the
/// gateway names, and connects again under `name`.
pub(crate) fn pair(
    owner: &Machine,
    client: &mut ReferenceClient,
    name: &str,
    options: &Value,
) -> TestResult<Value> {
    let asking = format!("{name} asks");
    client.connect_device(&asking, DEVICE.0, options.clone())?;
    let details = refusal(client, &asking)?;
    approve(owner, &details)?;
    client.connect_device(name, DEVICE.0, options.clone())?;
    client.hello(name)
}

/// Runs the command that a refusal names.
pub(crate) fn approve(owner: &Machine, details: &Value) -> TestResult {
    let command = details["approveCommand"].as_str().unwrap_or_default();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let ran = owner.run(&words)?;
    if ran.code == 0 {
        Ok(())
    } else {
        Err(Failure::new(format!("{command}: {ran:?}")))
    }
}

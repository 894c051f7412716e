//! What most of these tests begin with.

use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::GatewayProcess;
use clawgate_tests::reference_client::ReferenceClient;
use serde_json::{Value, json};

/// A seed of a device identity.
pub(crate) const DEVICE: &str = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";

/// The id of the device that [`DEVICE`] makes.
pub(crate) const DEVICE_ID: &str =
    "65b60673d6ed884bf01c2c222d82ada0740f29ac3355d6a925c81f17f47a27b8";

/// A fresh gateway, and the published client ready to be told what to do.
pub(crate) fn both() -> TestResult<(GatewayProcess, ReferenceClient)> {
    Ok((GatewayProcess::start()?, ReferenceClient::start()?))
}

/// Options of a client that presents the right token and asks for these scopes.
pub(crate) fn operator(gateway: &GatewayProcess, scopes: &[&str]) -> Value {
    json!({"url": gateway.url(), "token": gateway.token(), "scopes": scopes})
}

/// Options of a node host that presents the right token.
pub(crate) fn node_host(gateway: &GatewayProcess) -> Value {
    json!({
        "url": gateway.url(),
        "token": gateway.token(),
        "clientName": "node-host",
        "mode": "node",
        "role": "node",
        "scopes": [],
        "platform": "linux",
        "deviceFamily": "Linux",
        "caps": ["system"],
        "commands": ["system.which"],
    })
}

/// Options with one of them set to another value, or removed by `null`.
pub(crate) fn with(mut options: Value, name: &str, value: Value) -> Value {
    if let Some(options) = options.as_object_mut() {
        if value.is_null() {
            options.remove(name);
        } else {
            options.insert(name.to_owned(), value);
        }
    }
    options
}

//! The program behind the command of the demo's node: JSON in, JSON out.

use std::io::{self, Read};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// The most bytes of the parameters.
const MAX_PARAMS: u64 = 64 * 1024;

/// Greets who is named, and tells when it was asked: microseconds since 1970.
pub(in crate::commands) fn run() -> Result<Exit, Failure> {
    let asked = now_us();
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(MAX_PARAMS)
        .read_to_string(&mut text)
        .map_err(|error| {
            Failure::new(
                Exit::Usage,
                "stdin",
                format!("The parameters could not be read: {error}."),
                "",
            )
        })?;
    let params: Value = serde_json::from_str(&text).unwrap_or_default();
    let name = params.get("name").and_then(Value::as_str).unwrap_or("you");
    output::json_line(&json!({ "greeting": greeting(name), "askedAtUs": asked }))?;
    Ok(Exit::Ok)
}

pub(super) fn greeting(name: &str) -> String {
    format!("Hello, {name}!")
}

#[allow(
    clippy::disallowed_methods,
    reason = "two processes have no other clock in common"
)]
pub(super) fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_micros()).ok())
        .unwrap_or_default()
}

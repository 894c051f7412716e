//! `devices self`.

use clawgate_core::credentials::NamedTarget;
use serde_json::{Value, json};

use crate::context::Context;
use crate::device::DeviceFiles;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::text::Sheet;

pub(super) fn run(create: bool, context: &Context) -> Result<Exit, Failure> {
    let named = context.named(NamedTarget::No)?;
    let files = DeviceFiles::of(
        context.locations()?,
        named.as_ref().map(|named| &named.name),
    );
    let identity = if create {
        Some(files.identity_or_new()?)
    } else {
        files.identity()?
    };
    let path = files.key_path();
    let Some(identity) = identity else {
        match context.format {
            Format::Json => output::json(&json!({
                "ok": true, "deviceId": null, "file": path.to_string_lossy(), "tokens": [],
            }))?,
            Format::Text => output::text(
                "This machine is no device yet. The first command that takes one makes it, or \
                 `clawgate devices self --create`.\n",
            )?,
        }
        return Ok(Exit::Ok);
    };
    let book = files.book();
    let tokens: Vec<(String, &str)> = book
        .gateways(identity.id())
        .map(|(gateway, role)| (gateway.to_string(), role.as_str()))
        .collect();
    match context.format {
        Format::Json => {
            let tokens: Vec<Value> = tokens
                .iter()
                .map(|(gateway, role)| json!({ "gateway": gateway, "role": role }))
                .collect();
            output::json(&json!({
                "ok": true,
                "deviceId": identity.id().as_str(),
                "publicKey": identity.public_key(),
                "file": path.to_string_lossy(),
                "tokens": tokens,
            }))?;
        }
        Format::Text => {
            let mut sheet = Sheet::default();
            sheet.line("Device", identity.id().as_str());
            sheet.line("Public key", identity.public_key());
            sheet.line("Key file", path.to_string_lossy());
            for (gateway, role) in &tokens {
                sheet.line("Token", format!("{role} at {gateway}"));
            }
            output::text(&sheet.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

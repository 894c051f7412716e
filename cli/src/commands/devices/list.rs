//! `devices list`.

use serde_json::{Value, json};

use super::{ago, all, items, name, short, word, words};
use crate::context::Context;
use crate::desk;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::TargetFlags;
use crate::text::Table;

pub(super) fn run(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let (answer, place) = desk::with(flags, context, |desk| Ok((all(desk)?, desk.place())))?;
    let (pending, paired) = (items(&answer, "pending"), items(&answer, "paired"));
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "via": place, "pending": pending, "paired": paired,
        }))?,
        Format::Text => {
            output::text(&format!("{}\n{}", asking(&pending), known(&paired)))?;
        }
    }
    Ok(Exit::Ok)
}

fn asking(pending: &[Value]) -> String {
    if pending.is_empty() {
        return "No device asks to be let in.\n".to_owned();
    }
    let mut table = Table::new(&[
        "REQUEST", "DEVICE", "NAME", "PLATFORM", "ROLE", "SCOPES", "FROM", "ASKED",
    ]);
    for request in pending {
        table.row([
            word(request, "requestId").to_owned(),
            short(word(request, "deviceId")),
            name(request).to_owned(),
            word(request, "platform").to_owned(),
            word(request, "role").to_owned(),
            words(request, "scopes"),
            from(request).to_owned(),
            ago(request, "ts"),
        ]);
    }
    table.to_text()
}

/// Where a request comes from.
pub(super) fn from(request: &Value) -> &str {
    match word(request, "remoteIp") {
        "" => "this machine",
        ip => ip,
    }
}

fn known(paired: &[Value]) -> String {
    if paired.is_empty() {
        return "No device is paired.\n".to_owned();
    }
    let mut table = Table::new(&[
        "DEVICE", "NAME", "PLATFORM", "ROLES", "SCOPES", "TOKENS", "ONLINE", "SEEN",
    ]);
    for device in paired {
        let online = device.get("connected").and_then(Value::as_bool) == Some(true);
        table.row([
            short(word(device, "deviceId")),
            name(device).to_owned(),
            word(device, "platform").to_owned(),
            words(device, "roles"),
            words(device, "scopes"),
            tokens(device),
            if online { "yes" } else { "no" }.to_owned(),
            ago(device, "lastSeenAtMs"),
        ]);
    }
    table.to_text()
}

/// The roles that the device has tokens for, and which of them are revoked.
fn tokens(device: &Value) -> String {
    let shown: Vec<String> = items(device, "tokens")
        .iter()
        .map(|token| {
            let revoked = token.get("revokedAtMs").is_some_and(|at| !at.is_null());
            let note = if revoked { " (revoked)" } else { "" };
            format!("{}{note}", word(token, "role"))
        })
        .collect();
    shown.join(",")
}

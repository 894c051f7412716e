//! `secrets reload`, `secrets rotate`, `secrets status`.

use std::time::Duration;

use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use clawgate_core::time::{WallTime, millis};
use serde_json::{Value, json};

use crate::args::SecretsCommand;
use crate::context::Context;
use crate::dial::Link;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{self, TargetFlags};
use crate::text::Sheet;

pub(super) fn run(command: SecretsCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        SecretsCommand::Reload(args) => {
            let flags = TargetFlags::read(args.target)?;
            let answer = ask(&flags, context, "secrets.reload", args.grace)?;
            tell(&answer, context.format, reloaded)
        }
        SecretsCommand::Rotate(args) => {
            let flags = TargetFlags::read(args.target)?;
            let answer = ask(&flags, context, "secrets.rotate", args.grace)?;
            tell(
                &answer,
                context.format,
                |_| "the gateway has a new token, in its token file",
            )
        }
        SecretsCommand::Status(args) => {
            let answer = ask(&TargetFlags::read(args)?, context, "secrets.status", None)?;
            match context.format {
                Format::Json => output::json(&answer)?,
                Format::Text => output::text(&status(&answer))?,
            }
            Ok(Exit::Ok)
        }
    }
}

fn ask(
    flags: &TargetFlags,
    context: &Context,
    method: &str,
    grace: Option<Duration>,
) -> Result<Value, Failure> {
    let resolved = target::find(Surface::Call, flags, context)?;
    let mut link = Link::open_or_explain(&resolved, &[method], flags.timeout)?;
    let params = match grace {
        Some(grace) => RawJson::encode(&json!({ "graceMs": millis(grace) }))
            .unwrap_or_else(|_| RawJson::empty_object()),
        None => RawJson::empty_object(),
    };
    let answer = link.call(method, params)?;
    link.connection.close();
    Ok(answer.parse().unwrap_or(Value::Null))
}

fn reloaded(answer: &Value) -> &'static str {
    if answer.get("changed") == Some(&Value::Bool(true)) {
        "the gateway has read a new secret"
    } else {
        "the gateway has read the secret that it had"
    }
}

fn tell(
    answer: &Value,
    format: Format,
    what: impl FnOnce(&Value) -> &'static str,
) -> Result<Exit, Failure> {
    match format {
        Format::Json => output::json(answer)?,
        Format::Text => {
            let mut sheet = Sheet::default();
            sheet.line("Done", what(answer));
            for warning in list(answer, "warnings") {
                sheet.line("Warning", warning.as_str().unwrap_or_default());
            }
            describe(answer, &mut sheet);
            output::text(&sheet.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

fn status(answer: &Value) -> String {
    let mut sheet = Sheet::default();
    let mode = answer.get("mode").and_then(Value::as_str);
    let from = match answer.get("source").and_then(Value::as_str) {
        Some("config.auth") => ", from gateway.auth",
        Some("env") => ", from the environment",
        Some("generated") => ", made by the gateway",
        Some("override") => ", from the gateway's command line",
        Some(_) | None => "",
    };
    sheet.line("Auth", format!("{}{from}", mode.unwrap_or("unknown")));
    let current = answer.get("current").unwrap_or(&Value::Null);
    sheet.line("Current", clients(current));
    describe(answer, &mut sheet);
    sheet.to_text()
}

/// The secrets that were replaced and still count, and who uses them.
fn describe(answer: &Value, sheet: &mut Sheet) {
    let retired = list(answer, "retired");
    if retired.is_empty() {
        sheet.line("Retired", "none: only the current secret counts");
    }
    for secret in retired {
        let until = secret
            .get("expiresAtMs")
            .and_then(Value::as_u64)
            .map_or_else(|| "unknown".into(), |at| WallTime(at).to_rfc3339());
        sheet.line(
            "Retired",
            format!("valid until {until}, {}", clients(secret)),
        );
        for client in list(secret, "clients") {
            let text = |name: &str| client.get(name).and_then(Value::as_str);
            let words: Vec<&str> = ["clientId", "mode", "displayName", "deviceId", "ip"]
                .into_iter()
                .filter_map(text)
                .collect();
            sheet.line("", words.join(" "));
        }
    }
}

fn clients(secret: &Value) -> String {
    match secret.get("clientCount").and_then(Value::as_u64) {
        Some(1) => "1 client".into(),
        count => format!("{} clients", count.unwrap_or_default()),
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_names_who_still_uses_an_old_secret() {
        let answer = json!({
            "mode": "token", "source": "generated", "current": { "clientCount": 1 },
            "retired": [{
                "expiresAtMs": 1_737_264_600_000_u64, "clientCount": 2,
                "clients": [
                    { "clientId": "cli", "mode": "cli", "ip": "127.0.0.1", "displayName": null },
                    { "clientId": "node-host", "mode": "node", "displayName": "kitchen\u{1b}[1m" },
                ],
            }],
        });
        assert_eq!(
            status(&answer),
            "Auth     token, made by the gateway\n\
             Current  1 client\n\
             Retired  valid until 2025-01-19T05:30:00.000Z, 2 clients\n         cli cli 127.0.0.1\n         \
             node-host node kitchen[1m\n"
        );
        let odd = status(&json!([]));
        assert!(
            odd.contains("none: only the current secret counts"),
            "{odd}"
        );
    }
}

//! `health` and `gateway health`.

use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use serde_json::{Value, json};

use crate::context::Context;
use crate::dial::Link;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{self, TargetFlags, auth_text, target_json, target_text};
use crate::text::{self, Sheet};

pub(super) fn run(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let resolved = target::find(Surface::Call, flags, context)?.only_looking();
    let mut link = Link::open_or_explain(&resolved, &["health"], flags.timeout)?;
    let health = link.call("health", RawJson::empty_object())?;
    let took = link.connection.timings().total();
    let health: Value = health.parse().unwrap_or(Value::Null);
    match context.format {
        Format::Json => output::json(&json!({
            "ok": is_well(&health),
            "problems": problems(&health),
            "target": target_json(&resolved.why),
            "durationMs": text::millis(took),
            "health": health,
        }))?,
        Format::Text => {
            let mut sheet = Sheet::default();
            sheet.line("Gateway", target_text(&resolved.why));
            sheet.line("Auth", auth_text(&resolved.why));
            sheet.line(
                "Health",
                format!("{} in {}", verdict(&health), text::duration(took)),
            );
            describe(&health, &mut sheet);
            output::text(&sheet.to_text())?;
        }
    }
    link.connection.close();
    Ok(if is_well(&health) {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// Whether the gateway says that it is well. One that says nothing is believed to be.
pub(super) fn is_well(health: &Value) -> bool {
    health.get("ok").and_then(Value::as_bool) != Some(false)
}

pub(super) fn verdict(health: &Value) -> &'static str {
    match (is_well(health), problems(health).is_empty()) {
        (true, true) => "ok",
        (true, false) => "degraded",
        (false, _) => "not ok",
    }
}

/// What the gateway says is wrong with it, though it serves.
fn problems(health: &Value) -> Vec<&str> {
    health
        .pointer("/plugins/errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|error| error.get("error")?.as_str())
        .collect()
}

/// The parts of a health payload that people look for; what is missing has no line.
pub(super) fn describe(health: &Value, sheet: &mut Sheet) {
    if let Some(channels) = health.get("channels").and_then(Value::as_object) {
        let mut shown: Vec<String> = channels
            .iter()
            .map(|(name, state)| {
                let state = match (flag(state, "configured"), flag(state, "running")) {
                    (Some(false), _) => "not configured",
                    (_, Some(true)) => "running",
                    (_, Some(false)) => "stopped",
                    (Some(true), None) => "configured",
                    (None, None) => "known",
                };
                format!("{name} {state}")
            })
            .collect();
        if shown.is_empty() {
            shown.push("none".to_owned());
        }
        sheet.line("Channels", shown.join(", "));
    }
    if let Some(agents) = health.get("agents").and_then(Value::as_array) {
        let names: Vec<&str> = agents
            .iter()
            .filter_map(|agent| agent.get("agentId")?.as_str())
            .collect();
        sheet.line("Agents", names.join(", "));
    }
    for problem in problems(health) {
        sheet.line("Problem", problem);
    }
    if let Some(count) = health.pointer("/sessions/count").and_then(Value::as_u64) {
        sheet.line("Sessions", count.to_string());
    }
}

fn flag(object: &Value, name: &str) -> Option<bool> {
    object.get(name).and_then(Value::as_bool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_payloads_are_described_as_far_as_they_go() {
        for odd in [
            json!(null),
            json!([]),
            json!({ "channels": 7, "agents": [1] }),
        ] {
            describe(&odd, &mut Sheet::default());
            assert!(is_well(&odd));
        }
        let mut sheet = Sheet::default();
        describe(
            &json!({
                "channels": { "telegram": { "configured": true, "running": true } },
                "agents": [{ "agentId": "main" }],
                "sessions": { "count": 3 },
            }),
            &mut sheet,
        );
        assert_eq!(
            sheet.to_text(),
            "Channels  telegram running\nAgents    main\nSessions  3\n"
        );
    }
}

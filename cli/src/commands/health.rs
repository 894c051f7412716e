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
pub(super) fn problems(health: &Value) -> Vec<String> {
    let own = health
        .pointer("/plugins/errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|error| Some(error.get("error")?.as_str()?.to_owned()));
    let of_channels = accounts(health).into_iter().filter_map(|(name, account)| {
        let enabled = flag(account, "enabled") != Some(false);
        let problem = account.get("lastError")?.as_str()?;
        enabled.then(|| format!("{name}: {problem}"))
    });
    own.chain(of_channels).collect()
}

/// Every account of a channel, by a name for people.
fn accounts(health: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    let channels = health.get("channels").and_then(Value::as_object);
    for (channel, state) in channels.into_iter().flatten() {
        match state.get("accounts").and_then(Value::as_object) {
            Some(accounts) if accounts.len() > 1 => {
                let accounts = accounts.iter();
                all.extend(accounts.map(|(name, state)| (format!("{channel}/{name}"), state)));
            }
            Some(_) | None => all.push((channel.clone(), state)),
        }
    }
    all
}

/// How an account fares, with what waits there.
fn account_state(state: &Value) -> String {
    let name = match (
        flag(state, "enabled"),
        flag(state, "configured"),
        flag(state, "running"),
    ) {
        (Some(false), _, _) => "disabled",
        (_, Some(false), _) => "not configured",
        (_, _, Some(true)) => "running",
        (_, _, Some(false)) => "stopped",
        (_, Some(true), None) => "configured",
        (_, None, None) => "known",
    };
    let health = state.get("healthState").and_then(Value::as_str);
    let count = |name: &str| state.get(name).and_then(Value::as_u64).unwrap_or(0);
    let waiting = count("waitingIn") + count("waitingOut");
    let more: Vec<String> = [(waiting, "waiting"), (count("uncertain"), "uncertain")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let name = match (name, health) {
        ("running" | "stopped", Some(health)) => health,
        (name, _) => name,
    };
    if more.is_empty() {
        name.to_owned()
    } else {
        format!("{name} ({})", more.join(", "))
    }
}

/// The parts of a health payload that people look for; what is missing has no line.
pub(super) fn describe(health: &Value, sheet: &mut Sheet) {
    if health.get("channels").is_some_and(Value::is_object) {
        let mut shown: Vec<String> = accounts(health)
            .into_iter()
            .map(|(name, state)| format!("{name} {}", account_state(state)))
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

    #[test]
    fn channels_are_shown_with_what_waits_and_what_is_wrong() {
        let work = json!({
            "enabled": true, "configured": true, "running": false, "healthState": "blocked",
            "lastError": "the token is refused",
        });
        let main = json!({
            "enabled": true, "configured": true, "running": true, "healthState": "healthy",
            "waitingIn": 2, "uncertain": 1, "lastError": null,
        });
        let health = json!({
            "ok": true,
            "channels": { "telegram": { "accounts": { "default": main, "work": work } } },
        });
        let mut sheet = Sheet::default();
        describe(&health, &mut sheet);
        assert_eq!(
            sheet.to_text(),
            "Channels  telegram/default healthy (2 waiting, 1 uncertain), telegram/work blocked\n\
             Problem   telegram/work: the token is refused\n"
        );
        assert_eq!(verdict(&health), "degraded");
    }
}

//! `status`: health and state in one look, as deep as wanted.

use std::time::Duration;

use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use clawgate_core::time::WallTime;
use serde_json::{Map, Value, json};

use super::health;
use super::page::page;
use crate::args::StatusArgs;
use crate::context::Context;
use crate::dial::Link;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{self, Resolved, TargetFlags, auth_json, auth_text, target_json, target_text};
use crate::text::{self, Sheet};

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Summary,
    Deep,
    All,
}

/// Each call, the depth from which on it is made, and its key in `--json`.
const CALLS: [(&str, Depth); 13] = [
    ("health", Depth::Summary),
    ("status", Depth::Summary),
    ("system-presence", Depth::Deep),
    ("last-heartbeat", Depth::Deep),
    ("channels.status", Depth::Deep),
    ("node.list", Depth::Deep),
    ("node.pair.list", Depth::All),
    ("device.pair.list", Depth::All),
    ("agents.list", Depth::All),
    ("models.list", Depth::All),
    ("sessions.list", Depth::All),
    ("cron.status", Depth::All),
    ("gateway.identity.get", Depth::All),
];

type Results = Vec<(&'static str, Result<Value, Failure>)>;

pub(super) fn run(args: StatusArgs, context: &Context) -> Result<Exit, Failure> {
    let depth = match (args.all, args.deep) {
        (true, _) => Depth::All,
        (false, true) => Depth::Deep,
        (false, false) => Depth::Summary,
    };
    let flags = TargetFlags::read(args.target)?;
    if depth == Depth::All && context.format == Format::Text {
        let page = page(&flags, context);
        output::text(&page.text)?;
        return Ok(page.exit);
    }
    let resolved = target::find(Surface::Status, &flags, context)?;
    let calls: Vec<&'static str> = CALLS
        .iter()
        .filter(|(_, from)| *from <= depth)
        .map(|(method, _)| *method)
        .collect();
    let mut link = Link::open_or_explain(&resolved, &calls, flags.timeout)?;
    let hello = link.connection.hello().clone();
    let asked = calls
        .into_iter()
        .map(|method| (method, params(method, depth)))
        .collect();
    let results: Results = link
        .call_all(asked)
        .into_iter()
        .map(|(method, outcome)| {
            let outcome = outcome.map(|result| result.parse().unwrap_or(Value::Null));
            (method, outcome)
        })
        .collect();
    let took = link.connection.timings().total();
    link.connection.close();
    // A gateway that lacks one of the lists is no failure of the command.
    let failure = results
        .iter()
        .take(2)
        .find_map(|(_, outcome)| outcome.as_ref().err());
    match context.format {
        Format::Json => {
            let mut answer = json!({
                "ok": failure.is_none(),
                "target": target_json(&resolved.why),
                "auth": auth_json(&resolved.why),
                "version": hello.server_version,
                "protocol": hello.protocol,
                "scopes": hello.scopes,
                "durationMs": text::millis(took),
                "results": {},
                "errors": {},
                "error": failure.map(Failure::to_json),
            });
            if depth == Depth::All {
                insert(&mut answer, "methods", json!(hello.methods));
                insert(&mut answer, "events", json!(hello.events));
            }
            let (good, bad) = split(&results);
            insert(&mut answer, "results", good);
            insert(&mut answer, "errors", bad);
            output::json(&answer)?;
        }
        Format::Text => {
            let version = hello.server_version.as_deref();
            output::text(&describe(&resolved, version, &results))?;
            if let Some(failure) = failure {
                output::failure(failure, Format::Text);
            }
        }
    }
    Ok(failure.map_or(Exit::Ok, |failure| failure.exit))
}

fn params(method: &str, depth: Depth) -> RawJson {
    if method == "health" && depth >= Depth::Deep {
        return RawJson::encode(&json!({ "probe": true }))
            .unwrap_or_else(|_| RawJson::empty_object());
    }
    RawJson::empty_object()
}

fn insert(answer: &mut Value, key: &str, value: Value) {
    if let Some(object) = answer.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// Results and errors by method.
fn split(results: &Results) -> (Value, Value) {
    let (mut good, mut bad) = (Map::new(), Map::new());
    for (method, outcome) in results {
        match outcome {
            Ok(result) => good.insert((*method).to_owned(), result.clone()),
            Err(failure) => bad.insert((*method).to_owned(), failure.to_json()),
        };
    }
    (good.into(), bad.into())
}

fn describe(resolved: &Resolved, version: Option<&str>, results: &Results) -> String {
    let mut sheet = Sheet::default();
    sheet.line("Gateway", target_text(&resolved.why));
    sheet.line("Auth", auth_text(&resolved.why));
    if let Some(version) = version {
        sheet.line("Version", version);
    }
    for (method, outcome) in results {
        match (*method, outcome) {
            (_, Err(failure)) => sheet.line(title(method), format!("failed: {}", failure.message)),
            ("health", Ok(result)) => {
                sheet.line("Health", health::verdict(result));
                health::describe(result, &mut sheet);
            }
            ("status", Ok(result)) => state(result, &mut sheet),
            ("last-heartbeat", Ok(result)) => sheet.line(title(method), heartbeat(result)),
            ("gateway.identity.get", Ok(result)) => {
                let id = result.get("deviceId").and_then(Value::as_str);
                sheet.line(title(method), id.unwrap_or("unknown"));
            }
            ("cron.status", Ok(result)) => {
                let jobs = result
                    .get("jobs")
                    .and_then(Value::as_u64)
                    .unwrap_or_default();
                sheet.line(title(method), format!("{jobs} jobs"));
            }
            ("channels.status", Ok(_)) => {}
            (_, Ok(result)) => sheet.line(title(method), count(result)),
        }
    }
    sheet.to_text()
}

const fn title(method: &str) -> &str {
    match method.as_bytes() {
        b"health" => "Health",
        b"status" => "Status",
        b"system-presence" => "Present",
        b"last-heartbeat" => "Heartbeat",
        b"channels.status" => "Channel state",
        b"node.list" => "Nodes",
        b"node.pair.list" => "Node pairing",
        b"device.pair.list" => "Devices",
        b"agents.list" => "Agent list",
        b"models.list" => "Models",
        b"sessions.list" => "Session list",
        b"cron.status" => "Cron",
        b"gateway.identity.get" => "Identity",
        _ => method,
    }
}

fn state(status: &Value, sheet: &mut Sheet) {
    let number = |path: &str| status.pointer(path).and_then(Value::as_u64);
    if let Some(millis) = number("/uptimeMs") {
        sheet.line("Up for", text::duration(Duration::from_millis(millis)));
    }
    if let Some(bytes) = number("/processMemory/rssBytes").filter(|bytes| *bytes > 0) {
        sheet.line("Memory", format!("{:.1} MiB", bytes_to_mib(bytes)));
    }
    if let Some(connections) = number("/connections") {
        sheet.line("Connections", connections.to_string());
    }
    if let Some(active) = number("/tasks/active") {
        let total = number("/tasks/total").unwrap_or_default();
        sheet.line("Tasks", format!("{active} active of {total}"));
    }
    let profiles = status.get("authProfiles").and_then(Value::as_array);
    for profile in profiles.into_iter().flatten() {
        sheet.line("Model key", key_state(profile));
    }
}

/// How a credential of a model provider fares.
fn key_state(profile: &Value) -> String {
    let word = |name: &str| profile.get(name).and_then(Value::as_str).unwrap_or("?");
    let name = format!("{} ({})", word("profileId"), word("provider"));
    let until = profile.get("cooldownUntil").and_then(Value::as_u64);
    match (word("status"), until) {
        ("ok", _) => format!("{name}: ready"),
        ("cooldown", Some(until)) => format!(
            "{name}: left alone until {}, {}",
            WallTime(until).to_rfc3339(),
            word("reason")
        ),
        (_, _) => format!("{name}: not used, {}", word("reason")),
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "one digit after the point is shown"
)]
fn bytes_to_mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

fn heartbeat(result: &Value) -> String {
    match result.get("status").and_then(Value::as_str) {
        Some(status) => status.to_owned(),
        None => "none yet".to_owned(),
    }
}

/// How many things a list holds: the result itself, or its lists by name.
fn count(result: &Value) -> String {
    if let Some(items) = result.as_array() {
        return items.len().to_string();
    }
    let lists: Vec<(&String, usize)> = result
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name, value.as_array()?.len())))
        .collect();
    match lists.as_slice() {
        [] => "ok".to_owned(),
        [(_, only)] => only.to_string(),
        many => many
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_models_are_told_apart() {
        let key = |status: &str, more: Value| {
            let mut key = json!({ "profileId": "a", "provider": "x", "status": status });
            if let (Some(fields), Value::Object(more)) = (key.as_object_mut(), more) {
                fields.extend(more);
            }
            key_state(&key)
        };
        assert_eq!(key("ok", json!({})), "a (x): ready");
        let cooling = json!({ "cooldownUntil": 0, "reason": "HTTP 429" });
        let told = "a (x): left alone until 1970-01-01T00:00:00.000Z, HTTP 429";
        assert_eq!(key("cooldown", cooling), told);
        let missing = json!({ "reason": "no such variable" });
        assert_eq!(key("missing", missing), "a (x): not used, no such variable");
    }

    #[test]
    fn lists_are_counted_whatever_they_are_called() {
        assert_eq!(count(&json!([1, 2])), "2");
        assert_eq!(count(&json!({ "ts": 1, "nodes": [] })), "0");
        assert_eq!(
            count(&json!({ "paired": [1], "pending": [] })),
            "1 paired, 0 pending"
        );
        assert_eq!(count(&json!(null)), "ok");
    }

    #[test]
    fn deeper_looks_ask_for_more_and_never_for_less() {
        let asked = |depth| CALLS.iter().filter(|(_, from)| *from <= depth).count();
        assert_eq!(asked(Depth::Summary), 2);
        assert!(asked(Depth::Deep) > 2 && asked(Depth::All) == CALLS.len());
        assert_eq!(params("health", Depth::All).as_str(), r#"{"probe":true}"#);
    }
}

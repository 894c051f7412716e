//! `sessions list`, `show`, `history`, `search` and `usage`.

use clawgate_core::time::WallTime;
use serde_json::{Value, json};

use super::{call, describe, print, show::number, table};
use crate::args::TargetArgs;
use crate::commands::devices::{items, word};
use crate::context::Context;
use crate::conversation::screen::said;
use crate::conversation::wire::Entry;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::text::{Sheet, Table, short};

/// Characters of a hit.
const SNIPPET: usize = 100;

pub(super) fn list(
    limit: u16,
    search: Option<&str>,
    target: TargetArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let mut params = json!({ "limit": limit, "includeDerivedTitles": true });
    if let (Some(search), Some(fields)) = (search, params.as_object_mut()) {
        fields.insert("search".into(), search.into());
    }
    let answer = call("sessions.list", &params, target, context)?;
    print(context, &answer, || table(&answer))?;
    Ok(Exit::Ok)
}

pub(super) fn show(key: &str, target: TargetArgs, context: &Context) -> Result<Exit, Failure> {
    let params = json!({ "key": key, "includeDerivedTitles": true, "includeLastMessage": true });
    let answer = call("sessions.describe", &params, target, context)?;
    let session = answer
        .get("session")
        .filter(|session| session.is_object())
        .ok_or_else(|| {
            Failure::new(
                Exit::Refused,
                "not_found",
                format!("There is no session {key}."),
                "`clawgate sessions list` shows all sessions.",
            )
        })?;
    print(context, session, || {
        let mut sheet = Sheet::default();
        describe(&mut sheet, session);
        sheet.to_text()
    })?;
    Ok(Exit::Ok)
}

pub(super) fn history(
    key: &str,
    limit: u16,
    target: TargetArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let params = json!({ "sessionKey": key, "limit": limit });
    let answer = call("chat.history", &params, target, context)?;
    print(context, &answer, || {
        let mut text: String = items(&answer, "messages")
            .iter()
            .map(|message| said(&Entry::of(message)))
            .collect();
        if text.is_empty() {
            text.push_str("Nothing was said in this session.\n");
        }
        if answer.get("hasMore").and_then(Value::as_bool) == Some(true) {
            let total = number(&answer, "totalMessages");
            text.insert_str(
                0,
                &format!("({total} messages in all: --limit shows more)\n"),
            );
        }
        if let Some(run) = answer.get("inFlightRun").filter(|run| run.is_object()) {
            let words = short(word(run, "text"), SNIPPET);
            text.push_str(&format!("(under way: {words})\n"));
        }
        text
    })?;
    Ok(Exit::Ok)
}

pub(super) fn search(
    words: &[String],
    limit: u16,
    target: TargetArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let params = json!({ "query": words.join(" "), "limit": limit });
    let answer = call("sessions.search", &params, target, context)?;
    print(context, &answer, || {
        let hits = items(&answer, "results");
        if hits.is_empty() {
            return "Nothing was found.\n".to_owned();
        }
        let mut table = Table::new(&["SESSION", "WHEN", "WHO", "WORDS"]);
        for hit in &hits {
            let at = hit.get("timestamp").and_then(Value::as_u64);
            table.row([
                word(hit, "sessionKey").to_owned(),
                at.map(|at| WallTime(at).to_rfc3339()).unwrap_or_default(),
                word(hit, "role").to_owned(),
                short(word(hit, "snippet"), SNIPPET),
            ]);
        }
        table.to_text()
    })?;
    Ok(Exit::Ok)
}

pub(super) fn usage(
    key: Option<&str>,
    target: TargetArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let params = key.map_or_else(|| json!({}), |key| json!({ "key": key }));
    let answer = call("sessions.usage", &params, target, context)?;
    print(context, &answer, || {
        let mut table = Table::new(&["KEY", "IN", "OUT", "TOKENS"]);
        let mut row = |name: &str, usage: Option<&Value>| {
            let usage = usage.unwrap_or(&Value::Null);
            table.row([
                name.to_owned(),
                number(usage, "input"),
                number(usage, "output"),
                number(usage, "totalTokens"),
            ]);
        };
        for session in items(&answer, "sessions") {
            row(word(&session, "key"), session.get("usage"));
        }
        row("all", answer.get("totals"));
        table.to_text()
    })?;
    Ok(Exit::Ok)
}

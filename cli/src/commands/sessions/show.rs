//! How sessions look.

use clawgate_core::time::WallTime;
use serde_json::Value;

use crate::commands::devices::{ago, items, word};
use crate::text::{Sheet, Table, short};

/// Characters of a title in a table.
const TITLE: usize = 40;

/// A list of sessions.
pub(in crate::commands) fn table(answer: &Value) -> String {
    let sessions = items(answer, "sessions");
    if sessions.is_empty() {
        return "There are no sessions yet: `clawgate chat` begins one.\n".to_owned();
    }
    let mut table = Table::new(&["KEY", "NAME", "STATUS", "TOKENS", "USED"]);
    for session in &sessions {
        table.row([
            word(session, "key").to_owned(),
            short(name(session), TITLE),
            word(session, "status").to_owned(),
            number(session, "totalTokens"),
            ago(session, "updatedAt"),
        ]);
    }
    let mut text = table.to_text();
    if answer.get("hasMore").and_then(Value::as_bool) == Some(true) {
        let total = number(answer, "totalCount");
        text.push_str(&format!("{total} in all: --limit shows more.\n"));
    }
    text
}

/// One session.
pub(in crate::commands) fn describe(sheet: &mut Sheet, session: &Value) {
    sheet.line("Session", word(session, "key"));
    let named = [
        ("Name", name(session)),
        ("Agent", word(session, "agentId")),
        ("Status", word(session, "status")),
        ("Error", word(session, "lastRunError")),
        ("Provider", word(session, "modelProvider")),
        ("Model", word(session, "model")),
        ("Id", word(session, "sessionId")),
        ("Last words", word(session, "lastMessagePreview")),
    ];
    for (title, text) in named {
        if !text.is_empty() {
            sheet.line(title, short(text, 200));
        }
    }
    for (title, field) in [("Created", "createdAt"), ("Used", "updatedAt")] {
        if let Some(at) = session.get(field).and_then(Value::as_u64) {
            sheet.line(title, WallTime(at).to_rfc3339());
        }
    }
    sheet.line(
        "Tokens",
        format!(
            "{} ({} in, {} out)",
            number(session, "totalTokens"),
            number(session, "inputTokens"),
            number(session, "outputTokens"),
        ),
    );
    let runs = super::super::devices::words(session, "activeRunIds");
    if !runs.is_empty() {
        sheet.line("Under way", runs);
    }
}

/// A number of an answer.
pub(super) fn number(object: &Value, field: &str) -> String {
    object
        .get(field)
        .and_then(Value::as_u64)
        .map(|number| number.to_string())
        .unwrap_or_default()
}

/// What people call a session, or what it is about.
fn name(session: &Value) -> &str {
    ["label", "displayName", "derivedTitle"]
        .into_iter()
        .map(|field| word(session, field))
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sessions_are_listed_with_their_names() {
        let answer = json!({
            "sessions": [
                { "key": "agent:main:main", "status": "done", "totalTokens": 8, "derivedTitle": "hi" },
                { "key": "agent:main:work", "label": "Work", "derivedTitle": "x" },
            ],
            "hasMore": true, "totalCount": 7,
        });
        let text = table(&answer);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("agent:main:main  hi    done    8"),
            "{text}"
        );
        assert!(lines[2].starts_with("agent:main:work  Work  -"), "{text}");
        assert!(lines[3].starts_with("7 in all"), "{text}");
        assert!(table(&json!({})).contains("clawgate chat"));
    }
}

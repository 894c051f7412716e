//! `messages list`, `trace` and `resend`.

use clawgate_core::time::WallTime;
use serde_json::{Value, json};

use super::{call, params, print, text};
use crate::channel_args::{MessageArgs, MessagesCommand};
use crate::commands::devices::{items, word};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::text::{Sheet, Table, plain, short};

const HINT: &str = "`clawgate messages list` shows all messages.";

/// Characters of a message in a list.
const EXCERPT: usize = 60;

/// Does what `clawgate messages …` asks for.
pub(in crate::commands) fn run(
    command: MessagesCommand,
    context: &Context,
) -> Result<Exit, Failure> {
    match command {
        MessagesCommand::List {
            state,
            channel,
            account,
            chat,
            limit,
            target,
        } => {
            let wanted = params([
                ("state", text(state.as_deref())),
                ("channel", text(channel.as_deref())),
                ("accountId", text(account.as_deref())),
                ("chat", text(chat.as_deref())),
                ("limit", Some(json!(limit))),
            ]);
            let answer = call("messages.list", &wanted, target, context, HINT)?;
            print(context, &answer, || table(&answer))?;
            Ok(Exit::Ok)
        }
        MessagesCommand::Trace(MessageArgs { id, target }) => {
            let answer = call(
                "messages.trace",
                &json!({ "id": id }),
                target,
                context,
                HINT,
            )?;
            print(context, &answer, || trace(&answer))?;
            Ok(Exit::Ok)
        }
        MessagesCommand::Resend(MessageArgs { id, target }) => {
            let answer = call(
                "messages.resend",
                &json!({ "id": id }),
                target,
                context,
                HINT,
            )?;
            print(context, &answer, || {
                let (resent, state) = (word(&answer, "resent"), word(&answer, "state"));
                format!("goes on: message {} ({})\n", plain(resent), plain(state))
            })?;
            Ok(Exit::Ok)
        }
    }
}

fn table(answer: &Value) -> String {
    let rows = items(answer, "messages");
    if rows.is_empty() {
        return "There are no such messages.\n".to_owned();
    }
    let mut table = Table::new(&["ID", "WHEN", "WHERE", "WAY", "STATE", "TEXT"]);
    for row in &rows {
        table.row([
            word(row, "id").to_owned(),
            time(row, "at"),
            place(row),
            way(row),
            word(row, "state").to_owned(),
            short(word(row, "text"), EXCERPT),
        ]);
    }
    let mut shown = table.to_text();
    let total = answer.get("total").and_then(Value::as_u64).unwrap_or(0);
    if total > rows.len() as u64 {
        shown.push_str(&format!("({total} messages in all: --limit shows more)\n"));
    }
    shown
}

fn trace(answer: &Value) -> String {
    let message = answer.get("message").unwrap_or(&Value::Null);
    let mut sheet = Sheet::default();
    describe(&mut sheet, message);
    let mut shown = sheet.to_text();
    for other in items(answer, "related") {
        let mut sheet = Sheet::default();
        describe(&mut sheet, &other);
        shown.push('\n');
        shown.push_str(&sheet.to_text());
    }
    let mut table = Table::new(&["TIME", "AFTER", "MESSAGE", "STEP"]);
    for hop in items(answer, "hops") {
        let after = hop.get("afterMs").and_then(Value::as_u64).unwrap_or(0);
        table.row([
            time(&hop, "at"),
            format!("{after} ms"),
            word(&hop, "message").to_owned(),
            word(&hop, "what").to_owned(),
        ]);
    }
    shown.push('\n');
    shown.push_str(&table.to_text());
    shown
}

fn describe(sheet: &mut Sheet, row: &Value) {
    sheet.line("Message", word(row, "id"));
    let sender = row.get("sender").map(|sender| {
        let name = word(sender, "name");
        format!("{} {name}", word(sender, "id"))
    });
    sheet.line(
        "Way",
        match (word(row, "direction"), word(row, "answers")) {
            ("in", _) => format!("in, from {}", sender.unwrap_or_default().trim_end()),
            (_, "") => "out".to_owned(),
            (_, answered) => format!("out, in answer to {answered}"),
        },
    );
    sheet.line("Where", place(row));
    sheet.line("State", word(row, "state"));
    for (name, field) in [("Why", "why"), ("Run", "runId")] {
        if !word(row, field).is_empty() {
            sheet.line(name, word(row, field));
        }
    }
    let parts = items(row, "parts");
    for part in parts.iter().filter(|_| parts.len() > 1) {
        let what = [word(part, "kind"), word(part, "name"), word(part, "state")];
        let what: Vec<&str> = what.into_iter().filter(|text| !text.is_empty()).collect();
        sheet.line("Part", what.join(" "));
    }
    sheet.line("Text", word(row, "text"));
    if matches!(word(row, "state"), "uncertain" | "failed") {
        let id = word(row, "id");
        sheet.line("Next", format!("clawgate messages resend {id}"));
    }
}

fn place(row: &Value) -> String {
    let (channel, account) = (word(row, "channel"), word(row, "accountId"));
    let mut place = format!("{channel}/{account}:{}", word(row, "chat"));
    if !word(row, "threadId").is_empty() {
        place = format!("{place}:{}", word(row, "threadId"));
    }
    place
}

fn way(row: &Value) -> String {
    match (word(row, "direction"), word(row, "answers")) {
        ("out", answered) if !answered.is_empty() => format!("out, to {answered}"),
        (way, _) => way.to_owned(),
    }
}

fn time(row: &Value, field: &str) -> String {
    let at = row.get(field).and_then(Value::as_u64);
    at.map(|at| WallTime(at).to_rfc3339()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_shows_each_step_with_its_time() {
        let answer = json!({
            "message": {
                "id": "m3", "direction": "in", "channel": "telegram", "accountId": "default",
                "chat": "5", "threadId": "7", "state": "uncertain", "text": "hello",
                "sender": { "id": "9", "name": "Ann" }, "runId": "m3:r",
            },
            "related": [{
                "id": "m4", "direction": "out", "answers": "m3", "channel": "telegram",
                "accountId": "default", "chat": "5", "state": "uncertain", "text": "re\u{1b}[1m",
                "why": "broken", "parts": [{ "kind": "text", "state": "uncertain" }],
            }],
            "hops": [
                { "at": 1_737_264_000_000_u64, "afterMs": 0, "message": "m3", "what": "received" },
                { "at": 1_737_264_000_040_u64, "afterMs": 40, "message": "m4", "what": "to be sent" },
            ],
        });
        let shown = trace(&answer);
        assert_eq!(
            shown,
            "\
Message  m3
Way      in, from 9 Ann
Where    telegram/default:5:7
State    uncertain
Run      m3:r
Text     hello
Next     clawgate messages resend m3

Message  m4
Way      out, in answer to m3
Where    telegram/default:5
State    uncertain
Why      broken
Text     re[1m
Next     clawgate messages resend m4

TIME                      AFTER  MESSAGE  STEP
2025-01-19T05:20:00.000Z  0 ms   m3       received
2025-01-19T05:20:00.040Z  40 ms  m4       to be sent
"
        );
    }

    #[test]
    fn odd_answers_are_shown_as_far_as_they_go() {
        for odd in [
            json!(null),
            json!({ "messages": [null, 1] }),
            json!({ "hops": [{}] }),
        ] {
            table(&odd);
            trace(&odd);
        }
    }
}

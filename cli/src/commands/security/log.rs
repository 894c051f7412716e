//! `security log`: the decisions that the gateway wrote down.

use clawgate_core::time::WallTime;
use clawgate_smol::store::{self, AuditEntry, AuditPage, Reader};
use serde_json::{Value, json};

use crate::args::LogArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::text::plain;

pub(super) fn show(args: &LogArgs, context: &Context) -> Result<Exit, Failure> {
    let path = context.locations()?.own.join(store::FILE_NAME);
    let failed = |message: String| {
        let next = "Start the gateway once, or check the folder's owner.";
        Failure::new(Exit::Failed, "audit_log_unreadable", message, next)
    };
    let page = Reader::open(&path)
        .map_err(|error| failed(error.to_string()))?
        .audit(args.before, usize::from(args.limit))
        .map_err(|error| failed(error.to_string()))?;
    match context.format {
        Format::Json => output::json(&to_json(&page))?,
        Format::Text => output::text(&to_text(&page))?,
    }
    Ok(Exit::Ok)
}

fn to_json(page: &AuditPage) -> Value {
    let entries: Vec<Value> = page
        .entries
        .iter()
        .map(|AuditEntry { seq, entry }| {
            let entry: Value = entry.parse().unwrap_or(Value::Null);
            json!({ "seq": seq, "entry": entry })
        })
        .collect();
    json!({ "entries": entries, "next": page.next })
}

fn to_text(page: &AuditPage) -> String {
    let mut text: String = page.entries.iter().map(line).collect();
    if page.entries.is_empty() {
        text.push_str("Nothing is written down yet.\n");
    }
    if let Some(next) = page.next {
        text.push_str(&format!("More: clawgate security log --before {next}\n"));
    }
    text
}

/// One entry as one line: when, the verdict, what, and whatever else is known.
fn line(AuditEntry { entry, .. }: &AuditEntry) -> String {
    let entry: Value = entry.parse().unwrap_or(Value::Null);
    let word = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("?");
    let at = entry.get("ts").and_then(Value::as_u64).unwrap_or_default();
    let mut line = format!(
        "{}  {:<7}  {}",
        WallTime(at).to_rfc3339(),
        word("verdict"),
        word("action")
    );
    for name in [
        "reason", "via", "from", "client", "user", "subject", "device",
    ] {
        if let Some(value) = entry.get(name).and_then(Value::as_str) {
            line.push_str(&format!("  {name}={value}"));
        }
    }
    if let Some(count) = entry.get("leftOut").and_then(Value::as_u64) {
        line.push_str(&format!("  ({count} entries before it were left out)"));
    }
    format!("{}\n", plain(&line))
}

#[cfg(test)]
mod tests {
    use clawgate_core::frame::RawJson;

    use super::*;

    #[test]
    fn an_entry_is_one_line_whatever_a_client_wrote_into_it() {
        let entry = RawJson::encode(&json!({
            "ts": 1_737_264_000_000_u64,
            "action": "connect",
            "verdict": "denied",
            "reason": "token_mismatch",
            "user": "eve\nfake line",
            "leftOut": 3,
        }))
        .unwrap();
        let text = line(&AuditEntry { seq: 1, entry });
        assert!(
            text.starts_with("2025-01-19T05:20:00.000Z  denied   connect  reason=token_mismatch")
        );
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.ends_with("(3 entries before it were left out)\n"));
    }
}

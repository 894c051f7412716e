//! `approvals …`: whether programs may run.

mod file;
mod watch;

use serde_json::{Value, json};

use super::devices::{Kind, ago, find, word};
use crate::approval_args::{ApprovalsCommand, ResolveArgs};
use crate::context::Context;
use crate::desk;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::TargetFlags;
use crate::text::{Table, plain};

/// Does what `clawgate approvals …` asks for.
pub(super) fn run(command: ApprovalsCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        ApprovalsCommand::List(target) => list(&TargetFlags::read(target)?, context),
        ApprovalsCommand::Watch(target) => watch::run(&TargetFlags::read(target)?, context),
        ApprovalsCommand::Resolve(args) => resolve(args, context),
        ApprovalsCommand::Get(args) => file::run(args, context),
    }
}

fn list(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let (pending, place) = desk::with(flags, context, |desk| Ok((pending(desk)?, desk.place())))?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "pending": pending }))?,
        Format::Text if pending.is_empty() => output::text("No approval waits for a decision.\n")?,
        Format::Text => {
            let mut table = Table::new(&["ID", "COMMAND", "FOLDER", "HOST", "AGENT", "ASKED"]);
            for approval in &pending {
                table.row([
                    word(approval, "id").to_owned(),
                    asked(approval, "command").to_owned(),
                    asked(approval, "cwd").to_owned(),
                    host(approval),
                    asked(approval, "agentId").to_owned(),
                    ago(approval, "createdAtMs"),
                ]);
            }
            output::text(&table.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

fn resolve(args: ResolveArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let decision = args.decision.as_str();
    let (approval, place) = desk::with(&flags, context, |desk| {
        let pending = pending(desk)?;
        let approval = find(Kind::Approval, &args.id, &pending)?.clone();
        let mut params = json!({ "id": word(&approval, "id"), "decision": decision });
        if let (Some(days), Value::Object(fields)) = (args.days, &mut params) {
            fields.insert("grantExpiresInDays".into(), days.into());
        }
        desk.call("exec.approval.resolve", &params)?;
        Ok((approval, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "via": place, "decision": decision, "approval": approval,
        }))?,
        Format::Text => output::text(&format!(
            "{decision}: {}\n",
            plain(asked(&approval, "command"))
        ))?,
    }
    Ok(Exit::Ok)
}

fn pending(desk: &mut desk::Desk<'_>) -> Result<Vec<Value>, Failure> {
    match desk.call("exec.approval.list", &json!({}))? {
        Value::Array(pending) => Ok(pending),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::String(_) => {
            Ok(Vec::new())
        }
    }
}

/// A text of what is asked, or nothing.
fn asked<'a>(approval: &'a Value, field: &str) -> &'a str {
    approval
        .get("request")
        .map_or("", |request| word(request, field))
}

/// Where it would run.
fn host(approval: &Value) -> String {
    match (asked(approval, "host"), asked(approval, "nodeId")) {
        (host, "") => host.to_owned(),
        (host, node) => format!("{host} {}", node.chars().take(12).collect::<String>()),
    }
}

//! `devices approve` and `devices reject`.

use std::io::{self, IsTerminal};

use serde_json::{Value, json};

use super::{Kind, ago, all, find, items, list::from, name, word, words};
use crate::context::Context;
use crate::desk::{self, Desk};
use crate::device_args::ApproveArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::TargetFlags;
use crate::text::{Sheet, plain};

pub(super) fn approve(args: ApproveArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let asks_back = args.latest && !args.yes;
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if asks_back && !(at_terminal && context.format == Format::Text) {
        return Err(Failure::new(
            Exit::Usage,
            "approval_unconfirmed",
            "--latest asks back on a terminal, and there is none.",
            "Name the request (`clawgate devices list` shows who asks), or add --yes.",
        ));
    }
    let approved = desk::with(&flags, context, |desk| {
        let request = choose(desk, args.request.as_deref())?;
        if context.format == Format::Text {
            output::text(&describe(&request))?;
        }
        if asks_back && !confirmed()? {
            return Ok(None);
        }
        let id = word(&request, "requestId");
        let answer = desk.call("device.pair.approve", &json!({ "requestId": id }))?;
        Ok(Some((request, answer, desk.place())))
    })?;
    let Some((request, answer, place)) = approved else {
        output::note("not approved");
        return Ok(Exit::Failed);
    };
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "via": place, "request": request, "device": answer.get("device"),
        }))?,
        Format::Text => output::text(&format!(
            "approved: device {} as {}\n",
            plain(word(&request, "deviceId")),
            plain(word(&request, "role"))
        ))?,
    }
    Ok(Exit::Ok)
}

pub(super) fn reject(given: &str, flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let (request, place) = desk::with(flags, context, |desk| {
        let request = choose(desk, Some(given))?;
        let id = word(&request, "requestId");
        desk.call("device.pair.reject", &json!({ "requestId": id }))?;
        Ok((request, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "request": request }))?,
        Format::Text => output::text(&format!(
            "rejected: device {} as {}\n",
            plain(word(&request, "deviceId")),
            plain(word(&request, "role"))
        ))?,
    }
    Ok(Exit::Ok)
}

/// The named request, or the newest one.
fn choose(desk: &mut Desk<'_>, given: Option<&str>) -> Result<Value, Failure> {
    let pending = items(&all(desk)?, "pending");
    if let Some(given) = given {
        return find(Kind::Request, given, &pending).cloned();
    }
    let newest = pending
        .iter()
        .max_by_key(|request| request.get("ts").and_then(Value::as_u64));
    newest.cloned().ok_or_else(|| {
        Failure::new(
            Exit::Refused,
            "not_found",
            "No device asks to be let in.",
            "Requests end after 5 minutes: connect from the device again.",
        )
    })
}

/// Who asks, and for what.
fn describe(request: &Value) -> String {
    let mut sheet = Sheet::default();
    sheet.line("Request", word(request, "requestId"));
    sheet.line("Device", word(request, "deviceId"));
    if !name(request).is_empty() {
        sheet.line("Name", name(request));
    }
    let program: Vec<&str> = ["clientId", "clientMode", "platform"]
        .into_iter()
        .map(|field| word(request, field))
        .filter(|text| !text.is_empty())
        .collect();
    sheet.line("Program", program.join(", "));
    sheet.line("From", from(request));
    sheet.line("Role", word(request, "role"));
    let scopes = words(request, "scopes");
    sheet.line("Scopes", if scopes.is_empty() { "none" } else { &scopes });
    if request.get("isRepair").and_then(Value::as_bool) == Some(true) {
        sheet.line("Known", "yes: it asks for more than it has, or has changed");
    }
    sheet.line("Asked", ago(request, "ts"));
    sheet.to_text()
}

fn confirmed() -> Result<bool, Failure> {
    output::text("Approve it? [y/N] ")?;
    let mut answer = String::new();
    // No answer is no.
    let _ = io::stdin().read_line(&mut answer);
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

//! `nodes list`, `status`, `describe` and `pending`.

use serde_json::{Value, json};

use super::{all, find, waiting};
use crate::commands::devices::{ago, items, short, word, words};
use crate::context::Context;
use crate::desk;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::TargetFlags;
use crate::text::{Sheet, Table};

pub(super) fn list(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let (nodes, place) = desk::with_methods(&["node.list"], flags, context, |desk| {
        Ok((all(desk)?, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "nodes": nodes }))?,
        Format::Text => output::text(&known(&nodes))?,
    }
    Ok(Exit::Ok)
}

pub(super) fn status(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let methods = ["node.list", "node.pair.list"];
    let (nodes, pending, place) = desk::with_methods(&methods, flags, context, |desk| {
        Ok((all(desk)?, waiting(desk)?, desk.place()))
    })?;
    let connected = nodes.iter().filter(|node| is(node, "connected")).count();
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "via": place, "nodes": nodes, "pending": pending,
            "counts": {
                "known": nodes.len(), "connected": connected, "pending": pending.len(),
            },
        }))?,
        Format::Text => {
            let mut text = format!(
                "{} known, {connected} connected, {} waiting for an approval\n",
                nodes.len(),
                pending.len()
            );
            let mut table = Table::new(&["NODE", "NAME", "LOAD", "MEMORY FREE", "DISK FREE"]);
            let mut told = false;
            for node in nodes.iter().filter(|node| is(node, "connected")) {
                let Some(stats) = node.get("hostStats").filter(|stats| stats.is_object()) else {
                    continue;
                };
                told = true;
                table.row([
                    short(word(node, "nodeId")),
                    word(node, "displayName").to_owned(),
                    load(stats),
                    free(stats, "memoryFreeBytes", "memoryTotalBytes"),
                    free(stats, "diskAvailableBytes", "diskTotalBytes"),
                ]);
            }
            if told {
                text.push_str(&table.to_text());
            }
            output::text(&text)?;
        }
    }
    Ok(Exit::Ok)
}

pub(super) fn describe(
    given: &str,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Exit, Failure> {
    let methods = ["node.list", "node.describe"];
    let (node, place) = desk::with_methods(&methods, flags, context, |desk| {
        let nodes = all(desk)?;
        let id = word(find(given, &nodes)?, "nodeId").to_owned();
        let node = desk.call("node.describe", &json!({ "nodeId": id }))?;
        Ok((node, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "node": node }))?,
        Format::Text => output::text(&description(&node))?,
    }
    Ok(Exit::Ok)
}

pub(super) fn pending(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let (pending, place) = desk::with_methods(&["node.pair.list"], flags, context, |desk| {
        Ok((waiting(desk)?, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "pending": pending }))?,
        Format::Text => {
            if pending.is_empty() {
                output::text("No node waits for an approval.\n")?;
                return Ok(Exit::Ok);
            }
            let mut table =
                Table::new(&["REQUEST", "NODE", "NAME", "PLATFORM", "COMMANDS", "ASKED"]);
            for request in &pending {
                table.row([
                    word(request, "requestId").to_owned(),
                    short(word(request, "nodeId")),
                    word(request, "displayName").to_owned(),
                    word(request, "platform").to_owned(),
                    words(request, "commands"),
                    ago(request, "ts"),
                ]);
            }
            output::text(&table.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

fn known(nodes: &[Value]) -> String {
    if nodes.is_empty() {
        return "No node is known.\n".to_owned();
    }
    let mut table = Table::new(&[
        "NODE", "NAME", "PLATFORM", "COMMANDS", "APPROVAL", "ONLINE", "SEEN",
    ]);
    for node in nodes {
        let online = if is(node, "connected") { "yes" } else { "no" };
        table.row([
            short(word(node, "nodeId")),
            word(node, "displayName").to_owned(),
            word(node, "platform").to_owned(),
            items(node, "commands").len().to_string(),
            word(node, "approvalState").to_owned(),
            online.to_owned(),
            seen(node),
        ]);
    }
    table.to_text()
}

/// What a person wants to know of one node.
fn description(node: &Value) -> String {
    let mut sheet = Sheet::default();
    sheet.line("Node", word(node, "nodeId"));
    for (name, field) in [
        ("Name", "displayName"),
        ("Platform", "platform"),
        ("Family", "deviceFamily"),
        ("Version", "version"),
        ("Address", "remoteIp"),
        ("Approval", "approvalState"),
        ("Request", "pendingRequestId"),
    ] {
        if !word(node, field).is_empty() {
            sheet.line(name, word(node, field));
        }
    }
    sheet.line("Online", if is(node, "connected") { "yes" } else { "no" });
    if !seen(node).is_empty() {
        sheet.line("Seen", seen(node));
    }
    let listed = |field: &str| {
        let text = words(node, field).replace(',', ", ");
        if text.is_empty() {
            "none".to_owned()
        } else {
            text
        }
    };
    sheet.line("Abilities", listed("caps"));
    sheet.line("Commands", listed("commands"));
    if let Some(stats) = node.get("hostStats").filter(|stats| stats.is_object()) {
        sheet.line("Load", load(stats));
        sheet.line("Memory", free(stats, "memoryFreeBytes", "memoryTotalBytes"));
        sheet.line("Disk", free(stats, "diskAvailableBytes", "diskTotalBytes"));
    }
    sheet.to_text()
}

fn is(node: &Value, field: &str) -> bool {
    node.get(field).and_then(Value::as_bool) == Some(true)
}

/// When the node was there last.
fn seen(node: &Value) -> String {
    let fields = ["lastSeenAtMs", "connectedAtMs", "lastConnectedAtMs"];
    let known = fields
        .into_iter()
        .find(|field| node.get(field).is_some_and(Value::is_u64));
    known.map_or_else(String::new, |field| ago(node, field))
}

fn load(stats: &Value) -> String {
    let load = items(stats, "loadAverage");
    let texts: Vec<String> = load
        .iter()
        .filter_map(Value::as_f64)
        .map(|one| format!("{one:.2}"))
        .collect();
    texts.join(" ")
}

/// `12 GiB of 24 GiB`.
fn free(stats: &Value, free: &str, total: &str) -> String {
    let bytes = |field: &str| stats.get(field).and_then(Value::as_u64);
    match (bytes(free), bytes(total)) {
        (Some(free), Some(total)) => format!("{} of {}", gibibytes(free), gibibytes(total)),
        _ => String::new(),
    }
}

fn gibibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

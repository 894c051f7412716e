//! `approvals get`.

use serde_json::{Value, json};

use crate::approval_args::GetArgs;
use crate::commands::devices::{items, word};
use crate::commands::nodes;
use crate::context::Context;
use crate::desk::{self, Desk};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::TargetFlags;
use crate::text::{Sheet, plain};

pub(super) fn run(args: GetArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let file = desk::with(&flags, context, |desk| match &args.node {
        None => desk.call("exec.approvals.get", &json!({})),
        Some(node) => {
            let node = node_id(desk, node)?;
            desk.call("exec.approvals.node.get", &json!({ "nodeId": node }))
        }
    })?;
    match context.format {
        Format::Json => output::json(&file)?,
        Format::Text => output::text(&describe(&file))?,
    }
    Ok(Exit::Ok)
}

/// The id of the node that has this name, or whose id begins so.
fn node_id(desk: &mut Desk<'_>, given: &str) -> Result<String, Failure> {
    let all = items(&desk.call("node.list", &json!({}))?, "nodes");
    let node = nodes::find(given, &all)?;
    Ok(word(node, "nodeId").to_owned())
}

fn describe(file: &Value) -> String {
    let mut sheet = Sheet::default();
    sheet.line("file", plain(word(file, "path")));
    let exists = file.get("exists").and_then(Value::as_bool);
    sheet.line("exists", if exists == Some(true) { "yes" } else { "no" });
    let of = |value: Option<&Value>| {
        let policy = |name: &str| value.map_or("", |value| word(value, name)).to_owned();
        let parts = [policy("security"), policy("ask"), policy("askFallback")];
        parts
            .map(|part| {
                if part.is_empty() {
                    "-".into()
                } else {
                    plain(&part)
                }
            })
            .join(", ")
    };
    let defaults = file.get("resolvedDefaults");
    let written = file.pointer("/file/defaults");
    sheet.line("security, ask, fallback", of(defaults.or(written)));
    let agents = file.pointer("/file/agents").and_then(Value::as_object);
    for (name, agent) in agents.into_iter().flatten() {
        sheet.line(format!("agent {}", plain(name)), of(Some(agent)));
        for entry in items(agent, "allowlist") {
            sheet.line("  may run", plain(word(&entry, "pattern")));
        }
    }
    sheet.to_text()
}

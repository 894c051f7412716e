//! `nodes approve`, `reject`, `rename` and `remove`.

use serde_json::json;

use super::{all, find, find_request, waiting};
use crate::commands::devices::{word, words};
use crate::context::Context;
use crate::desk;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::TargetFlags;
use crate::text::plain;

/// What an approval may need: the gateway asks for more where the commands are dangerous.
const APPROVE: [&str; 2] = ["node.pair.list", "node.pair.approve"];

pub(super) fn approve(
    given: &str,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Exit, Failure> {
    let (request, answer, place) = desk::with_methods(&APPROVE, flags, context, |desk| {
        let request = find_request(given, &waiting(desk)?)?.clone();
        let id = word(&request, "requestId");
        let answer = desk.call("node.pair.approve", &json!({ "requestId": id }))?;
        Ok((request, answer, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "via": place, "request": request, "node": answer.get("node"),
        }))?,
        Format::Text => output::text(&format!(
            "approved: node {} with {}\n",
            plain(word(&request, "nodeId")),
            match words(&request, "commands").as_str() {
                "" => "no commands".to_owned(),
                commands => plain(&commands.replace(',', ", ")),
            }
        ))?,
    }
    Ok(Exit::Ok)
}

pub(super) fn reject(given: &str, flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let (request, place) = desk::with(flags, context, |desk| {
        let request = find_request(given, &waiting(desk)?)?.clone();
        let id = word(&request, "requestId");
        desk.call("node.pair.reject", &json!({ "requestId": id }))?;
        Ok((request, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "request": request }))?,
        Format::Text => output::text(&format!(
            "rejected: node {}\n",
            plain(word(&request, "nodeId"))
        ))?,
    }
    Ok(Exit::Ok)
}

pub(super) fn rename(
    given: &str,
    name: &str,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Exit, Failure> {
    let name = name.trim();
    let methods = ["node.list", "node.rename"];
    let (id, place) = desk::with_methods(&methods, flags, context, |desk| {
        let id = word(find(given, &all(desk)?)?, "nodeId").to_owned();
        let params = json!({ "nodeId": id, "displayName": name });
        desk.call("node.rename", &params)?;
        Ok((id, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true, "via": place, "nodeId": id, "displayName": name,
        }))?,
        Format::Text => output::text(&format!(
            "renamed: node {} is {}\n",
            plain(&id),
            plain(name)
        ))?,
    }
    Ok(Exit::Ok)
}

pub(super) fn remove(given: &str, flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let methods = ["node.list", "node.pair.remove"];
    let (id, place) = desk::with_methods(&methods, flags, context, |desk| {
        let id = word(find(given, &all(desk)?)?, "nodeId").to_owned();
        desk.call("node.pair.remove", &json!({ "nodeId": id }))?;
        Ok((id, desk.place()))
    })?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "via": place, "nodeId": id }))?,
        Format::Text => output::text(&format!("removed: node {}\n", plain(&id)))?,
    }
    Ok(Exit::Ok)
}

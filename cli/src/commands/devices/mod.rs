//! `devices …`: one module for each group of commands.

mod invites;
pub(super) mod join;
mod list;
mod own;
mod paired;
mod requests;
mod upgrade;

use serde_json::{Value, json};

use crate::context::Context;
use crate::desk::Desk;
use crate::device_args::DevicesCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::target::TargetFlags;
use crate::text;

/// Does what `clawgate devices …` asks for.
pub(super) fn run(command: DevicesCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        DevicesCommand::List(target) => list::run(&TargetFlags::read(target)?, context),
        DevicesCommand::Approve(args) => requests::approve(args, context),
        DevicesCommand::Reject { request, target } => {
            requests::reject(&request, &TargetFlags::read(target)?, context)
        }
        DevicesCommand::Remove { device, target } => {
            paired::remove(&device, &TargetFlags::read(target)?, context)
        }
        DevicesCommand::Rename {
            device,
            label,
            target,
        } => paired::rename(&device, &label, &TargetFlags::read(target)?, context),
        DevicesCommand::Rotate {
            token,
            scopes,
            target,
        } => paired::rotate(
            &token,
            scopes.as_deref(),
            &TargetFlags::read(target)?,
            context,
        ),
        DevicesCommand::Revoke { token, target } => {
            paired::revoke(&token, &TargetFlags::read(target)?, context)
        }
        DevicesCommand::Invite(args) => invites::make(args, context),
        DevicesCommand::Invites(target) => invites::list(&TargetFlags::read(target)?, context),
        DevicesCommand::Uninvite { id, target } => {
            invites::take_back(&id, &TargetFlags::read(target)?, context)
        }
        DevicesCommand::Join(args) => join::run(&args, context),
        DevicesCommand::Upgrade(args) => upgrade::run(args, context),
        DevicesCommand::Own { create } => own::run(create, context),
    }
}

/// Everything that the gateway knows of devices.
fn all(desk: &mut Desk<'_>) -> Result<Value, Failure> {
    desk.call("device.pair.list", &json!({}))
}

/// What can be named by its id.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) enum Kind {
    Approval,
    Request,
    Device,
    Invite,
}

impl Kind {
    /// Where its id stands.
    const fn field(self) -> &'static str {
        match self {
            Self::Approval => "id",
            Self::Request => "requestId",
            Self::Device => "deviceId",
            Self::Invite => "inviteId",
        }
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Approval => (
                "pending approval",
                "`clawgate approvals list` shows those that wait.",
            ),
            Self::Request => ("pairing request", "`clawgate devices list` shows who asks."),
            Self::Device => (
                "paired device",
                "`clawgate devices list` shows all devices.",
            ),
            Self::Invite => (
                "join token",
                "`clawgate devices invites` shows all join tokens.",
            ),
        }
    }
}

/// Finds what an id, or a beginning that no other one has, stands for.
pub(in crate::commands) fn find<'a>(
    kind: Kind,
    given: &str,
    all: &'a [Value],
) -> Result<&'a Value, Failure> {
    let given = given.trim();
    let id = |item: &'a Value| item.get(kind.field()).and_then(Value::as_str);
    if let Some(exact) = all.iter().find(|item| id(item) == Some(given)) {
        return Ok(exact);
    }
    let begins = |item: &&Value| {
        item.get(kind.field())
            .and_then(Value::as_str)
            .is_some_and(|id| !given.is_empty() && id.starts_with(given))
    };
    let found: Vec<&Value> = all.iter().filter(begins).collect();
    let (name, next) = kind.words();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::new(
            Exit::Refused,
            "not_found",
            format!("There is no {name} {given}."),
            next,
        )),
        several => {
            let ids: Vec<&str> = several.iter().filter_map(|item| id(item)).collect();
            Err(Failure::new(
                Exit::Usage,
                "ambiguous_id",
                format!(
                    "{given} is the beginning of more than one {name}: {}.",
                    ids.join(", ")
                ),
                "Type more of the id.",
            )
            .fact("ids", json!(ids)))
        }
    }
}

/// The items of a list in an answer.
pub(in crate::commands) fn items(answer: &Value, field: &str) -> Vec<Value> {
    answer
        .get(field)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// A text in an answer, or nothing.
pub(in crate::commands) fn word<'a>(item: &'a Value, field: &str) -> &'a str {
    item.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A list of texts in an answer, in one line.
pub(super) fn words(item: &Value, field: &str) -> String {
    item.get(field)
        .and_then(Value::as_array)
        .map(|items| {
            let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            texts.join(",")
        })
        .unwrap_or_default()
}

/// The name that people know a device by.
fn name(item: &Value) -> &str {
    [word(item, "operatorLabel"), word(item, "displayName")]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default()
}

/// The beginning of a long id.
pub(super) fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// How long ago something was, as far as the clocks agree.
pub(in crate::commands) fn ago(item: &Value, field: &str) -> String {
    let now = crate::device::wall_time().0;
    match item.get(field).and_then(Value::as_u64) {
        None => String::new(),
        Some(then) => {
            let since = std::time::Duration::from_millis(now.saturating_sub(then));
            format!(
                "{} ago",
                text::duration(since.max(std::time::Duration::from_secs(1)))
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Vec<Value> {
        ["abc1", "abc2", "ab"]
            .iter()
            .map(|id| json!({ "requestId": id }))
            .collect()
    }

    #[test]
    fn a_beginning_stands_for_an_id_that_no_other_one_begins_with() {
        let all = requests();
        let found =
            |given| find(Kind::Request, given, &all).map(|item| word(item, "requestId").to_owned());
        assert_eq!(found("abc1").unwrap(), "abc1");
        assert_eq!(found(" abc2 ").unwrap(), "abc2");
        // A whole id counts even where others begin with it.
        assert_eq!(found("ab").unwrap(), "ab");
        assert_eq!(found("abc").unwrap_err().code, "ambiguous_id");
        assert_eq!(found("x").unwrap_err().code, "not_found");
        assert_eq!(found("").unwrap_err().code, "not_found");
        assert!(find(Kind::Device, "abc1", &all).is_err());
    }
}

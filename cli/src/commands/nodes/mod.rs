//! `nodes …`: one module for each group of commands.

mod invoke;
mod list;
mod manage;

use serde_json::{Value, json};

use super::devices::{items, word};
use crate::context::Context;
use crate::desk::Desk;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::node_args::NodesCommand;
use crate::target::TargetFlags;

/// Does what `clawgate nodes …` asks for.
pub(super) fn run(command: NodesCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        NodesCommand::List(target) => list::list(&TargetFlags::read(target)?, context),
        NodesCommand::Status(target) => list::status(&TargetFlags::read(target)?, context),
        NodesCommand::Describe { node, target } => {
            list::describe(&node, &TargetFlags::read(target)?, context)
        }
        NodesCommand::Pending(target) => list::pending(&TargetFlags::read(target)?, context),
        NodesCommand::Approve { request, target } => {
            manage::approve(&request, &TargetFlags::read(target)?, context)
        }
        NodesCommand::Reject { request, target } => {
            manage::reject(&request, &TargetFlags::read(target)?, context)
        }
        NodesCommand::Rename { node, name, target } => {
            manage::rename(&node, &name, &TargetFlags::read(target)?, context)
        }
        NodesCommand::Invoke(args) => invoke::run(args, context),
        NodesCommand::Remove { node, target } => {
            manage::remove(&node, &TargetFlags::read(target)?, context)
        }
    }
}

/// Every node that the gateway knows.
fn all(desk: &mut Desk<'_>) -> Result<Vec<Value>, Failure> {
    let answer = desk.call("node.list", &json!({}))?;
    Ok(items(&answer, "nodes"))
}

/// Nodes that wait for an approval of their commands.
fn waiting(desk: &mut Desk<'_>) -> Result<Vec<Value>, Failure> {
    let answer = desk.call("node.pair.list", &json!({}))?;
    Ok(items(&answer, "pending"))
}

/// The node that is meant: by its id, by its name, or by a beginning of its id.
pub(super) fn find<'a>(given: &str, nodes: &'a [Value]) -> Result<&'a Value, Failure> {
    let given = given.trim();
    let id = |node: &&Value| word(node, "nodeId") == given;
    if let Some(exact) = nodes.iter().find(id) {
        return Ok(exact);
    }
    let named = |node: &&Value| word(node, "displayName").eq_ignore_ascii_case(given);
    let begins = |node: &&Value| word(node, "nodeId").starts_with(given);
    let mut found: Vec<&Value> = Vec::new();
    if !given.is_empty() {
        found = nodes.iter().filter(named).collect();
        if found.is_empty() {
            found = nodes.iter().filter(begins).collect();
        }
    }
    one(
        &found,
        "node",
        given,
        "nodeId",
        "`clawgate nodes list` shows all nodes.",
    )
}

/// The request that is meant: by its id, by a beginning of it, or by the id of its node.
fn find_request<'a>(given: &str, requests: &'a [Value]) -> Result<&'a Value, Failure> {
    let given = given.trim();
    let exact =
        |request: &&Value| word(request, "requestId") == given || word(request, "nodeId") == given;
    if let Some(exact) = requests.iter().find(exact) {
        return Ok(exact);
    }
    let begins =
        |request: &&Value| !given.is_empty() && word(request, "requestId").starts_with(given);
    let found: Vec<&Value> = requests.iter().filter(begins).collect();
    let next = "`clawgate nodes pending` shows who waits.";
    one(&found, "request of a node", given, "requestId", next)
}

fn one<'a>(
    found: &[&'a Value],
    what: &str,
    given: &str,
    field: &str,
    next: &str,
) -> Result<&'a Value, Failure> {
    match found {
        [one] => Ok(one),
        [] => Err(Failure::new(
            Exit::Refused,
            "not_found",
            format!("There is no {what} {given}."),
            next,
        )),
        several => {
            let ids: Vec<&str> = several.iter().map(|item| word(item, field)).collect();
            Err(Failure::new(
                Exit::Usage,
                "ambiguous_id",
                format!(
                    "{given} stands for more than one {what}: {}.",
                    ids.join(", ")
                ),
                "Type the id, or more of it.",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_id_name_or_beginning() {
        let nodes = [
            json!({ "nodeId": "abc1", "displayName": "Office" }),
            json!({ "nodeId": "abc2", "displayName": "abc1" }),
            json!({ "nodeId": "d", "displayName": "twin" }),
            json!({ "nodeId": "e", "displayName": "Twin" }),
        ];
        let found = |given| find(given, &nodes).map(|node| word(node, "nodeId").to_owned());
        assert_eq!(found("abc1").unwrap(), "abc1", "the id comes first");
        assert_eq!(found("office").unwrap(), "abc1");
        assert_eq!(found("abc2").unwrap(), "abc2");
        for (given, code) in [
            ("abc", "ambiguous_id"),
            ("TWIN", "ambiguous_id"),
            ("x", "not_found"),
            ("", "not_found"),
        ] {
            assert_eq!(found(given).unwrap_err().code, code, "{given}");
        }
    }

    #[test]
    fn a_request_is_found_by_its_id_or_its_node() {
        let requests = [
            json!({ "requestId": "r-1", "nodeId": "n-1" }),
            json!({ "requestId": "r-2", "nodeId": "n-2" }),
        ];
        let found = |given| {
            find_request(given, &requests).map(|request| word(request, "requestId").to_owned())
        };
        assert_eq!(found("r-1").unwrap(), "r-1");
        assert_eq!(found("n-2").unwrap(), "r-2");
        assert_eq!(found("r-").unwrap_err().code, "ambiguous_id");
        assert_eq!(found("n-").unwrap_err().code, "not_found");
    }
}

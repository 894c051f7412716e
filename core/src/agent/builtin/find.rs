//! Which node and command a person means.

use std::collections::BTreeSet;

use super::reply;
use crate::agent::AgentTool;

/// Finds the command, or says in words why it is not there. A node is meant by its id or by its
/// name, whatever the case.
pub(super) fn find<'a>(
    tools: &'a [AgentTool],
    node: &str,
    command: &str,
) -> Result<&'a AgentTool, String> {
    let named = |tool: &&AgentTool| tool.node_name.to_lowercase() == node.to_lowercase();
    let ids: BTreeSet<&str> = if tools.iter().any(|tool| tool.node_id == node) {
        [node].into()
    } else {
        tools
            .iter()
            .filter(named)
            .map(|tool| tool.node_id.as_str())
            .collect()
    };
    let mut found = ids.iter();
    let id = match (found.next(), found.next()) {
        (Some(id), None) => *id,
        (None, _) => return Err(reply::no_such_node(node, tools)),
        (Some(_), Some(_)) => {
            let ids: Vec<&str> = ids.into_iter().collect();
            return Err(reply::ambiguous_node(node, &ids));
        }
    };
    let commands: Vec<&AgentTool> = tools.iter().filter(|tool| tool.node_id == id).collect();
    commands
        .iter()
        .copied()
        .find(|tool| tool.command == command)
        .ok_or_else(|| {
            let name = commands.first().map_or(id, |tool| tool.node_name.as_str());
            reply::no_such_command(name, command, &commands)
        })
}

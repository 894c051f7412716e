//! Commands of nodes as the functions of a model.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::agent::AgentTool;

/// Characters of a function's name.
pub const MAX_FUNCTION_NAME: usize = 64;
/// Functions that a model is offered; endpoints refuse more.
pub const MAX_FUNCTIONS: usize = 128;
/// Characters of a description.
const MAX_DESCRIPTION: usize = 1_000;

/// The functions of a run, and which command each of them is.
///
/// A name is made of the node's name and the command, of letters, digits, `_` and `-` alone. What
/// would be too long, or equal another, ends with a part of a hash instead.
#[derive(Clone, Debug, Default)]
pub struct ToolBook {
    by_name: BTreeMap<String, AgentTool>,
}

impl ToolBook {
    /// Names the first [`MAX_FUNCTIONS`] commands.
    pub fn new(mut tools: Vec<AgentTool>) -> Self {
        // So that the names do not depend on the order in which nodes came.
        tools.sort_by(|a, b| (&a.node_id, &a.command).cmp(&(&b.node_id, &b.command)));
        tools.dedup_by(|a, b| (&a.node_id, &a.command) == (&b.node_id, &b.command));
        tools.truncate(MAX_FUNCTIONS);
        let mut by_name = BTreeMap::new();
        for tool in tools {
            let plain = format!("{}__{}", safe(&tool.node_name), safe(&tool.command));
            let name = if plain.len() <= MAX_FUNCTION_NAME && !by_name.contains_key(&plain) {
                plain
            } else {
                hashed(&plain, &tool)
            };
            by_name.insert(name, tool);
        }
        Self { by_name }
    }

    /// The command of a function.
    pub fn find(&self, name: &str) -> Option<&AgentTool> {
        self.by_name.get(name)
    }

    /// Names and commands.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AgentTool)> {
        self.by_name
            .iter()
            .map(|(name, tool)| (name.as_str(), tool))
    }

    /// The `tools` of a request.
    pub(super) fn functions(&self) -> Vec<Value> {
        self.iter()
            .map(|(name, tool)| {
                json!({
                    "type": "function",
                    "function": {
                        "name": name,
                        "description": description(tool),
                        "parameters": parameters(tool),
                    },
                })
            })
            .collect()
    }
}

fn safe(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn hashed(plain: &str, tool: &AgentTool) -> String {
    let mut hash = Sha256::new();
    hash.update(tool.node_id.as_bytes());
    hash.update([0]);
    hash.update(tool.command.as_bytes());
    let digits: String = hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let room = MAX_FUNCTION_NAME - digits.len() - 1;
    // Only ASCII is in it.
    format!(
        "{}_{digits}",
        plain.get(..room.min(plain.len())).unwrap_or_default()
    )
}

fn description(tool: &AgentTool) -> String {
    let platform = match &tool.platform {
        Some(platform) => format!(" ({platform})"),
        None => String::new(),
    };
    let mut text = format!("{} on the node {}{platform}", tool.command, tool.node_name);
    if let Some(description) = &tool.description {
        text.push_str(": ");
        text.push_str(description);
    }
    text.chars().take(MAX_DESCRIPTION).collect()
}

fn parameters(tool: &AgentTool) -> Value {
    tool.parameters
        .as_ref()
        .and_then(|schema| schema.parse::<Value>().ok())
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({ "type": "object", "additionalProperties": true }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::tool;
    use crate::frame::RawJson;
    use proptest::prelude::*;

    #[test]
    fn names_say_node_and_command_and_lead_back() {
        let mut with_schema = tool("n2", "server", "system.run");
        with_schema.parameters = Some(RawJson::checked(r#"{"type":"object"}"#).unwrap());
        with_schema.description = Some("Runs it.".into());
        let book = ToolBook::new(vec![tool("n1", "Büro PC", "device.status"), with_schema]);
        let names: Vec<&str> = book.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["B_ro_PC__device_status", "server__system_run"]);
        assert_eq!(book.find("server__system_run").unwrap().node_id, "n2");
        assert!(book.find("nobody__x").is_none());
        let functions = book.functions();
        assert_eq!(
            functions[1]["function"]["description"],
            "system.run on the node server (linux): Runs it."
        );
        assert_eq!(
            functions[1]["function"]["parameters"],
            json!({ "type": "object" })
        );
    }

    proptest! {
        #[test]
        fn every_command_has_one_valid_name(
            tools in prop::collection::vec(("[ab]{1,2}", ".{0,70}", "[a-c._]{1,40}"), 0..30),
        ) {
            let tools: Vec<AgentTool> = tools.iter().map(|(id, name, command)| tool(id, name, command)).collect();
            let book = ToolBook::new(tools.clone());
            for one in &tools {
                let named: Vec<&str> = book
                    .iter()
                    .filter(|(_, found)| found.node_id == one.node_id && found.command == one.command)
                    .map(|(name, _)| name)
                    .collect();
                prop_assert_eq!(named.len(), 1);
                prop_assert!(named[0].len() <= MAX_FUNCTION_NAME);
                prop_assert!(named[0].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
            }
        }
    }
}

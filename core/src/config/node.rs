//! `node`: this machine as a node.

use std::collections::BTreeMap;

use serde_json::Value;

use super::read::Node;
use crate::node::ExecPolicy;

/// `node`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeConfig {
    /// `commands`: local programs as commands, by name.
    pub commands: BTreeMap<String, NodeCommandConfig>,
    /// `exec.policy`.
    pub exec: Option<ExecPolicy>,
}

/// `node.commands.NAME`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeCommandConfig {
    /// `program`.
    pub program: Option<String>,
    /// `args`.
    pub args: Vec<String>,
    /// `description`.
    pub description: Option<String>,
    /// `parameters`, as written.
    pub parameters: Option<Value>,
    /// `timeoutMs`.
    pub timeout_ms: Option<u64>,
}

impl NodeConfig {
    pub(super) fn read(node: Node<'_>) -> Self {
        let commands = node.at("commands");
        let command = |name: String| {
            let command = commands.at(&name);
            let config = NodeCommandConfig {
                program: command.at("program").non_blank(),
                args: command.at("args").texts(),
                description: command.at("description").non_blank(),
                parameters: command.at("parameters").0.cloned(),
                timeout_ms: command.at("timeoutMs").positive(),
            };
            (name, config)
        };
        Self {
            commands: commands.keys().map(command).collect(),
            exec: node
                .at("exec")
                .at("policy")
                .str()
                .and_then(ExecPolicy::parse),
        }
    }
}

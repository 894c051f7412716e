//! What the built-in agent says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::command::INVOKE_USAGE;
use super::rule::Rule;
use super::template::cut;
use crate::agent::{AgentTool, RunRequest, ToolError};

/// Characters of a message that are repeated.
const MAX_QUOTED: usize = 200;
/// Rules and commands that a list names.
const MAX_LISTED: usize = 50;

pub(super) fn help(rules: &[Rule]) -> String {
    let mut text = format!(
        "I am the built-in agent: I follow fixed commands and rules, without a model.\n\
         /status - what is going on here\n\
         /nodes - the connected nodes and their commands\n\
         {INVOKE_USAGE} - let a node do something\n\
         /echo TEXT - say it back\n\
         /help - this list"
    );
    if !rules.is_empty() {
        text.push_str("\nBesides, I understand:");
        for rule in rules.iter().take(MAX_LISTED) {
            let _ = write!(text, "\n- {}", rule.shown);
        }
        if rules.len() > MAX_LISTED {
            let _ = write!(text, "\n- and {} more", rules.len() - MAX_LISTED);
        }
    }
    text
}

pub(super) fn status(request: &RunRequest, rules: &[Rule]) -> String {
    let nodes = by_node(&request.tools).len();
    format!(
        "Agent {} (built-in) in session {}.\n{}, {}, {}.",
        request.agent_id,
        request.session_key,
        count(nodes, "connected node", "connected nodes"),
        count(request.tools.len(), "command", "commands"),
        count(rules.len(), "rule", "rules"),
    )
}

pub(super) fn nodes(tools: &[AgentTool]) -> String {
    let nodes = by_node(tools);
    if nodes.is_empty() {
        return "No node with approved commands is connected. Start one with `clawgate node run`, \
                and approve it with `clawgate nodes approve`."
            .to_owned();
    }
    let mut text = String::new();
    for (id, commands) in nodes {
        let Some(first) = commands.first() else {
            continue;
        };
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(text, "{} ({id}", first.node_name);
        if let Some(platform) = &first.platform {
            let _ = write!(text, ", {platform}");
        }
        let _ = write!(text, "): {}", listed(&commands));
    }
    cut(text)
}

fn listed(commands: &[&AgentTool]) -> String {
    let mut names: Vec<&str> = commands
        .iter()
        .take(MAX_LISTED)
        .map(|tool| tool.command.as_str())
        .collect();
    if commands.len() > MAX_LISTED {
        names.push("…");
    }
    names.join(", ")
}

fn by_node(tools: &[AgentTool]) -> BTreeMap<&str, Vec<&AgentTool>> {
    let mut nodes: BTreeMap<&str, Vec<&AgentTool>> = BTreeMap::new();
    for tool in tools {
        nodes.entry(&tool.node_id).or_default().push(tool);
    }
    nodes
}

pub(super) fn not_understood(message: &str, attachments: usize) -> String {
    let quoted = quote(message);
    let files = match attachments {
        0 => String::new(),
        n => format!(" (and {})", count(n, "file", "files")),
    };
    format!(
        "I read {quoted}{files}, and none of my rules fits it. I can do /status, /nodes, /invoke, \
         /echo and what the rules of this agent say; /help lists them all."
    )
}

pub(super) fn unknown_command(name: &str) -> String {
    format!("I know no command /{name}. /help lists what I know.")
}

fn quote(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(MAX_QUOTED) {
        Some((at, _)) => format!("\"{}…\"", text.get(..at).unwrap_or_default()),
        None => format!("\"{text}\""),
    }
}

/// The result of one call as text.
pub(super) fn result(value: &Value) -> String {
    cut(match value {
        Value::String(text) => text.clone(),
        Value::Null => "Done.".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Object(_) | Value::Array(_) => {
            serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
        }
    })
}

pub(super) fn failed(node: &str, command: &str, error: &ToolError) -> String {
    cut(format!(
        "{node} did not do {command}: {} ({})",
        error.message.trim_end_matches('.'),
        error.code
    ))
}

/// Why a command cannot be asked for, with what can.
pub(super) fn no_such_node(node: &str, tools: &[AgentTool]) -> String {
    let nodes = by_node(tools);
    if nodes.is_empty() {
        return format!("There is no node {node:?}. {}", self::nodes(tools));
    }
    let names: Vec<&str> = nodes
        .values()
        .filter_map(|commands| commands.first())
        .map(|tool| tool.node_name.as_str())
        .collect();
    cut(format!(
        "There is no connected node {node:?}. Connected: {}.",
        names.join(", ")
    ))
}

pub(super) fn ambiguous_node(node: &str, ids: &[&str]) -> String {
    cut(format!(
        "Several connected nodes are called {node:?}. Write the id of one: {}.",
        ids.join(", ")
    ))
}

pub(super) fn no_such_command(node: &str, command: &str, commands: &[&AgentTool]) -> String {
    cut(format!(
        "{node} offers no command {command:?}. It offers {}.",
        listed(commands)
    ))
}

pub(super) fn not_a_number(name: &str) -> String {
    format!("{name} has to be a number.")
}

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

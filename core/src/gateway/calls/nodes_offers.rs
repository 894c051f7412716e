//! What a connected node offers beside its commands: tools, skills, runners, plugin surfaces (spec
//! protocol §8.7). All of it is forgotten when the node goes.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, encode, nodes::unknown_node};
use crate::{
    gateway::nodes::{NodeSkill, PluginTool},
    ids::ConnId,
    protocol::{RpcCode, RpcError},
};

/// Bytes of one update of tools or skills.
const MAX_OFFER: usize = 512 * 1024;

/// Bytes of what a node says of its runners.
const MAX_INVENTORY: usize = 16 * 1024;

/// Tools of one node. More are left out.
const MAX_TOOLS: usize = 128;

/// Characters of a description. A tool's is cut, a skill's refused.
const MAX_DESCRIPTION: usize = 1_024;

/// Skills of one node.
const MAX_SKILLS: usize = 64;

/// Characters of a skill's text.
const MAX_SKILL: usize = 65_536;

/// Characters of a name.
const MAX_NAME: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolsParams {
    tools: Vec<PluginTool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SkillsParams {
    skills: Vec<NodeSkill>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SurfaceParams {
    surface: String,
    #[serde(rename = "observedUrl")]
    _observed_url: Option<String>,
}

impl Gateway {
    pub(super) fn node_tools_update(&mut self, conn: ConnId, params: Params<'_>) -> Answer {
        params.at_most(MAX_OFFER)?;
        let ToolsParams { mut tools } = params.parse()?;
        let node = self.calling_node(conn)?;
        tools.retain(|tool| !tool.plugin_id.trim().is_empty() && is_tool_name(&tool.name));
        for tool in &mut tools {
            tool.description = tool.description.chars().take(MAX_DESCRIPTION).collect();
        }
        tools.sort_by(|a, b| (&a.plugin_id, &a.name).cmp(&(&b.plugin_id, &b.name)));
        tools.dedup_by(|a, b| (&a.plugin_id, &a.name) == (&b.plugin_id, &b.name));
        tools.truncate(MAX_TOOLS);
        let live = self.nodes.live.get_mut(&node).ok_or_else(unknown_node)?;
        live.tools = tools;
        encode(&json!({ "nodeId": node, "tools": self.usable_tools(&node) }))
    }

    pub(super) fn node_skills_update(&mut self, conn: ConnId, params: Params<'_>) -> Answer {
        params.at_most(MAX_OFFER)?;
        let SkillsParams { skills } = params.parse()?;
        if skills.len() > MAX_SKILLS {
            return Err(params.error(&format!("skills must be at most {MAX_SKILLS}")));
        }
        for skill in &skills {
            let sizes = [
                ("description", &skill.description, MAX_DESCRIPTION),
                ("content", &skill.content, MAX_SKILL),
            ];
            if !is_skill_name(&skill.name) {
                return Err(
                    params.error("a skill's name must be small letters, digits and hyphens")
                );
            }
            for (field, text, max) in sizes {
                if text.is_empty() || text.chars().count() > max {
                    let problem = format!("a skill's {field} must have 1 to {max} characters");
                    return Err(params.error(&problem));
                }
            }
        }
        let node = self.calling_node(conn)?;
        let live = self.nodes.live.get_mut(&node).ok_or_else(unknown_node)?;
        live.skills = skills;
        encode(&json!({ "nodeId": node, "skills": live.skills }))
    }

    /// The gateway runs nothing on nodes but their commands; what a node says of runners is known to
    /// readers by an event.
    pub(super) fn node_inventory_update(&mut self, conn: ConnId, params: Params<'_>) -> Answer {
        params.at_most(MAX_INVENTORY)?;
        let Ok(Value::Object(_)) = params.raw.parse::<Value>() else {
            return Err(RpcError::invalid_request("invalid node runner inventory"));
        };
        let node = self.calling_node(conn)?;
        if self.nodes.book.approval(&node).is_none() {
            let message = self.nodes.book.request_of(&node).map_or_else(
                || "node capability surface is not approved".into(),
                |request| {
                    format!(
                        "node capability surface is awaiting operator approval; run `clawgate \
                         nodes approve {}` (see `clawgate nodes pending`), then this node \
                         retries automatically",
                        request.request_id
                    )
                },
            );
            return Err(RpcError::new(RpcCode::Unavailable, message));
        }
        let live = self.nodes.live.get_mut(&node).ok_or_else(unknown_node)?;
        if live.inventory.as_ref() != Some(params.raw) {
            live.inventory = Some(params.raw.clone());
            let changed = json!({ "nodeId": node });
            self.tell_readers("node.runnerInventory.changed", &changed);
        }
        encode(&json!({ "nodeId": node }))
    }

    /// No plugin serves anything to nodes here.
    pub(super) fn node_plugin_surface(&self, params: Params<'_>) -> Answer {
        let SurfaceParams { surface, .. } = params.parse()?;
        let surface: String = surface.trim().chars().take(MAX_NAME).collect();
        if surface.is_empty() {
            return Err(RpcError::invalid_request("surface required"));
        }
        Err(RpcError::new(
            RpcCode::Unavailable,
            format!("{surface} plugin surface unavailable"),
        ))
    }

    /// Programs that skills need. There are no skills here that need any.
    pub(super) fn skills_bins(&self, params: Params<'_>) -> Answer {
        params.none()?;
        encode(&json!({ "bins": [] }))
    }
}

fn is_tool_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn is_skill_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.contains("--")
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

//! How nodes are shown, and found by name (spec protocol §8.7).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    command_policy::{Reach, is_admin_only},
    live,
    record::Visits,
};
use crate::{
    agent::AgentTool,
    gateway::{Gateway, devices::PairedDevice},
    ids::ConnId,
    protocol::Role,
};

/// How much of what is pending a caller sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeView {
    /// Everything.
    Whole,
    /// What is paired or connected, and of pending requests only the id of its own device's.
    Reader(Option<String>),
}

/// Why a node was not found by its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownNode {
    /// Several have it.
    #[error("several nodes are called {name:?}: {}; use an id", ids.join(", "))]
    Ambiguous {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// None has it.
    #[error("there is no node {0:?}; `clawgate nodes list` shows those there are")]
    None(String),
}

/// Characters that the beginning of an id must have to stand for it.
const MIN_ID_PREFIX: usize = 6;

impl Gateway {
    /// Every node that is known, those that are connected first.
    pub(in crate::gateway) fn node_rows(&self, view: &NodeView) -> Vec<Value> {
        let mut ids = self.node_ids();
        ids.sort_by_cached_key(|id| {
            let is_away = !self.nodes.live.contains_key(*id);
            let name = self.node_name(id).unwrap_or_else(|| (*id).into());
            (is_away, name.to_lowercase(), (*id).to_owned())
        });
        ids.iter()
            .filter_map(|id| self.node_row(id, view))
            .collect()
    }

    fn node_ids(&self) -> Vec<&str> {
        let paired = self.devices.all().filter(|device| is_node(device));
        let ids: BTreeSet<&str> = paired
            .map(|device| device.device_id.as_str())
            .chain(self.nodes.book.requests().map(|r| r.node_id.as_str()))
            .chain(self.nodes.live.keys().map(String::as_str))
            .collect();
        ids.into_iter().collect()
    }

    /// One node, if it is known and may be seen.
    pub(in crate::gateway) fn node_row(&self, id: &str, view: &NodeView) -> Option<Value> {
        let device = self.devices.get(id).filter(|device| is_node(device));
        let record = self.nodes.book.get(id);
        let request = self.nodes.book.request_of(id);
        let live = self.nodes.live.get(id);
        if device.is_none() && live.is_none() && (request.is_none() || *view != NodeView::Whole) {
            return None;
        }
        let approval = self.nodes.book.approval(id);
        let facts = live
            .map(|live| &live.facts)
            .or_else(|| record.map(|record| &record.facts))
            .or_else(|| request.map(|request| &request.facts));
        let surface = match live {
            Some(live) => {
                let mut surface = self.effective_surface(id);
                let policy = &self.setup.admission.node_commands;
                surface
                    .commands
                    .retain(|name| policy.admit(live.profile, Reach::Gateway, name).is_ok());
                surface
            }
            None => approval
                .map(|known| known.surface.clone())
                .unwrap_or_default(),
        };
        let Visits {
            last_connected_at_ms,
            last_disconnected_at_ms,
            last_seen_at_ms,
            last_seen_reason,
        } = self.nodes.book.visits(id);
        let last_seen = last_seen_at_ms.max(device.and_then(|device| device.last_seen_at_ms));
        let approved_at = approval
            .map(|known| known.approved_at_ms)
            .or_else(|| device.map(|device| device.approved_at_ms));
        let mut row = json!({
            "nodeId": id,
            "displayName": self.node_name(id),
            "platform": facts.and_then(|facts| facts.platform.as_ref()),
            "version": facts.and_then(|facts| facts.version.as_ref()),
            "clientId": facts.and_then(|facts| facts.client_id.as_ref()),
            "clientMode": facts.and_then(|facts| facts.client_mode.as_ref()),
            "deviceFamily": facts.and_then(|facts| facts.device_family.as_ref()),
            "modelIdentifier": facts.and_then(|facts| facts.model_identifier.as_ref()),
            "remoteIp": facts.and_then(|facts| facts.remote_ip.as_ref()),
            "caps": surface.caps,
            "commands": surface.commands,
            "permissions": (!surface.permissions.is_empty()).then_some(&surface.permissions),
            "pathEnv": live.and_then(|live| live.path_env.as_ref()),
            "sessionHost": false,
            "hostStats": live.and_then(|live| live.stats.as_ref()),
            "nodePluginTools": live.map(|_| self.usable_tools(id)),
            "approvalState": match (approval, request) {
                (Some(_), Some(_)) => "pending-reapproval",
                (None, Some(_)) => "pending-approval",
                (Some(_), None) => "approved",
                (None, None) => "unapproved",
            },
            "connectedAtMs": live.map(|live| live.since),
            "lastConnectedAtMs": last_connected_at_ms,
            "lastDisconnectedAtMs": last_disconnected_at_ms.filter(|_| live.is_none()),
            "lastActiveAtMs": live.and_then(|live| live.activity).map(|at| at.last_active_at_ms),
            "presenceUpdatedAtMs": live
                .and_then(|live| live.activity)
                .map(|at| at.presence_updated_at_ms),
            "lastSeenAtMs": last_seen,
            "lastSeenReason": last_seen_reason,
            "approvedAtMs": approved_at,
            "paired": device.is_some(),
            "connected": live.is_some(),
            "active": (live::active(&self.nodes.live) == Some(id)).then_some(true),
        });
        if let (Some(request), Value::Object(row)) = (request, &mut row) {
            let own = |own: &Option<String>| own.as_deref() == Some(id);
            let (shows_id, shows_claim) = match view {
                NodeView::Whole => (true, true),
                NodeView::Reader(device) => (own(device), false),
            };
            if shows_id {
                row.insert("pendingRequestId".into(), json!(request.request_id));
            }
            if shows_claim {
                let claim = &request.surface;
                row.insert("pendingDeclaredCaps".into(), json!(claim.caps));
                row.insert("pendingDeclaredCommands".into(), json!(claim.commands));
                if !claim.permissions.is_empty() {
                    row.insert(
                        "pendingDeclaredPermissions".into(),
                        json!(claim.permissions),
                    );
                }
            }
        }
        Some(without_nulls(row))
    }

    /// A node's name: the one that an operator gave it, else its own.
    pub(in crate::gateway) fn node_name(&self, id: &str) -> Option<String> {
        let record = self.nodes.book.get(id);
        let device = self.devices.get(id);
        let live = self.nodes.live.get(id);
        record
            .and_then(|record| record.operator_name.as_deref())
            .or_else(|| device?.operator_label.as_deref())
            .or_else(|| live?.facts.display_name.as_deref())
            .or_else(|| record?.facts.display_name.as_deref())
            .or_else(|| device?.name())
            .map(Into::into)
    }

    /// Tools that a node offers, and whose commands may be sent to it.
    pub(in crate::gateway) fn usable_tools(&self, id: &str) -> Vec<&live::PluginTool> {
        let Some(live) = self.nodes.live.get(id) else {
            return Vec::new();
        };
        let effective = self.effective_surface(id);
        let policy = &self.setup.admission.node_commands;
        let usable = |command: &str| {
            effective.commands.contains(command)
                && policy.admit(live.profile, Reach::Callers, command).is_ok()
        };
        live.tools
            .iter()
            .filter(|tool| tool.command.as_deref().is_some_and(usable))
            .collect()
    }

    /// What connected nodes can be asked to do: commands that are claimed, approved and allowed.
    /// Commands that take `operator.admin` are not among them.
    pub fn agent_tools(&self) -> Vec<AgentTool> {
        let mut tools = Vec::new();
        let policy = &self.setup.admission.node_commands;
        for (id, live) in &self.nodes.live {
            let offered = self.usable_tools(id);
            for command in self.effective_surface(id).commands {
                let refused = policy.admit(live.profile, Reach::Callers, &command);
                if refused.is_err() || is_admin_only(&command) {
                    continue;
                }
                // A command that several tools share is none of them.
                let mut of_command = offered
                    .iter()
                    .filter(|tool| tool.command.as_deref() == Some(&command));
                let tool = match (of_command.next(), of_command.next()) {
                    (Some(tool), None) => Some(tool),
                    (None, _) | (Some(_), Some(_)) => None,
                };
                tools.push(AgentTool {
                    node_id: id.clone(),
                    node_name: self.node_name(id).unwrap_or_else(|| id.clone()),
                    platform: live.facts.platform.clone(),
                    description: tool.map(|tool| tool.description.clone()),
                    parameters: tool.and_then(|tool| tool.schema()),
                    command,
                });
            }
        }
        tools
    }

    /// The id of the node that is meant: an id, a name in whatever case, or the beginning of an id.
    ///
    /// # Errors
    /// When no node fits, or several do.
    pub fn find_node(&self, id_or_name: &str) -> Result<String, UnknownNode> {
        let wanted = id_or_name.trim();
        let ids = self.node_ids();
        if ids.contains(&wanted) {
            return Ok(wanted.into());
        }
        let named = |id: &&str| {
            let name = self.node_name(id).unwrap_or_default();
            name.to_lowercase() == wanted.to_lowercase() && !wanted.is_empty()
        };
        let mut found: Vec<&str> = ids.iter().copied().filter(named).collect();
        if found.is_empty() && wanted.len() >= MIN_ID_PREFIX {
            let begins = ids.iter().copied().filter(|id| id.starts_with(wanted));
            found = begins.collect();
        }
        match found.as_slice() {
            [] => Err(UnknownNode::None(wanted.into())),
            [one] => Ok((*one).into()),
            several => Err(UnknownNode::Ambiguous {
                name: wanted.into(),
                ids: several.iter().map(|&id| id.to_owned()).collect(),
            }),
        }
    }

    /// Connected nodes that follow a session by `chat.subscribe`.
    pub fn node_subscribers(&self, session_key: &str) -> impl Iterator<Item = ConnId> {
        let nodes = self.nodes.live.values();
        nodes
            .filter(move |live| live.follows(session_key))
            .map(|live| live.conn)
    }
}

fn is_node(device: &PairedDevice) -> bool {
    device.roles.contains(&Role::Node)
}

/// Leaves out what is not known: published shapes have optional fields, not nullable ones.
pub(crate) fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| !value.is_null());
    }
    value
}

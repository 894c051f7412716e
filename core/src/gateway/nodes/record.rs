//! What is kept of a node, and of a node that asks to do more.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::surface::Surface;
use crate::{
    protocol::ClientInfo,
    store::{Record, Table},
    time::WallTime,
};

/// What a node says of itself, and where it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeFacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device_family: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model_identifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remote_ip: Option<String>,
}

impl NodeFacts {
    pub(crate) fn of(client: &ClientInfo, ip: IpAddr) -> Self {
        Self {
            client_id: Some(client.id.as_str().into()),
            client_mode: Some(client.mode.as_str().into()),
            display_name: client.display_name.clone(),
            platform: Some(client.platform.clone()),
            version: Some(client.version.clone()),
            device_family: client.device_family.clone(),
            model_identifier: client.model_identifier.clone(),
            remote_ip: (!ip.is_loopback()).then(|| ip.to_string()),
        }
    }
}

/// What an operator approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Approval {
    #[serde(flatten)]
    pub(crate) surface: Surface,
    pub(crate) approved_at_ms: WallTime,
}

/// When a node was last there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Visits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_connected_at_ms: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_disconnected_at_ms: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_seen_at_ms: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_seen_reason: Option<String>,
}

/// A node that was here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeRecord {
    pub(crate) node_id: String,
    /// The name that an operator gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) operator_name: Option<String>,
    #[serde(flatten)]
    pub(crate) facts: NodeFacts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<Approval>,
    pub(crate) created_at_ms: WallTime,
    #[serde(flatten)]
    pub(crate) visits: Visits,
}

impl Record for NodeRecord {
    const TABLE: Table = Table::Node;

    fn key(&self) -> &str {
        &self.node_id
    }
}

/// Whether an app of the same machine may approve a request without asking anybody (spec protocol
/// §8.1). The gateway itself never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Prompt {
    /// Somebody has to say yes.
    Needed,
    /// The node runs on this machine, and this is its first request.
    Silent,
}

/// A node that asks to do more than it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeRequest {
    pub(crate) request_id: String,
    pub(crate) node_id: String,
    #[serde(flatten)]
    pub(crate) facts: NodeFacts,
    #[serde(flatten)]
    pub(crate) surface: Surface,
    pub(crate) prompt: Prompt,
    pub(crate) ts: WallTime,
}

impl Record for NodeRequest {
    const TABLE: Table = Table::NodeRequest;

    fn key(&self) -> &str {
        &self.request_id
    }
}

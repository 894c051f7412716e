//! What is kept of a device, and of a device that asks (spec protocol §3.6, §6.9).

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::token::DeviceToken;
use crate::{
    protocol::{ClientInfo, Role},
    scope::ScopeSet,
    server::ConnectRequest,
    store::{Record, Table},
    time::WallTime,
};

/// What a device says of itself, and where it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceFacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device_family: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remote_ip: Option<String>,
}

impl DeviceFacts {
    pub(crate) fn of(request: &ConnectRequest) -> Self {
        let ip = request.peer.ingress.client_ip().unwrap_or(request.peer.ip);
        Self::of_client(&request.params.client, ip)
    }

    pub(crate) fn of_client(client: &ClientInfo, ip: IpAddr) -> Self {
        let ClientInfo {
            id,
            mode,
            platform,
            display_name,
            device_family,
            ..
        } = client;
        Self {
            display_name: display_name.clone(),
            platform: Some(platform.clone()),
            device_family: device_family.clone(),
            client_id: Some(id.as_str().into()),
            client_mode: Some(mode.as_str().into()),
            remote_ip: (!ip.is_loopback()).then(|| ip.to_string()),
        }
    }
}

/// Who said yes to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ApprovedVia {
    /// Its address is in `gateway.nodes.pairing.autoApproveCidrs`.
    Cidr,
    /// It brought a join token.
    Invite,
    /// An operator.
    Operator,
    /// Nobody: it came from this machine.
    Silent,
}

/// An approved device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PairedDevice {
    pub(crate) device_id: String,
    pub(crate) public_key: String,
    #[serde(flatten)]
    pub(crate) facts: DeviceFacts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) operator_label: Option<String>,
    /// Roles that it may take.
    pub(crate) roles: BTreeSet<Role>,
    /// Scopes that it may hold as an operator.
    pub(crate) scopes: ScopeSet,
    /// Commands that were approved with the join token that it brought.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) invited_commands: Vec<String>,
    pub(crate) created_at_ms: WallTime,
    pub(crate) approved_at_ms: WallTime,
    pub(crate) approved_via: ApprovedVia,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_seen_at_ms: Option<WallTime>,
    pub(crate) tokens: BTreeMap<Role, DeviceToken>,
}

impl Record for PairedDevice {
    const TABLE: Table = Table::Device;

    fn key(&self) -> &str {
        &self.device_id
    }
}

impl PairedDevice {
    /// The wire form. Tokens are described, never shown.
    pub(crate) fn summary(&self, connected: bool) -> Value {
        let tokens: Vec<Value> = self
            .tokens
            .iter()
            .map(|(role, token)| {
                let mut summary = json!({
                    "role": role,
                    "scopes": token.scopes,
                    "createdAtMs": token.created_at_ms,
                });
                put(&mut summary, "rotatedAtMs", json!(token.rotated_at_ms));
                put(&mut summary, "revokedAtMs", json!(token.revoked_at_ms));
                put(&mut summary, "lastUsedAtMs", json!(token.last_used_at_ms));
                summary
            })
            .collect();
        let mut summary = json!({
            "deviceId": self.device_id,
            "publicKey": self.public_key,
            "role": self.roles.iter().next_back(),
            "roles": self.roles,
            "scopes": self.scopes,
            "createdAtMs": self.created_at_ms,
            "approvedAtMs": self.approved_at_ms,
            "approvedVia": self.approved_via,
            "connected": connected,
            "tokens": tokens,
        });
        put(&mut summary, "operatorLabel", json!(self.operator_label));
        put(&mut summary, "lastSeenAtMs", json!(self.last_seen_at_ms));
        add_facts(&mut summary, &self.facts);
        summary
    }

    /// Whether it may take a role: one whose token was revoked has to be approved again.
    pub(crate) fn holds(&self, role: Role) -> bool {
        self.roles.contains(&role) && self.tokens.get(&role).is_none_or(DeviceToken::is_live)
    }

    /// The name to show.
    pub(crate) fn name(&self) -> Option<&str> {
        self.operator_label
            .as_deref()
            .or(self.facts.display_name.as_deref())
    }
}

/// A device that asks to be let in, or for more than it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PairRequest {
    pub(crate) request_id: String,
    pub(crate) device_id: String,
    pub(crate) public_key: String,
    #[serde(flatten)]
    pub(crate) facts: DeviceFacts,
    pub(crate) role: Role,
    pub(crate) roles: Vec<Role>,
    pub(crate) scopes: ScopeSet,
    /// Whether the device is known already.
    pub(crate) is_repair: bool,
    pub(crate) ts: WallTime,
}

impl Record for PairRequest {
    const TABLE: Table = Table::PairRequest;

    fn key(&self) -> &str {
        &self.request_id
    }
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let (Value::Object(fields), false) = (object, value.is_null()) {
        fields.insert(name.into(), value);
    }
}

fn add_facts(object: &mut Value, facts: &DeviceFacts) {
    if let (Value::Object(fields), Ok(Value::Object(facts))) = (object, serde_json::to_value(facts))
    {
        fields.extend(facts);
    }
}

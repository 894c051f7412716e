//! Catalogues. What does not exist here yet is an empty list in the published shape.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{protocol::Role, time::Now};

const DEFAULT_SESSIONS: u64 = 100;
const DEFAULT_JOBS: u64 = 50;
const MAX_JOBS: u64 = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChannelsStatusParams {
    #[serde(rename = "probe")]
    _probe: Option<bool>,
    #[serde(rename = "timeoutMs")]
    _timeout_ms: Option<u64>,
    channel: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    limit: Option<u64>,
    offset: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ModelsListParams {
    #[serde(rename = "agentId")]
    _agent_id: Option<String>,
    #[serde(rename = "includeProviderCapabilities")]
    _capabilities: Option<bool>,
    #[serde(rename = "preparedOnly")]
    _prepared_only: Option<bool>,
    #[serde(rename = "refresh")]
    _refresh: Option<bool>,
    #[serde(rename = "view")]
    _view: Option<String>,
}

impl Gateway {
    pub(super) fn channels_status(&self, now: Now, params: Params<'_>) -> Answer {
        let wanted: ChannelsStatusParams = params.parse()?;
        if let Some(channel) = wanted.channel {
            let shown: String = channel.chars().take(64).collect();
            return Err(params.error(&format!("unknown channel '{shown}': none is configured")));
        }
        encode(&json!({
            "ts": now.wall,
            "channelOrder": [],
            "channelLabels": {},
            "channelDetailLabels": {},
            "channelSystemImages": {},
            "channelMeta": [],
            "channels": {},
            "channelAccounts": {},
            "channelDefaultAccountId": {},
            "statusIssues": [],
        }))
    }

    pub(super) fn cron_list(&self, params: Params<'_>) -> Answer {
        let page: Page = params.parse()?;
        let limit = page.limit.unwrap_or(DEFAULT_JOBS);
        if !(1..=MAX_JOBS).contains(&limit) {
            return Err(params.error(&format!("limit must be 1 to {MAX_JOBS}")));
        }
        encode(&json!({
            "jobs": [],
            "snapshotRevision": "0",
            "total": 0,
            "offset": page.offset.unwrap_or(0),
            "limit": limit,
            "hasMore": false,
            "nextOffset": null,
        }))
    }

    pub(super) fn cron_status(&self) -> Answer {
        encode(&json!({
            "enabled": false,
            "triggersEnabled": false,
            "storePath": self.setup.host.state_dir,
            "jobs": 0,
            "nextWakeAtMs": null,
        }))
    }

    pub(super) fn models_list(&self, params: Params<'_>) -> Answer {
        let _: ModelsListParams = params.parse()?;
        encode(&json!({ "models": [] }))
    }

    /// Connected nodes, with what they claim. None is approved yet: pairing does not exist here.
    pub(super) fn node_list(&self, now: Now, params: Params<'_>) -> Answer {
        params.none()?;
        let mut nodes: Vec<_> = self
            .clients()
            .filter(|client| client.role == Role::Node)
            .collect();
        nodes.sort_by(|a, b| a.info.display_name.cmp(&b.info.display_name));
        let nodes: Vec<Value> = nodes
            .into_iter()
            .map(|node| {
                without_nulls(json!({
                    "nodeId": node.device_id,
                    "displayName": node.info.display_name,
                    "platform": node.info.platform,
                    "version": node.info.version,
                    "clientId": node.info.id,
                    "clientMode": node.info.mode,
                    "deviceFamily": node.info.device_family,
                    "modelIdentifier": node.info.model_identifier,
                    "remoteIp": node.ip,
                    "caps": node.caps,
                    "commands": node.commands,
                    "approvalState": "unapproved",
                    "connectedAtMs": node.since,
                    "paired": false,
                    "connected": true,
                }))
            })
            .collect();
        encode(&json!({ "ts": now.wall, "nodes": nodes }))
    }

    pub(super) fn pair_list(&self, params: Params<'_>) -> Answer {
        params.none()?;
        encode(&json!({ "pending": [], "paired": [] }))
    }

    pub(super) fn sessions_list(&self, now: Now, params: Params<'_>) -> Answer {
        let page: Page = params.parse()?;
        if page.limit == Some(0) {
            return Err(params.error("limit must be 1 or more"));
        }
        encode(&json!({
            "ts": now.wall,
            "path": self.setup.host.state_dir,
            "count": 0,
            "totalCount": 0,
            "limitApplied": page.limit.unwrap_or(DEFAULT_SESSIONS),
            "offset": page.offset.unwrap_or(0),
            "nextOffset": null,
            "hasMore": false,
            "defaults": { "modelProvider": null, "model": null, "contextTokens": null },
            "sessions": [],
        }))
    }
}

/// Leaves out what is not known: published shapes have optional fields, not nullable ones.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|_, value| !value.is_null());
    }
    value
}

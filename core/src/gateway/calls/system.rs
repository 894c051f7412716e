//! Presence, system events, heartbeats, identity (spec protocol §6.2, §6.6).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Heartbeats, Params, encode};
use crate::{
    gateway::{
        PresenceEntry,
        dedupe::{DedupeKey, Seen},
    },
    ids::ConnId,
    protocol::RpcError,
    time::Now,
};

/// A text that starts so is about a node's presence only.
const PRESENCE_ONLY: &str = "Node:";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SystemEventParams {
    text: String,
    idempotency_key: Option<String>,
    session_key: Option<String>,
    wake: Option<bool>,
    device_id: Option<String>,
    instance_id: Option<String>,
    host: Option<String>,
    ip: Option<String>,
    mode: Option<String>,
    version: Option<String>,
    platform: Option<String>,
    device_family: Option<String>,
    model_identifier: Option<String>,
    last_input_seconds: Option<f64>,
    reason: Option<String>,
    roles: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    tags: Option<Vec<String>>,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WakeMode {
    NextHeartbeat,
    Now,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WakeParams {
    mode: WakeMode,
    text: String,
    session_key: Option<String>,
    agent_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetHeartbeatsParams {
    enabled: bool,
}

impl Gateway {
    pub(super) fn system_presence(&self) -> Answer {
        encode(&self.presence.entries())
    }

    pub(super) fn system_event(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        params.at_most(self.setup.limits.max_system_event)?;
        let event: SystemEventParams = params.parse()?;
        let text = event.text.trim().to_owned();
        if text.is_empty() {
            return Err(RpcError::invalid_request("text required"));
        }
        let key = event
            .idempotency_key
            .as_deref()
            .map(|key| DedupeKey::new(params.method, key));
        if let Some(key) = &key {
            match self.dedupe.look(now.mono, key, params.raw) {
                Seen::New => {}
                Seen::Done(outcome) => {
                    self.out.lean_on(self.dedupe.unsettled(key));
                    return outcome;
                }
                Seen::Conflict => {
                    return Err(params.error("idempotencyKey was used with other parameters"));
                }
            }
        }
        if !text.starts_with(PRESENCE_ONLY) {
            let session = event.session_key.as_deref().unwrap_or("main");
            let session = self.session_key(params, session, None)?;
            self.queue_system_event(&session, text.clone());
            if event.wake == Some(true) {
                self.wake_session(now, &session);
            }
        }
        let row = [&event.device_id, &event.instance_id, &event.host, &event.ip]
            .into_iter()
            .flatten()
            .next()
            .map_or_else(|| conn.to_string(), |name| name.to_lowercase());
        let entry = PresenceEntry {
            host: event.host,
            ip: event.ip,
            version: event.version,
            platform: event.platform,
            device_family: event.device_family,
            model_identifier: event.model_identifier,
            mode: event.mode,
            last_input_seconds: event
                .last_input_seconds
                .map(|seconds| seconds.max(0.0) as u64),
            reason: event.reason,
            tags: event.tags,
            text: Some(text),
            device_id: event.device_id,
            roles: event.roles,
            scopes: event.scopes,
            instance_id: event.instance_id,
            ..PresenceEntry::default()
        };
        self.presence.reported(now, &row, entry);
        self.presence_changed(now);
        let answer = encode(&json!({ "ok": true }));
        if let Some(key) = key {
            self.dedupe
                .keep(&mut self.out.journal, now, key, params.raw, &answer);
        }
        answer
    }

    pub(super) fn wake(&mut self, now: Now, params: Params<'_>) -> Answer {
        params.at_most(self.setup.limits.max_system_event)?;
        let wake: WakeParams = params.parse()?;
        let text = wake.text.trim();
        if text.is_empty() {
            return Err(params.error("text must not be empty"));
        }
        let agent = match wake.agent_id.as_deref().map(str::trim) {
            Some(named) if !self.has_agent(named) => {
                return Err(params.error("agentId names no agent of this gateway"));
            }
            agent => agent,
        };
        let session = wake.session_key.as_deref().unwrap_or("main");
        let session = self.session_key(params, session, agent)?;
        self.queue_system_event(&session, text.to_owned());
        if wake.mode == WakeMode::Now {
            self.wake_session(now, &session);
        }
        encode(&json!({ "ok": true }))
    }

    pub(super) fn last_heartbeat(&self) -> Answer {
        encode(&Value::Null)
    }

    pub(super) fn set_heartbeats(&mut self, params: Params<'_>) -> Answer {
        let SetHeartbeatsParams { enabled } = params.parse()?;
        self.calls.heartbeats = if enabled {
            Heartbeats::On
        } else {
            Heartbeats::Off
        };
        encode(&json!({ "ok": true, "enabled": enabled }))
    }

    pub(super) fn identity_get(&self) -> Answer {
        let identity = &self.setup.identity;
        encode(&json!({
            "deviceId": identity.id().as_str(),
            "publicKey": identity.public_key(),
        }))
    }
}

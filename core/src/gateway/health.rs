//! The health payload: built once, served to everybody until it changes (spec protocol §6.2).

use serde_json::json;

use super::setup::HostInfo;
use crate::{frame::RawJson, time::Now};

/// The payload and its version.
#[derive(Debug)]
pub(super) struct Health {
    payload: RawJson,
    version: u64,
}

impl Health {
    pub(super) fn new(now: Now, host: &HostInfo) -> Self {
        Self {
            payload: build(now, host),
            version: 1,
        }
    }

    pub(super) fn refresh(&mut self, now: Now, host: &HostInfo) {
        self.payload = build(now, host);
        self.version += 1;
    }

    /// Sharing it costs no copy.
    pub(super) fn payload(&self) -> RawJson {
        self.payload.clone()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

fn build(now: Now, host: &HostInfo) -> RawJson {
    let sessions = json!({ "path": host.state_dir, "count": 0, "recent": [] });
    let agents: Vec<_> = host
        .agents
        .iter()
        .map(|agent| {
            json!({
                "agentId": agent,
                "isDefault": *agent == host.default_agent(),
                "heartbeat": {
                    "enabled": false,
                    "every": "0m",
                    "everyMs": null,
                    "prompt": "",
                    "target": "none",
                    "ackMaxChars": 0,
                },
                "sessions": sessions,
            })
        })
        .collect();
    RawJson::encode(&json!({
        "ok": true,
        "ts": now.wall,
        "durationMs": 0,
        "channels": {},
        "channelOrder": [],
        "channelLabels": {},
        "heartbeatSeconds": 0,
        "defaultAgentId": host.default_agent(),
        "agents": agents,
        "sessions": sessions,
    }))
    .unwrap_or_else(|_| RawJson::empty_object())
}

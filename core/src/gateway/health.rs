//! The health payload: built once, served to everybody until it changes (spec protocol §6.2).

use serde_json::json;

use super::{
    channels::ChannelHealth,
    sessions::{SessionBook, SessionEntry},
    setup::HostInfo,
};
use crate::{frame::RawJson, store::StoreFailure, time::Now};

/// Sessions that the payload names.
const RECENT: usize = 5;

/// The payload and its version.
#[derive(Debug)]
pub(super) struct Health {
    payload: RawJson,
    version: u64,
    /// Why nothing can be kept at the moment.
    store_failure: Option<String>,
    /// Keys of rows that could not be read at the start.
    unreadable: Vec<String>,
}

impl Health {
    pub(super) fn new(
        now: Now,
        host: &HostInfo,
        sessions: &SessionBook,
        unreadable: Vec<String>,
        channels: ChannelHealth,
    ) -> Self {
        let mut health = Self {
            payload: RawJson::empty_object(),
            version: 0,
            store_failure: None,
            unreadable,
        };
        health.refresh(now, host, sessions, channels);
        health
    }

    pub(super) fn refresh(
        &mut self,
        now: Now,
        host: &HostInfo,
        sessions: &SessionBook,
        channels: ChannelHealth,
    ) {
        self.payload = self.build(now, host, sessions, channels);
        self.version += 1;
    }

    /// Takes the news of the store; tells whether they are news.
    pub(super) fn set_store(&mut self, failure: Option<&StoreFailure>) -> bool {
        let failure = failure.map(ToString::to_string);
        let news = self.store_failure != failure;
        self.store_failure = failure;
        news
    }

    /// Whether the last change could not be kept.
    pub(super) fn store_fails(&self) -> bool {
        self.store_failure.is_some()
    }

    /// Sharing it costs no copy.
    pub(super) fn payload(&self) -> RawJson {
        self.payload.clone()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    fn build(
        &self,
        now: Now,
        host: &HostInfo,
        kept: &SessionBook,
        channels: ChannelHealth,
    ) -> RawJson {
        let mut problems: Vec<String> = host.problems.clone();
        problems.extend(host.config_problems.iter().cloned());
        problems.extend(self.store_failure.clone());
        if !self.unreadable.is_empty() {
            let shown: Vec<&str> = self.unreadable.iter().take(5).map(String::as_str).collect();
            problems.push(format!(
                "{} kept records cannot be read, among them {}",
                self.unreadable.len(),
                shown.join(", ")
            ));
        }
        let sessions = |agent: Option<&str>| {
            let of = |entry: &&SessionEntry| agent.is_none_or(|agent| agent == entry.agent_id);
            let mut found: Vec<&SessionEntry> = kept.values().filter(of).collect();
            let count = found.len();
            let order = |a: &&SessionEntry, b: &&SessionEntry| {
                let newest = b.updated_at.cmp(&a.updated_at);
                newest.then_with(|| a.key.cmp(&b.key))
            };
            if count > RECENT {
                found.select_nth_unstable_by(RECENT, order);
                found.truncate(RECENT);
            }
            found.sort_unstable_by(order);
            let recent: Vec<_> = found
                .iter()
                .map(|entry| {
                    json!({
                        "key": entry.key,
                        "updatedAt": entry.updated_at,
                        "age": now.wall.0.saturating_sub(entry.updated_at.0),
                    })
                })
                .collect();
            json!({ "path": host.state_dir, "count": count, "recent": recent })
        };
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
                    "sessions": sessions(Some(agent)),
                })
            })
            .collect();
        let mut payload = json!({
            "ok": true,
            "ts": now.wall,
            "durationMs": 0,
            "channels": channels.channels,
            "channelOrder": channels.order,
            "channelLabels": channels.labels,
            "heartbeatSeconds": 0,
            "defaultAgentId": host.default_agent(),
            "agents": agents,
            "sessions": sessions(None),
        });
        if let (Some(queues), Some(fields)) = (channels.queues, payload.as_object_mut()) {
            fields.insert("deliveryQueues".into(), queues);
        }
        // The published shape is closed: this is where it has room for what went wrong.
        let errors: Vec<_> = problems
            .iter()
            .map(|problem| {
                json!({ "id": "state", "origin": "gateway", "activated": true, "error": problem })
            })
            .collect();
        if let (false, Some(fields)) = (errors.is_empty(), payload.as_object_mut()) {
            let plugins = json!({ "loaded": [], "errors": errors });
            fields.insert("plugins".into(), plugins);
        }
        RawJson::encode(&payload).unwrap_or_else(|_| RawJson::empty_object())
    }
}

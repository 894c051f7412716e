//! `status` and `logs.tail` (spec protocol §6.2).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Effect, Gateway, Heartbeats, Params, encode};
use crate::{
    gateway::{ProcessStats, TailLog, sessions::row},
    ids::ConnId,
    protocol::RpcError,
    scope::Scope,
    time::Now,
};

const DEFAULT_LOG_LINES: usize = 500;
const MAX_LOG_LINES: usize = 5_000;
const DEFAULT_LOG_BYTES: usize = 250_000;
const MAX_LOG_BYTES: usize = 1_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LogsTailParams {
    cursor: Option<u64>,
    limit: Option<usize>,
    max_bytes: Option<usize>,
}

/// Sessions that the answer names.
const RECENT: usize = 10;

impl Gateway {
    pub(super) fn logs_tail(&self, params: Params<'_>) -> Result<Effect, RpcError> {
        let LogsTailParams {
            cursor,
            limit,
            max_bytes,
        } = params.parse()?;
        let limit = limit.unwrap_or(DEFAULT_LOG_LINES);
        if !(1..=MAX_LOG_LINES).contains(&limit) {
            return Err(params.error(&format!("limit must be 1 to {MAX_LOG_LINES}")));
        }
        let max_bytes = max_bytes.unwrap_or(DEFAULT_LOG_BYTES);
        if !(1..=MAX_LOG_BYTES).contains(&max_bytes) {
            return Err(params.error(&format!("maxBytes must be 1 to {MAX_LOG_BYTES}")));
        }
        Ok(Effect::TailLog(TailLog {
            cursor,
            limit,
            max_bytes,
        }))
    }

    /// Paths are for administrators only.
    pub(super) fn status(&self, now: Now, conn: ConnId, process: ProcessStats) -> Answer {
        let host = &self.setup.host;
        let admin = self
            .client(conn)
            .is_some_and(|client| client.scopes.allows(Scope::Admin));
        let path = if admin {
            host.state_dir.to_string_lossy()
        } else {
            "[redacted]".into()
        };
        let heartbeats: Vec<Value> = host
            .agents
            .iter()
            .map(|agent| {
                json!({
                    "agentId": agent,
                    "enabled": false,
                    "every": "0m",
                    "everyMs": null,
                    "waitingForRoute": false,
                })
            })
            .collect();
        let by_agent: Vec<Value> = host
            .agents
            .iter()
            .map(|agent| {
                let count = self
                    .sessions
                    .values()
                    .filter(|entry| entry.agent_id == *agent)
                    .count();
                json!({ "agentId": agent, "path": path, "count": count, "recent": [] })
            })
            .collect();
        let mut sessions: Vec<_> = self.sessions.values().collect();
        sessions.sort_by_key(|entry| std::cmp::Reverse(entry.updated_at));
        let recent: Vec<Value> = sessions
            .iter()
            .take(if admin { RECENT } else { 0 })
            .map(|entry| row(entry, &self.row_extras(&entry.key), now.wall))
            .collect();
        let (running, waiting) = (self.runs.running(), self.runs.queued());
        encode(&json!({
            "runtimeVersion": host.version,
            "heartbeat": {
                "defaultAgentId": host.default_agent(),
                "allowed": self.calls.heartbeats == Heartbeats::On,
                "agents": heartbeats,
            },
            "channelSummary": [],
            "queuedSystemEvents": self.system_events.texts(),
            "degradedSecretOwners": [],
            "degradedPlugins": [],
            "tasks": {
                "total": running + waiting,
                "active": running,
                "terminal": 0,
                "failures": 0,
                "byStatus": {
                    "queued": waiting, "running": running, "succeeded": 0, "failed": 0,
                    "timed_out": 0, "cancelled": 0, "lost": 0,
                },
                "byRuntime": { "subagent": 0, "acp": 0, "cli": 0, "cron": 0 },
            },
            "taskAudit": {
                "total": 0,
                "warnings": 0,
                "errors": 0,
                "byCode": {
                    "stale_queued": 0, "stale_running": 0, "lost": 0, "delivery_failed": 0,
                    "missing_cleanup": 0, "inconsistent_timestamps": 0,
                },
            },
            "sessions": {
                "paths": if admin { vec![path.clone()] } else { Vec::new() },
                "count": sessions.len(),
                "defaults": self.session_defaults(),
                "recent": recent,
                "byAgent": by_agent,
            },
            "processMemory": {
                "rssBytes": process.rss_bytes,
                "heapUsedBytes": 0,
                "heapTotalBytes": 0,
                "externalBytes": 0,
                "arrayBuffersBytes": 0,
            },
            "authProfiles": self.profile_rows(now),
            "pid": host.pid,
            "connections": self.connections(),
            "uptimeMs": crate::time::millis(now.mono.saturating_duration_since(self.started)),
        }))
    }
}

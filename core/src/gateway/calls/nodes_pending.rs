//! `node.pending.*`: what waits for nodes that sleep (spec protocol §8.6).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, encode, nodes::unknown_node};
use crate::{
    gateway::nodes::{Priority, Reach, WorkKind, pairing_changed},
    ids::ConnId,
    protocol::{Role, RpcError},
    time::Now,
};

/// What a request's time may be set to, in milliseconds.
const TTL_MS: core::ops::RangeInclusive<u64> = 1_000..=86_400_000;

/// Requests of one drain.
const MAX_DRAIN: usize = 10;

/// Ids of one acknowledgement.
const MAX_ACKS: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AckParams {
    ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnqueueParams {
    node_id: String,
    #[serde(rename = "type")]
    kind: WorkKind,
    priority: Option<AskedPriority>,
    expires_in_ms: Option<u64>,
    #[serde(rename = "wake")]
    _wake: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum AskedPriority {
    High,
    Normal,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DrainParams {
    max_items: Option<usize>,
}

impl Gateway {
    /// The node that calls, if it was approved.
    fn approved_caller(&self, conn: ConnId) -> Result<String, RpcError> {
        let node = self.calling_node(conn)?;
        match self.nodes.book.approval(&node) {
            Some(_) => Ok(node),
            None => Err(pairing_changed()),
        }
    }

    pub(super) fn node_pending_pull(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        params.none()?;
        let node = self.approved_caller(conn)?;
        let effective = self.effective_surface(&node).commands;
        let Some(profile) = self.nodes.live.get(&node).map(|live| live.profile) else {
            return Err(pairing_changed());
        };
        let policy = &self.setup.admission.node_commands;
        let actions = self.nodes.work.pull(now.mono, &node, |command| {
            effective.contains(command) && policy.admit(profile, Reach::Callers, command).is_ok()
        });
        encode(&json!({ "nodeId": node, "actions": actions }))
    }

    pub(super) fn node_pending_ack(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let AckParams { mut ids } = params.parse()?;
        if ids.is_empty() || ids.len() > MAX_ACKS {
            return Err(params.error(&format!("ids must be 1 to {MAX_ACKS}")));
        }
        let node = self.approved_caller(conn)?;
        ids.sort();
        ids.dedup();
        let left = self.nodes.work.acknowledge(now.mono, &node, &ids);
        encode(&json!({ "nodeId": node, "ackedIds": ids, "remainingCount": left }))
    }

    pub(super) fn node_pending_enqueue(&mut self, now: Now, params: Params<'_>) -> Answer {
        let asked: EnqueueParams = params.parse()?;
        let node = asked.node_id.trim();
        if asked.expires_in_ms.is_some_and(|ms| !TTL_MS.contains(&ms)) {
            let (least, most) = (TTL_MS.start(), TTL_MS.end());
            return Err(params.error(&format!("expiresInMs must be {least} to {most}")));
        }
        let device = self.devices.get(node);
        if !device.is_some_and(|device| device.roles.contains(&Role::Node)) {
            return Err(unknown_node());
        }
        let priority = match asked.priority {
            Some(AskedPriority::High) => Priority::High,
            Some(AskedPriority::Normal) | None => Priority::Normal,
        };
        let ttl = asked.expires_in_ms.map(Duration::from_millis);
        let (work, rng) = (&mut self.nodes.work, &mut self.rng);
        let (revision, queued) = work.enqueue(now, rng, node, (asked.kind, priority), ttl);
        encode(&json!({
            "nodeId": node,
            "revision": revision,
            "queued": queued,
            "wakeTriggered": false,
        }))
    }

    pub(super) fn node_pending_drain(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let DrainParams { max_items } = params.parse()?;
        if max_items.is_some_and(|max| max == 0 || max > MAX_DRAIN) {
            return Err(params.error(&format!("maxItems must be 1 to {MAX_DRAIN}")));
        }
        let node = self.approved_caller(conn)?;
        let drained = self.nodes.work.drain(now, &node, max_items);
        let mut answer = json!(drained);
        if let Value::Object(fields) = &mut answer {
            fields.insert("nodeId".into(), node.into());
        }
        encode(&answer)
    }
}

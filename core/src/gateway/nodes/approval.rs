//! The second approval: what a node may be asked to do (spec protocol §8.1).

use serde_json::{Value, json};

use super::{
    catalog::without_nulls,
    invoke::InvokeFault,
    record::{NodeRecord, NodeRequest, Prompt},
};
use crate::{
    frame::{Droppable, OutboundEvent, RawJson},
    gateway::Gateway,
    protocol::{RpcCode, RpcError},
    scope::ScopeSet,
    server::Delivery,
    time::Now,
};

/// A request as operators see it.
pub(crate) fn shown(request: &NodeRequest) -> Value {
    let facts = &request.facts;
    let surface = &request.surface;
    let scopes = surface.approval_scopes().iter();
    let scopes: Vec<&str> = scopes.map(|scope| scope.as_str()).collect();
    without_nulls(json!({
        "requestId": request.request_id,
        "nodeId": request.node_id,
        "clientId": facts.client_id,
        "clientMode": facts.client_mode,
        "displayName": facts.display_name,
        "platform": facts.platform,
        "version": facts.version,
        "deviceFamily": facts.device_family,
        "modelIdentifier": facts.model_identifier,
        "caps": surface.caps,
        "commands": surface.commands,
        "permissions": (!surface.permissions.is_empty()).then_some(&surface.permissions),
        "requiredApproveScopes": scopes,
        "remoteIp": facts.remote_ip,
        "silent": (request.prompt == Prompt::Silent).then_some(true),
        "ts": request.ts,
    }))
}

impl Gateway {
    /// An approved node as operators see it; nothing for one that was not approved.
    pub(in crate::gateway) fn shown_approval(&self, node: &NodeRecord) -> Option<Value> {
        let approval = node.approval.as_ref()?;
        let (facts, surface) = (&node.facts, &approval.surface);
        let visits = self.nodes.book.visits(&node.node_id);
        let name = node.operator_name.as_ref().or(facts.display_name.as_ref());
        Some(without_nulls(json!({
            "nodeId": node.node_id,
            "clientId": facts.client_id,
            "clientMode": facts.client_mode,
            "displayName": name,
            "platform": facts.platform,
            "version": facts.version,
            "deviceFamily": facts.device_family,
            "modelIdentifier": facts.model_identifier,
            "caps": surface.caps,
            "commands": surface.commands,
            "permissions": (!surface.permissions.is_empty()).then_some(&surface.permissions),
            "remoteIp": facts.remote_ip,
            "createdAtMs": node.created_at_ms,
            "approvedAtMs": approval.approved_at_ms,
            "lastConnectedAtMs": visits.last_connected_at_ms,
            "lastDisconnectedAtMs": visits.last_disconnected_at_ms,
            "lastSeenAtMs": visits.last_seen_at_ms,
            "lastSeenReason": visits.last_seen_reason,
        })))
    }

    /// Approves a request, if the approver holds what that takes.
    pub(in crate::gateway) fn approve_surface(
        &mut self,
        now: Now,
        scopes: &ScopeSet,
        request: &NodeRequest,
    ) -> Result<NodeRecord, RpcError> {
        let needed = request.surface.approval_scopes();
        if let Some(missing) = needed.iter().find(|scope| !scopes.allows(**scope)) {
            let needed: Vec<&str> = needed.iter().map(|scope| scope.as_str()).collect();
            let missing = missing.as_str();
            let message = format!("missing scope: {missing}");
            let details = json!({
                "code": "MISSING_SCOPE",
                "missingScope": missing,
                "requiredScopes": needed,
            });
            return Err(RpcError::new(RpcCode::Forbidden, message).with_details(details));
        }
        let (node_id, id) = (&request.node_id, &request.request_id);
        let (book, journal) = (&mut self.nodes.book, &mut self.out.journal);
        let surface = request.surface.clone();
        let Some(node) = book.approve(journal, now.wall, node_id, surface) else {
            return Err(RpcError::invalid_request("unknown requestId"));
        };
        book.drop_request(journal, id);
        // The live session has it at once: what counts is worked out when it is needed.
        self.recheck_invokes(now);
        self.tell_surface(now, id, node_id, "approved");
        if let Some(live) = self.nodes.live.get(node_id) {
            let payload = resolved(now, id, node_id, "approved");
            if let Ok(payload) = RawJson::encode(&payload) {
                let event =
                    OutboundEvent::new("node.pair.resolved", &payload, None, Droppable::Never);
                let conn = live.conn;
                self.deliver(conn, Delivery::Targeted(event));
            }
        }
        Ok(node)
    }

    /// Tells operators what became of a request, or of a node.
    pub(in crate::gateway) fn tell_surface(
        &mut self,
        now: Now,
        request_id: &str,
        node_id: &str,
        decision: &str,
    ) {
        let payload = resolved(now, request_id, node_id, decision);
        self.tell_pairing("node.pair.resolved", &payload);
    }

    /// Ends calls of commands that their nodes may not be asked for any more.
    pub(in crate::gateway) fn recheck_invokes(&mut self, now: Now) {
        for id in self.nodes.invokes.pick(|_| true) {
            let Some(invoke) = self.nodes.invokes.get(id) else {
                continue;
            };
            let effective = self.effective_surface(&invoke.call.node);
            if !effective.commands.contains(&invoke.call.command) {
                self.end_invoke(now, id, Err(InvokeFault::PairingChanged));
            }
        }
    }
}

fn resolved(now: Now, request_id: &str, node_id: &str, decision: &str) -> Value {
    json!({
        "requestId": request_id,
        "nodeId": node_id,
        "decision": decision,
        "ts": now.wall,
    })
}

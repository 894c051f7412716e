//! `node.pair.*`: what nodes ask to do, and the answers (spec protocol §8.1).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, Parting, encode, nodes::unknown_node};
use crate::{
    gateway::{devices::Resolution, nodes::shown_request},
    ids::ConnId,
    protocol::{Role, RpcError},
    time::Now,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestParams {
    request_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeParams {
    node_id: String,
}

impl Gateway {
    pub(super) fn node_pair_list(&self, conn: ConnId, params: Params<'_>) -> Answer {
        params.none()?;
        let manager = self.manager(conn)?;
        let mut pending: Vec<_> = self
            .nodes
            .book
            .requests()
            .filter(|request| !manager.is_barred_from(&request.node_id))
            .collect();
        pending.sort_by_key(|request| std::cmp::Reverse(request.ts));
        let pending: Vec<Value> = pending.into_iter().map(shown_request).collect();
        let mut paired: Vec<_> = self
            .nodes
            .book
            .all()
            .filter(|node| !manager.is_barred_from(&node.node_id))
            .collect();
        let approved_at = |node: &crate::gateway::nodes::NodeRecord| {
            node.approval
                .as_ref()
                .map(|approval| approval.approved_at_ms)
        };
        paired.sort_by_key(|node| std::cmp::Reverse(approved_at(node)));
        let paired: Vec<Value> = paired
            .into_iter()
            .filter_map(|node| self.shown_approval(node))
            .collect();
        encode(&json!({ "pending": pending, "paired": paired }))
    }

    pub(super) fn node_pair_approve(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let RequestParams { request_id } = params.parse()?;
        let id = request_id.trim();
        let request = self.node_request(now, conn, id, "node.pair.approve", "approval")?;
        let scopes = self
            .client(conn)
            .map(|client| client.scopes.clone())
            .unwrap_or_default();
        let node = match self.approve_surface(now, &scopes, &request) {
            Ok(node) => node,
            Err(error) => {
                self.note(now, conn, "node.pair.approve", Some("missing-scope"), id);
                return Err(error);
            }
        };
        self.note(now, conn, "node.pair.approve", None, id);
        encode(&json!({ "requestId": id, "node": self.shown_approval(&node) }))
    }

    pub(super) fn node_pair_reject(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let RequestParams { request_id } = params.parse()?;
        let id = request_id.trim();
        let request = self.node_request(now, conn, id, "node.pair.reject", "rejection")?;
        let (book, journal) = (&mut self.nodes.book, &mut self.out.journal);
        book.drop_request(journal, id);
        self.note(now, conn, "node.pair.reject", None, id);
        self.tell_surface(now, id, &request.node_id, "rejected");
        encode(&json!({ "requestId": id, "nodeId": request.node_id }))
    }

    /// Takes the role of a node away from a device, with everything that was approved for it. A device
    /// that has no other role is forgotten.
    pub(super) fn node_pair_remove(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let NodeParams { node_id } = params.parse()?;
        let id = node_id.trim();
        let is_node =
            |device: &crate::gateway::devices::PairedDevice| device.roles.contains(&Role::Node);
        if !self.devices.get(id).is_some_and(is_node) {
            return Err(unknown_node());
        }
        let manager = self.manager(conn)?;
        // A device may not take the role of a node away even from itself: only administrators manage
        // roles, and callers that are no devices.
        if manager.is_barred_from(id) || (manager.owns(id) && !manager.is_admin()) {
            self.note(now, conn, "node.pair.remove", Some("not-allowed"), id);
            return Err(RpcError::invalid_request("node pairing removal denied"));
        }
        let asked = self
            .devices
            .remove_role(&mut self.out.journal, id, Role::Node)
            .ok_or_else(unknown_node)?;
        for request in asked {
            self.resolve(now, &request, Resolution::Rejected);
        }
        self.forget_node(now, id);
        self.note(now, conn, "node.pair.remove", None, id);
        self.tell_pairing("device.pair.changed", &json!({}));
        self.tell_surface(now, "", id, "removed");
        self.calls.part(Parting {
            device_id: id.into(),
            role: Some(Role::Node),
            reason: "client invalidated: device-pair-removed",
        });
        encode(&json!({ "nodeId": id }))
    }

    /// A request that the caller may answer. Devices learn nothing about requests that are not theirs.
    fn node_request(
        &mut self,
        now: Now,
        conn: ConnId,
        id: &str,
        action: &'static str,
        what: &str,
    ) -> Result<crate::gateway::nodes::NodeRequest, RpcError> {
        let manager = self.manager(conn)?;
        let request = self.nodes.book.request(id).cloned();
        let barred = match &request {
            Some(request) => manager.is_barred_from(&request.node_id),
            None => manager.is_device() && !manager.is_admin(),
        };
        if barred {
            self.note(now, conn, action, Some("not-allowed"), id);
            return Err(RpcError::invalid_request(format!(
                "node pairing {what} denied"
            )));
        }
        request.ok_or_else(|| RpcError::invalid_request("unknown requestId"))
    }
}

//! `node.list`, `node.describe`, `node.rename` (spec protocol §8.7).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{
    gateway::nodes::{NodeView, without_nulls},
    ids::ConnId,
    protocol::{Role, RpcCode, RpcError},
    scope::Scope,
    time::Now,
};

/// Characters that a name may have.
const MAX_NAME: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeParams {
    node_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RenameParams {
    node_id: String,
    display_name: String,
}

impl Gateway {
    /// What a caller may see of pending requests.
    fn node_view(&self, conn: ConnId) -> NodeView {
        let client = self.client(conn);
        if client.is_some_and(|client| client.scopes.allows(Scope::Pairing)) {
            NodeView::Whole
        } else {
            NodeView::Reader(client.and_then(|client| client.device_id.clone()))
        }
    }

    /// The node that calls.
    pub(super) fn calling_node(&self, conn: ConnId) -> Result<String, RpcError> {
        let client = self.client(conn).filter(|client| client.role == Role::Node);
        let id = client.and_then(|client| client.device_id.clone());
        id.ok_or_else(|| RpcError::new(RpcCode::Unavailable, "the connection is gone"))
    }

    pub(super) fn node_list(&self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        params.none()?;
        let nodes = self.node_rows(&self.node_view(conn));
        let active = nodes.iter().find(|node| node["active"] == true);
        let active = active.map(|node| node["nodeId"].clone());
        encode(&without_nulls(json!({
            "ts": now.wall,
            "activeNodeId": active,
            "nodes": nodes,
        })))
    }

    pub(super) fn node_describe(&self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let NodeParams { node_id } = params.parse()?;
        let mut row = self
            .node_row(node_id.trim(), &self.node_view(conn))
            .ok_or_else(unknown_node)?;
        if let Value::Object(fields) = &mut row {
            fields.insert("ts".into(), json!(now.wall));
        }
        encode(&row)
    }

    pub(super) fn node_rename(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: RenameParams = params.parse()?;
        let (id, name) = (asked.node_id.trim(), asked.display_name.trim());
        if name.is_empty() || name.chars().count() > MAX_NAME {
            let problem = format!("displayName must have 1 to {MAX_NAME} characters");
            return Err(params.error(&problem));
        }
        if self.manager(conn)?.is_barred_from(id) {
            self.note(now, conn, "node.rename", Some("not-allowed"), id);
            return Err(RpcError::invalid_request("node rename denied"));
        }
        let (book, journal) = (&mut self.nodes.book, &mut self.out.journal);
        if !book.rename(journal, id, name.into()) {
            return Err(unknown_node());
        }
        self.note(now, conn, "node.rename", None, id);
        encode(&json!({ "nodeId": id, "displayName": name }))
    }
}

pub(super) fn unknown_node() -> RpcError {
    RpcError::invalid_request("unknown nodeId")
}

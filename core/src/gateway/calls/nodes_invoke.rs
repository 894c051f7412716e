//! `node.invoke` and what nodes answer; the calls of a node that the gateway passes on (spec protocol
//! §8.4, §6.8).

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{Answer, Gateway, Params, Step, encode};
use crate::{
    frame::RawJson,
    gateway::nodes::{CallTime, InvokeFault, InvokeOrigin, NodeCall, NodeReply},
    ids::{ConnId, RequestId},
    protocol::RpcError,
    time::Now,
};

/// Bytes of one part of an output.
const MAX_CHUNK: usize = 16 * 1024;

/// Bytes of an idempotency key or a session key.
const MAX_KEY: usize = 512;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InvokeParams {
    node_id: String,
    command: String,
    idempotency_key: String,
    params: Option<Box<RawValue>>,
    timeout_ms: Option<u64>,
    session_key: Option<String>,
    #[serde(rename = "turnSourceChannel")]
    _channel: Option<String>,
    #[serde(rename = "turnSourceTo")]
    _to: Option<String>,
    #[serde(rename = "turnSourceAccountId")]
    _account: Option<String>,
    #[serde(rename = "turnSourceThreadId")]
    _thread: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResultParams {
    id: String,
    node_id: String,
    ok: bool,
    payload: Option<Box<RawValue>>,
    #[serde(rename = "payloadJSON")]
    payload_json: Option<String>,
    error: Option<ResultError>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultError {
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProgressParams {
    invoke_id: String,
    node_id: String,
    seq: u64,
    chunk: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NodeParams {
    node_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetParams {
    node_id: String,
    file: Box<RawValue>,
    base_hash: Option<String>,
}

impl Gateway {
    pub(super) fn node_invoke(
        &mut self,
        now: Now,
        conn: ConnId,
        id: &RequestId,
        params: Params<'_>,
    ) -> Step {
        let origin = InvokeOrigin::Caller {
            conn,
            request: id.clone(),
        };
        match node_call(params) {
            Ok(call) => self.start_invoke(now, origin, call),
            Err(error) => Step::Answer(Err(error)),
        }
    }

    /// The rules of a node for programs that it runs, as the node keeps them.
    pub(super) fn exec_approvals_node_get(
        &mut self,
        now: Now,
        conn: ConnId,
        id: &RequestId,
        params: Params<'_>,
    ) -> Step {
        match params.parse() {
            Ok(NodeParams { node_id }) => {
                let call = own_call(now, id, node_id, "system.execApprovals.get", json!({}));
                self.relay(now, conn, id, call)
            }
            Err(error) => Step::Answer(Err(error)),
        }
    }

    pub(super) fn exec_approvals_node_set(
        &mut self,
        now: Now,
        conn: ConnId,
        id: &RequestId,
        params: Params<'_>,
    ) -> Step {
        match params.parse::<SetParams>() {
            Ok(asked) => {
                let mut file = json!({ "file": asked.file });
                if let (Some(hash), Value::Object(fields)) = (asked.base_hash, &mut file) {
                    fields.insert("baseHash".into(), hash.into());
                }
                let call = own_call(now, id, asked.node_id, "system.execApprovals.set", file);
                self.relay(now, conn, id, call)
            }
            Err(error) => Step::Answer(Err(error)),
        }
    }

    fn relay(&mut self, now: Now, conn: ConnId, id: &RequestId, call: NodeCall) -> Step {
        let origin = InvokeOrigin::Relay {
            conn,
            request: id.clone(),
        };
        self.start_invoke(now, origin, call)
    }

    fn start_invoke(&mut self, now: Now, origin: InvokeOrigin, call: NodeCall) -> Step {
        match self.invoke_node(now, origin, call) {
            Ok(_) => Step::Later,
            Err(error) => Step::Answer(Err(error)),
        }
    }

    pub(super) fn node_invoke_result(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let result: ResultParams = params.parse()?;
        self.is_own(conn, &result.node_id)?;
        let limit = self.setup.limits.max_node_result;
        let (id, too_large, outcome) = outcome_of(result, limit);
        let taken = self.node_answered(now, conn, &id, outcome);
        match too_large {
            Some(problem) if taken => Err(params.error(&problem)),
            Some(_) | None if taken => encode(&json!({ "ok": true })),
            Some(_) | None => encode(&json!({ "ok": true, "ignored": true })),
        }
    }

    pub(super) fn node_invoke_progress(&mut self, conn: ConnId, params: Params<'_>) -> Answer {
        let progress: ProgressParams = params.parse()?;
        self.is_own(conn, &progress.node_id)?;
        if progress.chunk.len() > MAX_CHUNK {
            return Err(RpcError::invalid_request("progress chunk too large"));
        }
        let invokes = &mut self.nodes.invokes;
        let taken = invokes
            .find(conn, &progress.invoke_id)
            .and_then(|id| invokes.progress(id, progress.seq, progress.chunk));
        // Nobody who calls now follows the output; that it began is what counts.
        encode(&json!({ "ok": true, "ignored": taken.is_none() }))
    }

    fn is_own(&self, conn: ConnId, node_id: &str) -> Result<(), RpcError> {
        if self.calling_node(conn)? == node_id {
            Ok(())
        } else {
            Err(RpcError::invalid_request("nodeId mismatch"))
        }
    }
}

fn node_call(params: Params<'_>) -> Result<NodeCall, RpcError> {
    let asked: InvokeParams = params.parse()?;
    let (node, command) = (asked.node_id.trim(), asked.command.trim());
    if node.is_empty() || command.is_empty() {
        return Err(RpcError::invalid_request("nodeId and command required"));
    }
    let session_key = asked.session_key.filter(|key| !key.is_empty());
    for (name, key) in [
        ("idempotencyKey", Some(&asked.idempotency_key)),
        ("sessionKey", session_key.as_ref()),
    ] {
        if key.is_some_and(|key| key.is_empty() || key.len() > MAX_KEY) {
            return Err(params.error(&format!("{name} must have 1 to {MAX_KEY} bytes")));
        }
    }
    Ok(NodeCall {
        node: node.into(),
        command: command.into(),
        params: asked.params.and_then(raw),
        time: CallTime::of_millis(asked.timeout_ms),
        idempotency_key: asked.idempotency_key,
        session_key,
    })
}

/// A call of the gateway's own.
fn own_call(now: Now, id: &RequestId, node: String, command: &str, params: Value) -> NodeCall {
    NodeCall {
        node,
        command: command.into(),
        params: RawJson::encode(&params).ok(),
        time: CallTime::of_millis(None),
        idempotency_key: format!("{command}:{id}:{}", now.wall.0),
        session_key: None,
    }
}

fn raw(value: Box<RawValue>) -> Option<RawJson> {
    RawJson::checked(Box::<str>::from(value)).ok()
}

/// What a result comes to: whose it is, what is wrong with its size, and what the caller gets.
fn outcome_of(
    result: ResultParams,
    limit: usize,
) -> (String, Option<String>, Result<NodeReply, InvokeFault>) {
    let ResultParams {
        id,
        ok,
        payload,
        payload_json,
        error,
        ..
    } = result;
    let payload_bytes = payload.as_ref().map_or(0, |payload| payload.get().len());
    let bytes = payload_bytes + payload_json.as_ref().map_or(0, String::len);
    if bytes > limit {
        let problem = format!("the result has {bytes} bytes, and the limit is {limit}");
        return (
            id,
            Some(problem),
            Err(InvokeFault::TooLarge { bytes, limit }),
        );
    }
    let outcome = if ok {
        reply(payload, payload_json)
    } else {
        let (code, message) = error.map_or((None, None), |error| (error.code, error.message));
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        Err(InvokeFault::Node {
            code: given(code),
            message: given(message),
        })
    };
    (id, None, outcome)
}

/// Text counts before a value beside it.
fn reply(
    payload: Option<Box<RawValue>>,
    payload_json: Option<String>,
) -> Result<NodeReply, InvokeFault> {
    let payload = match &payload_json {
        Some(text) if text.trim().is_empty() => None,
        Some(text) => Some(RawJson::shallow(text.clone()).ok_or(InvokeFault::Unreadable)?),
        None => payload.and_then(raw),
    };
    Ok(NodeReply {
        payload,
        payload_json,
    })
}

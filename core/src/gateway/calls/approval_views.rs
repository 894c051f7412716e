//! `approval.*`: one approval of whatever kind, its decision, and what was decided before (spec
//! protocol §6.8). The only kind here is `exec`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Gateway, Params, encode, exec_approvals::life_of};
use crate::{
    gateway::approvals::{Approval, Decision, Ended, Ending},
    ids::ConnId,
    protocol::RpcError,
    time::Now,
};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetParams {
    id: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Exec,
    Plugin,
    SystemAgent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResolveParams {
    id: String,
    kind: Kind,
    decision: Decision,
    reviewer: Option<Value>,
    grant_expires_in_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryParams {
    cursor: Option<String>,
    limit: Option<usize>,
    kind: Option<Kind>,
}

fn not_found() -> RpcError {
    RpcError::invalid_request("approval not found")
        .with_details(json!({ "reason": "APPROVAL_NOT_FOUND" }))
}

impl Gateway {
    pub(super) fn approval_get(&self, params: Params<'_>) -> Answer {
        let GetParams { id } = params.parse()?;
        let approval = self.approvals.get(&id).ok_or_else(not_found)?;
        encode(&json!({ "approval": snapshot(approval) }))
    }

    pub(super) fn approval_resolve(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let asked: ResolveParams = params.parse()?;
        let life = life_of(params, asked.grant_expires_in_days)?;
        let approval = self.approvals.get(&asked.id).ok_or_else(not_found)?;
        if asked.reviewer.is_some() {
            return Err(not_found());
        }
        let id = approval.id.clone();
        if !approval.is_pending() {
            let shown = snapshot(approval);
            self.out.lean_on(self.approvals.unsettled(&id));
            return encode(&json!({ "applied": false, "approval": shown }));
        }
        let fits = asked.kind == Kind::Exec
            && approval.request.allowed_decisions.contains(&asked.decision);
        if !fits {
            return Err(params.error("this approval does not take that decision"));
        }
        let approval = self.decide_approval(now, conn, &id, asked.decision, life)?;
        encode(&json!({ "applied": true, "approval": snapshot(&approval) }))
    }

    pub(super) fn approval_history(&self, params: Params<'_>) -> Answer {
        let asked: HistoryParams = params.parse()?;
        let limit = asked.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(params.error(&format!("limit must be 1 to {MAX_PAGE}")));
        }
        let after = asked.cursor.as_deref().map(Cursor::parse);
        let after = match after {
            Some(None) => return Err(RpcError::invalid_request("invalid approval.history cursor")),
            Some(Some(cursor)) => Some(cursor),
            None => None,
        };
        let of_kind = asked.kind.is_none_or(|kind| kind == Kind::Exec);
        let mut left = self
            .approvals
            .history()
            .into_iter()
            .filter(|_| of_kind)
            .skip_while(|(approval, ended)| {
                after
                    .as_ref()
                    .is_some_and(|after| Cursor::of(approval, ended) >= *after)
            });
        let page: Vec<(&Approval, &Ended)> = left.by_ref().take(limit).collect();
        let more = left.next().is_some();
        let items: Vec<Value> = page
            .iter()
            .map(|(approval, _)| snapshot(approval))
            .collect();
        let mut answer = json!({ "items": items });
        if let (true, Some((approval, ended)), Value::Object(fields)) =
            (more, page.last(), &mut answer)
        {
            let cursor = Cursor::of(approval, ended).to_string();
            fields.insert("nextCursor".into(), cursor.into());
        }
        encode(&answer)
    }
}

/// A place in the history, which goes from new to old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor<'a> {
    at: u64,
    id: &'a str,
}

impl<'a> Cursor<'a> {
    fn of(approval: &'a Approval, ended: &Ended) -> Self {
        Self {
            at: ended.at_ms.0,
            id: approval.id.as_str(),
        }
    }

    fn parse(text: &'a str) -> Option<Self> {
        let (at, id) = text.split_once(':')?;
        let at = at.parse().ok()?;
        Some(Self { at, id })
    }
}

impl std::fmt::Display for Cursor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.at, self.id)
    }
}

/// The published form: what reviewers may see, and how it ended.
fn snapshot(approval: &Approval) -> Value {
    let request = &approval.request;
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
    put("id", json!(approval.id));
    put(
        "urlPath",
        format!("/approve/{}", percent_encoded(approval.id.as_str())).into(),
    );
    put("createdAtMs", json!(approval.created_at_ms));
    put("expiresAtMs", json!(approval.expires_at_ms));
    let mut presentation = json!({
        "kind": "exec",
        "commandText": request.command,
        "commandPreview": request.command_preview,
        "warningText": request.warning_text,
        "host": request.host,
        "nodeId": request.node_id,
        "agentId": request.agent_id,
        "allowedDecisions": request.allowed_decisions,
    });
    if let (Some(scope), Value::Object(shown)) = (&request.scope, &mut presentation) {
        shown.insert("scope".into(), json!(scope));
    }
    put("presentation", presentation);
    let Some(Ended { at_ms, ending }) = &approval.ended else {
        put("status", "pending".into());
        return Value::Object(fields);
    };
    let status = match ending {
        Ending::Decided {
            decision: Decision::AllowAlways | Decision::AllowOnce,
            ..
        } => "allowed",
        Ending::Decided {
            decision: Decision::Deny,
            ..
        }
        | Ending::NoRoute => "denied",
        Ending::Expired => "expired",
        Ending::GatewayRestart | Ending::RunAborted => "cancelled",
    };
    put("status", status.into());
    put("reason", ending.reason().into());
    put("resolvedAtMs", json!(at_ms));
    match ending {
        Ending::Decided {
            decision, resolver, ..
        } => {
            put("decision", json!(decision));
            put("resolver", json!(resolver));
        }
        Ending::NoRoute => {
            put("decision", json!(Decision::Deny));
        }
        Ending::Expired | Ending::GatewayRestart | Ending::RunAborted => {}
    }
    let mut source = Map::new();
    for (name, value) in [
        ("agentId", &request.agent_id),
        ("sessionKey", &request.session_key),
    ] {
        if let Some(value) = value {
            source.insert(name.into(), value.as_str().into());
        }
    }
    put("source", Value::Object(source));
    Value::Object(fields)
}

/// As a part of a URL's path.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

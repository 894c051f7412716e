//! `exec.approval.*`: asking whether a program may run, and deciding it (spec protocol §6.8).

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, Step, encode};
use crate::{
    gateway::{
        approvals::{
            self, ActionScope, Approval, ApprovalAsk, ApprovalOrigin, Decision, Ending,
            ExecRequest, Found, MAX_GRANTS, Phases, Reach, Resolver, ResolverKind, decision_of,
            shown,
        },
        clients::Client,
    },
    ids::{ApprovalId, ConnId, RequestId},
    protocol::{RpcCode, RpcError},
    time::Now,
};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Days for which a grant may be good.
const GRANT_DAYS: std::ops::RangeInclusive<u32> = 1..=3_650;

/// Characters of an id that the asker chose.
const MAX_ID: usize = 128;

/// Ids that begin so are those of other kinds of approvals.
const RESERVED: &str = "plugin:";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestParams {
    id: Option<String>,
    command: Option<String>,
    command_argv: Option<Vec<String>>,
    system_run_plan: Option<Plan>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<String>,
    node_id: Option<String>,
    host: Option<String>,
    security: Option<String>,
    ask: Option<String>,
    warning_text: Option<String>,
    scope: Option<ActionScope>,
    unavailable_decisions: Option<Vec<OnlyAlways>>,
    #[serde(rename = "commandSpans")]
    _command_spans: Option<Vec<Value>>,
    agent_id: Option<String>,
    resolved_path: Option<String>,
    session_key: Option<String>,
    session_id: Option<String>,
    run_id: Option<String>,
    tool_call_id: Option<String>,
    turn_source_channel: Option<String>,
    turn_source_to: Option<String>,
    turn_source_account_id: Option<String>,
    turn_source_thread_id: Option<Value>,
    #[serde(rename = "approvalReviewerDeviceIds")]
    _approval_reviewer_device_ids: Option<Vec<String>>,
    require_delivery_route: Option<bool>,
    suppress_delivery: Option<bool>,
    #[serde(rename = "deliverToApprovalClientsOnly")]
    _deliver_to_approval_clients_only: Option<bool>,
    timeout_ms: Option<u64>,
    two_phase: Option<bool>,
}

/// The only decision that an asker may take away.
#[derive(Deserialize)]
enum OnlyAlways {
    #[serde(rename = "allow-always")]
    AllowAlways,
}

/// What a node said that it would run.
#[derive(Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    argv: Vec<String>,
    cwd: Option<String>,
    command_text: String,
    agent_id: Option<String>,
    session_key: Option<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdParams {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResolveParams {
    id: String,
    decision: String,
    reviewer: Option<Value>,
    grant_expires_in_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantsParams {
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantParams {
    grant_id: String,
}

/// Who decides, by record and by the name that people know.
pub(super) fn resolver_of(client: &Client) -> (Resolver, String) {
    let resolver = match &client.device_id {
        Some(device) => Resolver {
            kind: ResolverKind::Device,
            id: Some(device.clone()),
        },
        None => Resolver {
            kind: ResolverKind::Runtime,
            id: Some(client.info.id.as_str().into()),
        },
    };
    let name = client.info.display_name.clone();
    (
        resolver,
        name.unwrap_or_else(|| client.info.id.as_str().into()),
    )
}

/// For how long the grant of a decision is good.
pub(super) fn life_of(params: Params<'_>, days: Option<u32>) -> Result<Option<Duration>, RpcError> {
    match days {
        Some(days) if !GRANT_DAYS.contains(&days) => {
            let (least, most) = (GRANT_DAYS.start(), GRANT_DAYS.end());
            Err(params.error(&format!(
                "grantExpiresInDays must be from {least} to {most}"
            )))
        }
        days => Ok(days.map(|days| DAY * days)),
    }
}

fn not_found() -> RpcError {
    RpcError::invalid_request("unknown or expired approval id")
        .with_details(json!({ "reason": "APPROVAL_NOT_FOUND" }))
}

fn filled(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

impl Gateway {
    pub(super) fn exec_approval_request(
        &mut self,
        now: Now,
        conn: ConnId,
        call: &RequestId,
        params: Params<'_>,
    ) -> Step {
        match self.approval_ask(params) {
            Ok((ask, phases)) => {
                let origin = ApprovalOrigin::Caller {
                    conn,
                    request: call.clone(),
                    phases,
                };
                match self.request_approval(now, ask, origin) {
                    Ok(id) => {
                        self.note(now, conn, "exec.approval.request", None, id.as_str());
                        Step::Later
                    }
                    Err(error) => Step::Answer(Err(error)),
                }
            }
            Err(error) => Step::Answer(Err(error)),
        }
    }

    fn approval_ask(&self, params: Params<'_>) -> Result<(ApprovalAsk, Phases), RpcError> {
        params.at_most(self.setup.limits.max_approval_request)?;
        let asked: RequestParams = params.parse()?;
        let host = filled(asked.host);
        let on_node = host.as_deref() == Some("node");
        let node_id = filled(asked.node_id);
        if on_node && node_id.is_none() {
            return Err(RpcError::invalid_request(
                "nodeId is required for host=node",
            ));
        }
        let plan = asked.system_run_plan;
        if on_node && plan.is_none() {
            let message = "systemRunPlan is required for host=node";
            return Err(RpcError::invalid_request(message));
        }
        // Only a node binds itself to a plan.
        let plan = plan.filter(|_| on_node);
        let command = plan
            .as_ref()
            .map(|plan| plan.command_text.clone())
            .or(asked.command)
            .filter(|command| !command.trim().is_empty())
            .ok_or_else(|| RpcError::invalid_request("command is required"))?;
        let argv = match &plan {
            Some(plan) => plan.argv.clone(),
            None => asked.command_argv.clone().unwrap_or_default(),
        };
        if on_node && argv.is_empty() {
            let message = "commandArgv is required for host=node";
            return Err(RpcError::invalid_request(message));
        }
        let id = asked.id.map(|id| own_id(&id)).transpose()?;
        if asked.timeout_ms == Some(0) {
            return Err(params.error("timeoutMs must be 1 or more"));
        }
        if asked.scope.as_ref().is_some_and(|scope| !scope.fits()) {
            return Err(params.error("scope has a part that is empty or too long"));
        }
        let only_once = asked
            .unavailable_decisions
            .iter()
            .flatten()
            .any(|OnlyAlways::AllowAlways| true);
        let of_plan = |pick: fn(&Plan) -> Option<String>, said: Option<String>| {
            filled(plan.as_ref().and_then(pick)).or_else(|| filled(said))
        };
        let cwd = of_plan(|plan| plan.cwd.clone(), asked.cwd);
        let agent_id = of_plan(|plan| plan.agent_id.clone(), asked.agent_id);
        let session_key = of_plan(|plan| plan.session_key.clone(), asked.session_key);
        let request = ExecRequest {
            command: shown(&command),
            command_preview: None,
            command_argv: asked.command_argv.filter(|_| !on_node),
            env_keys: asked.env.keys().cloned().collect(),
            system_run_plan: plan.and_then(|plan| serde_json::to_value(plan).ok()),
            cwd: cwd.as_deref().map(shown),
            node_id: node_id.filter(|_| on_node),
            allowed_decisions: approvals::allowed_decisions(asked.ask.as_deref(), only_once),
            host: host.as_deref().map(shown),
            security: asked
                .security
                .filter(|name| ["deny", "allowlist", "full"].contains(&name.as_str())),
            ask: asked
                .ask
                .filter(|name| ["off", "on-miss", "always"].contains(&name.as_str())),
            warning_text: filled(asked.warning_text).as_deref().map(shown),
            scope: asked.scope,
            agent_id,
            resolved_path: filled(asked.resolved_path).as_deref().map(shown),
            session_key,
            session_id: filled(asked.session_id),
            run_id: filled(asked.run_id),
            tool_call_id: filled(asked.tool_call_id),
            turn_source_channel: filled(asked.turn_source_channel),
            turn_source_to: filled(asked.turn_source_to),
            turn_source_account_id: filled(asked.turn_source_account_id),
            turn_source_thread_id: asked.turn_source_thread_id,
        };
        let reach = match (asked.suppress_delivery, asked.require_delivery_route) {
            (Some(true), Some(false)) => Reach::Silent,
            (_, Some(false)) => Reach::Optional,
            (_, _) => Reach::Needed,
        };
        let phases = if asked.two_phase == Some(true) {
            Phases::Two
        } else {
            Phases::One
        };
        let ask = ApprovalAsk {
            id,
            request,
            argv,
            env: asked.env,
            timeout: asked.timeout_ms.map(Duration::from_millis),
            reach,
        };
        Ok((ask, phases))
    }

    pub(super) fn exec_approval_list(&self, params: Params<'_>) -> Answer {
        params.none()?;
        let mut pending: Vec<&Approval> = self.approvals.pending().collect();
        pending.sort_by(|a, b| (a.created_at_ms, &a.id).cmp(&(b.created_at_ms, &b.id)));
        let pending: Vec<Value> = pending
            .into_iter()
            .map(|approval| {
                json!({
                    "id": approval.id,
                    "request": approval.request,
                    "createdAtMs": approval.created_at_ms,
                    "expiresAtMs": approval.expires_at_ms,
                    "approvalKind": "exec",
                })
            })
            .collect();
        encode(&pending)
    }

    pub(super) fn exec_approval_get(&self, params: Params<'_>) -> Answer {
        let IdParams { id } = params.parse()?;
        let approval = self.known_approval(&id)?;
        if !approval.is_pending() {
            return Err(not_found());
        }
        let request = &approval.request;
        encode(&json!({
            "id": approval.id,
            "commandText": request.command,
            "commandPreview": request.command_preview,
            "allowedDecisions": request.allowed_decisions,
            "host": request.host,
            "nodeId": request.node_id,
            "agentId": request.agent_id,
            "expiresAtMs": approval.expires_at_ms,
        }))
    }

    pub(super) fn exec_approval_wait(
        &mut self,
        conn: ConnId,
        call: &RequestId,
        params: Params<'_>,
    ) -> Step {
        let id = match params.parse::<IdParams>() {
            Ok(IdParams { id }) => id,
            Err(error) => return Step::Answer(Err(error)),
        };
        let Some(approval) = self.approvals.get(id.trim()) else {
            let message = "approval expired or not found";
            return Step::Answer(Err(RpcError::invalid_request(message)));
        };
        let id = approval.id.clone();
        if approval.is_pending() {
            self.wait_for_decision(&id, conn, call.clone(), Phases::One);
            return Step::Later;
        }
        let answer = decision_of(approval);
        self.out.lean_on(self.approvals.unsettled(&id));
        Step::Answer(answer)
    }

    pub(super) fn exec_approval_resolve(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let asked: ResolveParams = params.parse()?;
        let Some(decision) = Decision::parse(&asked.decision) else {
            return Err(RpcError::invalid_request("invalid decision"));
        };
        let life = life_of(params, asked.grant_expires_in_days)?;
        // A reviewer of a channel is vouched for by the channel, and none is here.
        if asked.reviewer.is_some() {
            return Err(not_found());
        }
        let approval = self.known_approval(&asked.id)?;
        let id = approval.id.clone();
        if let Some(ended) = &approval.ended {
            let same = ended.ending.decision() == Some(decision);
            let decided = ended.ending.decision().is_some();
            self.out.lean_on(self.approvals.unsettled(&id));
            return match (decided, same) {
                (true, true) => encode(&json!({ "ok": true })),
                (true, false) => Err(RpcError::invalid_request("approval already resolved")
                    .with_details(json!({ "reason": "APPROVAL_ALREADY_RESOLVED" }))),
                (false, _) => Err(not_found()),
            };
        }
        if !approval.request.allowed_decisions.contains(&decision) {
            return Err(
                RpcError::invalid_request("allow-always is unavailable for this command")
                    .with_details(json!({ "reason": "APPROVAL_ALLOW_ALWAYS_UNAVAILABLE" })),
            );
        }
        self.decide_approval(now, conn, &id, decision, life)?;
        encode(&json!({ "ok": true }))
    }

    /// A caller decides a question that waits.
    pub(super) fn decide_approval(
        &mut self,
        now: Now,
        conn: ConnId,
        id: &ApprovalId,
        decision: Decision,
        life: Option<Duration>,
    ) -> Result<Approval, RpcError> {
        let client = self
            .client(conn)
            .ok_or_else(|| RpcError::new(RpcCode::Unavailable, "the connection is gone"))?;
        let (resolver, name) = resolver_of(client);
        let ending = Ending::Decided {
            decision,
            resolver,
            label: Some(name),
        };
        let approval = self
            .end_approval(now, id, ending, life)
            .ok_or_else(not_found)?;
        let subject = format!("{id} {}", decision.as_str());
        self.note(now, conn, "exec.approval.resolve", None, &subject);
        Ok(approval)
    }

    pub(super) fn exec_grants_list(&self, params: Params<'_>) -> Answer {
        let GrantsParams { limit } = params.parse()?;
        let limit = limit.unwrap_or(MAX_GRANTS);
        if !(1..=MAX_GRANTS).contains(&limit) {
            return Err(params.error(&format!("limit must be 1 to {MAX_GRANTS}")));
        }
        encode(&json!({ "grants": approvals::list_grants(&self.settings, limit) }))
    }

    pub(super) fn exec_grants_revoke(
        &mut self,
        now: Now,
        conn: ConnId,
        params: Params<'_>,
    ) -> Answer {
        let GrantParams { grant_id } = params.parse()?;
        let by = self
            .client(conn)
            .map_or_else(String::new, |client| resolver_of(client).1);
        let (settings, journal) = (&mut self.settings, &mut self.out.journal);
        let outcome = approvals::revoke_grant(settings, journal, now.wall, grant_id.trim(), &by);
        self.note(now, conn, "exec.approval.grants.revoke", None, &grant_id);
        encode(&json!({ "outcome": outcome }))
    }

    fn known_approval(&self, id: &str) -> Result<&Approval, RpcError> {
        match self.approvals.find(id.trim()) {
            Found::One(approval) => Ok(approval),
            Found::Nothing => Err(not_found()),
            Found::Ambiguous => Err(RpcError::invalid_request(
                "ambiguous approval id prefix; use the full id",
            )),
        }
    }
}

fn own_id(id: &str) -> Result<ApprovalId, RpcError> {
    let odd = id.is_empty()
        || id.trim() != id
        || id.len() > MAX_ID
        || id == "."
        || id == ".."
        || id.chars().any(char::is_control);
    if odd {
        return Err(RpcError::invalid_request(format!(
            "an approval id is 1 to {MAX_ID} visible bytes"
        )));
    }
    if id.starts_with(RESERVED) {
        return Err(RpcError::invalid_request(format!(
            "approval ids starting with {RESERVED} are reserved"
        )));
    }
    Ok(ApprovalId::new(id))
}

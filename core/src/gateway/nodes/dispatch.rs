//! Calls go out to nodes, and their ends come back to whoever asked (spec protocol §8.4).
//!
//! All calls enter by [`Gateway::invoke_node`] and leave by `invoke_ended`, once each. Between the two
//! lies a node that may answer, not be ready, answer late or never, or vanish; a caller who may go away;
//! and an approval that may be taken back.

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    command_policy::{CommandRefusal, PlatformClass, Reach, is_admin_only},
    invoke::{Busy, Due, EndedInvoke, InvokeFault, InvokeOrigin, NOT_READY, NodeCall, NodeReply},
    live::WatchedRun,
    system_run,
};
use crate::{
    agent::ToolError,
    frame::{Droppable, OutboundEvent, RawJson},
    gateway::Gateway,
    ids::{ConnId, InvokeId},
    protocol::{Role, RpcCode, RpcError},
    scope::Scope,
    server::Delivery,
    time::Now,
    trace::Span,
};

const RUN: &str = "system.run";

/// What an app in the background answers.
const BACKGROUND: &str = "NODE_BACKGROUND_UNAVAILABLE";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestEvent<'a> {
    id: &'a str,
    node_id: &'a str,
    command: &'a str,
    #[serde(rename = "paramsJSON", skip_serializing_if = "Option::is_none")]
    params_json: Option<&'a str>,
    timeout_ms: u64,
    idempotency_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_key: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InvokeAnswer<'a> {
    ok: bool,
    node_id: &'a str,
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(rename = "payloadJSON")]
    payload_json: Option<&'a str>,
}

impl Gateway {
    /// Calls a command of a node. Its end comes to the origin, unless this fails: then nothing was
    /// sent, and nothing follows.
    ///
    /// # Errors
    /// When the node is unknown or not connected, when the command is not claimed, not approved or
    /// not allowed, when the origin may not use it, or when too many calls are under way.
    pub(in crate::gateway) fn invoke_node(
        &mut self,
        now: Now,
        origin: InvokeOrigin,
        mut call: NodeCall,
    ) -> Result<InvokeId, RpcError> {
        let reach = match origin {
            InvokeOrigin::Caller { .. } | InvokeOrigin::Run { .. } | InvokeOrigin::Tool { .. } => {
                Reach::Callers
            }
            InvokeOrigin::Relay { .. } => Reach::Gateway,
        };
        if is_admin_only(&call.command) && !self.is_admin(&origin) {
            return Err(RpcError::missing_scope(Scope::Admin.as_str()));
        }
        let conn = self.conn_for(&call.node, &call.command, reach)?;
        if call.command == RUN
            && let Some(params) = &call.params
        {
            let verdict = match &origin {
                InvokeOrigin::Run { verdict, .. } => *verdict,
                InvokeOrigin::Caller { .. }
                | InvokeOrigin::Relay { .. }
                | InvokeOrigin::Tool { .. } => None,
            };
            let params = system_run::without_verdict(params)?;
            call.params = Some(system_run::with_verdict(params, verdict)?);
        }
        let limits = &self.setup.limits;
        let room =
            self.nodes
                .invokes
                .room(&call.node, limits.max_invokes_per_node, limits.max_invokes);
        if let Err(busy) = room {
            let message = match busy {
                Busy::Node => "the node works on as many calls as it may; try again later",
                Busy::Gateway => "too many node calls are under way; try again later",
            };
            return Err(RpcError::retry_later(message, 1_000));
        }
        self.watch_run(&call);
        // What it is allowed by was perhaps approved a moment ago.
        self.out.lean_on(self.nodes.book.unsettled(&call.node));
        let unsaved = self.out.builds_on();
        let wire_id = self.rng.uuid();
        let span = self.span_for(&origin);
        let invokes = &mut self.nodes.invokes;
        let id = invokes.begin(now.mono, origin, call, conn, wire_id, unsaved);
        invokes.trace(id, span);
        self.send_invoke(now, id);
        Ok(id)
    }

    /// Nobody wants a call any more. The node is told, and so is the origin, if it is still there.
    pub(in crate::gateway) fn cancel_invoke(&mut self, now: Now, id: InvokeId) {
        self.end_invoke(now, id, Err(InvokeFault::Cancelled));
    }

    /// The place of a call in the trace of whoever wants it.
    fn span_for(&mut self, origin: &InvokeOrigin) -> Option<Span> {
        let cause = match origin {
            InvokeOrigin::Run { run, .. } => self.runs.span(run),
            InvokeOrigin::Caller { .. }
            | InvokeOrigin::Relay { .. }
            | InvokeOrigin::Tool { .. } => self.span,
        };
        self.child_of(cause)
    }

    fn is_admin(&self, origin: &InvokeOrigin) -> bool {
        match origin {
            InvokeOrigin::Caller { conn, .. }
            | InvokeOrigin::Relay { conn, .. }
            | InvokeOrigin::Tool { conn, .. } => self
                .client(*conn)
                .is_some_and(|client| client.scopes.allows(Scope::Admin)),
            InvokeOrigin::Run { .. } => false,
        }
    }

    /// The connection that a command may be sent to.
    fn conn_for(&self, node: &str, command: &str, reach: Reach) -> Result<ConnId, RpcError> {
        let policy = &self.setup.admission.node_commands;
        let is_node = |id: &str| {
            let device = self.devices.get(id);
            device.is_some_and(|device| device.roles.contains(&Role::Node))
        };
        let live = self.nodes.live.get(node);
        let live = live.filter(|live| self.client(live.conn).is_some());
        let profile = live.map_or(super::NodeProfile::UNKNOWN, |live| live.profile);
        let verdict = policy.admit(profile, reach, command);
        if verdict == Err(CommandRefusal::Private) {
            return Err(private(command));
        }
        let Some(live) = live else {
            return Err(if is_node(node) {
                not_connected()
            } else {
                pairing_changed()
            });
        };
        if let Err(refusal) = verdict {
            return Err(not_allowed(command, "command not allowlisted", &{
                let platform = live.facts.platform.as_deref().unwrap_or("unknown");
                why(refusal, command, platform)
            }));
        }
        let effective = self.effective_surface(node);
        if effective.commands.contains(command) {
            return Ok(live.conn);
        }
        let reason = if effective.commands.is_empty() {
            "node did not declare commands"
        } else {
            "command not declared by node"
        };
        let request = self.nodes.book.request_of(node);
        let waits = request.filter(|request| request.surface.commands.contains(command));
        Err(not_allowed(
            command,
            reason,
            &match waits {
                Some(request) => format!(
                    "\"{command}\" waits for approval; run `clawgate nodes approve {}`",
                    request.request_id
                ),
                None if live.claim.commands.contains(command) => {
                    format!("\"{command}\" was not approved for this node")
                }
                None => format!("the node does not offer \"{command}\""),
            },
        ))
    }

    /// A node may report on the run of a program that it was asked for, and on no other.
    fn watch_run(&mut self, call: &NodeCall) {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Run {
            run_id: Option<String>,
            session_key: Option<String>,
        }
        let run = call.params.as_ref().filter(|_| call.command == RUN);
        let Some(Run {
            run_id: Some(run_id),
            session_key,
        }) = run.and_then(|params| params.parse().ok())
        else {
            return;
        };
        if let Some(live) = self.nodes.live.get_mut(&call.node) {
            live.watch(WatchedRun {
                run_id,
                session_key: session_key.or_else(|| call.session_key.clone()),
            });
        }
    }

    fn send_invoke(&mut self, now: Now, id: InvokeId) {
        let Some(invoke) = self.nodes.invokes.get(id) else {
            return;
        };
        let call = &invoke.call;
        let payload = RawJson::encode(&RequestEvent {
            id: invoke.wire_id().unwrap_or_default(),
            node_id: &call.node,
            command: &call.command,
            params_json: call.params.as_ref().map(RawJson::as_str),
            timeout_ms: invoke.time_left_ms(now.mono),
            idempotency_key: &call.idempotency_key,
            session_key: call.session_key.as_deref(),
        });
        let conn = invoke.conn;
        self.tell_node(conn, "node.invoke.request", payload);
    }

    fn tell_node(&mut self, conn: ConnId, name: &str, payload: Result<RawJson, serde_json::Error>) {
        if let Ok(payload) = payload {
            let event = OutboundEvent::new(name, &payload, None, Droppable::Never);
            self.deliver(conn, Delivery::Targeted(event));
        }
    }

    /// A node answers a call. Tells whether anybody still waited for it.
    pub(in crate::gateway) fn node_answered(
        &mut self,
        now: Now,
        conn: ConnId,
        wire_id: &str,
        outcome: Result<NodeReply, InvokeFault>,
    ) -> bool {
        let Some(id) = self.nodes.invokes.find(conn, wire_id) else {
            return false;
        };
        if let Err(InvokeFault::Node { code, message }) = &outcome {
            if code.as_deref() == Some(NOT_READY) && self.nodes.invokes.rest(now.mono, id) {
                return true;
            }
            let says = |text: &Option<String>| text.as_deref().is_some_and(is_background);
            if (says(code) || says(message))
                && let Some(action) = self.queue_for_foreground(now, id)
            {
                self.end_invoke(now, id, Err(InvokeFault::Queued { action }));
                return true;
            }
        }
        self.end_invoke(now, id, outcome);
        true
    }

    /// Calls of the camera, the screen and talk wait for an iOS app to come to the foreground.
    fn queue_for_foreground(&mut self, now: Now, id: InvokeId) -> Option<String> {
        let invoke = self.nodes.invokes.get(id)?;
        let InvokeOrigin::Caller { .. } = invoke.origin else {
            return None;
        };
        let call = &invoke.call;
        let live = self.nodes.live.get(&call.node)?;
        let is_ios = matches!(
            live.profile.class,
            PlatformClass::Ios | PlatformClass::Iphone
        );
        let waits = ["camera.", "screen.", "talk."];
        if !is_ios || !waits.iter().any(|kind| call.command.starts_with(kind)) {
            return None;
        }
        let command = (call.command.as_str(), call.params.as_ref());
        let (work, rng) = (&mut self.nodes.work, &mut self.rng);
        Some(work.keep(now, rng, &call.node, command, &call.idempotency_key))
    }

    /// Acts on deadlines of calls, and asks nodes again that were not ready.
    pub(in crate::gateway) fn run_due_invokes(&mut self, now: Now) {
        while let Some(due) = self.nodes.invokes.due(now.mono) {
            match due {
                Due::Late(id) => self.end_invoke(now, id, Err(InvokeFault::TimedOut)),
                Due::Again(id) => {
                    let wire_id = self.rng.uuid();
                    self.nodes.invokes.resume(id, wire_id);
                    self.send_invoke(now, id);
                }
            }
        }
    }

    /// The gateway stops: no call is waited for any longer.
    pub(in crate::gateway) fn stop_invokes(&mut self, now: Now) {
        for id in self.nodes.invokes.pick(|_| true) {
            self.end_invoke(now, id, Err(InvokeFault::Stopping));
        }
    }

    /// The disk failed: calls that waited for it were never sent.
    pub(in crate::gateway) fn fail_unsent_invokes(
        &mut self,
        now: Now,
        commit: crate::store::CommitId,
    ) {
        let unsent = |call: &super::invoke::Invoke| call.unsaved.is_some_and(|last| last >= commit);
        for id in self.nodes.invokes.pick(unsent) {
            self.end_invoke(now, id, Err(InvokeFault::Unsaved));
        }
        self.recheck_invokes(now);
    }

    /// Ends a call. The node is told to stop, unless it was the node that ended it.
    pub(super) fn end_invoke(
        &mut self,
        now: Now,
        id: InvokeId,
        outcome: Result<NodeReply, InvokeFault>,
    ) {
        let Some(invoke) = self.nodes.invokes.end(id) else {
            return;
        };
        self.invoke_over(now.mono, &invoke, &outcome);
        let by_node = match &outcome {
            Ok(_) => true,
            Err(fault) => fault.is_by_node(),
        };
        if let (false, Some(wire_id)) = (by_node, invoke.wire_id()) {
            let payload = json!({ "invokeId": wire_id, "nodeId": invoke.call.node });
            let payload = RawJson::encode(&payload);
            if self.client(invoke.conn).is_some() {
                self.tell_node(invoke.conn, "node.invoke.cancel", payload);
            }
        }
        let NodeCall { node, command, .. } = invoke.call;
        let ended = EndedInvoke {
            origin: invoke.origin,
            node,
            command,
            outcome,
        };
        self.invoke_ended(now, ended);
    }

    /// Hands an ended call to whoever asked for it.
    fn invoke_ended(&mut self, now: Now, ended: EndedInvoke) {
        let EndedInvoke {
            origin,
            node,
            command,
            outcome,
        } = ended;
        let (conn, request, answer) = match origin {
            InvokeOrigin::Caller { conn, request } => {
                let answer = match outcome {
                    Ok(reply) => answer(&node, &command, &reply),
                    Err(fault) => Err(failure(&node, &command, &fault)),
                };
                (conn, request, answer)
            }
            InvokeOrigin::Run { run, call, .. } => {
                return self.run_call_ended(now, &run, &call, of_tool(outcome));
            }
            InvokeOrigin::Tool {
                conn,
                request,
                name,
            } => {
                let outcome = of_tool(outcome);
                (conn, request, tool_answer(&name, &outcome))
            }
            InvokeOrigin::Relay { conn, request } => {
                let answer = match outcome {
                    Ok(reply) => Ok(reply.payload.unwrap_or_else(RawJson::empty_object)),
                    Err(fault) => Err(failure(&node, &command, &fault)),
                };
                (conn, request, answer)
            }
        };
        if self.client(conn).is_some() {
            let response = Delivery::Response {
                id: request,
                outcome: answer,
            };
            self.deliver(conn, response);
        }
    }
}

fn is_background(text: &str) -> bool {
    text.eq_ignore_ascii_case(BACKGROUND) || text.contains("BACKGROUND_UNAVAILABLE")
}

/// An end as agents are told.
fn of_tool(outcome: Result<NodeReply, InvokeFault>) -> Result<RawJson, ToolError> {
    match outcome {
        Ok(reply) => Ok(reply.payload.unwrap_or_else(RawJson::empty_object)),
        Err(fault) => Err(ToolError {
            code: fault.code().unwrap_or("FAILED").to_owned(),
            message: fault.to_string(),
        }),
    }
}

/// The answer to `tools.invoke` (spec protocol §6.5).
fn tool_answer(name: &str, outcome: &Result<RawJson, ToolError>) -> Result<RawJson, RpcError> {
    let payload = match outcome {
        Ok(output) => json!({
            "ok": true,
            "toolName": name,
            "source": "plugin",
            "output": output.parse::<Value>().unwrap_or_default(),
        }),
        Err(ToolError { code, message }) => json!({
            "ok": false,
            "toolName": name,
            "source": "plugin",
            "error": { "code": code, "message": message },
        }),
    };
    RawJson::encode(&payload).map_err(|_| RpcError::invalid_request("no JSON"))
}

fn answer(node: &str, command: &str, reply: &NodeReply) -> Result<RawJson, RpcError> {
    let payload = reply.payload.as_ref().map(RawJson::as_str);
    let payload = payload.map(serde_json::from_str::<&RawValue>).transpose();
    payload
        .and_then(|payload| {
            RawJson::encode(&InvokeAnswer {
                ok: true,
                node_id: node,
                command,
                payload,
                payload_json: reply.payload_json.as_deref(),
            })
        })
        .map_err(|_| {
            RpcError::new(
                RpcCode::Unavailable,
                "the answer could not be written as JSON",
            )
        })
}

fn failure(node: &str, command: &str, fault: &InvokeFault) -> RpcError {
    let (code, message) = (fault.code(), fault.to_string());
    let node_error = json!({ "code": code, "message": message });
    match fault {
        InvokeFault::PairingChanged => pairing_changed(),
        InvokeFault::Queued { action } => {
            let details = json!({
                "code": "QUEUED_UNTIL_FOREGROUND",
                "queuedActionId": action,
                "nodeId": node,
                "command": command,
                "nodeError": { "code": BACKGROUND },
            });
            let mut error = RpcError::new(RpcCode::Unavailable, message).with_details(details);
            error.retryable = Some(true);
            error
        }
        InvokeFault::Unsaved | InvokeFault::Stopping => RpcError::retry_later(message, 1_000)
            .with_details(json!({
                "nodeError": node_error,
                "nodeCommandDispatched": *fault == InvokeFault::Stopping,
            })),
        InvokeFault::Cancelled
        | InvokeFault::Disconnected { .. }
        | InvokeFault::Node { .. }
        | InvokeFault::TimedOut
        | InvokeFault::TooLarge { .. }
        | InvokeFault::Unreadable => {
            let shown = match code {
                Some(code) => format!("{code}: {message}"),
                None => message,
            };
            RpcError::new(RpcCode::Unavailable, shown).with_details(json!({
                "nodeError": node_error,
                "nodeCommandDispatched": true,
            }))
        }
    }
}

fn private(command: &str) -> RpcError {
    let message = if command.starts_with("system.execApprovals.") {
        "node.invoke does not allow system.execApprovals.*; use exec.approvals.node.*"
    } else {
        "node.invoke does not allow private node controls"
    };
    RpcError::invalid_request(message).with_details(json!({ "command": command }))
}

fn not_allowed(command: &str, reason: &str, why: &str) -> RpcError {
    RpcError::invalid_request(format!("node command not allowed: {why}"))
        .with_details(json!({ "reason": reason, "command": command }))
}

fn why(refusal: CommandRefusal, command: &str, platform: &str) -> String {
    match refusal {
        CommandRefusal::Denied => {
            format!("\"{command}\" is blocked by gateway.nodes.commands.deny")
        }
        CommandRefusal::Dangerous => {
            format!("\"{command}\" requires explicit gateway.nodes.commands.allow opt-in")
        }
        CommandRefusal::OtherPlatform => {
            format!("\"{command}\" is not in the allowlist for platform \"{platform}\"")
        }
        CommandRefusal::Private => format!("\"{command}\" is private to the gateway"),
        CommandRefusal::Talk => format!("\"{command}\" requires a trusted Talk-capable node"),
        CommandRefusal::Unlisted => format!(
            "\"{command}\" is not in gateway.nodes.commands.allow, which \
             gateway.nodes.commands.strict demands"
        ),
    }
}

fn not_connected() -> RpcError {
    RpcError::new(RpcCode::Unavailable, "node not connected").with_details(json!({
        "code": "NOT_CONNECTED",
        "nodeError": { "code": "NOT_CONNECTED", "message": "node not connected" },
        "nodeCommandDispatched": false,
    }))
}

/// Also for a node that nobody knows, as the released gateway has it.
pub(crate) fn pairing_changed() -> RpcError {
    let message = "node pairing changed while invocation was active";
    let mut error = RpcError::new(RpcCode::Unavailable, message)
        .with_details(json!({ "code": "PAIRING_CHANGED" }));
    error.retryable = Some(true);
    error
}

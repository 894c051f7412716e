//! Calls of nodes that agents make. Each is on record before it is sent, so that a crash never makes
//! a node do the same thing twice.

use serde_json::{Value, json};

use super::{
    active::{OpenCall, Stage},
    consent,
    record::{CallRecord, CallState},
};
use crate::{
    agent::{AgentInput, ToolCall, ToolError},
    frame::RawJson,
    gateway::{
        Gateway,
        approvals::{Decision, Ending},
        nodes::{CallTime, InvokeOrigin, NodeCall},
        sessions::MessageDraft,
    },
    ids::{InvokeId, RunId, ToolCallId},
    protocol::RpcError,
    time::Now,
};

impl Gateway {
    pub(super) fn call_tool(&mut self, now: Now, run: &RunId, call: ToolCall) {
        let ToolCall {
            id,
            node,
            command,
            params,
        } = call;
        let limit = self.setup.limits.max_run_calls;
        let Some(record) = self.runs.get(run) else {
            return;
        };
        if record.calls.len() >= limit {
            let why = format!("the agent called nodes {limit} times in one run");
            return self.fail_run(now, run, &why);
        }
        if record.calls.iter().any(|made| made.id == id) {
            return self.fail_run(now, run, "the agent used the id of a tool call twice");
        }
        let name = format!("{node}:{command}");
        let data = json!({
            "phase": "start",
            "name": name,
            "toolCallId": id,
            "args": params.parse::<Value>().unwrap_or_default(),
        });
        self.tell_agent(now, run, "tool", data);
        let found = self.find_node(&node);
        let open = OpenCall {
            name,
            node: found.as_ref().ok().cloned().unwrap_or(node),
            command,
            params,
            stage: Stage::New,
        };
        if let Some(active) = self.runs.active.get_mut(run) {
            active.calls.insert(id.clone(), open.clone());
        }
        if let Err(unknown) = found {
            let error = ToolError {
                code: "UNKNOWN_NODE".into(),
                message: unknown.to_string(),
            };
            return self.tool_ended(now, run, &id, Err(error));
        }
        let made = CallRecord {
            id: id.clone(),
            node: open.node.clone(),
            command: open.command.clone(),
            state: CallState::Sent,
            sent_at: now.wall,
        };
        self.runs
            .change(&mut self.out.journal, run, |record| record.calls.push(made));
        self.note_node_call(now, run, &open.node, &open.command);
        let call = self.node_call(now, run, &id, &open, open.params.clone());
        self.send_call(now, run, &id, call, None, Stage::Sent);
    }

    /// What is sent to the node for a call.
    pub(super) fn node_call(
        &self,
        now: Now,
        run: &RunId,
        id: &ToolCallId,
        open: &OpenCall,
        params: RawJson,
    ) -> NodeCall {
        let active = self.runs.active.get(run);
        // The id of a run is free again when it is forgotten; its place is not.
        let order = self.runs.get(run).map_or(0, |record| record.order);
        let left = active.map(|active| active.deadline.saturating_duration_since(now.mono));
        NodeCall {
            node: open.node.clone(),
            command: open.command.clone(),
            params: Some(params),
            time: CallTime::Within(left.unwrap_or_default()),
            idempotency_key: format!("{run}:{order}:{id}"),
            session_key: active.map(|active| active.key.to_string()),
        }
    }

    /// Sends a call; one that cannot be sent has ended.
    pub(super) fn send_call(
        &mut self,
        now: Now,
        run: &RunId,
        id: &ToolCallId,
        call: NodeCall,
        verdict: Option<Decision>,
        stage: fn(InvokeId) -> Stage,
    ) {
        let origin = InvokeOrigin::Run {
            run: run.clone(),
            call: id.clone(),
            verdict,
        };
        match self.invoke_node(now, origin, call) {
            Ok(invoke) => self.set_stage(run, id, stage(invoke)),
            Err(error) => self.tool_ended(now, run, id, Err(tool_error(&error))),
        }
    }

    pub(super) fn set_stage(&mut self, run: &RunId, id: &ToolCallId, stage: Stage) {
        let active = self.runs.active.get_mut(run);
        if let Some(open) = active.and_then(|active| active.calls.get_mut(id)) {
            open.stage = stage;
        }
    }

    /// A node answered, or will not any more.
    pub(in crate::gateway) fn run_call_ended(
        &mut self,
        now: Now,
        run: &RunId,
        call: &ToolCallId,
        outcome: Result<RawJson, ToolError>,
    ) {
        let active = self.runs.active.get(run);
        let Some(open) = active.and_then(|active| active.calls.get(call)).cloned() else {
            return;
        };
        match (&open.stage, outcome) {
            (Stage::Sent(_), Err(error)) if consent::is_wanted(&open.command, &error) => {
                self.plan_call(now, run, call, &open);
            }
            (Stage::Planning(_), Ok(plan)) => self.ask_for_consent(now, run, call, &open, &plan),
            (_, outcome) => self.tool_ended(now, run, call, outcome),
        }
        self.drive_agent(now);
    }

    pub(super) fn tool_ended(
        &mut self,
        now: Now,
        run: &RunId,
        call: &ToolCallId,
        outcome: Result<RawJson, ToolError>,
    ) {
        let Some(active) = self.runs.active.get_mut(run) else {
            return;
        };
        let Some(OpenCall {
            name,
            node,
            command,
            ..
        }) = active.calls.remove(call)
        else {
            return;
        };
        let key = active.key.clone();
        let state = if outcome.is_ok() {
            CallState::Done
        } else {
            CallState::Failed
        };
        self.runs.change(&mut self.out.journal, run, |record| {
            if let Some(made) = record.calls.iter_mut().find(|made| made.id == *call) {
                made.state = state;
            }
        });
        self.note_node_answer(now, run, (&node, &command), &outcome);
        let error = outcome.as_ref().err().map(|error| {
            let ToolError { code, message } = error;
            format!("{code}: {message}")
        });
        let text = match &outcome {
            Ok(result) => Ok(result.as_str()),
            Err(_) => Err(error.as_deref().unwrap_or_default()),
        };
        let draft = MessageDraft::tool_result(self.rng.uuid(), run, call, &name, text);
        if let Some(message) = self
            .sessions
            .append(&mut self.out.journal, now, &key, draft)
        {
            self.tell_message(&key, &message);
        }
        let result = match &outcome {
            Ok(result) => result.parse::<Value>().unwrap_or_default(),
            Err(_) => json!(error),
        };
        let data = json!({
            "phase": "result",
            "name": name,
            "toolCallId": call,
            "result": result,
            "isError": outcome.is_err(),
        });
        self.tell_agent(now, run, "tool", data);
        let call = call.clone();
        self.agent
            .handle(now, run, AgentInput::ToolDone { call, outcome });
    }

    /// The run does not want a call any more.
    pub(super) fn cancel_call(&mut self, now: Now, open: &OpenCall) {
        match &open.stage {
            Stage::New => {}
            Stage::Sent(invoke) | Stage::Planning(invoke) | Stage::Approved(invoke) => {
                self.cancel_invoke(now, *invoke);
            }
            Stage::Asking(approval, _) => {
                self.end_approval(now, approval, Ending::RunAborted, None);
            }
        }
    }
}

pub(super) fn tool_error(error: &RpcError) -> ToolError {
    ToolError {
        code: error.detail_code().unwrap_or(&error.code).to_owned(),
        message: error.message.clone(),
    }
}

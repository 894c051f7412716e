//! Somebody's consent to a program that an agent wants to run. The node asks for it, by refusing;
//! the gateway lets the node say what exactly it would run, asks the holders of
//! `operator.approvals`, and sends the call again with their word (spec protocol §6.8).

use serde_json::{Map, Value, json};

use super::active::{OpenCall, Stage};
use crate::{
    agent::ToolError,
    frame::RawJson,
    gateway::{
        Gateway,
        approvals::{ApprovalAsk, ApprovalOrigin, Decision, Reach, RunDecision},
    },
    ids::{RunId, ToolCallId},
    time::Now,
};

const RUN: &str = "system.run";
const PREPARE: &str = "system.run.prepare";

/// What a node says that wants somebody's word first.
const WANTED: &str = "approval required";

/// Whether a refusal means that somebody has to consent.
pub(super) fn is_wanted(command: &str, error: &ToolError) -> bool {
    command == RUN && error.message.contains(WANTED)
}

impl Gateway {
    /// Lets the node say what exactly it would run.
    pub(super) fn plan_call(&mut self, now: Now, run: &RunId, call: &ToolCallId, open: &OpenCall) {
        let mut params: Map<String, Value> = open.params.parse().unwrap_or_default();
        let known = [
            "command",
            "rawCommand",
            "cwd",
            "agentId",
            "sessionKey",
            "env",
        ];
        params.retain(|name, _| known.contains(&name.as_str()));
        let params = RawJson::encode(&params).unwrap_or_else(|_| RawJson::empty_object());
        let mut prepare = self.node_call(now, run, call, open, params);
        prepare.command = PREPARE.into();
        prepare.idempotency_key.push_str(":plan");
        self.send_call(now, run, call, prepare, None, Stage::Planning);
    }

    /// Asks whoever may decide.
    pub(super) fn ask_for_consent(
        &mut self,
        now: Now,
        run: &RunId,
        call: &ToolCallId,
        open: &OpenCall,
        answer: &RawJson,
    ) {
        let plan = answer
            .parse::<Value>()
            .ok()
            .and_then(|answer| answer.get("plan").cloned())
            .unwrap_or_default();
        let argv: Vec<String> = plan
            .get("argv")
            .and_then(|argv| serde_json::from_value(argv.clone()).ok())
            .unwrap_or_default();
        let text = |name: &str| plan.get(name)?.as_str().map(str::to_owned);
        let Some(active) = self.runs.active.get(run).filter(|_| !argv.is_empty()) else {
            let error = ToolError {
                code: "SYSTEM_RUN_DENIED".into(),
                message: "the node did not say what it would run".into(),
            };
            return self.tool_ended(now, run, call, Err(error));
        };
        let mut ask = ApprovalAsk::command(&text("commandText").unwrap_or_else(|| argv.join(" ")));
        ask.timeout = Some(active.deadline.saturating_duration_since(now.mono));
        ask.request.command_argv = Some(argv.clone());
        ask.request.cwd = text("cwd");
        ask.request.host = Some("node".into());
        ask.request.node_id = Some(open.node.clone());
        ask.request.agent_id = Some(active.agent_id.clone());
        ask.request.session_key = Some(active.key.to_string());
        ask.request.run_id = Some(run.to_string());
        ask.request.tool_call_id = Some(call.to_string());
        ask.request.system_run_plan = Some(plan.clone());
        ask.argv = argv;
        // Nobody may be looking now; the question waits as long as the run does.
        ask.reach = Reach::Optional;
        let plan = RawJson::encode(&plan).unwrap_or_else(|_| RawJson::empty_object());
        let origin = ApprovalOrigin::Run {
            run: run.clone(),
            call: call.clone(),
        };
        match self.request_approval(now, ask, origin) {
            Ok(id) => {
                let data = json!({
                    "phase": "requested",
                    "approvalId": id,
                    "toolCallId": call,
                    "name": open.name,
                });
                self.set_stage(run, call, Stage::Asking(id, plan));
                self.tell_agent(now, run, "approval", data);
            }
            Err(error) => {
                let error = super::tools::tool_error(&error);
                self.tool_ended(now, run, call, Err(error));
            }
        }
    }

    /// Takes the decisions that were made, and goes on with them.
    pub(in crate::gateway) fn take_decisions(&mut self, now: Now) {
        loop {
            let decisions = self.take_run_decisions();
            if decisions.is_empty() {
                return;
            }
            for decided in decisions {
                self.decided(now, &decided);
            }
            self.drive_agent(now);
        }
    }

    fn decided(&mut self, now: Now, decided: &RunDecision) {
        let RunDecision {
            approval,
            run,
            call,
            decision,
        } = decided;
        let active = self.runs.active.get(run);
        let Some(open) = active.and_then(|active| active.calls.get(call)).cloned() else {
            return;
        };
        let Stage::Asking(asked, plan) = &open.stage else {
            return;
        };
        if asked != approval {
            return;
        }
        let verdict = match decision {
            Some(verdict @ (Decision::AllowOnce | Decision::AllowAlways)) => *verdict,
            Some(Decision::Deny) | None => {
                let message = match decision {
                    Some(_) => "the program was not approved",
                    None => "nobody approved the program in time",
                };
                let error = ToolError {
                    code: "SYSTEM_RUN_DENIED".into(),
                    message: message.into(),
                };
                return self.tool_ended(now, run, call, Err(error));
            }
        };
        let mut params: Map<String, Value> = open.params.parse().unwrap_or_default();
        let plan: Map<String, Value> = plan.parse().unwrap_or_default();
        // What was approved is what runs: the program as the node found it, not as the agent named it.
        params.remove("rawCommand");
        for (field, planned) in [
            ("command", "argv"),
            ("cwd", "cwd"),
            ("agentId", "agentId"),
            ("sessionKey", "sessionKey"),
        ] {
            match plan.get(planned) {
                None | Some(Value::Null) => params.remove(field),
                Some(value) => params.insert(field.into(), value.clone()),
            };
        }
        params.insert("systemRunPlan".into(), Value::Object(plan));
        let params = RawJson::encode(&params).unwrap_or_else(|_| RawJson::empty_object());
        let mut again = self.node_call(now, run, call, &open, params);
        // The node has not run it: it refused. To it this is another call.
        again.idempotency_key.push_str(":approved");
        self.send_call(now, run, call, again, Some(verdict), Stage::Approved);
    }
}

//! `agent`, which answers twice, and `agent.wait` (spec protocol §6.5).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Gateway, Params, Step,
    chat::{AttachmentParams, Message},
    encode,
};
use crate::{
    frame::Request,
    gateway::{
        channels::Route,
        runs::{QueueMode, RunOptions, RunWaiter, Submitted, Wants, state_payload},
    },
    ids::{ConnId, RunId},
    protocol::RpcError,
    server::Delivery,
    time::Now,
};

const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Fields of `agent` that other gateways know and that speak of what does not exist here. They are
/// named so that a caller who relies on them is told.
const NOT_HERE: [&str; 7] = [
    "groupId",
    "groupChannel",
    "groupSpace",
    "cwd",
    "acpTurnSource",
    "internalRuntimeHandoffId",
    "swarmCollector",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentParams {
    message: String,
    idempotency_key: String,
    agent_id: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    session_id: Option<String>,
    session_key: Option<String>,
    expected_existing_session_id: Option<String>,
    deliver: Option<bool>,
    channel: Option<String>,
    reply_channel: Option<String>,
    to: Option<String>,
    reply_to: Option<String>,
    account_id: Option<String>,
    reply_account_id: Option<String>,
    thread_id: Option<String>,
    attachments: Option<Vec<AttachmentParams>>,
    /// Seconds.
    timeout: Option<u64>,
    extra_system_prompt: Option<String>,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WaitParams {
    run_id: RunId,
    timeout_ms: Option<u64>,
}

impl Gateway {
    pub(super) fn agent_call(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Step {
        match self.start_agent(now, conn, request, params) {
            Ok(step) => step,
            Err(error) => Step::Answer(Err(error)),
        }
    }

    fn start_agent(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Result<Step, RpcError> {
        let asked: AgentParams = params.parse()?;
        if let Some(name) = NOT_HERE
            .into_iter()
            .find(|name| asked.others.contains_key(*name))
        {
            return Err(params.error(&format!("{name} is not implemented")));
        }
        let key = asked.session_key.as_deref().unwrap_or("main");
        let key = self.session_key(params, key, asked.agent_id.as_deref())?;
        let guard = asked.session_id.or(asked.expected_existing_session_id);
        if let Some(wanted) = guard
            && self
                .sessions
                .get(&key)
                .is_none_or(|entry| entry.session_id.as_str() != wanted)
        {
            return Err(super::chat::session_changed());
        }
        let model = match (asked.provider, asked.model) {
            (Some(provider), Some(model)) => Some(format!("{provider}/{model}")),
            (None, model) => model,
            (Some(_), None) => return Err(params.error("provider needs a model")),
        };
        let route = Route {
            channel: asked.reply_channel.or(asked.channel),
            account: asked.reply_account_id.or(asked.account_id),
            to: asked.reply_to.or(asked.to),
            thread: asked.thread_id,
        };
        let deliver = self.delivery(params, asked.deliver, &key, &route)?;
        let message = Message {
            key,
            text: asked.message,
            idempotency_key: asked.idempotency_key,
            attachments: asked.attachments.unwrap_or_default(),
            mode: QueueMode::Followup,
            options: RunOptions {
                model,
                extra_prompt: asked.extra_system_prompt,
                timeout_ms: asked.timeout.map(|seconds| seconds.saturating_mul(1_000)),
                deliver,
            },
        };
        let submission = self.submission(params, conn, message)?;
        let run = submission.run_id.clone();
        let key = submission.key.clone();
        match self.submit(now, submission)? {
            Submitted::New => {}
            Submitted::InFlight => {
                let payload = json!({ "runId": run, "status": "in_flight" });
                return Ok(Step::Answer(encode(&payload)));
            }
            Submitted::Over => {
                if let Some(record) = self.runs.get(&run).cloned() {
                    return Ok(Step::Answer(self.final_answer(now, &record)));
                }
            }
        }
        let payload = encode(&json!({
            "runId": run,
            "sessionKey": key,
            "agentId": key.agent(),
            "status": "accepted",
            "acceptedAt": now.wall,
        }))?;
        let id = request.id.clone();
        self.deliver(conn, Delivery::Interim { id, payload });
        // The run may be over already: not before the next input, since it begins with its history.
        self.wait_for_run(RunWaiter {
            conn,
            id: request.id.clone(),
            run,
            wants: Wants::Final,
        });
        Ok(Step::Later)
    }

    pub(super) fn agent_wait(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Step {
        let wait: WaitParams = match params.parse() {
            Ok(wait) => wait,
            Err(error) => return Step::Answer(Err(error)),
        };
        let record = self
            .runs
            .get(&wait.run_id)
            .filter(|record| record.state.is_over());
        if let Some(record) = record {
            let payload = state_payload(record);
            self.out.lean_on(self.runs.unsettled(&wait.run_id));
            return Step::Answer(encode(&payload));
        }
        let longest = self.setup.limits.run;
        let time = wait
            .timeout_ms
            .map_or(DEFAULT_WAIT, Duration::from_millis)
            .min(longest);
        self.wait_for_run(RunWaiter {
            conn,
            id: request.id.clone(),
            run: wait.run_id,
            wants: Wants::State(now.mono + time),
        });
        Step::Later
    }
}

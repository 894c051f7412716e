//! Messages to agents: `chat.send`, `chat.abort`, `chat.inject` (spec protocol §6.4).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{
    agent::Attachment,
    gateway::{
        channels::{DeliverTo, Route},
        runs::{QueueMode, RunOptions, Submission, Submitted, state_payload},
        sessions::{MessageDraft, SessionKey},
    },
    ids::{ConnId, RunId},
    protocol::RpcError,
    time::Now,
};

/// The most bytes of an idempotency key.
const MAX_KEY: usize = 256;

/// Characters of a label.
const MAX_LABEL: usize = 100;

/// Messages that stop a run instead of being said to the agent.
pub(in crate::gateway) const STOP_WORDS: [&str; 2] = ["/stop", "/abort"];

/// Messages that begin a new life of the session.
pub(in crate::gateway) const RESET_WORDS: [&str; 2] = ["/new", "/reset"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendParams {
    session_key: String,
    message: String,
    idempotency_key: String,
    agent_id: Option<String>,
    session_id: Option<String>,
    attachments: Option<Vec<AttachmentParams>>,
    queue_mode: Option<QueueMode>,
    timeout_ms: Option<u64>,
    suppress_command_interpretation: Option<bool>,
    // Understood by gateways that have what they speak of. Here they change nothing, and say nothing
    // that would be wrong to leave out.
    #[serde(rename = "thinking")]
    _thinking: Option<String>,
    #[serde(rename = "fastMode")]
    _fast_mode: Option<Value>,
    #[serde(rename = "fastAutoOnSeconds")]
    _fast_auto: Option<u64>,
    #[serde(rename = "mentions")]
    _mentions: Option<Value>,
    #[serde(rename = "workContext")]
    _work_context: Option<Value>,
    #[serde(rename = "replyToId")]
    _reply_to: Option<String>,
    #[serde(rename = "systemInputProvenance")]
    _provenance: Option<Value>,
    #[serde(rename = "systemProvenanceReceipt")]
    _receipt: Option<String>,
    #[serde(rename = "expectedSessionRoutingContract")]
    _routing: Option<String>,
    #[serde(rename = "expectedPermissionMode")]
    _permission_mode: Option<Value>,
    #[serde(rename = "expectedToolOverrides")]
    _tool_overrides: Option<Value>,
    #[serde(rename = "toolBindings")]
    _tool_bindings: Option<Value>,
    deliver: Option<bool>,
    originating_channel: Option<String>,
    originating_to: Option<String>,
    originating_account_id: Option<String>,
    originating_thread_id: Option<String>,
}

/// A file as it comes on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttachmentParams {
    mime_type: Option<String>,
    file_name: Option<String>,
    content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AbortParams {
    session_key: String,
    agent_id: Option<String>,
    run_id: Option<RunId>,
    #[serde(rename = "preserveSideRuns")]
    _preserve_side_runs: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InjectParams {
    session_key: String,
    agent_id: Option<String>,
    message: String,
    label: Option<String>,
}

impl Gateway {
    /// The session that is meant.
    pub(super) fn session_key(
        &self,
        params: Params<'_>,
        key: &str,
        agent: Option<&str>,
    ) -> Result<SessionKey, RpcError> {
        let default = self.setup.host.default_agent();
        let key = SessionKey::resolve(key, agent.unwrap_or(default))
            .map_err(|why| params.error(&format!("the session key {why}")))?;
        match (agent, key.agent()) {
            (Some(wanted), Some(found)) if wanted != found => {
                Err(params.error(&format!("the session belongs to agent '{found}'")))
            }
            _ => Ok(key),
        }
    }

    pub(super) fn chat_send(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let send: SendParams = params.parse()?;
        let key = self.session_key(params, &send.session_key, send.agent_id.as_deref())?;
        let route = Route {
            channel: send.originating_channel,
            account: send.originating_account_id,
            to: send.originating_to,
            thread: send.originating_thread_id,
        };
        let deliver = self.delivery(params, send.deliver, &key, &route)?;
        if let (Some(wanted), Some(entry)) = (&send.session_id, self.sessions.get(&key))
            && entry.session_id.as_str() != wanted
        {
            return Err(session_changed());
        }
        let commands = send.suppress_command_interpretation != Some(true);
        let text = send.message.trim();
        if commands && STOP_WORDS.contains(&text) {
            let runs = self.abort_session(now, &key, "stopped by the user", true);
            return encode(&json!({
                "runId": send.idempotency_key,
                "status": "ok",
                "aborted": !runs.is_empty(),
                "runIds": runs,
            }));
        }
        if commands && RESET_WORDS.contains(&text) {
            self.abort_session(now, &key, "the session was reset", true);
            self.open_session(now, &key)?;
            self.reset_session(now, &key);
            let run = RunId::new(send.idempotency_key);
            self.tell_note(&key, &run, "A new session has begun.");
            return encode(&json!({ "runId": run, "status": "started" }));
        }
        let submission = self.submission(
            params,
            conn,
            Message {
                key,
                text: send.message,
                idempotency_key: send.idempotency_key,
                attachments: send.attachments.unwrap_or_default(),
                mode: send.queue_mode.unwrap_or_default(),
                options: RunOptions {
                    timeout_ms: send.timeout_ms,
                    deliver,
                    ..RunOptions::default()
                },
            },
        )?;
        self.send_and_acknowledge(now, submission)
    }

    /// Where a reply goes beside its caller, if it goes anywhere.
    pub(super) fn delivery(
        &self,
        params: Params<'_>,
        deliver: Option<bool>,
        key: &SessionKey,
        route: &Route,
    ) -> Result<Option<DeliverTo>, RpcError> {
        if deliver == Some(true) {
            return self.deliver_to(key, route).map(Some);
        }
        let named = [&route.channel, &route.account, &route.to, &route.thread];
        if named.into_iter().any(Option::is_some) {
            return Err(params.error(
                "a channel, an account, a chat or a thread is only for deliver: true; leave it out",
            ));
        }
        Ok(None)
    }

    /// Takes a message, and answers as `chat.send` does.
    pub(super) fn send_and_acknowledge(&mut self, now: Now, submission: Submission) -> Answer {
        let run = submission.run_id.clone();
        match self.submit(now, submission)? {
            Submitted::New => encode(&json!({ "runId": run, "status": "started" })),
            Submitted::InFlight => encode(&json!({ "runId": run, "status": "in_flight" })),
            Submitted::Over => match self.runs.get(&run) {
                Some(record) => encode(&state_payload(record)),
                None => encode(&json!({ "runId": run, "status": "ok" })),
            },
        }
    }

    /// Checks a message that came over the wire.
    pub(super) fn submission(
        &self,
        params: Params<'_>,
        conn: ConnId,
        message: Message,
    ) -> Result<Submission, RpcError> {
        let key = message.idempotency_key.trim();
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(params.error(&format!("idempotencyKey must have 1 to {MAX_KEY} bytes")));
        }
        let attachments = self.attachments(params, message.attachments)?;
        if message.text.trim().is_empty() && attachments.is_empty() {
            return Err(params.error("message must not be empty"));
        }
        let info = self.client(conn).map(|client| &client.info);
        Ok(Submission {
            run_id: RunId::new(key),
            key: message.key,
            text: message.text,
            attachments,
            mode: message.mode,
            options: message.options,
            client: info.map(|info| (info.id.as_str().to_owned(), info.mode.as_str().to_owned())),
        })
    }

    fn attachments(
        &self,
        params: Params<'_>,
        wire: Vec<AttachmentParams>,
    ) -> Result<Vec<Attachment>, RpcError> {
        let limits = &self.setup.limits;
        if wire.len() > limits.max_attachments {
            let problem = format!("more than {} attachments", limits.max_attachments);
            return Err(params.error(&problem));
        }
        let mut total = 0_usize;
        let mut files = Vec::with_capacity(wire.len());
        for (index, file) in wire.into_iter().enumerate() {
            let problem = |what: &str| params.error(&format!("attachments[{index}]: {what}"));
            let content = file.content.ok_or_else(|| problem("content is missing"))?;
            let encoded = match content.split_once(";base64,") {
                Some((head, data)) if head.starts_with("data:") => data,
                _ => &content,
            };
            let content = STANDARD
                .decode(encoded.trim())
                .map_err(|_| problem("content is no base64"))?;
            total = total.saturating_add(content.len());
            if total > limits.max_attachment_bytes {
                let max = limits.max_attachment_bytes;
                return Err(problem(&format!("more than {max} bytes in all")));
            }
            files.push(Attachment {
                mime_type: file
                    .mime_type
                    .unwrap_or_else(|| "application/octet-stream".into()),
                file_name: file.file_name,
                content: content.into(),
            });
        }
        Ok(files)
    }

    pub(super) fn chat_abort(&mut self, now: Now, params: Params<'_>) -> Answer {
        let abort: AbortParams = params.parse()?;
        let key = self.session_key(params, &abort.session_key, abort.agent_id.as_deref())?;
        let why = "stopped by the user";
        let runs = match abort.run_id {
            None => self.abort_session(now, &key, why, false),
            Some(run) => {
                let record = self.runs.get(&run);
                if record.is_some_and(|record| record.session_key != key) {
                    return Err(params.error("the run belongs to another session"));
                }
                let stopped = self.abort_run(now, &run, why);
                stopped.then_some(run).into_iter().collect()
            }
        };
        encode(&json!({ "ok": true, "aborted": !runs.is_empty(), "runIds": runs }))
    }

    pub(super) fn chat_inject(&mut self, now: Now, params: Params<'_>) -> Answer {
        let inject: InjectParams = params.parse()?;
        let key = self.session_key(params, &inject.session_key, inject.agent_id.as_deref())?;
        if inject.message.trim().is_empty() {
            return Err(params.error("message must not be empty"));
        }
        let label = inject.label.as_deref();
        if label.is_some_and(|label| label.chars().count() > MAX_LABEL) {
            return Err(params.error(&format!("label has more than {MAX_LABEL} characters")));
        }
        self.open_session(now, &key)?;
        let draft = MessageDraft::injected(self.rng.uuid(), &inject.message, label);
        let message = self
            .sessions
            .append(&mut self.out.journal, now, &key, draft)
            .ok_or_else(|| params.error("there is no such session"))?;
        self.tell_injected(&key, &message);
        self.tell_session(now, &key, "message");
        encode(&json!({ "ok": true, "messageId": message.id }))
    }
}

/// A message for an agent, with its key parsed and the rest as it came.
pub(super) struct Message {
    pub(super) key: SessionKey,
    pub(super) text: String,
    pub(super) idempotency_key: String,
    pub(super) attachments: Vec<AttachmentParams>,
    pub(super) mode: QueueMode,
    pub(super) options: RunOptions,
}

/// A guard of the caller does not hold any more.
pub(super) fn session_changed() -> RpcError {
    RpcError::invalid_request("the session has changed; read it again")
        .with_details(json!({ "reason": "session-changed" }))
}

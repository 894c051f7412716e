//! Changes of sessions (spec protocol §6.4).

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Answer, Gateway, Params,
    chat::{AttachmentParams, Message, session_changed},
    encode,
    session_settings::{Patch, parse_patch},
};
use crate::{
    gateway::{
        runs::{QueueMode, RunOptions},
        sessions::{SessionEntry, SessionKey},
    },
    ids::{ConnId, RunId},
    protocol::RpcError,
    time::Now,
};

/// Messages that a compaction leaves where the caller names no number.
const KEPT_MESSAGES: u64 = 50;

/// Sessions that one call may change (spec protocol §6.4).
const MAX_TARGETS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreateParams {
    key: Option<String>,
    agent_id: Option<String>,
    idempotency_key: Option<String>,
    message: Option<String>,
    task: Option<String>,
    attachments: Option<Vec<AttachmentParams>>,
    parent_session_key: Option<String>,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendParams {
    key: String,
    agent_id: Option<String>,
    message: String,
    #[serde(rename = "thinking")]
    _thinking: Option<String>,
    #[serde(rename = "mentions")]
    _mentions: Option<Value>,
    attachments: Option<Vec<AttachmentParams>>,
    timeout_ms: Option<u64>,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AbortParams {
    key: Option<String>,
    run_id: Option<RunId>,
    agent_id: Option<String>,
    clear_queued: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResetParams {
    key: String,
    agent_id: Option<String>,
    #[serde(rename = "reason")]
    _reason: Option<ResetReason>,
    expected_session_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ResetReason {
    New,
    Reset,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeleteParams {
    key: String,
    agent_id: Option<String>,
    delete_transcript: Option<bool>,
    expected_session_id: Option<String>,
    expected_lifecycle_revision: Option<String>,
    expected_session_updated_at: Option<u64>,
    #[serde(rename = "emitLifecycleHooks")]
    _emit_hooks: Option<bool>,
    archived_only: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CompactParams {
    key: String,
    agent_id: Option<String>,
    max_lines: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PatchParams {
    key: String,
    agent_id: Option<String>,
    expected_session_id: Option<String>,
    expected_lifecycle_revision: Option<String>,
    #[serde(flatten)]
    patch: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PatchManyParams {
    targets: Vec<Target>,
    patch: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    key: String,
    agent_id: Option<String>,
    expected_session_id: Option<String>,
}

impl Gateway {
    pub(super) fn sessions_create(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: CreateParams = params.parse()?;
        let name = match &asked.key {
            Some(key) => key.clone(),
            None => self.rng.uuid(),
        };
        let key = self.session_key(params, &name, asked.agent_id.as_deref())?;
        let patch = parse_patch(&asked.settings).map_err(|problem| params.error(&problem))?;
        let message = asked.message.or(asked.task);
        // What may fail is done before anything is made.
        let submission = match message {
            None => None,
            Some(text) => {
                let idempotency_key = match asked.idempotency_key {
                    Some(key) => key,
                    None => self.rng.uuid(),
                };
                let message = Message {
                    key: key.clone(),
                    text,
                    idempotency_key,
                    attachments: asked.attachments.unwrap_or_default(),
                    mode: QueueMode::Followup,
                    options: RunOptions::default(),
                };
                Some(self.submission(params, conn, message)?)
            }
        };
        self.open_session(now, &key)?;
        let parent = match &asked.parent_session_key {
            Some(parent) => Some(self.session_key(params, parent, None)?),
            None => None,
        };
        let entry = self.sessions.change(&mut self.out.journal, &key, |entry| {
            patch.apply(entry, now.wall);
            if let Some(parent) = parent {
                entry
                    .settings
                    .insert("parentSessionKey".into(), json!(parent));
            }
        });
        self.tell_session(now, &key, "created");
        let Some(entry) = entry else {
            return Err(params.error("the session could not be made"));
        };
        let mut answer = json!({
            "ok": true,
            "key": key,
            "sessionId": entry.session_id,
            "entry": shown_entry(&entry),
            "runStarted": submission.is_some(),
            "resolved": self.session_defaults(),
        });
        if let Some(submission) = submission
            && let Some(fields) = answer.as_object_mut()
        {
            let run = submission.run_id.clone();
            match self.submit(now, submission) {
                Ok(_) => {
                    fields.insert("runId".into(), json!(run));
                }
                Err(error) => {
                    fields.insert("runStarted".into(), json!(false));
                    fields.insert("runError".into(), json!(error));
                }
            }
        }
        encode(&answer)
    }

    pub(super) fn sessions_send(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let asked: SendParams = params.parse()?;
        let key = self.session_key(params, &asked.key, asked.agent_id.as_deref())?;
        let idempotency_key = match asked.idempotency_key {
            Some(key) => key,
            None => self.rng.uuid(),
        };
        let message = Message {
            key: key.clone(),
            text: asked.message,
            idempotency_key,
            attachments: asked.attachments.unwrap_or_default(),
            mode: QueueMode::Followup,
            options: RunOptions {
                timeout_ms: asked.timeout_ms,
                ..RunOptions::default()
            },
        };
        let submission = self.submission(params, conn, message)?;
        let answer = self.send_and_acknowledge(now, submission)?;
        let mut payload: Value = answer.parse().unwrap_or_default();
        if let Some(fields) = payload.as_object_mut() {
            fields.insert("key".into(), json!(key));
        }
        encode(&payload)
    }

    pub(super) fn sessions_abort(&mut self, now: Now, params: Params<'_>) -> Answer {
        let asked: AbortParams = params.parse()?;
        let why = "stopped by the user";
        let key = match &asked.key {
            Some(key) => Some(self.session_key(params, key, asked.agent_id.as_deref())?),
            None => None,
        };
        let stopped = match (asked.run_id, key) {
            (Some(run), key) => {
                let of_key = |found: &SessionKey| key.as_ref().is_none_or(|key| key == found);
                let fits = self
                    .runs
                    .get(&run)
                    .is_some_and(|record| of_key(&record.session_key));
                (fits && self.abort_run(now, &run, why)).then_some(run)
            }
            (None, Some(key)) => {
                let waiting_too = asked.clear_queued == Some(true);
                let running = self.runs.in_flight(&key).map(|(run, _)| run.clone());
                let stopped = self.abort_session(now, &key, why, waiting_too);
                running
                    .filter(|run| stopped.contains(run))
                    .or_else(|| stopped.first().cloned())
            }
            (None, None) => return Err(params.error("key or runId is needed")),
        };
        let status = if stopped.is_some() {
            "aborted"
        } else {
            "no-active-run"
        };
        encode(&json!({ "ok": true, "abortedRunId": stopped, "status": status }))
    }

    pub(super) fn sessions_reset(&mut self, now: Now, params: Params<'_>) -> Answer {
        let asked: ResetParams = params.parse()?;
        let key = self.session_key(params, &asked.key, asked.agent_id.as_deref())?;
        let entry = self.open_session(now, &key)?;
        let expected = asked.expected_session_id.as_deref();
        if expected.is_some_and(|expected| expected != entry.session_id.as_str()) {
            return Err(session_changed());
        }
        self.abort_session(now, &key, "the session was reset", true);
        let entry = self
            .reset_session(now, &key)
            .ok_or_else(|| params.error("there is no such session"))?;
        encode(&json!({
            "ok": true,
            "key": key,
            "entry": shown_entry(&entry),
            "resolved": self.session_defaults(),
        }))
    }

    /// Begins a new life of a session, and tells of it.
    pub(in crate::gateway) fn reset_session(
        &mut self,
        now: Now,
        key: &SessionKey,
    ) -> Option<SessionEntry> {
        let id = self.rng.uuid();
        let entry = self.sessions.reset(&mut self.out.journal, now, key, id);
        self.tell_session(now, key, "reset");
        entry
    }

    pub(super) fn sessions_delete(&mut self, now: Now, params: Params<'_>) -> Answer {
        let asked: DeleteParams = params.parse()?;
        let key = self.session_key(params, &asked.key, asked.agent_id.as_deref())?;
        let Some(entry) = self.sessions.get(&key).cloned() else {
            return encode(&json!({ "ok": true, "key": key, "deleted": false, "archived": [] }));
        };
        if key.is_main() {
            let message = "the main session cannot be deleted; reset it with sessions.reset";
            return Err(RpcError::invalid_request(message));
        }
        let holds = asked
            .expected_session_id
            .is_none_or(|expected| expected == entry.session_id.as_str())
            && asked
                .expected_lifecycle_revision
                .is_none_or(|expected| expected == entry.revision.to_string())
            && asked
                .expected_session_updated_at
                .is_none_or(|expected| expected == entry.updated_at.0);
        if !holds {
            return Err(session_changed());
        }
        if asked.archived_only == Some(true) && entry.archived_at.is_none() {
            return Err(params.error("the session is not archived"));
        }
        self.abort_session(now, &key, "the session was deleted", true);
        let with_transcripts = asked.delete_transcript != Some(false);
        self.sessions
            .remove(&mut self.out.journal, &key, with_transcripts);
        self.tell_session(now, &key, "deleted");
        encode(&json!({ "ok": true, "key": key, "deleted": true, "archived": [] }))
    }

    /// Drops the oldest messages. Nothing is summed up: that would need a model.
    pub(super) fn sessions_compact(&mut self, now: Now, params: Params<'_>) -> Answer {
        let asked: CompactParams = params.parse()?;
        let key = self.session_key(params, &asked.key, asked.agent_id.as_deref())?;
        if asked.max_lines == Some(0) {
            return Err(params.error("maxLines must be 1 or more"));
        }
        let keep = asked.max_lines.unwrap_or(KEPT_MESSAGES);
        let Some(before) = self.sessions.get(&key).map(SessionEntry::messages) else {
            return Err(params.error("there is no such session"));
        };
        if before <= keep {
            return encode(&json!({
                "ok": true,
                "key": key,
                "compacted": false,
                "kept": before,
                "reason": format!("the session has no more than {keep} messages"),
            }));
        }
        let operation = self.rng.uuid();
        let event = |phase: &str| {
            json!({
                "operationId": operation,
                "operation": "compact",
                "phase": phase,
                "sessionKey": key,
                "ts": now.wall,
            })
        };
        self.tell_operation(&key, &event("start"));
        self.sessions.compact(&mut self.out.journal, &key, keep);
        let mut end = event("end");
        if let Some(fields) = end.as_object_mut() {
            fields.insert("completed".into(), json!(true));
        }
        self.tell_operation(&key, &end);
        self.tell_session(now, &key, "compacted");
        encode(&json!({ "ok": true, "key": key, "compacted": true, "kept": keep }))
    }

    pub(super) fn sessions_patch(&mut self, now: Now, params: Params<'_>) -> Answer {
        let asked: PatchParams = params.parse()?;
        let key = self.session_key(params, &asked.key, asked.agent_id.as_deref())?;
        let patch = parse_patch(&asked.patch).map_err(|problem| params.error(&problem))?;
        let entry = self.open_session(now, &key)?;
        let revision = entry.revision.to_string();
        let id = entry.session_id.as_str();
        if asked
            .expected_session_id
            .is_some_and(|expected| expected != id)
            || asked
                .expected_lifecycle_revision
                .is_some_and(|expected| expected != revision)
        {
            return Err(session_changed());
        }
        let entry = self.patch_session(now, &key, &patch);
        encode(&json!({
            "ok": true,
            "path": self.setup.host.state_dir,
            "key": key,
            "entry": entry.as_ref().map(shown_entry),
            "resolved": self.session_defaults(),
        }))
    }

    pub(super) fn sessions_patch_many(&mut self, now: Now, params: Params<'_>) -> Answer {
        let asked: PatchManyParams = params.parse()?;
        if !(1..=MAX_TARGETS).contains(&asked.targets.len()) {
            return Err(params.error(&format!("targets must be 1 to {MAX_TARGETS}")));
        }
        let patch = parse_patch(&asked.patch).map_err(|problem| params.error(&problem))?;
        let mut outcomes = Vec::with_capacity(asked.targets.len());
        for target in asked.targets {
            let key = self.session_key(params, &target.key, target.agent_id.as_deref());
            let found = key.and_then(|key| match self.sessions.get(&key) {
                None => Err(RpcError::invalid_request("there is no such session")),
                Some(entry) => match &target.expected_session_id {
                    Some(expected) if expected != entry.session_id.as_str() => {
                        Err(session_changed())
                    }
                    _ => Ok(key),
                },
            });
            outcomes.push(match found {
                Ok(key) => {
                    self.patch_session(now, &key, &patch);
                    json!({ "ok": true, "key": key })
                }
                Err(error) => json!({ "ok": false, "key": target.key, "error": error }),
            });
        }
        encode(&json!({ "outcomes": outcomes }))
    }

    fn patch_session(&mut self, now: Now, key: &SessionKey, patch: &Patch) -> Option<SessionEntry> {
        let entry = self.sessions.change(&mut self.out.journal, key, |entry| {
            patch.apply(entry, now.wall)
        });
        self.tell_session(now, key, "patched");
        entry
    }
}

/// `entry` of an answer.
fn shown_entry(entry: &SessionEntry) -> Value {
    let mut fields = Map::new();
    for (name, value) in &entry.settings {
        fields.insert(name.clone(), value.clone());
    }
    for (name, value) in [
        ("sessionId", json!(entry.session_id)),
        ("lifecycleRevision", json!(entry.revision.to_string())),
        ("createdAt", json!(entry.created_at)),
        ("updatedAt", json!(entry.updated_at)),
        ("archived", json!(entry.archived_at.is_some())),
        ("pinned", json!(entry.pinned_at.is_some())),
        ("inputTokens", json!(entry.usage.input)),
        ("outputTokens", json!(entry.usage.output)),
    ] {
        fields.insert(name.into(), value);
    }
    Value::Object(fields)
}

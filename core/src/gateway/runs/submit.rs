//! A message becomes a run, or joins the one that it repeats.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{QueueMode, RunOptions, RunRecord, RunState};
use crate::{
    agent::Attachment,
    gateway::{
        Gateway,
        sessions::{MessageDraft, SessionKey},
    },
    ids::RunId,
    protocol::{RpcCode, RpcError},
    time::Now,
};
use serde_json::json;

/// A message for an agent.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Submission {
    pub(in crate::gateway) run_id: RunId,
    pub(in crate::gateway) key: SessionKey,
    pub(in crate::gateway) text: String,
    pub(in crate::gateway) attachments: Vec<Attachment>,
    pub(in crate::gateway) mode: QueueMode,
    pub(in crate::gateway) options: RunOptions,
    /// The program that sent it: its id and mode.
    pub(in crate::gateway) client: Option<(String, String)>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Submitted {
    /// It is new: it runs, or waits for its turn.
    New,
    /// The same message came before, and is not answered yet.
    InFlight,
    /// The same message came before, and its run is over.
    Over,
}

impl Submission {
    /// A digest of what is asked for.
    fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for part in [self.key.as_str(), &self.text] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        for file in &self.attachments {
            digest.update((file.content.len() as u64).to_le_bytes());
            digest.update(&file.content);
        }
        URL_SAFE_NO_PAD.encode(digest.finalize())
    }
}

impl Gateway {
    /// Takes a message. Once the answer to it goes out, it is on disk and will be answered, or its
    /// run will be shown as cut.
    pub(in crate::gateway) fn submit(
        &mut self,
        now: Now,
        submission: Submission,
    ) -> Result<Submitted, RpcError> {
        let fingerprint = submission.fingerprint();
        let Submission {
            run_id,
            key,
            text,
            attachments,
            mode,
            options,
            client,
        } = submission;
        if let Some(record) = self.runs.get(&run_id) {
            if record.fingerprint != fingerprint {
                let message = "idempotencyKey was used for another message";
                let details = json!({ "reason": "chat-request-conflict" });
                return Err(RpcError::invalid_request(message).with_details(details));
            }
            let seen = if record.state.is_over() {
                Submitted::Over
            } else {
                Submitted::InFlight
            };
            self.out.lean_on(self.runs.unsettled(&run_id));
            return Ok(seen);
        }
        let agent_id = self.agent_of(&key)?;
        let id = self.rng.uuid();
        let client = client
            .as_ref()
            .map(|(id, mode)| (id.as_str(), mode.as_str()));
        let input = MessageDraft::input(id, &text, &attachments, &run_id, client);
        self.check_queue(&key, input.weight())?;
        self.open_session(now, &key)?;
        let record = RunRecord {
            run_id: run_id.clone(),
            session_key: key.clone(),
            agent_id,
            fingerprint,
            state: RunState::Queued,
            mode,
            options,
            accepted_at: now.wall,
            order: self.runs.next_order(),
            started_at: None,
            ended_at: None,
            session_id: None,
            input: Some(input),
            said: None,
            repeats: 0,
            calls: Vec::new(),
            outcome: None,
        };
        if let Some(span) = self.child_of(self.span) {
            self.runs.spans.insert(run_id.clone(), span);
        }
        let commit = self.out.journal.next();
        self.runs.put(&mut self.out.journal, record);
        if mode == QueueMode::Steer && self.runs.busy.contains_key(&key) {
            self.runs.steering.push(commit, &key, &run_id);
        }
        if let Some(record) = self.runs.records.get(run_id.as_str()) {
            match mode {
                QueueMode::Interrupt => self.runs.queues.push_front(record),
                QueueMode::Collect | QueueMode::Followup | QueueMode::Steer => {
                    self.runs.queues.push_back(record);
                }
            }
        }
        if let (QueueMode::Interrupt, Some(active)) = (mode, self.runs.busy.get(&key).cloned()) {
            self.abort_run(now, &active, "interrupted by a new message");
        }
        self.start_next(now, &key);
        Ok(Submitted::New)
    }

    /// A message that comes from the gateway or a node and not from a caller. Gives whether it was
    /// taken.
    pub(in crate::gateway) fn submit_own(
        &mut self,
        now: Now,
        key: &SessionKey,
        text: String,
        by: &str,
    ) -> bool {
        let submission = Submission {
            run_id: RunId::new(self.rng.uuid()),
            key: key.clone(),
            text,
            attachments: Vec::new(),
            mode: QueueMode::Followup,
            options: RunOptions::default(),
            client: Some(("gateway".into(), by.into())),
        };
        self.submit(now, submission).is_ok()
    }

    /// The agent that answers in a session.
    pub(in crate::gateway) fn agent_of(&self, key: &SessionKey) -> Result<String, RpcError> {
        let default = self.setup.host.default_agent();
        let wanted = key.agent().unwrap_or(default);
        if self.has_agent(wanted) {
            return Ok(wanted.to_owned());
        }
        let shown: String = wanted.chars().take(64).collect();
        let message = format!("unknown agent '{shown}'; agents.list names those that exist");
        Err(RpcError::invalid_request(message))
    }

    /// Makes the session where there is none.
    pub(in crate::gateway) fn open_session(
        &mut self,
        now: Now,
        key: &SessionKey,
    ) -> Result<crate::gateway::sessions::SessionEntry, RpcError> {
        let agent = self.agent_of(key)?;
        let rng = &mut self.rng;
        self.sessions
            .open(&mut self.out.journal, now, key, &agent, || rng.uuid())
            .map_err(|full| RpcError::new(RpcCode::Unavailable, full.to_string()))
    }

    fn check_queue(&self, key: &SessionKey, weight: usize) -> Result<(), RpcError> {
        let limits = &self.setup.limits;
        if self.runs.queues.runs_of(key) >= limits.max_queued_runs {
            let message = format!(
                "{} messages wait in this session already",
                limits.max_queued_runs
            );
            return Err(RpcError::retry_later(message, 1_000));
        }
        if self.runs.queues.bytes().saturating_add(weight) > limits.max_queued_bytes {
            return Err(RpcError::retry_later(
                "the messages that wait take too much room",
                1_000,
            ));
        }
        Ok(())
    }
}

//! Whose turn it is, and what the agent is given.

use serde_json::{Value, json};

use super::{
    QueueMode, RunOutcome, RunRecord, RunState,
    active::{ActiveRun, Input, Said},
};
use crate::{
    agent::{FailureKind, HistoryMessage, RunRequest, Speaker},
    gateway::{
        Effect, EffectOutcome, Gateway, Phase,
        agents::FILES,
        sessions::{LastRun, RowStatus, SessionKey, attachments},
        waiting::Waiter,
    },
    ids::{EffectId, RunId},
    store::{Author, Message, TranscriptQuery},
    time::Now,
};

impl Gateway {
    /// Starts the next run of a session, if there is one and nothing stands in its way.
    pub(super) fn start_next(&mut self, now: Now, key: &SessionKey) {
        let stops = self.phase != Phase::Running;
        if self.runs.to_recover && !stops {
            // What a failure left has to end before anything begins, and that can only be kept on a disk
            // that works.
            if !self.health.store_fails() {
                self.recover_runs(now);
            }
            return;
        }
        if stops || self.runs.busy.contains_key(key) || self.runs.queues.runs_of(key) == 0 {
            return;
        }
        if self.runs.active.len() >= self.setup.limits.max_active_runs {
            self.runs.ready.push(key);
            return;
        }
        let Some(first) = self.runs.queues.first(key).cloned() else {
            return;
        };
        self.runs.queues.remove(key, &first);
        self.start_run(now, key, &first);
    }

    /// Starts runs of sessions that waited for a place.
    pub(super) fn start_ready(&mut self, now: Now) {
        while self.runs.active.len() < self.setup.limits.max_active_runs
            && let Some(key) = self.runs.ready.pop()
        {
            self.start_next(now, &key);
        }
    }

    fn start_run(&mut self, now: Now, key: &SessionKey, run: &RunId) {
        let entry = match self.open_session(now, key) {
            Ok(entry) => entry,
            Err(error) => return self.refuse_run(now, key, run, &error.message),
        };
        let again = self.runs.get(run).and_then(|record| {
            let life = record.session_id.clone()?;
            Some((record.said?, life))
        });
        if let Some((_, life)) = &again
            && *life != entry.session_id
        {
            return self.refuse_run(now, key, run, "its session was reset meanwhile");
        }
        let mut attachments = Vec::new();
        let mut last = None;
        let mut inputs = self.take_input(now, run, &entry.session_id);
        // What waits to be answered together is answered now.
        for other in self.collected_with(key, run) {
            self.runs.queues.remove(key, &other);
            inputs.extend(self.take_input(now, &other, &entry.session_id));
            self.runs.merged_into(&other, run);
        }
        let Some(record) = self.runs.get(run).cloned() else {
            return;
        };
        for input in inputs {
            attachments.extend(input.attachments());
            if let Some(message) = self.sessions.append(&mut self.out.journal, now, key, input) {
                self.tell_message(key, &message);
                last = Some(message);
            }
        }
        let (message, before) = match (last, again) {
            (Some(last), _) => {
                let seq = last.seq;
                self.runs.change(&mut self.out.journal, run, |record| {
                    record.said = Some(seq);
                });
                let text = last.text;
                (Input::Here(Said { text, attachments }), seq)
            }
            (None, Some((seq, _))) => (Input::InTranscript(seq), seq.saturating_add(1)),
            (None, None) => return,
        };
        self.sessions.change(&mut self.out.journal, key, |entry| {
            entry.last_run = Some(LastRun {
                run_id: run.clone(),
                status: RowStatus::Running,
                error: None,
                started_at: now.wall,
                ended_at: None,
                provider: None,
                model: None,
            });
        });
        let timeout = record.options.timeout(self.setup.limits.run);
        let deadline = now.mono + timeout;
        let active = ActiveRun::new(
            key.clone(),
            record.agent_id,
            deadline,
            message,
            record.repeats,
        );
        self.runs.active.insert(run.clone(), active);
        self.runs.busy.insert(key.clone(), run.clone());
        let data = json!({ "phase": "start", "startedAt": now.wall });
        self.tell_agent(now, run, "lifecycle", data);
        self.tell_session(now, key, "run-started");
        self.show_work(now, run);
        // What comes while the transcript is read is not for this run.
        let query = TranscriptQuery::Before {
            session: entry.session_id,
            before: Some(before),
            limit: self.setup.limits.history_messages,
            max_bytes: self.setup.limits.history_bytes,
        };
        let effect = Effect::ReadTranscript(query);
        let reading = self.wait_for(now, effect, Waiter::History(run.clone()));
        if let Some(active) = self.runs.active.get_mut(run) {
            active.reading = Some(reading);
        }
    }

    /// Ends a run whose turn has come and that nobody can carry out, as when its agent is gone. Its
    /// message is kept.
    fn refuse_run(&mut self, now: Now, key: &SessionKey, run: &RunId, why: &str) {
        let session = self.sessions.get(key).map(|entry| entry.session_id.clone());
        if let Some(session) = session {
            for input in self.take_input(now, run, &session) {
                if let Some(message) = self.sessions.append(&mut self.out.journal, now, key, input)
                {
                    self.tell_message(key, &message);
                }
            }
        }
        let outcome = RunOutcome {
            error: Some(why.into()),
            kind: Some(FailureKind::Unknown),
            ..RunOutcome::default()
        };
        self.conclude_run(now, key, run, RunState::Failed, &outcome, None);
        self.answer_waiters(now, run);
        self.start_next(now, key);
    }

    /// The message of a run becomes a part of the one under way, which answers both.
    pub(super) fn join_run(&mut self, now: Now, key: &SessionKey, run: &RunId, active: &RunId) {
        let Some(session) = self.sessions.get(key).map(|entry| entry.session_id.clone()) else {
            return;
        };
        for input in self.take_input(now, run, &session) {
            if let Some(message) = self.sessions.append(&mut self.out.journal, now, key, input) {
                self.tell_message(key, &message);
            }
        }
        self.runs.merged_into(run, active);
        self.tell_session(now, key, "message");
    }

    /// Marks a run as under way, and gives its message.
    fn take_input(
        &mut self,
        now: Now,
        run: &RunId,
        session: &crate::ids::SessionId,
    ) -> Vec<crate::gateway::sessions::MessageDraft> {
        let mut input = None;
        self.runs.change(&mut self.out.journal, run, |record| {
            record.state = RunState::Running;
            record.started_at = Some(now.wall);
            record.session_id = Some(session.clone());
            input = record.input.take();
        });
        input.into_iter().collect()
    }

    /// Runs that are to be answered together with this one.
    fn collected_with(&self, key: &SessionKey, run: &RunId) -> Vec<RunId> {
        let collects = |record: &RunRecord| record.mode == QueueMode::Collect;
        if !self.runs.get(run).is_some_and(collects) {
            return Vec::new();
        }
        self.runs
            .waiting(key)
            .take_while(|record| collects(record))
            .map(|record| record.run_id.clone())
            .collect()
    }

    /// The transcript is there: the agent begins.
    pub(in crate::gateway) fn history_ready(
        &mut self,
        now: Now,
        run: &RunId,
        effect: EffectId,
        outcome: EffectOutcome,
    ) {
        // A run of the same id that is over may have asked, too.
        let active = self.runs.active.get(run);
        if active.is_none_or(|active| active.reading != Some(effect)) {
            return;
        }
        let EffectOutcome::Transcript(page) = outcome else {
            let why = match outcome {
                EffectOutcome::Failed(why) => why,
                EffectOutcome::Config(_)
                | EffectOutcome::Done
                | EffectOutcome::ExecApprovals(_)
                | EffectOutcome::Log(_)
                | EffectOutcome::Process(_)
                | EffectOutcome::Secrets(_)
                | EffectOutcome::Transcript(_)
                | EffectOutcome::Whois(_) => {
                    "the gateway's host gave an answer of the wrong kind".into()
                }
            };
            let message = format!("the transcript could not be read: {why}");
            return self.fail_run(now, run, &message);
        };
        let Some(record) = self.runs.get(run).cloned() else {
            return;
        };
        let Some(active) = self.runs.active.get_mut(run) else {
            return;
        };
        active.reading = None;
        let timeout = active.deadline.saturating_duration_since(now.mono);
        let mut messages = page.messages;
        let said = match std::mem::take(&mut active.message) {
            Input::Here(said) => Some(said),
            Input::InTranscript(seq) => said_before(&mut messages, seq),
        };
        let Some(Said { text, attachments }) = said else {
            return self.fail_run(now, run, "its message is not in the session any more");
        };
        let history = conversation(messages);
        let entry = self.sessions.get(&record.session_key);
        let model = record.options.model.or_else(|| {
            let set = entry?.setting("model")?;
            Some(set.to_owned())
        });
        let known = self.take_system_events(&record.session_key);
        let extra_prompt = self.prompt_of(&record.agent_id, known, record.options.extra_prompt);
        let request = RunRequest {
            agent_id: record.agent_id,
            session_key: record.session_key.to_string(),
            message: text,
            attachments,
            history,
            tools: self.agent_tools(),
            model,
            extra_prompt,
            timeout,
            trace: self.runs.span(run).map(|span| span.traceparent()),
        };
        self.agent.start(now, run.clone(), request);
        self.drive_agent(now);
    }

    /// What stands in the prompt besides the config's own: the agent's files, what happened since it
    /// was asked last, and what the caller adds.
    fn prompt_of(
        &self,
        agent: &str,
        happened: Vec<String>,
        extra: Option<String>,
    ) -> Option<String> {
        let files = FILES
            .iter()
            .filter_map(|file| self.agent_file(agent, file.name))
            .filter(|file| !file.content.trim().is_empty())
            .map(|file| format!("# {}\n\n{}", file.name, file.content.trim()));
        let mut parts: Vec<String> = files.collect();
        if !happened.is_empty() {
            parts.push(format!("What happened:\n- {}", happened.join("\n- ")));
        }
        parts.extend(extra);
        (!parts.is_empty()).then(|| parts.join("\n\n"))
    }
}

/// Takes the message of a run that begins again, and what came after it, out of a transcript.
fn said_before(messages: &mut Vec<Message>, seq: u64) -> Option<Said> {
    let at = messages.iter().position(|message| message.seq == seq)?;
    let message = messages.drain(at..).next()?;
    let document = message.document.parse::<Value>().unwrap_or_default();
    Some(Said {
        attachments: attachments(document.get("content")),
        text: message.text,
    })
}

/// What people and agents said before. A message that was never answered stays where it is.
fn conversation(messages: Vec<Message>) -> Vec<HistoryMessage> {
    let said = messages.into_iter().filter_map(|message| {
        let speaker = match message.author {
            Author::Assistant => Speaker::Assistant,
            Author::User => Speaker::User,
            Author::Note | Author::Tool => return None,
        };
        Some(HistoryMessage {
            speaker,
            text: message.text,
        })
    });
    said.collect()
}

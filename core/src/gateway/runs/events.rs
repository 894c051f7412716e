//! What clients hear of runs and sessions (spec protocol §5.2, §6.4, §6.5).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{ActiveRun, RunOutcome, RunState, active::Told, finish::error_detail};
use crate::{
    frame::{Droppable, OutboundEvent, RawJson},
    gateway::{
        Gateway,
        sessions::{RowExtras, SessionKey, row, usage_json, without_data},
    },
    ids::{ConnId, RunId},
    protocol::Role,
    scope::Scope,
    server::Delivery,
    store::Message,
    time::Now,
};

/// Time for which text is gathered into one event.
const TEXT_PAUSE: Duration = Duration::from_millis(50);

/// The capability of clients that want to see calls of tools.
const TOOL_EVENTS: &str = "tool-events";

/// Who hears an event of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    /// Readers that follow all sessions, or this one.
    Readers,
    /// Readers that asked for the messages of this session.
    Followers,
    /// Readers that asked for changes of sessions.
    ListFollowers,
    /// Readers that want to see tools.
    ToolReaders,
}

impl Gateway {
    /// An `agent` event.
    pub(super) fn tell_agent(&mut self, now: Now, run: &RunId, stream: &str, data: Value) {
        let Some(active) = self.runs.active.get_mut(run) else {
            return;
        };
        let key = active.key.clone();
        let seq = active.next_agent_seq();
        let payload = json!({
            "runId": run,
            "stream": stream,
            "data": data,
            "sessionKey": key,
            "agentId": active.agent_id,
            "seq": seq,
            "ts": now.wall,
            "isHeartbeat": false,
        });
        let audience = if stream == "tool" {
            Audience::ToolReaders
        } else {
            Audience::Readers
        };
        self.tell(&key, "agent", &payload, audience, droppable(stream));
    }

    /// Arms the timer after which gathered text is told.
    pub(super) fn flush_later(&mut self, now: Now) {
        let at = now.mono + TEXT_PAUSE;
        self.runs.flush_at.get_or_insert(at);
    }

    /// Tells the text of every run that was not told yet.
    pub(super) fn flush_text(&mut self, now: Now) {
        self.runs.flush_at = None;
        let runs: Vec<RunId> = self.runs.active.keys().cloned().collect();
        for run in runs {
            self.flush_run(now, &run);
        }
    }

    fn flush_run(&mut self, now: Now, run: &RunId) {
        let Some(active) = self.runs.active.get_mut(run) else {
            return;
        };
        let (delta, replaces) = match active.told {
            Told::UpTo(told) if told >= active.text.len() => return,
            Told::UpTo(told) => (
                active.text.get(told..).unwrap_or_default().to_owned(),
                false,
            ),
            Told::Wrong => (active.text.clone(), true),
        };
        active.told = Told::UpTo(active.text.len());
        let text = active.text.clone();
        let mut data = json!({ "text": text, "delta": delta });
        if replaces {
            set(&mut data, "replace", json!(true));
        }
        self.tell_agent(now, run, "assistant", data);
        let mut payload = json!({
            "state": "delta",
            "deltaText": delta,
            "message": {
                "role": "assistant",
                "content": [{ "type": "text", "text": text }],
                "timestamp": now.wall,
            },
        });
        if replaces {
            set(&mut payload, "replace", json!(true));
        }
        self.tell_chat(run, payload, Droppable::IfSlow);
    }

    /// A `chat` event of a run under way.
    fn tell_chat(&mut self, run: &RunId, payload: Value, droppable: Droppable) {
        let Some(active) = self.runs.active.get_mut(run) else {
            return;
        };
        let (key, agent) = (active.key.clone(), active.agent_id.clone());
        let seq = active.next_chat_seq();
        let payload = chat_payload(run, &key, &agent, seq, payload);
        self.tell(&key, "chat", &payload, Audience::Readers, droppable);
    }

    /// Tells the end of a run. `active` is what it had in memory, if it had begun.
    #[expect(clippy::too_many_arguments, reason = "the end has as many parts")]
    pub(super) fn tell_end(
        &mut self,
        now: Now,
        key: &SessionKey,
        run: &RunId,
        state: RunState,
        outcome: &RunOutcome,
        message: Option<&Message>,
        active: Option<ActiveRun>,
    ) {
        // An end that could not be kept has numbers, too: the next try goes on from there.
        let (agent_seq, chat_seq) = match &active {
            Some(active) => (active.agent_seq, active.chat_seq),
            None => self.runs.numbers.get(run).copied().unwrap_or_default(),
        };
        let (agent_seq, chat_seq) = (agent_seq + 1, chat_seq + 1);
        if active.is_some() {
            self.runs.numbers.insert(run.clone(), (agent_seq, chat_seq));
        }
        let record = self.runs.get(run);
        let agent = record.map_or_else(String::new, |record| record.agent_id.clone());
        let data = match &outcome.error {
            None => json!({ "phase": "end", "endedAt": now.wall }),
            Some(error) => json!({ "phase": "error", "error": error, "endedAt": now.wall }),
        };
        let payload = json!({
            "runId": run,
            "stream": "lifecycle",
            "data": data,
            "sessionKey": key,
            "agentId": agent,
            "seq": agent_seq,
            "ts": now.wall,
            "isHeartbeat": false,
        });
        self.tell(key, "agent", &payload, Audience::Readers, Droppable::Never);
        let name = match state {
            RunState::Done => "final",
            RunState::Aborted => "aborted",
            RunState::Queued
            | RunState::Running
            | RunState::Failed
            | RunState::Timeout
            | RunState::Cut => "error",
        };
        let mut payload = json!({ "state": name });
        let said = message.and_then(|message| message.document.parse::<Value>().ok());
        let optional = [
            ("message", said.filter(|_| !outcome.text.is_empty())),
            ("errorMessage", outcome.error.as_deref().map(Value::from)),
            (
                "errorKind",
                outcome
                    .kind
                    .filter(|_| name == "error")
                    .map(|kind| json!(kind)),
            ),
            (
                "errorDetail",
                error_detail(outcome).filter(|_| name == "error"),
            ),
            (
                "usage",
                outcome.usage.filter(|_| name != "aborted").map(usage_json),
            ),
            (
                "stopReason",
                outcome.stop_reason.as_deref().map(Value::from),
            ),
        ];
        for (field, value) in optional {
            if let Some(value) = value {
                set(&mut payload, field, value);
            }
        }
        let payload = chat_payload(run, key, &agent, chat_seq, payload);
        self.tell(key, "chat", &payload, Audience::Readers, Droppable::Never);
    }

    /// The end of something that needed no agent.
    pub(in crate::gateway) fn tell_note(&mut self, key: &SessionKey, run: &RunId, text: &str) {
        let agent = key.agent().unwrap_or_default().to_owned();
        let message = json!({
            "role": "assistant",
            "content": [{ "type": "text", "text": text }],
        });
        let payload = json!({ "state": "final", "message": message });
        let payload = chat_payload(run, key, &agent, 1, payload);
        self.tell(key, "chat", &payload, Audience::Readers, Droppable::Never);
    }

    /// A message that an operator put into a session.
    pub(in crate::gateway) fn tell_injected(&mut self, key: &SessionKey, message: &Message) {
        let run = RunId::new(format!("inject-{}", message.id));
        let agent = key.agent().unwrap_or_default().to_owned();
        let said = message.document.parse::<Value>().unwrap_or_default();
        let payload = json!({ "state": "final", "message": said });
        let payload = chat_payload(&run, key, &agent, 0, payload);
        self.tell(key, "chat", &payload, Audience::Readers, Droppable::Never);
        self.tell_message(key, message);
    }

    /// A new row of a transcript, for those who follow it.
    pub(super) fn tell_message(&mut self, key: &SessionKey, message: &Message) {
        if self.subscriptions.followers(key).next().is_none() {
            return;
        }
        let document = message.document.parse::<Value>().unwrap_or_default();
        let payload = json!({
            "sessionKey": key,
            "sessionId": message.session,
            "messageId": message.id,
            "messageSeq": message.seq,
            "message": without_data(document),
        });
        self.tell(
            key,
            "session.message",
            &payload,
            Audience::Followers,
            Droppable::Never,
        );
    }

    /// A change of a session, for those who follow the list.
    pub(in crate::gateway) fn tell_session(&mut self, now: Now, key: &SessionKey, reason: &str) {
        if self.subscriptions.list_followers().next().is_none() {
            return;
        }
        let mut payload = json!({ "sessionKey": key, "reason": reason, "ts": now.wall });
        if let Some(entry) = self.sessions.get(key) {
            let extras = self.row_extras(key);
            set(&mut payload, "agentId", json!(entry.agent_id));
            set(&mut payload, "sessionId", json!(entry.session_id));
            set(&mut payload, "updatedAt", json!(entry.updated_at));
            set(&mut payload, "activeRunIds", json!(extras.active));
            set(
                &mut payload,
                "hasActiveRun",
                json!(!extras.active.is_empty()),
            );
            let shown = row(entry, &extras, now.wall);
            set(&mut payload, "session", shown);
        }
        let audience = Audience::ListFollowers;
        self.tell(
            key,
            "sessions.changed",
            &payload,
            audience,
            Droppable::IfSlow,
        );
    }

    /// Start and end of an operation on a session.
    pub(in crate::gateway) fn tell_operation(&mut self, key: &SessionKey, payload: &Value) {
        self.tell(
            key,
            "session.operation",
            payload,
            Audience::Readers,
            Droppable::IfSlow,
        );
    }

    /// What a row says beyond the entry.
    pub(in crate::gateway) fn row_extras(&self, key: &SessionKey) -> RowExtras {
        RowExtras {
            active: self.runs.unfinished(key),
            is_running: self.runs.busy.contains_key(key),
            with_title: true,
            with_preview: true,
        }
    }

    fn tell(
        &mut self,
        key: &SessionKey,
        name: &str,
        payload: &Value,
        audience: Audience,
        droppable: Droppable,
    ) {
        let hearers = self.hearers(key, audience);
        // Subscriptions end with their connection: what only they bring is not missed by who comes back.
        let is_kept = audience == Audience::Readers && self.events.is_open();
        if hearers.is_empty() && !is_kept {
            return;
        }
        let Ok(payload) = RawJson::encode(payload) else {
            return;
        };
        let mut event = OutboundEvent::new(name, &payload, None, droppable);
        if is_kept {
            event = self.remember_event(&event, Some(Scope::Read));
        }
        for (conn, role) in hearers {
            let delivery = match role {
                Role::Operator => Delivery::Event(event.clone()),
                Role::Node => Delivery::Targeted(event.clone()),
            };
            self.out.deliver(conn, delivery);
        }
    }

    fn hearers(&self, key: &SessionKey, audience: Audience) -> Vec<(ConnId, Role)> {
        let subscriptions = &self.subscriptions;
        let sees = |conn: &ConnId| {
            let client = self.client(*conn);
            client.is_some_and(|client| {
                let tools = || client.caps.iter().any(|cap| cap == TOOL_EVENTS);
                client.may_see(Some(Scope::Read)) && (audience != Audience::ToolReaders || tools())
            })
        };
        let operators: Vec<ConnId> = match audience {
            Audience::Readers | Audience::ToolReaders => {
                subscriptions.hearers(key).filter(sees).collect()
            }
            Audience::Followers => subscriptions.followers(key).filter(sees).collect(),
            Audience::ListFollowers => subscriptions.list_followers().filter(sees).collect(),
        };
        let nodes = (audience == Audience::Readers).then(|| self.node_subscribers(key.as_str()));
        let nodes = nodes.into_iter().flatten();
        let nodes = nodes.filter(|conn| self.client(*conn).is_some());
        let operators = operators.into_iter().map(|conn| (conn, Role::Operator));
        operators
            .chain(nodes.map(|conn| (conn, Role::Node)))
            .collect()
    }
}

/// What is about text may be lost for a slow client: the end says it all.
fn droppable(stream: &str) -> Droppable {
    if stream == "assistant" {
        Droppable::IfSlow
    } else {
        Droppable::Never
    }
}

fn chat_payload(run: &RunId, key: &SessionKey, agent: &str, seq: u64, more: Value) -> Value {
    let mut fields = Map::new();
    fields.insert("runId".into(), json!(run));
    fields.insert("sessionKey".into(), json!(key));
    fields.insert("agentId".into(), json!(agent));
    fields.insert("seq".into(), json!(seq));
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    Value::Object(fields)
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.into(), value);
    }
}

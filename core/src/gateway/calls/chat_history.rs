//! `chat.history` and `chat.startup`: what was said, page by page or since a cursor, and what is under
//! way (spec protocol §6.4).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Answer, Gateway, Params, Step, encode,
    transcripts::{PendingTranscript, TranscriptCall, cut_texts},
};
use crate::{
    frame::Request,
    gateway::sessions::{SessionKey, row, without_data},
    ids::{ConnId, RequestId, RunId, SessionId},
    protocol::RpcError,
    server::Delivery,
    store::{Message, TranscriptPage, TranscriptQuery},
    time::Now,
};

/// Messages of a page where the caller names no number.
const DEFAULT_LIMIT: usize = 200;

const MAX_LIMIT: usize = 1_000;

/// Bytes of the messages of a page (spec protocol §6.4).
const MAX_BYTES: usize = 6 * 1024 * 1024;

const MIN_BYTES: usize = 1_024;

const MAX_CHARS: usize = 500_000;

/// Messages that wait, of one page.
const PENDING_PAGE: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HistoryParams {
    session_key: String,
    agent_id: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
    max_bytes: Option<usize>,
    offset: Option<u64>,
    pending_before: Option<u64>,
    input_run_ids: Option<Vec<RunId>>,
    message_id: Option<String>,
    session_id: Option<String>,
    max_chars: Option<usize>,
}

/// Where a client's knowledge of a transcript ends. Opaque on the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cursor {
    version: u8,
    session_id: SessionId,
    last_seq: u64,
}

impl Cursor {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let cursor: Self = serde_json::from_slice(&bytes).ok()?;
        (cursor.version == 1).then_some(cursor)
    }
}

/// What kind of answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What came after a cursor.
    Delta,
    /// The newest messages, less so many of them.
    Page { offset: u64 },
    /// The same, with all that a chat page needs to begin.
    Startup,
}

/// A history that is being read.
#[derive(Debug)]
pub(in crate::gateway) struct HistoryCall {
    /// The key as the caller wrote it.
    asked: String,
    key: SessionKey,
    session: SessionId,
    /// Where the caller's knowledge ends if the page turns out empty, as it was when it was asked for:
    /// what is said while the host reads is for the next page.
    known: u64,
    kind: Kind,
    max_chars: Option<usize>,
    pending_before: Option<u64>,
    inputs: Vec<RunId>,
}

/// A history around a message whose place is being looked for.
#[derive(Debug)]
pub(in crate::gateway) struct PlaceCall {
    pub(super) history: HistoryCall,
    pub(super) query: TranscriptQuery,
}

impl Gateway {
    pub(super) fn chat_history(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Step {
        self.history_step(now, conn, request, params, Kind::Page { offset: 0 })
    }

    pub(super) fn chat_startup(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Step {
        self.history_step(now, conn, request, params, Kind::Startup)
    }

    fn history_step(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
        kind: Kind,
    ) -> Step {
        match self.begin_history(now, conn, request, params, kind) {
            Ok(step) => step,
            Err(error) => Step::Answer(Err(error)),
        }
    }

    fn begin_history(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
        kind: Kind,
    ) -> Result<Step, RpcError> {
        let asked: HistoryParams = params.parse()?;
        let limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(params.error(&format!("limit must be 1 to {MAX_LIMIT}")));
        }
        if asked.max_bytes.is_some_and(|bytes| bytes < MIN_BYTES) {
            return Err(params.error(&format!("maxBytes must be {MIN_BYTES} or more")));
        }
        if asked
            .max_chars
            .is_some_and(|chars| !(1..=MAX_CHARS).contains(&chars))
        {
            return Err(params.error(&format!("maxChars must be 1 to {MAX_CHARS}")));
        }
        let max_bytes = asked.max_bytes.unwrap_or(MAX_BYTES).min(MAX_BYTES);
        let key = self.session_key(params, &asked.session_key, asked.agent_id.as_deref())?;
        let Some(entry) = self.sessions.get(&key) else {
            let cursor = asked.cursor.is_some();
            return Ok(Step::Answer(self.no_history(
                now,
                &asked.session_key,
                &key,
                kind,
                cursor,
            )));
        };
        let session = match &asked.session_id {
            None => entry.session_id.clone(),
            Some(wanted) => [&entry.session_id]
                .into_iter()
                .chain(&entry.earlier)
                .find(|session| session.as_str() == wanted)
                .cloned()
                .ok_or_else(super::chat::session_changed)?,
        };
        let offset = asked.offset.unwrap_or(0);
        let mut kind = match kind {
            Kind::Page { .. } => Kind::Page { offset },
            Kind::Delta | Kind::Startup => kind,
        };
        let is_present = session == entry.session_id;
        let mut known = entry.last_seq.saturating_sub(offset);
        let before = (is_present && offset > 0).then(|| known.saturating_add(1));
        let mut query = TranscriptQuery::Before {
            session: session.clone(),
            before,
            limit,
            max_bytes,
        };
        if let Some(cursor) = &asked.cursor {
            let cursor = Cursor::decode(cursor).filter(|cursor| {
                is_present
                    && cursor.session_id == session
                    && (entry.forgotten..=entry.last_seq).contains(&cursor.last_seq)
            });
            let Some(cursor) = cursor else {
                return Ok(Step::Answer(reset()));
            };
            kind = Kind::Delta;
            known = cursor.last_seq;
            query = TranscriptQuery::After {
                session: session.clone(),
                after: known,
                limit: MAX_LIMIT,
                max_bytes,
            };
        }
        let history = HistoryCall {
            asked: asked.session_key,
            key: key.clone(),
            session: session.clone(),
            known,
            kind,
            max_chars: asked.max_chars,
            pending_before: asked.pending_before,
            inputs: asked.input_run_ids.unwrap_or_default(),
        };
        let (query, call) = match asked.message_id {
            Some(id) => {
                let place = PlaceCall { history, query };
                let query = TranscriptQuery::One { session, id };
                (query, TranscriptCall::Place(Box::new(place)))
            }
            None => (query, TranscriptCall::History(history)),
        };
        let id = request.id.clone();
        self.ask_transcript(now, [&key], query, PendingTranscript { conn, id, call });
        Ok(Step::Later)
    }

    /// The place of a message is known: the page ends with it.
    pub(super) fn history_around(
        &mut self,
        now: Now,
        conn: ConnId,
        id: RequestId,
        mut history: HistoryCall,
        query: TranscriptQuery,
        found: &TranscriptPage,
    ) {
        let (
            Some(message),
            TranscriptQuery::Before {
                session,
                limit,
                max_bytes,
                ..
            },
        ) = (found.messages.first(), query)
        else {
            let error = RpcError::invalid_request("there is no such message in this session");
            return self.deliver(
                conn,
                Delivery::Response {
                    id,
                    outcome: Err(error),
                },
            );
        };
        let query = TranscriptQuery::Before {
            session,
            before: Some(message.seq.saturating_add(1)),
            limit,
            max_bytes,
        };
        history.known = message.seq;
        let key = history.key.clone();
        let call = TranscriptCall::History(history);
        self.ask_transcript(now, [&key], query, PendingTranscript { conn, id, call });
    }

    pub(super) fn history_page(
        &self,
        now: Now,
        call: &HistoryCall,
        page: TranscriptPage,
    ) -> Answer {
        let entry = self.sessions.get(&call.key);
        let present = entry.filter(|entry| entry.session_id == call.session);
        if call.kind == Kind::Delta && present.is_none_or(|entry| entry.forgotten > call.known) {
            // While the host read, the session began anew, or what comes next was forgotten.
            return reset();
        }
        let last = page.messages.last().map_or(call.known, |last| last.seq);
        let cursor = || {
            let cursor = Cursor {
                version: 1,
                session_id: call.session.clone(),
                last_seq: last,
            };
            json!(cursor.encode())
        };
        let messages: Vec<Value> = page
            .messages
            .iter()
            .map(|message| shown(message, call.max_chars))
            .collect();
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| {
            fields.insert(name.into(), value);
        };
        set("messages", json!(messages));
        set(
            "pendingInputs",
            self.pending_inputs(&call.key, call.pending_before),
        );
        let receipts: Vec<Value> = call
            .inputs
            .iter()
            .filter(|run| {
                self.runs
                    .waiting(&call.key)
                    .any(|record| record.run_id == **run)
            })
            .map(|run| json!({ "runId": run, "state": "pending" }))
            .collect();
        if !call.inputs.is_empty() {
            set("inputReceipts", json!(receipts));
        }
        if let Some(entry) = entry {
            let extras = self.row_extras(&call.key);
            set("sessionInfo", row(entry, &extras, now.wall));
        }
        if present.is_some()
            && let Some((run, text)) = self.runs.in_flight(&call.key)
        {
            set("inFlightRun", json!({ "runId": run, "text": text }));
        }
        if let Kind::Delta = call.kind {
            set("kind", json!("delta"));
            set("deltaCursor", cursor());
            return encode(&fields);
        }
        set("sessionKey", json!(call.asked));
        set("sessionId", json!(call.session));
        set("hasMore", json!(page.more));
        set("defaults", self.session_defaults());
        if let Some(entry) = present {
            set("deltaCursor", cursor());
            set("totalMessages", json!(entry.messages()));
            if page.more
                && let Kind::Page { offset } = call.kind
            {
                set(
                    "nextOffset",
                    json!(offset.saturating_add(messages.len() as u64)),
                );
            }
        }
        if let Kind::Startup = call.kind {
            set("agentsList", self.agents_payload());
            set("metadata", self.chat_metadata_payload());
        }
        encode(&fields)
    }

    /// The history of a session that does not exist.
    fn no_history(
        &self,
        now: Now,
        asked: &str,
        key: &SessionKey,
        kind: Kind,
        has_cursor: bool,
    ) -> Answer {
        if has_cursor {
            return reset();
        }
        let call = HistoryCall {
            asked: asked.to_owned(),
            key: key.clone(),
            session: SessionId::new(""),
            known: 0,
            kind,
            max_chars: None,
            pending_before: None,
            inputs: Vec::new(),
        };
        let mut payload: Value = self
            .history_page(now, &call, TranscriptPage::default())?
            .parse()
            .unwrap_or_default();
        if let Some(fields) = payload.as_object_mut() {
            fields.remove("sessionId");
            fields.insert("totalMessages".into(), json!(0));
        }
        encode(&payload)
    }

    /// Messages that wait for their turn.
    fn pending_inputs(&self, key: &SessionKey, before: Option<u64>) -> Value {
        let waiting: Vec<_> = self
            .runs
            .waiting(key)
            .filter(|record| before.is_none_or(|before| record.order < before))
            .collect();
        let first = waiting.len().saturating_sub(PENDING_PAGE);
        let items: Vec<Value> = waiting
            .iter()
            .skip(first)
            .filter_map(|record| {
                let input = record.input.as_ref()?;
                Some(json!({
                    "id": input.id,
                    "runId": record.run_id,
                    "message": input.shown(),
                    "acceptedAt": record.accepted_at,
                    "state": "queued",
                }))
            })
            .collect();
        let mut payload = json!({ "items": items, "total": waiting.len() });
        if first > 0
            && let (Some(next), Some(fields)) = (waiting.get(first), payload.as_object_mut())
        {
            fields.insert("nextBefore".into(), json!(next.order));
        }
        payload
    }
}

/// What a cursor speaks of is not there any more: the caller reads anew.
fn reset() -> Answer {
    encode(&json!({ "kind": "reset" }))
}

/// A message as pages show it.
pub(super) fn shown(message: &Message, max_chars: Option<usize>) -> Value {
    let document = message.document.parse::<Value>().unwrap_or_default();
    let mut shown = without_data(document);
    if let Some(max) = max_chars {
        cut_texts(&mut shown, max);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_garbage_does_not() {
        let cursor = Cursor {
            version: 1,
            session_id: SessionId::new("s"),
            last_seq: 7,
        };
        let back = Cursor::decode(&cursor.encode()).unwrap();
        assert_eq!((back.session_id.as_str(), back.last_seq), ("s", 7));
        let newer = Cursor { version: 2, ..back };
        for text in ["", "x", "e30", &newer.encode()] {
            assert!(Cursor::decode(text).is_none(), "{text}");
        }
    }
}

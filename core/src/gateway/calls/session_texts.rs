//! What was said in sessions, in part: the last messages, previews, searches (spec protocol §6.4).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Gateway, Params, Step,
    chat_history::shown,
    encode,
    transcripts::{PendingTranscript, TranscriptCall},
};
use crate::{
    frame::Request,
    gateway::sessions::{SessionEntry, SessionKey},
    ids::{ConnId, SessionId},
    protocol::RpcError,
    store::{Author, TranscriptPage, TranscriptQuery, excerpt},
    time::Now,
};

/// Messages that one call may ask for.
const MAX_MESSAGES: usize = 1_000;

/// Bytes of them.
const MAX_BYTES: usize = 6 * 1024 * 1024;

/// Sessions of one preview (spec protocol §6.4).
const MAX_PREVIEWS: usize = 64;

/// Hits of a search.
const MAX_HITS: usize = 100;

/// Characters of a hit.
const SNIPPET: usize = 160;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetParams {
    #[serde(alias = "sessionKey")]
    key: String,
    agent_id: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PreviewParams {
    keys: Vec<String>,
    limit: Option<usize>,
    max_chars: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SearchParams {
    query: String,
    agent_id: Option<String>,
    session_keys: Option<Vec<String>>,
    limit: Option<usize>,
}

/// The messages of a session that are being read.
#[derive(Debug)]
pub(in crate::gateway) struct GetCall;

/// Previews that are being read.
#[derive(Debug)]
pub(in crate::gateway) struct PreviewCall {
    /// As they were asked for, with their transcripts.
    keys: Vec<(String, Option<SessionId>)>,
    max_chars: usize,
}

/// A search that is under way.
#[derive(Debug)]
pub(in crate::gateway) struct SearchCall {
    words: Vec<String>,
}

impl Gateway {
    pub(super) fn sessions_get(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Result<Step, RpcError> {
        let asked: GetParams = params.parse()?;
        let key = self.session_key(params, &asked.key, asked.agent_id.as_deref())?;
        let Some(entry) = self.sessions.get(&key) else {
            return Ok(Step::Answer(encode(&json!({ "messages": [] }))));
        };
        let query = TranscriptQuery::Before {
            session: entry.session_id.clone(),
            before: None,
            limit: asked.limit.unwrap_or(200).clamp(1, MAX_MESSAGES),
            max_bytes: MAX_BYTES,
        };
        let call = TranscriptCall::Get(GetCall);
        let id = request.id.clone();
        self.ask_transcript(now, [&key], query, PendingTranscript { conn, id, call });
        Ok(Step::Later)
    }

    pub(super) fn session_messages(&self, _: &GetCall, page: TranscriptPage) -> Answer {
        let messages: Vec<Value> = page
            .messages
            .iter()
            .map(|found| shown(found, None))
            .collect();
        encode(&json!({ "messages": messages }))
    }

    pub(super) fn sessions_preview(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Result<Step, RpcError> {
        let asked: PreviewParams = params.parse()?;
        if asked.keys.is_empty() {
            return Err(params.error("keys must not be empty"));
        }
        if asked.max_chars.is_some_and(|chars| chars < 20) {
            return Err(params.error("maxChars must be 20 or more"));
        }
        let mut keys = Vec::new();
        let mut known = BTreeSet::new();
        for text in asked.keys.into_iter().take(MAX_PREVIEWS) {
            let key = self.session_key(params, &text, None)?;
            let session = self
                .sessions
                .get(&key)
                .map(|entry| entry.session_id.clone());
            known.insert(key);
            keys.push((text, session));
        }
        let sessions: BTreeSet<SessionId> = keys.iter().filter_map(|(_, id)| id.clone()).collect();
        let query = TranscriptQuery::Tails {
            sessions: sessions.into_iter().collect(),
            limit: asked.limit.unwrap_or(12).clamp(1, 100),
            max_bytes: 256 * 1024,
        };
        let call = TranscriptCall::Preview(PreviewCall {
            keys,
            max_chars: asked.max_chars.unwrap_or(240),
        });
        let id = request.id.clone();
        self.ask_transcript(now, &known, query, PendingTranscript { conn, id, call });
        Ok(Step::Later)
    }

    pub(super) fn previews(&self, now: Now, call: &PreviewCall, page: TranscriptPage) -> Answer {
        let previews: Vec<Value> = call
            .keys
            .iter()
            .map(|(key, session)| {
                let items: Vec<Value> = page
                    .messages
                    .iter()
                    .filter(|message| Some(&message.session) == session.as_ref())
                    .filter_map(|message| {
                        let role = match message.author {
                            Author::Assistant => "assistant",
                            Author::User => "user",
                            Author::Note | Author::Tool => return None,
                        };
                        let text: String = message.text.chars().take(call.max_chars).collect();
                        Some(json!({ "role": role, "text": text }))
                    })
                    .collect();
                let status = match (session, items.is_empty()) {
                    (None, _) => "missing",
                    (Some(_), true) => "empty",
                    (Some(_), false) => "ok",
                };
                json!({ "key": key, "status": status, "items": items })
            })
            .collect();
        encode(&json!({ "ts": now.wall, "previews": previews }))
    }

    pub(super) fn sessions_search(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Result<Step, RpcError> {
        let asked: SearchParams = params.parse()?;
        let words: Vec<String> = asked
            .query
            .to_lowercase()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        if words.is_empty() {
            return Err(params.error("query must not be blank"));
        }
        let wanted = match &asked.session_keys {
            None => None,
            Some(keys) => {
                let keys: Result<BTreeSet<SessionKey>, RpcError> = keys
                    .iter()
                    .map(|key| self.session_key(params, key, None))
                    .collect();
                Some(keys?)
            }
        };
        let found: Vec<(SessionKey, SessionId)> = self
            .sessions
            .values()
            .filter(|entry| {
                asked
                    .agent_id
                    .as_ref()
                    .is_none_or(|agent| *agent == entry.agent_id)
            })
            .filter(|entry| {
                wanted
                    .as_ref()
                    .is_none_or(|wanted| wanted.contains(&entry.key))
            })
            .map(|entry| (entry.key.clone(), entry.session_id.clone()))
            .collect();
        let query = TranscriptQuery::Search {
            sessions: found.iter().map(|(_, id)| id.clone()).collect(),
            words: words.clone(),
            limit: asked.limit.unwrap_or(20).clamp(1, MAX_HITS),
        };
        let call = TranscriptCall::Search(SearchCall { words });
        let id = request.id.clone();
        let keys: Vec<SessionKey> = found.into_iter().map(|(key, _)| key).collect();
        self.ask_transcript(now, &keys, query, PendingTranscript { conn, id, call });
        Ok(Step::Later)
    }

    pub(super) fn search_hits(&self, call: &SearchCall, page: TranscriptPage) -> Answer {
        let hits: BTreeSet<&SessionId> = page
            .messages
            .iter()
            .map(|message| &message.session)
            .collect();
        let entries = self.sessions.values();
        let entries: BTreeMap<&SessionId, &SessionEntry> = entries
            .filter(|entry| hits.contains(&entry.session_id))
            .map(|entry| (&entry.session_id, entry))
            .collect();
        let results: Vec<Value> = page
            .messages
            .iter()
            .enumerate()
            .filter_map(|(place, message)| {
                let entry = entries.get(&message.session)?;
                Some(json!({
                    "sessionKey": entry.key,
                    "sessionId": message.session,
                    "messageId": message.id,
                    "role": message.author,
                    "timestamp": message.at,
                    "snippet": excerpt(&message.text, &call.words, SNIPPET),
                    // The newest is the best.
                    "score": 1.0 / (place + 1) as f64,
                }))
            })
            .collect();
        encode(&json!({ "results": results, "truncated": page.more }))
    }
}

//! Messages from outside and to it, with all their steps: `messages.list`, `messages.trace` and
//! `messages.resend`. They are this gateway's own.
//!
//! A row is `{id, direction: "in"|"out", channel, accountId, chat, threadId?, chatKind:
//! "direct"|"group", state, text, at, updatedAt, why?}` with `sender {id, name?, username?}`,
//! `remoteId`, `runId?`, `answer?` and `doubt?` for what came in, and `answers?`, `replyToId?` and
//! `parts` for what goes out. Times are milliseconds since 1970. States are `received`, `running`,
//! `calling-node`, `replying`, `sent`, `uncertain` and `failed`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Gateway, Params, encode};
use crate::{
    gateway::channels::{Hop, MessageId, MessageRecord, MessageState, PartBody, PartRecord, Way},
    ids::ConnId,
    protocol::RpcError,
    time::{Now, WallTime},
};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// Characters of a message in a list.
const EXCERPT: usize = 200;

/// `channel`, `accountId` and `chat` are exact; `state` is one of the states, or `open` for all that
/// are not over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListParams {
    channel: Option<String>,
    account_id: Option<String>,
    chat: Option<String>,
    state: Option<String>,
    /// 1 to 500.
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IdParams {
    id: String,
}

/// Which states are wanted.
#[derive(Clone, Copy, Debug)]
enum States {
    All,
    Open,
    One(MessageState),
}

impl Gateway {
    /// `{messages: [row], total}`, the newest first; texts are cut.
    pub(super) fn messages_list(&self, params: Params<'_>) -> Answer {
        let wanted: ListParams = params.parse()?;
        let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(params.error(&format!("limit must be 1 to {MAX_LIMIT}")));
        }
        let states = match wanted.state.as_deref() {
            None => States::All,
            Some("open") => States::Open,
            Some(name) => States::One(MessageState::parse(name).ok_or_else(|| {
                params.error(
                    "state must be open, received, running, calling-node, replying, sent, uncertain \
                     or failed",
                )
            })?),
        };
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let mut found: Vec<&MessageRecord> = self
            .channels
            .messages()
            .filter(|record| {
                let place = &record.place;
                is(&wanted.channel, &place.account.channel)
                    && is(&wanted.account_id, &place.account.account)
                    && is(&wanted.chat, &place.chat)
                    && match states {
                        States::All => true,
                        States::Open => !record.state.is_over(),
                        States::One(state) => record.state == state,
                    }
            })
            .collect();
        found.sort_by_key(|record| std::cmp::Reverse(record.order));
        let total = found.len();
        let rows: Vec<Value> = found
            .into_iter()
            .take(limit)
            .map(|record| row(record, &excerpt(&record.text)))
            .collect();
        encode(&json!({ "messages": rows, "total": total }))
    }

    /// `{message: row, related: [row], hops: [{at, afterMs, message, what}]}`: a message, those that
    /// answer it or that it answers, and the steps of all of them in their order. `afterMs` are the
    /// milliseconds since the step before.
    pub(super) fn messages_trace(&self, params: Params<'_>) -> Answer {
        let wanted: IdParams = params.parse()?;
        let id = MessageId::new(&wanted.id);
        let record = self.channels.get(&id).ok_or_else(|| no_such(&id))?;
        let asked = match &record.way {
            Way::In(_) => Some(record),
            Way::Out(outbound) => {
                let answered = outbound.answers.as_ref();
                answered.and_then(|answered| self.channels.get(answered))
            }
        };
        let mut all: Vec<&MessageRecord> = match asked {
            None => vec![record],
            Some(asked) => {
                let answers = self.channels.messages().filter(|other| {
                    let answered = other.outbound().and_then(|out| out.answers.as_ref());
                    answered == Some(&asked.id)
                });
                std::iter::once(asked).chain(answers).collect()
            }
        };
        all.sort_by_key(|record| record.order);
        let related: Vec<Value> = all
            .iter()
            .filter(|other| other.id != record.id)
            .map(|other| row(other, &other.text))
            .collect();
        encode(&json!({
            "message": row(record, &record.text),
            "related": related,
            "hops": hops(&all),
        }))
    }

    /// `{id, resent, state}`: `resent` is the message that goes on, which is the answer of `id` where
    /// that is what did not arrive for certain.
    pub(super) fn messages_resend(&mut self, now: Now, conn: ConnId, params: Params<'_>) -> Answer {
        let wanted: IdParams = params.parse()?;
        let id = MessageId::new(&wanted.id);
        let resent = self
            .resend_message(now, &id)
            .map_err(RpcError::invalid_request)?;
        self.note(now, conn, "messages.resend", None, resent.as_str());
        self.refresh_health(now);
        let state = self
            .channels
            .get(&resent)
            .map(|record| record.state.as_str());
        encode(&json!({ "id": id, "resent": resent, "state": state }))
    }
}

fn no_such(id: &MessageId) -> RpcError {
    let shown: String = id.as_str().chars().take(64).collect();
    RpcError::invalid_request(format!(
        "there is no message {shown}; the oldest that are over are forgotten"
    ))
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn row(record: &MessageRecord, text: &str) -> Value {
    let place = &record.place;
    let at = |hop: Option<&Hop>| hop.map(|hop| hop.at);
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    };
    put("id", json!(record.id));
    put("channel", json!(place.account.channel));
    put("accountId", json!(place.account.account));
    put("chat", json!(place.chat));
    put("threadId", json!(place.thread));
    put("chatKind", json!(record.kind));
    put("state", json!(record.state.as_str()));
    put("text", json!(text));
    put("at", json!(at(record.hops.first())));
    put("updatedAt", json!(at(record.hops.last())));
    match &record.way {
        Way::In(inbound) => {
            put("direction", json!("in"));
            put("sender", json!(inbound.sender));
            put("remoteId", json!(inbound.remote_id));
            put("writtenAt", json!(inbound.written_at));
            put("runId", json!(inbound.run));
            put("answer", json!(inbound.answer));
            put("doubt", json!(inbound.doubt));
            put("why", json!(inbound.doubt));
            if !inbound.files.is_empty() {
                put("files", json!(inbound.files.len()));
            }
        }
        Way::Out(outbound) => {
            put("direction", json!("out"));
            put("answers", json!(outbound.answers));
            put("replyToId", json!(outbound.reply_to));
            put("parts", outbound.parts.iter().map(part).collect());
            let why = outbound.parts.iter().find_map(|part| part.why.clone());
            put("why", json!(why));
        }
    }
    Value::Object(fields)
}

fn part(part: &PartRecord) -> Value {
    let mut shown = match &part.body {
        PartBody::Text(_) => json!({ "kind": "text" }),
        PartBody::File {
            name, mime_type, ..
        } => json!({ "kind": "file", "name": name, "mimeType": mime_type }),
    };
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("state".into(), json!(part.state));
        fields.insert("remoteId".into(), json!(part.remote_id));
        fields.insert("why".into(), json!(part.why));
        fields.retain(|_, value| !value.is_null());
    }
    shown
}

/// All steps in their order. Of steps in the same millisecond, what led to the other comes first: what
/// came in, what goes out, and then the end of what came in.
fn hops(records: &[&MessageRecord]) -> Vec<Value> {
    let mut all: Vec<(WallTime, u8, &MessageRecord, &Hop)> = Vec::new();
    for record in records {
        let last = record.hops.len().saturating_sub(1);
        for (index, hop) in record.hops.iter().enumerate() {
            let rank = match &record.way {
                Way::In(_) if index == last && index > 0 && record.state.is_over() => 2,
                Way::In(_) => 0,
                Way::Out(_) => 1,
            };
            all.push((hop.at, rank, record, hop));
        }
    }
    all.sort_by_key(|(at, rank, ..)| (*at, *rank));
    let mut before = all.first().map_or(WallTime(0), |(at, ..)| *at);
    all.into_iter()
        .map(|(at, _, record, hop)| {
            let after = at.0.saturating_sub(before.0);
            before = at;
            json!({ "at": at, "afterMs": after, "message": record.id, "what": hop.what })
        })
        .collect()
}

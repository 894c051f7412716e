//! `chat.message.get` and `chat.metadata`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Gateway, Params, Step, encode,
    transcripts::{PendingTranscript, TranscriptCall, cut_texts},
};
use crate::{
    frame::Request,
    ids::ConnId,
    protocol::RpcError,
    store::{TranscriptPage, TranscriptQuery},
    time::Now,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageParams {
    session_key: String,
    agent_id: Option<String>,
    message_id: String,
    max_chars: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetadataParams {
    agent_id: Option<String>,
    session_key: Option<String>,
}

/// A message that is being looked for.
#[derive(Debug)]
pub(in crate::gateway) struct MessageCall {
    max_chars: Option<usize>,
}

impl Gateway {
    pub(super) fn chat_message_get(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request,
        params: Params<'_>,
    ) -> Result<Step, RpcError> {
        let asked: MessageParams = params.parse()?;
        let key = self.session_key(params, &asked.session_key, asked.agent_id.as_deref())?;
        let Some(entry) = self.sessions.get(&key) else {
            return Ok(Step::Answer(not_found()));
        };
        let query = TranscriptQuery::One {
            session: entry.session_id.clone(),
            id: asked.message_id,
        };
        let call = TranscriptCall::Message(MessageCall {
            max_chars: asked.max_chars,
        });
        let id = request.id.clone();
        self.ask_transcript(now, [&key], query, PendingTranscript { conn, id, call });
        Ok(Step::Later)
    }

    /// The whole message, files included.
    pub(super) fn one_message(&self, call: &MessageCall, page: TranscriptPage) -> Answer {
        let Some(message) = page.messages.into_iter().next() else {
            return not_found();
        };
        if message.document.as_str().len() > self.setup.limits.max_payload {
            return encode(&json!({ "ok": false, "unavailableReason": "oversized" }));
        }
        let mut document = message.document.parse::<Value>().unwrap_or_default();
        if let Some(max) = call.max_chars {
            cut_texts(&mut document, max);
        }
        encode(&json!({ "ok": true, "message": document }))
    }

    pub(super) fn chat_metadata(&self, params: Params<'_>) -> Answer {
        let asked: MetadataParams = params.parse()?;
        if let Some(key) = &asked.session_key {
            self.session_key(params, key, asked.agent_id.as_deref())?;
        }
        encode(&self.chat_metadata_payload())
    }

    /// Models, and commands that a message may be.
    pub(super) fn chat_metadata_payload(&self) -> Value {
        let command = |name: &str, description: &str| {
            json!({
                "name": name,
                "nativeName": name,
                "textAliases": [format!("/{name}")],
                "description": description,
                "category": "session",
                "source": "native",
                "scope": "both",
                "acceptsArgs": false,
            })
        };
        json!({
            "models": self.model_rows(),
            "commands": [
                command("stop", "Stop what is under way in this session."),
                command("new", "Begin a new session."),
                command("reset", "Begin a new session."),
            ],
        })
    }
}

fn not_found() -> Answer {
    encode(&json!({ "ok": false, "unavailableReason": "not_found" }))
}

//! Messages as clients see them (spec protocol §6.4).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::entry::SessionEntry;
use crate::{
    agent::{Attachment, Usage},
    frame::RawJson,
    ids::{RunId, ToolCallId},
    store::{Author, Message},
    time::WallTime,
};

/// Characters of a tool's result that a transcript keeps.
const TOOL_TEXT: usize = 64 * 1024;

/// A message that has no place in a transcript yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct MessageDraft {
    pub(in crate::gateway) id: String,
    author: Author,
    pub(in crate::gateway) text: String,
    body: Map<String, Value>,
    /// What stands beside the message itself, in `__openclaw`.
    meta: Map<String, Value>,
}

impl MessageDraft {
    fn new(id: String, author: Author, text: &str, body: Value, meta: Value) -> Self {
        let fields = |mut value: Value| {
            let fields = value.as_object_mut();
            fields.map(std::mem::take).unwrap_or_default()
        };
        Self {
            id,
            author,
            text: text.to_owned(),
            body: fields(body),
            meta: fields(meta),
        }
    }

    /// What somebody wrote to the agent.
    pub(in crate::gateway) fn input(
        id: String,
        text: &str,
        attachments: &[Attachment],
        run: &RunId,
        client: Option<(&str, &str)>,
    ) -> Self {
        let key = format!("{run}:user");
        let content = if attachments.is_empty() {
            json!(text)
        } else {
            let files = attachments.iter().map(|file| {
                let kind = if file.mime_type.starts_with("image/") {
                    "image"
                } else {
                    "file"
                };
                let mut block = json!({
                    "type": kind,
                    "mimeType": file.mime_type,
                    "bytes": file.content.len(),
                    "data": STANDARD.encode(&file.content),
                });
                if let (Some(name), Some(fields)) = (&file.file_name, block.as_object_mut()) {
                    fields.insert("fileName".into(), json!(name));
                }
                block
            });
            std::iter::once(json!({ "type": "text", "text": text }))
                .chain(files)
                .collect()
        };
        let mut meta = json!({ "idempotencyKey": key, "runId": run });
        if let (Some((id, mode)), Some(fields)) = (client, meta.as_object_mut()) {
            let clients = json!({ "clients": [{ "id": id, "mode": mode }] });
            fields.insert("transport".into(), clients);
        }
        let body = json!({ "role": "user", "content": content, "idempotencyKey": key });
        Self::new(id, Author::User, text, body, meta)
    }

    /// The agent's reply.
    pub(in crate::gateway) fn reply(id: String, run: &RunId, text: &str) -> Self {
        let body = json!({
            "role": "assistant",
            "content": [{ "type": "text", "text": text }],
        });
        Self::new(id, Author::Assistant, text, body, json!({ "runId": run }))
    }

    /// Who wrote the reply, what it cost, and why it ended.
    #[must_use]
    pub(in crate::gateway) fn told_by(
        mut self,
        provider: Option<&str>,
        model: Option<&str>,
        usage: Option<Usage>,
        stop_reason: Option<&str>,
    ) -> Self {
        let usage = usage.map(usage_json);
        for (name, value) in [
            ("provider", provider.map(Value::from)),
            ("model", model.map(Value::from)),
            ("usage", usage),
            ("stopReason", stop_reason.map(Value::from)),
        ] {
            if let Some(value) = value {
                self.body.insert(name.into(), value);
            }
        }
        self
    }

    /// What an operator put into the agent's mouth.
    pub(in crate::gateway) fn injected(id: String, text: &str, label: Option<&str>) -> Self {
        let mut draft = Self::reply(id, &RunId::new("inject"), text);
        draft.meta.remove("runId");
        if let Some(label) = label {
            draft.meta.insert("label".into(), json!(label));
        }
        draft
    }

    /// What a node answered.
    pub(in crate::gateway) fn tool_result(
        id: String,
        run: &RunId,
        call: &ToolCallId,
        name: &str,
        result: Result<&str, &str>,
    ) -> Self {
        let full = match result {
            Ok(text) | Err(text) => text,
        };
        let text: String = full.chars().take(TOOL_TEXT).collect();
        let body = json!({
            "role": "toolResult",
            "toolCallId": call,
            "toolName": name,
            "isError": result.is_err(),
            "content": [{ "type": "text", "text": text }],
        });
        Self::new(id, Author::Tool, &text, body, json!({ "runId": run }))
    }

    /// A word of the gateway itself.
    pub(in crate::gateway) fn note(
        id: String,
        kind: &str,
        text: &str,
        run: Option<&RunId>,
    ) -> Self {
        let body = json!({
            "role": "custom",
            "customType": kind,
            "content": text,
            "display": true,
        });
        let meta = run.map_or_else(|| json!({}), |run| json!({ "runId": run }));
        Self::new(id, Author::Note, text, body, meta)
    }

    /// Whether somebody wrote it to the agent.
    pub(super) fn is_input(&self) -> bool {
        self.author == Author::User
    }

    /// Bytes that it takes in memory and on disk, roughly.
    pub(in crate::gateway) fn weight(&self) -> usize {
        let blocks = self.body.get("content").and_then(Value::as_array);
        let files: usize = blocks
            .into_iter()
            .flatten()
            .filter_map(|block| block.get("data")?.as_str())
            .map(str::len)
            .sum();
        self.text.len() * 2 + files
    }

    /// Its files.
    pub(in crate::gateway) fn attachments(&self) -> Vec<Attachment> {
        attachments(self.body.get("content"))
    }

    /// The message before it has its place: of one that waits.
    pub(in crate::gateway) fn shown(&self) -> Value {
        without_data(Value::Object(self.body.clone()))
    }

    pub(super) fn into_message(self, entry: &SessionEntry, seq: u64, now: WallTime) -> Message {
        let mut body = self.body;
        let mut meta = self.meta;
        meta.insert("id".into(), json!(self.id));
        meta.insert("seq".into(), json!(seq));
        meta.insert("recordTimestampMs".into(), json!(now));
        body.insert("timestamp".into(), json!(now));
        body.insert("__openclaw".into(), Value::Object(meta));
        Message {
            session: entry.session_id.clone(),
            seq,
            id: self.id,
            author: self.author,
            at: now,
            text: self.text,
            document: RawJson::encode(&body).unwrap_or_else(|_| RawJson::empty_object()),
        }
    }
}

/// `usage` of a message.
pub(in crate::gateway) fn usage_json(usage: Usage) -> Value {
    json!({
        "input": usage.input,
        "output": usage.output,
        "totalTokens": usage.input.saturating_add(usage.output),
    })
}

/// The files of a message that was kept.
pub(in crate::gateway) fn attachments(content: Option<&Value>) -> Vec<Attachment> {
    let blocks = content.and_then(Value::as_array).into_iter().flatten();
    blocks
        .filter_map(|block| {
            let text = |name: &str| block.get(name)?.as_str().map(str::to_owned);
            Some(Attachment {
                mime_type: text("mimeType")?,
                file_name: text("fileName"),
                content: STANDARD.decode(text("data")?).ok()?.into(),
            })
        })
        .collect()
}

/// Leaves the bytes of files out: lists of messages only name them.
pub(in crate::gateway) fn without_data(mut message: Value) -> Value {
    let blocks = message.get_mut("content").and_then(Value::as_array_mut);
    for block in blocks.into_iter().flatten() {
        if let Some(fields) = block.as_object_mut()
            && fields.remove("data").is_some()
        {
            fields.insert("omitted".into(), json!(true));
        }
    }
    message
}

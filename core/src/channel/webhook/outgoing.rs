//! What a bridge is sent: one part of a message in one JSON object.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::channel::{Outgoing, Part, Place};

/// The body for a part.
pub(super) fn part(outgoing: &Outgoing) -> Bytes {
    let part = match &outgoing.part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::File(file) => {
            let mut part = Map::new();
            part.insert("type".into(), "file".into());
            if let Some(name) = &file.name {
                part.insert("name".into(), name.as_str().into());
            }
            part.insert("mimeType".into(), file.mime_type.as_str().into());
            part.insert("data".into(), STANDARD.encode(&file.data).into());
            Value::Object(part)
        }
    };
    let mut body = to(&outgoing.place);
    body.insert("key".into(), outgoing.key.as_str().into());
    if let Some(answered) = &outgoing.reply_to {
        body.insert("replyTo".into(), answered.id().into());
    }
    body.insert("part".into(), part);
    body.insert("silent".into(), outgoing.silent.into());
    bytes(body)
}

/// The body that tells whether the agent works.
pub(super) fn typing(place: &Place, works: bool) -> Bytes {
    let mut body = to(place);
    body.insert("typing".into(), works.into());
    bytes(body)
}

fn to(place: &Place) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("chat".into(), place.chat.as_str().into());
    if let Some(thread) = &place.thread {
        body.insert("thread".into(), thread.as_str().into());
    }
    body
}

fn bytes(body: Map<String, Value>) -> Bytes {
    Value::Object(body).to_string().into()
}

//! What a model is told: the system prompt, what fits of the history, and the turns of this run.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::answer::PartCall;
use super::tools::ToolBook;
use crate::agent::{Attachment, HistoryMessage, RunRequest, Speaker};

/// Tokens of a conversation with a model of which nothing is known.
const DEFAULT_CONTEXT: u64 = 128_000;
/// Tokens that are kept free for the answer, at most.
const ROOM_FOR_ANSWER: u64 = 4_096;
/// Tokens that a message takes besides its text.
const PER_MESSAGE: u64 = 4;
/// Tokens that an image is taken for.
const PER_IMAGE: u64 = 1_000;
/// Bytes of a text file that are shown to a model.
const MAX_FILE_TEXT: usize = 64 * 1024;
/// Bytes of a tool's result that are shown to a model.
pub const MAX_TOOL_RESULT: usize = 32 * 1024;

/// A message and its estimated size.
#[derive(Clone, Debug)]
struct Message {
    value: Value,
    tokens: u64,
}

/// What is told, apart from the model and its limits.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    system: String,
    history: Vec<HistoryMessage>,
    message: String,
    attachments: Vec<Attachment>,
    /// What came of this run so far.
    turns: Vec<Message>,
    functions: Vec<Value>,
}

/// What a model can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) context: Option<u64>,
    pub(super) max_tokens: Option<u64>,
    pub(super) images: bool,
}

/// The message alone is longer than the model can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    pub(super) tokens: u64,
    pub(super) room: u64,
}

impl Conversation {
    pub(super) fn new(system: &str, request: &RunRequest, tools: &ToolBook) -> Self {
        let mut system = system.to_owned();
        if let Some(extra) = &request.extra_prompt {
            system.push_str("\n\n");
            system.push_str(extra);
        }
        Self {
            system,
            history: request.history.clone(),
            message: request.message.clone(),
            attachments: request.attachments.clone(),
            turns: Vec::new(),
            functions: tools.functions(),
        }
    }

    /// Adds what the model said, with the calls that it asked for.
    pub(super) fn add_answer(&mut self, text: &str, calls: &[PartCall]) {
        let mut tokens = tokens(text);
        let calls: Vec<Value> = calls
            .iter()
            .map(|call| {
                tokens += self::tokens(&call.name) + self::tokens(&call.arguments) + PER_MESSAGE;
                json!({
                    "id": call.id,
                    "type": "function",
                    "function": { "name": call.name, "arguments": call.arguments },
                })
            })
            .collect();
        let content = if text.is_empty() {
            Value::Null
        } else {
            json!(text)
        };
        let mut value = json!({ "role": "assistant", "content": content });
        if !calls.is_empty()
            && let Some(fields) = value.as_object_mut()
        {
            fields.insert("tool_calls".into(), Value::Array(calls));
        }
        self.turns.push(Message {
            value,
            tokens: tokens + PER_MESSAGE,
        });
    }

    /// Adds what the user said in between.
    pub(super) fn add_message(&mut self, text: &str) {
        self.turns.push(Message {
            tokens: tokens(text) + PER_MESSAGE,
            value: json!({ "role": "user", "content": text }),
        });
    }

    /// Adds what came of a call.
    pub(super) fn add_result(&mut self, call: &str, result: &str) {
        let text = truncated(result);
        self.turns.push(Message {
            tokens: tokens(&text) + PER_MESSAGE,
            value: json!({ "role": "tool", "tool_call_id": call, "content": text }),
        });
    }

    /// The body of a request. The oldest messages of the history are left out until the rest fits.
    pub(super) fn body(&self, model: &str, capacity: Capacity) -> Result<Bytes, TooLong> {
        let context = capacity.context.unwrap_or(DEFAULT_CONTEXT);
        let answer = capacity
            .max_tokens
            .unwrap_or(ROOM_FOR_ANSWER)
            .min(context / 2);
        let room = context - answer;
        let asked = self.asked(capacity.images);
        let functions: u64 = self
            .functions
            .iter()
            .map(|function| tokens(&function.to_string()))
            .sum();
        let fixed = tokens(&self.system)
            + PER_MESSAGE
            + functions
            + asked.tokens
            + self.turns.iter().map(|turn| turn.tokens).sum::<u64>();
        if fixed > room {
            return Err(TooLong {
                tokens: fixed,
                room,
            });
        }
        let mut messages = vec![json!({ "role": "system", "content": self.system })];
        messages.extend(self.recent(room - fixed));
        messages.push(asked.value);
        messages.extend(self.turns.iter().map(|turn| turn.value.clone()));
        let mut body = Map::new();
        body.insert("model".into(), json!(model));
        body.insert("messages".into(), Value::Array(messages));
        body.insert("stream".into(), json!(true));
        body.insert("stream_options".into(), json!({ "include_usage": true }));
        if let Some(max) = capacity.max_tokens {
            body.insert("max_tokens".into(), json!(max));
        }
        if !self.functions.is_empty() {
            body.insert("tools".into(), json!(self.functions));
        }
        Ok(Bytes::from(Value::Object(body).to_string()))
    }

    /// The newest messages of the history that fit, from one of the user on: many models want them in
    /// turns.
    fn recent(&self, mut room: u64) -> Vec<Value> {
        let mut start = self.history.len();
        for (at, message) in self.history.iter().enumerate().rev() {
            let size = tokens(&message.text) + PER_MESSAGE;
            let Some(left) = room.checked_sub(size) else {
                break;
            };
            room = left;
            start = at;
        }
        self.history
            .iter()
            .skip(start)
            .skip_while(|message| message.speaker == Speaker::Assistant)
            .map(|message| {
                let role = match message.speaker {
                    Speaker::Assistant => "assistant",
                    Speaker::User => "user",
                };
                json!({ "role": role, "content": message.text })
            })
            .collect()
    }

    /// The message with its files.
    fn asked(&self, images: bool) -> Message {
        let mut text = self.message.clone();
        let mut pictures = Vec::new();
        for file in &self.attachments {
            if images && file.mime_type.starts_with("image/") {
                let data = STANDARD.encode(&file.content);
                let url = format!("data:{};base64,{data}", file.mime_type);
                pictures.push(json!({ "type": "image_url", "image_url": { "url": url } }));
            } else {
                text.push_str("\n\n");
                text.push_str(&file_text(file));
            }
        }
        let size = tokens(&text) + PER_MESSAGE + PER_IMAGE * pictures.len() as u64;
        let content = if pictures.is_empty() {
            json!(text)
        } else {
            let mut parts = vec![json!({ "type": "text", "text": text })];
            parts.append(&mut pictures);
            Value::Array(parts)
        };
        Message {
            value: json!({ "role": "user", "content": content }),
            tokens: size,
        }
    }
}

/// A file as text, or a word about it where it is none.
fn file_text(file: &Attachment) -> String {
    let name = file.file_name.as_deref().unwrap_or("without a name");
    let is_text = file.mime_type.starts_with("text/") || file.mime_type == "application/json";
    let whole = std::str::from_utf8(&file.content).ok().filter(|_| is_text);
    match whole.filter(|text| text.len() <= MAX_FILE_TEXT) {
        Some(text) => format!("[File {name}]\n{text}\n[End of file]"),
        None => format!(
            "[File {name}, {}, {} bytes: it cannot be shown to this model]",
            file.mime_type,
            file.content.len()
        ),
    }
}

/// Tokens of a text, estimated: four letters of ASCII are one, and so is any other character.
pub(super) fn tokens(text: &str) -> u64 {
    let others = text.chars().filter(|c| !c.is_ascii()).count() as u64;
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    ascii.div_ceil(4) + others
}

fn truncated(text: &str) -> String {
    if text.len() <= MAX_TOOL_RESULT {
        return text.to_owned();
    }
    let kept = text.floor_char_boundary(MAX_TOOL_RESULT);
    format!(
        "{}\n[cut here: {} of {} bytes are shown]",
        text.get(..kept).unwrap_or_default(),
        kept,
        text.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::request;
    use proptest::prelude::*;

    fn said(speaker: Speaker, text: &str) -> HistoryMessage {
        HistoryMessage {
            speaker,
            text: text.into(),
        }
    }

    fn body(request: &RunRequest, capacity: Capacity) -> Value {
        let book = ToolBook::new(request.tools.clone());
        let conversation = Conversation::new("Be kind.", request, &book);
        let body = conversation.body("m", capacity).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn a_request_has_everything_in_its_order() {
        let mut request = request("hi");
        request.extra_prompt = Some("Be brief.".into());
        request.history = vec![said(Speaker::User, "a"), said(Speaker::Assistant, "b")];
        let capacity = Capacity {
            max_tokens: Some(50),
            ..Capacity::default()
        };
        let book = ToolBook::new(request.tools.clone());
        let mut conversation = Conversation::new("Be kind.", &request, &book);
        let call = PartCall {
            id: "c1".into(),
            name: "f".into(),
            arguments: "{}".into(),
            ..PartCall::default()
        };
        conversation.add_answer("", &[call]);
        conversation.add_result("c1", &"x".repeat(MAX_TOOL_RESULT + 1));
        let body: Value =
            serde_json::from_slice(&conversation.body("m", capacity).unwrap()).unwrap();
        let messages = body["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages
            .iter()
            .map(|m| m["role"].as_str().unwrap())
            .collect();
        assert_eq!(
            roles,
            ["system", "user", "assistant", "user", "assistant", "tool"]
        );
        assert_eq!(messages[0]["content"], "Be kind.\n\nBe brief.");
        assert_eq!(messages[4]["tool_calls"][0]["function"]["name"], "f");
        let result = messages[5]["content"].as_str().unwrap();
        assert!(result.ends_with("[cut here: 32768 of 32769 bytes are shown]"));
        assert_eq!(body["stream_options"]["include_usage"], true);
        assert_eq!(
            (&body["model"], &body["max_tokens"]),
            (&json!("m"), &json!(50))
        );
        assert_eq!(body["tools"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn images_go_to_models_that_take_them_and_texts_to_all() {
        let file = |mime_type: &str, name: &str, content: &'static [u8]| Attachment {
            mime_type: mime_type.into(),
            file_name: Some(name.into()),
            content: Bytes::from_static(content),
        };
        let mut request = request("look");
        request.attachments = vec![
            file("image/png", "a.png", b"png"),
            file("text/plain", "b.txt", b"hello"),
            file("application/zip", "c.zip", b"PK"),
        ];
        let seeing = Capacity {
            images: true,
            ..Capacity::default()
        };
        let content = body(&request, seeing)["messages"][1]["content"].clone();
        assert_eq!(content[1]["image_url"]["url"], "data:image/png;base64,cG5n");
        let text = content[0]["text"].as_str().unwrap();
        assert!(text.contains("[File b.txt]\nhello") && text.contains("c.zip, application/zip"));
        let blind = body(&request, Capacity::default())["messages"][1]["content"].clone();
        assert!(blind.as_str().unwrap().contains("a.png, image/png"));
    }

    #[test]
    fn the_oldest_messages_go_first_and_a_message_that_never_fits_is_an_error() {
        let mut request = request("now");
        request.tools.clear();
        request.history = (0..100)
            .map(|n| {
                let speaker = if n % 2 == 0 {
                    Speaker::User
                } else {
                    Speaker::Assistant
                };
                said(speaker, &format!("{n:03} {}", "word ".repeat(20)))
            })
            .collect();
        let capacity = Capacity {
            context: Some(600),
            max_tokens: Some(100),
            images: false,
        };
        let body = body(&request, capacity);
        let messages = body["messages"].as_array().unwrap();
        assert!(
            messages.len() > 4 && messages.len() < 30,
            "{}",
            messages.len()
        );
        assert_eq!(messages[1]["role"], "user");
        let newest = &messages[messages.len() - 2]["content"];
        assert!(newest.as_str().unwrap().starts_with("099"));
        request.message = "x".repeat(10_000);
        let conversation = Conversation::new("", &request, &ToolBook::default());
        assert_eq!(conversation.body("m", capacity).unwrap_err().room, 500);
    }

    proptest! {
        #[test]
        fn whatever_is_sent_fits_by_the_estimate(
            texts in prop::collection::vec("[a-zä ]{0,200}", 0..20),
            context in 100u64..3_000,
        ) {
            let mut request = request("now");
            request.tools.clear();
            request.history = texts.iter().map(|text| said(Speaker::User, text)).collect();
            let capacity = Capacity { context: Some(context), ..Capacity::default() };
            let conversation = Conversation::new("s", &request, &ToolBook::default());
            let body: Value = serde_json::from_slice(&conversation.body("m", capacity).unwrap()).unwrap();
            let messages = body["messages"].as_array().unwrap();
            let size: u64 = messages.iter().map(|m| tokens(m["content"].as_str().unwrap()) + PER_MESSAGE).sum();
            prop_assert!(size <= context);
            let sent = messages.len() - 2;
            for (message, text) in messages[1..=sent].iter().zip(&texts[texts.len() - sent..]) {
                prop_assert_eq!(message["content"].as_str().unwrap(), text.as_str());
            }
        }
    }
}

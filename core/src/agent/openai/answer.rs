//! The answer to one request, in a stream or whole.

use serde_json::Value;

use super::sse::{SseEvent, SseParser};
use crate::agent::Usage;

/// Calls that one answer may ask for.
pub const MAX_ANSWER_CALLS: usize = 64;
/// Bytes of the arguments of one call.
const MAX_ARGUMENTS: usize = 1024 * 1024;
/// Bytes of the text of one answer.
const MAX_ANSWER_TEXT: usize = 4 * 1024 * 1024;

/// What has come of an answer so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) refusal: String,
    pub(super) calls: Vec<PartCall>,
    pub(super) finish: Option<String>,
    pub(super) usage: Option<Usage>,
    /// Whether a piece of the answer has come: from then on it is not asked for again.
    pub(super) began: bool,
    /// `[DONE]` has come.
    pub(super) done: bool,
}

/// A call, as far as it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartCall {
    pub(super) index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// Why an answer cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AnswerFault {
    /// The provider put this error into the stream.
    Error(Value),
    /// It is no answer of this kind, in words.
    Broken(String),
}

impl Answer {
    /// Takes a piece of a stream, and gives the text that is new in it.
    pub(super) fn event(&mut self, event: &SseEvent) -> Result<String, AnswerFault> {
        let data = event.data.trim();
        if self.done || data.is_empty() {
            return Ok(String::new());
        }
        if data == "[DONE]" {
            self.done = true;
            return Ok(String::new());
        }
        let chunk: Value = serde_json::from_str(data)
            .map_err(|_| AnswerFault::Broken("a piece of the stream is no JSON".into()))?;
        self.chunk(&chunk, "delta")
    }

    /// Takes an answer that is not streamed, and gives its text.
    pub(super) fn whole(&mut self, body: &[u8]) -> Result<String, AnswerFault> {
        let body: Value = serde_json::from_slice(body)
            .map_err(|_| AnswerFault::Broken("the answer is neither a stream nor JSON".into()))?;
        let has_choices = body
            .get("choices")
            .and_then(Value::as_array)
            .is_some_and(|c| !c.is_empty());
        if !has_choices && body.get("error").is_none_or(Value::is_null) {
            return Err(AnswerFault::Broken("the answer has no choices".into()));
        }
        let text = self.chunk(&body, "message")?;
        self.finish.get_or_insert_with(|| "stop".into());
        self.done = true;
        Ok(text)
    }

    fn chunk(&mut self, chunk: &Value, part: &str) -> Result<String, AnswerFault> {
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(AnswerFault::Error(error.clone()));
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            let count = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
            self.usage = Some(Usage {
                input: count("prompt_tokens"),
                output: count("completion_tokens"),
            });
        }
        let Some(choice) = chunk
            .get("choices")
            .and_then(Value::as_array)
            .and_then(|choices| choices.first())
        else {
            return Ok(String::new());
        };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish = Some(reason.to_owned());
        }
        let Some(message) = choice.get(part).or_else(|| choice.get("message")) else {
            return Ok(String::new());
        };
        if let Some(refusal) = message.get("refusal").and_then(Value::as_str) {
            self.refusal.push_str(refusal);
        }
        for call in message
            .get("tool_calls")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.began = true;
            self.call(call)?;
        }
        let text = message.get("content").map(text_of).unwrap_or_default();
        if !text.is_empty() || !self.refusal.is_empty() {
            self.began = true;
        }
        self.text.push_str(&text);
        if self.text.len() + self.refusal.len() > MAX_ANSWER_TEXT {
            return Err(AnswerFault::Broken(format!(
                "the answer is longer than {MAX_ANSWER_TEXT} bytes"
            )));
        }
        Ok(text)
    }

    /// A call, or a piece of one. Endpoints differ: some leave out the index, some send whole calls
    /// with one index for all and an id for each.
    fn call(&mut self, part: &Value) -> Result<(), AnswerFault> {
        let text = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
        let index = part.get("index").and_then(Value::as_u64);
        let id = text("id");
        let function = part.get("function");
        let of_function = |name: &str| function.and_then(|function| function.get(name));
        let name = of_function("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let known = match index {
            Some(index) => self
                .calls
                .iter()
                .rposition(|call| call.index == Some(index)),
            None if id.is_empty() && name.is_empty() => self.calls.len().checked_sub(1),
            None => self
                .calls
                .iter()
                .position(|call| !id.is_empty() && call.id == id),
        };
        let known = known.and_then(|known| self.calls.get_mut(known));
        let call = match known {
            Some(call) if id.is_empty() || call.id.is_empty() || call.id == id => call,
            Some(_) | None => {
                if self.calls.len() >= MAX_ANSWER_CALLS {
                    return Err(AnswerFault::Broken(format!(
                        "the model asks for more than {MAX_ANSWER_CALLS} tools at once"
                    )));
                }
                self.calls.push(PartCall {
                    index,
                    ..PartCall::default()
                });
                let Some(call) = self.calls.last_mut() else {
                    return Ok(());
                };
                call
            }
        };
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        // A name comes whole, and some endpoints repeat it with each piece.
        if call.name.is_empty() {
            name.clone_into(&mut call.name);
        }
        match of_function("arguments") {
            Some(Value::String(arguments)) => call.arguments.push_str(arguments),
            Some(object @ Value::Object(_)) => call.arguments.push_str(&object.to_string()),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => {}
        }
        if call.arguments.len() > MAX_ARGUMENTS {
            return Err(AnswerFault::Broken(format!(
                "the arguments of a tool are longer than {MAX_ARGUMENTS} bytes"
            )));
        }
        Ok(())
    }
}

/// Text, or the texts of a list of parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// Reads the body of an answer that has a good status.
#[derive(Clone, Debug)]
pub(super) enum BodyReader {
    Stream(Box<SseParser>),
    Whole(Vec<u8>),
    /// Its first byte that is no blank decides.
    Unknown,
}

impl BodyReader {
    pub(super) fn new(content_type: Option<&str>) -> Self {
        match content_type {
            Some("text/event-stream") => Self::Stream(Box::default()),
            Some("application/json") => Self::Whole(Vec::new()),
            Some(_) | None => Self::Unknown,
        }
    }

    /// Takes a piece of the body, and gives the text that is new.
    pub(super) fn data(
        &mut self,
        bytes: &[u8],
        answer: &mut Answer,
    ) -> Result<String, AnswerFault> {
        if matches!(self, Self::Unknown) {
            match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => return Ok(String::new()),
                Some(b'{') => *self = Self::Whole(Vec::new()),
                Some(_) => *self = Self::Stream(Box::default()),
            }
        }
        match self {
            Self::Stream(parser) => {
                let events = parser
                    .push(bytes)
                    .map_err(|fault| AnswerFault::Broken(fault.to_string()))?;
                let mut text = String::new();
                for event in events {
                    text.push_str(&answer.event(&event)?);
                }
                Ok(text)
            }
            Self::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(String::new())
            }
            Self::Unknown => Ok(String::new()),
        }
    }

    /// The end of the body.
    pub(super) fn end(&mut self, answer: &mut Answer) -> Result<String, AnswerFault> {
        match self {
            Self::Stream(parser) => match parser.finish() {
                Some(event) => answer.event(&event),
                None => Ok(String::new()),
            },
            Self::Whole(body) => answer.whole(body),
            Self::Unknown => Err(AnswerFault::Broken("the answer is empty".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stream(chunks: &[Value]) -> Answer {
        let mut answer = Answer::default();
        for chunk in chunks {
            let event = SseEvent {
                name: String::new(),
                data: chunk.to_string(),
            };
            answer.event(&event).unwrap();
        }
        answer
    }

    fn delta(delta: &Value) -> Value {
        json!({ "choices": [{ "index": 0, "delta": delta }] })
    }

    fn calls<'a>(answer: &'a Answer) -> Vec<(&'a str, &'a str, &'a str)> {
        let call = |call: &'a PartCall| (&*call.id, &*call.name, &*call.arguments);
        answer.calls.iter().map(call).collect()
    }

    #[test]
    fn text_usage_and_end_are_gathered() {
        let answer = stream(&[
            delta(&json!({ "role": "assistant", "content": "" })),
            delta(&json!({ "content": "Hel" })),
            delta(&json!({ "content": "lo", "reasoning_content": "hm" })),
            json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] }),
            json!({ "choices": [], "usage": { "prompt_tokens": 5, "completion_tokens": 2 } }),
        ]);
        assert_eq!(
            (answer.text.as_str(), answer.finish.as_deref()),
            ("Hello", Some("stop"))
        );
        assert_eq!(
            answer.usage,
            Some(Usage {
                input: 5,
                output: 2
            })
        );
        assert!(!stream(&[delta(&json!({ "role": "assistant" }))]).began);
    }

    #[test]
    fn pieces_of_calls_are_put_together_however_endpoints_send_them() {
        let piece = |part: Value| delta(&json!({ "tool_calls": [part] }));
        let usual = stream(&[
            piece(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "" } })),
            piece(json!({ "index": 1, "id": "b", "function": { "name": "g", "arguments": "{" } })),
            piece(json!({ "index": 0, "function": { "arguments": "{}" } })),
            piece(json!({ "index": 1, "function": { "arguments": "}" } })),
        ]);
        assert_eq!(calls(&usual), [("a", "f", "{}"), ("b", "g", "{}")]);
        let one_index = stream(&[
            piece(json!({ "index": 0, "id": "a", "function": { "name": "f", "arguments": "{}" } })),
            piece(json!({ "index": 0, "id": "b", "function": { "name": "f", "arguments": "{}" } })),
        ]);
        assert_eq!(calls(&one_index).len(), 2);
        let no_index = stream(&[
            piece(json!({ "id": "a", "function": { "name": "f", "arguments": "{" } })),
            piece(json!({ "function": { "arguments": "}" } })),
            piece(json!({ "id": "b", "function": { "name": "g", "arguments": { "x": 1 } } })),
        ]);
        assert_eq!(
            calls(&no_index),
            [("a", "f", "{}"), ("b", "g", "{\"x\":1}")]
        );
        let together = stream(&[delta(&json!({ "tool_calls": [
            { "function": { "name": "f", "arguments": "{}" } },
            { "function": { "name": "g", "arguments": "{}" } },
        ] }))]);
        assert_eq!(calls(&together), [("", "f", "{}"), ("", "g", "{}")]);
    }

    #[test]
    fn an_answer_may_come_whole() {
        let body = json!({
            "choices": [{
                "message": { "content": [{ "type": "text", "text": "Hi" }], "tool_calls": [
                    { "id": "a", "function": { "name": "f", "arguments": "{}" } },
                ] },
            }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1 },
        })
        .to_string();
        let mut answer = Answer::default();
        let mut reader = BodyReader::new(None);
        assert_eq!(reader.data(b" \n", &mut answer), Ok(String::new()));
        let (first, rest) = body.as_bytes().split_at(10);
        reader.data(first, &mut answer).unwrap();
        reader.data(rest, &mut answer).unwrap();
        assert_eq!(reader.end(&mut answer), Ok("Hi".into()));
        assert_eq!(calls(&answer), [("a", "f", "{}")]);
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        for body in ["", "[]", "{}", "{\"choices\":[]}", "nonsense"] {
            let mut answer = Answer::default();
            assert!(answer.whole(body.as_bytes()).is_err(), "{body}");
        }
        let error = json!({ "error": { "message": "no" } });
        assert_eq!(
            Answer::default().chunk(&error, "delta"),
            Err(AnswerFault::Error(json!({ "message": "no" })))
        );
    }
}

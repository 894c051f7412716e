//! Events and histories of the gateway, as far as a conversation is about them (spec protocol §5.2,
//! §6.4).

use clawgate_core::frame::IncomingEvent;
use serde_json::Value;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// With this reply.
    Done(String),
    /// Somebody stopped it; what was said so far.
    Aborted(String),
    /// It failed.
    Failed {
        /// Why.
        message: String,
        /// Whether its time was over.
        timed_out: bool,
        /// What was said so far.
        text: String,
    },
}

/// Something about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    /// The session's whole key.
    pub(crate) session: String,
    /// The run, where it is about one.
    pub(crate) run: String,
    /// What.
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The reply has come this far.
    Text(String),
    /// The run is over.
    End(RunEnd),
    /// The agent calls a node.
    ToolCalled {
        /// Node and command.
        name: String,
        /// The parameters, as JSON.
        args: String,
    },
    /// The node answered.
    ToolDone {
        /// Node and command.
        name: String,
        /// The result, as JSON.
        result: String,
        /// Whether it failed.
        is_error: bool,
    },
    /// A message was kept.
    Kept(Entry),
}

/// A message of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Who: `user`, `assistant`, `toolResult` or `custom`.
    pub(crate) role: String,
    /// The text.
    pub(crate) text: String,
    /// The run that it belongs to.
    pub(crate) run: Option<String>,
    /// The tool, of a result.
    pub(crate) tool: Option<String>,
    /// Its own name.
    pub(crate) id: Option<String>,
}

impl News {
    /// Reads an event; nothing for those that are about something else.
    pub(crate) fn of(event: &IncomingEvent) -> Option<Self> {
        let name: &str = &event.event;
        if !matches!(name, "agent" | "chat" | "session.message") {
            return None;
        }
        let payload = event.payload.parse::<Value>().ok()?;
        let what = match name {
            "chat" => chat(&payload)?,
            "agent" => tool(&payload)?,
            _ => What::Kept(Entry::of(payload.get("message")?)),
        };
        let run = match &what {
            What::Kept(entry) => entry.run.clone().unwrap_or_default(),
            What::Text(_) | What::End(_) | What::ToolCalled { .. } | What::ToolDone { .. } => {
                text(&payload, "runId")
            }
        };
        Some(Self {
            session: text(&payload, "sessionKey"),
            run,
            what,
        })
    }
}

fn chat(payload: &Value) -> Option<What> {
    let said = payload.get("message").map(content).unwrap_or_default();
    Some(match payload.get("state")?.as_str()? {
        "delta" => What::Text(said),
        "final" => What::End(RunEnd::Done(said)),
        "aborted" => What::End(RunEnd::Aborted(said)),
        "error" => What::End(RunEnd::Failed {
            message: text(payload, "errorMessage"),
            timed_out: payload.get("errorKind").and_then(Value::as_str) == Some("timeout"),
            text: said,
        }),
        _ => return None,
    })
}

fn tool(payload: &Value) -> Option<What> {
    if payload.get("stream")?.as_str()? != "tool" {
        return None;
    }
    let data = payload.get("data")?;
    let json = |field: &str| data.get(field).map(ToString::to_string).unwrap_or_default();
    Some(match data.get("phase")?.as_str()? {
        "start" => What::ToolCalled {
            name: text(data, "name"),
            args: json("args"),
        },
        "result" => What::ToolDone {
            name: text(data, "name"),
            result: json("result"),
            is_error: data.get("isError").and_then(Value::as_bool) == Some(true),
        },
        _ => return None,
    })
}

impl Entry {
    /// Reads a message of a history.
    pub(crate) fn of(message: &Value) -> Self {
        let own = message.get("__openclaw");
        let optional = |object: Option<&Value>, field: &str| {
            let text = object?.get(field)?.as_str()?;
            Some(text.to_owned())
        };
        Self {
            role: text(message, "role"),
            text: content(message),
            run: optional(own, "runId").or_else(|| optional(Some(message), "runId")),
            tool: optional(Some(message), "toolName"),
            id: optional(own, "id"),
        }
    }
}

/// What a history says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// The cursor was of no use: read it without.
    pub(crate) is_reset: bool,
    /// The messages, the oldest first.
    pub(crate) entries: Vec<Entry>,
    /// Where the next one goes on.
    pub(crate) cursor: Option<String>,
    /// The run under way, with its text so far.
    pub(crate) in_flight: Option<(String, String)>,
}

impl History {
    /// Reads the answer to `chat.history`.
    pub(crate) fn of(answer: &Value) -> Self {
        let list =
            |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let run = answer.get("inFlightRun").filter(|run| run.is_object());
        Self {
            is_reset: answer.get("kind").and_then(Value::as_str) == Some("reset"),
            entries: list(answer.get("messages")).iter().map(Entry::of).collect(),
            cursor: answer
                .get("deltaCursor")
                .and_then(Value::as_str)
                .map(str::to_owned),
            in_flight: run.map(|run| (text(run, "runId"), text(run, "text"))),
        }
    }

    /// What the agent said in the end of a run, if that is among the messages.
    pub(crate) fn reply_of(&self, run: &str) -> Option<&str> {
        let of_run =
            |entry: &&Entry| entry.run.as_deref() == Some(run) && entry.role == "assistant";
        let entry = self.entries.iter().rev().find(of_run)?;
        Some(&entry.text)
    }
}

/// The text of a message: a string, or the text blocks of a list.
fn content(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => {
            let texts: Vec<&str> = blocks
                .iter()
                .filter_map(|block| block.get("text")?.as_str())
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn text(object: &Value, field: &str) -> String {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;
    use clawgate_core::frame::Incoming;
    use serde_json::json;

    use super::*;

    fn news(event: &str, payload: &Value) -> Option<News> {
        let frame = json!({ "type": "event", "event": event, "payload": payload, "seq": 1 });
        match Incoming::parse(&ByteString::from(frame.to_string())).unwrap() {
            Incoming::Event(event) => News::of(&event),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn events_are_read_as_far_as_they_matter() {
        let chat = |state: &str, more: Value| {
            let mut payload = json!({ "runId": "r", "sessionKey": "s", "state": state });
            payload
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            news("chat", &payload).unwrap().what
        };
        let message = json!({ "message": { "content": [{ "type": "text", "text": "hi" }] } });
        assert_eq!(chat("delta", message.clone()), What::Text("hi".into()));
        assert_eq!(
            chat("final", message.clone()),
            What::End(RunEnd::Done("hi".into()))
        );
        assert_eq!(
            chat("aborted", message),
            What::End(RunEnd::Aborted("hi".into()))
        );
        let late = json!({ "errorMessage": "late", "errorKind": "timeout" });
        assert_eq!(
            chat("error", late),
            What::End(RunEnd::Failed {
                message: "late".into(),
                timed_out: true,
                text: String::new()
            })
        );
        let tool = json!({
            "runId": "r", "sessionKey": "s", "stream": "tool",
            "data": { "phase": "start", "name": "n:c", "args": { "a": 1 } },
        });
        let called = What::ToolCalled {
            name: "n:c".into(),
            args: r#"{"a":1}"#.into(),
        };
        assert_eq!(news("agent", &tool).unwrap().what, called);
        let other = json!({ "stream": "lifecycle", "data": { "phase": "start" } });
        assert_eq!(news("agent", &other), None);
        assert_eq!(news("tick", &json!({})), None);
    }

    #[test]
    fn a_history_tells_what_is_said_and_what_is_under_way() {
        let history = History::of(&json!({
            "messages": [
                { "role": "user", "content": "q", "__openclaw": { "id": "1", "runId": "r" } },
                { "role": "assistant", "content": [{ "text": "a" }], "__openclaw": { "runId": "r" } },
            ],
            "deltaCursor": "c",
            "inFlightRun": { "runId": "r2", "text": "so f" },
        }));
        assert_eq!(history.entries[0].text, "q");
        assert_eq!(history.entries[0].id.as_deref(), Some("1"));
        assert_eq!(history.reply_of("r"), Some("a"));
        assert_eq!(history.reply_of("r2"), None);
        assert_eq!(history.in_flight, Some(("r2".into(), "so f".into())));
        assert_eq!(history.cursor.as_deref(), Some("c"));
        assert!(History::of(&json!({ "kind": "reset" })).is_reset);
    }
}

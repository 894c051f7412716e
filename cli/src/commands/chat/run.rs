//! One run of a conversation, and how it ended.

use serde_json::{Value, json};

use crate::conversation::reply::Reply;
use crate::conversation::wire::RunEnd;
use crate::exit::Exit;

/// A run that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) key: String,
    pub(super) message: String,
    pub(super) reply: Reply,
    /// Whether the gateway has the message.
    pub(super) is_taken: bool,
    /// What the gateway answered about its end, whose event may have been missed.
    pub(super) end: Option<Value>,
    /// The reply as it was kept.
    pub(super) kept: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) exit: Exit,
    pub(super) text: String,
    /// What people are told besides.
    pub(super) words: Option<String>,
    status: &'static str,
}

impl Run {
    pub(super) fn new(key: String, message: String) -> Self {
        Self {
            key,
            message,
            reply: Reply::default(),
            is_taken: false,
            end: None,
            kept: None,
        }
    }

    /// The end, where it is known from an answer rather than from an event.
    pub(super) fn end_by_answer(&self) -> Option<RunEnd> {
        let end = self.end.as_ref()?;
        let field = |name: &str| end.get(name).and_then(Value::as_str);
        let text = self.kept.clone().unwrap_or_default();
        let failed = |timed_out| RunEnd::Failed {
            message: field("error").unwrap_or("the run failed").to_owned(),
            timed_out,
            text: text.clone(),
        };
        Some(match (field("status"), field("stopReason")) {
            (Some("timeout"), Some("aborted")) | (Some("error"), Some("aborted")) => {
                RunEnd::Aborted(text)
            }
            (Some("timeout"), _) => failed(true),
            (Some("error"), _) => failed(false),
            _ => RunEnd::Done(text),
        })
    }
}

impl Outcome {
    pub(super) fn of(end: RunEnd) -> Self {
        match end {
            RunEnd::Done(text) => Self {
                exit: Exit::Ok,
                text,
                words: None,
                status: "ok",
            },
            RunEnd::Aborted(text) => Self {
                exit: Exit::Refused,
                text,
                words: Some("the run was stopped".to_owned()),
                status: "aborted",
            },
            RunEnd::Failed {
                message,
                timed_out,
                text,
            } => Self {
                exit: if timed_out {
                    Exit::TimedOut
                } else {
                    Exit::Refused
                },
                text,
                words: Some(format!("the run failed: {message}")),
                status: if timed_out { "timeout" } else { "error" },
            },
        }
    }

    /// The gateway did not take the message.
    pub(super) const fn refused(message: String, exit: Exit) -> Self {
        Self {
            exit,
            text: String::new(),
            words: Some(message),
            status: "error",
        }
    }

    pub(super) fn to_json(&self, run: &str, session: &str) -> Value {
        json!({
            "runId": run,
            "sessionKey": session,
            "status": self.status,
            "text": self.text,
            "error": self.words,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_was_missed_is_known_from_the_answer() {
        let mut run = Run::new("k".into(), "m".into());
        assert_eq!(run.end_by_answer(), None);
        run.kept = Some("text".into());
        for (answer, exit) in [
            (json!({ "status": "ok" }), Exit::Ok),
            (json!({ "status": "timeout", "endedAt": 1 }), Exit::TimedOut),
            (json!({ "status": "error", "error": "why" }), Exit::Refused),
            (
                json!({ "status": "error", "stopReason": "aborted" }),
                Exit::Refused,
            ),
        ] {
            run.end = Some(answer);
            let outcome = Outcome::of(run.end_by_answer().unwrap());
            assert_eq!((outcome.exit, outcome.text.as_str()), (exit, "text"));
        }
    }
}

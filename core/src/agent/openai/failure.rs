//! What a failed request means, and what may be done about it.

use std::time::Duration;

use serde_json::Value;

use crate::{agent::FailureKind, secret::Secret};

/// Characters of a provider's words that are shown.
const MAX_SHOWN: usize = 300;

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) class: Class,
    /// For people, without a key.
    pub(super) message: String,
    pub(super) status: Option<u16>,
}

/// Which case it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// 429, and how long the provider asks to wait.
    RateLimit(Option<Duration>),
    /// 401 or 403: another key may do.
    Key,
    /// It may go well the next time: 5xx, no connection, silence. With how long to wait, if that is
    /// said.
    Passing(Option<Duration>),
    /// The same, and time was what ran out.
    Late,
    /// Another model may do.
    Model,
    /// The conversation is too long.
    TooLong,
    /// The provider declines.
    Declined,
    /// Asking again would end the same.
    Final,
}

impl Failure {
    pub(super) fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            status: None,
        }
    }

    pub(super) const fn kind(&self) -> FailureKind {
        match self.class {
            Class::RateLimit(_) => FailureKind::RateLimit,
            Class::Late => FailureKind::Timeout,
            Class::TooLong => FailureKind::ContextLength,
            Class::Declined => FailureKind::Refusal,
            Class::Key | Class::Passing(_) | Class::Model | Class::Final => FailureKind::Unknown,
        }
    }

    /// From the status and the body of an answer that is no success.
    pub(super) fn of_status(
        status: u16,
        body: &[u8],
        retry_after: Option<Duration>,
        provider: &str,
        key: Option<&Secret>,
    ) -> Self {
        let said = said(body, key);
        let because = match &said {
            Some(said) => format!(": {said}"),
            None => String::new(),
        };
        let (class, message) = match status {
            // What it says here often has a part of the key in it.
            401 | 403 => (
                Class::Key,
                format!(
                    "{provider} refused the key (HTTP {status}). Check models.providers.{provider}.apiKey \
                     and auth.profiles."
                ),
            ),
            _ if is_too_long(body) => (
                Class::TooLong,
                format!("The conversation is too long for the model (HTTP {status}{because})."),
            ),
            429 => (
                Class::RateLimit(retry_after),
                format!("{provider} wants fewer requests (HTTP 429{because})."),
            ),
            408 | 425 | 500..=599 => (
                Class::Passing(retry_after),
                format!("{provider} is not well (HTTP {status}{because})."),
            ),
            300..=399 => (
                Class::Final,
                format!(
                    "{provider} points elsewhere (HTTP {status}), and no key is sent there. Write the \
                     new URL into models.providers.{provider}.baseUrl if it is right."
                ),
            ),
            404 => (
                Class::Model,
                format!("{provider} knows no such model or path (HTTP 404{because})."),
            ),
            402 => (
                Class::Model,
                format!("{provider} wants to be paid (HTTP 402{because})."),
            ),
            _ => (
                Class::Final,
                format!("{provider} did not take the request (HTTP {status}{because})."),
            ),
        };
        Self {
            class,
            message,
            status: Some(status),
        }
    }

    /// From an `error` in a stream that began well.
    pub(super) fn of_stream(error: &Value, provider: &str, key: Option<&Secret>) -> Self {
        let text = serde_json::json!({ "error": error }).to_string();
        let code = error
            .get("code")
            .or_else(|| error.get("status"))
            .and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()))
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (400..=599).contains(code));
        match code {
            Some(code) => Self::of_status(code, text.as_bytes(), None, provider, key),
            None if is_too_long(text.as_bytes()) => {
                Self::of_status(400, text.as_bytes(), None, provider, key)
            }
            None => {
                let said = said(text.as_bytes(), key).unwrap_or_else(|| "no reason".to_owned());
                Self::new(
                    Class::Passing(None),
                    format!("{provider} broke the answer off: {said}."),
                )
            }
        }
    }
}

/// Words by which endpoints say that a conversation is too long.
const TOO_LONG: &[&str] = &[
    "context_length_exceeded",
    "context length",
    "context window",
    "context size",
    "exceed_context_size",
    "maximum context",
    "prompt is too long",
    "input is too long",
    "too many tokens",
];

fn is_too_long(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_lowercase();
    TOO_LONG.iter().any(|words| text.contains(words))
}

/// What a provider says in an error, on one line and without the key.
fn said(body: &[u8], key: Option<&Secret>) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error").unwrap_or(&value);
    let text = match error {
        Value::String(text) => text.as_str(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            ["message", "detail", "error"]
                .iter()
                .find_map(|name| error.get(*name).and_then(Value::as_str))?
        }
    };
    Some(shown(text, key)).filter(|text| !text.is_empty())
}

/// Foreign words on one line, short, without control characters and without the key.
pub(super) fn shown(text: &str, key: Option<&Secret>) -> String {
    let text = match key {
        Some(key) if !key.expose().is_empty() => text.replace(key.expose(), "(key)"),
        Some(_) | None => text.to_owned(),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let line = line.trim_end_matches('.');
    match line.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_words_are_told_apart() {
        let wait = Some(Duration::from_secs(7));
        for (status, body, class) in [
            (429, "", Class::RateLimit(wait)),
            (401, "", Class::Key),
            (403, "", Class::Key),
            (500, "oops", Class::Passing(wait)),
            (503, "", Class::Passing(wait)),
            (408, "", Class::Passing(wait)),
            (404, r#"{"error":"model 'x' not found"}"#, Class::Model),
            (
                400,
                r#"{"error":{"code":"context_length_exceeded","message":"m"}}"#,
                Class::TooLong,
            ),
            (
                400,
                r#"{"error":{"type":"exceed_context_size_error"}}"#,
                Class::TooLong,
            ),
            (
                500,
                r#"{"error":"the Context Window is full"}"#,
                Class::TooLong,
            ),
            (400, r#"{"error":{"message":"bad"}}"#, Class::Final),
            (302, "", Class::Final),
        ] {
            let failure = Failure::of_status(status, body.as_bytes(), wait, "p", None);
            assert_eq!(failure.class, class, "{status} {body}");
            assert_eq!(failure.status, Some(status));
        }
    }

    #[test]
    fn keys_are_never_repeated() {
        let key = Secret::new("sk-hunter2");
        for status in [400, 401, 429, 500] {
            let body = br#"{"error":{"message":"bad key sk-hunter2 \n given."}}"#;
            let failure = Failure::of_status(status, body, None, "p", Some(&key));
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        }
        let error = serde_json::json!({ "message": "sk-hunter2 is bad" });
        let failure = Failure::of_stream(&error, "p", Some(&key));
        assert_eq!(failure.message, "p broke the answer off: (key) is bad.");
        assert_eq!(failure.class, Class::Passing(None));
        let error = serde_json::json!({ "message": "slow down", "code": "429" });
        assert_eq!(
            Failure::of_stream(&error, "p", None).class,
            Class::RateLimit(None)
        );
    }
}

//! One answer over HTTP.

use std::time::Duration;

use serde_json::Value;

/// An answer, ready to be written. The host adds `Content-Length`, `Cache-Control: no-store` and
/// `Connection: close`, and leaves out the body for `HEAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further header fields. Values are made here, and never of what a client sent.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// How long to hold it back, so that guessing is slow.
    pub delay: Duration,
    /// A line for the operator's log.
    pub warning: Option<String>,
}

impl HttpAnswer {
    /// A body of text.
    pub fn text(status: u16, body: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into())
    }

    /// A body of JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    /// Says which methods there are. `OPTIONS` is none of them.
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        Self::text(405, "Method Not Allowed").with("Allow", allowed)
    }

    /// Nothing is wrong with the request, but it cannot be taken now.
    pub fn later(after: Duration) -> Self {
        Self::text(503, "Service Unavailable: try again later")
            .with("Retry-After", after.as_secs().max(1).to_string())
    }

    /// Adds a header field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn new(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body,
            delay: Duration::ZERO,
            warning: None,
        }
    }
}

//! Long pieces of work outside the core: an HTTP exchange with a streamed answer, or a program with
//! lines in and out.
//!
//! A machine starts a job, may feed it, and stops it; the host tells what comes of it, in order,
//! and ends with exactly one of [`JobEvent::Ended`] and [`JobEvent::Failed`]. After a stop the host
//! tells nothing more.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;

use crate::{policy::Endpoint, secret::Secret, time::WallTime};

/// What a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobSpec {
    /// One HTTP request.
    Http(HttpJob),
    /// One run of a program.
    Program(ProgramJob),
}

/// One HTTP request. Redirects are not followed, and nothing is sent twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpJob {
    /// Its method.
    pub method: HttpMethod,
    /// Where it goes; host policy has been checked.
    pub url: Endpoint,
    /// Path and query where they hold a credential; those of `url` are not used then.
    pub secret_path: Option<Secret>,
    /// Its headers, besides `host`, `content-length` and `user-agent`, which the host writes.
    pub headers: Vec<(&'static str, HeaderText)>,
    /// Its body.
    pub body: Bytes,
    /// Time for DNS, TCP and TLS together.
    pub connect: Duration,
    /// Time for which the answer may be silent, before its head and between its pieces.
    pub idle: Duration,
    /// Bytes of the answer's body; a longer one fails the job.
    pub max_body: usize,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are HTTP's own")]
pub enum HttpMethod {
    Get,
    Post,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderText {
    /// Anybody may see it.
    Plain(String),
    /// It holds a credential.
    Secret(Secret),
}

/// One run of a program, without a shell. Its standard error goes to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramJob {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// Where it runs; `None` for the host's own folder.
    pub cwd: Option<PathBuf>,
    /// What is added to its environment.
    pub env: BTreeMap<String, String>,
    /// Variables of the host that are not passed on: they hold credentials of the gateway.
    pub withheld: BTreeSet<String>,
    /// Bytes that it may write to standard output in all; more fail the job.
    pub max_output: usize,
    /// Time that it gets to end after its input was closed by a stop, before it is killed.
    pub grace: Duration,
}

/// What comes of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// The head of an HTTP answer.
    Head(HttpHead),
    /// A piece of an HTTP body or of standard output.
    Data(Bytes),
    /// The end: all data has been told.
    Ended(JobEnd),
    /// It did not come to an end by itself.
    Failed(JobFailure),
}

/// The head of an HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHead {
    /// Such as 200.
    pub status: u16,
    /// `content-type`, in lower case and without parameters.
    pub content_type: Option<String>,
    /// `retry-after`, where it names a time to wait.
    pub retry_after: Option<Duration>,
}

impl HttpHead {
    /// Reads what matters of an answer's head. The calendar is needed for a `retry-after` that names a
    /// date.
    ///
    /// ```
    /// use std::time::Duration;
    /// use clawgate_core::{job::HttpHead, time::WallTime};
    ///
    /// let fields = [("Content-Type", "Text/Event-Stream; charset=utf-8"), ("retry-after", "7")];
    /// let head = HttpHead::read(429, fields, WallTime(0));
    /// assert_eq!(head.content_type.as_deref(), Some("text/event-stream"));
    /// assert_eq!(head.retry_after, Some(Duration::from_secs(7)));
    /// ```
    pub fn read<'a>(
        status: u16,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
        wall: WallTime,
    ) -> Self {
        let mut head = Self {
            status,
            content_type: None,
            retry_after: None,
        };
        let mut exact = None;
        for (name, value) in fields {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-type") {
                let essence = value.split(';').next().unwrap_or_default();
                head.content_type = Some(essence.trim().to_ascii_lowercase());
            } else if name.eq_ignore_ascii_case("retry-after") {
                head.retry_after = retry_after(value, wall);
            } else if name.eq_ignore_ascii_case("retry-after-ms") {
                exact = value.parse().ok().map(Duration::from_millis);
            }
        }
        head.retry_after = exact.or(head.retry_after);
        head
    }
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(value: &str, wall: WallTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = WallTime::from_http_date(value)?;
    Some(Duration::from_millis(at.0.saturating_sub(wall.0)))
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The HTTP answer is whole.
    Complete,
    /// The program exited with this code; `None` when a signal ended it.
    Exit(Option<i32>),
}

/// Why a job failed, in words for people and without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    /// Whether anything reached the other side: only what certainly did not may be tried elsewhere
    /// without a second thought.
    pub reached: Reached,
    /// What happened.
    pub message: String,
}

/// Whether the other side can have acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No connection came to be, or no process.
    No,
    /// Perhaps.
    Perhaps,
}

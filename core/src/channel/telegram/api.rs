//! Requests to the Bot API and what its answers mean. The token is in paths alone, and whatever comes
//! back is cleaned of it before anybody reads it.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    job::{HeaderText, HttpHead, HttpJob, HttpMethod, JobEvent, JobFailure, JobSpec, Reached},
    policy::Endpoint,
    secret::Secret,
};

/// Time for DNS, TCP and TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// The longest text of the service that is shown to people, in characters.
const MAX_WORDS: usize = 300;
/// No time to wait that the service names is taken for longer than this.
const MAX_WAIT: Duration = Duration::from_secs(3_600);

/// The Bot API for one bot.
#[derive(Debug)]
pub(super) struct Api {
    root: Endpoint,
    token: Secret,
}

/// How long an answer may be silent, and how long its body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) idle: Duration,
    pub(super) max_body: usize,
}

/// The answer to a small request.
pub(super) const SMALL: usize = 1024 * 1024;

impl Api {
    pub(super) const fn new(root: Endpoint, token: Secret) -> Self {
        Self { root, token }
    }

    /// A request with JSON.
    pub(super) fn call(&self, method: &str, params: &Value, bounds: Bounds) -> JobSpec {
        let body = Bytes::from(params.to_string());
        self.post(method, "application/json".to_owned(), body, bounds)
    }

    /// A request with a body of another kind.
    pub(super) fn post(
        &self,
        method: &str,
        content_type: String,
        body: Bytes,
        bounds: Bounds,
    ) -> JobSpec {
        let path = format!("{}/bot{}/{method}", self.base(), self.token.expose());
        let mut job = self.job(HttpMethod::Post, path, bounds);
        job.headers
            .push(("content-type", HeaderText::Plain(content_type)));
        job.body = body;
        JobSpec::Http(job)
    }

    /// A request for a file, by a path that is fit for a URL.
    pub(super) fn file(&self, path: &str, bounds: Bounds) -> JobSpec {
        let path = format!("{}/file/bot{}/{path}", self.base(), self.token.expose());
        JobSpec::Http(self.job(HttpMethod::Get, path, bounds))
    }

    fn base(&self) -> &str {
        self.root.path_and_query().trim_end_matches('/')
    }

    fn job(&self, method: HttpMethod, path: String, bounds: Bounds) -> HttpJob {
        HttpJob {
            method,
            url: self.root.clone(),
            secret_path: Some(Secret::new(path)),
            headers: vec![("accept", HeaderText::Plain("*/*".to_owned()))],
            body: Bytes::new(),
            connect: CONNECT,
            idle: bounds.idle,
            max_body: bounds.max_body,
        }
    }

    /// The host of the API, for people.
    pub(super) fn host(&self) -> String {
        self.root.host_header()
    }

    /// Words from outside, without the token and not too many.
    pub(super) fn clean(&self, words: &str) -> String {
        let token = self.token.expose();
        let mut text = words.replace(token, "***");
        let encoded = token.replace(':', "%3A");
        text = text.replace(&encoded, "***");
        text = text.replace(&encoded.replace("%3A", "%3a"), "***");
        // The part behind the colon is the secret one.
        if let Some((_, key)) = token.split_once(':')
            && key.len() >= 8
        {
            text = text.replace(key, "***");
        }
        text.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_WORDS)
            .collect()
    }

    /// What an exchange comes to.
    pub(super) fn read(&self, outcome: Outcome) -> Answer {
        match outcome {
            Outcome::Whole(head, body) => self.read_body(&head, &body),
            Outcome::Failed(Some(head), failure) if is_success(head.status) => Answer::Garbled(
                format!("the answer was cut: {}", self.clean(&failure.message)),
            ),
            Outcome::Failed(Some(head), _) => refused_by_status(&head),
            Outcome::Failed(None, failure) => Answer::Lost {
                reached: failure.reached,
                why: self.clean(&failure.message),
            },
        }
    }

    fn read_body(&self, head: &HttpHead, body: &[u8]) -> Answer {
        let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else {
            return if is_success(head.status) {
                Answer::Garbled("the answer is not JSON of the Bot API".to_owned())
            } else {
                refused_by_status(head)
            };
        };
        if envelope.ok {
            return if is_success(head.status) {
                Answer::Done(envelope.result)
            } else {
                Answer::Garbled(format!("ok with HTTP status {}", head.status))
            };
        }
        let code = envelope.error_code.unwrap_or(head.status);
        let description = envelope
            .description
            .map(|words| self.clean(&words))
            .filter(|words| !words.trim().is_empty())
            .unwrap_or_else(|| format!("HTTP status {}", head.status));
        Answer::Refused(ApiRefusal {
            code,
            description,
            retry_after: envelope
                .parameters
                .retry_after
                .map(Duration::from_secs)
                .or(head.retry_after)
                .map(|wait| wait.min(MAX_WAIT)),
            migrate_to: envelope.parameters.migrate_to_chat_id,
        })
    }
}

const fn is_success(status: u16) -> bool {
    matches!(status, 200..=299)
}

fn refused_by_status(head: &HttpHead) -> Answer {
    Answer::Refused(ApiRefusal {
        code: head.status,
        description: format!("HTTP status {}", head.status),
        retry_after: head.retry_after.map(|wait| wait.min(MAX_WAIT)),
        migrate_to: None,
    })
}

/// What the Bot API puts around each result.
#[derive(Deserialize)]
struct Envelope {
    ok: bool,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    error_code: Option<u16>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    retry_after: Option<u64>,
    #[serde(default)]
    migrate_to_chat_id: Option<i64>,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// It was done.
    Done(Value),
    /// It was refused, by the API or by something in front of it.
    Refused(ApiRefusal),
    /// It may have been done: a good status, and then nothing that can be read.
    Garbled(String),
    /// No answer came.
    Lost { reached: Reached, why: String },
}

/// A refusal, in words without the token.
#[derive(Debug)]
pub(super) struct ApiRefusal {
    /// The HTTP status, or the API's own code, which is the same.
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) retry_after: Option<Duration>,
    pub(super) migrate_to: Option<i64>,
}

impl ApiRefusal {
    /// Whether the API does not know the token.
    pub(super) const fn is_token(&self) -> bool {
        matches!(self.code, 401 | 404)
    }
}

/// One request and its answer so far. Its body is not shown by `Debug`: an answer may repeat the URL.
#[derive(Default)]
pub(super) struct Exchange {
    head: Option<HttpHead>,
    body: Vec<u8>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("head", &self.head)
            .field("body_len", &self.body.len())
            .finish()
    }
}

/// The end of an exchange.
pub(super) enum Outcome {
    Whole(HttpHead, Vec<u8>),
    Failed(Option<HttpHead>, JobFailure),
}

impl Exchange {
    /// Takes the next event; gives the outcome at the end.
    pub(super) fn handle(&mut self, event: JobEvent) -> Option<Outcome> {
        match event {
            JobEvent::Head(head) => {
                self.head = Some(head);
                None
            }
            JobEvent::Data(data) => {
                self.body.extend_from_slice(&data);
                None
            }
            JobEvent::Ended(_) => Some(match self.head.take() {
                Some(head) => Outcome::Whole(head, std::mem::take(&mut self.body)),
                None => Outcome::Failed(
                    None,
                    JobFailure {
                        reached: Reached::Perhaps,
                        message: "no answer came".to_owned(),
                    },
                ),
            }),
            JobEvent::Failed(failure) => Some(Outcome::Failed(self.head.take(), failure)),
        }
    }

    /// Whether the answer has begun.
    pub(super) const fn has_begun(&self) -> bool {
        self.head.is_some()
    }

    /// The status, once the answer has begun.
    pub(super) fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status)
    }

    /// Bytes of the body so far.
    pub(super) const fn len(&self) -> usize {
        self.body.len()
    }
}

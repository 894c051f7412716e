//! The machine against an API that is played by the tests, event by event. Whatever is seen on the way
//! is searched for the token.

mod fetching;
mod formatting;
mod polling;
mod receiving;
mod sending;
mod splitting;

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    channel::{Incoming, Link, Part, SendOutcome},
    job::{HeaderText, HttpHead, HttpJob, HttpMethod, JobEnd, JobFailure, JobSpec, Reached},
    policy::UrlPolicy,
    time::WallTime,
};

const TOKEN: &str = "123456:hunter2-secret";

struct Rig {
    bot: Telegram,
    now: Now,
    outputs: Vec<ChannelOutput>,
    /// Whether what is seen is searched for the token; not where it is megabytes.
    search: bool,
}

/// A request that is under way.
struct Call {
    job: ChannelJob,
    http: HttpJob,
}

impl Call {
    fn method(&self) -> &str {
        let path = self.http.secret_path.as_ref().unwrap().expose();
        path.strip_prefix(&format!("/api/bot{TOKEN}/")).unwrap()
    }

    fn params(&self) -> Value {
        serde_json::from_slice(&self.http.body).unwrap()
    }

    /// The body of a form, with what is not text left out.
    fn form(&self) -> String {
        String::from_utf8_lossy(&self.http.body).into_owned()
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(ReplyToMode::All)
    }

    #[allow(clippy::disallowed_methods, reason = "any start will do")]
    fn with(reply_to: ReplyToMode) -> Self {
        let setup = TelegramSetup {
            account: AccountRef::new("telegram", "default"),
            token: Secret::new(TOKEN),
            root: check_api_root("http://127.0.0.1:8081/api/", UrlPolicy::Strict).unwrap(),
            reply_to,
            media_max_bytes: 1_000,
        };
        Self {
            bot: Telegram::new(setup, [3; 32]),
            now: Now {
                mono: Instant::now(),
                wall: WallTime(1_000),
            },
            outputs: Vec::new(),
            search: true,
        }
    }

    /// A bot that runs, with its first long poll under way.
    fn running() -> (Self, Call) {
        let mut rig = Self::new();
        let poll = rig.run(None);
        (rig, poll)
    }

    fn run(&mut self, cursor: Option<&str>) -> Call {
        self.start(cursor);
        let me = self.call();
        assert_eq!(me.method(), "getMe");
        self.ok(&me, me_result());
        let probe = self.call();
        assert_eq!(probe.params()["timeout"], 0);
        self.ok(&probe, json!([]));
        assert_eq!(self.status().link, Link::Connected);
        self.call()
    }

    fn act(&mut self, act: impl FnOnce(&mut Telegram, Now)) {
        act(&mut self.bot, self.now);
        while let Some(output) = self.bot.poll_output() {
            self.outputs.push(output);
        }
        if !self.search {
            return;
        }
        let seen = format!("{:?} {:?} {:?}", self.bot, self.bot.status(), self.outputs);
        assert!(!seen.contains("hunter2"), "the token shows: {seen}");
    }

    fn start(&mut self, cursor: Option<&str>) {
        self.act(|bot, now| bot.start(now, cursor));
    }

    fn event(&mut self, call: &Call, event: JobEvent) {
        let job = call.job;
        self.act(|bot, now| bot.handle_job(now, job, event));
    }

    fn head(&mut self, call: &Call, status: u16) {
        let head = HttpHead {
            status,
            content_type: None,
            retry_after: None,
        };
        self.event(call, JobEvent::Head(head));
    }

    fn data(&mut self, call: &Call, data: impl Into<Bytes>) {
        self.event(call, JobEvent::Data(data.into()));
    }

    fn answer(&mut self, call: &Call, status: u16, body: impl Into<Bytes>) {
        self.head(call, status);
        self.data(call, body);
        self.event(call, JobEvent::Ended(JobEnd::Complete));
    }

    fn ok(&mut self, call: &Call, result: Value) {
        let body = json!({ "ok": true, "result": result }).to_string();
        self.answer(call, 200, body);
    }

    /// A refusal whose words repeat the URL, as proxies do.
    fn refuse(&mut self, call: &Call, code: u16, description: &str) {
        let body = json!({
            "ok": false, "error_code": code,
            "description": format!("{description} /bot{TOKEN}/ /bot123456%3Ahunter2-secret"),
        });
        self.answer(call, code, body.to_string());
    }

    fn fail(&mut self, call: &Call, reached: Reached) {
        let message = format!("reset at http://127.0.0.1:8081/bot{TOKEN}/x");
        self.event(call, JobEvent::Failed(JobFailure { reached, message }));
    }

    fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
        self.act(|bot, now| bot.handle_timeout(now));
    }

    /// Goes to the next deadline; gives how long that was.
    fn wait(&mut self) -> Duration {
        let at = self.bot.poll_timeout().unwrap();
        let by = at.saturating_duration_since(self.now.mono);
        self.advance(by);
        by
    }

    fn status(&self) -> ChannelStatus {
        self.bot.status()
    }

    fn problem(&self) -> String {
        self.status().problem.unwrap_or_default()
    }

    /// The one request that was started.
    fn call(&mut self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{:?}", self.outputs);
        calls.remove(0)
    }

    fn calls(&mut self) -> Vec<Call> {
        let (started, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.outputs)
            .into_iter()
            .partition(|output| matches!(output, ChannelOutput::StartJob(..)));
        self.outputs = rest;
        started
            .into_iter()
            .map(|output| {
                let ChannelOutput::StartJob(job, JobSpec::Http(http)) = output else {
                    panic!("{output:?}");
                };
                Call { job, http }
            })
            .collect()
    }

    /// What was stopped.
    fn stopped(&mut self) -> Vec<ChannelJob> {
        self.only(|output| {
            if let ChannelOutput::StopJob(job) = output {
                Some(*job)
            } else {
                None
            }
        })
    }

    /// Takes what fits out of the outputs and leaves the rest.
    fn only<T>(&mut self, fits: fn(&ChannelOutput) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        for output in std::mem::take(&mut self.outputs) {
            match fits(&output) {
                Some(value) => found.push(value),
                None => self.outputs.push(output),
            }
        }
        found
    }

    /// Nothing but jobs that were stopped and news of the status may be left.
    fn nothing_else(&mut self) {
        for output in std::mem::take(&mut self.outputs) {
            let usual = matches!(output, ChannelOutput::StopJob(_) | ChannelOutput::Status);
            assert!(usual, "{output:?}");
        }
    }

    /// What was received, with the cursor, and nothing else.
    fn received(&mut self) -> Vec<(Option<String>, Vec<Incoming>)> {
        let received = self.only(|output| {
            if let ChannelOutput::Received { cursor, messages } = output {
                Some((cursor.clone(), messages.clone()))
            } else {
                None
            }
        });
        self.nothing_else();
        received
    }

    /// What came of the one errand.
    fn sent(&mut self) -> SendOutcome {
        let mut ends = self.only(|output| {
            if let ChannelOutput::Sent(Errand(1), outcome) = output {
                Some(outcome.clone())
            } else {
                None
            }
        });
        self.nothing_else();
        assert_eq!(ends.len(), 1);
        ends.remove(0)
    }

    fn say(&mut self, errand: u64, outgoing: Outgoing) {
        self.act(|bot, now| bot.send(now, Errand(errand), outgoing));
    }
}

fn me_result() -> Value {
    json!({ "id": 99, "is_bot": true, "first_name": "Bot", "username": "example_bot" })
}

/// A text in a chat of its own.
fn update(id: i64, text: &str) -> Value {
    json!({ "update_id": id, "message": message(id, text) })
}

fn message(id: i64, text: &str) -> Value {
    json!({
        "message_id": id, "date": 1_700_000_000, "text": text,
        "chat": { "id": 7, "type": "private" },
        "from": { "id": 7, "is_bot": false, "first_name": "Ada", "username": "ada" },
    })
}

fn place(chat: &str, thread: Option<&str>) -> Place {
    Place {
        account: AccountRef::new("telegram", "default"),
        chat: chat.to_owned(),
        thread: thread.map(str::to_owned),
    }
}

fn outgoing(text: &str) -> Outgoing {
    Outgoing {
        place: place("7", None),
        part: Part::Text(text.to_owned()),
        reply_to: None,
        silent: false,
        key: "k".to_owned(),
    }
}

//! Webhook: a channel for people who write their own bridge. A bridge posts what people wrote, as
//! signed JSON, to `/channels/webhook/ACCOUNT` on the gateway's port; replies are posted to its own URL
//! in the same way. The README tells bridges what to do.
//!
//! | file | rule |
//! | --- | --- |
//! | `sign` | how each side knows the other |
//! | `incoming` | what a bridge sends |
//! | `outgoing` | what a bridge is sent |
//! | `outbox` | when it is sent again |

mod incoming;
mod outbox;
mod outgoing;
mod sign;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde_json::json;

pub use sign::{CLOCK_WINDOW, MIN_SECRET, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};

use super::{
    AccountRef, Channel, ChannelJob, ChannelOutput, ChannelStatus, Errand, FileRef, Link, Outgoing,
    Place, Post, Room,
};
use crate::{
    gateway::HttpAnswer,
    job::JobEvent,
    policy::{Endpoint, UrlPolicy, check_http_base},
    secret::Secret,
    time::{Now, WallTime},
};
use incoming::Fault;
use outbox::Outbox;
use sign::Unproven;

/// The name of the channel.
pub const WEBHOOK: &str = "webhook";

/// The time after which a bridge may send again what there was no room for.
const RETRY: Duration = Duration::from_secs(5);

/// What an account needs.
#[derive(Debug)]
pub struct WebhookSetup {
    /// The account.
    pub account: AccountRef,
    /// What both sides sign with.
    pub secret: Secret,
    /// Where replies go; without it, none can be sent.
    pub url: Option<Endpoint>,
    /// Whether the bridge is told that the agent works.
    pub typing: bool,
}

/// Why an account cannot run, in words for people, with what to do; without the secret.
pub type WebhookFault = String;

/// One account.
///
/// ```
/// use std::time::Instant;
/// use clawgate_core::channel::{AccountRef, Channel, Link};
/// use clawgate_core::channel::webhook::{Webhook, WebhookSetup};
/// use clawgate_core::{secret::Secret, time::{Now, WallTime}};
///
/// let setup = |secret| WebhookSetup {
///     account: AccountRef::new("webhook", "default"),
///     secret: Secret::new(secret),
///     url: None,
///     typing: false,
/// };
/// assert!(Webhook::new(setup("too short")).is_err());
/// let mut webhook = Webhook::new(setup("0123456789abcdef")).unwrap();
/// webhook.start(Now { mono: Instant::now(), wall: WallTime(0) }, None);
/// assert_eq!(webhook.status().link, Link::Connected);
/// ```
#[derive(Debug)]
pub struct Webhook {
    account: AccountRef,
    secret: Secret,
    typing: bool,
    running: bool,
    room: Room,
    outbox: Outbox,
    out: VecDeque<ChannelOutput>,
    /// Requests since the last good one that nobody signed who has the secret.
    unproven: u64,
    /// How far the bridge's clock is away, in seconds, when it is too far.
    apart: Option<i64>,
    last_contact: Option<WallTime>,
}

/// Where replies may be sent: `https://`, or `http://` to a host that is near.
///
/// # Errors
/// Why not, and what to write instead.
///
/// ```
/// use clawgate_core::{channel::webhook::check_url, policy::UrlPolicy};
///
/// let url = check_url("http://127.0.0.1:8090/replies/", UrlPolicy::Strict).unwrap();
/// assert_eq!(url.path_and_query(), "/replies/");
/// assert!(check_url("http://bridge.example.com/", UrlPolicy::Strict).is_err());
/// ```
pub fn check_url(url: &str, policy: UrlPolicy) -> Result<Endpoint, WebhookFault> {
    let end = if url.trim().ends_with('/') { "/" } else { "" };
    check_http_base(url, end, "secret, which signs every request", policy)
}

/// Whether an account's name can be a part of the path on the gateway's port as it is.
pub(crate) fn fits_path(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(fits)
}

impl Webhook {
    /// An account that does not run yet.
    ///
    /// # Errors
    /// When its secret is too short, or its name does not fit into a path.
    pub fn new(setup: WebhookSetup) -> Result<Self, WebhookFault> {
        let WebhookSetup {
            account,
            secret,
            url,
            typing,
        } = setup;
        if secret.expose().len() < MIN_SECRET {
            return Err(format!(
                "the secret has fewer than {MIN_SECRET} bytes; make one with \
                 `openssl rand -hex 32`, and give it to the bridge too"
            ));
        }
        if !fits_path(&account.account) {
            return Err(
                "the account's name becomes a part of a path; name it with letters, digits and -_."
                    .into(),
            );
        }
        Ok(Self {
            outbox: Outbox::new(url, secret.clone()),
            account,
            secret,
            typing,
            running: false,
            room: Room::Free,
            out: VecDeque::new(),
            unproven: 0,
            apart: None,
            last_contact: None,
        })
    }

    /// The path on the gateway's port.
    fn path(&self) -> String {
        format!("/channels/{}", self.account)
    }

    fn judge(&mut self, now: Now, post: &Post) -> HttpAnswer {
        let headers = &post.peer.headers;
        match sign::check(&self.secret, headers, &self.path(), &post.body, now.wall) {
            Err(Unproven::Signature) => return self.refuse_stranger(),
            Err(Unproven::Clock(apart)) => return self.refuse_time(apart),
            Ok(()) => {}
        }
        if self.unproven > 0 || self.apart.is_some() {
            (self.unproven, self.apart) = (0, None);
            self.out.push_back(ChannelOutput::Status);
        }
        self.last_contact = Some(now.wall);
        if self.room == Room::Full {
            return HttpAnswer::later(RETRY);
        }
        match incoming::read(&self.account, &post.body, now.wall) {
            Ok(message) => {
                let answer = json!({ "ok": true, "id": message.id });
                self.out.push_back(ChannelOutput::Received {
                    cursor: None,
                    messages: vec![message],
                });
                HttpAnswer::json(202, &answer)
            }
            Err(Fault { field, what }) => refused(400, "invalid", &what, Some(&field)),
        }
    }

    /// Strangers learn nothing of what is wrong.
    fn refuse_stranger(&mut self) -> HttpAnswer {
        self.unproven = self.unproven.saturating_add(1);
        // Whoever sends thousands need not be told of thousands of times.
        if is_power_of_ten(self.unproven) {
            self.out.push_back(ChannelOutput::Status);
        }
        let message = "the request is not signed with the secret of this account";
        refused(401, "unauthorized", message, None)
    }

    fn refuse_time(&mut self, apart: i64) -> HttpAnswer {
        if self.apart.is_none() {
            self.out.push_back(ChannelOutput::Status);
        }
        self.apart = Some(apart);
        let message = format!(
            "the time of the signature is {}; set the clock, and sign each request when it is sent",
            away(apart)
        );
        refused(409, "clock", &message, None)
    }

    fn problem(&self) -> Option<String> {
        if let Some(trouble) = self.outbox.trouble() {
            return Some(format!("the last reply did not arrive: {trouble}"));
        }
        if let Some(apart) = self.apart {
            return Some(format!(
                "the bridge signs with a time that is {}; set the clocks of both machines",
                away(apart)
            ));
        }
        (self.unproven > 0).then(|| {
            format!(
                "refused requests since the last good one: {}, without a right signature; if they are \
                 the bridge's, give both sides the same secret, and sign the path {}",
                self.unproven,
                self.path()
            )
        })
    }
}

impl Channel for Webhook {
    fn start(&mut self, _now: Now, _cursor: Option<&str>) {
        self.running = true;
    }

    fn stop(&mut self, _now: Now) {
        self.running = false;
        self.outbox.stop(&mut self.out);
    }

    fn handle_job(&mut self, now: Now, job: ChannelJob, event: JobEvent) {
        if matches!(event, JobEvent::Head(_)) {
            self.last_contact = Some(now.wall);
        }
        self.outbox.handle_job(now, job, event, &mut self.out);
    }

    fn send(&mut self, now: Now, errand: Errand, outgoing: Outgoing) {
        self.outbox.send(now, errand, &outgoing, &mut self.out);
    }

    fn fetch(&mut self, _now: Now, errand: Errand, file: &FileRef) {
        let file = incoming::open(file);
        self.out.push_back(ChannelOutput::Fetched(errand, file));
    }

    fn working(&mut self, now: Now, place: &Place, works: bool) {
        if self.typing && self.running {
            self.outbox.tell_typing(now, place, works, &mut self.out);
        }
    }

    fn room(&mut self, _now: Now, room: Room) {
        self.room = room;
    }

    fn takes_posts(&self) -> bool {
        true
    }

    fn post(&mut self, now: Now, post: Post) -> bool {
        if !self.running {
            return false;
        }
        let answer = self.judge(now, &post);
        self.out.push_back(ChannelOutput::Answer(post.id, answer));
        true
    }

    fn knows_repeats(&self) -> bool {
        true
    }

    /// A bridge knows best what its service takes.
    fn split(&self, text: &str) -> Vec<String> {
        let blank = text.trim().is_empty();
        (!blank).then(|| text.to_owned()).into_iter().collect()
    }

    fn handle_timeout(&mut self, now: Now) {
        self.outbox.start_due(now, &mut self.out);
    }

    fn poll_output(&mut self) -> Option<ChannelOutput> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.outbox.next_deadline()
    }

    fn status(&self) -> ChannelStatus {
        let link = match (self.running, self.outbox.trouble()) {
            (false, _) => Link::Stopped,
            (true, Some(_)) => Link::Failing,
            (true, None) => Link::Connected,
        };
        ChannelStatus {
            link,
            name: None,
            problem: self.problem(),
            last_contact: self.last_contact,
            restarts: 0,
        }
    }
}

fn refused(status: u16, code: &str, message: &str, field: Option<&str>) -> HttpAnswer {
    let mut error = json!({ "code": code, "message": message });
    if let (Some(field), Some(error)) = (field, error.as_object_mut()) {
        error.insert("field".into(), field.into());
    }
    HttpAnswer::json(status, &json!({ "ok": false, "error": error }))
}

fn away(apart: i64) -> String {
    let seconds = apart.unsigned_abs();
    if apart < 0 {
        format!("{seconds} seconds ago")
    } else {
        format!("{seconds} seconds in the future")
    }
}

fn is_power_of_ten(number: u64) -> bool {
    let mut left = number;
    while left >= 10 && left.is_multiple_of(10) {
        left /= 10;
    }
    left == 1
}

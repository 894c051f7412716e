//! Requests with a body: what the accounts of channels are sent under `/channels/NAME/ACCOUNT`. Who
//! sends it proves itself by the body, so the channel judges that, and not the gateway's own auth.
//!
//! The head is decided on first, so that nobody can send a body that nobody wants. The answer comes
//! later, when what the request caused is on disk.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{HttpAnswer, HttpRefusal, HttpRequest, HttpVerdict};
use crate::{
    channel::{AccountRef, Post, PostId},
    gateway::{Gateway, Phase},
    policy::Ingress,
    time::Now,
};

/// The folder of the accounts.
const PREFIX: &str = "/channels/";

/// The time after which a request that cannot be taken now may be sent again.
const RETRY: Duration = Duration::from_secs(5);

/// Requests with a body that are not answered yet.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Posts {
    last: u64,
    open: BTreeMap<PostId, Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The host reads the body.
    Reading,
    /// The channel has it, and has this long for its answer.
    Asked(Instant),
    /// It was too late: another answer is on its way.
    GivenUp,
}

impl Posts {
    fn open(&mut self) -> PostId {
        self.last += 1;
        let post = PostId(self.last);
        self.open.insert(post, Stage::Reading);
        post
    }

    /// Requests that are read, or wait for their answer.
    pub(in crate::gateway) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether somebody waits for the answer that is given now.
    pub(in crate::gateway) fn close(&mut self, post: PostId) -> bool {
        self.open.remove(&post).is_some()
    }

    pub(in crate::gateway) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.open.values().filter_map(|stage| match stage {
            Stage::Reading | Stage::GivenUp => None,
            Stage::Asked(deadline) => Some(*deadline),
        });
        deadlines.min()
    }

    fn asked_until(&self, until: Option<Instant>) -> Vec<PostId> {
        let is_due = |stage: &Stage| match stage {
            Stage::Reading | Stage::GivenUp => false,
            Stage::Asked(deadline) => until.is_none_or(|until| *deadline <= until),
        };
        let due = self.open.iter().filter(|(_, stage)| is_due(stage));
        due.map(|(post, _)| *post).collect()
    }
}

impl Gateway {
    /// Decides on the head of a request for an account, if its path is that of one.
    pub(super) fn post_head(
        &mut self,
        now: Now,
        path: &str,
        request: &HttpRequest<'_>,
    ) -> Option<HttpVerdict> {
        account_of(path).filter(|account| self.takes_posts(account))?;
        let verdict = match self.judge_head(now, request) {
            Ok(length) => HttpVerdict::Body {
                post: self.posts.open(),
                length,
            },
            Err(answer) => HttpVerdict::Answer(answer),
        };
        Some(verdict)
    }

    /// How long the body is, if it may be sent.
    fn judge_head(&mut self, now: Now, request: &HttpRequest<'_>) -> Result<usize, HttpAnswer> {
        let peer = request.peer;
        if request.method != "POST" {
            return Err(HttpAnswer::method_not_allowed("POST"));
        }
        if peer.ingress == Ingress::Unattributable {
            let warning = self.note_spoofed(now, "post", peer);
            return Err(HttpRefusal::Unattributable { warning }.answer());
        }
        let length = match (
            peer.headers.get("transfer-encoding"),
            peer.headers.get("content-length"),
        ) {
            (None, Some(length)) => length,
            // Two lengths of one body are an old way to smuggle a second request past a proxy.
            (Some(_), Some(_)) => return Err(HttpAnswer::text(400, "Bad Request")),
            (Some(_) | None, None) => {
                let text = "Length Required: send the body at once, with Content-Length";
                return Err(HttpAnswer::text(411, text));
            }
        };
        // A header that came twice is joined by a comma, and is no number.
        if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HttpAnswer::text(400, "Bad Request"));
        }
        let max = self.setup.limits.max_post_body;
        let length = length.parse().ok().filter(|length| *length <= max);
        let Some(length) = length else {
            let text = format!("Content Too Large: at most {max} bytes");
            return Err(HttpAnswer::text(413, &text));
        };
        let is_full = self.posts.open.len() >= self.setup.limits.max_posts;
        if is_full || self.phase != Phase::Running {
            return Err(HttpAnswer::later(RETRY));
        }
        Ok(length)
    }

    /// The body of a request is here, whole. Its answer comes out of [`Gateway::poll_answer`], at the
    /// latest after `limits.effect`.
    pub fn handle_post(&mut self, now: Now, post: PostId, request: &HttpRequest<'_>, body: Bytes) {
        self.assert_drained();
        let deadline = now.mono + self.setup.limits.effect;
        if let Some(stage) = self.posts.open.get_mut(&post) {
            *stage = Stage::Asked(deadline);
            let peer = request.peer.clone();
            let given = Post {
                id: post,
                peer,
                body,
            };
            let account = account_of(path_of(request.target));
            let taken = self.phase == Phase::Running
                && account.is_some_and(|account| self.channel_post(now, &account, given));
            if !taken {
                self.out.answer(post, HttpAnswer::later(RETRY));
            }
        }
        self.end_input(now);
    }

    /// Nobody waits for the answer any more, or the body did not come. What a request has caused by
    /// now stays.
    pub fn forget_post(&mut self, post: PostId) {
        self.posts.open.remove(&post);
    }

    /// Requests that a channel has not answered in time.
    pub(in crate::gateway) fn expire_posts(&mut self, now: Now) {
        for post in self.posts.asked_until(Some(now.mono)) {
            self.give_up_post(post);
        }
    }

    /// The gateway stops: whoever waits is told to come again.
    pub(in crate::gateway) fn end_posts(&mut self) {
        for post in self.posts.asked_until(None) {
            self.give_up_post(post);
        }
    }

    fn give_up_post(&mut self, post: PostId) {
        self.posts.open.insert(post, Stage::GivenUp);
        self.out.answer(post, HttpAnswer::later(RETRY));
    }
}

/// The path of a request target.
pub(super) fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

/// The account whose path this is. Nothing in it is decoded: names have plain characters only.
fn account_of(path: &str) -> Option<AccountRef> {
    let (channel, account) = path.strip_prefix(PREFIX)?.split_once('/')?;
    Some(AccountRef::new(channel, account))
}

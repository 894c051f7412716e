//! Telegram, by its Bot API and long polling (core.telegram.org/bots/api).
//!
//! | file | rule |
//! | --- | --- |
//! | `root` | where the Bot API lies |
//! | `api` | requests, and what answers mean; the token is nowhere else |
//! | `poll` | one long poll after the other, and what to do when one goes wrong |
//! | `receive`, `words` | what an update says |
//! | `send`, `media` | what a reply becomes, and whether it arrived |
//! | `format`, `inline`, `fence` | Markdown as the API's HTML |
//! | `split` | long replies in several messages |
//! | `fetch` | files that people sent |
//! | `typing` | the sign that somebody is writing |

mod api;
mod fence;
mod fetch;
mod format;
mod inline;
mod media;
mod poll;
mod receive;
mod requests;
mod root;
mod send;
mod shared;
mod split;
#[cfg(test)]
mod tests;
mod typing;
mod words;

use std::{collections::VecDeque, time::Instant};

pub use root::{DEFAULT_API_ROOT, check_api_root};

use self::{
    api::Api, fetch::Fetcher, poll::Poller, send::Sender, shared::Shared, split::MAX_UNITS,
    typing::Typing,
};
use super::{
    AccountRef, Channel, ChannelJob, ChannelOutput, ChannelStatus, Errand, FileRef, Outgoing,
    Place, Room,
};
use crate::{
    config::ReplyToMode,
    job::JobEvent,
    policy::Endpoint,
    rng::{Rng, Seed},
    secret::Secret,
    time::Now,
};

/// The largest file that is fetched where nothing else is configured, in megabytes. The API at
/// Telegram gives bots no larger ones.
pub const DEFAULT_MEDIA_MAX_MB: u64 = 20;

/// What a bot needs.
#[derive(Debug)]
pub struct TelegramSetup {
    /// Its name in the gateway.
    pub account: AccountRef,
    /// Its token.
    pub token: Secret,
    /// Where the Bot API lies.
    pub root: Endpoint,
    /// Whether replies show what they answer.
    pub reply_to: ReplyToMode,
    /// The largest file that is fetched, in bytes.
    pub media_max_bytes: u64,
}

/// One bot.
///
/// ```
/// use std::time::Instant;
/// use clawgate_core::channel::telegram::{Telegram, TelegramSetup, check_api_root};
/// use clawgate_core::channel::{AccountRef, Channel, ChannelOutput};
/// use clawgate_core::job::JobSpec;
/// use clawgate_core::policy::UrlPolicy;
/// use clawgate_core::secret::Secret;
/// use clawgate_core::time::{Now, WallTime};
///
/// let mut bot = Telegram::new(TelegramSetup {
///     account: AccountRef::new("telegram", "default"),
///     token: Secret::new("123456:AAAA"),
///     root: check_api_root("http://127.0.0.1:8081", UrlPolicy::Strict).unwrap(),
///     reply_to: Default::default(),
///     media_max_bytes: 20 << 20,
/// }, [7; 32]);
/// bot.start(Now { mono: Instant::now(), wall: WallTime(0) }, None);
/// assert!(matches!(bot.poll_output(), Some(ChannelOutput::Status)));
/// let Some(ChannelOutput::StartJob(_, JobSpec::Http(job))) = bot.poll_output() else { panic!() };
/// assert_eq!(job.url.path_and_query(), "/");
/// assert_eq!(job.secret_path.unwrap().expose(), "/bot123456:AAAA/getMe");
/// ```
#[derive(Debug)]
pub struct Telegram {
    shared: Shared,
    poller: Poller,
    sender: Sender,
    fetcher: Fetcher,
    typing: Typing,
}

impl Telegram {
    /// A bot that does nothing yet. The seed spreads its retries.
    pub fn new(setup: TelegramSetup, seed: Seed) -> Self {
        Self {
            shared: Shared {
                account: setup.account,
                api: Api::new(setup.root, setup.token),
                rng: Rng::new(seed),
                outputs: VecDeque::new(),
                jobs: 0,
            },
            poller: Poller::default(),
            sender: Sender::new(setup.reply_to),
            fetcher: Fetcher::new(setup.media_max_bytes),
            typing: Typing::default(),
        }
    }
}

impl Channel for Telegram {
    fn start(&mut self, now: Now, cursor: Option<&str>) {
        self.poller.start(&mut self.shared, now, cursor);
    }

    fn stop(&mut self, _: Now) {
        let shared = &mut self.shared;
        self.poller.stop(shared);
        self.sender.stop(shared);
        self.fetcher.stop(shared);
        self.typing.stop(shared);
    }

    fn handle_job(&mut self, now: Now, job: ChannelJob, event: JobEvent) {
        let shared = &mut self.shared;
        self.typing.handle_job(job, &event);
        if self.poller.owns(job) {
            self.poller.handle_job(shared, now, event);
        } else if self.sender.owns(job) {
            self.sender.handle_job(shared, now, job, event);
        } else {
            self.fetcher.handle_job(shared, now, job, event);
        }
    }

    fn send(&mut self, now: Now, errand: Errand, outgoing: Outgoing) {
        self.sender.send(&mut self.shared, now, errand, outgoing);
    }

    fn fetch(&mut self, now: Now, errand: Errand, file: &FileRef) {
        self.fetcher.fetch(&mut self.shared, now, errand, file);
    }

    fn working(&mut self, now: Now, place: &Place, works: bool) {
        self.typing.working(&mut self.shared, now, place, works);
    }

    fn room(&mut self, now: Now, room: Room) {
        self.poller.room(&mut self.shared, now, room);
    }

    fn split(&self, text: &str) -> Vec<String> {
        split::split(text, MAX_UNITS)
    }

    fn handle_timeout(&mut self, now: Now) {
        let shared = &mut self.shared;
        self.poller.handle_timeout(shared, now);
        self.sender.handle_timeout(shared, now);
        self.fetcher.handle_timeout(shared, now);
        self.typing.handle_timeout(shared, now);
    }

    fn poll_output(&mut self) -> Option<ChannelOutput> {
        self.shared.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [
            self.poller.next_timeout(),
            self.sender.next_timeout(),
            self.fetcher.next_timeout(),
            self.typing.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn status(&self) -> ChannelStatus {
        self.poller.status()
    }
}

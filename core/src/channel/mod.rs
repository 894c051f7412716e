//! Channels: where people write to agents from outside, and where replies go (seed 002, *Command
//! flow*).
//!
//! A [`Channel`] is a machine for one account of one service: what people wrote comes out of it, and
//! what is to be said goes in. It knows no session, no run and no disk: those are the gateway's. The
//! gateway, in turn, knows no service. An embedder can bring a channel of its own by
//! [`Channels::with`].
//!
//! | file | rule |
//! | --- | --- |
//! | `access` | who may write to the agent |
//! | `build` | from the config to accounts |
//! | `message` | what comes and goes, as values |
//! | `set` | all accounts of a gateway |
//! | [`telegram`] | Telegram |
//! | [`webhook`] | bridges that people write themselves |

mod access;
mod build;
mod message;
mod set;
pub mod telegram;
pub mod webhook;

use std::{fmt, time::Duration, time::Instant};

pub use access::{Access, AccessPolicy, DmPolicy, GroupPolicy, GroupRule, Paired};
pub use build::{BuiltChannels, TELEGRAM_TOKEN_ENV};
pub use message::{
    AccountRef, ChatKind, DEFAULT_ACCOUNT, FileBytes, FileRef, Incoming, Part, Place, Revision,
    Sender,
};
pub use set::{Account, Channels};

use crate::{
    gateway::HttpAnswer,
    job::{JobEvent, JobSpec},
    server::PeerFacts,
    time::{Now, WallTime},
};

/// The number of a job of one account, chosen by its channel. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelJob(pub u64);

/// The number of something to be sent or fetched, chosen by the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errand(pub u64);

/// The number of an HTTP request that the gateway's port took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PostId(pub u64);

/// One part of a message that is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where.
    pub place: Place,
    /// What.
    pub part: Part,
    /// The message there that it answers.
    pub reply_to: Option<ReplyTo>,
    /// Whether people are not to be woken by it.
    pub silent: bool,
    /// The gateway's own name for this part: the same one when it is said again.
    pub key: String,
}

/// What a message answers, by the service's own id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyTo {
    /// The message that the agent was given. The account decides whether that is shown.
    Heard(String),
    /// The one that somebody named who asked for the message to be sent: it is shown.
    Named(String),
}

impl ReplyTo {
    /// The service's own id.
    pub fn id(&self) -> &str {
        match self {
            Self::Heard(id) | Self::Named(id) => id,
        }
    }
}

/// What came of saying something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The service has it. Its own id for it, if it gave one.
    Sent(Option<String>),
    /// The service certainly does not have it, and may have it later.
    NotSent {
        /// Why, in words for people and without secrets.
        why: String,
        /// The time that the service asked to wait for.
        wait: Option<Duration>,
    },
    /// The service certainly does not have it, and never will.
    Refused(String),
    /// Nobody knows whether the service has it: for this reason.
    Uncertain(String),
}

/// A request that came to the gateway's own port for a channel.
#[derive(Clone, Debug)]
pub struct Post {
    /// Goes back with the answer.
    pub id: PostId,
    /// Who sent it, with the header fields.
    pub peer: PeerFacts,
    /// Its body.
    pub body: bytes::Bytes,
}

/// Whether the gateway can take more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It can.
    Free,
    /// It cannot for now: messages should stay with the service, or be turned away.
    Full,
}

/// What a channel wants.
#[derive(Clone, Debug)]
pub enum ChannelOutput {
    /// Start a job.
    StartJob(ChannelJob, JobSpec),
    /// End a job; nothing that comes of it matters any more.
    StopJob(ChannelJob),
    /// People wrote. Jobs that begin later wait until this is on disk.
    Received {
        /// Where the service's list goes on after these: kept together with them, and given back by
        /// [`Channel::start`]. `None` where the service has no list.
        cursor: Option<String>,
        /// In the order in which they were written.
        messages: Vec<Incoming>,
    },
    /// The errand of a [`Channel::send`] has ended.
    Sent(Errand, SendOutcome),
    /// The errand of a [`Channel::fetch`] has ended; or why there is no file.
    Fetched(Errand, Result<FileBytes, String>),
    /// The answer to a [`Channel::post`].
    Answer(PostId, HttpAnswer),
    /// [`Channel::status`] has changed.
    Status,
}

/// How an account fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelStatus {
    /// How far it has come.
    pub link: Link,
    /// The service's name for the account, such as `@example_bot`.
    pub name: Option<String>,
    /// What is wrong, in words for people, with what to do; without secrets.
    pub problem: Option<String>,
    /// When the service was last heard.
    pub last_contact: Option<WallTime>,
    /// How often it began anew since the start, as after a stalled poll.
    pub restarts: u32,
}

/// How far an account has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// It is not meant to run.
    #[default]
    Stopped,
    /// It has not heard the service yet.
    Connecting,
    /// It works.
    Connected,
    /// It tries again and again.
    Failing,
    /// It will not work until somebody changes something, as with a wrong token.
    Blocked,
}

/// One account of a service.
///
/// After each input, drain [`Channel::poll_output`] and re-arm [`Channel::poll_timeout`]. Each errand
/// ends with exactly one [`ChannelOutput::Sent`] or [`ChannelOutput::Fetched`], unless the channel is
/// stopped before.
pub trait Channel: fmt::Debug + Send {
    /// Begins to listen, at the cursor that was kept last. Also called on a channel that runs, when
    /// what it gave out could not be kept: it goes back to that cursor then. Errands go on.
    fn start(&mut self, now: Now, cursor: Option<&str>);

    /// Ends everything. Errands that had not ended come to nothing.
    fn stop(&mut self, now: Now);

    /// Something came of a job.
    fn handle_job(&mut self, now: Now, job: ChannelJob, event: JobEvent);

    /// Says one part. The gateway says one at a time in each place.
    fn send(&mut self, now: Now, errand: Errand, outgoing: Outgoing);

    /// Gets a file that somebody sent.
    fn fetch(&mut self, now: Now, errand: Errand, file: &FileRef);

    /// Whether the agent works on something for this place, so that people see it.
    fn working(&mut self, now: Now, place: &Place, works: bool) {
        let _ = (now, place, works);
    }

    /// Whether there is room for more messages.
    fn room(&mut self, now: Now, room: Room) {
        let _ = (now, room);
    }

    /// Whether requests that come to this account's path, `/channels/NAME/ACCOUNT` on the gateway's
    /// port, are for it.
    fn takes_posts(&self) -> bool {
        false
    }

    /// A request came to this account's path. Gives `false` when the channel takes none.
    fn post(&mut self, now: Now, post: Post) -> bool {
        let _ = (now, post);
        false
    }

    /// Whether the service knows a part again by [`Outgoing::key`], so that nothing is said twice when
    /// it is given again.
    fn knows_repeats(&self) -> bool {
        false
    }

    /// Cuts a reply into texts that the service takes one by one, in their order.
    fn split(&self, text: &str) -> Vec<String>;

    /// Acts on every deadline that is due.
    fn handle_timeout(&mut self, now: Now);

    /// The next thing that it wants.
    fn poll_output(&mut self) -> Option<ChannelOutput>;

    /// When to call [`Channel::handle_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;

    /// How it fares.
    fn status(&self) -> ChannelStatus;
}

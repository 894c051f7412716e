//! What the gateway keeps across restarts, as values: commits out, outcomes and the rows of the last
//! run in (seed 002, *Command flow*: the gateway owns state).
//!
//! The core holds every record in memory and decides on it there. A change becomes a [`Write`]; the
//! writes of one input become one [`Commit`], and everything that the input has to say is held back
//! until the host reports the commit as durable. So nothing is acknowledged that a crash could lose,
//! and the host may gather many commits into one transaction.
//!
//! The host keeps these promises:
//! - commits are made durable in the order in which they came, each whole or not at all;
//! - after a failure, it fails every later commit of the same [`Commit::epoch`] without trying it:
//!   those build on what was lost.

mod journal;
mod memory;
mod mirror;
mod transcript;

use serde::{Deserialize, Serialize};

pub(crate) use journal::Journal;
pub use journal::{Commit, CommitId, Epoch, StoreFailure, Write};
pub use memory::MemoryStore;
pub(crate) use mirror::Mirror;
pub use mirror::Record;
pub use transcript::{Author, Message, TranscriptPage, TranscriptQuery, excerpt, matches_words};

/// The kinds of rows. Each is a table of its own: a key and a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Accounts of channels, by channel and account.
    Channel,
    /// Messages from outside and to it, by id.
    ChannelMessage,
    /// People who may write, or ask to, by account and sender.
    ChannelSender,
    /// Answers to calls with an idempotency key.
    Dedupe,
    /// Paired devices and the hashes of their tokens, by device id.
    Device,
    /// Questions whether a program may run, by id.
    ExecApproval,
    /// Join tokens, by id; hashed.
    Invite,
    /// Single values of the gateway itself, by name.
    Meta,
    /// What each node may do, by node id.
    Node,
    /// Nodes that ask to do more, by request id.
    NodeRequest,
    /// Pairing requests that wait for an answer, by request id.
    PairRequest,
    /// Runs of agents, by run id.
    Run,
    /// Sessions, by key. What was said in them is in their transcripts.
    Session,
    /// What people changed by calls, by name.
    Setting,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 14] = [
        Self::Channel,
        Self::ChannelMessage,
        Self::ChannelSender,
        Self::Dedupe,
        Self::Device,
        Self::ExecApproval,
        Self::Invite,
        Self::Meta,
        Self::Node,
        Self::NodeRequest,
        Self::PairRequest,
        Self::Run,
        Self::Session,
        Self::Setting,
    ];

    /// The name in the database and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::ChannelMessage => "channel_message",
            Self::ChannelSender => "channel_sender",
            Self::Dedupe => "dedupe",
            Self::Device => "device",
            Self::ExecApproval => "exec_approval",
            Self::Invite => "invite",
            Self::Meta => "meta",
            Self::Node => "node",
            Self::NodeRequest => "node_request",
            Self::PairRequest => "pair_request",
            Self::Run => "run",
            Self::Session => "session",
            Self::Setting => "setting",
        }
    }
}

/// One row as it was found at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub key: String,
    /// Its document.
    pub document: crate::frame::RawJson,
}

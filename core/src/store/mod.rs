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
mod mirror;

use serde::{Deserialize, Serialize};

pub(crate) use journal::Journal;
pub use journal::{Commit, CommitId, Epoch, StoreFailure, Write};
pub(crate) use mirror::Mirror;
pub use mirror::Record;

/// The kinds of rows. Each is a table of its own: a key and a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Answers to calls with an idempotency key.
    Dedupe,
    /// Paired devices and the hashes of their tokens, by device id.
    Device,
    /// Join tokens, by id; hashed.
    Invite,
    /// Single values of the gateway itself, by name.
    Meta,
    /// Pairing requests that wait for an answer, by request id.
    PairRequest,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 5] = [
        Self::Dedupe,
        Self::Device,
        Self::Invite,
        Self::Meta,
        Self::PairRequest,
    ];

    /// The name in the database and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dedupe => "dedupe",
            Self::Device => "device",
            Self::Invite => "invite",
            Self::Meta => "meta",
            Self::PairRequest => "pair_request",
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

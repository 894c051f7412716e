//! Writes, gathered into commits.

use std::mem;

use super::{Message, Table};
use crate::{frame::RawJson, ids::SessionId};

/// The number of a commit. They count up from 1 in each run of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// Commits that build on one another. A new one begins after each failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// One change to what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Adds a message to the end of a transcript.
    Append(Message),
    /// Appends a line to the audit log. The host drops the oldest lines beyond its bound.
    Audit {
        /// The entry, without secrets.
        entry: RawJson,
    },
    /// Removes a row. One that is not there is no error.
    Delete {
        /// Its table.
        table: Table,
        /// Its key.
        key: String,
    },
    /// Removes a transcript, or its oldest messages.
    Forget {
        /// Whose.
        session: SessionId,
        /// The first number that stays; `None` to keep nothing.
        keep_from: Option<u64>,
    },
    /// Inserts or replaces a row.
    Put {
        /// Its table.
        table: Table,
        /// Its key.
        key: String,
        /// The new document.
        document: RawJson,
    },
}

/// Writes that become durable together. Report it with
/// [`crate::gateway::Gateway::handle_committed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Goes back with the outcome.
    pub id: CommitId,
    /// What it builds on.
    pub epoch: Epoch,
    /// In order.
    pub writes: Vec<Write>,
}

/// Why a commit is not durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// The file is not a sound database any more.
    #[error("the state database is damaged: {0}")]
    Corrupt(String),
    /// The disk or the quota is used up.
    #[error("no space is left for the state database")]
    Full,
    /// Anything else that the system said.
    #[error("the state database cannot be written: {0}")]
    Io(String),
}

/// Collects the writes of the current input.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    staged: Vec<Write>,
    /// Whether what the input says must wait for them. The audit log holds nobody up.
    binding: bool,
    last: u64,
    epoch: Epoch,
}

impl Journal {
    pub(crate) fn stage(&mut self, write: Write) {
        self.binding |= !matches!(write, Write::Audit { .. });
        self.staged.push(write);
    }

    /// The commit that answers must wait for, if the input changed anything.
    pub(crate) fn open(&self) -> Option<CommitId> {
        self.binding.then_some(self.next())
    }

    /// The commit that the next write will belong to.
    pub(crate) fn next(&self) -> CommitId {
        CommitId(self.last + 1)
    }

    /// Ends the input: its writes, if there are any, become a commit.
    pub(crate) fn seal(&mut self) -> Option<Commit> {
        if self.staged.is_empty() {
            return None;
        }
        let id = self.next();
        self.last = id.0;
        self.binding = false;
        Some(Commit {
            id,
            epoch: self.epoch,
            writes: mem::take(&mut self.staged),
        })
    }

    /// The newest commit that was given out.
    pub(crate) fn last(&self) -> CommitId {
        CommitId(self.last)
    }

    pub(crate) fn begin_epoch(&mut self) {
        self.epoch.0 += 1;
    }
}

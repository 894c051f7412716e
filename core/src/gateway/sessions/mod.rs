//! Sessions: conversations with an agent, their names and their state. What was said in them is in
//! transcripts, which the host keeps (spec protocol §6.4).

mod entry;
mod key;
mod list;
mod messages;
mod row;
mod subscriptions;

pub(super) use entry::{LastRun, RowStatus, SessionEntry};
pub(super) use key::SessionKey;
pub(super) use list::{Archived, ListOrder, SessionFilter};
pub(super) use messages::{MessageDraft, attachments, usage_json, without_data};
pub(super) use row::{RowExtras, row};
pub(super) use subscriptions::Subscriptions;

use crate::{
    ids::SessionId,
    store::{CommitId, Journal, Message, Mirror, Row, Write},
    time::Now,
};

/// Lives of a session whose transcripts are kept beside the present one's.
const MAX_EARLIER: usize = 32;

/// All sessions.
#[derive(Debug)]
pub(super) struct SessionBook {
    entries: Mirror<SessionEntry>,
    max: usize,
}

/// There is no room for another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {0} sessions already; delete some with sessions.delete")]
pub(super) struct TooManySessions(usize);

impl SessionBook {
    /// Takes the rows of the last run. Gives the keys of those that cannot be read.
    pub(super) fn restore(rows: &[Row], max: usize) -> (Self, Vec<String>) {
        let (entries, unreadable) = Mirror::restore(rows);
        (Self { entries, max }, unreadable)
    }

    pub(super) fn get(&self, key: &SessionKey) -> Option<&SessionEntry> {
        self.entries.get(key.as_str())
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &SessionEntry> {
        self.entries.values()
    }

    /// The session, made where there is none.
    pub(super) fn open(
        &mut self,
        journal: &mut Journal,
        now: Now,
        key: &SessionKey,
        agent_id: &str,
        new_id: impl FnOnce() -> String,
    ) -> Result<SessionEntry, TooManySessions> {
        if let Some(entry) = self.get(key) {
            return Ok(entry.clone());
        }
        if self.entries.len() >= self.max {
            return Err(TooManySessions(self.max));
        }
        let id = SessionId::new(new_id());
        let entry = SessionEntry::new(key.clone(), agent_id.to_owned(), id, now.wall);
        self.entries.put(journal, entry.clone());
        Ok(entry)
    }

    /// Changes an entry. Gives nothing where there is none.
    pub(super) fn change(
        &mut self,
        journal: &mut Journal,
        key: &SessionKey,
        change: impl FnOnce(&mut SessionEntry),
    ) -> Option<SessionEntry> {
        let mut entry = self.get(key)?.clone();
        change(&mut entry);
        self.entries.put(journal, entry.clone());
        Some(entry)
    }

    /// Adds a message to a session's transcript.
    pub(super) fn append(
        &mut self,
        journal: &mut Journal,
        now: Now,
        key: &SessionKey,
        draft: MessageDraft,
    ) -> Option<Message> {
        let mut entry = self.get(key)?.clone();
        let seq = entry.next_seq(now.wall, &draft.text, draft.is_input());
        let message = draft.into_message(&entry, seq, now.wall);
        journal.stage(Write::Append(message.clone()));
        self.entries.put(journal, entry);
        Some(message)
    }

    /// Begins a new life of a session.
    pub(super) fn reset(
        &mut self,
        journal: &mut Journal,
        now: Now,
        key: &SessionKey,
        new_id: String,
    ) -> Option<SessionEntry> {
        let mut dropped = None;
        let entry = self.change(journal, key, |entry| {
            entry.reset(SessionId::new(new_id), now.wall);
            if entry.earlier.len() > MAX_EARLIER {
                dropped = Some(entry.earlier.remove(0));
            }
        });
        if let Some(session) = dropped {
            journal.stage(Write::Forget {
                session,
                keep_from: None,
            });
        }
        entry
    }

    /// Forgets the oldest messages of a session, but for the last ones.
    pub(super) fn compact(
        &mut self,
        journal: &mut Journal,
        key: &SessionKey,
        keep: u64,
    ) -> Option<SessionEntry> {
        let mut entry = self.get(key)?.clone();
        let first = entry.last_seq.saturating_sub(keep);
        if first > entry.forgotten {
            entry.forgotten = first;
            journal.stage(Write::Forget {
                session: entry.session_id.clone(),
                keep_from: Some(first + 1),
            });
            self.entries.put(journal, entry.clone());
        }
        Some(entry)
    }

    /// Removes a session, and its transcripts where that is wanted.
    pub(super) fn remove(
        &mut self,
        journal: &mut Journal,
        key: &SessionKey,
        with_transcripts: bool,
    ) -> Option<SessionEntry> {
        let entry = self.entries.remove(journal, key.as_str())?;
        if with_transcripts {
            for session in entry.earlier.iter().chain([&entry.session_id]) {
                journal.stage(Write::Forget {
                    session: session.clone(),
                    keep_from: None,
                });
            }
        }
        Some(entry)
    }

    /// The last change of a session that is not durable yet.
    pub(super) fn unsettled(&self, key: &SessionKey) -> Option<CommitId> {
        self.entries.unsettled(key.as_str())
    }

    pub(super) fn settle(&mut self, commit: CommitId) {
        self.entries.settle(commit);
    }

    pub(super) fn roll_back(&mut self, commit: CommitId) {
        self.entries.roll_back(commit);
    }
}

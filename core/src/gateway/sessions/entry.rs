//! What is kept of a session besides its transcript.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::SessionKey;
use crate::{
    agent::Usage,
    ids::{RunId, SessionId},
    store::{Record, Table},
    time::WallTime,
};

/// Characters of the last message that a row shows.
const PREVIEW: usize = 240;

/// Characters of the first message that make a title.
const TITLE: usize = 60;

/// A session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct SessionEntry {
    pub(in crate::gateway) key: SessionKey,
    pub(in crate::gateway) agent_id: String,
    /// Its present life.
    pub(in crate::gateway) session_id: SessionId,
    /// Changes with each reset.
    pub(in crate::gateway) revision: u64,
    pub(in crate::gateway) created_at: WallTime,
    pub(in crate::gateway) updated_at: WallTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) last_interaction_at: Option<WallTime>,
    /// The number of the newest message of the transcript, 0 for none.
    pub(in crate::gateway) last_seq: u64,
    /// The first message that a compaction left, less one.
    #[serde(default)]
    pub(in crate::gateway) forgotten: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) preview: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) last_run: Option<LastRun>,
    /// Tokens of all runs.
    #[serde(default)]
    pub(in crate::gateway) usage: Usage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) archived_at: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) pinned_at: Option<WallTime>,
    #[serde(default)]
    pub(in crate::gateway) unread: bool,
    /// What `sessions.patch` set, by its names on the wire.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::gateway) settings: BTreeMap<String, Value>,
    /// Lives before the present one, the oldest first. Their transcripts are still there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::gateway) earlier: Vec<SessionId>,
}

/// How the newest run went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct LastRun {
    pub(in crate::gateway) run_id: RunId,
    /// `status` of a session row.
    pub(in crate::gateway) status: RowStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) error: Option<String>,
    pub(in crate::gateway) started_at: WallTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) ended_at: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) model: Option<String>,
}

/// `status` of a session row (spec protocol §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum RowStatus {
    Running,
    Done,
    Failed,
    Killed,
    Timeout,
}

impl Record for SessionEntry {
    const TABLE: Table = Table::Session;

    fn key(&self) -> &str {
        self.key.as_str()
    }
}

impl SessionEntry {
    pub(super) fn new(
        key: SessionKey,
        agent_id: String,
        session_id: SessionId,
        now: WallTime,
    ) -> Self {
        Self {
            key,
            agent_id,
            session_id,
            revision: 1,
            created_at: now,
            updated_at: now,
            last_interaction_at: None,
            last_seq: 0,
            forgotten: 0,
            preview: None,
            title: None,
            last_run: None,
            usage: Usage::default(),
            archived_at: None,
            pinned_at: None,
            unread: false,
            settings: BTreeMap::new(),
            earlier: Vec::new(),
        }
    }

    /// Begins a new life: nothing of what was said is known to the agent any more.
    pub(super) fn reset(&mut self, session_id: SessionId, now: WallTime) {
        let before = std::mem::replace(&mut self.session_id, session_id);
        if self.last_seq > self.forgotten {
            self.earlier.push(before);
        }
        self.revision += 1;
        self.updated_at = now;
        self.last_seq = 0;
        self.forgotten = 0;
        self.preview = None;
        self.title = None;
        self.last_run = None;
        self.usage = Usage::default();
        self.unread = false;
    }

    /// Takes the next place in the transcript for a message with these words.
    pub(super) fn next_seq(&mut self, now: WallTime, text: &str, is_input: bool) -> u64 {
        self.last_seq += 1;
        self.updated_at = now;
        if is_input {
            self.last_interaction_at = Some(now);
            self.archived_at = None;
            if self.title.is_none() {
                self.title = cut(text, TITLE);
            }
        } else {
            self.unread = true;
        }
        if let Some(preview) = cut(text, PREVIEW) {
            self.preview = Some(preview);
        }
        self.last_seq
    }

    /// A text setting.
    pub(in crate::gateway) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name)?.as_str()
    }

    /// Messages of the transcript.
    pub(in crate::gateway) fn messages(&self) -> u64 {
        self.last_seq - self.forgotten
    }
}

/// The first words of a text on one line; nothing for a blank one.
fn cut(text: &str, max: usize) -> Option<String> {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(max).collect();
    (!short.is_empty()).then(|| {
        if short.len() < line.len() {
            format!("{short}…")
        } else {
            short
        }
    })
}

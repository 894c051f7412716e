//! What is kept of a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    agent::{FailureKind, Usage},
    gateway::{
        channels::DeliverTo,
        sessions::{MessageDraft, RowStatus, SessionKey},
    },
    ids::{RunId, SessionId, ToolCallId},
    store::{Record, Table},
    time::WallTime,
};

/// A run of an agent, from the acceptance of a message to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct RunRecord {
    pub(in crate::gateway) run_id: RunId,
    pub(in crate::gateway) session_key: SessionKey,
    pub(in crate::gateway) agent_id: String,
    /// Digest of what was asked for: the same id with something else is a mistake.
    pub(in crate::gateway) fingerprint: String,
    pub(in crate::gateway) state: RunState,
    pub(in crate::gateway) mode: QueueMode,
    pub(in crate::gateway) options: RunOptions,
    pub(in crate::gateway) accepted_at: WallTime,
    /// Its place among all runs.
    pub(in crate::gateway) order: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) started_at: Option<WallTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) ended_at: Option<WallTime>,
    /// The life of the session in which it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) session_id: Option<SessionId>,
    /// The message, until it has its place in the transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) input: Option<MessageDraft>,
    /// The place of its message in the transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) said: Option<u64>,
    /// How often it was begun again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(in crate::gateway) repeats: u32,
    /// Calls of nodes that were sent. None of them is ever sent again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::gateway) calls: Vec<CallRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) outcome: Option<RunOutcome>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A call of a node's command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct CallRecord {
    pub(in crate::gateway) id: ToolCallId,
    pub(in crate::gateway) node: String,
    pub(in crate::gateway) command: String,
    pub(in crate::gateway) state: CallState,
    pub(in crate::gateway) sent_at: WallTime,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum CallState {
    Sent,
    Done,
    Failed,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum RunState {
    /// It waits for its turn.
    Queued,
    Running,
    Done,
    Failed,
    /// Somebody stopped it.
    Aborted,
    /// Its time was over.
    Timeout,
    /// The gateway stopped while it ran. It is not tried again.
    Cut,
}

impl RunState {
    pub(in crate::gateway) const fn is_over(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Done | Self::Failed | Self::Aborted | Self::Timeout | Self::Cut => true,
        }
    }

    pub(super) const fn row_status(self) -> RowStatus {
        match self {
            Self::Queued | Self::Running => RowStatus::Running,
            Self::Done => RowStatus::Done,
            Self::Failed | Self::Cut => RowStatus::Failed,
            Self::Aborted => RowStatus::Killed,
            Self::Timeout => RowStatus::Timeout,
        }
    }
}

/// What becomes of a message for a session that is busy (spec protocol §6.4, `queueMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum QueueMode {
    /// It waits, and is answered together with others that wait so.
    Collect,
    /// It waits for its turn.
    Followup,
    /// The run under way is stopped.
    Interrupt,
    /// The run under way hears it, if its agent can; else it waits.
    #[default]
    Steer,
}

/// What the caller wants of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct RunOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) extra_prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) timeout_ms: Option<u64>,
    /// Where its answer goes, besides the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) deliver: Option<DeliverTo>,
}

impl RunOptions {
    pub(super) fn timeout(&self, default: Duration) -> Duration {
        match self.timeout_ms {
            None | Some(0) => default,
            Some(millis) => Duration::from_millis(millis).min(default.saturating_mul(144)),
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::gateway) struct RunOutcome {
    /// The reply; its first part where it is long.
    #[serde(default)]
    pub(in crate::gateway) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) kind: Option<FailureKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) http_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) usage: Option<Usage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) stop_reason: Option<String>,
}

impl Record for RunRecord {
    const TABLE: Table = Table::Run;

    fn key(&self) -> &str {
        self.run_id.as_str()
    }
}

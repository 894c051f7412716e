//! What goes into a run and what comes out of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{frame::RawJson, ids::ToolCallId, time::WallTime, trace::TraceParent};

/// Everything that a run goes by.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Which of the configured agents is meant.
    pub agent_id: String,
    /// The session's key, such as `agent:main:main`.
    pub session_key: String,
    /// The message.
    pub message: String,
    /// Files that came with it.
    pub attachments: Vec<Attachment>,
    /// What was said before, the oldest first. The gateway bounds it.
    pub history: Vec<HistoryMessage>,
    /// What connected nodes may be asked to do.
    pub tools: Vec<AgentTool>,
    /// A model that the session or the caller asks for, as `provider/model` or `model`.
    pub model: Option<String>,
    /// What the caller adds to the system prompt.
    pub extra_prompt: Option<String>,
    /// Time for the whole run.
    pub timeout: Duration,
    /// The trace that the run belongs to, and the run's own place in it. An agent tells it only where
    /// its config allows that.
    pub trace: Option<TraceParent>,
}

/// No run is given more time: 30 days.
const MAX_RUN: Duration = Duration::from_secs(30 * 86_400);

impl RunRequest {
    /// When its time is over.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        now + self.timeout.min(MAX_RUN)
    }
}

/// One message of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryMessage {
    /// Who said it.
    pub speaker: Speaker,
    /// What.
    pub text: String,
}

/// Who says something in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The agent.
    Assistant,
    /// Whoever wrote to it.
    User,
}

/// A file of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Such as `image/png`.
    pub mime_type: String,
    /// Its name, where it has one.
    pub file_name: Option<String>,
    /// Its bytes.
    pub content: Bytes,
}

/// A command of a connected node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentTool {
    /// The node.
    pub node_id: String,
    /// Its name for people.
    pub node_name: String,
    /// Such as `linux`.
    pub platform: Option<String>,
    /// The command, approved and allowed.
    pub command: String,
    /// What it does, where the node says so.
    pub description: Option<String>,
    /// The JSON schema of its parameters, where the node says so.
    pub parameters: Option<RawJson>,
}

/// A call of a node's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Unique in its run.
    pub id: ToolCallId,
    /// The node's id, or its name.
    pub node: String,
    /// The command.
    pub command: String,
    /// Its parameters.
    pub params: RawJson,
}

/// Why a tool call gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolError {
    /// Such as `NOT_CONNECTED`.
    pub code: String,
    /// For people and models.
    pub message: String,
}

/// Tokens that a run used, as far as its provider tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens that were read.
    pub input: u64,
    /// Tokens that were written.
    pub output: u64,
}

/// The end of a run that went well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunDone {
    /// The whole reply.
    pub text: String,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Who wrote it.
    pub provider: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Why it ended, such as `stop` or `length`.
    pub stop_reason: Option<String>,
}

/// The end of a run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFailed {
    /// Which case.
    pub kind: FailureKind,
    /// For people, without secrets.
    pub message: String,
    /// Who failed.
    pub provider: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// The HTTP status of the provider's answer.
    pub http_status: Option<u16>,
    /// What it cost.
    pub usage: Option<Usage>,
}

/// `errorKind` of a `chat` event (spec protocol §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The conversation does not fit into the model.
    ContextLength,
    /// The provider wants less.
    RateLimit,
    /// The provider declines.
    Refusal,
    /// It took too long.
    Timeout,
    /// Anything else.
    Unknown,
}

/// A pause before the provider is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The attempt that follows, from 2.
    pub attempt: u32,
    /// Attempts at most.
    pub max_attempts: u32,
}

/// A model that an agent can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// Its id, without the provider.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Its provider.
    pub provider: String,
    /// Tokens that it can look at.
    pub context_tokens: Option<u64>,
    /// Whether it takes pictures.
    pub images: bool,
}

/// A credential and how it fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileStatus {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub provider: String,
    /// How it fares.
    pub state: ProfileState,
}

/// How a credential fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileState {
    /// It is used when its turn comes.
    Ready,
    /// It is left alone until then.
    CoolingDown {
        /// The end of the pause.
        until: WallTime,
        /// Why, for people.
        why: String,
    },
    /// Its reference could not be resolved, so it is never used.
    Unresolved {
        /// Why, for people and without secrets.
        why: String,
    },
}

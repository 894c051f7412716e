//! Agents: what turns a message into a reply, and may call commands of nodes on the way (seed 002,
//! *Command flow*).
//!
//! An [`Agent`] is a machine for all of its runs: messages and results in; text, tool calls, jobs and
//! one end for each run out. It knows no session, no client and no node connection: those are the
//! gateway's.

pub mod builtin;
mod choose;
pub mod command;
pub mod openai;
mod request;
mod settings;
#[cfg(test)]
mod testing;

use std::{fmt, time::Instant};

use bytes::Bytes;

pub use choose::{Agents, BuiltAgents};
pub use request::{
    AgentTool, Attachment, FailureKind, HistoryMessage, ModelInfo, ProfileState, ProfileStatus,
    Retry, RunDone, RunFailed, RunRequest, Speaker, ToolCall, ToolError, Usage,
};

pub use settings::PerAgent;

use crate::{
    frame::RawJson,
    ids::{RunId, ToolCallId},
    job::{JobEvent, JobSpec},
    time::Now,
};

/// The number of a job within its run, chosen by the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobNo(pub u32);

/// What an agent is told about one of its runs.
#[derive(Clone, Debug)]
pub enum AgentInput {
    /// Stop: nobody wants it any more. Nothing may follow but [`AgentOutput::StopJob`].
    Cancel,
    /// A tool call has ended.
    ToolDone {
        /// Which.
        call: ToolCallId,
        /// The node's answer, or why there is none.
        outcome: Result<RawJson, ToolError>,
    },
    /// Something came of a job.
    Job(JobNo, JobEvent),
}

/// What an agent wants for one of its runs.
#[derive(Clone, Debug)]
pub enum AgentOutput {
    /// More of the reply.
    Text(String),
    /// The reply so far was wrong; it is this instead.
    Replace(String),
    /// It waits before it asks its provider again.
    Waiting(Retry),
    /// A node has to do something. Several may be under way at once.
    ToolCall(ToolCall),
    /// Start a job.
    StartJob(JobNo, JobSpec),
    /// Write to a program's standard input.
    FeedJob(JobNo, Bytes),
    /// End a job; nothing that comes of it matters any more.
    StopJob(JobNo),
    /// The run has ended well. The last output of its run.
    Done(RunDone),
    /// The run has failed. The last output of its run.
    Failed(RunFailed),
}

/// Turns messages into replies.
///
/// After each input, drain [`Agent::poll_output`] and re-arm [`Agent::poll_timeout`].
pub trait Agent: fmt::Debug + Send {
    /// Starts a run. Its id is new.
    fn start(&mut self, now: Now, run: RunId, request: RunRequest);

    /// Tells a run something. One that has ended hears nothing more, and that is no error.
    fn handle(&mut self, now: Now, run: &RunId, input: AgentInput);

    /// Acts on every deadline that is due.
    fn handle_timeout(&mut self, now: Now);

    /// The next thing that a run wants.
    fn poll_output(&mut self) -> Option<(RunId, AgentOutput)>;

    /// When to call [`Agent::handle_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;

    /// The models that it can use, the preferred one first.
    fn models(&self) -> Vec<ModelInfo>;

    /// Its credentials and whether they work, without showing them.
    fn profiles(&self, now: Now) -> Vec<ProfileStatus>;
}

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

    /// Somebody says more to a run under way. Gives whether the run takes it into account: an agent that
    /// says so answers it in the same run (spec protocol §6.4, `queueMode: "steer"`).
    fn steer(&mut self, now: Now, run: &RunId, text: &str) -> bool {
        let _ = (now, run, text);
        false
    }

    /// Takes up another state of the config, if it was made from one. Runs that go on keep what they
    /// began with.
    fn take_up(&mut self, newer: Agents) {
        drop(newer);
    }

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

#[cfg(test)]
mod testing {
    //! What the tests of all agents share.

    use std::time::{Duration, Instant};

    use super::{Agent, AgentInput, AgentOutput, AgentTool, RunRequest, ToolError};
    use crate::frame::RawJson;
    use crate::ids::{RunId, ToolCallId};
    use crate::time::{Now, WallTime};

    pub(super) fn tool(id: &str, name: &str, command: &str) -> AgentTool {
        AgentTool {
            node_id: id.to_owned(),
            node_name: name.to_owned(),
            platform: Some("linux".to_owned()),
            command: command.to_owned(),
            description: None,
            parameters: None,
        }
    }

    pub(super) fn request(message: &str) -> RunRequest {
        RunRequest {
            agent_id: "main".into(),
            session_key: "agent:main:main".into(),
            message: message.to_owned(),
            attachments: Vec::new(),
            history: Vec::new(),
            tools: vec![
                tool("n1", "Desk Phone", "device.status"),
                tool("n1", "Desk Phone", "system.notify"),
                tool("n2", "server", "system.run"),
            ],
            model: None,
            extra_prompt: None,
            timeout: Duration::from_secs(600),
            trace: None,
        }
    }

    /// An agent, its one run, and a clock.
    pub(super) struct Rig<A> {
        pub(super) agent: A,
        pub(super) now: Now,
        pub(super) run: RunId,
    }

    impl<A: Agent> Rig<A> {
        #[allow(clippy::disallowed_methods, reason = "any instant will do")]
        pub(super) fn new(agent: A) -> Self {
            Self {
                agent,
                now: Now {
                    mono: Instant::now(),
                    wall: WallTime(1_000_000),
                },
                run: RunId::new("run"),
            }
        }

        pub(super) fn start(&mut self, request: RunRequest) -> Vec<AgentOutput> {
            self.agent.start(self.now, self.run.clone(), request);
            self.outputs()
        }

        pub(super) fn give(&mut self, input: AgentInput) -> Vec<AgentOutput> {
            self.agent.handle(self.now, &self.run, input);
            self.outputs()
        }

        pub(super) fn answer(&mut self, call: &ToolCallId, json: &str) -> Vec<AgentOutput> {
            self.give(AgentInput::ToolDone {
                call: call.clone(),
                outcome: Ok(RawJson::checked(json.to_owned()).unwrap()),
            })
        }

        pub(super) fn fail(
            &mut self,
            call: &ToolCallId,
            code: &str,
            message: &str,
        ) -> Vec<AgentOutput> {
            self.give(AgentInput::ToolDone {
                call: call.clone(),
                outcome: Err(ToolError {
                    code: code.into(),
                    message: message.into(),
                }),
            })
        }

        /// Lets time pass, up to and with the next deadline.
        pub(super) fn wait(&mut self) -> Duration {
            let at = self.agent.poll_timeout().unwrap();
            let by = at.saturating_duration_since(self.now.mono);
            self.now = self.now.after(by);
            self.agent.handle_timeout(self.now);
            by
        }

        pub(super) fn outputs(&mut self) -> Vec<AgentOutput> {
            std::iter::from_fn(|| self.agent.poll_output())
                .map(|(run, output)| {
                    assert_eq!(run, self.run);
                    output
                })
                .collect()
        }
    }
}

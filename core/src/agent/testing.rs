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

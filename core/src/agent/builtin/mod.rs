//! The built-in agent: deterministic, without a network and without a key (seed 002, *Command flow*).
//!
//! It knows `/help`, `/status`, `/nodes`, `/invoke NODE COMMAND {json}` and `/echo TEXT`, follows the
//! [`Rule`]s of its config, and answers anything else with what it can do.

mod command;
mod find;
mod pattern;
mod reply;
mod rule;
mod run;
mod template;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

pub use pattern::{MAX_MATCHED, MAX_PATTERN, Pattern, PatternFault};
pub use rule::{MAX_CALLS, MAX_RULES, Rule, RuleFault};

use super::{
    Agent, AgentInput, AgentOutput, FailureKind, ModelInfo, PerAgent, ProfileStatus, RunDone,
    RunFailed, RunRequest,
};
use crate::{ids::RunId, time::Now};
use run::{Run, Step};

/// The name under which it stands as a provider.
pub const PROVIDER: &str = "clawgate";
/// The name under which it stands as a model.
pub const MODEL: &str = "builtin";

/// The built-in agent.
///
/// ```
/// use std::time::{Duration, Instant};
/// use clawgate_core::agent::{Agent, AgentOutput, PerAgent, RunRequest, builtin::BuiltinAgent};
/// use clawgate_core::{ids::RunId, time::{Now, WallTime}};
///
/// let mut agent = BuiltinAgent::new(PerAgent::default());
/// let now = Now { mono: Instant::now(), wall: WallTime(0) };
/// let request = RunRequest {
///     agent_id: "main".into(),
///     session_key: "agent:main:main".into(),
///     message: "/echo hello".into(),
///     attachments: Vec::new(),
///     history: Vec::new(),
///     tools: Vec::new(),
///     model: None,
///     extra_prompt: None,
///     timeout: Duration::from_secs(60),
///     trace: None,
/// };
/// agent.start(now, RunId::new("r1"), request);
/// let Some((_, AgentOutput::Text(text))) = agent.poll_output() else { panic!() };
/// assert_eq!(text, "hello");
/// assert!(matches!(agent.poll_output(), Some((_, AgentOutput::Done(_)))));
/// ```
#[derive(Debug, Default)]
pub struct BuiltinAgent {
    rules: PerAgent<Vec<Rule>>,
    runs: BTreeMap<RunId, Run>,
    outputs: VecDeque<(RunId, AgentOutput)>,
}

impl BuiltinAgent {
    /// An agent with these rules; the first that fits a message is followed.
    pub const fn new(rules: PerAgent<Vec<Rule>>) -> Self {
        Self {
            rules,
            runs: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    fn take(&mut self, id: &RunId, step: Step) {
        let mut tell = |output| self.outputs.push_back((id.clone(), output));
        match step {
            Step::Call(calls) => calls.into_iter().map(AgentOutput::ToolCall).for_each(tell),
            Step::Wait => {}
            Step::Reply(text) => {
                self.runs.remove(id);
                if !text.is_empty() {
                    tell(AgentOutput::Text(text.clone()));
                }
                tell(AgentOutput::Done(RunDone {
                    text,
                    usage: None,
                    provider: Some(PROVIDER.into()),
                    model: Some(MODEL.into()),
                    stop_reason: Some("stop".into()),
                }));
            }
        }
    }
}

impl Agent for BuiltinAgent {
    fn start(&mut self, now: Now, id: RunId, request: RunRequest) {
        let rules = self.rules.of(&request.agent_id);
        let (run, step) = Run::start(now.mono, request, rules);
        self.runs.insert(id.clone(), run);
        self.take(&id, step);
    }

    fn handle(&mut self, _: Now, id: &RunId, input: AgentInput) {
        match input {
            AgentInput::Cancel => {
                self.runs.remove(id);
                self.outputs.retain(|(of, _)| of != id);
            }
            AgentInput::ToolDone { call, outcome } => {
                if let Some(run) = self.runs.get_mut(id) {
                    let step = run.tool_done(&call, outcome);
                    self.take(id, step);
                }
            }
            // It starts none.
            AgentInput::Job(..) => {}
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        let late: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, run)| run.deadline() <= now.mono)
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            self.runs.remove(&id);
            let failed = RunFailed {
                kind: FailureKind::Timeout,
                message: "No node answered before the time for this run was over.".into(),
                provider: Some(PROVIDER.into()),
                model: Some(MODEL.into()),
                http_status: None,
                usage: None,
            };
            self.outputs.push_back((id, AgentOutput::Failed(failed)));
        }
    }

    fn poll_output(&mut self) -> Option<(RunId, AgentOutput)> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.runs.values().map(Run::deadline).min()
    }

    fn models(&self) -> Vec<ModelInfo> {
        vec![ModelInfo {
            id: MODEL.into(),
            name: "Built-in agent".into(),
            provider: PROVIDER.into(),
            context_tokens: None,
            images: false,
        }]
    }

    fn profiles(&self, _: Now) -> Vec<ProfileStatus> {
        Vec::new()
    }
}

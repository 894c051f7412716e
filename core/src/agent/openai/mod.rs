//! Any endpoint that speaks OpenAI's chat completions: Ollama, llama.cpp, vLLM, or a hosted one.
//!
//! Commands of connected nodes are the model's functions. A request that fails before its answer has
//! begun is tried again: with the next key after 401, 403 and 429, after a pause after 429, 5xx and
//! lost connections, and with the next model when all that did not help. Once a piece of an answer has
//! come, that answer is never asked for again. Keys go to endpoints that host policy accepts, and
//! nowhere else; redirects are not followed.

mod answer;
mod base_url;
mod conversation;
mod failure;
mod profiles;
mod run;
mod setup;
mod sse;
mod tools;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

pub use answer::MAX_ANSWER_CALLS;
pub use base_url::{CHAT_API, check_base_url};
pub use conversation::MAX_TOOL_RESULT;
pub use profiles::ProfileSetup;
pub use run::{MAX_ATTEMPTS, MAX_WAIT};
pub use setup::{DEFAULT_TOOL_ROUNDS, ModelUse, OpenAiSetup, Provider, Times, Traces};
pub use sse::{SseEvent, SseFault, SseLimits, SseParser};
pub use tools::{MAX_FUNCTION_NAME, MAX_FUNCTIONS, ToolBook};

use super::{Agent, AgentInput, AgentOutput, ModelInfo, ProfileStatus, RunRequest};
use crate::{
    config::ModelName,
    ids::RunId,
    rng::{Rng, Seed},
    time::Now,
};
use profiles::Profiles;
use run::{Run, Shared};

/// An agent that asks chat-completions endpoints.
///
/// ```
/// use std::time::{Duration, Instant};
/// use clawgate_core::agent::{Agent, AgentOutput, PerAgent, RunRequest};
/// use clawgate_core::agent::openai::{ModelUse, OpenAiAgent, OpenAiSetup, Provider, Times, Traces, check_base_url};
/// use clawgate_core::{config::ModelName, ids::RunId, job::JobSpec, policy::UrlPolicy};
/// use clawgate_core::time::{Now, WallTime};
///
/// let provider = Provider {
///     endpoint: check_base_url("http://127.0.0.1:11434/v1", UrlPolicy::Strict),
///     models: Vec::new(),
///     max_tokens: None,
///     times: Times::default(),
///     traces: Traces::Kept,
/// };
/// let mut agent = OpenAiAgent::new(OpenAiSetup {
///     providers: [("local".into(), provider)].into(),
///     profiles: Vec::new(),
///     cooldowns: Default::default(),
///     agents: PerAgent::all(ModelUse {
///         models: vec![ModelName::parse("local/llama").unwrap()],
///         ..ModelUse::default()
///     }),
/// }, [7; 32]);
/// let request = RunRequest {
///     agent_id: "main".into(),
///     session_key: "agent:main:main".into(),
///     message: "hello".into(),
///     attachments: Vec::new(),
///     history: Vec::new(),
///     tools: Vec::new(),
///     model: None,
///     extra_prompt: None,
///     timeout: Duration::from_secs(60),
///     trace: None,
/// };
/// let now = Now { mono: Instant::now(), wall: WallTime(0) };
/// agent.start(now, RunId::new("r1"), request);
/// let Some((_, AgentOutput::StartJob(_, JobSpec::Http(job)))) = agent.poll_output() else { panic!() };
/// assert_eq!(job.url.path_and_query(), "/v1/chat/completions");
/// ```
#[derive(Debug)]
pub struct OpenAiAgent {
    shared: Shared,
    runs: BTreeMap<RunId, Run>,
    outputs: VecDeque<(RunId, AgentOutput)>,
}

impl OpenAiAgent {
    /// An agent. The seed spreads its retries.
    pub fn new(mut setup: OpenAiSetup, seed: Seed) -> Self {
        let profiles = Profiles::new(std::mem::take(&mut setup.profiles), setup.cooldowns);
        Self {
            shared: Shared {
                setup,
                profiles,
                rng: Rng::new(seed),
            },
            runs: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    fn with_run(&mut self, id: &RunId, act: impl FnOnce(&mut Run, &mut Shared)) {
        if let Some(run) = self.runs.get_mut(id) {
            act(run, &mut self.shared);
            self.collect(id);
        }
    }

    fn collect(&mut self, id: &RunId) {
        let Some(run) = self.runs.get_mut(id) else {
            return;
        };
        let outputs = run.take_outputs();
        if run.has_ended() {
            self.runs.remove(id);
        }
        self.outputs
            .extend(outputs.into_iter().map(|output| (id.clone(), output)));
    }
}

impl Agent for OpenAiAgent {
    fn start(&mut self, now: Now, id: RunId, request: RunRequest) {
        let run = Run::start(&mut self.shared, now, &request);
        self.runs.insert(id.clone(), run);
        self.collect(&id);
    }

    fn handle(&mut self, now: Now, id: &RunId, input: AgentInput) {
        match input {
            AgentInput::Cancel => {
                self.outputs.retain(|(of, _)| of != id);
                self.with_run(id, |run, _| run.cancel());
            }
            AgentInput::ToolDone { call, outcome } => {
                self.with_run(id, |run, shared| run.tool_done(shared, now, &call, outcome));
            }
            AgentInput::Job(no, event) => {
                self.with_run(id, |run, shared| run.job(shared, now, no, event));
            }
        }
    }

    fn steer(&mut self, _: Now, id: &RunId, text: &str) -> bool {
        self.runs.get_mut(id).is_some_and(|run| run.steer(text))
    }

    fn handle_timeout(&mut self, now: Now) {
        let due: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, run)| run.next_timeout() <= now.mono)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.with_run(&id, |run, shared| run.timeout(shared, now));
        }
    }

    fn poll_output(&mut self) -> Option<(RunId, AgentOutput)> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.runs.values().map(Run::next_timeout).min()
    }

    /// Those that agents use, then the others of their providers.
    fn models(&self) -> Vec<ModelInfo> {
        let setup = &self.shared.setup;
        let used = setup.agents.iter().flat_map(|agent| agent.models.clone());
        let listed = setup.providers.iter().flat_map(|(provider, it)| {
            it.models.iter().map(|model| ModelName {
                provider: provider.clone(),
                model: model.id.clone(),
            })
        });
        let mut seen = BTreeSet::new();
        used.chain(listed)
            .filter(|name| seen.insert(name.clone()))
            .filter_map(|name| {
                let provider = setup.providers.get(&name.provider)?;
                let known = provider.models.iter().find(|model| model.id == name.model);
                Some(ModelInfo {
                    name: known
                        .and_then(|known| known.name.clone())
                        .unwrap_or_else(|| name.model.clone()),
                    context_tokens: known.and_then(|known| known.context_window),
                    images: known.is_some_and(|known| known.images),
                    id: name.model,
                    provider: name.provider,
                })
            })
            .collect()
    }

    fn profiles(&self, now: Now) -> Vec<ProfileStatus> {
        self.shared.profiles.status(now)
    }
}

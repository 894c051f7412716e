//! What a chat-completions agent is made of.

use std::{collections::BTreeMap, time::Duration};

use super::conversation::Capacity;
use super::profiles::ProfileSetup;
use crate::{
    agent::PerAgent,
    config::{CooldownConfig, ModelConfig, ModelName},
    policy::Endpoint,
};

/// Everything that the agent needs.
#[derive(Clone, Debug)]
pub struct OpenAiSetup {
    /// Endpoints by name.
    pub providers: BTreeMap<String, Provider>,
    /// Credentials; those of one provider in the order in which they are used.
    pub profiles: Vec<ProfileSetup>,
    /// How long one is left alone after a failure.
    pub cooldowns: CooldownConfig,
    /// What each agent uses.
    pub agents: PerAgent<ModelUse>,
}

/// An endpoint.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Where requests go, or why none may, for people.
    pub endpoint: Result<Endpoint, String>,
    /// Its models; others may be named too.
    pub models: Vec<ModelConfig>,
    /// Tokens of an answer, where the model says nothing.
    pub max_tokens: Option<u64>,
    /// Its times.
    pub times: Times,
    /// Whether it is told of traces.
    pub traces: Traces,
}

/// Whether an endpoint is told to which trace a request belongs, by the header `traceparent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traces {
    /// It is a stranger.
    #[default]
    Kept,
    /// It may know.
    Told,
}

/// How long the parts of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// DNS, TCP and TLS.
    pub connect: Duration,
    /// From the start to the first piece of the answer.
    pub first_token: Duration,
    /// Between two pieces.
    pub idle: Duration,
    /// The whole request; the run has a limit of its own.
    pub whole: Option<Duration>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_token: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            whole: None,
        }
    }
}

/// What one agent uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelUse {
    /// The model, then what stands in for it.
    pub models: Vec<ModelName>,
    /// What the model is told before everything else.
    pub system_prompt: String,
    /// How often it may ask for tools in one run.
    pub max_tool_rounds: u32,
}

/// Rounds of tools where nothing else is said.
pub const DEFAULT_TOOL_ROUNDS: u32 = 16;

impl Default for ModelUse {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            system_prompt: "You are a helpful assistant. The tools are commands of devices that \
                            belong to the user; use them when they help, and say plainly what came \
                            of it."
                .into(),
            max_tool_rounds: DEFAULT_TOOL_ROUNDS,
        }
    }
}

impl Provider {
    pub(super) fn capacity(&self, model: &str) -> Capacity {
        let known = self.models.iter().find(|known| known.id == model);
        Capacity {
            context: known.and_then(|known| known.context_window),
            max_tokens: known.and_then(|known| known.max_tokens).or(self.max_tokens),
            images: known.is_some_and(|known| known.images),
        }
    }
}

impl OpenAiSetup {
    /// The models that a run may use, the first first; a wish of the caller alone counts.
    pub(super) fn candidates(
        &self,
        agent_id: &str,
        wish: Option<&str>,
    ) -> Result<Vec<ModelName>, String> {
        let own = &self.agents.of(agent_id).models;
        let Some(wish) = wish.map(str::trim).filter(|wish| !wish.is_empty()) else {
            return if own.is_empty() {
                Err("no model is configured; set agents.defaults.model to provider/model".into())
            } else {
                Ok(own.clone())
            };
        };
        let full =
            ModelName::parse(wish).filter(|name| self.providers.contains_key(&name.provider));
        let by_id = || {
            let offers = |(_, provider): &(&String, &Provider)| {
                provider.models.iter().any(|model| model.id == wish)
            };
            let (name, _) = self.providers.iter().find(offers)?;
            Some(ModelName {
                provider: name.clone(),
                model: wish.to_owned(),
            })
        };
        full.or_else(by_id).map(|name| vec![name]).ok_or_else(|| {
            format!(
                "the model {wish:?} is not configured; write it as provider/model, with one of the \
                 providers {}",
                self.providers
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        })
    }
}

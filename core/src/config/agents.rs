//! Agents, their models and their credentials: `agents`, `models` and `auth`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::read::Node;
use super::secret_input::SecretInput;
use crate::agent::builtin::{MAX_RULES, Rule};

/// `agents`, `models` and `auth`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentsConfig {
    /// `agents.defaults`.
    pub defaults: AgentSettings,
    /// `agents.list`, then `agents.entries`; of two with one id the first counts.
    pub list: Vec<AgentEntry>,
    /// `models.providers`.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// `auth.profiles`.
    pub profiles: BTreeMap<String, ProfileConfig>,
    /// `auth.order`: names of profiles by provider.
    pub order: BTreeMap<String, Vec<String>>,
    /// `auth.cooldowns`.
    pub cooldowns: CooldownConfig,
}

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentEntry {
    /// `id`.
    pub id: String,
    /// `name`.
    pub name: Option<String>,
    /// `default`.
    pub default: bool,
    /// What it says itself, before the defaults.
    pub settings: AgentSettings,
}

/// What both `agents.defaults` and an agent may say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentSettings {
    /// `backend`.
    pub backend: Option<AgentBackend>,
    /// `model`.
    pub model: Option<ModelChoice>,
    /// `command`: a program and its arguments.
    pub command: Option<Vec<String>>,
    /// `cwd`.
    pub cwd: Option<String>,
    /// `rules`, without those that cannot be used.
    pub rules: Option<Vec<Rule>>,
    /// `systemPrompt`.
    pub system_prompt: Option<String>,
    /// `timeoutSeconds`.
    pub timeout: Option<Duration>,
    /// `maxToolRounds`.
    pub max_tool_rounds: Option<u32>,
}

/// `backend`: who answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentBackend {
    /// Fixed commands and rules.
    #[default]
    Builtin,
    /// A chat-completions endpoint.
    OpenAi,
    /// A program.
    Command,
}

/// `model`: a model and what stands in for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelChoice {
    /// `primary`, or the text itself.
    pub primary: Option<ModelName>,
    /// `fallbacks`.
    pub fallbacks: Vec<ModelName>,
}

/// A model at a provider, written `provider/model`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelName {
    /// Before the first `/`.
    pub provider: String,
    /// After it; it may have more of them.
    pub model: String,
}

/// One of `models.providers`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderConfig {
    /// `baseUrl`.
    pub base_url: Option<String>,
    /// `apiKey`.
    pub api_key: SecretInput,
    /// `api`; without it, `openai-completions`.
    pub api: Option<String>,
    /// `maxTokens`.
    pub max_tokens: Option<u64>,
    /// `timeoutSeconds`.
    pub timeout: Option<Duration>,
    /// `firstTokenSeconds`.
    pub first_token: Option<Duration>,
    /// `idleSeconds`.
    pub idle: Option<Duration>,
    /// `models`.
    pub models: Vec<ModelConfig>,
    /// `traceparent`: whether it is told to which trace a request belongs.
    pub traceparent: bool,
}

/// One of a provider's `models`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelConfig {
    /// `id`.
    pub id: String,
    /// `name`.
    pub name: Option<String>,
    /// `contextWindow`.
    pub context_window: Option<u64>,
    /// `maxTokens`.
    pub max_tokens: Option<u64>,
    /// Whether `input` names images.
    pub images: bool,
}

/// One of `auth.profiles`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileConfig {
    /// `provider`.
    pub provider: Option<String>,
    /// `mode`.
    pub mode: Option<String>,
    /// `key`.
    pub key: SecretInput,
}

/// `auth.cooldowns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CooldownConfig {
    /// `rateLimitBackoffMs`.
    pub rate_limit: Duration,
    /// `rateLimitMaxMs`.
    pub rate_limit_max: Duration,
    /// `authPermanentBackoffMs`.
    pub refused: Duration,
    /// `authPermanentMaxMs`.
    pub refused_max: Duration,
    /// `failureWindowMs`.
    pub window: Duration,
}

impl Default for CooldownConfig {
    fn default() -> Self {
        Self {
            rate_limit: Duration::from_secs(30),
            rate_limit_max: Duration::from_secs(3_600),
            refused: Duration::from_secs(600),
            refused_max: Duration::from_secs(3_600),
            window: Duration::from_secs(86_400),
        }
    }
}

/// Time for a run where nothing else is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

impl AgentsConfig {
    pub(super) fn read(root: Node<'_>) -> Self {
        let agents = root.at("agents");
        let auth = root.at("auth");
        let providers = root.at("models").at("providers");
        let profiles = auth.at("profiles");
        let order = auth.at("order");
        Self {
            defaults: AgentSettings::read(agents.at("defaults")),
            list: read_list(agents),
            providers: providers
                .keys()
                .map(|name| {
                    let provider = ProviderConfig::read(providers.at(&name));
                    (name, provider)
                })
                .collect(),
            profiles: profiles
                .keys()
                .map(|name| {
                    let node = profiles.at(&name);
                    let profile = ProfileConfig {
                        provider: node.at("provider").non_blank(),
                        mode: node.at("mode").non_blank(),
                        key: SecretInput::from_value(node.at("key").0),
                    };
                    (name, profile)
                })
                .collect(),
            order: order
                .keys()
                .map(|provider| {
                    let names = order.at(&provider).texts();
                    (provider, names)
                })
                .collect(),
            cooldowns: CooldownConfig::read(auth.at("cooldowns")),
        }
    }

    /// What counts for an agent: what it says itself, then the defaults. An unknown id has the
    /// defaults alone.
    pub fn settings(&self, agent_id: &str) -> AgentSettings {
        match self.list.iter().find(|agent| agent.id == agent_id) {
            Some(agent) => agent.settings.clone().over(&self.defaults),
            None => self.defaults.clone(),
        }
    }

    /// Time for a run of an agent, where its caller names none.
    pub fn timeout(&self, agent_id: &str) -> Duration {
        self.settings(agent_id).timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// The name of an agent for people.
    pub fn name<'a>(&'a self, agent_id: &'a str) -> &'a str {
        self.list
            .iter()
            .find(|agent| agent.id == agent_id)
            .and_then(|agent| agent.name.as_deref())
            .unwrap_or(agent_id)
    }
}

fn read_list(agents: Node<'_>) -> Vec<AgentEntry> {
    let mut list: Vec<AgentEntry> = Vec::new();
    let mut add = |id: Option<String>, node: Node<'_>| {
        let Some(id) = id else { return };
        if !list.iter().any(|agent| agent.id == id) {
            list.push(AgentEntry {
                id,
                name: node.at("name").non_blank(),
                default: node.at("default").is(true),
                settings: AgentSettings::read(node),
            });
        }
    };
    for item in agents.at("list").items() {
        let node = Node(Some(item));
        add(node.at("id").text(), node);
    }
    let entries = agents.at("entries");
    for id in entries.keys() {
        let node = entries.at(&id);
        add(Some(id), node);
    }
    list
}

impl AgentSettings {
    fn read(node: Node<'_>) -> Self {
        let rules = node.at("rules");
        let command = node.at("command");
        Self {
            backend: node.at("backend").str().and_then(AgentBackend::parse),
            model: ModelChoice::read(node.at("model")),
            command: command.is_list().then(|| command.texts()),
            cwd: node.at("cwd").non_blank(),
            rules: rules.is_list().then(|| {
                let good = rules.items().iter().take(MAX_RULES);
                good.filter_map(|rule| Rule::from_value(rule).ok())
                    .collect()
            }),
            system_prompt: node.at("systemPrompt").non_blank(),
            timeout: seconds(node.at("timeoutSeconds")),
            max_tool_rounds: node
                .at("maxToolRounds")
                .positive()
                .and_then(|rounds| u32::try_from(rounds).ok()),
        }
    }

    fn over(self, defaults: &Self) -> Self {
        Self {
            backend: self.backend.or(defaults.backend),
            model: self.model.or_else(|| defaults.model.clone()),
            command: self.command.or_else(|| defaults.command.clone()),
            cwd: self.cwd.or_else(|| defaults.cwd.clone()),
            rules: self.rules.or_else(|| defaults.rules.clone()),
            system_prompt: self
                .system_prompt
                .or_else(|| defaults.system_prompt.clone()),
            timeout: self.timeout.or(defaults.timeout),
            max_tool_rounds: self.max_tool_rounds.or(defaults.max_tool_rounds),
        }
    }
}

impl AgentBackend {
    /// Reads the name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "builtin" => Self::Builtin,
            "openai" => Self::OpenAi,
            "command" => Self::Command,
            _ => return None,
        })
    }
}

impl ModelChoice {
    fn read(node: Node<'_>) -> Option<Self> {
        if let Some(text) = node.str() {
            return Some(Self {
                primary: ModelName::parse(text),
                fallbacks: Vec::new(),
            });
        }
        node.is_object().then(|| Self {
            primary: node.at("primary").str().and_then(ModelName::parse),
            fallbacks: node
                .at("fallbacks")
                .texts()
                .iter()
                .filter_map(|text| ModelName::parse(text))
                .collect(),
        })
    }
}

impl ModelName {
    /// Reads `provider/model`.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.trim().split_once('/')?;
        (!provider.is_empty() && !model.is_empty()).then(|| Self {
            provider: provider.to_owned(),
            model: model.to_owned(),
        })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl ProviderConfig {
    fn read(node: Node<'_>) -> Self {
        let models = node.at("models").items().iter().filter_map(|item| {
            let model = Node(Some(item));
            Some(ModelConfig {
                id: model.at("id").non_blank()?,
                name: model.at("name").non_blank(),
                context_window: model.at("contextWindow").positive(),
                max_tokens: model.at("maxTokens").positive(),
                images: model.at("input").texts().iter().any(|kind| kind == "image"),
            })
        });
        Self {
            base_url: node.at("baseUrl").non_blank(),
            api_key: SecretInput::from_value(node.at("apiKey").0),
            api: node.at("api").non_blank(),
            max_tokens: node.at("maxTokens").positive(),
            timeout: seconds(node.at("timeoutSeconds")),
            first_token: seconds(node.at("firstTokenSeconds")),
            idle: seconds(node.at("idleSeconds")),
            models: models.collect(),
            traceparent: node.at("traceparent").is(true),
        }
    }
}

impl CooldownConfig {
    fn read(node: Node<'_>) -> Self {
        let defaults = Self::default();
        let millis = |key: &str, default: Duration| {
            node.at(key)
                .positive()
                .map_or(default, |ms| Duration::from_millis(ms.min(MAX_MS)))
        };
        Self {
            rate_limit: millis("rateLimitBackoffMs", defaults.rate_limit),
            rate_limit_max: millis("rateLimitMaxMs", defaults.rate_limit_max),
            refused: millis("authPermanentBackoffMs", defaults.refused),
            refused_max: millis("authPermanentMaxMs", defaults.refused_max),
            window: millis("failureWindowMs", defaults.window),
        }
    }
}

/// 30 days: no time of the config is longer, so adding it to an instant cannot fail.
const MAX_MS: u64 = 30 * 24 * 60 * 60 * 1000;

fn seconds(node: Node<'_>) -> Option<Duration> {
    let seconds = node.positive()?;
    Some(Duration::from_secs(seconds.min(MAX_MS / 1000)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::json;

    #[test]
    fn an_agent_has_the_defaults_except_for_what_it_says_itself() {
        let config = Config::from_value(&json!({
            "agents": {
                "defaults": {
                    "backend": "openai", "timeoutSeconds": 30, "systemPrompt": "Be brief.",
                    "model": { "primary": "local/org/big", "fallbacks": ["local/small", "bad"] },
                },
                "list": [
                    { "id": "main", "name": "Maja" },
                    { "id": "ops", "backend": "builtin", "rules": [{ "match": "a", "reply": "b" }, 5] },
                    { "id": "main", "backend": "command" },
                ],
                "entries": { "lab": { "model": "other/x", "command": ["a", "b"], "backend": "command" } },
            },
        }))
        .agents;
        let main = config.settings("main");
        assert_eq!(main.backend, Some(AgentBackend::OpenAi));
        let model = main.model.unwrap();
        assert_eq!(model.primary.unwrap().to_string(), "local/org/big");
        assert_eq!(model.fallbacks.len(), 1);
        assert_eq!(config.timeout("nobody"), Duration::from_secs(30));
        assert_eq!(config.settings("ops").rules.unwrap().len(), 1);
        let lab = config.settings("lab");
        assert_eq!(lab.model.unwrap().primary, ModelName::parse("other/x"));
        assert_eq!(lab.command.unwrap(), ["a", "b"]);
        assert_eq!((config.name("main"), config.name("x")), ("Maja", "x"));
    }
}

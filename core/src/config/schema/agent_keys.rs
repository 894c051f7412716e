//! The keys of agents, their models and their credentials. The names are OpenClaw's where it has
//! them; `backend`, `command`, `rules` and `systemPrompt`, the key of a profile and the cool-downs are
//! clawgate's own.

use super::keys::{MAX_MS, TEXTS, kept, key};
use super::Key;
use super::Kind::{Any, Bool, Integer, ListOf, MapOf, Object, OneOf, Secret, Text};
use super::Reload::Restart;

/// The values of `agents.defaults.backend`.
pub const AGENT_BACKENDS: &[&str] = &["builtin", "openai", "command"];

/// 30 days in seconds.
const MAX_SECONDS: u64 = MAX_MS / 1000;

/// What both the defaults and an agent may say.
macro_rules! settings {
    ($($more:expr),* $(,)?) => {
        &[
            key("backend", OneOf(AGENT_BACKENDS), Restart, "Who answers: rules (builtin, the default), a chat-completions endpoint (openai), or a program (command)."),
            key("model", Any, Restart, "The model as provider/model, or {primary, fallbacks}."),
            key("command", TEXTS, Restart, "The program and its arguments, for the backend command."),
            key("cwd", Text, Restart, "The folder in which the program runs."),
            key("rules", Any, Restart, "Rules of the built-in agent."),
            key("systemPrompt", Text, Restart, "What a model is told before everything else."),
            key("timeoutSeconds", Integer(1, MAX_SECONDS), Restart, "Time for one run, in seconds (default 600)."),
            key("maxToolRounds", Integer(1, 100), Restart, "How often a model may ask for tools in one run (default 16)."),
            $($more),*
        ]
    };
}

const DEFAULTS: &[Key] = settings![
    kept("params"), kept("modelSelectionScope"), kept("utilityModel"), kept("decisionModel"),
    kept("imageModel"), kept("mediaModels"), kept("voiceModel"), kept("pdfModel"),
    kept("pdfMaxMb"), kept("pdfMaxPages"), kept("models"), kept("modelPolicy"),
    kept("workspace"), kept("skills"), kept("silentReply"), kept("repoRoot"),
    kept("skipBootstrap"), kept("skipOptionalBootstrapFiles"), kept("contextInjection"),
    kept("bootstrapMaxChars"), kept("bootstrapTotalMaxChars"), kept("experimental"),
    kept("userTimezone"), kept("startupContext"), kept("contextPruning"), kept("compaction"),
    kept("embeddedAgent"), kept("thinkingDefault"), kept("fastModeDefault"),
    kept("verboseDefault"), kept("toolProgressDetail"), kept("reasoningDefault"),
    kept("elevatedDefault"), kept("blockStreamingDefault"), kept("blockStreamingBreak"),
    kept("mediaMaxMb"), kept("imageMaxDimensionPx"), kept("imageQuality"),
    kept("typingIntervalSeconds"), kept("systemAgent"), kept("authInheritance"),
    kept("sessionStore"), kept("maxConcurrent"), kept("subagents"), kept("contextLimits"),
    kept("blockStreamingChunk"), kept("blockStreamingCoalesce"), kept("humanDelay"),
    kept("typingMode"), kept("heartbeat"), kept("sandbox"),
];

const AGENT: &[Key] = settings![
    key("id", Text, Restart, "The agent's id, in a list."),
    key("name", Text, Restart, "Its name for people."),
    key("default", Bool, Restart, "Whether it is meant where none is named; otherwise the first is."),
    kept("description"), kept("workspace"), kept("agentDir"), kept("utilityModel"),
    kept("decisionModel"), kept("models"), kept("modelPolicy"), kept("thinkingDefault"),
    kept("verboseDefault"), kept("toolProgressDetail"), kept("reasoningDefault"),
    kept("fastModeDefault"), kept("contextInjection"), kept("bootstrapMaxChars"),
    kept("bootstrapTotalMaxChars"), kept("experimental"), kept("skills"), kept("subagents"),
    kept("embeddedAgent"), kept("params"), kept("runtime"), kept("memory"), kept("humanDelay"),
    kept("typingMode"), kept("tts"), kept("skillsLimits"), kept("contextLimits"),
    kept("heartbeat"), kept("identity"), kept("groupChat"), kept("sandbox"), kept("tools"),
];

pub(super) const AGENTS: &[Key] = &[
    key("list", ListOf(&Object(AGENT)), Restart, "The agents, each with an id."),
    key("entries", MapOf(&Object(AGENT)), Restart, "The agents by id."),
    key("defaults", Object(DEFAULTS), Restart, "Settings of every agent."),
    kept("ownership"),
];

const MODEL: &[Key] = &[
    key("id", Text, Restart, "The model's id at its provider."),
    key("name", Text, Restart, "Its name for people."),
    key("contextWindow", Integer(1, 1_000_000_000), Restart, "Tokens that it can look at."),
    key("maxTokens", Integer(1, 1_000_000_000), Restart, "Tokens that one answer may have."),
    key("input", TEXTS, Restart, "What it takes: text, image."),
    kept("api"), kept("baseUrl"), kept("reasoning"), kept("cost"), kept("contextTokens"),
    kept("thinkingLevelMap"), kept("params"), kept("agentRuntime"), kept("headers"),
    kept("compat"), kept("mediaInput"), kept("metadataSource"),
];

const PROVIDER: &[Key] = &[
    key("baseUrl", Text, Restart, "The endpoint's URL in front of /chat/completions, such as http://127.0.0.1:11434/v1."),
    key("apiKey", Secret, Restart, "Its key; more of them go into auth.profiles."),
    key("api", Text, Restart, "How it is spoken to; clawgate speaks openai-completions."),
    key("maxTokens", Integer(1, 1_000_000_000), Restart, "Tokens that one answer may have."),
    key("timeoutSeconds", Integer(1, MAX_SECONDS), Restart, "Time for one request, in seconds."),
    key("firstTokenSeconds", Integer(1, MAX_SECONDS), Restart, "Time to the first piece of an answer, in seconds (default 120)."),
    key("idleSeconds", Integer(1, MAX_SECONDS), Restart, "Time between two pieces of an answer, in seconds (default 60)."),
    key("models", ListOf(&Object(MODEL)), Restart, "Its models."),
    key("traceparent", Bool, Restart, "Whether it is told to which trace of a caller a request belongs, by the header traceparent (default false)."),
    kept("auth"), kept("region"), kept("injectNumCtxForOpenAICompat"), kept("params"),
    kept("agentRuntime"), kept("localService"), kept("headers"), kept("authHeader"),
    kept("request"),
];

pub(super) const MODELS: &[Key] = &[
    key("providers", MapOf(&Object(PROVIDER)), Restart, "Endpoints by name."),
    kept("mode"),
    kept("catalogRefresh"),
];

const PROFILE: &[Key] = &[
    key("provider", Text, Restart, "The provider, one of models.providers."),
    key("mode", Text, Restart, "What it is: api_key or token."),
    key("key", Secret, Restart, "The key or token."),
    kept("email"),
    kept("displayName"),
];

const COOLDOWNS: &[Key] = &[
    key("rateLimitBackoffMs", Integer(1, MAX_MS), Restart, "First pause after a rate limit, in milliseconds; doubled each time (default 30000)."),
    key("rateLimitMaxMs", Integer(1, MAX_MS), Restart, "Longest such pause (default 3600000)."),
    key("authPermanentBackoffMs", Integer(1, MAX_MS), Restart, "First pause after a refused key, in milliseconds; doubled each time (default 600000)."),
    key("authPermanentMaxMs", Integer(1, MAX_MS), Restart, "Longest such pause (default 3600000)."),
    key("failureWindowMs", Integer(1, MAX_MS), Restart, "Time without a failure after which the count starts over (default 86400000)."),
];

pub(super) const AUTH_PROFILES: &[Key] = &[
    key("profiles", MapOf(&Object(PROFILE)), Restart, "Named credentials of providers."),
    key("order", MapOf(&TEXTS), Restart, "Which profiles a provider's requests use, and in which order."),
    key("cooldowns", Object(COOLDOWNS), Restart, "How long a profile is left alone after a failure."),
];

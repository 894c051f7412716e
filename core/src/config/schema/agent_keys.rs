//! The keys of agents, their models and their credentials. The names are OpenClaw's where it has
//! them; `backend`, `command`, `rules` and `systemPrompt`, the key of a profile and the cool-downs are
//! clawgate's own.

use super::keys::{MAX_MS, TEXTS, kept, key};
use super::Key;
use super::Kind::{Any, Bool, Integer, ListOf, MapOf, Object, OneOf, Secret, Text};
use super::Reload::Hot;

/// The values of `agents.defaults.backend`.
pub const AGENT_BACKENDS: &[&str] = &["builtin", "openai", "command"];

/// 30 days in seconds.
const MAX_SECONDS: u64 = MAX_MS / 1000;

/// What both the defaults and an agent may say.
macro_rules! settings {
    ($($more:expr),* $(,)?) => {
        &[
            key("backend", OneOf(AGENT_BACKENDS), Hot, "Who answers: rules (builtin, the default), a chat-completions endpoint (openai), or a program (command)."),
            key("model", Any, Hot, "The model as provider/model, or {primary, fallbacks}."),
            key("command", TEXTS, Hot, "The program and its arguments, for the backend command."),
            key("cwd", Text, Hot, "The folder in which the program runs."),
            key("rules", Any, Hot, "Rules of the built-in agent."),
            key("systemPrompt", Text, Hot, "What a model is told before everything else."),
            key("timeoutSeconds", Integer(1, MAX_SECONDS), Hot, "Time for one run, in seconds (default 600)."),
            key("maxToolRounds", Integer(1, 100), Hot, "How often a model may ask for tools in one run (default 16)."),
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
    key("id", Text, Hot, "The agent's id, in a list."),
    key("name", Text, Hot, "Its name for people."),
    key("default", Bool, Hot, "Whether it is meant where none is named; otherwise the first is."),
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
    key("list", ListOf(&Object(AGENT)), Hot, "The agents, each with an id."),
    key("entries", MapOf(&Object(AGENT)), Hot, "The agents by id."),
    key("defaults", Object(DEFAULTS), Hot, "Settings of every agent."),
    kept("ownership"),
];

const MODEL: &[Key] = &[
    key("id", Text, Hot, "The model's id at its provider."),
    key("name", Text, Hot, "Its name for people."),
    key("contextWindow", Integer(1, 1_000_000_000), Hot, "Tokens that it can look at."),
    key("maxTokens", Integer(1, 1_000_000_000), Hot, "Tokens that one answer may have."),
    key("input", TEXTS, Hot, "What it takes: text, image."),
    kept("api"), kept("baseUrl"), kept("reasoning"), kept("cost"), kept("contextTokens"),
    kept("thinkingLevelMap"), kept("params"), kept("agentRuntime"), kept("headers"),
    kept("compat"), kept("mediaInput"), kept("metadataSource"),
];

const PROVIDER: &[Key] = &[
    key("baseUrl", Text, Hot, "The endpoint's URL in front of /chat/completions, such as http://127.0.0.1:11434/v1."),
    key("apiKey", Secret, Hot, "Its key; more of them go into auth.profiles."),
    key("api", Text, Hot, "How it is spoken to; clawgate speaks openai-completions."),
    key("maxTokens", Integer(1, 1_000_000_000), Hot, "Tokens that one answer may have."),
    key("timeoutSeconds", Integer(1, MAX_SECONDS), Hot, "Time for one request, in seconds."),
    key("firstTokenSeconds", Integer(1, MAX_SECONDS), Hot, "Time to the first piece of an answer, in seconds (default 120)."),
    key("idleSeconds", Integer(1, MAX_SECONDS), Hot, "Time between two pieces of an answer, in seconds (default 60)."),
    key("models", ListOf(&Object(MODEL)), Hot, "Its models."),
    key("traceparent", Bool, Hot, "Whether it is told to which trace of a caller a request belongs, by the header traceparent (default false)."),
    kept("auth"), kept("region"), kept("injectNumCtxForOpenAICompat"), kept("params"),
    kept("agentRuntime"), kept("localService"), kept("headers"), kept("authHeader"),
    kept("request"),
];

pub(super) const MODELS: &[Key] = &[
    key("providers", MapOf(&Object(PROVIDER)), Hot, "Endpoints by name."),
    kept("mode"),
    kept("catalogRefresh"),
];

const PROFILE: &[Key] = &[
    key("provider", Text, Hot, "The provider, one of models.providers."),
    key("mode", Text, Hot, "What it is: api_key or token."),
    key("key", Secret, Hot, "The key or token."),
    kept("email"),
    kept("displayName"),
];

const COOLDOWNS: &[Key] = &[
    key("rateLimitBackoffMs", Integer(1, MAX_MS), Hot, "First pause after a rate limit, in milliseconds; doubled each time (default 30000)."),
    key("rateLimitMaxMs", Integer(1, MAX_MS), Hot, "Longest such pause (default 3600000)."),
    key("authPermanentBackoffMs", Integer(1, MAX_MS), Hot, "First pause after a refused key, in milliseconds; doubled each time (default 600000)."),
    key("authPermanentMaxMs", Integer(1, MAX_MS), Hot, "Longest such pause (default 3600000)."),
    key("failureWindowMs", Integer(1, MAX_MS), Hot, "Time without a failure after which the count starts over (default 86400000)."),
];

pub(super) const AUTH_PROFILES: &[Key] = &[
    key("profiles", MapOf(&Object(PROFILE)), Hot, "Named credentials of providers."),
    key("order", MapOf(&TEXTS), Hot, "Which profiles a provider's requests use, and in which order."),
    key("cooldowns", Object(COOLDOWNS), Hot, "How long a profile is left alone after a failure."),
];

//! Which agent answers: from the config and its secrets to a machine that hands each run to the right
//! backend.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Instant,
};

use super::{
    Agent, AgentInput, AgentOutput, ModelInfo, PerAgent, ProfileStatus, RunRequest,
    builtin::{BuiltinAgent, Rule},
    command::{CommandAgent, ProgramUse},
    openai::{
        CHAT_API, DEFAULT_TOOL_ROUNDS, ModelUse, OpenAiAgent, OpenAiSetup, ProfileSetup, Provider,
        Times, Traces, check_base_url,
    },
};
use crate::{
    channel::TELEGRAM_TOKEN_ENV,
    config::{
        AgentBackend, AgentsConfig, Config, EnvVars, ProfileConfig, ProviderConfig, RefSource,
        SecretInput,
    },
    credentials::{RefAccess, RefReader, env_name},
    ids::RunId,
    policy::{SecretKind, UrlPolicy, endpoint::BREAK_GLASS_ENV},
    rng::{Rng, Seed},
    secret::Secret,
    secrets::WantedRef,
    time::Now,
};

/// All agents of a gateway: each run goes to the backend of its agent.
///
/// ```
/// use clawgate_core::agent::{Agent, Agents};
/// use clawgate_core::config::{ConfigFile, EnvVars};
/// use clawgate_core::credentials::RefAccess;
/// use clawgate_core::secrets::RefValues;
///
/// let text = "{
///     agents: { defaults: { backend: 'openai', model: 'local/llama' } },
///     models: { providers: { local: { baseUrl: 'http://127.0.0.1:11434/v1', apiKey: '${KEY}' } } },
/// }";
/// let file = ConfigFile::parse("openclaw.json", text).unwrap();
/// let env: EnvVars = [("KEY", "s3cret")].into_iter().collect();
/// let values = RefValues::new();
/// let built = Agents::build(&file.config, &env, RefAccess::Available(&values), [7; 32]);
/// assert!(built.wanted.is_empty(), "variables need no reading");
/// assert_eq!(built.agents.models()[0].id, "llama");
/// ```
#[derive(Debug)]
pub struct Agents {
    /// What is configured now.
    current: Backends,
    /// What was configured before, as long as runs of it go on.
    earlier: Vec<Backends>,
    /// Which of them have a run, by its number.
    runs: BTreeMap<RunId, u64>,
}

/// The agents of a config, and what has to be read for them.
#[derive(Debug)]
pub struct BuiltAgents {
    /// The agents.
    pub agents: Agents,
    /// References that the host should read and hand in before it asks again.
    pub wanted: Vec<WantedRef>,
}

/// One state of the config.
#[derive(Debug)]
struct Backends {
    number: u64,
    chosen: PerAgent<AgentBackend>,
    builtin: BuiltinAgent,
    openai: OpenAiAgent,
    command: CommandAgent,
}

impl Agents {
    /// Makes the agents of a config. Never fails: an agent that cannot do its work says so in each of
    /// its runs, and a profile whose secret is not there is never used. The seed spreads retries.
    pub fn build(config: &Config, env: &EnvVars, refs: RefAccess<'_>, seed: Seed) -> BuiltAgents {
        let mut reader = RefReader {
            access: refs,
            secrets: &config.secrets,
            env,
            wanted: BTreeSet::new(),
        };
        let agents = &config.agents;
        let profiles = profiles(agents, &mut reader);
        let policy = UrlPolicy::from_env(env.get(BREAK_GLASS_ENV));
        let mut rng = Rng::new(seed);
        let setup = OpenAiSetup {
            providers: agents
                .providers
                .iter()
                .map(|(name, provider)| (name.clone(), self::provider(provider, policy)))
                .collect(),
            profiles,
            cooldowns: agents.cooldowns,
            agents: per_agent(agents, |id| model_use(agents, id)),
        };
        let withheld = credential_variables(config);
        let current = Backends {
            number: 0,
            chosen: per_agent(agents, |id| agents.settings(id).backend.unwrap_or_default()),
            builtin: BuiltinAgent::new(per_agent(agents, |id| rules(agents, id))),
            openai: OpenAiAgent::new(setup, rng.seed()),
            command: CommandAgent::new(per_agent(agents, |id| program(agents, id, &withheld))),
        };
        BuiltAgents {
            agents: Self {
                current,
                earlier: Vec::new(),
                runs: BTreeMap::new(),
            },
            wanted: reader.wanted.into_iter().collect(),
        }
    }

    /// Takes up another config, as after a change of secrets. Runs that go on keep what they began
    /// with.
    pub fn replace(&mut self, newer: Self) {
        let mut newer = newer.current;
        newer.number = self.current.number + 1;
        let old = std::mem::replace(&mut self.current, newer);
        self.earlier.push(old);
        self.let_go();
    }

    fn let_go(&mut self) {
        let runs = &self.runs;
        self.earlier
            .retain(|old| runs.values().any(|number| *number == old.number));
    }

    fn of_run(&mut self, run: &RunId) -> Option<&mut Backends> {
        let number = *self.runs.get(run)?;
        self.all_mut().find(|backends| backends.number == number)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Backends> {
        self.earlier.iter_mut().chain([&mut self.current])
    }
}

impl Agent for Agents {
    fn start(&mut self, now: Now, run: RunId, request: RunRequest) {
        self.runs.insert(run.clone(), self.current.number);
        let backend = *self.current.chosen.of(&request.agent_id);
        self.current.backend(backend).start(now, run, request);
    }

    fn handle(&mut self, now: Now, run: &RunId, input: AgentInput) {
        // Runs have one backend each; the others do not know them and say nothing.
        if let Some(backends) = self.of_run(run) {
            for agent in backends.each_mut() {
                agent.handle(now, run, input.clone());
            }
        }
        if matches!(input, AgentInput::Cancel) {
            // What stops its jobs is still to be told, and needs no entry.
            self.runs.remove(run);
        }
    }

    fn take_up(&mut self, newer: Agents) {
        self.replace(newer);
    }

    fn steer(&mut self, now: Now, run: &RunId, text: &str) -> bool {
        // Backends that do not know the run take nothing.
        self.of_run(run).is_some_and(|backends| {
            let mut agents = backends.each_mut().into_iter();
            agents.any(|agent| agent.steer(now, run, text))
        })
    }

    fn handle_timeout(&mut self, now: Now) {
        for backends in self.all_mut() {
            for agent in backends.each_mut() {
                agent.handle_timeout(now);
            }
        }
    }

    fn poll_output(&mut self) -> Option<(RunId, AgentOutput)> {
        let found = self
            .all_mut()
            .find_map(|backends| backends.each_mut().into_iter().find_map(Agent::poll_output));
        match &found {
            Some((run, AgentOutput::Done(_) | AgentOutput::Failed(_))) => {
                self.runs.remove(run);
            }
            Some(_) => {}
            None => self.let_go(),
        }
        found
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.earlier
            .iter()
            .chain([&self.current])
            .flat_map(|backends| backends.each())
            .filter_map(Agent::poll_timeout)
            .min()
    }

    /// Those of the backends that agents use, the one of an agent that is not listed first.
    fn models(&self) -> Vec<ModelInfo> {
        let mut used = vec![self.current.chosen.others];
        for backend in self.current.chosen.iter() {
            if !used.contains(backend) {
                used.push(*backend);
            }
        }
        used.iter()
            .flat_map(|backend| self.current.of(*backend).models())
            .collect()
    }

    fn profiles(&self, now: Now) -> Vec<ProfileStatus> {
        self.current.openai.profiles(now)
    }
}

impl Backends {
    fn backend(&mut self, backend: AgentBackend) -> &mut dyn Agent {
        match backend {
            AgentBackend::Builtin => &mut self.builtin,
            AgentBackend::OpenAi => &mut self.openai,
            AgentBackend::Command => &mut self.command,
        }
    }

    fn of(&self, backend: AgentBackend) -> &dyn Agent {
        match backend {
            AgentBackend::Builtin => &self.builtin,
            AgentBackend::OpenAi => &self.openai,
            AgentBackend::Command => &self.command,
        }
    }

    fn each(&self) -> [&dyn Agent; 3] {
        [&self.builtin, &self.openai, &self.command]
    }

    fn each_mut(&mut self) -> [&mut dyn Agent; 3] {
        [&mut self.builtin, &mut self.openai, &mut self.command]
    }
}

/// Settings for every listed agent and for the others. No agent has an empty id.
fn per_agent<T>(config: &AgentsConfig, of: impl Fn(&str) -> T) -> PerAgent<T> {
    PerAgent {
        listed: config
            .list
            .iter()
            .map(|agent| (agent.id.clone(), of(&agent.id)))
            .collect(),
        others: of(""),
    }
}

fn rules(config: &AgentsConfig, id: &str) -> Vec<Rule> {
    config.settings(id).rules.unwrap_or_default()
}

fn program(config: &AgentsConfig, id: &str, withheld: &BTreeSet<String>) -> ProgramUse {
    let settings = config.settings(id);
    ProgramUse {
        argv: settings.command.unwrap_or_default(),
        cwd: settings.cwd.map(PathBuf::from),
        withheld: withheld.clone(),
    }
}

fn model_use(config: &AgentsConfig, id: &str) -> ModelUse {
    let settings = config.settings(id);
    let defaults = ModelUse::default();
    let choice = settings.model.unwrap_or_default();
    ModelUse {
        models: choice.primary.into_iter().chain(choice.fallbacks).collect(),
        system_prompt: settings.system_prompt.unwrap_or(defaults.system_prompt),
        max_tool_rounds: settings.max_tool_rounds.unwrap_or(DEFAULT_TOOL_ROUNDS),
    }
}

fn provider(config: &ProviderConfig, policy: UrlPolicy) -> Provider {
    let endpoint = match (&config.api, &config.base_url) {
        (Some(api), _) if api != CHAT_API => {
            Err(format!("its api is {api:?}, and only {CHAT_API} is spoken"))
        }
        (_, None) => Err("it has no baseUrl".to_owned()),
        (_, Some(base)) => check_base_url(base, policy),
    };
    let times = Times::default();
    Provider {
        endpoint,
        models: config.models.clone(),
        max_tokens: config.max_tokens,
        times: Times {
            connect: times.connect,
            first_token: config.first_token.unwrap_or(times.first_token),
            idle: config.idle.unwrap_or(times.idle),
            whole: config.timeout,
        },
        traces: if config.traceparent {
            Traces::Told
        } else {
            Traces::Kept
        },
    }
}

/// The profiles of every provider in the order in which they are used: as `auth.order` says, which
/// then names all of them, or else those of `auth.profiles` by name and the provider's own `apiKey`
/// last, as `PROVIDER:default`.
fn profiles(config: &AgentsConfig, reader: &mut RefReader<'_>) -> Vec<ProfileSetup> {
    let mut setups = Vec::new();
    for (provider, about) in &config.providers {
        let own = format!("{provider}:default");
        let mut inputs: BTreeMap<&str, Profile<'_>> = config
            .profiles
            .iter()
            .filter(|(_, profile)| profile.provider.as_ref() == Some(provider))
            .map(|(name, profile)| (name.as_str(), Profile::Named(profile)))
            .collect();
        let mut names: Vec<&str> = inputs.keys().copied().collect();
        if about.api_key != SecretInput::Absent && !inputs.contains_key(own.as_str()) {
            inputs.insert(&own, Profile::Own(&about.api_key));
            names.push(&own);
        }
        if let Some(order) = config.order.get(provider) {
            names = order.iter().map(String::as_str).collect();
        }
        let mut seen = BTreeSet::new();
        let found = names.into_iter().filter(|name| seen.insert(*name));
        let before = setups.len();
        setups.extend(found.filter_map(|name| {
            Some(ProfileSetup {
                name: name.to_owned(),
                provider: provider.clone(),
                key: inputs.get(name)?.key(reader),
            })
        }));
        // An order that names nobody must not open the way to requests without a key.
        if setups.len() == before && !inputs.is_empty() {
            setups.push(ProfileSetup {
                name: own.clone(),
                provider: provider.clone(),
                key: Err(format!("auth.order.{provider} names none of its profiles")),
            });
        }
    }
    setups
}

enum Profile<'a> {
    Named(&'a ProfileConfig),
    Own(&'a SecretInput),
}

impl Profile<'_> {
    /// The key, or why there is none, for people.
    fn key(&self, reader: &mut RefReader<'_>) -> Result<Secret, String> {
        let input = match self {
            Self::Own(input) => input,
            Self::Named(profile) => match profile.mode.as_deref() {
                None | Some("api_key" | "token") => &profile.key,
                Some(mode) => return Err(format!("its mode {mode:?} is not implemented")),
            },
        };
        let secret = match input {
            SecretInput::Plain(secret) => secret.clone(),
            SecretInput::Ref(reference) => reader
                .read(reference)
                .map_err(|fault| format!("{reference} could not be read: {fault}"))?,
            SecretInput::Absent => return Err("it has no key".into()),
            SecretInput::Blank => return Err("its key is blank".into()),
            SecretInput::Embedded(_) => {
                return Err("its key has text around ${NAME}".into());
            }
        };
        // It has to fit into a header, and must not bring another one along.
        if secret
            .expose()
            .bytes()
            .all(|byte| matches!(byte, b'!'..=b'~'))
        {
            Ok(secret)
        } else {
            Err("its key has characters that a header cannot carry".into())
        }
    }
}

/// Variables of the gateway's environment that hold its credentials, or those of its providers and
/// bots.
fn credential_variables(config: &Config) -> BTreeSet<String> {
    let auth = &config.gateway.auth;
    let remote = &config.gateway.remote;
    let mut inputs = vec![&auth.token, &auth.password, &remote.token, &remote.password];
    inputs.extend(remote.edge_auth.iter().flat_map(BTreeMap::values));
    inputs.extend(config.agents.providers.values().map(|it| &it.api_key));
    inputs.extend(config.agents.profiles.values().map(|it| &it.key));
    let bots = config.channels.telegram.accounts.values();
    inputs.extend(bots.map(|it| &it.bot_token));
    let bridges = config.channels.webhook.accounts.values();
    inputs.extend(bridges.map(|it| &it.secret));
    let named = inputs
        .into_iter()
        .filter_map(SecretInput::reference)
        .filter(|reference| reference.source == RefSource::Env)
        .map(|reference| reference.id.clone());
    [SecretKind::Token, SecretKind::Password]
        .map(|kind| env_name(kind).to_owned())
        .into_iter()
        .chain([TELEGRAM_TOKEN_ENV.to_owned()])
        .chain(named)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::agent::testing::{Rig, request};
    use crate::agent::{JobNo, ProfileState};
    use crate::job::{HeaderText, JobSpec};
    use crate::secrets::RefValues;

    fn build(config: &Value, env: &[(&'static str, &'static str)]) -> BuiltAgents {
        let config = Config::from_value(config);
        let env = env.iter().copied().collect();
        let values = RefValues::new();
        Agents::build(&config, &env, RefAccess::Available(&values), [1; 32])
    }

    fn of(agent_id: &str) -> RunRequest {
        RunRequest {
            agent_id: agent_id.into(),
            ..request("hello")
        }
    }

    fn config() -> Value {
        json!({
            "agents": {
                "defaults": { "model": "local/m", "rules": [{ "match": "hello", "reply": "Hi." }] },
                "list": [
                    { "id": "smart", "backend": "openai" },
                    { "id": "own", "backend": "command", "command": ["agent"], "cwd": "/srv" },
                ],
            },
            "models": { "providers": { "local": { "baseUrl": "http://127.0.0.1:1/v1", "apiKey": "${A}" } } },
            "auth": { "profiles": {
                "local:b": { "provider": "local", "key": "k2" },
                "local:c": { "provider": "local", "key": { "source": "file", "provider": "f", "id": "/c" } },
                "local:d": { "provider": "local", "mode": "oauth" },
                "local:e": { "provider": "local", "key": "a b" },
            } },
            "secrets": { "providers": { "f": { "source": "file", "path": "/run/keys.json" } } },
            "gateway": { "auth": { "token": "${GW}" } },
        })
    }

    #[test]
    fn each_run_goes_to_the_backend_of_its_agent() {
        let mut rig = Rig::new(build(&config(), &[("A", "k1")]).agents);
        let outputs = rig.start(of("main"));
        assert!(matches!(&outputs[1], AgentOutput::Done(done) if done.text == "Hi."));
        let outputs = rig.start(of("own"));
        let AgentOutput::StartJob(_, JobSpec::Program(job)) = &outputs[0] else {
            panic!("{outputs:?}");
        };
        assert_eq!(job.cwd.as_deref(), Some(std::path::Path::new("/srv")));
        let withheld: Vec<&str> = job.withheld.iter().map(String::as_str).collect();
        assert_eq!(
            withheld,
            [
                "A",
                "GW",
                "OPENCLAW_GATEWAY_PASSWORD",
                "OPENCLAW_GATEWAY_TOKEN",
                "TELEGRAM_BOT_TOKEN"
            ]
        );
        rig.run = RunId::new("smart");
        let outputs = rig.start(of("smart"));
        assert!(matches!(
            &outputs[0],
            AgentOutput::StartJob(_, JobSpec::Http(_))
        ));
        let models: Vec<String> = rig
            .agent
            .models()
            .into_iter()
            .map(|model| model.id)
            .collect();
        assert_eq!(models, ["builtin", "agent", "m"]);
    }

    #[test]
    fn profiles_keep_their_order_and_those_without_a_secret_are_never_used() {
        let built = build(&config(), &[("A", "k1")]);
        let wanted: Vec<&str> = built
            .wanted
            .iter()
            .map(|wanted| wanted.id.as_str())
            .collect();
        assert_eq!(wanted, ["/c"]);
        let mut rig = Rig::new(built.agents);
        let states: Vec<(String, bool)> = rig
            .agent
            .profiles(rig.now)
            .into_iter()
            .map(|profile| (profile.name, profile.state == ProfileState::Ready))
            .collect();
        let expected = [
            ("local:b", true),
            ("local:c", false),
            ("local:d", false),
            ("local:e", false),
            ("local:default", true),
        ];
        assert_eq!(
            states,
            expected.map(|(name, ready)| (name.to_owned(), ready))
        );
        assert_eq!(key(&rig.start(of("smart"))).as_deref(), Some("k2"));

        let mut ordered = config();
        ordered["auth"]["order"] = json!({ "local": ["local:default", "local:b"] });
        let mut rig = Rig::new(build(&ordered, &[("A", "k1")]).agents);
        assert_eq!(key(&rig.start(of("smart"))).as_deref(), Some("k1"));

        ordered["auth"]["order"] = json!({ "local": ["nobody"] });
        let mut rig = Rig::new(build(&ordered, &[("A", "k1")]).agents);
        let outputs = rig.start(of("smart"));
        assert!(
            matches!(&outputs[0], AgentOutput::Failed(failed) if failed.message.contains("auth.order"))
        );
    }

    fn key(outputs: &[AgentOutput]) -> Option<String> {
        let [AgentOutput::StartJob(JobNo(0), JobSpec::Http(job))] = outputs else {
            panic!("{outputs:?}");
        };
        job.headers.iter().find_map(|(_, value)| match value {
            HeaderText::Secret(secret) => {
                Some(secret.expose().trim_start_matches("Bearer ").to_owned())
            }
            HeaderText::Plain(_) => None,
        })
    }

    #[test]
    fn another_config_counts_for_new_runs_and_the_old_one_is_let_go() {
        let mut rig = Rig::new(build(&config(), &[("A", "k1")]).agents);
        rig.start(of("smart"));
        let mut newer = config();
        newer["agents"]["list"] = json!([]);
        rig.agent.replace(build(&newer, &[]).agents);
        assert_eq!(rig.agent.earlier.len(), 1);
        assert!(matches!(
            rig.give(AgentInput::Cancel).as_slice(),
            [AgentOutput::StopJob(_)]
        ));
        assert!(rig.agent.earlier.is_empty());
        let outputs = rig.start(of("smart"));
        assert!(matches!(&outputs[1], AgentOutput::Done(done) if done.text == "Hi."));
        assert!(rig.agent.runs.is_empty());
    }

    #[test]
    fn nothing_configured_is_the_built_in_agent() {
        let mut rig = Rig::new(build(&json!({}), &[]).agents);
        let outputs = rig.start(of("main"));
        assert!(matches!(&outputs[1], AgentOutput::Done(done) if done.text.contains("/help")));
        assert!(rig.agent.profiles(rig.now).is_empty());
    }
}

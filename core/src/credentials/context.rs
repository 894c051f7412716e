//! Contexts: which of several named gateways a command is about, and what may be sent to it.
//!
//! A context is configuration of its own target alone. With one in force, `OPENCLAW_GATEWAY_TOKEN`,
//! `OPENCLAW_GATEWAY_PASSWORD`, `OPENCLAW_GATEWAY_URL` and `OPENCLAW_GATEWAY_PORT` do not count, nor does
//! anything below `gateway` in the config, nor another context. Flags still win: they were given for this
//! very command. References in a context are read by `secrets.providers` of the config, which hold no
//! credential.

use super::error::CredentialError;
use super::request::{Presented, Request, Surface};
use super::resolve::resolve;
use crate::config::{
    Config, ContextBook, ContextName, EnvVars, GatewayConfig, InvalidContextName, ModeSetting,
    NO_CONTEXT, RemoteConfig,
};
use crate::policy::{InvalidSshTarget, SshTarget};

/// The variable that names a context.
pub const CONTEXT_ENV: &str = "CLAWGATE_CONTEXT";

/// Variables that name or open the gateway of the config, and no context.
const OF_THE_CONFIG: [&str; 4] = [
    "OPENCLAW_GATEWAY_TOKEN",
    "OPENCLAW_GATEWAY_PASSWORD",
    "OPENCLAW_GATEWAY_URL",
    "OPENCLAW_GATEWAY_PORT",
];

/// What put a context in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextChoice {
    /// `--context`.
    Flag,
    /// `CLAWGATE_CONTEXT`.
    Env,
    /// `clawgate context use`.
    Current,
}

impl ContextChoice {
    /// The name in messages and in `auth explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "--context",
            Self::Env => CONTEXT_ENV,
            Self::Current => "context use",
        }
    }
}

/// The context that is in force.
#[derive(Clone, Copy, Debug)]
pub struct ContextTarget<'a> {
    /// Its name.
    pub name: &'a ContextName,
    /// What put it in force.
    pub choice: ContextChoice,
    /// What it says.
    pub remote: &'a RemoteConfig,
}

/// Whether flags of the command name a target, as `--url`, `--port` and a node's `--host` do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedTarget {
    /// They do.
    ByFlags,
    /// They do not.
    No,
}

/// Why no context can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// `--context` beside flags that name another target.
    #[error("--context names a gateway, and so does another flag (--url, --port or --host)")]
    AndFlags,
    /// Two variables name a target each.
    #[error("CLAWGATE_CONTEXT and OPENCLAW_GATEWAY_URL both name a gateway")]
    AndEnvUrl,
    /// The text cannot be a name.
    #[error("{} is {source}", place.as_str())]
    Name {
        /// Where it stands.
        place: ContextChoice,
        /// What is wrong.
        source: InvalidContextName,
    },
    /// There is none of this name.
    #[error("there is no context {name}, which {} names", place.as_str())]
    Unknown {
        /// The name.
        name: ContextName,
        /// What names it.
        place: ContextChoice,
    },
}

impl ContextError {
    /// A stable name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AndFlags => "context_and_target",
            Self::AndEnvUrl => "context_and_env_url",
            Self::Name { .. } => "invalid_context",
            Self::Unknown { .. } => "unknown_context",
        }
    }

    /// What to do next.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::AndFlags => "Use either --context or the other flag, not both.",
            Self::AndEnvUrl => {
                "Unset one of them, or say which one counts: --context NAME, or --context default \
                 for the other."
            }
            Self::Name { .. } | Self::Unknown { .. } => {
                "Run `clawgate context list` to see which there are."
            }
        }
    }
}

/// Chooses the context: `--context`, then `CLAWGATE_CONTEXT`, then the one in use. Blank counts as not
/// given, and `default` stands for none.
///
/// Flags that name a target exclude `--context` and stand before the other two. Two variables that name
/// a target each are an error, since nobody can tell which one was meant; `OPENCLAW_GATEWAY_URL` stands
/// before the context in use.
///
/// # Errors
/// A [`ContextError`].
///
/// ```
/// use clawgate_core::config::{ContextBook, ContextName, EnvVars};
/// use clawgate_core::credentials::{ContextChoice, NamedTarget, choose_context};
/// use serde_json::json;
///
/// let lab = ContextName::parse("lab").unwrap();
/// let mut book = ContextBook::default();
/// book.put(lab.clone(), json!({ "url": "wss://lab.example.com" }));
/// let env: EnvVars = [("CLAWGATE_CONTEXT", "lab")].into_iter().collect();
/// let chosen = choose_context(None, &env, NamedTarget::No, &book).unwrap();
/// assert_eq!(chosen, Some((lab, ContextChoice::Env)));
/// assert_eq!(choose_context(Some("default"), &env, NamedTarget::No, &book), Ok(None));
/// assert!(choose_context(Some("lab"), &env, NamedTarget::ByFlags, &book).is_err());
/// ```
pub fn choose_context(
    flag: Option<&str>,
    env: &EnvVars,
    target: NamedTarget,
    book: &ContextBook,
) -> Result<Option<(ContextName, ContextChoice)>, ContextError> {
    let flag = flag.map(str::trim).filter(|name| !name.is_empty());
    let has_env_url = env.non_blank("OPENCLAW_GATEWAY_URL").is_some();
    let (name, choice) = match (flag, env.non_blank(CONTEXT_ENV)) {
        (Some(NO_CONTEXT), _) => return Ok(None),
        (Some(_), _) if target == NamedTarget::ByFlags => return Err(ContextError::AndFlags),
        (Some(name), _) => (name, ContextChoice::Flag),
        (None, _) if target == NamedTarget::ByFlags => return Ok(None),
        (None, Some(NO_CONTEXT)) => return Ok(None),
        (None, Some(_)) if has_env_url => return Err(ContextError::AndEnvUrl),
        (None, Some(name)) => (name, ContextChoice::Env),
        (None, None) if has_env_url => return Ok(None),
        (None, None) => match &book.current {
            Some(name) => (name.as_str(), ContextChoice::Current),
            None => return Ok(None),
        },
    };
    let name = ContextName::parse(name).map_err(|source| ContextError::Name {
        place: choice,
        source,
    })?;
    if book.get(&name).is_none() {
        return Err(ContextError::Unknown {
            name,
            place: choice,
        });
    }
    Ok(Some((name, choice)))
}

impl ContextTarget<'_> {
    /// The config that holds for this target alone.
    pub fn config(&self, config: &Config) -> Config {
        Config {
            gateway: GatewayConfig {
                mode: ModeSetting::Remote,
                remote: self.remote.clone(),
                ..GatewayConfig::default()
            },
            secrets: config.secrets.clone(),
            ..Config::default()
        }
    }

    /// The environment without what belongs to the config's gateway.
    pub(super) fn env(env: &EnvVars) -> EnvVars {
        env.names()
            .filter(|name| !OF_THE_CONFIG.contains(name))
            .filter_map(|name| Some((name, env.get(name)?)))
            .collect()
    }
}

/// What is wrong with a remote gateway before it is written down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteFault {
    /// No client would connect.
    #[error(transparent)]
    Refused(#[from] CredentialError),
    /// `ssh` could not be called.
    #[error(transparent)]
    Ssh(#[from] InvalidSshTarget),
}

/// Checks what clients would do with a remote gateway, so that what they would refuse is never written:
/// a URL that the policy refuses, a pin or headers without TLS, an SSH target that is none. No secret is
/// read.
///
/// # Errors
/// A [`RemoteFault`].
pub fn check_remote(remote: &RemoteConfig, env: &EnvVars) -> Result<(), RemoteFault> {
    if let Some(target) = &remote.ssh_target {
        SshTarget::parse(target)?;
    }
    let config = Config {
        gateway: GatewayConfig {
            mode: ModeSetting::Remote,
            remote: remote.clone(),
            ..GatewayConfig::default()
        },
        ..Config::default()
    };
    let env = ContextTarget::env(env);
    let mut request = Request::new(Surface::Call, &env, &config);
    request.flags.presented = Presented::Nothing;
    let target = resolve(&request).outcome?;
    if remote.edge_auth.is_some() && !target.endpoint().is_tls() {
        return Err(CredentialError::EdgeAuthNeedsTls.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{ConfigFile, read_remote};
    use crate::credentials::{Flags, Resolution, Source};
    use crate::policy::SecretKind;
    use crate::secret::Secret;

    const SURFACES: [Surface; 5] = [
        Surface::Call,
        Surface::Probe,
        Surface::Status,
        Surface::NodeHost,
        Surface::ExecApprovals,
    ];

    /// An environment and a config in which every secret says that it is of elsewhere.
    fn elsewhere(mode: &str) -> (EnvVars, Config) {
        let env = [
            ("OPENCLAW_GATEWAY_TOKEN", "elsewhere env token"),
            ("OPENCLAW_GATEWAY_PASSWORD", "elsewhere env password"),
            ("OPENCLAW_GATEWAY_URL", "wss://elsewhere.example.com"),
            ("OPENCLAW_GATEWAY_PORT", "4321"),
            ("LAB", "lab by reference"),
        ];
        let text = json!({ "gateway": {
            "mode": mode,
            "auth": { "token": "elsewhere auth token", "password": "elsewhere auth password" },
            "remote": {
                "url": "wss://elsewhere.example.com",
                "token": "elsewhere remote token", "password": "elsewhere remote password",
                "tlsFingerprint": "ab".repeat(32),
                "edgeAuth": { "X-Edge": "elsewhere edge" },
            },
        } });
        let file = ConfigFile::parse("c", text.to_string()).unwrap();
        (env.into_iter().collect(), file.config)
    }

    fn resolved(surface: Surface, mode: &str, entry: &Value, flags: Flags<'_>) -> Resolution {
        let (env, config) = elsewhere(mode);
        let name = ContextName::parse("lab").unwrap();
        let remote = read_remote(entry, &env).unwrap();
        let own = Secret::new("elsewhere own token");
        let mut request = Request::new(surface, &env, &config);
        request.flags = flags;
        request.local_token = Some(&own);
        request.local_port = Some(18789);
        request.context = Some(ContextTarget {
            name: &name,
            choice: ContextChoice::Flag,
            remote: &remote,
        });
        resolve(&request)
    }

    fn sent(resolution: &Resolution) -> Vec<String> {
        let Ok(target) = &resolution.outcome else {
            return Vec::new();
        };
        let (auth, edge) = (target.auth(), target.edge_headers());
        [auth.token(), auth.password(), auth.device_token()]
            .into_iter()
            .flatten()
            .chain(edge.iter().map(|(_, value)| value))
            .map(|secret| secret.expose().to_owned())
            .collect()
    }

    #[test]
    fn a_context_sends_what_it_holds_and_nothing_else() {
        for mode in ["local", "remote"] {
            for surface in SURFACES {
                for (entry, expected) in [
                    (json!({ "token": "lab token" }), vec!["lab token"]),
                    (json!({ "password": "lab password" }), vec!["lab password"]),
                    (json!({ "token": "${LAB}" }), vec!["lab by reference"]),
                    (json!({}), vec![]),
                    (json!({ "token": "${GONE}" }), vec![]),
                    (json!({ "token": "${OPENCLAW_GATEWAY_TOKEN}" }), vec![]),
                ] {
                    let mut entry = entry;
                    entry["url"] = json!("wss://lab.example.com");
                    let answer = resolved(surface, mode, &entry, Flags::default());
                    assert_eq!(sent(&answer), expected, "{surface:?} {mode} {entry}");
                    let why = &answer.explanation;
                    assert_eq!(why.url.as_deref(), Some("wss://lab.example.com"));
                    assert_eq!(why.url_source, Some("context"));
                    assert_eq!(why.context.as_ref().unwrap().name, "lab");
                    if let Ok(target) = &answer.outcome {
                        assert!(target.tls_pins().is_none(), "the pin is the config's");
                    }
                }
            }
        }
    }

    #[test]
    fn a_call_without_a_credential_fails_and_says_what_was_left_out() {
        let entry = json!({ "url": "wss://lab.example.com" });
        let answer = resolved(Surface::Call, "local", &entry, Flags::default());
        let error = answer.outcome.unwrap_err();
        assert_eq!(error.code(), "credentials_required");
        assert!(error.to_string().contains("context add lab"), "{error}");
        let left_out: Vec<_> = answer
            .explanation
            .skipped
            .iter()
            .filter(|skipped| skipped.why == "a context takes no credentials from elsewhere")
            .map(|skipped| (skipped.kind, skipped.source))
            .collect();
        assert_eq!(
            left_out,
            [
                ("token", "env"),
                ("token", "config.auth"),
                ("token", "config.remote"),
                ("token", "file"),
                ("password", "env"),
                ("password", "config.auth"),
                ("password", "config.remote"),
            ]
        );
        let entry =
            json!({ "url": "wss://lab.example.com", "token": { "source": "file", "id": "/x" } });
        let answer = resolved(Surface::Call, "local", &entry, Flags::default());
        let error = answer.outcome.unwrap_err().to_string();
        assert!(
            error.starts_with("Context lab: contexts.lab.token refers to"),
            "{error}"
        );
    }

    #[test]
    fn explicit_flags_win() {
        let entry = json!({ "url": "wss://lab.example.com", "token": "lab token" });
        let given = Secret::new("given");
        let flags = Flags {
            password: Some(&given),
            ..Flags::default()
        };
        let answer = resolved(Surface::Call, "local", &entry, flags);
        assert_eq!(sent(&answer), ["given"]);
        let answer = resolved(Surface::Call, "local", &entry, Flags::default());
        let target = answer.outcome.unwrap();
        assert_eq!(
            target.auth().source(SecretKind::Token),
            Some(Source::Context)
        );
    }

    #[test]
    fn a_context_never_leads_to_this_machine_by_default() {
        for surface in SURFACES {
            let answer = resolved(
                surface,
                "local",
                &json!({ "token": "lab" }),
                Flags::default(),
            );
            assert_eq!(answer.outcome.unwrap_err().code(), "remote_url_missing");
            let flags = Flags {
                port: Some(1),
                ..Flags::default()
            };
            let entry = json!({ "url": "wss://lab.example.com", "token": "lab" });
            let answer = resolved(surface, "local", &entry, flags);
            let sent = sent(&answer);
            assert!(
                sent.is_empty() || surface == Surface::NodeHost,
                "{surface:?} {sent:?}"
            );
        }
    }

    #[test]
    fn one_of_several_names_is_chosen() {
        let (lab, other) = (
            ContextName::parse("lab").unwrap(),
            ContextName::parse("o").unwrap(),
        );
        let mut book = ContextBook::default();
        book.put(lab, json!({}));
        book.put(other.clone(), json!({}));
        book.current = Some(other);
        let choose = |flag: Option<&str>, variables: &[(&str, &str)], target| {
            let env: EnvVars = variables.iter().copied().collect();
            choose_context(flag, &env, target, &book)
                .map(|chosen| chosen.map(|(name, _)| name.to_string()))
                .map_err(|error| error.code())
        };
        let url = ("OPENCLAW_GATEWAY_URL", "wss://h");
        let by_env = (CONTEXT_ENV, "lab");
        let (no, flags) = (NamedTarget::No, NamedTarget::ByFlags);
        let is = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(choose(None, &[], no), is("o"));
        assert_eq!(choose(Some(" "), &[by_env], no), is("lab"));
        assert_eq!(choose(Some("o"), &[by_env, url], no), is("o"));
        assert_eq!(choose(Some("default"), &[by_env, url], flags), Ok(None));
        assert_eq!(choose(None, &[by_env], flags), Ok(None));
        assert_eq!(choose(None, &[url], no), Ok(None));
        assert_eq!(choose(None, &[(CONTEXT_ENV, "default"), url], no), Ok(None));
        assert_eq!(choose(None, &[by_env, url], no), Err("context_and_env_url"));
        assert_eq!(choose(Some("lab"), &[], flags), Err("context_and_target"));
        assert_eq!(choose(Some("gone"), &[], no), Err("unknown_context"));
        assert_eq!(choose(Some("../x"), &[], no), Err("invalid_context"));
    }

    #[test]
    fn what_clients_refuse_is_not_written_down() {
        let check = |entry: Value| {
            let env = EnvVars::new();
            check_remote(&read_remote(&entry, &env).unwrap(), &env)
        };
        assert_eq!(
            check(
                json!({ "url": "wss://h.example.com", "token": "t", "tlsFingerprint": "ab".repeat(32) })
            ),
            Ok(())
        );
        assert_eq!(
            check(json!({ "url": "ws://10.0.0.1", "sshTarget": "ada@gw:2222" })),
            Ok(())
        );
        for bad in [
            json!({}),
            json!({ "url": "ws://h.example.com" }),
            json!({ "url": "h.example.com" }),
            json!({ "url": "ws://10.0.0.1", "tlsFingerprint": "ab".repeat(32) }),
            json!({ "url": "wss://h.example.com", "tlsFingerprint": "abc" }),
            json!({ "url": "ws://10.0.0.1", "edgeAuth": { "X-Key": "v" } }),
            json!({ "url": "wss://h.example.com", "sshTarget": "-oProxyCommand=x" }),
        ] {
            assert!(check(bad.clone()).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Whatever a context holds and whatever is asked: no secret of elsewhere is ever in the answer.
        #[test]
        fn no_secret_of_elsewhere_leaves(
            surface in prop::sample::select(SURFACES.to_vec()),
            mode in prop::sample::select(vec!["local", "remote", "", "junk"]),
            url in prop::sample::select(vec![
                None, Some("wss://lab.example.com"), Some("ws://127.0.0.1:18789"), Some("wss://127.0.0.1:18789"),
                Some("wss://elsewhere.example.com"), Some("ws://10.0.0.1"),
            ]),
            token in prop::sample::select(vec![
                None, Some(json!("lab token")), Some(json!("${OPENCLAW_GATEWAY_TOKEN}")),
                Some(json!("x ${OPENCLAW_GATEWAY_TOKEN}")), Some(json!("")),
                Some(json!({ "source": "env", "id": "OPENCLAW_GATEWAY_PASSWORD" })),
            ]),
            password in prop::sample::select(vec![None, Some(json!("lab password")), Some(json!(" "))]),
            port in prop::sample::select(vec![None, Some(18789_u16), Some(1)]),
            flag_url in prop::sample::select(vec![None, Some("wss://elsewhere.example.com")]),
            host in prop::sample::select(vec![None, Some("10.0.0.2")]),
        ) {
            let mut entry = json!({});
            for (key, value) in [("url", url.map(Value::from)), ("token", token), ("password", password)] {
                if let Some(value) = value {
                    entry[key] = value;
                }
            }
            let mut flags = Flags { port, url: flag_url, ..Flags::default() };
            flags.node.host = host;
            let answer = resolved(surface, mode, &entry, flags);
            for secret in sent(&answer) {
                prop_assert!(secret.starts_with("lab ") || secret == "x ${OPENCLAW_GATEWAY_TOKEN}", "{}", secret);
            }
            if let Ok(target) = &answer.outcome
                && !target.auth().is_empty()
            {
                prop_assert_eq!(Some(target.endpoint().url()), url.map(|url| {
                    let env = EnvVars::new();
                    crate::policy::Endpoint::parse(url, crate::policy::UrlPolicy::from_env(env.get("X"))).unwrap().url()
                }));
            }
            let shown = serde_json::to_string(&answer.explanation).unwrap();
            prop_assert!(!shown.contains("elsewhere env") && !shown.contains("elsewhere auth") && !shown.contains("lab token"), "{}", shown);
        }
    }
}

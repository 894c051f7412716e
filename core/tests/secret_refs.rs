//! References that the host reads, in every mixture: nothing stands in for a broken one that must not,
//! nothing is read that cannot be used, and no value shows.

use std::collections::BTreeSet;

use clawgate_core::config::{AuthMode, Config, EnvVars};
use clawgate_core::credentials::{
    RefAccess, Request, Resolution, SecretPath, Source, Surface, resolve,
};
use clawgate_core::policy::SecretKind;
use clawgate_core::policy::server_auth::{AuthOverride, ServerSecretSource};
use clawgate_core::policy::startup_auth::{StartupAuth, StartupAuthError, resolve_startup_auth};
use clawgate_core::secret::Secret;
use clawgate_core::secrets::{RefFault, RefValues, WantedRef};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What stands at one place of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Absent,
    Plain,
    /// A reference with a value.
    Good(&'static str),
    /// A reference without one.
    Broken(&'static str),
}

impl Slot {
    fn config(self, path: SecretPath) -> Option<Value> {
        let (source, id) = match self {
            Self::Absent => return None,
            Self::Plain => return Some(json!(value_of(path))),
            Self::Good(source) => (source, format!("good.{}", name(path))),
            Self::Broken(source) => (source, format!("broken.{}", name(path))),
        };
        Some(match source {
            "env" => json!(format!("${{{}}}", id.to_uppercase().replace('.', "_"))),
            "file" => json!({ "source": "file", "provider": "main", "id": format!("/{id}") }),
            source => json!({ "source": source, "provider": "vault", "id": id }),
        })
    }

    const fn is_broken(self) -> bool {
        matches!(self, Self::Broken(_))
    }
}

fn name(path: SecretPath) -> String {
    path.as_str().trim_start_matches("gateway.").to_owned()
}

fn value_of(path: SecretPath) -> String {
    format!("hunter2-{}", name(path))
}

fn slot() -> impl Strategy<Value = Slot> {
    let source = || prop::sample::select(vec!["env", "file", "exec"]);
    prop_oneof![
        Just(Slot::Absent),
        Just(Slot::Plain),
        source().prop_map(Slot::Good),
        prop_oneof![source(), Just("store"), Just("keychain")].prop_map(Slot::Broken),
    ]
}

#[derive(Clone, Debug)]
struct World {
    surface: Surface,
    remote: bool,
    auth_mode: Option<AuthMode>,
    slots: [Slot; 4],
    env: [bool; 2],
    flag: bool,
}

fn world() -> impl Strategy<Value = World> {
    let surface = prop::sample::select(vec![
        Surface::Call,
        Surface::Probe,
        Surface::Status,
        Surface::NodeHost,
        Surface::ExecApprovals,
    ]);
    let mode = prop::option::of(prop::sample::select(vec![
        AuthMode::None,
        AuthMode::Token,
        AuthMode::Password,
        AuthMode::TrustedProxy,
    ]));
    let slots = [slot(), slot(), slot(), slot()];
    let rest = (any::<bool>(), any::<[bool; 2]>(), prop::bool::weighted(0.1));
    (surface, mode, slots, rest).prop_map(|(surface, auth_mode, slots, (remote, env, flag))| {
        World {
            surface,
            remote,
            auth_mode,
            slots,
            env,
            flag,
        }
    })
}

const KINDS: [(SecretKind, &str); 2] = [
    (SecretKind::Token, "OPENCLAW_GATEWAY_TOKEN"),
    (SecretKind::Password, "OPENCLAW_GATEWAY_PASSWORD"),
];

impl World {
    fn slot(&self, path: SecretPath) -> Slot {
        SecretPath::ALL
            .into_iter()
            .zip(self.slots)
            .find_map(|(at, slot)| (at == path).then_some(slot))
            .unwrap_or(Slot::Absent)
    }

    fn auth(&self, kind: SecretKind) -> Slot {
        self.slot(match kind {
            SecretKind::Token => SecretPath::AuthToken,
            SecretKind::Password => SecretPath::AuthPassword,
        })
    }

    fn has_env(&self, kind: SecretKind) -> bool {
        KINDS
            .iter()
            .zip(self.env)
            .any(|((at, _), set)| *at == kind && set)
    }

    fn config(&self) -> Config {
        let at = |path| self.slot(path).config(path);
        Config::from_value(&json!({
            "gateway": {
                "mode": if self.remote { "remote" } else { "local" },
                "auth": {
                    "mode": self.auth_mode.map(AuthMode::as_str),
                    "token": at(SecretPath::AuthToken),
                    "password": at(SecretPath::AuthPassword),
                },
                "remote": {
                    "url": "wss://gw.example.com",
                    "token": at(SecretPath::RemoteToken),
                    "password": at(SecretPath::RemotePassword),
                },
            },
            "secrets": { "providers": {
                "main": { "source": "file", "path": "/main" },
                "vault": { "source": "exec", "command": "/vault" },
            }},
        }))
    }

    fn environment(&self) -> EnvVars {
        let direct = KINDS
            .iter()
            .zip(self.env)
            .filter(|(_, set)| *set)
            .map(|((kind, name), _)| {
                ((*name).to_owned(), format!("hunter2-env-{}", kind.as_str()))
            });
        let good = SecretPath::ALL.map(|path| {
            let variable = format!("good.{}", name(path))
                .to_uppercase()
                .replace('.', "_");
            (variable, value_of(path))
        });
        direct.chain(good).collect()
    }

    /// Answers what is wanted, as the host would.
    fn read(wanted: &[WantedRef], values: &mut RefValues, asked: &mut BTreeSet<WantedRef>) {
        for wanted in wanted {
            assert!(asked.insert(wanted.clone()), "{wanted:?} is wanted twice");
            let id = wanted.id.trim_start_matches('/');
            match id.strip_prefix("good.") {
                Some(path) => values.insert(wanted.clone(), Ok(&format!("hunter2-{path}\n"))),
                None => values.insert(wanted.clone(), Err(RefFault::Blank)),
            }
        }
    }

    fn resolve(&self) -> (Resolution, BTreeSet<WantedRef>) {
        let (config, env) = (self.config(), self.environment());
        let flag = Secret::new("hunter2-flag");
        let mut values = RefValues::new();
        let mut asked = BTreeSet::new();
        loop {
            let mut request = Request::new(self.surface, &env, &config);
            request.flags.token = self.flag.then_some(&flag);
            request.refs = RefAccess::Available(&values);
            let resolution = resolve(&request);
            if resolution.wanted.is_empty() {
                return (resolution, asked);
            }
            Self::read(&resolution.wanted, &mut values, &mut asked);
        }
    }

    fn start(&self) -> Result<StartupAuth, StartupAuthError> {
        let (config, env) = (self.config(), self.environment());
        let over = AuthOverride::default();
        let mut values = RefValues::new();
        let mut asked = BTreeSet::new();
        loop {
            let refs = RefAccess::Available(&values);
            let answer = resolve_startup_auth(&config, &env, &over, refs, [7; 24]);
            let wanted = match &answer {
                Ok(started) => started.wanted.clone(),
                Err(StartupAuthError::RefUnresolved { wanted, .. }) => wanted.clone(),
                Err(_) => Vec::new(),
            };
            if wanted.is_empty() {
                return answer;
            }
            Self::read(&wanted, &mut values, &mut asked);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_sends_the_value_of_its_source_and_never_one_behind_a_broken_reference(
        world in world(),
    ) {
        let (resolution, asked) = world.resolve();
        let shown = format!("{resolution:?} {:?}", resolution.explanation);
        prop_assert!(!shown.contains("hunter2"), "{}", shown);
        if let Err(error) = &resolution.outcome {
            prop_assert!(!error.to_string().contains("hunter2"));
        }
        if world.flag {
            prop_assert!(asked.is_empty());
            return Ok(());
        }
        let local = !world.remote;
        for (kind, _) in KINDS {
            let auth = world.auth(kind);
            // The environment stands before a local reference, which is then not read.
            if local && world.has_env(kind) {
                let wanted = format!("auth.{}", kind.as_str());
                prop_assert!(!asked.iter().any(|asked| asked.id.ends_with(&wanted)));
            }
            let Ok(target) = &resolution.outcome else { continue };
            let source = target.auth().source(kind);
            let sent = match kind {
                SecretKind::Token => target.auth().token(),
                SecretKind::Password => target.auth().password(),
            };
            let expected = match source {
                None => None,
                Some(Source::Env) => Some(format!("hunter2-env-{}", kind.as_str())),
                Some(Source::ConfigAuth) => Some(format!("hunter2-auth.{}", kind.as_str())),
                Some(Source::ConfigRemote) => Some(format!("hunter2-remote.{}", kind.as_str())),
                Some(other) => panic!("{other} was never given"),
            };
            prop_assert_eq!(sent.map(|secret| secret.expose().to_owned()), expected);
            if local && auth != Slot::Absent {
                prop_assert_ne!(source, Some(Source::ConfigRemote), "{:?} is masked", auth);
            }
            let asked_for = match kind {
                SecretKind::Token => world.auth_mode == Some(AuthMode::Token),
                SecretKind::Password => world.auth_mode == Some(AuthMode::Password),
            };
            if local && asked_for && auth.is_broken() && !world.has_env(kind) {
                let probes = matches!(world.surface, Surface::Probe | Surface::Status);
                prop_assert!(probes, "went on without {:?}", auth);
                prop_assert!(target.auth().token().is_none() && target.auth().password().is_none());
            }
        }
    }

    #[test]
    fn a_gateway_never_starts_on_another_secret_than_the_one_that_was_meant(world in world()) {
        let answer = world.start();
        let shown = format!("{answer:?}");
        prop_assert!(!shown.contains("hunter2"), "{}", shown);
        let started = match answer {
            Ok(started) => started,
            Err(error) => {
                prop_assert!(!error.to_string().contains("hunter2"));
                return Ok(());
            }
        };
        for (kind, secret) in [
            (SecretKind::Token, &started.auth.token),
            (SecretKind::Password, &started.auth.password),
        ] {
            let used = match started.auth.mode {
                AuthMode::Token => kind == SecretKind::Token,
                AuthMode::Password => kind == SecretKind::Password,
                AuthMode::None | AuthMode::TrustedProxy => false,
            };
            let Some(secret) = secret.as_ref().filter(|_| used) else { continue };
            let value = secret.secret.expose();
            match secret.source {
                ServerSecretSource::ConfigAuth => {
                    prop_assert_eq!(value, format!("hunter2-auth.{}", kind.as_str()));
                }
                ServerSecretSource::Env => {
                    prop_assert_eq!(value, format!("hunter2-env-{}", kind.as_str()));
                    if world.auth(kind).is_broken() {
                        let said = started.passed_over.iter().any(|over| over.path.kind() == kind);
                        prop_assert!(said, "nobody is told that the reference is broken");
                    }
                }
                ServerSecretSource::Generated => prop_assert_eq!(world.auth(kind), Slot::Absent),
                ServerSecretSource::Override => panic!("there is none"),
            }
        }
    }
}

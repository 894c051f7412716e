//! The auth that a gateway starts with (spec credentials §7).

use std::collections::BTreeSet;
use std::fmt;

use super::secret_words::{NotASecret, SecretKind, check_secret};
use super::server_auth::{
    AuthOverride, ServerAuth, ServerSecret, ServerSecretSource, resolve, resolve_server_auth,
};
use crate::config::{AuthMode, Config, EnvVars, SecretInput, SecretRef};
use crate::credentials::{RefAccess, RefReader, SecretPath, env_name};
use crate::secret::Secret;
use crate::secrets::{RefFault, WantedRef};

/// The auth that a gateway starts with, and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct StartupAuth {
    /// The auth.
    pub auth: ServerAuth,
    /// References that could not be read, where the environment stands in or the mode can do without.
    pub passed_over: Vec<PassedOver>,
    /// References that the host should read and hand in before it asks again.
    pub wanted: Vec<WantedRef>,
}

/// A reference that could not be read and was not needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Where it stands.
    pub path: SecretPath,
    /// Why it could not be read.
    pub fault: RefFault,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, fault } = self;
        write!(
            f,
            "{path} refers to a secret that could not be read ({fault}); the gateway goes on without \
             it. {}",
            fault.next_step()
        )
    }
}

impl StartupAuth {
    /// The token that was made at this start, to be shown or kept by the host.
    pub fn generated(&self) -> Option<&Secret> {
        self.auth
            .token
            .as_ref()
            .filter(|token| token.source == ServerSecretSource::Generated)
            .map(|token| &token.secret)
    }
}

/// What the host does about a token that was made at an earlier start, or at this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptToken {
    /// The mode needs none, or one is configured: leave the file alone.
    NotUsed,
    /// The token of an earlier start is used again.
    Reused,
    /// This token is new: keep it before anybody is told to use it.
    Keep(Secret),
}

impl StartupAuth {
    /// Where a token had to be made, takes the one that an earlier start kept, so that clients that
    /// know it stay in.
    pub fn adopt(&mut self, kept: Option<Secret>) -> KeptToken {
        let Some(token) = &mut self.auth.token else {
            return KeptToken::NotUsed;
        };
        if token.source != ServerSecretSource::Generated {
            return KeptToken::NotUsed;
        }
        match kept.and_then(|kept| Secret::non_blank(kept.expose())) {
            Some(kept) => {
                token.secret = kept;
                KeptToken::Reused
            }
            None => KeptToken::Keep(token.secret.clone()),
        }
    }
}

/// Why a gateway does not start with the auth that is configured. Never repeats a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartupAuthError {
    /// Both a token and a password are configured, and no mode says which counts.
    AmbiguousMode,
    /// The secret is a well-known word.
    KnownWeak {
        /// Token or password.
        kind: SecretKind,
        /// Which word.
        reason: NotASecret,
    },
    /// A string has text around `${NAME}`, which is neither a reference nor a secret.
    TextAroundTemplate(SecretPath),
    /// A reference that the mode uses could not be read.
    RefUnresolved {
        /// Where it stands.
        path: SecretPath,
        /// What it says.
        reference: SecretRef,
        /// Why.
        fault: Box<RefFault>,
        /// What the host should read and hand in before it asks again.
        wanted: Vec<WantedRef>,
    },
}

impl StartupAuthError {
    /// A stable name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AmbiguousMode => "ambiguous_auth_mode",
            Self::KnownWeak { .. } => "known_weak_secret",
            Self::TextAroundTemplate(_) | Self::RefUnresolved { .. } => "secret_ref_unresolved",
        }
    }

    /// The config key that it is about, if it is one.
    pub const fn path(&self) -> Option<SecretPath> {
        match self {
            Self::TextAroundTemplate(path) | Self::RefUnresolved { path, .. } => Some(*path),
            Self::AmbiguousMode | Self::KnownWeak { .. } => None,
        }
    }
}

impl fmt::Display for StartupAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AmbiguousMode => f.write_str(
                "Both gateway.auth.token and gateway.auth.password are configured. Set \
                 gateway.auth.mode to token or password to say which one counts.",
            ),
            Self::KnownWeak { kind, reason } => write!(
                f,
                "The gateway's {kind} cannot be used: {reason}. Set gateway.auth.{kind} or {env} \
                 to a secret of your own.",
                kind = kind.as_str(),
                env = env_name(*kind),
            ),
            Self::TextAroundTemplate(path) => write!(
                f,
                "{path} has text around ${{NAME}}. Write ${{NAME}} alone, or the secret itself."
            ),
            Self::RefUnresolved {
                path,
                reference,
                fault,
                ..
            } => write!(
                f,
                "{path} refers to {reference}, which could not be read: {fault}. {} Or set {}.",
                fault.next_step(),
                env_name(path.kind())
            ),
        }
    }
}

impl std::error::Error for StartupAuthError {}

/// Bytes of a generated token; it is written as twice as many hexadecimal digits.
pub const GENERATED_TOKEN_BYTES: usize = 24;

/// Decides the auth of a gateway that is about to start: reads the references that its mode uses,
/// refuses well-known words, and makes a token from `random` where the mode asks for one and there is
/// none. A made token is never written into the config.
///
/// # Errors
/// [`StartupAuthError`].
///
/// ```
/// use clawgate_core::config::{Config, EnvVars};
/// use clawgate_core::credentials::RefAccess;
/// use clawgate_core::policy::server_auth::AuthOverride;
/// use clawgate_core::policy::startup_auth::resolve_startup_auth;
/// use clawgate_core::secrets::RefValues;
///
/// let (config, env, none) = (Config::default(), EnvVars::new(), AuthOverride::default());
/// let values = RefValues::new();
/// let refs = RefAccess::Available(&values);
/// let started = resolve_startup_auth(&config, &env, &none, refs, [7; 24]).unwrap();
/// assert_eq!(started.generated().unwrap().expose(), "07".repeat(24));
/// ```
pub fn resolve_startup_auth(
    config: &Config,
    env: &EnvVars,
    over: &AuthOverride,
    refs: RefAccess<'_>,
    random: [u8; GENERATED_TOKEN_BYTES],
) -> Result<StartupAuth, StartupAuthError> {
    let configured = &config.gateway.auth;
    if configured.mode.is_none()
        && configured.token.is_configured()
        && configured.password.is_configured()
    {
        return Err(StartupAuthError::AmbiguousMode);
    }
    let mut startup = Startup {
        config,
        env,
        over,
        refs: RefReader {
            access: refs,
            secrets: &config.secrets,
            env,
            wanted: BTreeSet::new(),
        },
        passed_over: Vec::new(),
    };
    let token = startup.read(SecretPath::AuthToken)?;
    let password = startup.read(SecretPath::AuthPassword)?;
    let mut auth = resolve(&config.gateway, env, over, token, password);
    check(&auth, config)?;
    if auth.mode == AuthMode::Token && auth.token.is_none() {
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        auth.token = Some(ServerSecret {
            secret: Secret::new(digits),
            source: ServerSecretSource::Generated,
        });
    }
    Ok(StartupAuth {
        auth,
        passed_over: startup.passed_over,
        wanted: startup.refs.wanted.into_iter().collect(),
    })
}

/// Refuses a secret that everybody knows, and a secret that was meant but is not there.
fn check(auth: &ServerAuth, config: &Config) -> Result<(), StartupAuthError> {
    let (kind, secret, path) = match auth.mode {
        AuthMode::Token => (SecretKind::Token, &auth.token, SecretPath::AuthToken),
        AuthMode::Password => (
            SecretKind::Password,
            &auth.password,
            SecretPath::AuthPassword,
        ),
        AuthMode::None | AuthMode::TrustedProxy => return Ok(()),
    };
    let weak = |reason| StartupAuthError::KnownWeak { kind, reason };
    match (secret, config.secret_input(path)) {
        (Some(secret), _) => check_secret(kind, secret.secret.expose()).map_err(weak),
        (None, SecretInput::Blank) => Err(weak(NotASecret::Blank)),
        (None, SecretInput::Embedded(_)) => Err(StartupAuthError::TextAroundTemplate(path)),
        (None, SecretInput::Absent | SecretInput::Plain(_) | SecretInput::Ref(_)) => Ok(()),
    }
}

struct Startup<'a> {
    config: &'a Config,
    env: &'a EnvVars,
    over: &'a AuthOverride,
    refs: RefReader<'a>,
    passed_over: Vec<PassedOver>,
}

/// How much a mode needs a secret.
#[derive(PartialEq, Eq)]
enum Need {
    Required,
    Optional,
    None,
}

impl Startup<'_> {
    fn read(&mut self, path: SecretPath) -> Result<Option<Secret>, StartupAuthError> {
        let given = self.config.secret_input(path);
        let SecretInput::Ref(reference) = given else {
            return Ok(given.plain().cloned());
        };
        let need = self.need(path.kind());
        if need == Need::None {
            return Ok(None);
        }
        let fault = match self.refs.read(reference) {
            Ok(value) => return Ok(Some(value)),
            Err(fault) => fault,
        };
        if need == Need::Required && self.env.non_blank(env_name(path.kind())).is_none() {
            return Err(StartupAuthError::RefUnresolved {
                path,
                reference: reference.clone(),
                fault: Box::new(fault),
                wanted: self.refs.wanted.iter().cloned().collect(),
            });
        }
        self.passed_over.push(PassedOver { path, fault });
        Ok(None)
    }

    fn need(&self, kind: SecretKind) -> Need {
        // Without its references: what else is there.
        let plain = resolve_server_auth(&self.config.gateway, self.env, self.over);
        let overridden = match kind {
            SecretKind::Token => &plain.token,
            SecretKind::Password => &plain.password,
        };
        if overridden
            .as_ref()
            .is_some_and(|secret| secret.source == ServerSecretSource::Override)
        {
            return Need::None;
        }
        let auth = &self.config.gateway.auth;
        match (kind, self.over.mode.or(auth.mode)) {
            (SecretKind::Token, Some(AuthMode::Token))
            | (SecretKind::Password, Some(AuthMode::Password)) => Need::Required,
            // A local fallback beside the proxy.
            (SecretKind::Password, Some(AuthMode::TrustedProxy)) => Need::Optional,
            (SecretKind::Token, None) if plain.password.is_none() => Need::Required,
            (SecretKind::Password, None) if plain.token.is_none() => Need::Required,
            // With a value it decides the mode, before any token.
            (SecretKind::Password, None) => Need::Optional,
            (_, Some(_) | None) => Need::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::RefValues;
    use serde_json::{Value, json};

    fn start(
        auth: Value,
        env: &[(&'static str, &'static str)],
    ) -> Result<StartupAuth, StartupAuthError> {
        let config = Config::from_value(&json!({ "gateway": { "auth": auth } }));
        let env = env.iter().copied().collect();
        let values = RefValues::new();
        let refs = RefAccess::Available(&values);
        resolve_startup_auth(&config, &env, &AuthOverride::default(), refs, [0; 24])
    }

    #[test]
    fn references_are_read_where_the_mode_uses_them() {
        let env = [("A", "value")];
        let started = start(json!({ "mode": "token", "token": "${A}" }), &env).unwrap();
        assert_eq!(started.auth.token.unwrap().secret.expose(), "value");
        let error = start(json!({ "mode": "token", "token": "${B}" }), &env).unwrap_err();
        assert_eq!(error.path(), Some(SecretPath::AuthToken));
        let unused = start(
            json!({ "mode": "password", "password": "p", "token": "${B}" }),
            &env,
        );
        assert_eq!(unused.unwrap().auth.token, None);
    }

    #[test]
    fn the_environment_stands_in_for_a_broken_reference_and_that_is_said() {
        let env = [("OPENCLAW_GATEWAY_TOKEN", "from env")];
        let started = start(json!({ "mode": "token", "token": "${B}" }), &env).unwrap();
        assert_eq!(started.passed_over[0].path, SecretPath::AuthToken);
        assert!(started.passed_over[0].to_string().contains("B is not set"));
        assert_eq!(started.auth.token.unwrap().source, ServerSecretSource::Env);
    }

    #[test]
    fn a_configured_password_comes_before_variables_that_are_set_too() {
        let env = [
            ("A", "from the reference"),
            ("OPENCLAW_GATEWAY_TOKEN", "from env"),
            ("OPENCLAW_GATEWAY_PASSWORD", "from env"),
        ];
        let started = start(json!({ "password": "${A}" }), &env).unwrap();
        assert_eq!(started.auth.mode, AuthMode::Password);
        assert_eq!(
            started.auth.password.unwrap().secret.expose(),
            "from the reference"
        );
        let started = start(json!({ "password": "${B}" }), &env).unwrap();
        assert_eq!(started.passed_over[0].path, SecretPath::AuthPassword);
    }

    #[test]
    fn a_secret_that_was_meant_is_never_replaced_by_a_made_one() {
        for token in ["  ", "change-me-now", "undefined", "pre-${NAME}"] {
            assert!(start(json!({ "token": token }), &[]).is_err(), "{token:?}");
        }
        assert!(start(json!({ "mode": "none", "token": "  " }), &[]).is_ok());
    }

    #[test]
    fn errors_never_show_the_secret() {
        let error = start(json!({ "token": "change-me-now" }), &[]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("change-me"));
    }
}

//! What a gateway itself asks of its clients (spec credentials §7). `gateway.remote.*` never becomes
//! a server secret.

use serde::Serialize;

use super::authorize::{AuthRule, LoopbackProxy, TailscaleLogin, TrustedProxyRule};
use super::secret_words::SecretKind;
use crate::config::{
    AuthMode, EnvVars, GatewayConfig, SecretInput, TailscaleMode, TrustedProxyConfig,
};
use crate::credentials::env_name;
use crate::secret::Secret;

/// Where a server secret comes from, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ServerSecretSource {
    /// The command line.
    #[serde(rename = "override")]
    Override,
    /// `gateway.auth.*`.
    #[serde(rename = "config.auth")]
    ConfigAuth,
    /// `OPENCLAW_GATEWAY_TOKEN` or `OPENCLAW_GATEWAY_PASSWORD`.
    #[serde(rename = "env")]
    Env,
    /// Made at this start.
    #[serde(rename = "generated")]
    Generated,
}

impl ServerSecretSource {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::ConfigAuth => "config.auth",
            Self::Env => "env",
            Self::Generated => "generated",
        }
    }
}

/// A secret that clients must present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSecret {
    /// The secret.
    pub secret: Secret,
    /// Where it comes from.
    pub source: ServerSecretSource,
}

/// What decided the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeSource {
    /// The command line.
    Override,
    /// `gateway.auth.mode`.
    Config,
    /// There is a password.
    Password,
    /// There is a token.
    Token,
    /// Nothing.
    Default,
}

impl ModeSource {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Config => "config",
            Self::Password => "password",
            Self::Token => "token",
            Self::Default => "default",
        }
    }
}

/// What the command line of a gateway says about its auth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthOverride {
    /// `--auth`.
    pub mode: Option<AuthMode>,
    /// `--token`.
    pub token: Option<Secret>,
    /// `--password`.
    pub password: Option<Secret>,
    /// `--allow-tailscale`.
    pub allow_tailscale: Option<bool>,
}

/// The auth of a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerAuth {
    /// How it tells its clients from strangers.
    pub mode: AuthMode,
    /// What decided that.
    pub mode_source: ModeSource,
    /// The token, whether the mode uses it or not.
    pub token: Option<ServerSecret>,
    /// The password, whether the mode uses it or not.
    pub password: Option<ServerSecret>,
    /// Whether a Tailscale identity suffices.
    pub allow_tailscale: bool,
    /// `gateway.auth.trustedProxy`.
    pub trusted_proxy: Option<TrustedProxyConfig>,
}

impl ServerAuth {
    /// The rule that logins are judged by.
    pub fn rule(&self) -> AuthRule {
        let shared = |kind, secret: &Option<ServerSecret>| AuthRule::Shared {
            kind,
            secret: secret.as_ref().map(|secret| secret.secret.clone()),
            tailscale: if self.allow_tailscale {
                TailscaleLogin::Allowed
            } else {
                TailscaleLogin::Off
            },
        };
        match self.mode {
            AuthMode::None => AuthRule::None,
            AuthMode::Token => shared(SecretKind::Token, &self.token),
            AuthMode::Password => shared(SecretKind::Password, &self.password),
            AuthMode::TrustedProxy => AuthRule::TrustedProxy {
                rule: self.trusted_proxy.as_ref().map(|proxy| TrustedProxyRule {
                    user_header: proxy.user_header.clone(),
                    required_headers: proxy.required_headers.clone(),
                    allow_users: proxy.allow_users.clone(),
                    loopback: if proxy.allow_loopback {
                        LoopbackProxy::Allowed
                    } else {
                        LoopbackProxy::Refused
                    },
                }),
                local_password: self.password.as_ref().map(|secret| secret.secret.clone()),
            },
        }
    }

    /// The secret that the mode asks for; beside a proxy, that of clients on this machine.
    pub const fn used_secret(&self) -> Option<&ServerSecret> {
        match self.mode {
            AuthMode::None => None,
            AuthMode::Token => self.token.as_ref(),
            AuthMode::Password | AuthMode::TrustedProxy => self.password.as_ref(),
        }
    }

    /// Whether a secret that the mode uses is there.
    pub const fn has_shared_secret(&self) -> bool {
        match self.mode {
            AuthMode::Token => self.token.is_some(),
            AuthMode::Password => self.password.is_some(),
            AuthMode::None | AuthMode::TrustedProxy => false,
        }
    }
}

/// Reads the auth of a gateway as far as it is known without reading references, which count as
/// absent here. Secrets: the command line, then the config, then the environment.
///
/// ```
/// use clawgate_core::config::{AuthMode, ConfigFile, EnvVars};
/// use clawgate_core::policy::server_auth::{AuthOverride, resolve_server_auth};
///
/// let file = ConfigFile::parse("c", "{ gateway: { remote: { token: 'not mine' } } }").unwrap();
/// let gateway = &file.config.gateway;
/// let auth = resolve_server_auth(gateway, &EnvVars::new(), &AuthOverride::default());
/// assert_eq!((auth.mode, auth.token), (AuthMode::Token, None));
/// ```
pub fn resolve_server_auth(
    gateway: &GatewayConfig,
    env: &EnvVars,
    over: &AuthOverride,
) -> ServerAuth {
    let config = |input: &SecretInput| input.plain().cloned();
    resolve(
        gateway,
        env,
        over,
        config(&gateway.auth.token),
        config(&gateway.auth.password),
    )
}

/// The same with the config's own secrets already read.
pub(super) fn resolve(
    gateway: &GatewayConfig,
    env: &EnvVars,
    over: &AuthOverride,
    config_token: Option<Secret>,
    config_password: Option<Secret>,
) -> ServerAuth {
    let pick = |kind, over: &Option<Secret>, config: Option<Secret>| {
        let of = |source| move |secret| ServerSecret { secret, source };
        over.as_ref()
            .and_then(|secret| Secret::non_blank(secret.expose()))
            .map(of(ServerSecretSource::Override))
            .or_else(|| config.map(of(ServerSecretSource::ConfigAuth)))
            .or_else(|| {
                env.non_blank(env_name(kind))
                    .map(Secret::new)
                    .map(of(ServerSecretSource::Env))
            })
    };
    let token = pick(SecretKind::Token, &over.token, config_token);
    let password = pick(SecretKind::Password, &over.password, config_password);
    let (mode, mode_source) = match (over.mode, gateway.auth.mode) {
        (Some(mode), _) => (mode, ModeSource::Override),
        (None, Some(mode)) => (mode, ModeSource::Config),
        (None, None) if password.is_some() => (AuthMode::Password, ModeSource::Password),
        (None, None) if token.is_some() => (AuthMode::Token, ModeSource::Token),
        (None, None) => (AuthMode::Token, ModeSource::Default),
    };
    let by_default = gateway.tailscale == TailscaleMode::Serve
        && !matches!(mode, AuthMode::Password | AuthMode::TrustedProxy);
    ServerAuth {
        mode,
        mode_source,
        token,
        password,
        allow_tailscale: over
            .allow_tailscale
            .or(gateway.auth.allow_tailscale)
            .unwrap_or(by_default),
        trusted_proxy: gateway.auth.trusted_proxy.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::{Value, json};

    fn auth(gateway: Value, env: &[(&'static str, &'static str)]) -> ServerAuth {
        let config = Config::from_value(&json!({ "gateway": gateway }));
        let env = env.iter().copied().collect();
        resolve_server_auth(&config.gateway, &env, &AuthOverride::default())
    }

    #[test]
    fn the_config_stands_before_the_environment() {
        let env = [("OPENCLAW_GATEWAY_TOKEN", "e")];
        let found = auth(json!({ "auth": { "token": "c" } }), &env)
            .token
            .unwrap();
        assert_eq!(
            (found.secret.expose(), found.source),
            ("c", ServerSecretSource::ConfigAuth)
        );
        let found = auth(json!({ "auth": { "token": " " } }), &env)
            .token
            .unwrap();
        assert_eq!(found.source, ServerSecretSource::Env);
    }

    #[test]
    fn client_credentials_never_become_server_secrets() {
        let found = auth(json!({ "remote": { "token": "r", "password": "r" } }), &[]);
        assert_eq!((found.token, found.password), (None, None));
    }

    #[test]
    fn an_unreadable_secret_lets_nobody_in() {
        let found = auth(
            json!({ "auth": { "mode": "token", "token": "${MISSING}" } }),
            &[],
        );
        assert!(matches!(
            found.rule(),
            AuthRule::Shared { secret: None, .. }
        ));
        assert!(!found.has_shared_secret());
    }

    #[test]
    fn tailscale_suffices_by_default_only_behind_serve_and_a_token() {
        let serve = |mode| json!({ "tailscale": { "mode": "serve" }, "auth": { "mode": mode } });
        assert!(auth(serve("token"), &[]).allow_tailscale);
        assert!(!auth(serve("password"), &[]).allow_tailscale);
        assert!(!auth(json!({}), &[]).allow_tailscale);
    }
}

//! How a decision of the server auth ends, and the names that logs and answers use for it.

use std::borrow::Cow;
use std::time::Duration;

use super::SecretKind;

/// How a client was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// No auth is asked for.
    None,
    /// By the token.
    Token,
    /// By the password.
    Password,
    /// As a user that a trusted proxy names.
    TrustedProxy(String),
    /// As a user that Tailscale knows.
    Tailscale(String),
}

impl From<SecretKind> for Granted {
    fn from(kind: SecretKind) -> Self {
        match kind {
            SecretKind::Token => Self::Token,
            SecretKind::Password => Self::Password,
        }
    }
}

impl Granted {
    /// The name on the wire (`hello-ok`, `auth.method`).
    pub const fn method(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Password => "password",
            Self::TrustedProxy(_) => "trusted-proxy",
            Self::Tailscale(_) => "tailscale",
        }
    }

    /// The user, when the method tells.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::TrustedProxy(user) | Self::Tailscale(user) => Some(user),
            Self::None | Self::Token | Self::Password => None,
        }
    }
}

/// Why a client is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthReason {
    /// Nobody who is trusted says who the client is.
    ProxyAttributionRequired,
    /// Too many failures.
    RateLimited {
        /// The time to wait.
        retry_after: Duration,
    },
    /// The gateway has no usable secret.
    MissingConfig(SecretKind),
    /// The configured secret is a redaction marker.
    RedactedConfig(SecretKind),
    /// The client sent no secret.
    Missing(SecretKind),
    /// The client sent a wrong secret.
    Mismatch(SecretKind),
    /// `gateway.auth.trustedProxy` is missing.
    TrustedProxyConfigMissing,
    /// `gateway.trustedProxies` is empty.
    TrustedProxyNoProxies,
    /// The peer is no trusted proxy.
    TrustedProxyUntrustedSource,
    /// The peer is on loopback, which is not allowed.
    TrustedProxyLoopbackSource,
    /// The peer is this machine by another address.
    TrustedProxyLocalInterface,
    /// This machine's addresses could not be listed.
    TrustedProxyLocalInterfaceCheckFailed,
    /// A required header is missing or blank; the name is as configured.
    TrustedProxyMissingHeader(String),
    /// The proxy names no user.
    TrustedProxyUserMissing,
    /// The user is not in the list.
    TrustedProxyUserNotAllowed,
    /// The page that sent the request is not accepted.
    TrustedProxyOriginNotAllowed,
    /// The page that asked for a picture is not accepted.
    OriginNotAllowed,
}

impl AuthReason {
    /// The stable name, as it stands in logs and error details.
    pub fn as_str(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::ProxyAttributionRequired => "proxy_attribution_required",
            Self::RateLimited { .. } => "rate_limited",
            Self::MissingConfig(SecretKind::Token) => "token_missing_config",
            Self::MissingConfig(SecretKind::Password) => "password_missing_config",
            Self::RedactedConfig(SecretKind::Token) => "token_redacted_config",
            Self::RedactedConfig(SecretKind::Password) => "password_redacted_config",
            Self::Missing(SecretKind::Token) => "token_missing",
            Self::Missing(SecretKind::Password) => "password_missing",
            Self::Mismatch(SecretKind::Token) => "token_mismatch",
            Self::Mismatch(SecretKind::Password) => "password_mismatch",
            Self::TrustedProxyConfigMissing => "trusted_proxy_config_missing",
            Self::TrustedProxyNoProxies => "trusted_proxy_no_proxies_configured",
            Self::TrustedProxyUntrustedSource => "trusted_proxy_untrusted_source",
            Self::TrustedProxyLoopbackSource => "trusted_proxy_loopback_source",
            Self::TrustedProxyLocalInterface => "trusted_proxy_local_interface_source",
            Self::TrustedProxyLocalInterfaceCheckFailed => {
                "trusted_proxy_local_interface_check_failed"
            }
            Self::TrustedProxyMissingHeader(name) => {
                return Cow::Owned(format!("trusted_proxy_missing_header_{name}"));
            }
            Self::TrustedProxyUserMissing => "trusted_proxy_user_missing",
            Self::TrustedProxyUserNotAllowed => "trusted_proxy_user_not_allowed",
            Self::TrustedProxyOriginNotAllowed => "trusted_proxy_origin_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
        })
    }

    /// Whether this was a guess that the rate limiter counts. Missing credentials are none.
    pub const fn counts_as_failure(&self) -> bool {
        matches!(self, Self::Mismatch(_))
    }
}

//! Whether a gateway may start as configured (spec hostpolicy §3, Startup refusals).

use core::net::IpAddr;
use std::fmt;

use super::bind::{BindRefusal, HostFacts, bind_host};
use super::server_auth::ServerAuth;
use super::startup_auth::StartupAuth;
use crate::config::{AuthMode, GatewayConfig, RefSpelling, SecretInput, TailscaleMode};

/// What a gateway runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct Runtime {
    /// The address that it binds.
    pub bind_host: IpAddr,
    /// Its auth.
    pub auth: ServerAuth,
    /// How Tailscale publishes it.
    pub tailscale: TailscaleMode,
    /// What the operator should know.
    pub warnings: Vec<StartupWarning>,
}

/// What is allowed, and worth a thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupWarning {
    /// Everybody on this machine is let in.
    NoAuth,
}

impl fmt::Display for StartupWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAuth => f.write_str(
                "gateway.auth.mode is none: every program on this machine can use the gateway.",
            ),
        }
    }
}

/// Why a gateway does not start. Never repeats a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupRefusal {
    /// There is no address to listen on.
    Bind(BindRefusal),
    /// Mode token without a token.
    TokenMissing,
    /// Mode password without a password.
    PasswordMissing,
    /// Mode password, and the password is a reference that was not read.
    PasswordRefUnresolved,
    /// Mode trusted-proxy without `trustedProxy`.
    ProxyConfigMissing,
    /// Mode trusted-proxy without a user header.
    ProxyUserHeaderMissing,
    /// Mode trusted-proxy with a token, which would open a second way in.
    ProxyTokenConflict,
    /// Funnel without a password.
    FunnelNeedsPassword,
    /// Serve or funnel without auth.
    TailscaleNeedsAuth,
    /// Serve or funnel of a gateway that is not on loopback.
    TailscaleNeedsLoopback,
    /// Serve or funnel under the name of a Tailscale service.
    TailscaleService,
    /// An address that others can reach, without a secret.
    BindWithoutAuth,
    /// A web page that others can reach, without a list of origins.
    OriginsRequired,
    /// Mode trusted-proxy without a proxy to trust.
    ProxiesRequired,
}

impl StartupRefusal {
    /// A stable name for scripts.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Bind(refusal) => refusal.code(),
            Self::TokenMissing => "token_not_configured",
            Self::PasswordMissing => "password_not_configured",
            Self::PasswordRefUnresolved => "password_ref_unresolved",
            Self::ProxyConfigMissing => "trusted_proxy_config_missing",
            Self::ProxyUserHeaderMissing => "trusted_proxy_user_header_missing",
            Self::ProxyTokenConflict => "trusted_proxy_token_conflict",
            Self::FunnelNeedsPassword => "funnel_requires_password",
            Self::TailscaleNeedsAuth => "tailscale_requires_auth",
            Self::TailscaleNeedsLoopback => "tailscale_requires_loopback",
            Self::TailscaleService => "tailscale_service_unsupported",
            Self::BindWithoutAuth => "refuse_bind_without_auth",
            Self::OriginsRequired => "control_ui_origins_required",
            Self::ProxiesRequired => "trusted_proxies_required",
        }
    }
}

impl fmt::Display for StartupRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bind(refusal) => return refusal.fmt(f),
            Self::TokenMissing => {
                "The gateway asks for a token, and none is configured. Set gateway.auth.token or \
                 OPENCLAW_GATEWAY_TOKEN. gateway.remote.token does not count: it is what clients \
                 here send elsewhere."
            }
            Self::PasswordMissing => {
                "The gateway asks for a password, and none is configured. Set \
                 gateway.auth.password or OPENCLAW_GATEWAY_PASSWORD."
            }
            Self::PasswordRefUnresolved => {
                "gateway.auth.password refers to a secret that was not read. Make it readable, or \
                 set OPENCLAW_GATEWAY_PASSWORD."
            }
            Self::ProxyConfigMissing => {
                "gateway.auth.mode is trusted-proxy, but gateway.auth.trustedProxy is missing. Set \
                 gateway.auth.trustedProxy.userHeader to the header in which the proxy names the \
                 user."
            }
            Self::ProxyUserHeaderMissing => {
                "gateway.auth.trustedProxy.userHeader is empty. Set it to the header in which the \
                 proxy names the user."
            }
            Self::ProxyTokenConflict => {
                "gateway.auth.mode is trusted-proxy, but a token is configured too. Remove \
                 gateway.auth.token and OPENCLAW_GATEWAY_TOKEN."
            }
            Self::FunnelNeedsPassword => {
                "Tailscale funnel opens the gateway to the internet. Set gateway.auth.mode to \
                 password and gateway.auth.password."
            }
            Self::TailscaleNeedsAuth => {
                "Tailscale would publish a gateway without auth. Set gateway.auth.mode to token or \
                 password."
            }
            Self::TailscaleNeedsLoopback => {
                "Tailscale publishes a gateway that listens on loopback. Set gateway.bind to \
                 loopback."
            }
            Self::TailscaleService => {
                "gateway.tailscale.serviceName is set, but the gateway is published under the \
                 machine's own name only. Remove gateway.tailscale.serviceName."
            }
            Self::BindWithoutAuth => {
                "The gateway would listen where others can reach it, without a secret. Set \
                 gateway.auth.token or gateway.auth.password, or set gateway.bind to loopback."
            }
            Self::OriginsRequired => {
                "The web page would be served where others can reach it. Set \
                 gateway.controlUi.allowedOrigins to the origins of its users, as in \
                 https://gateway.example.com, or set gateway.controlUi.enabled to false."
            }
            Self::ProxiesRequired => {
                "gateway.auth.mode is trusted-proxy, but no proxy is trusted. Set \
                 gateway.trustedProxies to the proxy's address."
            }
        })
    }
}

impl std::error::Error for StartupRefusal {}

/// Judges a gateway that is about to start, check by check in the order of the spec. `auth` is what
/// [`resolve_startup_auth`](super::startup_auth::resolve_startup_auth) gave.
///
/// # Errors
/// The first [`StartupRefusal`] that applies.
pub fn resolve_runtime(
    gateway: &GatewayConfig,
    auth: ServerAuth,
    facts: &HostFacts,
) -> Result<Runtime, StartupRefusal> {
    let bind_host = bind_host(gateway, facts).map_err(StartupRefusal::Bind)?;
    let exposed = !bind_host.is_loopback();
    let published = gateway.tailscale != TailscaleMode::Off;
    check_complete(gateway, &auth)?;
    if gateway.tailscale == TailscaleMode::Funnel && auth.mode != AuthMode::Password {
        return Err(StartupRefusal::FunnelNeedsPassword);
    }
    if published && auth.mode == AuthMode::None {
        return Err(StartupRefusal::TailscaleNeedsAuth);
    }
    if published && exposed {
        return Err(StartupRefusal::TailscaleNeedsLoopback);
    }
    if published && gateway.tailscale_service.is_some() {
        return Err(StartupRefusal::TailscaleService);
    }
    if exposed && !auth.has_shared_secret() && auth.mode != AuthMode::TrustedProxy {
        return Err(StartupRefusal::BindWithoutAuth);
    }
    let ui = &gateway.control_ui;
    let origins = ui
        .allowed_origins
        .iter()
        .any(|origin| !origin.trim().is_empty());
    if exposed && ui.enabled && !origins && !ui.allow_host_header_origin {
        return Err(StartupRefusal::OriginsRequired);
    }
    if auth.mode == AuthMode::TrustedProxy && gateway.trusted_proxies.is_empty() {
        return Err(StartupRefusal::ProxiesRequired);
    }
    let warnings = match auth.mode {
        AuthMode::None => vec![StartupWarning::NoAuth],
        AuthMode::Token | AuthMode::Password | AuthMode::TrustedProxy => Vec::new(),
    };
    Ok(Runtime {
        bind_host,
        auth,
        tailscale: gateway.tailscale,
        warnings,
    })
}

/// The same for a gateway whose auth may hold a token that was made at this or an earlier start. Such
/// a token is for this machine: whoever opens the gateway to others chooses a secret.
///
/// # Errors
/// The first [`StartupRefusal`] that applies.
pub fn resolve_start(
    gateway: &GatewayConfig,
    started: &StartupAuth,
    facts: &HostFacts,
) -> Result<Runtime, StartupRefusal> {
    let host = bind_host(gateway, facts).map_err(StartupRefusal::Bind)?;
    if started.generated().is_some() && !host.is_loopback() {
        return Err(StartupRefusal::BindWithoutAuth);
    }
    resolve_runtime(gateway, started.auth.clone(), facts)
}

fn check_complete(gateway: &GatewayConfig, auth: &ServerAuth) -> Result<(), StartupRefusal> {
    match auth.mode {
        AuthMode::None => Ok(()),
        AuthMode::Token if auth.token.is_none() && !auth.allow_tailscale => {
            Err(StartupRefusal::TokenMissing)
        }
        AuthMode::Password if auth.password.is_none() => match &gateway.auth.password {
            SecretInput::Ref(reference) if reference.spelling == RefSpelling::Object => {
                Err(StartupRefusal::PasswordRefUnresolved)
            }
            SecretInput::Absent
            | SecretInput::Blank
            | SecretInput::Plain(_)
            | SecretInput::Embedded(_)
            | SecretInput::Ref(_) => Err(StartupRefusal::PasswordMissing),
        },
        AuthMode::Token | AuthMode::Password => Ok(()),
        AuthMode::TrustedProxy => match &auth.trusted_proxy {
            None => Err(StartupRefusal::ProxyConfigMissing),
            Some(proxy) if proxy.user_header.trim().is_empty() => {
                Err(StartupRefusal::ProxyUserHeaderMissing)
            }
            Some(_) if auth.token.is_some() => Err(StartupRefusal::ProxyTokenConflict),
            Some(_) => Ok(()),
        },
    }
}

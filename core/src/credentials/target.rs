//! Where a client connects, and the credentials that belong to that place and to no other.

use std::fmt;

use super::error::CredentialError;
use super::precedence::{Chosen, Mode, Selection, Unavailable};
use super::request::{NodeScheme, Request, SshFlags, Surface};
use super::source::{SecretPath, Source};
use super::token_book::StoredToken;
use super::trust::PinSource;
use super::tunnel::tunnelled;
use crate::config::Transport;
use crate::policy::port::gateway_port;
use crate::policy::{
    EdgeHeaders, Endpoint, EndpointWarning, Scheme, SecretKind, TlsPins, TlsTrust, UrlPolicy,
};
use crate::scope::ScopeSet;
use crate::secret::Secret;
use crate::secrets::RefFault;

/// Where the URL of a target comes from (spec hostpolicy §1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlSource {
    /// `--url`, or the gateway URL of a channel.
    Cli,
    /// `--port`: this machine.
    Port,
    /// `--host` of a node.
    Node,
    /// `OPENCLAW_GATEWAY_URL`.
    Env,
    /// `gateway.remote.url`.
    Remote,
    /// `--ssh` of a probe.
    Ssh,
    /// This machine.
    Local,
}

impl UrlSource {
    /// The name in messages and in `auth explain`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli --url",
            Self::Port => "cli --port",
            Self::Node => "cli --host",
            Self::Env => "env OPENCLAW_GATEWAY_URL",
            Self::Remote => "config gateway.remote.url",
            Self::Ssh => "cli --ssh",
            Self::Local => "local loopback",
        }
    }
}

/// Where a client would connect, before its credentials are known. The host looks up the stored
/// device token by [`Place::endpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) endpoint: Endpoint,
    pub(super) source: UrlSource,
    pub(super) mode: Mode,
}

impl Place {
    /// Where.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Why there.
    pub const fn source(&self) -> UrlSource {
        self.source
    }

    /// Whose gateway it is taken for.
    pub const fn mode(&self) -> Mode {
        self.mode
    }
}

/// Finds the place, in the order of spec hostpolicy §1.5.
///
/// # Errors
/// [`CredentialError::UrlAndPort`], [`CredentialError::InsecureUrl`],
/// [`CredentialError::RemoteUrlMissing`], or one of those about tunnels.
pub fn locate(request: &Request<'_>) -> Result<Place, CredentialError> {
    let Request {
        surface,
        flags,
        env,
        config,
        profile,
        ..
    } = request;
    let url = flags.url.map(str::trim).filter(|url| !url.is_empty());
    let parse = |text: &str, source, mode| {
        let policy = UrlPolicy::from_env(env.get(crate::policy::endpoint::BREAK_GLASS_ENV));
        match Endpoint::parse(text, policy) {
            Ok(endpoint) => Ok(Place {
                endpoint,
                source,
                mode,
            }),
            Err(refusal) => Err(CredentialError::InsecureUrl { source, refusal }),
        }
    };
    let port = gateway_port(flags.port, env, config.gateway.port, profile).port;
    let scheme = if config.gateway.tls.enabled {
        Scheme::Wss
    } else {
        Scheme::Ws
    };
    let mode = surface.mode(config);
    if let Some(ssh) = flags.ssh {
        return tunnelled(request, ssh, UrlSource::Ssh);
    }
    if let Some(url) = url {
        if flags.port.is_some() && *surface != Surface::NodeHost {
            return Err(CredentialError::UrlAndPort);
        }
        return parse(url, UrlSource::Cli, mode);
    }
    // A context says where its gateway is, for nodes too.
    if *surface == Surface::NodeHost && request.context.is_none() {
        let host = flags
            .node
            .host
            .map(str::trim)
            .filter(|host| !host.is_empty());
        let scheme = match (flags.node.scheme, host) {
            (NodeScheme::Tls, _) => Scheme::Wss,
            (NodeScheme::Default, None) => scheme,
            (NodeScheme::Default, Some(_)) => Scheme::Ws,
        };
        return match host {
            Some(host) => {
                let url = format!("{}://{}:{port}", scheme.as_str(), bracketed(host));
                parse(&url, UrlSource::Node, mode)
            }
            None => Ok(Place {
                endpoint: Endpoint::local(scheme, port),
                source: UrlSource::Local,
                mode,
            }),
        };
    }
    let local = |source| {
        Ok(Place {
            endpoint: Endpoint::local(scheme, port),
            source,
            mode: Mode::Local,
        })
    };
    if flags.port.is_some() {
        return local(UrlSource::Port);
    }
    if let Some(url) = env.non_blank("OPENCLAW_GATEWAY_URL") {
        return parse(url, UrlSource::Env, mode);
    }
    if mode == Mode::Remote && config.gateway.remote.transport == Transport::Ssh {
        return tunnelled(request, SshFlags::default(), UrlSource::Remote);
    }
    match (mode, &config.gateway.remote.url) {
        (Mode::Local, _) => local(UrlSource::Local),
        (Mode::Remote, Some(url)) => parse(url, UrlSource::Remote, mode),
        (Mode::Remote, None) => Err(CredentialError::RemoteUrlMissing),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Whether a place is the gateway of this profile on this machine. Another port on this machine may
/// belong to anybody.
pub(super) fn is_own_gateway(request: &Request<'_>, place: &Place) -> bool {
    let Request {
        env,
        config,
        profile,
        local_port,
        ..
    } = request;
    let configured = || gateway_port(None, env, config.gateway.port, profile).port;
    let own = local_port.unwrap_or_else(configured);
    matches!(place.source, UrlSource::Local | UrlSource::Port) && place.endpoint.port() == own
}

/// What a client should tell its user, though it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A probe goes on without credentials, because a reference could not be read.
    ProbingWithout(Unavailable),
    /// A reference could not be read, and another source stands in for it.
    RefPassedOver {
        /// Where the reference stands.
        path: SecretPath,
        /// What was used instead.
        used: Source,
        /// Why it could not be read.
        fault: RefFault,
    },
    /// Something about the endpoint.
    Endpoint(EndpointWarning),
}

impl Warning {
    /// A stable name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ProbingWithout(_) => "unresolved_secret_ref",
            Self::RefPassedOver { .. } => "secret_ref_passed_over",
            Self::Endpoint(warning) => warning.code(),
        }
    }

    /// The config key that it is about.
    pub const fn path(&self) -> Option<SecretPath> {
        match self {
            Self::ProbingWithout(unavailable) => Some(unavailable.path),
            Self::RefPassedOver { path, .. } => Some(*path),
            Self::Endpoint(_) => None,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ProbingWithout(Unavailable { path, fault, .. }) => write!(
                f,
                "{path} refers to a secret that could not be read ({fault}); probing without \
                 credentials."
            ),
            Self::RefPassedOver { path, used, fault } => write!(
                f,
                "{path} refers to a secret that could not be read ({fault}); {used} is used instead."
            ),
            Self::Endpoint(warning) => write!(f, "{warning}"),
        }
    }
}

/// An endpoint together with the credentials that were resolved for it. Neither can be taken from
/// one target to another: the endpoint to dial and the secrets to send come out of the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) place: Place,
    pub(super) auth: BoundAuth,
    pub(super) trust: TlsTrust,
    pub(super) pin_source: Option<PinSource>,
    pub(super) edge: EdgeHeaders,
    pub(super) warnings: Vec<Warning>,
}

impl Target {
    /// Where to connect.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.place.endpoint
    }

    /// What to present there.
    pub const fn auth(&self) -> &BoundAuth {
        &self.auth
    }

    /// How the gateway's certificate is judged, before anything is sent.
    pub const fn tls_trust(&self) -> &TlsTrust {
        &self.trust
    }

    /// The certificates that the gateway may show, if there are pins.
    pub const fn tls_pins(&self) -> Option<&TlsPins> {
        self.trust.pins()
    }

    /// Where the pins come from.
    pub const fn pin_source(&self) -> Option<PinSource> {
        self.pin_source
    }

    /// Headers for the proxy in front of this endpoint.
    pub const fn edge_headers(&self) -> &EdgeHeaders {
        &self.edge
    }

    /// Why there.
    pub const fn url_source(&self) -> UrlSource {
        self.place.source
    }

    /// Whose gateway it is taken for.
    pub const fn mode(&self) -> Mode {
        self.place.mode
    }

    /// What to tell the user.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// The credentials of a [`Target`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundAuth {
    pub(super) shared: Selection,
    pub(super) device: Option<StoredToken>,
    pub(super) retry: DeviceRetry,
}

/// Whether a stored device token may be tried after the gateway refused the shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceRetry {
    /// Once: the gateway is this machine, or its certificate is pinned.
    Once,
    Never,
}

impl BoundAuth {
    /// The shared token to send.
    pub fn token(&self) -> Option<&Secret> {
        self.shared.token.as_ref().map(|chosen| &chosen.secret)
    }

    /// The shared password to send.
    pub fn password(&self) -> Option<&Secret> {
        self.shared.password.as_ref().map(|chosen| &chosen.secret)
    }

    /// The device token to send: only when there is neither token nor password.
    pub fn device_token(&self) -> Option<&Secret> {
        self.stored().filter(|_| self.shared.is_empty())
    }

    /// What the stored device token allows, whether it is sent or not.
    pub fn device_scopes(&self) -> Option<&ScopeSet> {
        self.device.as_ref().map(|stored| &stored.scopes)
    }

    fn stored(&self) -> Option<&Secret> {
        self.device.as_ref().map(|stored| &stored.token)
    }

    /// The device token to add in one retry after the gateway refused the shared secret
    /// (`AUTH_TOKEN_MISMATCH`); only towards this machine or a pinned certificate.
    pub fn device_token_for_retry(&self) -> Option<&Secret> {
        match self.retry {
            DeviceRetry::Once => self.stored().filter(|_| !self.shared.is_empty()),
            DeviceRetry::Never => None,
        }
    }

    /// Where the token or password comes from. A device token counts as a token.
    pub fn source(&self, kind: SecretKind) -> Option<Source> {
        match (self.shared.get(kind), kind) {
            (Some(chosen), _) => Some(chosen.source()),
            (None, SecretKind::Token) => self.device_token().map(|_| Source::Device),
            (None, SecretKind::Password) => None,
        }
    }

    /// Whether nothing is presented.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.device_token().is_none()
    }

    pub(super) const fn chosen(&self, kind: SecretKind) -> Option<&Chosen> {
        self.shared.get(kind)
    }
}

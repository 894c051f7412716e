//! Everything that the choice of a target and its credentials depends on.

use super::context::ContextTarget;
use super::precedence::{Mode, Order};
use super::refs::RefAccess;
use super::target::Place;
use super::token_book::{Found, TokenBook};
use super::trust::trust;
use crate::config::paths::Profile;
use crate::config::{Config, EnvVars, Transport};
use crate::device::DeviceId;
use crate::policy::{PinBook, TlsFingerprint};
use crate::protocol::Role;
use crate::secret::Secret;
use crate::secrets::RefValues;
use crate::tunnel::TunnelKeeper;

/// What a client is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// A method call.
    Call,
    /// A probe, which only looks whether a gateway is there.
    Probe,
    /// `status`, which looks in the same way.
    Status,
    /// A node, which offers commands to a gateway.
    NodeHost,
    /// Watching execution approvals for a channel.
    ExecApprovals,
}

impl Surface {
    /// The order that this surface follows.
    pub fn order(self, env: &EnvVars) -> Order {
        match self {
            Self::Call | Self::ExecApprovals => Order::shared(env),
            Self::Probe | Self::Status => Order::probe(env),
            Self::NodeHost => Order::node_host(),
        }
    }

    /// Whether it goes on without credentials instead of failing.
    pub(super) const fn may_go_without(self) -> bool {
        match self {
            Self::Call => false,
            Self::Probe | Self::Status | Self::NodeHost | Self::ExecApprovals => true,
        }
    }

    /// What it connects as.
    pub(super) const fn role(self) -> Role {
        match self {
            Self::NodeHost => Role::Node,
            Self::Call | Self::Probe | Self::Status | Self::ExecApprovals => Role::Operator,
        }
    }

    pub(super) const fn is_probe(self) -> bool {
        matches!(self, Self::Probe | Self::Status)
    }

    /// The mode that this surface works in. Probes of a remote gateway without a URL look at the
    /// local one (spec credentials §3).
    pub(super) const fn mode(self, config: &Config) -> Mode {
        let remote = &config.gateway.remote;
        let has_place = remote.url.is_some() || matches!(remote.transport, Transport::Ssh);
        if config.gateway.mode.is_remote() && (!self.is_probe() || has_place) {
            Mode::Remote
        } else {
            Mode::Local
        }
    }
}

/// What to present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presented {
    /// What the rules give.
    #[default]
    ByRule,
    /// Nothing at all, on purpose (`--no-auth`).
    Nothing,
}

/// Where a node connects, by its own flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeTarget<'a> {
    /// `--host`.
    pub host: Option<&'a str>,
    /// `--tls`.
    pub scheme: NodeScheme,
}

/// Whether a node speaks TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeScheme {
    /// As the local gateway does; plaintext to another host.
    #[default]
    Default,
    /// Yes.
    Tls,
}

/// What to do about the certificate of a gateway that has no pin yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstUse {
    /// What `gateway.remote.tlsTrust` says, for the gateway that it is about.
    #[default]
    ByConfig,
    /// Pin it, once the authorities have accepted it (`--pin-on-first-use`).
    Pin,
}

/// What was given on the command line. Blank text counts as not given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags<'a> {
    /// `--url`, or the gateway URL of a channel.
    pub url: Option<&'a str>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--token`.
    pub token: Option<&'a Secret>,
    /// `--password`.
    pub password: Option<&'a Secret>,
    /// `--no-auth`.
    pub presented: Presented,
    /// `--tls-fingerprint`.
    pub tls_fingerprint: Option<&'a str>,
    /// `--pin-on-first-use`.
    pub first_use: FirstUse,
    /// `--host` and `--tls` of a node.
    pub node: NodeTarget<'a>,
    /// `--ssh` of a probe: through a tunnel of its own.
    pub ssh: Option<SshFlags<'a>>,
}

/// A tunnel that was asked for on the command line (spec hostpolicy §7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SshFlags<'a> {
    /// Where to: else `gateway.remote.sshTarget`, else the host of `gateway.remote.url` as this user.
    pub target: Option<&'a str>,
    /// `--ssh-identity`: else `gateway.remote.sshIdentity`.
    pub identity: Option<&'a str>,
}

/// The tokens of one device. Which of them belongs to the target is for the rules to say.
#[derive(Clone, Copy, Debug)]
pub struct DeviceTokens<'a> {
    /// All tokens that are stored.
    pub book: &'a TokenBook,
    /// The device.
    pub device: &'a DeviceId,
}

/// One question to [`resolve`](super::resolve()).
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What the client is about to do.
    pub surface: Surface,
    /// The command line.
    pub flags: Flags<'a>,
    /// The environment.
    pub env: &'a EnvVars,
    /// The config.
    pub config: &'a Config,
    /// The context that is in force. With one, environment and config say nothing about the target,
    /// and [`Request::device_tokens`] are those of this context.
    pub context: Option<ContextTarget<'a>>,
    /// The profile, which may have a port of its own.
    pub profile: &'a Profile,
    /// Values of secret references.
    pub refs: RefAccess<'a>,
    /// This machine's device and the tokens that gateways gave it, if it has any.
    pub device_tokens: Option<DeviceTokens<'a>>,
    /// The token that clawgate's own gateway of this profile made for itself and keeps in the state
    /// folder.
    pub local_token: Option<&'a Secret>,
    /// The port where the gateway of this profile listens, when the host sees it running; else the
    /// configured one is taken for it.
    pub local_port: Option<u16>,
    /// The fingerprint of the certificate of the gateway of this profile.
    pub local_certificate: Option<TlsFingerprint>,
    /// The certificates that were pinned on first use.
    pub pins: &'a PinBook,
    /// Who opens tunnels.
    pub tunnel_keeper: Option<&'a TunnelKeeper>,
}

impl<'a> Request<'a> {
    /// A question with nothing but a surface, an environment and a config.
    pub const fn new(surface: Surface, env: &'a EnvVars, config: &'a Config) -> Self {
        const NOTHING_READ: &RefValues = &RefValues::new();
        const DEFAULT_PROFILE: &Profile = &Profile::Default;
        static NO_PINS: PinBook = PinBook::new();
        Self {
            surface,
            flags: Flags {
                url: None,
                port: None,
                token: None,
                password: None,
                presented: Presented::ByRule,
                tls_fingerprint: None,
                first_use: FirstUse::ByConfig,
                node: NodeTarget {
                    host: None,
                    scheme: NodeScheme::Default,
                },
                ssh: None,
            },
            env,
            config,
            context: None,
            profile: DEFAULT_PROFILE,
            refs: RefAccess::Available(NOTHING_READ),
            device_tokens: None,
            local_token: None,
            local_port: None,
            local_certificate: None,
            pins: &NO_PINS,
            tunnel_keeper: None,
        }
    }
}

impl Request<'_> {
    /// The device token that is stored for a place, if it may go there.
    pub(super) fn stored_token(&self, place: &Place) -> Found<'_> {
        let (Some(tokens), Ok(trust)) = (self.device_tokens, trust(self, place)) else {
            return Found::Nothing;
        };
        let who = (tokens.device, self.surface.role());
        tokens.book.find((&place.endpoint, &trust.rule), who)
    }
}

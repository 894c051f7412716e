//! The config as types. A value of the wrong type counts as absent here; the check names it.

use std::collections::BTreeMap;

use super::agents::AgentsConfig;
use super::channels::ChannelsConfig;
use super::discovery::DiscoveryConfig;
use super::logging::LoggingConfig;
use super::node::NodeConfig;
use super::secret_input::{DEFAULT_PROVIDER, RefSource, SecretInput, SecretRef};
use crate::secrets::SecretProvider;
use crate::tunnel::HostKeyPolicy;

/// What clawgate reads of `openclaw.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `gateway`.
    pub gateway: GatewayConfig,
    /// `secrets`.
    pub secrets: SecretsConfig,
    /// `agents`, `models` and `auth`.
    pub agents: AgentsConfig,
    /// `channels`.
    pub channels: ChannelsConfig,
    /// `discovery`.
    pub discovery: DiscoveryConfig,
    /// `node`.
    pub node: NodeConfig,
    /// `logging`.
    pub logging: LoggingConfig,
    /// The ids of the agents: `agents.list[].id`, then the keys of `agents.entries`.
    pub agent_ids: Vec<String>,
}

/// `gateway`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatewayConfig {
    /// `mode`.
    pub mode: ModeSetting,
    /// `port`; a number outside 1 to 65535 counts as absent.
    pub port: Option<u16>,
    /// `bind`.
    pub bind: Option<BindMode>,
    /// `customBindHost`.
    pub custom_bind_host: Option<String>,
    /// `auth`.
    pub auth: AuthConfig,
    /// `remote`.
    pub remote: RemoteConfig,
    /// `controlUi`.
    pub control_ui: ControlUiConfig,
    /// `tailscale.mode`.
    pub tailscale: TailscaleMode,
    /// `tailscale.resetOnExit`.
    pub tailscale_on_exit: RouteOnExit,
    /// `tailscale.serviceName`.
    pub tailscale_service: Option<String>,
    /// `tls`.
    pub tls: TlsConfig,
    /// `trustedProxies`, as written.
    pub trusted_proxies: Vec<String>,
    /// `allowRealIpFallback`.
    pub allow_real_ip_fallback: bool,
    /// `handshakeTimeoutMs`.
    pub handshake_timeout_ms: Option<u64>,
    /// `reload`.
    pub reload: ReloadConfig,
    /// `nodes`.
    pub nodes: NodesConfig,
}

/// `gateway.mode`: exactly `"remote"` is remote, and everything else is local for clients
/// (spec credentials §0). A gateway starts only where `"local"` is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModeSetting {
    /// Not written.
    #[default]
    Unset,
    /// `"local"`.
    Local,
    /// `"remote"`.
    Remote,
    /// Something else.
    Other,
}

impl ModeSetting {
    /// Whether clients use the remote gateway.
    pub const fn is_remote(&self) -> bool {
        matches!(self, Self::Remote)
    }
}

/// `gateway.bind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindMode {
    /// This machine only.
    Loopback,
    /// Every IPv4 address.
    Lan,
    /// The address in the tailnet.
    Tailnet,
    /// The address in `customBindHost`.
    Custom,
    /// Every IPv4 address in a container, this machine otherwise.
    Auto,
}

impl BindMode {
    /// Reads the name; only the names of the table are valid, no addresses.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "loopback" => Self::Loopback,
            "lan" => Self::Lan,
            "tailnet" => Self::Tailnet,
            "custom" => Self::Custom,
            "auto" => Self::Auto,
            _ => return None,
        })
    }

    /// The name in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Lan => "lan",
            Self::Tailnet => "tailnet",
            Self::Custom => "custom",
            Self::Auto => "auto",
        }
    }
}

/// `gateway.auth.mode`: how a gateway tells its clients from strangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// It does not.
    None,
    /// By a token.
    Token,
    /// By a password.
    Password,
    /// An identity-aware proxy does it.
    TrustedProxy,
}

impl AuthMode {
    /// Reads the name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "token" => Self::Token,
            "password" => Self::Password,
            "trusted-proxy" => Self::TrustedProxy,
            _ => return None,
        })
    }

    /// The name in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Token => "token",
            Self::Password => "password",
            Self::TrustedProxy => "trusted-proxy",
        }
    }
}

/// `gateway.tailscale.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TailscaleMode {
    /// No publication.
    #[default]
    Off,
    /// To the tailnet.
    Serve,
    /// To the internet.
    Funnel,
}

impl TailscaleMode {
    /// The name in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Serve => "serve",
            Self::Funnel => "funnel",
        }
    }
}

/// `gateway.tailscale.resetOnExit`: what becomes of the publication when the gateway ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteOnExit {
    /// It ends too: nobody else may come to listen where it leads.
    #[default]
    Withdrawn,
    /// It stays, as `false` says.
    Kept,
}

/// `gateway.auth`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthConfig {
    /// `mode`.
    pub mode: Option<AuthMode>,
    /// `token`.
    pub token: SecretInput,
    /// `password`.
    pub password: SecretInput,
    /// `allowTailscale`.
    pub allow_tailscale: Option<bool>,
    /// `rateLimit`.
    pub rate_limit: RateLimitConfig,
    /// `trustedProxy`.
    pub trusted_proxy: Option<TrustedProxyConfig>,
}

/// `gateway.auth.rateLimit`, with the defaults of spec hostpolicy §5 filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// `maxAttempts`.
    pub max_attempts: u32,
    /// `windowMs`.
    pub window_ms: u64,
    /// `lockoutMs`.
    pub lockout_ms: u64,
    /// `exemptLoopback`.
    pub exempt_loopback: bool,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            window_ms: 60_000,
            lockout_ms: 300_000,
            exempt_loopback: true,
        }
    }
}

/// `gateway.auth.trustedProxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxyConfig {
    /// `userHeader`, as written.
    pub user_header: String,
    /// `requiredHeaders`, as written.
    pub required_headers: Vec<String>,
    /// `allowUsers`.
    pub allow_users: Vec<String>,
    /// `allowLoopback`.
    pub allow_loopback: bool,
}

/// `gateway.remote`: where clients on this machine connect. It never makes a server secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteConfig {
    /// `url`, without the blanks at its ends.
    pub url: Option<String>,
    /// `token`.
    pub token: SecretInput,
    /// `password`.
    pub password: SecretInput,
    /// `tlsFingerprint`: the texts of one or several pins; anything that is no text is an empty one.
    pub tls_fingerprint: Option<Vec<String>>,
    /// `tlsTrust`.
    pub tls_trust: TlsTrustSetting,
    /// `edgeAuth`: headers by name, as written; nothing but its presence is known of a map that is
    /// none.
    pub edge_auth: Option<BTreeMap<String, SecretInput>>,
    /// `transport`.
    pub transport: Transport,
    /// `sshTarget`.
    pub ssh_target: Option<String>,
    /// `sshIdentity`.
    pub ssh_identity: Option<String>,
    /// `sshHostKeyPolicy`.
    pub ssh_host_keys: HostKeyPolicy,
    /// `remotePort`.
    pub remote_port: Option<u16>,
}

/// `gateway.remote.transport`: how clients get to the remote gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// They dial `url`.
    #[default]
    Direct,
    /// Through an SSH tunnel to `sshTarget`, whose end on this machine is `url`.
    Ssh,
}

/// `gateway.remote.tlsTrust`: what decides about a certificate without a pin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsTrustSetting {
    /// The authorities of the system, every time.
    #[default]
    Authorities,
    /// The authorities once; what they accept is pinned.
    FirstUse,
}

/// `gateway.controlUi`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlUiConfig {
    /// `enabled`.
    pub enabled: bool,
    /// `allowedOrigins`, as written.
    pub allowed_origins: Vec<String>,
    /// `dangerouslyAllowHostHeaderOriginFallback`.
    pub allow_host_header_origin: bool,
}

impl Default for ControlUiConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            allowed_origins: Vec::new(),
            allow_host_header_origin: false,
        }
    }
}

/// `gateway.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// `enabled`.
    pub enabled: bool,
    /// `autoGenerate`.
    pub auto_generate: bool,
    /// `certPath`.
    pub cert_path: Option<String>,
    /// `keyPath`.
    pub key_path: Option<String>,
    /// `caPath`.
    pub ca_path: Option<String>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            auto_generate: true,
            cert_path: None,
            key_path: None,
            ca_path: None,
        }
    }
}

/// `gateway.reload.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReloadMode {
    /// Changes wait for the next start.
    Off,
    /// Changes wait for a restart, which somebody else does.
    Restart,
    /// What can be taken up at once is; the rest waits for a restart.
    Hot,
    /// The same: the gateway does not restart by itself.
    #[default]
    Hybrid,
}

/// `gateway.reload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadConfig {
    /// `mode`.
    pub mode: ReloadMode,
    /// `debounceMs`.
    pub debounce_ms: u64,
}

impl Default for ReloadConfig {
    fn default() -> Self {
        Self {
            mode: ReloadMode::Hybrid,
            debounce_ms: 300,
        }
    }
}

/// `gateway.nodes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodesConfig {
    /// `commands.allow`, then the older `allowCommands`.
    pub allow_commands: Vec<String>,
    /// `commands.deny`, then the older `denyCommands`.
    pub deny_commands: Vec<String>,
    /// `commands.strict`: whether commands that no platform knows must be in `allow_commands`.
    pub strict_commands: bool,
    /// `pairing`.
    pub pairing: NodePairingConfig,
}

/// `gateway.nodes.pairing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePairingConfig {
    /// `autoApproveLocal`.
    pub auto_approve_local: bool,
    /// `autoApproveCidrs`, as written.
    pub auto_approve_cidrs: Vec<String>,
}

impl Default for NodePairingConfig {
    fn default() -> Self {
        Self {
            auto_approve_local: true,
            auto_approve_cidrs: Vec::new(),
        }
    }
}

/// `secrets`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretsConfig {
    /// `providers`, by name.
    pub providers: BTreeMap<String, SecretProvider>,
    /// `defaults`: the provider of a source, by the source's name.
    pub defaults: BTreeMap<String, String>,
}

impl SecretsConfig {
    /// The provider that a reference belongs to.
    pub fn provider_of<'a>(&'a self, reference: &'a SecretRef) -> &'a str {
        reference
            .provider
            .as_deref()
            .unwrap_or_else(|| self.default_provider(&reference.source))
    }

    /// The provider of references of a source that name none.
    pub fn default_provider(&self, source: &RefSource) -> &str {
        self.defaults
            .get(source.as_str())
            .map_or(DEFAULT_PROVIDER, String::as_str)
    }
}

//! Reads the types out of a parsed file.

use std::collections::BTreeMap;

use serde_json::Value;

use super::agents::AgentsConfig;
use super::channels::ChannelsConfig;
use super::discovery::DiscoveryConfig;
use super::logging::LoggingConfig;
use super::node::NodeConfig;
use super::secret_input::SecretInput;
use super::types::{
    AuthConfig, AuthMode, BindMode, Config, ControlUiConfig, GatewayConfig, ModeSetting,
    NodePairingConfig, NodesConfig, RateLimitConfig, ReloadConfig, ReloadMode, RemoteConfig,
    RouteOnExit, SecretsConfig, TailscaleMode, TlsConfig, TlsTrustSetting, Transport,
    TrustedProxyConfig,
};
use crate::secrets::SecretProvider;
use crate::tunnel::HostKeyPolicy;

impl Config {
    /// Reads a parsed file. Never fails: what is not as it should be counts as absent.
    pub fn from_value(value: &Value) -> Self {
        let root = Node(Some(value));
        let agents = root.at("agents");
        let mut agent_ids: Vec<String> = agents
            .at("list")
            .items()
            .iter()
            .filter_map(|agent| Node(Some(agent)).at("id").text())
            .collect();
        for id in agents.at("entries").keys() {
            if !agent_ids.contains(&id) {
                agent_ids.push(id);
            }
        }
        Self {
            gateway: GatewayConfig::read(root.at("gateway")),
            secrets: SecretsConfig::read(root.at("secrets")),
            agents: AgentsConfig::read(root),
            channels: ChannelsConfig::read(root.at("channels")),
            discovery: DiscoveryConfig::read(root.at("discovery")),
            node: NodeConfig::read(root.at("node")),
            logging: LoggingConfig::read(root.at("logging")),
            agent_ids,
        }
    }
}

impl GatewayConfig {
    fn read(node: Node<'_>) -> Self {
        let nodes = node.at("nodes");
        let commands = nodes.at("commands");
        let reload = node.at("reload");
        Self {
            mode: match node.at("mode").0 {
                None | Some(Value::Null) => ModeSetting::Unset,
                Some(Value::String(mode)) if mode == "local" => ModeSetting::Local,
                Some(Value::String(mode)) if mode == "remote" => ModeSetting::Remote,
                Some(_) => ModeSetting::Other,
            },
            port: node.at("port").port(),
            bind: node.at("bind").str().and_then(BindMode::parse),
            custom_bind_host: node.at("customBindHost").text(),
            auth: AuthConfig::read(node.at("auth")),
            remote: RemoteConfig::read(node.at("remote")),
            control_ui: ControlUiConfig::read(node.at("controlUi")),
            tailscale: match node.at("tailscale").at("mode").str() {
                Some("serve") => TailscaleMode::Serve,
                Some("funnel") => TailscaleMode::Funnel,
                Some(_) | None => TailscaleMode::Off,
            },
            tailscale_on_exit: match node.at("tailscale").at("resetOnExit").bool() {
                Some(false) => RouteOnExit::Kept,
                Some(true) | None => RouteOnExit::Withdrawn,
            },
            tailscale_service: node.at("tailscale").at("serviceName").text(),
            tls: TlsConfig::read(node.at("tls")),
            trusted_proxies: node.at("trustedProxies").texts(),
            allow_real_ip_fallback: node.at("allowRealIpFallback").is(true),
            handshake_timeout_ms: node.at("handshakeTimeoutMs").positive(),
            reload: ReloadConfig {
                mode: match reload.at("mode").str() {
                    Some("off") => ReloadMode::Off,
                    Some("restart") => ReloadMode::Restart,
                    Some("hot") => ReloadMode::Hot,
                    Some(_) | None => ReloadMode::Hybrid,
                },
                debounce_ms: reload.at("debounceMs").integer().unwrap_or(300),
            },
            nodes: NodesConfig {
                allow_commands: [
                    commands.at("allow").texts(),
                    nodes.at("allowCommands").texts(),
                ]
                .concat(),
                deny_commands: [
                    commands.at("deny").texts(),
                    nodes.at("denyCommands").texts(),
                ]
                .concat(),
                strict_commands: commands.at("strict").is(true),
                pairing: NodePairingConfig {
                    auto_approve_local: !nodes.at("pairing").at("autoApproveLocal").is(false),
                    auto_approve_cidrs: nodes.at("pairing").at("autoApproveCidrs").texts(),
                },
            },
        }
    }
}

impl AuthConfig {
    fn read(node: Node<'_>) -> Self {
        let limit = node.at("rateLimit");
        let defaults = RateLimitConfig::default();
        let proxy = node.at("trustedProxy");
        Self {
            mode: node.at("mode").str().and_then(AuthMode::parse),
            token: SecretInput::from_value(node.at("token").0),
            password: SecretInput::from_value(node.at("password").0),
            allow_tailscale: node.at("allowTailscale").bool(),
            rate_limit: RateLimitConfig {
                max_attempts: limit
                    .at("maxAttempts")
                    .positive()
                    .and_then(|attempts| u32::try_from(attempts).ok())
                    .unwrap_or(defaults.max_attempts),
                window_ms: limit
                    .at("windowMs")
                    .positive()
                    .unwrap_or(defaults.window_ms),
                lockout_ms: limit
                    .at("lockoutMs")
                    .positive()
                    .unwrap_or(defaults.lockout_ms),
                exempt_loopback: !limit.at("exemptLoopback").is(false),
            },
            trusted_proxy: proxy.is_object().then(|| TrustedProxyConfig {
                user_header: proxy.at("userHeader").text().unwrap_or_default(),
                required_headers: proxy.at("requiredHeaders").texts(),
                allow_users: proxy.at("allowUsers").texts(),
                allow_loopback: proxy.at("allowLoopback").is(true),
            }),
        }
    }
}

impl RemoteConfig {
    fn read(node: Node<'_>) -> Self {
        Self {
            url: node.at("url").non_blank(),
            token: SecretInput::from_value(node.at("token").0),
            password: SecretInput::from_value(node.at("password").0),
            tls_fingerprint: read_pins(node.at("tlsFingerprint")),
            tls_trust: match node.at("tlsTrust").str() {
                Some("first-use") => TlsTrustSetting::FirstUse,
                Some(_) | None => TlsTrustSetting::Authorities,
            },
            edge_auth: read_edge_auth(node.at("edgeAuth")),
            transport: match node.at("transport").str() {
                Some("ssh") => Transport::Ssh,
                Some(_) | None => Transport::Direct,
            },
            ssh_target: node.at("sshTarget").non_blank(),
            ssh_identity: node.at("sshIdentity").non_blank(),
            ssh_host_keys: match node.at("sshHostKeyPolicy").str() {
                Some("openssh") => HostKeyPolicy::OpenSsh,
                Some(_) | None => HostKeyPolicy::Strict,
            },
            remote_port: node.at("remotePort").port(),
        }
    }
}

/// A blank text counts as not written; whatever else is wrong must not count as no pin.
fn read_pins(node: Node<'_>) -> Option<Vec<String>> {
    if node.is_list() {
        let text = |item| Node(Some(item)).text().unwrap_or_default();
        return Some(node.items().iter().map(text).collect());
    }
    node.non_blank().map(|pin| vec![pin])
}

fn read_edge_auth(node: Node<'_>) -> Option<BTreeMap<String, SecretInput>> {
    if matches!(node.0, None | Some(Value::Null)) {
        return None;
    }
    let input = |name: String| {
        let input = SecretInput::from_value(node.at(&name).0);
        (name, input)
    };
    Some(node.keys().map(input).collect())
}

impl ControlUiConfig {
    fn read(node: Node<'_>) -> Self {
        Self {
            enabled: !node.at("enabled").is(false),
            allowed_origins: node.at("allowedOrigins").texts(),
            allow_host_header_origin: node.at("dangerouslyAllowHostHeaderOriginFallback").is(true),
        }
    }
}

impl TlsConfig {
    fn read(node: Node<'_>) -> Self {
        Self {
            enabled: node.at("enabled").is(true),
            auto_generate: !node.at("autoGenerate").is(false),
            cert_path: node.at("certPath").non_blank(),
            key_path: node.at("keyPath").non_blank(),
            ca_path: node.at("caPath").non_blank(),
        }
    }
}

impl SecretsConfig {
    fn read(node: Node<'_>) -> Self {
        let providers = node.at("providers");
        let defaults = node.at("defaults");
        Self {
            providers: providers
                .keys()
                .filter_map(|name| {
                    let provider = SecretProvider::from_value(providers.at(&name).0?);
                    Some((name, provider))
                })
                .collect(),
            defaults: defaults
                .keys()
                .filter_map(|source| {
                    let provider = defaults.at(&source).non_blank()?;
                    Some((source, provider))
                })
                .collect(),
        }
    }
}

/// A number without a fraction, however it is written: `18789.0` is one.
pub(crate) fn whole_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        // Text is the one way from a float to an integer that neither rounds nor wraps.
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        format!("{number:.0}").parse().ok()
    })
}

/// A value that may be missing.
#[derive(Clone, Copy)]
pub(super) struct Node<'a>(pub(super) Option<&'a Value>);

impl<'a> Node<'a> {
    pub(super) fn at(self, key: &str) -> Self {
        Self(self.0.and_then(|value| value.get(key)))
    }

    pub(super) fn str(self) -> Option<&'a str> {
        self.0.and_then(Value::as_str)
    }

    pub(super) fn text(self) -> Option<String> {
        self.str().map(str::to_owned)
    }

    pub(super) fn non_blank(self) -> Option<String> {
        self.str()
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    pub(super) fn bool(self) -> Option<bool> {
        self.0.and_then(Value::as_bool)
    }

    pub(super) fn is(self, value: bool) -> bool {
        self.bool() == Some(value)
    }

    pub(super) fn integer(self) -> Option<u64> {
        self.0.and_then(whole_number)
    }

    pub(super) fn positive(self) -> Option<u64> {
        self.integer().filter(|&number| number > 0)
    }

    pub(super) fn port(self) -> Option<u16> {
        self.positive().and_then(|port| u16::try_from(port).ok())
    }

    pub(super) fn is_object(self) -> bool {
        self.0.is_some_and(Value::is_object)
    }

    pub(super) fn is_list(self) -> bool {
        self.0.is_some_and(Value::is_array)
    }

    pub(super) fn items(self) -> &'a [Value] {
        self.0.and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(super) fn texts(self) -> Vec<String> {
        self.items()
            .iter()
            .filter_map(|item| Node(Some(item)).text())
            .collect()
    }

    pub(super) fn keys(self) -> impl Iterator<Item = String> + 'a {
        self.0
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|object| object.keys().cloned())
    }
}

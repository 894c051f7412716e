//! Who comes in, and with which scopes (spec protocol §3.5 to §3.7).

mod decide;
mod hello;
mod pairing;
mod proof;
mod refusals;

use core::net::IpAddr;
use std::time::Duration;

pub(super) use proof::{Proof, guesser};

use super::{
    devices::{LocalApproval, PairingPolicy},
    nodes::NodeCommandPolicy,
};
use crate::{
    config::GatewayConfig,
    policy::{
        AuthRule, HostHeaderFallback, Ingress, Listener, LoopbackRule, OriginPolicy,
        RateLimitConfig, RealIpFallback, RequestHeaders, SecretKind, TrustedProxies,
        server_auth::ServerAuth,
    },
    protocol::AuthMethod,
};

/// What the gateway demands of a client.
#[derive(Clone, Debug)]
pub struct AdmissionPolicy {
    /// The secret or the proxy that vouches for a client.
    pub auth: AuthRule,
    /// Pages that may connect.
    pub origins: OriginPolicy,
    /// Proxies whose headers count.
    pub proxies: TrustedProxies,
    /// Whether `X-Real-IP` is believed (`gateway.allowRealIpFallback`).
    pub real_ip: RealIpFallback,
    /// How failed attempts are limited.
    pub rate_limit: RateLimitConfig,
    /// Which devices are approved without asking.
    pub pairing: PairingPolicy,
    /// Which commands nodes may be asked to run.
    pub node_commands: NodeCommandPolicy,
}

impl AdmissionPolicy {
    /// A rule alone: no extra origins, no proxies, the default limits.
    pub fn new(auth: AuthRule) -> Self {
        Self {
            auth,
            origins: OriginPolicy::default(),
            proxies: TrustedProxies::default(),
            real_ip: RealIpFallback::Off,
            rate_limit: RateLimitConfig::default(),
            pairing: PairingPolicy::default(),
            node_commands: NodeCommandPolicy::default(),
        }
    }

    /// What a configuration asks for, with the secrets already read.
    pub fn of_config(auth: &ServerAuth, gateway: &GatewayConfig) -> Self {
        Self::of_rule(auth.rule(), gateway)
    }

    /// Takes up of another configuration what can change while the gateway runs. The rule and the
    /// proxies stay: connections were judged by them.
    pub(super) fn take_up(&mut self, gateway: &GatewayConfig) {
        let newer = Self::of_rule(AuthRule::None, gateway);
        self.origins = newer.origins;
        self.rate_limit = newer.rate_limit;
        self.pairing = newer.pairing;
        self.node_commands = newer.node_commands;
    }

    fn of_rule(auth: AuthRule, gateway: &GatewayConfig) -> Self {
        let ui = &gateway.control_ui;
        let fallback = if ui.allow_host_header_origin {
            HostHeaderFallback::Dangerous
        } else {
            HostHeaderFallback::Off
        };
        let limit = &gateway.auth.rate_limit;
        let pairing = &gateway.nodes.pairing;
        Self {
            origins: OriginPolicy::new(&ui.allowed_origins, fallback),
            proxies: TrustedProxies::parse(&gateway.trusted_proxies),
            real_ip: if gateway.allow_real_ip_fallback {
                RealIpFallback::Allowed
            } else {
                RealIpFallback::Off
            },
            rate_limit: RateLimitConfig {
                max_attempts: limit.max_attempts,
                window: Duration::from_millis(limit.window_ms),
                lockout: Duration::from_millis(limit.lockout_ms),
                loopback: if limit.exempt_loopback {
                    LoopbackRule::Exempt
                } else {
                    LoopbackRule::Limited
                },
            },
            pairing: PairingPolicy {
                local: if pairing.auto_approve_local {
                    LocalApproval::Silent
                } else {
                    LocalApproval::Ask
                },
                node_networks: TrustedProxies::parse(&pairing.auto_approve_cidrs),
            },
            node_commands: NodeCommandPolicy::of_config(&gateway.nodes),
            ..Self::new(auth)
        }
    }

    /// What a host needs to tell where its peers come from.
    pub fn ingress(&self) -> IngressPolicy {
        IngressPolicy {
            proxies: self.proxies.clone(),
            real_ip: self.real_ip,
            users: match self.auth {
                AuthRule::TrustedProxy { .. } => ProxyUsers::Named,
                AuthRule::None | AuthRule::Shared { .. } => ProxyUsers::Unnamed,
            },
        }
    }

    /// The name of `gateway.auth.mode`.
    pub(super) fn mode(&self) -> AuthMethod {
        match &self.auth {
            AuthRule::None => AuthMethod::None,
            AuthRule::Shared {
                kind: SecretKind::Token,
                ..
            } => AuthMethod::Token,
            AuthRule::Shared {
                kind: SecretKind::Password,
                ..
            } => AuthMethod::Password,
            AuthRule::TrustedProxy { .. } => AuthMethod::TrustedProxy,
        }
    }
}

/// Whose word is taken for where a peer comes from: the part of an [`AdmissionPolicy`] that a host
/// needs on every upgrade. It holds no secret.
#[derive(Clone, Debug)]
pub struct IngressPolicy {
    proxies: TrustedProxies,
    real_ip: RealIpFallback,
    users: ProxyUsers,
}

/// Whether proxies name users (`gateway.auth.mode: "trusted-proxy"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProxyUsers {
    Named,
    Unnamed,
}

impl IngressPolicy {
    /// Tells where an upgrade comes from.
    pub fn classify(&self, listener: Listener, peer: IpAddr, headers: &RequestHeaders) -> Ingress {
        Ingress::classify(listener, peer, headers, &self.proxies, self.real_ip)
    }

    /// Whether the verdict on a peer depends on this machine's addresses: a proxy that names users
    /// must not be this machine by another name. The host lists them then, for they change.
    pub fn needs_local_addresses(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.users == ProxyUsers::Named && !peer.is_loopback() && self.proxies.contains(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_elsewhere_could_be_this_machine_by_another_name() {
        let mut policy = AdmissionPolicy::new(AuthRule::TrustedProxy {
            rule: None,
            local_password: None,
        });
        policy.proxies = TrustedProxies::parse(["10.0.0.0/8", "127.0.0.1"]);
        let needed = |policy: &AdmissionPolicy, ip: &str| {
            policy.ingress().needs_local_addresses(ip.parse().unwrap())
        };
        assert!(needed(&policy, "10.0.0.1") && needed(&policy, "::ffff:10.0.0.1"));
        assert!(!needed(&policy, "127.0.0.1") && !needed(&policy, "192.168.1.1"));
        policy.auth = AuthRule::None;
        assert!(!needed(&policy, "10.0.0.1"));
    }
}

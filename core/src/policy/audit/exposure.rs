//! Who can reach the gateway, and what they could read or pretend on the way.

use core::net::IpAddr;

use ipnet::IpNet;

use super::{Facts, Finding, Reach, Severity};
use crate::config::{AuthMode, TailscaleMode};
use crate::policy::HostClass;
use crate::policy::TrustedProxies;
use crate::policy::server_auth::{AuthOverride, resolve_server_auth};

pub(super) fn check(facts: &Facts<'_>, reach: Reach, findings: &mut Vec<Finding>) {
    port(facts, reach, findings);
    origins(facts, reach, findings);
    proxies(facts, findings);
}

fn port(facts: &Facts<'_>, reach: Reach, findings: &mut Vec<Finding>) {
    let gateway = &facts.config.config.gateway;
    if gateway.tailscale == TailscaleMode::Funnel {
        findings.push(Finding::key(
            "bind.funnel",
            Severity::Warn,
            "gateway.tailscale.mode",
            "Tailscale funnel opens the gateway to everybody on the internet.",
            "Set gateway.tailscale.mode to serve, unless strangers have to reach it.",
        ));
    }
    let Reach::Network(ip) = reach else {
        return;
    };
    let who = if ip.is_unspecified() {
        "every network of this machine".to_owned()
    } else {
        ip.to_string()
    };
    findings.push(Finding::key(
        "bind.exposed",
        Severity::Info,
        "gateway.bind",
        format!("The gateway listens on {who}, for other machines too."),
        "Set gateway.bind to loopback and use Tailscale or an SSH tunnel, where that is enough.",
    ));
    let auth = resolve_server_auth(gateway, facts.env, &AuthOverride::default());
    if !gateway.tls.enabled {
        let public = HostClass::of_ip(ip) == HostClass::Public;
        let behind = match auth.mode {
            AuthMode::TrustedProxy => "The way from the proxy to the gateway",
            AuthMode::None | AuthMode::Token | AuthMode::Password => "The way to the gateway",
        };
        findings.push(Finding::key(
            "bind.plaintext",
            if public {
                Severity::Critical
            } else {
                Severity::Warn
            },
            "gateway.tls.enabled",
            format!("{behind} is not encrypted: secrets and chats can be read there."),
            "Set gateway.tls.enabled to true and give clients the fingerprint that \
             `clawgate gateway status` prints.",
        ));
    }
}

fn origins(facts: &Facts<'_>, reach: Reach, findings: &mut Vec<Finding>) {
    let ui = &facts.config.config.gateway.control_ui;
    if ui.allowed_origins.iter().any(|origin| origin.trim() == "*") {
        findings.push(Finding::key(
            "origins.any",
            Severity::Critical,
            "gateway.controlUi.allowedOrigins",
            "\"*\" lets every web page that a user opens talk to the gateway.",
            "List the origins of your own pages instead, as in https://gateway.example.com.",
        ));
    }
    if ui.allow_host_header_origin && reach.is_exposed() {
        findings.push(Finding::key(
            "origins.host_header",
            Severity::Critical,
            "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback",
            "A page of an attacker whose name resolves to this gateway counts as the gateway's own.",
            "Set it to false, and list your origins in gateway.controlUi.allowedOrigins.",
        ));
    }
}

fn proxies(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let gateway = &facts.config.config.gateway;
    for (index, entry) in gateway.trusted_proxies.iter().enumerate() {
        let key = format!("gateway.trustedProxies[{index}]");
        let entry = entry.trim();
        if !TrustedProxies::parse([entry]).rejected().is_empty() {
            findings.push(Finding::key(
                "proxies.invalid",
                Severity::Warn,
                key,
                "This is neither an address nor a network, so it matches nothing.",
                "Write an address or a network such as 10.0.0.5 or 10.0.0.0/24.",
            ));
            continue;
        }
        let Ok(net) = entry.parse::<IpNet>() else {
            continue;
        };
        if let Some(severity) = breadth(&net) {
            findings.push(Finding::key(
                "proxies.too_broad",
                severity,
                key,
                "Every machine of this large network may say who its clients are.",
                "Write the proxy's own address.",
            ));
        }
    }
    if gateway.allow_real_ip_fallback {
        findings.push(Finding::key(
            "proxies.real_ip",
            Severity::Warn,
            "gateway.allowRealIpFallback",
            "X-Real-IP is believed, which a client can set where the proxy does not replace it.",
            "Set gateway.allowRealIpFallback to false and have the proxy send X-Forwarded-For.",
        ));
    }
}

/// A network that is larger than anybody's row of proxies. Everybody's is worse.
fn breadth(net: &IpNet) -> Option<Severity> {
    let (prefix, least) = match net.network() {
        IpAddr::V4(_) => (net.prefix_len(), 16),
        IpAddr::V6(_) => (net.prefix_len(), 48),
    };
    match prefix {
        0..=1 => Some(Severity::Critical),
        prefix if prefix < least => Some(Severity::Warn),
        _ => None,
    }
}

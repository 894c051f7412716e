//! What clients on this machine do with the gateway elsewhere.

use super::{Facts, Finding, Place, Severity};
use crate::config::TlsTrustSetting;
use crate::policy::{Endpoint, EndpointWarning, HostClass, Refusal, Scheme, UrlPolicy};

/// Accepts plaintext to names that may be anywhere (spec hostpolicy §1.3).
const BREAK_GLASS: &str = "OPENCLAW_ALLOW_INSECURE_PRIVATE_WS";

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    if UrlPolicy::from_env(facts.env.get(BREAK_GLASS)) == UrlPolicy::AllowInsecureNames {
        findings.push(Finding::new(
            "env.break_glass",
            Severity::Warn,
            Place::Variable(BREAK_GLASS),
            "Clients send secrets over plaintext ws:// to any name, wherever it leads.",
            "Unset it, and use wss:// or a tunnel.",
        ));
    }
    let legacy: Vec<&str> = facts.env.ignored_legacy_names().collect();
    if !legacy.is_empty() {
        findings.push(Finding::new(
            "env.legacy",
            Severity::Info,
            Place::Variable("CLAWDBOT_* and MOLTBOT_*"),
            format!("{} are set and ignored.", legacy.join(", ")),
            "Rename them to OPENCLAW_*, or unset them.",
        ));
    }
    remote(facts, findings);
}

fn remote(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let remote = &facts.config.config.gateway.remote;
    let Some(url) = &remote.url else {
        return;
    };
    const URL: &str = "gateway.remote.url";
    let tls = "Use wss://, or a tunnel and ws://127.0.0.1.";
    let endpoint = match Endpoint::parse(url, UrlPolicy::Strict) {
        Ok(endpoint) => endpoint,
        Err(Refusal::Plaintext(_)) => {
            findings.push(Finding::key(
                "remote.plaintext",
                Severity::Critical,
                URL,
                "The gateway is called over plaintext, on networks where others can read along.",
                tls,
            ));
            return;
        }
        // No URL: the check of the config says so.
        Err(_) => return,
    };
    if endpoint
        .warnings()
        .any(|warning| warning == EndpointWarning::UserinfoDropped)
    {
        findings.push(Finding::key(
            "remote.userinfo",
            Severity::Warn,
            URL,
            "The URL has a user or password in it. It is not sent, but everybody who sees the URL \
             sees it.",
            "Remove it; credentials go into gateway.remote.token or gateway.remote.password.",
        ));
    }
    let class = endpoint.target.class();
    // A tailnet encrypts by itself.
    let near = matches!(
        class,
        HostClass::Loopback | HostClass::Cgnat | HostClass::Tailnet
    );
    match endpoint.target.scheme() {
        Scheme::Ws if !near => findings.push(Finding::key(
            "remote.plaintext",
            Severity::Warn,
            URL,
            "The gateway is called over plaintext: whoever is on the same network can read secrets \
             and chats.",
            tls,
        )),
        Scheme::Wss
            if class.allows_plaintext()
                && class != HostClass::Tailnet
                && remote.tls_fingerprint.is_none()
                && remote.tls_trust == TlsTrustSetting::Authorities =>
        {
            findings.push(Finding::key(
                "remote.no_pin",
                Severity::Info,
                "gateway.remote.tlsFingerprint",
                "Public authorities do not vouch for private addresses, so a certificate there is \
                 self-signed or of an authority of your own, which could vouch for anybody.",
                "Set gateway.remote.tlsFingerprint to what `clawgate gateway status` prints on the \
                 gateway's machine.",
            ));
        }
        Scheme::Ws | Scheme::Wss => {}
    }
}

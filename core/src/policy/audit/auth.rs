//! How the gateway tells its clients from strangers: mode, secrets, proxies, limits.

use super::{Facts, Finding, Logins, Place, Reach, Severity};
use crate::config::{AuthMode, RateLimitConfig, SecretInput, TailscaleMode, TrustedProxyConfig};
use crate::credentials::env_name;
use crate::policy::server_auth::{
    AuthOverride, ServerAuth, ServerSecret, ServerSecretSource, resolve_server_auth,
};
use crate::policy::startup::resolve_runtime;
use crate::policy::{SecretKind, check_secret};
use crate::secret::Secret;

/// A token is copied, not typed, so it can be long: 24 characters of base64 hold 144 bits.
const TOKEN_CHARS: usize = 24;
/// A password that a person chose.
const PASSWORD_CHARS: usize = 14;
/// Fewer different characters than this are no random text.
const VARIETY: usize = 6;

/// Words that guessers try first.
const COMMON: [&str; 14] = [
    "admin", "changeme", "clawd", "clawdbot", "clawgate", "default", "gateway", "letmein",
    "moltbot", "openclaw", "password", "qwerty", "secret", "token",
];

pub(super) fn check(facts: &Facts<'_>, reach: Reach, findings: &mut Vec<Finding>) {
    let gateway = &facts.config.config.gateway;
    let auth = resolve_server_auth(gateway, facts.env, &AuthOverride::default());
    start(facts, &auth, reach, findings);
    if auth.mode == AuthMode::None && !reach.is_exposed() {
        findings.push(Finding::key(
            "auth.none",
            if facts.logins.are_shared() {
                Severity::Critical
            } else {
                Severity::Warn
            },
            "gateway.auth.mode",
            "Every program on this machine, whoever runs it, can use the gateway.",
            "Set gateway.auth.mode to token; the gateway makes one if none is set.",
        ));
    }
    for (kind, secret) in [
        (SecretKind::Token, &auth.token),
        (SecretKind::Password, &auth.password),
    ] {
        if let Some(secret) = secret {
            strength(
                kind,
                &secret.secret,
                place(kind, secret.source),
                reach,
                findings,
            );
        }
    }
    if let Some(token) = facts.kept_token.filter(|_| auth.token.is_none()) {
        let place = Place::Key("gateway.auth.token".into());
        strength(SecretKind::Token, token, place, reach, findings);
    }
    if auth.allow_tailscale && gateway.tailscale != TailscaleMode::Off {
        tailscale(facts, findings);
    }
    if let (AuthMode::TrustedProxy, Some(proxy)) = (auth.mode, &auth.trusted_proxy) {
        trusted_proxy(facts, proxy, findings);
    }
    rate_limit(&gateway.auth.rate_limit, findings);
}

/// What the gateway would refuse to start on.
fn start(facts: &Facts<'_>, auth: &ServerAuth, reach: Reach, findings: &mut Vec<Finding>) {
    let configured = &facts.config.config.gateway.auth;
    // A reference is as good as a secret here: whether it can be read is for the start to find out.
    let filled = |secret: &Option<ServerSecret>, input: &SecretInput| {
        let stands_in = |source| ServerSecret {
            secret: Secret::new("elsewhere"),
            source,
        };
        secret.clone().or_else(|| {
            input
                .is_configured()
                .then(|| stands_in(ServerSecretSource::ConfigAuth))
        })
    };
    let mut auth = ServerAuth {
        token: filled(&auth.token, &configured.token),
        password: filled(&auth.password, &configured.password),
        ..auth.clone()
    };
    let makes_one = auth.mode == AuthMode::Token && auth.token.is_none();
    if makes_one && !matches!(reach, Reach::Network(_)) {
        auth.token = facts
            .kept_token
            .cloned()
            .or_else(|| Some(Secret::new("made at the start")))
            .map(|secret| ServerSecret {
                secret,
                source: ServerSecretSource::Generated,
            });
    }
    if let Err(refusal) = resolve_runtime(&facts.config.config.gateway, auth, facts.bind) {
        let text = refusal.to_string();
        let (what, change) = text.split_once(". ").unwrap_or((&text, ""));
        findings.push(Finding::key(
            format!("start.{}", refusal.code()),
            Severity::Critical,
            "gateway",
            format!("The gateway does not start like this. {what}."),
            change,
        ));
    }
}

fn place(kind: SecretKind, source: ServerSecretSource) -> Place {
    match source {
        ServerSecretSource::Env => Place::Variable(env_name(kind)),
        ServerSecretSource::ConfigAuth
        | ServerSecretSource::Generated
        | ServerSecretSource::Override => Place::Key(format!("gateway.auth.{}", kind.as_str())),
    }
}

fn strength(
    kind: SecretKind,
    secret: &Secret,
    place: Place,
    reach: Reach,
    findings: &mut Vec<Finding>,
) {
    let name = kind.as_str();
    let change = format!(
        "Set a new one, as in `openssl rand -hex 24`, and give it to every client{}.",
        match kind {
            SecretKind::Token => "; or remove it, and the gateway makes one for this machine",
            SecretKind::Password => "",
        }
    );
    if let Err(reason) = check_secret(kind, secret.expose()) {
        let what = format!("The {name} is no secret: {reason}.");
        findings.push(Finding::new(
            "auth.secret_placeholder",
            Severity::Critical,
            place,
            what,
            change,
        ));
        return;
    }
    let text = secret.expose().trim();
    let least = match kind {
        SecretKind::Token => TOKEN_CHARS,
        SecretKind::Password => PASSWORD_CHARS,
    };
    let mut different: Vec<char> = text.chars().collect();
    different.sort_unstable();
    different.dedup();
    let letters: String = text
        .trim_end_matches(|c: char| !c.is_ascii_alphabetic())
        .to_ascii_lowercase();
    let (what, guessable) = if COMMON.contains(&letters.as_str()) {
        ("is a word that guessers try first".to_owned(), true)
    } else if different.len() < VARIETY {
        ("repeats a few characters".to_owned(), true)
    } else if text.chars().count() < least {
        (format!("is shorter than {least} characters"), false)
    } else {
        return;
    };
    findings.push(Finding::new(
        "auth.secret_weak",
        if guessable || reach.is_exposed() {
            Severity::Critical
        } else {
            Severity::Warn
        },
        place,
        format!("The {name} {what}."),
        change,
    ));
}

/// Identity headers reach the gateway over loopback, where other users of the machine are too.
fn tailscale(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let (severity, who) = match facts.logins {
        Logins::Known(count @ 2..) => (
            Severity::Critical,
            format!("{count} users can log in here, and each could pose as any of them"),
        ),
        Logins::Known(_) => return,
        Logins::Unknown => (
            Severity::Info,
            "if others can log in here, each could pose as any of them".to_owned(),
        ),
    };
    findings.push(Finding::key(
        "auth.tailscale_shared_host",
        severity,
        "gateway.auth.allowTailscale",
        format!("Tailscale logins are let in without a secret, and {who}."),
        "Set gateway.auth.allowTailscale to false, so that the token is asked for too.",
    ));
}

fn trusted_proxy(facts: &Facts<'_>, proxy: &TrustedProxyConfig, findings: &mut Vec<Finding>) {
    if proxy.allow_users.iter().all(|user| user.trim().is_empty()) {
        findings.push(Finding::key(
            "auth.proxy_all_users",
            Severity::Warn,
            "gateway.auth.trustedProxy.allowUsers",
            "Everyone whom the proxy lets through can use the gateway.",
            "Set gateway.auth.trustedProxy.allowUsers to the users who may.",
        ));
    }
    if proxy.allow_loopback {
        findings.push(Finding::key(
            "auth.proxy_loopback",
            if facts.logins.are_shared() {
                Severity::Critical
            } else {
                Severity::Warn
            },
            "gateway.auth.trustedProxy.allowLoopback",
            "Any program on this machine can pose as the proxy and name any user.",
            "Set allowLoopback to false and run the proxy on another address, or keep other users \
             and programs off this machine.",
        ));
    }
}

/// Guesses a minute that leave a limit worth its name.
const MANY_ATTEMPTS: u64 = 100;

fn rate_limit(limit: &RateLimitConfig, findings: &mut Vec<Finding>) {
    let period = limit.window_ms.max(limit.lockout_ms);
    let guesses = u64::from(limit.max_attempts).saturating_mul(60_000);
    if guesses > MANY_ATTEMPTS.saturating_mul(period) {
        findings.push(Finding::key(
            "auth.rate_limit_off",
            Severity::Warn,
            "gateway.auth.rateLimit",
            format!(
                "An address may guess more than {MANY_ATTEMPTS} secrets a minute, which is as good \
                 as no limit."
            ),
            "Remove gateway.auth.rateLimit to get 10 attempts a minute and 5 minutes of lockout.",
        ));
    }
}

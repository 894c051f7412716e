//! Who is let in by the gateway's own auth (spec hostpolicy §5, spec protocol §3.5).

use core::net::IpAddr;
use std::time::{Duration, Instant};

use super::auth_outcome::{AuthReason, Granted};
use super::secret_words::{NotASecret, check_secret};
use super::{
    ClientLocality, Guesser, Ingress, LimitScope, OriginPolicy, RateLimiter, RateVerdict,
    RequestHeaders, SecretKind, TrustedProxies,
};
use crate::secret::Secret;

/// The auth that the gateway asks for (`gateway.auth`).
#[derive(Clone, Debug)]
pub enum AuthRule {
    /// Everybody is let in.
    None,
    /// A token or a password.
    Shared {
        /// Which of the two.
        kind: SecretKind,
        /// The configured value. Without one nobody is let in by it.
        secret: Option<Secret>,
        /// Whether a verified Tailscale login will do instead.
        tailscale: TailscaleLogin,
    },
    /// A proxy says who the user is.
    TrustedProxy {
        /// What the proxy must say. Without it nobody is let in.
        rule: Option<TrustedProxyRule>,
        /// A password for clients on this machine, which come without the proxy.
        local_password: Option<Secret>,
    },
}

/// Whether a Tailscale login is accepted in place of the secret (`gateway.auth.allowTailscale`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TailscaleLogin {
    /// No.
    #[default]
    Off,
    /// Yes, for the Control UI behind managed Serve.
    Allowed,
}

/// What a trusted proxy must say (`gateway.auth.trustedProxy`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxyRule {
    /// The header that names the user.
    pub user_header: String,
    /// Headers that must be there and not blank.
    pub required_headers: Vec<String>,
    /// The users that are let in; empty for all.
    pub allow_users: Vec<String>,
    /// Whether the proxy may run on this machine.
    pub loopback: LoopbackProxy,
}

/// Whether a trusted proxy may connect over loopback (`trustedProxy.allowLoopback`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoopbackProxy {
    /// No: any program on this machine could pose as the proxy.
    #[default]
    Refused,
    /// Yes.
    Allowed,
}

/// The part of the gateway that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Plain HTTP.
    Http,
    /// Reading the picture of a user over HTTP.
    HttpAvatar,
    /// The WebSocket.
    WebSocket,
}

/// What `tailscale whois` says about the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whois {
    /// It was not asked, or it gave no answer.
    #[default]
    Unknown,
    /// The login of the user at that address.
    Login(String),
}

/// The addresses of this machine's network interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAddresses {
    /// All of them.
    Known(Vec<IpAddr>),
    /// They could not be listed.
    Unavailable,
}

/// Everything about one login that the decision depends on.
#[derive(Clone, Debug)]
pub struct AuthRequest<'a> {
    /// What the request is for.
    pub surface: Surface,
    /// The other end of the socket.
    pub peer: IpAddr,
    /// Where the request comes from ([`Ingress::classify`]).
    pub ingress: Ingress,
    /// The headers of the HTTP request.
    pub headers: &'a RequestHeaders,
    /// `gateway.trustedProxies`.
    pub proxies: &'a TrustedProxies,
    /// Which origins are accepted over HTTP.
    pub origins: &'a OriginPolicy,
    /// This machine's addresses.
    pub local_addresses: &'a LocalAddresses,
    /// The token that the client sent, as it was sent.
    pub token: Option<&'a Secret>,
    /// The password that the client sent, as it was sent.
    pub password: Option<&'a Secret>,
    /// What Tailscale says about the client ([`whois_wanted`] tells whether to ask).
    pub whois: &'a Whois,
    /// What the rate limiter says about the client.
    pub rate: RateVerdict,
}

/// Decides whether a client is let in. Has no effect: [`settle`] tells the rate limiter.
///
/// ```
/// use clawgate_core::policy::*;
/// use clawgate_core::secret::Secret;
///
/// let rule = AuthRule::Shared {
///     kind: SecretKind::Token,
///     secret: Some(Secret::new("s3")),
///     tailscale: TailscaleLogin::Off,
/// };
/// let peer = "10.9.9.9".parse()?;
/// let sent = Secret::new("guess");
/// let request = AuthRequest {
///     surface: Surface::WebSocket,
///     peer,
///     ingress: Ingress::DirectRemote(peer),
///     headers: &RequestHeaders::default(),
///     proxies: &TrustedProxies::default(),
///     origins: &OriginPolicy::default(),
///     local_addresses: &LocalAddresses::Known(Vec::new()),
///     token: Some(&sent),
///     password: None,
///     whois: &Whois::Unknown,
///     rate: RateVerdict::Allowed { remaining: 10 },
/// };
/// assert_eq!(authorize(&rule, &request), Err(AuthReason::Mismatch(SecretKind::Token)));
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
///
/// # Errors
/// The first [`AuthReason`] that applies.
pub fn authorize(rule: &AuthRule, request: &AuthRequest<'_>) -> Result<Granted, AuthReason> {
    let whole = rule;
    // The configuration is judged before the request, so that a gateway that cannot let anybody
    // in says so to everybody.
    match rule {
        AuthRule::Shared { kind, secret, .. } => {
            if is_redacted(*kind, secret.as_ref()) {
                return Err(AuthReason::RedactedConfig(*kind));
            }
        }
        AuthRule::TrustedProxy { rule: None, .. } => {
            return Err(AuthReason::TrustedProxyConfigMissing);
        }
        AuthRule::TrustedProxy { rule: Some(_), .. } if request.proxies.is_empty() => {
            return Err(AuthReason::TrustedProxyNoProxies);
        }
        AuthRule::TrustedProxy { .. } | AuthRule::None => {}
    }
    if request.ingress == Ingress::Unattributable {
        return Err(AuthReason::ProxyAttributionRequired);
    }
    match rule {
        AuthRule::None => Ok(Granted::None),
        AuthRule::Shared {
            kind,
            secret,
            tailscale,
        } => {
            if *tailscale == TailscaleLogin::Allowed
                && let Some(granted) = by_tailscale(request)?
            {
                return Ok(granted);
            }
            let presented = presented_secret(whole, request);
            by_secret(*kind, secret.as_ref(), presented, request.rate)
        }
        AuthRule::TrustedProxy {
            rule,
            local_password,
        } => {
            let refused = match rule {
                Some(rule) => match by_trusted_proxy(rule, request) {
                    Ok(user) => {
                        // It names a user and no client: on loopback that looks like a program of
                        // this machine, and must not count as one (spec decisions).
                        if !matches!(request.ingress, Ingress::TrustedProxy(_)) {
                            return Err(AuthReason::ProxyAttributionRequired);
                        }
                        check_origin(request, OriginNeed::IfPresent)
                            .map_err(|()| AuthReason::TrustedProxyOriginNotAllowed)?;
                        return Ok(Granted::TrustedProxy(user));
                    }
                    Err(refused) => refused,
                },
                None => AuthReason::TrustedProxyConfigMissing,
            };
            match (
                usable(SecretKind::Password, local_password.as_ref()),
                presented_secret(whole, request),
            ) {
                (Some(password), Some(presented)) if request.ingress.is_direct_local() => {
                    by_secret(
                        SecretKind::Password,
                        Some(password),
                        Some(presented),
                        request.rate,
                    )
                }
                (Some(_) | None, _) => Err(refused),
            }
        }
    }
}

/// What the client presents where the rule asks for the shared secret: the field of its kind, else the
/// other one, since current clients send the secret in whichever field they know (spec decisions).
/// Beside a proxy only the password field counts.
pub fn presented_secret<'a>(rule: &AuthRule, request: &AuthRequest<'a>) -> Option<&'a Secret> {
    let (token, password) = (non_empty(request.token), non_empty(request.password));
    match rule {
        AuthRule::None => None,
        AuthRule::Shared {
            kind: SecretKind::Token,
            ..
        } => token.or(password),
        AuthRule::Shared {
            kind: SecretKind::Password,
            ..
        } => password.or(token),
        AuthRule::TrustedProxy { .. } => password,
    }
}

impl AuthRule {
    /// The kind of shared secret that may let a client in.
    pub const fn shared_kind(&self) -> Option<SecretKind> {
        match self {
            Self::None => None,
            Self::Shared { kind, .. } => Some(*kind),
            Self::TrustedProxy { .. } => Some(SecretKind::Password),
        }
    }

    /// The shared secret.
    pub const fn shared_secret(&self) -> Option<&Secret> {
        match self {
            Self::None => None,
            Self::Shared { secret, .. } => secret.as_ref(),
            Self::TrustedProxy { local_password, .. } => local_password.as_ref(),
        }
    }

    /// Takes another shared secret; nothing changes where none is asked for.
    pub fn set_shared_secret(&mut self, new: Option<Secret>) {
        match self {
            Self::None => {}
            Self::Shared { secret, .. } => *secret = new,
            Self::TrustedProxy { local_password, .. } => *local_password = new,
        }
    }
}

/// The address to ask `tailscale whois` about before [`authorize`], if its answer can matter.
///
/// The host gives up after 5 s, and remembers answers for 60 s and failures for 5 s.
pub fn whois_wanted(rule: &AuthRule, request: &AuthRequest<'_>) -> Option<IpAddr> {
    match rule {
        AuthRule::Shared {
            tailscale: TailscaleLogin::Allowed,
            ..
        } => tailscale_claim(request).map(|(client, _)| client),
        AuthRule::Shared { .. } | AuthRule::None | AuthRule::TrustedProxy { .. } => None,
    }
}

/// Tells the rate limiter how a decision ended, and gives how long to hold back the answer.
///
/// A gateway that goes on to try a device token tells the limiter only when that fails as well.
pub fn settle(
    limiter: &mut RateLimiter,
    client: Guesser,
    decision: &Result<Granted, AuthReason>,
    now: Instant,
) -> Duration {
    match decision {
        Ok(Granted::Token | Granted::Password | Granted::Tailscale(_)) => {
            client.record_success(limiter, LimitScope::SharedSecret);
            Duration::ZERO
        }
        Ok(Granted::None | Granted::TrustedProxy(_)) => Duration::ZERO,
        Err(reason) if reason.counts_as_failure() => {
            client.record_failure(limiter, LimitScope::SharedSecret, now)
        }
        Err(_) => Duration::ZERO,
    }
}

fn by_secret(
    kind: SecretKind,
    configured: Option<&Secret>,
    presented: Option<&Secret>,
    rate: RateVerdict,
) -> Result<Granted, AuthReason> {
    if let RateVerdict::Locked { retry_after } = rate {
        return Err(AuthReason::RateLimited { retry_after });
    }
    let configured = usable(kind, configured).ok_or(AuthReason::MissingConfig(kind))?;
    let presented = presented.ok_or(AuthReason::Missing(kind))?;
    if !configured.ct_eq(presented.expose()) {
        return Err(AuthReason::Mismatch(kind));
    }
    Ok(match kind {
        SecretKind::Token => Granted::Token,
        SecretKind::Password => Granted::Password,
    })
}

/// A configured secret, unless it is a word that only stands in place of one.
fn usable(kind: SecretKind, secret: Option<&Secret>) -> Option<&Secret> {
    secret.filter(|secret| check_secret(kind, secret.expose()).is_ok())
}

fn is_redacted(kind: SecretKind, secret: Option<&Secret>) -> bool {
    secret.is_some_and(|secret| {
        check_secret(kind, secret.expose()) == Err(NotASecret::RedactionMarker)
    })
}

fn non_empty(secret: Option<&Secret>) -> Option<&Secret> {
    secret.filter(|secret| !secret.expose().is_empty())
}

fn by_trusted_proxy(
    rule: &TrustedProxyRule,
    request: &AuthRequest<'_>,
) -> Result<String, AuthReason> {
    let peer = request.peer.to_canonical();
    if !request.proxies.contains(peer) {
        return Err(AuthReason::TrustedProxyUntrustedSource);
    }
    if peer.is_loopback() {
        if rule.loopback == LoopbackProxy::Refused {
            return Err(AuthReason::TrustedProxyLoopbackSource);
        }
    } else {
        match request.local_addresses {
            LocalAddresses::Known(addresses) => {
                if addresses
                    .iter()
                    .any(|address| address.to_canonical() == peer)
                {
                    return Err(AuthReason::TrustedProxyLocalInterface);
                }
            }
            LocalAddresses::Unavailable => {
                return Err(AuthReason::TrustedProxyLocalInterfaceCheckFailed);
            }
        }
    }
    if let Some(name) = rule
        .required_headers
        .iter()
        .find(|name| request.headers.get_non_blank(name.trim()).is_none())
    {
        return Err(AuthReason::TrustedProxyMissingHeader(name.clone()));
    }
    let user = request
        .headers
        .get_non_blank(rule.user_header.trim())
        .ok_or(AuthReason::TrustedProxyUserMissing)?;
    if !rule.allow_users.is_empty() && !rule.allow_users.contains(&user) {
        return Err(AuthReason::TrustedProxyUserNotAllowed);
    }
    Ok(user)
}

/// The client and the login that managed Serve claims for it. Whoever sends a secret is judged by
/// the secret alone.
fn tailscale_claim(request: &AuthRequest<'_>) -> Option<(IpAddr, String)> {
    let blank = |secret: Option<&Secret>| secret.is_none_or(|s| s.expose().trim().is_empty());
    let Ingress::TailscaleServe(client) = request.ingress else {
        return None;
    };
    if request.surface == Surface::Http || !blank(request.token) || !blank(request.password) {
        return None;
    }
    Some((
        client,
        request.headers.get_non_blank("tailscale-user-login")?,
    ))
}

fn by_tailscale(request: &AuthRequest<'_>) -> Result<Option<Granted>, AuthReason> {
    let Some((_, claimed)) = tailscale_claim(request) else {
        return Ok(None);
    };
    if request.surface == Surface::HttpAvatar {
        check_origin(request, OriginNeed::SameOriginFetch)
            .map_err(|()| AuthReason::OriginNotAllowed)?;
    }
    Ok(match request.whois {
        Whois::Login(login) if login.to_lowercase() == claimed.to_lowercase() => {
            Some(Granted::Tailscale(login.clone()))
        }
        Whois::Login(_) | Whois::Unknown => None,
    })
}

#[derive(Clone, Copy)]
enum OriginNeed {
    /// A request without an origin comes from no page.
    IfPresent,
    /// A request without an origin must be a fetch of the same origin.
    SameOriginFetch,
}

fn check_origin(request: &AuthRequest<'_>, need: OriginNeed) -> Result<(), ()> {
    if request.surface == Surface::WebSocket {
        // The handshake checks the origin by itself.
        return Ok(());
    }
    let Some(origin) = request.headers.get_non_blank("origin") else {
        let site = request.headers.get_non_blank("sec-fetch-site");
        return match need {
            OriginNeed::IfPresent => Ok(()),
            OriginNeed::SameOriginFetch
                if site.is_some_and(|site| site.eq_ignore_ascii_case("same-origin")) =>
            {
                Ok(())
            }
            OriginNeed::SameOriginFetch => Err(()),
        };
    };
    let host = request.headers.get("host");
    request
        .origins
        .check(Some(&origin), host.as_deref(), ClientLocality::Remote)
        .map(|_| ())
        .map_err(|_| ())
}

//! Which web pages may talk to the gateway (spec hostpolicy §4, spec protocol §1.2).

use core::net::IpAddr;

use url::Url;

use super::HostClass;
use super::proxy::{host_is_loopback, host_name};

/// Whether the client of a request is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientLocality {
    /// A loopback peer, with no sign of a proxy.
    Local,
    /// Anything else.
    Remote,
    /// Nobody has looked.
    Unknown,
}

/// Whether an origin is accepted because it repeats the `Host` header
/// (`gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostHeaderFallback {
    /// No: a client chooses its own `Host`.
    #[default]
    Off,
    /// Yes, as the configuration says in so many words.
    Dangerous,
}

/// The origins that are accepted (`gateway.controlUi.allowedOrigins`).
///
/// ```
/// use clawgate_core::policy::{ClientLocality, HostHeaderFallback, OriginMatch, OriginPolicy};
///
/// let policy = OriginPolicy::new(["https://control.example.com"], HostHeaderFallback::Off);
/// let check = |origin| policy.check(Some(origin), Some("gw.example.com"), ClientLocality::Remote);
/// assert_eq!(check("https://control.example.com:443"), Ok(OriginMatch::Allowlist));
/// assert!(check("https://evil.example.com").is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginPolicy {
    allowed: Vec<String>,
    any: bool,
    fallback: HostHeaderFallback,
}

/// The rule that accepted an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginMatch {
    /// It is in the list, or the list says `*`.
    Allowlist,
    /// It repeats the `Host` header, and the dangerous fallback is on.
    HostHeaderFallback,
    /// It repeats the `Host` header, which names a host that is near.
    PrivateSameOrigin,
    /// Both the page and the client are on this machine.
    LocalLoopback,
}

impl OriginMatch {
    /// The name in logs and cases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowlist => "allowlist",
            Self::HostHeaderFallback => "host-header-fallback",
            Self::PrivateSameOrigin => "private-same-origin",
            Self::LocalLoopback => "local-loopback",
        }
    }
}

/// Why an origin is refused. The text is what the gateway sends as `details.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginRefusal {
    /// No origin, `null`, or text that is no origin.
    #[error("origin missing or invalid")]
    Invalid,
    /// An origin that no rule accepts.
    #[error("origin not allowed")]
    NotAllowed,
}

impl OriginPolicy {
    /// Takes the list as it is configured: blanks around an entry and letter case do not count,
    /// everything else does, a slash at the end included.
    pub fn new<E: AsRef<str>>(
        allowed: impl IntoIterator<Item = E>,
        fallback: HostHeaderFallback,
    ) -> Self {
        let allowed: Vec<String> = allowed
            .into_iter()
            .map(|entry| entry.as_ref().trim().to_lowercase())
            .filter(|entry| !entry.is_empty())
            .collect();
        let any = allowed.iter().any(|entry| entry == "*");
        Self {
            allowed,
            any,
            fallback,
        }
    }

    /// Whether a page of this host is accepted by the configuration, whatever its scheme and port.
    pub(super) fn has_host(&self, name: &str) -> bool {
        self.any
            || self.fallback == HostHeaderFallback::Dangerous
            || self.allowed.iter().any(|origin| {
                origin
                    .split_once("://")
                    .is_some_and(|(_, authority)| host_name(authority) == name)
            })
    }

    /// Judges the `Origin` header of a request by its `Host` header and its client.
    ///
    /// # Errors
    /// [`OriginRefusal`], with the two reasons that the protocol knows.
    pub fn check(
        &self,
        origin: Option<&str>,
        host: Option<&str>,
        client: ClientLocality,
    ) -> Result<OriginMatch, OriginRefusal> {
        let origin = Origin::parse(origin.unwrap_or_default()).ok_or(OriginRefusal::Invalid)?;
        let same_host =
            host.is_some_and(|host| host.trim().eq_ignore_ascii_case(&origin.authority));
        if self.any || self.allowed.contains(&origin.text) {
            Ok(OriginMatch::Allowlist)
        } else if same_host && self.fallback == HostHeaderFallback::Dangerous {
            Ok(OriginMatch::HostHeaderFallback)
        } else if same_host && is_near(&origin.authority, client) {
            Ok(OriginMatch::PrivateSameOrigin)
        } else if client == ClientLocality::Local && host_is_loopback(&host_name(&origin.authority))
        {
            Ok(OriginMatch::LocalLoopback)
        } else {
            Err(OriginRefusal::NotAllowed)
        }
    }
}

struct Origin {
    /// `scheme://host[:port]`, lower case, without the scheme's default port.
    text: String,
    /// `host[:port]`.
    authority: String,
}

impl Origin {
    /// Reads an origin. Paths, queries, fragments and userinfo make it no origin at all.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
        let stray = |c: char| "/?#\\@".contains(c) || c.is_control();
        if !is_scheme || authority.is_empty() || authority.contains(stray) {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())?
            .to_lowercase();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        Some(Self {
            text: format!("{}://{authority}", url.scheme()),
            authority,
        })
    }
}

/// Whether a page of the same origin is trusted without being listed. Names count only as they
/// stand: no dot at the end.
fn is_near(authority: &str, client: ClientLocality) -> bool {
    let host = host_name(authority);
    if host_is_loopback(&host) {
        return client != ClientLocality::Remote;
    }
    match host.parse::<IpAddr>() {
        Ok(ip) => HostClass::of_ip(ip).allows_plaintext(),
        Err(_) => host.ends_with(".local") || host.ends_with(".ts.net"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        allowed: &[&str],
        origin: &str,
        host: &str,
        client: ClientLocality,
    ) -> Result<OriginMatch, OriginRefusal> {
        OriginPolicy::new(allowed, HostHeaderFallback::Off).check(Some(origin), Some(host), client)
    }

    #[test]
    fn text_that_is_no_origin_is_refused_even_with_a_star() {
        let policy = OriginPolicy::new(["*"], HostHeaderFallback::Dangerous);
        for origin in [
            None,
            Some(""),
            Some(" "),
            Some("null"),
            Some("localhost"),
            Some("file://"),
            Some("http://user@localhost"),
            Some("http://localhost/app"),
            Some("http://localhost?x"),
            Some("http://localhost#x"),
            Some("http://localhost\\x"),
            Some("http://[::1"),
        ] {
            let verdict = policy.check(origin, Some("localhost"), ClientLocality::Local);
            assert_eq!(verdict, Err(OriginRefusal::Invalid), "{origin:?}");
        }
    }

    #[test]
    fn the_list_is_matched_exactly() {
        let origin = "HTTPS://Control.Example.com:443/";
        let remote = ClientLocality::Remote;
        assert!(check(&[" https://CONTROL.example.com "], origin, "x", remote).is_ok());
        assert!(check(&["https://control.example.com/"], origin, "x", remote).is_err());
        assert!(check(&["https://example.com"], origin, "x", remote).is_err());
        assert!(check(&["tauri://localhost"], "Tauri://LOCALHOST", "x", remote).is_ok());
    }

    #[test]
    fn a_page_of_the_same_near_host_is_trusted() {
        for host in [
            "192.168.1.5:18789",
            "gw.local:18789",
            "gw.tail1.ts.net",
            "[fd00::1]:1",
        ] {
            let verdict = check(&[], &format!("http://{host}"), host, ClientLocality::Remote);
            assert_eq!(verdict, Ok(OriginMatch::PrivateSameOrigin), "{host}");
        }
        for host in [
            "gateway:18789",
            "gw.local.:1",
            "gw.ts.net.evil.com",
            "8.8.8.8",
            "127.0.0.1",
        ] {
            let verdict = check(&[], &format!("http://{host}"), host, ClientLocality::Remote);
            assert_eq!(verdict, Err(OriginRefusal::NotAllowed), "{host}");
        }
    }

    #[test]
    fn loopback_pages_are_for_local_clients() {
        let origin = "http://localhost:5173";
        let host = "127.0.0.1:18789";
        assert_eq!(
            check(&[], origin, host, ClientLocality::Local),
            Ok(OriginMatch::LocalLoopback)
        );
        assert!(check(&[], origin, host, ClientLocality::Remote).is_err());
        assert!(check(&[], origin, host, ClientLocality::Unknown).is_err());
    }
}

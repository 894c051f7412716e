//! From the text of a gateway URL to an endpoint to dial, or a refusal (spec hostpolicy §1).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use url::Url;

use super::{HostClass, Refusal, refusal::InvalidUrl};
use crate::tunnel::Through;

/// The longest URL that is looked at, in bytes. Longer text is no URL that anybody typed.
pub const MAX_URL_BYTES: usize = 8192;

/// The environment variable behind [`UrlPolicy::AllowInsecureNames`].
pub const BREAK_GLASS_ENV: &str = "OPENCLAW_ALLOW_INSECURE_PRIVATE_WS";

/// How strictly plaintext URLs are judged (spec hostpolicy §1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UrlPolicy {
    /// Plaintext only to hosts whose class proves that they are near.
    #[default]
    Strict,
    /// Break-glass: plaintext also to any host that is a name. Literal addresses gain nothing.
    AllowInsecureNames,
}

impl UrlPolicy {
    /// The policy that the value of [`BREAK_GLASS_ENV`] asks for. Only exactly `1` counts.
    pub fn from_env(value: Option<&str>) -> Self {
        match value {
            Some("1") => Self::AllowInsecureNames,
            Some(_) | None => Self::Strict,
        }
    }
}

/// The transport below the WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plaintext: `ws://`, or `http://`, which means the same here.
    Ws,
    /// TLS: `wss://`, or `https://`, which means the same here.
    Wss,
}

impl Scheme {
    /// `ws` or `wss`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The port that a URL without one means: 80 or 443.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    fn of(url: &Url) -> Option<Self> {
        match url.scheme() {
            "ws" | "http" => Some(Self::Ws),
            "wss" | "https" => Some(Self::Wss),
            _ => None,
        }
    }
}

/// A host as the WHATWG parser understood it: lower case, punycode, addresses in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, with its dots at the end if it was written with any.
    Domain(String),
    /// An IPv4 address, whichever way it was spelt.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
}

impl Host {
    /// The class of the host.
    pub fn class(&self) -> HostClass {
        match self {
            Self::Domain(name) => HostClass::of_name(name),
            Self::Ipv4(ip) => HostClass::of_ip(IpAddr::V4(*ip)),
            Self::Ipv6(ip) => HostClass::of_ip(IpAddr::V6(*ip)),
        }
    }

    /// The host without brackets, as resolvers and sockets take it.
    pub fn unbracketed(&self) -> Cow<'_, str> {
        match self {
            Self::Domain(name) => Cow::Borrowed(name),
            Self::Ipv4(ip) => Cow::Owned(ip.to_string()),
            Self::Ipv6(ip) => Cow::Owned(ip.to_string()),
        }
    }

    /// The address, when the host is a literal one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Domain(_) => None,
            Self::Ipv4(ip) => Some(IpAddr::V4(*ip)),
            Self::Ipv6(ip) => Some(IpAddr::V6(*ip)),
        }
    }
}

impl fmt::Display for Host {
    /// Writes the host as it stands in a URL: IPv6 addresses in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(name) => f.write_str(name),
            Self::Ipv4(ip) => write!(f, "{ip}"),
            Self::Ipv6(ip) => write!(f, "[{ip}]"),
        }
    }
}

/// A gateway address that the host policy has accepted. There is no other way to make one, so code
/// that holds an `Endpoint` may dial it.
///
/// ```
/// use clawgate_core::policy::{Endpoint, HostClass, UrlPolicy};
///
/// let endpoint = Endpoint::parse("ws://192.168.1.20:18789", UrlPolicy::Strict)?;
/// assert_eq!(endpoint.class(), HostClass::Private);
/// assert_eq!(endpoint.host_header(), "192.168.1.20:18789");
///
/// let refusal = Endpoint::parse("ws://gw.example.com", UrlPolicy::Strict).unwrap_err();
/// assert_eq!(refusal.code(), "plaintext-refused");
/// assert!(refusal.next_step().contains("wss://gw.example.com"));
/// # Ok::<(), clawgate_core::policy::Refusal>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) target: Target,
    path_and_query: String,
    userinfo_dropped: bool,
    break_glass: bool,
    through: Option<Arc<Through>>,
}

/// The part of a URL that a verdict speaks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) class: HostClass,
}

impl Target {
    /// Plaintext or TLS.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host as parsed.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port, with the scheme's default filled in.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The class that the host was judged by.
    pub const fn class(&self) -> HostClass {
        self.class
    }

    pub(super) fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Something about an accepted endpoint that its user should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointWarning {
    /// The break-glass variable alone made this plaintext host acceptable.
    BreakGlass,
    /// The URL carried a user name or password. They are dropped and never sent.
    UserinfoDropped,
    /// The port is 0, which no connection can reach.
    PortZero,
}

impl EndpointWarning {
    /// A stable name for reports.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BreakGlass => "break-glass",
            Self::UserinfoDropped => "userinfo-dropped",
            Self::PortZero => "port-zero",
        }
    }
}

impl fmt::Display for EndpointWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BreakGlass => write!(
                f,
                "plaintext to a host that proves nothing is allowed only because \
                 {BREAK_GLASS_ENV}=1 is set; anyone on the way can read the credentials"
            ),
            Self::UserinfoDropped => f.write_str(
                "the user name or password in the URL is ignored; give credentials with --token \
                 or --password",
            ),
            Self::PortZero => f.write_str("port 0 cannot be reached; write the gateway's port"),
        }
    }
}

impl Endpoint {
    /// Parses a URL as browsers do and judges the host that comes out of it, never the text.
    ///
    /// The port and the path never influence the verdict. A missing port is the scheme's default;
    /// port 0 is accepted with a warning, for refusing it would say something about the host.
    ///
    /// # Errors
    /// A [`Refusal`] when the text is no WebSocket URL, or names a plaintext host that is not near.
    pub fn parse(url: &str, policy: UrlPolicy) -> Result<Self, Refusal> {
        if url.trim().is_empty() {
            return Err(Refusal::Empty);
        }
        if url.len() > MAX_URL_BYTES {
            return Err(Refusal::Invalid(InvalidUrl::TooLong));
        }
        let parsed = Url::parse(url).map_err(Refusal::of_parser)?;
        let scheme = Scheme::of(&parsed).ok_or(Refusal::NotWebSocket)?;
        let host = match parsed.host() {
            Some(url::Host::Domain(name)) => Host::Domain(name.to_owned()),
            Some(url::Host::Ipv4(ip)) => Host::Ipv4(ip),
            Some(url::Host::Ipv6(ip)) => Host::Ipv6(ip),
            None => return Err(Refusal::Invalid(InvalidUrl::NoHost)),
        };
        let target = Target {
            scheme,
            class: host.class(),
            host,
            port: parsed.port().unwrap_or_else(|| scheme.default_port()),
        };
        let secure_enough = scheme == Scheme::Wss || target.class.allows_plaintext();
        let break_glass = !secure_enough
            && policy == UrlPolicy::AllowInsecureNames
            && matches!(target.host, Host::Domain(_));
        if !secure_enough && !break_glass {
            return Err(Refusal::Plaintext(target));
        }
        Ok(Self {
            target,
            path_and_query: match parsed.query() {
                Some(query) => format!("{}?{query}", parsed.path()),
                None => parsed.path().to_owned(),
            },
            userinfo_dropped: !parsed.username().is_empty() || parsed.password().is_some(),
            break_glass,
            through: None,
        })
    }

    /// The endpoint of a gateway on this machine: `ws://127.0.0.1:port`, or `wss` with TLS on
    /// (spec hostpolicy §1.5: always 127.0.0.1, whatever the gateway binds).
    pub fn local(scheme: Scheme, port: u16) -> Self {
        let host = Host::Ipv4(Ipv4Addr::LOCALHOST);
        Self {
            target: Target {
                scheme,
                class: host.class(),
                host,
                port,
            },
            path_and_query: "/".to_owned(),
            userinfo_dropped: false,
            break_glass: false,
            through: None,
        }
    }

    /// The same, reached through a tunnel whose end on this machine it is. Host, port and path stay what
    /// they were for every header, while the port that is dialled is the one where the tunnel really
    /// ends. `None` where the host is not this machine: a tunnel does not end elsewhere.
    pub fn through(self, tunnel: Through) -> Option<Self> {
        self.is_loopback().then(|| Self {
            through: Some(Arc::new(tunnel)),
            ..self
        })
    }

    /// The tunnel, if it is reached through one.
    pub fn tunnel(&self) -> Option<&Through> {
        self.through.as_deref()
    }

    /// Plaintext or TLS.
    pub const fn scheme(&self) -> Scheme {
        self.target.scheme
    }

    /// Whether the connection is encrypted.
    pub const fn is_tls(&self) -> bool {
        matches!(self.target.scheme, Scheme::Wss)
    }

    /// The host as parsed.
    pub const fn host(&self) -> &Host {
        &self.target.host
    }

    /// The port, with the scheme's default filled in.
    pub const fn port(&self) -> u16 {
        self.target.port
    }

    /// The class that the host was judged by.
    pub const fn class(&self) -> HostClass {
        self.target.class
    }

    /// Whether the host is this machine.
    pub const fn is_loopback(&self) -> bool {
        matches!(self.target.class, HostClass::Loopback)
    }

    /// The URL for people: no userinfo, no default port, and no query, which may hold a secret.
    pub fn url(&self) -> String {
        let (path, redacted) = match self.path_and_query.split_once('?') {
            Some((path, _)) => (path, "?redacted"),
            None => (self.path_and_query.as_str(), ""),
        };
        let path = if path == "/" && redacted.is_empty() {
            ""
        } else {
            path
        };
        format!(
            "{}://{}{path}{redacted}",
            self.target.scheme.as_str(),
            self.target.authority()
        )
    }

    /// The URL to dial, with its query and without userinfo. Do not print it.
    pub fn dial_url(&self) -> String {
        format!(
            "{}://{}{}",
            self.target.scheme.as_str(),
            self.target.authority(),
            self.path_and_query
        )
    }

    /// The value of the `Host` header: the port only when it is not the scheme's default.
    pub fn host_header(&self) -> String {
        self.target.authority()
    }

    /// The path and the query of the HTTP request line, starting with `/`.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The name to verify a certificate for: no brackets, no dots at the end.
    pub fn server_name(&self) -> Cow<'_, str> {
        match &self.target.host {
            Host::Domain(name) => Cow::Borrowed(name.trim_end_matches('.')),
            host @ (Host::Ipv4(_) | Host::Ipv6(_)) => host.unbracketed(),
        }
    }

    /// Whether the URL carried a user name or password, which are never sent.
    pub const fn dropped_userinfo(&self) -> bool {
        self.userinfo_dropped
    }

    /// Whether only the break-glass variable made this endpoint acceptable.
    pub const fn is_break_glass(&self) -> bool {
        self.break_glass
    }

    /// What the user should be told about this endpoint.
    pub fn warnings(&self) -> impl Iterator<Item = EndpointWarning> {
        [
            (self.break_glass, EndpointWarning::BreakGlass),
            (self.userinfo_dropped, EndpointWarning::UserinfoDropped),
            (self.target.port == 0, EndpointWarning::PortZero),
        ]
        .into_iter()
        .filter_map(|(applies, warning)| applies.then_some(warning))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url())
            .field("class", &self.class())
            .finish()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(url: &str) -> Result<Endpoint, Refusal> {
        Endpoint::parse(url, UrlPolicy::Strict)
    }

    #[test]
    fn the_parsed_host_is_judged_and_never_the_text() {
        for url in [
            "ws://127.0.0.1@evil.com",
            "ws://127.0.0.1:18789@evil.com",
            "ws://evil.com\\@127.0.0.1",
            "ws://evil.com?@127.0.0.1",
            "ws://evil.com#@127.0.0.1",
            "ws://134744072",
            "ws://[::ffff:8.8.8.8]",
        ] {
            assert!(matches!(strict(url), Err(Refusal::Plaintext(_))), "{url}");
        }
        for url in [
            "ws://evil.com@127.0.0.1",
            "ws://127.0.0.1\\@evil.com",
            "ws:127.0.0.1",
            "ws:///127.0.0.1",
            " w\ns://2130706433\t",
            "http://0177.0.0.1.",
            "ws://%31%32%37.0.0.1",
            "ws://ⓛocalhost..",
            "ws://１２７。0。0。1",
        ] {
            let endpoint = strict(url).unwrap_or_else(|refusal| panic!("{url}: {refusal}"));
            assert!(endpoint.is_loopback(), "{url}");
        }
    }

    #[test]
    fn text_that_is_no_websocket_url_is_refused() {
        assert_eq!(strict(" \t"), Err(Refusal::Empty));
        for url in [
            "127.0.0.1:18789",
            "localhost:18789",
            "//127.0.0.1",
            "ftp://127.0.0.1",
            "x",
        ] {
            assert_eq!(strict(url), Err(Refusal::NotWebSocket), "{url}");
        }
        for (url, fault) in [
            ("ws://", InvalidUrl::NoHost),
            ("wss://:443", InvalidUrl::NoHost),
            ("ws://127.0.0.256", InvalidUrl::Host),
            ("ws://[fe80::1%25eth0]", InvalidUrl::Host),
            ("ws://[::1", InvalidUrl::Host),
            ("ws://127.0.0.1:65536", InvalidUrl::Port),
            ("ws://127.0.0.1:-1", InvalidUrl::Port),
        ] {
            assert_eq!(strict(url), Err(Refusal::Invalid(fault)), "{url}");
        }
        let long = format!("wss://example.com/{}", "a".repeat(MAX_URL_BYTES));
        assert_eq!(strict(&long), Err(Refusal::Invalid(InvalidUrl::TooLong)));
    }

    #[test]
    fn userinfo_is_dropped_and_said_so() {
        let endpoint = strict("wss://nick:hunter2@gw.example.com/path?token=hunter2#x").unwrap();
        assert_eq!(
            endpoint.dial_url(),
            "wss://gw.example.com/path?token=hunter2"
        );
        assert_eq!(
            endpoint.warnings().collect::<Vec<_>>(),
            [EndpointWarning::UserinfoDropped]
        );
        assert!(!format!("{endpoint:?} {endpoint}").contains("hunter2"));
    }

    #[test]
    fn refusals_never_repeat_userinfo() {
        for url in [
            "ws://nick:hunter2@gw.example.com?hunter2",
            "nick:hunter2@gw.example.com",
        ] {
            let refusal = strict(url).unwrap_err();
            assert!(
                !format!("{refusal:?} {refusal}").contains("hunter2"),
                "{url}"
            );
        }
    }

    #[test]
    fn break_glass_is_for_names_only_and_warns() {
        let policy = UrlPolicy::from_env(Some("1"));
        let endpoint = Endpoint::parse("ws://gateway:18789", policy).unwrap();
        assert_eq!(
            endpoint.warnings().collect::<Vec<_>>(),
            [EndpointWarning::BreakGlass]
        );
        for url in [
            "ws://8.8.8.8",
            "ws://134744072",
            "ws://0.0.0.0",
            "ws://[::]",
            "ws://[2a00::1]",
        ] {
            assert!(Endpoint::parse(url, policy).is_err(), "{url}");
        }
        let near = Endpoint::parse("ws://gw.local", policy).unwrap();
        assert!(!near.is_break_glass());
        for value in [
            None,
            Some(""),
            Some("0"),
            Some("true"),
            Some(" 1"),
            Some("1\n"),
        ] {
            assert_eq!(UrlPolicy::from_env(value), UrlPolicy::Strict);
        }
    }

    #[test]
    fn ports_default_by_scheme_and_zero_is_warned_about() {
        assert_eq!(strict("ws://127.0.0.1:").unwrap().port(), 80);
        assert_eq!(strict("https://gw.example.com").unwrap().port(), 443);
        let zero = strict("ws://127.0.0.1:0").unwrap();
        assert_eq!(
            zero.warnings().collect::<Vec<_>>(),
            [EndpointWarning::PortZero]
        );
    }

    #[test]
    fn headers_and_names_fit_their_use() {
        let endpoint = strict("ws://[::1]:18789/a b?c").unwrap();
        assert_eq!(endpoint.host_header(), "[::1]:18789");
        assert_eq!(endpoint.host().unbracketed(), "::1");
        assert_eq!(endpoint.path_and_query(), "/a%20b?c");
        assert_eq!(
            strict("wss://GW.Example.com.").unwrap().server_name(),
            "gw.example.com"
        );
        assert_eq!(
            Endpoint::local(Scheme::Ws, 18789).url(),
            "ws://127.0.0.1:18789"
        );
    }

    #[test]
    fn refusals_name_the_way_out() {
        let refusal = strict("ws://gw.example.com:8080").unwrap_err();
        let next = refusal.next_step();
        for part in [
            "wss://gw.example.com:8080",
            "ssh -N -L 18789:127.0.0.1:8080",
            "Tailscale",
        ] {
            assert!(next.contains(part), "{next}");
        }
        assert!(
            strict("ws://0.0.0.0:1234")
                .unwrap_err()
                .next_step()
                .contains("127.0.0.1:1234")
        );
    }
}

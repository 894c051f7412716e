//! Trusted proxies and the client behind them (spec hostpolicy §5).

use core::net::{IpAddr, Ipv4Addr};
use std::borrow::Cow;
use std::fmt;

use ipnet::{IpNet, Ipv4Net};

use super::HostClass;

/// The headers of an HTTP request that the policy reads. `Debug` shows the names only.
///
/// A header that is repeated counts as one, with its values joined by a comma. So a client cannot
/// hide one value behind another.
///
/// ```
/// use clawgate_core::policy::RequestHeaders;
///
/// let headers = RequestHeaders::new([("X-Forwarded-For", "198.51.100.4"), ("Host", "gw.local")]);
/// assert_eq!(headers.get("x-forwarded-for").as_deref(), Some("198.51.100.4"));
/// assert!(headers.has_forwarding());
/// ```
#[derive(Clone, Default)]
pub struct RequestHeaders(Vec<(String, String)>);

impl RequestHeaders {
    /// Takes names and values in the order of the request.
    pub fn new<N: AsRef<str>, V: Into<String>>(headers: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(
            headers
                .into_iter()
                .map(|(name, value)| (name.as_ref().to_ascii_lowercase(), value.into()))
                .collect(),
        )
    }

    /// The value of a header. The case of the name makes no difference.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self
            .0
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str());
        let first = values.next()?;
        Some(values.fold(Cow::Borrowed(first), |all, next| {
            Cow::Owned(format!("{all}, {next}"))
        }))
    }

    /// The value of a header, trimmed, unless it is missing or blank.
    pub fn get_non_blank(&self, name: &str) -> Option<String> {
        let value = self.get(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Whether a proxy has left a mark: `Forwarded`, `X-Real-IP` or any `X-Forwarded-*`.
    pub fn has_forwarding(&self) -> bool {
        self.0.iter().any(|(name, _)| is_forwarding(name))
    }

    /// Whether there is a header that only a Tailscale proxy sets.
    pub fn has_tailscale(&self) -> bool {
        self.0.iter().any(|(name, _)| is_tailscale(name))
    }

    /// The names of the headers by which a proxy shows itself, in lower case.
    pub fn proxy_names(&self) -> Vec<&str> {
        self.0
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| is_forwarding(name) || is_tailscale(name))
            .collect()
    }
}

fn is_forwarding(name: &str) -> bool {
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

fn is_tailscale(name: &str) -> bool {
    matches!(
        name,
        "tailscale-funnel-request"
            | "tailscale-headers-info"
            | "tailscale-user-login"
            | "tailscale-user-name"
            | "tailscale-user-profile-pic"
    )
}

impl fmt::Debug for RequestHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// The proxies of `gateway.trustedProxies`: addresses and CIDR blocks.
///
/// ```
/// use clawgate_core::policy::TrustedProxies;
///
/// let proxies = TrustedProxies::parse(["10.42.0.77/24", " [::1] ", "nonsense"]);
/// assert!(proxies.contains("::ffff:10.42.0.1".parse()?));
/// assert!(!proxies.contains("10.43.0.1".parse()?));
/// assert_eq!(proxies.rejected(), ["nonsense"]);
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    nets: Vec<IpNet>,
    rejected: Vec<String>,
}

impl TrustedProxies {
    /// Reads the entries. Those that are no address and no block never match; they are kept in
    /// [`TrustedProxies::rejected`], so that a check of the configuration can name them.
    pub fn parse<E: AsRef<str>>(entries: impl IntoIterator<Item = E>) -> Self {
        let mut proxies = Self::default();
        for entry in entries {
            match parse_net(entry.as_ref().trim()) {
                Some(net) => proxies.nets.push(net),
                None => proxies.rejected.push(entry.as_ref().to_owned()),
            }
        }
        proxies
    }

    /// Whether the list has no entry at all, not even a wrong one.
    pub const fn is_empty(&self) -> bool {
        self.nets.is_empty() && self.rejected.is_empty()
    }

    /// The entries that were not understood.
    pub fn rejected(&self) -> &[String] {
        &self.rejected
    }

    /// Whether an address is one of the proxies. An IPv4-mapped address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.nets.iter().any(|net| net.contains(&ip))
    }
}

/// Whether `X-Real-IP` is believed when `X-Forwarded-For` gives no client
/// (`gateway.allowRealIpFallback`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RealIpFallback {
    /// It is ignored.
    #[default]
    Off,
    /// It is believed, from trusted proxies only.
    Allowed,
}

/// The address of the client: the peer itself, or the client that a trusted proxy names.
///
/// From a trusted proxy it is the rightmost hop of `X-Forwarded-For` that is neither loopback nor
/// a trusted proxy. `None` means that the proxy did not say, so the client is unknown.
pub fn client_ip(
    peer: IpAddr,
    headers: &RequestHeaders,
    proxies: &TrustedProxies,
    fallback: RealIpFallback,
) -> Option<IpAddr> {
    if !proxies.contains(peer) {
        return Some(peer.to_canonical());
    }
    let forwarded = headers.get("x-forwarded-for").unwrap_or_default();
    let hop = forwarded
        .rsplit(',')
        .filter_map(parse_hop)
        .find(|hop| !hop.is_loopback() && !proxies.contains(*hop));
    match fallback {
        RealIpFallback::Allowed => {
            hop.or_else(|| headers.get("x-real-ip").as_deref().and_then(parse_hop))
        }
        RealIpFallback::Off => hop,
    }
}

/// Reads one hop: an address, perhaps in brackets, perhaps with a port.
pub fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            // Two colons or more make a bare IPv6 address.
            Some((address, port)) if !port.contains(':') => address,
            Some(_) | None => text,
        },
    };
    address.parse().map(|ip: IpAddr| ip.to_canonical()).ok()
}

/// Whether a `Host` header names this machine or a Tailscale Serve name.
pub fn host_header_is_localish(host: &str) -> bool {
    let name = host_name(host);
    host_is_loopback(&name) || name.ends_with(".ts.net")
}

/// The name in a `Host` header: lower case, without port and brackets.
pub fn host_name(host: &str) -> String {
    let host = host.trim().to_ascii_lowercase();
    if let Some((name, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return name.to_owned();
    }
    if host.parse::<IpAddr>().is_ok() {
        return host;
    }
    host.split_once(':')
        .map_or(host.as_str(), |(name, _)| name)
        .to_owned()
}

/// Whether a name or an address without brackets is this machine.
pub fn host_is_loopback(host: &str) -> bool {
    let class = match host.parse() {
        Ok(ip) => HostClass::of_ip(ip),
        Err(_) => HostClass::of_name(host),
    };
    class == HostClass::Loopback
}

fn parse_net(entry: &str) -> Option<IpNet> {
    let Some((address, prefix)) = entry.split_once('/') else {
        let address = entry
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(entry)
            .parse::<IpAddr>()
            .ok()?;
        return Some(IpNet::from(address.to_canonical()));
    };
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let net = IpNet::new(address.parse().ok()?, prefix.parse().ok()?).ok()?;
    match (net, net.addr().to_canonical()) {
        (IpNet::V6(mapped), IpAddr::V4(address)) if mapped.prefix_len() >= 96 => {
            mapped_net(address, mapped.prefix_len())
        }
        (net, _) => Some(net.trunc()),
    }
}

fn mapped_net(address: Ipv4Addr, prefix: u8) -> Option<IpNet> {
    Ipv4Net::new(address, prefix.checked_sub(96)?)
        .ok()
        .map(|net| IpNet::V4(net.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_match_within_their_family_only() {
        let any4 = TrustedProxies::parse(["0.0.0.0/0"]);
        let any6 = TrustedProxies::parse(["::/0"]);
        assert!(any4.contains(ip("8.8.8.8")) && !any4.contains(ip("2001:db8::1")));
        assert!(any6.contains(ip("2001:db8::1")) && !any6.contains(ip("8.8.8.8")));
        let mapped = TrustedProxies::parse(["::ffff:10.0.0.0/104"]);
        assert!(mapped.contains(ip("10.9.9.9")) && !mapped.contains(ip("11.0.0.1")));
    }

    #[test]
    fn odd_entries_never_match() {
        let entries = [
            "",
            " ",
            "127.1",
            "0x7f000001",
            "0177.0.0.1",
            "10.0.0.0/33",
            "10.0.0.0/",
            "*",
            "host",
        ];
        let proxies = TrustedProxies::parse(entries);
        assert_eq!(proxies.rejected().len(), entries.len());
        assert!(!proxies.contains(ip("127.0.0.1")) && !proxies.contains(ip("10.0.0.0")));
        assert!(!proxies.is_empty());
    }

    #[test]
    fn the_client_is_the_rightmost_stranger() {
        let proxies = TrustedProxies::parse(["10.0.0.1", "127.0.0.1"]);
        for (forwarded, client) in [
            ("198.51.100.99, 10.0.0.9, 127.0.0.1", Some("10.0.0.9")),
            ("198.51.100.7:4711, 10.0.0.1", Some("198.51.100.7")),
            ("[2001:db8::7]:443, ::1", Some("2001:db8::7")),
            ("2001:db8::7, ::ffff:10.0.0.1", Some("2001:db8::7")),
            ("garbage, 10.0.0.999", None),
            ("127.0.0.1", None),
            ("", None),
        ] {
            let headers = RequestHeaders::new([("X-Forwarded-For", forwarded)]);
            let found = client_ip(ip("10.0.0.1"), &headers, &proxies, RealIpFallback::Off);
            assert_eq!(found, client.map(ip), "{forwarded}");
        }
    }

    #[test]
    fn repeated_headers_count_as_one_list() {
        let proxies = TrustedProxies::parse(["10.0.0.1"]);
        let headers = RequestHeaders::new([
            ("x-forwarded-for", "203.0.113.1"),
            ("X-Forwarded-For", "198.51.100.7"),
        ]);
        let found = client_ip(ip("10.0.0.1"), &headers, &proxies, RealIpFallback::Off);
        assert_eq!(found, Some(ip("198.51.100.7")));
    }

    #[test]
    fn headers_of_strangers_are_not_believed() {
        let headers = RequestHeaders::new([("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "::1")]);
        let proxies = TrustedProxies::parse(["10.0.0.1"]);
        let found = client_ip(
            ip("203.0.113.9"),
            &headers,
            &proxies,
            RealIpFallback::Allowed,
        );
        assert_eq!(found, Some(ip("203.0.113.9")));
    }

    #[test]
    fn local_host_headers_are_known() {
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.2:80",
            "[::1]:80",
            "::1",
            "a.ts.net:443",
        ] {
            assert!(host_header_is_localish(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "192.168.1.10",
            "ts.net",
            "a.ts.net.evil.com",
            "0.0.0.0",
        ] {
            assert!(!host_header_is_localish(host), "{host}");
        }
    }
}

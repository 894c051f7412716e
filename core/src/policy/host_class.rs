//! What kind of network a host belongs to (spec hostpolicy §1.2 and §1.4).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

/// The kind of network that a host belongs to, judged by its literal address or its name alone.
///
/// ```
/// use clawgate_core::policy::HostClass;
///
/// assert_eq!(HostClass::of_ip("100.101.102.103".parse()?), HostClass::Cgnat);
/// assert_eq!(HostClass::of_name("gw.tail1234.ts.net."), HostClass::Tailnet);
/// assert!(!HostClass::of_name("gw.ts.net.example.com").allows_plaintext());
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostClass {
    /// This machine: `localhost`, 127.0.0.0/8, `::1`.
    Loopback,
    /// RFC 1918: 10/8, 172.16/12, 192.168/16.
    Private,
    /// 169.254/16 and fe80::/10.
    LinkLocal,
    /// Carrier-grade NAT, 100.64/10, which tailnets use for their IPv4 addresses.
    Cgnat,
    /// fc00::/7, outside the prefix of tailnets.
    UniqueLocal,
    /// The retired fec0::/10.
    SiteLocal,
    /// A name under `.local`.
    Mdns,
    /// A name under `.ts.net`, or an address in fd7a:115c:a1e0::/48.
    Tailnet,
    /// A name that usually means a private host (one label, `.lan`, `.internal`, …). Only a
    /// resolver could tell, so it proves nothing.
    PrivateName,
    /// 0.0.0.0/8 and `::`: addresses to listen on, not to dial.
    Unspecified,
    /// 224/4, ff00::/8 and 255.255.255.255.
    Multicast,
    /// Addresses set aside for documentation.
    Documentation,
    /// IPv6 addresses that embed an IPv4 address: NAT64, 6to4, Teredo, `::a.b.c.d`.
    Transition,
    /// Any other block without an ordinary use.
    Reserved,
    /// Everything else: names and addresses on the Internet.
    Public,
}

impl HostClass {
    /// The class of a literal address. An IPv4-mapped IPv6 address is judged as its IPv4 address.
    pub fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_ipv4(ip),
            IpAddr::V6(ip) => Self::of_ipv6(ip),
        }
    }

    /// The class of a name. Letter case and dots at the end make no difference.
    ///
    /// The caller has parsed the host before: text that is a literal address is not looked into.
    pub fn of_name(name: &str) -> Self {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" {
            Self::Loopback
        } else if name.ends_with(".local") {
            Self::Mdns
        } else if name.ends_with(".ts.net") {
            Self::Tailnet
        } else if !name.contains('.')
            || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        {
            Self::PrivateName
        } else {
            Self::Public
        }
    }

    /// Whether `ws://` without TLS is acceptable to such a host (seed 002, Security rules; where
    /// the two gates of the released client differ, the stricter one: spec hostpolicy §1.4).
    pub const fn allows_plaintext(self) -> bool {
        match self {
            Self::Loopback
            | Self::Private
            | Self::LinkLocal
            | Self::Cgnat
            | Self::UniqueLocal
            | Self::SiteLocal
            | Self::Mdns
            | Self::Tailnet => true,
            Self::PrivateName
            | Self::Unspecified
            | Self::Multicast
            | Self::Documentation
            | Self::Transition
            | Self::Reserved
            | Self::Public => false,
        }
    }

    /// The stable name of the class, as reports print it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Cgnat => "cgnat",
            Self::UniqueLocal => "unique-local",
            Self::SiteLocal => "site-local",
            Self::Mdns => "mdns",
            Self::Tailnet => "tailnet",
            Self::PrivateName => "private-name",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Documentation => "documentation",
            Self::Transition => "transition",
            Self::Reserved => "reserved",
            Self::Public => "public",
        }
    }

    fn of_ipv4(ip: Ipv4Addr) -> Self {
        match ip.octets() {
            [0, ..] => Self::Unspecified,
            [127, ..] => Self::Loopback,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Private,
            [169, 254, ..] => Self::LinkLocal,
            [100, 64..=127, ..] => Self::Cgnat,
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Self::Documentation,
            [224..=239, ..] | [255, 255, 255, 255] => Self::Multicast,
            [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..] => Self::Reserved,
            _ => Self::Public,
        }
    }

    fn of_ipv6(ip: Ipv6Addr) -> Self {
        match ip.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xfec0..=0xfeff, ..] => Self::SiteLocal,
            [0xfd7a, 0x115c, 0xa1e0, ..] => Self::Tailnet,
            [0xfc00..=0xfdff, ..] => Self::UniqueLocal,
            [0xff00..=0xffff, ..] => Self::Multicast,
            [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Self::Documentation,
            [0, 0, 0, 0, 0, 0, _, _]
            | [0, 0, 0, 0, 0xffff, 0, _, _]
            | [0x0064, 0xff9b, ..]
            | [0x2001, 0, ..]
            | [0x2002, ..] => Self::Transition,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Reserved,
        }
    }
}

impl std::fmt::Display for HostClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Suffixes that no public registry hands out. They only make the refusal say something useful.
const PRIVATE_SUFFIXES: [&str; 9] = [
    ".localhost",
    ".localdomain",
    ".lan",
    ".internal",
    ".intranet",
    ".home.arpa",
    ".home",
    ".corp",
    ".private",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> HostClass {
        HostClass::of_ip(text.parse().unwrap())
    }

    #[test]
    fn ipv4_blocks_end_where_they_should() {
        for (inside, outside, class) in [
            ("10.255.255.255", "11.0.0.0", HostClass::Private),
            ("172.16.0.0", "172.15.255.255", HostClass::Private),
            ("172.31.255.255", "172.32.0.0", HostClass::Private),
            ("192.168.0.0", "192.167.255.255", HostClass::Private),
            ("100.64.0.0", "100.63.255.255", HostClass::Cgnat),
            ("100.127.255.255", "100.128.0.0", HostClass::Cgnat),
            ("169.254.169.254", "169.253.255.255", HostClass::LinkLocal),
            ("127.255.255.255", "128.0.0.0", HostClass::Loopback),
        ] {
            assert_eq!(ip(inside), class, "{inside}");
            assert!(!ip(outside).allows_plaintext(), "{outside}");
        }
    }

    #[test]
    fn ipv6_blocks_end_where_they_should() {
        for (inside, outside, class) in [
            ("fe80::1", "fe7f::1", HostClass::LinkLocal),
            ("febf::1", "fe7f:ffff::1", HostClass::LinkLocal),
            ("feff::1", "ff00::1", HostClass::SiteLocal),
            ("fc00::1", "fbff::1", HostClass::UniqueLocal),
            ("fdff::1", "fe00::1", HostClass::UniqueLocal),
            ("fd7a:115c:a1e0::1", "2a00::1", HostClass::Tailnet),
            ("::1", "::2", HostClass::Loopback),
        ] {
            assert_eq!(ip(inside), class, "{inside}");
            assert!(!ip(outside).allows_plaintext(), "{outside}");
        }
    }

    #[test]
    fn embedded_ipv4_addresses_count_only_when_mapped() {
        assert_eq!(ip("::ffff:10.0.0.1"), HostClass::Private);
        assert_eq!(ip("::ffff:8.8.8.8"), HostClass::Public);
        for text in [
            "::127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
        ] {
            assert_eq!(ip(text), HostClass::Transition, "{text}");
        }
    }

    #[test]
    fn a_suffix_counts_only_behind_a_dot() {
        for name in [
            "local",
            "ts.net",
            "evilts.net",
            "evillocal",
            "x.local.evil.com",
            "foo.localhost",
        ] {
            assert!(!HostClass::of_name(name).allows_plaintext(), "{name}");
        }
        assert_eq!(HostClass::of_name("GW.Local.."), HostClass::Mdns);
        assert_eq!(HostClass::of_name("LOCALHOST."), HostClass::Loopback);
    }
}

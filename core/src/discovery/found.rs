//! What is heard on the network, judged and kept within bounds.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::text::{clean, is_host_label, unescape};
use super::{Hints, SERVICE};
use crate::policy::{Endpoint, HostClass, UrlPolicy};

/// The most gateways that are kept; a network that shows more of them is lying.
pub const MAX_GATEWAYS: usize = 64;
/// The most addresses of one gateway.
const MAX_ADDRESSES: usize = 8;
/// The most names that are remembered of beacons that were ignored.
const MAX_IGNORED: usize = 64;
/// The longest name in bytes (RFC 1035).
const MAX_NAME: usize = 255;

/// Something that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A beacon with all its records.
    Resolved(Resolved),
    /// The beacon of this full name said goodbye.
    Gone(String),
}

/// The records of one beacon, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The full name of the instance, with the escapes of DNS.
    pub fullname: String,
    /// The host of the service record.
    pub host: String,
    /// The port of the service record.
    pub port: u16,
    /// The host's addresses, by address records.
    pub addresses: Vec<IpAddr>,
    /// Keys and values of the text record.
    pub txt: Vec<(String, Vec<u8>)>,
}

/// A gateway that somebody on the network claims to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name of the instance, for people.
    pub instance: String,
    /// The host of the service record, without the dot at its end.
    pub host: String,
    /// The port of the service record.
    pub port: u16,
    /// Addresses that can be dialled, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// What else it says.
    pub hints: Hints,
}

/// Why a beacon is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// Its name is none of this service.
    Name,
    /// Its host is no name under `.local`: mDNS speaks for no others.
    Host,
    /// Its port is 0.
    Port,
    /// It names no address that could be on this network.
    Addresses,
    /// There are too many.
    TooMany,
}

impl Ignored {
    /// The reason in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "its name is not one of a gateway",
            Self::Host => "its host is not a name under .local",
            Self::Port => "it has no port",
            Self::Addresses => "it names no address that can be dialled",
            Self::TooMany => "too many beacons",
        }
    }
}

/// Everything that was heard so far.
#[derive(Clone, Debug, Default)]
pub struct Discovered {
    gateways: BTreeMap<String, Found>,
    ignored: BTreeMap<String, Ignored>,
}

impl Discovered {
    /// Takes in what was heard. The last word of a beacon counts.
    pub fn see(&mut self, sighting: Sighting) {
        let (name, judged) = match sighting {
            Sighting::Gone(name) => {
                let name = name.to_lowercase();
                self.gateways.remove(&name);
                self.ignored.remove(&name);
                return;
            }
            Sighting::Resolved(resolved) => {
                let judged = judge(&resolved);
                (resolved.fullname.to_lowercase(), judged)
            }
        };
        let full = self.gateways.len() >= MAX_GATEWAYS && !self.gateways.contains_key(&name);
        match judged {
            Ok(found) if !full => {
                self.ignored.remove(&name);
                self.gateways.insert(name, found);
            }
            Ok(_) => self.ignore(name, Ignored::TooMany),
            Err(reason) => {
                self.gateways.remove(&name);
                self.ignore(name, reason);
            }
        }
    }

    fn ignore(&mut self, name: String, reason: Ignored) {
        if self.ignored.len() < MAX_IGNORED && name.len() <= MAX_NAME {
            self.ignored.insert(name, reason);
        }
    }

    /// The gateways, by name.
    pub fn gateways(&self) -> Vec<&Found> {
        self.gateways.values().collect()
    }

    /// Beacons that are not shown, by name, and why.
    pub fn ignored(&self) -> impl Iterator<Item = (String, Ignored)> {
        self.ignored
            .iter()
            .map(|(name, reason)| (clean(&unescape(name), 80), *reason))
    }
}

impl Found {
    /// Where a client might connect, by the service record and its addresses, if the rules for URLs
    /// allow it. Whether they say `wss` is a hint as well: a gateway that speaks TLS refuses the other.
    pub fn urls(&self) -> Vec<String> {
        let scheme = if self.hints.gateway_tls { "wss" } else { "ws" };
        self.addresses
            .iter()
            .map(|address| match address {
                IpAddr::V4(ip) => format!("{scheme}://{ip}:{}", self.port),
                IpAddr::V6(ip) => format!("{scheme}://[{ip}]:{}", self.port),
            })
            .filter(|url| Endpoint::parse(url, UrlPolicy::Strict).is_ok())
            .collect()
    }
}

fn judge(resolved: &Resolved) -> Result<Found, Ignored> {
    let instance = resolved
        .fullname
        .len()
        .checked_sub(SERVICE.len() + 1)
        .and_then(|end| resolved.fullname.split_at_checked(end))
        .filter(|(_, rest)| {
            resolved.fullname.len() <= MAX_NAME
                && rest
                    .strip_prefix('.')
                    .is_some_and(|kind| kind.eq_ignore_ascii_case(SERVICE))
        })
        .map(|(name, _)| clean(&unescape(name), 63))
        .filter(|name| !name.is_empty())
        .ok_or(Ignored::Name)?;
    let host = resolved.host.trim_end_matches('.').to_ascii_lowercase();
    let is_local = host.strip_suffix(".local").is_some_and(is_host_label);
    if !is_local {
        return Err(Ignored::Host);
    }
    if resolved.port == 0 {
        return Err(Ignored::Port);
    }
    let mut addresses: Vec<IpAddr> = resolved
        .addresses
        .iter()
        .copied()
        .filter(|ip| is_dialable(*ip))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    if addresses.is_empty() {
        return Err(Ignored::Addresses);
    }
    Ok(Found {
        instance,
        host,
        port: resolved.port,
        addresses,
        hints: Hints::read(&resolved.txt),
    })
}

/// Somebody else's word never leads to this machine, or to where nobody is. Addresses of a link in
/// IPv6 need a zone, which URLs do not carry.
fn is_dialable(ip: IpAddr) -> bool {
    match HostClass::of_ip(ip) {
        HostClass::Private
        | HostClass::Cgnat
        | HostClass::UniqueLocal
        | HostClass::SiteLocal
        | HostClass::Tailnet
        | HostClass::Public => true,
        HostClass::LinkLocal => ip.is_ipv4(),
        HostClass::Loopback
        | HostClass::Mdns
        | HostClass::PrivateName
        | HostClass::Unspecified
        | HostClass::Multicast
        | HostClass::Documentation
        | HostClass::Transition
        | HostClass::Reserved => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beacon(name: &str) -> Resolved {
        Resolved {
            fullname: format!("{name}._openclaw-gw._tcp.local."),
            host: "attic.local.".into(),
            port: 18789,
            addresses: vec![[192, 168, 1, 7].into()],
            txt: Vec::new(),
        }
    }

    fn hear(resolved: Resolved) -> Discovered {
        let mut heard = Discovered::default();
        heard.see(Sighting::Resolved(resolved));
        heard
    }

    fn reason(resolved: Resolved) -> Ignored {
        let heard = hear(resolved);
        assert!(heard.gateways().is_empty());
        heard.ignored().next().unwrap().1
    }

    #[test]
    fn the_route_comes_from_the_service_record_whatever_txt_says() {
        let pin = "ab".repeat(32);
        let heard = hear(Resolved {
            txt: vec![
                ("lanHost".into(), b"evil.example.com".to_vec()),
                ("gatewayPort".into(), b"1".to_vec()),
                ("tailnetDns".into(), b"evil.ts.net".to_vec()),
                ("gatewayTls".into(), b"1".to_vec()),
                ("GATEWAYTLSSHA256".into(), pin.clone().into_bytes()),
                ("gatewayTls".into(), b"0".to_vec()),
                ("displayName".into(), b"a\x1b[2J\xff".to_vec()),
            ],
            ..beacon("attic")
        });
        let gateways = heard.gateways();
        let found = gateways.first().unwrap();
        assert_eq!(found.urls(), ["wss://192.168.1.7:18789"]);
        assert_eq!(found.hints.lan_host.as_deref(), Some("evil.example.com"));
        assert_eq!(found.hints.gateway_tls_sha256.unwrap().to_string(), pin);
        assert_eq!(found.hints.display_name.as_deref(), Some("a[2J\u{fffd}"));
    }

    #[test]
    fn what_could_lead_astray_is_ignored() {
        assert_eq!(
            reason(Resolved {
                port: 0,
                ..beacon("a")
            }),
            Ignored::Port
        );
        for host in ["gw.example.com.", "local.", "a.b.local.", "a b.local.", ""] {
            let host = host.into();
            assert_eq!(
                reason(Resolved {
                    host,
                    ..beacon("a")
                }),
                Ignored::Host
            );
        }
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.251",
            "::1",
            "fe80::1",
            "2001:db8::1",
        ] {
            let addresses = vec![address.parse().unwrap()];
            let resolved = Resolved {
                addresses,
                ..beacon("a")
            };
            assert_eq!(reason(resolved), Ignored::Addresses, "{address}");
        }
        for fullname in ["a._http._tcp.local.", "._openclaw-gw._tcp.local.", "é", ""] {
            let fullname = fullname.into();
            assert_eq!(
                reason(Resolved {
                    fullname,
                    ..beacon("a")
                }),
                Ignored::Name
            );
        }
    }

    #[test]
    fn plaintext_is_offered_to_near_addresses_only() {
        let addresses = vec![[203, 0, 114, 9].into(), [10, 0, 0, 1].into()];
        let mut resolved = Resolved {
            addresses,
            ..beacon("a")
        };
        let urls = |resolved: &Resolved| hear(resolved.clone()).gateways()[0].urls();
        assert_eq!(urls(&resolved), ["ws://10.0.0.1:18789"]);
        resolved.txt = vec![("gatewayTls".into(), b"1".to_vec())];
        assert_eq!(urls(&resolved).len(), 2);
    }

    #[test]
    fn a_crowd_is_bounded_and_a_goodbye_counts() {
        let mut heard = Discovered::default();
        for number in 0..1_000 {
            heard.see(Sighting::Resolved(beacon(&format!("gw{number:04}"))));
        }
        assert_eq!(heard.gateways().len(), MAX_GATEWAYS);
        assert_eq!(heard.ignored().count(), MAX_IGNORED);
        heard.see(Sighting::Gone("GW0000._openclaw-gw._tcp.local.".into()));
        assert_eq!(heard.gateways().len(), MAX_GATEWAYS - 1);
        // A beacon that turns bad is not kept as it was.
        heard.see(Sighting::Resolved(Resolved {
            port: 0,
            ..beacon("gw0001")
        }));
        assert_eq!(heard.gateways().len(), MAX_GATEWAYS - 2);
    }
}

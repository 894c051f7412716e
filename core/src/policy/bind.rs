//! Which addresses a gateway listens on (spec hostpolicy §3).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;

use crate::config::{BindMode, GatewayConfig, TailscaleMode};

/// What the host knows about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Whether the process runs in a container.
    pub surroundings: Surroundings,
    /// The first address of this machine in 100.64.0.0/10 that is not internal.
    pub tailnet_ipv4: Option<Ipv4Addr>,
    /// Those of [`candidates`] that a socket can be bound to.
    pub bindable: Vec<IpAddr>,
}

/// Where the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// On the machine itself.
    Machine,
    /// In a container.
    Container,
}

/// Why there is no address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindRefusal {
    /// Bind custom without `customBindHost`.
    CustomMissing,
    /// `customBindHost` is not a dotted IPv4 address.
    CustomInvalid,
    /// `customBindHost` is not an address of this machine.
    CustomUnavailable,
    /// Neither the tailnet address nor 127.0.0.1 can be bound.
    TailnetUnavailable,
}

impl BindRefusal {
    /// A stable name for scripts.
    pub const fn code(self) -> &'static str {
        match self {
            Self::CustomMissing => "custom_bind_host_missing",
            Self::CustomInvalid => "custom_bind_host_invalid",
            Self::CustomUnavailable => "custom_bind_host_unavailable",
            Self::TailnetUnavailable => "tailnet_bind_unavailable",
        }
    }
}

impl fmt::Display for BindRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CustomMissing => {
                "gateway.bind is custom, but gateway.customBindHost is not set. Set it to an IPv4 \
                 address of this machine."
            }
            Self::CustomInvalid => {
                "gateway.customBindHost is not a dotted IPv4 address. Write it as in 192.168.1.5."
            }
            Self::CustomUnavailable => {
                "gateway.customBindHost is not an address of this machine. Correct it, or set \
                 gateway.bind to loopback."
            }
            Self::TailnetUnavailable => {
                "gateway.bind is tailnet, but neither a tailnet address nor 127.0.0.1 can be \
                 bound. Start Tailscale, or set gateway.bind to loopback."
            }
        })
    }
}

impl std::error::Error for BindRefusal {}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const WILDCARD: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The mode that holds: the configured one, or the default. Tailscale publishes a loopback gateway;
/// in a container nobody outside could reach one.
pub const fn effective_mode(gateway: &GatewayConfig, surroundings: Surroundings) -> BindMode {
    match (gateway.bind, gateway.tailscale, surroundings) {
        (Some(mode), _, _) => mode,
        (None, TailscaleMode::Serve | TailscaleMode::Funnel, _) => BindMode::Loopback,
        (None, TailscaleMode::Off, Surroundings::Container) => BindMode::Auto,
        (None, TailscaleMode::Off, Surroundings::Machine) => BindMode::Loopback,
    }
}

/// The addresses that the host should try to bind, for [`HostFacts::bindable`].
pub fn candidates(gateway: &GatewayConfig, tailnet_ipv4: Option<Ipv4Addr>) -> Vec<IpAddr> {
    let custom = custom_host(gateway).ok().map(IpAddr::V4);
    [
        Some(LOOPBACK),
        Some(LOOPBACK_V6),
        tailnet_ipv4.map(IpAddr::V4),
        custom,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The address that a gateway binds.
///
/// # Errors
/// [`BindRefusal`].
pub fn bind_host(gateway: &GatewayConfig, facts: &HostFacts) -> Result<IpAddr, BindRefusal> {
    let bindable = |ip: &IpAddr| facts.bindable.contains(ip);
    match effective_mode(gateway, facts.surroundings) {
        // If it is taken, listening fails; it never becomes a wider bind.
        BindMode::Loopback => Ok(LOOPBACK),
        BindMode::Lan => Ok(WILDCARD),
        BindMode::Tailnet => facts
            .tailnet_ipv4
            .filter(|ip| is_tailnet(*ip))
            .map(IpAddr::V4)
            .into_iter()
            .chain([LOOPBACK])
            .find(bindable)
            .ok_or(BindRefusal::TailnetUnavailable),
        BindMode::Custom => {
            let host = IpAddr::V4(custom_host(gateway)?);
            // The wildcard and loopback exist on every machine.
            if bindable(&host) || host.is_unspecified() || host.is_loopback() {
                Ok(host)
            } else {
                Err(BindRefusal::CustomUnavailable)
            }
        }
        BindMode::Auto => Ok(match facts.surroundings {
            Surroundings::Machine if bindable(&LOOPBACK) => LOOPBACK,
            Surroundings::Machine | Surroundings::Container => WILDCARD,
        }),
    }
}

const fn is_tailnet(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [100, 64..=127, _, _])
}

/// Only canonical dotted addresses: the standard parser knows no octal and no short forms.
fn custom_host(gateway: &GatewayConfig) -> Result<Ipv4Addr, BindRefusal> {
    let host = gateway
        .custom_bind_host
        .as_deref()
        .map(str::trim)
        .unwrap_or_default();
    if host.is_empty() {
        return Err(BindRefusal::CustomMissing);
    }
    host.parse().map_err(|_| BindRefusal::CustomInvalid)
}

/// Whether `::1` can be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Loopback {
    /// It can.
    Bindable,
    /// It cannot, or should not be tried (Windows).
    Unavailable,
}

/// Every address that a gateway bound to `host` listens on, the first one first. Local clients always
/// dial 127.0.0.1, so a specific address brings that along; `::1` comes beside 127.0.0.1 where it can.
///
/// ```
/// use clawgate_core::policy::bind::{Ipv6Loopback, listen_hosts};
///
/// let hosts = listen_hosts("192.168.1.5".parse().unwrap(), Ipv6Loopback::Bindable);
/// assert_eq!(hosts[1].to_string(), "127.0.0.1");
/// ```
pub fn listen_hosts(host: IpAddr, ipv6: Ipv6Loopback) -> Vec<IpAddr> {
    if host == LOOPBACK && ipv6 == Ipv6Loopback::Bindable {
        vec![host, LOOPBACK_V6]
    } else if host.is_loopback() || host.is_unspecified() {
        vec![host]
    } else {
        vec![host, LOOPBACK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::{Value, json};

    fn host(
        gateway: Value,
        tailnet: Option<&str>,
        bindable: &[&str],
    ) -> Result<String, BindRefusal> {
        let config = Config::from_value(&json!({ "gateway": gateway }));
        let facts = HostFacts {
            surroundings: Surroundings::Machine,
            tailnet_ipv4: tailnet.map(|ip| ip.parse().unwrap()),
            bindable: bindable.iter().map(|ip| ip.parse().unwrap()).collect(),
        };
        bind_host(&config.gateway, &facts).map(|ip| ip.to_string())
    }

    #[test]
    fn loopback_never_becomes_wider() {
        assert_eq!(host(json!({}), None, &[]).unwrap(), "127.0.0.1");
        assert_eq!(
            host(json!({ "bind": "loopback" }), None, &[]).unwrap(),
            "127.0.0.1"
        );
    }

    #[test]
    fn tailnet_falls_back_to_this_machine_and_no_further() {
        let tailnet = json!({ "bind": "tailnet" });
        let host = |address, bindable: &[&str]| host(tailnet.clone(), address, bindable);
        let all = ["100.64.1.2", "127.0.0.1"];
        assert_eq!(host(Some("100.64.1.2"), &all).unwrap(), "100.64.1.2");
        assert_eq!(
            host(Some("100.64.1.2"), &["127.0.0.1"]).unwrap(),
            "127.0.0.1"
        );
        assert_eq!(
            host(Some("192.168.1.2"), &["192.168.1.2", "127.0.0.1"]).unwrap(),
            "127.0.0.1"
        );
        assert_eq!(host(None, &[]), Err(BindRefusal::TailnetUnavailable));
    }

    #[test]
    fn custom_takes_plain_addresses_of_this_machine() {
        let custom = |text: &str| json!({ "bind": "custom", "customBindHost": text });
        let local = ["192.168.1.5"];
        assert_eq!(
            host(custom(" 192.168.1.5 "), None, &local).unwrap(),
            "192.168.1.5"
        );
        assert_eq!(
            host(custom("192.168.1.6"), None, &local),
            Err(BindRefusal::CustomUnavailable)
        );
        assert_eq!(
            host(custom(" "), None, &local),
            Err(BindRefusal::CustomMissing)
        );
        for bad in [
            "::1",
            "localhost",
            "0177.0.0.1",
            "127.1",
            "1.2.3.4:5",
            "010.0.0.1",
        ] {
            assert_eq!(
                host(custom(bad), None, &local),
                Err(BindRefusal::CustomInvalid),
                "{bad}"
            );
        }
    }

    #[test]
    fn auto_stays_on_this_machine_where_it_can() {
        let auto = json!({ "bind": "auto" });
        assert_eq!(
            host(auto.clone(), None, &["127.0.0.1"]).unwrap(),
            "127.0.0.1"
        );
        assert_eq!(host(auto, None, &[]).unwrap(), "0.0.0.0");
    }
}

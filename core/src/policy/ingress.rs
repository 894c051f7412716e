//! Where a request comes from, and whose word is taken for it (spec protocol §1.3, spec hostpolicy
//! §5, attribution).

use core::net::{IpAddr, Ipv4Addr};

use super::proxy::{self, host_name};
use super::{ClientLocality, HostClass, RealIpFallback, RequestHeaders, TrustedProxies};

/// The listener that a connection came in by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listener {
    /// The gateway's own port.
    #[default]
    Ordinary,
    /// The port that only a managed `tailscale serve` forwards to.
    ManagedServe,
    /// The port that only a managed `tailscale funnel` forwards to.
    ManagedFunnel,
}

/// Where a request comes from.
///
/// ```
/// use clawgate_core::policy::{
///     Ingress, Listener, RealIpFallback, RequestHeaders, TrustedProxies,
/// };
///
/// let peer = "127.0.0.1".parse()?;
/// let proxies = TrustedProxies::default();
/// let classify = |headers: &RequestHeaders| {
///     Ingress::classify(Listener::Ordinary, peer, headers, &proxies, RealIpFallback::Off)
/// };
/// assert!(classify(&RequestHeaders::default()).is_direct_local());
/// // Somebody forwards to us without being trusted: nobody can say who the client is.
/// let forwarded = RequestHeaders::new([("x-forwarded-for", "198.51.100.4")]);
/// assert_eq!(classify(&forwarded), Ingress::Unattributable);
/// # Ok::<(), core::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// From this machine, with nothing in between.
    DirectLocal(IpAddr),
    /// From the peer itself.
    DirectRemote(IpAddr),
    /// From the user who owns the gateway's files, by the socket among them.
    Owner,
    /// From the client that a trusted proxy names.
    TrustedProxy(IpAddr),
    /// From the tailnet, by managed Serve.
    TailscaleServe(IpAddr),
    /// From the Internet, by managed Funnel.
    TailscaleFunnel(IpAddr),
    /// It looks forwarded, but nobody who is trusted says for whom. Refused.
    Unattributable,
}

impl Ingress {
    /// Tells where a request comes from.
    pub fn classify(
        listener: Listener,
        peer: IpAddr,
        headers: &RequestHeaders,
        proxies: &TrustedProxies,
        fallback: RealIpFallback,
    ) -> Self {
        let peer = peer.to_canonical();
        let marked = headers.has_forwarding() || headers.has_tailscale();
        match listener {
            Listener::ManagedServe => {
                match (
                    managed_client(peer, headers),
                    headers.get("tailscale-funnel-request"),
                ) {
                    (Some(client), None) => Self::TailscaleServe(client),
                    (Some(_) | None, _) => Self::Unattributable,
                }
            }
            Listener::ManagedFunnel => {
                let marker = headers.get("tailscale-funnel-request");
                match (managed_client(peer, headers), marker.as_deref()) {
                    (Some(client), None | Some("" | "?1")) => Self::TailscaleFunnel(client),
                    (Some(_) | None, _) => Self::Unattributable,
                }
            }
            Listener::Ordinary if peer.is_loopback() && !marked => Self::DirectLocal(peer),
            Listener::Ordinary if proxies.contains(peer) => {
                match proxy::client_ip(peer, headers, proxies, fallback) {
                    Some(client) if !client.is_loopback() => Self::TrustedProxy(client),
                    Some(_) | None => Self::Unattributable,
                }
            }
            Listener::Ordinary if marked => Self::Unattributable,
            Listener::Ordinary => Self::DirectRemote(peer),
        }
    }

    /// Whether the request comes from this machine with nothing in between.
    pub const fn is_direct_local(self) -> bool {
        matches!(self, Self::DirectLocal(_) | Self::Owner)
    }

    /// The name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DirectLocal(_) => "direct-local",
            Self::DirectRemote(_) => "direct-remote",
            Self::Owner => "owner-socket",
            Self::TrustedProxy(_) => "trusted-proxy",
            Self::TailscaleServe(_) => "tailscale-serve",
            Self::TailscaleFunnel(_) => "tailscale-funnel",
            Self::Unattributable => "unattributable",
        }
    }

    /// The address of the client, unless nobody knows it.
    pub const fn client_ip(self) -> Option<IpAddr> {
        match self {
            Self::DirectLocal(ip)
            | Self::DirectRemote(ip)
            | Self::TrustedProxy(ip)
            | Self::TailscaleServe(ip)
            | Self::TailscaleFunnel(ip) => Some(ip),
            Self::Owner => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Self::Unattributable => None,
        }
    }

    /// The locality that origins are judged by.
    pub const fn client_locality(self) -> ClientLocality {
        match self {
            Self::DirectLocal(_) | Self::Owner => ClientLocality::Local,
            Self::DirectRemote(_)
            | Self::TrustedProxy(_)
            | Self::TailscaleServe(_)
            | Self::TailscaleFunnel(_)
            | Self::Unattributable => ClientLocality::Remote,
        }
    }
}

/// The client that the Tailscale proxy on this machine forwards for.
fn managed_client(peer: IpAddr, headers: &RequestHeaders) -> Option<IpAddr> {
    let complete = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
        .iter()
        .all(|name| headers.get_non_blank(name).is_some());
    let itself = TrustedProxies::parse(["127.0.0.1", "::1"]);
    if !peer.is_loopback() || !complete {
        return None;
    }
    proxy::client_ip(peer, headers, &itself, RealIpFallback::Off).filter(|ip| !ip.is_loopback())
}

/// What kind of client says hello, as far as pairing cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Client `cli` in mode `cli`.
    Cli,
    /// The Control UI or web chat.
    Browser,
    /// Any other.
    Other,
}

/// Whether the gateway's token or password was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedSecretProof {
    /// It was presented, and right.
    Proven,
    /// Not presented, wrong, or not asked for.
    Missing,
}

/// How near a client is when it asks to be paired (spec protocol §1.3). Everything but `Remote`
/// may be approved without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingLocality {
    /// On this machine, with nothing in between.
    DirectLocal,
    /// A browser that reaches a container through a published port on loopback.
    BrowserContainerLocal,
    /// The CLI, over loopback, with the shared secret.
    CliContainerLocal,
    /// Another client, over loopback, with the shared secret.
    SharedSecretLoopbackLocal,
    /// Anywhere else.
    Remote,
}

impl PairingLocality {
    /// Tells how near a client is.
    pub fn classify(
        ingress: Ingress,
        peer: IpAddr,
        headers: &RequestHeaders,
        client: ClientKind,
        proof: SharedSecretProof,
    ) -> Self {
        if ingress.is_direct_local() {
            return Self::DirectLocal;
        }
        if proof == SharedSecretProof::Missing || headers.has_forwarding() {
            return Self::Remote;
        }
        let host = headers
            .get("host")
            .map(|host| host_name(&host))
            .unwrap_or_default();
        let peer = peer.to_canonical();
        let near = |host: &str| {
            proxy::host_is_loopback(host)
                || host
                    .parse()
                    .is_ok_and(|ip| HostClass::of_ip(ip).allows_plaintext())
        };
        match (client, headers.get("origin")) {
            (ClientKind::Browser, Some(origin))
                if HostClass::of_ip(peer).allows_plaintext()
                    && proxy::host_is_loopback(&host)
                    && origin_is_loopback(&origin) =>
            {
                Self::BrowserContainerLocal
            }
            (ClientKind::Cli, None) if peer.is_loopback() && near(&host) => Self::CliContainerLocal,
            (ClientKind::Browser | ClientKind::Other, None)
                if peer.is_loopback() && near(&host) =>
            {
                Self::SharedSecretLoopbackLocal
            }
            (ClientKind::Cli | ClientKind::Browser | ClientKind::Other, _) => Self::Remote,
        }
    }

    /// The name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DirectLocal => "direct_local",
            Self::BrowserContainerLocal => "browser_container_local",
            Self::CliContainerLocal => "cli_container_local",
            Self::SharedSecretLoopbackLocal => "shared_secret_loopback_local",
            Self::Remote => "remote",
        }
    }
}

fn origin_is_loopback(origin: &str) -> bool {
    url::Url::parse(origin.trim())
        .ok()
        .and_then(|url| url.host_str().map(host_name))
        .is_some_and(|host| proxy::host_is_loopback(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(listener: Listener, peer: &str, headers: &[(&str, &str)]) -> Ingress {
        Ingress::classify(
            listener,
            peer.parse().unwrap(),
            &RequestHeaders::new(headers.iter().copied()),
            &TrustedProxies::parse(["10.0.0.1"]),
            RealIpFallback::Off,
        )
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn marks_of_a_proxy_make_loopback_remote() {
        for header in [
            "Forwarded",
            "X-Real-IP",
            "X-Forwarded-Proto",
            "Tailscale-User-Login",
        ] {
            let ingress = classify(Listener::Ordinary, "127.0.0.1", &[(header, "x")]);
            assert_eq!(ingress, Ingress::Unattributable, "{header}");
        }
        let mapped = classify(Listener::Ordinary, "::ffff:127.0.0.1", &[]);
        assert_eq!(mapped, Ingress::DirectLocal(ip("127.0.0.1")));
    }

    #[test]
    fn a_trusted_proxy_must_name_a_client() {
        let named = [("x-forwarded-for", "198.51.100.4")];
        let ingress = classify(Listener::Ordinary, "10.0.0.1", &named);
        assert_eq!(ingress, Ingress::TrustedProxy(ip("198.51.100.4")));
        for forwarded in ["", "127.0.0.1", "10.0.0.1", "unknown"] {
            let headers = [("x-forwarded-for", forwarded)];
            let ingress = classify(Listener::Ordinary, "10.0.0.1", &headers);
            assert_eq!(ingress, Ingress::Unattributable, "{forwarded}");
        }
        assert_eq!(
            classify(Listener::Ordinary, "10.0.0.2", &named),
            Ingress::Unattributable
        );
        assert_eq!(
            classify(Listener::Ordinary, "10.0.0.2", &[]),
            Ingress::DirectRemote(ip("10.0.0.2"))
        );
    }

    #[test]
    fn tailscale_needs_its_own_listener_and_all_headers() {
        let headers = [
            ("x-forwarded-for", "100.64.0.5"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "gw.ts.net"),
        ];
        let serve = classify(Listener::ManagedServe, "127.0.0.1", &headers);
        assert_eq!(serve, Ingress::TailscaleServe(ip("100.64.0.5")));
        assert_eq!(
            classify(Listener::Ordinary, "127.0.0.1", &headers),
            Ingress::Unattributable
        );
        assert_eq!(
            classify(Listener::ManagedServe, "10.0.0.1", &headers),
            Ingress::Unattributable
        );
        assert_eq!(
            classify(Listener::ManagedServe, "127.0.0.1", &headers[..2]),
            Ingress::Unattributable
        );
        let funnel = [&headers[..], &[("tailscale-funnel-request", "?1")]].concat();
        assert_eq!(
            classify(Listener::ManagedServe, "127.0.0.1", &funnel),
            Ingress::Unattributable
        );
        let funnel = classify(Listener::ManagedFunnel, "127.0.0.1", &funnel);
        assert_eq!(funnel, Ingress::TailscaleFunnel(ip("100.64.0.5")));
    }

    #[test]
    fn pairing_trusts_direct_local_clients_and_proven_loopback_ones() {
        let locality = |peer: &str, headers: &[(&str, &str)], client, proof| {
            let ingress = classify(Listener::Ordinary, peer, headers);
            let headers = RequestHeaders::new(headers.iter().copied());
            PairingLocality::classify(ingress, ip(peer), &headers, client, proof)
        };
        let (proven, missing) = (SharedSecretProof::Proven, SharedSecretProof::Missing);
        let host = ("host", "127.0.0.1:18789");
        let origin = ("origin", "http://localhost:18789");
        assert_eq!(
            locality("::1", &[], ClientKind::Other, missing),
            PairingLocality::DirectLocal
        );
        for (headers, client, proof, expected) in [
            (
                vec![host, origin],
                ClientKind::Browser,
                proven,
                PairingLocality::BrowserContainerLocal,
            ),
            (
                vec![host, origin],
                ClientKind::Browser,
                missing,
                PairingLocality::Remote,
            ),
            (
                vec![host, origin],
                ClientKind::Other,
                proven,
                PairingLocality::Remote,
            ),
            (vec![host], ClientKind::Cli, proven, PairingLocality::Remote),
        ] {
            assert_eq!(locality("172.17.0.1", &headers, client, proof), expected);
        }
        // A loopback peer that is not direct: the headers of Tailscale on the ordinary listener.
        let headers = [host, ("tailscale-user-login", "x")];
        let cli = locality("127.0.0.1", &headers, ClientKind::Cli, proven);
        assert_eq!(cli, PairingLocality::CliContainerLocal);
        let other = locality("127.0.0.1", &headers, ClientKind::Other, proven);
        assert_eq!(other, PairingLocality::SharedSecretLoopbackLocal);
    }
}

//! A body for the headers of a request: whose word is taken for whom, and what a stranger can reach
//! by headers alone.

use std::net::IpAddr;

use clawgate_core::policy::{
    AuthRequest, AuthRule, ClientLocality, Granted, HostHeaderFallback, Ingress, Listener,
    LocalAddresses, OriginPolicy, RateVerdict, RealIpFallback, RequestHeaders, SecretKind, Surface,
    TailscaleLogin, TrustedProxies, TrustedProxyRule, Whois, authorize, proxy::parse_hop,
    whois_wanted,
};
use clawgate_core::secret::Secret;

/// More fields than a request may have say nothing new.
const MAX_FIELDS: usize = 64;

/// The login that the local Tailscale knows.
const LOGIN: &str = "known@example.org";

/// One request, read from text: a line with the listener, the peer and the trusted proxies, then
/// header fields.
struct Request<'a> {
    listener: Listener,
    fallback: RealIpFallback,
    peer: IpAddr,
    proxies: TrustedProxies,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Request<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut lines = text.lines();
        let mut first = lines.next()?.split_ascii_whitespace();
        let kind = first.next()?;
        let peer = first.next()?.parse().ok()?;
        Some(Self {
            listener: match kind.get(..1)? {
                "s" => Listener::ManagedServe,
                "f" => Listener::ManagedFunnel,
                _ => Listener::Ordinary,
            },
            fallback: if kind.ends_with('!') {
                RealIpFallback::Allowed
            } else {
                RealIpFallback::Off
            },
            peer,
            proxies: TrustedProxies::parse(first),
            fields: lines
                .take(MAX_FIELDS)
                .filter_map(|line| line.split_once(':'))
                .collect(),
        })
    }

    fn headers(&self) -> RequestHeaders {
        RequestHeaders::new(self.fields.iter().copied())
    }

    fn classify(&self, headers: &RequestHeaders) -> Ingress {
        let (peer, proxies) = (self.peer, &self.proxies);
        Ingress::classify(self.listener, peer, headers, proxies, self.fallback)
    }

    fn has(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.fields
            .iter()
            .any(|(name, _)| wanted(&name.to_ascii_lowercase()))
    }

    fn is_marked(&self) -> bool {
        self.has(|name| {
            name.starts_with("x-forwarded-")
                || ["forwarded", "x-real-ip"].contains(&name)
                || [
                    "tailscale-funnel-request",
                    "tailscale-headers-info",
                    "tailscale-user-login",
                    "tailscale-user-name",
                    "tailscale-user-profile-pic",
                ]
                .contains(&name)
        })
    }

    /// All values of a field, the one that was added last at the end.
    fn values(&self, wanted: &str) -> Vec<&'a str> {
        self.fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .flat_map(|(_, value)| value.split(','))
            .collect()
    }

    /// Whether `client` is the last hop that is nobody of ours.
    fn is_last_stranger(&self, client: IpAddr, ours: impl Fn(IpAddr) -> bool) -> bool {
        let hops = self.values("x-forwarded-for");
        hops.into_iter()
            .rev()
            .filter_map(parse_hop)
            .find(|hop| !ours(*hop))
            == Some(client)
    }
}

/// Header fields of one request: nobody seems nearer than he is, forwarded clients are named by those
/// who may, and headers alone let nobody in who has neither a trusted proxy nor a verified login.
pub fn headers(data: &[u8]) {
    let Some(request) = std::str::from_utf8(data).ok().and_then(Request::read) else {
        return;
    };
    let headers = request.headers();
    let ingress = request.classify(&headers);
    check_ingress(&request, ingress);
    if request.listener == Listener::Ordinary && !request.proxies.contains(request.peer) {
        // A stranger's headers can only make things worse for him.
        let bare = request.classify(&RequestHeaders::default());
        assert!(
            ingress == bare || ingress == Ingress::Unattributable,
            "{ingress:?}"
        );
    }
    check_shared_secret(&request, &headers, ingress);
    check_trusted_proxy(&request, &headers, ingress);
    let names = RequestHeaders::new(request.fields.iter().map(|(name, _)| (*name, "")));
    assert_eq!(
        format!("{headers:?}"),
        format!("{names:?}"),
        "values are shown"
    );
}

fn check_ingress(request: &Request<'_>, ingress: Ingress) {
    let peer = request.peer.to_canonical();
    match ingress {
        Ingress::DirectLocal(ip) => {
            assert!(ip == peer && ip.is_loopback() && !request.is_marked());
            assert_eq!(request.listener, Listener::Ordinary);
        }
        Ingress::DirectRemote(ip) => {
            assert!(ip == peer && !ip.is_loopback() && !request.is_marked());
            assert_eq!(request.listener, Listener::Ordinary);
        }
        Ingress::TrustedProxy(client) => {
            assert_eq!(request.listener, Listener::Ordinary);
            assert!(request.proxies.contains(peer) && !client.is_loopback());
            let ours = |ip: IpAddr| ip.is_loopback() || request.proxies.contains(ip);
            let real = request.fallback == RealIpFallback::Allowed
                && request.has(|name| name == "x-real-ip");
            assert!(
                request.is_last_stranger(client, ours) || real,
                "{client} is not who was forwarded"
            );
        }
        Ingress::TailscaleServe(client) | Ingress::TailscaleFunnel(client) => {
            assert_ne!(request.listener, Listener::Ordinary);
            assert!(peer.is_loopback() && !client.is_loopback());
            let this_one = |ip: IpAddr| ip.is_loopback();
            assert!(request.is_last_stranger(client, this_one));
            assert!(
                matches!(ingress, Ingress::TailscaleFunnel(_))
                    || !request.has(|name| name == "tailscale-funnel-request")
            );
        }
        Ingress::Owner => panic!("nobody owns the gateway by headers"),
        Ingress::Unattributable => {}
    }
    assert_eq!(
        ingress.client_locality() == ClientLocality::Local,
        matches!(ingress, Ingress::DirectLocal(_))
    );
}

fn auth_request<'a>(
    request: &'a Request<'_>,
    headers: &'a RequestHeaders,
    (ingress, surface): (Ingress, Surface),
    origins: &'a OriginPolicy,
    whois: &'a Whois,
) -> AuthRequest<'a> {
    AuthRequest {
        surface,
        peer: request.peer,
        ingress,
        headers,
        proxies: &request.proxies,
        origins,
        local_addresses: &LocalAddresses::Unavailable,
        token: None,
        password: None,
        whois,
        rate: RateVerdict::Allowed { remaining: 10 },
    }
}

fn check_shared_secret(request: &Request<'_>, headers: &RequestHeaders, ingress: Ingress) {
    let origins = OriginPolicy::new([""; 0], HostHeaderFallback::Off);
    let known = Whois::Login(LOGIN.into());
    for tailscale in [TailscaleLogin::Off, TailscaleLogin::Allowed] {
        let rule = AuthRule::Shared {
            kind: SecretKind::Token,
            secret: Some(Secret::new("gateway-token")),
            tailscale,
        };
        for surface in [Surface::Http, Surface::WebSocket] {
            for whois in [&Whois::Unknown, &known] {
                let asked = auth_request(request, headers, (ingress, surface), &origins, whois);
                let Ok(granted) = authorize(&rule, &asked) else {
                    continue;
                };
                assert_eq!(granted, Granted::Tailscale(LOGIN.into()));
                assert_eq!(surface, Surface::WebSocket);
                assert_eq!(tailscale, TailscaleLogin::Allowed);
                assert_eq!(whois, &known);
                assert_eq!(whois_wanted(&rule, &asked), ingress.client_ip());
                let Ingress::TailscaleServe(_) = ingress else {
                    panic!("a login from {ingress:?}");
                };
                let claims = request.values("tailscale-user-login").join(",");
                assert_eq!(claims.trim().to_lowercase(), LOGIN);
            }
        }
    }
}

fn check_trusted_proxy(request: &Request<'_>, headers: &RequestHeaders, ingress: Ingress) {
    let origins = OriginPolicy::new([""; 0], HostHeaderFallback::Off);
    let rule = AuthRule::TrustedProxy {
        rule: Some(TrustedProxyRule {
            user_header: "x-user".into(),
            required_headers: vec!["x-edge".into()],
            allow_users: vec!["ann".into()],
            ..TrustedProxyRule::default()
        }),
        local_password: Some(Secret::new("local-password")),
    };
    let at = (ingress, Surface::WebSocket);
    let mut asked = auth_request(request, headers, at, &origins, &Whois::Unknown);
    let none = LocalAddresses::Known(Vec::new());
    asked.local_addresses = &none;
    if let Ok(granted) = authorize(&rule, &asked) {
        let peer = request.peer.to_canonical();
        assert_eq!(granted, Granted::TrustedProxy("ann".into()));
        assert!(request.proxies.contains(peer) && !peer.is_loopback());
        assert!(matches!(ingress, Ingress::TrustedProxy(_)), "{ingress:?}");
        let values = |name| request.values(name).join(",");
        assert_eq!(values("x-user").trim(), "ann");
        assert!(!values("x-edge").trim().is_empty());
    }
    asked.local_addresses = &LocalAddresses::Unavailable;
    assert!(authorize(&rule, &asked).is_err());
}

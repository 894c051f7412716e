//! Bodies for the parsers of the host policy.

use clawgate_core::policy::proxy::{client_ip, host_header_is_localish};
use clawgate_core::policy::{
    ClientLocality, Endpoint, Host, HostClass, HostHeaderFallback, OriginPolicy, PinBook, PinPlace,
    RealIpFallback, RequestHeaders, SshTarget, TlsFingerprint, TrustedProxies, UrlCheck, UrlPolicy,
    redirect_host,
};

/// A URL: what is accepted is near or encrypted, and means the same when it is read again.
pub fn endpoint(data: &[u8]) {
    let Ok(url) = std::str::from_utf8(data) else {
        return;
    };
    let strict = Endpoint::parse(url, UrlPolicy::Strict);
    let lenient = Endpoint::parse(url, UrlPolicy::AllowInsecureNames);
    let check = UrlCheck::of(url, UrlPolicy::Strict);
    assert_eq!(check.ok, strict.is_ok());
    assert_eq!(check.ok, check.reason.is_none() && check.next.is_none());
    match (&strict, &lenient) {
        (Ok(near), Ok(same)) => assert_eq!(near, same),
        (Ok(_), Err(refusal)) => panic!("break-glass made things stricter: {refusal}"),
        (Err(_), Ok(insecure)) => {
            assert!(insecure.is_break_glass() && !insecure.is_tls());
            assert!(matches!(insecure.host(), Host::Domain(_)));
        }
        (Err(first), Err(second)) => assert_eq!(first, second),
    }
    let Ok(endpoint) = strict else { return };
    assert!(endpoint.is_tls() || endpoint.class().allows_plaintext());
    assert!(endpoint.path_and_query().starts_with('/'));
    if let Some(ip) = endpoint.host().ip() {
        assert_eq!(endpoint.class(), HostClass::of_ip(ip));
    }
    let again = Endpoint::parse(&endpoint.dial_url(), UrlPolicy::Strict);
    let again = again.unwrap_or_else(|refusal| panic!("not accepted again: {refusal}"));
    assert_eq!(again.dial_url(), endpoint.dial_url());
    assert_eq!(again.host(), endpoint.host());
}

/// The other texts that the policy reads: nothing panics, and what is accepted is well formed.
pub fn policy_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(pin) = text.parse::<TlsFingerprint>() {
        assert_eq!(pin.to_string().parse(), Ok(pin));
    }
    if let Ok(place) = PinPlace::parse(text) {
        assert_eq!(PinPlace::parse(&place.to_string()), Ok(place));
    }
    if let Ok(book) = PinBook::parse(text) {
        assert_eq!(PinBook::parse(&book.to_text()), Ok(book));
    }
    if let Ok(endpoint) = Endpoint::parse("wss://gw.example.com/x?y", UrlPolicy::Strict)
        && let Some(host) = redirect_host(&endpoint, text)
    {
        assert!(!host.contains(['/', '?', '#', '@']), "{host}");
    }
    if let Ok(target) = SshTarget::parse(text) {
        let parts = [target.user().unwrap_or("user"), target.host()];
        assert!(
            parts
                .iter()
                .all(|part| !part.is_empty() && !part.starts_with('-'))
        );
        assert!(parts.iter().all(|part| !part.contains(char::is_whitespace)));
        assert_ne!(target.port(), 0);
    }
    let (first, second) = text.split_once('\n').unwrap_or((text, text));
    let proxies = TrustedProxies::parse(first.split(','));
    let headers = RequestHeaders::new([("x-forwarded-for", second), ("x-real-ip", first)]);
    for peer in [[10, 0, 0, 1], [127, 0, 0, 1]] {
        let client = client_ip(peer.into(), &headers, &proxies, RealIpFallback::Off);
        match client {
            Some(client) if proxies.contains(peer.into()) => {
                assert!(!client.is_loopback() && !proxies.contains(client));
            }
            Some(client) => assert_eq!(client, std::net::IpAddr::from(peer)),
            None => assert!(proxies.contains(peer.into())),
        }
    }
    host_header_is_localish(first);
    let nothing = OriginPolicy::new([""], HostHeaderFallback::Off);
    let star = OriginPolicy::new(["*"], HostHeaderFallback::Off);
    for client in [
        ClientLocality::Local,
        ClientLocality::Remote,
        ClientLocality::Unknown,
    ] {
        if nothing.check(Some(first), Some(second), client).is_ok() {
            assert!(star.check(Some(first), Some(second), client).is_ok());
        }
    }
}

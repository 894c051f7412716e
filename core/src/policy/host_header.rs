//! Pages that reach the gateway under a name that is not its own (spec hostpolicy §4).
//!
//! Whoever owns a name can make it lead here, and a browser then takes the gateway for that page's
//! own server (DNS rebinding). The `Host` header still tells the name that the browser believes in.

use core::net::IpAddr;

use super::{
    OriginPolicy, RequestHeaders,
    proxy::{host_is_loopback, host_name},
};

/// Whether `Host` is a name that no stranger can have made lead here: an address, this machine, a
/// `.local` or `.ts.net` name, or the host of a configured origin.
///
/// ```
/// use clawgate_core::policy::{HostHeaderFallback, OriginPolicy, host_header::names_gateway};
///
/// let origins = OriginPolicy::new(["https://gw.example.com"], HostHeaderFallback::Off);
/// for host in ["127.0.0.1:18789", "localhost", "[::1]:1", "192.168.1.5", "gw.example.com"] {
///     assert!(names_gateway(Some(host), &origins), "{host}");
/// }
/// for host in ["rebound.example.net:18789", "localhost.example.net", "gateway", ""] {
///     assert!(!names_gateway(Some(host), &origins), "{host}");
/// }
/// ```
pub fn names_gateway(host: Option<&str>, origins: &OriginPolicy) -> bool {
    let name = host_name(host.unwrap_or_default());
    name.parse::<IpAddr>().is_ok()
        || host_is_loopback(&name)
        || name.ends_with(".local")
        || name.ends_with(".ts.net")
        || origins.has_host(&name)
}

/// Whether a browser sent the request, as far as it shows.
pub fn from_browser(headers: &RequestHeaders) -> bool {
    headers.get("origin").is_some()
        || headers.get("sec-fetch-site").is_some()
        || headers.get("sec-fetch-mode").is_some()
        || headers
            .get("user-agent")
            .is_some_and(|agent| agent.trim_start().starts_with("Mozilla/"))
}

/// Whether a page of another site sent the request without saying which: such requests carry no
/// `Origin` when they only read.
pub fn from_other_site(headers: &RequestHeaders) -> bool {
    headers
        .get("sec-fetch-site")
        .is_some_and(|site| !matches!(site.trim(), "same-origin" | "none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::HostHeaderFallback;

    #[test]
    fn a_configuration_that_takes_every_page_takes_every_host() {
        for origins in [
            OriginPolicy::new(["*"], HostHeaderFallback::Off),
            OriginPolicy::new([""; 0], HostHeaderFallback::Dangerous),
        ] {
            assert!(names_gateway(Some("rebound.example.net"), &origins));
        }
        assert!(!names_gateway(
            Some("rebound.example.net"),
            &OriginPolicy::default()
        ));
        assert!(!names_gateway(None, &OriginPolicy::default()));
    }

    #[test]
    fn the_port_of_an_origin_is_not_part_of_the_name() {
        let origins = OriginPolicy::new(["https://gw.example.com:8443"], HostHeaderFallback::Off);
        assert!(names_gateway(Some("GW.example.com:18789"), &origins));
        assert!(!names_gateway(Some("example.com"), &origins));
    }

    #[test]
    fn browsers_show_themselves() {
        for header in [
            ("Origin", "null"),
            ("Sec-Fetch-Site", "none"),
            ("User-Agent", "Mozilla/5.0 (X11)"),
        ] {
            assert!(from_browser(&RequestHeaders::new([header])), "{header:?}");
        }
        assert!(!from_browser(&RequestHeaders::new([(
            "User-Agent",
            "curl/8"
        )])));
        let site = |site| RequestHeaders::new([("Sec-Fetch-Site", site)]);
        assert!(from_other_site(&site("cross-site")) && from_other_site(&site("same-site")));
        assert!(!from_other_site(&site("none")) && !from_other_site(&RequestHeaders::default()));
    }
}

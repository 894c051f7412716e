//! Redirects are never followed: credentials are for one endpoint. The person is told where one led.

use url::Url;

use super::Endpoint;

/// The host that a `Location` names, with its port if that is not the scheme's default, and nothing
/// else of it: path and query may hold secrets. `None` when it names none.
///
/// ```
/// use clawgate_core::policy::{Endpoint, UrlPolicy, redirect_host};
///
/// let endpoint = Endpoint::parse("wss://gw.example.com/x", UrlPolicy::Strict)?;
/// let host = |location| redirect_host(&endpoint, location);
/// assert_eq!(host("https://u:p@login.example.com:8443/in?s=1").as_deref(), Some("login.example.com:8443"));
/// assert_eq!(host("/in").as_deref(), Some("gw.example.com"));
/// # Ok::<(), clawgate_core::policy::Refusal>(())
/// ```
pub fn redirect_host(endpoint: &Endpoint, location: &str) -> Option<String> {
    let base = Url::parse(&endpoint.dial_url()).ok()?;
    let target = base.join(location.trim()).ok()?;
    let host = target.host_str()?;
    Some(match target.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::UrlPolicy;

    #[test]
    fn only_the_host_of_a_redirect_is_told() {
        let endpoint = Endpoint::parse("wss://gw.example.com:8443/a?q", UrlPolicy::Strict).unwrap();
        for (location, host) in [
            ("https://a.example/x?secret=1#f", Some("a.example")),
            ("//b.example:1/x", Some("b.example:1")),
            ("?x", Some("gw.example.com:8443")),
            ("https://[fd00::7]:9/", Some("[fd00::7]:9")),
            ("data:text/plain,x", None),
            ("https://", None),
        ] {
            let found = redirect_host(&endpoint, location);
            assert_eq!(found.as_deref(), host, "{location}");
        }
    }
}

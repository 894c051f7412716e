//! URLs under which an HTTP interface lies that credentials are sent to: the same host policy as for
//! gateways (seed 002, *Security rules*).

use super::{Endpoint, HostClass, InvalidUrl, Refusal, Scheme, UrlPolicy};

/// The endpoint of `suffix` under a base URL, if credentials may be sent there. The credential itself
/// belongs into the setting named `key`.
///
/// # Errors
/// Why not, and what to write instead. A user name or password in the URL is never repeated.
///
/// ```
/// use clawgate_core::policy::{UrlPolicy, check_http_base};
///
/// let api = check_http_base("http://127.0.0.1:8081/", "/getMe", "botToken", UrlPolicy::Strict);
/// assert_eq!(api.unwrap().path_and_query(), "/getMe");
/// assert!(check_http_base("http://api.example.com", "", "botToken", UrlPolicy::Strict).is_err());
/// ```
pub fn check_http_base(
    base: &str,
    suffix: &str,
    key: &str,
    policy: UrlPolicy,
) -> Result<Endpoint, String> {
    let base = base.trim();
    let scheme = base
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err("not a URL that starts with https:// or http://".to_owned());
    }
    if base.contains(['?', '#']) {
        return Err("a base URL has neither a query nor a fragment".to_owned());
    }
    // By itself first: without a host, the path behind it would be taken for one.
    Endpoint::parse(base, policy).map_err(|refusal| words(&refusal))?;
    let url = format!("{}{suffix}", base.trim_end_matches('/'));
    let endpoint = Endpoint::parse(&url, policy).map_err(|refusal| words(&refusal))?;
    if endpoint.dropped_userinfo() {
        return Err(format!(
            "a user name or password in the URL is not sent; put the key into {key}"
        ));
    }
    if endpoint.port() == 0 {
        return Err("port 0 cannot be reached".to_owned());
    }
    Ok(endpoint)
}

fn words(refusal: &Refusal) -> String {
    let target = match refusal {
        Refusal::Plaintext(target) => target,
        Refusal::Empty | Refusal::NotWebSocket => {
            return "not a URL that starts with https:// or http://".to_owned();
        }
        Refusal::Invalid(fault) => {
            let what = match fault {
                InvalidUrl::TooLong => "it is too long",
                InvalidUrl::NoHost => "it names no host",
                InvalidUrl::Host => "its host is neither a name nor an IP address",
                InvalidUrl::Port => "its port is not a number from 0 to 65535",
                InvalidUrl::Syntax => "its syntax is wrong",
            };
            return format!("the URL cannot be read: {what}");
        }
    };
    let (host, class) = (target.host(), target.class());
    let start = format!("plaintext http:// to {host} ({class}) is refused");
    if class == HostClass::Unspecified {
        return format!("{start}: it is an address to listen on; use 127.0.0.1");
    }
    let port = match target.port() {
        port if port == Scheme::Ws.default_port() => String::new(),
        port => format!(":{port}"),
    };
    let (why, also) = if class == HostClass::PrivateName {
        (
            "a name like this does not prove that the host is near",
            ", its private IP address or its .local name",
        )
    } else {
        ("keys and chats would be readable on the way", "")
    };
    format!("{start}: {why}; use https://{host}{port}{also}")
}

//! Why a gateway URL is refused, and what its user can do about it.

use std::fmt;

use serde::Serialize;

use super::endpoint::Target;
use super::{Endpoint, HostClass, Scheme, UrlPolicy};

/// What is wrong with text that starts like a WebSocket URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidUrl {
    /// Longer than [`super::endpoint::MAX_URL_BYTES`].
    TooLong,
    /// There is no host.
    NoHost,
    /// The host is neither a name nor an address; zone ids are not accepted either.
    Host,
    /// The port is not a number from 0 to 65535.
    Port,
    /// Something else that the parser did not accept.
    Syntax,
}

/// Why a URL is refused, before anything is sent anywhere. Never repeats the text of the URL, which
/// may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing but blanks.
    Empty,
    /// No `ws://`, `wss://`, `http://` or `https://` in front.
    NotWebSocket,
    /// The right scheme, but not a URL.
    Invalid(InvalidUrl),
    /// Plaintext to a host that is not near.
    Plaintext(Target),
}

impl Refusal {
    pub(super) fn of_parser(error: url::ParseError) -> Self {
        use url::ParseError as E;
        match error {
            E::RelativeUrlWithoutBase => Self::NotWebSocket,
            E::EmptyHost => Self::Invalid(InvalidUrl::NoHost),
            E::InvalidPort => Self::Invalid(InvalidUrl::Port),
            E::IdnaError
            | E::InvalidIpv4Address
            | E::InvalidIpv6Address
            | E::InvalidDomainCharacter => Self::Invalid(InvalidUrl::Host),
            E::RelativeUrlWithCannotBeABaseBase
            | E::SetHostOnCannotBeABaseUrl
            | E::Overflow
            | _ => Self::Invalid(InvalidUrl::Syntax),
        }
    }

    /// A stable name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "url-empty",
            Self::NotWebSocket => "url-scheme",
            Self::Invalid(_) => "url-invalid",
            Self::Plaintext(_) => "plaintext-refused",
        }
    }

    /// What the URL points at, when it could be parsed.
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::Plaintext(target) => Some(target),
            Self::Empty | Self::NotWebSocket | Self::Invalid(_) => None,
        }
    }

    /// What is wrong, in one sentence.
    pub fn reason(&self) -> String {
        match self {
            Self::Empty => "The gateway URL is empty.".to_owned(),
            Self::NotWebSocket => "The gateway URL does not start with ws:// or wss://.".to_owned(),
            Self::Invalid(fault) => format!(
                "The gateway URL cannot be read: {}.",
                match fault {
                    InvalidUrl::TooLong => "it is longer than 8192 bytes",
                    InvalidUrl::NoHost => "it names no host",
                    InvalidUrl::Host => "its host is neither a name nor an IP address",
                    InvalidUrl::Port => "its port is not a number from 0 to 65535",
                    InvalidUrl::Syntax => "its syntax is wrong",
                }
            ),
            Self::Plaintext(target) => target.reason(),
        }
    }

    /// What to do next, in one or two sentences.
    pub fn next_step(&self) -> String {
        match self {
            Self::Empty | Self::NotWebSocket => {
                "Write it as wss://HOST, or ws://HOST:18789 for a gateway nearby.".to_owned()
            }
            Self::Invalid(_) => {
                "Write it as wss://HOST or ws://HOST:PORT; put IPv6 addresses in brackets, \
                 without a zone id."
                    .to_owned()
            }
            Self::Plaintext(target) => target.next_step(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.reason(), self.next_step())
    }
}

impl std::error::Error for Refusal {}

impl Target {
    fn reason(&self) -> String {
        let (host, class) = (&self.host, self.class);
        let why = if class == HostClass::PrivateName {
            "a name like this does not prove that the host is near"
        } else if class == HostClass::Unspecified {
            "it is an address to listen on, not one to connect to"
        } else {
            "credentials and chats would be readable on the way"
        };
        format!("Plaintext ws:// to {host} ({class}) is refused: {why}.")
    }

    fn next_step(&self) -> String {
        let port = self.port;
        if self.class == HostClass::Unspecified {
            return format!("Use ws://127.0.0.1:{port} for a gateway on this machine.");
        }
        // Who wrote no port for plaintext wants none for TLS either.
        let tls_port = if port == Scheme::Ws.default_port() {
            443
        } else {
            port
        };
        let secure = Self {
            scheme: Scheme::Wss,
            port: tls_port,
            ..self.clone()
        }
        .authority();
        // People paste this line into a shell, and URL hosts may hold `$` or `;`.
        let host = self.host.unbracketed();
        let ssh_host = if host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".:-_".contains(c))
        {
            &host
        } else {
            "HOST"
        };
        let names = if self.class == HostClass::PrivateName {
            "its private IP address, its .local name or its .ts.net name"
        } else {
            "its .ts.net name over Tailscale"
        };
        format!(
            "Use wss://{secure}, or {names}. Or open a tunnel with `ssh -N -L \
             18789:127.0.0.1:{port} USER@{ssh_host}` and use ws://127.0.0.1:18789."
        )
    }
}

/// The verdict on a URL in the form that scripts read.
///
/// ```
/// use clawgate_core::policy::{UrlCheck, UrlPolicy};
///
/// let check = UrlCheck::of("ws://0.0.0.0:18789", UrlPolicy::Strict);
/// assert!(!check.ok);
/// assert_eq!(check.class, Some("unspecified"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UrlCheck {
    /// Whether clients will dial the URL.
    pub ok: bool,
    /// The parsed host, IPv6 without brackets.
    pub host: Option<String>,
    /// The port, with the default filled in.
    pub port: Option<u16>,
    /// `ws` or `wss`.
    pub scheme: Option<&'static str>,
    /// The name of the [`HostClass`].
    pub class: Option<&'static str>,
    /// The code of the refusal.
    pub code: Option<&'static str>,
    /// Why it is refused.
    pub reason: Option<String>,
    /// What to do about it.
    pub next: Option<String>,
    /// Things to know about an accepted URL.
    pub warnings: Vec<String>,
}

impl UrlCheck {
    /// Judges a URL.
    pub fn of(url: &str, policy: UrlPolicy) -> Self {
        let verdict = Endpoint::parse(url, policy);
        let target = match &verdict {
            Ok(endpoint) => Some(&endpoint.target),
            Err(refusal) => refusal.target(),
        };
        Self {
            ok: verdict.is_ok(),
            host: target.map(|target| target.host.unbracketed().into_owned()),
            port: target.map(|target| target.port),
            scheme: target.map(|target| target.scheme.as_str()),
            class: target.map(|target| target.class.as_str()),
            code: verdict.as_ref().err().map(Refusal::code),
            reason: verdict.as_ref().err().map(Refusal::reason),
            next: verdict.as_ref().err().map(Refusal::next_step),
            warnings: verdict
                .iter()
                .flat_map(Endpoint::warnings)
                .map(|warning| warning.to_string())
                .collect(),
        }
    }
}

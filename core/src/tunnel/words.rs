//! What the words of `ssh` mean. OpenSSH has one exit code for everything, so they decide.

use super::failure::{FailureKind, TunnelFailure};
use super::machine::Exit;

/// Words that decide, in the order in which they count: what keeps two machines apart comes before what
/// `ssh` remarked about a key file on the way.
const WORDS: &[(&str, FailureKind)] = &[
    ("bad configuration option", FailureKind::BadSshConfig),
    ("can't open user config file", FailureKind::BadSshConfig),
    ("bad owner or permissions on", FailureKind::BadSshConfig),
    ("could not resolve hostname", FailureKind::NameNotFound),
    ("no route to host", FailureKind::NoRoute),
    ("network is unreachable", FailureKind::NoRoute),
    ("host is down", FailureKind::NoRoute),
    ("operation not permitted", FailureKind::NoRoute),
    ("timed out", FailureKind::TimedOut),
    ("connection refused", FailureKind::Refused),
    ("unable to negotiate", FailureKind::NoCommonAlgorithm),
    (
        "host identification has changed",
        FailureKind::HostKeyChanged,
    ),
    ("revoked host key", FailureKind::HostKeyRevoked),
    ("host key is known for", FailureKind::HostKeyUnknown),
    ("host key verification failed", FailureKind::HostKeyUnknown),
    ("too many authentication failures", FailureKind::TooManyKeys),
    ("address already in use", FailureKind::LocalPortTaken),
    ("cannot listen to port", FailureKind::LocalPortForbidden),
    (
        "could not request local forwarding",
        FailureKind::LocalPortForbidden,
    ),
    ("not responding", FailureKind::Silent),
    ("kex_exchange_identification", FailureKind::ClosedEarly),
    ("banner exchange", FailureKind::ClosedEarly),
    ("send disconnect", FailureKind::Lost),
    ("closed by remote host", FailureKind::Lost),
    ("connection closed by", FailureKind::ClosedEarly),
    ("connection reset by", FailureKind::ClosedEarly),
];

/// The same, where the host let nobody in: why the key was not even tried.
const WORDS_OF_KEYS: &[(&str, FailureKind)] = &[
    ("not accessible: no such file", FailureKind::IdentityMissing),
    ("are too open", FailureKind::IdentityExposed),
    ("bad permissions", FailureKind::IdentityExposed),
    ("warning: identity file", FailureKind::IdentityUnusable),
    ("load key", FailureKind::IdentityUnusable),
];

impl TunnelFailure {
    /// What an `ssh` meant that has ended, by all that it said on standard error.
    pub fn of_exit(exit: Exit, stderr: &str) -> Self {
        let lines = || {
            stderr
                .lines()
                .map(str::trim)
                .filter(|line| !is_of_channel(line))
        };
        let find = |words: &[(&str, FailureKind)]| {
            words.iter().find_map(|(word, kind)| {
                let line = lines().find(|line| line.to_lowercase().contains(word))?;
                Some(Self::new(*kind, line))
            })
        };
        let denied = lines().find(|line| line.contains("Permission denied ("));
        let found = match denied {
            None => find(WORDS),
            Some(line) => {
                find(WORDS_OF_KEYS).or_else(|| Some(Self::new(FailureKind::KeyRefused, line)))
            }
        };
        match found {
            Some(failure) if failure.kind() == FailureKind::HostKeyChanged => {
                let place = lines().find(|line| line.starts_with("Offending "));
                let name = lines().find_map(|line| {
                    let (name, _) = line
                        .strip_prefix("Host key for ")?
                        .split_once(" has changed")?;
                    Some(name)
                });
                match (place, name) {
                    (None, _) => failure,
                    (Some(place), None) => Self::new(FailureKind::HostKeyChanged, place),
                    (Some(place), Some(name)) => {
                        Self::new(FailureKind::HostKeyChanged, format!("{place} for {name}"))
                    }
                }
            }
            Some(failure) => failure,
            None => {
                let last = lines().rfind(|line| !line.is_empty());
                Self::new(FailureKind::Other, last.unwrap_or(&exit.to_string()))
            }
        }
    }

    /// What a line means that a running `ssh` said: a connection could not be made over there. Other lines
    /// mean nothing as long as it runs.
    pub fn of_line(line: &str) -> Option<Self> {
        if !is_of_channel(line) {
            return None;
        }
        let kind = if line.contains("connect failed") {
            FailureKind::GatewayAbsent
        } else {
            FailureKind::ForwardForbidden
        };
        Some(Self::new(kind, line))
    }
}

/// `channel 2: open failed: connect failed: Connection refused`.
fn is_of_channel(line: &str) -> bool {
    line.contains("open failed: ") && line.trim_start().starts_with("channel ")
}

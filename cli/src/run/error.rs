//! Why a gateway did not start.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clawgate_core::{
    config::{ConfigError, paths::PathsError},
    policy::{PassedRefusal, TlsPart, startup::StartupRefusal, startup_auth::StartupAuthError},
};
use clawgate_smol::{TailscaleError, TlsLoadError};
use thiserror::Error;

use super::state::Holder;
use crate::port_holder::PortHolder;

/// Why a gateway did not start, and what to do about it.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    /// Another gateway runs on the same state.
    #[error(
        "another gateway (process {}) runs on this state{} ({}); stop it with `clawgate gateway stop`, \
         or choose another instance with --profile (lock: {})",
        holder.pid,
        reached_at(&holder.addresses),
        holder.whose(),
        lock.display()
    )]
    AlreadyRunning {
        /// The other one, as far as it has said so yet.
        holder: Box<Holder>,
        /// The lock file.
        lock: PathBuf,
    },
    /// The secrets do not allow a start.
    #[error(transparent)]
    Auth(#[from] StartupAuthError),
    /// A key file that is not a key.
    #[error(
        "{} is not a key of 32 bytes; restore it from a backup, or remove it to get a new identity",
        path.display()
    )]
    BrokenKey {
        /// The file.
        path: PathBuf,
    },
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] Box<ConfigError>),
    /// The configuration has values that cannot be used.
    #[error("{file} has values that cannot be used:\n{findings}")]
    ConfigIssues {
        /// The file.
        file: String,
        /// One line each.
        findings: String,
    },
    /// A file cannot be used.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not start itself anew.
    #[error("the gateway ended to start anew, and its program could not be run: {0}")]
    HandOver(#[source] io::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", held_by(holder.as_ref(), *fixed))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// A flag named the port.
        fixed: bool,
        /// Who listens there, where the system tells.
        holder: Option<PortHolder>,
        /// What the system said.
        source: io::Error,
    },
    /// What the service manager passed cannot be served.
    #[error("the service manager passed no usable sockets: {0}; check its socket unit")]
    Passed(String),
    /// What it passed does not agree with the configuration.
    #[error(transparent)]
    PassedRefused(#[from] PassedRefusal),
    /// The configuration is not that of a local gateway.
    #[error(
        "{} does not say that a gateway runs here (gateway.mode is not \"local\"); set it, or pass \
         --allow-unconfigured",
        path.display()
    )]
    NotLocal {
        /// The configuration file.
        path: PathBuf,
    },
    /// The system has no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
    /// The configuration does not allow a start.
    #[error("{0}")]
    Refused(#[from] StartupRefusal),
    /// The state database cannot be used.
    #[error(transparent)]
    Store(#[from] clawgate_smol::store::OpenError),
    /// The certificate and the key cannot be served with.
    #[error("{0}; correct the files, or remove both to have a self-signed pair made")]
    Tls(#[source] TlsLoadError),
    /// One of the two is missing.
    #[error(
        "{} ({}) does not exist; restore it{}",
        path.display(),
        part.config_key(),
        instead_of_half(part, other.as_deref())
    )]
    TlsFileMissing {
        /// Which.
        part: TlsPart,
        /// Where it should be.
        path: PathBuf,
        /// The other half, where a new pair would be made if it were missing too.
        other: Option<PathBuf>,
    },
    /// Where the two lie cannot be told.
    #[error("the files of gateway.tls cannot be found: {0}")]
    TlsPlace(#[source] PathsError),
    /// No certificate could be made.
    #[error("cannot make a TLS certificate: {0}")]
    Certificate(String),
    /// The gateway could not be published on the tailnet.
    #[error("cannot publish the gateway: {0}")]
    Tailscale(#[from] TailscaleError),
    /// The server's threads or sockets failed.
    #[error("cannot start the server: {0}")]
    Server(#[source] io::Error),
}

impl RunError {
    /// A stable name for scripts.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::AlreadyRunning { .. } => "already_running",
            Self::Auth(error) => error.code(),
            Self::BrokenKey { .. } => "broken_key",
            Self::Config(_) | Self::ConfigIssues { .. } => "config_invalid",
            Self::File { .. } => "file_error",
            Self::HandOver(_) => "restart_failed",
            Self::Listen { .. } => "listen_failed",
            Self::Passed(_) => "passed_sockets_unusable",
            Self::PassedRefused(refusal) => refusal.code(),
            Self::NotLocal { .. } => "gateway_mode_not_local",
            Self::Random(_) => "no_random_bytes",
            Self::Refused(refusal) => refusal.code(),
            Self::Tls(_) => "tls_unusable",
            Self::TlsFileMissing { .. } => "tls_file_missing",
            Self::TlsPlace(error) => error.code(),
            Self::Certificate(_) => "certificate_not_made",
            Self::Server(_) => "server_failed",
            Self::Tailscale(_) => "tailscale_failed",
            Self::Store(_) => "state_database",
        }
    }

    /// What was wrong, and what to do next. Every message of this type is written in that order.
    pub(crate) fn what_and_next(&self) -> (String, String) {
        let text = self.to_string();
        let mark = match self {
            Self::Auth(_) | Self::Config(_) | Self::PassedRefused(_) | Self::Refused(_) => ". ",
            Self::AlreadyRunning { .. }
            | Self::BrokenKey { .. }
            | Self::Listen { .. }
            | Self::NotLocal { .. }
            | Self::Passed(_)
            | Self::Tailscale(_)
            | Self::Tls(_)
            | Self::TlsFileMissing { .. } => "; ",
            Self::ConfigIssues { .. } => {
                return (
                    text,
                    "Correct them, and check with `clawgate config validate`.".into(),
                );
            }
            Self::Certificate(_)
            | Self::File { .. }
            | Self::HandOver(_)
            | Self::Random(_)
            | Self::Server(_)
            | Self::Store(_)
            | Self::TlsPlace(_) => return (text, String::new()),
        };
        match text.split_once(mark) {
            Some((what, next)) => (format!("{what}."), capitalised(next)),
            None => (text, String::new()),
        }
    }

    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}

fn instead_of_half(part: &TlsPart, other: Option<&Path>) -> String {
    match other {
        Some(other) => format!(", or remove {} to have a new pair made", other.display()),
        None => format!(", or correct {}", part.config_key()),
    }
}

/// Who is in the way, and what to do.
fn held_by(holder: Option<&PortHolder>, fixed: bool) -> String {
    let other_port = if fixed {
        "choose another port with --port"
    } else {
        "choose another port with --port or gateway.port"
    };
    match holder {
        None => format!("; {other_port}"),
        Some(holder) => {
            let words = holder.words();
            match &holder.gateway {
                Some(gateway) => {
                    let stop = match &gateway.profile {
                        Some(name) => format!("clawgate --profile {name} gateway stop"),
                        None => "clawgate gateway stop".into(),
                    };
                    format!(
                        " (held by {words}); stop it with `{stop}`, choose another instance with \
                         --profile, or {other_port}"
                    )
                }
                None => format!(" (held by {words}); stop that program, or {other_port}"),
            }
        }
    }
}

fn reached_at(addresses: &[String]) -> String {
    match addresses {
        [] => String::new(),
        addresses => format!(" at {}", addresses.join(" and ")),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else {
        return String::new();
    };
    let end = if text.ends_with(['.', ')']) { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_falls_into_what_and_next() {
        let error = RunError::Refused(StartupRefusal::BindWithoutAuth);
        let (what, next) = error.what_and_next();
        assert!(what.ends_with("without a secret."), "{what}");
        assert!(next.starts_with("Set gateway.auth.token"), "{next}");
        let (what, next) = RunError::Tailscale(TailscaleError::NotFound).what_and_next();
        assert!(what.contains("no tailscale program"), "{what}");
        assert!(next.starts_with("Install it"), "{next}");
    }
}

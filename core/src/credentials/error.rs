//! Why there is no target, and what its user can do about it.

use std::fmt;

use super::context::ContextTarget;
use super::precedence::Unavailable;
use super::target::UrlSource;
use crate::config::{AuthMode, ContextName, SecretRef};
use crate::policy::{EdgeAuthProblem, InvalidSshTarget, Refusal};
use crate::secrets::RefFault;

/// Why a client must not connect. Raised before any socket opens; never repeats a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialError {
    /// The URL is refused.
    InsecureUrl {
        /// Where the URL comes from.
        source: UrlSource,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// A URL that overrides the config came without credentials of its own.
    ExplicitAuthRequired {
        /// Where the URL comes from.
        source: UrlSource,
    },
    /// The gateway asks for a secret, and there is none.
    CredentialsRequired {
        /// How the gateway tells its clients from strangers.
        mode: AuthMode,
    },
    /// A reference that would have been used could not be read.
    SecretRefUnavailable(Unavailable),
    /// Remote mode without `gateway.remote.url`.
    RemoteUrlMissing,
    /// A tunnel without a machine to log in to.
    SshTargetMissing,
    /// A machine to log in to that `ssh` could misread.
    SshTargetInvalid {
        /// The flag or key that holds it.
        place: &'static str,
        /// What is wrong with it.
        fault: InvalidSshTarget,
    },
    /// The end of a tunnel on this machine is said to be on another one.
    TunnelUrlElsewhere {
        /// That place.
        url: String,
    },
    /// Both `--url` and `--port`.
    UrlAndPort,
    /// A context, and flags that name another target.
    ContextAndTarget,
    /// `--no-auth` and a credential.
    AuthAndNoAuth,
    /// A pin that is no SHA-256.
    InvalidTlsFingerprint {
        /// The flag or key that holds it.
        place: &'static str,
    },
    /// A header for a proxy that cannot be sent.
    EdgeAuthInvalid {
        /// The header, if it is about one.
        header: Option<String>,
        /// What is wrong with it.
        problem: EdgeAuthProblem,
    },
    /// Headers for a proxy, and a connection without TLS.
    EdgeAuthNeedsTls,
    /// A header for a proxy refers to a secret that could not be read.
    EdgeAuthUnavailable {
        /// The header.
        header: String,
        /// The reference.
        reference: SecretRef,
        /// Why.
        fault: Box<RefFault>,
    },
    /// A pin for a connection without TLS.
    FingerprintNeedsTls {
        /// The flag or key that holds it.
        place: &'static str,
    },
    /// The same about the context that is in force, in place of `gateway.remote`.
    InContext {
        /// The context.
        name: ContextName,
        /// What is wrong.
        error: Box<Self>,
    },
}

impl CredentialError {
    pub(super) fn of(self, context: Option<ContextTarget<'_>>) -> Self {
        match context {
            Some(context) => Self::InContext {
                name: context.name.clone(),
                error: Box::new(self),
            },
            None => self,
        }
    }

    /// The error itself, without the context that it is about.
    pub fn bare(&self) -> &Self {
        if let Self::InContext { error, .. } = self {
            error.bare()
        } else {
            self
        }
    }

    /// A stable name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InsecureUrl { .. } => "insecure_url",
            Self::ExplicitAuthRequired { .. } => "explicit_auth_required",
            Self::CredentialsRequired { .. } => "credentials_required",
            Self::SecretRefUnavailable(_) => "secret_ref_unavailable",
            Self::RemoteUrlMissing => "remote_url_missing",
            Self::SshTargetMissing => "ssh_target_missing",
            Self::SshTargetInvalid { .. } => "ssh_target_invalid",
            Self::TunnelUrlElsewhere { .. } => "tunnel_url_elsewhere",
            Self::UrlAndPort => "url_and_port",
            Self::ContextAndTarget => "context_and_target",
            Self::AuthAndNoAuth => "auth_and_no_auth",
            Self::InvalidTlsFingerprint { .. } => "invalid_tls_fingerprint",
            Self::FingerprintNeedsTls { .. } => "tls_fingerprint_requires_wss",
            Self::EdgeAuthInvalid { .. } => "edge_auth_invalid",
            Self::EdgeAuthNeedsTls => "edge_auth_requires_wss",
            Self::EdgeAuthUnavailable { .. } => "edge_auth_unavailable",
            Self::InContext { error, .. } => error.code(),
        }
    }

    /// The config key that the error is about, if it is one.
    pub fn path(&self) -> Option<&'static str> {
        match self {
            Self::SecretRefUnavailable(unavailable) => Some(unavailable.path.as_str()),
            Self::RemoteUrlMissing | Self::TunnelUrlElsewhere { .. } => Some("gateway.remote.url"),
            Self::SshTargetMissing => Some("gateway.remote.sshTarget"),
            Self::SshTargetInvalid { place, .. } if !place.starts_with('-') => Some(place),
            Self::SshTargetInvalid { .. } => None,
            Self::EdgeAuthInvalid { .. }
            | Self::EdgeAuthNeedsTls
            | Self::EdgeAuthUnavailable { .. } => Some("gateway.remote.edgeAuth"),
            Self::InsecureUrl { .. }
            | Self::ExplicitAuthRequired { .. }
            | Self::CredentialsRequired { .. }
            | Self::UrlAndPort
            | Self::ContextAndTarget
            | Self::AuthAndNoAuth
            | Self::InvalidTlsFingerprint { .. }
            | Self::FingerprintNeedsTls { .. }
            | Self::InContext { .. } => None,
        }
    }

    /// What was wrong.
    pub fn message(&self) -> String {
        match self {
            Self::InContext { name, error } if matches!(**error, Self::RemoteUrlMissing) => {
                format!("The context {name} has no url.")
            }
            Self::InContext { name, error } => {
                format!("Context {name}: {}", of_context(&error.message(), name))
            }
            Self::InsecureUrl { source, refusal } => {
                format!("{} It comes from {}.", refusal.reason(), source.as_str())
            }
            Self::ExplicitAuthRequired { source } => format!(
                "A gateway URL from {} came without credentials for it, and those of the \
                 configured gateway are never sent to another address.",
                source.as_str()
            ),
            Self::CredentialsRequired { mode } => format!(
                "The gateway asks for a {}, and none was found.",
                match mode {
                    AuthMode::Password => "password",
                    AuthMode::Token | AuthMode::None | AuthMode::TrustedProxy => "token",
                }
            ),
            Self::SecretRefUnavailable(Unavailable {
                path,
                reference,
                fault,
            }) => {
                format!("{path} refers to {reference}, which could not be read: {fault}.")
            }
            Self::RemoteUrlMissing => {
                "gateway.mode is remote, but gateway.remote.url is not set.".to_owned()
            }
            Self::SshTargetMissing => {
                "The gateway is to be reached through an SSH tunnel, but gateway.remote.sshTarget is not \
                 set."
                .to_owned()
            }
            Self::SshTargetInvalid { place, fault } => format!("{place}: {fault}."),
            Self::TunnelUrlElsewhere { url } => format!(
                "gateway.remote.transport is ssh, but gateway.remote.url ({url}) is not on this machine."
            ),
            Self::UrlAndPort => "--url and --port were both given.".to_owned(),
            Self::ContextAndTarget => {
                "A context names a gateway, and so does another flag.".to_owned()
            }
            Self::AuthAndNoAuth => {
                "--no-auth was given together with a token or password.".to_owned()
            }
            Self::InvalidTlsFingerprint { place } => {
                format!("{place} is not the SHA-256 fingerprint of a certificate.")
            }
            Self::FingerprintNeedsTls { place } => {
                format!("{place} pins a certificate, but the gateway URL is not wss://.")
            }
            Self::EdgeAuthInvalid { header, problem } => match header {
                Some(header) => format!("gateway.remote.edgeAuth, header {header:?}: {problem}."),
                None => format!("gateway.remote.edgeAuth: {problem}."),
            },
            Self::EdgeAuthNeedsTls => "gateway.remote.edgeAuth has headers for a proxy, but \
                                       gateway.remote.url is not wss://."
                .to_owned(),
            Self::EdgeAuthUnavailable {
                header,
                reference,
                fault,
            } => format!(
                "gateway.remote.edgeAuth, header {header:?}, refers to {reference}, which could \
                 not be read: {fault}."
            ),
        }
    }

    /// What to do next: the command to type, or the key to set.
    pub fn next_step(&self) -> String {
        match self {
            Self::InContext { name, error } if matches!(**error, Self::RemoteUrlMissing) => {
                format!("Run `clawgate context add {name} --replace --url URL`.")
            }
            Self::InContext { name, error }
                if matches!(**error, Self::CredentialsRequired { .. }) =>
            {
                format!(
                    "Add --token-file or --password-file, give the context one (`clawgate context \
                     add {name} --replace`), or pair this device with the gateway."
                )
            }
            Self::InContext { name, error } => of_context(&error.next_step(), name),
            Self::InsecureUrl { refusal, .. } => refusal.next_step(),
            Self::ExplicitAuthRequired { source } => match source {
                UrlSource::Env => "Set OPENCLAW_GATEWAY_TOKEN or OPENCLAW_GATEWAY_PASSWORD beside \
                                   OPENCLAW_GATEWAY_URL, or add --token or --password."
                    .to_owned(),
                UrlSource::Cli
                | UrlSource::Port
                | UrlSource::Node
                | UrlSource::Remote
                | UrlSource::Ssh
                | UrlSource::Local => "Add --token or --password, add --no-auth to connect \
                                       without credentials, or leave out --url to use the \
                                       configured gateway."
                    .to_owned(),
            },
            Self::CredentialsRequired { mode } => match mode {
                AuthMode::Password => {
                    "Set OPENCLAW_GATEWAY_PASSWORD or gateway.auth.password, or \
                                       add --password."
                }
                AuthMode::Token | AuthMode::None | AuthMode::TrustedProxy => {
                    "Set OPENCLAW_GATEWAY_TOKEN or gateway.auth.token, or add --token."
                }
            }
            .to_owned(),
            Self::SecretRefUnavailable(unavailable) => format!(
                "{} Or set {}, or add --token or --password.",
                unavailable.fault.next_step(),
                super::env_name(unavailable.path.kind())
            ),
            Self::RemoteUrlMissing => {
                "Set gateway.remote.url, as in wss://gateway.example.com, or \
                                       set gateway.mode to local."
                    .to_owned()
            }
            Self::SshTargetMissing => "Set gateway.remote.sshTarget, as in nick@studio or \
                                       nick@studio:2222."
                .to_owned(),
            Self::SshTargetInvalid { .. } => "Write it as USER@HOST or USER@HOST:PORT.".to_owned(),
            Self::TunnelUrlElsewhere { .. } => "Write the gateway's host into \
                                                gateway.remote.sshTarget and the end of the tunnel \
                                                into gateway.remote.url, as in \
                                                ws://127.0.0.1:18789; or set \
                                                gateway.remote.transport to direct."
                .to_owned(),
            Self::UrlAndPort => "Use either --url or --port, not both.".to_owned(),
            Self::ContextAndTarget => "Use either the context or the other flag.".to_owned(),
            Self::AuthAndNoAuth => "Leave out --no-auth, or the credential.".to_owned(),
            Self::InvalidTlsFingerprint { .. } => {
                "Write it as 64 hexadecimal digits, or as 32 pairs with colons between them."
                    .to_owned()
            }
            Self::FingerprintNeedsTls { place } => {
                format!("Use a wss:// URL, or remove {place}.")
            }
            Self::EdgeAuthInvalid { .. } => {
                "Correct the header, or remove gateway.remote.edgeAuth.".to_owned()
            }
            Self::EdgeAuthNeedsTls => {
                "Use a wss:// URL, or remove gateway.remote.edgeAuth.".to_owned()
            }
            Self::EdgeAuthUnavailable { fault, .. } => {
                format!("{} Or remove the header.", fault.next_step())
            }
        }
    }
}

/// A text about `gateway.remote` as one about a context.
pub(super) fn of_context(text: &str, name: &ContextName) -> String {
    text.replace("gateway.remote", &format!("contexts.{name}"))
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.message(), self.next_step())
    }
}

impl std::error::Error for CredentialError {}

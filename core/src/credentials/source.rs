//! Names of the places that a credential can come from.

use std::fmt;

use serde::Serialize;

use crate::policy::SecretKind;

/// Where a token or password comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Source {
    /// `--token` or `--password`.
    #[serde(rename = "cli")]
    Cli,
    /// `OPENCLAW_GATEWAY_TOKEN` or `OPENCLAW_GATEWAY_PASSWORD`.
    #[serde(rename = "env")]
    Env,
    /// `gateway.auth.*`.
    #[serde(rename = "config.auth")]
    ConfigAuth,
    /// `gateway.remote.*`.
    #[serde(rename = "config.remote")]
    ConfigRemote,
    /// The context that is in force.
    #[serde(rename = "context")]
    Context,
    /// The token that the gateway gave to this device when it was paired.
    #[serde(rename = "device")]
    Device,
    /// The token that clawgate's own gateway on this machine made for itself.
    #[serde(rename = "file")]
    File,
}

impl Source {
    /// Every source of the config's gateway, in the order in which they are explained.
    pub const ALL: [Self; 6] = [
        Self::Cli,
        Self::Env,
        Self::ConfigAuth,
        Self::ConfigRemote,
        Self::Device,
        Self::File,
    ];

    /// The same where a context is in force.
    pub(super) const WITH_CONTEXT: [Self; 7] = [
        Self::Cli,
        Self::Context,
        Self::Env,
        Self::ConfigAuth,
        Self::ConfigRemote,
        Self::Device,
        Self::File,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Env => "env",
            Self::ConfigAuth => "config.auth",
            Self::ConfigRemote => "config.remote",
            Self::Context => "context",
            Self::Device => "device",
            Self::File => "file",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The four places of the config that hold a client credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretPath {
    /// `gateway.auth.token`.
    AuthToken,
    /// `gateway.auth.password`.
    AuthPassword,
    /// `gateway.remote.token`.
    RemoteToken,
    /// `gateway.remote.password`.
    RemotePassword,
}

impl SecretPath {
    /// All four, in the order in which references are tried (spec credentials §5).
    pub const ALL: [Self; 4] = [
        Self::AuthToken,
        Self::AuthPassword,
        Self::RemoteToken,
        Self::RemotePassword,
    ];

    /// The path in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthToken => "gateway.auth.token",
            Self::AuthPassword => "gateway.auth.password",
            Self::RemoteToken => "gateway.remote.token",
            Self::RemotePassword => "gateway.remote.password",
        }
    }

    /// Which kind of secret lies there.
    pub const fn kind(self) -> SecretKind {
        match self {
            Self::AuthToken | Self::RemoteToken => SecretKind::Token,
            Self::AuthPassword | Self::RemotePassword => SecretKind::Password,
        }
    }

    /// Which source it belongs to.
    pub const fn source(self) -> Source {
        match self {
            Self::AuthToken | Self::AuthPassword => Source::ConfigAuth,
            Self::RemoteToken | Self::RemotePassword => Source::ConfigRemote,
        }
    }

    pub(super) const fn of(source: Source, kind: SecretKind) -> Option<Self> {
        match (source, kind) {
            (Source::ConfigAuth, SecretKind::Token) => Some(Self::AuthToken),
            (Source::ConfigAuth, SecretKind::Password) => Some(Self::AuthPassword),
            (Source::ConfigRemote | Source::Context, SecretKind::Token) => Some(Self::RemoteToken),
            (Source::ConfigRemote | Source::Context, SecretKind::Password) => {
                Some(Self::RemotePassword)
            }
            (Source::Cli | Source::Env | Source::Device | Source::File, _) => None,
        }
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The variable that holds a client credential of a kind.
pub const fn env_name(kind: SecretKind) -> &'static str {
    match kind {
        SecretKind::Token => "OPENCLAW_GATEWAY_TOKEN",
        SecretKind::Password => "OPENCLAW_GATEWAY_PASSWORD",
    }
}

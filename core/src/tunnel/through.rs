//! The part of an endpoint that says that it is reached through a tunnel.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::TunnelSpec;

/// Who opens tunnels for programs that need one, and where they find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelKeeper {
    /// The folder of records and locks, for this user only.
    pub folder: PathBuf,
    /// The program that holds a tunnel open in the background. It gets a
    /// [`TunnelSpec`] as JSON on its standard input.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How long a tunnel that nobody uses stays open.
    pub idle: Duration,
    /// The name by which the system's service manager has `ssh` hold this very tunnel, if it does: an `ssh`
    /// of this user that was called for that name and listens on the wanted port is used.
    pub service: Option<TunnelService>,
    /// How long opening may take, where that is less than there is time.
    pub open_within: Option<Duration>,
}

/// A tunnel that the system's service manager keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelService {
    /// The name of its `Host` block.
    pub alias: String,
    /// What that block says.
    pub spec: TunnelSpec,
    /// Its text.
    pub block: String,
}

/// A tunnel that an endpoint is reached through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// What is forwarded.
    pub spec: TunnelSpec,
    /// Who opens it. Without one, only an open tunnel can be used.
    pub keeper: Option<TunnelKeeper>,
}

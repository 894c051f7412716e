//! The command line of the gateway as a service.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clawgate_core::policy::port::parse_port_option;
use serde::{Deserialize, Serialize};

/// How to install the gateway as a service.
#[derive(Args, Clone, Debug)]
pub(crate) struct InstallArgs {
    /// The port, in place of the configured one
    #[arg(long, value_name = "PORT", value_parser = parse_port_option)]
    pub(crate) port: Option<u16>,
    /// Let systemd open the port, and start the gateway when somebody connects
    #[arg(long)]
    pub(crate) socket_activation: bool,
    /// What the gateway and its programs may do [default: strict, or basic where Tailscale or secret
    /// programs are used]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) hardening: Option<HardeningLevel>,
    /// Another folder that it may write to; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) writable: Vec<PathBuf>,
    /// A variable of this shell that the gateway needs, put into a file for its eyes only; may be
    /// given several times
    #[arg(long = "env", value_name = "NAME")]
    pub(crate) variables: Vec<String>,
    /// Install although the config does not say gateway.mode: "local"
    #[arg(long)]
    pub(crate) allow_unconfigured: bool,
    /// Install beside a service of OpenClaw, or where it would not start as things are
    #[arg(long)]
    pub(crate) force: bool,
    /// Show the files and change nothing
    #[arg(long)]
    pub(crate) print: bool,
    /// For which manager the files are shown [default: this system's]
    #[arg(long, value_enum, value_name = "MANAGER", requires = "print")]
    pub(crate) manager: Option<ManagerName>,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
}

/// Whether this machine's gateway is meant although another one is configured.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct LocalArgs {
    /// This machine's service, although gateway.mode is "remote"
    #[arg(long)]
    pub(crate) local: bool,
}

/// What a service may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HardeningLevel {
    /// No new privileges; files as the user has them
    Basic,
    /// The same, and only the state folder can be written to
    Strict,
}

/// A service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManagerName {
    /// systemd, on Linux
    Systemd,
    /// launchd, on macOS
    Launchd,
}

//! SSH tunnels as they are typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use clawgate_core::policy::port::parse_port_option;

use crate::args::TargetArgs;
use crate::target::GivenSsh;

/// `tunnel --help`.
pub(crate) const TUNNEL_HELP: &str = "\
With gateway.mode: \"remote\" and gateway.remote.transport: \"ssh\", every command opens the tunnel that
it needs, and later ones share it. It closes five minutes after its last use. `tunnel up` holds one open
for as long as it runs.

The system's ssh is used, with the user's keys, agent and ssh_config. CLAWGATE_SSH_CONFIG names another
ssh_config, as ssh -F does. An unknown host is refused; `gateway.remote.sshHostKeyPolicy: \"openssh\"`
leaves that to the ssh_config. Nothing is sent to a local port before it is known that it is this
tunnel's own ssh that listens there.

Examples:
  clawgate tunnel up
  clawgate tunnel up --ssh nick@studio --background
  clawgate tunnel status --json
  clawgate tunnel down
  clawgate tunnel install --ssh nick@studio";

#[derive(Debug, Subcommand)]
pub(crate) enum TunnelCommand {
    /// Hold the tunnel open, and open it again whenever it is lost
    Up(UpArgs),
    /// Which tunnels there are, since when, on which port, and what went wrong last
    Status,
    /// Close the tunnels of this instance
    Down,
    /// Let the system's service manager hold the tunnel, from each login on
    #[command(after_help = INSTALL_HELP)]
    Install(InstallArgs),
    /// Take back what install did; the config stays
    Uninstall,
    /// Hold a tunnel that standard input describes
    #[command(hide = true)]
    Keep,
    /// Become a program that ends with its parent
    #[command(hide = true)]
    Child {
        /// The number of the parent
        parent: u32,
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
}

const INSTALL_HELP: &str = "\
What it does, and says as it does it: a Host block in a file of its own beside your ssh_config, one
Include line in your ssh_config (after asking), a login to see whether your key is let in, the config
of clients, and a LaunchAgent (macOS) or a systemd user unit (Linux) that runs `ssh -N` for that block.

Examples:
  clawgate tunnel install --ssh nick@studio --print
  clawgate tunnel install --ssh nick@studio --token-file token.txt --yes
  clawgate tunnel status";

#[derive(Args, Clone, Debug)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub(crate) place: TunnelPlaceArgs,
    /// Store the token of the gateway, read from this file, as gateway.remote.token; - is standard input
    #[arg(long, value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,
    /// Store a reference to this environment variable as gateway.remote.token
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    pub(crate) token_env: Option<String>,
    /// Show every file, and change nothing
    #[arg(long)]
    pub(crate) print: bool,
    /// Do not ask before a line is added to your ssh_config
    #[arg(long)]
    pub(crate) yes: bool,
    /// Do not log in first
    #[arg(long)]
    pub(crate) no_check: bool,
}

/// Which tunnel.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SshArgs {
    /// The machine to log in to, as USER@HOST or USER@HOST:PORT [config: gateway.remote.sshTarget]
    #[arg(long, value_name = "TARGET")]
    pub(crate) ssh: Option<String>,
    /// The file of the key to log in with [config: gateway.remote.sshIdentity]
    #[arg(long, value_name = "PATH")]
    pub(crate) ssh_identity: Option<PathBuf>,
}

/// Which tunnel, and between which ports.
#[derive(Args, Clone, Debug)]
pub(crate) struct TunnelPlaceArgs {
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
    /// The gateway's port over there [config: gateway.remote.remotePort]
    #[arg(long, value_name = "PORT", value_parser = parse_port_option)]
    pub(crate) remote_port: Option<u16>,
    /// The wanted port on this machine; a free one is taken where it is in use
    /// [config: the port of gateway.remote.url]
    #[arg(long, value_name = "PORT", value_parser = parse_port_option)]
    pub(crate) local_port: Option<u16>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) place: TunnelPlaceArgs,
    /// Seconds of silence before a sign of life is asked for; after three times as long the tunnel counts
    /// as lost
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=3_600))]
    pub(crate) keep_alive: u16,
    /// Return as soon as it is open, and leave it to a process in the background
    #[arg(long)]
    pub(crate) background: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ProbeArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Try the gateway of another machine through a tunnel first, as USER@HOST or USER@HOST:PORT
    /// [config: gateway.remote.sshTarget, else the host of gateway.remote.url]
    #[arg(long, value_name = "TARGET", num_args = 0..=1, default_missing_value = "")]
    pub(crate) ssh: Option<String>,
    /// The file of the key to log in with [config: gateway.remote.sshIdentity]
    #[arg(long, value_name = "PATH")]
    pub(crate) ssh_identity: Option<PathBuf>,
}

impl ProbeArgs {
    /// The tunnel that was asked for.
    pub(crate) fn through(&self) -> Option<GivenSsh> {
        let target = self.ssh.as_ref()?;
        Some(GivenSsh {
            target: Some(target.clone()).filter(|target| !target.trim().is_empty()),
            identity: text_of(self.ssh_identity.as_ref()),
        })
    }
}

/// A path as `ssh` takes it on its command line.
pub(crate) fn text_of(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

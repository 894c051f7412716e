//! The command line of `clawgate gateway`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clawgate_core::config::{AuthMode, BindMode, LogStyle};
use clawgate_core::policy::port::{InvalidPort, parse_port_option};

use crate::args::{CallArgs, SecretArgs, TargetArgs};
use crate::help;
use crate::service_args::{InstallArgs, LocalArgs};
use crate::top_args::TopArgs;
use crate::tunnel_args::ProbeArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Run the gateway in the foreground
    #[command(after_help = help::GATEWAY_RUN)]
    Run(GatewayRunArgs),
    /// Install the gateway as a service of this user, and start it
    #[command(after_help = help::GATEWAY_INSTALL)]
    Install(Box<InstallArgs>),
    /// Stop the service and remove its files; the state stays
    Uninstall(LocalArgs),
    /// Start the service
    Start(LocalArgs),
    /// Stop the service, or the gateway that somebody runs here
    Stop(LocalArgs),
    /// Start the gateway anew, service or not; its port stays open
    #[command(after_help = help::GATEWAY_RESTART)]
    Restart(LocalArgs),
    /// Where the gateway is, whether it answers, its service and who has its port
    #[command(after_help = help::GATEWAY_STATUS)]
    Status(TargetArgs),
    /// Ask the gateway how it is
    #[command(after_help = help::HEALTH)]
    Health(TargetArgs),
    /// Try each way to the gateway: reachable, authenticated, authorised, and how long it takes
    #[command(after_help = help::GATEWAY_PROBE)]
    Probe(ProbeArgs),
    /// What the gateway does at this moment: a page that is made anew each second
    #[command(after_help = help::GATEWAY_TOP)]
    Top(TopArgs),
    /// Call one method and print its result
    #[command(after_help = help::GATEWAY_CALL)]
    Call(CallArgs),
}

/// How to run the gateway.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayRunArgs {
    /// The port, 0 for a free one [env: OPENCLAW_GATEWAY_PORT] [config: gateway.port]
    #[arg(long, value_name = "PORT", value_parser = listen_port)]
    pub(crate) port: Option<u16>,
    /// Where to listen: loopback, lan, tailnet, custom or auto [config: gateway.bind]
    #[arg(long, value_name = "MODE", value_parser = bind_mode)]
    pub(crate) bind: Option<BindMode>,
    /// How to tell clients from strangers: none, token, password or trusted-proxy
    /// [config: gateway.auth.mode]
    #[arg(long, value_name = "MODE", value_parser = auth_mode)]
    pub(crate) auth: Option<AuthMode>,
    #[command(flatten)]
    pub(crate) secrets: SecretArgs,
    /// Run although the config does not say gateway.mode: "local"
    #[arg(long)]
    pub(crate) allow_unconfigured: bool,
    /// Log every connection and call
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Only say whether it would start like this
    #[arg(long)]
    pub(crate) check: bool,
    /// A file of variables (NAME=value), for service managers that read none
    #[arg(long, value_name = "PATH")]
    pub(crate) env_file: Option<PathBuf>,
    /// How the log on standard error looks: text or json [config: logging.consoleStyle] [default:
    /// text on a terminal, else json]
    #[arg(long, value_name = "FORMAT", value_parser = log_style)]
    pub(crate) log_format: Option<LogStyle>,
}

fn listen_port(text: &str) -> Result<u16, InvalidPort> {
    if text.trim() == "0" {
        return Ok(0);
    }
    parse_port_option(text)
}

fn bind_mode(name: &str) -> Result<BindMode, &'static str> {
    BindMode::parse(name).ok_or("expected loopback, lan, tailnet, custom or auto")
}

fn log_style(name: &str) -> Result<LogStyle, &'static str> {
    LogStyle::parse(name).ok_or("expected text or json")
}

fn auth_mode(name: &str) -> Result<AuthMode, &'static str> {
    AuthMode::parse(name).ok_or("expected none, token, password or trusted-proxy")
}

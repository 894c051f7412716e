//! The command line as it is typed.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use clawgate_core::credentials::Surface;
use clawgate_core::policy::audit::Severity;
use clawgate_core::policy::port::parse_port_option;
use clawgate_core::policy::{InvalidPinPlace, PinPlace};
use clawgate_core::secret::Secret;

use crate::approval_args::{ApprovalsCommand, TailArgs};
use crate::channel_args::{ChannelsCommand, MessagesCommand, PairingCommand, SendArgs};
use crate::config_args::ConfigCommand;
use crate::conversation_args::{AgentArgs, ChatArgs, SessionsCommand};
use crate::device_args::DevicesCommand;
use crate::discovery_args::{DISCOVER, DiscoverArgs};
use crate::doctor_args::{DOCTOR, DoctorArgs};
use crate::gateway_args::GatewayCommand;
use crate::help;
use crate::node_args::{NodeCommand, NodesCommand};
use crate::remote_args::{ContextCommand, RemoteCommand};
use crate::support_args::SupportCommand;
use crate::tunnel_args::TunnelCommand;
use crate::voice_args::{OPEN, OpenArgs, VOICE, VoiceArgs};

/// An agent gateway, and the commands to look after it.
#[derive(Debug, Parser)]
#[command(
    name = "clawgate",
    version,
    after_help = help::EXAMPLES,
    after_long_help = help::top_long(),
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) instance: InstanceArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which instance, and for whom to print.
#[derive(Args, Clone, Debug)]
pub(crate) struct InstanceArgs {
    /// Print JSON on standard output, failures too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The named instance, with files and a port of its own [env: OPENCLAW_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The instance for development: the same as --profile dev
    #[arg(long, global = true)]
    pub(crate) dev: bool,
    /// The config file [env: OPENCLAW_CONFIG_PATH] [default: openclaw.json in the state folder]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// The named gateway (`clawgate context list`); default is none [env: CLAWGATE_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a gateway, look at one, or call it
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Ask the gateway how it is
    #[command(after_help = help::HEALTH)]
    Health(TargetArgs),
    /// A summary of the gateway: health and state
    #[command(after_help = help::STATUS)]
    Status(StatusArgs),
    /// Say something to an agent and wait for the reply
    #[command(after_help = help::AGENT)]
    Agent(Box<AgentArgs>),
    /// Talk with an agent in the terminal
    #[command(after_help = help::CHAT)]
    Chat(Box<ChatArgs>),
    /// Sessions of a gateway: what was said, and where
    #[command(subcommand, after_help = help::SESSIONS)]
    Sessions(Box<SessionsCommand>),
    /// Channels such as Telegram: how they fare, start and stop
    #[command(subcommand)]
    Channels(ChannelsCommand),
    /// People who want to write to an agent through a channel: who asks, and who is let in
    #[command(subcommand, after_help = help::PAIRING)]
    Pairing(PairingCommand),
    /// Say something in a chat of a channel
    #[command(after_help = help::SEND)]
    Send(Box<SendArgs>),
    /// Messages of channels: list them, follow each of their steps, send again
    #[command(subcommand)]
    Messages(MessagesCommand),
    /// Try the whole flow: a gateway, a node and a message, in a folder that is removed afterwards
    #[command(after_help = help::DEMO)]
    Demo {
        /// Send the message through Telegram, whose part a stand-in on this machine plays
        #[arg(long)]
        telegram: bool,
    },
    /// The program behind the command of the demo's node
    #[command(hide = true)]
    DemoGreet,
    /// Look at the config file, and change it
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The gateway elsewhere that commands use: set it, look at it, test it
    #[command(subcommand)]
    Remote(RemoteCommand),
    /// Several named gateways elsewhere, of which one is in force
    #[command(subcommand, after_help = help::CONTEXT)]
    Context(ContextCommand),
    /// Look at the credentials that would be sent
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Certificates that were pinned on first use
    #[command(subcommand)]
    Pins(PinsCommand),
    /// Devices of a gateway: who is paired, who asks, and their tokens
    #[command(subcommand, after_help = help::DEVICES)]
    Devices(DevicesCommand),
    /// Questions whether a program may run: list, watch, decide
    #[command(subcommand, after_help = help::APPROVALS)]
    Approvals(ApprovalsCommand),
    /// The gateway's log
    #[command(after_help = help::LOGS)]
    Logs(TailArgs),
    /// Be a node: let a gateway run commands on this machine
    #[command(subcommand, after_help = help::NODE_RUN)]
    Node(NodeCommand),
    /// Nodes of a gateway: what they offer, who asks to be approved, and calls to them
    #[command(subcommand, after_help = help::NODES)]
    Nodes(NodesCommand),
    /// Change the secret that the gateway asks for, without an outage
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Look for what is wrong, from the config to the gateway's answer, and say what to do
    #[command(after_help = DOCTOR)]
    Doctor(Box<DoctorArgs>),
    /// Listen for gateways on the local network
    #[command(after_help = DISCOVER)]
    Discover(DiscoverArgs),
    /// SSH tunnels to the remote gateway: open, look, close
    #[command(subcommand, after_help = crate::tunnel_args::TUNNEL_HELP)]
    Tunnel(TunnelCommand),
    /// Look at gateway URLs
    #[command(subcommand)]
    Url(UrlCommand),
    /// Look for weaknesses in how the gateway is set up
    #[command(subcommand)]
    Security(SecurityCommand),
    /// Open the chat page of the gateway in a browser
    #[command(after_help = OPEN)]
    Open(OpenArgs),
    /// Forward recognised speech to the gateway when a wake word was said
    #[command(after_help = VOICE)]
    Voice(VoiceArgs),
    /// Show others what is needed to help, and no more
    #[command(subcommand)]
    Support(SupportCommand),
    /// Copy the state database, while the gateway runs or not
    #[command(after_help = help::BACKUP)]
    Backup(BackupArgs),
    /// Print completions for a shell
    #[command(after_help = help::COMPLETION)]
    Completion {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Which gateway, which token and password, and why; nothing is sent
    #[command(after_help = help::AUTH_EXPLAIN)]
    Explain(ExplainArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PinsCommand {
    /// All of them
    List,
    /// Forget one: the next first use pins what is shown then
    Remove {
        /// Such as gw.example.com:443
        #[arg(value_name = "HOST:PORT", value_parser = pin_place)]
        place: PinPlace,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Let the gateway read its configured secret again
    #[command(after_help = help::SECRETS_RELOAD)]
    Reload(GraceArgs),
    /// Replace the token that the gateway made for itself
    #[command(after_help = help::SECRETS_ROTATE)]
    Rotate(GraceArgs),
    /// Which secrets let clients in, and who still uses an old one
    Status(TargetArgs),
}

#[derive(Args, Debug)]
pub(crate) struct GraceArgs {
    /// How long the old secret stays valid, such as 90s, 10m or 2h; 7d at most [default: 0 for
    /// reload, 10m for rotate]
    #[arg(long, value_name = "TIME", value_parser = crate::span::parse)]
    pub(crate) grace: Option<Duration>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UrlCommand {
    /// Whether clients would connect to these URLs; nothing is sent
    #[command(after_help = help::URL_CHECK)]
    Check {
        /// URLs; - reads them from standard input, one a line
        #[arg(required = true, value_name = "URL")]
        urls: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecurityCommand {
    /// Check config, environment and files: who can get in, and who can read secrets
    #[command(after_help = help::SECURITY_AUDIT)]
    Audit(AuditArgs),
    /// Show who was let in or turned away, and who changed what, the newest first
    #[command(after_help = help::SECURITY_LOG)]
    Log(LogArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// Lines, from 1 to 1,000
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) limit: u16,
    /// Only lines before this number, as an earlier page gave it
    #[arg(long, value_name = "NUMBER")]
    pub(crate) before: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// Exit with 1 on findings of this severity or a graver one: info, warn or critical
    #[arg(long, value_name = "SEVERITY", value_parser = severity, default_value = "warn")]
    pub(crate) level: Severity,
    /// Take files and folders from other users, and say which; nothing else is changed
    #[arg(long)]
    pub(crate) fix: bool,
}

#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// The copy [default: backups/state-TIME.sqlite in the gateway's own folder]
    #[arg(long, value_name = "PATH")]
    pub(crate) to: Option<PathBuf>,
    /// Replace a file that is already there
    #[arg(long)]
    pub(crate) force: bool,
}

/// A secret, or where it is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SecretArgs {
    /// The token; other users can see it in the process list, so prefer --token-file
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub(crate) token: Option<Secret>,
    /// Read the token from a file; - is standard input
    #[arg(long, value_name = "PATH", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// The password; other users can see it in the process list, so prefer --password-file
    #[arg(long, value_name = "PASSWORD", value_parser = secret)]
    pub(crate) password: Option<Secret>,
    /// Read the password from a file; - is standard input
    #[arg(long, value_name = "PATH", conflicts_with = "password")]
    pub(crate) password_file: Option<PathBuf>,
}

/// Which gateway, and what to present there.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlaceArgs {
    /// The gateway's URL; it never borrows credentials from environment or config
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The port of a gateway on this machine; not together with --url
    #[arg(long, value_name = "PORT", value_parser = parse_port_option)]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) secrets: SecretArgs,
    /// Connect without credentials, on purpose
    #[arg(long)]
    pub(crate) no_auth: bool,
    /// The SHA-256 of the certificate that the gateway must show
    #[arg(long, value_name = "SHA256")]
    pub(crate) tls_fingerprint: Option<String>,
    /// Pin the certificate, if there is no pin yet and the system trusts it
    /// [config: gateway.remote.tlsTrust]
    #[arg(long)]
    pub(crate) pin_on_first_use: bool,
}

/// The same, with a time for a command that calls and is done.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Milliseconds for everything together
    #[arg(long, value_name = "MS", value_parser = timeout, default_value = "10000")]
    pub(crate) timeout: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct CallArgs {
    /// The method, such as health or system-presence
    pub(crate) method: String,
    /// The parameters as JSON5; - reads them from standard input
    #[arg(long, value_name = "JSON5", default_value = "{}")]
    pub(crate) params: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Probe channels, and ask for presence, heartbeat, channels and nodes too
    #[arg(long)]
    pub(crate) deep: bool,
    /// A page that is safe to paste; with --json everything that can be read, not shortened
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// What the client would do
    #[arg(long, value_enum, default_value = "call")]
    pub(crate) surface: SurfaceArg,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// [`Surface`] as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SurfaceArg {
    /// A method call
    Call,
    /// gateway probe
    Probe,
    /// status
    Status,
    /// A node
    NodeHost,
    /// A channel that watches execution approvals
    ExecApprovals,
}

impl From<SurfaceArg> for Surface {
    fn from(surface: SurfaceArg) -> Self {
        match surface {
            SurfaceArg::Call => Self::Call,
            SurfaceArg::Probe => Self::Probe,
            SurfaceArg::Status => Self::Status,
            SurfaceArg::NodeHost => Self::NodeHost,
            SurfaceArg::ExecApprovals => Self::ExecApprovals,
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "clap's parsers can fail")]
fn secret(value: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(value))
}

fn pin_place(text: &str) -> Result<PinPlace, InvalidPinPlace> {
    PinPlace::parse(text)
}

pub(crate) fn severity(name: &str) -> Result<Severity, &'static str> {
    Severity::parse(name).ok_or("expected info, warn or critical")
}

/// One hour is the most: longer waits are mistakes.
const MAX_TIMEOUT_MS: u64 = 3_600_000;

pub(crate) fn timeout(text: &str) -> Result<Duration, &'static str> {
    text.trim()
        .parse::<u64>()
        .ok()
        .filter(|millis| (1..=MAX_TIMEOUT_MS).contains(millis))
        .map(Duration::from_millis)
        .ok_or("expected milliseconds from 1 to 3600000")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(words.split(' '))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn secrets_stay_out_of_debug() {
        let cli = parse("clawgate health --token hunter2 --password hunter3").unwrap();
        assert!(!format!("{cli:?}").contains("hunter"));
    }

    #[test]
    fn wrong_values_are_usage_errors() {
        for words in [
            "clawgate health --timeout 0",
            "clawgate health --timeout 1s",
            "clawgate health --port 0",
            "clawgate health --token a --token-file b",
            "clawgate gateway run --bind 0.0.0.0",
            "clawgate gateway run --auth tokens",
            "clawgate auth explain --surface else",
            "clawgate url check",
            "clawgate pins remove gw.example.com",
        ] {
            let error = parse(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words}");
        }
    }

    #[test]
    fn instance_flags_stand_anywhere() {
        let cli = parse("clawgate gateway status --json --profile ops").unwrap();
        assert!(cli.instance.json);
        assert_eq!(cli.instance.profile.as_deref(), Some("ops"));
    }
}

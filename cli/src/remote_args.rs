//! `remote` and `context` as they are typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clawgate_core::config::{ContextName, InvalidContextName};

use crate::args::TargetArgs;
use crate::config_args::WriteArgs;
use crate::help;

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Use a gateway elsewhere: writes gateway.mode and gateway.remote
    #[command(after_help = help::REMOTE_SET)]
    Set {
        #[command(flatten)]
        fields: Box<RemoteFields>,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// What the config says about the gateway elsewhere, without secrets
    Show,
    /// Connect to it, and say which step fails
    #[command(after_help = help::REMOTE_TEST)]
    Test(Box<TestArgs>),
    /// Go back to the gateway on this machine: sets gateway.mode to local, and removes gateway.remote
    Clear {
        /// Keep gateway.remote in the config, and only set gateway.mode
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// How long a test may take.
#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// All contexts, and which one is in force
    List,
    /// Put a context in force for the commands to come; default is none
    Use {
        /// Its name, or default
        name: String,
    },
    /// Add a context
    #[command(after_help = help::CONTEXT_ADD)]
    Add(Box<AddContextArgs>),
    /// Remove a context, with the device tokens that came over it
    Remove {
        /// Its name
        #[arg(value_parser = context_name)]
        name: ContextName,
    },
    /// What a context says, without secrets
    Show {
        /// Its name [default: the one in force]
        #[arg(value_parser = context_name)]
        name: Option<ContextName>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct AddContextArgs {
    /// Its name
    #[arg(value_parser = context_name)]
    pub(crate) name: ContextName,
    /// Change a context that is there already
    #[arg(long)]
    pub(crate) replace: bool,
    /// Begin with what gateway.remote of the config says, its secrets too
    #[arg(long)]
    pub(crate) from_config: bool,
    /// Put it in force
    #[arg(long = "use")]
    pub(crate) use_it: bool,
    #[command(flatten)]
    pub(crate) fields: RemoteFields,
}

/// The fields of `gateway.remote`. What is not given stays as it is, except that another target takes
/// nothing from the one before.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RemoteFields {
    /// Its URL, as ws:// or wss://
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// How to get there: direct, or ssh for a tunnel
    #[arg(long, value_name = "WAY", value_parser = ["direct", "ssh"])]
    pub(crate) transport: Option<String>,
    /// The SSH host for the tunnel, as USER@HOST or USER@HOST:PORT
    #[arg(long, value_name = "TARGET", allow_hyphen_values = true)]
    pub(crate) ssh_target: Option<String>,
    /// The key file given to ssh
    #[arg(long, value_name = "PATH")]
    pub(crate) ssh_identity: Option<String>,
    /// How unknown SSH hosts are treated: strict, or openssh for what its own files say
    #[arg(long, value_name = "POLICY", value_parser = ["strict", "openssh"])]
    pub(crate) ssh_host_key_policy: Option<String>,
    /// The gateway's port on the SSH host
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) remote_port: Option<u16>,
    /// The SHA-256 of the certificate that it must show; several while an old and a new one overlap
    #[arg(long, value_name = "SHA256")]
    pub(crate) tls_fingerprint: Vec<String>,
    /// What decides without a pin: authorities, or first-use
    #[arg(long, value_name = "TRUST", value_parser = ["authorities", "first-use"])]
    pub(crate) tls_trust: Option<String>,
    /// Keep the token that this file holds; - is standard input
    #[arg(long, value_name = "PATH", conflicts_with = "token_ref")]
    pub(crate) token_file: Option<PathBuf>,
    /// Where the token is, as SOURCE:PROVIDER:ID, such as env:default:GW_TOKEN
    #[arg(long, value_name = "REF")]
    pub(crate) token_ref: Option<String>,
    /// Keep the password that this file holds; - is standard input
    #[arg(long, value_name = "PATH", conflicts_with = "password_ref")]
    pub(crate) password_file: Option<PathBuf>,
    /// Where the password is, as SOURCE:PROVIDER:ID
    #[arg(long, value_name = "REF")]
    pub(crate) password_ref: Option<String>,
    /// A header for the proxy in front of it, with the file that holds its value
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) edge_auth_file: Vec<String>,
    /// A header for the proxy in front of it, and where its value is
    #[arg(long, value_name = "NAME=REF")]
    pub(crate) edge_auth_ref: Vec<String>,
    /// Keep token, password, headers and pins although the URL or the SSH host becomes another one
    #[arg(long)]
    pub(crate) keep_credentials: bool,
}

fn context_name(text: &str) -> Result<ContextName, InvalidContextName> {
    ContextName::parse(text)
}

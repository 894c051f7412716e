//! `clawgate devices …` as it is typed.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use clawgate_core::protocol::Role;
use clawgate_core::scope::Scope;

use crate::args::TargetArgs;
use crate::{help, span};

#[derive(Debug, Subcommand)]
pub(crate) enum DevicesCommand {
    /// Devices that are paired, and those that ask to be
    List(TargetArgs),
    /// Let a device in that asks, with everything that it asks for
    #[command(after_help = help::DEVICES_APPROVE)]
    Approve(ApproveArgs),
    /// Turn a device away that asks
    Reject {
        /// The id of the request, or a beginning that no other one has
        request: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Forget a paired device and end its connections
    Remove {
        /// The id of the device, or a beginning that no other one has
        device: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Give a paired device a name
    Rename {
        /// The id of the device, or a beginning that no other one has
        device: String,
        /// The name, at most 64 characters
        label: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Replace a device's token; its connections end at once
    #[command(after_help = help::DEVICES_ROTATE)]
    Rotate {
        #[command(flatten)]
        token: TokenArgs,
        /// What the new token allows, if less than before
        #[arg(long, value_name = "SCOPES", value_delimiter = ',', value_parser = scope)]
        scopes: Option<Vec<Scope>>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Take a device's token away; it has to be approved again
    Revoke {
        #[command(flatten)]
        token: TokenArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Make a join token: an approval given beforehand, for machines that nobody watches
    #[command(after_help = help::DEVICES_INVITE)]
    Invite(InviteArgs),
    /// Join tokens that are open
    Invites(TargetArgs),
    /// Take a join token back
    Uninvite {
        /// The id of the join token, or a beginning that no other one has
        id: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Join a gateway by a setup code or join token, and keep the token that it gives this device
    #[command(after_help = help::DEVICES_JOIN)]
    Join(JoinArgs),
    /// Ask for more scopes for this device, and wait for the answer
    Upgrade(UpgradeArgs),
    /// This machine as a device
    #[command(name = "self")]
    Own {
        /// Make the device if there is none yet
        #[arg(long)]
        create: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct ApproveArgs {
    /// The id of the request, or a beginning that no other one has
    #[arg(required_unless_present = "latest", conflicts_with = "latest")]
    pub(crate) request: Option<String>,
    /// The newest request
    #[arg(long)]
    pub(crate) latest: bool,
    /// Approve the newest request without asking back
    #[arg(long, requires = "latest")]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// The token of a device.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// The id of the device, or a beginning that no other one has
    pub(crate) device: String,
    /// The role, if the device has both
    #[arg(long, value_enum)]
    pub(crate) role: Option<RoleArg>,
}

#[derive(Args, Debug)]
pub(crate) struct InviteArgs {
    /// What the machine may be
    #[arg(long, value_enum, default_value = "node")]
    pub(crate) role: RoleArg,
    /// How long it can be used, such as 90s, 10m, 1h or 7d
    #[arg(long, value_name = "TIME", value_parser = span::parse_some, default_value = "1h")]
    pub(crate) ttl: Duration,
    /// For how many devices
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) uses: u32,
    /// Commands that the node may offer without another approval
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) commands: Vec<String>,
    /// What the operator may do, such as operator.read,operator.write
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', value_parser = scope)]
    pub(crate) scopes: Vec<Scope>,
    /// A name for the list
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// The URL by which the machine reaches the gateway
    #[arg(long, value_name = "URL")]
    pub(crate) join_url: Option<String>,
    /// Print no QR code
    #[arg(long)]
    pub(crate) no_qr: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Args, Debug)]
pub(crate) struct JoinArgs {
    /// The setup code or join token; - reads it from standard input
    pub(crate) code: String,
    /// What this machine will be; what the join token is for
    #[arg(long, value_enum, default_value = "node")]
    pub(crate) role: RoleArg,
    /// What to ask for as an operator, if the join token is for less than everything and the
    /// gateway gives all or nothing
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', value_parser = scope)]
    pub(crate) scopes: Option<Vec<Scope>>,
    /// The gateway's URL, for a join token alone
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The SHA-256 of the certificate that the gateway must show
    #[arg(long, value_name = "SHA256")]
    pub(crate) tls_fingerprint: Option<String>,
    /// Milliseconds for everything together
    #[arg(long, value_name = "MS", value_parser = crate::args::timeout, default_value = "10000")]
    pub(crate) timeout: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct UpgradeArgs {
    /// What this device should be allowed besides what it is
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', value_parser = scope, required = true)]
    pub(crate) scopes: Vec<Scope>,
    /// How long to wait for somebody to answer
    #[arg(long, value_name = "TIME", value_parser = span::parse_some, default_value = "5m")]
    pub(crate) wait: Duration,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// [`Role`] as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Runs commands for the gateway
    Node,
    /// Uses and administers the gateway
    Operator,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Node => Self::Node,
            RoleArg::Operator => Self::Operator,
        }
    }
}

fn scope(name: &str) -> Result<Scope, String> {
    Scope::parse(name.trim()).ok_or_else(|| {
        let names: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

//! `clawgate node …` and `clawgate nodes …` as they are typed.

use clap::{Args, Subcommand};
use clawgate_core::node::ExecPolicy;
use clawgate_core::policy::port::parse_port_option;

use crate::args::{SecretArgs, TargetArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Run a node in the foreground
    Run(Box<NodeRunArgs>),
}

#[derive(Args, Debug)]
pub(crate) struct NodeRunArgs {
    /// The gateway's URL
    #[arg(long, value_name = "URL", conflicts_with_all = ["host", "port", "tls"])]
    pub(crate) url: Option<String>,
    /// The gateway's host [default: this machine]
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// The gateway's port
    #[arg(long, value_name = "PORT", value_parser = parse_port_option)]
    pub(crate) port: Option<u16>,
    /// Speak TLS with --host
    #[arg(long, requires = "host")]
    pub(crate) tls: bool,
    #[command(flatten)]
    pub(crate) secrets: SecretArgs,
    /// The SHA-256 of the certificate that the gateway must show
    #[arg(long, value_name = "SHA256")]
    pub(crate) tls_fingerprint: Option<String>,
    /// Pin the certificate, if there is no pin yet and the system trusts it
    #[arg(long)]
    pub(crate) pin_on_first_use: bool,
    /// Join by a setup code or join token first; - reads it from standard input
    #[arg(long, value_name = "CODE", conflicts_with_all = ["host", "port"])]
    pub(crate) pair: Option<String>,
    /// A local program as a command: JSON on its standard input, JSON on its standard output
    /// [config: node.commands]
    #[arg(long = "command", value_name = "NAME=PROGRAM", value_parser = command)]
    pub(crate) commands: Vec<(String, String)>,
    /// What system.run may run: deny, allowlist or ask [config: node.exec.policy] [default: ask]
    #[arg(long, value_name = "POLICY", value_parser = exec_policy)]
    pub(crate) exec: Option<ExecPolicy>,
    /// The name that people know this node by [default: the machine's]
    #[arg(long, value_name = "NAME")]
    pub(crate) display_name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodesCommand {
    /// All nodes
    List(TargetArgs),
    /// How many nodes are there, which are connected, and their machines' figures
    Status(TargetArgs),
    /// Everything about one node
    Describe {
        /// The id of the node, a beginning of it, or its name
        node: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Nodes that wait for an approval of their commands
    Pending(TargetArgs),
    /// Approve a node's commands
    Approve {
        /// The id of the request, or a beginning that no other one has
        request: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Turn a node's commands down
    Reject {
        /// The id of the request, or a beginning that no other one has
        request: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Give a node a name
    Rename {
        /// The id of the node, a beginning of it, or its name
        node: String,
        /// The new name
        name: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Call a command of a node and print its result
    Invoke(InvokeArgs),
    /// Forget a node's approval and end its connection
    Remove {
        /// The id of the node, a beginning of it, or its name
        node: String,
        #[command(flatten)]
        target: TargetArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct InvokeArgs {
    /// The id of the node, a beginning of it, or its name
    pub(crate) node: String,
    /// The command, such as device.info
    pub(crate) command: String,
    /// The parameters as JSON5; - reads them from standard input
    #[arg(long, value_name = "JSON5", default_value = "{}")]
    pub(crate) params: String,
    /// Names this call: repeated with the same key, a node does not do it again
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

fn exec_policy(name: &str) -> Result<ExecPolicy, &'static str> {
    ExecPolicy::parse(name).ok_or("expected deny, allowlist or ask")
}

fn command(text: &str) -> Result<(String, String), &'static str> {
    let (name, program) = text
        .split_once('=')
        .ok_or("expected NAME=PROGRAM, such as lights.set=/usr/local/bin/lights")?;
    if program.trim().is_empty() {
        return Err("expected a program after the =");
    }
    Ok((name.trim().to_owned(), program.to_owned()))
}

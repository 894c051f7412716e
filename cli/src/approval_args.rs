//! `clawgate approvals …` and `clawgate logs` as they are typed.

use clap::{Args, Subcommand};
use clawgate_core::gateway::Decision;

use crate::args::TargetArgs;
use crate::help;

#[derive(Debug, Subcommand)]
pub(crate) enum ApprovalsCommand {
    /// Questions that wait for a decision
    List(TargetArgs),
    /// Show questions as they come, and what becomes of them, until it is stopped
    #[command(after_help = help::APPROVALS_WATCH)]
    Watch(TargetArgs),
    /// Decide a question
    #[command(after_help = help::APPROVALS_RESOLVE)]
    Resolve(ResolveArgs),
    /// The file that says what may run without a question
    #[command(after_help = help::APPROVALS_GET)]
    Get(GetArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ResolveArgs {
    /// The id of the question, or a beginning that no other one has
    pub(crate) id: String,
    /// allow-once, allow-always or deny
    #[arg(value_name = "DECISION", value_parser = decision)]
    pub(crate) decision: Decision,
    /// Days for which allow-always is good, 1 to 3650 [default: until it is taken back]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3_650))]
    pub(crate) days: Option<u16>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// That of the gateway's own host, which is the default
    #[arg(long, conflicts_with = "node")]
    pub(crate) gateway: bool,
    /// That of a node, by its id, the beginning of it, or its name
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// Which part of the gateway's log.
#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// Go on until it is stopped
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Lines of the past, 1 to 5,000
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    pub(crate) limit: u16,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

fn decision(name: &str) -> Result<Decision, &'static str> {
    Decision::parse(name).ok_or("expected allow-once, allow-always or deny")
}

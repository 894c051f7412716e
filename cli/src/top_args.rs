//! `gateway top` as it is typed.

use clap::Args;

use crate::args::TargetArgs;

/// What the page shows, and how often.
#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Print one page and end, as happens where the output is no terminal
    #[arg(long)]
    pub(crate) once: bool,
    /// Show each connection and what waits for it, which takes operator.admin
    #[arg(long, short = 'c')]
    pub(crate) connections: bool,
    /// Seconds between two pages, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=3_600))]
    pub(crate) interval: u16,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

//! Commands about help from others, as they are typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::TargetArgs;

pub(crate) const BUNDLE: &str = "\
The archive holds an outline of the config without anything that you wrote in words, what `clawgate
doctor` and `clawgate status --all` say, the end of the log, versions, and the tables of the database
without a row. Home folder, user and hosts are shortened. Before it is written, it is unpacked again and
searched for every secret that is known here, in plain, JSON, URL, hexadecimal and base64 writing; if
one is found, nothing is written, and the file that holds it is named.

Examples:
  clawgate support bundle --list
  clawgate support bundle --read
  clawgate support bundle --to bundle.tar.gz
  clawgate support bundle --leave-out log.txt";

#[derive(Debug, Subcommand)]
pub(crate) enum SupportCommand {
    /// Write an archive that can be shown to others, after it was searched for secrets
    #[command(after_help = BUNDLE)]
    Bundle(BundleArgs),
    /// Print what is in such an archive
    Read {
        /// The archive
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct BundleArgs {
    /// The archive [default: clawgate-support-TIME.tar.gz in this folder]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["read", "list"])]
    pub(crate) to: Option<PathBuf>,
    /// Print everything that would be in it, and write nothing
    #[arg(long)]
    pub(crate) read: bool,
    /// Print the names of the files that would be in it, and write nothing
    #[arg(long, conflicts_with = "read")]
    pub(crate) list: bool,
    /// Leave a file out, such as log.txt; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) leave_out: Vec<String>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

//! `config` as it is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clawgate_core::config::{InvalidKeyPath, KeyPath};

use crate::help;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Which files are used
    Path,
    /// The config, or one value of it, without secrets
    #[command(after_help = help::CONFIG_GET)]
    Get {
        /// Such as gateway.auth.mode or `gateway.trustedProxies[0]`
        #[arg(value_parser = key)]
        key: Option<KeyPath>,
    },
    /// Give a key a value; comments and layout of the file stay
    #[command(after_help = help::CONFIG_SET)]
    Set(SetArgs),
    /// Take a key away
    Unset {
        /// Such as gateway.bind
        #[arg(value_parser = key)]
        key: KeyPath,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Merge an object into the config; null takes a key away
    #[command(after_help = help::CONFIG_PATCH)]
    Patch {
        /// The file with the object, as JSON5; - is standard input
        file: PathBuf,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Where a value comes from, and what a change of it needs
    #[command(after_help = help::CONFIG_WHY)]
    Why {
        /// Such as gateway.port
        #[arg(value_parser = key)]
        key: KeyPath,
    },
    /// Compare the config with the last one with which the gateway worked
    #[command(after_help = help::CONFIG_DIFF)]
    Diff,
    /// Go back to the last config with which the gateway worked; the file is kept beside it
    Restore {
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Check the config file: what cannot be used (exit 78), and what is unknown
    Validate,
}

#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// Such as gateway.port or `auth.profiles["a:b"].key`
    #[arg(value_parser = key)]
    pub(crate) key: KeyPath,
    /// The value as JSON5; what the key takes as text needs no quotes
    #[arg(required_unless_present = "value_file", allow_hyphen_values = true)]
    pub(crate) value: Option<String>,
    /// Read the value, as text, from a file; - is standard input. For secrets
    #[arg(long, value_name = "PATH", conflicts_with = "value")]
    pub(crate) value_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// How a change is made.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WriteArgs {
    /// Only say what would change, and what that needs
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn key(text: &str) -> Result<KeyPath, InvalidKeyPath> {
    KeyPath::parse(text)
}

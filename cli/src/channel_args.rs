//! `clawgate channels …`, `pairing …`, `send` and `messages …` as they are typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::args::{PlaceArgs, TargetArgs, timeout};
use crate::help;

#[derive(Debug, Subcommand)]
pub(crate) enum ChannelsCommand {
    /// How each account fares, and what is wrong
    #[command(after_help = help::CHANNELS_STATUS)]
    Status {
        /// Only this channel, such as telegram
        channel: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Start an account that was stopped
    Start(AccountArgs),
    /// Stop an account: it stays so, over restarts too, until it is started
    Stop(AccountArgs),
    /// Stop an account, and forget where its messages went on and who was let in
    #[command(after_help = help::CHANNELS_LOGOUT)]
    Logout(AccountArgs),
}

/// An account of a channel.
#[derive(Args, Debug)]
pub(crate) struct AccountArgs {
    /// The channel, such as telegram
    pub(crate) channel: String,
    /// The account [default: the channel's main one]
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PairingCommand {
    /// People who wait to be let in
    List {
        /// Only this channel, such as telegram
        channel: Option<String>,
        /// Only this account
        #[arg(long, value_name = "ID", requires = "channel")]
        account: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Let somebody in by the code that they were told
    #[command(after_help = help::PAIRING_APPROVE)]
    Approve {
        #[command(flatten)]
        code: CodeArgs,
        /// They may let others in, by /pairing in their chat; an account has one such owner
        #[arg(long)]
        owner: bool,
        /// Do not tell them
        #[arg(long)]
        quiet: bool,
    },
    /// Turn somebody away; they are not told
    Reject(CodeArgs),
}

/// A code, and where it was told.
#[derive(Args, Debug)]
pub(crate) struct CodeArgs {
    /// The code; or the channel, with the code after it
    #[arg(value_name = "CHANNEL|CODE")]
    first: String,
    /// The code, after a channel
    #[arg(value_name = "CODE")]
    second: Option<String>,
    /// The account, where several have such a code
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

impl CodeArgs {
    /// The channel, if one was named.
    pub(crate) fn channel(&self) -> Option<&str> {
        self.second.as_ref().map(|_| self.first.trim())
    }

    /// The code, as codes are written.
    pub(crate) fn code(&self) -> String {
        let code = self.second.as_ref().unwrap_or(&self.first);
        code.trim().to_uppercase()
    }
}

#[derive(Args, Debug)]
pub(crate) struct SendArgs {
    /// The chat, by the service's own id
    #[arg(long, value_name = "CHAT", allow_hyphen_values = true)]
    pub(crate) to: String,
    /// What to say, in Markdown; - reads it from standard input
    #[arg(
        long,
        short,
        value_name = "TEXT",
        required_unless_present = "file",
        allow_hyphen_values = true
    )]
    pub(crate) message: Option<String>,
    /// The channel, such as telegram [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
    /// The account [default: the channel's main one]
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<String>,
    /// The topic in the chat
    #[arg(long, value_name = "ID")]
    pub(crate) thread: Option<String>,
    /// The message there that it answers, by the service's own id
    #[arg(long, value_name = "ID")]
    pub(crate) reply_to: Option<String>,
    /// A file that goes with it, 16 MiB at most
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    /// Do not wake anybody
    #[arg(long)]
    pub(crate) silent: bool,
    /// Names this message: sent again with the same key, it is not said twice
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Milliseconds for everything together; the message goes on when they are over
    #[arg(long, value_name = "MS", value_parser = timeout, default_value = "70000")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MessagesCommand {
    /// Messages from outside and to it, the newest first
    #[command(after_help = help::MESSAGES_LIST)]
    List {
        /// open, received, running, calling-node, replying, sent, uncertain or failed
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Only this channel
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
        /// Only this account
        #[arg(long, value_name = "ID")]
        account: Option<String>,
        /// Only this chat
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        chat: Option<String>,
        /// Messages at most, from 1 to 500
        #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
        limit: u16,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Every step of a message and of its answer, with times
    Trace(MessageArgs),
    /// Send what is uncertain or failed again, or have it answered again
    #[command(after_help = help::MESSAGES_RESEND)]
    Resend(MessageArgs),
}

#[derive(Args, Debug)]
pub(crate) struct MessageArgs {
    /// The message, such as m12
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

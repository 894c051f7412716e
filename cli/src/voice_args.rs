//! `clawgate open` and `clawgate voice` as they are typed.

use std::time::Duration;

use clap::Args;

use crate::args::TargetArgs;
use crate::conversation_args::seconds;

pub(crate) const OPEN: &str = "\
Asks the gateway over HTTP first: one that serves no page is said to serve none. The URL never holds a
token or a password; the page asks for it. `clawgate auth explain` shows where it is kept.

Examples:
  clawgate open
  clawgate open --print";

pub(crate) const VOICE: &str = "\
Reads lines that a program for speech recognition wrote, and listens for the wake words of the gateway
(`voicewake.get`). What follows a wake word is said to the agent or session that the gateway's routing
names (`voicewake.routing.get`), over the same connection as every command, and the reply is printed. A
wake word alone makes the next line the message. All other lines stay here.

Examples:
  recogniser | clawgate voice
  recogniser | clawgate voice --session-key work --json";

#[derive(Args, Debug)]
pub(crate) struct OpenArgs {
    /// Print the URL, and open nothing
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Args, Debug)]
pub(crate) struct VoiceArgs {
    /// The session for messages that the gateway routes to no other
    #[arg(long, value_name = "KEY", default_value = "main")]
    pub(crate) session_key: String,
    /// Seconds for each reply
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "600")]
    pub(crate) reply_timeout: Duration,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

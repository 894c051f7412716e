//! `clawgate agent`, `chat` and `sessions …` as they are typed.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::args::{PlaceArgs, TargetArgs, timeout};

/// The session that is meant where nothing names one.
const MAIN: &str = "main";

#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    /// What to say; - reads it from standard input
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: String,
    /// The session, such as main, work or agent:ops:main
    #[arg(long, value_name = "KEY", default_value = MAIN)]
    pub(crate) session_key: String,
    /// The agent [default: the one of the session]
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,
    /// The model for this run, such as PROVIDER/MODEL
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Seconds for the run
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "600")]
    pub(crate) timeout: Duration,
    /// Names this message: said again with the same key, it is not said twice, and the reply comes again
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Print the reply while it comes; with --json, each event on a line
    #[arg(long)]
    pub(crate) stream: bool,
    #[command(flatten)]
    pub(crate) gateway: ReachArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ChatArgs {
    /// The session, such as main, work or agent:ops:main
    #[arg(long, value_name = "KEY", default_value = MAIN)]
    pub(crate) session_key: String,
    /// Earlier messages to show at the start, up to 1,000 [default: 10 on a terminal, 0 elsewhere]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(0..=1_000))]
    pub(crate) history: Option<u16>,
    #[command(flatten)]
    pub(crate) gateway: ReachArgs,
}

/// A gateway that a command stays connected to.
#[derive(Args, Debug)]
pub(crate) struct ReachArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Milliseconds for the connection
    #[arg(long, value_name = "MS", value_parser = timeout, default_value = "10000")]
    pub(crate) connect_timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// All sessions, the latest first
    List {
        /// Sessions at most, from 1 to 1,000
        #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        /// Only sessions whose name or title holds this
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Everything about one session
    Show(KeyArgs),
    /// What was said in a session, the newest last
    History {
        /// The session
        key: String,
        /// Messages at most, from 1 to 1,000
        #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Look for words in everything that was said
    Search {
        /// The words, all of which must be there
        #[arg(required = true, value_name = "WORD")]
        words: Vec<String>,
        /// Messages at most, from 1 to 100
        #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
        limit: u16,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Make a session
    Create {
        /// Its key [default: a new one]
        key: Option<String>,
        /// Its name for people
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Send a message without waiting for the reply (`clawgate agent` waits)
    Send {
        /// The session
        key: String,
        /// What to say; - reads it from standard input
        #[arg(long, short, value_name = "TEXT")]
        message: String,
        /// Names this message: sent again with the same key, it is not said twice
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Give a session a name for people
    Rename {
        /// The session
        key: String,
        /// The name; an empty one takes it away
        label: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Begin a session anew; what was said before is kept, and not told to the agent any more
    Reset(ConfirmedArgs),
    /// Delete a session and what was said in it
    Delete(ConfirmedArgs),
    /// Drop the oldest messages of a session
    Compact {
        /// Messages that stay
        #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
        #[command(flatten)]
        session: ConfirmedArgs,
    },
    /// Stop what is under way in a session, and what waits there
    Abort(KeyArgs),
    /// Tokens that sessions used
    Usage {
        /// One session [default: all]
        key: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    /// The session
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// A session of which something is lost.
#[derive(Args, Debug)]
pub(crate) struct ConfirmedArgs {
    /// The session
    pub(crate) key: String,
    /// Do not ask back
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

/// A day is the most: longer runs are mistakes.
const MAX_RUN_S: u64 = 86_400;

pub(crate) fn seconds(text: &str) -> Result<Duration, &'static str> {
    text.trim()
        .parse::<u64>()
        .ok()
        .filter(|seconds| (1..=MAX_RUN_S).contains(seconds))
        .map(Duration::from_secs)
        .ok_or("expected seconds from 1 to 86400")
}

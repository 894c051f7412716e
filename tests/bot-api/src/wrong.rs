//! What a test asked for that makes no sense.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Why a person of the stand-in could not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A token is a number, a colon and a secret.
    NoToken,
    /// There is no bot to write to.
    NoBot,
    /// There is no such chat.
    NoChat,
    /// There is no such topic.
    NoTopic,
    /// There is no such message.
    NoMessage,
    /// What was waited for did not happen in time.
    InVain {
        /// How long.
        waited: Duration,
        /// The last calls that came.
        calls: String,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoToken => f.write_str("a bot token is a number, a colon and a secret"),
            Self::NoBot => f.write_str("no bot was added"),
            Self::NoChat => f.write_str("there is no such chat"),
            Self::NoTopic => f.write_str("there is no such topic in the chat"),
            Self::NoMessage => f.write_str("there is no such message in the chat"),
            Self::InVain { waited, calls } => {
                write!(
                    f,
                    "waited in vain for {waited:?}; the last calls were:\n{calls}"
                )
            }
        }
    }
}

impl Error for Wrong {}

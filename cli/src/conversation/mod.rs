//! Conversations with agents over a connection that comes back: what `agent`, `chat` and `demo` share.
//!
//! | file | what |
//! | --- | --- |
//! | `line` | the lasting connection, and the one queue into which everything comes |
//! | `wire` | events and histories of the gateway, as far as they matter here |
//! | `reply` | how much of a reply was shown already |
//! | `screen` | how all of it looks |

pub(crate) mod line;
pub(crate) mod reply;
pub(crate) mod screen;
pub(crate) mod wire;

use std::io::{self, Read};

use clawgate_core::rng::Rng;

use crate::exit::Exit;
use crate::failure::Failure;

/// The most bytes of a message on standard input; no gateway takes more.
const MAX_MESSAGE: u64 = 25 * 1024 * 1024;

/// A name that no other message has.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn fresh_key() -> Result<String, Failure> {
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "random",
            format!("The system gave no random bytes: {error}."),
            "Try again.",
        )
    })?;
    Ok(Rng::new(seed).uuid())
}

/// The message as it is typed; `-` is standard input, to its end.
///
/// # Errors
/// When standard input cannot be read, or there is no message.
pub(crate) fn message(typed: String) -> Result<String, Failure> {
    let wrong = |code, message: String| {
        Failure::new(
            Exit::Usage,
            code,
            message,
            "Write a message, or give one on standard input with --message -.",
        )
    };
    let text = if typed == "-" {
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .take(MAX_MESSAGE)
            .read_to_end(&mut bytes)
            .map_err(|error| {
                wrong(
                    "stdin",
                    format!("Standard input could not be read: {error}."),
                )
            })?;
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    } else {
        typed
    };
    if text.trim().is_empty() {
        return Err(wrong("message_empty", "There is no message.".to_owned()));
    }
    Ok(text)
}

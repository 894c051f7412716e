//! What a connection machine wants written to its socket.

use std::fmt;

use bytestring::ByteString;

use crate::protocol::{CloseCode, CloseReason};

/// One step for the writer of a connection, in order.
#[derive(Clone, PartialEq, Eq)]
pub enum Transmit {
    /// Send a close frame; nothing but [`Transmit::Terminate`] follows.
    Close {
        /// The code.
        code: CloseCode,
        /// The reason.
        reason: CloseReason,
    },
    /// Send a WebSocket ping with an empty payload.
    Ping,
    /// Drop the socket without waiting for anything.
    Terminate,
    /// Send a text message.
    Text(ByteString),
}

impl Transmit {
    /// The bytes that count as buffered until they are written.
    pub fn buffered_len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Close { .. } | Self::Ping | Self::Terminate => 0,
        }
    }
}

impl fmt::Debug for Transmit {
    /// Shows the size of a text only: a `connect` holds credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Close { code, reason } => f
                .debug_struct("Close")
                .field("code", code)
                .field("reason", reason)
                .finish(),
            Self::Ping => f.write_str("Ping"),
            Self::Terminate => f.write_str("Terminate"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_not_shown() {
        let text = Transmit::Text("hunter2".into());
        assert_eq!(format!("{text:?}"), "Text(7 bytes)");
    }
}

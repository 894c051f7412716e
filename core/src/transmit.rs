//! What a connection machine wants written to its socket.

use bytestring::ByteString;

use crate::protocol::{CloseCode, CloseReason};

/// One step for the writer of a connection, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
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

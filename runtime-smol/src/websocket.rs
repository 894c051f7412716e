//! The codec settings of the gateway's connections.

use async_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Bytes that an idle connection keeps for reading.
const READ_BUFFER: usize = 2 * 1024;

/// Bytes of outgoing messages that are gathered into one write.
const WRITE_BUFFER: usize = 16 * 1024;

/// Settings for messages of at most `max_message` bytes, with at most `max_buffered` bytes waiting
/// for the socket. No compression is offered: the protocol does without.
pub fn config(max_message: usize, max_buffered: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(max_buffered.saturating_add(2 * WRITE_BUFFER))
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

//! How the gateway speaks WebSocket: settings of the codec, and what its errors mean.

use std::io;

use async_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError,
        error::ProtocolError,
        protocol::{Role, WebSocketConfig},
    },
};
use clawgate_core::{limits::Limits, server::TransportFault};
use futures_lite::{AsyncRead, AsyncWrite};

use crate::{
    http,
    tap::{Oversized, Tap},
};

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

/// Accepts a WebSocket without a gateway behind it, exactly as the gateway does: its request
/// parser, its settings, its check of sizes. Messages may have [`Limits::max_payload`] bytes at
/// once. For programs that test or measure this layer alone.
///
/// # Errors
/// When the stream fails, or what comes is no WebSocket upgrade.
pub async fn accept<S>(
    mut stream: S,
    limits: &Limits,
) -> io::Result<WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let rest = http::upgrade(&mut stream).await?;
    let tap = Tap::new(stream, rest, limits.max_payload);
    Ok(codec(tap, limits).await)
}

/// Puts a fresh codec on a stream that is between two messages.
pub(crate) async fn codec<S>(tap: Tap<S>, limits: &Limits) -> WebSocketStream<Tap<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = config(limits.max_payload, limits.max_buffered_bytes);
    WebSocketStream::from_raw_socket(tap, Role::Server, Some(config)).await
}

/// What the other side did wrong, where it can still be told. `None` is the end of the stream, for
/// whatever reason.
pub fn fault(error: &WsError) -> Option<TransportFault> {
    match error {
        WsError::Capacity(_) => Some(TransportFault::Oversized),
        WsError::Io(error) if error.get_ref().is_some_and(|error| error.is::<Oversized>()) => {
            Some(TransportFault::Oversized)
        }
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        WsError::Protocol(_) => Some(TransportFault::Protocol),
        WsError::Utf8(_) => Some(TransportFault::NotUtf8),
        WsError::AlreadyClosed
        | WsError::AttackAttempt
        | WsError::ConnectionClosed
        | WsError::Http(_)
        | WsError::HttpFormat(_)
        | WsError::Io(_)
        | WsError::Tls(_)
        | WsError::Url(_)
        | WsError::WriteBufferFull(_) => None,
    }
}

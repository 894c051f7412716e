//! An open WebSocket that never blocks.

use std::io::{self, Read, Write};

use bytes::Bytes;
use bytestring::ByteString;
use clawgate_core::{limits::Limits, protocol::CloseReason, transmit::Transmit};
use mio::{event::Source, net::TcpStream};
use rustls::{ClientConnection, StreamOwned};
use tungstenite::{
    Error as WsError, Message, Utf8Bytes, WebSocket,
    protocol::{CloseFrame, WebSocketConfig},
};

use crate::{tunnel::Way, waiter::Waiter};

/// Bytes that are read at once.
const READ_BUFFER: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// The socket of the gateway's owner.
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
}

impl Stream {
    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut(),
            #[cfg(unix)]
            Self::Unix(socket) => socket,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buf),
            Self::Tls(tls) => tls.read(buf),
            #[cfg(unix)]
            Self::Unix(socket) => socket.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(buf),
            Self::Tls(tls) => tls.write(buf),
            #[cfg(unix)]
            Self::Unix(socket) => socket.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
            #[cfg(unix)]
            Self::Unix(socket) => socket.flush(),
        }
    }
}

/// Messages of at most 25 MiB, as the official clients take (spec protocol §1), and buffers that
/// start small.
pub(crate) fn websocket_config() -> WebSocketConfig {
    let limits = Limits::default();
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(limits.max_buffered_bytes)
        .max_message_size(Some(limits.max_payload))
        .max_frame_size(Some(limits.max_payload))
}

/// What came.
#[derive(Debug)]
pub(crate) enum Received {
    Binary(Bytes),
    Close {
        code: Option<u16>,
        reason: CloseReason,
    },
    /// The transport ended.
    Lost,
    /// Nothing now.
    Nothing,
    /// A message over the limit.
    Oversized,
    /// A ping or pong, which the library has dealt with.
    Other,
    Text(ByteString),
}

#[derive(Debug)]
pub(crate) struct Socket {
    websocket: WebSocket<Stream>,
    writable: Writable,
    /// The tunnel through which it goes, which stays open as long as this does.
    way: Option<Way>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writable {
    No,
    Yes,
}

impl Socket {
    pub(crate) fn new(websocket: WebSocket<Stream>) -> Self {
        Self {
            websocket,
            writable: Writable::Yes,
            way: None,
        }
    }

    /// Keeps a tunnel open as long as the socket is.
    pub(crate) fn keep_open(&mut self, way: Way) {
        self.way = Some(way);
    }

    /// Moves the socket to another waiter.
    pub(crate) fn move_to(&mut self, from: &Waiter, to: &Waiter) -> io::Result<()> {
        let source = self.websocket.get_mut().source();
        from.remove(source)?;
        to.add(source)
    }

    pub(crate) fn receive(&mut self) -> Received {
        #[allow(clippy::wildcard_enum_match_arm, reason = "the enum is open")]
        match self.websocket.read() {
            Ok(Message::Text(text)) => {
                // It was checked to be UTF-8, so the other way cannot happen.
                ByteString::try_from(Bytes::from(text)).map_or(Received::Other, Received::Text)
            }
            Ok(Message::Binary(bytes)) => Received::Binary(bytes),
            Ok(Message::Close(frame)) => {
                // The answer that the library has queued.
                let _ = self.websocket.flush();
                let (code, reason) = match &frame {
                    Some(frame) => (Some(u16::from(frame.code)), frame.reason.as_str()),
                    None => (None, ""),
                };
                let reason = CloseReason::new(reason);
                Received::Close { code, reason }
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Received::Other,
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                Received::Nothing
            }
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {
                Received::Other
            }
            Err(WsError::Capacity(_)) => Received::Oversized,
            Err(_) => Received::Lost,
        }
    }

    /// Writes as much as the socket takes, and says whether the other side should be dropped. What
    /// cannot be written because the transport is broken is forgotten: reading will tell.
    pub(crate) fn transmit(&mut self, mut next: impl FnMut() -> Option<Transmit>) -> Sent {
        loop {
            if self.writable == Writable::Yes {
                match self.websocket.flush() {
                    Ok(()) => {}
                    Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Sent::Later;
                    }
                    Err(_) => self.writable = Writable::No,
                }
            }
            let message = match next() {
                None => return Sent::All,
                Some(Transmit::Terminate) => return Sent::Terminate,
                Some(Transmit::Ping) => Message::Ping(Bytes::new()),
                Some(Transmit::Text(text)) => {
                    let Ok(text) = Utf8Bytes::try_from(text.into_bytes()) else {
                        continue;
                    };
                    Message::Text(text)
                }
                Some(Transmit::Close { code, reason }) => Message::Close(Some(CloseFrame {
                    code: code.code().into(),
                    reason: reason.as_str().into(),
                })),
            };
            self.write(message);
        }
    }

    /// Gives a message to the codec; [`Socket::transmit`] flushes it.
    pub(crate) fn write(&mut self, message: Message) {
        if self.writable == Writable::No {
            return;
        }
        match self.websocket.write(message) {
            Ok(()) => {}
            // The message is in the buffer.
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.writable = Writable::No,
        }
    }
}

/// How far writing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    Later,
    Terminate,
}

//! The transport. The protocol needs little of one: text messages that keep their order and
//! boundaries, a ping that is answered, and a close with a code. Here each is a packet:
//!
//! ```text
//! length (4 bytes, big endian) | kind (1 byte) | body
//!   T  a frame of the protocol: JSON         P  ping    O  its answer
//!   C  close: code (2 bytes), reason
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use clawgate_core::transmit::Transmit;

/// What came.
pub(crate) enum Received {
    Broken,
    Close(u16, String),
    End,
    /// Nothing before the deadline.
    Nothing,
    Ping,
    Pong,
    Text(String),
    TooLarge,
}

/// The transport.
pub(crate) struct Wire {
    stream: UnixStream,
    /// What was read and is not a whole packet yet.
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: UnixStream) -> Self {
        let buffer = Vec::new();
        Self { stream, buffer }
    }

    pub(crate) fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        match transmit {
            Transmit::Text(text) => self.write(b'T', text.as_bytes()),
            Transmit::Ping => self.write(b'P', &[]),
            Transmit::Close { code, reason } => self.close(code.code(), reason.as_str()),
            Transmit::Terminate => Ok(()),
        }
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) -> io::Result<()> {
        self.write(b'C', &[&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    pub(crate) fn pong(&mut self) -> io::Result<()> {
        self.write(b'O', &[])
    }

    fn write(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let mut packet = length.to_be_bytes().to_vec();
        packet.push(kind);
        packet.extend(body);
        self.stream.write_all(&packet)
    }

    /// Waits for a packet. One whose length alone says too much is not read.
    pub(crate) fn receive(&mut self, until: Option<Instant>, max: usize) -> io::Result<Received> {
        loop {
            if let Some((&length, rest)) = self.buffer.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(length) as usize;
                if length > max {
                    // Nothing more is read; what follows is the end.
                    self.stream.shutdown(Shutdown::Read)?;
                    self.buffer = Vec::new();
                    return Ok(Received::TooLarge);
                }
                if rest.len() > length {
                    let packet: Vec<u8> = self.buffer.drain(..4 + 1 + length).skip(4).collect();
                    return Ok(understand(&packet));
                }
            }
            let wait = until.map(|at| at.saturating_duration_since(Instant::now()));
            // A timeout of zero would mean none.
            let wait = wait.map(|wait| wait.max(Duration::from_millis(1)));
            self.stream.set_read_timeout(wait)?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Received::End),
                Ok(count) => self.buffer.extend(chunk.iter().take(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn understand(packet: &[u8]) -> Received {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    match packet {
        [b'T', body @ ..] => text(body).map_or(Received::Broken, Received::Text),
        [b'C', a, b, reason @ ..] => text(reason).map_or(Received::Broken, |reason| {
            Received::Close(u16::from_be_bytes([*a, *b]), reason)
        }),
        [b'P'] => Received::Ping,
        [b'O'] => Received::Pong,
        _ => Received::Broken,
    }
}

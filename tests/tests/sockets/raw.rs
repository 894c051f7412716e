//! A socket that sends whatever bytes a test wants.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use clawgate_tests::deadline::PATIENCE;
use clawgate_tests::failure::{Attempt, Failure, TestResult};
use serde_json::Value;

/// The request that every WebSocket client makes.
pub(crate) const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What may stand in the first byte of a frame.
pub(crate) mod first {
    pub(crate) const TEXT: u8 = 0x81;
    pub(crate) const BINARY: u8 = 0x82;
    pub(crate) const TEXT_BEGINS: u8 = 0x01;
    pub(crate) const TEXT_GOES_ON: u8 = 0x00;
    pub(crate) const TEXT_ENDS: u8 = 0x80;
    pub(crate) const CLOSE: u8 = 0x88;
    pub(crate) const PING: u8 = 0x89;
    pub(crate) const PONG: u8 = 0x8a;
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Code and reason of a close frame.
    pub(crate) fn close(&self) -> TestResult<(u16, String)> {
        match self.payload.as_slice() {
            [a, b, reason @ ..] if self.first == first::CLOSE => {
                let reason = String::from_utf8(reason.to_vec())?;
                Ok((u16::from_be_bytes([*a, *b]), reason))
            }
            _ => Err(Failure::new(format!(
                "no close frame with a code: {self:?}"
            ))),
        }
    }

    pub(crate) fn json(&self) -> TestResult<Value> {
        serde_json::from_slice(&self.payload).attempt(|| format!("no JSON in {self:?}"))
    }
}

/// An answer to a request that was no upgrade.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

#[derive(Debug)]
pub(crate) struct RawSocket {
    stream: TcpStream,
}

impl RawSocket {
    pub(crate) fn dial(address: SocketAddr) -> TestResult<Self> {
        Self::of(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// Takes a socket that is connected.
    pub(crate) fn of(stream: TcpStream) -> TestResult<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// Dials and upgrades.
    pub(crate) fn upgraded(address: SocketAddr) -> TestResult<Self> {
        let mut socket = Self::dial(address)?;
        socket.send(UPGRADE)?;
        socket.expect_upgrade()?;
        Ok(socket)
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> TestResult {
        Ok(self.stream.write_all(bytes.as_ref())?)
    }

    pub(crate) fn send_frame(&mut self, first: u8, payload: impl AsRef<[u8]>) -> TestResult {
        self.send(frame(first, payload.as_ref()))
    }

    /// Reads the head of the answer, and no byte more.
    pub(crate) fn expect_upgrade(&mut self) -> TestResult {
        let head = self.head()?;
        if head.starts_with("HTTP/1.1 101 ") {
            Ok(())
        } else {
            Err(Failure::new(format!("no upgrade: {head}")))
        }
    }

    /// Reads an answer up to the end of the connection.
    pub(crate) fn answer(&mut self) -> TestResult<Answer> {
        let head = self.head()?;
        let mut body = String::new();
        self.stream.read_to_string(&mut body)?;
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .attempt_some(|| format!("no status: {head}"))?
            .parse()?;
        Ok(Answer { status, head, body })
    }

    /// The next frame, unmasked as servers send them and with a length of at most 16 bits or 64.
    pub(crate) fn frame(&mut self) -> TestResult<Frame> {
        let [first, short] = self.bytes()?;
        let len = match short {
            126 => u64::from(u16::from_be_bytes(self.bytes()?)),
            127 => u64::from_be_bytes(self.bytes()?),
            0..126 => u64::from(short),
            128.. => return Err(Failure::new("the gateway masked a frame")),
        };
        let mut payload = vec![0; usize::try_from(len)?];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame { first, payload })
    }

    /// The next frame with this first byte, past others.
    pub(crate) fn frame_of(&mut self, first: u8) -> TestResult<Frame> {
        loop {
            let frame = self
                .frame()
                .attempt(|| format!("waiting for a frame of {first:#x}"))?;
            if frame.first == first {
                return Ok(frame);
            }
        }
    }

    /// The next message with these members, past others.
    pub(crate) fn message(&mut self, member: &str, value: &str) -> TestResult<Value> {
        loop {
            let message = self.frame_of(first::TEXT)?.json()?;
            if message.get(member).is_some_and(|found| found == value) {
                return Ok(message);
            }
        }
    }

    /// Whether the other side has ended the connection, in order or not. Takes what else comes.
    pub(crate) fn expect_end(&mut self) -> TestResult<Vec<u8>> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => Ok(rest),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(rest),
            Err(error) => Err(error.into()),
        }
    }

    fn head(&mut self) -> TestResult<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let [byte] = self.bytes().attempt(|| "reading a head".to_owned())?;
            head.push(byte);
        }
        Ok(String::from_utf8(head)?)
    }

    fn bytes<const N: usize>(&mut self) -> TestResult<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// A masked frame, as clients send them.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = frame_head(first, payload.len());
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// The head of a frame that says it is masked, without the mask.
pub(crate) fn frame_head(first: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    if let Ok(short @ 0..126) = u8::try_from(len) {
        bytes.push(0x80 | short);
    } else if let Ok(len) = u16::try_from(len) {
        bytes.push(0x80 | 126);
        bytes.extend(len.to_be_bytes());
    } else {
        bytes.push(0x80 | 127);
        bytes.extend((len as u64).to_be_bytes());
    }
    bytes
}

/// Turns nothing into a failure.
pub(crate) trait AttemptSome<T> {
    fn attempt_some(self, attempt: impl FnOnce() -> String) -> TestResult<T>;
}

impl<T> AttemptSome<T> for Option<T> {
    fn attempt_some(self, attempt: impl FnOnce() -> String) -> TestResult<T> {
        self.ok_or_else(|| Failure::new(attempt()))
    }
}

//! The bytes of an answer: its head, and where its body ends (RFC 9112).

use bytes::Bytes;
use clawgate_core::{job::HttpHead, time::WallTime};
use thiserror::Error;

/// Bytes of a head.
const MAX_HEAD: usize = 64 * 1024;
/// Fields of a head.
const MAX_FIELDS: usize = 128;
/// Bytes of the line in front of a chunk, and of the fields behind the last one.
const MAX_LINE: usize = 8 * 1024;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Head(HttpHead),
    Body(Bytes),
    /// The answer is whole.
    End,
}

/// Why an answer cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum ResponseFault {
    #[error("it is no HTTP answer")]
    NotHttp,
    #[error("its head is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    #[error("it does not say how long its body is in a way that can be followed")]
    Framing,
    #[error("its body is longer than {0} bytes")]
    BodyTooLong(usize),
    #[error("it was cut off")]
    CutOff,
}

/// Reads one answer out of whatever pieces come.
#[derive(Debug)]
pub(super) struct ResponseReader {
    state: State,
    buffer: Vec<u8>,
    /// Bytes of the body that may still come.
    room: usize,
    max_body: usize,
    /// For `retry-after` with a date.
    wall: WallTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are left.
    Length(usize),
    /// The line in front of a chunk.
    ChunkSize,
    /// So many bytes of the chunk are left.
    Chunk(usize),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Fields behind the last chunk.
    Trailer,
    UntilClose,
    Done,
}

impl ResponseReader {
    pub(super) const fn new(max_body: usize, wall: WallTime) -> Self {
        Self {
            state: State::Head,
            buffer: Vec::new(),
            room: max_body,
            max_body,
            wall,
        }
    }

    /// Takes bytes, and gives what can be read of them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, ResponseFault> {
        self.buffer.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        while self.step(&mut pieces)? {}
        Ok(pieces)
    }

    /// The other side has closed.
    pub(super) fn close(&mut self) -> Result<Piece, ResponseFault> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(Piece::End)
            }
            State::Head
            | State::Length(_)
            | State::ChunkSize
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailer => Err(ResponseFault::CutOff),
        }
    }

    /// Reads one thing; `false` when more bytes are needed for the next.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> Result<bool, ResponseFault> {
        match self.state {
            State::Head => self.head(pieces),
            State::Length(0) => {
                self.state = State::Done;
                pieces.push(Piece::End);
                Ok(true)
            }
            State::Length(left) => {
                let taken = self.body(left, pieces)?;
                self.state = State::Length(left - taken);
                Ok(taken > 0)
            }
            State::UntilClose => Ok(self.body(usize::MAX, pieces)? > 0),
            State::ChunkSize => self.chunk_size(),
            State::Chunk(0) => {
                self.state = State::ChunkEnd;
                Ok(true)
            }
            State::Chunk(left) => {
                let taken = self.body(left, pieces)?;
                self.state = State::Chunk(left - taken);
                Ok(taken > 0)
            }
            State::ChunkEnd => match self.buffer.as_slice() {
                [] | [b'\r'] => Ok(false),
                [b'\r', b'\n', ..] => {
                    self.buffer.drain(..2);
                    self.state = State::ChunkSize;
                    Ok(true)
                }
                _ => Err(ResponseFault::Framing),
            },
            State::Trailer => self.trailer(pieces),
            State::Done => {
                // Nothing was asked that this could answer.
                self.buffer.clear();
                Ok(false)
            }
        }
    }

    fn body(&mut self, most: usize, pieces: &mut Vec<Piece>) -> Result<usize, ResponseFault> {
        let taken = most.min(self.buffer.len());
        if taken == 0 {
            return Ok(0);
        }
        self.room = self
            .room
            .checked_sub(taken)
            .ok_or(ResponseFault::BodyTooLong(self.max_body))?;
        let rest = self.buffer.split_off(taken);
        let body = std::mem::replace(&mut self.buffer, rest);
        pieces.push(Piece::Body(Bytes::from(body)));
        Ok(taken)
    }

    fn chunk_size(&mut self) -> Result<bool, ResponseFault> {
        match httparse::parse_chunk_size(&self.buffer) {
            Err(_) => Err(ResponseFault::Framing),
            Ok(httparse::Status::Partial) if self.buffer.len() > MAX_LINE => {
                Err(ResponseFault::Framing)
            }
            Ok(httparse::Status::Partial) => Ok(false),
            Ok(httparse::Status::Complete((line, size))) => {
                self.buffer.drain(..line);
                let size = usize::try_from(size).map_err(|_| ResponseFault::Framing)?;
                if size > self.room {
                    return Err(ResponseFault::BodyTooLong(self.max_body));
                }
                self.state = if size == 0 {
                    State::Trailer
                } else {
                    State::Chunk(size)
                };
                Ok(true)
            }
        }
    }

    fn trailer(&mut self, pieces: &mut Vec<Piece>) -> Result<bool, ResponseFault> {
        let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") else {
            return if self.buffer.len() > MAX_LINE {
                Err(ResponseFault::Framing)
            } else {
                Ok(false)
            };
        };
        if end == 0 {
            self.state = State::Done;
            pieces.push(Piece::End);
        }
        self.buffer.drain(..end + 2);
        Ok(true)
    }

    fn head(&mut self, pieces: &mut Vec<Piece>) -> Result<bool, ResponseFault> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(&self.buffer) {
            Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
            Ok(httparse::Status::Partial) if self.buffer.len() <= MAX_HEAD => return Ok(false),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => {
                return Err(ResponseFault::HeadTooLong);
            }
            Err(_) => return Err(ResponseFault::NotHttp),
        };
        let status = response.code.ok_or(ResponseFault::NotHttp)?;
        let fields: Vec<(&str, &[u8])> = response
            .headers
            .iter()
            .map(|field| (field.name, field.value))
            .collect();
        // An upgrade was not asked for; other 1xx go before the answer itself.
        let interim = (100..200).contains(&status) && status != 101;
        if !interim {
            self.state = framing(status, &fields)?;
            if let State::Length(length) = self.state
                && length > self.room
            {
                return Err(ResponseFault::BodyTooLong(self.max_body));
            }
            let texts = fields
                .iter()
                .filter_map(|(name, value)| Some((*name, std::str::from_utf8(value).ok()?)));
            pieces.push(Piece::Head(HttpHead::read(status, texts, self.wall)));
        }
        self.buffer.drain(..length);
        Ok(true)
    }
}

/// Where the body ends (RFC 9112 §6.3).
fn framing(status: u16, fields: &[(&str, &[u8])]) -> Result<State, ResponseFault> {
    let all = |wanted: &str| {
        fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim_ascii())
            .collect::<Vec<_>>()
    };
    if matches!(status, 101 | 204 | 304) {
        return Ok(State::Length(0));
    }
    let codings = all("transfer-encoding");
    let lengths = all("content-length");
    match codings.as_slice() {
        [] => {}
        [coding] if coding.eq_ignore_ascii_case(b"chunked") => return Ok(State::ChunkSize),
        _ => return Err(ResponseFault::Framing),
    }
    let Some(first) = lengths.first() else {
        return Ok(State::UntilClose);
    };
    if lengths.iter().any(|length| length != first) || !first.iter().all(u8::is_ascii_digit) {
        return Err(ResponseFault::Framing);
    }
    std::str::from_utf8(first)
        .ok()
        .and_then(|text| text.parse().ok())
        .map(State::Length)
        .ok_or(ResponseFault::Framing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status, the body, and how it ended, for one cut of the bytes.
    fn read(answer: &[u8], step: usize) -> Result<(u16, Vec<u8>), ResponseFault> {
        let mut reader = ResponseReader::new(100, WallTime(0));
        let (mut status, mut body, mut ended) = (0, Vec::new(), false);
        for part in answer.chunks(step) {
            for piece in reader.push(part)? {
                assert!(!ended, "something follows the end");
                match piece {
                    Piece::Head(head) => status = head.status,
                    Piece::Body(bytes) => body.extend_from_slice(&bytes),
                    Piece::End => ended = true,
                }
            }
        }
        if !ended {
            reader.close()?;
        }
        Ok((status, body))
    }

    #[test]
    fn bodies_end_where_their_head_says_however_the_bytes_are_cut() {
        for (answer, expected) in [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcjunk",
                Ok((200, "abc")),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\nabc",
                Ok((200, "abc")),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nt: 1\r\n\r\n",
                Ok((200, "abc0123456789")),
            ),
            (
                "HTTP/1.0 200 OK\r\n\r\nuntil the end",
                Ok((200, "until the end")),
            ),
            ("HTTP/1.1 204 No\r\n\r\n", Ok((204, ""))),
            (
                "HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 429 Slow\r\ncontent-length: 0\r\n\r\n",
                Ok((429, "")),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc",
                Err(ResponseFault::CutOff),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
                Err(ResponseFault::CutOff),
            ),
            ("HTTP/1.1 200", Err(ResponseFault::CutOff)),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
                Err(ResponseFault::Framing),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
                Err(ResponseFault::Framing),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
                Err(ResponseFault::Framing),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
                Err(ResponseFault::Framing),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
                Err(ResponseFault::Framing),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n",
                Err(ResponseFault::BodyTooLong(100)),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n",
                Err(ResponseFault::BodyTooLong(100)),
            ),
            ("SSH-2.0-x\r\n", Err(ResponseFault::NotHttp)),
        ] {
            for step in [1, 2, 3, 7, 1000] {
                let expected =
                    expected.map(|(status, body): (u16, &str)| (status, body.as_bytes().to_vec()));
                assert_eq!(read(answer.as_bytes(), step), expected, "{step} {answer}");
            }
        }
        let endless = format!("HTTP/1.0 200 OK\r\n\r\n{}", "x".repeat(101));
        assert_eq!(
            read(endless.as_bytes(), 50),
            Err(ResponseFault::BodyTooLong(100))
        );
        let head = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_HEAD));
        assert_eq!(read(head.as_bytes(), 4096), Err(ResponseFault::HeadTooLong));
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_FIELDS + 1)
        );
        assert_eq!(read(many.as_bytes(), 4096), Err(ResponseFault::HeadTooLong));
    }
}

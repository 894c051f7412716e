//! Answers on the wire: whole, in pieces, or cut off.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::answer::{Answer, Body};

/// How much of a body without bytes is made at a time.
const BLOCK: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// Writes the head of an answer.
pub(crate) fn head(mut stream: &TcpStream, answer: &Answer, keep_alive: bool) -> io::Result<()> {
    stream.write_all(head_text(answer, keep_alive).as_bytes())
}

/// Writes a whole answer.
pub(crate) fn whole(mut stream: &TcpStream, answer: &Answer, keep_alive: bool) -> io::Result<()> {
    match &answer.body {
        // In one piece, as small answers of a real server come.
        Body::Bytes(bytes) => {
            let mut text = head_text(answer, keep_alive).into_bytes();
            text.extend_from_slice(bytes);
            stream.write_all(&text)
        }
        Body::Filled(length) => {
            head(stream, answer, keep_alive)?;
            body(stream, answer, *length)
        }
    }
}

/// Writes so many bytes of a body.
pub(crate) fn body(mut stream: &TcpStream, answer: &Answer, length: u64) -> io::Result<()> {
    match &answer.body {
        Body::Bytes(bytes) => {
            let length = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            stream.write_all(bytes.get(..length).unwrap_or_default())
        }
        Body::Filled(_) => {
            let mut left = length;
            while left > 0 {
                let piece = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK.len());
                stream.write_all(BLOCK.get(..piece).unwrap_or_default())?;
                left -= piece as u64;
            }
            Ok(())
        }
    }
}

/// Writes an answer piece by piece. `pause` waits, and says whether to go on.
pub(crate) fn trickle(
    mut stream: &TcpStream,
    answer: &Answer,
    keep_alive: bool,
    piece: usize,
    pause: impl Fn() -> bool,
) -> io::Result<()> {
    let mut text = head_text(answer, keep_alive).into_bytes();
    if let Body::Bytes(bytes) = &answer.body {
        text.extend_from_slice(bytes);
    }
    for bytes in text.chunks(piece.max(1)) {
        if !pause() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        stream.write_all(bytes)?;
    }
    match answer.body {
        Body::Bytes(_) => Ok(()),
        Body::Filled(length) => body(stream, answer, length),
    }
}

/// Ends a connection by a reset.
pub(crate) fn reset(stream: &TcpStream) {
    // Without lingering, closing sends a reset. The stream is closed by its owner right after this.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Ends a connection in order: what the other side still sends is read, since the system would answer
/// it by a reset, and that can overtake the answer.
pub(crate) fn close(mut stream: &TcpStream) {
    let ended = stream.shutdown(Shutdown::Write);
    let limited = stream.set_read_timeout(Some(Duration::from_secs(1)));
    if ended.and(limited).is_ok() {
        let _ = io::copy(&mut stream, &mut io::sink());
    }
}

fn head_text(answer: &Answer, keep_alive: bool) -> String {
    let retry_after = answer
        .retry_after
        .map(|seconds| format!("Retry-After: {seconds}\r\n"))
        .unwrap_or_default();
    format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\n{retry_after}Content-Length: {}\r\nConnection: {}\r\n\r\n",
        answer.status,
        reason(answer.status),
        answer.content_type,
        answer.body.length(),
        if keep_alive { "keep-alive" } else { "close" },
    )
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

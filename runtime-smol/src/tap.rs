//! A stream that watches the WebSocket frames that pass through it.
//!
//! It knows two things that the codec above does not tell: whether the bytes read so far end at the
//! end of a message, so that the codec holds nothing and may be replaced by a fresh, small one; and
//! how large a message is going to be, before the codec makes room for it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_lite::{AsyncRead, AsyncWrite};
use thiserror::Error;

/// A message is larger than the connection may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("message of {size} bytes is over the limit of {limit}")]
pub(crate) struct Oversized {
    size: u64,
    limit: u64,
}

/// Follows frame headers (RFC 6455 §5.2) through a byte stream.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    header: [u8; 14],
    have: usize,
    /// Payload bytes of the current frame that are still to come.
    left: u64,
    /// Bytes of the current message in the frames so far; `None` between messages.
    message: Option<u64>,
}

impl FrameTracker {
    pub(crate) fn feed(&mut self, mut bytes: &[u8], limit: u64) -> Result<(), Oversized> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skip = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.left -= skip as u64;
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            let Some((&byte, rest)) = bytes.split_first() else {
                break;
            };
            bytes = rest;
            if let Some(slot) = self.header.get_mut(self.have) {
                *slot = byte;
            }
            self.have += 1;
            if self.have >= 2 && self.have == self.header_len() {
                self.begin_frame(limit)?;
            }
        }
        Ok(())
    }

    /// Whether everything up to here is whole messages.
    pub(crate) fn at_boundary(&self) -> bool {
        self.have == 0 && self.left == 0 && self.message.is_none()
    }

    fn header_len(&self) -> usize {
        let [_, second, ..] = self.header;
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        2 + extended + mask
    }

    fn begin_frame(&mut self, limit: u64) -> Result<(), Oversized> {
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.header;
        let len = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            short => u64::from(short),
        };
        self.have = 0;
        self.left = len;
        let control = first & 0x08 != 0;
        if control {
            return Ok(());
        }
        let size = self.message.unwrap_or(0).saturating_add(len);
        if size > limit {
            return Err(Oversized { size, limit });
        }
        let last = first & 0x80 != 0;
        self.message = (!last).then_some(size);
        Ok(())
    }
}

/// The stream.
#[derive(Debug)]
pub(crate) struct Tap<S> {
    /// Bytes that were read too early; they come first.
    early: Vec<u8>,
    inner: S,
    tracker: FrameTracker,
    limit: Limit,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Bytes(u64),
    /// What comes is thrown away unseen.
    Unwatched,
}

impl<S> Tap<S> {
    /// `early` are bytes that were read from `inner` before.
    pub(crate) fn new(inner: S, early: Vec<u8>, limit: usize) -> Self {
        Self {
            early,
            inner,
            tracker: FrameTracker::default(),
            limit: Limit::Bytes(limit as u64),
        }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = Limit::Bytes(limit as u64);
    }

    /// Lets everything pass: the codec will see none of it.
    pub(crate) fn stop_watching(&mut self) {
        self.limit = Limit::Unwatched;
    }

    pub(crate) fn at_boundary(&self) -> bool {
        self.tracker.at_boundary()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = if this.early.is_empty() {
            Pin::new(&mut this.inner).poll_read(cx, buf)
        } else {
            Poll::Ready(Ok(take_early(&mut this.early, buf)))
        };
        if let (Poll::Ready(Ok(count)), Limit::Bytes(limit)) = (&result, this.limit) {
            let read = buf.get(..*count).unwrap_or_default();
            this.tracker.feed(read, limit).map_err(io::Error::other)?;
        }
        result
    }
}

fn take_early(early: &mut Vec<u8>, buf: &mut [u8]) -> usize {
    let count = early.len().min(buf.len());
    for (to, from) in buf.iter_mut().zip(early.drain(..count)) {
        *to = from;
    }
    if early.is_empty() {
        *early = Vec::new();
    }
    count
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::AsyncReadExt;

    use super::*;

    fn frame(first: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match len {
            0..126 => bytes.push(0x80 | len as u8),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        bytes.extend([1, 2, 3, 4]);
        bytes.resize(bytes.len() + len, 0x81);
        bytes
    }

    #[test]
    fn boundaries_are_found_however_the_bytes_are_cut() {
        for len in [0, 1, 125, 126, 300, 65_535, 65_536] {
            let bytes = frame(0x81, len);
            for cut in [1, 2, 7, 13, bytes.len()] {
                let mut tracker = FrameTracker::default();
                let mut fed = 0;
                for chunk in bytes.chunks(cut) {
                    tracker.feed(chunk, 100_000).unwrap();
                    fed += chunk.len();
                    assert_eq!(
                        tracker.at_boundary(),
                        fed == bytes.len(),
                        "{len} {cut} {fed}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_message_in_fragments_counts_as_a_whole() {
        let mut tracker = FrameTracker::default();
        tracker.feed(&frame(0x01, 60), 100).unwrap();
        assert!(!tracker.at_boundary());
        tracker.feed(&frame(0x89, 5), 100).unwrap();
        assert!(!tracker.at_boundary());
        assert_eq!(
            tracker.feed(&frame(0x80, 41), 100),
            Err(Oversized {
                size: 101,
                limit: 100
            })
        );
        let mut tracker = FrameTracker::default();
        tracker.feed(&frame(0x01, 60), 100).unwrap();
        tracker.feed(&frame(0x80, 40), 100).unwrap();
        assert!(tracker.at_boundary());
    }

    #[test]
    fn early_bytes_come_first_and_are_checked_too() {
        let first = frame(0x81, 10);
        let second = frame(0x81, 30);
        let (early, later) = first.split_at(7);
        let later: Vec<u8> = [later, &second].concat();
        let mut tap = Tap::new(&later[..], early.to_vec(), 20);
        let mut chunk = [0; 5];
        let read = futures_lite::future::block_on(async {
            let mut read: Vec<u8> = Vec::new();
            let error = loop {
                match tap.read(&mut chunk).await {
                    Ok(count) => read.extend(&chunk[..count]),
                    Err(error) => break error,
                }
            };
            assert!(error.get_ref().unwrap().is::<Oversized>());
            read
        });
        assert_eq!(read[..first.len()], first);
    }

    #[test]
    fn a_size_is_refused_by_its_header_alone() {
        let bytes = frame(0x82, 70_000);
        let mut tracker = FrameTracker::default();
        assert!(tracker.feed(&bytes[..14], 69_999).is_err());
        let mut tracker = FrameTracker::default();
        assert!(tracker.feed(&bytes[..14], 70_000).is_ok());
    }
}

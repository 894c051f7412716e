//! Links in memory: two directions, each in order, with delay, a window, stalls and ends.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use clawgate_core::{client::AttemptId, ids::ConnId};

use crate::ledger::LineBook;

/// What arrives at an end.
pub enum Wire {
    Close {
        code: Option<u16>,
        reason: String,
    },
    /// The transport is over.
    Fin,
    Ping,
    Pong,
    Text(ByteString),
}

/// A message goes in parts; the other end sees it with the last one.
enum Parcel {
    Part(usize),
    Last(usize, Wire),
}

/// How a direction carries bytes.
#[derive(Clone, Copy)]
pub struct Manner {
    pub delay: Duration,
    /// Bytes that may be under way; more have to wait at the writer.
    pub window: usize,
    /// Bytes of one part.
    pub part: usize,
}

/// One direction, with the socket of its writer.
pub struct Pipe {
    manner: Manner,
    queue: VecDeque<(Instant, Parcel)>,
    under_way: usize,
    last: Instant,
    writing: Option<(ByteString, usize)>,
    stalled: Option<Stall>,
    ended: bool,
}

enum Stall {
    Forever,
    Until(Instant),
}

impl Pipe {
    fn new(now: Instant, manner: Manner) -> Self {
        Self {
            manner,
            queue: VecDeque::new(),
            under_way: 0,
            last: now,
            writing: None,
            stalled: None,
            ended: false,
        }
    }

    /// Whether the writer can start another message.
    pub fn is_free(&self) -> bool {
        self.writing.is_none()
    }

    /// Starts a message; [`Pipe::flush`] moves it.
    pub fn write(&mut self, text: ByteString) {
        assert!(self.is_free(), "a message is half written");
        self.writing = Some((text, 0));
    }

    /// Moves what fits, and gives the bytes that left the writer.
    pub fn flush(&mut self, now: Instant) -> usize {
        let mut moved = 0;
        while let Some((text, done)) = &mut self.writing {
            if self.ended {
                moved += text.len() - *done;
                self.writing = None;
                break;
            }
            let room = self.manner.window.saturating_sub(self.under_way);
            let size = (text.len() - *done).min(self.manner.part).min(room);
            if size == 0 && !text.is_empty() {
                break;
            }
            *done += size;
            moved += size;
            let parcel = if *done == text.len() {
                let text = text.clone();
                self.writing = None;
                Parcel::Last(size, Wire::Text(text))
            } else {
                Parcel::Part(size)
            };
            self.under_way += size;
            self.enqueue(now, parcel);
        }
        moved
    }

    /// Sends something without weight.
    pub fn push(&mut self, now: Instant, wire: Wire) {
        if self.ended {
            return;
        }
        self.ended = matches!(wire, Wire::Fin);
        self.enqueue(now, Parcel::Last(0, wire));
    }

    fn enqueue(&mut self, now: Instant, parcel: Parcel) {
        self.last = self.last.max(now + self.manner.delay);
        self.queue.push_back((self.last, parcel));
    }

    /// When something arrives next.
    pub fn next_arrival(&self) -> Option<Instant> {
        let (at, _) = self.queue.front()?;
        match self.stalled {
            None => Some(*at),
            Some(Stall::Forever) => None,
            Some(Stall::Until(end)) => Some((*at).max(end)),
        }
    }

    /// Takes what arrives, if it ends a message.
    pub fn arrive(&mut self) -> Option<Wire> {
        let (size, wire) = match self.queue.pop_front()?.1 {
            Parcel::Part(size) => (size, None),
            Parcel::Last(size, wire) => (size, Some(wire)),
        };
        self.under_way -= size;
        wire
    }

    /// Nothing arrives before `end`.
    pub fn stall(&mut self, end: Instant) {
        if !matches!(self.stalled, Some(Stall::Forever)) {
            self.stalled = Some(Stall::Until(end));
        }
    }

    /// A stall with an end is over.
    pub fn wake(&mut self) {
        if matches!(self.stalled, Some(Stall::Until(_))) {
            self.stalled = None;
        }
    }

    /// Nothing arrives any more, and nobody is told.
    pub fn lose(&mut self) {
        self.stalled = Some(Stall::Forever);
    }

    /// What waits is thrown away; the reader is told.
    pub fn reset(&mut self, now: Instant) {
        self.queue.clear();
        self.under_way = 0;
        self.ended = false;
        self.push(now, Wire::Fin);
    }

    /// Nothing was read before this moment.
    pub fn hold_until(&mut self, at: Instant) {
        self.last = self.last.max(at);
        for (arrival, _) in &mut self.queue {
            *arrival = (*arrival).max(at);
        }
    }
}

/// A connection of a client with the gateway.
pub struct Link {
    pub client: usize,
    pub attempt: Option<AttemptId>,
    pub conn: ConnId,
    pub to_client: Pipe,
    pub to_server: Pipe,
    /// The socket of an end is gone.
    pub client_gone: bool,
    pub server_gone: bool,
    pub book: LineBook,
}

impl Link {
    pub fn new(client: usize, conn: ConnId, now: Instant, manner: Manner, book: LineBook) -> Self {
        Self {
            client,
            attempt: None,
            conn,
            to_client: Pipe::new(now, manner),
            to_server: Pipe::new(now, manner),
            client_gone: false,
            server_gone: false,
            book,
        }
    }
}

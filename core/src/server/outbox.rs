//! The outbound buffer of one connection: what waits, how much it weighs, and what happens when it
//! is too much (spec protocol §5.1).

use std::collections::VecDeque;

use bytestring::ByteString;

use crate::{
    frame::{Droppable, OutboundEvent},
    protocol::{CloseCode, CloseReason},
    transmit::Transmit,
};

/// Room that an empty queue may keep, so that a burst does not hold memory for ever.
const KEPT_CAPACITY: usize = 16;

/// An event is not written out before it is wanted: many connections may wait with the same one.
#[derive(Debug)]
enum Waiting {
    Event(OutboundEvent, u64),
    Ready(Transmit),
}

impl Waiting {
    fn buffered_len(&self) -> usize {
        match self {
            Self::Event(event, seq) => event.encoded_len(*seq),
            Self::Ready(transmit) => transmit.buffered_len(),
        }
    }
}

/// Whether a client is told the gateway's own numbers of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Numbers {
    #[default]
    LeftOut,
    Shown,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Waiting>,
    /// Bytes that are queued, or taken by the host and not written yet.
    buffered: usize,
    /// The most that this ever was.
    peak: usize,
    /// Bytes that were written.
    sent: u64,
    /// The number of the last event of the sequence, sent or dropped.
    seq: u64,
    dropped: u64,
    closing: bool,
    numbers: Numbers,
}

/// The buffer is full of things that must not be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl Outbox {
    pub(super) fn text(&mut self, text: ByteString, max: usize) -> Result<(), Overflow> {
        if self.closing {
            return Ok(());
        }
        if self.buffered.saturating_add(text.len()) > max {
            return Err(Overflow);
        }
        self.push(Waiting::Ready(Transmit::Text(text)));
        Ok(())
    }

    pub(super) fn show_numbers(&mut self, numbers: Numbers) {
        self.numbers = numbers;
    }

    /// Numbers an event and queues it. A dropped one keeps its number, so the client sees a gap.
    pub(super) fn event(&mut self, event: &OutboundEvent, max: usize) -> Result<(), Overflow> {
        if self.closing {
            return Ok(());
        }
        self.seq += 1;
        if self.buffered.saturating_add(event.max_len()) > max {
            return match event.droppable() {
                Droppable::IfSlow => {
                    self.dropped += 1;
                    Ok(())
                }
                Droppable::Never => Err(Overflow),
            };
        }
        let event = match self.numbers {
            Numbers::LeftOut => event.unnumbered(),
            Numbers::Shown => event.clone(),
        };
        self.push(Waiting::Event(event, self.seq));
        Ok(())
    }

    pub(super) fn ping(&mut self) {
        if !self.closing {
            self.push(Waiting::Ready(Transmit::Ping));
        }
    }

    /// Ends the queue after what is already in it.
    pub(super) fn close(&mut self, code: CloseCode, reason: CloseReason) {
        if !self.closing {
            self.push(Waiting::Ready(Transmit::Close { code, reason }));
            self.closing = true;
        }
    }

    /// Throws away what waits: it could not be delivered anyway.
    pub(super) fn discard(&mut self) {
        let waiting: usize = self.queue.iter().map(Waiting::buffered_len).sum();
        self.buffered = self.buffered.saturating_sub(waiting);
        self.queue = VecDeque::new();
    }

    pub(super) fn terminate(&mut self) {
        self.discard();
        self.closing = true;
        self.queue.push_back(Waiting::Ready(Transmit::Terminate));
    }

    pub(super) fn pop(&mut self) -> Option<Transmit> {
        let next = self.queue.pop_front().map(|waiting| match waiting {
            Waiting::Event(event, seq) => Transmit::Text(event.encode(Some(seq))),
            Waiting::Ready(transmit) => transmit,
        });
        if self.queue.is_empty() && self.queue.capacity() > KEPT_CAPACITY {
            self.queue = VecDeque::new();
        }
        next
    }

    pub(super) fn written(&mut self, bytes: usize) {
        self.buffered = self.buffered.saturating_sub(bytes);
        self.sent = self.sent.wrapping_add(bytes as u64);
    }

    pub(super) fn buffered(&self) -> usize {
        self.buffered
    }

    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(
            self.queue.front(),
            Some(Waiting::Ready(Transmit::Terminate))
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn push(&mut self, transmit: Waiting) {
        self.buffered = self.buffered.saturating_add(transmit.buffered_len());
        self.peak = self.peak.max(self.buffered);
        self.queue.push_back(transmit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::RawJson;

    fn event(droppable: Droppable) -> OutboundEvent {
        OutboundEvent::new("e", &RawJson::empty_object(), None, droppable)
    }

    #[test]
    fn the_limit_is_exact_and_counts_until_written() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.text("x".repeat(10).into(), 10), Ok(()));
        assert_eq!(outbox.text("x".into(), 10), Err(Overflow));
        outbox.pop();
        assert_eq!(outbox.text("x".into(), 10), Err(Overflow));
        outbox.written(10);
        assert_eq!(outbox.text("x".into(), 10), Ok(()));
        assert_eq!(outbox.buffered(), 1);
    }

    #[test]
    fn a_dropped_event_leaves_a_gap() {
        let mut outbox = Outbox::default();
        let size = event(Droppable::IfSlow).max_len();
        outbox.event(&event(Droppable::IfSlow), size).unwrap();
        outbox.event(&event(Droppable::IfSlow), size).unwrap();
        assert_eq!(outbox.event(&event(Droppable::Never), size), Err(Overflow));
        let Some(Transmit::Text(first)) = outbox.pop() else {
            panic!("nothing queued")
        };
        outbox.written(first.len());
        outbox.event(&event(Droppable::Never), size).unwrap();
        let Some(Transmit::Text(second)) = outbox.pop() else {
            panic!("nothing queued")
        };
        assert!(first.contains(r#""seq":1"#) && second.contains(r#""seq":4"#));
        assert_eq!(outbox.dropped(), 1);
    }

    #[test]
    fn nothing_follows_a_close() {
        let mut outbox = Outbox::default();
        outbox.text("a".into(), 10).unwrap();
        outbox.close(CloseCode::Policy, CloseReason::new("x"));
        outbox.close(CloseCode::Normal, CloseReason::default());
        outbox.text("b".into(), 10).unwrap();
        assert_eq!(outbox.pop(), Some(Transmit::Text("a".into())));
        assert!(matches!(
            outbox.pop(),
            Some(Transmit::Close {
                code: CloseCode::Policy,
                ..
            })
        ));
        assert_eq!(outbox.pop(), None);
    }
}

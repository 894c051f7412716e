//! What was told to many, for clients that come back: a window of the last events, each with its
//! number in the gateway's own count.
//!
//! The window opens with the first client that asks for it, so that a gateway without such clients
//! keeps nothing. Texts are shared with the deliveries. What a failed commit told of is taken out
//! again. Ticks, presence and health are not in it: `hello-ok` brings them anew.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Gateway;
use crate::{frame::OutboundEvent, limits::Limits, scope::Scope, store::CommitId};

#[derive(Debug)]
struct Past {
    event: OutboundEvent,
    scope: Option<Scope>,
    /// No earlier than the last tick before it.
    at: Instant,
    /// The change that it tells of.
    change: Option<CommitId>,
}

/// The window.
#[derive(Debug, Default)]
pub(super) struct PastEvents {
    /// The time of the last tick; nothing while nobody wants the window.
    clock: Option<Instant>,
    window: VecDeque<Past>,
    bytes: usize,
    /// The number of the last event.
    last: u64,
    /// The number of the newest event that is forgotten.
    forgotten: u64,
    /// The newest change that is durable.
    settled: Option<CommitId>,
}

/// What happened since a number.
#[derive(Debug)]
pub(super) enum Since<'a> {
    /// Exactly these.
    All {
        events: Vec<&'a OutboundEvent>,
        /// The newest change that they tell of and that is not durable yet.
        unsettled: Option<CommitId>,
    },
    /// Nobody knows: some of it is forgotten, or the number is none of this count.
    Lost,
}

impl PastEvents {
    /// Somebody wants to resume some time: from now on events are kept.
    pub(super) fn begin(&mut self, now: Instant) {
        self.clock.get_or_insert(now);
    }

    /// Whether anybody wants the window.
    pub(super) const fn is_open(&self) -> bool {
        self.clock.is_some()
    }

    /// The number of the last event.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Forgets what is older than `age`.
    pub(super) fn age(&mut self, now: Instant, age: Duration) {
        if let Some(clock) = &mut self.clock {
            *clock = now;
        }
        while self
            .window
            .front()
            .is_some_and(|past| now.saturating_duration_since(past.at) > age)
        {
            self.forget_first();
        }
    }

    fn push(
        &mut self,
        limits: &Limits,
        event: &OutboundEvent,
        scope: Option<Scope>,
        change: Option<CommitId>,
    ) -> OutboundEvent {
        let Some(at) = self.clock else {
            return event.clone();
        };
        self.last += 1;
        let event = event.numbered(self.last);
        self.bytes += event.max_len();
        self.window.push_back(Past {
            event: event.clone(),
            scope,
            at,
            change,
        });
        while self.window.len() > limits.resume_events || self.bytes > limits.resume_bytes {
            self.forget_first();
        }
        event
    }

    fn forget_first(&mut self) {
        if let Some(past) = self.window.pop_front() {
            self.bytes = self.bytes.saturating_sub(past.event.max_len());
            self.forgotten = past.event.resume_seq().unwrap_or(self.last);
        }
    }

    /// What came after a number, as far as `sees` allows it.
    pub(super) fn since(&self, seq: u64, sees: impl Fn(Option<Scope>) -> bool) -> Since<'_> {
        if seq < self.forgotten || seq > self.last {
            return Since::Lost;
        }
        let mut unsettled = None;
        let events = self
            .window
            .iter()
            .filter(|past| past.event.resume_seq() > Some(seq) && sees(past.scope))
            .map(|past| {
                unsettled =
                    unsettled.max(past.change.filter(|change| Some(*change) > self.settled));
                &past.event
            })
            .collect();
        Since::All { events, unsettled }
    }

    /// A commit is durable.
    pub(super) fn settle(&mut self, commit: CommitId) {
        self.settled = self.settled.max(Some(commit));
    }

    /// A commit failed, and all after it: what told of them was never told.
    pub(super) fn roll_back(&mut self, commit: CommitId) {
        self.window
            .retain(|past| past.change.is_none_or(|change| change < commit));
        self.bytes = self.window.iter().map(|past| past.event.max_len()).sum();
    }
}

impl Gateway {
    /// Keeps an event for clients that come back, if there are such, and numbers it.
    pub(super) fn remember_event(
        &mut self,
        event: &OutboundEvent,
        scope: Option<Scope>,
    ) -> OutboundEvent {
        let change = self.out.builds_on();
        self.events.push(&self.setup.limits, event, scope, change)
    }
}

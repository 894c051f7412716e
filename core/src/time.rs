//! The two kinds of time that a rule may need, and named timers.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, as every `ts` on the wire counts. It may jump; deadlines
/// never use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(pub u64);

/// Both clocks, read by the host at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic time: deadlines and intervals.
    pub mono: Instant,
    /// Calendar time: timestamps on the wire and signatures.
    pub wall: WallTime,
}

impl Now {
    /// The same moment, `by` later on both clocks. For tests and simulations.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self {
            mono: self.mono + by,
            wall: WallTime(self.wall.0.saturating_add(millis(by))),
        }
    }
}

/// A duration in whole milliseconds, saturating.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A handful of deadlines, each under a name that says what it is for.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    armed: Vec<(T, Instant)>,
}

impl<T: Copy + PartialEq> Timers<T> {
    pub(crate) const fn new() -> Self {
        Self { armed: Vec::new() }
    }

    pub(crate) fn arm(&mut self, timer: T, at: Instant) {
        self.disarm(timer);
        self.armed.push((timer, at));
    }

    pub(crate) fn disarm(&mut self, timer: T) {
        self.armed.retain(|(armed, _)| *armed != timer);
    }

    pub(crate) fn is_armed(&self, timer: T) -> bool {
        self.armed.iter().any(|(armed, _)| *armed == timer)
    }

    pub(crate) fn disarm_all(&mut self) {
        self.armed = Vec::new();
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, T)> {
        self.armed
            .iter()
            .map(|(timer, at)| (*at, *timer))
            .min_by_key(|(at, _)| *at)
    }

    /// Removes and gives one timer that is due, the earliest first.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<T> {
        let (at, timer) = self.next()?;
        (at <= now).then(|| {
            self.disarm(timer);
            timer
        })
    }
}

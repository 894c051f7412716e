//! A bound on how often something is said, with a count of what was left out.

use std::time::{Duration, Instant};

/// Holds so many turns, and gets one back after each pause.
#[derive(Debug)]
pub(super) struct Bucket {
    max: u32,
    pause: Duration,
    left: u32,
    refilled: Instant,
    left_out: u64,
}

impl Bucket {
    pub(super) const fn new(now: Instant, max: u32, pause: Duration) -> Self {
        Self {
            max,
            pause,
            left: max,
            refilled: now,
            left_out: 0,
        }
    }

    /// Takes a turn, if there is one: gives how many were asked for in vain before it.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.refilled).as_nanos();
        let more = passed / self.pause.as_nanos().max(1);
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(self.max);
            self.refilled = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Some(std::mem::take(&mut self.left_out))
            }
            None => {
                self.left_out += 1;
                None
            }
        }
    }
}

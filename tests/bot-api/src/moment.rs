//! When something happened.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment on both clocks: one to measure how much later something was, one to compare with the times
/// that other processes tell.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Never goes back.
    pub monotonic: Instant,
    /// The time of day.
    pub wall: SystemTime,
}

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Seconds since 1970, as the Bot API tells times.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        self.wall
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }
}

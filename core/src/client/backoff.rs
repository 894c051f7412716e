//! How long a client waits before it dials again (spec protocol §10).

use std::time::Duration;

use crate::rng::Rng;

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(250);
const STARTUP: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(2);
/// The longest wait that a gateway can impose.
const MAX_NOT_BEFORE: Duration = Duration::from_secs(3600);

/// What is known about the moment of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryHint {
    /// Nothing: the exponential delay alone decides.
    Backoff,
    /// The gateway asked for at least this long.
    NotBefore(Duration),
    /// Something changed on this side that makes success likely: 250 ms.
    Soon,
    /// The gateway is starting and said how long that takes; taken as it is, between 100 ms and 2 s.
    Startup(Duration),
}

/// Exponential delays: 1 s, doubled each time, at most 30 s, shortened by up to a quarter at random
/// so that clients of one gateway do not return all at once.
///
/// ```
/// use clawgate_core::{client::{Backoff, RetryHint}, rng::Rng};
///
/// let mut backoff = Backoff::new(Rng::new([1; 32]));
/// let first = backoff.next_delay(RetryHint::Backoff);
/// assert!(first.as_millis() >= 750 && first.as_millis() <= 1000);
/// assert!(backoff.next_delay(RetryHint::Backoff) > first);
/// backoff.reset(); // only after a hello
/// assert!(backoff.next_delay(RetryHint::Backoff).as_millis() <= 1000);
/// ```
#[derive(Debug)]
pub struct Backoff {
    rng: Rng,
    next: Duration,
}

impl Backoff {
    /// Starts with the shortest delay.
    pub fn new(rng: Rng) -> Self {
        Self { rng, next: FIRST }
    }

    /// The delay before the next attempt. It grows with each call, except after
    /// [`RetryHint::Soon`] and [`RetryHint::Startup`].
    pub fn next_delay(&mut self, hint: RetryHint) -> Duration {
        match hint {
            RetryHint::Backoff => self.grow(),
            RetryHint::NotBefore(wait) => self.grow().max(wait.min(MAX_NOT_BEFORE)),
            RetryHint::Soon => SOON,
            RetryHint::Startup(wait) => wait.clamp(*STARTUP.start(), *STARTUP.end()),
        }
    }

    /// Starts over. To be called after a hello and at no other time: a gateway that accepts
    /// sockets and refuses clients must not be hammered.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }

    fn grow(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(LAST);
        let base = crate::time::millis(base);
        Duration::from_millis(base - self.rng.u64() % (base / 4 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Rng::new([3; 32]))
    }

    #[test]
    fn delays_double_up_to_the_last() {
        let mut backoff = backoff();
        for base in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let delay = crate::time::millis(backoff.next_delay(RetryHint::Backoff));
            assert!((base * 3 / 4..=base).contains(&delay), "{base}: {delay}");
        }
    }

    #[test]
    fn the_gateway_can_only_lengthen_a_delay() {
        let mut backoff = backoff();
        let hint = |ms| RetryHint::NotBefore(Duration::from_millis(ms));
        assert!(backoff.next_delay(hint(1)) >= Duration::from_millis(750));
        assert_eq!(backoff.next_delay(hint(60_000)), Duration::from_secs(60));
        assert_eq!(backoff.next_delay(hint(u64::MAX)), MAX_NOT_BEFORE);
    }

    #[test]
    fn startup_and_soon_do_not_grow_the_delay() {
        let mut backoff = backoff();
        for (asked, waited) in [(0, 100), (500, 500), (9_000, 2_000)] {
            assert_eq!(
                backoff.next_delay(RetryHint::Startup(Duration::from_millis(asked))),
                Duration::from_millis(waited)
            );
        }
        assert_eq!(backoff.next_delay(RetryHint::Soon), SOON);
        assert!(backoff.next_delay(RetryHint::Backoff) <= FIRST);
    }
}

//! How long a test waits for something that must happen.

use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, TestResult};

/// Enough for anything a healthy gateway does, on a machine that is busy with other tests. Reaching it
/// is a failure, so it costs nothing when tests pass.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A moment after which waiting is a failure.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline that lies `patience` from now.
    #[must_use]
    pub fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// What is left, or `None` when the moment has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.0
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// Asks until there is an answer. For what offers no way to wait for it: another process that
    /// opens a port, or exits.
    ///
    /// # Errors
    ///
    /// The first error of `ask`, or that `what` did not happen in time.
    pub fn poll<T>(
        &self,
        what: &str,
        mut ask: impl FnMut() -> TestResult<Option<T>>,
    ) -> TestResult<T> {
        const PAUSE: Duration = Duration::from_millis(20);
        loop {
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
            if self.remaining().is_none() {
                return Err(Failure::new(format!("waited in vain for {what}")));
            }
            thread::sleep(PAUSE);
        }
    }
}

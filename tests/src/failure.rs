//! The error of the test helpers: a sentence for the person who reads the failed test.

use std::error::Error;
use std::fmt;

/// Result of a test helper, and of a test that uses `?` on helpers.
pub type TestResult<T = ()> = Result<T, Failure>;

/// What went wrong, in words.
///
/// Any error converts into it, so helpers and tests can use `?` throughout. Its `Debug` form is its
/// `Display` form, since that is what the test harness prints.
pub struct Failure(String);

impl Failure {
    /// A failure that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self(message)
    }
}

/// Adds to an error what was being attempted.
pub trait Attempt<T> {
    /// Turns the error into a [`Failure`] that begins with `attempt`.
    fn attempt(self, attempt: impl FnOnce() -> String) -> TestResult<T>;
}

impl<T, E: Into<Failure>> Attempt<T> for Result<T, E> {
    fn attempt(self, attempt: impl FnOnce() -> String) -> TestResult<T> {
        self.map_err(|error| Failure(format!("{}: {}", attempt(), error.into())))
    }
}

//! What the host has read so far.

use std::collections::BTreeMap;

use super::fault::RefFault;
use crate::config::RefSource;
use crate::secret::Secret;

/// A reference with its provider filled in: what the host is asked to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedRef {
    /// Where it is read: a file or a program.
    pub source: RefSource,
    /// The provider, one of `secrets.providers`.
    pub provider: String,
    /// Its name there.
    pub id: String,
}

/// The values of references, and why others have none. `Debug` shows names only.
#[derive(Clone, Debug, Default)]
pub struct RefValues(BTreeMap<WantedRef, Result<Secret, RefFault>>);

impl RefValues {
    /// Nothing read.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds what a reference gave. Blanks at the ends do not count, and a value of nothing else is a
    /// fault, never an absent value (spec credentials §5).
    pub fn insert(&mut self, wanted: WantedRef, outcome: Result<&str, RefFault>) {
        let outcome = outcome.and_then(|value| Secret::non_blank(value).ok_or(RefFault::Blank));
        self.0.insert(wanted, outcome);
    }

    /// What a reference gave, or `None` when it was never asked for.
    pub fn get(&self, wanted: &WantedRef) -> Option<Result<&Secret, &RefFault>> {
        self.0.get(wanted).map(Result::as_ref)
    }

    /// Adds everything that another read gave.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_values_are_faults_and_values_stay_out_of_debug() {
        let wanted = WantedRef {
            source: RefSource::File,
            provider: "main".into(),
            id: "/a".into(),
        };
        let mut values = RefValues::new();
        values.insert(wanted.clone(), Ok(" \n"));
        assert_eq!(values.get(&wanted), Some(Err(&RefFault::Blank)));
        values.insert(wanted.clone(), Ok(" hunter2\n"));
        assert_eq!(values.get(&wanted), Some(Ok(&Secret::new("hunter2"))));
        assert!(!format!("{values:?}").contains("hunter2"));
    }
}

//! Secrets: redacted in `Debug`, compared in constant time, wiped on drop.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A token, password or key. Its value shows only through [`Secret::expose`], so that every place
/// where a secret leaves can be found by searching for that name.
///
/// ```
/// use clawgate_core::secret::Secret;
///
/// let secret = Secret::new("hunter2");
/// assert_eq!(format!("{secret:?}"), "Secret(redacted)");
/// assert!(secret.ct_eq("hunter2"));
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value as it is.
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// Wraps a value with the blanks at both ends removed, or gives `None` when nothing is left
    /// (spec credentials §0).
    pub fn non_blank(value: &str) -> Option<Self> {
        let value = value.trim();
        (!value.is_empty()).then(|| Self::new(value))
    }

    /// The value itself, for the one place that sends or stores it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares with a presented value in a time that depends on its length only.
    pub fn ct_eq(&self, presented: &str) -> bool {
        // Digests have one length, so neither the length nor the place of a difference shows.
        Sha256::digest(self.0.as_bytes())
            .ct_eq(&Sha256::digest(presented.as_bytes()))
            .into()
    }

    /// A short name for the value that does not reveal it: the first 8 hexadecimal digits of a
    /// salted SHA-256. Two sides that print the same id hold the same secret.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"clawgate secret id\0");
        hash.update(self.0.as_bytes());
        let digest = hash.finalize();
        digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(&other.0)
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_value() {
        assert!(!format!("{:?}", Some(Secret::new("hunter2"))).contains("hunter2"));
    }

    #[test]
    fn blank_values_are_absent() {
        assert_eq!(Secret::non_blank(" \t\n"), None);
        assert_eq!(Secret::non_blank("  a b "), Some(Secret::new("a b")));
    }

    #[test]
    fn ids_tell_values_apart_without_showing_them() {
        let id = Secret::new("hunter2").id();
        assert_eq!(id.len(), 8);
        assert_eq!(id, Secret::new("hunter2").id());
        assert_ne!(id, Secret::new("hunter3").id());
    }
}

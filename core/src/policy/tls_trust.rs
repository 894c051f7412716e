//! What makes a gateway's certificate acceptable to a client (spec hostpolicy §6).

use std::fmt;

use super::{InvalidFingerprint, TlsFingerprint};

/// The certificates that a gateway may show: at least one. With several, an old and a new one
/// overlap while the gateway changes over.
///
/// ```
/// use clawgate_core::policy::{TlsFingerprint, TlsPins};
///
/// let (old, new) = ("a1".repeat(32), "b2".repeat(32));
/// let pins = TlsPins::parse([&old, &new])?;
/// assert!(pins.accept(&new.parse::<TlsFingerprint>()?));
/// assert!(TlsPins::parse(Vec::<&str>::new()).is_err());
/// # Ok::<(), clawgate_core::policy::InvalidFingerprint>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPins {
    first: TlsFingerprint,
    more: Vec<TlsFingerprint>,
}

impl TlsPins {
    /// Reads every text as a fingerprint.
    ///
    /// # Errors
    /// When one is none, or there is none at all: a list that pins nothing is a mistake.
    pub fn parse<T: AsRef<str>>(
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidFingerprint> {
        let mut pins = texts.into_iter().map(|text| text.as_ref().parse());
        Ok(Self {
            first: pins.next().ok_or(InvalidFingerprint)??,
            more: pins.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a certificate with this fingerprint may be shown.
    pub fn accept(&self, shown: &TlsFingerprint) -> bool {
        self.iter().any(|pin| pin == shown)
    }

    /// The fingerprints, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &TlsFingerprint> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

impl From<TlsFingerprint> for TlsPins {
    fn from(pin: TlsFingerprint) -> Self {
        Self {
            first: pin,
            more: Vec::new(),
        }
    }
}

impl fmt::Display for TlsPins {
    /// Writes each as 64 lowercase hexadecimal digits, with `, ` between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.more.iter().try_for_each(|pin| write!(f, ", {pin}"))
    }
}

/// How the certificate of an endpoint is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsTrust {
    /// The authorities of the system decide.
    #[default]
    Authorities,
    /// The authorities decide this once, and what they accept becomes the pin before anything else
    /// is sent.
    FirstUse,
    /// The pins alone decide; no authority is asked.
    Pinned(TlsPins),
}

impl TlsTrust {
    /// The pins, if there are any.
    pub const fn pins(&self) -> Option<&TlsPins> {
        match self {
            Self::Pinned(pins) => Some(pins),
            Self::Authorities | Self::FirstUse => None,
        }
    }

    /// A stable name for reports.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Authorities => "authorities",
            Self::FirstUse => "first-use",
            Self::Pinned(_) => "pinned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_of_a_list_counts_and_no_other_certificate() {
        let texts = ["0f".repeat(32), ["A0"; 32].join(":")];
        let pins = TlsPins::parse(&texts).unwrap();
        for text in &texts {
            assert!(pins.accept(&text.parse().unwrap()), "{text}");
        }
        assert!(!pins.accept(&TlsFingerprint::from([1; 32])));
        assert_eq!(
            pins.to_string(),
            format!("{}, {}", "0f".repeat(32), "a0".repeat(32))
        );
    }

    #[test]
    fn one_bad_pin_spoils_the_list() {
        let good = "0f".repeat(32);
        for texts in [vec![], vec![""], vec![&good, "zz"], vec![" ", &good]] {
            assert_eq!(TlsPins::parse(&texts), Err(InvalidFingerprint), "{texts:?}");
        }
    }
}

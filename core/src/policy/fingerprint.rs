//! Pins of TLS certificates (spec hostpolicy §6).

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The SHA-256 of a leaf certificate in DER form, as `gateway.remote.tlsFingerprint` pins it.
///
/// ```
/// use clawgate_core::policy::TlsFingerprint;
///
/// let pin: TlsFingerprint = format!("SHA256:{}", "AB".repeat(32)).parse()?;
/// assert_eq!(pin.to_string(), "ab".repeat(32));
/// assert!("sha256/q6urq6s=".parse::<TlsFingerprint>().is_err());
/// # Ok::<(), clawgate_core::policy::InvalidFingerprint>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TlsFingerprint([u8; 32]);

impl TlsFingerprint {
    /// The fingerprint of a certificate.
    pub fn of_certificate(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for TlsFingerprint {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

/// The text is no SHA-256 fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a certificate fingerprint: write the SHA-256 as 64 hexadecimal digits, or as 32 pairs \
     with colons between them"
)]
pub struct InvalidFingerprint;

impl FromStr for TlsFingerprint {
    type Err = InvalidFingerprint;

    /// Reads 64 hexadecimal digits, or 32 pairs joined by colons, with an optional `sha256:` in
    /// front and blanks around. Nothing in between is guessed at.
    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let text = text.trim();
        let digits = match text.get(..7) {
            Some(prefix) if prefix.eq_ignore_ascii_case("sha256:") => text.get(7..),
            Some(_) | None => Some(text),
        }
        .unwrap_or_default();
        let separators = match digits.len() {
            64 => false,
            95 => true,
            _ => return Err(InvalidFingerprint),
        };
        let mut bytes = [0; 32];
        let mut rest = digits.bytes();
        for (index, byte) in bytes.iter_mut().enumerate() {
            if separators && index > 0 && rest.next() != Some(b':') {
                return Err(InvalidFingerprint);
            }
            let high = hex_value(rest.next())?;
            let low = hex_value(rest.next())?;
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

fn hex_value(digit: Option<u8>) -> Result<u8, InvalidFingerprint> {
    match digit {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(digit @ b'a'..=b'f') => Ok(digit - b'a' + 10),
        Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
        Some(_) | None => Err(InvalidFingerprint),
    }
}

impl fmt::Display for TlsFingerprint {
    /// Writes 64 lowercase hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TlsFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsFingerprint({self})")
    }
}

impl Serialize for TlsFingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_mean_the_same() {
        let plain = "0f".repeat(32);
        let pairs = vec!["0F"; 32].join(":");
        for text in [plain.clone(), pairs.clone(), format!(" sha256:{pairs}\n")] {
            assert_eq!(text.parse::<TlsFingerprint>().unwrap().to_string(), plain);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            String::new(),
            "ab".repeat(31),
            "ab".repeat(33),
            format!("sha-256 {}", "ab".repeat(32)),
            vec!["ab"; 32].join(" "),
            format!("ab:{}", "ab".repeat(31)),
            format!("{}gg", "ab".repeat(31)),
            format!("{}é", "ab".repeat(31)),
            "é".repeat(32),
        ] {
            assert_eq!(
                text.parse::<TlsFingerprint>(),
                Err(InvalidFingerprint),
                "{text}"
            );
        }
    }
}

//! Random bytes from a seed that the host gives: SHA-256 in counter mode.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// A seed of 32 bytes. It must come from the operating system in production; a test may use a
/// constant, and then every run is the same.
pub type Seed = [u8; 32];

/// A deterministic generator, one for each machine.
///
/// ```
/// use clawgate_core::rng::Rng;
///
/// let mut a = Rng::new([7; 32]);
/// let mut b = Rng::new([7; 32]);
/// assert_eq!(a.uuid(), b.uuid());
/// assert_ne!(a.uuid(), a.uuid());
/// ```
pub struct Rng {
    key: Seed,
    counter: u64,
}

impl Rng {
    /// Starts at the beginning of the seed's sequence.
    pub fn new(seed: Seed) -> Self {
        Self {
            key: seed,
            counter: 0,
        }
    }

    /// The next 32 bytes; also a fresh seed for a machine that this one starts.
    pub fn seed(&mut self) -> Seed {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(self.counter.to_le_bytes());
        self.counter += 1;
        hash.finalize().into()
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.seed();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// A version 4 UUID in lower case, as nonces and ids on the wire are written.
    pub fn uuid(&mut self) -> String {
        let value = u128::from(self.u64()) << 64 | u128::from(self.u64());
        let value = value & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            value >> 96,
            value >> 80 & 0xffff,
            value >> 64 & 0xffff,
            value >> 48 & 0xffff,
            value & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng(redacted)")
    }
}

impl Drop for Rng {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_version_and_variant() {
        let mut rng = Rng::new([1; 32]);
        for _ in 0..100 {
            let uuid = rng.uuid();
            assert_eq!(uuid.len(), 36);
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }
    }
}

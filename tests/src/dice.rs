//! Chance that can be repeated: a run tells its seed, and `CLAWGATE_KILL_SEED` names one.

use std::time::{SystemTime, UNIX_EPOCH};

use clawgate_core::rng::Rng;

use crate::failure::TestResult;

/// The seed that the environment names, or a new one.
///
/// # Errors
/// When what the environment says is no number.
pub fn seed() -> TestResult<u64> {
    match std::env::var("CLAWGATE_KILL_SEED") {
        Ok(seed) => Ok(seed.parse()?),
        Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64),
    }
}

/// Dice that fall the same way for the same seed.
pub fn dice(seed: u64) -> Rng {
    let bytes = seed.to_le_bytes();
    Rng::new(std::array::from_fn(|index| {
        bytes.get(index).copied().unwrap_or(index as u8)
    }))
}

//! Clocks and randomness of the operating system.

use std::{
    io,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use clawgate_core::{
    rng::Seed,
    time::{Now, WallTime, millis},
};

pub(crate) fn now() -> Now {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        mono: Instant::now(),
        wall: WallTime(millis(since_epoch)),
    }
}

pub(crate) fn seed() -> io::Result<Seed> {
    let mut seed = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut seed)
        .map_err(|_| io::Error::other("the system gave no random bytes"))?;
    Ok(seed)
}

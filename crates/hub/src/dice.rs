//! Random numbers for jitter: nothing that anybody could gain by guessing them.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Up to `most`, another each time.
#[must_use]
pub fn up_to(most: Duration) -> Duration {
    most.mul_f64(f64::from(word()) / f64::from(u32::MAX))
}

/// Any number.
#[must_use]
pub fn word() -> u32 {
    // Its keys are random once for each thread, and count up from there; the hash mixes them.
    let hash = RandomState::new().hash_one(0_u8);
    u32::try_from(hash >> 32).unwrap_or(0)
}

//! Chance that is the same for the same seed.

use std::time::Duration;

/// Another number for each number (the finaliser of splitmix64, which is a bijection).
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A source of it.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// One for this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// Any number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// One of so many.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound.max(1) as u64).unwrap_or(0)
    }

    /// From 0 up to, but not, 1.
    pub fn fraction(&mut self) -> f64 {
        crate::ledger::number(self.number() >> 11) / crate::ledger::number(1 << 53)
    }

    /// Between these.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + most.saturating_sub(least).mul_f64(self.fraction())
    }

    /// Until the next of things that happen independently of each other, so many each second.
    pub fn until_next(&mut self, per_second: f64) -> Duration {
        let fraction = 1.0 - self.fraction();
        Duration::try_from_secs_f64(-fraction.ln() / per_second).unwrap_or(Duration::from_secs(1 << 30))
    }
}

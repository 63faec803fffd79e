//! Random numbers for jitter: nothing that anybody could gain by guessing them.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Other ones in every process.
    pub fn new() -> Self {
        Self(RandomState::new().hash_one(0))
    }

    /// The same ones for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed for others.
    pub fn seed(&mut self) -> u64 {
        self.next()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, but not, 1.
    pub fn fraction(&mut self) -> f64 {
        // 53 bits are what the type holds.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }

    /// From nothing up to `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.fraction())
    }

    /// Half of it up to one and a half.
    pub fn around(&mut self, middle: Duration) -> Duration {
        middle.mul_f64(0.5 + self.fraction())
    }

    /// Half of it up to the whole.
    pub fn within(&mut self, most: Duration) -> Duration {
        most / 2 + self.up_to(most / 2)
    }
}

/// Pauses between attempts: the most that they may be is doubled from the first to the last. The first is between the half
/// and the whole of that; the others are anything, so that those who all failed at once come back over the whole of it.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
    dice: Dice,
}

impl Backoff {
    pub fn new(first: Duration, last: Duration, dice: Dice) -> Self {
        Self { first, last, next: first, dice }
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait this time; at least as long as the other side asks for.
    pub fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let room = self.next.saturating_sub(self.first);
        let pause =
            if room.is_zero() { self.dice.within(self.first) } else { self.first + self.dice.up_to(room) };
        self.next = (self.next * 2).min(self.last);
        match asked {
            // All that were turned away at once must not come back at once.
            Some(asked) if asked > pause => asked + self.dice.up_to(asked.min(self.last)),
            _ => pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_differ_and_end() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(30), Dice::seeded(7));
        let pauses: Vec<Duration> = (0..50).map(|_| backoff.pause(None)).collect();
        assert!(pauses[0] >= seconds(1) / 2 && pauses[0] <= seconds(1), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= seconds(30)), "{pauses:?}");
        let long = pauses[20..].iter().filter(|pause| **pause >= seconds(15)).count();
        assert!((10..=20).contains(&long), "spread over all of it: {pauses:?}");
        assert!(backoff.pause(Some(seconds(60))) >= seconds(60));
        backoff.reset();
        assert!(backoff.pause(None) < seconds(2));
        assert_ne!(Dice::new().next(), Dice::new().next());
    }
}

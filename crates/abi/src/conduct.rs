//! How an endpoint behaves: its hostile attempts, and the budget of its events. Kept by the kernel
//! programs, one value for each counter slot.
//!
//! **The sliding window is exact.** Attempts are numbered from [`Conduct::forgiven`] on, and the time of
//! attempt *i* stands in `ring[i % 64]`. At attempt *i* the threshold is reached if attempt
//! *i* − (threshold − 1) lies within the window. Time is that of the kernel's last tick (1 to 10 ms).
//!
//! **What was told is not counted on.** Once the threshold is reached, attempts are not numbered any more until
//! the window has passed (then they are counted anew, so an endpoint that is only reported is reported at
//! most once in a window) or, in quarantine, until it is forgiven. [`crate::Counters::attempts`] counts them
//! all the same.
//!
//! **Thresholds above 64** record only every 2^`stride_shift`-th attempt, and the look back goes to the last
//! recorded one: the threshold is never reached early, and late by less than 2^`stride_shift` attempts,
//! which is at most 1/31 of the threshold. An endpoint without earlier attempts reaches it exactly.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Attempts whose time is remembered; a power of two.
pub const RING_LEN: usize = 64;

/// What becomes, in the kernel itself, of an endpoint that reaches its threshold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
#[repr(u8)]
pub enum Response {
    /// An event says so, at most once in a window.
    #[default]
    Report = 0,
    /// Every frame from and to it is dropped, from the next one on.
    Quarantine = 1,
}

impl Response {
    /// The response with this number; an unknown number is `Report`.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        if number == Self::Quarantine as u8 { Self::Quarantine } else { Self::Report }
    }
}

/// The conduct of one slot's endpoint.
///
/// The kernel writes all of it; user space sets `quiet`, `forgiven` and `tripped_ns` while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Conduct {
    /// In the low half the kernel's tick of the last look. In the high half the [`crate::Endpoint::terms`] under
    /// which there is nothing to do in this tick about any frame but to count it: neither an event to send
    /// nor an attempt to number. In a flood of forgeries this is all that is looked at.
    pub quiet: u64,
    /// Events that may still be sent.
    pub tokens: u32,
    /// Not 0: the threshold was reached at `tripped_ns` under these [`crate::Endpoint::terms`], and reported.
    pub told_terms: u32,
    /// `CLOCK_MONOTONIC` nanoseconds of the last refill of `tokens`.
    pub refilled_ns: u64,
    /// `CLOCK_MONOTONIC` nanoseconds at the last look: the time of all attempts of one tick.
    pub now_ns: u64,
    /// Hostile attempts that were numbered, ever.
    pub attempts: u64,
    /// Attempts up to here do not count any more.
    pub forgiven: u64,
    /// `CLOCK_MONOTONIC` nanoseconds of the frame that last reached the threshold; 0: none since it
    /// was forgiven.
    pub tripped_ns: u64,
    /// That frame's [`crate::DropReason`] as a number.
    pub tripped_reason: u8,
    /// What the kernel did about it: [`Response`] as a number.
    pub tripped_answer: u8,
    /// The stride by which `ring` is written, as a power of two.
    pub stride_shift: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// Times of attempts, in nanoseconds.
    pub ring: [u64; RING_LEN],
}

/// The ring begins a cache line of its own.
const _: () =
    assert!(core::mem::offset_of!(Conduct, ring) == 64 && size_of::<Conduct>() == 64 + 8 * RING_LEN);

impl Conduct {
    /// The stride, as a power of two, by which attempts are recorded for a threshold.
    #[must_use]
    pub const fn stride_shift(threshold: u16) -> u8 {
        if threshold as usize <= RING_LEN {
            return 0;
        }
        // The attempt that is looked back to must not be overwritten by the present one.
        let reach = (threshold as usize - 1).div_ceil(RING_LEN - 1);
        reach.next_power_of_two().trailing_zeros() as u8
    }

    /// Hostile attempts since it was forgiven, or counted anew.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.attempts.saturating_sub(self.forgiven)
    }

    /// Whether the kernel itself has put the endpoint in quarantine, and nobody has forgiven it since.
    #[must_use]
    pub const fn is_quarantined(&self) -> bool {
        self.tripped_ns != 0 && self.tripped_answer == Response::Quarantine as u8
    }
}

impl Default for Conduct {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_threshold_fits_into_the_ring_and_is_rounded_by_little() {
        for threshold in 1..=u16::MAX {
            let shift = Conduct::stride_shift(threshold);
            let (back, stride) = (usize::from(threshold) - 1, 1usize << shift);
            // From an attempt with the least reach: one before the next recorded.
            assert!(back.div_ceil(stride) < RING_LEN, "{threshold}");
            assert!(shift == 0 || stride * 31 <= usize::from(threshold), "{threshold}: {stride}");
        }
    }
}

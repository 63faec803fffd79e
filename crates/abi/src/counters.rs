//! Counters by slot. Every frame is counted; events are sampled.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::REASON_SLOTS;

/// Packets and bytes (from the Ethernet header on, as the interface counts them).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Count {
    /// Packets; a GSO super-packet counts once.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Count {
    /// Adds, wrapping as the kernel side does.
    pub const fn add(&mut self, other: &Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// All that is counted for one slot on one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counters {
    /// Frames that kept to the binding, and all frames of an endpoint whose mode is off.
    pub allowed: Count,
    /// Frames dropped.
    pub dropped: Count,
    /// Frames that audit mode let pass and `enforce` would have dropped.
    pub audited: Count,
    /// Frames that were dropped, audited or noticed without an event because the sampler was out of tokens.
    pub unsampled: u64,
    /// Events that were due but found the ring buffer full.
    pub lost: u64,
    /// Packets by [`crate::DropReason`] number: dropped, audited and merely noticed ones.
    pub reasons: [u64; REASON_SLOTS],
}

const _: () = assert!(size_of::<Counters>() == 64 + 8 * REASON_SLOTS);

impl Counters {
    /// Adds another CPU's counters.
    pub fn add(&mut self, other: &Self) {
        self.allowed.add(&other.allowed);
        self.dropped.add(&other.dropped);
        self.audited.add(&other.audited);
        self.unsampled = self.unsampled.wrapping_add(other.unsampled);
        self.lost = self.lost.wrapping_add(other.lost);
        for (mine, theirs) in self.reasons.iter_mut().zip(&other.reasons) {
            *mine = mine.wrapping_add(*theirs);
        }
    }
}

/// Token bucket of one slot's events, kept by the kernel programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sampler {
    /// Events that may still be sent.
    pub tokens: u32,
    /// Low bits of the coarse clock at the last look at the fine one.
    pub epoch: u32,
    /// `CLOCK_MONOTONIC` nanoseconds of the last refill.
    pub refilled_ns: u64,
}

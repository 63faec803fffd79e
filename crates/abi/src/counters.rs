//! Counters by slot. Every frame is counted; events are sampled.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DropReason, REASON_SLOTS};

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
    /// Of the frames with a hostile reason, those that were no evidence of intent.
    pub mild: u64,
}

const _: () = assert!(size_of::<Counters>() == 72 + 8 * REASON_SLOTS);

impl Counters {
    /// Length of what layout version 1 had of it: all before `mild`.
    pub const V1_LEN: usize = core::mem::offset_of!(Self, mild);

    /// Hostile attempts: frames that were evidence of intent, those of endpoints without a threshold too.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        let hostile = DropReason::ALL.iter().filter(|reason| reason.is_hostile());
        let packets = hostile.filter_map(|reason| self.reasons.get(usize::from(reason.number())));
        packets.fold(0u64, |sum, count| sum.wrapping_add(*count)).wrapping_sub(self.mild)
    }

    /// Adds another CPU's counters.
    pub fn add(&mut self, other: &Self) {
        self.allowed.add(&other.allowed);
        self.dropped.add(&other.dropped);
        self.audited.add(&other.audited);
        self.unsampled = self.unsampled.wrapping_add(other.unsampled);
        self.mild = self.mild.wrapping_add(other.mild);
        self.lost = self.lost.wrapping_add(other.lost);
        for (mine, theirs) in self.reasons.iter_mut().zip(&other.reasons) {
            *mine = mine.wrapping_add(*theirs);
        }
    }
}

//! What the kernel reports through the ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the frame that an event carries at the most.
pub const CAPTURE_LEN: usize = 128;

/// One frame that broke a binding: sampled, but for those that reached a threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DropEvent {
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub timestamp_ns: u64,
    /// cgroup v2 id of the sending socket; 0 where the frame has none.
    pub cgroup_id: u64,
    /// Socket cookie of the sender; 0 where the frame has none.
    pub socket_cookie: u64,
    /// Inode number of the network namespace of the interface.
    pub netns: u32,
    /// Interface index there.
    pub ifindex: u32,
    /// Counter slot.
    pub slot: u32,
    /// Length of the frame in bytes.
    pub len: u32,
    /// Bytes of `frame` that hold something.
    pub captured: u32,
    /// `DropReason` as a number.
    pub reason: u8,
    /// 1: dropped; 0: passed (audit mode, or merely noticed).
    pub dropped: u8,
    /// 802.1Q tag that the kernel had taken out of the frame, network order; 0 where none.
    pub vlan_tci: [u8; 2],
    /// Hostile attempts since the endpoint was last forgiven or counted anew, this frame included; 0 where
    /// they are not counted.
    pub attempts: u32,
    /// Hostile attempts within the window that are one too many; 0: they are not counted.
    pub threshold: u16,
    /// 1: the frame is evidence of intent, a hostile attempt.
    pub evidence: u8,
    /// Not 0: this frame reached the threshold. [`Self::TRIPPED`] or [`Self::QUARANTINED`].
    pub tripped: u8,
    /// The first bytes of the frame.
    pub frame: [u8; CAPTURE_LEN],
}

const _: () = assert!(size_of::<DropEvent>() == 56 + CAPTURE_LEN);
const _: () = assert!(DropEvent::MONITOR_REASON as usize >= crate::REASON_SLOTS);

impl DropEvent {
    /// [`Self::slot`] of the shield's events, which are of no endpoint. Their [`Self::attempts`] is the number of the
    /// rule's counters and one more (0: no rule), their [`Self::threshold`] the firewall's number.
    pub const SHIELD_SLOT: u32 = u32::MAX;
    /// [`Self::reason`] of a packet that the shield's monitor shows, whatever becomes of it; no
    /// [`crate::DropReason`] has this number.
    pub const MONITOR_REASON: u8 = 0xfe;
    /// [`Self::tripped`]: the threshold was reached, and this is the report.
    pub const TRIPPED: u8 = 1;
    /// [`Self::tripped`]: the threshold was reached, and the kernel has put the endpoint in quarantine.
    pub const QUARANTINED: u8 = 2;
}

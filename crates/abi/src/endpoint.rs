//! What an anchor may claim.

use core::fmt;
use core::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Ipv4, Ipv6, Mac};

/// What becomes of a frame that breaks the endpoint's binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Nothing is verified; frames are counted as allowed.
    Off = 0,
    /// Counted and reported exactly as in `Enforce`, but passed.
    Audit = 1,
    /// Dropped.
    #[default]
    Enforce = 2,
}

impl Mode {
    /// The mode with this number; an unknown number is `Enforce` (fail closed).
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Off,
            1 => Self::Audit,
            _ => Self::Enforce,
        }
    }

    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// On which side of its interface an endpoint's frames are met.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub enum Direction {
    /// The interface is the host side of a pair: frames from the workload come in.
    #[default]
    Ingress,
    /// The interface is the workload's own (bound from inside its namespace, `lo`): frames go out.
    Egress,
}

impl Direction {
    /// The name users see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no [`Mode`] or [`Direction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownWord(&'static str);

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of: {}", self.0)
    }
}
impl core::error::Error for UnknownWord {}

impl FromStr for Mode {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        match s {
            "off" => Ok(Self::Off),
            "audit" => Ok(Self::Audit),
            "enforce" => Ok(Self::Enforce),
            _ => Err(UnknownWord("enforce, audit, off")),
        }
    }
}

impl FromStr for Direction {
    type Err = UnknownWord;
    fn from_str(s: &str) -> Result<Self, UnknownWord> {
        match s {
            "ingress" => Ok(Self::Ingress),
            "egress" => Ok(Self::Egress),
            _ => Err(UnknownWord("ingress, egress")),
        }
    }
}

/// Bits of [`Endpoint::allow`]: what an endpoint may do beyond its bindings, and which
/// further tables hold something for it (a table without an entry is never asked).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allow(pub u32);

impl Allow {
    /// DHCP client: 0.0.0.0:68 to 255.255.255.255:67.
    pub const DHCP_CLIENT: u32 = 1 << 0;
    /// DHCPv4 and DHCPv6 server: UDP from ports 67 and 547.
    pub const DHCP_SERVER: u32 = 1 << 1;
    /// Router advertisements and redirects.
    pub const ROUTER: u32 = 1 << 2;
    /// Frames with any one VLAN tag; what is inside is verified all the same.
    pub const ANY_VLAN: u32 = 1 << 3;
    /// Any ethertype, and spanning tree messages (no other LLC).
    pub const ANY_ETHERTYPE: u32 = 1 << 4;
    /// Encapsulated traffic to node addresses.
    pub const TUNNEL: u32 = 1 << 5;
    /// IPv4 source route options are refused.
    pub const NO_SOURCE_ROUTE: u32 = 1 << 6;
    /// Further MACs are in the further table.
    pub const FURTHER_MAC: u32 = 1 << 16;
    /// Further IPv4 addresses are in the further table.
    pub const FURTHER_IPV4: u32 = 1 << 17;
    /// Further IPv6 addresses (link-local ones too) are in the further table.
    pub const FURTHER_IPV6: u32 = 1 << 18;
    /// IPv4 prefixes are in the prefix table.
    pub const PREFIX_IPV4: u32 = 1 << 19;
    /// IPv6 prefixes are in the prefix table.
    pub const PREFIX_IPV6: u32 = 1 << 20;
    /// Allowed VLAN ids are in the further table.
    pub const FURTHER_VLAN: u32 = 1 << 21;
    /// Allowed ethertypes are in the further table.
    pub const FURTHER_ETHERTYPE: u32 = 1 << 22;

    /// Whether all of `bits` are set.
    #[must_use]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

/// What one anchor may claim: the common case inline, in one cache line.
///
/// Immutable once published, but for `quarantine`, which the kernel sets at the threshold and user space
/// takes back: a change writes a new entry and flips the anchor's index to it, so no frame ever meets half
/// of a change.
///
/// The first eight bytes stand as a frame has them from its Ethernet source on: one comparison of
/// words tells whether the source is this MAC and the ethertype a certain one ([`Self::link_word`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Endpoint {
    /// The first MAC.
    pub mac: Mac,
    /// Not zero: every frame is dropped. [`Self::QUARANTINED`] or [`Self::HELD`].
    pub quarantine: u8,
    /// Zero.
    pub zero: u8,
    /// The first IPv4 address; 0.0.0.0 where none is bound.
    pub ipv4: Ipv4,
    /// Counter slot, stable over changes of the binding; never [`crate::UNBOUND_SLOT`].
    pub slot: u32,
    /// The first global IPv6 address; `::` where none is bound.
    pub ipv6: Ipv6,
    /// The link-local IPv6 address; `::` where IPv6 is not bound.
    pub link_local: Ipv6,
    /// [`Allow`] bits.
    pub allow: u32,
    /// [`Mode`] as a number.
    pub mode: u8,
    /// What the kernel does at the threshold: [`crate::Response`] as a number.
    pub answer: u8,
    /// Hostile attempts within the window that are one too many; 0: they are not counted.
    pub threshold: u16,
    /// The sliding window in milliseconds.
    pub window_ms: u32,
    /// [`crate::Conduct::stride_shift`] of the threshold.
    pub stride_shift: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<Endpoint>() == 64);

impl Endpoint {
    /// [`Self::quarantine`]: every frame from and to the endpoint is dropped as
    /// [`crate::DropReason::Quarantined`].
    pub const QUARANTINED: u8 = 1;
    /// [`Self::quarantine`] of [`crate::HELD_BINDING`]: every frame is dropped as [`crate::DropReason::Unbound`].
    pub const HELD: u8 = 2;

    /// The entry of [`crate::HELD_BINDING`].
    #[must_use]
    pub fn held() -> Self {
        Self {
            quarantine: Self::HELD,
            mode: Mode::Enforce as u8,
            slot: crate::UNBOUND_SLOT,
            ..Self::default()
        }
    }

    /// The same entry with a threshold: so many hostile attempts within so many milliseconds.
    #[must_use]
    pub const fn with_threshold(mut self, threshold: u16, window_ms: u32, answer: crate::Response) -> Self {
        self.threshold = threshold;
        self.window_ms = window_ms;
        self.stride_shift = crate::Conduct::stride_shift(threshold);
        self.answer = answer as u8;
        self
    }

    /// Mode, answer and threshold in one word: what a hostile attempt is counted under.
    #[inline(always)]
    #[must_use]
    pub const fn terms(&self) -> u32 {
        let threshold = self.threshold.to_ne_bytes();
        u32::from_ne_bytes([self.mode, self.answer, threshold[0], threshold[1]])
    }

    /// The mode in such a word.
    #[inline(always)]
    #[must_use]
    pub const fn mode_of(terms: u32) -> Mode {
        Mode::from_number(terms.to_ne_bytes()[0])
    }

    /// Bits of [`Self::link_word`] that are zero unless the endpoint is in quarantine.
    pub const QUARANTINE_WORD: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0xff, 0xff]);

    /// The first eight bytes in memory order, in one load: exclusive-or with those of a frame from its
    /// Ethernet source on, this leaves the ethertype alone where the source is the first MAC. Only for
    /// endpoints that are not in quarantine, whose flag lies in the ethertype's place.
    #[inline(always)]
    #[must_use]
    pub fn link_word(&self) -> u64 {
        u64::read_from_prefix(self.as_bytes()).map_or(u64::MAX, |(word, _)| word)
    }
}

/// What an anchor points to, in one word, so that it changes at once. All zero: no binding, and the
/// slot is [`crate::UNBOUND_SLOT`].
///
/// The slot is the entry's own, copied: a program need not wait for the entry to find its counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Pointer(pub u64);

impl Pointer {
    /// Points to an entry and its counter slot.
    #[must_use]
    pub const fn new(binding: u32, slot: u32) -> Self {
        Self((slot as u64) << 32 | binding as u64)
    }

    /// Index of the [`Endpoint`] entry; 0: none.
    #[inline(always)]
    #[must_use]
    pub const fn binding(self) -> u32 {
        self.0 as u32
    }

    /// Counter slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

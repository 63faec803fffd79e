//! The shield's tables: a firewall's blocklist and rules as the kernel programs read them.
//!
//! Each table is an array of [`Line`]s, one cache line each, that user space fills aside, memory-mapped,
//! and then puts into the place of the one in use: a look-up sees the old table or the new one. In a table that
//! is in use single words are stored at once, in an order in which every look-up sees the old or the new verdict.

pub mod guard;
pub mod list4;
pub mod list6;
pub mod rules;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of all layouts in this module. Pins of the shield live under a directory of this number.
pub const SHIELD_VERSION: u32 = 1;

/// Firewalls that there may be at once, each with lists and rules of its own; the index into the tables of tables.
pub const PROFILES: u32 = 64;

/// Counters of rules, of all firewalls together.
pub const RULE_COUNTERS: u32 = 8192;

/// What a firewall is told beside its lists and rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// Events a second that it may send in the long run.
    pub event_rate: u32,
    /// Events that it may send at once.
    pub event_burst: u32,
    /// Of so many frames, counted by each CPU, the monitor shows one; 0: none. See [`Parts::MONITOR`].
    pub monitor_every: u32,
    /// Zero.
    pub pad: u32,
    /// What its guard is told; see [`Parts::GUARD`].
    pub guard: guard::GuardConfig,
}

/// What a firewall consists of: a word, so that what it does not have costs nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parts(pub u64);

impl Parts {
    /// A blocklist of IPv4 addresses.
    pub const LIST4: u64 = 1;
    /// A blocklist of IPv6 addresses.
    pub const LIST6: u64 = 2;
    /// Rules.
    pub const RULES: u64 = 4;
    /// The flood guard.
    pub const GUARD: u64 = 8;
    /// Frames are shown as they arrive, whatever becomes of them.
    pub const MONITOR: u64 = 16;
}

/// Key of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BucketKey {
    /// The part of the source that tells buckets apart: as [`rules`] has addresses.
    pub source: [u64; 2],
    /// Number of the rule's counters.
    pub rule: u32,
    /// 4 or 6; 0: one bucket for all.
    pub family: u32,
}

/// Key of the trie of addresses that the guard never blocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct ProtectedKey {
    /// Bits that count, from `profile` on: 32 + the prefix length in `address`.
    pub prefix_len: u32,
    /// The firewall.
    pub profile: u32,
    /// The prefix in memory order; IPv4 as `::ffff:a.b.c.d` with 96 added to its length.
    pub address: [u64; 2],
}

impl ProtectedKey {
    /// The key that stores a prefix, of an address as two numbers, the first byte the highest.
    #[inline(always)]
    #[must_use]
    pub const fn prefix(profile: u32, address: [u64; 2], len_bits: u32) -> Self {
        Self { prefix_len: 32 + len_bits, profile, address: [address[0].to_be(), address[1].to_be()] }
    }

    /// The key that asks for one address.
    #[inline(always)]
    #[must_use]
    pub const fn lookup(profile: u32, address: [u64; 2]) -> Self {
        Self::prefix(profile, address, 128)
    }
}

/// Events a second, and at once, that a firewall's monitor may send: a budget of its own, so that what is shown takes
/// nothing from what is reported.
pub const MONITOR_RATE: u32 = 1000;

/// What a firewall may still send of events: its reports, or what its monitor shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Budget {
    /// The kernel's tick when it was last looked at.
    pub tick: u64,
    /// When it was last refilled, in nanoseconds of `CLOCK_MONOTONIC`.
    pub refilled_ns: u64,
    /// Events that may be sent now.
    pub tokens: u64,
}

/// A cache line of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Line(pub [u64; 8]);

const _: () = assert!(size_of::<Line>() == 64);

/// A table that is being written: lines of eight words. Kernel programs may read it meanwhile, so every word is
/// stored at once, in the order of the calls.
pub trait LineStore {
    /// A word; 0 beyond the table's end.
    fn get(&self, line: u32, word: u32) -> u64;

    /// Stores a word; beyond the table's end nothing happens.
    fn set(&mut self, line: u32, word: u32, value: u64);
}

/// A table in ordinary memory: for tests, and where nobody reads it yet.
impl LineStore for [Line] {
    fn get(&self, line: u32, word: u32) -> u64 {
        self.get(line as usize).and_then(|line| line.0.get(word as usize)).copied().unwrap_or(0)
    }

    fn set(&mut self, line: u32, word: u32, value: u64) {
        if let Some(cell) = self.get_mut(line as usize).and_then(|line| line.0.get_mut(word as usize)) {
            *cell = value;
        }
    }
}

/// Which protocols an entry of the blocklist blocks: a set of four kinds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Class(u8);

impl Class {
    /// Blocks nothing.
    pub const NONE: Self = Self(0);
    /// TCP.
    pub const TCP: Self = Self(1);
    /// UDP.
    pub const UDP: Self = Self(2);
    /// ICMP and ICMPv6.
    pub const ICMP: Self = Self(4);
    /// Every other protocol, and packets that hide theirs.
    pub const OTHER: Self = Self(8);
    /// Everything.
    pub const ANY: Self = Self(15);

    /// Of the four bits of a table.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 15)
    }

    /// As a table holds it: four bits.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether it blocks nothing.
    #[inline(always)]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// What either blocks.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The kind that a packet of this IP protocol is of.
    #[inline(always)]
    #[must_use]
    pub const fn of_protocol(protocol: u8) -> Self {
        match protocol {
            6 => Self::TCP,
            17 => Self::UDP,
            1 | 58 => Self::ICMP,
            _ => Self::OTHER,
        }
    }

    /// Whether packets of this IP protocol are blocked.
    #[inline(always)]
    #[must_use]
    pub const fn blocks(self, protocol: u8) -> bool {
        self.0 == Self::ANY.0 || self.0 & Self::of_protocol(protocol).0 != 0
    }
}

/// The address of an entry of the list that measurements are taken with: scattered over all addresses, the same in
/// every run. Entries whose number is a multiple of four are meant as the /24 around it.
#[inline(always)]
#[must_use]
pub const fn sample(entry: u32) -> u32 {
    let mixed = (entry ^ entry >> 16).wrapping_mul(0x7feb_352d);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x846c_a68b);
    mixed ^ mixed >> 16
}

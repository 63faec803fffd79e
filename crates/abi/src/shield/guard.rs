//! The flood guard: what it is told, and what it remembers.
//!
//! All that it remembers is in tables that let go of the least recently used: a flood of forged sources costs them
//! their memory of each other, never memory.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the guard of a firewall is told. Costs and bursts are in ticks ([`super::rules::TICKS_PER_NS`]); a cost of 0
/// turns its limit off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GuardConfig {
    /// What a packet costs its source (IPv4 address, IPv6 /64).
    pub source_cost: u64,
    /// What a source may owe.
    pub source_burst: u64,
    /// What a SYN costs its destination (address and port).
    pub syn_cost: u64,
    /// What a destination may owe of SYNs.
    pub syn_burst: u64,
    /// Handshakes begun within a window, below which their share does not count; 0: it never does.
    pub half_open_least: u32,
    /// Percent of them that may be unfinished.
    pub half_open_share: u32,
    /// Length of that window.
    pub window_ns: u64,
    /// How long a source that went over its limit is blocked; twice as long each time.
    pub block_ns: u64,
    /// The longest block.
    pub block_max_ns: u64,
    /// How long a source must behave for its offences to be forgotten.
    pub forget_ns: u64,
    /// Times that a source goes over its limit before it is blocked.
    pub strikes: u32,
    /// Not 0: only sources that have proved that they are real ([`Source::PROVED`]) are blocked. Others are limited all
    /// the same. Where nothing can be proved (see [`Self::cookies`]) nobody is blocked. What is proved is that the
    /// address is somebody's who gets what is sent there, not who sent the packets that it is blocked for: a forger can
    /// have an address blocked whose owner has proved it while it was remembered.
    pub strict: u32,
    /// Sources that may be blocked at once by this firewall; 0: as many as there is room for. Others are limited all
    /// the same. All firewalls share a table of [`BLOCKS`], which lets the least recently used go, those whose time is
    /// over among them: while the shares of all come to no more than half of it, none goes before its time.
    pub block_most: u32,
    /// Not 0: on XDP (Linux 6.0) the SYNs of a flood are answered, by a SYN-ACK that holds a cookie and leaves no state,
    /// where they would be dropped; sources that have proved that they are real are let pass. The answer to a cookie is
    /// taken by listeners of this machine, in any namespace, with `net.ipv4.tcp_syncookies=2`, that were sent a SYN within
    /// the last two minutes (those within the limit are), and are found by the packet's own address and port: not by those
    /// behind NAT or on other machines, which reset the connection. Answers
    /// have no TCP option but the segment size. What has tags, IP options or extension headers is not answered, and
    /// stands as without cookies.
    pub cookies: u32,
}

/// Prefixes that there is room for which guards never block, of all firewalls together.
pub const PROTECTED: u32 = 65_536;

/// Blocks that there is room for, of all firewalls together.
pub const BLOCKS: u32 = 32_768;

/// How many sources a firewall has blocked, never too low: those whose time is over count until two of its longest
/// blocks have gone by, or until user space has counted them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlockCount {
    /// When [`Self::recent`] began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since_ns: u64,
    /// Blocks that have begun since.
    pub recent: u32,
    /// Blocks that had begun before, of those that may still hold.
    pub earlier: u32,
}

/// A source, or a destination, of one firewall.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PeerKey {
    /// The address as two numbers, as [`super::rules`] has it; of IPv6 sources the first 64 bits.
    pub address: [u64; 2],
    /// The firewall.
    pub profile: u32,
    /// 4 or 6.
    pub family: u16,
    /// Destination port; of sources 0.
    pub port: u16,
}

/// What is remembered of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Source {
    /// Its bucket: when it will be empty again, in ticks.
    pub bucket: u64,
    /// When it last went over its limit, in nanoseconds of `CLOCK_MONOTONIC`.
    pub struck_ns: u64,
    /// How often, since the last block.
    pub strikes: u32,
    /// [`Self::BEGAN`], [`Self::ANSWERED`], [`Self::PROVED`], [`Self::ASKED`].
    pub flags: u32,
}

impl Source {
    /// It has begun a handshake.
    pub const BEGAN: u32 = 1;
    /// It has gone on with one, or seems so: anybody can send an ACK.
    pub const ANSWERED: u32 = 2;
    /// It has proved that it is real: an ACK of it had a cookie of this machine, ours or a listener's
    /// (`net.ipv4.tcp_syncookies=2`), which only who gets what is sent to the address knows. Nothing else is a proof, so
    /// there is none without [`GuardConfig::cookies`], before Linux 6.0, or at tc.
    pub const PROVED: u32 = 4;
    /// It was sent a cookie of ours.
    pub const ASKED: u32 = 8;
}

/// A source that is blocked for a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Block {
    /// Until when, in nanoseconds of `CLOCK_MONOTONIC`.
    pub until_ns: u64,
    /// Since when.
    pub since_ns: u64,
    /// Blocks one after the other, this one included.
    pub offences: u32,
    /// A [`crate::DropReason`]'s number: what for.
    pub reason: u32,
}

/// What is remembered of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Destination {
    /// Its bucket of SYNs, in ticks.
    pub bucket: u64,
    /// When the window began, in nanoseconds of `CLOCK_MONOTONIC`.
    pub window_ns: u64,
    /// Handshakes begun in it.
    pub begun: u32,
    /// Handshakes gone on with in it.
    pub answered: u32,
}

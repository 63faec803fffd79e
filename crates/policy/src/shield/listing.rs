//! What a list says of a prefix.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use portcullis_abi::shield::Class;
use thiserror::Error;

/// What the lists together say of one prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Listing {
    /// Never blocked, whatever else is listed.
    pub allow: bool,
    /// Whom it blocks.
    pub block: Class,
}

impl Listing {
    /// Says nothing: no entry.
    pub const NOTHING: Self = Self { allow: false, block: Class::NONE };
    /// An entry of the allowlist.
    pub const ALLOW: Self = Self { allow: true, block: Class::NONE };
    /// An entry that blocks everything.
    pub const BLOCK: Self = Self::block(Class::ANY);

    /// An entry that blocks these protocols.
    #[must_use]
    pub const fn block(class: Class) -> Self {
        Self { allow: false, block: class }
    }

    /// Whether it says nothing.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        !self.allow && self.block.is_none()
    }

    /// What both say of the same prefix.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self { allow: self.allow || other.allow, block: self.block.union(other.block) }
    }

    pub(crate) const fn bits(self) -> u8 {
        (self.allow as u8) << 7 | self.block.bits()
    }

    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self { allow: bits & 0x80 != 0, block: Class::from_bits(bits) }
    }
}

/// An IPv4 prefix: no bit is set beyond its length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix4 {
    address: u32,
    len: u8,
}

impl Prefix4 {
    /// The prefix of this length that holds an address; a length over 32 counts as 32.
    #[must_use]
    pub const fn of(address: u32, len: u8) -> Self {
        let len = if len > 32 { 32 } else { len };
        Self { address: address & mask(len), len }
    }

    /// Its first address, as a number.
    #[must_use]
    pub const fn address(self) -> u32 {
        self.address
    }

    /// Its length in bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.len
    }

    /// Whether it holds every address there is.
    #[must_use]
    pub const fn is_everything(self) -> bool {
        self.len == 0
    }

    /// Whether an address is one of it.
    #[must_use]
    pub const fn contains(self, address: u32) -> bool {
        address & mask(self.len) == self.address
    }
}

const fn mask(len: u8) -> u32 {
    match len {
        0 => 0,
        1..32 => u32::MAX << (32 - len),
        _ => u32::MAX,
    }
}

impl fmt::Display for Prefix4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.address), self.len)
    }
}

/// An IPv6 prefix: no bit is set beyond its length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix6 {
    address: u128,
    len: u8,
}

impl Prefix6 {
    /// The prefix of this length that holds an address; a length over 128 counts as 128.
    #[must_use]
    pub const fn of(address: u128, len: u8) -> Self {
        let len = if len > 128 { 128 } else { len };
        Self { address: address & mask6(len), len }
    }

    /// Its first address, as a number.
    #[must_use]
    pub const fn address(self) -> u128 {
        self.address
    }

    /// Its length in bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.len
    }

    /// Whether it holds every address there is.
    #[must_use]
    pub const fn is_everything(self) -> bool {
        self.len == 0
    }

    /// Whether an address is one of it.
    #[must_use]
    pub const fn contains(self, address: u128) -> bool {
        address & mask6(self.len) == self.address
    }

    /// Its last address.
    #[must_use]
    pub const fn last(self) -> u128 {
        self.address | !mask6(self.len)
    }
}

const fn mask6(len: u8) -> u128 {
    match len {
        0 => 0,
        1..128 => u128::MAX << (128 - len),
        _ => u128::MAX,
    }
}

impl fmt::Display for Prefix6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv6Addr::from_bits(self.address), self.len)
    }
}

/// A change that cannot be made in the table in use: the list has to be compiled aside, into a fresh one. Where
/// that does not work either, the list is too large.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the table of the blocklist has no room for this")]
pub struct NotInPlace;

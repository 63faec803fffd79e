//! The blocklist of IPv6 addresses: what is where in its table.
//!
//! Entries are found by hashing the address's first bits, once for each length that the list has, the longest
//! first. Before that one bit is looked at, of the hash of the first 32 bits: most sources have nothing listed near
//! them. The table is as long as its list needs.
//!
//! | lines | what |
//! |---|---|
//! | 1 | header: word 0 the masks of filter and buckets, word 1 how many lengths, word 2 those below 32 bits |
//! | 3 | the lengths, eight in each word, the longest first |
//! | a power of two | filter: a bit for the hash of the first 32 bits of each entry that is as long |
//! | a power of two | buckets of three entries: 16 bytes of address, 4 of length and class; and a neighbour |

use super::Class;
use super::list4::Place;

/// Line of the lengths.
pub const LENGTHS_AT: u32 = 1;
/// Line of the filter.
pub const FILTER_AT: u32 = 4;
/// Entries in a bucket.
pub const PER_BUCKET: u32 = 3;
/// Buckets that are searched from the first on.
pub const PROBES: u32 = 16;
/// Lengths of 128 bits and less.
pub const LENGTHS: u32 = 129;

/// How large a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// Lines of the filter, less one.
    pub filter_mask: u32,
    /// Buckets, less one.
    pub bucket_mask: u32,
}

impl Shape {
    /// For so many entries.
    #[must_use]
    pub const fn of(entries: u32) -> Self {
        // Half full at the most; sixteen bits of the filter for each entry.
        let buckets = (entries / 2 + 8).next_power_of_two();
        let filter = (entries / 32 + 1).next_power_of_two();
        Self { filter_mask: filter - 1, bucket_mask: buckets - 1 }
    }

    /// From the header's first word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { filter_mask: word as u32, bucket_mask: (word >> 32) as u32 }
    }

    /// The header's first word.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.filter_mask as u64 | (self.bucket_mask as u64) << 32
    }

    /// Lines of the table.
    #[must_use]
    pub const fn lines(self) -> u32 {
        FILTER_AT + self.filter_mask + 1 + self.bucket_mask + 1
    }

    /// The filter's bit for an address.
    #[inline(always)]
    #[must_use]
    pub const fn filter_at(self, high: u64) -> Place {
        let hash = mix((high >> 32).wrapping_add(0x51_7cc1));
        Place {
            line: FILTER_AT + ((hash >> 40) as u32 & self.filter_mask),
            word: (hash >> 32) as u32 & 7,
            shift: hash as u32 & 63,
        }
    }

    /// The line of a bucket: of the prefix's first one, and those behind it.
    #[inline(always)]
    #[must_use]
    pub const fn bucket_at(self, high: u64, low: u64, len: u32, probe: u32) -> u32 {
        let hash = mix(high ^ mix(low ^ len as u64));
        let bucket = ((hash >> 32) as u32).wrapping_add(probe) & self.bucket_mask;
        FILTER_AT + self.filter_mask + 1 + bucket
    }
}

/// In the place of an entry that was removed, until no program reads it any more.
pub const REMOVED: u32 = 1 << 30;

/// The half word of an entry that tells length and class; 0: no entry.
#[inline(always)]
#[must_use]
pub const fn meta(len: u32, class: Class) -> u32 {
    1 << 31 | (len & 0xff) << 8 | class.bits() as u32
}

/// The length in it.
#[inline(always)]
#[must_use]
pub const fn meta_len(meta: u32) -> u32 {
    (meta >> 8) & 0xff
}

/// The class in it.
#[inline(always)]
#[must_use]
pub const fn meta_class(meta: u32) -> Class {
    Class::from_bits(meta as u8)
}

/// The first bits of an address.
#[inline(always)]
#[must_use]
pub const fn truncated(high: u64, low: u64, len: u32) -> (u64, u64) {
    match len {
        0 => (0, 0),
        1..64 => (high & u64::MAX << (64 - len), 0),
        64 => (high, 0),
        65..128 => (high, low & u64::MAX << (128 - len)),
        _ => (high, low),
    }
}

#[inline(always)]
const fn mix(value: u64) -> u64 {
    let mixed = (value ^ value >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

//! The firewall's rules: what is where in their table.
//!
//! Classification by bit vectors: of each field (source, destination, port, kind) the values fall into *classes*
//! that no rule tells apart, and each class has a vector with a bit for every rule that it satisfies. The rules that
//! a packet meets are the conjunction of four vectors; a class's word carries, beside the vector's number, sixteen
//! bits that say which of its words are not zero, so that mostly one word of each is read.
//!
//! A *kind* is protocol, fragment, and TCP flags or ICMP type, in one number.
//!
//! | lines | what |
//! |---|---|
//! | 1 | header: [`HAS_LOG`] |
//! | 2 + 2 | vectors of the rules that decide, and of those that only log |
//! | 512 | the rules |
//! | 4,096 + 4,096 | IPv4 source and destination, by the first 16 bits: a class, or where to search |
//! | 4,096 | destination port → class |
//! | 192 | kind → class |
//! | 320 + 320 | boundaries of IPv4 source and destination: first address and class |
//! | 1,280 + 1,280 | the same of IPv6 |
//! | 20,480 | vectors, two lines each |
//! | 13,312 | tables by the third byte, of /16s with many boundaries, sixteen lines each |

use super::list4::Place;

/// Rules that a firewall may have.
pub const RULES: u32 = 1024;
/// Words of a vector.
pub const VECTOR_WORDS: u32 = RULES / 64;
/// Boundaries of a field that there is room for: two of each prefix, and the first address.
pub const BOUNDARIES: u32 = 2560;
/// Vectors that there is room for.
pub const VECTORS: u32 = 10_240;
/// Tables by the third byte that there is room for: two ends, each with 2,049 boundaries at the most.
pub const TABLES: u32 = 832;
/// A /16 with more boundaries than this has such a table.
pub const FEW_BOUNDARIES: u32 = 5;
/// Kinds that there are.
pub const KINDS: u32 = 3 * 4 * 256;

const WORDS32: u32 = 16;
/// The header's line.
pub const HEADER_AT: u32 = 0;
/// In the header's first word: there are rules that only log.
pub const HAS_LOG: u64 = 1;
/// Line of the vector of rules that decide.
pub const DECIDING_AT: u32 = 1;
/// Line of the vector of rules that only log.
pub const LOGGING_AT: u32 = 3;
const RULES_AT: u32 = 5;
const SOURCE4_AT: u32 = RULES_AT + RULES / 2;
const DESTINATION4_AT: u32 = SOURCE4_AT + (1 << 16) / WORDS32;
const PORT_AT: u32 = DESTINATION4_AT + (1 << 16) / WORDS32;
const KIND_AT: u32 = PORT_AT + (1 << 16) / WORDS32;
const SOURCE4_BOUNDARIES_AT: u32 = KIND_AT + KINDS / WORDS32;
const DESTINATION4_BOUNDARIES_AT: u32 = SOURCE4_BOUNDARIES_AT + BOUNDARIES / 8;
const SOURCE6_AT: u32 = DESTINATION4_BOUNDARIES_AT + BOUNDARIES / 8;
const DESTINATION6_AT: u32 = SOURCE6_AT + BOUNDARIES / 2;
const VECTORS_AT: u32 = DESTINATION6_AT + BOUNDARIES / 2;
const TABLES_AT: u32 = VECTORS_AT + VECTORS * 2;
/// Lines of a table.
pub const LINES: u32 = TABLES_AT + TABLES * 16;

/// Which end of a packet an address is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl End {
    #[inline(always)]
    const fn pick(self, source: u32, destination: u32) -> u32 {
        match self {
            Self::Source => source,
            Self::Destination => destination,
        }
    }
}

/// A class: the number of its vector, and which words of it are not zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassWord(pub u32);

impl ClassWord {
    /// Of the table of the first 16 bits: not a class, but where to search.
    const SEARCH: u32 = 1 << 15;
    /// The same: not a class, but a table by the third byte.
    const TABLE: u32 = 1 << 14;

    /// The class of a vector.
    #[must_use]
    pub const fn new(vector: u32, summary: u16) -> Self {
        Self((summary as u32) << 16 | vector & 0x3fff)
    }

    /// To be found among `count` boundaries from `first` on.
    #[must_use]
    pub const fn search(first: u32, count: u32) -> Self {
        Self(first << 16 | Self::SEARCH | count & 0x0fff)
    }

    /// To be found in a table by the third byte.
    #[must_use]
    pub const fn table(number: u32) -> Self {
        Self(number << 16 | Self::TABLE)
    }

    /// The number of the table by the third byte, if it is such.
    #[inline(always)]
    #[must_use]
    pub const fn to_table(self) -> Option<u32> {
        if self.0 & (Self::SEARCH | Self::TABLE) == Self::TABLE { Some(self.0 >> 16) } else { None }
    }

    /// Where to search, if it is no class: the first boundary, and how many there are.
    #[inline(always)]
    #[must_use]
    pub const fn to_search(self) -> Option<(u32, u32)> {
        if self.0 & Self::SEARCH == 0 { None } else { Some((self.0 >> 16, self.0 & 0x0fff)) }
    }

    /// Which words of the vector are not zero.
    #[inline(always)]
    #[must_use]
    pub const fn summary(self) -> u32 {
        self.0 >> 16
    }

    /// The vector's number.
    #[inline(always)]
    #[must_use]
    pub const fn vector(self) -> u32 {
        self.0 & 0x3fff
    }
}

#[inline(always)]
const fn word32(base: u32, index: u32) -> Place {
    Place { line: base + index / WORDS32, word: (index / 2) & 7, shift: (index & 1) * 32 }
}

/// The class word of an IPv4 address, by its first 16 bits.
#[inline(always)]
#[must_use]
pub const fn address4_at(end: End, first16: u32) -> Place {
    word32(end.pick(SOURCE4_AT, DESTINATION4_AT), first16 & 0xffff)
}

/// The class word of an IPv4 address, by its third byte.
#[inline(always)]
#[must_use]
pub const fn table_at(number: u32, third: u32) -> Place {
    word32(TABLES_AT + number * 16, third & 0xff)
}

/// A boundary of IPv4: first address in the upper half of the word, class word in the lower.
#[inline(always)]
#[must_use]
pub const fn boundary4_at(end: End, index: u32) -> Place {
    let base = end.pick(SOURCE4_BOUNDARIES_AT, DESTINATION4_BOUNDARIES_AT);
    Place { line: base + index / 8, word: index & 7, shift: 0 }
}

/// A boundary of IPv6: the first of three words (two of the first address, then the class word).
#[inline(always)]
#[must_use]
pub const fn boundary6_at(end: End, index: u32) -> Place {
    let base = end.pick(SOURCE6_AT, DESTINATION6_AT);
    Place { line: base + index / 2, word: (index & 1) * 4, shift: 0 }
}

/// In the header: how many boundaries of IPv6 there are.
#[inline(always)]
#[must_use]
pub const fn boundaries6_at(end: End) -> Place {
    Place { line: HEADER_AT, word: end.pick(1, 2), shift: 0 }
}

/// The class word of a destination port.
#[inline(always)]
#[must_use]
pub const fn port_at(port: u16) -> Place {
    word32(PORT_AT, port as u32)
}

/// The class word of a kind.
#[inline(always)]
#[must_use]
pub const fn kind_at(kind: u32) -> Place {
    word32(KIND_AT, kind)
}

/// The kind of a packet: fragment as its number, and of TCP the flags, of ICMP the type, of others the protocol.
#[inline(always)]
#[must_use]
pub const fn kind_of(protocol: u8, fragment: u8, detail: u8) -> u32 {
    let (group, number) = match protocol {
        6 => (1, detail),
        1 => (2, detail),
        58 => (3, detail),
        other => (0, other),
    };
    ((fragment as u32 % 3) * 4 + group) << 8 | number as u32
}

/// What a kind is: protocol, fragment, detail.
#[must_use]
pub const fn kind_from(kind: u32) -> (u8, u8, u8) {
    let (fragment, group, number) = ((kind >> 10) as u8, (kind >> 8) & 3, kind as u8);
    match group {
        1 => (6, fragment, number),
        2 => (1, fragment, number),
        3 => (58, fragment, number),
        _ => (number, fragment, 0),
    }
}

/// A word of a vector.
#[inline(always)]
#[must_use]
pub const fn vector_at(vector: u32, word: u32) -> Place {
    mask_at(VECTORS_AT + vector * 2, word)
}

/// A word of a vector that begins with this line.
#[inline(always)]
#[must_use]
pub const fn mask_at(line: u32, word: u32) -> Place {
    Place { line: line + (word >> 3 & 1), word: word & 7, shift: 0 }
}

/// The first of a rule's four words: see [`Action`].
#[inline(always)]
#[must_use]
pub const fn rule_at(rule: u32) -> Place {
    Place { line: RULES_AT + (rule & (RULES - 1)) / 2, word: (rule & 1) * 4, shift: 0 }
}

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Verb {
    /// Lets pass.
    Pass = 0,
    /// Drops.
    Drop = 1,
    /// Lets pass what is within a rate, drops the rest.
    Limit = 2,
    /// Reports, and decides nothing.
    Log = 3,
}

/// What a rule does, as its first word says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Action {
    /// What to do.
    pub verb: Verb,
    /// Report it, too (sampled).
    pub report: bool,
    /// The rate counts bytes, not packets.
    pub by_bytes: bool,
    /// Number of its counters, which it keeps when other rules come and go.
    pub counter: u16,
    /// Bits of the source that tell buckets apart, of IPv4; 0: one bucket for all.
    pub per_source4: u8,
    /// The same of IPv6.
    pub per_source6: u8,
}

impl Action {
    /// As a table holds it.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.verb as u64
            | (self.report as u64) << 2
            | (self.by_bytes as u64) << 3
            | (self.per_source4 as u64) << 8
            | (self.per_source6 as u64) << 16
            | (self.counter as u64) << 32
    }

    /// From a table.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self {
            verb: match word & 3 {
                0 => Verb::Pass,
                1 => Verb::Drop,
                2 => Verb::Limit,
                _ => Verb::Log,
            },
            report: word & 4 != 0,
            by_bytes: word & 8 != 0,
            counter: (word >> 32) as u16,
            per_source4: (word >> 8) as u8,
            per_source6: (word >> 16) as u8,
        }
    }
}

/// Ticks of a nanosecond, in which rates and buckets count.
pub const TICKS_PER_NS: u64 = 64;

/// A rate as its rule's second and third word say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Ticks that a packet or byte takes.
    pub cost: u64,
    /// Ticks that may be owed: what a burst takes.
    pub burst: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_follow_each_other() {
        assert_eq!(rule_at(RULES - 1).line + 1, SOURCE4_AT);
        assert_eq!(address4_at(End::Destination, 0xffff).line + 1, PORT_AT);
        assert_eq!(port_at(u16::MAX).line + 1, KIND_AT);
        assert_eq!(kind_at(KINDS - 1).line + 1, SOURCE4_BOUNDARIES_AT);
        assert_eq!(boundary4_at(End::Destination, BOUNDARIES - 1).line + 1, SOURCE6_AT);
        assert_eq!(boundary6_at(End::Destination, BOUNDARIES - 1).line + 1, VECTORS_AT);
        assert_eq!(vector_at(VECTORS - 1, 15).line + 1, TABLES_AT);
        assert_eq!(table_at(TABLES - 1, 255).line + 1, LINES);
        const { assert!(LINES * 64 < 4 << 20) };
    }

    #[test]
    fn kinds_and_actions_are_read_as_they_are_written() {
        for kind in 0..KINDS {
            let (protocol, fragment, detail) = kind_from(kind);
            // Those three protocols are never of the first group.
            if (kind >> 8) & 3 != 0 || !matches!(protocol, 1 | 6 | 58) {
                assert_eq!(kind_of(protocol, fragment, detail), kind);
            }
        }
        let action = Action {
            verb: Verb::Limit,
            report: true,
            by_bytes: true,
            counter: 65_000,
            per_source4: 24,
            per_source6: 64,
        };
        assert_eq!(Action::from_word(action.word()), action);
        assert_eq!(ClassWord::search(2049, 2050).to_search(), Some((2049, 2050)));
        assert_eq!(ClassWord::new(10_239, 0x8001).to_search(), None);
        assert_eq!(ClassWord::new(10_239, 0x8001).to_table(), None);
        assert_eq!(ClassWord::table(831).to_table(), Some(831));
        assert_eq!(ClassWord::search(2049, 2050).to_table(), None);
        assert_eq!(ClassWord::new(10_239, 0x8001).summary(), 0x8001);
    }
}

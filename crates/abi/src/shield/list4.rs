//! The blocklist of IPv4 addresses: what is where in its table.
//!
//! A *cell* is a /24, and two bits say what there is to know about it. Most sources meet [`State::Clear`] in one
//! cache line of 4 MB. Single addresses stand behind [`State::Hosts`] in lines of 32 *tags*: the mixing of an
//! address into (line, tag) can be undone, so 16 bits tell it from all others. Whatever is less common is behind
//! [`State::Records`]: bitmaps of 256 addresses, shared by all cells that look alike, each for one [`Class`].
//!
//! | lines | what |
//! |---|---|
//! | 1 | header: word 0 is the favoured class, that of whole cells and of tags |
//! | 65,536 | cells, two bits each |
//! | 65,536 | tags of single addresses, 32 in each line |
//! | 131,072 | records, 16 in each line: cell → (class, bitmap) |
//! | 32,768 | bitmaps, two in each line |
//! | 512 | class of whole /16s, four bits each: of cells with [`State::Records`] that have none |
//! | 8,192 | filter: a bit for each /22, set where a cell of it may not be clear. It is asked first: 512 KB that stay in a near cache answer four of five sources |

use super::Class;

/// The header's line.
pub const HEADER_AT: u32 = 0;
/// Line of the first cells.
pub const CELLS_AT: u32 = 1;
/// Line of the first tags.
pub const TAGS_AT: u32 = CELLS_AT + (1 << 16);
/// Line of the first records.
pub const RECORDS_AT: u32 = TAGS_AT + (1 << 16);
/// Line of the first bitmaps.
pub const BITMAPS_AT: u32 = RECORDS_AT + (1 << RECORD_LINE_BITS);
/// Line of the first classes of whole /16s.
pub const WIDE_AT: u32 = BITMAPS_AT + BITMAPS / 2;
/// Line of the filter.
pub const FILTER_AT: u32 = WIDE_AT + (1 << 16) / 128;
/// Lines of a table.
pub const LINES: u32 = FILTER_AT + (CELLS >> 11);
/// Cells that share a bit of the filter: a /22.
pub const CELLS_PER_BIT: u32 = 4;

/// Bitmaps that there is room for.
pub const BITMAPS: u32 = 1 << 16;
/// Cells that there are.
pub const CELLS: u32 = 1 << 24;
/// Records in a line.
pub const RECORDS_PER_LINE: u32 = 16;

const RECORD_LINE_BITS: u32 = 17;
const RECORD_TAG_BITS: u32 = 24 - RECORD_LINE_BITS;
const TAG_BITS: u32 = 16;

/// What there is to know about a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Nothing is blocked.
    Clear = 0,
    /// All of it is, by the favoured class.
    Whole = 1,
    /// The addresses whose tags are there are, by the favoured class.
    Hosts = 2,
    /// See the records.
    Records = 3,
}

impl State {
    /// Of the two bits in the table.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Clear,
            1 => Self::Whole,
            2 => Self::Hosts,
            _ => Self::Records,
        }
    }
}

/// Where a bit field stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Line of the table.
    pub line: u32,
    /// Word in the line.
    pub word: u32,
    /// Lowest bit in the word.
    pub shift: u32,
}

/// Where a cell's two bits are.
#[inline(always)]
#[must_use]
pub const fn cell_at(cell: u32) -> Place {
    Place { line: CELLS_AT + ((cell >> 8) & 0xffff), word: (cell >> 5) & 7, shift: (cell & 31) * 2 }
}

/// Where the filter's bit of a cell is.
#[inline(always)]
#[must_use]
pub const fn filter_at(cell: u32) -> Place {
    Place { line: FILTER_AT + ((cell >> 11) & 0x1fff), word: (cell >> 8) & 7, shift: (cell >> 2) & 63 }
}

/// Where the class of a whole /16 is: four bits.
#[inline(always)]
#[must_use]
pub const fn wide_at(cell: u32) -> Place {
    let wide = (cell >> 8) & 0xffff;
    Place { line: WIDE_AT + (wide >> 7), word: (wide >> 4) & 7, shift: (wide & 15) * 4 }
}

/// The line of an address's tag, and the tag. No tag: 0, which no line can hold.
#[inline(always)]
#[must_use]
pub const fn tag_of(address: u32) -> (u32, u16) {
    // Each step can be undone, so no two addresses come to the same line and tag.
    let mixed = address.wrapping_mul(0x9e37_79b1);
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca77);
    let mixed = mixed ^ (mixed >> 13);
    (TAGS_AT + (mixed >> TAG_BITS), mixed as u16)
}

/// A record: which addresses of a cell a class blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Record(pub u32);

impl Record {
    const USED: u32 = 1 << 31;
    const CHOICE_SHIFT: u32 = 29;
    const KEY_SHIFT: u32 = Self::CHOICE_SHIFT - RECORD_TAG_BITS;
    const CLASS_SHIFT: u32 = 16;
    /// What is left of a record that was removed: its line may have been full.
    pub const REMOVED: Self = Self(1);

    /// Whether it is one.
    #[must_use]
    pub const fn is_used(self) -> bool {
        self.0 & Self::USED != 0
    }

    /// The record of a key.
    #[must_use]
    pub const fn new(key: u32, class: Class, bitmap: u32) -> Self {
        Self(key << Self::KEY_SHIFT | (class.bits() as u32) << Self::CLASS_SHIFT | bitmap & 0xffff)
    }

    /// Which cell it is of, within a line.
    #[inline(always)]
    #[must_use]
    pub const fn key(self) -> u32 {
        self.0 >> Self::KEY_SHIFT
    }

    /// Whom it blocks.
    #[inline(always)]
    #[must_use]
    pub const fn class(self) -> Class {
        Class::from_bits((self.0 >> Self::CLASS_SHIFT) as u8)
    }

    /// Where its bitmap has the bit of the cell's address that ends with this byte.
    #[inline(always)]
    #[must_use]
    pub const fn bit_at(self, host: u8) -> Place {
        bitmap_at(self.0 & 0xffff, host as u32)
    }
}

/// Where a bitmap has a bit.
#[inline(always)]
#[must_use]
pub const fn bitmap_at(bitmap: u32, host: u32) -> Place {
    Place {
        line: BITMAPS_AT + ((bitmap & 0xffff) >> 1),
        word: (bitmap & 1) * 4 + ((host >> 6) & 3),
        shift: host & 63,
    }
}

/// Lines that a cell's records may be in.
pub const CHOICES: u32 = 4;

/// Where a cell's records are: in a line of its own, or where that is full in one of its neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Home {
    /// The line.
    pub line: u32,
    /// What the keys of the cell's records are there.
    pub key: u32,
}

/// The first choice.
#[inline(always)]
#[must_use]
pub const fn home_of(cell: u32) -> Home {
    const MASK: u32 = CELLS - 1;
    let mixed = cell.wrapping_mul(0x009e_3779) & MASK;
    let mixed = (mixed ^ (mixed >> 11)).wrapping_mul(0x0085_ebcb) & MASK;
    let mixed = mixed ^ (mixed >> 13);
    let key = Record::USED | (mixed & ((1 << RECORD_TAG_BITS) - 1)) << Record::KEY_SHIFT;
    Home { line: RECORDS_AT + (mixed >> RECORD_TAG_BITS), key: key >> Record::KEY_SHIFT }
}

impl Home {
    /// The line of this choice, from 0 on, the first, and what the keys are there.
    #[inline(always)]
    #[must_use]
    pub const fn choice(self, number: u32) -> Self {
        let number = number % CHOICES;
        let line = RECORDS_AT + ((self.line - RECORDS_AT) ^ number);
        Self { line, key: self.key | number << Record::CHOICE_SHIFT >> Record::KEY_SHIFT }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;

    #[test]
    fn regions_follow_each_other() {
        assert_eq!(cell_at(CELLS - 1).line + 1, TAGS_AT);
        assert_eq!(bitmap_at(BITMAPS - 1, 255).line + 1, WIDE_AT);
        assert_eq!(wide_at(CELLS - 1).line + 1, FILTER_AT);
        assert_eq!(filter_at(CELLS - 1).line + 1, LINES);
        assert!(LINES as usize * 64 < 20 << 20);
    }

    #[test]
    fn every_cell_has_its_own_home() {
        let mut seen = vec![0u64; (CELLS / 64) as usize];
        for cell in 0..CELLS {
            let home = home_of(cell);
            assert!((RECORDS_AT..BITMAPS_AT).contains(&home.line));
            let number =
                (home.line - RECORDS_AT) << RECORD_TAG_BITS | home.key & ((1 << RECORD_TAG_BITS) - 1);
            seen[(number / 64) as usize] |= 1 << (number % 64);
            assert_ne!(home.choice(1).key, home.key);
        }
        assert!(seen.iter().all(|word| *word == u64::MAX));
    }

    #[test]
    fn addresses_spread_and_are_told_apart() {
        // 65,536 addresses of one /16: a line holds 32 of 65,536 lines' tags.
        let mut fill = vec![0u8; 1 << 16];
        for address in 0x0a00_0000u32..0x0a01_0000 {
            let (line, _) = tag_of(address);
            fill[(line - TAGS_AT) as usize] += 1;
        }
        assert!(fill.iter().all(|n| *n <= 12));
        // Undone: the steps of the mixing are multiplications by odd numbers and shifts.
        let (a, b) = (tag_of(0x0102_0304), tag_of(0x0102_0305));
        assert_ne!(a, b);
    }
}

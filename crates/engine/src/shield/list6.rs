//! Looking an IPv6 address up in the blocklist ([`layout`]).

use portcullis_abi::shield::Class;
use portcullis_abi::shield::list6::{self as layout, Shape};

use super::{Lines, Row};

/// Whom an address's entry blocks; `high` is the first half of the address, its first byte the highest. `find` is
/// [`class_by_len`] of the address, which in the kernel is a function of its own.
#[inline(always)]
pub fn class_of<L: Lines>(list: &L, high: u64, find: impl Fn(u32) -> Option<Class>) -> Class {
    let Some(header) = list.row(0) else {
        return Class::NONE;
    };
    let shape = Shape::from_word(header.word(0));
    let near = list.field(shape.filter_at(high)).is_some_and(|field| field & 1 != 0);
    // Those shorter than 32 bits are behind the others, and are looked for in any case.
    let lengths = header.word(1) as u32;
    let from = if near { 0 } else { header.word(2) as u32 };
    for index in 0..layout::LENGTHS {
        let index = from + index;
        if index >= lengths || index >= layout::LENGTHS {
            break;
        }
        let Some(row) = list.row(layout::LENGTHS_AT + index / 64) else {
            break;
        };
        let len = (row.word_at(index / 8) >> (index % 8 * 8)) as u8;
        if let Some(class) = find(u32::from(len)) {
            return class;
        }
    }
    Class::NONE
}

/// The entry of exactly the address's first `len` bits.
#[inline(always)]
pub fn class_by_len<L: Lines>(list: &L, high: u64, low: u64, len: u32) -> Option<Class> {
    let shape = Shape::from_word(list.row(0)?.word(0));
    let (high, low) = layout::truncated(high, low, len);
    for probe in 0..layout::PROBES {
        let row = list.row(shape.bucket_at(high, low, len, probe))?;
        // Three entries of two words, then three half words.
        let metas = [row.word(6) as u32, (row.word(6) >> 32) as u32, row.word(7) as u32];
        for slot in 0..layout::PER_BUCKET {
            let meta = metas[slot as usize % 3];
            if meta >> 31 != 0
                && layout::meta_len(meta) == len
                && row.word(slot * 2) == high
                && row.word(slot * 2 + 1) == low
            {
                return Some(layout::meta_class(meta));
            }
        }
        // The upper half of the last word: entries went on to the next bucket.
        if row.word(7) >> 32 == 0 {
            return None;
        }
    }
    None
}

//! Looking an IPv4 address up in the blocklist ([`layout`]).

use portcullis_abi::shield::Class;
use portcullis_abi::shield::list4::{self as layout, Home, Record, State};

use super::{Lines, Row};

/// Whom an address's entry blocks; [`Class::NONE`] where it is not listed, or is allowed. The address is a number,
/// its first byte the highest. `from_records` is [`class_by_records`], which in the kernel is a function of its own.
#[inline(always)]
pub fn class_of<L: Lines>(list: &L, address: u32, from_records: impl FnOnce(u32) -> Class) -> Class {
    let cell = address >> 8;
    if list.field(layout::filter_at(cell)).is_none_or(|field| field & 1 == 0) {
        return Class::NONE;
    }
    let Some(field) = list.field(layout::cell_at(cell)) else {
        return Class::NONE;
    };
    match State::from_bits(field) {
        State::Clear => Class::NONE,
        State::Whole => favoured(list),
        State::Hosts if has_tag(list, address) => favoured(list),
        State::Hosts => Class::NONE,
        State::Records => from_records(address),
    }
}

#[inline(always)]
fn favoured<L: Lines>(list: &L) -> Class {
    list.row(layout::HEADER_AT).map_or(Class::NONE, |header| Class::from_bits(header.word(0) as u8))
}

/// Compares four tags at a time: a lane that is equal becomes zero, and a zero lane borrows from its highest bit.
#[inline(always)]
fn has_tag<L: Lines>(list: &L, address: u32) -> bool {
    const ONES: u64 = 0x0001_0001_0001_0001;
    let (line, tag) = layout::tag_of(address);
    let Some(row) = list.row(line) else {
        return false;
    };
    let wanted = u64::from(tag).wrapping_mul(ONES);
    for word in 0..8 {
        let lanes = row.word(word) ^ wanted;
        if lanes.wrapping_sub(ONES) & !lanes & (ONES << 15) != 0 {
            return true;
        }
    }
    false
}

/// The same for an address of a cell that has records.
#[inline(always)]
pub fn class_by_records<L: Lines>(list: &L, address: u32) -> Class {
    let home = layout::home_of(address >> 8);
    let mut is_known = false;
    for choice in 0..layout::CHOICES {
        let found = search(list, home.choice(choice), address);
        if let Some(class) = found.class {
            return class;
        }
        is_known |= found.is_known;
        if !found.is_full {
            break;
        }
    }
    if is_known {
        return Class::NONE;
    }
    // A part of a whole /16 that a class blocks.
    list.field(layout::wide_at(address >> 8)).map_or(Class::NONE, |field| Class::from_bits(field as u8))
}

struct Found {
    class: Option<Class>,
    /// The cell has records here.
    is_known: bool,
    /// Further records may be elsewhere.
    is_full: bool,
}

#[inline(always)]
fn search<L: Lines>(list: &L, home: Home, address: u32) -> Found {
    let mut found = Found { class: None, is_known: false, is_full: false };
    let Some(row) = list.row(home.line) else {
        return found;
    };
    for word in 0..8 {
        let pair = row.word(word);
        for half in [pair as u32, (pair >> 32) as u32] {
            let record = Record(half);
            if record.key() != home.key {
                continue;
            }
            found.is_known = true;
            if list.field(record.bit_at(address as u8)).is_some_and(|field| field & 1 != 0) {
                found.class = Some(record.class());
                return found;
            }
        }
    }
    found.is_full = row.word(7) >> 32 != 0;
    found
}

//! How every table must be made, and whether what is pinned is made so.

use std::os::fd::{AsFd, OwnedFd};

use portcullis_abi::{
    ANCHOR_ARRAY_LEN, AnchorKey, Conduct, Counters, Endpoint, FurtherKey, Ipv6, JOURNAL_CHUNK_LEN,
    JournalKey, Meta, Pointer, PrefixKey,
};

use crate::error::{Error, Result};
use crate::object::Settings;
use crate::pins::Pins;
use crate::sys;

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const LPM_TRIE: u32 = 11;
const RINGBUF: u32 = 27;
const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1 << 10;

/// Bytes of the ring buffer.
const RING_LEN: u32 = 512 * 1024;
/// Entries that changes of bindings may need beyond one for each endpoint.
const SPARE_BINDINGS: u32 = 64;

/// Names of all tables.
pub const NAMES: [&str; 11] = [
    "ANCHORS",
    "ANCHORS_FAR",
    "ENDPOINTS",
    "FURTHER",
    "PREFIXES",
    "KNOWN",
    "COUNTERS",
    "CONDUCT",
    "EVENTS",
    "JOURNAL",
    "META",
];

/// A table as it must be.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub name: &'static str,
    kind: u32,
    key_size: u32,
    value_size: u32,
    pub max_entries: u32,
    flags: u32,
}

/// All tables for these settings.
pub fn tables(settings: &Settings) -> [Table; 11] {
    const fn size<T>() -> u32 {
        size_of::<T>() as u32
    }
    let endpoints = settings.endpoints;
    let slots = endpoints.saturating_add(1);
    let bindings = endpoints.saturating_mul(2).saturating_add(SPARE_BINDINGS);
    let further = endpoints.saturating_mul(8).max(65_536);
    let row = |name, kind, key_size, value_size, max_entries, flags| Table {
        name,
        kind,
        key_size,
        value_size,
        max_entries,
        flags,
    };
    [
        row("ANCHORS", ARRAY, 4, size::<Pointer>(), ANCHOR_ARRAY_LEN, MMAPABLE),
        row("ANCHORS_FAR", HASH, size::<AnchorKey>(), 4, endpoints.max(1024), NO_PREALLOC),
        row("ENDPOINTS", ARRAY, 4, size::<Endpoint>(), bindings, MMAPABLE),
        row("FURTHER", HASH, size::<FurtherKey>(), 4, further, NO_PREALLOC),
        row("PREFIXES", LPM_TRIE, size::<PrefixKey>(), 4, further, NO_PREALLOC),
        row("KNOWN", HASH, size::<Ipv6>(), 4, endpoints.saturating_mul(4).max(4096), NO_PREALLOC),
        row("COUNTERS", PERCPU_ARRAY, 4, size::<Counters>(), slots, 0),
        row("CONDUCT", ARRAY, 4, size::<Conduct>(), slots, MMAPABLE),
        row("EVENTS", RINGBUF, 0, 0, RING_LEN, 0),
        row("JOURNAL", HASH, size::<JournalKey>(), JOURNAL_CHUNK_LEN as u32, further, NO_PREALLOC),
        row("META", ARRAY, 4, size::<Meta>(), 1, 0),
    ]
}

/// Tables whose content outlives a change of size.
#[derive(Debug)]
pub struct CarryOver {
    pub counters: OwnedFd,
    pub counters_len: u32,
    /// Bytes of one CPU's counters: those of an older layout are the beginning of ours.
    pub counters_size: usize,
    pub conduct: Option<OwnedFd>,
    pub journal: Option<OwnedFd>,
}

/// What is pinned.
#[derive(Debug)]
pub struct Found {
    /// Every table is there.
    pub complete: bool,
    /// Why what is there cannot be used.
    pub unusable: Option<String>,
    /// What to carry over in that case.
    pub carry: Option<CarryOver>,
}

/// Compares what is pinned with what must be. The loader itself reuses a pinned map without a
/// look at its type or size.
pub fn inspect(pins: &Pins, settings: &Settings) -> Result<Found> {
    let mut found = Found { complete: true, unusable: None, carry: None };
    let mut any = false;
    for table in tables(settings) {
        let Some(fd) = Pins::get(&pins.map(table.name))? else {
            found.complete = false;
            continue;
        };
        any = true;
        if let Some(difference) = difference(&table, &fd)? {
            found.unusable.get_or_insert(difference);
        }
    }
    // Programs in pinned links use the tables that were there: a half of them is of no use.
    if any && !found.complete && found.unusable.is_none() {
        found.unusable = Some("some tables are not pinned any more".to_owned());
    }
    if found.unusable.is_some() {
        found.carry = carry_over(pins)?;
    } else if !any {
        // An agent of an older layout may have counted here.
        for older in pins.older() {
            found.carry = match found.carry {
                None => carry_over(&older)?,
                carry => carry,
            };
        }
    }
    Ok(found)
}

fn difference(table: &Table, fd: &OwnedFd) -> Result<Option<String>> {
    let info = sys::map_info(fd.as_fd()).map_err(|source| Error::system(table.name, source))?;
    let same = info.kind == table.kind
        && info.key_size == table.key_size
        && info.value_size == table.value_size
        && info.max_entries == table.max_entries
        && info.flags & (NO_PREALLOC | MMAPABLE) == table.flags;
    Ok((!same).then(|| {
        format!(
            "table {} was made differently (type {}, key {}, value {}, {} entries; now {}, {}, {}, {})",
            table.name,
            info.kind,
            info.key_size,
            info.value_size,
            info.max_entries,
            table.kind,
            table.key_size,
            table.value_size,
            table.max_entries
        )
    }))
}

fn carry_over(pins: &Pins) -> Result<Option<CarryOver>> {
    let Some(counters) = Pins::get(&pins.map("COUNTERS"))? else {
        return Ok(None);
    };
    let info = sys::map_info(counters.as_fd()).map_err(|source| Error::system("COUNTERS", source))?;
    let counters_size = info.value_size as usize;
    if info.kind != PERCPU_ARRAY || ![size_of::<Counters>(), Counters::V1_LEN].contains(&counters_size) {
        return Ok(None);
    }
    let like = |name: &str, kind, key_size: usize, value_size: usize| {
        let fd = Pins::get(&pins.map(name))?;
        Ok(fd.filter(|fd| {
            sys::map_info(fd.as_fd()).is_ok_and(|info| {
                info.kind == kind
                    && info.key_size as usize == key_size
                    && info.value_size as usize == value_size
            })
        }))
    };
    Ok(Some(CarryOver {
        counters,
        counters_len: info.max_entries,
        counters_size,
        conduct: like("CONDUCT", ARRAY, 4, size_of::<Conduct>())?,
        journal: like("JOURNAL", HASH, size_of::<JournalKey>(), JOURNAL_CHUNK_LEN)?,
    }))
}

//! Equal verdicts: the entries one by one, the ordered list, and the table through the engine's look-up.

use std::collections::BTreeMap;

use portcullis_abi::shield::list4::LINES;
use portcullis_abi::shield::{Class, Line, LineStore, sample};
use portcullis_engine::shield::list4 as engine;
use proptest::prelude::*;

use super::*;
use crate::shield::reference;

type Entries = Vec<(Prefix4, Listing)>;

struct Compiled {
    list: List4,
    table: Vec<Line>,
    book: Book,
}

impl Compiled {
    fn of(entries: &Entries) -> Self {
        let list: List4 = entries.iter().copied().collect();
        let mut table = vec![Line::default(); LINES as usize];
        let book = list.compile(table.as_mut_slice()).unwrap();
        Self { list, table, book }
    }

    fn looked_up(&self, address: u32) -> Class {
        looked_up(&self.table, address)
    }
}

fn looked_up(table: &[Line], address: u32) -> Class {
    engine::class_of(&table, address, |address| engine::class_by_records(&table, address))
}

/// Addresses that a prefix makes a difference for.
fn edges(prefix: Prefix4) -> [u32; 5] {
    let last = prefix.address() | u32::MAX.checked_shr(u32::from(prefix.bits())).unwrap_or(0);
    let first = prefix.address();
    [first, last, first.wrapping_sub(1), last.wrapping_add(1), first + (last - first) / 2]
}

fn check(entries: &Entries, compiled: &Compiled, further: &[u32]) {
    let near = entries.iter().flat_map(|(prefix, _)| edges(*prefix));
    for address in near.chain(further.iter().copied()) {
        let expected = reference::class_of(entries, address);
        assert_eq!(compiled.list.class_of(address), expected, "list: {address:#010x} of {entries:?}");
        assert_eq!(compiled.looked_up(address), expected, "table: {address:#010x} of {entries:?}");
    }
}

fn listing() -> impl Strategy<Value = Listing> {
    prop_oneof![
        8 => Just(Listing::BLOCK),
        3 => Just(Listing::ALLOW),
        3 => (1u8..15).prop_map(|bits| Listing::block(Class::from_bits(bits))),
        1 => Just(Listing { allow: true, block: Class::TCP }),
    ]
}

/// Close together, so that they overlap.
fn prefix() -> impl Strategy<Value = Prefix4> {
    let address = prop_oneof![
        any::<u32>(),
        (0u32..1 << 10).prop_map(|low| 0x0a00_0000 | low),
        (0u32..1 << 18).prop_map(|low| 0x0a00_0000 | low),
    ];
    (address, prop_oneof![4 => 22u8..=32, 2 => 12u8..=24, 1 => 0u8..=32])
        .prop_map(|(address, len)| Prefix4::of(address, len))
}

fn entries(most: usize) -> impl Strategy<Value = Entries> {
    prop::collection::vec((prefix(), listing()), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_list_says_the_same(entries in entries(40), further in prop::collection::vec(any::<u32>(), 20)) {
        check(&entries, &Compiled::of(&entries), &further);
    }

    #[test]
    fn changes_in_place_come_to_the_same(
        start in entries(20),
        changes in prop::collection::vec((prefix(), prop_oneof![listing(), Just(Listing::NOTHING)]), 1..15),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let mut compiled = Compiled::of(&start);
        let mut desired: BTreeMap<Prefix4, Listing> = BTreeMap::new();
        for (prefix, listing) in &start {
            let known = desired.entry(*prefix).or_default();
            *known = known.union(*listing);
        }
        let removals = removed.iter().filter(|_| !start.is_empty()).map(|at| (at.get(&start).0, Listing::NOTHING));
        for (number, (prefix, listing)) in changes.into_iter().chain(removals).enumerate() {
            let Compiled { list, table, book } = &mut compiled;
            // Where it is refused, nothing has changed.
            if let Ok(before) = list.change(prefix, listing, table.as_mut_slice(), book) {
                prop_assert_eq!(before, desired.get(&prefix).copied().unwrap_or_default());
                desired.insert(prefix, listing);
            }
            let all: Entries = desired.iter().map(|(prefix, listing)| (*prefix, *listing)).collect();
            check(&all, &compiled, &edges(prefix));
            if number % 3 == 0 {
                let Compiled { list, table, book } = &mut compiled;
                list.clean(table.as_mut_slice(), book);
                prop_assert!(!book.is_stale());
                check(&all, &compiled, &edges(prefix));
            }
        }
    }
}

/// A table that asks, after every word that is stored, whether some address meets neither verdict.
struct Watched<'a> {
    table: &'a mut [Line],
    before: &'a dyn Fn(u32) -> Class,
    after: &'a dyn Fn(u32) -> Class,
    addresses: Vec<u32>,
}

impl LineStore for Watched<'_> {
    fn get(&self, line: u32, word: u32) -> u64 {
        LineStore::get(self.table, line, word)
    }

    fn set(&mut self, line: u32, word: u32, value: u64) {
        self.table.set(line, word, value);
        for address in &self.addresses {
            let now = looked_up(self.table, *address);
            let (before, after) = ((self.before)(*address), (self.after)(*address));
            assert!(now == before || now == after, "{address:#010x}: {now:?}, not {before:?} or {after:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn at_every_moment_the_old_or_the_new_verdict(
        start in entries(25),
        changes in prop::collection::vec((0u32..600, 20u8..=32, prop_oneof![listing(), Just(Listing::NOTHING)]), 1..12),
    ) {
        let Compiled { mut list, mut table, mut book } = Compiled::of(&start);
        for (low, len, listing) in changes {
            let prefix = Prefix4::of(0x0a00_0000 | low, len);
            let old = list.clone();
            let mut new = list.clone();
            new.set(prefix, listing);
            let addresses = (0x0a00_0000..0x0a00_0000 + 1024).step_by(7).chain(edges(prefix)).collect();
            let (before, after) = (|address| old.class_of(address), |address| new.class_of(address));
            let mut watched = Watched { table: &mut table, before: &before, after: &after, addresses };
            if list.change(prefix, listing, &mut watched, &mut book).is_ok() {
                list.clean(&mut watched, &mut book);
            }
        }
    }
}

#[test]
fn everything_and_nothing() {
    let all: Entries =
        vec![(Prefix4::of(0, 0), Listing::BLOCK), (Prefix4::of(0x0a01_0203, 32), Listing::ALLOW)];
    check(&all, &Compiled::of(&all), &[0, 1, u32::MAX, 0x0a01_0203, 0x0a01_0204]);
    let tcp: Entries = vec![
        (Prefix4::of(0, 0), Listing::block(Class::TCP)),
        (Prefix4::of(0x0a00_0000, 8), Listing::BLOCK),
        (Prefix4::of(0x0b00_0000, 8), Listing::BLOCK),
    ];
    check(&tcp, &Compiled::of(&tcp), &[0, 1, u32::MAX, 0x0a01_0203, 0x0a01_0204]);
    check(&vec![], &Compiled::of(&vec![]), &[0, u32::MAX]);
}

#[test]
fn dense_cells_take_bitmaps_and_long_prefixes_share_them() {
    let dense: Entries =
        (0..3000u32).map(|n| (Prefix4::of(0x0a00_0000 | (n * 3), 32), Listing::BLOCK)).collect();
    check(&dense, &Compiled::of(&dense), &[]);
    let halves: Entries = (0..2000u32).map(|n| (Prefix4::of(sample(n), 25), Listing::BLOCK)).collect();
    let compiled = Compiled::of(&halves);
    check(&halves, &compiled, &[]);
}

#[test]
fn a_million_entries() {
    let entry = |n: u32| (Prefix4::of(sample(n), if n.is_multiple_of(4) { 24 } else { 32 }), Listing::BLOCK);
    let compiled = Compiled::of(&(0..1_000_000).map(entry).collect());
    for n in (0..4_000_000).step_by(997) {
        let expected = compiled.list.class_of(sample(n));
        assert!(n >= 1_000_000 || expected == Class::ANY);
        assert_eq!(compiled.looked_up(sample(n)), expected);
    }
}

#[test]
fn a_million_entries_of_any_length() {
    for lens in [[25u8, 25, 25], [29, 30, 31], [24, 28, 32], [17, 23, 27]] {
        let entry = |n: u32| (Prefix4::of(sample(n), lens[(n % 3) as usize]), Listing::BLOCK);
        let compiled = Compiled::of(&(0..1_000_000).map(entry).collect());
        for n in (0..4_000_000).step_by(9973) {
            assert_eq!(compiled.looked_up(sample(n)), compiled.list.class_of(sample(n)), "{lens:?}");
        }
    }
}

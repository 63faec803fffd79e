//! Equal verdicts: the entries one by one, the ordered list, and the table through the engine's look-up.

use portcullis_abi::shield::Line;
use portcullis_engine::shield::list6 as engine;
use proptest::prelude::*;

use super::*;

type Entries = Vec<(Prefix6, Listing)>;

fn naive(entries: &Entries, address: u128) -> Class {
    let holding = entries.iter().filter(|(prefix, _)| prefix.contains(address));
    if holding.clone().any(|(_, listing)| listing.allow) {
        return Class::NONE;
    }
    let blocking = holding.filter(|(_, listing)| !listing.block.is_none());
    let longest = blocking.clone().map(|(prefix, _)| prefix.bits()).max();
    blocking
        .filter(|(prefix, _)| Some(prefix.bits()) == longest)
        .fold(Class::NONE, |class, (_, listing)| class.union(listing.block))
}

fn compile(list: &List6) -> (Vec<Line>, Book6) {
    let mut table = vec![Line::default(); list.shape().lines() as usize];
    let book = list.compile(table.as_mut_slice()).unwrap();
    (table, book)
}

fn looked_up(table: &[Line], address: u128) -> Class {
    let (high, low) = ((address >> 64) as u64, address as u64);
    engine::class_of(&table, high, |len| engine::class_by_len(&table, high, low, len))
}

fn prefix() -> impl Strategy<Value = Prefix6> {
    let base = 0x2001_0db8_u128 << 96;
    let near = (any::<u8>(), 0u32..100).prop_map(move |(low, shift)| base | u128::from(low) << shift);
    let address = prop_oneof![4 => near, 1 => any::<u128>()];
    (address, prop_oneof![2 => prop::sample::select(vec![32u8, 48, 56, 64, 128]), 1 => 0u8..=128])
        .prop_map(|(address, len)| Prefix6::of(address, len))
}

fn listing() -> impl Strategy<Value = Listing> {
    prop_oneof![
        8 => Just(Listing::BLOCK),
        3 => Just(Listing::ALLOW),
        3 => (1u8..15).prop_map(|bits| Listing::block(Class::from_bits(bits))),
    ]
}

fn edges(prefix: Prefix6) -> [u128; 4] {
    let (first, last) = (prefix.address(), prefix.last());
    [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
}

fn check(entries: &Entries, list: &List6, table: &[Line]) {
    for address in entries.iter().flat_map(|(prefix, _)| edges(*prefix)) {
        let expected = naive(entries, address);
        assert_eq!(list.class_of(address), expected, "list: {address:#x} of {entries:?}");
        assert_eq!(looked_up(table, address), expected, "table: {address:#x} of {entries:?}");
    }
}

proptest! {
    #[test]
    fn any_list_says_the_same(entries in prop::collection::vec((prefix(), listing()), 0..60)) {
        let list: List6 = entries.iter().copied().collect();
        check(&entries, &list, &compile(&list).0);
    }

    #[test]
    fn changes_come_to_the_same(
        start in prop::collection::vec((prefix(), listing()), 0..30),
        changes in prop::collection::vec((prefix(), prop_oneof![listing(), Just(Listing::NOTHING)]), 1..30),
    ) {
        let mut list: List6 = start.iter().copied().collect();
        let (mut table, mut book) = compile(&list);
        let removals = start.iter().step_by(2).map(|(prefix, _)| (*prefix, Listing::NOTHING));
        for (prefix, listing) in changes.into_iter().chain(removals) {
            if list.change(prefix, listing, table.as_mut_slice(), &mut book).is_err() {
                list.set(prefix, listing);
                (table, book) = compile(&list);
            }
            let all: Entries = list.iter().collect();
            check(&all, &list, &table);
            for address in edges(prefix) {
                prop_assert_eq!(looked_up(&table, address), naive(&all, address));
            }
            list.clean(table.as_mut_slice(), &mut book);
        }
    }
}

#[test]
fn many_entries() {
    let address =
        |n: u128| (0x2000_u128 << 112) + n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) / 9;
    let entries =
        (0..200_000u128).map(|n| (Prefix6::of(address(n), [64, 48, 128][(n % 3) as usize]), Listing::BLOCK));
    let list: List6 = entries.collect();
    let (table, _) = compile(&list);
    assert!(table.len() * 64 < 16 << 20);
    for n in 0..400_000 {
        assert_eq!(looked_up(&table, address(n)), list.class_of(address(n)));
    }
}

//! Blocklists.

use std::net::{IpAddr, Ipv6Addr};

use portcullis_abi::DropReason;
use portcullis_abi::shield::{Class, sample};
use portcullis_datapath::shield::{Kind, Table};
use portcullis_policy::shield::list4::List4;
use portcullis_policy::shield::list6::List6;
use portcullis_policy::shield::rules::Packet;
use portcullis_policy::shield::{Listing, Prefix4, Prefix6};

use crate::lab::{DROP, Lab, PASS, Wrap, frame, from, v4};

#[test]
fn a_blocklist_is_followed_through_every_wrapping() {
    let mut lab = Lab::new("wrappings");
    let entries = [
        (Prefix4::of(0x0a00_0000, 8), Listing::BLOCK),
        (Prefix4::of(0x0a01_0203, 32), Listing::ALLOW),
        (Prefix4::of(0xc000_0201, 32), Listing::block(Class::TCP)),
    ];
    let listed = frame(&from(v4(0x0a01_0204), 17), Wrap::Plain);
    assert_eq!(lab.run(&listed), PASS, "nothing is published");
    lab.publish4(&entries.into_iter().collect());
    for wrap in [Wrap::Plain, Wrap::Tags(1), Wrap::Tags(2), Wrap::Tags(4), Wrap::Snap] {
        for (address, protocol, action) in [
            (0x0a01_0203, 6, PASS),
            (0x0a01_0204, 17, DROP),
            (0x0b01_0204, 17, PASS),
            (0xc000_0201, 6, DROP),
            (0xc000_0201, 17, PASS),
            (0xc000_0202, 6, PASS),
        ] {
            let packet = from(v4(address), protocol);
            assert_eq!(lab.run(&frame(&packet, wrap)), action, "{packet:?}");
        }
    }
    let five = frame(&from(v4(0x0b01_0204), 17), Wrap::Tags(5));
    assert_eq!(lab.run(&five), DROP, "more tags than are seen through");
    assert_eq!(lab.dropped(DropReason::Vlan), 1);
    assert_eq!(lab.dropped(DropReason::Blocklisted), 10);
    lab.shield.withdraw(lab.profile, Kind::List4).unwrap();
    assert_eq!(lab.run(&listed), PASS, "it was withdrawn");
}

#[test]
fn ipv6_is_found_behind_extension_headers() {
    let mut lab = Lab::new("ipv6");
    let base = 0x2001_0db8_u128 << 96;
    let entries = [
        (Prefix6::of(base, 32), Listing::block(Class::TCP)),
        (Prefix6::of(base | 5 << 80, 48), Listing::BLOCK),
        (Prefix6::of(base | 5 << 80 | 7, 128), Listing::ALLOW),
    ];
    let list: List6 = entries.into_iter().collect();
    lab.publish6(&list);
    for address in [base, base | 5 << 80, base | 5 << 80 | 7, base | 5 << 80 | 8, base - 1, base | 6 << 80] {
        for (protocol, piece) in [(6, 0), (17, 0), (17, 1), (17, 2), (6, 2), (58, 0)] {
            let packet = Packet { piece, ..from(IpAddr::V6(Ipv6Addr::from_bits(address)), protocol) };
            let action = if list.class_of(address).blocks(protocol) { DROP } else { PASS };
            assert_eq!(lab.run(&frame(&packet, Wrap::Plain)), action, "{packet:?}");
        }
    }
}

#[test]
fn a_million_prefixes_and_changes_in_place() {
    let mut lab = Lab::new("million");
    // Every length there is, allowed ones among them.
    let entry = |n: u32| {
        let listing = if n.is_multiple_of(11) { Listing::ALLOW } else { Listing::BLOCK };
        (Prefix4::of(sample(n), [32, 24, 32, 28, 30, 20, 25, 16][(n % 8) as usize].max(12)), listing)
    };
    let mut list: List4 = (0..1_000_000).map(entry).collect();
    let mut table = Table::new(Kind::List4).unwrap();
    let mut book = list.compile(&mut table).unwrap();
    lab.shield.publish(lab.profile, &table).unwrap();
    let check = |lab: &mut Lab, list: &List4, addresses: &mut dyn Iterator<Item = u32>| {
        for address in addresses {
            let action = if list.class_of(address).is_none() { PASS } else { DROP };
            assert_eq!(lab.run(&frame(&from(v4(address), 6), Wrap::Plain)), action, "{address:#010x}");
        }
    };
    check(&mut lab, &list, &mut (0..2_000_000).step_by(199).map(sample));
    for n in 0..2000u32 {
        let (prefix, listing) = match n % 3 {
            0 => (entry(n * 17).0, Listing::NOTHING),
            1 => (Prefix4::of(sample(n + 1_000_000), 20 + (n % 13) as u8), Listing::BLOCK),
            _ => (Prefix4::of(sample(n), 32), Listing::ALLOW),
        };
        if list.change(prefix, listing, &mut table, &mut book).is_ok() {
            let last = prefix.address() | u32::MAX.checked_shr(u32::from(prefix.bits())).unwrap_or(0);
            check(&mut lab, &list, &mut [prefix.address(), last, sample(n)].into_iter());
        }
    }
    list.clean(&mut table, &mut book);
    check(&mut lab, &list, &mut (0..2_000_000).step_by(499).map(sample));
}

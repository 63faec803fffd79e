//! Specs and learned facts for property tests, small enough that they meet each other.

use std::net::{IpAddr, Ipv6Addr};

use portcullis_abi::Mac;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::compile::Learned;
use crate::model::{Direction, EndpointSpec, InterfaceRef, Mode, Permission, Workload};

/// A spec with nothing but a name, an interface and addresses.
pub fn spec(name: &str, interface: &str, addresses: &[&str]) -> EndpointSpec {
    EndpointSpec {
        name: name.into(),
        interface: InterfaceRef { name: interface.into(), netns: None },
        direction: Direction::default(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        macs: Vec::new(),
        mode: Mode::default(),
        allow: Vec::new(),
        vlans: Vec::new(),
        ethertypes: Vec::new(),
        quarantined: false,
        workload: Workload::default(),
        network: None,
        inside: None,
    }
}

const BINDINGS: &[&str] = &[
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.0/30",
    "10.0.0.0/24",
    "10.0.0.128/25",
    "10.0.1.0/24",
    "10.0.0.0/8",
    "fd00::1",
    "fd00::2",
    "fd00::/126",
    "fd00::/64",
    "fd00:0:0:1::/64",
    "fd00::/8",
    "fe80::1",
    "fe80::42:aff:fe00:2",
];

/// Addresses worth asking about: in and around the bindings, and those that are never a source.
const ADDRESSES: &[&str] = &[
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.127",
    "10.0.0.128",
    "10.0.0.255",
    "10.0.1.0",
    "10.0.2.1",
    "10.255.255.255",
    "11.0.0.0",
    "127.0.0.1",
    "127.0.0.2",
    "0.0.0.0",
    "0.0.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "::",
    "::1",
    "::2",
    "::ffff:10.0.0.1",
    "fd00::",
    "fd00::1",
    "fd00::2",
    "fd00::3",
    "fd00::4",
    "fd00:0:0:1::",
    "fd01::",
    "fe80::1",
    "fe80::2",
    "fe80::42:aff:fe00:1",
    "fe80::42:aff:fe00:2",
    "fe80::42:aff:fe00:3",
    "fe80::200:ff:fe00:0",
    "ff02::1",
    "2001:db8::1",
];

const MACS: &[&str] = &["02:42:0a:00:00:01", "02:42:0a:00:00:02", "02:42:0a:00:00:03"];

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: Vec<&str>) -> Vec<T> {
    texts.into_iter().map(|t| t.parse().unwrap()).collect()
}

/// An address from [`ADDRESSES`].
pub fn any_address() -> impl Strategy<Value = IpAddr> {
    select(ADDRESSES).prop_map(|a| a.parse().unwrap())
}

/// A MAC that may be bound, or one that may not.
pub fn any_mac() -> impl Strategy<Value = Mac> {
    let others = ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"];
    select([MACS, &others].concat()).prop_map(|m| m.parse().unwrap())
}

/// A spec that validation takes.
pub fn any_spec() -> impl Strategy<Value = EndpointSpec> {
    let addresses = prop_oneof![
        subsequence(BINDINGS, 1..=BINDINGS.len()).prop_shuffle(),
        select(BINDINGS).prop_map(|b| vec![b]),
        select(BINDINGS).prop_map(|b| vec![b]),
    ];
    (
        select(&["a", "b", "c", "web/1:eth0"][..]),
        select(&["veth0", "veth1", "veth2", "veth3", "veth4", "lo"][..]),
        select(Direction::ALL),
        addresses,
        subsequence(MACS, 0..=MACS.len()).prop_shuffle(),
        select(Mode::ALL),
        subsequence(Permission::ALL, 0..=Permission::ALL.len()),
        prop::collection::btree_set(1..=4094u16, 0..4),
        prop::collection::btree_set(0x9200..=0xffffu16, 0..4),
        any::<bool>(),
    )
        .prop_map(
            |(name, interface, direction, addresses, macs, mode, allow, vlans, ethertypes, quarantined)| {
                let mut spec = spec(name, interface, &addresses);
                spec.direction = direction;
                spec.macs = parsed(macs);
                spec.mode = mode;
                spec.allow = allow;
                spec.vlans = vlans.into_iter().map(|v| v.try_into().unwrap()).collect();
                spec.ethertypes = ethertypes.into_iter().map(|e| e.try_into().unwrap()).collect();
                spec.quarantined = quarantined;
                spec
            },
        )
}

/// What may have been learned, nonsense among it.
pub fn any_learned() -> impl Strategy<Value = Learned> {
    let link_local = &["fe80::1", "fe80::2", "fe80::42:aff:fe00:3", "fd00::9", "ff02::1"][..];
    (
        prop::collection::vec(any_mac(), 0..3),
        subsequence(link_local, 0..=3),
        prop::collection::vec(any_address(), 0..4),
    )
        .prop_map(|(macs, link_local, local)| Learned {
            macs,
            link_local: parsed::<Ipv6Addr>(link_local),
            local,
        })
}

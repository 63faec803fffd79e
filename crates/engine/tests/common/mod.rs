//! Bindings to judge by, and frames to judge, for the differential and the property tests.
//!
//! Addresses come from small fixed pools, so that a frame meets what a binding holds often enough.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "this is test code, in functions that are no tests")]

mod chain;
pub mod claims;
pub mod frames;
pub mod reference;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_abi::{Allow, Endpoint, FurtherKey, Ipv4, Ipv6, Mac, Mode, PrefixKey};
use portcullis_engine::gate::{Binding, verify_ethernet, verify_layer3};
use portcullis_engine::{Finding, SlicePacket, Tables};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Index of the entry under test. The entry beside it owns everything ([`World::has_further`]).
pub const INDEX: u32 = 7;

/// MACs: any of the first two may be bound.
pub const MACS: [Mac; 5] = [
    Mac([0x02, 0x42, 0x0a, 0, 0, 2]),
    Mac([0x02, 0x42, 0x0a, 0, 0, 9]),
    Mac([0x02, 0x42, 0x0a, 0, 0x40, 1]),
    Mac::BROADCAST,
    Mac::ZERO,
];
/// IPv4 addresses that may be bound one by one; the last is also a prefix's broadcast address.
pub const OWN4: [&str; 4] = ["10.0.0.2", "10.0.0.9", "127.0.0.1", "10.1.2.255"];
/// IPv4 prefixes that may be bound; the last two hold what nobody may send from, whoever lets them in.
pub const PREFIXES4: [(&str, u8); 7] = [
    ("10.1.0.0", 16),
    ("10.1.2.0", 24),
    ("192.0.2.0", 31),
    ("192.0.2.4", 30),
    ("127.0.0.0", 8),
    ("0.0.0.0", 5),
    ("224.0.0.0", 3),
];
/// IPv4 addresses that are bound by a prefix only, or never.
pub const OTHER4: [&str; 19] = [
    "10.0.0.1",
    "10.0.0.3",
    "10.1.0.0",
    "10.1.0.7",
    "10.1.2.7",
    "10.1.255.255",
    "10.1.3.255",
    "192.0.2.0",
    "192.0.2.1",
    "192.0.2.7",
    "192.0.2.6",
    "127.9.9.9",
    "127.255.255.255",
    "0.0.0.0",
    "0.1.2.3",
    "224.0.0.22",
    "240.0.0.1",
    "255.255.255.255",
    "169.254.1.1",
];
/// IPv6 addresses that may be bound one by one.
pub const OWN6: [&str; 4] = ["fd00::2", "fd00::9", "fe80::9", "::1"];
/// The first MAC's derived address.
pub const LINK_LOCAL: &str = "fe80::42:aff:fe00:2";
/// IPv6 prefixes that may be bound; the last holds what nobody may send from.
pub const PREFIXES6: [(&str, u8); 4] =
    [("fd00:1::", 64), ("fd00:1:0:0:8000::", 65), ("fd00:2::", 127), ("ff00::", 8)];
/// IPv6 addresses that are bound by a prefix only, or never.
pub const OTHER6: [&str; 15] = [
    "::",
    "fd00::1",
    "fd00::3",
    "fe80::1",
    "fd00:1::5",
    "fd00:1::8000:0:0:1",
    "fd00:2::1",
    "fd00:2::2",
    "::ffff:10.0.0.2",
    "::ffff:10.1.0.7",
    "::10.0.0.2",
    "ff02::1",
    "ff02::2",
    "ff02::16",
    "ff05::2",
];
/// What other endpoints may be known by.
pub const IDENTITIES: [&str; 3] = ["fe80::1", "fe80::9", "169.254.1.1"];
/// VLAN ids that may be allowed.
pub const VLANS: [u16; 3] = [0, 42, 4095];
/// Ethertypes that may be allowed.
pub const ETHERTYPES: [u16; 4] = [0x88cc, 0x8035, 0x9100, 0x0026];
/// Everything an endpoint may be allowed.
pub const PERMISSIONS: [u32; 7] = [
    Allow::DHCP_CLIENT,
    Allow::DHCP_SERVER,
    Allow::ROUTER,
    Allow::ANY_VLAN,
    Allow::ANY_ETHERTYPE,
    Allow::TUNNEL,
    Allow::NO_SOURCE_ROUTE,
];

/// What one interface is bound to, as lists.
#[derive(Clone, Debug)]
pub struct World {
    pub macs: Vec<Mac>,
    pub ipv4: Vec<Ipv4Addr>,
    pub prefixes4: Vec<(Ipv4Addr, u8)>,
    pub ipv6: Vec<Ipv6Addr>,
    pub link_local: Option<Ipv6Addr>,
    pub prefixes6: Vec<(Ipv6Addr, u8)>,
    pub vlans: Vec<u16>,
    pub ethertypes: Vec<u16>,
    pub nodes4: Vec<Ipv4Addr>,
    pub nodes6: Vec<Ipv6Addr>,
    /// What other endpoints are known by.
    pub identities: Vec<IpAddr>,
    /// Bits of [`PERMISSIONS`].
    pub allow: u32,
}

impl World {
    /// Any world. One half of them bind a plain dual-stack container, the other whatever there is.
    pub fn any() -> impl Strategy<Value = Self> {
        let parsed4 = |(a, len): (&str, u8)| (v4(a), len);
        let parsed6 = |(a, len): (&str, u8)| (v6(a), len);
        let lists = (
            subsequence(MACS[1..2].to_vec(), 0..=1),
            subsequence(OWN4.map(v4).to_vec(), 0..=4),
            subsequence(PREFIXES4.map(parsed4).to_vec(), 0..=7),
            subsequence(OWN6.map(v6).to_vec(), 0..=4),
            subsequence(PREFIXES6.map(parsed6).to_vec(), 0..=4),
            subsequence(VLANS.to_vec(), 0..=3),
            subsequence(ETHERTYPES.to_vec(), 0..=4),
        );
        let nodes = (
            subsequence(vec![v4("10.0.0.1"), v4("10.0.0.3")], 0..=2),
            any::<bool>(),
            any::<bool>(),
            subsequence(IDENTITIES.map(|a| a.parse().unwrap()).to_vec(), 0..=3),
        );
        let allow =
            prop_oneof![Just(0u32), subsequence(PERMISSIONS.to_vec(), 0..=7).prop_map(|p| p.iter().sum())];
        (lists, nodes, allow, any::<bool>()).prop_map(
            |(lists, (nodes4, node6, link_local, identities), allow, plain)| {
                let (further_macs, ipv4, prefixes4, ipv6, prefixes6, vlans, ethertypes) = lists;
                let base = Self {
                    nodes4,
                    nodes6: node6.then(|| v6("fd00::1")).into_iter().collect(),
                    identities,
                    allow,
                    ..Self::plain()
                };
                if plain {
                    return base;
                }
                let macs = [vec![MACS[0]], further_macs].concat();
                let link_local = link_local.then(|| v6(LINK_LOCAL));
                Self { macs, ipv4, prefixes4, ipv6, link_local, prefixes6, vlans, ethertypes, ..base }
            },
        )
    }

    /// A dual-stack container with one address of each kind.
    pub fn plain() -> Self {
        Self {
            macs: vec![MACS[0]],
            ipv4: vec![v4(OWN4[0])],
            prefixes4: Vec::new(),
            ipv6: vec![v6(OWN6[0])],
            link_local: Some(v6(LINK_LOCAL)),
            prefixes6: Vec::new(),
            vlans: Vec::new(),
            ethertypes: Vec::new(),
            nodes4: vec![v4("10.0.0.1")],
            nodes6: vec![v6("fd00::1")],
            identities: Vec::new(),
            allow: 0,
        }
    }

    /// Whether the endpoint routes for others.
    pub fn is_router(&self) -> bool {
        !self.prefixes4.is_empty() || !self.prefixes6.is_empty()
    }

    /// The entry that the kernel would hold for this.
    pub fn endpoint(&self) -> Endpoint {
        let further = |bit: u32, any: bool| if any { bit } else { 0 };
        Endpoint {
            mac: self.macs[0],
            mode: Mode::Enforce as u8,
            ipv4: self.ipv4.first().map_or(Ipv4::UNSPECIFIED, |a| (*a).into()),
            slot: 1,
            ipv6: self.ipv6.first().map_or(Ipv6::UNSPECIFIED, |a| (*a).into()),
            link_local: self.link_local.map_or(Ipv6::UNSPECIFIED, Into::into),
            allow: self.allow
                | further(Allow::FURTHER_MAC, self.macs.len() > 1)
                | further(Allow::FURTHER_IPV4, self.ipv4.len() > 1)
                | further(Allow::FURTHER_IPV6, self.ipv6.len() > 1)
                | further(Allow::PREFIX_IPV4, !self.prefixes4.is_empty())
                | further(Allow::PREFIX_IPV6, !self.prefixes6.is_empty())
                | further(Allow::FURTHER_VLAN, !self.vlans.is_empty())
                | further(Allow::FURTHER_ETHERTYPE, !self.ethertypes.is_empty()),
            ..Endpoint::default()
        }
    }

    /// What the engine says of a frame.
    pub fn ethernet(&self, frame: &SlicePacket<'_>) -> Finding {
        verify_ethernet(frame, &Binding { endpoint: &self.endpoint(), index: INDEX, tables: self })
    }

    /// What the engine says of a packet without an Ethernet header.
    pub fn layer3(&self, packet: &SlicePacket<'_>) -> Finding {
        verify_layer3(packet, &Binding { endpoint: &self.endpoint(), index: INDEX, tables: self })
    }
}

/// The tables as the kernel holds them: keys in a set, prefixes by their bits.
impl Tables for World {
    fn has_further(&self, key: &FurtherKey) -> bool {
        let held = self.macs.iter().skip(1).map(|mac| FurtherKey::mac(INDEX, *mac));
        let held = held.chain(self.ipv4.iter().skip(1).map(|a| FurtherKey::address(INDEX, mapped(*a))));
        let held = held.chain(self.ipv6.iter().skip(1).map(|a| FurtherKey::address(INDEX, (*a).into())));
        let held = held.chain(self.vlans.iter().map(|vid| FurtherKey::vlan(INDEX, *vid)));
        let mut held = held.chain(self.ethertypes.iter().map(|t| FurtherKey::ethertype(INDEX, *t)));
        key.binding != INDEX || held.any(|other| other == *key)
    }

    fn prefix_len(&self, key: &PrefixKey) -> Option<u32> {
        let address = u128::from_be_bytes(Ipv6::from_words(key.address).0);
        let four = self.prefixes4.iter().map(|(a, len)| (mapped(*a), u32::from(*len) + 96));
        let six = self.prefixes6.iter().map(|(a, len)| (Ipv6::from(*a), u32::from(*len)));
        let holds = |(prefix, len): &(Ipv6, u32)| {
            let differing = address ^ u128::from_be_bytes(prefix.0);
            differing.checked_shr(128 - len).unwrap_or(0) == 0
        };
        assert_eq!((key.binding, key.prefix_len), (INDEX, PrefixKey::BASE_BITS + 128));
        four.chain(six).filter(holds).map(|(_, len)| len).max()
    }

    fn is_node(&self, address: &Ipv6) -> bool {
        self.nodes4.iter().any(|a| mapped(*a) == *address)
            || self.nodes6.iter().any(|a| Ipv6::from(*a) == *address)
    }

    fn is_known(&self, address: &Ipv6) -> bool {
        self.is_node(address) || self.identities.iter().any(|a| Ipv6::from(*a) == *address)
    }
}

fn mapped(address: Ipv4Addr) -> Ipv6 {
    Ipv4::from(address).mapped()
}

/// An IPv4 address of the pools.
pub fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// An IPv6 address of the pools.
pub fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// An endpoint's MAC mostly, else any of the pool.
pub fn any_mac() -> impl Strategy<Value = Mac> {
    prop_oneof![6 => Just(MACS[0]), 2 => Just(MACS[1]), 2 => select(&MACS[..])]
}

/// The plain container's address mostly, else any of the pool.
pub fn any_v4() -> impl Strategy<Value = Ipv4> {
    let all = [&OWN4[..], &OTHER4[..]].concat();
    prop_oneof![1 => Just("10.0.0.2"), 1 => Just("0.0.0.0"), 3 => select(all)].prop_map(|a| v4(a).into())
}

/// The plain container's addresses mostly, else any of the pool.
pub fn any_v6() -> impl Strategy<Value = Ipv6> {
    let all = [&OWN6[..], &OTHER6[..]].concat();
    let own = select(&["fd00::2", LINK_LOCAL, "::"][..]);
    prop_oneof![3 => own, 3 => select(all)].prop_map(|a| v6(a).into())
}

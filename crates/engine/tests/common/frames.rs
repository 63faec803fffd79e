//! Frames out of honest and forged building blocks, whole and damaged.

use std::sync::LazyLock;

use portcullis_abi::{Ipv4, Ipv6, Mac};
use portcullis_probe::cases::{Identity, suite};
use portcullis_probe::frame::{
    Arp, Extension, Icmp4, Icmp6, Ipv4Packet, Ipv6Packet, NdOption, Tag, Tcp, Udp, ethertype, mld1,
    mld2_report, nd, protocol, tagged,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{ETHERTYPES, any_mac, any_v4, any_v6};

/// Every frame of the published suite.
pub static SUITE: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| suite(&Identity::default()).into_iter().flat_map(|case| case.frames).collect());

/// A network layer packet and its ethertype.
type Network = (u16, Vec<u8>);

/// Any frame at all: built or of the suite, half of them damaged.
pub fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let seeds = prop_oneof![
        4 => built().boxed(),
        1 => any::<Index>().prop_map(|index| index.get(&SUITE[..]).clone()).boxed(),
    ];
    (seeds, prop_oneof![2 => Just(Vec::new()), 3 => vec(damage(), 1..4)]).prop_map(|(mut frame, damages)| {
        for damage in &damages {
            damage.apply(&mut frame);
        }
        frame
    })
}

/// A frame from the builders, its lengths right or wrong.
pub fn built() -> impl Strategy<Value = Vec<u8>> {
    let tag = (
        prop_oneof![4 => Just(ethertype::VLAN), 1 => Just(ethertype::QINQ), 1 => Just(0x9100u16)],
        prop_oneof![3 => Just(0u16), 3 => Just(42), 1 => any::<u16>()],
    )
        .prop_map(|(tpid, tci)| Tag { tpid, tci });
    let tags = prop_oneof![7 => Just(Vec::new()), 2 => vec(tag.clone(), 1), 1 => vec(tag, 2..4)];
    (any_mac(), tags, network())
        .prop_map(|(source, tags, (kind, packet))| tagged(Mac::BROADCAST, source, &tags, kind, &packet))
}

/// A network layer packet of any kind.
pub fn network() -> impl Strategy<Value = Network> {
    prop_oneof![
        4 => ipv4().prop_map(|packet| (ethertype::IPV4, packet.to_bytes())).boxed(),
        6 => ipv6().prop_map(|packet| (ethertype::IPV6, packet.to_bytes())).boxed(),
        2 => arp().prop_map(|arp| (ethertype::ARP, arp.to_bytes())).boxed(),
        1 => (prop_oneof![select(&ETHERTYPES[..]), any::<u16>()], vec(any::<u8>(), 0..64)).boxed(),
        1 => vec(any::<u8>(), 0..40).prop_map(|rest| (0x0026u16, [&[0x42, 0x42, 3], &rest[..]].concat())).boxed(),
    ]
}

fn arp() -> impl Strategy<Value = Arp> {
    let usual = (Just(1u16), Just(0x0800u16), Just(6u8), Just(4u8), 1u16..3);
    let odd = (select(&[1u16, 6][..]), select(&[0x0800u16, 0x86dd][..]), 5u8..8, 3u8..6, 0u16..10);
    let kind = prop_oneof![5 => usual.boxed(), 1 => odd.boxed()];
    (kind, any_mac(), any_v4(), any_v4()).prop_map(|(kind, mac, sender, target)| {
        let (hardware_type, protocol_type, hardware_len, protocol_len, operation) = kind;
        let request = Arp::request(mac, sender, target);
        Arp { hardware_type, protocol_type, hardware_len, protocol_len, operation, ..request }
    })
}

fn port() -> impl Strategy<Value = u16> {
    select(&[53u16, 67, 68, 547, 546, 4789, 8472, 6081, 51820, 40000][..])
}

fn udp() -> impl Strategy<Value = Vec<u8>> {
    let pair = prop_oneof![3 => (port(), port()), 1 => Just((68, 67))];
    (pair, vec(any::<u8>(), 0..12)).prop_map(|((source, destination), payload)| {
        Udp::new(source, destination, payload).to_bytes(zero_pseudo())
    })
}

fn tcp() -> impl Strategy<Value = Vec<u8>> {
    (port(), port()).prop_map(|(s, d)| Tcp::new(s, d, Tcp::ACK, [7; 5]).to_bytes(zero_pseudo()))
}

/// Checksums are nobody's matter here.
fn zero_pseudo() -> portcullis_probe::frame::Pseudo {
    portcullis_probe::frame::Pseudo::V4(Ipv4::UNSPECIFIED, Ipv4::UNSPECIFIED)
}

fn other_protocol() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let known = select(&[4u8, 41, 47, 50, 59, 132, 253][..]);
    (prop_oneof![4 => known, 1 => any::<u8>()], vec(any::<u8>(), 0..24))
}

/// What IPv4 carries: a protocol number and its bytes.
fn upper4() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let quote =
        (any_v4(), any_v4()).prop_map(|(s, d)| Ipv4Packet::new(s, d, protocol::TCP, [1; 8]).to_bytes());
    let error = (select(&[3u8, 4, 5, 11, 12, 8][..]), quote)
        .prop_map(|(kind, packet)| Icmp4::error(kind, 1, &packet).to_bytes());
    let igmp = (select(&[0x11u8, 0x12, 0x16, 0x17, 0x22][..]), any_v4())
        .prop_map(|(kind, group)| Icmp4::igmp(kind, 0, group).to_bytes());
    prop_oneof![
        2 => tcp().prop_map(|bytes| (protocol::TCP, bytes)).boxed(),
        5 => udp().prop_map(|bytes| (protocol::UDP, bytes)).boxed(),
        3 => error.prop_map(|bytes| (protocol::ICMP, bytes)).boxed(),
        2 => igmp.prop_map(|bytes| (protocol::IGMP, bytes)).boxed(),
        2 => other_protocol().boxed(),
    ]
}

fn options4() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![
        Just(vec![1]),
        Just(vec![0]),
        Just(vec![148, 4, 0, 0]),
        Just(vec![131, 7, 4, 10, 0, 0, 1]),
        Just(vec![137, 3, 4]),
        Just(vec![7, 0]),
        vec(any::<u8>(), 1..4),
    ];
    let all = vec(one, 1..10).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.truncate(40);
        bytes.resize(bytes.len().next_multiple_of(4), 1);
        bytes
    });
    // No operation, about as often as is looked at.
    let many = (6usize..10).prop_map(|used| {
        let mut bytes = vec![1; used];
        bytes.resize(12, 0);
        bytes
    });
    prop_oneof![6 => Just(Vec::new()), 2 => all, 1 => many]
}

prop_compose! {
    fn ipv4()(
        (source, destination) in (any_v4(), prop_oneof![3 => any_v4(), 1 => Just(Ipv4::BROADCAST), 1 => Just(LISTENERS4)]),
        (protocol, payload) in upper4(),
        options in options4(),
        (version, ihl) in (rarely(any::<u8>(), 4), option::weighted(0.05, any::<u8>())),
        total_length in option::weighted(0.1, length()),
        ttl in select(&[0u8, 1, 1, 64][..]),
        (more_fragments, offset) in prop_oneof![
            4 => Just((false, 0u16)), 1 => (any::<bool>(), 0u16..3), 1 => (any::<bool>(), any::<u16>())
        ],
    ) -> Ipv4Packet {
        let packet = Ipv4Packet::new(source, destination, protocol, payload);
        Ipv4Packet { options, version: version & 15, ihl, total_length, ttl, more_fragments, offset, ..packet }
    }
}

/// The usual value, and one time in twenty another.
fn rarely(other: impl Strategy<Value = u8>, usual: u8) -> impl Strategy<Value = u8> {
    prop_oneof![19 => Just(usual), 1 => other]
}

/// All IGMPv3 routers: whom reports go to.
const LISTENERS4: Ipv4 = Ipv4([224, 0, 0, 22]);

/// A length field's wrong values.
fn length() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(0u16), 6 => 0u16..120, 1 => any::<u16>()]
}

fn nd_options() -> impl Strategy<Value = Vec<NdOption>> {
    let raw = prop_oneof![
        Just(vec![2, 2, 2, 0x42, 0x0a, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]),
        Just(vec![1, 0]),
        Just(vec![1, 1, 2]),
        Just(vec![24, 1, 0, 0, 0, 0, 0, 0]),
    ];
    let one = prop_oneof![
        3 => any_mac().prop_map(NdOption::Source),
        3 => any_mac().prop_map(NdOption::Target),
        1 => any::<[u8; 6]>().prop_map(NdOption::Nonce),
        1 => raw.prop_map(NdOption::Raw),
    ];
    prop_oneof![3 => Just(Vec::new()), 3 => vec(one.clone(), 1..3), 1 => vec(one, 7..10)]
}

/// An ICMPv6 message; for neighbour discovery from `::` the destination that it must go to.
fn icmp6() -> impl Strategy<Value = (Icmp6, Option<Ipv6>)> {
    let quote =
        (any_v6(), any_v6()).prop_map(|(s, d)| Ipv6Packet::new(s, d, protocol::TCP, [1; 8]).to_bytes());
    let error = (prop_oneof![4 => 1u8..5, 1 => any::<u8>()], quote)
        .prop_map(|(kind, packet)| (Icmp6::error(kind, 0, 0, &packet), None));
    let all_routers = Some(super::v6("ff02::2").into());
    let neighbour = (any_v6(), nd_options(), 0..5).prop_map(move |(target, options, kind)| match kind {
        0 => (nd::router_solicitation(&options), all_routers),
        1 => (nd::router_advertisement(&options), None),
        2 => (nd::advertisement(0x20, target, &options), None),
        3 => (nd::redirect(target, target, &options), None),
        _ => (nd::solicitation(target, &options), Some(target.solicited_node())),
    });
    let listener = (130u8..133, any_v6(), any::<bool>())
        .prop_map(|(kind, group, two)| (if two { mld2_report(group) } else { mld1(kind, group) }, None));
    prop_oneof![2 => error.boxed(), 8 => neighbour.boxed(), 3 => listener.boxed()]
}

fn extension() -> impl Strategy<Value = Extension> {
    let routing =
        (0u8..5, 0u8..2, any_v6()).prop_map(|(kind, left, via)| Extension::routing(kind, left, via));
    let fragment = (prop_oneof![2 => Just(0u16), 1 => 0u16..9], any::<bool>())
        .prop_map(|(offset, more)| Extension::fragment(offset, more, 7));
    let generic = (select(&[0u8, 43, 60, 51][..]), vec(any::<u8>(), 6)).prop_map(|(kind, mut data)| {
        // Not a type 0 routing header, which ends the walk.
        data[0] |= 1;
        Extension::generic(kind, &data)
    });
    prop_oneof![
        4 => Just(Extension::destination()),
        1 => Just(Extension::hop_by_hop()),
        1 => Just(Extension::authentication()),
        2 => generic,
        1 => routing,
        1 => fragment,
    ]
}

fn extensions() -> impl Strategy<Value = Vec<Extension>> {
    let long = (vec(Just(Extension::destination()), 6..10), option::of(extension()))
        .prop_map(|(chain, last)| chain.into_iter().chain(last).collect());
    prop_oneof![
        5 => Just(Vec::new()),
        2 => Just(vec![Extension::router_alert()]),
        3 => vec(extension(), 1..4),
        1 => long,
    ]
}

prop_compose! {
    fn ipv6()(
        (source, destination) in (any_v6(), any_v6()),
        upper in prop_oneof![
            1 => tcp().prop_map(|bytes| (protocol::TCP, bytes, None)).boxed(),
            2 => udp().prop_map(|bytes| (protocol::UDP, bytes, None)).boxed(),
            1 => other_protocol().prop_map(|(protocol, bytes)| (protocol, bytes, None)).boxed(),
            6 => icmp6().prop_map(|(message, to)| (protocol::ICMPV6, message.to_bytes(zero_pseudo()), to)).boxed(),
        ],
        mut_code in option::weighted(0.05, any::<u8>()),
        extensions in extensions(),
        version in rarely(any::<u8>(), 6),
        payload_length in option::weighted(0.1, length()),
        hop_limit in prop_oneof![1 => Just(1u8), 1 => Just(64), 5 => Just(255)],
        aimed in prop::bool::weighted(0.8),
        to_listeners in any::<bool>(),
    ) -> Ipv6Packet {
        let (protocol, mut payload, to) = upper;
        if let (Some(code), Some(byte)) = (mut_code, payload.get_mut(1)) {
            *byte = code;
        }
        let listeners = Ipv6(super::v6("ff02::16").octets());
        let destination = to.filter(|_| aimed).unwrap_or(if to_listeners { listeners } else { destination });
        let packet = Ipv6Packet::new(source, destination, protocol, payload);
        Ipv6Packet { extensions, version: version & 15, payload_length, hop_limit, ..packet }
    }
}

/// Something that happens to a frame.
#[derive(Clone, Debug)]
pub enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Truncate(Index),
    Pad(Vec<u8>),
}

/// Bytes that mean something somewhere.
const TELLING: [u8; 20] = [0, 1, 2, 4, 5, 6, 8, 17, 20, 43, 44, 51, 58, 60, 0x45, 0x60, 0x81, 67, 135, 255];

/// Any damage, most of it where the headers are.
pub fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![any::<u8>(), select(&TELLING[..])];
    prop_oneof![
        4 => (any::<Index>(), byte()).prop_map(|(at, value)| Damage::Set(at, value)),
        3 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => (any::<Index>(), vec(byte(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (any::<Index>(), 1usize..9).prop_map(|(at, len)| Damage::Remove(at, len)),
        2 => any::<Index>().prop_map(Damage::Truncate),
        1 => vec(byte(), 1..40).prop_map(Damage::Pad),
    ]
}

impl Damage {
    /// Does it. Bytes before the ethertype are mostly spared: a wrong MAC hides all else.
    pub fn apply(&self, frame: &mut Vec<u8>) {
        let place =
            |at: &Index, len: usize| if len > 12 { 12 + at.index(len - 12) } else { at.index(len.max(1)) };
        let len = frame.len();
        match self {
            Self::Set(at, value) if len > 0 => frame[place(at, len)] = *value,
            Self::Flip(at, bit) if len > 0 => frame[place(at, len)] ^= 1 << bit,
            Self::Insert(at, bytes) if len > 0 => {
                let at = place(at, len);
                frame.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(at, count) if len > 0 => {
                let at = place(at, len);
                frame.drain(at..(at + count).min(len));
            }
            Self::Truncate(at) => frame.truncate(at.index(len + 1)),
            Self::Pad(bytes) => frame.extend_from_slice(bytes),
            _ => {}
        }
    }
}

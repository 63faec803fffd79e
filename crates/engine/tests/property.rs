//! What holds of the gate for every frame and every binding.

mod common;

use std::ops::Range;

use common::frames::{any_frame, network};
use common::{MACS, OWN4, OWN6, PERMISSIONS, PREFIXES6, VLANS, World, any_v4, any_v6, v4, v6};
use portcullis_abi::{Allow, Ipv4, Ipv6, Mac, Mode};
use portcullis_engine::{DropReason, Finding, SlicePacket, Verdict};
use portcullis_probe::frame::{
    Arp, Extension, Icmp4, Icmp6, Ipv4Packet, Ipv6Packet, NdOption, Tcp, Udp, ethernet, ethertype,
    mld2_report, nd, protocol,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const MALFORMED: Finding = Finding::Violation(DropReason::Malformed);

fn passes(finding: Finding) -> bool {
    matches!(finding, Finding::Honest | Finding::Odd(_))
}

/// An honest frame of the plain container, and where in it the container's identity stands.
struct Honest {
    name: &'static str,
    frame: Vec<u8>,
    claims: Vec<Range<usize>>,
}

const MAC: Range<usize> = 6..12;
const IPV4_SOURCE: Range<usize> = 26..30;
const IPV6_SOURCE: Range<usize> = 22..38;
const ND_TARGET: Range<usize> = 62..78;
const ND_OPTION_MAC: Range<usize> = 80..86;
/// Router solicitations are shorter.
const RS_OPTION_MAC: Range<usize> = 64..70;

fn honest4() -> Vec<Honest> {
    let (own, far): (Ipv4, Ipv4) = (v4(OWN4[0]).into(), v4("10.0.0.1").into());
    let ip = |name, protocol, payload: Vec<u8>| {
        let packet = Ipv4Packet::new(own, far, protocol, payload);
        let frame = ethernet(MACS[2], MACS[0], ethertype::IPV4, &packet.to_bytes());
        Honest { name, frame, claims: vec![MAC, IPV4_SOURCE] }
    };
    let pseudo = Ipv4Packet::new(own, far, 0, []).pseudo();
    let arp = |name, arp: Arp, address: Range<usize>| {
        let frame = ethernet(Mac::BROADCAST, MACS[0], ethertype::ARP, &arp.to_bytes());
        Honest { name, frame, claims: vec![MAC, 22..28, address] }
    };
    let (sender, target) = (28..32, 38..42);
    vec![
        ip("tcp", protocol::TCP, Tcp::new(40000, 443, Tcp::SYN, []).to_bytes(pseudo)),
        ip("udp", protocol::UDP, Udp::new(40000, 53, [1; 9]).to_bytes(pseudo)),
        ip("ping", protocol::ICMP, Icmp4::echo(8, 1, b"hi").to_bytes()),
        ip("sctp", protocol::SCTP, vec![1; 12]),
        arp("request", Arp::request(MACS[0], own, far), sender.clone()),
        arp("reply", Arp::reply(MACS[0], own, MACS[2], far), sender.clone()),
        arp("announcement", Arp::request(MACS[0], own, own), sender),
        arp("probe", Arp::request(MACS[0], Ipv4::UNSPECIFIED, own), target),
    ]
}

fn honest6() -> Vec<Honest> {
    let (own, far): (Ipv6, Ipv6) = (v6(OWN6[0]).into(), v6("fd00::1").into());
    let link_local: Ipv6 = v6(common::LINK_LOCAL).into();
    let wire = |name, packet: &Ipv6Packet, more: &[Range<usize>]| {
        let frame = ethernet(MACS[2], MACS[0], ethertype::IPV6, &packet.to_bytes());
        Honest { name, frame, claims: [&[MAC, IPV6_SOURCE], more].concat() }
    };
    let ip = |source, protocol, payload: Vec<u8>| Ipv6Packet::new(source, far, protocol, payload);
    let pseudo = ip(own, 0, Vec::new()).pseudo();
    let icmp = |source, destination, hop_limit, message: &Icmp6| Ipv6Packet {
        hop_limit,
        ..Ipv6Packet::new(source, destination, protocol::ICMPV6, message.to_bytes(pseudo))
    };
    let (source, target) = ([NdOption::Source(MACS[0])], [NdOption::Target(MACS[0])]);
    let routers = v6("ff02::2").into();
    let report = icmp(link_local, v6("ff02::16").into(), 1, &mld2_report(far.solicited_node()));
    let report = Ipv6Packet { extensions: vec![Extension::router_alert()], ..report };
    let detection = nd::solicitation(own, &[]);
    let mut all = vec![
        wire("tcp", &ip(own, protocol::TCP, Tcp::new(40000, 443, Tcp::SYN, []).to_bytes(pseudo)), &[]),
        wire("udp", &ip(link_local, protocol::UDP, Udp::new(40000, 53, [1; 9]).to_bytes(pseudo)), &[]),
        wire("ping", &icmp(own, far, 64, &Icmp6::echo(128, 1, b"hi")), &[]),
        wire(
            "solicitation",
            &icmp(own, far.solicited_node(), 255, &nd::solicitation(far, &source)),
            &[ND_OPTION_MAC],
        ),
        wire(
            "advertisement",
            &icmp(own, far, 255, &nd::advertisement(0x60, own, &target)),
            &[ND_TARGET, ND_OPTION_MAC],
        ),
        wire(
            "router solicitation",
            &icmp(link_local, routers, 255, &nd::router_solicitation(&source)),
            &[RS_OPTION_MAC],
        ),
        wire("listener report", &report, &[]),
    ];
    // From `::`: the claim is the target.
    let mut detection = wire(
        "duplicate address detection",
        &icmp(Ipv6::UNSPECIFIED, own.solicited_node(), 255, &detection),
        &[],
    );
    detection.claims = vec![MAC, ND_TARGET];
    all.push(detection);
    all
}

#[test]
fn honest_frames_pass_and_one_wrong_bit_in_a_claim_is_a_violation() {
    let world = World::plain();
    for Honest { name, mut frame, claims } in honest4().into_iter().chain(honest6()) {
        assert_eq!(world.ethernet(&SlicePacket::new(&frame)), Finding::Honest, "{name}");
        for bit in claims.into_iter().flatten().flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            frame[bit.0] ^= 1 << bit.1;
            let found = world.ethernet(&SlicePacket::new(&frame));
            assert!(!passes(found), "{name}: {bit:?} flipped: {found:?}");
            frame[bit.0] ^= 1 << bit.1;
        }
    }
}

#[test]
fn an_endpoint_without_a_family_sends_nothing_of_it() {
    let plain = World::plain();
    let only6 = World { ipv4: Vec::new(), ..plain.clone() };
    let only4 = World { ipv6: Vec::new(), link_local: None, ..plain };
    for (world, frames) in [(only6, honest4()), (only4, honest6())] {
        for Honest { name, frame, .. } in frames {
            let found = world.ethernet(&SlicePacket::new(&frame));
            // A link-local source is noise where it is nobody else's.
            let noise = name == "router solicitation" || name == "listener report" || name == "udp";
            match found {
                Finding::Violation(_) => assert!(found.is_evidence(), "{name}: {found:?}"),
                Finding::Mild(reason) => assert!(reason.is_hostile() && noise, "{name}: {found:?}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[test]
fn audit_reports_exactly_what_enforce_drops() {
    let reasons = || DropReason::ALL.iter().copied();
    let findings =
        reasons().flat_map(|reason| [Finding::Violation, Finding::Mild, Finding::Odd].map(|f| f(reason)));
    for finding in findings.chain([Finding::Honest]) {
        let of = |mode| Verdict::of(mode, finding);
        assert_eq!(of(Mode::Off), Verdict::Pass);
        match of(Mode::Enforce) {
            Verdict::Drop(reason) => {
                assert!([Finding::Violation(reason), Finding::Mild(reason)].contains(&finding));
                assert_eq!(of(Mode::Audit), Verdict::Audit(reason));
            }
            passed => {
                assert!(passes(finding) && !matches!(passed, Verdict::Audit(_)));
                assert_eq!(of(Mode::Audit), passed);
            }
        }
    }
}

/// A world that holds one thing more. IPv4 prefixes are left out: a longer one brings a broadcast address,
/// which a shorter one may have held as a host's.
fn widened(world: &World, by: usize) -> World {
    let mut wide = world.clone();
    let (parsed6, permissions) = (|(a, len): (&str, u8)| (v6(a), len), &PERMISSIONS[..6]);
    match by % 7 {
        0 => wide.allow |= permissions[by / 7 % 6],
        1 if wide.macs.len() == 1 => wide.macs.push(MACS[1]),
        2 => wide.ipv4.push(v4(OWN4[by / 7 % 4])),
        3 => wide.ipv6.push(v6(OWN6[by / 7 % 4])),
        4 => wide.prefixes6.push(parsed6(PREFIXES6[by / 7 % 4])),
        5 => wide.vlans.push(VLANS[by / 7 % 3]),
        _ => wide.ethertypes.push(0x88cc),
    }
    wide
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_bytes_make_it_panic(
        world in World::any(),
        bytes in vec(any::<u8>(), 0..160),
        with_own_mac in any::<bool>(),
        tag in prop::option::of(any::<u16>()),
        gso in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if let (true, Some(source)) = (with_own_mac, bytes.get_mut(MAC)) {
            source.copy_from_slice(&MACS[0].0);
        }
        let packet = SlicePacket::new(&bytes);
        let packet = tag.map_or(packet, |tci| packet.with_tag(tci));
        let packet = if gso { packet.with_gso() } else { packet };
        let _ = (world.ethernet(&packet), world.layer3(&packet));
    }

    #[test]
    fn what_stands_behind_a_packet_changes_nothing(
        world in World::any(), frame in any_frame(), padding in vec(any::<u8>(), 1..60),
    ) {
        let found = world.ethernet(&SlicePacket::new(&frame));
        // Below that a spanning tree's message is not told from other LLC. What is cut off is
        // malformed; padding may complete it.
        if frame.len() >= 22 && found != MALFORMED {
            let padded = [frame, padding].concat();
            prop_assert_eq!(world.ethernet(&SlicePacket::new(&padded)), found);
        }
    }

    #[test]
    fn a_cut_frame_gets_the_whole_one_s_verdict_or_is_malformed(
        world in World::any(), frame in any_frame(), at in any::<Index>(),
    ) {
        let whole = world.ethernet(&SlicePacket::new(&frame));
        let cut = world.ethernet(&SlicePacket::new(&frame[..at.index(frame.len() + 1)]));
        // A spanning tree's message that was allowed (if only but for a priority tag) is mere LLC
        // without its header.
        let llc = passes(whole) || whole == Finding::Violation(DropReason::Vlan);
        let cut_llc = llc && cut == Finding::Violation(DropReason::Ethertype);
        prop_assert!(cut == whole || cut == MALFORMED || cut_llc, "whole {whole:?}, cut {cut:?}");
    }

    #[test]
    fn the_payload_changes_nothing(
        world in World::any(),
        (source4, source6) in (any_v4(), any_v6()),
        ports in (select(&[67u16, 68, 40000][..]), select(&[53u16, 67, 4789][..])),
        (one, mut other) in (vec(any::<u8>(), 0..80), vec(any::<u8>(), 80)),
        tcp in any::<bool>(),
    ) {
        other.truncate(one.len());
        let frames = |payload: &[u8]| {
            let mut packet4 = Ipv4Packet::new(source4, v4("10.0.0.1").into(), protocol::TCP, []);
            let mut packet6 = Ipv6Packet::new(source6, v6("fd00::1").into(), protocol::TCP, []);
            let segment = |pseudo| if tcp {
                (protocol::TCP, Tcp::new(ports.0, ports.1, Tcp::ACK, payload).to_bytes(pseudo))
            } else {
                (protocol::UDP, Udp::new(ports.0, ports.1, payload).to_bytes(pseudo))
            };
            (packet4.protocol, packet4.payload) = segment(packet4.pseudo());
            (packet6.protocol, packet6.payload) = segment(packet6.pseudo());
            [(ethertype::IPV4, packet4.to_bytes()), (ethertype::IPV6, packet6.to_bytes())]
                .map(|(kind, packet)| ethernet(MACS[2], MACS[0], kind, &packet))
                .map(|frame| world.ethernet(&SlicePacket::new(&frame)))
        };
        prop_assert_eq!(frames(&one), frames(&other));
    }

    #[test]
    fn a_tag_counts_the_same_in_the_frame_and_in_metadata(
        world in World::any(),
        frame in any_frame(),
        tpid in select(&[ethertype::VLAN, ethertype::QINQ][..]),
        tci in prop_oneof![Just(0u16), Just(42), any::<u16>()],
        gso in any::<bool>(),
    ) {
        prop_assume!(frame.len() >= 14);
        let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
        let in_frame = [&frame[..12], &tag, &frame[12..]].concat();
        let (offloaded, in_frame) = (SlicePacket::new(&frame).with_tag(tci), SlicePacket::new(&in_frame));
        let (offloaded, in_frame) =
            if gso { (offloaded.with_gso(), in_frame.with_gso()) } else { (offloaded, in_frame) };
        prop_assert_eq!(world.ethernet(&offloaded), world.ethernet(&in_frame));
    }

    #[test]
    fn what_is_bound_or_allowed_only_ever_widens(
        world in World::any(), frame in any_frame(), tag in prop::option::weighted(0.2, 0u16..50), by in any::<usize>(),
    ) {
        let packet = tag.into_iter().fold(SlicePacket::new(&frame), |packet, tci| packet.with_tag(tci));
        let narrow = world.ethernet(&packet);
        let wide = widened(&world, by).ethernet(&packet);
        prop_assert!(!passes(narrow) || passes(wide), "{narrow:?}, with more {wide:?}");
        let strict = World { allow: world.allow | Allow::NO_SOURCE_ROUTE, ..world };
        let strict = strict.ethernet(&packet);
        prop_assert!(strict == narrow || strict == Finding::Violation(DropReason::SourceRoute));
    }

    #[test]
    fn a_packet_is_judged_alike_with_and_without_an_ethernet_header(
        world in World::any(), (_, packet) in network(), gso in any::<bool>(),
    ) {
        let kind = match packet.first().map(|first| first >> 4) {
            Some(4) => ethertype::IPV4,
            Some(6) => ethertype::IPV6,
            _ => return Ok(()),
        };
        let frame = ethernet(Mac::BROADCAST, MACS[0], kind, &packet);
        let (frame, packet) = (SlicePacket::new(&frame), SlicePacket::new(&packet));
        let (frame, packet) = if gso { (frame.with_gso(), packet.with_gso()) } else { (frame, packet) };
        let (ethernet, layer3) = (world.ethernet(&frame), world.layer3(&packet));
        // Only there does a link-layer address inside neighbour discovery mean something.
        prop_assert!(ethernet == layer3 || ethernet == Finding::Violation(DropReason::SpoofedNd),
            "{ethernet:?}, without a header {layer3:?}");
    }
}

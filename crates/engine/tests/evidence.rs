//! What is held against an endpoint, and what is merely dropped.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod common;

use std::net::IpAddr;

use common::{MACS, World, v4, v6};
use portcullis_abi::{Ipv4, Ipv6, Mac};
use portcullis_engine::{DropReason, Finding, SlicePacket};
use portcullis_probe::frame::{
    Arp, Extension, Icmp6, Ipv4Packet, Ipv6Packet, NdOption, Tcp, Udp, ethernet, ethertype, mld2_report, nd,
    protocol,
};

const EVIDENCE: bool = true;
const MILD: bool = false;

fn check(world: &World, frame: &[u8], reason: DropReason, evidence: bool) {
    let want = if evidence { Finding::Violation(reason) } else { Finding::Mild(reason) };
    let found = world.ethernet(&SlicePacket::new(frame));
    assert_eq!(found, want, "{frame:02x?}");
    assert_eq!(found.is_evidence(), evidence);
}

fn from4(source: &str) -> Vec<u8> {
    let mut packet = Ipv4Packet::new(v4(source).into(), v4("10.0.0.1").into(), protocol::TCP, []);
    packet.payload = Tcp::new(40000, 443, Tcp::SYN, []).to_bytes(packet.pseudo());
    ethernet(MACS[2], MACS[0], ethertype::IPV4, &packet.to_bytes())
}

fn from6(source: &str) -> Vec<u8> {
    let mut packet = Ipv6Packet::new(v6(source).into(), v6("fd00::1").into(), protocol::UDP, []);
    packet.payload = Udp::new(40000, 53, []).to_bytes(packet.pseudo());
    ethernet(MACS[2], MACS[0], ethertype::IPV6, &packet.to_bytes())
}

fn arp(arp: Arp) -> Vec<u8> {
    ethernet(Mac::BROADCAST, MACS[0], ethertype::ARP, &arp.to_bytes())
}

/// Neighbour discovery from a source, hop limit and extension headers as said.
fn discovery(source: &str, to: &str, hop_limit: u8, message: &Icmp6, extensions: Vec<Extension>) -> Vec<u8> {
    let pseudo = Ipv6Packet::new(v6(source).into(), v6(to).into(), 0, []).pseudo();
    let packet =
        Ipv6Packet::new(v6(source).into(), v6(to).into(), protocol::ICMPV6, message.to_bytes(pseudo));
    let packet = Ipv6Packet { hop_limit, extensions, ..packet };
    ethernet(MACS[2], MACS[0], ethertype::IPV6, &packet.to_bytes())
}

fn knowing(identities: &[&str]) -> World {
    let identities = identities.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect();
    World { identities, ..World::plain() }
}

fn address4(text: &str) -> Ipv4 {
    v4(text).into()
}

fn address6(text: &str) -> Ipv6 {
    v6(text).into()
}

#[test]
fn sources_of_nobody_are_noise_and_all_others_a_claim() {
    let world = World::plain();
    for (source, evidence) in [
        ("0.0.0.0", MILD),
        ("169.254.7.7", MILD),
        ("127.0.0.1", MILD),
        ("10.0.0.3", EVIDENCE),
        ("10.0.0.1", EVIDENCE),
        ("8.8.8.8", EVIDENCE),
        ("224.0.0.1", EVIDENCE),
        ("255.255.255.255", EVIDENCE),
    ] {
        check(&world, &from4(source), DropReason::SpoofedIpv4, evidence);
    }
    for (source, evidence) in [
        ("::", MILD),
        ("::1", MILD),
        ("fe80::7", MILD),
        ("febf::7", MILD),
        ("fec0::7", EVIDENCE),
        ("fd00::3", EVIDENCE),
        ("fd00::1", EVIDENCE),
        ("2001:db8::1", EVIDENCE),
        ("::ffff:10.0.0.2", EVIDENCE),
        ("ff02::1", EVIDENCE),
    ] {
        check(&world, &from6(source), DropReason::SpoofedIpv6, evidence);
    }
}

#[test]
fn a_dhcp_servers_role_is_evidence_whoever_takes_it() {
    let world = World::plain();
    for (port, evidence) in [(67, EVIDENCE), (68, MILD)] {
        let mut offer = Ipv4Packet::new(Ipv4::UNSPECIFIED, Ipv4::BROADCAST, protocol::UDP, []);
        offer.payload = Udp::new(port, 68, [0; 240]).to_bytes(offer.pseudo());
        let frame = ethernet(MACS[2], MACS[0], ethertype::IPV4, &offer.to_bytes());
        check(&world, &frame, DropReason::SpoofedIpv4, evidence);
    }
    for (port, evidence) in [(547, EVIDENCE), (546, MILD)] {
        let mut reply = Ipv6Packet::new(address6("fe80::7"), address6("ff02::1:2"), protocol::UDP, []);
        reply.payload = Udp::new(port, 546, [0; 40]).to_bytes(reply.pseudo());
        let frame = ethernet(MACS[2], MACS[0], ethertype::IPV6, &reply.to_bytes());
        check(&world, &frame, DropReason::SpoofedIpv6, evidence);
    }
}

#[test]
fn a_link_local_address_that_is_somebodys_is_a_claim() {
    let world = knowing(&["fe80::7", "169.254.7.7"]);
    check(&world, &from6("fe80::7"), DropReason::SpoofedIpv6, EVIDENCE);
    check(&world, &from6("fe80::8"), DropReason::SpoofedIpv6, MILD);
    check(&world, &from4("169.254.7.7"), DropReason::SpoofedIpv4, EVIDENCE);
    check(&world, &from4("169.254.7.8"), DropReason::SpoofedIpv4, MILD);
    let advertisement = |target| nd::advertisement(0x60, address6(target), &[]);
    for (target, evidence) in [("fe80::7", EVIDENCE), ("fe80::8", MILD)] {
        let frame = discovery("fd00::2", "ff02::1", 255, &advertisement(target), vec![]);
        check(&world, &frame, DropReason::SpoofedNd, evidence);
    }
    // The node's own are known without being told.
    let world = World { nodes6: vec![v6("fe80::1")], ..World::plain() };
    check(&world, &from6("fe80::1"), DropReason::SpoofedIpv6, EVIDENCE);
}

#[test]
fn arp_is_evidence_where_it_speaks_for_another() {
    let world = World::plain();
    let (own, far) = (address4("10.0.0.2"), address4("10.0.0.1"));
    let reason = DropReason::SpoofedArp;
    check(&world, &arp(Arp::request(MACS[0], far, own)), reason, EVIDENCE);
    check(&world, &arp(Arp::reply(MACS[0], far, MACS[2], own)), reason, EVIDENCE);
    check(&world, &arp(Arp::request(MACS[1], own, far)), reason, EVIDENCE);
    // Detection of an address that is not bound (RFC 5227), and of one that zeroconf took (RFC 3927).
    check(&world, &arp(Arp::request(MACS[0], Ipv4::UNSPECIFIED, far)), reason, EVIDENCE);
    let zeroconf = Arp::request(MACS[0], Ipv4::UNSPECIFIED, address4("169.254.7.7"));
    check(&world, &arp(zeroconf), reason, MILD);
    check(&world, &arp(Arp::request(MACS[0], address4("169.254.7.7"), far)), reason, MILD);
    check(&world, &arp(Arp::reply(MACS[0], Ipv4::UNSPECIFIED, MACS[2], far)), reason, MILD);
    // Ill-formed, with one's own addresses and with another's.
    for (sender, evidence) in [(own, MILD), (far, EVIDENCE)] {
        let mut frame = arp(Arp::request(MACS[0], sender, far));
        frame[21] = 3;
        check(&world, &frame, reason, evidence);
        frame[19] = 16;
        check(&world, &frame, reason, MILD);
    }
}

#[test]
fn a_want_of_form_in_neighbour_discovery_is_evidence_only_with_a_claim() {
    let world = World::plain();
    let reason = DropReason::SpoofedNd;
    let own = "fd00::2";
    let advertises = |target| nd::advertisement(0x60, address6(target), &[NdOption::Target(MACS[0])]);
    let fragment = || vec![Extension::fragment(0, false, 7)];
    for (target, evidence) in [(own, MILD), ("fd00::1", EVIDENCE), ("fe80::7", MILD)] {
        check(&world, &discovery(own, "ff02::1", 64, &advertises(target), vec![]), reason, evidence);
        check(&world, &discovery(own, "ff02::1", 255, &advertises(target), fragment()), reason, evidence);
    }
    // The source may be the claim.
    check(&world, &discovery("fd00::1", "ff02::1", 64, &advertises(own), vec![]), reason, EVIDENCE);
    // So may be a link-layer address.
    let solicits = |mac| nd::solicitation(address6("fd00::1"), &[NdOption::Source(mac)]);
    check(&world, &discovery(own, "ff02::1:ff00:1", 255, &solicits(MACS[1]), vec![]), reason, EVIDENCE);
    // A router's role, however it is wrapped.
    let advertisement = nd::router_advertisement(&[]);
    let link_local = common::LINK_LOCAL;
    check(&world, &discovery(link_local, "ff02::1", 255, &advertisement, fragment()), reason, EVIDENCE);
    check(
        &world,
        &discovery(link_local, "ff02::1", 255, &advertisement, vec![]),
        DropReason::RogueRa,
        EVIDENCE,
    );
}

#[test]
fn address_detection_is_evidence_for_what_is_anothers() {
    let world = knowing(&["fe80::9"]);
    for (target, evidence) in [("fd00::3", EVIDENCE), ("fe80::9", EVIDENCE), ("fe80::8", MILD)] {
        let group = Ipv6::from(v6(target)).solicited_node().to_ip().to_string();
        let frame = discovery("::", &group, 255, &nd::solicitation(address6(target), &[]), vec![]);
        check(&world, &frame, DropReason::SpoofedNd, evidence);
    }
    // One's own, with what must not be in it, or to the wrong group.
    let own = address6("fd00::2");
    let told = nd::solicitation(own, &[NdOption::Source(MACS[0])]);
    check(&world, &discovery("::", "ff02::1:ff00:2", 255, &told, vec![]), DropReason::SpoofedNd, MILD);
    let astray = nd::solicitation(own, &[]);
    check(&world, &discovery("::", "ff02::1", 255, &astray, vec![]), DropReason::SpoofedNd, MILD);
}

#[test]
fn what_a_healthy_container_emits_is_never_evidence() {
    // IPv4 alone is bound, as a runtime without IPv6 says: its kernel speaks IPv6 all the same.
    let world = World { ipv6: Vec::new(), link_local: None, ..World::plain() };
    let link_local = common::LINK_LOCAL;
    let group = Ipv6::from(v6(link_local)).solicited_node().to_ip().to_string();
    let report = mld2_report(address6(link_local).solicited_node());
    let alert = || vec![Extension::router_alert()];
    // What a router on the bridge makes its kernel give itself (RFC 4862), and who has another's MAC in it.
    let given = Ipv6(eui64("2001:db8:9::", MACS[0]));
    let others = Ipv6(eui64("2001:db8:9::", MACS[1]));
    let routers = nd::router_solicitation(&[NdOption::Source(MACS[0])]);
    let frames = [
        discovery("::", &group, 255, &nd::solicitation(address6(link_local), &[]), vec![]),
        discovery("::", "ff02::16", 1, &report, alert()),
        discovery(link_local, "ff02::16", 1, &report, alert()),
        discovery("::", "ff02::2", 255, &nd::router_solicitation(&[]), vec![]),
        discovery(link_local, "ff02::2", 255, &routers, vec![]),
        discovery(
            link_local,
            "ff02::1",
            255,
            &nd::advertisement(0x20, address6(link_local), &[NdOption::Target(MACS[0])]),
            vec![],
        ),
        discovery(
            "::",
            &given.solicited_node().to_ip().to_string(),
            255,
            &nd::solicitation(given, &[]),
            vec![],
        ),
        from6(&given.to_ip().to_string()),
        from6(link_local),
        from4("0.0.0.0"),
        from4("169.254.3.4"),
        arp(Arp::request(MACS[0], Ipv4::UNSPECIFIED, address4("169.254.3.4"))),
        ethernet(MACS[2], MACS[0], 0x88cc, &[0; 46]),
        ethernet(MACS[2], MACS[0], 0x8100, &[&[0, 42, 8, 0], &from4("10.0.0.2")[14..]].concat()),
        ethernet(MACS[2], MACS[0], ethertype::IPV4, &[0x45]),
    ];
    for frame in frames {
        let found = world.ethernet(&SlicePacket::new(&frame));
        assert!(!found.is_evidence(), "{found:?}: {frame:02x?}");
    }
    check(&world, &from6(&others.to_ip().to_string()), DropReason::SpoofedIpv6, EVIDENCE);
}

/// The address that an interface with this MAC gives itself in a prefix.
fn eui64(prefix: &str, mac: Mac) -> [u8; 16] {
    let mut address = mac.eui64_link_local().0;
    address[..8].copy_from_slice(&v6(prefix).octets()[..8]);
    address
}

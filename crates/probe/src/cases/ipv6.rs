//! IPv6 sources, honest and forged, and multicast listener discovery.

use portcullis_abi::{DropReason, Ipv6};

use super::Expect;
use super::forge::{ALL_NODES, ALL_ROUTERS, Forge, MLD2_ROUTERS, STRANGER6};
use crate::frame::{Extension, Icmp6, Ipv6Packet, Tcp, mld1, mld2_report, pad_to, protocol};

/// Multicast DNS.
const MDNS: Ipv6 = Ipv6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb]);
/// A group on the link that nobody else has.
const GROUP: Ipv6 = Ipv6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7]);
/// A group beyond the link.
const SITE_GROUP: Ipv6 = Ipv6([0xff, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7]);

pub fn add(f: &mut Forge<'_>) {
    f.group("ipv6");
    if let Some(own) = f.me.ipv6 {
        honest(f, own);
        f.group("ipv6-fragment");
        honest_fragments(f, own);
    }
    f.group("ipv6");
    if let Some(own) = f.me.own_link_local() {
        link_local(f, own);
    }
    forged(f);
    forged_shapes(f);
    f.group("ipv6-fragment");
    forged_fragments(f);
    f.group("mld");
    if f.me.any6().is_some() {
        mld_honest(f);
    }
    mld_forged(f);
}

fn honest(f: &mut Forge<'_>, own: Ipv6) {
    let frame = f.wire6(&f.tcp6(own, Tcp::SYN));
    f.pass("ipv6-tcp-syn", "An honest TCP SYN", frame);
    let frame = f.wire6(&f.udp6(own));
    f.pass("ipv6-udp", "An honest UDP datagram", frame);
    let echo = Icmp6::echo(128, f.number(), &f.payload(56));
    let frame = f.wire6(&f.icmp6(own, f.me.gateway6(), &echo));
    f.pass("ipv6-echo-request", "An honest echo request", frame);
    let frame = f.wire6(&f.udp6_to(own, MDNS, 5353, 5353));
    f.pass("ipv6-mdns", "An honest multicast DNS datagram", frame);
    let frame = f.wire6(&Ipv6Packet { traffic_class: 0xb9, hop_limit: 1, ..f.udp6(own) });
    f.pass("ipv6-traffic-class", "An honest datagram with a traffic class and hop limit 1", frame);
    let mut frame = pad_to(f.wire6(&f.udp6(own)), 60);
    frame.extend_from_slice(&[0xa5; 16]);
    f.pass("ipv6-trailer", "An honest datagram with bytes behind it", frame);
    let frame = f.wire6(&f.ipv6(own, protocol::EXPERIMENT, f.payload(1460)));
    f.pass("ipv6-largest", "An honest packet that fills an MTU of 1500", frame);
}

fn link_local(f: &mut Forge<'_>, own: Ipv6) {
    let echo = Icmp6::echo(128, f.number(), &f.payload(16));
    let frame = f.wire6(&f.icmp6(own, ALL_NODES, &echo));
    f.pass("ipv6-link-local-echo", "An honest echo request from our link-local address", frame);
    let frame = f.wire6(&f.udp6_to(own, MDNS, 5353, 5353));
    f.pass("ipv6-link-local-mdns", "An honest multicast DNS datagram from our link-local address", frame);
}

fn forged(f: &mut Forge<'_>) {
    let own4 = f.me.ipv4.unwrap_or(f.me.neighbour4());
    let loopback = Ipv6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let router = Ipv6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let mut other_link = f.me.neighbour_link_local();
    other_link.0[2] = 1;
    let rows = [
        ("ipv6-source-of-neighbour", f.me.neighbour6(), "A neighbour's address as source"),
        ("ipv6-source-of-gateway", f.me.gateway6(), "The gateway's address as source"),
        ("ipv6-source-of-stranger", STRANGER6, "An address of the Internet as source"),
        ("ipv6-source-loopback", loopback, "The loopback address as source"),
        ("ipv6-source-unspecified", Ipv6::UNSPECIFIED, "The unspecified address as source of an echo"),
        ("ipv6-source-multicast", ALL_NODES, "The all-nodes group as source"),
        ("ipv6-source-mapped", own4.mapped(), "An IPv4-mapped address as source"),
        (
            "ipv6-source-link-local-neighbour",
            f.me.neighbour_link_local(),
            "A neighbour's link-local address as source",
        ),
        ("ipv6-source-link-local-router", router, "fe80::1, a router's usual address, as source"),
        (
            "ipv6-source-link-local-subnet",
            other_link,
            "A link-local address with bits set beyond fe80::/64 as source",
        ),
        (
            "ipv6-source-site-local",
            Ipv6([0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
            "A site-local address as source",
        ),
    ];
    for (id, source, title) in rows {
        // The loopback interface is bound to what is forged everywhere else.
        if f.owns6(source) {
            continue;
        }
        let frame = f.wire6(&f.quiet6(source));
        f.drop(id, DropReason::SpoofedIpv6, title, frame);
    }
    if let Some(node) = f.me.node6.filter(|node| !f.owns6(*node)) {
        let frame = f.wire6(&f.quiet6(node));
        f.drop("ipv6-source-of-node", DropReason::SpoofedIpv6, "The node's address as source", frame);
    }
}

fn forged_shapes(f: &mut Forge<'_>) {
    let (other, none) = (f.me.neighbour6(), Ipv6::UNSPECIFIED);
    let packets = [
        ("ipv6-forged-tcp", "A neighbour's address in the middle of a TCP flow", f.tcp6(other, Tcp::ACK)),
        ("ipv6-forged-udp", "A neighbour's address in a UDP datagram", f.udp6(other)),
        (
            "ipv6-forged-mdns",
            "A neighbour's address in a multicast DNS answer",
            f.udp6_to(other, MDNS, 5353, 5353),
        ),
        (
            "ipv6-forged-no-next",
            "A neighbour's address in a packet without payload",
            f.ipv6(other, protocol::NO_NEXT, []),
        ),
        ("ipv6-unspecified-udp", "A UDP datagram from the unspecified address", f.udp6(none)),
        ("ipv6-unspecified-tcp", "A TCP segment from the unspecified address", f.tcp6(none, Tcp::SYN)),
    ];
    for (id, title, packet) in packets {
        let frame = f.wire6(&packet);
        f.drop(id, DropReason::SpoofedIpv6, title, frame);
    }
    let headers = [
        (
            "ipv6-forged-behind-hop-by-hop",
            vec![Extension::hop_by_hop()],
            "A neighbour's address in front of hop-by-hop options",
        ),
        (
            "ipv6-forged-behind-destination",
            vec![Extension::destination(), Extension::destination()],
            "A neighbour's address in front of destination options",
        ),
        (
            "ipv6-forged-atomic-fragment",
            vec![Extension::fragment(0, false, 9)],
            "A neighbour's address in an atomic fragment",
        ),
    ];
    for (id, extensions, title) in headers {
        let frame = f.wire6(&Ipv6Packet { extensions, ..f.udp6(other) });
        f.drop(id, DropReason::SpoofedIpv6, title, frame);
    }
}

/// A datagram of 8 + 56 bytes, to be cut.
fn long_udp(f: &Forge<'_>, source: Ipv6) -> Ipv6Packet {
    let mut packet = f.udp6(source);
    packet.payload[4..6].copy_from_slice(&64u16.to_be_bytes());
    packet.payload.resize(64, 0x5a);
    packet
}

fn frames(f: &Forge<'_>, packets: &[Ipv6Packet]) -> Vec<Vec<u8>> {
    packets.iter().map(|p| f.wire6(p)).collect()
}

fn honest_fragments(f: &mut Forge<'_>, own: Ipv6) {
    let all = frames(f, &long_udp(f, own).fragments(&[0, 3, 6], 11));
    f.add("ipv6-fragments", "An honest datagram in three fragments", Expect::Pass, all);
    let mut all = frames(f, &long_udp(f, own).fragments(&[0, 4], 12));
    all.reverse();
    f.add(
        "ipv6-fragments-reversed",
        "An honest datagram in two fragments, the last one first",
        Expect::Pass,
        all,
    );
    let all = frames(f, &long_udp(f, own).fragments(&[0], 13));
    f.add("ipv6-atomic-fragment", "An honest datagram in an atomic fragment", Expect::Pass, all);
    let mut late = long_udp(f, own).fragments(&[0, 2], 14).split_off(1);
    late[0].payload[..4].copy_from_slice(&[0x02, 0x23, 0x02, 0x22]);
    let frame = frames(f, &late);
    f.add(
        "ipv6-late-fragment-like-dhcp",
        "An honest later fragment whose data looks like a DHCPv6 server's header",
        Expect::Pass,
        frame,
    );
}

fn forged_fragments(f: &mut Forge<'_>) {
    let other = f.me.neighbour6();
    let forged = Expect::Drop(DropReason::SpoofedIpv6);
    let all = frames(f, &long_udp(f, other).fragments(&[0, 3, 6], 21));
    f.add("ipv6-forged-fragments", "A neighbour's address in all of three fragments", forged, all);
    let late = frames(f, &long_udp(f, other).fragments(&[0, 4], 22)[1..]);
    f.add("ipv6-forged-last-fragment", "A neighbour's address in a last fragment alone", forged, late);
    let mut all = frames(f, &long_udp(f, other).fragments(&[0, 1, 2, 3], 23));
    all.reverse();
    f.add(
        "ipv6-forged-fragments-of-8",
        "A neighbour's address in fragments of eight bytes, in reverse order",
        forged,
        all,
    );
}

/// A listener message: hop limit 1, behind the router alert that it always carries.
fn mld(f: &Forge<'_>, source: Ipv6, destination: Ipv6, message: &Icmp6) -> Ipv6Packet {
    let packet = f.icmp6(source, destination, message);
    Ipv6Packet { hop_limit: 1, extensions: vec![Extension::router_alert()], ..packet }
}

fn mld_honest(f: &mut Forge<'_>) {
    let none = Ipv6::UNSPECIFIED;
    let frame = f.wire6(&mld(f, none, MLD2_ROUTERS, &mld2_report(GROUP)));
    f.pass(
        "mld2-report-before-address",
        "An honest MLDv2 report from the unspecified address, as every interface sends it at boot",
        frame,
    );
    let frame = f.wire6(&mld(f, none, GROUP, &mld1(131, GROUP)));
    f.pass("mld1-report-before-address", "An honest MLDv1 report from the unspecified address", frame);
    let frame = f.wire6(&mld(f, none, ALL_ROUTERS, &mld1(132, GROUP)));
    f.pass("mld1-done-before-address", "An honest MLDv1 done from the unspecified address", frame);
    let frame =
        f.wire6(&Ipv6Packet { extensions: Vec::new(), ..mld(f, none, MLD2_ROUTERS, &mld2_report(GROUP)) });
    f.pass(
        "mld2-report-without-alert",
        "An MLDv2 report from the unspecified address that lacks its router alert",
        frame,
    );
    let Some(own) = f.me.own_link_local() else { return };
    let frame = f.wire6(&mld(f, own, MLD2_ROUTERS, &mld2_report(GROUP)));
    f.pass("mld2-report", "An honest MLDv2 report from our link-local address", frame);
    let frame = f.wire6(&mld(f, own, GROUP, &mld1(131, GROUP)));
    f.pass("mld1-report", "An honest MLDv1 report from our link-local address", frame);
    let frame = f.wire6(&mld(f, own, ALL_ROUTERS, &mld1(132, GROUP)));
    f.pass("mld1-done", "An honest MLDv1 done from our link-local address", frame);
}

fn mld_forged(f: &mut Forge<'_>) {
    let none = Ipv6::UNSPECIFIED;
    let spoofed = DropReason::SpoofedIpv6;
    let frame = f.wire6(&mld(f, f.me.neighbour_link_local(), MLD2_ROUTERS, &mld2_report(GROUP)));
    f.drop("mld2-report-of-neighbour", spoofed, "An MLDv2 report in a neighbour's name", frame);
    let frame = f.wire6(&mld(f, none, ALL_NODES, &Icmp6 { code: 0, ..mld1(130, none) }));
    f.drop(
        "mld1-query-from-unspecified",
        spoofed,
        "An MLD query from the unspecified address, a querier's role",
        frame,
    );
    let frame = f.wire6(&Ipv6Packet { hop_limit: 64, ..mld(f, none, MLD2_ROUTERS, &mld2_report(GROUP)) });
    f.drop(
        "mld2-report-hop-limit-64",
        spoofed,
        "An MLDv2 report from the unspecified address that could leave the link",
        frame,
    );
    let frame = f.wire6(&mld(f, none, SITE_GROUP, &mld1(131, SITE_GROUP)));
    f.drop(
        "mld1-report-beyond-link",
        spoofed,
        "An MLDv1 report from the unspecified address to a group beyond the link",
        frame,
    );
    let frame = f.wire6(&mld(f, none, f.me.gateway6(), &mld2_report(GROUP)));
    f.drop("mld2-report-unicast", spoofed, "An MLDv2 report from the unspecified address to one host", frame);
}

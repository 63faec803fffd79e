//! IPv4 sources, honest and forged, whole and in fragments.

use portcullis_abi::{DropReason, Ipv4};

use super::Expect;
use super::forge::{Forge, STRANGER4};
use crate::frame::{Icmp4, Ipv4Packet, Tcp, pad_to, protocol};

pub fn add(f: &mut Forge<'_>) {
    if let Some(own) = f.me.ipv4 {
        f.group("ipv4");
        honest_transports(f, own);
        honest_shapes(f, own);
        f.group("ipv4-fragment");
        honest_fragments(f, own);
    }
    f.group("ipv4");
    forged(f);
    forged_shapes(f);
    f.group("ipv4-fragment");
    forged_fragments(f);
}

fn honest_transports(f: &mut Forge<'_>, own: Ipv4) {
    let frame = f.wire4(&f.tcp4(own, Tcp::SYN));
    f.pass("ipv4-tcp-syn", "An honest TCP SYN", frame);
    let frame = f.wire4(&f.tcp4(own, Tcp::PSH | Tcp::ACK));
    f.pass("ipv4-tcp-data", "An honest TCP segment with data", frame);
    let frame = f.wire4(&f.udp4(own));
    f.pass("ipv4-udp", "An honest UDP datagram", frame);
    let mut packet = f.udp4(own);
    packet.payload[6..8].fill(0);
    let frame = f.wire4(&packet);
    f.pass("ipv4-udp-without-checksum", "An honest UDP datagram without a checksum", frame);
    let echo = Icmp4::echo(8, f.number(), &f.payload(56)).to_bytes();
    let frame = f.wire4(&f.ipv4(own, protocol::ICMP, echo));
    f.pass("ipv4-echo-request", "An honest echo request", frame);
    let rows = [
        ("ipv4-sctp", protocol::SCTP, "An honest SCTP packet"),
        ("ipv4-esp", protocol::ESP, "An honest ESP packet"),
        ("ipv4-unknown-protocol", protocol::EXPERIMENT, "An honest packet of an unknown protocol"),
    ];
    for (id, number, title) in rows {
        let frame = f.wire4(&f.ipv4(own, number, f.payload(24)));
        f.pass(id, title, frame);
    }
    let frame = f.wire4(&f.udp4_to(own, Ipv4([224, 0, 0, 251]), 5353, 5353));
    f.pass("ipv4-mdns", "An honest multicast DNS datagram", frame);
    let frame = f.wire4(&f.udp4_to(own, Ipv4::BROADCAST, 40000, 9));
    f.pass("ipv4-to-broadcast", "An honest datagram to 255.255.255.255", frame);
    if let Some(broadcast) = f.me.broadcast4() {
        let frame = f.wire4(&f.udp4_to(own, broadcast, 40000, 9));
        f.pass("ipv4-to-subnet-broadcast", "An honest datagram to the subnet's broadcast address", frame);
    }
}

fn honest_shapes(f: &mut Forge<'_>, own: Ipv4) {
    let packet = Ipv4Packet { traffic_class: 0xb9, dont_fragment: true, ttl: 1, ..f.udp4(own) };
    let frame = f.wire4(&packet);
    f.pass("ipv4-dscp-ecn-df", "An honest datagram with DSCP, ECN, DF and TTL 1", frame);
    let options = [
        (
            "ipv4-option-timestamp",
            vec![68, 8, 5, 0, 0, 0, 0, 0],
            "An honest datagram with a timestamp option",
        ),
        ("ipv4-option-router-alert", vec![148, 4, 0, 0], "An honest datagram with a router alert option"),
        (
            "ipv4-option-source-route",
            [vec![131, 7, 4], f.me.gateway4().0.to_vec(), vec![0]].concat(),
            "An honest datagram with a loose source route option",
        ),
        ("ipv4-option-longest", vec![1; 40], "An honest datagram whose options fill the longest header"),
    ];
    for (id, options, title) in options {
        let frame = f.wire4(&Ipv4Packet { options, ..f.udp4(own) });
        f.pass(id, title, frame);
    }
    let frame = pad_to(f.wire4(&f.udp4(own)), 60);
    f.pass("ipv4-padded", "An honest datagram with Ethernet padding behind it", frame);
    let mut frame = f.wire4(&f.udp4(own));
    frame.extend_from_slice(&[0xa5; 64]);
    f.pass("ipv4-trailer", "An honest datagram with a trailer longer than padding needs", frame);
    let packet = f.ipv4(own, protocol::EXPERIMENT, f.payload(1480));
    let frame = f.wire4(&packet);
    f.pass("ipv4-largest", "An honest packet that fills an MTU of 1500", frame);
    let frame = f.wire4(&f.ipv4(own, protocol::EXPERIMENT, []));
    f.pass("ipv4-empty", "An honest packet with no payload at all", frame);
}

fn forged(f: &mut Forge<'_>) {
    let rows: [(&str, Ipv4, &str); 12] = [
        ("ipv4-source-of-neighbour", f.me.neighbour4(), "A neighbour's address as source"),
        ("ipv4-source-of-gateway", f.me.gateway4(), "The gateway's address as source"),
        ("ipv4-source-of-stranger", STRANGER4, "An address of the Internet as source"),
        ("ipv4-source-loopback", Ipv4([127, 0, 0, 1]), "127.0.0.1 as source"),
        ("ipv4-source-loopback-net", Ipv4([127, 255, 255, 254]), "Another address of 127/8 as source"),
        ("ipv4-source-zero", Ipv4::UNSPECIFIED, "0.0.0.0 as source of something that is not DHCP"),
        ("ipv4-source-zero-net", Ipv4([0, 1, 2, 3]), "An address of 0/8 as source"),
        ("ipv4-source-multicast", Ipv4([224, 0, 0, 1]), "The all-hosts group as source"),
        ("ipv4-source-multicast-scoped", Ipv4([239, 1, 2, 3]), "A scoped multicast group as source"),
        ("ipv4-source-reserved", Ipv4([240, 0, 0, 1]), "An address of 240/4 as source"),
        ("ipv4-source-broadcast", Ipv4::BROADCAST, "255.255.255.255 as source"),
        ("ipv4-source-link-local", Ipv4([169, 254, 7, 7]), "An address of 169.254/16 as source"),
    ];
    for (id, source, title) in rows {
        // The loopback interface is bound to what is forged everywhere else.
        if f.owns4(source) {
            continue;
        }
        let frame = f.wire4(&f.quiet4(source));
        f.drop(id, DropReason::SpoofedIpv4, title, frame);
    }
    let subnet = [
        ("ipv4-source-subnet-broadcast", f.me.broadcast4(), "The subnet's broadcast address as source"),
        ("ipv4-source-subnet-itself", f.me.network4(), "The subnet's network address as source"),
        ("ipv4-source-of-node", f.me.node4, "The node's address as source"),
    ];
    for (id, source, title) in subnet {
        if let Some(source) = source.filter(|s| !f.owns4(*s)) {
            let frame = f.wire4(&f.quiet4(source));
            f.drop(id, DropReason::SpoofedIpv4, title, frame);
        }
    }
}

fn forged_shapes(f: &mut Forge<'_>) {
    let other = f.me.neighbour4();
    let packets = [
        (
            "ipv4-forged-mid-flow",
            "A neighbour's address in the middle of a TCP flow",
            f.tcp4(other, Tcp::PSH | Tcp::ACK),
        ),
        ("ipv4-forged-syn", "A neighbour's address in a TCP SYN", f.tcp4(other, Tcp::SYN)),
        ("ipv4-forged-reset", "A neighbour's address in a TCP reset", f.tcp4(other, Tcp::RST)),
        (
            "ipv4-forged-options",
            "A neighbour's address in front of options",
            Ipv4Packet { options: vec![1; 4], ..f.udp4(other) },
        ),
        (
            "ipv4-forged-longest-header",
            "A neighbour's address in the longest header",
            Ipv4Packet { options: vec![1; 40], ..f.udp4(other) },
        ),
        (
            "ipv4-forged-esp",
            "A neighbour's address in an ESP packet",
            f.ipv4(other, protocol::ESP, f.payload(24)),
        ),
        (
            "ipv4-forged-empty",
            "A neighbour's address in a packet without payload",
            f.ipv4(other, protocol::EXPERIMENT, []),
        ),
        (
            "ipv4-forged-multicast",
            "A neighbour's address in a multicast DNS answer",
            f.udp4_to(other, Ipv4([224, 0, 0, 251]), 5353, 5353),
        ),
        (
            "ipv4-forged-broadcast",
            "A neighbour's address in a broadcast",
            f.udp4_to(other, Ipv4::BROADCAST, 40000, 9),
        ),
        ("ipv4-forged-ttl-0", "A neighbour's address with TTL 0", Ipv4Packet { ttl: 0, ..f.udp4(other) }),
        (
            "ipv4-forged-bad-checksum",
            "A neighbour's address and a wrong header checksum",
            Ipv4Packet { checksum: Some(0x1234), ..f.udp4(other) },
        ),
    ];
    for (i, (id, title, packet)) in packets.into_iter().enumerate() {
        // All were made while the same number was current; the id tells them apart.
        let packet = Ipv4Packet { id: packet.id + 0x0400 + i as u16, ..packet };
        let frame = f.wire4(&packet);
        f.drop(id, DropReason::SpoofedIpv4, title, frame);
    }
}

/// A datagram of 8 + 56 bytes, to be cut.
fn long_udp(f: &Forge<'_>, source: Ipv4) -> Ipv4Packet {
    let mut packet = f.udp4(source);
    packet.payload[4..6].copy_from_slice(&64u16.to_be_bytes());
    packet.payload[6..8].fill(0);
    packet.payload.resize(64, 0x5a);
    packet
}

fn frames(f: &Forge<'_>, packets: &[Ipv4Packet]) -> Vec<Vec<u8>> {
    packets.iter().map(|p| f.wire4(p)).collect()
}

fn honest_fragments(f: &mut Forge<'_>, own: Ipv4) {
    let all = frames(f, &long_udp(f, own).fragments(&[0, 3, 6]));
    f.add("ipv4-fragments", "An honest datagram in three fragments", Expect::Pass, all);
    let mut all = frames(f, &long_udp(f, own).fragments(&[0, 4]));
    all.reverse();
    f.add(
        "ipv4-fragments-reversed",
        "An honest datagram in two fragments, the last one first",
        Expect::Pass,
        all,
    );
    let mut late = long_udp(f, own).fragments(&[0, 2]).split_off(1);
    late[0].payload[..4].copy_from_slice(&[0, 67, 0, 68]);
    let frame = frames(f, &late);
    f.add(
        "ipv4-late-fragment-like-dhcp",
        "An honest later fragment whose data looks like a DHCP server's header",
        Expect::Pass,
        frame,
    );
}

fn forged_fragments(f: &mut Forge<'_>) {
    let other = f.me.neighbour4();
    let forged = Expect::Drop(DropReason::SpoofedIpv4);
    let all = frames(f, &long_udp(f, other).fragments(&[0, 3, 6]));
    f.add("ipv4-forged-fragments", "A neighbour's address in all of three fragments", forged, all);
    let late = frames(f, &long_udp(f, other).fragments(&[0, 4])[1..]);
    f.add("ipv4-forged-last-fragment", "A neighbour's address in a last fragment alone", forged, late);
    let middle = frames(f, &long_udp(f, other).fragments(&[0, 2, 5])[1..2]);
    f.add("ipv4-forged-middle-fragment", "A neighbour's address in a middle fragment alone", forged, middle);
    let mut all = frames(f, &long_udp(f, other).fragments(&[0, 1, 2, 3]));
    all.reverse();
    f.add(
        "ipv4-forged-fragments-of-8",
        "A neighbour's address in fragments of eight bytes, in reverse order",
        forged,
        all,
    );
    let mut overlapping = long_udp(f, other).fragments(&[0, 4]);
    overlapping[1].offset = 2;
    let all = frames(f, &overlapping);
    f.add("ipv4-forged-overlapping", "A neighbour's address in fragments that overlap", forged, all);
    let mut tiny = long_udp(f, other).fragments(&[0, 4])[1].clone();
    tiny.payload.truncate(1);
    let frame = frames(f, &[tiny]);
    f.add("ipv4-forged-tiny-fragment", "A neighbour's address in a last fragment of one byte", forged, frame);
}

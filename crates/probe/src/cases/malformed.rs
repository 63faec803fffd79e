//! Frames that cannot be read: fail closed.

use portcullis_abi::{DropReason, Ipv4, Ipv6};

use super::forge::Forge;
use crate::frame::{Extension, Ipv4Packet, Ipv6Packet, Tag, ethertype, protocol, tagged};

pub fn add(f: &mut Forge<'_>) {
    f.group("malformed");
    runts(f);
    if let Some(own) = f.me.ipv4 {
        ipv4(f, own);
    }
    if let Some(own) = f.me.any6() {
        ipv6(f, own);
    }
}

fn runts(f: &mut Forge<'_>) {
    let header = f.ethernet(ethertype::IPV4, &[]);
    let rows = [
        ("runt-mac-only", header[..12].to_vec(), "A frame that ends before its ethertype"),
        ("runt-13", header[..13].to_vec(), "A frame one byte shorter than an Ethernet header"),
        ("runt-ipv4", header, "An Ethernet header that announces IPv4, and nothing behind it"),
        (
            "runt-ipv6",
            f.ethernet(ethertype::IPV6, &[]),
            "An Ethernet header that announces IPv6, and nothing behind it",
        ),
        (
            "runt-arp",
            f.ethernet(ethertype::ARP, &[]),
            "An Ethernet header that announces ARP, and nothing behind it",
        ),
        ("runt-vlan", f.ethernet(ethertype::VLAN, &[0]), "A VLAN tag that is cut short"),
        (
            "runt-vlan-ipv4",
            tagged(f.me.far_mac, f.me.mac, &[Tag::vlan(0)], ethertype::IPV4, &[0x45, 0]),
            "A priority tag and two bytes of IPv4",
        ),
    ];
    for (id, frame, title) in rows {
        f.drop(id, DropReason::Malformed, title, frame);
    }
}

fn ipv4(f: &mut Forge<'_>, own: Ipv4) {
    let right = f.udp4(own);
    let rows = [
        ("ipv4-version-6", Ipv4Packet { version: 6, ..right.clone() }, "An IPv4 frame whose version is 6"),
        ("ipv4-version-0", Ipv4Packet { version: 0, ..right.clone() }, "An IPv4 frame whose version is 0"),
        ("ipv4-ihl-4", Ipv4Packet { ihl: Some(4), ..right.clone() }, "A header length of four words"),
        ("ipv4-ihl-0", Ipv4Packet { ihl: Some(0), ..right.clone() }, "A header length of zero"),
        (
            "ipv4-ihl-15",
            Ipv4Packet { ihl: Some(15), ..right.clone() },
            "A header length beyond the total length",
        ),
        (
            "ipv4-total-below-header",
            Ipv4Packet { total_length: Some(19), ..right.clone() },
            "A total length shorter than the header",
        ),
        ("ipv4-total-zero", Ipv4Packet { total_length: Some(0), ..right.clone() }, "A total length of zero"),
        (
            "ipv4-total-beyond-frame",
            Ipv4Packet { total_length: Some(1000), ..right.clone() },
            "A total length beyond the frame",
        ),
    ];
    for (id, packet, title) in rows {
        let frame = f.wire4(&packet);
        f.drop(id, DropReason::Malformed, title, frame);
    }
    let bytes = f.udp4(own).to_bytes();
    let frame = f.ethernet(ethertype::IPV4, &bytes[..12]);
    f.drop("ipv4-header-cut", DropReason::Malformed, "An IPv4 header that ends before its source", frame);
    let bytes = f.udp4(own).to_bytes();
    let frame = f.ethernet(ethertype::IPV4, &bytes[..19]);
    f.drop("ipv4-header-cut-last", DropReason::Malformed, "An IPv4 header that lacks its last byte", frame);
    let packet = Ipv4Packet { options: vec![1; 40], payload: Vec::new(), ..f.udp4(own) };
    let bytes = packet.to_bytes();
    let frame = f.ethernet(ethertype::IPV4, &bytes[..40]);
    f.drop("ipv4-options-cut", DropReason::Malformed, "IPv4 options that run over the frame", frame);
    let frame = f.wire4(&f.ipv4(own, protocol::UDP, [0, 53, 0, 53]));
    f.drop("ipv4-udp-cut", DropReason::Malformed, "A UDP header cut short in a whole packet", frame);
    let packet = f.ipv4(own, protocol::UDP, []);
    let frame = f.wire4(&Ipv4Packet { more_fragments: true, ..packet });
    f.drop(
        "ipv4-udp-cut-first-fragment",
        DropReason::Malformed,
        "A first fragment without its UDP header",
        frame,
    );
}

fn ipv6(f: &mut Forge<'_>, own: Ipv6) {
    let right = f.udp6(own);
    let rows = [
        ("ipv6-version-4", Ipv6Packet { version: 4, ..right.clone() }, "An IPv6 frame whose version is 4"),
        (
            "ipv6-length-beyond-frame",
            Ipv6Packet { payload_length: Some(1000), ..right.clone() },
            "A payload length beyond the frame",
        ),
        (
            "ipv6-length-one-beyond",
            Ipv6Packet { payload_length: Some(right.payload.len() as u16 + 1), ..right.clone() },
            "A payload length one byte beyond the frame",
        ),
        (
            "ipv6-length-below-udp",
            Ipv6Packet { payload_length: Some(7), ..right.clone() },
            "A payload length that cuts the UDP header",
        ),
        (
            "ipv6-udp-cut-first-fragment",
            Ipv6Packet {
                extensions: vec![Extension::fragment(0, true, 61)],
                payload: vec![0, 53, 0, 53],
                ..right
            },
            "A first fragment that cuts the UDP header",
        ),
    ];
    for (id, packet, title) in rows {
        let frame = f.wire6(&packet);
        f.drop(id, DropReason::Malformed, title, frame);
    }
    let bytes = f.udp6(own).to_bytes();
    let frame = f.ethernet(ethertype::IPV6, &bytes[..39]);
    f.drop("ipv6-header-cut", DropReason::Malformed, "An IPv6 header that lacks its last byte", frame);
    let frame = f.ethernet(ethertype::IPV6, &bytes[..20]);
    f.drop("ipv6-header-half", DropReason::Malformed, "An IPv6 header that ends inside its source", frame);
}

//! Ethernet source, tags, ethertypes.

use portcullis_abi::{DropReason, Ipv4, Mac};

use super::forge::{Forge, STRANGER4};
use crate::frame::{Arp, Tag, ethernet, ethertype, llc, nd, pad_to, snap, tagged};

pub fn add(f: &mut Forge<'_>) {
    macs(f);
    tags(f);
    tags_around_forgeries(f);
    tags_around_others(f);
    ethertypes(f);
    length_fields(f);
}

/// The claimed own IPv4 address, or a stand-in where none is bound.
fn own4(f: &Forge<'_>) -> Ipv4 {
    f.me.ipv4.unwrap_or(STRANGER4)
}

fn macs(f: &mut Forge<'_>) {
    f.group("mac");
    let mac = f.me.mac;
    let one_off = Mac([mac.0[0], mac.0[1], mac.0[2], mac.0[3], mac.0[4], mac.0[5] ^ 0x80]);
    let group = Mac([mac.0[0] | 1, mac.0[1], mac.0[2], mac.0[3], mac.0[4], mac.0[5]]);
    let rows = [
        ("mac-of-neighbour", f.me.neighbour_mac, "A neighbour's MAC with our own IPv4 address"),
        ("mac-one-bit-off", one_off, "A source MAC that differs from ours in one bit"),
        ("mac-group-bit", group, "Our MAC with the group bit set as the source"),
        ("mac-broadcast", Mac::BROADCAST, "The broadcast address as source MAC"),
        ("mac-zero", Mac::ZERO, "An all-zero source MAC"),
        ("mac-of-gateway", f.me.gateway_mac, "The gateway's MAC with our own IPv4 address"),
    ];
    for (id, source, title) in rows {
        // The loopback interface has the all-zero MAC.
        if source == mac {
            continue;
        }
        let packet = f.udp4(own4(f)).to_bytes();
        let frame = ethernet(f.me.far_mac, source, ethertype::IPV4, &packet);
        f.drop(id, DropReason::SpoofedMac, title, frame);
    }
    let packet = f.udp4(f.me.neighbour4()).to_bytes();
    let frame = ethernet(f.me.far_mac, f.me.neighbour_mac, ethertype::IPV4, &packet);
    f.drop(
        "mac-and-ipv4-of-neighbour",
        DropReason::SpoofedMac,
        "A neighbour's MAC and IPv4 address together",
        frame,
    );
    let packet = f.udp6(f.me.any6().unwrap_or(f.me.neighbour6())).to_bytes();
    let frame = ethernet(f.me.far_mac, f.me.neighbour_mac, ethertype::IPV6, &packet);
    f.drop("mac-of-neighbour-ipv6", DropReason::SpoofedMac, "A neighbour's MAC under an IPv6 packet", frame);
    let arp = f.arp(&Arp::request(f.me.neighbour_mac, f.me.neighbour4(), f.me.gateway4()));
    let frame = ethernet(Mac::BROADCAST, f.me.neighbour_mac, ethertype::ARP, &arp);
    f.drop(
        "mac-of-neighbour-arp",
        DropReason::SpoofedMac,
        "A neighbour's whole ARP request, Ethernet source included",
        frame,
    );
    let packet = f.udp4(own4(f)).to_bytes();
    let frame = tagged(f.me.far_mac, f.me.neighbour_mac, &[Tag::vlan(0)], ethertype::IPV4, &packet);
    f.drop(
        "mac-of-neighbour-tagged",
        DropReason::SpoofedMac,
        "A neighbour's MAC behind a priority tag",
        frame,
    );
    let frame = llc(f.me.far_mac, f.me.neighbour_mac, None, [0x42, 0x42, 3], &f.payload(35));
    f.drop("mac-of-neighbour-llc", DropReason::SpoofedMac, "A neighbour's MAC on an 802.3 frame", frame);
}

fn tags(f: &mut Forge<'_>) {
    f.group("vlan");
    let rows: [(&str, &[Tag], &str); 7] = [
        ("vlan-42", &[Tag::vlan(42)], "An honest packet in VLAN 42"),
        ("vlan-4095", &[Tag::vlan(4095)], "An honest packet in the reserved VLAN 4095"),
        ("vlan-0-honest", &[Tag::vlan(0)], "An honest packet behind a priority tag (VLAN 0)"),
        ("vlan-service-42", &[Tag::service(42)], "An honest packet in 802.1ad VLAN 42"),
        ("vlan-stacked", &[Tag::service(42), Tag::vlan(7)], "An honest packet behind two stacked tags"),
        ("vlan-stacked-0", &[Tag::vlan(0), Tag::vlan(0)], "An honest packet behind two priority tags"),
        (
            "vlan-stacked-three",
            &[Tag::vlan(0), Tag::vlan(0), Tag::vlan(5)],
            "An honest packet behind three tags",
        ),
    ];
    let Some(own) = f.me.ipv4 else { return };
    for (id, tags, title) in rows {
        let frame = tagged(f.me.far_mac, f.me.mac, tags, ethertype::IPV4, &f.quiet4(own).to_bytes());
        f.drop(id, DropReason::Vlan, title, frame);
    }
    let arp = f.arp(&Arp::request(f.me.mac, own, f.me.gateway4()));
    let frame = tagged(Mac::BROADCAST, f.me.mac, &[Tag::vlan(0)], ethertype::ARP, &arp);
    f.drop("vlan-0-honest-arp", DropReason::Vlan, "An honest ARP request behind a priority tag", frame);
}

fn tags_around_forgeries(f: &mut Forge<'_>) {
    let (far, mac) = (f.me.far_mac, f.me.mac);
    let forged = f.me.neighbour4();
    let priority = Tag { tpid: ethertype::VLAN, tci: 0xa000 };
    let rows = [
        (
            "vlan-0-forged-ipv4",
            vec![Tag::vlan(0)],
            DropReason::SpoofedIpv4,
            "A forged IPv4 source behind a priority tag",
        ),
        (
            "vlan-0-forged-priority",
            vec![priority],
            DropReason::SpoofedIpv4,
            "A forged IPv4 source behind a priority tag with priority 5",
        ),
        (
            "vlan-0-service-forged",
            vec![Tag::service(0)],
            DropReason::SpoofedIpv4,
            "A forged IPv4 source behind an 802.1ad tag with VLAN 0",
        ),
        ("vlan-42-forged", vec![Tag::vlan(42)], DropReason::Vlan, "A forged IPv4 source in VLAN 42"),
        (
            "vlan-stacked-0-forged",
            vec![Tag::vlan(0); 2],
            DropReason::Vlan,
            "A forged IPv4 source behind two priority tags",
        ),
    ];
    for (id, tags, reason, title) in rows {
        let frame = tagged(far, mac, &tags, ethertype::IPV4, &f.udp4(forged).to_bytes());
        f.drop(id, reason, title, frame);
    }
    let arp = f.arp(&Arp::reply(mac, f.me.gateway4(), Mac::BROADCAST, forged));
    let frame = tagged(Mac::BROADCAST, mac, &[Tag::vlan(0)], ethertype::ARP, &arp);
    f.drop(
        "vlan-0-forged-arp",
        DropReason::SpoofedArp,
        "An ARP reply for the gateway behind a priority tag",
        frame,
    );
    let frame = tagged(far, mac, &[Tag::vlan(0)], ethertype::IPV6, &f.udp6(f.me.neighbour6()).to_bytes());
    f.drop(
        "vlan-0-forged-ipv6",
        DropReason::SpoofedIpv6,
        "A forged IPv6 source behind a priority tag",
        frame,
    );
}

fn tags_around_others(f: &mut Forge<'_>) {
    let (far, mac) = (f.me.far_mac, f.me.mac);
    let forged = f.me.neighbour4();
    let inner = f.udp4(forged).to_bytes();
    let frame = snap(far, mac, [0; 3], ethertype::IPV4, &inner);
    let frame = [&frame[..12], &[0x81, 0, 0, 0], &frame[12..]].concat();
    f.drop(
        "vlan-0-snap",
        DropReason::Ethertype,
        "IPv4 in LLC/SNAP behind a priority tag (CVE-2021-27862)",
        frame,
    );
    if let Some(link_local) = f.me.own_link_local() {
        let all = super::forge::ALL_NODES;
        let ra = f.nd(link_local, all, &nd::router_advertisement(&[])).to_bytes();
        let frame = tagged(f.mac6(all), mac, &[Tag::vlan(0)], ethertype::IPV6, &ra);
        f.drop(
            "vlan-0-router-advertisement",
            DropReason::RogueRa,
            "A router advertisement behind a priority tag",
            frame,
        );
    }
    let frame = tagged(far, mac, &[Tag::vlan(0)], 0x88b5, &f.payload(46));
    f.drop("vlan-0-ethertype", DropReason::Ethertype, "A custom ethertype behind a priority tag", frame);
    let frame =
        tagged(far, mac, &[Tag { tpid: 0x9100, tci: 42 }], ethertype::IPV4, &f.udp4(forged).to_bytes());
    f.drop(
        "vlan-tpid-9100",
        DropReason::Ethertype,
        "A forged IPv4 source behind a tag with the old TPID 0x9100",
        frame,
    );
}

fn ethertypes(f: &mut Forge<'_>) {
    f.group("ethertype");
    let (far, mac) = (f.me.far_mac, f.me.mac);
    let rows = [
        ("ethertype-custom", 0x88b5, far, "A local experimental ethertype"),
        ("ethertype-lldp", 0x88cc, Mac([1, 0x80, 0xc2, 0, 0, 0x0e]), "An LLDP frame"),
        ("ethertype-eapol", 0x888e, Mac([1, 0x80, 0xc2, 0, 0, 3]), "An 802.1X (EAPOL) frame"),
        ("ethertype-mpls", 0x8847, far, "An MPLS frame"),
        ("ethertype-pppoe-discovery", 0x8863, Mac::BROADCAST, "A PPPoE discovery frame"),
        ("ethertype-pppoe-session", 0x8864, far, "A PPPoE session frame"),
        ("ethertype-ptp", 0x88f7, Mac([1, 0x1b, 0x19, 0, 0, 0]), "A precision time frame"),
        ("ethertype-macsec", 0x88e5, far, "A MACsec frame"),
        ("ethertype-wake-on-lan", 0x0842, Mac::BROADCAST, "A wake-on-LAN frame"),
        ("ethertype-loopback", 0x9000, far, "A configuration test (loopback) frame"),
        ("ethertype-ffff", 0xffff, far, "The reserved ethertype 0xffff"),
    ];
    for (id, kind, destination, title) in rows {
        let frame = ethernet(destination, mac, kind, &f.payload(46));
        f.drop(id, DropReason::Ethertype, title, frame);
    }
    let rarp = f.arp(&Arp { operation: 3, ..Arp::request(mac, Ipv4::UNSPECIFIED, Ipv4::UNSPECIFIED) });
    let frame = ethernet(Mac::BROADCAST, mac, ethertype::RARP, &rarp);
    f.drop("ethertype-rarp", DropReason::Ethertype, "A RARP request", frame);
    let rarp = f.arp(&Arp {
        operation: 4,
        ..Arp::reply(mac, f.me.gateway4(), f.me.neighbour_mac, f.me.neighbour4())
    });
    let frame = ethernet(Mac::BROADCAST, mac, ethertype::RARP, &rarp);
    f.drop("ethertype-rarp-reply", DropReason::Ethertype, "A RARP reply that assigns an address", frame);
}

fn length_fields(f: &mut Forge<'_>) {
    f.group("llc");
    let (far, mac) = (f.me.far_mac, f.me.mac);
    let bridges = Mac([1, 0x80, 0xc2, 0, 0, 0]);
    let mut bpdu = vec![0, 0, 0, 0, 0, 0, 0];
    bpdu.extend_from_slice(&mac.0);
    bpdu.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
    bpdu.extend_from_slice(&mac.0);
    bpdu.extend_from_slice(&[0x80, 1, 0, 0, 20, 0, 2, 0, 15, 0]);
    let frame = pad_to(llc(bridges, mac, None, [0x42, 0x42, 3], &[bpdu, f.marker().to_vec()].concat()), 60);
    f.drop("llc-stp", DropReason::Ethertype, "A spanning tree message that claims the root", frame);
    let inner = |f: &Forge<'_>| f.udp4(f.me.neighbour4()).to_bytes();
    let frame = snap(far, mac, [0; 3], ethertype::IPV4, &inner(f));
    f.drop(
        "llc-snap-ipv4",
        DropReason::Ethertype,
        "A forged IPv4 packet in LLC/SNAP, OUI 000000 (CVE-2021-27853)",
        frame,
    );
    let frame = snap(far, mac, [0, 0, 0xf8], ethertype::IPV4, &inner(f));
    f.drop("llc-snap-0000f8", DropReason::Ethertype, "A forged IPv4 packet in LLC/SNAP, OUI 0000F8", frame);
    let ra = f.nd(f.me.link_local, super::forge::ALL_NODES, &nd::router_advertisement(&[])).to_bytes();
    let frame = snap(f.mac6(super::forge::ALL_NODES), mac, [0; 3], ethertype::IPV6, &ra);
    f.drop(
        "llc-snap-ra",
        DropReason::Ethertype,
        "A router advertisement in LLC/SNAP (CVE-2021-27854)",
        frame,
    );
    let rows = [
        ("llc-length-0", 0, "A length field of 0 in front of an IPv4 packet"),
        ("llc-length-1500", 1500, "A length field of 1500 on a short frame"),
        ("llc-length-1501", 1501, "An undefined length field of 1501 (CVE-2021-27861)"),
        ("llc-length-1535", 1535, "An undefined length field of 1535"),
        ("llc-length-short", 20, "A length field shorter than the frame"),
    ];
    for (id, length, title) in rows {
        let frame = ethernet(far, mac, length, &inner(f));
        f.drop(id, DropReason::Ethertype, title, frame);
    }
}

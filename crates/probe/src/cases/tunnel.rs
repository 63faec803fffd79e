//! Encapsulated traffic: to a node's address it could come out in another's name.

use portcullis_abi::{DropReason, Ipv4, Ipv6};

use super::Expect;
use super::forge::Forge;
use crate::frame::{Extension, Ipv4Packet, Ipv6Packet, protocol};

/// Destination ports of VXLAN (IANA's and Linux's), Geneve and WireGuard.
const PORTS: [u16; 4] = [4789, 8472, 6081, 51820];

pub fn add(f: &mut Forge<'_>) {
    f.group("tunnel");
    if let Some(own) = f.me.ipv4 {
        if let Some(node) = f.me.node4 {
            v4_to_node(f, own, node);
        }
        v4_elsewhere(f, own);
    }
    if let Some(own) = f.me.any6() {
        if let Some(node) = f.me.node6 {
            v6_to_node(f, own, node);
        }
        v6_elsewhere(f, own);
    }
}

/// A GRE header for this ethertype.
fn gre(ethertype: u16, inner: Vec<u8>) -> Vec<u8> {
    [vec![0, 0], ethertype.to_be_bytes().to_vec(), inner].concat()
}

fn inner4(f: &Forge<'_>) -> Vec<u8> {
    f.udp4_to(f.me.neighbour4(), f.me.gateway4(), 40000, 9).to_bytes()
}

fn inner6(f: &Forge<'_>) -> Vec<u8> {
    f.udp6_to(f.me.neighbour6(), f.me.gateway6(), 40000, 9).to_bytes()
}

fn v4_to_node(f: &mut Forge<'_>, own: Ipv4, node: Ipv4) {
    let rows = [
        ("tunnel4-ipip", protocol::IPIP, inner4(f), "A forged packet in IPIP to the node"),
        ("tunnel4-6in4", protocol::SIX_IN, inner6(f), "A forged IPv6 packet in IPv4 to the node"),
        ("tunnel4-gre", protocol::GRE, gre(0x0800, inner4(f)), "A forged packet in GRE to the node"),
    ];
    for (id, number, inner, title) in rows {
        let frame = f.wire4(&f.ipv4_to(own, node, number, inner));
        f.drop(id, DropReason::Tunnel, title, frame);
    }
    let ids = ["tunnel4-vxlan", "tunnel4-vxlan-linux", "tunnel4-geneve", "tunnel4-wireguard"];
    let titles = [
        "VXLAN to the node",
        "VXLAN on Linux's old port to the node",
        "Geneve to the node",
        "WireGuard to the node",
    ];
    for ((id, title), port) in ids.into_iter().zip(titles).zip(PORTS) {
        let frame = f.wire4(&f.udp4_to(own, node, 40000, port));
        f.drop(id, DropReason::Tunnel, title, frame);
    }
    let packet = f.udp4_to(own, node, 40000, PORTS[0]);
    let frame = f.wire4(&Ipv4Packet { options: vec![1; 8], ..packet });
    f.drop(
        "tunnel4-vxlan-behind-options",
        DropReason::Tunnel,
        "VXLAN to the node behind IPv4 options",
        frame,
    );
    let frame = f.wire4(&f.udp4_to(f.me.neighbour4(), node, 40000, PORTS[0]));
    f.drop(
        "tunnel4-vxlan-forged",
        DropReason::SpoofedIpv4,
        "VXLAN to the node from a neighbour's address",
        frame,
    );
    let frame = f.wire4(&f.udp4_to(own, node, PORTS[0], 9));
    f.pass("tunnel4-source-port", "An honest datagram to the node from a tunnel's port", frame);
}

fn v4_elsewhere(f: &mut Forge<'_>, own: Ipv4) {
    let to = f.me.neighbour4();
    let frame = f.wire4(&f.udp4_to(own, to, 40000, PORTS[0]));
    f.pass("tunnel4-vxlan-elsewhere", "VXLAN to another workload", frame);
    let frame = f.wire4(&f.udp4_to(own, to, 40000, PORTS[3]));
    f.pass("tunnel4-wireguard-elsewhere", "WireGuard to another workload", frame);
    let inner = gre(0x0800, f.udp4_to(own, to, 40000, 9).to_bytes());
    let frame = f.wire4(&f.ipv4_to(own, to, protocol::GRE, inner));
    f.pass("tunnel4-gre-elsewhere", "GRE to another workload", frame);
}

fn v6_to_node(f: &mut Forge<'_>, own: Ipv6, node: Ipv6) {
    let rows = [
        ("tunnel6-4in6", protocol::IPIP, inner4(f), "A forged IPv4 packet in IPv6 to the node"),
        ("tunnel6-6in6", protocol::SIX_IN, inner6(f), "A forged packet in IPv6 to the node"),
        (
            "tunnel6-gre",
            protocol::GRE,
            gre(0x86dd, inner6(f)),
            "A forged packet in GRE over IPv6 to the node",
        ),
    ];
    for (id, number, inner, title) in rows {
        let frame = f.wire6(&f.ipv6_to(own, node, number, inner));
        f.drop(id, DropReason::Tunnel, title, frame);
    }
    let frame = f.wire6(&f.udp6_to(own, node, 40000, PORTS[0]));
    f.drop("tunnel6-vxlan", DropReason::Tunnel, "VXLAN over IPv6 to the node", frame);
    let packet = f.udp6_to(own, node, 40000, PORTS[3]);
    let frame = f.wire6(&Ipv6Packet { extensions: vec![Extension::destination()], ..packet });
    f.drop(
        "tunnel6-wireguard-behind-destination",
        DropReason::Tunnel,
        "WireGuard to the node behind destination options",
        frame,
    );
}

fn v6_elsewhere(f: &mut Forge<'_>, own: Ipv6) {
    let to = f.me.neighbour6();
    let frame = f.wire6(&f.udp6_to(own, to, 40000, PORTS[2]));
    f.add("tunnel6-geneve-elsewhere", "Geneve over IPv6 to another workload", Expect::Pass, vec![frame]);
}

//! ARP: only the sender fields are verified.

use portcullis_abi::{DropReason, Ipv4, Mac};

use super::forge::Forge;
use crate::frame::{Arp, ethernet, ethertype};

pub fn add(f: &mut Forge<'_>) {
    f.group("arp");
    if let Some(own) = f.me.ipv4 {
        honest(f, own);
        wrong_mac(f, own);
        wrong_shape(f, own);
    }
    forged(f);
    impossible_senders(f);
}

fn broadcast(f: &Forge<'_>, arp: &Arp) -> Vec<u8> {
    ethernet(Mac::BROADCAST, f.me.mac, ethertype::ARP, &f.arp(arp))
}

fn unicast(f: &Forge<'_>, arp: &Arp) -> Vec<u8> {
    f.ethernet(ethertype::ARP, &f.arp(arp))
}

fn honest(f: &mut Forge<'_>, own: Ipv4) {
    let (mac, far, gateway) = (f.me.mac, f.me.far_mac, f.me.gateway4());
    let frame = broadcast(f, &Arp::request(mac, own, gateway));
    f.pass("arp-request", "An honest request for the gateway", frame);
    let frame = broadcast(f, &Arp::request(mac, own, Ipv4([169, 254, 1, 1])));
    f.pass(
        "arp-request-any-target",
        "An honest request for an address outside the subnet (proxy ARP gateways need it)",
        frame,
    );
    let frame = unicast(f, &Arp { target_mac: far, ..Arp::request(mac, own, gateway) });
    f.pass("arp-request-unicast", "An honest unicast request that revalidates the gateway", frame);
    let frame = unicast(f, &Arp::reply(mac, own, far, gateway));
    f.pass("arp-reply", "An honest reply for our own address", frame);
    let frame = broadcast(f, &Arp::request(mac, own, own));
    f.pass("arp-gratuitous-request", "An honest gratuitous request for our own address", frame);
    let frame = broadcast(f, &Arp::reply(mac, own, Mac::BROADCAST, own));
    f.pass("arp-gratuitous-reply", "An honest gratuitous reply for our own address", frame);
    let frame = broadcast(f, &Arp::request(mac, Ipv4::UNSPECIFIED, own));
    f.pass("arp-probe", "An honest probe for our own address (RFC 5227)", frame);
    let frame =
        ethernet(Mac::BROADCAST, mac, ethertype::ARP, &Arp::request(mac, own, f.me.neighbour4()).to_bytes());
    f.pass("arp-unpadded", "An honest request without padding, as virtual interfaces send it", frame);
}

fn forged(f: &mut Forge<'_>) {
    let (mac, far) = (f.me.mac, f.me.far_mac);
    let (gateway, neighbour) = (f.me.gateway4(), f.me.neighbour4());
    let any = Mac::BROADCAST;
    let rows = [
        (
            "arp-reply-for-gateway",
            Arp::reply(mac, gateway, any, neighbour),
            "A reply that claims the gateway's address",
        ),
        (
            "arp-reply-for-neighbour",
            Arp::reply(mac, neighbour, far, gateway),
            "A reply that claims a neighbour's address",
        ),
        (
            "arp-request-as-gateway",
            Arp::request(mac, gateway, neighbour),
            "A request whose sender is the gateway's address",
        ),
        (
            "arp-request-as-neighbour",
            Arp::request(mac, neighbour, gateway),
            "A request whose sender is a neighbour's address",
        ),
        (
            "arp-gratuitous-gateway",
            Arp::request(mac, gateway, gateway),
            "A gratuitous request for the gateway's address",
        ),
        (
            "arp-gratuitous-neighbour",
            Arp::reply(mac, neighbour, any, neighbour),
            "A gratuitous reply for a neighbour's address",
        ),
        (
            "arp-probe-for-neighbour",
            Arp::request(mac, Ipv4::UNSPECIFIED, neighbour),
            "A probe for a neighbour's address, to make it believe in a conflict",
        ),
    ];
    for (id, arp, title) in rows {
        let frame = broadcast(f, &arp);
        f.drop(id, DropReason::SpoofedArp, title, frame);
    }
}

/// Senders that are nobody's address.
fn impossible_senders(f: &mut Forge<'_>) {
    let (mac, far, gateway) = (f.me.mac, f.me.far_mac, f.me.gateway4());
    let rows = [
        ("arp-reply-from-zero", Arp::reply(mac, Ipv4::UNSPECIFIED, far, gateway), "A reply from 0.0.0.0"),
        (
            "arp-sender-loopback",
            Arp::request(mac, Ipv4([127, 0, 0, 1]), gateway),
            "A request whose sender is 127.0.0.1",
        ),
        (
            "arp-sender-broadcast",
            Arp::request(mac, Ipv4::BROADCAST, gateway),
            "A request whose sender is 255.255.255.255",
        ),
    ];
    for (id, arp, title) in rows {
        // The loopback interface is bound to what is forged everywhere else.
        if f.owns4(arp.sender_ip) {
            continue;
        }
        let frame = broadcast(f, &arp);
        f.drop(id, DropReason::SpoofedArp, title, frame);
    }
}

fn wrong_mac(f: &mut Forge<'_>, own: Ipv4) {
    let (mac, neighbour, gateway) = (f.me.mac, f.me.neighbour_mac, f.me.gateway4());
    let rows = [
        (
            "arp-sender-mac-of-neighbour",
            Arp::reply(neighbour, own, f.me.far_mac, gateway),
            "A reply that puts our own address at a neighbour's MAC",
        ),
        (
            "arp-sender-mac-broadcast",
            Arp::request(Mac::BROADCAST, own, gateway),
            "A request that puts our own address at the broadcast MAC",
        ),
        ("arp-sender-mac-zero", Arp::request(Mac::ZERO, own, gateway), "A request whose sender MAC is zero"),
        (
            "arp-probe-mac-of-neighbour",
            Arp::request(neighbour, Ipv4::UNSPECIFIED, own),
            "A probe for our own address with a neighbour's sender MAC",
        ),
        (
            "arp-gratuitous-mac-of-neighbour",
            Arp { target_mac: mac, ..Arp::reply(neighbour, own, mac, own) },
            "A gratuitous reply that puts our own address at a neighbour's MAC",
        ),
    ];
    for (id, arp, title) in rows {
        // The loopback interface has the all-zero MAC.
        if arp.sender_mac == mac {
            continue;
        }
        let frame = broadcast(f, &arp);
        f.drop(id, DropReason::SpoofedArp, title, frame);
    }
}

fn wrong_shape(f: &mut Forge<'_>, own: Ipv4) {
    let right = Arp::request(f.me.mac, own, f.me.gateway4());
    let rows = [
        (
            "arp-hardware-type",
            Arp { hardware_type: 6, ..right },
            "An ARP packet for hardware type 6 (IEEE 802)",
        ),
        (
            "arp-protocol-type",
            Arp { protocol_type: ethertype::IPV6, ..right },
            "An ARP packet for protocol IPv6",
        ),
        (
            "arp-hardware-length",
            Arp { hardware_len: 8, ..right },
            "An ARP packet whose hardware addresses are eight bytes long",
        ),
        (
            "arp-protocol-length",
            Arp { protocol_len: 16, ..right },
            "An ARP packet whose protocol addresses are sixteen bytes long",
        ),
        (
            "arp-length-zero",
            Arp { hardware_len: 0, protocol_len: 0, ..right },
            "An ARP packet whose addresses have no length",
        ),
        ("arp-operation-0", Arp { operation: 0, ..right }, "An ARP packet with operation 0"),
        ("arp-operation-reverse", Arp { operation: 3, ..right }, "A reverse request inside an ARP frame"),
        ("arp-operation-inverse", Arp { operation: 8, ..right }, "An inverse ARP request"),
    ];
    for (id, arp, title) in rows {
        let frame = broadcast(f, &arp);
        f.drop(id, DropReason::SpoofedArp, title, frame);
    }
    let bytes = Arp { target_ip: f.me.neighbour4(), ..right }.to_bytes();
    let frame = ethernet(Mac::BROADCAST, f.me.mac, ethertype::ARP, &bytes[..27]);
    f.drop("arp-cut-short", DropReason::Malformed, "An honest ARP request that lacks its last byte", frame);
    let frame = f.ethernet(ethertype::ARP, &bytes[..8]);
    f.drop("arp-header-only", DropReason::Malformed, "An ARP packet that ends before its addresses", frame);
}

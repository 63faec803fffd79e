//! The same verdict however a frame is handed to the kernel.

use portcullis_abi::{DropReason, Ipv4, Ipv6};

use super::SendVia;
use super::forge::{ALL_NODES, Forge};
use crate::frame::{Arp, Extension, Ipv4Packet, Ipv6Packet, NdOption, Pseudo, Tcp, ethertype, nd, protocol};

/// Payload of one segment of a super-packet, and of the whole.
const SEGMENT: u16 = 1000;
const SUPER: usize = 4000;

pub fn add(f: &mut Forge<'_>) {
    f.group("sending");
    forged(f);
    if let Some(own) = f.me.ipv4 {
        honest4(f, own);
    }
    if let Some(own) = f.me.any6() {
        honest6(f, own);
    }
}

fn forged(f: &mut Forge<'_>) {
    let (other4, other6) = (f.me.neighbour4(), f.me.neighbour6());
    let frame = f.wire4(&f.udp4(other4));
    f.drop(
        "bypass-forged-ipv4",
        DropReason::SpoofedIpv4,
        "A neighbour's address past the queueing discipline",
        frame,
    );
    f.via(SendVia::QdiscBypass);
    let frame = f.wire4(&f.udp4(other4));
    f.drop(
        "non-linear-forged-ipv4",
        DropReason::SpoofedIpv4,
        "A neighbour's address outside the linear part of the buffer",
        frame,
    );
    f.via(SendVia::NonLinear);
    let frame = f.wire4(&Ipv4Packet { options: vec![1; 40], ..f.udp4(other4) });
    f.drop(
        "non-linear-forged-options",
        DropReason::SpoofedIpv4,
        "A neighbour's address and options outside the linear part",
        frame,
    );
    f.via(SendVia::NonLinear);
    let arp = f.arp(&Arp::request(f.me.mac, f.me.gateway4(), other4));
    let frame = f.ethernet(ethertype::ARP, &arp);
    f.drop(
        "non-linear-forged-arp",
        DropReason::SpoofedArp,
        "An ARP request as the gateway outside the linear part",
        frame,
    );
    f.via(SendVia::NonLinear);
    let frame = f.wire6(&Ipv6Packet { extensions: vec![Extension::destination(); 4], ..f.udp6(other6) });
    f.drop(
        "non-linear-forged-ipv6",
        DropReason::SpoofedIpv6,
        "A neighbour's IPv6 address and a chain of headers outside the linear part",
        frame,
    );
    f.via(SendVia::NonLinear);
    let frame = f.wire4(&super_packet(f, other4));
    f.drop("gso-forged-ipv4", DropReason::SpoofedIpv4, "A neighbour's address in a TCP super-packet", frame);
    f.via(SendVia::Gso { segment: SEGMENT });
    let frame = f.wire6(&super_packet6(f, other6));
    f.drop(
        "gso-forged-ipv6",
        DropReason::SpoofedIpv6,
        "A neighbour's address in a TCP super-packet over IPv6",
        frame,
    );
    f.via(SendVia::Gso { segment: SEGMENT });
}

/// TCP with a checksum for the device to finish.
fn segment(f: &Forge<'_>, pseudo: Pseudo, len: usize) -> Vec<u8> {
    let sum = pseudo.partial(protocol::TCP, 20 + len);
    Tcp { checksum: Some(sum), ..Tcp::new(40001, 9, Tcp::ACK, f.payload(len)) }.to_bytes(pseudo)
}

fn super_packet(f: &Forge<'_>, source: Ipv4) -> Ipv4Packet {
    let packet = f.ipv4(source, protocol::TCP, []);
    let payload = segment(f, packet.pseudo(), SUPER);
    Ipv4Packet { payload, dont_fragment: true, ..packet }
}

fn super_packet6(f: &Forge<'_>, source: Ipv6) -> Ipv6Packet {
    let packet = f.ipv6(source, protocol::TCP, []);
    let payload = segment(f, packet.pseudo(), SUPER);
    Ipv6Packet { payload, ..packet }
}

fn honest4(f: &mut Forge<'_>, own: Ipv4) {
    let frame = f.wire4(&f.udp4(own));
    f.pass("bypass-ipv4", "An honest datagram past the queueing discipline", frame);
    f.via(SendVia::QdiscBypass);
    let frame = f.wire4(&f.tcp4(own, Tcp::PSH | Tcp::ACK));
    f.pass("non-linear-tcp", "An honest TCP segment outside the linear part", frame);
    f.via(SendVia::NonLinear);
    let arp = f.arp(&Arp::request(f.me.mac, own, f.me.gateway4()));
    let frame = f.ethernet(ethertype::ARP, &arp);
    f.pass("non-linear-arp", "An honest ARP request outside the linear part", frame);
    f.via(SendVia::NonLinear);
    let frame = f.wire4(&super_packet(f, own));
    f.pass("gso-ipv4", "An honest TCP super-packet", frame);
    f.via(SendVia::Gso { segment: SEGMENT });
    let packet = f.ipv4(own, protocol::TCP, []);
    let payload = segment(f, packet.pseudo(), 100);
    let frame = f.wire4(&Ipv4Packet { payload, ..packet });
    f.pass("partial-checksum-tcp", "An honest TCP segment whose checksum is left to the device", frame);
    f.via(SendVia::PartialChecksum { start: 34, offset: 16 });
    let packet = f.udp4_to(own, f.me.gateway4(), 67, 68);
    let frame = f.wire4(&packet);
    f.drop(
        "non-linear-dhcp-offer",
        DropReason::RogueDhcp,
        "A DHCP server's source port outside the linear part",
        frame,
    );
    f.via(SendVia::NonLinear);
}

fn honest6(f: &mut Forge<'_>, own: Ipv6) {
    let frame = f.wire6(&Ipv6Packet { extensions: vec![Extension::destination(); 4], ..f.udp6(own) });
    f.pass("non-linear-ipv6", "An honest IPv6 datagram behind headers outside the linear part", frame);
    f.via(SendVia::NonLinear);
    let message = nd::solicitation(own, &[]);
    let frame = f.wire6(&f.nd(Ipv6::UNSPECIFIED, own.solicited_node(), &message));
    f.pass("non-linear-dad", "Honest duplicate address detection outside the linear part", frame);
    f.via(SendVia::NonLinear);
    let frame = f.wire6(&super_packet6(f, own));
    f.pass("gso-ipv6", "An honest TCP super-packet over IPv6", frame);
    f.via(SendVia::Gso { segment: SEGMENT });
    let message = nd::advertisement(0x20, f.me.gateway6(), &[NdOption::Target(f.me.mac)]);
    let frame = f.wire6(&f.nd(own, ALL_NODES, &message));
    f.drop(
        "non-linear-na-for-gateway",
        DropReason::SpoofedNd,
        "An advertisement for the gateway's address outside the linear part",
        frame,
    );
    f.via(SendVia::NonLinear);
    if let Some(link_local) = f.me.own_link_local() {
        let frame = f.wire6(&f.nd(link_local, ALL_NODES, &nd::router_advertisement(&[])));
        f.drop("non-linear-ra", DropReason::RogueRa, "A router advertisement outside the linear part", frame);
        f.via(SendVia::NonLinear);
    }
}

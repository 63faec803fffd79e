//! ICMP errors: verified by their own outer source; what they quote is at most reported.

use portcullis_abi::DropReason;

use super::forge::{Forge, STRANGER4, STRANGER6};
use crate::frame::{Icmp4, Icmp6, protocol};

pub fn add(f: &mut Forge<'_>) {
    f.group("icmp");
    v4(f);
    v6(f);
}

fn v4(f: &mut Forge<'_>) {
    let other = f.me.neighbour4();
    let quote = f.udp4_to(f.me.gateway4(), other, 40000, 9).to_bytes();
    let frame = f.wire4(&f.ipv4(other, protocol::ICMP, Icmp4::error(3, 3, &quote).to_bytes()));
    f.drop(
        "icmp4-forged-unreachable",
        DropReason::SpoofedIpv4,
        "A port unreachable in a neighbour's name",
        frame,
    );
    let frame = f.wire4(&f.ipv4(other, protocol::ICMP, Icmp4::error(3, 4, &quote).to_bytes()));
    f.drop(
        "icmp4-forged-too-big",
        DropReason::SpoofedIpv4,
        "A fragmentation needed in a neighbour's name",
        frame,
    );
    let mut redirect = Icmp4::error(5, 1, &quote);
    redirect.rest[..4].copy_from_slice(&f.me.neighbour4().0);
    let frame = f.wire4(&f.ipv4(f.me.gateway4(), protocol::ICMP, redirect.to_bytes()));
    f.drop("icmp4-forged-redirect", DropReason::SpoofedIpv4, "A redirect in the gateway's name", frame);
    let Some(own) = f.me.ipv4 else { return };
    let quote = f.udp4_to(f.me.gateway4(), own, 40000, 9).to_bytes();
    let frame = f.wire4(&f.ipv4(own, protocol::ICMP, Icmp4::error(3, 3, &quote).to_bytes()));
    f.pass("icmp4-unreachable", "An honest port unreachable", frame);
    let quote = f.udp4_to(f.me.gateway4(), STRANGER4, 40000, 9).to_bytes();
    let frame = f.wire4(&f.ipv4(own, protocol::ICMP, Icmp4::error(3, 3, &quote).to_bytes()));
    f.pass(
        "icmp4-foreign-quote",
        "A port unreachable from our own address that quotes another's packet: reported, not dropped",
        frame,
    );
}

fn v6(f: &mut Forge<'_>) {
    let (gateway, other) = (f.me.gateway6(), f.me.neighbour6());
    let rows = [
        ("icmp6-forged-too-big", 2, 0, 1280, "A packet too big in a neighbour's name"),
        ("icmp6-forged-unreachable", 1, 4, 0, "A port unreachable in a neighbour's name"),
        ("icmp6-forged-parameter-problem", 4, 1, 6, "A parameter problem in a neighbour's name"),
    ];
    for (id, kind, code, word, title) in rows {
        let quote = f.udp6_to(gateway, other, 40000, 9).to_bytes();
        let frame = f.wire6(&f.icmp6(other, gateway, &Icmp6::error(kind, code, word, &quote)));
        f.drop(id, DropReason::SpoofedIpv6, title, frame);
    }
    let Some(own) = f.me.any6() else { return };
    let quote = f.udp6_to(gateway, own, 40000, 9).to_bytes();
    let frame = f.wire6(&f.icmp6(own, gateway, &Icmp6::error(1, 4, 0, &quote)));
    f.pass("icmp6-unreachable", "An honest ICMPv6 port unreachable", frame);
    let quote = f.udp6_to(gateway, STRANGER6, 40000, 9).to_bytes();
    let frame = f.wire6(&f.icmp6(own, gateway, &Icmp6::error(1, 4, 0, &quote)));
    f.pass(
        "icmp6-foreign-quote",
        "An ICMPv6 port unreachable from our own address that quotes another's packet: reported, not dropped",
        frame,
    );
}

//! IPv6 extension headers: walked, to a bound.

use portcullis_abi::{DropReason, Ipv6};

use super::forge::Forge;
use crate::frame::{Extension, Ipv6Packet, Udp, protocol};

pub fn add(f: &mut Forge<'_>) {
    f.group("extension");
    let Some(own) = f.me.any6() else { return };
    honest(f, own);
    terminal(f, own);
    wrong_order(f, own);
    cut_short(f, own);
}

fn with(f: &Forge<'_>, source: Ipv6, extensions: Vec<Extension>) -> Ipv6Packet {
    Ipv6Packet { extensions, ..f.udp6(source) }
}

/// Hop-by-hop options and so many destination option headers.
fn chain(destinations: usize) -> Vec<Extension> {
    let mut chain = vec![Extension::hop_by_hop()];
    chain.resize(destinations + 1, Extension::destination());
    chain
}

fn honest(f: &mut Forge<'_>, own: Ipv6) {
    let gateway = f.me.gateway6();
    let rows = [
        (
            "extension-hop-by-hop",
            vec![Extension::hop_by_hop()],
            "An honest datagram behind hop-by-hop options",
        ),
        (
            "extension-destination",
            vec![Extension::destination()],
            "An honest datagram behind destination options",
        ),
        (
            "extension-legal-order",
            vec![
                Extension::hop_by_hop(),
                Extension::destination(),
                Extension::routing(4, 0, gateway),
                Extension::authentication(),
                Extension::destination(),
            ],
            "An honest datagram behind five kinds of headers in their legal order",
        ),
        (
            "extension-authentication",
            vec![Extension::authentication()],
            "An honest datagram behind an authentication header",
        ),
        ("extension-eight", chain(7), "An honest datagram behind eight headers, the bound"),
        (
            "extension-long-options",
            vec![Extension::generic(protocol::DESTINATION, &[&[1, 0xf4], [0; 244].as_slice()].concat())],
            "An honest datagram behind 248 bytes of options",
        ),
    ];
    for (id, extensions, title) in rows {
        let frame = f.wire6(&with(f, own, extensions));
        f.pass(id, title, frame);
    }
}

fn terminal(f: &mut Forge<'_>, own: Ipv6) {
    let dhcp = |f: &Forge<'_>| {
        let packet = f.ipv6(own, protocol::UDP, []);
        Udp::new(547, 546, f.marker()).to_bytes(packet.pseudo())
    };
    let rows = [
        (
            "extension-unknown-next",
            protocol::EXPERIMENT,
            "An unknown next header whose data looks like a DHCPv6 server's: never read as ports",
        ),
        ("extension-esp", protocol::ESP, "An honest ESP packet"),
        (
            "extension-no-next",
            protocol::NO_NEXT,
            "A packet that says that nothing follows, and bytes behind it",
        ),
    ];
    for (id, next, title) in rows {
        let frame = f.wire6(&f.ipv6(own, next, dhcp(f)));
        f.pass(id, title, frame);
    }
    let frame = f.wire6(&Ipv6Packet {
        extensions: vec![Extension::destination()],
        ..f.ipv6(own, protocol::NO_NEXT, [])
    });
    f.pass("extension-no-next-behind-destination", "An empty packet behind destination options", frame);
}

fn wrong_order(f: &mut Forge<'_>, own: Ipv6) {
    let gateway = f.me.gateway6();
    let hop = Extension::hop_by_hop;
    let routing = Extension::routing(0, 1, gateway);
    let (malformed, routed) = (DropReason::Malformed, DropReason::SourceRoute);
    let rows = [
        ("extension-nine", chain(8), malformed, "Nine headers, one beyond the bound"),
        ("extension-thirty", chain(29), malformed, "Thirty headers"),
        (
            "extension-hop-by-hop-late",
            vec![Extension::destination(), hop()],
            malformed,
            "Hop-by-hop options that do not come first",
        ),
        ("extension-hop-by-hop-twice", vec![hop(), hop()], malformed, "Hop-by-hop options twice"),
        ("extension-routing-0", vec![routing.clone()], routed, "A routing header of type 0 (RFC 5095)"),
        (
            "extension-routing-0-behind-hop-by-hop",
            vec![hop(), Extension::destination(), routing],
            routed,
            "A routing header of type 0 behind other headers",
        ),
    ];
    for (id, extensions, reason, title) in rows {
        let frame = f.wire6(&with(f, own, extensions));
        f.drop(id, reason, title, frame);
    }
}

fn cut_short(f: &mut Forge<'_>, own: Ipv6) {
    let long = Extension { kind: protocol::DESTINATION, bytes: vec![0, 200, 1, 4, 0, 0, 0, 0] };
    let two = Extension { kind: protocol::DESTINATION, bytes: vec![0, 0] };
    let short_fragment = Extension { kind: protocol::FRAGMENT, bytes: vec![0, 0, 0, 1] };
    let short_ah = Extension { kind: protocol::AH, bytes: vec![0, 4, 0, 0, 0, 0, 0, 1] };
    let first = Extension::fragment(0, true, 51);
    let rows = [
        ("extension-overrun", vec![long.clone()], 16, "A header whose length runs over the packet"),
        ("extension-two-bytes", vec![two], 0, "A header of which only two bytes are there"),
        ("extension-fragment-cut", vec![short_fragment], 0, "A fragment header of which only half is there"),
        (
            "extension-authentication-cut",
            vec![short_ah],
            0,
            "An authentication header that runs over the packet",
        ),
        (
            "extension-first-fragment-chain",
            vec![first.clone(), long],
            16,
            "A first fragment that ends inside its chain of headers (RFC 7112)",
        ),
        (
            "extension-first-fragment-bare",
            vec![first.clone()],
            0,
            "A first fragment that ends before its transport header",
        ),
        (
            "extension-first-fragment-destination",
            vec![first, Extension::destination()],
            0,
            "A first fragment that ends where its transport header would start",
        ),
        (
            "extension-only",
            vec![Extension::destination()],
            4,
            "A UDP header cut short behind destination options",
        ),
    ];
    for (id, extensions, len, title) in rows {
        let payload = f.payload(24);
        let packet = f.ipv6(own, protocol::UDP, &payload[..len]);
        let frame = f.wire6(&Ipv6Packet { extensions, ..packet });
        f.drop(id, DropReason::Malformed, title, frame);
    }
}

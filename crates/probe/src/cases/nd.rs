//! Neighbour discovery: duplicate address detection, solicitations, advertisements.

use portcullis_abi::{DropReason, Ipv6};

use super::forge::{ALL_NODES, ALL_ROUTERS, Forge, STRANGER6};
use crate::frame::{Extension, Icmp6, Ipv6Packet, NdOption, nd};

/// Flags of an advertisement: router, solicited, override.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

pub fn add(f: &mut Forge<'_>) {
    f.group("nd-unspecified");
    from_unspecified_forged(f);
    if let Some(target) = f.me.any6() {
        from_unspecified_honest(f, target);
        from_unspecified_wrong(f, target);
        f.group("nd");
        honest(f, target);
        wrong_solicitations(f, target);
        wrong_advertisements(f, target);
        wrong_own_advertisements(f, target);
        hidden(f, target);
        unreadable(f, target);
    }
    f.group("nd");
    in_another_name(f);
}

fn dad(f: &Forge<'_>, target: Ipv6, options: &[NdOption]) -> Ipv6Packet {
    f.nd(Ipv6::UNSPECIFIED, target.solicited_node(), &nd::solicitation(target, options))
}

fn from_unspecified_honest(f: &mut Forge<'_>, target: Ipv6) {
    let frame = f.wire6(&dad(f, target, &[]));
    f.pass("dad-own", "Honest duplicate address detection for our own address", frame);
    let frame = f.wire6(&dad(f, target, &[NdOption::Nonce(*b"gateke")]));
    f.pass(
        "dad-own-nonce",
        "Honest duplicate address detection with a nonce, as Linux sends it (RFC 7527)",
        frame,
    );
    if let Some(own) = f.me.own_link_local() {
        let frame = f.wire6(&dad(f, own, &[]));
        f.pass("dad-link-local", "Honest duplicate address detection for our link-local address", frame);
    }
    let frame = f.wire6(&f.nd(Ipv6::UNSPECIFIED, ALL_ROUTERS, &nd::router_solicitation(&[])));
    f.pass("rs-before-address", "An honest router solicitation from the unspecified address", frame);
}

fn from_unspecified_forged(f: &mut Forge<'_>) {
    let rows = [
        (
            "dad-neighbour",
            f.me.neighbour6(),
            "Duplicate address detection for a neighbour's address, to deny it",
        ),
        ("dad-gateway", f.me.gateway6(), "Duplicate address detection for the gateway's address"),
        (
            "dad-link-local-neighbour",
            f.me.neighbour_link_local(),
            "Duplicate address detection for a neighbour's link-local address",
        ),
    ];
    for (id, target, title) in rows {
        let frame = f.wire6(&dad(f, target, &[]));
        f.drop(id, DropReason::SpoofedNd, title, frame);
    }
}

fn from_unspecified_wrong(f: &mut Forge<'_>, target: Ipv6) {
    let own = NdOption::Source(f.me.mac);
    let frame = f.wire6(&dad(f, target, std::slice::from_ref(&own)));
    f.drop(
        "dad-with-link-layer",
        DropReason::SpoofedNd,
        "A solicitation from the unspecified address with a link-layer option",
        frame,
    );
    let message = nd::solicitation(target, &[]);
    let frame = f.wire6(&f.nd(Ipv6::UNSPECIFIED, ALL_NODES, &message));
    f.drop(
        "dad-to-all-nodes",
        DropReason::SpoofedNd,
        "A solicitation from the unspecified address to all nodes",
        frame,
    );
    let frame = f.wire6(&f.nd(Ipv6::UNSPECIFIED, f.me.gateway6(), &message));
    f.drop(
        "dad-to-unicast",
        DropReason::SpoofedNd,
        "A solicitation from the unspecified address to one host",
        frame,
    );
    let frame = f.wire6(&Ipv6Packet { hop_limit: 64, ..dad(f, target, &[]) });
    f.drop("dad-hop-limit-64", DropReason::SpoofedNd, "Duplicate address detection with hop limit 64", frame);
    let frame = f.wire6(&f.nd(Ipv6::UNSPECIFIED, ALL_ROUTERS, &nd::router_solicitation(&[own])));
    f.drop(
        "rs-before-address-link-layer",
        DropReason::SpoofedNd,
        "A router solicitation from the unspecified address with a link-layer option",
        frame,
    );
    let message = nd::advertisement(OVERRIDE, target, &[]);
    let frame = f.wire6(&f.nd(Ipv6::UNSPECIFIED, ALL_NODES, &message));
    f.drop(
        "na-from-unspecified",
        DropReason::SpoofedNd,
        "An advertisement from the unspecified address",
        frame,
    );
}

fn honest(f: &mut Forge<'_>, own: Ipv6) {
    let mac = f.me.mac;
    let gateway = f.me.gateway6();
    let message = nd::solicitation(gateway, &[NdOption::Source(mac)]);
    let frame = f.wire6(&f.nd(own, gateway.solicited_node(), &message));
    f.pass("ns-multicast", "An honest solicitation for the gateway", frame);
    let frame = f.wire6(&f.nd(own, gateway, &nd::solicitation(gateway, &[])));
    f.pass("ns-unicast", "An honest unicast solicitation without options, as reachability probes are", frame);
    let message = nd::advertisement(SOLICITED | OVERRIDE, own, &[NdOption::Target(mac)]);
    let frame = f.wire6(&f.nd(own, gateway, &message));
    f.pass("na-solicited", "An honest solicited advertisement for our own address", frame);
    let frame = f.wire6(&f.nd(own, ALL_NODES, &nd::advertisement(OVERRIDE, own, &[NdOption::Target(mac)])));
    f.pass("na-unsolicited", "An honest unsolicited advertisement for our own address", frame);
    if let Some(link_local) = f.me.own_link_local() {
        let message = nd::advertisement(SOLICITED, link_local, &[NdOption::Target(mac)]);
        let frame = f.wire6(&f.nd(link_local, f.me.neighbour_link_local(), &message));
        f.pass("na-link-local", "An honest advertisement for our link-local address", frame);
        let message = nd::solicitation(STRANGER6, &[NdOption::Source(mac)]);
        let frame = f.wire6(&f.nd(link_local, STRANGER6.solicited_node(), &message));
        f.pass("ns-any-target", "An honest solicitation for an address outside the subnet", frame);
    }
}

fn wrong_solicitations(f: &mut Forge<'_>, own: Ipv6) {
    let gateway = f.me.gateway6();
    let group = gateway.solicited_node();
    let foreign = NdOption::Source(f.me.neighbour_mac);
    let mine = NdOption::Source(f.me.mac);
    let right = nd::solicitation(gateway, std::slice::from_ref(&mine));
    let frame = f.wire6(&f.nd(own, group, &nd::solicitation(gateway, std::slice::from_ref(&foreign))));
    f.drop(
        "ns-foreign-link-layer",
        DropReason::SpoofedNd,
        "A solicitation that puts our address at a neighbour's MAC",
        frame,
    );
    let frame = f.wire6(&f.nd(own, group, &nd::solicitation(gateway, &[mine, foreign.clone()])));
    f.drop(
        "ns-second-link-layer",
        DropReason::SpoofedNd,
        "A solicitation with a second, foreign link-layer option",
        frame,
    );
    let message = nd::solicitation(gateway, &[NdOption::Nonce(*b"gatekp"), foreign]);
    let frame = f.wire6(&f.nd(own, group, &message));
    f.drop(
        "ns-foreign-behind-nonce",
        DropReason::SpoofedNd,
        "A solicitation with a foreign link-layer option behind a nonce",
        frame,
    );
    let frame = f.wire6(&Ipv6Packet { hop_limit: 64, ..f.nd(own, group, &right) });
    f.drop("ns-hop-limit-64", DropReason::SpoofedNd, "A solicitation with hop limit 64", frame);
    let frame = f.wire6(&f.nd(own, group, &Icmp6 { code: 1, ..right }));
    f.drop("ns-code-1", DropReason::SpoofedNd, "A solicitation with code 1", frame);
}

fn wrong_advertisements(f: &mut Forge<'_>, own: Ipv6) {
    let (gateway, neighbour) = (f.me.gateway6(), f.me.neighbour6());
    let mine = NdOption::Target(f.me.mac);
    let one = std::slice::from_ref;
    let link_local = f.me.gateway_mac.eui64_link_local();
    let flags = SOLICITED | OVERRIDE;
    let rows = [
        (
            "na-for-gateway",
            gateway,
            nd::advertisement(flags | ROUTER, gateway, one(&mine)),
            "An advertisement for the gateway's address",
        ),
        (
            "na-for-neighbour",
            gateway,
            nd::advertisement(flags, neighbour, one(&mine)),
            "An advertisement for a neighbour's address",
        ),
        (
            "na-for-gateway-to-all",
            ALL_NODES,
            nd::advertisement(OVERRIDE, gateway, one(&mine)),
            "An unsolicited advertisement for the gateway's address",
        ),
        (
            "na-for-link-local-gateway",
            ALL_NODES,
            nd::advertisement(OVERRIDE, link_local, one(&mine)),
            "An advertisement for the gateway's link-local address",
        ),
        (
            "na-without-option",
            gateway,
            nd::advertisement(flags, neighbour, &[]),
            "An advertisement for a neighbour's address without an option",
        ),
    ];
    for (id, destination, message, title) in rows {
        let frame = f.wire6(&f.nd(own, destination, &message));
        f.drop(id, DropReason::SpoofedNd, title, frame);
    }
}

/// Advertisements for our own address that are wrong otherwise.
fn wrong_own_advertisements(f: &mut Forge<'_>, own: Ipv6) {
    let gateway = f.me.gateway6();
    let mine = NdOption::Target(f.me.mac);
    let foreign = NdOption::Target(f.me.neighbour_mac);
    let one = std::slice::from_ref;
    let flags = SOLICITED | OVERRIDE;
    let rows = [
        (
            "na-foreign-link-layer",
            nd::advertisement(flags, own, one(&foreign)),
            "An advertisement that puts our address at a neighbour's MAC",
        ),
        (
            "na-second-link-layer",
            nd::advertisement(flags, own, &[mine.clone(), foreign.clone()]),
            "An advertisement with a second, foreign link-layer option",
        ),
        (
            "na-code-1",
            Icmp6 { code: 1, ..nd::advertisement(flags, own, one(&mine)) },
            "An advertisement with code 1",
        ),
    ];
    for (id, message, title) in rows {
        let frame = f.wire6(&f.nd(own, gateway, &message));
        f.drop(id, DropReason::SpoofedNd, title, frame);
    }
    let message = nd::advertisement(flags, own, one(&mine));
    let frame = f.wire6(&Ipv6Packet { hop_limit: 254, ..f.nd(own, gateway, &message) });
    f.drop("na-hop-limit-254", DropReason::SpoofedNd, "An advertisement with hop limit 254", frame);
}

/// Forgeries behind extension headers, and discovery in fragments (RFC 6980).
fn hidden(f: &mut Forge<'_>, own: Ipv6) {
    let gateway = f.me.gateway6();
    let mine = NdOption::Target(f.me.mac);
    let honest = nd::advertisement(OVERRIDE, own, std::slice::from_ref(&mine));
    let forged = nd::advertisement(OVERRIDE, gateway, &[mine]);
    let rows = [
        (
            "na-forged-behind-hop-by-hop",
            &forged,
            vec![Extension::hop_by_hop()],
            "An advertisement for the gateway's address behind hop-by-hop options",
        ),
        (
            "na-forged-behind-destination",
            &forged,
            vec![Extension::destination()],
            "An advertisement for the gateway's address behind destination options",
        ),
        (
            "na-atomic-fragment",
            &honest,
            vec![Extension::fragment(0, false, 31)],
            "An honest advertisement in an atomic fragment (RFC 6980)",
        ),
        (
            "na-first-fragment",
            &honest,
            vec![Extension::fragment(0, true, 32)],
            "An honest advertisement in a first fragment (RFC 6980)",
        ),
        (
            "na-fragment-behind-destination",
            &honest,
            vec![Extension::fragment(0, false, 33), Extension::destination()],
            "An honest advertisement behind a fragment header and destination options",
        ),
    ];
    for (id, message, extensions, title) in rows {
        let frame = f.wire6(&Ipv6Packet { extensions, ..f.nd(own, ALL_NODES, message) });
        f.drop(id, DropReason::SpoofedNd, title, frame);
    }
    let message = nd::solicitation(gateway, &[NdOption::Source(f.me.mac)]);
    let packet = f.nd(own, gateway.solicited_node(), &message);
    let frame = f.wire6(&Ipv6Packet { extensions: vec![Extension::destination()], ..packet });
    f.pass("ns-behind-destination", "An honest solicitation behind destination options", frame);
}

fn unreadable(f: &mut Forge<'_>, own: Ipv6) {
    let gateway = f.me.gateway6();
    let group = gateway.solicited_node();
    let mut short = nd::solicitation(gateway, &[]);
    short.rest.truncate(12);
    let mut header = nd::advertisement(OVERRIDE, own, &[]);
    header.rest.clear();
    let zero = NdOption::Raw(vec![1, 0, 2, 0x42, 10, 0, 0, 2]);
    let overrun = NdOption::Raw(vec![1, 4, 2, 0x42, 10, 0, 0, 2]);
    let rows = [
        ("ns-cut-short", short, "A solicitation that ends inside its target"),
        ("na-cut-short", header, "An advertisement that ends before its target"),
        (
            "ns-option-length-0",
            nd::solicitation(gateway, &[zero]),
            "A solicitation with an option of length 0",
        ),
        (
            "ns-option-overrun",
            nd::solicitation(gateway, &[overrun]),
            "A solicitation with an option that runs over its end",
        ),
    ];
    for (id, message, title) in rows {
        let frame = f.wire6(&f.nd(own, group, &message));
        f.drop(id, DropReason::Malformed, title, frame);
    }
}

fn in_another_name(f: &mut Forge<'_>) {
    let (mac, gateway, neighbour) = (f.me.mac, f.me.gateway6(), f.me.neighbour6());
    let message = nd::solicitation(gateway, &[NdOption::Source(mac)]);
    let frame = f.wire6(&f.nd(neighbour, gateway.solicited_node(), &message));
    f.drop("ns-as-neighbour", DropReason::SpoofedIpv6, "A solicitation from a neighbour's address", frame);
    let message = nd::advertisement(SOLICITED | OVERRIDE, neighbour, &[NdOption::Target(mac)]);
    let frame = f.wire6(&f.nd(neighbour, gateway, &message));
    f.drop(
        "na-as-neighbour",
        DropReason::SpoofedNd,
        "An advertisement from and for a neighbour's address",
        frame,
    );
    let router = f.me.gateway_mac.eui64_link_local();
    let frame = f.wire6(&f.nd(router, ALL_NODES, &nd::router_advertisement(&[])));
    f.drop("ra-as-gateway", DropReason::RogueRa, "A router advertisement in the gateway's name", frame);
}

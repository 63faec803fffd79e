//! Routers' roles: advertisements and redirects, and the solicitations that look like them.

use portcullis_abi::{DropReason, Ipv6};

use super::forge::{ALL_NODES, ALL_ROUTERS, Forge, STRANGER6};
use crate::frame::{Extension, Ipv6Packet, NdOption, nd};

pub fn add(f: &mut Forge<'_>) {
    f.group("router-role");
    if let Some(own) = f.me.own_link_local() {
        soliciting(f, own);
        router_roles(f, own);
        hidden_roles(f, own);
    }
}

fn soliciting(f: &mut Forge<'_>, own: Ipv6) {
    let frame = f.wire6(&f.nd(own, ALL_ROUTERS, &nd::router_solicitation(&[NdOption::Source(f.me.mac)])));
    f.pass("rs", "An honest router solicitation", frame);
    let frame = f.wire6(&f.nd(own, ALL_ROUTERS, &nd::router_solicitation(&[])));
    f.pass("rs-without-option", "An honest router solicitation without an option", frame);
    let foreign = nd::router_solicitation(&[NdOption::Source(f.me.neighbour_mac)]);
    let frame = f.wire6(&f.nd(own, ALL_ROUTERS, &foreign));
    f.drop(
        "rs-foreign-link-layer",
        DropReason::SpoofedNd,
        "A router solicitation with a neighbour's MAC",
        frame,
    );
    let message = nd::router_solicitation(&[]);
    let frame = f.wire6(&Ipv6Packet { hop_limit: 64, ..f.nd(own, ALL_ROUTERS, &message) });
    f.drop("rs-hop-limit-64", DropReason::SpoofedNd, "A router solicitation with hop limit 64", frame);
}

fn router_roles(f: &mut Forge<'_>, own: Ipv6) {
    let mac = NdOption::Source(f.me.mac);
    let plain = nd::router_advertisement(std::slice::from_ref(&mac));
    let prefix = nd::router_advertisement(&[mac, NdOption::Prefix(STRANGER6)]);
    let redirect = nd::redirect(own, STRANGER6, &[NdOption::Target(f.me.mac)]);
    let rows = [
        ("ra", ALL_NODES, &plain, "A router advertisement"),
        (
            "ra-with-prefix",
            ALL_NODES,
            &prefix,
            "A router advertisement with a prefix for autoconfiguration (CVE-2020-10749)",
        ),
        ("ra-unicast", f.me.neighbour_link_local(), &plain, "A router advertisement to one victim"),
        ("redirect", f.me.neighbour_link_local(), &redirect, "A redirect of a stranger's traffic to us"),
    ];
    for (id, destination, message, title) in rows {
        let frame = f.wire6(&f.nd(own, destination, message));
        f.drop(id, DropReason::RogueRa, title, frame);
    }
}

/// Behind extension headers and in fragments.
fn hidden_roles(f: &mut Forge<'_>, own: Ipv6) {
    let plain = nd::router_advertisement(&[NdOption::Source(f.me.mac)]);
    let redirect = nd::redirect(own, STRANGER6, &[NdOption::Target(f.me.mac)]);
    let rows = [
        (
            "ra-behind-hop-by-hop",
            &plain,
            vec![Extension::hop_by_hop()],
            DropReason::RogueRa,
            "A router advertisement behind hop-by-hop options",
        ),
        (
            "ra-behind-destination",
            &plain,
            vec![Extension::destination(); 3],
            DropReason::RogueRa,
            "A router advertisement behind three destination option headers (RFC 7113)",
        ),
        (
            "ra-atomic-fragment",
            &plain,
            vec![Extension::fragment(0, false, 41)],
            DropReason::SpoofedNd,
            "A router advertisement in an atomic fragment (RFC 6980)",
        ),
        (
            "ra-first-fragment",
            &plain,
            vec![Extension::fragment(0, true, 42)],
            DropReason::SpoofedNd,
            "A router advertisement in a first fragment (RFC 7113)",
        ),
        (
            "redirect-behind-destination",
            &redirect,
            vec![Extension::destination()],
            DropReason::RogueRa,
            "A redirect behind destination options",
        ),
    ];
    for (id, message, extensions, reason, title) in rows {
        let frame = f.wire6(&Ipv6Packet { extensions, ..f.nd(own, ALL_NODES, message) });
        f.drop(id, reason, title, frame);
    }
}

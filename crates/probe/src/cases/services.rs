//! DHCP and IGMP: honest look-alikes of a forged source, and a server's role.

use portcullis_abi::{DropReason, Ipv4, Ipv6, Mac};

use super::forge::Forge;
use crate::frame::{
    Extension, Icmp4, Ipv4Packet, Ipv6Packet, Tcp, Udp, dhcpv4_message, dhcpv6_message, protocol,
};

/// All DHCPv6 servers and relays on the link.
const DHCP6_SERVERS: Ipv6 = Ipv6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);

pub fn add(f: &mut Forge<'_>) {
    f.group("dhcp");
    dhcp4_client(f);
    dhcp4_server(f);
    dhcp6(f);
    f.group("igmp");
    igmp_honest(f);
    igmp_forged(f);
}

fn datagram4(f: &Forge<'_>, ends: (Ipv4, Ipv4), ports: (u16, u16), body: Vec<u8>) -> Ipv4Packet {
    let packet = f.ipv4_to(ends.0, ends.1, protocol::UDP, []);
    let payload = Udp::new(ports.0, ports.1, body).to_bytes(packet.pseudo());
    Ipv4Packet { payload, ..packet }
}

fn datagram6(f: &Forge<'_>, ends: (Ipv6, Ipv6), ports: (u16, u16), kind: u8) -> Ipv6Packet {
    let packet = f.ipv6_to(ends.0, ends.1, protocol::UDP, []);
    let body = dhcpv6_message(kind, u32::from(f.number()), f.me.mac);
    let payload = Udp::new(ports.0, ports.1, body).to_bytes(packet.pseudo());
    Ipv6Packet { payload, ..packet }
}

fn message4(f: &Forge<'_>, operation: u8, kind: u8, client: Mac, offered: Ipv4) -> Vec<u8> {
    dhcpv4_message(operation, kind, 0x6761_0000 + u32::from(f.number()), client, offered)
}

fn dhcp4_client(f: &mut Forge<'_>) {
    let (mac, none) = (f.me.mac, Ipv4::UNSPECIFIED);
    let body = message4(f, 1, 1, mac, none);
    let frame = f.wire4(&datagram4(f, (none, Ipv4::BROADCAST), (68, 67), body));
    f.drop(
        "dhcp4-discover",
        DropReason::SpoofedIpv4,
        "A DHCP discovery from 0.0.0.0 where DHCP is not allowed",
        frame,
    );
    let body = message4(f, 1, 3, mac, none);
    let frame = f.wire4(&datagram4(f, (none, f.me.gateway4()), (68, 67), body));
    f.drop(
        "dhcp4-from-zero-unicast",
        DropReason::SpoofedIpv4,
        "A DHCP request from 0.0.0.0 to one server",
        frame,
    );
    let body = message4(f, 1, 1, mac, none);
    let frame = f.wire4(&datagram4(f, (none, Ipv4::BROADCAST), (4068, 67), body));
    f.drop(
        "dhcp4-from-zero-wrong-port",
        DropReason::SpoofedIpv4,
        "A DHCP discovery from 0.0.0.0 and a wrong port",
        frame,
    );
    let Some(own) = f.me.ipv4 else { return };
    let body = message4(f, 1, 3, mac, none);
    let frame = f.wire4(&datagram4(f, (own, f.me.gateway4()), (68, 67), body));
    f.pass("dhcp4-renewal", "An honest DHCP renewal from our own address", frame);
    let packet = f.ipv4(own, protocol::TCP, []);
    let payload = Tcp::new(67, 9, Tcp::ACK, []).to_bytes(packet.pseudo());
    let frame = f.wire4(&Ipv4Packet { payload, ..packet });
    f.pass("dhcp4-tcp-port-67", "An honest TCP segment from port 67", frame);
}

fn dhcp4_server(f: &mut Forge<'_>) {
    let (victim, offered) = (f.me.neighbour_mac, f.me.neighbour4());
    let body = message4(f, 2, 2, victim, offered);
    let frame = f.wire4(&datagram4(f, (f.me.gateway4(), Ipv4::BROADCAST), (67, 68), body));
    f.drop("dhcp4-offer-as-gateway", DropReason::SpoofedIpv4, "A DHCP offer in the gateway's name", frame);
    let body = message4(f, 2, 2, victim, offered);
    let frame = f.wire4(&datagram4(f, (Ipv4::UNSPECIFIED, Ipv4::BROADCAST), (67, 68), body));
    f.drop("dhcp4-offer-from-zero", DropReason::SpoofedIpv4, "A DHCP offer from 0.0.0.0", frame);
    let Some(own) = f.me.ipv4 else { return };
    let body = message4(f, 2, 2, victim, offered);
    let frame = f.wire4(&datagram4(f, (own, Ipv4::BROADCAST), (67, 68), body));
    f.drop("dhcp4-offer", DropReason::RogueDhcp, "A DHCP server's offer from our own address", frame);
    let body = message4(f, 2, 5, victim, offered);
    let frame = f.wire4(&datagram4(f, (own, offered), (67, 68), body));
    f.drop(
        "dhcp4-ack-unicast",
        DropReason::RogueDhcp,
        "A DHCP server's acknowledgement to one victim",
        frame,
    );
    let body = message4(f, 2, 2, victim, offered);
    let packet = datagram4(f, (own, Ipv4::BROADCAST), (67, 68), body);
    let frame = f.wire4(&Ipv4Packet { options: vec![148, 4, 0, 0], ..packet });
    f.drop(
        "dhcp4-offer-behind-options",
        DropReason::RogueDhcp,
        "A DHCP server's offer behind IPv4 options",
        frame,
    );
    let body = message4(f, 2, 2, victim, offered);
    let packet = datagram4(f, (own, Ipv4::BROADCAST), (67, 68), body);
    let frame = f.wire4(&packet.fragments(&[0, 4])[0]);
    f.drop(
        "dhcp4-offer-first-fragment",
        DropReason::RogueDhcp,
        "A DHCP server's offer in a first fragment",
        frame,
    );
    let frame = f.wire4(&f.udp4_to(own, f.me.gateway4(), 547, 546));
    f.drop("dhcp4-port-547", DropReason::RogueDhcp, "A DHCPv6 server's source port over IPv4", frame);
}

fn dhcp6(f: &mut Forge<'_>) {
    let gateway = f.me.gateway_mac.eui64_link_local();
    let all = super::forge::ALL_NODES;
    let frame = f.wire6(&datagram6(f, (gateway, all), (547, 546), 7));
    f.drop("dhcp6-reply-as-gateway", DropReason::SpoofedIpv6, "A DHCPv6 reply in the gateway's name", frame);
    let Some(own) = f.me.own_link_local() else { return };
    let frame = f.wire6(&datagram6(f, (own, DHCP6_SERVERS), (546, 547), 1));
    f.pass("dhcp6-solicit", "An honest DHCPv6 solicitation", frame);
    let to = (own, f.me.neighbour_link_local());
    let frame = f.wire6(&datagram6(f, to, (547, 546), 2));
    f.drop("dhcp6-advertise", DropReason::RogueDhcp, "A DHCPv6 server's advertisement", frame);
    let headers = [
        (
            "dhcp6-reply-behind-hop-by-hop",
            vec![Extension::hop_by_hop()],
            "A DHCPv6 server's reply behind hop-by-hop options",
        ),
        (
            "dhcp6-reply-behind-destination",
            vec![Extension::destination(), Extension::destination()],
            "A DHCPv6 server's reply behind two destination option headers",
        ),
        (
            "dhcp6-reply-behind-ah",
            vec![Extension::authentication()],
            "A DHCPv6 server's reply behind an authentication header",
        ),
        (
            "dhcp6-reply-atomic-fragment",
            vec![Extension::fragment(0, false, 7)],
            "A DHCPv6 server's reply in an atomic fragment",
        ),
        (
            "dhcp6-reply-first-fragment",
            vec![Extension::fragment(0, true, 7)],
            "A DHCPv6 server's reply in a first fragment",
        ),
    ];
    for (id, extensions, title) in headers {
        let mut packet = Ipv6Packet { extensions, ..datagram6(f, to, (547, 546), 7) };
        if id == "dhcp6-reply-first-fragment" {
            packet.payload.truncate(24);
        }
        let frame = f.wire6(&packet);
        f.drop(id, DropReason::RogueDhcp, title, frame);
    }
    let frame = f.wire6(&f.udp6_to(own, f.me.neighbour_link_local(), 67, 68));
    f.drop("dhcp6-port-67", DropReason::RogueDhcp, "A DHCPv4 server's source port over IPv6", frame);
}

const GROUP: Ipv4 = Ipv4([239, 7, 7, 7]);
const IGMP3_ROUTERS: Ipv4 = Ipv4([224, 0, 0, 22]);
const ROUTERS: Ipv4 = Ipv4([224, 0, 0, 2]);

/// An IGMP message with the router alert that it always carries.
fn igmp(f: &Forge<'_>, source: Ipv4, destination: Ipv4, message: &Icmp4) -> Ipv4Packet {
    let packet = f.ipv4_to(source, destination, protocol::IGMP, message.to_bytes());
    Ipv4Packet { ttl: 1, traffic_class: 0xc0, options: vec![148, 4, 0, 0], ..packet }
}

fn igmp_honest(f: &mut Forge<'_>) {
    let zero = Ipv4::UNSPECIFIED;
    let rows = [
        (
            "igmp3-report-before-address",
            zero,
            IGMP3_ROUTERS,
            Icmp4::igmp3_report(GROUP),
            "An honest IGMPv3 report from 0.0.0.0, before there is an address",
        ),
        (
            "igmp2-report-before-address",
            zero,
            GROUP,
            Icmp4::igmp(0x16, 0, GROUP),
            "An honest IGMPv2 report from 0.0.0.0",
        ),
        (
            "igmp1-report-before-address",
            zero,
            GROUP,
            Icmp4::igmp(0x12, 0, GROUP),
            "An honest IGMPv1 report from 0.0.0.0",
        ),
        (
            "igmp2-leave-before-address",
            zero,
            ROUTERS,
            Icmp4::igmp(0x17, 0, GROUP),
            "An honest IGMPv2 leave from 0.0.0.0",
        ),
    ];
    for (id, source, destination, message, title) in rows {
        let frame = f.wire4(&igmp(f, source, destination, &message));
        f.pass(id, title, frame);
    }
    let Some(own) = f.me.ipv4 else { return };
    let frame = f.wire4(&igmp(f, own, IGMP3_ROUTERS, &Icmp4::igmp3_report(GROUP)));
    f.pass("igmp3-report", "An honest IGMPv3 report from our own address", frame);
    let frame = f.wire4(&igmp(f, own, ROUTERS, &Icmp4::igmp(0x17, 0, GROUP)));
    f.pass("igmp2-leave", "An honest IGMPv2 leave from our own address", frame);
}

fn igmp_forged(f: &mut Forge<'_>) {
    let zero = Ipv4::UNSPECIFIED;
    let report = Icmp4::igmp3_report(GROUP);
    let spoofed = DropReason::SpoofedIpv4;
    let frame = f.wire4(&igmp(f, f.me.neighbour4(), IGMP3_ROUTERS, &report));
    f.drop("igmp3-report-of-neighbour", spoofed, "An IGMPv3 report in a neighbour's name", frame);
    let all_hosts = Ipv4([224, 0, 0, 1]);
    let frame = f.wire4(&igmp(f, zero, all_hosts, &Icmp4::igmp(0x11, 100, zero)));
    f.drop("igmp-query-from-zero", spoofed, "An IGMP query from 0.0.0.0, a querier's role", frame);
    let frame = f.wire4(&igmp(f, f.me.gateway4(), all_hosts, &Icmp4::igmp(0x11, 100, zero)));
    f.drop("igmp-query-as-gateway", spoofed, "An IGMP query in the gateway's name", frame);
    let frame = f.wire4(&Ipv4Packet { ttl: 64, ..igmp(f, zero, IGMP3_ROUTERS, &report) });
    f.drop("igmp3-report-ttl-64", spoofed, "An IGMPv3 report from 0.0.0.0 that could leave the link", frame);
    let frame = f.wire4(&igmp(f, zero, f.me.gateway4(), &Icmp4::igmp(0x16, 0, GROUP)));
    f.drop("igmp2-report-unicast", spoofed, "An IGMPv2 report from 0.0.0.0 to one host", frame);
}

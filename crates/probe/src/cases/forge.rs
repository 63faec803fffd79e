//! What all groups of cases build with.

use portcullis_abi::{DropReason, Ipv4, Ipv6, Mac};

use super::{Case, Expect, Identity, SendVia};
use crate::frame::{
    Arp, Icmp4, Icmp6, Ipv4Packet, Ipv6Packet, Tcp, Udp, ethernet, ethertype, multicast_mac4, multicast_mac6,
    protocol,
};

/// An address for documentation (RFC 5737) as "somebody on the Internet".
pub const STRANGER4: Ipv4 = Ipv4([198, 51, 100, 7]);
/// An address for documentation (RFC 3849) as "somebody on the Internet".
pub const STRANGER6: Ipv6 = Ipv6([0x20, 0x01, 0x0d, 0xb8, 0, 0x51, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
/// All nodes on the link.
pub const ALL_NODES: Ipv6 = Ipv6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// All routers on the link.
pub const ALL_ROUTERS: Ipv6 = Ipv6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
/// All MLDv2 routers on the link.
pub const MLD2_ROUTERS: Ipv6 = Ipv6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16]);

/// What every marker starts with.
pub const PREFIX: [u8; 6] = *b"gate-p";

/// Collects cases and builds frames that carry the number of the case being built, so that no two
/// cases share a frame.
pub struct Forge<'a> {
    /// Whose frames these are.
    pub me: &'a Identity,
    group: &'static str,
    cases: Vec<Case>,
}

impl<'a> Forge<'a> {
    pub fn new(me: &'a Identity) -> Self {
        Self { me, group: "", cases: Vec::new() }
    }

    pub fn finish(self) -> Vec<Case> {
        self.cases
    }

    /// The cases that follow are of this group.
    pub fn group(&mut self, name: &'static str) {
        self.group = name;
    }

    /// Adds a case of one frame that passes.
    pub fn pass(&mut self, id: &'static str, title: &'static str, frame: Vec<u8>) {
        self.add(id, title, Expect::Pass, vec![frame]);
    }

    /// Adds a case of one frame that is dropped.
    pub fn drop(&mut self, id: &'static str, reason: DropReason, title: &'static str, frame: Vec<u8>) {
        self.add(id, title, Expect::Drop(reason), vec![frame]);
    }

    /// Adds a case of any frames.
    pub fn add(&mut self, id: &'static str, title: &'static str, expect: Expect, frames: Vec<Vec<u8>>) {
        let hostile = expect.reason().is_some_and(DropReason::is_hostile);
        let group = self.group;
        self.cases.push(Case { id, group, title, frames, expect, hostile, via: SendVia::Raw });
    }

    /// The last case is sent like this.
    pub fn via(&mut self, via: SendVia) {
        if let Some(case) = self.cases.last_mut() {
            case.via = via;
        }
    }

    /// Number of the case being built, never zero.
    pub fn number(&self) -> u16 {
        (self.cases.len() + 1) as u16
    }

    /// Eight bytes that tell this case from the others.
    pub fn marker(&self) -> [u8; 8] {
        let [high, low] = self.number().to_be_bytes();
        [PREFIX[0], PREFIX[1], PREFIX[2], PREFIX[3], PREFIX[4], PREFIX[5], high, low]
    }

    /// Whether this is one of our own IPv4 addresses.
    pub fn owns4(&self, address: Ipv4) -> bool {
        self.me.ipv4 == Some(address)
    }

    /// Whether this is one of our own IPv6 addresses.
    pub fn owns6(&self, address: Ipv6) -> bool {
        self.me.ipv6 == Some(address) || self.me.own_link_local() == Some(address)
    }

    /// `len` bytes of payload that begin with the marker.
    pub fn payload(&self, len: usize) -> Vec<u8> {
        let mut payload = self.marker().to_vec();
        payload.extend((payload.len()..len).map(|i| i as u8));
        payload
    }

    /// An Ethernet frame from the own MAC to the far side.
    pub fn ethernet(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        ethernet(self.me.far_mac, self.me.mac, ethertype, payload)
    }

    /// An ARP packet, padded as on the wire; the marker stands in the padding.
    pub fn arp(&self, arp: &Arp) -> Vec<u8> {
        let mut bytes = arp.to_bytes();
        bytes.extend_from_slice(&self.payload(18));
        bytes
    }

    /// An IPv4 packet to the gateway.
    pub fn ipv4(&self, source: Ipv4, protocol: u8, payload: impl Into<Vec<u8>>) -> Ipv4Packet {
        self.ipv4_to(source, self.me.gateway4(), protocol, payload)
    }

    /// An IPv4 packet whose id is the number of the case.
    pub fn ipv4_to(&self, from: Ipv4, to: Ipv4, protocol: u8, payload: impl Into<Vec<u8>>) -> Ipv4Packet {
        Ipv4Packet { id: 0x7000 + self.number(), ..Ipv4Packet::new(from, to, protocol, payload) }
    }

    /// A UDP datagram to the gateway's discard port.
    pub fn udp4(&self, source: Ipv4) -> Ipv4Packet {
        self.udp4_to(source, self.me.gateway4(), 40000, 9)
    }

    pub fn udp4_to(&self, source: Ipv4, destination: Ipv4, from: u16, to: u16) -> Ipv4Packet {
        let packet = self.ipv4_to(source, destination, protocol::UDP, []);
        let payload = Udp::new(from, to, self.marker()).to_bytes(packet.pseudo());
        Ipv4Packet { payload, ..packet }
    }

    /// A TCP segment to the gateway's discard port.
    pub fn tcp4(&self, source: Ipv4, flags: u8) -> Ipv4Packet {
        let packet = self.ipv4(source, protocol::TCP, []);
        let data = if flags & Tcp::PSH == 0 { Vec::new() } else { self.marker().to_vec() };
        let payload = Tcp::new(40001, 9, flags, data).to_bytes(packet.pseudo());
        Ipv4Packet { payload, ..packet }
    }

    /// An echo reply to the gateway: it draws no answer, so nothing is sent to a stranger in turn.
    pub fn quiet4(&self, source: Ipv4) -> Ipv4Packet {
        let echo = Icmp4::echo(0, self.number(), &self.marker());
        self.ipv4(source, protocol::ICMP, echo.to_bytes())
    }

    /// The frame of an IPv4 packet, to the MAC that its destination asks for.
    pub fn wire4(&self, packet: &Ipv4Packet) -> Vec<u8> {
        ethernet(self.mac4(packet.destination), self.me.mac, ethertype::IPV4, &packet.to_bytes())
    }

    pub fn mac4(&self, destination: Ipv4) -> Mac {
        if destination == Ipv4::BROADCAST || Some(destination) == self.me.broadcast4() {
            Mac::BROADCAST
        } else if destination.0[0] >> 4 == 0xe {
            multicast_mac4(destination)
        } else {
            self.me.far_mac
        }
    }

    /// An IPv6 packet to the gateway.
    pub fn ipv6(&self, source: Ipv6, protocol: u8, payload: impl Into<Vec<u8>>) -> Ipv6Packet {
        self.ipv6_to(source, self.me.gateway6(), protocol, payload)
    }

    /// An IPv6 packet whose flow label is the number of the case.
    pub fn ipv6_to(&self, from: Ipv6, to: Ipv6, protocol: u8, payload: impl Into<Vec<u8>>) -> Ipv6Packet {
        let flow_label = 0x7_0000 + u32::from(self.number());
        Ipv6Packet { flow_label, ..Ipv6Packet::new(from, to, protocol, payload) }
    }

    /// A UDP datagram to the gateway's discard port.
    pub fn udp6(&self, source: Ipv6) -> Ipv6Packet {
        self.udp6_to(source, self.me.gateway6(), 40000, 9)
    }

    pub fn udp6_to(&self, source: Ipv6, destination: Ipv6, from: u16, to: u16) -> Ipv6Packet {
        let packet = self.ipv6_to(source, destination, protocol::UDP, []);
        let payload = Udp::new(from, to, self.marker()).to_bytes(packet.pseudo());
        Ipv6Packet { payload, ..packet }
    }

    /// A TCP segment to the gateway's discard port.
    pub fn tcp6(&self, source: Ipv6, flags: u8) -> Ipv6Packet {
        let packet = self.ipv6(source, protocol::TCP, []);
        let payload = Tcp::new(40001, 9, flags, []).to_bytes(packet.pseudo());
        Ipv6Packet { payload, ..packet }
    }

    /// An ICMPv6 message.
    pub fn icmp6(&self, source: Ipv6, destination: Ipv6, message: &Icmp6) -> Ipv6Packet {
        let packet = self.ipv6_to(source, destination, protocol::ICMPV6, []);
        let payload = message.to_bytes(packet.pseudo());
        Ipv6Packet { payload, ..packet }
    }

    /// A neighbour discovery message: its hop limit is 255.
    pub fn nd(&self, source: Ipv6, destination: Ipv6, message: &Icmp6) -> Ipv6Packet {
        Ipv6Packet { hop_limit: 255, ..self.icmp6(source, destination, message) }
    }

    /// An echo reply to the gateway: it draws no answer.
    pub fn quiet6(&self, source: Ipv6) -> Ipv6Packet {
        let echo = Icmp6::echo(129, self.number(), &self.marker());
        self.icmp6(source, self.me.gateway6(), &echo)
    }

    /// The frame of an IPv6 packet, to the MAC that its destination asks for.
    pub fn wire6(&self, packet: &Ipv6Packet) -> Vec<u8> {
        ethernet(self.mac6(packet.destination), self.me.mac, ethertype::IPV6, &packet.to_bytes())
    }

    pub fn mac6(&self, destination: Ipv6) -> Mac {
        if destination.0[0] == 0xff { multicast_mac6(destination) } else { self.me.far_mac }
    }
}

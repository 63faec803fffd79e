//! TCP, UDP and what is told by a port, IGMP, GRE in words.

use portcullis_engine::header::{Udp, be16};

use super::Decoding;

/// First bytes of a TCP header, up to the flags (RFC 9293 section 3.1).
type TcpStart = [u8; 14];
const TCP_PORTS: std::ops::Range<usize> = 0..4;
const TCP_FLAGS: usize = 13;

/// UDP ports of encapsulations (RFC 7348, Linux's own VXLAN port, RFC 8926) and WireGuard's.
const VXLAN: [u16; 2] = [4789, 8472];
const GENEVE: u16 = 6081;
const WIREGUARD: u16 = 51820;

impl Decoding<'_> {
    pub(super) fn tcp(&mut self) {
        let Some(start) = self.rest.look::<TcpStart>() else { return self.ports_of_a_stump("TCP") };
        let (source, destination) = ports(&start[TCP_PORTS]);
        self.note_ports(source, destination);
        let flags: String =
            [(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (16, '.'), (32, 'U'), (64, 'E'), (128, 'W')]
                .into_iter()
                .filter(|(bit, _)| start[TCP_FLAGS] & bit != 0)
                .map(|(_, letter)| letter)
                .collect();
        let flags = if flags.is_empty() { "none" } else { &flags };
        self.say(format_args!("TCP {source} > {destination} [{flags}]"));
        let header_len = usize::from(start[TCP_FLAGS - 1] >> 4) * 4;
        if header_len < 20 || header_len > self.rest.len() {
            self.say(format_args!("[bad header length {header_len}]"));
        }
    }

    fn note_ports(&mut self, source: u16, destination: u16) {
        if self.depth == 0 {
            self.decoded.ports = Some((source, destination));
        }
    }

    /// A transport header that ends after its ports at the earliest: a tiny fragment, or an ICMP quote.
    fn ports_of_a_stump(&mut self, name: &str) {
        match self.rest.look::<[u8; 4]>() {
            Some(bytes) => {
                let (source, destination) = ports(&bytes);
                self.say_end(&format!("{name} {source} > {destination}"));
            }
            None => self.say_end(name),
        }
    }

    pub(super) fn udp(&mut self) {
        let Some(header) = self.rest.take::<Udp>() else { return self.ports_of_a_stump("UDP") };
        let (source, destination) = (be16(header.source), be16(header.destination));
        self.note_ports(source, destination);
        self.say(format_args!("UDP {source} > {destination}"));
        match (source, destination) {
            (_, port) if VXLAN.contains(&port) => self.vxlan(),
            (_, GENEVE) => self.geneve(),
            (_, WIREGUARD) => self.say(format_args!("WireGuard")),
            (67, _) => self.say(format_args!("DHCP from a server")),
            (68, 67) => self.say(format_args!("DHCP from a client")),
            (546 | 547, 546 | 547) => self.dhcpv6(),
            (5353, _) | (_, 5353) => self.say(format_args!("mDNS")),
            (53, _) | (_, 53) => self.say(format_args!("DNS")),
            _ => {}
        }
    }

    fn dhcpv6(&mut self) {
        // RFC 8415 section 7.3.
        let name = match self.rest.peek() {
            Some(1) => "solicit",
            Some(2) => "advertise",
            Some(3) => "request",
            Some(4) => "confirm",
            Some(5) => "renew",
            Some(6) => "rebind",
            Some(7) => "reply",
            Some(8) => "release",
            Some(9) => "decline",
            Some(10) => "reconfigure",
            Some(11) => "information-request",
            Some(12) => "relay-forward",
            Some(13) => "relay-reply",
            _ => "message",
        };
        self.say(format_args!("DHCPv6 {name}"));
    }

    fn vxlan(&mut self) {
        let Some(header) = self.take::<[u8; 8]>("VXLAN") else { return };
        let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
        self.inside(&format!("VXLAN vni {vni}"), Self::ethernet);
    }

    fn geneve(&mut self) {
        let Some(header) = self.take::<[u8; 8]>("Geneve") else { return };
        let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
        self.rest.skip(usize::from(header[0] & 0x3f) * 4);
        let kind = [header[2], header[3]];
        self.inside(&format!("Geneve vni {vni}"), |this| this.carried(kind));
    }

    pub(super) fn gre(&mut self) {
        let Some([flags, _, high, low]) = self.take::<[u8; 4]>("GRE") else { return };
        // Checksum, key and sequence number, four bytes each where they are there (RFC 2890).
        let optional = [0x80, 0x20, 0x10].into_iter().filter(|bit| flags & bit != 0).count();
        self.rest.skip(optional * 4);
        self.inside("GRE", |this| this.carried([high, low]));
    }

    /// What GRE and Geneve carry: a whole Ethernet frame, or what its type says.
    fn carried(&mut self, kind: [u8; 2]) {
        match kind {
            [0x65, 0x58] => self.ethernet(),
            kind => self.by_ethertype(kind),
        }
    }

    pub(super) fn igmp(&mut self) {
        let Some(start) = self.take::<[u8; 8]>("IGMP") else { return };
        let group = std::net::Ipv4Addr::new(start[4], start[5], start[6], start[7]);
        match start[0] {
            0x11 if group.is_unspecified() => self.say(format_args!("IGMP general query")),
            0x11 => self.say(format_args!("IGMP query {group}")),
            0x12 => self.say(format_args!("IGMPv1 report {group}")),
            0x16 => self.say(format_args!("IGMPv2 report {group}")),
            0x17 => self.say(format_args!("IGMP leave {group}")),
            0x22 => self.say(format_args!("IGMPv3 report, {} groups", be16([start[6], start[7]]))),
            kind => self.say(format_args!("IGMP type {kind:#04x}")),
        }
    }
}

/// Source and destination port from the first four bytes.
fn ports(bytes: &[u8]) -> (u16, u16) {
    match bytes {
        [a, b, c, d, ..] => (be16([*a, *b]), be16([*c, *d])),
        _ => (0, 0),
    }
}

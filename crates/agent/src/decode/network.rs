//! IPv4 and IPv6 in words.

use std::net::IpAddr;

use portcullis_abi::{Ipv4, Ipv6};
use portcullis_engine::header::{Extension, FragmentHeader, Ipv4Header, Ipv6Header, be16, protocol};

use super::{Decoding, MAX_DEPTH};

/// Extension headers that are walked.
const MAX_EXTENSIONS: usize = 8;
/// IPv4 options of the source routing kind (RFC 791): loose and strict.
const SOURCE_ROUTES: [u8; 2] = [131, 137];
/// Length of an IPv4 header without options.
const IPV4_LEN: usize = size_of::<Ipv4Header>();

impl Decoding<'_> {
    pub(super) fn ipv4(&mut self) {
        let Some(header) = self.take::<Ipv4Header>("IPv4") else { return };
        self.say_addresses("IPv4", header.source, header.destination);
        let (version, words) = (header.version_ihl >> 4, usize::from(header.version_ihl & 15));
        if version != 4 || words < 5 {
            return self.say(format_args!("[bad version {version}, header length {}]", words * 4));
        }
        self.ipv4_options(words * 4 - IPV4_LEN);
        let total = usize::from(be16(header.total_len));
        match total.checked_sub(words * 4) {
            // Segmentation offload beyond 64 KiB writes no length (BIG TCP).
            _ if total == 0 => {}
            Some(len) => {
                if len > self.rest.len() && self.depth == 0 {
                    self.say(format_args!("[total length {total} is beyond the frame]"));
                }
                self.rest.limit(len);
            }
            None => return self.say(format_args!("[bad total length {total}]")),
        }
        let fragment = be16(header.fragment);
        self.upper(header.protocol, fragment & 0x1fff, fragment & 0x2000 != 0);
    }

    fn ipv4_options(&mut self, len: usize) {
        let mut at = 0;
        while at < len {
            match self.rest.look_at::<[u8; 2]>(at) {
                Some([0, _]) | None => break,
                Some([1, _]) => at += 1,
                Some([kind, _]) if SOURCE_ROUTES.contains(&kind) => {
                    self.say(format_args!("[source route]"));
                    break;
                }
                Some([_, option_len]) => at += usize::from(option_len.max(2)),
            }
        }
        self.rest.skip(len);
    }

    pub(super) fn ipv6(&mut self) {
        let Some(header) = self.take::<Ipv6Header>("IPv6") else { return };
        self.say_addresses("IPv6", header.source, header.destination);
        let version = header.version_class_flow[0] >> 4;
        if version != 6 {
            return self.say(format_args!("[bad version {version}]"));
        }
        let len = usize::from(be16(header.payload_len));
        // A jumbogram, or segmentation offload beyond 64 KiB, writes no length.
        if len != 0 {
            if len > self.rest.len() && self.depth == 0 {
                self.say(format_args!("[payload length {len} is beyond the frame]"));
            }
            self.rest.limit(len);
        }
        self.extensions(header.next_header);
    }

    fn extensions(&mut self, mut next: u8) {
        let (mut offset, mut more) = (0, false);
        for _ in 0..MAX_EXTENSIONS {
            let name = match next {
                protocol::HOP_BY_HOP => "hop-by-hop",
                protocol::ROUTING => "routing",
                protocol::DESTINATION_OPTIONS => "destination-options",
                protocol::AH => "AH",
                protocol::FRAGMENT => {
                    let Some(header) = self.take::<FragmentHeader>("fragment") else { return };
                    (offset, more) = (be16(header.offset) >> 3, header.offset[1] & 1 != 0);
                    if offset == 0 && !more {
                        self.say(format_args!("atomic fragment"));
                    }
                    next = header.next_header;
                    if offset != 0 {
                        break;
                    }
                    continue;
                }
                _ => break,
            };
            let Some(header) = self.rest.look::<Extension>() else { return self.say_end(name) };
            let len = usize::from(header.len);
            if next == protocol::ROUTING {
                self.say(format_args!("routing type {}", header.routing_type));
            } else {
                self.say(format_args!("{name}"));
            }
            self.rest.skip(if next == protocol::AH { (len + 2) * 4 } else { (len + 1) * 8 });
            next = header.next_header;
        }
        self.upper(next, offset, more);
    }

    fn say_addresses<A: Copy + std::fmt::Display + Octets>(&mut self, name: &str, source: A, destination: A) {
        if self.depth == 0 {
            self.decoded.addresses = Some((source.ip(), destination.ip()));
        }
        self.say(format_args!("{name} {source} > {destination}"));
    }

    /// What an IP packet carries; `offset` in units of 8 bytes.
    fn upper(&mut self, number: u8, offset: u16, more: bool) {
        if self.depth == 0 {
            self.decoded.protocol = Some(number);
        }
        if offset != 0 {
            let at = u32::from(offset) * 8;
            return match protocol_name(number) {
                Some(name) => self.say(format_args!("{name} fragment at {at}")),
                None => self.say(format_args!("protocol {number} fragment at {at}")),
            };
        }
        match number {
            protocol::TCP => self.tcp(),
            protocol::UDP => self.udp(),
            protocol::ICMP => self.icmp(),
            protocol::ICMPV6 => self.icmpv6(),
            protocol::IGMP => self.igmp(),
            protocol::GRE => self.gre(),
            protocol::IPIP | protocol::IPV6 => self.inside("tunnel", Self::layer3),
            _ => match protocol_name(number) {
                Some(name) => self.say(format_args!("{name}")),
                None => self.say(format_args!("protocol {number}")),
            },
        }
        if more {
            self.say(format_args!("[first fragment]"));
        }
    }

    /// Decodes a packet within this one, under a word that says how it is carried.
    pub(super) fn inside(&mut self, how: &str, decode: impl FnOnce(&mut Self)) {
        self.say(format_args!("{how}"));
        if self.depth < MAX_DEPTH {
            self.depth += 1;
            decode(self);
            self.depth -= 1;
        } else {
            self.say(format_args!("…"));
        }
    }
}

/// An address of either family as the standard library has it.
trait Octets {
    fn ip(self) -> IpAddr;
}

impl Octets for Ipv4 {
    fn ip(self) -> IpAddr {
        self.0.into()
    }
}

impl Octets for Ipv6 {
    fn ip(self) -> IpAddr {
        self.0.into()
    }
}

/// Names of protocols (IANA).
const fn protocol_name(number: u8) -> Option<&'static str> {
    Some(match number {
        protocol::HOP_BY_HOP => "hop-by-hop",
        protocol::ICMP => "ICMP",
        protocol::IGMP => "IGMP",
        protocol::IPIP => "IPIP",
        protocol::TCP => "TCP",
        protocol::UDP => "UDP",
        protocol::IPV6 => "IPv6-in-IP",
        protocol::ROUTING => "routing",
        protocol::FRAGMENT => "fragment",
        protocol::GRE => "GRE",
        50 => "ESP",
        protocol::AH => "AH",
        protocol::ICMPV6 => "ICMPv6",
        protocol::NO_NEXT => "no next header",
        protocol::DESTINATION_OPTIONS => "destination-options",
        89 => "OSPF",
        103 => "PIM",
        112 => "VRRP",
        132 => "SCTP",
        136 => "UDP-Lite",
        _ => return None,
    })
}

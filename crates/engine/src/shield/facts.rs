//! What the firewall looks at in a frame.
//!
//! Tags, LLC/SNAP and extension headers are seen through to a bound; what hides behind more is malformed. What is
//! not IP is none of the firewall's business. A packet whose ports cannot be read where they must be (a first
//! fragment that ends before them, a later one that overlaps them) is malformed: it is a way round port rules.

use crate::header::{Ipv4Header, Ipv6Header, be16, ethertype, protocol};
use crate::{DropReason, Packet};

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4: addresses are in the lower word, as numbers.
    V4,
    /// IPv6: two words, the first eight bytes as a number, then the rest.
    V6,
}

/// Whether a packet is a piece of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fragment {
    /// It is whole.
    Whole = 0,
    /// The first piece: it has the ports.
    First = 1,
    /// A later piece: it has none.
    Later = 2,
}

/// What the firewall looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Family of the addresses.
    pub family: Family,
    /// Source.
    pub source: [u64; 2],
    /// Destination.
    pub destination: [u64; 2],
    /// IP protocol, of IPv6 what stands behind the extension headers.
    pub protocol: u8,
    /// Whether it is a piece.
    pub fragment: Fragment,
    /// Flags of TCP, type of ICMP and ICMPv6; else, and where it is not there, 0.
    pub detail: u8,
    /// Destination port of TCP, UDP, UDP-Lite, DCCP and SCTP; else, and where it is not there, 0.
    pub port: u16,
    /// Length of the frame in bytes.
    pub len: u32,
}

/// What a frame is to the firewall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Seen {
    /// IP.
    Packet(Facts),
    /// Something else.
    Other,
    /// It cannot be read, or would be a way round.
    Broken(DropReason),
}

/// Tags that are seen through.
pub const MAX_TAGS: u32 = 4;
/// Extension headers that are.
pub const MAX_EXTENSIONS: u32 = 8;

const ETHERNET_LEN: u32 = 14;
const TAG_LEN: u32 = 4;
const IPV6_LEN: u32 = 40;
/// DSAP, SSAP, control, organisation, ethertype.
const SNAP_LEN: u32 = 8;
/// Below it, what stands in the ethertype's place is a length.
const LEAST_ETHERTYPE: u16 = 0x600;
const MALFORMED: Seen = Seen::Broken(DropReason::Malformed);
/// A tag of 802.1ad as it was before the standard.
const OLD_QINQ: [u8; 2] = [0x91, 0x00];

const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// Looks at a frame that begins with an Ethernet header.
#[inline(always)]
pub fn see<P: Packet>(frame: &P) -> Seen {
    let (ethertype, offset) = match network(frame) {
        Ok(found) => found,
        Err(seen) => return seen,
    };
    match ethertype {
        ethertype::IPV4 => see_ipv4(frame, offset),
        ethertype::IPV6 => see_ipv6(frame, offset),
        _ => Seen::Other,
    }
}

/// The ethertype and where its header begins, behind tags and LLC/SNAP.
#[inline(always)]
fn network<P: Packet>(frame: &P) -> Result<([u8; 2], u32), Seen> {
    let mut offset = ETHERNET_LEN;
    for tags in 0..=MAX_TAGS {
        let ethertype = frame.head::<[u8; 2]>(offset - 2).ok_or(MALFORMED)?;
        match ethertype {
            ethertype::VLAN | ethertype::QINQ | OLD_QINQ if tags == MAX_TAGS => break,
            ethertype::VLAN | ethertype::QINQ | OLD_QINQ => offset += TAG_LEN,
            length if be16(length) < LEAST_ETHERTYPE => return snap(frame, offset),
            other => return Ok((other, offset)),
        }
    }
    Err(Seen::Broken(DropReason::Vlan))
}

/// Linux takes IP out of LLC/SNAP of these two organisations (RFC 1042, 802.1H).
#[inline(always)]
fn snap<P: Packet>(frame: &P, offset: u32) -> Result<([u8; 2], u32), Seen> {
    match frame.head::<[u8; 8]>(offset) {
        Some([0xaa, 0xaa, 3, 0, 0, 0x00 | 0xf8, high, low]) => Ok(([high, low], offset + SNAP_LEN)),
        _ => Err(Seen::Other),
    }
}

#[inline(always)]
fn see_ipv4<P: Packet>(frame: &P, offset: u32) -> Seen {
    let Some(header) = frame.head::<Ipv4Header>(offset) else {
        return MALFORMED;
    };
    let header_len = u32::from(header.version_ihl & 15) * 4;
    let total_len = u32::from(be16(header.total_len));
    // The length of a super-packet may not fit into its field (BIG TCP).
    let has_room = frame.is_gso() || total_len >= header_len && offset + total_len <= frame.len();
    if header.version_ihl >> 4 != 4 || header_len < 20 || !has_room {
        return MALFORMED;
    }
    let fragment = be16(header.fragment);
    let position = u32::from(fragment & 0x1fff);
    let fragment = match position {
        0 if fragment & 0x2000 == 0 => Fragment::Whole,
        0 => Fragment::First,
        _ => Fragment::Later,
    };
    // The end by the packet's own account: what follows is padding.
    let end = if frame.is_gso() { frame.len() } else { offset + total_len };
    let facts = Facts {
        family: Family::V4,
        source: [0, u64::from(u32::from_be_bytes(header.source.0))],
        destination: [0, u64::from(u32::from_be_bytes(header.destination.0))],
        protocol: header.protocol,
        fragment,
        detail: 0,
        port: 0,
        len: frame.len(),
    };
    transport(frame, facts, position, offset + header_len, end)
}

#[inline(always)]
fn see_ipv6<P: Packet>(frame: &P, offset: u32) -> Seen {
    let Some(header) = frame.head::<Ipv6Header>(offset) else {
        return MALFORMED;
    };
    if header.version_class_flow[0] >> 4 != 6 {
        return MALFORMED;
    }
    let first = offset + IPV6_LEN;
    let end = match u32::from(be16(header.payload_len)) {
        0 if frame.is_gso() => frame.len(),
        len => first + len,
    };
    if end > frame.len() {
        return MALFORMED;
    }
    let words = |address: portcullis_abi::Ipv6| address.words().map(u64::from_be);
    let Some(tail) = behind_extensions(frame, header.next_header, first, end) else {
        return MALFORMED;
    };
    let fragment = match tail.position {
        // An atomic fragment (RFC 6946) is whole.
        0 if tail.more == 0 => Fragment::Whole,
        0 => Fragment::First,
        _ => Fragment::Later,
    };
    let facts = Facts {
        family: Family::V6,
        source: words(header.source),
        destination: words(header.destination),
        protocol: tail.protocol,
        fragment,
        detail: 0,
        port: 0,
        len: frame.len(),
    };
    transport(frame, facts, tail.position, tail.at, end)
}

/// What stands behind IPv6 extension headers.
struct Tail {
    protocol: u8,
    /// Where it begins.
    at: u32,
    /// Its place in the packet that this is a piece of, in units of eight bytes.
    position: u32,
    /// Not 0: further pieces follow.
    more: u16,
}

/// Sees through them. Every one has eight bytes, so all kinds are read alike; that, and numbers in the place of a
/// [`Fragment`], leave the kernel's verifier few ways to go through it.
#[inline(always)]
fn behind_extensions<P: Packet>(frame: &P, protocol: u8, at: u32, end: u32) -> Option<Tail> {
    let mut tail = Tail { protocol, at, position: 0, more: 0 };
    for _ in 0..=MAX_EXTENSIONS {
        let is_extension = matches!(
            tail.protocol,
            protocol::HOP_BY_HOP
                | protocol::DESTINATION_OPTIONS
                | protocol::ROUTING
                | protocol::AH
                | protocol::FRAGMENT
        );
        if !is_extension || tail.position != 0 {
            return Some(tail);
        }
        let header = frame.at::<[u8; 8]>(tail.at)?;
        let len = u32::from(header[1]);
        tail.at += match tail.protocol {
            protocol::FRAGMENT => {
                let field = be16([header[2], header[3]]);
                tail.position = u32::from(field >> 3);
                tail.more |= field & 1;
                8
            }
            protocol::AH => (len + 2) * 4,
            _ => (len + 1) * 8,
        };
        tail.protocol = header[0];
        if tail.at > end {
            return None;
        }
    }
    None
}

/// The part that rules about ports, flags and types need.
#[inline(always)]
fn transport<P: Packet>(frame: &P, mut facts: Facts, position: u32, at: u32, end: u32) -> Seen {
    if facts.fragment as u8 == Fragment::Later as u8 {
        // It would write over the flags of a TCP header that has been looked at (RFC 1858, RFC 3128).
        let overlaps = facts.protocol == protocol::TCP && position < 2;
        return if overlaps { MALFORMED } else { Seen::Packet(facts) };
    }
    let needed = match facts.protocol {
        protocol::TCP => 20,
        protocol::UDP | UDP_LITE => 8,
        SCTP | DCCP => 12,
        protocol::ICMP | protocol::ICMPV6 => 4,
        _ => return Seen::Packet(facts),
    };
    if at + needed > end {
        return MALFORMED;
    }
    let is_icmp = matches!(facts.protocol, protocol::ICMP | protocol::ICMPV6);
    let Some(start) = frame.at::<[u8; 4]>(at) else {
        return MALFORMED;
    };
    if is_icmp {
        facts.detail = start[0];
    } else {
        facts.port = be16([start[2], start[3]]);
    }
    if facts.protocol == protocol::TCP {
        // Two bytes: of one the compiler makes a comparison that the kernel's verifier learns nothing from.
        match frame.at::<[u8; 2]>(at + 12) {
            Some([_, flags]) => facts.detail = flags,
            None => return MALFORMED,
        }
    }
    Seen::Packet(facts)
}

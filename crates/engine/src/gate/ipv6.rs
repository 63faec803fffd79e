//! IPv6 (RFC 8200): extension headers are walked by an allow-list and to a fixed bound.
//!
//! Whether a forged address is evidence of intent depends on whose it is. That is weighed in further
//! steps, of packets that are refused already: in one, the kernel's verifier would go through all the rest
//! for each answer.

use portcullis_abi::Ipv6;

use super::bound::Standing;
use super::transport::{TCP_LEN, UDP_LEN, is_encapsulation};
use super::{Binding, LinkSource, nd};
use crate::header::{Extension, FragmentHeader, Icmp, Ipv6Header, Udp, be16, protocol};
use crate::{DropReason, Finding, Packet, Tables};

const MALFORMED: Finding = Finding::Violation(DropReason::Malformed);
const SPOOFED: Finding = Finding::Mild(DropReason::SpoofedIpv6);

const HEADER_LEN: u32 = 40;
/// Extension headers that are walked; more are refused (RFC 8504 section 5.3 lets hosts do so).
pub const MAX_EXTENSIONS: u32 = 8;

/// What stands at the end of the chain of headers.
#[derive(Clone, Copy)]
pub(super) struct Upper {
    /// Its protocol number.
    pub protocol: u8,
    /// Where it begins in the frame.
    pub offset: u32,
    /// Where the packet ends in the frame, by the packet's own account.
    pub end: u32,
    /// Whether a fragment header was passed on the way.
    pub fragmented: bool,
    /// Whether this is the inside of a later fragment, without headers to read.
    pub headless: bool,
}

#[inline(always)]
pub(super) fn verify<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    link: LinkSource,
    offset: u32,
) -> Finding {
    let Some(header) = packet.head::<Ipv6Header>(offset) else {
        return MALFORMED;
    };
    if header.version_class_flow[0] >> 4 != 6 {
        return MALFORMED;
    }
    let first = offset + HEADER_LEN;
    let end = end_of(packet, &header, first);
    if end > packet.len() {
        return MALFORMED;
    }
    match header.next_header {
        protocol::TCP => {
            let finding = source(binding, &header);
            if finding == Finding::Honest && first + TCP_LEN > end { MALFORMED } else { finding }
        }
        protocol::UDP => match source(binding, &header) {
            Finding::Honest if first + UDP_LEN > end => MALFORMED,
            Finding::Honest => match packet.head::<Udp>(first) {
                Some(udp) => binding.verify_udp(udp, || header.destination),
                None => MALFORMED,
            },
            finding => finding,
        },
        _ => verify_chain(packet, binding, link, &header, first, end),
    }
}

/// Whether the source is another's.
#[inline(always)]
pub(super) fn has_foreign_source<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    offset: u32,
) -> bool {
    packet
        .head::<Ipv6Header>(offset)
        .is_some_and(|header| binding.standing_ipv6(header.source) == Standing::Foreign)
}

/// Whether the packet speaks for another in neighbour discovery, or takes a DHCP server's role.
#[inline(always)]
pub(super) fn has_foreign_message<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    offset: u32,
) -> bool {
    let Some(header) = packet.head::<Ipv6Header>(offset) else {
        return false;
    };
    let first = offset + HEADER_LEN;
    let Ok(upper) = walk(packet, header.next_header, first, end_of(packet, &header, first)) else {
        return false;
    };
    match upper.protocol {
        _ if upper.headless => false,
        protocol::ICMPV6 => nd::claims_another(packet, binding, header.source, upper),
        protocol::UDP if upper.offset + UDP_LEN <= upper.end => {
            packet.at::<Udp>(upper.offset).is_some_and(|udp| binding.is_rogue_dhcp(udp))
        }
        _ => false,
    }
}

/// Where the packet ends in the frame, by its own account.
#[inline(always)]
fn end_of<P: Packet>(packet: &P, header: &Ipv6Header, first: u32) -> u32 {
    match u32::from(be16(header.payload_len)) {
        // BIG TCP: a super-packet over 64 KB says 0 (Linux 5.19, commit 0fe79f28bfaf).
        0 if packet.is_gso() => packet.len(),
        len => first + len,
    }
}

#[inline(always)]
fn source<T: Tables>(binding: &Binding<'_, T>, header: &Ipv6Header) -> Finding {
    if binding.owns_ipv6(header.source) { Finding::Honest } else { SPOOFED }
}

/// All that is not plain TCP or UDP.
#[inline(always)]
fn verify_chain<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    link: LinkSource,
    header: &Ipv6Header,
    first: u32,
    end: u32,
) -> Finding {
    let upper = match walk(packet, header.next_header, first, end) {
        Ok(upper) => upper,
        Err(reason) => return Finding::Violation(reason),
    };
    if upper.protocol == protocol::ICMPV6 && !upper.headless {
        return verify_icmp(packet, binding, link, header, upper);
    }
    match source(binding, header) {
        Finding::Honest if !upper.headless => verify_upper(packet, binding, header, upper),
        finding => finding,
    }
}

/// From a bound source, not ICMPv6.
#[inline(always)]
fn verify_upper<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    header: &Ipv6Header,
    upper: Upper,
) -> Finding {
    match upper.protocol {
        protocol::TCP if upper.offset + TCP_LEN > upper.end => MALFORMED,
        protocol::UDP if upper.offset + UDP_LEN > upper.end => MALFORMED,
        protocol::UDP => match packet.at::<Udp>(upper.offset) {
            Some(udp) => binding.verify_udp(udp, || header.destination),
            None => MALFORMED,
        },
        other if is_encapsulation(other) => binding.verify_tunnel(&header.destination),
        _ => Finding::Honest,
    }
}

/// Neighbour discovery is judged by what it says; all else by its source, with the one
/// exception that a listener report may come from `::` (RFC 3590, RFC 3810 section 5.2.13).
#[inline(always)]
fn verify_icmp<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    link: LinkSource,
    header: &Ipv6Header,
    upper: Upper,
) -> Finding {
    if upper.offset + size_of::<Icmp>() as u32 > upper.end {
        return MALFORMED;
    }
    let Some(icmp) = packet.at::<Icmp>(upper.offset) else {
        return MALFORMED;
    };
    if nd::is_neighbour_discovery(icmp.kind) {
        return nd::verify(packet, binding, link, header, upper, icmp);
    }
    if header.source == Ipv6::UNSPECIFIED {
        return if is_listener_report(header, icmp.kind) { Finding::Honest } else { SPOOFED };
    }
    match source(binding, header) {
        Finding::Honest if icmp.kind < 128 => verify_quote(packet, binding, upper),
        finding => finding,
    }
}

/// MLD report or done: hop limit 1, to a link-scope group.
#[inline(always)]
fn is_listener_report(header: &Ipv6Header, icmp_type: u8) -> bool {
    matches!(icmp_type, 131 | 132 | 143)
        && header.hop_limit == 1
        && header.destination.0[0] == 0xff
        && header.destination.0[1] == 0x02
}

/// As in IPv4: an error quotes what reached its sender.
#[inline(always)]
fn verify_quote<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>, upper: Upper) -> Finding {
    const QUOTE: u32 = 8;
    if upper.offset + QUOTE + HEADER_LEN > upper.end || binding.is_router() {
        return Finding::Honest;
    }
    match packet.at::<Ipv6Header>(upper.offset + QUOTE) {
        Some(quoted) if quoted.destination.0[0] != 0xff && !binding.owns_ipv6(quoted.destination) => {
            Finding::Odd(DropReason::IcmpQuote)
        }
        _ => Finding::Honest,
    }
}

/// Walks to the upper-layer header. Unknown types are terminal and never read as ports.
#[inline(always)]
fn walk<P: Packet>(packet: &P, next_header: u8, first: u32, end: u32) -> Result<Upper, DropReason> {
    let mut upper = Upper { protocol: next_header, offset: first, end, fragmented: false, headless: false };
    for position in 0..=MAX_EXTENSIONS {
        if upper.headless {
            return Ok(upper);
        }
        let step = match upper.protocol {
            // Only right behind the IPv6 header (RFC 8200 section 4.1).
            protocol::HOP_BY_HOP if position != 0 => return Err(DropReason::Malformed),
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS | protocol::ROUTING | protocol::AH => {
                skip(packet, upper)?
            }
            protocol::FRAGMENT => {
                let fragment = packet.at::<FragmentHeader>(upper.offset).ok_or(DropReason::Malformed)?;
                upper.fragmented = true;
                upper.headless = be16(fragment.offset) & 0xfff8 != 0;
                (fragment.next_header, size_of::<FragmentHeader>() as u32)
            }
            _ => return Ok(upper),
        };
        upper.protocol = step.0;
        upper.offset += step.1;
        if upper.offset > end {
            return Err(DropReason::Malformed);
        }
    }
    Err(DropReason::Malformed)
}

/// The type of the next header and the length of this one.
#[inline(always)]
fn skip<P: Packet>(packet: &P, upper: Upper) -> Result<(u8, u32), DropReason> {
    let extension = packet.at::<Extension>(upper.offset).ok_or(DropReason::Malformed)?;
    let len = u32::from(extension.len);
    match upper.protocol {
        // Deprecated: it lets a sender choose the path (RFC 5095).
        protocol::ROUTING if extension.routing_type == 0 => Err(DropReason::SourceRoute),
        protocol::AH => Ok((extension.next_header, (len + 2) * 4)),
        _ => Ok((extension.next_header, (len + 1) * 8)),
    }
}

//! IPv4 (RFC 791).

use portcullis_abi::{Allow, Ipv4};

use super::Binding;
use super::bound::Standing;
use super::transport::{TCP_LEN, UDP_LEN, is_encapsulation};
use crate::header::{Icmp, Ipv4Header, Udp, be16, protocol};
use crate::{DropReason, Finding, Packet, Tables};

const MALFORMED: Finding = Finding::Violation(DropReason::Malformed);

const HEADER_LEN: u32 = 20;
const VERSION_4_NO_OPTIONS: u8 = 0x45;
const MORE_FRAGMENTS_OR_OFFSET: u16 = 0x3fff;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// A packet whose lengths agree with each other and with the frame.
#[derive(Clone, Copy)]
struct Sized {
    header: Ipv4Header,
    /// Where its payload begins in the frame.
    payload: u32,
    /// Bytes of payload by its own account.
    payload_len: u32,
}

#[inline(always)]
pub(super) fn verify<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>, offset: u32) -> Finding {
    let Some(header) = packet.head::<Ipv4Header>(offset) else {
        return MALFORMED;
    };
    let header_len = if header.version_ihl == VERSION_4_NO_OPTIONS {
        HEADER_LEN
    } else if header.version_ihl >> 4 == 4 && header.version_ihl & 0x0f >= 5 {
        u32::from(header.version_ihl & 0x0f) * 4
    } else {
        return MALFORMED;
    };
    let room = packet.len() - offset.min(packet.len());
    let total_len = match u32::from(be16(header.total_len)) {
        // BIG TCP: a super-packet over 64 KB says 0 (Linux 6.3, commit b1a78b9b9886).
        0 if packet.is_gso() => room,
        len => len,
    };
    if total_len < header_len || total_len > room {
        return MALFORMED;
    }
    let sized = Sized { header, payload: offset + header_len, payload_len: total_len - header_len };
    if !binding.owns_ipv4(header.source) {
        return verify_unbound(packet, binding, &sized);
    }
    if header_len != HEADER_LEN
        && binding.may(Allow::NO_SOURCE_ROUTE)
        && has_source_route(packet, offset, header_len)
    {
        return Finding::Violation(DropReason::SourceRoute);
    }
    verify_payload(packet, binding, &sized)
}

/// From a bound source.
#[inline(always)]
fn verify_payload<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>, ip: &Sized) -> Finding {
    let fragment = be16(ip.header.fragment);
    match ip.header.protocol {
        protocol::TCP => {
            if ip.payload_len < TCP_LEN && fragment & MORE_FRAGMENTS_OR_OFFSET == 0 {
                MALFORMED
            } else {
                Finding::Honest
            }
        }
        // Only the first fragment has ports; the later ones are nothing without it.
        protocol::UDP if fragment & FRAGMENT_OFFSET == 0 => {
            if ip.payload_len < UDP_LEN {
                return MALFORMED;
            }
            match packet.head::<Udp>(ip.payload) {
                Some(udp) => binding.verify_udp(udp, || ip.header.destination.mapped()),
                None => MALFORMED,
            }
        }
        protocol::ICMP if fragment & FRAGMENT_OFFSET == 0 => verify_icmp(packet, binding, ip),
        other if is_encapsulation(other) => binding.verify_tunnel(&ip.header.destination.mapped()),
        _ => Finding::Honest,
    }
}

/// An ICMP error quotes a packet that reached its sender, so the quoted destination is the
/// sender's own; another one is told (RFC 5927 section 4.1), never dropped: some middle
/// boxes rewrite quotes badly.
#[inline(always)]
fn verify_icmp<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>, ip: &Sized) -> Finding {
    const QUOTE: u32 = 8;
    if ip.payload_len < size_of::<Icmp>() as u32 {
        return MALFORMED;
    }
    let Some(icmp) = packet.head::<Icmp>(ip.payload) else {
        return MALFORMED;
    };
    let is_error = matches!(icmp.kind, 3 | 4 | 5 | 11 | 12);
    if !is_error || ip.payload_len < QUOTE + HEADER_LEN || binding.is_router() {
        return Finding::Honest;
    }
    match packet.at::<Ipv4Header>(ip.payload + QUOTE) {
        Some(quoted) if !binding.owns_ipv4(quoted.destination) => Finding::Odd(DropReason::IcmpQuote),
        _ => Finding::Honest,
    }
}

/// The only uses of an unbound source: a DHCP client that may ask, and IGMP before there is an
/// address (RFC 3376 section 4.2.13, RFC 4541 section 2.1.1). Both use 0.0.0.0. Else it is evidence if it is
/// another's, or takes a DHCP server's role.
#[inline(always)]
fn verify_unbound<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>, ip: &Sized) -> Finding {
    let udp = match ip.header.protocol {
        protocol::UDP if be16(ip.header.fragment) & FRAGMENT_OFFSET == 0 && ip.payload_len >= UDP_LEN => {
            packet.at::<Udp>(ip.payload)
        }
        _ => None,
    };
    if ip.header.source != Ipv4::UNSPECIFIED || !may_lack_address(packet, binding, ip, udp) {
        let claims_role = udp.is_some_and(|udp| binding.is_rogue_dhcp(udp));
        let claims_another = claims_role || binding.unbound_ipv4(ip.header.source) == Standing::Foreign;
        return Finding::by_claim(claims_another, DropReason::SpoofedIpv4);
    }
    Finding::Honest
}

#[inline(always)]
fn may_lack_address<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    ip: &Sized,
    udp: Option<Udp>,
) -> bool {
    if be16(ip.header.fragment) & MORE_FRAGMENTS_OR_OFFSET != 0 {
        return false;
    }
    match ip.header.protocol {
        protocol::UDP => {
            binding.may(Allow::DHCP_CLIENT)
                && ip.header.destination == Ipv4::BROADCAST
                && udp.is_some_and(|udp| be16(udp.source) == 68 && be16(udp.destination) == 67)
        }
        protocol::IGMP => {
            ip.header.ttl == 1
                && ip.header.destination.0[0] & 0xf0 == 0xe0
                && ip.payload_len >= 8
                && packet.at::<Icmp>(ip.payload).is_some_and(|igmp| is_membership(igmp.kind))
        }
        _ => false,
    }
}

/// IGMP reports (v1, v2, v3) and leave: what a listener says. Queries are a router's.
#[inline(always)]
const fn is_membership(igmp_type: u8) -> bool {
    matches!(igmp_type, 0x12 | 0x16 | 0x17 | 0x22)
}

/// Options that are looked at for source routing; a header with more counts as having it.
const MAX_OPTIONS: u32 = 8;

/// Whether the options hold loose or strict source routing (RFC 791 section 3.1).
#[inline(always)]
fn has_source_route<P: Packet>(packet: &P, offset: u32, header_len: u32) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    let mut at = HEADER_LEN;
    for _ in 0..MAX_OPTIONS {
        if at >= header_len {
            return false;
        }
        // The header's last byte has no length behind it: what follows is the payload.
        let is_last = at + 1 == header_len;
        let Some(pair) = packet.at::<[u8; 2]>(offset + at - u32::from(is_last)) else {
            return true;
        };
        let [kind, len] = if is_last { [pair[1], 0] } else { pair };
        at += match kind {
            END => return false,
            LOOSE | STRICT => return true,
            NO_OPERATION => 1,
            _ if len >= 2 => u32::from(len),
            _ => return true,
        };
    }
    at < header_len
}

//! The common case, decided with a handful of loads and comparisons of words: untagged ARP, IPv4
//! without options and IPv6 without extension headers, from the first MAC.
//!
//! This is a shortcut, not a second judge: [`verify_plain`] answers only what
//! [`super::verify_ethernet`] would answer, and nothing where a frame needs a closer look. A property
//! test holds both against each other.

use portcullis_abi::{Allow, Endpoint, Ipv4, Ipv6};

use super::bound::{is_nobodys_ipv4, is_nobodys_ipv6, is_self_given};
use super::transport::{TCP_LEN, UDP_LEN, is_plain_udp};
use super::{Binding, ETHERNET_LEN};
use crate::header::{be16, protocol};
use crate::{DropReason, Finding, Packet, Tables};

use frame::{PlainArp, PlainIpv4, PlainIpv6, PlainStart};

const IPV4_LEN: u32 = 20;
const IPV6_LEN: u32 = 40;

/// An ethertype in its place behind an Ethernet source, as a word.
const fn ethertype_word(ethertype: [u8; 2]) -> u64 {
    u64::from_ne_bytes([0, 0, 0, 0, 0, 0, ethertype[0], ethertype[1]])
}
const IPV4: u64 = ethertype_word(crate::header::ethertype::IPV4);
const IPV6: u64 = ethertype_word(crate::header::ethertype::IPV6);
const ARP: u64 = ethertype_word(crate::header::ethertype::ARP);

/// Whole frames up to what is looked at, fields grouped into words.
mod frame {
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

    macro_rules! frame {
        ($($name:ident($len:literal) { $($field:ident: $type:ty,)* })*) => {$(
            #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
            #[repr(C)]
            pub(super) struct $name { $(pub $field: $type,)* }
            const _: () = assert!(size_of::<$name>() == $len);
        )*};
    }

    frame! {
        PlainStart(42) {
            link_destination: [u8; 6],
            link: [u8; 8],
            rest: [u8; 28],
        }
        PlainIpv4(42) {
            link_destination: [u8; 6],
            link: [u8; 8],
            version_ihl: u8,
            tos: u8,
            total_len: [u8; 2],
            id: [u8; 2],
            fragment: [u8; 2],
            ttl: u8,
            protocol: u8,
            checksum: [u8; 2],
            source: [u8; 4],
            destination: [u8; 4],
            source_port: [u8; 2],
            destination_port: [u8; 2],
            rest: [u8; 4],
        }
        PlainArp(42) {
            link_destination: [u8; 6],
            link: [u8; 8],
            kind_and_operation: [u8; 8],
            sender_mac: [u8; 6],
            sender: [u8; 4],
            target_mac: [u8; 6],
            target: [u8; 4],
        }
        PlainIpv6(62) {
            link_destination: [u8; 6],
            link: [u8; 8],
            version_class_flow: [u8; 4],
            payload_len: [u8; 2],
            next_header: u8,
            hop_limit: u8,
            source: [[u8; 8]; 2],
            destination: [u8; 16],
            source_port: [u8; 2],
            destination_port: [u8; 2],
            rest: [u8; 4],
        }
    }
}

/// What follows from a judgement. As calls instead of a value, so that the kernel's hot path goes
/// straight on, with nothing to keep for a later decision.
pub trait Outcome {
    /// What it comes to.
    type Fate;
    /// The frame is honest.
    fn honest(&self) -> Self::Fate;
    /// The frame breaks the binding, and is evidence of intent.
    fn refused(&self, reason: DropReason) -> Self::Fate;
    /// The frame needs a closer look.
    fn unclear(&self) -> Self::Fate;
}

/// The judgement itself; unclear is nothing.
#[derive(Clone, Copy, Debug)]
struct Judgement;

impl Outcome for Judgement {
    type Fate = Option<Finding>;
    #[inline(always)]
    fn honest(&self) -> Self::Fate {
        Some(Finding::Honest)
    }
    #[inline(always)]
    fn refused(&self, reason: DropReason) -> Self::Fate {
        Some(Finding::Violation(reason))
    }
    #[inline(always)]
    fn unclear(&self) -> Self::Fate {
        None
    }
}

/// Judges a frame that begins with an Ethernet header, if it is of the plain kind. `further` is asked
/// for addresses that are not inline, and only where the endpoint has such.
#[inline(always)]
pub fn verify_plain<P: Packet, F: Further>(packet: &P, endpoint: &Endpoint, further: &F) -> Option<Finding> {
    judge_plain(packet, endpoint, further, &Judgement)
}

/// The same, going on with what follows.
#[inline(always)]
pub fn judge_plain<P: Packet, F: Further, O: Outcome>(
    packet: &P,
    endpoint: &Endpoint,
    further: &F,
    outcome: &O,
) -> O::Fate {
    let Some(start) = packet.head::<PlainStart>(0) else {
        return outcome.unclear();
    };
    if !packet.is_untagged() {
        return outcome.unclear();
    }
    // By itself: the words below would take a quarantine and a strange ethertype for a known one.
    if endpoint.quarantine != 0 {
        return outcome.unclear();
    }
    let rest = u64::from_ne_bytes(start.link) ^ endpoint.link_word();
    if rest == IPV4 {
        judge_ipv4(packet, endpoint, further, outcome)
    } else if rest == IPV6 {
        judge_ipv6(packet, endpoint, further, outcome)
    } else if rest == ARP {
        judge_arp(packet, endpoint, outcome)
    } else {
        outcome.unclear()
    }
}

/// Addresses that are not inline in an endpoint's entry.
pub trait Further {
    /// Whether this one is bound, as [`Binding::owns_ipv4`] says.
    fn owns_ipv4(&self, address: Ipv4) -> bool;
    /// Whether this one is bound, as [`Binding::owns_ipv6`] says.
    fn owns_ipv6(&self, address: Ipv6) -> bool;
}

impl<T: Tables> Further for Binding<'_, T> {
    fn owns_ipv4(&self, address: Ipv4) -> bool {
        Binding::owns_ipv4(self, address)
    }
    fn owns_ipv6(&self, address: Ipv6) -> bool {
        Binding::owns_ipv6(self, address)
    }
}

// Below, the source comes last: nothing of the frame is needed once it is known, so that a call into
// the further tables has nothing to save.

#[inline(always)]
fn judge_ipv4<P: Packet, F: Further, O: Outcome>(
    packet: &P,
    endpoint: &Endpoint,
    further: &F,
    outcome: &O,
) -> O::Fate {
    let Some(frame) = packet.head::<PlainIpv4>(0) else {
        return outcome.unclear();
    };
    let total_len = u32::from(be16(frame.total_len));
    if frame.version_ihl != 0x45 || ETHERNET_LEN + total_len > packet.len() {
        return outcome.unclear();
    }
    // A later UDP fragment has no ports; if it looks as if, that is as good.
    let least = match frame.protocol {
        protocol::TCP => IPV4_LEN + TCP_LEN,
        protocol::UDP if is_plain_udp(frame.source_port, frame.destination_port) => IPV4_LEN + UDP_LEN,
        _ => return outcome.unclear(),
    };
    let source = u32::from_ne_bytes(frame.source);
    if total_len < least || source == 0 {
        return outcome.unclear();
    }
    if source == u32::from_ne_bytes(endpoint.ipv4.0) {
        return outcome.honest();
    }
    let has_further = endpoint.allow & (Allow::FURTHER_IPV4 | Allow::PREFIX_IPV4) != 0;
    if has_further && further.owns_ipv4(Ipv4(frame.source)) {
        return outcome.honest();
    }
    if is_nobodys_ipv4(Ipv4(frame.source)) {
        return outcome.unclear();
    }
    outcome.refused(DropReason::SpoofedIpv4)
}

#[inline(always)]
fn judge_ipv6<P: Packet, F: Further, O: Outcome>(
    packet: &P,
    endpoint: &Endpoint,
    further: &F,
    outcome: &O,
) -> O::Fate {
    let Some(frame) = packet.head::<PlainIpv6>(0) else {
        return outcome.unclear();
    };
    let payload_len = u32::from(be16(frame.payload_len));
    let overlong = ETHERNET_LEN + IPV6_LEN + payload_len > packet.len();
    if frame.version_class_flow[0] & 0xf0 != 0x60 || overlong {
        return outcome.unclear();
    }
    let least = match frame.next_header {
        protocol::TCP => TCP_LEN,
        protocol::UDP if is_plain_udp(frame.source_port, frame.destination_port) => UDP_LEN,
        _ => return outcome.unclear(),
    };
    let words = frame.source.map(u64::from_ne_bytes);
    if payload_len < least {
        return outcome.unclear();
    }
    if words == endpoint.ipv6.words() || words == endpoint.link_local.words() {
        return if words == [0, 0] { outcome.unclear() } else { outcome.honest() };
    }
    let has_further = endpoint.allow & (Allow::FURTHER_IPV6 | Allow::PREFIX_IPV6) != 0;
    if has_further && further.owns_ipv6(Ipv6::from_words(words)) {
        return outcome.honest();
    }
    let source = Ipv6::from_words(words);
    if is_nobodys_ipv6(source) || is_self_given(source, endpoint.mac) {
        return outcome.unclear();
    }
    outcome.refused(DropReason::SpoofedIpv6)
}

#[inline(always)]
fn judge_arp<P: Packet, O: Outcome>(packet: &P, endpoint: &Endpoint, outcome: &O) -> O::Fate {
    const REQUEST: u64 = u64::from_ne_bytes([0, 1, 8, 0, 6, 4, 0, 1]);
    const REPLY: u64 = u64::from_ne_bytes([0, 1, 8, 0, 6, 4, 0, 2]);
    let Some(frame) = packet.head::<PlainArp>(0) else {
        return outcome.unclear();
    };
    let kind = u64::from_ne_bytes(frame.kind_and_operation);
    let sender = u32::from_ne_bytes(frame.sender);
    let honest = (kind == REQUEST || kind == REPLY)
        && frame.sender_mac == endpoint.mac.0
        && sender == u32::from_ne_bytes(endpoint.ipv4.0)
        && sender != 0;
    if honest { outcome.honest() } else { outcome.unclear() }
}

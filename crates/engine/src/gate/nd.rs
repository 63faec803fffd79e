//! IPv6 neighbour discovery (RFC 4861): judged by what a message says of the link.
//!
//! A want of form alone (hop limit, fragments, options of a strange length) is refused, but no evidence
//! of intent: that takes a claim to what is another's.

use portcullis_abi::{Allow, Ipv6, Mac};

use super::bound::Standing;
use super::ipv6::Upper;
use super::{Binding, LinkSource};
use crate::header::{Icmp, Ipv6Header, NdOption, NeighbourMessage};
use crate::{DropReason, Finding, Packet, Tables};

const MALFORMED: Finding = Finding::Violation(DropReason::Malformed);
/// Refused; to be weighed.
const SPOOFED: Finding = Finding::Mild(DropReason::SpoofedNd);

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// Options that are looked at; a message with more is refused.
const MAX_OPTIONS: u32 = 8;
/// All routers on the link.
const ALL_ROUTERS: Ipv6 = Ipv6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

#[inline(always)]
pub(super) const fn is_neighbour_discovery(icmp_type: u8) -> bool {
    matches!(icmp_type, ROUTER_SOLICITATION..=REDIRECT)
}

/// What the link-layer address options of a message say.
#[derive(Clone, Copy)]
struct Options {
    /// Whether a source link-layer address option is there.
    has_source: bool,
    /// Whether an option with a link-layer address is not as long as it must be.
    ill_formed: bool,
}

#[inline(always)]
pub(super) fn verify<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    link: LinkSource,
    header: &Ipv6Header,
    upper: Upper,
    icmp: Icmp,
) -> Finding {
    let is_rogue = matches!(icmp.kind, ROUTER_ADVERTISEMENT | REDIRECT) && !binding.may(Allow::ROUTER);
    // RFC 6980: no node has a reason to fragment these, and a filter cannot see through it.
    if upper.fragmented {
        return Finding::by_claim(is_rogue, DropReason::SpoofedNd);
    }
    if is_rogue {
        return Finding::Violation(DropReason::RogueRa);
    }
    if header.hop_limit != 255 || icmp.code != 0 {
        return SPOOFED;
    }
    let fixed_len = match icmp.kind {
        ROUTER_SOLICITATION => 8,
        ROUTER_ADVERTISEMENT => 16,
        REDIRECT => 40,
        _ => 24,
    };
    let options_at = upper.offset + fixed_len;
    if options_at > upper.end {
        return MALFORMED;
    }
    match read_options(packet, binding, link, icmp.kind, options_at, upper.end) {
        Ok(options) if options.ill_formed => SPOOFED,
        Ok(options) => verify_message(packet, binding, header, upper, icmp.kind, options),
        Err(reason) => Finding::Violation(reason),
    }
}

#[inline(always)]
fn verify_message<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    header: &Ipv6Header,
    upper: Upper,
    kind: u8,
    options: Options,
) -> Finding {
    let from_nowhere = header.source == Ipv6::UNSPECIFIED;
    let target = match kind {
        NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => {
            match packet.at::<NeighbourMessage>(upper.offset) {
                Some(message) => message.target,
                None => return MALFORMED,
            }
        }
        _ => Ipv6::UNSPECIFIED,
    };
    if from_nowhere {
        return verify_from_nowhere(binding, header, kind, target, options);
    }
    if kind == NEIGHBOUR_ADVERTISEMENT && !binding.owns_ipv6(target) {
        return SPOOFED;
    }
    if binding.owns_ipv6(header.source) { Finding::Honest } else { Finding::Mild(DropReason::SpoofedIpv6) }
}

/// `::` as a source: duplicate address detection for a bound target (RFC 4862 section 5.4.2)
/// and router solicitation (RFC 4861 section 4.1), both without a source link-layer address.
#[inline(always)]
fn verify_from_nowhere<T: Tables>(
    binding: &Binding<'_, T>,
    header: &Ipv6Header,
    kind: u8,
    target: Ipv6,
    options: Options,
) -> Finding {
    let honest = !options.has_source
        && match kind {
            NEIGHBOUR_SOLICITATION => {
                binding.owns_ipv6(target) && header.destination == target.solicited_node()
            }
            ROUTER_SOLICITATION => header.destination == ALL_ROUTERS,
            _ => false,
        };
    if honest { Finding::Honest } else { SPOOFED }
}

/// Whether a message claims a target that is another's. An advertisement claims one, and so does a solicitation
/// from `::`, which is duplicate address detection.
#[inline(always)]
pub(super) fn claims_another<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    source: Ipv6,
    upper: Upper,
) -> bool {
    if upper.offset + size_of::<NeighbourMessage>() as u32 > upper.end {
        return false;
    }
    let Some(message) = packet.at::<NeighbourMessage>(upper.offset) else {
        return false;
    };
    let claims = message.icmp.kind == NEIGHBOUR_ADVERTISEMENT
        || (message.icmp.kind == NEIGHBOUR_SOLICITATION && source == Ipv6::UNSPECIFIED);
    claims && binding.standing_ipv6(message.target) == Standing::Foreign
}

/// Reads all options. Refuses one that tells another's link-layer address in the sender's name, and options that
/// do not end where the packet does.
#[inline(always)]
fn read_options<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    link: LinkSource,
    kind: u8,
    first: u32,
    end: u32,
) -> Result<Options, DropReason> {
    let mut options = Options { has_source: false, ill_formed: false };
    let mut offset = first;
    for _ in 0..MAX_OPTIONS {
        if offset == end {
            return Ok(options);
        }
        let option = packet.at::<NdOption>(offset).ok_or(DropReason::Malformed)?;
        let next = offset + u32::from(option.len) * 8;
        if option.len == 0 || next > end {
            return Err(DropReason::Malformed);
        }
        let is_source = option.kind == SOURCE_LINK_LAYER;
        // In a redirect the target option names the better next hop, not the sender.
        let is_target = option.kind == TARGET_LINK_LAYER && kind != REDIRECT;
        if is_source || is_target {
            let mac = packet.at::<Mac>(offset + size_of::<NdOption>() as u32).ok_or(DropReason::Malformed)?;
            if !is_own(binding, link, mac) {
                return Err(DropReason::SpoofedNd);
            }
            options.has_source |= is_source;
            options.ill_formed |= option.len != 1;
        }
        offset = next;
    }
    if offset == end { Ok(options) } else { Err(DropReason::Malformed) }
}

#[inline(always)]
fn is_own<T: Tables>(binding: &Binding<'_, T>, link: LinkSource, mac: Mac) -> bool {
    match link {
        LinkSource::Ethernet(source) => mac == source || binding.owns_mac(mac),
        LinkSource::None => true,
    }
}

//! ARP (RFC 826, RFC 5227): only what the sender says of itself is verified. Requests for any
//! target pass, so gateways that answer for others (proxy ARP, 169.254.1.1) keep working.

use portcullis_abi::Ipv4;

use super::{Binding, LinkSource};
use crate::header::{Arp, be16, ethertype};
use crate::{DropReason, Finding, Packet, Tables};

const REQUEST: u16 = 1;
const REPLY: u16 = 2;
const SPOOFED: Finding = Finding::Violation(DropReason::SpoofedArp);

#[inline(always)]
pub(super) fn verify<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    link: LinkSource,
    offset: u32,
) -> Finding {
    let Some(arp) = packet.head::<Arp>(offset) else {
        return Finding::Violation(DropReason::Malformed);
    };
    let operation = be16(arp.operation);
    let well_formed = arp.hardware == [0, 1]
        && arp.protocol == ethertype::IPV4
        && arp.hardware_len == 6
        && arp.protocol_len == 4
        && (operation == REQUEST || operation == REPLY);
    let own_mac = match link {
        LinkSource::Ethernet(mac) => arp.sender_mac == mac,
        LinkSource::None => false,
    };
    if !well_formed || !own_mac {
        return SPOOFED;
    }
    // A probe asks for an address before using it (RFC 5227 section 2.1.1).
    let is_probe = arp.sender == Ipv4::UNSPECIFIED && operation == REQUEST;
    let claimed = if is_probe { arp.target } else { arp.sender };
    if binding.owns_ipv4(claimed) { Finding::Honest } else { SPOOFED }
}

//! ARP (RFC 826, RFC 5227): only what the sender says of itself is verified. Requests for any
//! target pass, so gateways that answer for others (proxy ARP, 169.254.1.1) keep working.

use portcullis_abi::Ipv4;

use super::bound::Standing;
use super::{Binding, LinkSource};
use crate::header::{Arp, be16, ethertype};
use crate::{DropReason, Finding, Packet, Tables};

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

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
    // Only then does each address stand where it is read.
    let readable = arp.hardware_len == 6 && arp.protocol_len == 4;
    let well_formed = arp.hardware == [0, 1]
        && arp.protocol == ethertype::IPV4
        && readable
        && (operation == REQUEST || operation == REPLY);
    let own_mac = match link {
        LinkSource::Ethernet(mac) => arp.sender_mac == mac,
        LinkSource::None => false,
    };
    // A probe asks for an address before using it (RFC 5227 section 2.1.1).
    let is_probe = arp.sender == Ipv4::UNSPECIFIED && operation == REQUEST;
    let claimed = binding.standing_ipv4(if is_probe { arp.target } else { arp.sender });
    if well_formed && own_mac && claimed == Standing::Own {
        return Finding::Honest;
    }
    let foreign_mac = !own_mac && !binding.owns_mac(arp.sender_mac);
    Finding::by_claim(readable && (foreign_mac || claimed == Standing::Foreign), DropReason::SpoofedArp)
}

//! VLAN tags, in the frame or in metadata.

use portcullis_abi::{Allow, FurtherKey};

use super::{Binding, ETHERNET_LEN, Network};
use crate::header::{VlanTag, be16, ethertype};
use crate::{DropReason, Finding, Packet, Tables};

const TAGGED: Finding = Finding::Violation(DropReason::Vlan);
const TAG_LEN: u32 = 4;

/// Whether this ethertype announces a tag.
#[inline(always)]
pub(super) const fn is_tag(ethertype: [u8; 2]) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::QINQ)
}

/// A frame with at least one tag: `offloaded` where the kernel (or the driver) has taken one out,
/// and then `ethertype` is what stands in its place.
///
/// One tag is looked through where the endpoint may use it. VLAN 0 (a priority tag) is looked
/// through always, since Linux strips it later and a forgery must be told as one; without
/// permission an honest frame under it is still dropped. Stacked tags are dropped: Linux
/// strips any number of them, and no endpoint needs two.
#[inline(always)]
pub(super) fn verify<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    offloaded: Option<u16>,
    ethertype: [u8; 2],
    verify_inner: impl FnOnce(Network) -> Finding,
) -> Finding {
    let (tci, inner, offset) = match offloaded {
        Some(tci) => (tci, ethertype, ETHERNET_LEN),
        None => match packet.head::<VlanTag>(ETHERNET_LEN) {
            Some(tag) => (be16(tag.tci), tag.ethertype, ETHERNET_LEN + TAG_LEN),
            None => return Finding::Violation(DropReason::Malformed),
        },
    };
    if is_tag(inner) {
        return TAGGED;
    }
    let vid = tci & 0x0fff;
    let allowed = binding.may(Allow::ANY_VLAN)
        || (binding.may(Allow::FURTHER_VLAN)
            && binding.tables.has_further(&FurtherKey::vlan(binding.index, vid)));
    if !allowed && vid != 0 {
        return TAGGED;
    }
    match verify_inner(Network { offset, ethertype: inner }) {
        Finding::Honest | Finding::Odd(_) if !allowed => TAGGED,
        finding => finding,
    }
}

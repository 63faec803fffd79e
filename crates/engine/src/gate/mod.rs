//! Source verification: does a frame claim only what is bound to its interface?

mod arp;
mod bound;
mod ipv4;
mod ipv6;
mod nd;
mod plain;
mod transport;
mod vlan;

pub use plain::{Further, Outcome, judge_plain, verify_plain};

use portcullis_abi::{Allow, Endpoint, FurtherKey, Mac};

use crate::header::{Ethernet, ethertype};
use crate::{DropReason, Finding, Packet, Tables};

/// What a frame is measured against.
#[derive(Clone, Copy)]
pub struct Binding<'a, T> {
    /// The interface's entry.
    pub endpoint: &'a Endpoint,
    /// Index of the entry: the key of everything about it in the further tables.
    pub index: u32,
    /// The further tables.
    pub tables: &'a T,
}

/// Who spoke on the link: what link-layer addresses inside ARP and ND must agree with.
#[derive(Clone, Copy)]
pub enum LinkSource {
    /// The Ethernet source, already verified.
    Ethernet(Mac),
    /// The device has no Ethernet header: link-layer addresses mean nothing.
    None,
}

/// Where a frame's network layer begins, and what it is.
#[derive(Clone, Copy)]
pub struct Network {
    /// Bytes before it.
    pub offset: u32,
    /// Its type.
    pub ethertype: [u8; 2],
}

/// Length of an Ethernet header.
const ETHERNET_LEN: u32 = 14;

/// Verifies a frame that begins with an Ethernet header.
#[inline(always)]
pub fn verify_ethernet<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>) -> Finding {
    verify_link(packet, binding, |source, network| {
        let link = LinkSource::Ethernet(source);
        match network.ethertype {
            ethertype::IPV4 => verify_ipv4(packet, binding, network.offset),
            ethertype::IPV6 => weigh_ipv6(
                packet,
                binding,
                network.offset,
                verify_ipv6(packet, binding, link, network.offset),
            ),
            ethertype::ARP => verify_arp(packet, binding, link, network.offset),
            _ => verify_other(packet, binding, network),
        }
    })
}

/// Verifies a packet of a device without an Ethernet header (tun): the IP checks alone.
#[inline(always)]
pub fn verify_layer3<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>) -> Finding {
    match ip_version(packet) {
        Some(4) => verify_ipv4(packet, binding, 0),
        Some(6) => weigh_ipv6(packet, binding, 0, verify_ipv6(packet, binding, LinkSource::None, 0)),
        _ => Finding::Violation(DropReason::Malformed),
    }
}

/// The version that a packet without an Ethernet header begins with.
#[inline(always)]
pub fn ip_version<P: Packet>(packet: &P) -> Option<u8> {
    // Four bytes, not one: the verifier does not follow a bound of a single byte.
    packet.head::<[u8; 4]>(0).map(|start| start[0] >> 4)
}

/// Verifies the Ethernet source and the tags, and has `inner` verify the rest. This and the six
/// below are the parts of [`verify_ethernet`], for callers that must be built of small functions.
#[inline(always)]
pub fn verify_link<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    inner: impl FnOnce(Mac, Network) -> Finding,
) -> Finding {
    let Some(ethernet) = packet.head::<Ethernet>(0) else {
        return Finding::Violation(DropReason::Malformed);
    };
    if !binding.owns_mac(ethernet.source) {
        return Finding::Violation(DropReason::SpoofedMac);
    }
    let ethertype = ethernet.ethertype;
    let offloaded = packet.offloaded_tag();
    if offloaded.is_some() || vlan::is_tag(ethertype) {
        return vlan::verify(packet, binding, offloaded, ethertype, |network| {
            inner(ethernet.source, network)
        });
    }
    inner(ethernet.source, Network { offset: ETHERNET_LEN, ethertype })
}

/// Verifies an IPv4 packet that begins at `offset`.
#[inline(always)]
pub fn verify_ipv4<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>, offset: u32) -> Finding {
    ipv4::verify(packet, binding, offset)
}

/// Verifies an IPv6 packet that begins at `offset`. What claims an address that is not bound is found mild,
/// until it is weighed by the two that follow.
#[inline(always)]
pub fn verify_ipv6<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    link: LinkSource,
    offset: u32,
) -> Finding {
    ipv6::verify(packet, binding, link, offset)
}

/// Tells evidence of intent from noise in what was found of an IPv6 packet.
#[inline(always)]
fn weigh_ipv6<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    offset: u32,
    finding: Finding,
) -> Finding {
    let claims = || {
        has_foreign_ipv6_source(packet, binding, offset) || has_foreign_ipv6_message(packet, binding, offset)
    };
    if finding.is_mild() && claims() { finding.as_evidence() } else { finding }
}

/// Whether an IPv6 packet claims a source that is another's. Where it does, what was found mild is evidence.
#[inline(always)]
pub fn has_foreign_ipv6_source<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    offset: u32,
) -> bool {
    ipv6::has_foreign_source(packet, binding, offset)
}

/// The same of what it says: whether it speaks for another, or takes a role that is not the endpoint's.
#[inline(always)]
pub fn has_foreign_ipv6_message<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    offset: u32,
) -> bool {
    ipv6::has_foreign_message(packet, binding, offset)
}

/// Verifies an ARP packet that begins at `offset`.
#[inline(always)]
pub fn verify_arp<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    link: LinkSource,
    offset: u32,
) -> Finding {
    arp::verify(packet, binding, link, offset)
}

/// Verifies a frame of any other type.
#[inline(always)]
pub fn verify_other<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>, network: Network) -> Finding {
    let ethertype = u16::from_be_bytes(network.ethertype);
    let allowed = if ethertype < FIRST_ETHERTYPE {
        binding.may(Allow::ANY_ETHERTYPE) && is_spanning_tree(packet, network.offset)
    } else {
        binding.may(Allow::ANY_ETHERTYPE)
            || (binding.may(Allow::FURTHER_ETHERTYPE)
                && binding.tables.has_further(&FurtherKey::ethertype(binding.index, ethertype)))
    };
    if allowed { Finding::Honest } else { Finding::Violation(DropReason::Ethertype) }
}

/// Lower values are 802.3 lengths (IEEE 802.3 clause 3.2.6).
const FIRST_ETHERTYPE: u16 = 0x0600;

/// LLC with the service access point of the spanning tree. No other LLC passes even where every
/// ethertype may: a workload could wrap IP into SNAP to get round every check (CVE-2021-27853,
/// -27854, -27861, -27862).
#[inline(always)]
fn is_spanning_tree<P: Packet>(packet: &P, offset: u32) -> bool {
    packet.at::<[u8; 4]>(offset).is_some_and(|llc| llc[0] == 0x42 && llc[1] == 0x42 && llc[2] == 3)
}

impl<T: Tables> Binding<'_, T> {
    #[inline(always)]
    const fn may(&self, permission: u32) -> bool {
        Allow(self.endpoint.allow).has(permission)
    }

    #[inline(always)]
    fn owns_mac(&self, mac: Mac) -> bool {
        mac == self.endpoint.mac
            || (self.may(Allow::FURTHER_MAC) && self.tables.has_further(&FurtherKey::mac(self.index, mac)))
    }
}

//! Source verification: does a frame claim only what is bound to its interface?

mod arp;
mod bound;
mod ipv4;
mod ipv6;
mod nd;
mod transport;
mod vlan;

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
enum LinkSource {
    /// The Ethernet source, already verified.
    Ethernet(Mac),
    /// The device has no Ethernet header: link-layer addresses mean nothing.
    None,
}

/// Length of an Ethernet header.
const ETHERNET_LEN: u32 = 14;

/// Verifies a frame that begins with an Ethernet header.
#[inline(always)]
pub fn verify_ethernet<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>) -> Finding {
    let Some(ethernet) = packet.head::<Ethernet>(0) else {
        return Finding::Violation(DropReason::Malformed);
    };
    if !binding.owns_mac(ethernet.source) {
        return Finding::Violation(DropReason::SpoofedMac);
    }
    let link = LinkSource::Ethernet(ethernet.source);
    let offloaded = packet.offloaded_tag();
    let in_frame = vlan::is_tag(ethernet.ethertype);
    if offloaded.is_some() || in_frame {
        return vlan::verify(packet, binding, link, offloaded, ethernet.ethertype);
    }
    verify_network(packet, binding, link, ETHERNET_LEN, ethernet.ethertype)
}

/// Verifies a packet of a device without an Ethernet header (tun, L3 netkit): the IP checks alone.
#[inline(always)]
pub fn verify_layer3<P: Packet, T: Tables>(packet: &P, binding: &Binding<'_, T>) -> Finding {
    // Four bytes, not one: the verifier does not follow a bound of a single byte.
    let Some(start) = packet.head::<[u8; 4]>(0) else {
        return Finding::Violation(DropReason::Malformed);
    };
    match start[0] >> 4 {
        4 => ipv4::verify(packet, binding, 0),
        6 => ipv6::verify(packet, binding, LinkSource::None, 0),
        _ => Finding::Violation(DropReason::Malformed),
    }
}

/// Verifies what stands behind the ethertype.
#[inline(always)]
fn verify_network<P: Packet, T: Tables>(
    packet: &P,
    binding: &Binding<'_, T>,
    link: LinkSource,
    offset: u32,
    ethertype: [u8; 2],
) -> Finding {
    match ethertype {
        ethertype::IPV4 => ipv4::verify(packet, binding, offset),
        ethertype::IPV6 => ipv6::verify(packet, binding, link, offset),
        ethertype::ARP => arp::verify(packet, binding, link, offset),
        other => binding.other_ethertype(u16::from_be_bytes(other)),
    }
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

    /// IPv4, IPv6 and ARP are the allow-list; all else must be bound. Values below 1536 are
    /// 802.3 lengths (LLC, SNAP, STP) and have no place in it: a workload could wrap IP into
    /// SNAP to get round every check (CVE-2021-27853, -27854, -27861, -27862).
    #[inline(always)]
    fn other_ethertype(&self, ethertype: u16) -> Finding {
        let listed = self.may(Allow::FURTHER_ETHERTYPE)
            && self.tables.has_further(&FurtherKey::ethertype(self.index, ethertype));
        if listed || self.may(Allow::ANY_ETHERTYPE) {
            Finding::Honest
        } else {
            Finding::Violation(DropReason::Ethertype)
        }
    }
}

//! A slow and obvious answer to "may this endpoint claim that?", for differential tests.
//!
//! It reads the spec as a person would, shares nothing with [`crate::compile`], and knows nothing of
//! frames: whoever parses them hands it the claims. The permissions that depend on more than a source
//! (DHCP, router, duplicate address detection, …) are the parser's to judge, not its.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_abi::Mac;

use crate::address::AddressBinding;
use crate::compile::Learned;
use crate::model::{EndpointSpec, Permission};

/// What a frame claims to come from, as far as it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Ethernet source.
    pub ethernet_source: Option<Mac>,
    /// Sender hardware and protocol address of ARP.
    pub arp_sender: Option<(Mac, Ipv4Addr)>,
    /// Source of the IP header.
    pub ip_source: Option<IpAddr>,
}

/// Whether every claim is bound to the endpoint (its mode and quarantine aside).
///
/// The ARP sender must be the Ethernet source, and 0.0.0.0 (a probe, RFC 5227) is nobody's address,
/// so it passes.
#[must_use]
pub fn allows(spec: &EndpointSpec, learned: &Learned, claims: &Claims) -> bool {
    if let Some(mac) = claims.ethernet_source
        && !is_mac_bound(spec, learned, mac)
    {
        return false;
    }
    if let Some((mac, address)) = claims.arp_sender {
        if !is_mac_bound(spec, learned, mac) {
            return false;
        }
        if claims.ethernet_source.is_some_and(|source| source != mac) {
            return false;
        }
        if !address.is_unspecified() && !is_address_bound(spec, learned, address.into()) {
            return false;
        }
    }
    match claims.ip_source {
        Some(address) => is_address_bound(spec, learned, address),
        None => true,
    }
}

/// Whether the endpoint may use this MAC as source.
#[must_use]
pub fn is_mac_bound(spec: &EndpointSpec, learned: &Learned, mac: Mac) -> bool {
    if mac.is_group() {
        return false;
    }
    if !spec.macs.is_empty() {
        return spec.macs.iter().any(|declared| declared.mac() == mac);
    }
    if mac == Mac::ZERO && spec.interface.name != "lo" {
        return false;
    }
    learned.macs.contains(&mac)
}

/// Whether the endpoint may use this address as source.
#[must_use]
pub fn is_address_bound(spec: &EndpointSpec, learned: &Learned, address: IpAddr) -> bool {
    if is_never_a_source(address) {
        return false;
    }
    let matching: Vec<_> = spec.addresses.iter().filter(|binding| binding.contains(address)).collect();
    if let Some(longest) = matching.iter().max_by_key(|binding| binding.prefix_len())
        && !is_broadcast_of(longest, address)
    {
        return true;
    }
    if spec.interface.name == "lo" && learned.local.contains(&address) {
        return true;
    }
    match address {
        IpAddr::V6(v6) if is_link_local(v6) => is_own_link_local(spec, learned, v6),
        _ => false,
    }
}

/// Whether frames with this VLAN id are let through (their content is another question).
#[must_use]
pub fn is_vlan_allowed(spec: &EndpointSpec, id: u16) -> bool {
    spec.allow.contains(&Permission::AnyVlan) || spec.vlans.iter().any(|v| v.number() == id)
}

/// Whether frames with this ethertype, none of IPv4, IPv6 and ARP, are let through.
#[must_use]
pub fn is_ethertype_allowed(spec: &EndpointSpec, ethertype: u16) -> bool {
    spec.allow.contains(&Permission::AnyEthertype) || spec.ethertypes.iter().any(|e| e.number() == ethertype)
}

/// A link-local address that nobody declared: only where none is declared; learned; derived where
/// none was learned.
fn is_own_link_local(spec: &EndpointSpec, learned: &Learned, address: Ipv6Addr) -> bool {
    let declared = |ip: IpAddr| matches!(ip, IpAddr::V6(v6) if is_link_local(v6));
    if spec.addresses.iter().any(|binding| declared(binding.ip())) {
        return false;
    }
    if learned.link_local.iter().any(|a| is_link_local(*a)) {
        return learned.link_local.contains(&address);
    }
    let derives = |mac: Mac| mac != Mac::ZERO && Ipv6Addr::from(mac.eui64_link_local()) == address;
    if spec.macs.is_empty() {
        learned.macs.iter().any(|mac| is_mac_bound(spec, learned, *mac) && derives(*mac))
    } else {
        spec.macs.iter().any(|mac| derives(mac.mac()))
    }
}

/// The last address of an IPv4 prefix belongs to nobody; a /31 has none such (RFC 3021).
fn is_broadcast_of(prefix: &AddressBinding, address: IpAddr) -> bool {
    prefix.ip().is_ipv4() && prefix.prefix_len() <= 30 && !prefix_has_next(prefix, address)
}

fn prefix_has_next(prefix: &AddressBinding, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.to_bits().checked_add(1).is_some_and(|n| prefix.contains(Ipv4Addr::from(n).into()))
        }
        IpAddr::V6(v6) => {
            v6.to_bits().checked_add(1).is_some_and(|n| prefix.contains(Ipv6Addr::from(n).into()))
        }
    }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

fn is_never_a_source(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 224,
        IpAddr::V6(v6) => v6.is_multicast() || (v6.octets()[0] == 0 && !v6.is_loopback()),
    }
}

#[cfg(test)]
mod tests;

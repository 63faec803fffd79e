//! Which addresses an endpoint owns.

use portcullis_abi::{Allow, FurtherKey, Ipv4, Ipv6, Mac, PrefixKey};

use super::Binding;
use crate::Tables;

/// Bits that an IPv4 prefix length grows by in the mapped form.
const MAPPED_BITS: u32 = 96;

/// Whose an address is that a frame claims.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The endpoint's.
    Own,
    /// Nobody's in particular: what a healthy workload may emit without a claim to anyone's identity.
    Nobodys,
    /// Another's.
    Foreign,
}

impl<T: Tables> Binding<'_, T> {
    /// Whose this IPv4 address is.
    #[inline(always)]
    pub(super) fn standing_ipv4(&self, address: Ipv4) -> Standing {
        if self.owns_ipv4(address) { Standing::Own } else { self.unbound_ipv4(address) }
    }

    /// The same of one that is not bound.
    #[inline(always)]
    pub(super) fn unbound_ipv4(&self, address: Ipv4) -> Standing {
        // Zeroconf (RFC 3927) gives itself an address; one that is known is the node's, or a neighbour's.
        let nobodys = is_nobodys_ipv4(address)
            && !(is_link_local_ipv4(address) && self.tables.is_known(&address.mapped()));
        if nobodys { Standing::Nobodys } else { Standing::Foreign }
    }

    /// Whose this IPv6 address is.
    #[inline(always)]
    pub(super) fn standing_ipv6(&self, address: Ipv6) -> Standing {
        if self.owns_ipv6(address) { Standing::Own } else { self.unbound_ipv6(address) }
    }

    /// The same of one that is not bound. Interfaces give themselves link-local addresses, by more ways
    /// than can be told beforehand (RFC 7217); one that is known is the node's, or a neighbour's.
    #[inline(always)]
    fn unbound_ipv6(&self, address: Ipv6) -> Standing {
        if !address.is_link_local() && is_self_given(address, self.endpoint.mac) {
            return Standing::Nobodys;
        }
        let nobodys =
            is_nobodys_ipv6(address) && !(address.is_link_local() && self.tables.is_known(&address));
        if nobodys { Standing::Nobodys } else { Standing::Foreign }
    }

    /// Whether the address is bound. 0.0.0.0 never is.
    #[inline(always)]
    #[must_use]
    pub fn owns_ipv4(&self, address: Ipv4) -> bool {
        if address == self.endpoint.ipv4 {
            return address != Ipv4::UNSPECIFIED;
        }
        (self.may(Allow::FURTHER_IPV4)
            && self.tables.has_further(&FurtherKey::address(self.index, address.mapped())))
            || (self.may(Allow::PREFIX_IPV4) && self.owns_ipv4_prefix(address))
    }

    /// A bound prefix holds its addresses, but no broadcast address, no multicast group and no
    /// address of 0/8 (RFC 1122 section 3.2.1.3). 127/8 is bound to loopback interfaces only.
    #[inline(always)]
    fn owns_ipv4_prefix(&self, address: Ipv4) -> bool {
        let first = address.0[0];
        if first == 0 || first >= 224 {
            return false;
        }
        match self.tables.prefix_len(&PrefixKey::lookup(self.index, address.mapped())) {
            None => false,
            Some(len) => !is_directed_broadcast(address, len.saturating_sub(MAPPED_BITS)),
        }
    }

    /// Whether the address is bound. `::` never is.
    #[inline(always)]
    #[must_use]
    pub fn owns_ipv6(&self, address: Ipv6) -> bool {
        if address == self.endpoint.ipv6 || address == self.endpoint.link_local {
            return address != Ipv6::UNSPECIFIED;
        }
        // The further tables hold IPv4 addresses as ::ffff:a.b.c.d, which no IPv6 frame may claim
        // (RFC 4291 section 2.5.5); of ::/8 only the loopback address is ever bound.
        if address.0[0] == 0 && address != Ipv6::LOOPBACK {
            return false;
        }
        (self.may(Allow::FURTHER_IPV6) && self.tables.has_further(&FurtherKey::address(self.index, address)))
            || (self.may(Allow::PREFIX_IPV6)
                && address.0[0] != 0xff
                && self.tables.prefix_len(&PrefixKey::lookup(self.index, address)).is_some())
    }

    /// Whether the endpoint routes for others, so that packets to foreign addresses reach it.
    #[inline(always)]
    pub(super) const fn is_router(&self) -> bool {
        self.endpoint.allow & (Allow::PREFIX_IPV4 | Allow::PREFIX_IPV6) != 0
    }
}

/// Whether an unbound IPv4 source claims nobody's identity unless it is a known one: 0.0.0.0, 127/8, 169.254/16.
#[inline(always)]
pub(super) fn is_nobodys_ipv4(address: Ipv4) -> bool {
    address == Ipv4::UNSPECIFIED || address.0[0] == 127 || is_link_local_ipv4(address)
}

#[inline(always)]
const fn is_link_local_ipv4(address: Ipv4) -> bool {
    address.0[0] == 169 && address.0[1] == 254
}

/// The same of an IPv6 source: `::`, `::1`, fe80::/10.
#[inline(always)]
pub(super) fn is_nobodys_ipv6(address: Ipv6) -> bool {
    address == Ipv6::UNSPECIFIED || address == Ipv6::LOOPBACK || address.is_link_local()
}

/// Whether an interface with this MAC gives itself that address as soon as a router announces its prefix (RFC 4862,
/// with the identifier of RFC 4291 appendix A). With somebody else's MAC in it, it would be somebody else's.
#[inline(always)]
pub(super) const fn is_self_given(address: Ipv6, mac: Mac) -> bool {
    address.0[0] != 0xff && address.words()[1] == mac.eui64_link_local().words()[1]
}

/// All host bits set, in a prefix that has room for a broadcast address (RFC 3021: /31 has none).
#[inline(always)]
const fn is_directed_broadcast(address: Ipv4, prefix_len: u32) -> bool {
    if prefix_len > 30 {
        return false;
    }
    let host_mask = u32::MAX >> prefix_len;
    u32::from_be_bytes(address.0) & host_mask == host_mask
}

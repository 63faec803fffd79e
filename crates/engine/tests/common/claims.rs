//! Which refusals are evidence of intent, as the issue says it: claiming another's address, MAC, ARP or ND
//! identity, a router's or a DHCP server's role.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_abi::{Allow, DropReason, Mac};

use super::World;

/// Why a frame is dropped, and whether it shows intent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Refusal {
    pub reason: DropReason,
    pub evidence: bool,
}

impl Refusal {
    pub fn when(evidence: bool, reason: DropReason) -> Self {
        Self { reason, evidence }
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, evidence: reason.is_hostile() }
    }
}

impl World {
    /// Whether an IPv4 address is another's.
    pub fn foreign4(&self, address: Ipv4Addr) -> bool {
        let noise = address.is_unspecified() || address.is_loopback() || address.is_link_local();
        !self.binds4(address) && (!noise || address.is_link_local() && self.knows(address.into()))
    }

    /// Whether an IPv6 address is another's.
    pub fn foreign6(&self, address: Ipv6Addr) -> bool {
        let link_local = address.is_unicast_link_local();
        let noise =
            address.is_unspecified() || address.is_loopback() || link_local || self.self_given(address);
        !self.binds6(address) && (!noise || link_local && self.knows(address.into()))
    }

    /// Whether the endpoint's first MAC stands in an address, as in one that its interface gave itself.
    fn self_given(&self, address: Ipv6Addr) -> bool {
        let Some(Mac([a, b, c, d, e, f])) = self.macs.first().copied() else { return false };
        !address.is_multicast() && address.octets()[8..] == [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
    }

    /// Whether a MAC is another's.
    pub fn foreign_mac(&self, mac: &[u8]) -> bool {
        !self.macs.iter().any(|own| own.0.as_slice() == mac)
    }

    fn knows(&self, address: IpAddr) -> bool {
        let nodes4 = self.nodes4.iter().map(|a| IpAddr::from(*a));
        let nodes6 = self.nodes6.iter().map(|a| IpAddr::from(*a));
        nodes4.chain(nodes6).chain(self.identities.iter().copied()).any(|known| known == address)
    }

    /// Whether a UDP segment is a DHCP server's, and the endpoint none.
    pub fn is_rogue_dhcp(&self, segment: &[u8]) -> bool {
        let port = segment.get(..8).map(|header| u16::from_be_bytes([header[0], header[1]]));
        matches!(port, Some(67 | 547)) && self.allow & Allow::DHCP_SERVER == 0
    }

    /// ARP as it stands in a frame: whoever cannot read its addresses cannot say whose they are.
    pub fn arp_claims_another(&self, source: Mac, packet: &[u8]) -> bool {
        if packet[4..6] != [6, 4] {
            return false;
        }
        let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        let is_probe = address(14).is_unspecified() && packet[6..8] == [0, 1];
        let claimed = if is_probe { address(24) } else { address(14) };
        let mac = &packet[8..14];
        self.foreign4(claimed) || (mac != source.0.as_slice() && self.foreign_mac(mac))
    }

    /// Neighbour discovery that is refused: its source, or the target that it answers for or wants.
    pub fn nd_claims_another(&self, source: Ipv6Addr, message: &[u8]) -> bool {
        let wants = message[0] == 136 || message[0] == 135 && source.is_unspecified();
        let target = message.get(8..24).map(|bytes| Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap()));
        self.foreign6(source) || wants && target.is_some_and(|target| self.foreign6(target))
    }
}

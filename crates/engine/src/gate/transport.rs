//! Roles that a workload takes by a transport header: DHCP server, tunnel end.

use portcullis_abi::{Allow, Ipv6};

use super::Binding;
use crate::header::{Udp, be16, protocol};
use crate::{DropReason, Finding, Tables};

const DHCPV4_SERVER: u16 = 67;
const DHCPV6_SERVER: u16 = 547;

/// UDP ports of encapsulations: VXLAN (RFC 7348), VXLAN as Linux has it, Geneve (RFC 8926), WireGuard.
const VXLAN: u16 = 4789;
const VXLAN_LINUX: u16 = 8472;
const GENEVE: u16 = 6081;
const WIREGUARD: u16 = 51820;

/// Least length of a TCP header (RFC 9293).
pub(super) const TCP_LEN: u32 = 20;
/// Length of a UDP header.
pub(super) const UDP_LEN: u32 = 8;

/// Whether a UDP header from a bound source is honest whatever the endpoint may do.
#[inline(always)]
pub(super) const fn is_plain_udp(source: [u8; 2], destination: [u8; 2]) -> bool {
    const SERVERS: [u16; 2] = [DHCPV4_SERVER.to_be(), DHCPV6_SERVER.to_be()];
    const TUNNELS: [u16; 4] = [VXLAN.to_be(), VXLAN_LINUX.to_be(), GENEVE.to_be(), WIREGUARD.to_be()];
    let (source, destination) = (u16::from_ne_bytes(source), u16::from_ne_bytes(destination));
    source != SERVERS[0]
        && source != SERVERS[1]
        && destination != TUNNELS[0]
        && destination != TUNNELS[1]
        && destination != TUNNELS[2]
        && destination != TUNNELS[3]
}

impl<T: Tables> Binding<'_, T> {
    /// A UDP header from a bound source to `destination` (IPv4 mapped).
    #[inline(always)]
    pub(super) fn verify_udp(&self, udp: Udp, destination: impl FnOnce() -> Ipv6) -> Finding {
        if self.is_rogue_dhcp(udp) {
            return Finding::Violation(DropReason::RogueDhcp);
        }
        match be16(udp.destination) {
            VXLAN | VXLAN_LINUX | GENEVE | WIREGUARD => self.verify_tunnel(&destination()),
            _ => Finding::Honest,
        }
    }

    /// Whether a UDP header takes a DHCP server's role, which the endpoint has not.
    #[inline(always)]
    pub(super) fn is_rogue_dhcp(&self, udp: Udp) -> bool {
        let source = be16(udp.source);
        (source == DHCPV4_SERVER || source == DHCPV6_SERVER) && !self.may(Allow::DHCP_SERVER)
    }

    /// Encapsulation to a node's address would let a workload inject packets into the overlay
    /// in any other's name: what is inside the tunnel is beyond every source check.
    #[inline(always)]
    pub(super) fn verify_tunnel(&self, destination: &Ipv6) -> Finding {
        if !self.may(Allow::TUNNEL) && self.tables.is_node(destination) {
            Finding::Violation(DropReason::Tunnel)
        } else {
            Finding::Honest
        }
    }
}

/// Whether the protocol carries whole packets.
#[inline(always)]
pub(super) const fn is_encapsulation(protocol: u8) -> bool {
    matches!(protocol, protocol::IPIP | protocol::IPV6 | protocol::GRE)
}

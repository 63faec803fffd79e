//! Builders of frames: right by default, every field free to be wrong.
//!
//! A builder is a plain struct of public fields with a constructor that makes an honest packet;
//! lengths and checksums are `Option`s that are computed where they are `None`. Nothing here
//! checks anything: a frame that no standard allows is what this module is for.

mod arp;
mod dhcp;
mod icmp;
mod ipv4;
mod ipv6;
mod link;
mod transport;

pub use arp::Arp;
pub use dhcp::{dhcpv4_message, dhcpv6_message};
pub use icmp::{Icmp4, Icmp6, NdOption, mld1, mld2_report, nd};
pub use ipv4::Ipv4Packet;
pub use ipv6::{Extension, Ipv6Packet};
pub use link::{Tag, ethernet, llc, multicast_mac4, multicast_mac6, pad_to, snap, tagged};
pub use transport::{Pseudo, Tcp, Udp, checksum};

/// Ethertypes that the suite speaks of.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// RARP.
    pub const RARP: u16 = 0x8035;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad tag.
    pub const QINQ: u16 = 0x88a8;
}

/// IP protocol and next header numbers that the suite speaks of.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// IPv4 in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const SIX_IN: u8 = 41;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// Encapsulating security payload.
    pub const ESP: u8 = 50;
    /// Authentication header.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Nothing follows.
    pub const NO_NEXT: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// For experiments (RFC 3692).
    pub const EXPERIMENT: u8 = 253;
}

#[cfg(test)]
mod tests;

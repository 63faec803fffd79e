//! Headers as they stand in a frame: all fields are byte arrays in network order, all types are
//! unaligned and safe to read from any bytes.

use portcullis_abi::{Ipv4, Ipv6, Mac};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! header {
    ($($(#[$doc:meta])* $name:ident($len:literal) { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type,)* }
        const _: () = assert!(size_of::<$name>() == $len);
    )*};
}

header! {
    /// Ethernet II header (IEEE 802.3 clause 3).
    Ethernet(14) {
        /// Destination.
        destination: Mac,
        /// Source.
        source: Mac,
        /// Ethertype, or below 1536 a length.
        ethertype: [u8; 2],
    }
    /// What follows the ethertype of a VLAN tag (IEEE 802.1Q clause 9).
    VlanTag(4) {
        /// Priority, drop eligibility, VLAN id.
        tci: [u8; 2],
        /// Ethertype of what is inside.
        ethertype: [u8; 2],
    }
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp(28) {
        /// 1: Ethernet.
        hardware: [u8; 2],
        /// 0x0800: IPv4.
        protocol: [u8; 2],
        /// 6.
        hardware_len: u8,
        /// 4.
        protocol_len: u8,
        /// 1: request, 2: reply.
        operation: [u8; 2],
        /// Sender's MAC.
        sender_mac: Mac,
        /// Sender's IPv4 address.
        sender: Ipv4,
        /// Target's MAC.
        target_mac: Mac,
        /// Target's IPv4 address.
        target: Ipv4,
    }
    /// IPv4 header without options (RFC 791).
    Ipv4Header(20) {
        /// Version and header length in words.
        version_ihl: u8,
        /// DSCP and ECN.
        tos: u8,
        /// Length of header and payload.
        total_len: [u8; 2],
        /// Identification.
        id: [u8; 2],
        /// Flags and fragment offset in units of 8 bytes.
        fragment: [u8; 2],
        /// Time to live.
        ttl: u8,
        /// Protocol.
        protocol: u8,
        /// Header checksum.
        checksum: [u8; 2],
        /// Source.
        source: Ipv4,
        /// Destination.
        destination: Ipv4,
    }
    /// IPv6 header (RFC 8200 section 3).
    Ipv6Header(40) {
        /// Version, traffic class, flow label.
        version_class_flow: [u8; 4],
        /// Length of all that follows this header.
        payload_len: [u8; 2],
        /// Type of the next header.
        next_header: u8,
        /// Hop limit.
        hop_limit: u8,
        /// Source.
        source: Ipv6,
        /// Destination.
        destination: Ipv6,
    }
    /// First bytes that all skippable IPv6 extension headers share.
    Extension(4) {
        /// Type of the next header.
        next_header: u8,
        /// Length in units of 8 bytes (AH: 4 bytes) beyond the first.
        len: u8,
        /// Routing header: its type.
        routing_type: u8,
        /// Routing header: segments left.
        segments_left: u8,
    }
    /// IPv6 fragment header (RFC 8200 section 4.5).
    FragmentHeader(8) {
        /// Type of the next header.
        next_header: u8,
        /// Reserved.
        reserved: u8,
        /// Offset in units of 8 bytes (upper 13 bits), more-fragments bit.
        offset: [u8; 2],
        /// Identification.
        id: [u8; 4],
    }
    /// UDP header (RFC 768).
    Udp(8) {
        /// Source port.
        source: [u8; 2],
        /// Destination port.
        destination: [u8; 2],
        /// Length of header and payload.
        len: [u8; 2],
        /// Checksum.
        checksum: [u8; 2],
    }
    /// First bytes of every ICMP and ICMPv6 message.
    Icmp(4) {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Checksum.
        checksum: [u8; 2],
    }
    /// Neighbour solicitation or advertisement without options (RFC 4861 sections 4.3, 4.4).
    NeighbourMessage(24) {
        /// Type, code, checksum.
        icmp: Icmp,
        /// Flags.
        flags: [u8; 4],
        /// Target address.
        target: Ipv6,
    }
    /// First bytes of every neighbour discovery option (RFC 4861 section 4.6).
    NdOption(2) {
        /// Type.
        kind: u8,
        /// Length in units of 8 bytes.
        len: u8,
    }
}

/// A big-endian number.
#[inline(always)]
#[must_use]
pub const fn be16(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}

/// Ethertypes (IANA).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: [u8; 2] = [0x08, 0x00];
    /// ARP.
    pub const ARP: [u8; 2] = [0x08, 0x06];
    /// IPv6.
    pub const IPV6: [u8; 2] = [0x86, 0xdd];
    /// IEEE 802.1Q.
    pub const VLAN: [u8; 2] = [0x81, 0x00];
    /// IEEE 802.1ad.
    pub const QINQ: [u8; 2] = [0x88, 0xa8];
}

/// IP protocol numbers (IANA).
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
    pub const IPV6: u8 = 41;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// Authentication header.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 no next header.
    pub const NO_NEXT: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

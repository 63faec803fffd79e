//! ARP and RARP (RFC 826, RFC 903).

use portcullis_abi::{Ipv4, Mac};

/// An ARP packet over Ethernet and IPv4; the type and length fields may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Hardware type: 1 is Ethernet.
    pub hardware_type: u16,
    /// Protocol type: 0x0800 is IPv4.
    pub protocol_type: u16,
    /// Length of a hardware address: 6.
    pub hardware_len: u8,
    /// Length of a protocol address: 4.
    pub protocol_len: u8,
    /// 1: request; 2: reply.
    pub operation: u16,
    /// Whose MAC the packet tells.
    pub sender_mac: Mac,
    /// Whose address the packet tells.
    pub sender_ip: Ipv4,
    /// Zero in a request.
    pub target_mac: Mac,
    /// Who is asked for, or answered.
    pub target_ip: Ipv4,
}

impl Arp {
    /// A request for `target_ip`.
    #[must_use]
    pub const fn request(sender_mac: Mac, sender_ip: Ipv4, target_ip: Ipv4) -> Self {
        Self {
            hardware_type: 1,
            protocol_type: 0x0800,
            hardware_len: 6,
            protocol_len: 4,
            operation: 1,
            sender_mac,
            sender_ip,
            target_mac: Mac::ZERO,
            target_ip,
        }
    }

    /// A reply to `target`.
    #[must_use]
    pub const fn reply(sender_mac: Mac, sender_ip: Ipv4, target_mac: Mac, target_ip: Ipv4) -> Self {
        let mut arp = Self::request(sender_mac, sender_ip, target_ip);
        arp.operation = 2;
        arp.target_mac = target_mac;
        arp
    }

    /// The 28 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(28);
        bytes.extend_from_slice(&self.hardware_type.to_be_bytes());
        bytes.extend_from_slice(&self.protocol_type.to_be_bytes());
        bytes.extend_from_slice(&[self.hardware_len, self.protocol_len]);
        bytes.extend_from_slice(&self.operation.to_be_bytes());
        bytes.extend_from_slice(&self.sender_mac.0);
        bytes.extend_from_slice(&self.sender_ip.0);
        bytes.extend_from_slice(&self.target_mac.0);
        bytes.extend_from_slice(&self.target_ip.0);
        bytes
    }
}

//! UDP, TCP and the checksum they share.

use portcullis_abi::{Ipv4, Ipv6};

/// The addresses that a transport checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pseudo {
    /// Source and destination of an IPv4 packet.
    V4(Ipv4, Ipv4),
    /// Source and destination of an IPv6 packet.
    V6(Ipv6, Ipv6),
}

impl Pseudo {
    /// Sum over the pseudo header, not folded.
    fn sum(self, protocol: u8, len: usize) -> u64 {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let addresses = match self {
            Self::V4(source, destination) => sum(&source.0) + sum(&destination.0),
            Self::V6(source, destination) => sum(&source.0) + sum(&destination.0),
        };
        addresses + u64::from(protocol) + (len & 0xffff) + (len >> 16)
    }

    /// The checksum of `segment`, whose checksum field is zero.
    #[must_use]
    pub fn checksum(self, protocol: u8, segment: &[u8]) -> u16 {
        !fold(self.sum(protocol, segment.len()) + sum(segment))
    }

    /// What stands in the checksum field when the device is to finish it: the folded sum of the pseudo header.
    #[must_use]
    pub fn partial(self, protocol: u8, len: usize) -> u16 {
        fold(self.sum(protocol, len))
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// The Internet checksum (RFC 1071).
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// A UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Overrides the length field.
    pub length: Option<u16>,
    /// Overrides the checksum.
    pub checksum: Option<u16>,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Udp {
    /// An honest datagram.
    #[must_use]
    pub fn new(source: u16, destination: u16, payload: impl Into<Vec<u8>>) -> Self {
        Self { source, destination, length: None, checksum: None, payload: payload.into() }
    }

    /// Header and payload.
    #[must_use]
    pub fn to_bytes(&self, pseudo: Pseudo) -> Vec<u8> {
        let len = u16::try_from(8 + self.payload.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(usize::from(len));
        bytes.extend_from_slice(&self.source.to_be_bytes());
        bytes.extend_from_slice(&self.destination.to_be_bytes());
        bytes.extend_from_slice(&self.length.unwrap_or(len).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.payload);
        let computed = match pseudo.checksum(super::protocol::UDP, &bytes) {
            // Zero means "none" (RFC 768), so a computed zero is sent as all ones.
            0 => 0xffff,
            sum => sum,
        };
        bytes[6..8].copy_from_slice(&self.checksum.unwrap_or(computed).to_be_bytes());
        bytes
    }
}

/// A TCP segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Overrides the data offset (in words of four bytes).
    pub data_offset: Option<u8>,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
    /// Overrides the checksum.
    pub checksum: Option<u16>,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Tcp {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// PSH.
    pub const PSH: u8 = 8;
    /// ACK.
    pub const ACK: u8 = 16;

    /// A segment with these flags.
    #[must_use]
    pub fn new(source: u16, destination: u16, flags: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            source,
            destination,
            sequence: 0x1000_0000,
            acknowledgement: if flags & Self::ACK == 0 { 0 } else { 0x2000_0000 },
            data_offset: None,
            flags,
            checksum: None,
            options: Vec::new(),
            payload: payload.into(),
        }
    }

    /// Header and payload.
    #[must_use]
    pub fn to_bytes(&self, pseudo: Pseudo) -> Vec<u8> {
        let offset = self.data_offset.unwrap_or((5 + self.options.len() / 4) as u8);
        let mut bytes = Vec::with_capacity(20 + self.options.len() + self.payload.len());
        bytes.extend_from_slice(&self.source.to_be_bytes());
        bytes.extend_from_slice(&self.destination.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.acknowledgement.to_be_bytes());
        bytes.extend_from_slice(&[offset << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend_from_slice(&self.options);
        bytes.extend_from_slice(&self.payload);
        let computed = pseudo.checksum(super::protocol::TCP, &bytes);
        bytes[16..18].copy_from_slice(&self.checksum.unwrap_or(computed).to_be_bytes());
        bytes
    }
}

//! IPv4 with options and fragments.

use portcullis_abi::Ipv4;

use super::transport::{Pseudo, checksum};

/// An IPv4 packet or a fragment of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4Packet {
    /// 4.
    pub version: u8,
    /// Overrides the header length (in words of four bytes).
    pub ihl: Option<u8>,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Overrides the total length.
    pub total_length: Option<u16>,
    /// Identification; the fragments of one packet share it.
    pub id: u16,
    /// "Don't fragment".
    pub dont_fragment: bool,
    /// "More fragments".
    pub more_fragments: bool,
    /// Fragment offset in units of eight bytes.
    pub offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: u8,
    /// Overrides the header checksum.
    pub checksum: Option<u16>,
    /// Source.
    pub source: Ipv4,
    /// Destination.
    pub destination: Ipv4,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Ipv4Packet {
    /// An honest packet.
    #[must_use]
    pub fn new(source: Ipv4, destination: Ipv4, protocol: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            version: 4,
            ihl: None,
            traffic_class: 0,
            total_length: None,
            id: 0,
            dont_fragment: false,
            more_fragments: false,
            offset: 0,
            ttl: 64,
            protocol,
            checksum: None,
            source,
            destination,
            options: Vec::new(),
            payload: payload.into(),
        }
    }

    /// The addresses for the payload's checksum.
    #[must_use]
    pub const fn pseudo(&self) -> Pseudo {
        Pseudo::V4(self.source, self.destination)
    }

    /// The packet cut into fragments that start at these offsets (in units of eight bytes, the first being 0).
    #[must_use]
    pub fn fragments(&self, offsets: &[u16]) -> Vec<Self> {
        let cut = |unit: u16| (usize::from(unit) * 8).min(self.payload.len());
        let ends = offsets.iter().skip(1).map(|&o| cut(o)).chain([self.payload.len()]);
        let mut all: Vec<Self> = offsets
            .iter()
            .zip(ends)
            .map(|(&offset, end)| Self {
                offset,
                more_fragments: true,
                payload: self.payload[cut(offset)..end].to_vec(),
                ..self.clone()
            })
            .collect();
        if let Some(last) = all.last_mut() {
            last.more_fragments = false;
        }
        all
    }

    /// Header, options and payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let ihl = self.ihl.unwrap_or((header_len / 4) as u8);
        let total = u16::try_from(header_len + self.payload.len()).unwrap_or(u16::MAX);
        let flags = u16::from(self.dont_fragment) << 14 | u16::from(self.more_fragments) << 13;
        let mut bytes = Vec::with_capacity(usize::from(total));
        bytes.extend_from_slice(&[self.version << 4 | ihl & 0xf, self.traffic_class]);
        bytes.extend_from_slice(&self.total_length.unwrap_or(total).to_be_bytes());
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.extend_from_slice(&(flags | self.offset & 0x1fff).to_be_bytes());
        bytes.extend_from_slice(&[self.ttl, self.protocol, 0, 0]);
        bytes.extend_from_slice(&self.source.0);
        bytes.extend_from_slice(&self.destination.0);
        bytes.extend_from_slice(&self.options);
        let computed = checksum(&bytes);
        bytes[10..12].copy_from_slice(&self.checksum.unwrap_or(computed).to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

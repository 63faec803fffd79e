//! IPv6 with extension headers and fragments.

use portcullis_abi::Ipv6;

use super::protocol;
use super::transport::Pseudo;

/// One extension header. Its first byte, the next header, is filled in by the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// The number by which the header before announces this one.
    pub kind: u8,
    /// The header's bytes.
    pub bytes: Vec<u8>,
}

/// A Hop-by-Hop router alert for MLD (RFC 2711) and its padding.
const ROUTER_ALERT: [u8; 6] = [5, 2, 0, 0, 1, 0];
/// Six bytes of padding (PadN).
const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

impl Extension {
    /// A header of the common form (next, length in units of eight without the first, data); `data`
    /// must make up whole units with the two bytes before it.
    #[must_use]
    pub fn generic(kind: u8, data: &[u8]) -> Self {
        let mut bytes = vec![0, (data.len().saturating_sub(6) / 8) as u8];
        bytes.extend_from_slice(data);
        Self { kind, bytes }
    }

    /// Hop-by-hop options: the router alert that MLD always carries.
    #[must_use]
    pub fn router_alert() -> Self {
        Self::generic(protocol::HOP_BY_HOP, &ROUTER_ALERT)
    }

    /// Hop-by-hop options: padding alone.
    #[must_use]
    pub fn hop_by_hop() -> Self {
        Self::generic(protocol::HOP_BY_HOP, &PADDING)
    }

    /// Destination options: padding alone.
    #[must_use]
    pub fn destination() -> Self {
        Self::generic(protocol::DESTINATION, &PADDING)
    }

    /// Routing header of this type, with one address in it.
    #[must_use]
    pub fn routing(routing_type: u8, segments_left: u8, address: Ipv6) -> Self {
        let mut data = vec![routing_type, segments_left, 0, 0, 0, 0];
        data.extend_from_slice(&address.0);
        Self::generic(protocol::ROUTING, &data)
    }

    /// Fragment header; `offset` in units of eight bytes.
    #[must_use]
    pub fn fragment(offset: u16, more: bool, id: u32) -> Self {
        let mut bytes = vec![0, 0];
        bytes.extend_from_slice(&(offset << 3 | u16::from(more)).to_be_bytes());
        bytes.extend_from_slice(&id.to_be_bytes());
        Self { kind: protocol::FRAGMENT, bytes }
    }

    /// Authentication header with an integrity value of twelve bytes. Its length counts words of four.
    #[must_use]
    pub fn authentication() -> Self {
        let mut bytes = vec![0; 24];
        bytes[1] = 4;
        bytes[7] = 1;
        bytes[11] = 1;
        Self { kind: protocol::AH, bytes }
    }
}

/// An IPv6 packet or a fragment of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv6Packet {
    /// 6.
    pub version: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// 20 bits.
    pub flow_label: u32,
    /// Overrides the payload length.
    pub payload_length: Option<u16>,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub source: Ipv6,
    /// Destination.
    pub destination: Ipv6,
    /// Extension headers in order.
    pub extensions: Vec<Extension>,
    /// What the payload is: the next header of the last header.
    pub protocol: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Ipv6Packet {
    /// An honest packet.
    #[must_use]
    pub fn new(source: Ipv6, destination: Ipv6, protocol: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            version: 6,
            traffic_class: 0,
            flow_label: 0,
            payload_length: None,
            hop_limit: 64,
            source,
            destination,
            extensions: Vec::new(),
            protocol,
            payload: payload.into(),
        }
    }

    /// The addresses for the payload's checksum.
    #[must_use]
    pub const fn pseudo(&self) -> Pseudo {
        Pseudo::V6(self.source, self.destination)
    }

    /// The packet cut into fragments that start at these offsets (in units of eight bytes, the first
    /// being 0). The packet's own extension headers stay in front of every fragment header.
    #[must_use]
    pub fn fragments(&self, offsets: &[u16], id: u32) -> Vec<Self> {
        let cut = |unit: u16| (usize::from(unit) * 8).min(self.payload.len());
        let ends = offsets.iter().skip(1).map(|&o| cut(o)).chain([self.payload.len()]);
        offsets
            .iter()
            .zip(ends)
            .enumerate()
            .map(|(i, (&offset, end))| {
                let mut fragment = self.clone();
                fragment.extensions.push(Extension::fragment(offset, i + 1 < offsets.len(), id));
                fragment.payload = self.payload[cut(offset)..end].to_vec();
                fragment
            })
            .collect()
    }

    /// Headers and payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (i, extension) in self.extensions.iter().enumerate() {
            let start = body.len();
            body.extend_from_slice(&extension.bytes);
            if let Some(next) = body.get_mut(start) {
                *next = self.extensions.get(i + 1).map_or(self.protocol, |e| e.kind);
            }
        }
        body.extend_from_slice(&self.payload);
        let first = self.extensions.first().map_or(self.protocol, |e| e.kind);
        let length = self.payload_length.unwrap_or(u16::try_from(body.len()).unwrap_or(u16::MAX));
        let word =
            u32::from(self.version) << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        let mut bytes = Vec::with_capacity(40 + body.len());
        bytes.extend_from_slice(&word.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[first, self.hop_limit]);
        bytes.extend_from_slice(&self.source.0);
        bytes.extend_from_slice(&self.destination.0);
        bytes.extend_from_slice(&body);
        bytes
    }
}

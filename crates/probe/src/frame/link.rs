//! Ethernet, tags, LLC and SNAP.

use portcullis_abi::{Ipv4, Ipv6, Mac};

/// One VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The ethertype that announces the tag: 0x8100, 0x88a8 or anything else.
    pub tpid: u16,
    /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    pub tci: u16,
}

impl Tag {
    /// An 802.1Q tag with this VLAN id and priority 0.
    #[must_use]
    pub const fn vlan(vid: u16) -> Self {
        Self { tpid: super::ethertype::VLAN, tci: vid & 0x0fff }
    }

    /// An 802.1ad tag with this VLAN id and priority 0.
    #[must_use]
    pub const fn service(vid: u16) -> Self {
        Self { tpid: super::ethertype::QINQ, tci: vid & 0x0fff }
    }
}

/// An Ethernet II frame.
#[must_use]
pub fn ethernet(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    tagged(destination, source, &[], ethertype, payload)
}

/// An Ethernet II frame behind tags, the outermost first.
#[must_use]
pub fn tagged(destination: Mac, source: Mac, tags: &[Tag], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + 4 * tags.len() + payload.len());
    frame.extend_from_slice(&destination.0);
    frame.extend_from_slice(&source.0);
    for tag in tags {
        frame.extend_from_slice(&tag.tpid.to_be_bytes());
        frame.extend_from_slice(&tag.tci.to_be_bytes());
    }
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// An 802.3 frame with an LLC header; `length` overrides the length field.
#[must_use]
pub fn llc(destination: Mac, source: Mac, length: Option<u16>, header: [u8; 3], payload: &[u8]) -> Vec<u8> {
    let mut body = header.to_vec();
    body.extend_from_slice(payload);
    let length = length.unwrap_or(u16::try_from(body.len()).unwrap_or(u16::MAX));
    ethernet(destination, source, length, &body)
}

/// An 802.3 frame with LLC and SNAP headers; `protocol` is read under `oui`.
#[must_use]
pub fn snap(destination: Mac, source: Mac, oui: [u8; 3], protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = oui.to_vec();
    body.extend_from_slice(&protocol.to_be_bytes());
    body.extend_from_slice(payload);
    llc(destination, source, None, [0xaa, 0xaa, 0x03], &body)
}

/// The frame with zeroes after it up to `len` bytes, as short frames are padded on the wire.
#[must_use]
pub fn pad_to(mut frame: Vec<u8>, len: usize) -> Vec<u8> {
    if frame.len() < len {
        frame.resize(len, 0);
    }
    frame
}

/// The Ethernet group of an IPv4 multicast group (RFC 1112 section 6.4).
#[must_use]
pub const fn multicast_mac4(group: Ipv4) -> Mac {
    Mac([0x01, 0x00, 0x5e, group.0[1] & 0x7f, group.0[2], group.0[3]])
}

/// The Ethernet group of an IPv6 multicast group (RFC 2464 section 7).
#[must_use]
pub const fn multicast_mac6(group: Ipv6) -> Mac {
    let a = group.0;
    Mac([0x33, 0x33, a[12], a[13], a[14], a[15]])
}

//! ICMP, IGMP, ICMPv6, neighbour discovery and multicast listener discovery.

use portcullis_abi::{Ipv4, Ipv6, Mac};

use super::protocol;
use super::transport::{Pseudo, checksum};

/// An ICMP or IGMP message: type, code, checksum, rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icmp4 {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Overrides the checksum.
    pub checksum: Option<u16>,
    /// Everything behind the first four bytes.
    pub rest: Vec<u8>,
}

impl Icmp4 {
    /// A message of this type and code 0.
    #[must_use]
    pub fn new(kind: u8, rest: impl Into<Vec<u8>>) -> Self {
        Self { kind, code: 0, checksum: None, rest: rest.into() }
    }

    /// Echo request (8) or reply (0).
    #[must_use]
    pub fn echo(kind: u8, id: u16, payload: &[u8]) -> Self {
        let mut rest = id.to_be_bytes().to_vec();
        rest.extend_from_slice(&[0, 1]);
        rest.extend_from_slice(payload);
        Self::new(kind, rest)
    }

    /// An error of this type that quotes `packet`.
    #[must_use]
    pub fn error(kind: u8, code: u8, packet: &[u8]) -> Self {
        let mut rest = vec![0; 4];
        rest.extend_from_slice(packet);
        Self { kind, code, checksum: None, rest }
    }

    /// An IGMPv1 or IGMPv2 message about `group`.
    #[must_use]
    pub fn igmp(kind: u8, max_response: u8, group: Ipv4) -> Self {
        Self { kind, code: max_response, checksum: None, rest: group.0.to_vec() }
    }

    /// An IGMPv3 report with one record: "exclude nothing" for `group`, that is, a join.
    #[must_use]
    pub fn igmp3_report(group: Ipv4) -> Self {
        let mut rest = vec![0, 0, 0, 1, 4, 0, 0, 0];
        rest.extend_from_slice(&group.0);
        Self::new(0x22, rest)
    }

    /// The message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind, self.code, 0, 0];
        bytes.extend_from_slice(&self.rest);
        let computed = checksum(&bytes);
        bytes[2..4].copy_from_slice(&self.checksum.unwrap_or(computed).to_be_bytes());
        bytes
    }
}

/// An ICMPv6 message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icmp6 {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Overrides the checksum.
    pub checksum: Option<u16>,
    /// Everything behind the first four bytes.
    pub rest: Vec<u8>,
}

impl Icmp6 {
    /// A message of this type and code 0.
    #[must_use]
    pub fn new(kind: u8, rest: impl Into<Vec<u8>>) -> Self {
        Self { kind, code: 0, checksum: None, rest: rest.into() }
    }

    /// Echo request (128) or reply (129).
    #[must_use]
    pub fn echo(kind: u8, id: u16, payload: &[u8]) -> Self {
        let mut rest = id.to_be_bytes().to_vec();
        rest.extend_from_slice(&[0, 1]);
        rest.extend_from_slice(payload);
        Self::new(kind, rest)
    }

    /// An error that quotes `packet`; `word` is the MTU or the pointer.
    #[must_use]
    pub fn error(kind: u8, code: u8, word: u32, packet: &[u8]) -> Self {
        let mut rest = word.to_be_bytes().to_vec();
        rest.extend_from_slice(packet);
        Self { kind, code, checksum: None, rest }
    }

    /// The message.
    #[must_use]
    pub fn to_bytes(&self, pseudo: Pseudo) -> Vec<u8> {
        let mut bytes = vec![self.kind, self.code, 0, 0];
        bytes.extend_from_slice(&self.rest);
        let computed = pseudo.checksum(protocol::ICMPV6, &bytes);
        bytes[2..4].copy_from_slice(&self.checksum.unwrap_or(computed).to_be_bytes());
        bytes
    }
}

/// An option of a neighbour discovery message (RFC 4861 section 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NdOption {
    /// Source link-layer address (1).
    Source(Mac),
    /// Target link-layer address (2).
    Target(Mac),
    /// Prefix information (3): a /64 for autoconfiguration.
    Prefix(Ipv6),
    /// Nonce (14), which Linux puts into duplicate address detection (RFC 7527).
    Nonce([u8; 6]),
    /// Any bytes.
    Raw(Vec<u8>),
}

impl NdOption {
    /// The option's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let short = |kind: u8, data: &[u8; 6]| [&[kind, 1], data.as_slice()].concat();
        match self {
            Self::Source(mac) => short(1, &mac.0),
            Self::Target(mac) => short(2, &mac.0),
            Self::Nonce(nonce) => short(14, nonce),
            Self::Prefix(prefix) => {
                let mut bytes = vec![3, 4, 64, 0xc0];
                bytes.extend_from_slice(&3600u32.to_be_bytes());
                bytes.extend_from_slice(&3600u32.to_be_bytes());
                bytes.extend_from_slice(&[0; 4]);
                bytes.extend_from_slice(&prefix.0);
                bytes
            }
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

/// Neighbour discovery messages.
pub mod nd {
    use super::{Icmp6, Ipv6, NdOption};

    fn message(kind: u8, mut rest: Vec<u8>, options: &[NdOption]) -> Icmp6 {
        for option in options {
            rest.extend_from_slice(&option.to_bytes());
        }
        Icmp6::new(kind, rest)
    }

    /// Router solicitation (133).
    #[must_use]
    pub fn router_solicitation(options: &[NdOption]) -> Icmp6 {
        message(133, vec![0; 4], options)
    }

    /// Router advertisement (134) of a default router.
    #[must_use]
    pub fn router_advertisement(options: &[NdOption]) -> Icmp6 {
        message(134, vec![64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0], options)
    }

    /// Neighbour solicitation (135).
    #[must_use]
    pub fn solicitation(target: Ipv6, options: &[NdOption]) -> Icmp6 {
        message(135, [&[0; 4], target.0.as_slice()].concat(), options)
    }

    /// Neighbour advertisement (136); `flags`: router 0x80, solicited 0x40, override 0x20.
    #[must_use]
    pub fn advertisement(flags: u8, target: Ipv6, options: &[NdOption]) -> Icmp6 {
        message(136, [&[flags, 0, 0, 0], target.0.as_slice()].concat(), options)
    }

    /// Redirect (137): `destination` is to be reached by `target`.
    #[must_use]
    pub fn redirect(target: Ipv6, destination: Ipv6, options: &[NdOption]) -> Icmp6 {
        message(137, [[0; 4].as_slice(), &target.0, &destination.0].concat(), options)
    }
}

/// An MLDv1 message: query (130), report (131) or done (132).
#[must_use]
pub fn mld1(kind: u8, group: Ipv6) -> Icmp6 {
    Icmp6::new(kind, [&[0; 4], group.0.as_slice()].concat())
}

/// An MLDv2 report (143) with one record: a join of `group`.
#[must_use]
pub fn mld2_report(group: Ipv6) -> Icmp6 {
    Icmp6::new(143, [[0, 0, 0, 1, 4, 0, 0, 0].as_slice(), &group.0].concat())
}

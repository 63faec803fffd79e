//! The published table: forgeries and honest look-alikes, each with the verdict a gate owes it.
//!
//! The verdicts are those of the default profile: addresses and MAC bound, and no permission
//! beyond that (no DHCP, no VLAN, no further ethertypes, no tunnels). Nothing here does I/O, and
//! the same identity gives the same bytes, so the table serves unit tests, test runs in the
//! kernel and the live probe alike. No two cases of one suite have a frame in common.

mod arp;
mod extension;
mod forge;
mod icmp;
mod identity;
mod ipv4;
mod ipv6;
mod link;
mod malformed;
mod nd;
mod router;
mod sending;
mod services;
mod tunnel;

use portcullis_abi::DropReason;
use serde::{Serialize, Serializer};

use crate::frame::{Icmp4, Icmp6, protocol};
use forge::Forge;
pub use identity::Identity;

/// What a gate owes a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Every frame of it passes.
    Pass,
    /// Every frame of it is dropped, for this reason.
    Drop(DropReason),
}

impl Expect {
    /// The reason, where the case is to be dropped.
    #[must_use]
    pub const fn reason(self) -> Option<DropReason> {
        match self {
            Self::Pass => None,
            Self::Drop(reason) => Some(reason),
        }
    }

    /// Whether the case is to pass.
    #[must_use]
    pub const fn is_pass(self) -> bool {
        matches!(self, Self::Pass)
    }
}

impl Serialize for Expect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.reason().map_or("pass", DropReason::name))
    }
}

/// How the frames of a case are handed to the kernel. The verdict must not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SendVia {
    /// A plain `AF_PACKET` socket: a linear skb through the queueing discipline.
    Raw,
    /// `PACKET_QDISC_BYPASS`: straight to the driver.
    QdiscBypass,
    /// A packet ring: only the Ethernet header is in the skb's linear part.
    NonLinear,
    /// One TCP super-packet that the device is to cut into segments of this size
    /// (`PACKET_VNET_HDR`), its checksum left to the device.
    Gso {
        /// Payload bytes of one segment.
        segment: u16,
    },
    /// The checksum is left to the device (`PACKET_VNET_HDR`, `CHECKSUM_PARTIAL`).
    PartialChecksum {
        /// Where the transport header starts in the frame.
        start: u16,
        /// Where the checksum stands in that header.
        offset: u16,
    },
}

impl Case {
    /// Bytes of its first frame that tell it from all other cases, where its payload has room for them.
    #[must_use]
    pub fn mark(&self) -> Option<Vec<u8>> {
        let frame = self.frames.first()?;
        let at = frame.windows(forge::PREFIX.len()).position(|w| w == forge::PREFIX)?;
        frame.get(at..at + forge::PREFIX.len() + 2).map(<[u8]>::to_vec)
    }
}

/// An honest frame that is no case's, to be sent behind all of them: once it has arrived, what has
/// not arrived was dropped. `None` where the identity has no address.
#[must_use]
pub fn sentinel(identity: &Identity) -> Option<Vec<u8>> {
    let forge = Forge::new(identity);
    let v4 = |own| {
        let echo = Icmp4::echo(0, 0, b"sentinel").to_bytes();
        forge.wire4(&forge.ipv4(own, protocol::ICMP, echo))
    };
    let v6 = |own| {
        let echo = Icmp6::echo(129, 0, b"sentinel");
        forge.wire6(&forge.icmp6(own, identity.gateway6(), &echo))
    };
    identity.ipv4.map(v4).or_else(|| identity.any6().map(v6))
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Case {
    /// Stable name.
    pub id: &'static str,
    /// What the case is about.
    pub group: &'static str,
    /// What the frames do, in one sentence.
    pub title: &'static str,
    /// The frames, from the Ethernet header on; usually one.
    pub frames: Vec<Vec<u8>>,
    /// What a gate owes each of the frames.
    pub expect: Expect,
    /// Whether the frames claim what is another's, as opposed to what is merely not allowed.
    pub hostile: bool,
    /// How the frames are to be sent.
    pub via: SendVia,
}

/// The whole table for this identity. Honest cases of a family that the identity has no address
/// of are left out.
#[must_use]
pub fn suite(identity: &Identity) -> Vec<Case> {
    let mut forge = Forge::new(identity);
    link::add(&mut forge);
    arp::add(&mut forge);
    ipv4::add(&mut forge);
    services::add(&mut forge);
    icmp::add(&mut forge);
    ipv6::add(&mut forge);
    nd::add(&mut forge);
    router::add(&mut forge);
    extension::add(&mut forge);
    malformed::add(&mut forge);
    tunnel::add(&mut forge);
    sending::add(&mut forge);
    forge.finish()
}

#[cfg(test)]
mod tests;

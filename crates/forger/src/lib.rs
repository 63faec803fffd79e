//! What a container of a test forges, and who it honestly is not.

mod sys;

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, bail};
use portcullis_abi::{Ipv4, Ipv6, Mac};
use portcullis_probe::frame::{
    Arp, Ipv4Packet, Ipv6Packet, NdOption, Udp, dhcpv4_message, ethernet, ethertype, multicast_mac6, nd,
    protocol,
};

pub use sys::Sender;

/// What every forged frame carries: how a listener knows it.
pub const FORGED: &[u8] = b"pc-forged";

/// Addresses that no runtime of a test gives out.
const FOREIGN4: Ipv4 = Ipv4([10, 66, 6, 6]);
const FOREIGN6: Ipv6 = Ipv6([0xfd, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66]);
const FOREIGN_MAC: Mac = Mac([0x02, 0x66, 0x66, 0x66, 0x66, 0x66]);
const ALL_NODES: Ipv6 = Ipv6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// What is forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// The IPv4 source.
    Ipv4,
    /// The IPv6 source.
    Ipv6,
    /// The Ethernet source.
    Mac,
    /// An answer for another's IPv4 address.
    Arp,
    /// An advertisement of another's IPv6 address.
    Nd,
    /// The router's role.
    Ra,
    /// The DHCP server's role.
    Dhcp,
}

impl Forgery {
    /// All there are.
    pub const ALL: [Self; 7] = [Self::Ipv4, Self::Ipv6, Self::Mac, Self::Arp, Self::Nd, Self::Ra, Self::Dhcp];

    const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mac => "mac",
            Self::Arp => "arp",
            Self::Nd => "nd",
            Self::Ra => "ra",
            Self::Dhcp => "dhcp",
        }
    }

    /// The frame, to everybody, from an interface with this MAC.
    #[must_use]
    pub fn frame(self, own: Mac) -> Vec<u8> {
        match self {
            Self::Ipv4 => udp4(own, FOREIGN4, (40_077, 40_078), FORGED),
            Self::Mac => udp4(FOREIGN_MAC, FOREIGN4, (40_077, 40_078), FORGED),
            Self::Dhcp => {
                let offer = dhcpv4_message(2, 2, 0x7077, FOREIGN_MAC, FOREIGN4);
                udp4(own, FOREIGN4, (67, 68), &[offer.as_slice(), FORGED].concat())
            }
            Self::Arp => {
                let claim = Arp::reply(own, FOREIGN4, Mac::BROADCAST, FOREIGN4).to_bytes();
                // Behind the packet, where an Ethernet frame is padded.
                ethernet(Mac::BROADCAST, own, ethertype::ARP, &[claim.as_slice(), FORGED].concat())
            }
            Self::Ipv6 => {
                let packet = Ipv6Packet::new(FOREIGN6, ALL_NODES, protocol::UDP, []);
                let udp = Udp::new(40_077, 40_078, FORGED).to_bytes(packet.pseudo());
                ipv6(own, &Ipv6Packet { payload: udp, ..packet })
            }
            Self::Nd => icmp6(own, |mark| nd::advertisement(0x20, FOREIGN6, &[NdOption::Target(own), mark])),
            Self::Ra => icmp6(own, |mark| nd::router_advertisement(&[NdOption::Source(own), mark])),
        }
    }
}

fn udp4(mac: Mac, source: Ipv4, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let packet = Ipv4Packet::new(source, Ipv4([255; 4]), protocol::UDP, []);
    let udp = Udp::new(ports.0, ports.1, payload).to_bytes(packet.pseudo());
    let packet = Ipv4Packet { payload: udp, ..packet };
    ethernet(Mac::BROADCAST, mac, ethertype::IPV4, &packet.to_bytes())
}

fn icmp6(mac: Mac, message: impl FnOnce(NdOption) -> portcullis_probe::frame::Icmp6) -> Vec<u8> {
    // An option of experiments (253, RFC 4727), two times eight bytes long.
    let mut mark = vec![253, 2];
    mark.extend_from_slice(FORGED);
    mark.resize(16, 0);
    let source = Ipv6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66, 0x66]);
    let packet = Ipv6Packet::new(source, ALL_NODES, protocol::ICMPV6, []);
    let payload = message(NdOption::Raw(mark)).to_bytes(packet.pseudo());
    ipv6(mac, &Ipv6Packet { hop_limit: 255, payload, ..packet })
}

fn ipv6(mac: Mac, packet: &Ipv6Packet) -> Vec<u8> {
    ethernet(multicast_mac6(packet.destination), mac, ethertype::IPV6, &packet.to_bytes())
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Forgery {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|forgery| forgery.name() == text);
        let Some(found) = found else {
            let names = Self::ALL.map(Self::name).join(", ");
            bail!("nobody can forge {text:?}; there are: {names}");
        };
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use portcullis_abi::Mac;

    use super::{FORGED, Forgery};

    #[test]
    fn every_forgery_has_a_name_and_carries_the_mark() {
        for forgery in Forgery::ALL {
            assert_eq!(forgery.to_string().parse::<Forgery>().unwrap(), forgery);
            let frame = forgery.frame(Mac([2, 0, 0, 0, 0, 1]));
            assert!(frame.windows(FORGED.len()).any(|window| window == FORGED), "{forgery}");
        }
    }
}

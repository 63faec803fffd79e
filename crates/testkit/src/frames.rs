//! Frames that tests send: honest shape, any claim.

use portcullis_abi::{Ipv4, Ipv6, Mac};
use portcullis_probe::frame::{Ipv4Packet, Ipv6Packet, Udp, ethernet, ethertype, protocol};

/// Ports that nobody in a lab listens on.
const PORTS: (u16, u16) = (40_077, 40_078);

/// A UDP datagram over IPv4 from `(mac, address)` to `(mac, address)`, claims as given.
#[must_use]
pub fn forge_udp4(source: (Mac, Ipv4), destination: (Mac, Ipv4), payload: &[u8]) -> Vec<u8> {
    let packet = Ipv4Packet::new(source.1, destination.1, protocol::UDP, []);
    let udp = Udp::new(PORTS.0, PORTS.1, payload).to_bytes(packet.pseudo());
    let packet = Ipv4Packet { payload: udp, ..packet };
    ethernet(destination.0, source.0, ethertype::IPV4, &packet.to_bytes())
}

/// The same over IPv6.
#[must_use]
pub fn forge_udp6(source: (Mac, Ipv6), destination: (Mac, Ipv6), payload: &[u8]) -> Vec<u8> {
    let packet = Ipv6Packet::new(source.1, destination.1, protocol::UDP, []);
    let udp = Udp::new(PORTS.0, PORTS.1, payload).to_bytes(packet.pseudo());
    let packet = Ipv6Packet { payload: udp, ..packet };
    ethernet(destination.0, source.0, ethertype::IPV6, &packet.to_bytes())
}

/// Whether a frame carries these bytes anywhere: how a listener knows its frames.
pub fn tagged_payload(tag: &'static [u8]) -> impl Fn(&[u8]) -> bool + Send + 'static {
    move |frame| frame.windows(tag.len()).any(|window| window == tag)
}

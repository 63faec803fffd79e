//! Whose frames are forged, and whom they claim to come from.

use portcullis_abi::{Ipv4, Ipv6, Mac};

/// Own addresses, as bound, and those of the parties around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The bound MAC.
    pub mac: Mac,
    /// The bound IPv4 address.
    pub ipv4: Option<Ipv4>,
    /// Length of its prefix on the link, for the subnet's broadcast address.
    pub prefix4: u8,
    /// The bound global IPv6 address.
    pub ipv6: Option<Ipv6>,
    /// The bound link-local address; `::` where IPv6 is not bound.
    pub link_local: Ipv6,
    /// Where unicast frames go: the bridge's, gateway's or other container's MAC.
    pub far_mac: Mac,
    /// The gateway's MAC, to be claimed.
    pub gateway_mac: Mac,
    /// The gateway's IPv4 address.
    pub gateway4: Option<Ipv4>,
    /// The gateway's IPv6 address.
    pub gateway6: Option<Ipv6>,
    /// Another workload's MAC, to be claimed.
    pub neighbour_mac: Mac,
    /// Another workload's IPv4 address.
    pub neighbour4: Option<Ipv4>,
    /// Another workload's IPv6 address.
    pub neighbour6: Option<Ipv6>,
    /// An IPv4 address of the node itself, where tunnels end.
    pub node4: Option<Ipv4>,
    /// An IPv6 address of the node itself.
    pub node6: Option<Ipv6>,
}

impl Default for Identity {
    /// A dual-stack container on a bridge: 10.0.0.2 and fd00::2, gateway and node .1, neighbour .3.
    fn default() -> Self {
        let mac = Mac([0x02, 0x42, 0x0a, 0, 0, 2]);
        Self {
            ipv4: Some(Ipv4([10, 0, 0, 2])),
            prefix4: 24,
            ipv6: Some(fd00(2)),
            gateway4: Some(Ipv4([10, 0, 0, 1])),
            gateway6: Some(fd00(1)),
            neighbour4: Some(Ipv4([10, 0, 0, 3])),
            neighbour6: Some(fd00(3)),
            node4: Some(Ipv4([10, 0, 0, 1])),
            node6: Some(fd00(1)),
            ..Self::new(mac)
        }
    }
}

const fn fd00(last: u8) -> Ipv6 {
    Ipv6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

impl Identity {
    /// An identity with a MAC and the link-local address that follows from it, and no other address.
    /// The MACs of gateway and neighbour are made up from it.
    #[must_use]
    pub const fn new(mac: Mac) -> Self {
        let m = mac.0;
        let gateway = Mac([m[0], m[1], m[2], m[3], m[4] ^ 0x40, m[5] ^ 3]);
        Self {
            mac,
            ipv4: None,
            prefix4: 24,
            ipv6: None,
            link_local: mac.eui64_link_local(),
            far_mac: gateway,
            gateway_mac: gateway,
            gateway4: None,
            gateway6: None,
            neighbour_mac: Mac([m[0], m[1], m[2], m[3], m[4] ^ 0x40, m[5] ^ 1]),
            neighbour4: None,
            neighbour6: None,
            node4: None,
            node6: None,
        }
    }

    /// Another workload's IPv4 address: the known one, else the next one to our own or the gateway's.
    #[must_use]
    pub fn neighbour4(&self) -> Ipv4 {
        self.neighbour4.unwrap_or_else(|| {
            let near = self.ipv4.or(self.gateway4).unwrap_or(Ipv4([192, 0, 2, 2]));
            Ipv4(next_to(near.0, self.gateway4.map(|g| g.0)))
        })
    }

    /// Another workload's IPv6 address: the known one, else the next one to our own or the gateway's.
    #[must_use]
    pub fn neighbour6(&self) -> Ipv6 {
        self.neighbour6.unwrap_or_else(|| {
            let near = self.ipv6.or(self.gateway6).unwrap_or(fd00(2));
            Ipv6(next_to(near.0, self.gateway6.map(|g| g.0)))
        })
    }

    /// The gateway's IPv4 address: the known one, else another next to our own.
    #[must_use]
    pub fn gateway4(&self) -> Ipv4 {
        self.gateway4.unwrap_or_else(|| {
            let near = self.ipv4.unwrap_or(Ipv4([192, 0, 2, 2]));
            Ipv4(next_to(self.neighbour4().0, Some(near.0)))
        })
    }

    /// The gateway's IPv6 address: the known one, else another next to our own.
    #[must_use]
    pub fn gateway6(&self) -> Ipv6 {
        self.gateway6.unwrap_or_else(|| {
            let near = self.ipv6.unwrap_or(fd00(2));
            Ipv6(next_to(self.neighbour6().0, Some(near.0)))
        })
    }

    /// The neighbour's link-local address.
    #[must_use]
    pub const fn neighbour_link_local(&self) -> Ipv6 {
        self.neighbour_mac.eui64_link_local()
    }

    /// The bound link-local address, where IPv6 is bound.
    #[must_use]
    pub fn own_link_local(&self) -> Option<Ipv6> {
        (self.link_local != Ipv6::UNSPECIFIED).then_some(self.link_local)
    }

    /// A bound IPv6 address, the global one for choice.
    #[must_use]
    pub fn any6(&self) -> Option<Ipv6> {
        self.ipv6.or(self.own_link_local())
    }

    /// Broadcast address of the own IPv4 subnet, where it has one (RFC 3021: not below /31).
    #[must_use]
    pub fn broadcast4(&self) -> Option<Ipv4> {
        self.subnet4().map(|(network, mask)| Ipv4((network | !mask).to_be_bytes()))
    }

    /// Network address of the own IPv4 subnet.
    #[must_use]
    pub fn network4(&self) -> Option<Ipv4> {
        self.subnet4().map(|(network, _)| Ipv4(network.to_be_bytes()))
    }

    fn subnet4(&self) -> Option<(u32, u32)> {
        let own = u32::from_be_bytes(self.ipv4?.0);
        let mask = (1..31).contains(&self.prefix4).then(|| u32::MAX << (32 - self.prefix4))?;
        Some((own & mask, mask))
    }
}

/// The address with another last byte: one more, but neither 0, 255 nor `taken`.
fn next_to<const N: usize>(mut address: [u8; N], taken: Option<[u8; N]>) -> [u8; N] {
    loop {
        if let Some(last) = address.last_mut() {
            *last = if *last >= 253 { 1 } else { *last + 1 };
        }
        if Some(address) != taken {
            return address;
        }
    }
}

//! Interfaces: what they are, what they hang on, where their other end is.

use std::fmt;
use std::path::Path;

use portcullis_abi::Mac;

use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::route::RouteSocket;
use crate::wire::{Message, Request, attributes, i32_at, text, u16_at, u32_at};

/// Length of `struct ifinfomsg`.
pub(crate) const IFINFOMSG: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_TARGET_NETNSID: u16 = 46;
const IFLA_PARENT_DEV_NAME: u16 = 56;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_XDP_ATTACHED: u16 = 2;
/// IFLA_XDP_PROG_ID and its kin for driver, generic and offloaded mode.
const IFLA_XDP_PROG_IDS: std::ops::RangeInclusive<u16> = 4..=7;
const IFLA_NETKIT_PRIMARY: u16 = 2;
/// Statistics are more than half of every answer, and nobody here reads them.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address; none where it has no Ethernet header.
    pub mac: Option<Mac>,
    /// What it is.
    pub kind: LinkKind,
    /// The bridge (or bond, VRF, …) that it is a port of.
    pub master: Option<u32>,
    /// What that is.
    pub master_kind: Option<LinkKind>,
    /// The other end of a veth or netkit; the device underneath a macvlan, ipvlan or VLAN.
    pub peer: Option<PeerRef>,
    /// Whether it is set up (`IFF_UP`).
    pub up: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether its frames begin with an Ethernet header. True for `lo`, for a tap, and for netkit
    /// in both modes (L3 netkit carries an empty header: drivers/net/netkit.c calls `ether_setup`
    /// and pulls `ETH_HLEN` in either); false for a tun.
    pub has_ethernet: bool,
    /// Largest payload of a frame.
    pub mtu: u32,
    /// The id of an XDP program on it, in any mode.
    pub xdp_prog: Option<u32>,
    /// Of a netkit: whether it is the primary end, the one that programs are attached to.
    pub netkit_primary: Option<bool>,
    /// The hardware behind it (such as the PCI address `0000:01:10.2`), since Linux 5.14.
    pub parent_device: Option<String>,
}

/// Where another interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRef {
    /// Its index in its own namespace.
    pub ifindex: u32,
    /// That namespace, as ours numbers it; none: the same namespace.
    pub netnsid: Option<i32>,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkKind {
    /// One end of a virtual cable.
    Veth,
    /// Likewise, with programs of its own (Linux 6.7).
    Netkit,
    /// Ethernet bridge.
    Bridge,
    /// Further MAC on another device.
    Macvlan,
    /// Likewise, as a character device (for virtual machines).
    Macvtap,
    /// Further IP stack on another device's MAC; includes ipvtap.
    Ipvlan,
    /// 802.1Q or 802.1ad on another device.
    Vlan,
    /// tun or tap.
    Tun,
    /// `lo`.
    Loopback,
    /// Sends into the void.
    Dummy,
    /// WireGuard.
    Wireguard,
    /// A device with a driver of its own.
    Physical,
    /// Any other kind, as the kernel calls it.
    Other(String),
}

impl LinkKind {
    fn named(name: &str) -> Self {
        match name {
            "veth" => Self::Veth,
            "netkit" => Self::Netkit,
            "bridge" => Self::Bridge,
            "macvlan" => Self::Macvlan,
            "macvtap" => Self::Macvtap,
            "ipvlan" | "ipvtap" => Self::Ipvlan,
            "vlan" => Self::Vlan,
            "tun" => Self::Tun,
            "dummy" => Self::Dummy,
            "wireguard" => Self::Wireguard,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether it is one of two ends.
    #[must_use]
    pub fn is_pair(&self) -> bool {
        matches!(self, Self::Veth | Self::Netkit)
    }

    /// The name, as `ip link` uses it (and `loopback`, `physical`).
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Veth => "veth",
            Self::Netkit => "netkit",
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Macvtap => "macvtap",
            Self::Ipvlan => "ipvlan",
            Self::Vlan => "vlan",
            Self::Tun => "tun",
            Self::Loopback => "loopback",
            Self::Dummy => "dummy",
            Self::Wireguard => "wireguard",
            Self::Physical => "physical",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Link {
    /// Whether it is an SR-IOV virtual function: its hardware says so in /sys/bus/pci, which every
    /// namespace sees alike.
    #[must_use]
    pub fn is_sriov_vf(&self) -> bool {
        let Some(device) = &self.parent_device else { return false };
        // The name comes from the kernel, but it becomes part of a path.
        !device.contains('/') && Path::new("/sys/bus/pci/devices").join(device).join("physfn").exists()
    }

    /// Reads an RTM_NEWLINK or RTM_DELLINK message.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let flags = u32_at(payload, 8)?;
        let hardware = u16_at(payload, 2)?;
        let loopback = flags & libc::IFF_LOOPBACK as u32 != 0;
        let has_ethernet = matches!(hardware, ARPHRD_ETHER | ARPHRD_LOOPBACK);
        let mut link = Self {
            index: u32_at(payload, 4)?,
            name: String::new(),
            mac: None,
            kind: if loopback { LinkKind::Loopback } else { LinkKind::Physical },
            master: None,
            master_kind: None,
            peer: None,
            up: flags & libc::IFF_UP as u32 != 0,
            loopback,
            has_ethernet,
            mtu: 0,
            xdp_prog: None,
            netkit_primary: None,
            parent_device: None,
        };
        let (mut other_end, mut netnsid) = (None, None);
        for (kind, value) in attributes(payload.get(IFINFOMSG..)?) {
            match kind {
                IFLA_ADDRESS if has_ethernet => link.mac = value.try_into().ok().map(Mac),
                IFLA_IFNAME => link.name = text(value),
                IFLA_MTU => link.mtu = u32_at(value, 0)?,
                IFLA_LINK => other_end = u32_at(value, 0).filter(|&index| index != 0),
                IFLA_LINK_NETNSID => netnsid = i32_at(value, 0),
                IFLA_MASTER => link.master = u32_at(value, 0),
                IFLA_XDP => link.xdp_prog = xdp_program(value),
                IFLA_PARENT_DEV_NAME => link.parent_device = Some(text(value)),
                IFLA_LINKINFO => link.read_info(value),
                _ => {}
            }
        }
        link.peer = other_end.map(|ifindex| PeerRef { ifindex, netnsid });
        Some(link)
    }

    fn read_info(&mut self, info: &[u8]) {
        let mut data = None;
        for (kind, value) in attributes(info) {
            match kind {
                IFLA_INFO_KIND => self.kind = LinkKind::named(&text(value)),
                IFLA_INFO_DATA => data = Some(value),
                IFLA_INFO_SLAVE_KIND => self.master_kind = Some(LinkKind::named(&text(value))),
                _ => {}
            }
        }
        if self.kind == LinkKind::Netkit {
            self.netkit_primary = attributes(data.unwrap_or_default())
                .find(|(kind, _)| *kind == IFLA_NETKIT_PRIMARY)
                .and_then(|(_, value)| value.first().map(|&primary| primary != 0));
        }
    }
}

/// The program id in IFLA_XDP; with several modes at once, one of them.
fn xdp_program(value: &[u8]) -> Option<u32> {
    let attached = attributes(value).any(|(kind, v)| kind == IFLA_XDP_ATTACHED && v.first() != Some(&0));
    let mut ids = attributes(value).filter(|(kind, _)| IFLA_XDP_PROG_IDS.contains(kind));
    attached.then(|| ids.find_map(|(_, id)| u32_at(id, 0).filter(|&id| id != 0))).flatten()
}

/// Every interface of a namespace, by index.
pub fn links(netns: &Netns) -> Result<Vec<Link>> {
    RouteSocket::open(netns)?.links()
}

/// The interface of a name; none: there is none.
pub fn link_by_name(netns: &Netns, name: &str) -> Result<Option<Link>> {
    RouteSocket::open(netns)?.link_by_name(name)
}

/// The interface of an index; none: there is none.
pub fn link_by_index(netns: &Netns, index: u32) -> Result<Option<Link>> {
    RouteSocket::open(netns)?.link_by_index(index)
}

/// An interface name the kernel would take (`dev_valid_name`).
fn valid_name(name: &str) -> bool {
    (1..16).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.bytes().any(|b| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace())
}

impl RouteSocket {
    /// Every interface of the namespace, by index.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let request = link_request(libc::NLM_F_DUMP as u16, 0);
        let mut links = self.dump("its interfaces", &request, link_of)?;
        links.sort_unstable_by_key(|link| link.index);
        // A listing under way while interfaces come and go may hold one twice.
        links.dedup_by_key(|link| link.index);
        Ok(links)
    }

    /// The interface of a name; none: there is none.
    pub fn link_by_name(&mut self, name: &str) -> Result<Option<Link>> {
        if !valid_name(name) {
            return Err(Error::BadInterfaceName { name: name.to_owned() });
        }
        let request = link_request(0, 0).attribute(IFLA_IFNAME, format!("{name}\0").as_bytes());
        self.get(&format!("interface {name}"), &request, link_of)
    }

    /// The interface of an index; none: there is none.
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        self.get(&format!("interface number {index}"), &link_request(0, index), link_of)
    }

    /// An interface in another namespace that this one has a number for (Linux 4.15).
    pub(crate) fn link_elsewhere(&mut self, netnsid: i32, index: u32) -> Result<Option<Link>> {
        let request = link_request(0, index).attribute(IFLA_TARGET_NETNSID, &netnsid.to_ne_bytes());
        self.get(&format!("interface number {index} of namespace id {netnsid}"), &request, link_of)
    }
}

fn link_request(flags: u16, index: u32) -> Request {
    let mut header = [0u8; IFINFOMSG];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    Request::new(libc::RTM_GETLINK, flags, &header)
        .attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
}

fn link_of(message: &Message<'_>) -> Option<Link> {
    (message.kind == libc::RTM_NEWLINK).then(|| Link::parse(message.payload)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_the_kernel_does() {
        for good in ["eth0", "veth1a2b", "fifteen-bytes-x", "a.b"] {
            assert!(valid_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-xx", "a\0"] {
            assert!(!valid_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_cut_message_is_no_interface() {
        for length in 0..IFINFOMSG {
            assert_eq!(Link::parse(&vec![0; length]), None);
        }
    }
}

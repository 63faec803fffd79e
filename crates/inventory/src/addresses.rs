//! The addresses that interfaces have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::Result;
use crate::netns::Netns;
use crate::route::RouteSocket;
use crate::wire::{Message, Request, attributes, u32_at};

/// Length of `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_TARGET_NETNSID: u16 = 10;
const IFA_PROTO: u16 = 11;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub ifindex: u32,
    /// The address itself.
    pub ip: IpAddr,
    /// Length of the network part.
    pub prefix_len: u8,
    /// How far it is valid.
    pub scope: Scope,
    /// Duplicate address detection has not ended yet.
    pub tentative: bool,
    /// Duplicate address detection found somebody else: the address is not in use.
    pub dad_failed: bool,
    /// Who set it (`IFAPROT_…`: 1 loopback, 2 router advertisement, 3 link-local; 0 unknown), since Linux 5.18.
    pub protocol: u8,
}

/// How far an address is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// On its link.
    Link,
    /// In its machine.
    Host,
    /// Another (site, nowhere).
    Other(u8),
}

/// The addresses of one interface.
pub fn addresses(netns: &Netns, ifindex: u32) -> Result<Vec<Address>> {
    RouteSocket::open(netns)?.addresses(ifindex)
}

/// The addresses of every interface of a namespace.
pub fn all_addresses(netns: &Netns) -> Result<Vec<Address>> {
    RouteSocket::open(netns)?.all_addresses()
}

impl RouteSocket {
    /// The addresses of one interface.
    pub fn addresses(&mut self, ifindex: u32) -> Result<Vec<Address>> {
        self.list_addresses(ifindex, None)
    }

    /// The addresses of every interface of the namespace.
    pub fn all_addresses(&mut self) -> Result<Vec<Address>> {
        self.list_addresses(0, None)
    }

    /// The addresses of an interface in another namespace that this one has a number for (Linux 4.20).
    pub(crate) fn addresses_elsewhere(&mut self, netnsid: i32, ifindex: u32) -> Result<Vec<Address>> {
        self.list_addresses(ifindex, Some(netnsid))
    }

    fn list_addresses(&mut self, ifindex: u32, netnsid: Option<i32>) -> Result<Vec<Address>> {
        let mut header = [0u8; IFADDRMSG];
        header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        let mut request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP as u16, &header);
        if let Some(netnsid) = netnsid {
            request = request.attribute(IFA_TARGET_NETNSID, &netnsid.to_ne_bytes());
        }
        let what =
            if ifindex == 0 { "addresses".to_owned() } else { format!("addresses of interface {ifindex}") };
        // Kernels without strict checking list everything.
        let wanted = |a: &Address| ifindex == 0 || a.ifindex == ifindex;
        self.dump(&what, &request, |message| address_of(message).filter(wanted))
    }
}

fn address_of(message: &Message<'_>) -> Option<Address> {
    (message.kind == libc::RTM_NEWADDR).then(|| Address::parse(message.payload)).flatten()
}

impl Address {
    /// Reads an RTM_NEWADDR or RTM_DELADDR message.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let [family, prefix_len, flags, scope] = *payload.first_chunk::<4>()?;
        let mut flags = u32::from(flags);
        let (mut local, mut address, mut protocol) = (None, None, 0);
        for (kind, value) in attributes(payload.get(IFADDRMSG..)?) {
            match kind {
                // With a point-to-point peer, IFA_LOCAL is ours and IFA_ADDRESS the peer's.
                IFA_LOCAL => local = ip_of(family, value),
                IFA_ADDRESS => address = ip_of(family, value),
                IFA_FLAGS => flags = u32_at(value, 0)?,
                IFA_PROTO => protocol = *value.first()?,
                _ => {}
            }
        }
        Some(Self {
            ifindex: u32_at(payload, 4)?,
            ip: local.or(address)?,
            prefix_len,
            scope: match scope {
                libc::RT_SCOPE_UNIVERSE => Scope::Global,
                libc::RT_SCOPE_LINK => Scope::Link,
                libc::RT_SCOPE_HOST => Scope::Host,
                other => Scope::Other(other),
            },
            tentative: flags & libc::IFA_F_TENTATIVE != 0,
            dad_failed: flags & libc::IFA_F_DADFAILED != 0,
            protocol,
        })
    }

    /// The address, if it is an IPv6 link-local one that is in use or about to be.
    #[must_use]
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        match self.ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() && !self.dad_failed => Some(ip),
            _ => None,
        }
    }
}

fn ip_of(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

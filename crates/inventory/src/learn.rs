//! What an endpoint may claim without being told: MACs and link-local addresses.
//!
//! What is learned is what the workload's interface has **now**. A workload that may configure its
//! interface (CAP_NET_ADMIN in its namespace) chooses it; who does not want that names the MACs.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use portcullis_abi::Mac;
pub use portcullis_policy::model::Direction;

use crate::addresses::Address;
use crate::error::Result;
use crate::link::Link;
use crate::netns::{Netns, NetnsId, discover};
use crate::peer::NsidMap;
use crate::route::RouteSocket;

/// What the kernel knows of the workload behind an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// MACs of its interface.
    pub macs: Vec<Mac>,
    /// Link-local addresses: those it has; where it has none (yet), what its MACs give.
    pub link_local: Vec<Ipv6Addr>,
    /// Of a loopback interface: all addresses of its namespace, since a host talks to its own
    /// addresses over `lo`.
    pub local: Vec<IpAddr>,
    /// The namespace of the workload, where it could be told.
    pub workload_netns: Option<(NetnsId, PathBuf)>,
    /// The workload's interface in it.
    pub workload_ifindex: Option<u32>,
    /// Whether that interface is up; none: there is nothing that could be asked.
    pub workload_up: Option<bool>,
}

/// Learns about many interfaces of one namespace with one socket.
#[derive(Debug)]
pub struct Learner {
    netns: Netns,
    socket: RouteSocket,
    known: NsidMap,
}

impl Learner {
    /// A learner that finds namespaces among `candidates` (empty: it does not look for them).
    pub fn new(netns: &Netns, candidates: &[Netns]) -> Result<Self> {
        let mut socket = RouteSocket::open(netns)?;
        let known = NsidMap::resolve(&mut socket, candidates)?;
        Ok(Self { netns: netns.clone(), socket, known })
    }

    /// The interface of this name in the namespace, over the same socket.
    pub fn link_by_name(&mut self, name: &str) -> Result<Option<Link>> {
        self.socket.link_by_name(name)
    }

    /// The interface with this index in the namespace, over the same socket.
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        self.socket.link_by_index(index)
    }

    /// The other end of a pair, over the same socket.
    pub fn peer_link(&mut self, link: &Link) -> Result<Option<Link>> {
        self.socket.peer_link(link)
    }

    /// What is known of the workload behind `link`: two questions to the kernel.
    pub fn learn(&mut self, link: &Link, direction: Direction) -> Result<Learned> {
        match direction {
            Direction::Ingress if link.kind.is_pair() => self.learn_peer(link),
            // A tap or macvtap: the guest behind it is not a namespace, nothing is known.
            Direction::Ingress => Ok(Learned::default()),
            Direction::Egress => self.learn_own(link),
        }
    }

    fn learn_peer(&mut self, link: &Link) -> Result<Learned> {
        let Some(peer) = link.peer else { return Ok(Learned::default()) };
        let Some(inside) = self.socket.peer_link(link)? else { return Ok(Learned::default()) };
        // An interface that is down gets its addresses when it comes up, and that is heard of.
        let addresses = match peer.netnsid {
            _ if !inside.up => Vec::new(),
            Some(netnsid) => self.socket.addresses_elsewhere(netnsid, peer.ifindex)?,
            None => self.socket.addresses(peer.ifindex)?,
        };
        let workload = match peer.netnsid {
            Some(netnsid) => self.known.get(netnsid),
            None => Some(&self.netns),
        };
        Ok(Learned { workload_netns: workload.and_then(named), ..learned(&inside, &addresses) })
    }

    fn learn_own(&mut self, link: &Link) -> Result<Learned> {
        // Asked anew: the caller's copy may be older than the last change.
        let link = self.socket.link_by_index(link.index)?.unwrap_or_else(|| link.clone());
        let addresses = self.socket.addresses(link.index)?;
        let mut found = learned(&link, &addresses);
        if link.loopback {
            let everything = self.socket.all_addresses()?;
            found.local = everything.iter().filter(|a| !a.dad_failed).map(|a| a.ip).collect();
        }
        found.workload_netns = named(&self.netns);
        Ok(found)
    }
}

/// What is known of the workload behind one interface. Looks through all namespaces for the
/// workload's; for many interfaces make one [`Learner`].
pub fn learn(netns: &Netns, link: &Link, direction: Direction) -> Result<Learned> {
    let elsewhere = link.peer.is_some_and(|peer| peer.netnsid.is_some());
    let candidates = if direction == Direction::Ingress && elsewhere { discover()? } else { Vec::new() };
    Learner::new(netns, &candidates)?.learn(link, direction)
}

fn named(netns: &Netns) -> Option<(NetnsId, PathBuf)> {
    Some((netns.id, netns.path.clone()?))
}

/// The MACs and link-local addresses of the workload's own interface.
fn learned(link: &Link, addresses: &[Address]) -> Learned {
    let macs: Vec<Mac> = link.mac.into_iter().collect();
    let mut link_local: Vec<Ipv6Addr> = addresses.iter().filter_map(Address::link_local).collect();
    if link_local.is_empty() && !link.loopback {
        // L3 netkit has a zero MAC, from which no address follows.
        let usable = macs.iter().filter(|mac| **mac != Mac::ZERO);
        link_local = usable.map(|mac| mac.eui64_link_local().into()).collect();
    }
    Learned {
        macs,
        link_local,
        workload_ifindex: Some(link.index),
        workload_up: Some(link.up),
        ..Learned::default()
    }
}

//! From the host side of a veth or netkit to the workload's side.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

use crate::error::Result;
use crate::link::Link;
use crate::netns::Netns;
use crate::route::RouteSocket;
use crate::wire::{Message, Request, attributes, i32_at};

const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// Which of some namespaces stands behind the numbers that one namespace uses for others.
#[derive(Clone, Debug, Default)]
pub struct NsidMap(BTreeMap<i32, Netns>);

impl NsidMap {
    /// Asks the namespace of a socket for the numbers of `candidates`: one question each.
    pub fn resolve(socket: &mut RouteSocket, candidates: &[Netns]) -> Result<Self> {
        let mut map = BTreeMap::new();
        for candidate in candidates {
            if let Some(nsid) = socket.nsid(candidate)? {
                map.insert(nsid, candidate.clone());
            }
        }
        Ok(Self(map))
    }

    /// The namespace of a number.
    #[must_use]
    pub fn get(&self, nsid: i32) -> Option<&Netns> {
        self.0.get(&nsid)
    }

    /// Number and namespace of each.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &Netns)> {
        self.0.iter().map(|(&nsid, netns)| (nsid, netns))
    }
}

impl RouteSocket {
    /// The number that the socket's namespace has given to another; none: it never met it.
    pub fn nsid(&mut self, other: &Netns) -> Result<Option<i32>> {
        let fd = other.as_fd().as_raw_fd();
        // struct rtgenmsg: one byte, padded to four.
        let request = Request::new(libc::RTM_GETNSID, 0, &[0; 4]).attribute(NETNSA_FD, &fd.to_ne_bytes());
        let number = |message: &Message<'_>| {
            attributes(message.payload.get(4..)?)
                .find(|(kind, _)| *kind == NETNSA_NSID)
                .and_then(|(_, value)| i32_at(value, 0))
        };
        let nsid = self.get(&format!("the number of namespace {}", other.label()), &request, number)?;
        // NETNSA_NSID_NOT_ASSIGNED is -1.
        Ok(nsid.filter(|&nsid| nsid >= 0))
    }

    /// The other end of a veth or netkit of this namespace, wherever it is: asked of the kernel by
    /// namespace number, so neither a path nor `setns` is needed. Namespace numbers in the answer
    /// are those of **this** namespace, also where the interface lies in another.
    pub fn peer_link(&mut self, link: &Link) -> Result<Option<Link>> {
        match link.peer {
            Some(peer) if link.kind.is_pair() => match peer.netnsid {
                Some(netnsid) => self.link_elsewhere(netnsid, peer.ifindex),
                None => self.link_by_index(peer.ifindex),
            },
            _ => Ok(None),
        }
    }
}

/// The workload's side of a veth or netkit: its namespace, out of `candidates`, and its interface.
///
/// None: the interface has no other end, or it lies in none of the candidates. For many links of
/// one namespace resolve the numbers once with [`NsidMap`].
pub fn peer_of(host: &Netns, link: &Link, candidates: &[Netns]) -> Result<Option<(Netns, Link)>> {
    let mut socket = RouteSocket::open(host)?;
    let Some(peer) = link.peer else { return Ok(None) };
    let Some(found) = socket.peer_link(link)? else { return Ok(None) };
    let Some(wanted) = peer.netnsid else { return Ok(Some((host.clone(), found))) };
    for candidate in candidates {
        if socket.nsid(candidate)? == Some(wanted) {
            // Asked again inside, for an answer in that namespace's own terms.
            let inside = RouteSocket::open(candidate)?.link_by_index(found.index)?;
            return Ok(inside.map(|link| (candidate.clone(), link)));
        }
    }
    Ok(None)
}

//! Hearing of changes, instead of asking for them.
//!
//! Two sockets: one for the interfaces of the namespace itself, one for what happens in the
//! namespaces that it has numbers for (those at the other ends of its veths). A workload that
//! makes a great noise in its own namespace can overrun the second, not the first.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::addresses::Address;
use crate::error::{Error, Result};
use crate::link::Link;
use crate::netns::Netns;
use crate::wire::{Message, messages};

/// Room for about 4,000 link messages between two calls of [`Monitor::next`] (the kernel counts
/// its own overhead); kernel memory, used only while messages wait.
const QUEUE_BYTES: usize = 8 << 20;
/// A notification is one interface or address; link messages are below 2 KB.
const BUFFER: usize = 16 * 1024;
/// Datagrams read before the caller gets to act.
const BATCH: usize = 1024;
/// Own interfaces; addresses and interfaces of the others.
const OWN_GROUPS: [u32; 1] = [libc::RTNLGRP_LINK];
const WIDE_GROUPS: [u32; 3] = [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// An interface is new, or it changed (name, state, master, address, XDP program).
    LinkChanged {
        /// Its index.
        index: u32,
        /// Its name now.
        name: String,
    },
    /// An interface is gone: deleted, or moved to another namespace.
    LinkGone {
        /// The index it had.
        index: u32,
        /// The name it had.
        name: String,
    },
    /// An address came or went, in this namespace or in one that it has a number for.
    AddressChanged {
        /// The interface, numbered in its own namespace.
        ifindex: u32,
        /// The namespace as this one numbers it (compare [`crate::PeerRef::netnsid`]); none: this one.
        netns_hint: Option<i32>,
    },
    /// An interface in another namespace changed: it went up (when its link-local address comes to
    /// be, before the kernel announces that), or it has another MAC.
    PeerLinkChanged {
        /// The interface, numbered in its own namespace.
        ifindex: u32,
        /// Its namespace as this one numbers it.
        netns_hint: i32,
    },
    /// Changes of interfaces were lost: list them anew.
    Overrun,
    /// Changes of addresses or in other namespaces were lost: learn anew.
    PeerOverrun,
}

/// Follows the changes of one namespace.
#[derive(Debug)]
pub struct Monitor {
    own: AsyncFd<OwnedFd>,
    wide: AsyncFd<OwnedFd>,
    hears_peers: bool,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Listens in a namespace. Must be called within a tokio runtime.
    pub fn new(netns: &Netns) -> Result<Self> {
        Self::with_queue(netns, QUEUE_BYTES)
    }

    /// Listens with a queue of `bytes` per socket.
    pub fn with_queue(netns: &Netns, bytes: usize) -> Result<Self> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::NoRuntime);
        }
        let fail = |source| Error::Socket { what: "listen for changes", netns: netns.label(), source };
        let (own, wide) = netns.with_socket(|| (Socket::new(NETLINK_ROUTE), Socket::new(NETLINK_ROUTE)))?;
        let (own, wide) = (own.map_err(fail)?, wide.map_err(fail)?);
        let hears_peers = wide.set_listen_all_namespaces(true).is_ok();
        let own = listen(own, &OWN_GROUPS, bytes).map_err(fail)?;
        let wide = listen(wide, &WIDE_GROUPS, bytes).map_err(fail)?;
        Ok(Self { own, wide, hears_peers, buffer: vec![0; BUFFER] })
    }

    /// Whether changes in other namespaces are heard too (this needs CAP_NET_BROADCAST).
    #[must_use]
    pub fn hears_peers(&self) -> bool {
        self.hears_peers
    }

    /// Waits for changes; gives all that are there, in order, each once. Changes of interfaces
    /// come before the others. Cancel safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Vec<Change> {
        loop {
            let ready = tokio::select! {
                biased;
                ready = self.own.readable() => ready.map(drop),
                ready = self.wide.readable() => ready.map(drop),
            };
            if ready.is_err() {
                // The runtime is shutting down: nothing will ever become readable.
                std::future::pending::<()>().await;
            }
            let mut changes = Batch::default();
            drain(&self.own, &mut self.buffer, &mut changes, Change::Overrun, own_change);
            drain(&self.wide, &mut self.buffer, &mut changes, Change::PeerOverrun, wide_change);
            if !changes.list.is_empty() {
                return changes.list;
            }
        }
    }
}

/// Changes in order, without repetitions.
#[derive(Default)]
struct Batch {
    list: Vec<Change>,
    seen: HashSet<Change>,
}

impl Batch {
    fn push(&mut self, change: Change) {
        match &change {
            // An interface that goes and comes back within a batch must be seen to have gone:
            // what was said about that index before may be said again.
            Change::LinkGone { index, name } => {
                self.seen.remove(&Change::LinkChanged { index: *index, name: name.clone() });
                self.list.push(change);
            }
            _ if self.seen.contains(&change) => {}
            _ => {
                self.seen.insert(change.clone());
                self.list.push(change);
            }
        }
    }
}

fn listen(mut socket: Socket, groups: &[u32], bytes: usize) -> io::Result<AsyncFd<OwnedFd>> {
    // Beyond rmem_max with CAP_NET_ADMIN, up to it without.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(socket.as_fd(), bytes).is_err() {
        rustix::net::sockopt::set_socket_recv_buffer_size(socket.as_fd(), bytes)?;
    }
    socket.bind_auto()?;
    for &group in groups {
        socket.add_membership(group)?;
    }
    socket.set_non_blocking(true)?;
    // netlink-sys gives no OwnedFd; a duplicate is the same socket.
    crate::sys::watched(socket.as_fd().try_clone_to_owned()?, Interest::READABLE)
}

/// Reads what is there, at most a batch; what remains keeps the socket readable.
fn drain(
    socket: &AsyncFd<OwnedFd>,
    buffer: &mut [u8],
    changes: &mut Batch,
    overrun: Change,
    read: fn(&Message<'_>, Option<i32>) -> Option<Change>,
) {
    for _ in 0..BATCH {
        let received =
            socket.try_io(Interest::READABLE, |socket| crate::sys::receive_with_nsid(socket.as_fd(), buffer));
        match received {
            Ok((length, nsid)) => {
                let datagram = &buffer[..length.min(buffer.len())];
                messages(datagram).filter_map(|m| read(&m, nsid)).for_each(|change| changes.push(change));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                // ENOBUFS is the kernel's word for lost messages; after any other error nothing
                // that was missed is known either.
                tracing::warn!(error = %e, "changes of interfaces were lost; reading them anew");
                changes.push(overrun.clone());
                if e.raw_os_error() != Some(libc::ENOBUFS) {
                    return;
                }
            }
        }
    }
}

fn own_change(message: &Message<'_>, _: Option<i32>) -> Option<Change> {
    let link = unspecific_link(message)?;
    let (index, name) = (link.index, link.name);
    match message.kind {
        libc::RTM_NEWLINK => Some(Change::LinkChanged { index, name }),
        libc::RTM_DELLINK => Some(Change::LinkGone { index, name }),
        _ => None,
    }
}

fn wide_change(message: &Message<'_>, nsid: Option<i32>) -> Option<Change> {
    match message.kind {
        libc::RTM_NEWADDR | libc::RTM_DELADDR => {
            let ifindex = Address::parse(message.payload)?.ifindex;
            Some(Change::AddressChanged { ifindex, netns_hint: nsid })
        }
        // Own interfaces are heard on the other socket.
        libc::RTM_NEWLINK => {
            let ifindex = unspecific_link(message)?.index;
            Some(Change::PeerLinkChanged { ifindex, netns_hint: nsid? })
        }
        _ => None,
    }
}

/// The interface of a link message, unless it speaks of a bridge port: when an interface leaves
/// its bridge, the kernel sends RTM_DELLINK of family AF_BRIDGE for it.
fn unspecific_link(message: &Message<'_>) -> Option<Link> {
    if !matches!(message.kind, libc::RTM_NEWLINK | libc::RTM_DELLINK) {
        return None;
    }
    (i32::from(*message.payload.first()?) == libc::AF_UNSPEC).then(|| Link::parse(message.payload)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_repeats_nothing_but_a_return() {
        let changed = Change::LinkChanged { index: 3, name: "v".into() };
        let gone = Change::LinkGone { index: 3, name: "v".into() };
        let mut batch = Batch::default();
        for change in
            [&changed, &changed, &gone, &changed, &changed, &gone, &Change::Overrun, &Change::Overrun]
        {
            batch.push(change.clone());
        }
        assert_eq!(batch.list, [changed.clone(), gone.clone(), changed, gone, Change::Overrun]);
    }
}

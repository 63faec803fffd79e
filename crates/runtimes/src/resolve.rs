//! From a container's network namespace to the host sides of its interfaces.
//!
//! Everything here asks the kernel and blocks: call it from a thread that may.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_abi::Mac;
use portcullis_inventory::{Address, Link, LinkKind, Netns, NetnsId, Result, RouteSocket, discover};
use portcullis_policy::container::{AttachmentPlace, HostInterface};

/// A search through all namespaces looks at every process: not more often than this.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// The namespaces in which host sides are looked for: the agent's, the runtime's, then all.
#[derive(Debug)]
pub struct HostSpaces {
    own: Netns,
    /// None: the runtime is in the agent's own.
    runtime: Option<Netns>,
    found: Mutex<Found>,
}

/// Host sides were found in these too. Only their names are kept: a handle would keep them alive.
#[derive(Debug, Default)]
struct Found {
    places: Vec<(NetnsId, PathBuf)>,
    searched: Option<Instant>,
}

/// An interface inside of a container, without loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsideLink {
    /// Its name there (`eth0`).
    pub name: String,
    /// Its index there.
    pub index: u32,
    /// Its MAC. The workload may have changed it, if it has CAP_NET_ADMIN.
    pub mac: Option<Mac>,
    /// What it is.
    pub kind: LinkKind,
    /// Whether it is set up.
    pub up: bool,
    /// Its addresses; what was said of its MAC holds for them too.
    pub addresses: Vec<Address>,
    /// Its other end, if it is outside of the namespace and was found.
    pub host: Option<HostSide>,
    /// Its other end, or the device underneath it, is in another namespace: a workload cannot make such a
    /// one by itself.
    pub outside: bool,
}

/// The host side of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSide {
    /// Where it is.
    pub interface: HostInterface,
    /// Index of the bridge that it is a port of. The workload cannot change this.
    pub master: Option<u32>,
}

impl HostSpaces {
    /// The agent's namespace, and that of the runtime whose process is `daemon`, if it can be looked at.
    pub fn new(daemon: Option<u32>) -> Result<Self> {
        let own = Netns::current()?;
        let runtime = daemon
            .and_then(|pid| Netns::open(format!("/proc/{pid}/ns/net")).ok())
            .filter(|netns| netns.id != own.id)
            .map(|netns| {
                // A name outlives the process.
                let named = || discover().ok()?.into_iter().find(|other| other.id == netns.id);
                named().unwrap_or(netns)
            });
        Ok(Self { own, runtime, found: Mutex::default() })
    }

    /// Where the runtime keeps its bridges.
    #[must_use]
    pub fn runtime(&self) -> &Netns {
        self.runtime.as_ref().unwrap_or(&self.own)
    }

    /// Whether a namespace is the agent's or the runtime's own: whoever is in it is on the host's network.
    #[must_use]
    pub fn is_host(&self, netns: NetnsId) -> bool {
        netns == self.own.id || netns == self.runtime().id
    }

    /// The interfaces of these names in the runtime's namespace, each where there is one.
    pub fn interfaces<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Option<HostInterface>>> {
        let netns = self.runtime();
        let mut socket = RouteSocket::open(netns)?;
        // A name that no interface can have has none.
        let find = |name| socket.link_by_name(name).ok().flatten();
        let found = names.into_iter().map(find).map(|link| Some(self.host_interface(netns, &link?)));
        Ok(found.collect())
    }

    fn host_interface(&self, netns: &Netns, link: &Link) -> HostInterface {
        let own = netns.id == self.own.id;
        HostInterface {
            netns: netns.id.0,
            netns_path: if own { None } else { Some(netns.label()) },
            index: link.index,
            name: link.name.clone(),
        }
    }

    /// The namespace that another one calls `nsid`.
    fn numbered(&self, inside: &mut RouteSocket, own: NetnsId, nsid: i32) -> Result<Option<Netns>> {
        for candidate in std::iter::once(&self.own).chain(&self.runtime) {
            if inside.nsid(candidate)? == Some(nsid) {
                return Ok(Some(candidate.clone()));
            }
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, path) in &found.places {
            let Some(candidate) = Netns::open(path).ok().filter(|netns| netns.id == *id) else { continue };
            if inside.nsid(&candidate)? == Some(nsid) {
                return Ok(Some(candidate));
            }
        }
        if found.searched.is_some_and(|last| last.elapsed() < SEARCH_EVERY) {
            return Ok(None);
        }
        found.searched = Some(Instant::now());
        for candidate in discover()?.into_iter().filter(|netns| netns.id != own) {
            if inside.nsid(&candidate)? == Some(nsid) {
                let path = candidate.path.clone();
                found.places.retain(|(_, known)| Some(known) != path.as_ref());
                found.places.extend(path.map(|path| (candidate.id, path)));
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }
}

impl InsideLink {
    /// Where it can be bound: at its host side, or from inside `netns` if it has none. None: it has another
    /// end that was not found.
    #[must_use]
    pub fn place(&self, netns: &Path) -> Option<AttachmentPlace> {
        match &self.host {
            Some(host) => Some(AttachmentPlace::Pair { host: host.interface.clone() }),
            None if self.kind.is_pair() => None,
            None => Some(AttachmentPlace::Inside {
                kind: self.kind.to_string(),
                netns: netns.display().to_string(),
                interface: self.name.clone(),
            }),
        }
    }
}

/// The interfaces of a namespace, without loopback, each with its other end on the host.
pub fn resolve(netns: &Netns, hosts: &HostSpaces) -> Result<Vec<InsideLink>> {
    let mut socket = RouteSocket::open(netns)?;
    let links = socket.links()?;
    let mut addresses = socket.all_addresses()?;
    let mut found = Vec::new();
    for link in links.into_iter().filter(|link| !link.loopback) {
        let host = host_side(netns, &mut socket, &link, hosts)?;
        let of_link = addresses.extract_if(.., |address| address.ifindex == link.index);
        found.push(InsideLink {
            name: link.name,
            index: link.index,
            mac: link.mac,
            kind: link.kind,
            up: link.up,
            addresses: of_link.collect(),
            host,
            outside: link.peer.is_some_and(|peer| peer.netnsid.is_some()),
        });
    }
    Ok(found)
}

fn host_side(
    netns: &Netns,
    socket: &mut RouteSocket,
    link: &Link,
    hosts: &HostSpaces,
) -> Result<Option<HostSide>> {
    // Without a number the other end lies in the same namespace: both are the workload's.
    let Some(nsid) = link.peer.and_then(|peer| peer.netnsid).filter(|_| link.kind.is_pair()) else {
        return Ok(None);
    };
    let Some(other) = socket.peer_link(link)? else { return Ok(None) };
    if other.peer.is_none_or(|back| back.ifindex != link.index) {
        return Ok(None); // replaced meanwhile
    }
    let Some(host) = hosts.numbered(socket, netns.id, nsid)? else { return Ok(None) };
    Ok(Some(HostSide { interface: hosts.host_interface(&host, &other), master: other.master }))
}

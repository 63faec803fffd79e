//! Where a binding goes: from names to namespace and interface.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_datapath::{Hook, LinkLayer, Method, Namespace, Site};
use portcullis_inventory::{Learner, Link, LinkKind, Netns, PeerRef};
use portcullis_policy::compile::Learned;
use portcullis_policy::conflict::NetworkScope;
use portcullis_policy::model::{Direction, EndpointSpec, InterfaceRef};

use crate::control::Fault;

/// A namespace as both sides of the agent need it.
#[derive(Debug)]
pub struct Space {
    /// For questions.
    pub netns: Netns,
    /// For attaching.
    pub namespace: Namespace,
    /// For questions about interfaces: one socket, kept open.
    learner: Mutex<Learner>,
}

impl Space {
    /// Inode number.
    pub const fn inode(&self) -> u32 {
        self.netns.id.0
    }

    fn new(netns: Netns) -> Result<Self, Fault> {
        let handle = netns
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Fault::Failed(format!("network namespace {}: {error}", netns.label())))?;
        let namespace = Namespace::from_handle(handle).map_err(|error| Fault::Failed(error.to_string()))?;
        let learner = Learner::new(&netns, &[]).map_err(failed)?;
        Ok(Self { netns, namespace, learner: Mutex::new(learner) })
    }

    fn learner(&self) -> MutexGuard<'_, Learner> {
        self.learner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its path; none: the agent's own.
    pub fn path(&self) -> Option<String> {
        self.netns.path.as_ref().map(|path| path.display().to_string())
    }

    /// The MAC at the other end of a pair, where that end is somewhere that can be asked.
    pub fn peer_mac(&self, link: &Link) -> Option<portcullis_abi::Mac> {
        self.learner().peer_link(link).ok().flatten()?.mac
    }

    /// The interface of this name.
    pub fn link_by_name(&self, name: &str) -> Result<Option<Link>, Fault> {
        self.learner().link_by_name(name).map_err(failed)
    }

    /// The interface with this index.
    pub fn link_by_index(&self, index: u32) -> Result<Option<Link>, Fault> {
        self.learner().link_by_index(index).map_err(failed)
    }
}

/// Namespaces that are in use, by path; none: the agent's own.
#[derive(Debug)]
pub struct Spaces {
    own: Arc<Space>,
    known: HashMap<String, Arc<Space>>,
}

impl Spaces {
    /// Starts with the agent's own.
    pub fn new() -> Result<Self, Fault> {
        let netns = Netns::current().map_err(|error| Fault::Failed(error.to_string()))?;
        Ok(Self { own: Arc::new(Space::new(netns)?), known: HashMap::new() })
    }

    /// The agent's own.
    pub const fn own(&self) -> &Arc<Space> {
        &self.own
    }

    /// The namespace at a path, opened anew where the path stands for another one now.
    pub fn get(&mut self, path: Option<&str>) -> Result<Arc<Space>, Fault> {
        let Some(path) = path else {
            return Ok(Arc::clone(&self.own));
        };
        let inode = inode_of(path);
        if let Some(known) = self.known.get(path)
            && inode == Some(u64::from(known.inode()))
        {
            return Ok(Arc::clone(known));
        }
        self.known.remove(path);
        let netns = Netns::open(Path::new(path)).map_err(|error| Fault::NotFound(error.to_string()))?;
        if netns.id.0 == self.own.inode() {
            return Ok(Arc::clone(&self.own));
        }
        let space = Arc::new(Space::new(netns)?);
        self.known.insert(path.to_owned(), Arc::clone(&space));
        Ok(space)
    }

    /// Whether a path still stands for the namespace with this inode.
    pub fn is_still(path: Option<&str>, inode: u32) -> bool {
        path.is_none_or(|path| inode_of(path) == Some(u64::from(inode)))
    }

    /// Lets go of namespaces that nobody uses.
    pub fn prune(&mut self) {
        self.known.retain(|_, space| Arc::strong_count(space) > 1);
    }
}

fn inode_of(path: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|meta| meta.ino())
}

/// An interface that was found, with all that follows from it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its namespace.
    pub space: Arc<Space>,
    /// The interface.
    pub link: Link,
    /// Where the program goes.
    pub site: Site,
    /// Which program.
    pub layer: LinkLayer,
    /// The network that its addresses are unique in.
    pub scope: NetworkScope,
}

/// What there is to know about the workload behind a place.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Addresses that nobody declared.
    pub learned: Learned,
    /// Whether the workload's interface is up: from then on its MAC is what it is.
    pub settled: bool,
    /// The workload's end of the pair.
    pub peer: Option<PeerRef>,
}

impl Place {
    /// Finds the interface, by its index where it must be that very one; `Ok(None)` where it does not exist.
    pub fn find(
        space: &Arc<Space>,
        spec: &EndpointSpec,
        index: Option<u32>,
        tcx: bool,
    ) -> Result<Option<Self>, Fault> {
        let link = match index {
            Some(index) => space.link_by_index(index)?,
            None => space.link_by_name(&spec.interface.name)?,
        };
        Ok(link.map(|link| Self::at(space, link, spec.direction, tcx)))
    }

    /// The place that an interface is.
    pub fn at(space: &Arc<Space>, link: Link, direction: Direction, tcx: bool) -> Self {
        let hook = match direction {
            Direction::Ingress => Hook::Ingress,
            Direction::Egress => Hook::Egress,
        };
        let method = match link.kind {
            LinkKind::Netkit if direction == Direction::Ingress && link.netkit_primary != Some(false) => {
                Method::Netkit
            }
            _ if tcx => Method::Tcx,
            _ => Method::Clsact,
        };
        let layer = if link.has_ethernet { LinkLayer::Ethernet } else { LinkLayer::None };
        let private = (direction == Direction::Egress || link.loopback).then_some(link.index);
        let scope = NetworkScope { netns: space.inode(), master: link.master, private };
        let site = Site { ifindex: link.index, hook, method };
        Self { space: Arc::clone(space), link, site, layer, scope }
    }

    /// Asks the kernel about the workload behind it.
    pub fn learn(&self, direction: Direction) -> Result<Known, Fault> {
        let found = self.space.learner().learn(&self.link, direction).map_err(failed)?;
        // What has no other end that could be asked (a tap) does not change under us.
        let settled = direction == Direction::Egress || found.workload_up.unwrap_or(true);
        let learned = Learned { macs: found.macs, link_local: found.link_local, local: found.local };
        Ok(Known { learned, settled, peer: self.link.peer })
    }
}

fn failed(error: portcullis_inventory::Error) -> Fault {
    Fault::Failed(error.to_string())
}

/// Says where an interface was looked for.
pub fn missing(interface: &InterfaceRef) -> Fault {
    let place = interface.netns.as_ref().map_or_else(
        || "the agent's network namespace".to_owned(),
        |path| format!("network namespace {path}"),
    );
    Fault::NotFound(format!(
        "interface {} does not exist in {place}: check the name with `ip link`, or name its namespace with --netns",
        interface.name
    ))
}

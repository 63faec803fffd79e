//! Ports of runtimes' bridges that no container claims (yet).
//!
//! Such a port is the door of a container that is just now starting, and its first frame may be forged: so it is
//! held shut until a source says whose it is. A source that has read everything anew since, and still knows
//! nothing of it, has no container there: then it is somebody else's port, and treated as any interface without
//! a binding.
//!
//! On a node of a cluster every pair whose other end is elsewhere is such a door, whatever it hangs on: CNIs without a bridge
//! have no other sign. There what nobody claims stays shut, unless the configuration says otherwise.

mod door;
mod expected;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_abi::HELD_BINDING;
use portcullis_datapath::{Anchor, Gate, LinkLayer};
use portcullis_inventory::{Link, PeerRef, links};
use portcullis_policy::conflict::NetworkScope;
use portcullis_policy::model::Direction;
use portcullis_runtimes::source::Request;

use super::Core;
use super::place::{Place, Space};
use crate::config::Unknown;
use crate::fleet::Source;

/// A container's start takes a runtime no longer than this from the moment that its interface is up: what
/// nobody claims by then is asked about. Runtimes that tell of a container before it has an interface (Docker)
/// are waited for as long as they like.
const CLAIM_WITHIN: Duration = Duration::from_millis(800);

/// A port that is held for as long is worth a warning.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// A port that no container claims.
#[derive(Debug)]
pub(super) struct Port {
    /// The bridge of a source that it is a port of; none: a pair on a node of a cluster.
    bridge: Option<Anchor>,
    /// It was there before we were: whoever is behind it goes on until everybody was asked.
    older: bool,
    space: Arc<Space>,
    /// The other end.
    pub(super) peer: Option<PeerRef>,
    /// Its name, for messages.
    pub(super) name: String,
    /// Since when its other end has been elsewhere and up.
    up_since: Option<Instant>,
    /// What each source of the bridge had read in full when it was asked about this port.
    asked: Option<HashMap<String, u64>>,
    /// They did so once.
    answered: bool,
    /// Everything that it sends is dropped.
    pub(super) held: bool,
    /// No container's: every source has said so.
    foreign: bool,
    /// Why a container's endpoint could not be bound here.
    failed: bool,
}

impl Port {
    /// Path of its namespace; none: the agent's own.
    pub(super) fn path(&self) -> Option<String> {
        self.space.path()
    }
}

impl Core {
    /// Looks at every port of every bridge that a source has, and at what was one.
    pub(super) fn refresh_ports(&mut self) {
        let mut left: HashSet<Anchor> = self.ports.keys().copied().collect();
        for space in self.port_spaces() {
            match links(&space.netns) {
                Ok(links) => {
                    for link in links.into_iter().filter(|link| link.kind.is_pair()) {
                        left.remove(&Anchor { netns: space.inode(), ifindex: link.index });
                        self.look_at_link(&space, &link);
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot list the ports of the runtimes' bridges"),
            }
        }
        left.into_iter().for_each(|anchor| self.look_at_port(anchor));
        self.surveyed = true;
    }

    /// Namespaces in which there may be ports.
    fn port_spaces(&mut self) -> Vec<Arc<Space>> {
        let mut spaces = self.bridge_spaces();
        let own = Arc::clone(self.spaces.own());
        if self.config.kubernetes.enabled && spaces.iter().all(|space| space.inode() != own.inode()) {
            spaces.push(own);
        }
        spaces
    }

    /// Namespaces in which the sources have bridges.
    pub(super) fn bridge_spaces(&mut self) -> Vec<Arc<Space>> {
        let bridges =
            self.fleet.sources().flat_map(|source| &source.networks).filter_map(|n| n.bridge.as_ref());
        let paths: BTreeSet<Option<String>> = bridges.map(|bridge| bridge.netns_path.clone()).collect();
        paths.into_iter().filter_map(|path| self.spaces.get(path.as_deref()).ok()).collect()
    }

    /// A port may be new, changed, or without its endpoint now.
    pub(super) fn look_at_port(&mut self, anchor: Anchor) {
        let known = self.ports.get(&anchor).map(|port| Arc::clone(&port.space));
        let Some(space) = known.or_else(|| self.space_of(anchor.netns)) else { return };
        match space.link_by_index(anchor.ifindex) {
            Ok(Some(link)) => self.look_at_link(&space, &link),
            _ => self.port_gone(anchor),
        }
    }

    /// The name of an interface without an endpoint, where a program of ours stands.
    pub(super) fn interface_name(&self, anchor: Anchor) -> Option<String> {
        if let Some(port) = self.ports.get(&anchor) {
            return Some(port.name.clone());
        }
        let (space, _) = self.unbound.get(&anchor)?;
        space.link_by_index(anchor.ifindex).ok().flatten().map(|link| link.name)
    }

    /// Interfaces that are held, one sentence each.
    pub(super) fn held_warnings(&self) -> impl Iterator<Item = String> {
        let late =
            |port: &&Port| port.held && port.up_since.is_some_and(|since| since.elapsed() >= WORTH_TELLING);
        self.ports.values().filter(late).map(|port| {
            let name = &port.name;
            if port.foreign {
                format!("interface {name} is no pod's: what comes from it is dropped")
            } else {
                format!("interface {name} is held: it is a port of a container network, and no container claims it yet")
            }
        })
    }

    /// Whether everything that this interface sends is dropped until its container is known.
    pub(super) fn is_held(&self, anchor: Anchor) -> bool {
        self.kept_held.contains(&anchor) || self.ports.get(&anchor).is_some_and(|port| port.held)
    }

    fn space_of(&mut self, netns: u32) -> Option<Arc<Space>> {
        let own = Arc::clone(self.spaces.own());
        if own.inode() == netns {
            return Some(own);
        }
        self.bridge_spaces().into_iter().find(|space| space.inode() == netns)
    }

    fn look_at_link(&mut self, space: &Arc<Space>, link: &Link) {
        let anchor = Anchor { netns: space.inode(), ifindex: link.index };
        let bridge = link.master.map(|ifindex| Anchor { netns: space.inode(), ifindex });
        let bridge = bridge.filter(|bridge| self.fleet.sources().any(|source| source.has_bridge(*bridge)));
        let bound = self.names_by_anchor.contains_key(&anchor);
        let is_door = (bridge.is_some() || self.is_node_door(space, link))
            && !bound
            && link.kind.is_pair()
            && !self.is_exempt(&link.name);
        if !is_door {
            if self.ports.contains_key(&anchor) {
                self.let_go(anchor, bound);
            }
            return;
        }
        let older = bridge.is_none() && !self.surveyed && !self.kept_held.contains(&anchor);
        let port = self.ports.entry(anchor).or_insert_with(|| Port {
            bridge,
            older,
            space: Arc::clone(space),
            peer: link.peer,
            name: link.name.clone(),
            up_since: None,
            asked: None,
            answered: false,
            held: false,
            foreign: false,
            failed: false,
        });
        (port.bridge, port.peer) = (bridge, link.peer);
        let elsewhere = link.peer.is_some_and(|peer| peer.netnsid.is_some());
        if port.up_since.is_none() && elsewhere && link.up {
            port.up_since = Some(Instant::now());
        }
        let waits = port.held || port.foreign || port.older;
        if !waits && bridge.is_none_or(|bridge| self.is_guarded(bridge)) {
            self.hold(anchor, link);
        }
        self.meet_expected(anchor);
    }

    /// Whether a source wants this bridge's ports held.
    fn is_guarded(&self, bridge: Anchor) -> bool {
        self.fleet.sources().any(|source| source.holds() && source.has_bridge(bridge))
    }

    /// Whether a network's interfaces are ports of a guarded bridge.
    pub(super) fn is_guarded_port(&self, scope: &NetworkScope) -> bool {
        scope.master.is_some_and(|ifindex| self.is_guarded(Anchor { netns: scope.netns, ifindex }))
    }

    fn hold(&mut self, anchor: Anchor, link: &Link) {
        let Some(space) = self.ports.get(&anchor).map(|port| Arc::clone(&port.space)) else { return };
        let held = match self.attach_unbound(&space, anchor, link.clone()) {
            Ok(true) => self.tables.point(anchor, HELD_BINDING).map_err(|error| error.to_string()),
            Ok(false) => return,
            Err(error) => Err(error),
        };
        match held {
            Ok(()) => {
                if let Some(port) = self.ports.get_mut(&anchor) {
                    port.held = true;
                }
            }
            Err(error) => {
                let message =
                    format!("interface {} cannot be held until its container is known: {error}", link.name);
                self.bus.notice("failed", None, message);
            }
        }
    }

    /// The program that stands on an interface without a binding; `false` where the interface is gone.
    pub(super) fn attach_unbound(
        &mut self,
        space: &Arc<Space>,
        anchor: Anchor,
        link: Link,
    ) -> Result<bool, String> {
        if self.unbound.contains_key(&anchor) {
            return Ok(true);
        }
        let place = Place::at(space, link, Direction::Ingress, self.datapath.features().tcx);
        let gate = match place.layer {
            LinkLayer::Ethernet => Gate::Ethernet,
            LinkLayer::None => Gate::Layer3,
        };
        match self.datapath.attach(&space.namespace, place.site, gate) {
            Ok((attachment, _)) => {
                self.unbound.insert(anchor, (Arc::clone(space), attachment));
                Ok(true)
            }
            Err(portcullis_datapath::Error::NoInterface { .. }) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The endpoint of a container cannot be bound: its interface stays shut, if it is one that is held.
    pub(super) fn hold_failed(&mut self, anchor: Anchor) {
        self.look_at_port(anchor);
        if let Some(port) = self.ports.get_mut(&anchor) {
            port.failed = true;
        }
    }

    /// Whose endpoint could not be bound here is not here any more.
    pub(super) fn forgive_port(&mut self, anchor: Anchor) {
        if let Some(port) = self.ports.get_mut(&anchor) {
            port.failed = false;
        }
    }

    /// A port is bound, or no port of a source's bridge any more.
    fn let_go(&mut self, anchor: Anchor, bound: bool) {
        let Some(port) = self.ports.remove(&anchor) else { return };
        if port.held && !bound {
            self.unhold(anchor);
        }
    }

    /// Nothing that an interface sends is dropped any more, unless `unbound` says so.
    pub(super) fn unhold(&mut self, anchor: Anchor) {
        if let Err(error) = self.tables.point(anchor, 0) {
            tracing::warn!(%error, "cannot let go of a held interface");
        }
        if !self.wants_unbound_programs()
            && let Some((space, attachment)) = self.unbound.remove(&anchor)
        {
            self.detach(&space, attachment);
        }
    }

    /// Its interface is gone.
    pub(super) fn port_gone(&mut self, anchor: Anchor) {
        self.kept_held.remove(&anchor);
        self.ports.remove(&anchor);
        if self.names_by_anchor.contains_key(&anchor) {
            return;
        }
        if let Some((space, attachment)) = self.unbound.remove(&anchor) {
            self.detach(&space, attachment);
        }
        if let Err(error) = self.tables.point(anchor, 0) {
            tracing::debug!(%error, "an interface that is gone");
        }
    }

    /// The binding of this interface took its place: nothing is held any more.
    pub(super) fn port_bound(&mut self, anchor: Anchor) {
        self.kept_held.remove(&anchor);
        self.ports.remove(&anchor);
    }

    /// Ports whose other end changed.
    pub(super) fn port_peers_changed(&mut self, netns: u32, matches: impl Fn((u32, Option<i32>)) -> bool) {
        let changed: Vec<Anchor> = self
            .ports
            .iter()
            .filter(|(anchor, port)| {
                anchor.netns == netns && port.peer.is_none_or(|peer| matches((peer.ifindex, peer.netnsid)))
            })
            .map(|(anchor, _)| *anchor)
            .collect();
        changed.into_iter().for_each(|anchor| self.look_at_port(anchor));
    }

    /// Ports that nobody claimed in time: their sources are asked, and believed.
    pub(super) fn check_ports(&mut self) {
        self.release_kept();
        let due = |port: &Port| port.up_since.is_some_and(|since| since.elapsed() >= CLAIM_WITHIN);
        let open = |port: &Port| (port.held || port.older) && !port.foreign && !port.failed;
        let awaited = |port: &Port| port.bridge.is_some_and(|bridge| self.is_awaited(bridge));
        let waiting: Vec<Anchor> = self
            .ports
            .iter()
            .filter(|(_, port)| open(port) && due(port) && !awaited(port))
            .map(|(anchor, _)| *anchor)
            .collect();
        for anchor in waiting {
            self.ask_about(anchor);
        }
    }

    fn ask_about(&mut self, anchor: Anchor) {
        let Some(port) = self.ports.get_mut(&anchor) else { return };
        let bridge = port.bridge;
        let knows = |source: &&Source| match bridge {
            Some(bridge) => source.has_bridge(bridge),
            None => source.is_asked(),
        };
        let sources = || self.fleet.sources().filter(knows);
        if bridge.is_none() && sources().next().is_none() {
            return; // nobody can be asked yet
        }
        let Some(asked) = &port.asked else {
            let asked = sources().map(|source| (source.name.clone(), source.resyncs)).collect();
            sources().for_each(|source| source.ask(Request::Resync));
            port.asked = Some(asked);
            return;
        };
        let answered =
            sources().all(|source| asked.get(&source.name).is_none_or(|then| source.resyncs > *then));
        if !answered {
            return;
        }
        if !port.answered {
            // That list may have been begun before we asked, even before the container was.
            (port.answered, port.asked) = (true, None);
            return;
        }
        (port.foreign, port.older) = (true, false);
        if self.config.kubernetes.enabled && self.config.kubernetes.unknown == Unknown::Drop {
            self.refuse(anchor);
            return;
        }
        port.held = false;
        let message = format!(
            "interface {} is a port of a container network, but no container's: it is treated as unbound (bind it by hand, or name it in unbound_except)",
            port.name
        );
        self.unhold(anchor);
        self.bus.notice("unclaimed", None, message);
    }
}

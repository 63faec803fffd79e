//! After a start: endpoints that sources had found, and interfaces that were held.
//!
//! The sources will say again what there is, but not at once, and the CNI plugin never does. Until then what
//! stands on an interface tells whether it is the same one: our program goes with its interface, and so does not
//! survive in the place of another.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use portcullis_datapath::{Anchor, Gate, LinkLayer};
use portcullis_inventory::{Link, LinkKind, Netns, RouteSocket};
use portcullis_policy::api::SourceState;
use portcullis_policy::container::{
    Attachment, AttachmentPlace, Container, HostInterface, Network, Networking,
};
use portcullis_policy::model::{Direction, Owner};

use super::place::{Place, Space};
use super::plugin::CNI;
use super::{Core, Entry, Trouble};
use crate::control::Fault;
use crate::fleet::{Source, Treatment};
use crate::store::{Origin, Record};

/// Name of the source that the Kubernetes API is.
pub(crate) const KUBERNETES: &str = "kubernetes";

impl Core {
    /// The sources of the configuration. They say nothing yet, but what networks they had is known.
    pub(super) fn add_sources(&mut self) -> Result<(), Fault> {
        let mut networks = self.known_networks()?;
        for (name, source) in named_sources(&self.config) {
            let treatment = Treatment { mode: source.mode, hold: source.hold, inside: source.inside };
            let socket = Some(source.socket.display().to_string());
            let mut known = Source::new(&name, source.kind.owner(), socket, treatment);
            known.networks = networks.remove(&name).unwrap_or_default();
            self.fleet.add(known);
        }
        if self.config.kubernetes.enabled {
            self.fleet.add(Source::new(KUBERNETES, Owner::Kubernetes, None, Treatment::default()));
        }
        Ok(())
    }

    /// The networks that sources told of last, as far as their bridges are there. An index may be another
    /// interface's by now, so names count, and indices are looked up anew.
    fn known_networks(&mut self) -> Result<BTreeMap<String, Vec<Network>>, Fault> {
        let mut all = self.store.networks().map_err(|error| Fault::Failed(error.to_string()))?;
        for network in all.values_mut().flatten() {
            network.bridge = network.bridge.take().and_then(|bridge| {
                let space = self.spaces.get(bridge.netns_path.as_deref()).ok()?;
                let link = space.link_by_name(&bridge.name).ok()??;
                (link.kind == LinkKind::Bridge).then(|| HostInterface {
                    netns: space.inode(),
                    index: link.index,
                    ..bridge
                })
            });
        }
        Ok(all)
    }

    /// Takes over what an earlier agent had bound for sources, as far as it is still the same.
    pub(super) fn restore_sourced(&mut self, records: Vec<Record>) {
        for record in records {
            let (id, slot, name) = (record.id.clone(), record.slot, record.spec.name.clone());
            if let Err(why) = self.restore(record) {
                self.slots.retire(slot);
                if let Err(error) = self.store.forget(&[id.as_str()]) {
                    tracing::warn!(%error, "cannot forget an endpoint");
                }
                self.bus.notice(
                    "unbound",
                    Some(&name),
                    format!("endpoint \"{name}\" was not taken over: {why}"),
                );
            }
        }
    }

    fn restore(&mut self, mut record: Record) -> Result<(), String> {
        let Some(origin) = record.origin.clone() else { return Err("it has no source".to_owned()) };
        if self.fleet.source(&origin.source).is_none() {
            return Err(format!("source {} is not configured any more", origin.source));
        }
        let interface = &record.spec.interface;
        let space = self.spaces.get(interface.netns.as_deref()).map_err(|fault| fault.to_string())?;
        let link = space.link_by_index(origin.index).ok().flatten();
        let Some(link) = link else { return Err("its interface is gone".to_owned()) };
        let anchor = Anchor { netns: space.inode(), ifindex: link.index };
        if self.names_by_anchor.contains_key(&anchor) {
            return Err("its interface is bound by hand".to_owned());
        }
        if !self.take_over(&space, anchor, &link, &record, &origin)? {
            return Err("its interface is another one now; its source will say whose".to_owned());
        }
        if self.entries.contains_key(&record.spec.name) {
            // The configuration file has it by now. The plugin does not tell of its containers again.
            record.spec.name = format!("{}:{}", record.owner.name(), record.id);
        }
        self.restore_entry(anchor, record)
    }

    fn restore_entry(&mut self, anchor: Anchor, record: Record) -> Result<(), String> {
        let name = record.spec.name.clone();
        let plugged = (record.owner == Owner::Cni).then(|| container_of(&record, anchor));
        let mut entry = Entry::new(record);
        let why = match self.apply(&mut entry) {
            Err(fault) => Some(fault.to_string()),
            Ok(()) => match &entry.trouble {
                Some(Trouble::Waiting(why)) => Some(why.clone()),
                _ => None,
            },
        };
        if let Some(why) = why {
            self.release(&mut entry);
            self.claims.release(&name);
            return Err(why);
        }
        self.names_by_id.insert(entry.record.id.clone(), name.clone());
        self.sourced.insert(anchor, name.clone());
        self.entries.insert(name, entry);
        if let Some(mut container) = plugged.flatten() {
            // A container may have several attachments, and with them several records.
            if let Some(known) =
                self.fleet.source(CNI).and_then(|source| source.containers.get(&container.id))
            {
                container.attachments.extend(known.container.attachments.iter().cloned());
            }
            self.know(CNI, container);
        }
        Ok(())
    }

    /// Puts the program where it may stand already; whether it is the interface that was bound.
    fn take_over(
        &mut self,
        space: &Arc<Space>,
        anchor: Anchor,
        link: &Link,
        record: &Record,
        origin: &Origin,
    ) -> Result<bool, String> {
        let place = Place::at(space, link.clone(), record.spec.direction, self.datapath.features().tcx);
        let gate = match place.layer {
            LinkLayer::Ethernet => Gate::Ethernet,
            LinkLayer::None => Gate::Layer3,
        };
        let attached = self.datapath.attach(&space.namespace, place.site, gate);
        let (attachment, existed) = attached.map_err(|error| error.to_string())?;
        if existed || record.owner == Owner::Cni && is_same_pair(link, record, origin) {
            // Binding it takes the attachment over.
            self.unbound.insert(anchor, (Arc::clone(space), attachment));
            return Ok(true);
        }
        self.detach(space, attachment);
        Ok(false)
    }

    /// An interface that was held stays so until the sources have spoken.
    pub(super) fn stays_held(&mut self, anchor: Anchor) -> bool {
        if self.names_by_anchor.contains_key(&anchor) {
            return false;
        }
        if self.ports.contains_key(&anchor) {
            return self.is_held(anchor);
        }
        let holds = |source: &Source| source.kind != Owner::Cni && source.holds();
        if anchor.netns != self.spaces.own().inode() || !self.fleet.sources().any(holds) {
            return false;
        }
        let own = Arc::clone(self.spaces.own());
        let Ok(Some(link)) = own.link_by_index(anchor.ifindex) else { return false };
        let stays = self.attach_unbound(&own, anchor, link).unwrap_or(false);
        if stays {
            self.kept_held.insert(anchor);
        }
        stays
    }

    /// Lets go of interfaces that an earlier agent held and that are no source's, once all have spoken.
    pub(super) fn release_kept(&mut self) {
        let is_silent = |source: &Source| match source.state {
            SourceState::Connecting => true,
            SourceState::Failing => source.resyncs == 0,
            SourceState::Absent | SourceState::Connected => false,
        };
        if self.kept_held.is_empty() || self.fleet.sources().any(is_silent) {
            return;
        }
        for anchor in std::mem::take(&mut self.kept_held) {
            if !self.ports.contains_key(&anchor) && !self.names_by_anchor.contains_key(&anchor) {
                self.unhold(anchor);
            }
        }
    }
}

/// Each source of the configuration with its name: its kind, with the socket where there are several of a kind.
pub(crate) fn named_sources(config: &crate::config::Config) -> Vec<(String, crate::config::Source)> {
    let sources = config.effective_sources();
    let kinds: Vec<_> = sources.iter().map(|source| source.kind).collect();
    sources
        .into_iter()
        .map(|source| {
            let several = kinds.iter().filter(|kind| **kind == source.kind).count() > 1;
            let name = if several {
                format!("{}:{}", source.kind, source.socket.display())
            } else {
                source.kind.to_string()
            };
            (name, source)
        })
        .collect()
}

/// Whether the interface inside is still the other end of this one.
fn is_same_pair(link: &Link, record: &Record, origin: &Origin) -> bool {
    let inside = || -> Option<Link> {
        let netns = Netns::open(Path::new(origin.netns.as_deref()?)).ok()?;
        RouteSocket::open(&netns).ok()?.link_by_name(record.spec.inside.as_deref()?).ok()?
    };
    let Some(inside) = inside() else { return false };
    let known = inside.mac.is_some_and(|mac| {
        record.spec.macs.is_empty() || record.spec.macs.iter().any(|declared| declared.mac() == mac)
    });
    known
        && link.peer.is_some_and(|peer| peer.ifindex == inside.index)
        && inside.peer.is_some_and(|peer| peer.ifindex == link.index)
}

/// What the plugin had told.
fn container_of(record: &Record, anchor: Anchor) -> Option<Container> {
    let spec = &record.spec;
    let origin = record.origin.as_ref()?;
    let place = match spec.direction {
        Direction::Ingress => AttachmentPlace::Pair {
            host: HostInterface {
                netns: anchor.netns,
                netns_path: spec.interface.netns.clone(),
                index: anchor.ifindex,
                name: spec.interface.name.clone(),
            },
        },
        Direction::Egress => AttachmentPlace::Inside {
            kind: "inside".to_owned(),
            netns: spec.interface.netns.clone()?,
            interface: spec.interface.name.clone(),
        },
    };
    let id = spec.workload.container.clone()?;
    Some(Container {
        name: super::plugin::name_of(&spec.workload, &id),
        id,
        workload: spec.workload.clone(),
        netns: origin.netns.clone(),
        networking: Networking::Own,
        attachments: vec![Attachment {
            network: spec.network.clone(),
            inside: spec.inside.clone(),
            place,
            addresses: origin.addresses.clone(),
            macs: spec.macs.clone(),
        }],
        since: Some(record.since.to_string()),
        trouble: None,
    })
}

//! The container network map: what sources tell, beside what is bound.

use std::collections::BTreeSet;

use portcullis_datapath::Anchor;
use portcullis_policy::api::{
    ContainerMap, Endpoint, EndpointState, Interface, MapRow, MapState, SourceState, SourceStatus,
};
use portcullis_policy::container::{Attachment, AttachmentPlace, Container, HostInterface, Networking};
use portcullis_policy::model::{Owner, Workload};

use super::Core;
use super::ports::Port;
use crate::fleet::Source;

impl Core {
    /// Who is here, and what is bound for them.
    pub(super) fn map(&self) -> ContainerMap {
        let mut rows = Vec::new();
        let mut told: BTreeSet<Anchor> = BTreeSet::new();
        let of_runtimes = self.pods_of_runtimes();
        for source in self.fleet.sources() {
            for known in source.containers.values() {
                let uid = known.container.workload.uid.as_deref();
                if source.kind == Owner::Kubernetes && uid.is_some_and(|uid| of_runtimes.contains(uid)) {
                    continue; // the runtime knows it better
                }
                if known.container.attachments.is_empty() {
                    rows.extend(self.lonely(source, &known.container));
                }
                for (attachment, anchor) in known.container.attachments.iter().zip(&known.anchors) {
                    // Several sources may tell of one interface: it is one row.
                    if anchor.is_none_or(|anchor| told.insert(anchor)) {
                        rows.push(self.row(source, &known.container, attachment, *anchor));
                    }
                }
            }
        }
        for name in self.entries.keys() {
            let Ok(endpoint) = self.view_by_name(name) else { continue };
            let anchor =
                self.entries.get(name).and_then(|entry| entry.bound.as_ref()).map(|bound| bound.anchor);
            if anchor.is_none_or(|anchor| !told.contains(&anchor)) {
                rows.push(self.without_container(endpoint));
            }
        }
        let unclaimed = self.ports.iter().filter(|(anchor, _)| !told.contains(anchor));
        rows.extend(unclaimed.map(|(anchor, port)| port_row(*anchor, port)));
        rows.sort_by(|a, b| {
            let key = |row: &MapRow| (row.container.clone(), row.network.clone(), row.inside.clone());
            key(a).cmp(&key(b))
        });
        ContainerMap { rows, sources: self.source_statuses() }
    }

    /// UIDs of the pods that somebody besides the API tells of.
    fn pods_of_runtimes(&self) -> BTreeSet<&str> {
        let others = self.fleet.sources().filter(|source| source.kind != Owner::Kubernetes);
        let known = others.flat_map(|source| source.containers.values());
        known.filter_map(|known| known.container.workload.uid.as_deref()).collect()
    }

    /// How every source stands.
    pub(super) fn source_statuses(&self) -> Vec<SourceStatus> {
        self.fleet.sources().map(status).collect()
    }

    fn row(
        &self,
        source: &Source,
        container: &Container,
        attachment: &Attachment,
        anchor: Option<Anchor>,
    ) -> MapRow {
        let name =
            anchor.and_then(|anchor| self.names_by_anchor.get(&anchor).or_else(|| self.sourced.get(&anchor)));
        let endpoint = name.and_then(|name| self.view_by_name(name).ok());
        let held = anchor.and_then(|anchor| self.ports.get(&anchor)).is_some_and(|port| port.held);
        let (state, message) = match (&endpoint, &attachment.place) {
            (Some(endpoint), _) => (of_endpoint(endpoint), endpoint.message.clone()),
            (None, AttachmentPlace::Inside { kind, .. }) => (
                MapState::NotProtectable,
                Some(format!(
                    "a {kind} has no host side: it can be bound from inside (inside = true for source {}, or the label portcullis.dev/bind=inside)",
                    source.name
                )),
            ),
            (None, AttachmentPlace::Expected { .. }) => {
                (MapState::Held, Some("its interface has not been seen yet".to_owned()))
            }
            (None, AttachmentPlace::Pair { .. }) if anchor.is_some() => (
                MapState::Unbound,
                Some("its binding was refused; the agent's event `failed` says why".to_owned()),
            ),
            (None, AttachmentPlace::Pair { .. }) => {
                (MapState::Unbound, Some("its interface is gone; the source was asked again".to_owned()))
            }
        };
        let state = if held && state == MapState::Unbound { MapState::Held } else { state };
        let claims = anchor.map(|anchor| self.fleet.claims(anchor)).unwrap_or_default();
        let sources: BTreeSet<Owner> =
            claims.iter().map(|claim| claim.source.kind).chain([source.kind]).collect();
        let base = MapRow {
            container: Some(container.name.clone()),
            workload: container.workload.clone(),
            network: attachment.network.clone(),
            inside: attachment.inside.clone(),
            interface: place(&attachment.place),
            addresses: attachment.addresses.iter().map(ToString::to_string).collect(),
            macs: attachment.macs.iter().map(ToString::to_string).collect(),
            endpoint: None,
            state,
            message: message.or_else(|| container.trouble.clone()),
            sources: sources.into_iter().collect(),
            since: container.since.clone(),
        };
        match endpoint {
            Some(endpoint) => with_endpoint(base, endpoint),
            None => base,
        }
    }

    /// Whether another source knows what this one could not find out.
    fn is_told_better(&self, source: &Source, container: &Container) -> bool {
        let others = self.fleet.sources().filter(|other| other.name != source.name);
        others.filter_map(|other| other.containers.get(&container.id)).any(|known| !known.anchors.is_empty())
    }

    /// A container without an attachment of its own.
    fn lonely(&self, source: &Source, container: &Container) -> Option<MapRow> {
        let (state, message) = match &container.networking {
            Networking::Host => (
                MapState::HostNetwork,
                "it uses the host's network: there is nothing that could be bound".to_owned(),
            ),
            Networking::Shared { with } => {
                let owner = self
                    .fleet
                    .sources()
                    .find_map(|source| source.containers.get(with))
                    .map_or_else(|| with.chars().take(12).collect(), |known| known.container.name.clone());
                (MapState::Shared, format!("it uses the network of {owner}, whose binding covers it"))
            }
            Networking::None => (MapState::NoNetwork, "it has no network".to_owned()),
            Networking::Own if self.is_told_better(source, container) => return None,
            Networking::Own => (
                MapState::Unbound,
                container.trouble.clone().unwrap_or_else(|| "no interface of it is known".to_owned()),
            ),
        };
        Some(MapRow {
            container: Some(container.name.clone()),
            workload: container.workload.clone(),
            network: None,
            inside: None,
            interface: None,
            addresses: Vec::new(),
            macs: Vec::new(),
            endpoint: None,
            state,
            message: Some(message),
            sources: vec![source.kind],
            since: container.since.clone(),
        })
    }

    /// Whether there should be a container, and no source that could know it does: the binding names one, or
    /// its interface is a port of a runtime's bridge.
    fn misses_container(&self, endpoint: &Endpoint) -> bool {
        let mut asked = self
            .fleet
            .sources()
            .filter(|source| source.kind != Owner::Cni && source.state == SourceState::Connected);
        if endpoint.workload.container.is_some() && asked.next().is_some() {
            return true;
        }
        let scope = self.entries.get(&endpoint.name).and_then(|entry| entry.scope);
        let bridge = scope.and_then(|scope| Some(Anchor { netns: scope.netns, ifindex: scope.master? }));
        bridge.is_some_and(|bridge| asked.any(|source| source.has_bridge(bridge)))
    }

    /// A binding of which no source knows the container.
    fn without_container(&self, endpoint: Endpoint) -> MapRow {
        let state = match of_endpoint(&endpoint) {
            MapState::Bound if self.misses_container(&endpoint) => MapState::Orphan,
            state => state,
        };
        let message = (state == MapState::Orphan && endpoint.message.is_none())
            .then(|| "bound by hand; no source knows its container".to_owned());
        let base = MapRow {
            container: endpoint.workload.name.clone().or_else(|| endpoint.workload.pod.clone()),
            workload: endpoint.workload.clone(),
            network: endpoint.network.clone(),
            inside: endpoint.inside.clone(),
            interface: None,
            addresses: Vec::new(),
            macs: Vec::new(),
            endpoint: None,
            state,
            message: message.or_else(|| endpoint.message.clone()),
            sources: endpoint.sources.clone(),
            since: None,
        };
        with_endpoint(base, endpoint)
    }
}

fn with_endpoint(row: MapRow, endpoint: Endpoint) -> MapRow {
    MapRow {
        workload: endpoint.workload,
        interface: Some(endpoint.interface),
        addresses: endpoint.addresses,
        macs: endpoint.macs,
        endpoint: Some(endpoint.name),
        since: Some(endpoint.since),
        sources: endpoint.sources,
        ..row
    }
}

fn of_endpoint(endpoint: &Endpoint) -> MapState {
    match endpoint.state {
        EndpointState::Active => MapState::Bound,
        EndpointState::Quarantined => MapState::Quarantined,
        EndpointState::Waiting => MapState::Orphan,
        EndpointState::Bypassed | EndpointState::Failed => MapState::Unbound,
    }
}

fn place(place: &AttachmentPlace) -> Option<Interface> {
    match place {
        AttachmentPlace::Pair { host } => Some(interface(host)),
        AttachmentPlace::Expected { .. } => None,
        AttachmentPlace::Inside { netns, interface, .. } => {
            Some(Interface { name: interface.clone(), index: None, netns: Some(netns.clone()) })
        }
    }
}

fn interface(host: &HostInterface) -> Interface {
    Interface { name: host.name.clone(), index: Some(host.index), netns: host.netns_path.clone() }
}

fn port_row(anchor: Anchor, port: &Port) -> MapRow {
    let (state, message) = if port.held {
        (MapState::Held, "no container claims it yet: everything that it sends is dropped meanwhile")
    } else {
        (MapState::Unbound, "a port of a container network that is no container's")
    };
    MapRow {
        container: None,
        workload: Workload::default(),
        network: None,
        inside: None,
        interface: Some(Interface {
            name: port.name.clone(),
            index: Some(anchor.ifindex),
            netns: port.path(),
        }),
        addresses: Vec::new(),
        macs: Vec::new(),
        endpoint: None,
        state,
        message: Some(message.to_owned()),
        sources: Vec::new(),
        since: None,
    }
}

fn status(source: &Source) -> SourceStatus {
    SourceStatus {
        name: source.name.clone(),
        kind: source.kind,
        socket: source.socket.clone(),
        state: source.state,
        since: source.since.to_string(),
        message: source.message.clone(),
        containers: source.containers.len() as u32,
        resyncs: source.resyncs,
    }
}

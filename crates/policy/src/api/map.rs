//! The container network map.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Interface, SourceStatus};
use crate::model::{Owner, Workload};

/// `GET /api/v1/map`: who is here, and what is bound for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContainerMap {
    /// One row for each attachment, for each container without one, and for each binding without a
    /// container.
    pub rows: Vec<MapRow>,
    /// Where containers are learned of.
    pub sources: Vec<SourceStatus>,
}

/// A row of the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MapRow {
    /// Container name, pod (`namespace/name`), or what the binding's workload is called; none: nothing is known.
    pub container: Option<String>,
    /// All that is known of the workload.
    pub workload: Workload,
    /// Container network.
    pub network: Option<String>,
    /// The interface inside.
    pub inside: Option<String>,
    /// The interface that it is bound at, or could be.
    pub interface: Option<Interface>,
    /// Addresses: the binding's, or those that the source tells of.
    pub addresses: Vec<String>,
    /// MACs likewise.
    pub macs: Vec<String>,
    /// The endpoint.
    pub endpoint: Option<String>,
    /// How it stands.
    pub state: MapState,
    /// Why, where that is not plain: one sentence.
    pub message: Option<String>,
    /// Who tells of it.
    pub sources: Vec<Owner>,
    /// Since when: of a binding when it was bound, else when the container was started (RFC 3339).
    pub since: Option<String>,
}

/// How a row of the map stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MapState {
    /// Bound, and verified in the kernel.
    Bound,
    /// Bound, and everything from and to it is dropped.
    Quarantined,
    /// A container without a binding: its frames are not verified.
    Unbound,
    /// Not yet bound; meanwhile everything that it sends is dropped.
    Held,
    /// A binding without its container (or without its interface).
    Orphan,
    /// In the host's network: there is nothing to bind.
    HostNetwork,
    /// In another container's network, and covered by its binding.
    Shared,
    /// Without a network.
    NoNetwork,
    /// No host side (macvlan, ipvlan): can only be bound from inside, on request.
    NotProtectable,
}

//! What a source (a runtime, the CNI plugin) says: containers, their network attachments, their networks.
//!
//! Plain data between those who know runtimes and those who decide. A source describes what is
//! there; it decides nothing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{AddressBinding, MacAddress};
use crate::model::Workload;

/// A running (or just now starting) container, or a pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Container {
    /// Id, whole, as the runtime has it.
    pub id: String,
    /// What people call it: the container's name; of a pod `namespace/name`.
    pub name: String,
    /// Everything else that is known of it. `runtime` and `container` are set.
    pub workload: Workload,
    /// Path of its network namespace, where the source knows one that lasts.
    #[serde(default)]
    pub netns: Option<String>,
    /// Whose network it uses.
    pub networking: Networking,
    /// Its attachments; empty where it has no network of its own.
    pub attachments: Vec<Attachment>,
    /// When it was started (RFC 3339), where the source knows.
    pub since: Option<String>,
    /// Why its attachments could not be found, where that failed: one sentence. Then `attachments` is not to
    /// be taken for all there is: what is bound for it stays bound.
    pub trouble: Option<String>,
}

/// Whose network a container uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "networking")]
pub enum Networking {
    /// Its own namespace.
    Own,
    /// The host's: there is nothing that could be bound.
    Host,
    /// That of another container (`--network container:…`), whose attachments cover it.
    Shared {
        /// Id of that container, whole.
        with: String,
    },
    /// None, or a namespace without a connection.
    None,
}

/// One interface of a container in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attachment {
    /// The network's name, where there is one.
    pub network: Option<String>,
    /// The interface inside (`eth0`), where it is known.
    pub inside: Option<String>,
    /// Where it can be bound.
    pub place: AttachmentPlace,
    /// Addresses that the runtime gave it (no link-local ones: those are learned).
    pub addresses: Vec<AddressBinding>,
    /// MACs that the runtime gave it; empty: to be learned.
    pub macs: Vec<MacAddress>,
}

/// Where an attachment can be bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "place")]
pub enum AttachmentPlace {
    /// At the host side of its pair, which was found.
    Pair {
        /// The host side.
        host: HostInterface,
    },
    /// The pair is not to be found yet, but this much is known of it: it is (or will be) a port of this
    /// bridge, and the interface at its other end has the attachment's MAC. `macs` has exactly one.
    Expected {
        /// The bridge, in the namespace where the runtime keeps its bridges.
        bridge: HostInterface,
    },
    /// It has no host side (macvlan, ipvlan, a device moved in): it can only be bound from inside.
    Inside {
        /// Kind of the interface: `macvlan`, `ipvlan`, `physical`, ….
        kind: String,
        /// Path of the workload's namespace.
        netns: String,
        /// Name of the interface in it.
        interface: String,
    },
}

/// An interface outside of workloads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct HostInterface {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// A path of that namespace; none: the agent's own.
    pub netns_path: Option<String>,
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// A network that a runtime made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// Id as the runtime has it.
    pub id: String,
    /// Name.
    pub name: String,
    /// Driver (`bridge`, `macvlan`, …).
    pub driver: String,
    /// Its bridge, where it has one that exists now.
    pub bridge: Option<HostInterface>,
}

//! What an operator or a runtime asks for: one binding per network attachment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{AddressBinding, EtherType, MacAddress, VlanId};

/// An endpoint as desired: which interface, and what it may claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// Unique name: letters, digits, `-`, `_`, `.`, `/`, `:`; at most 253 characters, the first one
    /// a letter or digit.
    pub name: String,
    /// The binding anchor.
    pub interface: InterfaceRef,
    /// On which side of the interface the workload's frames are met.
    #[serde(default)]
    pub direction: Direction,
    /// Addresses and prefixes that it may use as source.
    #[serde(default)]
    pub addresses: Vec<AddressBinding>,
    /// MACs that it may use as source; empty: learned from the workload's side of the interface.
    #[serde(default)]
    pub macs: Vec<MacAddress>,
    /// What becomes of frames that break the binding.
    #[serde(default)]
    pub mode: Mode,
    /// What it may do beyond its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Permission>,
    /// VLAN ids whose tagged frames are let through (their content is verified all the same).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<VlanId>,
    /// Ethertypes let through besides IPv4, IPv6 and ARP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ethertypes: Vec<EtherType>,
    /// Whether every frame from and to it is dropped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantined: bool,
    /// The workload behind it, as far as the source knows.
    #[serde(default, skip_serializing_if = "Workload::is_empty")]
    pub workload: Workload,
    /// The container network that this attachment belongs to (`bridge`, `frontend`, …), as the source names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The interface as the workload sees it (`eth0`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<String>,
}

/// The binding anchor as a person names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InterfaceRef {
    /// Name of the interface, at most 15 bytes.
    pub name: String,
    /// Path of its network namespace (such as `/run/netns/web`); none: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
}

impl InterfaceRef {
    /// Whether this is the loopback interface of its namespace.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.name == "lo"
    }
}

/// Who asked for an endpoint. Each owner replaces only its own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The API and with it the command line.
    #[default]
    Api,
    /// The configuration file.
    File,
    /// The CNI plugin.
    Cni,
    /// A runtime that speaks the Kubernetes container runtime interface (containerd, CRI-O).
    Cri,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// The Kubernetes API: what it says of this node's pods.
    Kubernetes,
}

/// The workload that an endpoint belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// The runtime that made it (`docker`, …).
    pub runtime: Option<String>,
    /// Container id (of a pod: its sandbox's), whole.
    pub container: Option<String>,
    /// Container name, as the runtime shows it; of a pod none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Image that it was made from, as it was named then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Pod name.
    pub pod: Option<String>,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Pod UID: tells a pod from its successor of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Workload {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// On which side of its interface an endpoint's frames are met.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Host side of a pair: the workload's frames come in.
    #[default]
    Ingress,
    /// The workload's own interface: its frames go out.
    Egress,
}

/// What becomes of a frame that breaks the binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Dropped.
    #[default]
    Enforce,
    /// Counted and reported, and passed.
    Audit,
    /// Not verified.
    Off,
}

/// What an interface without a binding may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnboundPolicy {
    /// Everything.
    #[default]
    Allow,
    /// Everything, and it is counted.
    Audit,
    /// Nothing.
    Drop,
}

/// Something an endpoint may do beyond its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Ask for an address by DHCPv4 (0.0.0.0:68 to 255.255.255.255:67).
    DhcpClient,
    /// Answer as a DHCPv4 or DHCPv6 server.
    DhcpServer,
    /// Send router advertisements and redirects.
    Router,
    /// Send frames with any one VLAN tag.
    AnyVlan,
    /// Send any ethertype, and spanning tree messages (no other LLC).
    AnyEthertype,
    /// Send encapsulated traffic to node addresses.
    Tunnel,
    /// Take away: IPv4 source route options are refused.
    NoSourceRoute,
}

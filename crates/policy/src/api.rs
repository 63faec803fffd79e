//! Objects of the HTTP API (and of `-o json`), besides the desired state itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Direction, EndpointSpec, Mode, Owner, Permission, UnboundPolicy, Workload};

/// An endpoint as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Stable id, made when the endpoint was first bound.
    pub id: String,
    /// Name.
    pub name: String,
    /// The workload behind it.
    pub workload: Workload,
    /// The anchor.
    pub interface: Interface,
    /// Side of the interface.
    pub direction: Direction,
    /// Declared addresses and prefixes.
    pub addresses: Vec<String>,
    /// MACs in force: declared, or learned.
    pub macs: Vec<String>,
    /// Addresses in force that nobody declared: link-local ones, on loopback the namespace's own.
    pub learned: Vec<String>,
    /// Mode.
    pub mode: Mode,
    /// State.
    pub state: EndpointState,
    /// Why it is in this state, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Permissions.
    pub allow: Vec<Permission>,
    /// Allowed VLAN ids.
    pub vlans: Vec<u16>,
    /// Allowed ethertypes, such as `0x88cc`.
    pub ethertypes: Vec<String>,
    /// Who asked for it.
    pub owner: Owner,
    /// When it was first bound (RFC 3339).
    pub since: String,
    /// What was counted since then.
    pub counters: Counters,
}

/// The interface an endpoint hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index; none while it does not exist.
    pub index: Option<u32>,
    /// Path of the namespace as declared; none: the agent's own.
    pub netns: Option<String>,
}

/// State of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// Bound in the kernel and first on the hook.
    Active,
    /// Its interface does not exist; it is bound when it comes.
    Waiting,
    /// Every frame is dropped.
    Quarantined,
    /// Another program runs before ours and cannot be displaced.
    Bypassed,
    /// Could not be bound; `message` says why.
    Failed,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header on.
    pub bytes: u64,
}

/// What was counted for one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Frames that kept to the binding.
    pub allowed: Count,
    /// Frames dropped.
    pub dropped: Count,
    /// Frames that audit mode let pass and enforcement would have dropped.
    #[serde(default)]
    pub audited: Count,
    /// Packets by drop reason (dropped, audited and merely noticed ones).
    pub reasons: BTreeMap<String, u64>,
    /// Of these, frames that no event told of.
    #[serde(default)]
    pub unreported: u64,
}

/// `GET /api/v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Process id of the agent.
    pub pid: u32,
    /// Start of the agent (RFC 3339).
    pub started: String,
    /// Kernel release.
    pub kernel: String,
    /// How programs are attached: `tcx` or `clsact`.
    pub attachment: String,
    /// Directory of the pins.
    pub bpffs: String,
    /// File of the desired state.
    pub state_file: String,
    /// What interfaces without a binding may do.
    pub unbound: UnboundPolicy,
    /// Endpoints by state, and how many there may be.
    pub endpoints: EndpointTotals,
    /// Sums over all endpoints.
    pub counters: Counters,
    /// Events that were due and lost.
    pub events_lost: u64,
    /// Repairs that the agent made since it started.
    pub repairs: u64,
    /// Conditions that an operator should know of, one sentence each.
    pub warnings: Vec<String>,
    /// Every interface that a workload could send from.
    pub coverage: Vec<CoverageRow>,
}

/// Endpoints by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointTotals {
    /// All.
    pub total: u32,
    /// Bound in the kernel.
    pub active: u32,
    /// Waiting for their interface.
    pub waiting: u32,
    /// In quarantine.
    pub quarantined: u32,
    /// Failed or bypassed.
    pub failed: u32,
    /// Room in the tables.
    pub capacity: u32,
}

/// How an interface that a workload could send from stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CoverageRow {
    /// Interface name.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// Its namespace: a path where one is known, else `net:[inode]`; none: the agent's own.
    pub netns: Option<String>,
    /// Kind (`veth`, `netkit`, `macvlan`, `ipvlan`, `tun`, `loopback`, `physical`, …).
    pub kind: String,
    /// The workload side, where it is known: `eth0 in /run/netns/web`.
    pub peer: Option<String>,
    /// Endpoint bound to it.
    pub endpoint: Option<String>,
    /// Coverage.
    pub coverage: Coverage,
    /// Why, in a few words.
    pub reason: String,
}

/// How far an interface is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// Bound, enforced, first on the hook.
    Protected,
    /// Bound and verified, but only counted.
    Audited,
    /// No binding.
    Unbound,
    /// Another program runs before ours and may end the chain.
    Bypassed,
    /// Cannot be protected from the host side.
    NotProtectable,
}

/// An event, as `GET /api/v1/events` streams them (server-sent events, one JSON object each).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// A frame broke a binding.
    Drop(Box<DropRecord>),
    /// Something changed or was repaired.
    Notice(Notice),
}

/// A frame that broke a binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DropRecord {
    /// When (RFC 3339, nanoseconds).
    pub time: String,
    /// Endpoint name; none for an interface without a binding.
    pub endpoint: Option<String>,
    /// Interface name where it is known.
    pub interface: Option<String>,
    /// Its index.
    pub ifindex: u32,
    /// Inode of its network namespace.
    pub netns: u32,
    /// Reason.
    pub reason: String,
    /// `dropped`, or `audited` where the frame passed.
    pub verdict: String,
    /// What the frame claimed.
    pub claimed: Claimed,
    /// What is bound: addresses and MACs.
    pub bound: Vec<String>,
    /// The sender, as far as it can be told.
    pub sender: Sender,
    /// Length of the frame in bytes.
    pub length: u32,
    /// One line that says what the frame is.
    pub summary: String,
    /// The first bytes, hexadecimal.
    pub frame: String,
}

/// What a frame claimed to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Claimed {
    /// Ethernet source.
    pub mac: Option<String>,
    /// Source address (ARP: sender; ND: target where that is the forgery).
    pub address: Option<String>,
}

/// The process behind a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sender {
    /// cgroup v2 id.
    pub cgroup_id: u64,
    /// Its path below the cgroup mount.
    pub cgroup: Option<String>,
    /// Process id, where one process can be named.
    pub pid: Option<u32>,
    /// Its command name.
    pub command: Option<String>,
}

/// Something that an operator should see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// When (RFC 3339).
    pub time: String,
    /// Machine-readable topic: `bound`, `unbound`, `repaired`, `displaced`, `waiting`, `quarantined`, `released`, …
    pub topic: String,
    /// Endpoint, where it concerns one.
    pub endpoint: Option<String>,
    /// One sentence.
    pub message: String,
}

/// The body of `PATCH /api/v1/endpoints/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointPatch {
    /// New mode.
    pub mode: Option<Mode>,
}

/// `GET /api/v1/state`, and what `apply` takes: the whole desired state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Endpoints.
    #[serde(default, rename = "endpoint")]
    pub endpoints: Vec<EndpointSpec>,
}

/// An error as RFC 9457 has it (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI that names the kind of problem, such as `urn:portcullis:conflict`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This problem, in one line that says what to do.
    pub detail: String,
}

#[cfg(test)]
mod tests;

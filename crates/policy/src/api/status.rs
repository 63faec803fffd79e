//! The agent as a whole.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Counters;
use crate::model::{Owner, UnboundPolicy};

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
    /// Where containers are learned of.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
}

/// How a source stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceStatus {
    /// Its name: its kind, or `kind:socket` where there are several of one kind.
    pub name: String,
    /// Its kind.
    pub kind: Owner,
    /// Socket that it is asked on; none for the CNI plugin, which asks us.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub socket: Option<String>,
    /// State.
    pub state: SourceState,
    /// Since when it has been in that state (RFC 3339).
    pub since: String,
    /// What is wrong, or worth knowing: one sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Containers that it tells of now.
    pub containers: u32,
    /// Full lists that were read: at the start, and whenever something may have been missed.
    pub resyncs: u64,
}

/// State of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// Its socket does not exist; it is watched for.
    Absent,
    /// Being connected to, or read for the first time.
    Connecting,
    /// Read, and followed.
    Connected,
    /// It does not answer, or answers with nonsense; it is tried again.
    Failing,
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

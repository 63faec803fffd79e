//! Endpoints as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::guard::Answer;
use crate::model::{Direction, Mode, Owner, Permission, Workload};

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
    /// Everyone who describes it, the owner first.
    #[serde(default)]
    pub sources: Vec<Owner>,
    /// Where those contradict each other, and what holds meanwhile: one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub conflicts: Vec<String>,
    /// Its container network.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub network: Option<String>,
    /// The interface as the workload sees it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inside: Option<String>,
    /// Gate policies that match it, the first to be asked first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policies: Vec<String>,
    /// What becomes of it when it keeps forging.
    #[serde(default)]
    pub answer: Answer,
    /// Hostile attempts since it was bound.
    #[serde(default)]
    pub attempts: u64,
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

/// The body of `PATCH /api/v1/endpoints/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointPatch {
    /// New mode.
    pub mode: Option<Mode>,
}

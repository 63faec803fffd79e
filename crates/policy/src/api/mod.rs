//! Objects of the HTTP API (and of `-o json`), besides the desired state itself.

mod cluster;
mod cni;
mod endpoint;
mod event;
mod map;
pub(crate) mod prefix;
mod shield;
mod status;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use cluster::{
    ClusterEndpoints, ClusterMap, ClusterPolicy, HubStatus, NodeEvent, NodeState, NodeStatus, NodeTotals,
    OfNode, OffenderStatus,
};
pub use cni::{CniAttachment, CniGarbage, CniValid};
pub use endpoint::{Count, Counters, Endpoint, EndpointPatch, EndpointState, Interface};
pub use event::{Action, ActionOutcome, Claimed, DropRecord, Event, Notice, Sender};
pub use map::{ContainerMap, MapRow, MapState};
pub use shield::*;
pub use status::{Coverage, CoverageRow, EndpointTotals, SourceState, SourceStatus, Status};

use crate::guard::GatePolicy;
use crate::model::{EndpointSpec, Owner};

/// `GET /api/v1/state`, and what `apply` takes: the whole desired state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Endpoints that were bound by hand.
    #[serde(default, rename = "endpoint", skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointSpec>,
    /// Gate policies.
    #[serde(default, rename = "policy", skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<GatePolicy>,
    /// The shield's part.
    #[serde(default, skip_serializing_if = "ShieldSection::is_empty")]
    pub shield: ShieldSection,
}

/// A gate policy as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    /// What was asked for.
    #[serde(flatten)]
    pub policy: GatePolicy,
    /// Who asked for it.
    pub owner: Owner,
    /// Endpoints that it matches now.
    pub endpoints: Vec<String>,
    /// Why it has no effect, where that is so: one sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warning: Option<String>,
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

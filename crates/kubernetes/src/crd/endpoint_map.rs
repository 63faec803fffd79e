//! `EndpointMap`: what an agent publishes, its node's part of the container network map.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use portcullis_policy::api::MapState;
use portcullis_policy::guard::Response;
use portcullis_policy::model::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// A node's part of the container network map, published by its agent. Named as its node.
///
/// It changes when pods come and go, never with their traffic.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "portcullis.dev",
    version = "v1alpha1",
    kind = "EndpointMap",
    plural = "endpointmaps",
    shortname = "epm",
    category = "portcullis",
    status = "EndpointMapStatus",
    derive = "PartialEq",
    printcolumn(json_path = ".status.summary.endpoints", name = "Endpoints", type_ = "integer"),
    printcolumn(json_path = ".status.summary.bound", name = "Bound", type_ = "integer"),
    printcolumn(json_path = ".status.summary.quarantined", name = "Quarantined", type_ = "integer"),
    printcolumn(json_path = ".status.summary.offenders", name = "Offenders", type_ = "integer"),
    printcolumn(
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        name = "Ready",
        type_ = "string"
    ),
    printcolumn(json_path = ".status.agent.version", name = "Version", type_ = "string", priority = 1),
    printcolumn(json_path = ".status.published", name = "Published", type_ = "date"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date")
)]
#[serde(rename_all = "camelCase")]
pub struct EndpointMapSpec {
    /// Name of the node; the same as this object's.
    pub node: String,
}

/// What the agent says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointMapStatus {
    /// The agent.
    #[serde(default)]
    pub agent: AgentInfo,
    /// When this was published (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::date_time")]
    pub published: Option<String>,
    /// In numbers.
    #[serde(default)]
    pub summary: Summary,
    /// One row for each attachment of each pod of this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::rows")]
    pub endpoints: Vec<EndpointRow>,
    /// Pods over their threshold that the hub is to end. They are in quarantine, in the kernel; each stays here until it is
    /// gone or released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::offenders")]
    pub offenders: Vec<Offender>,
    /// The gate policies that the agent applies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::applied")]
    pub policies: Vec<AppliedPolicy>,
    /// `Ready`, `ApiAccess`, `Runtimes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// The agent of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentInfo {
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// When it was started (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Where hubs reach it; none: it takes no connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
}

/// Where hubs reach an agent, and how they know that it is the one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// IP address and port.
    pub address: String,
    /// Its certificate (PEM), made when it was started. Exactly this one is accepted.
    pub certificate: String,
}

/// A node's map in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Rows.
    #[serde(default)]
    pub endpoints: i32,
    /// Bound, and verified in the kernel.
    #[serde(default)]
    pub bound: i32,
    /// In quarantine.
    #[serde(default)]
    pub quarantined: i32,
    /// Held shut until it is known whose they are.
    #[serde(default)]
    pub held: i32,
    /// Not verified: unbound, in the host's network, not protectable.
    #[serde(default)]
    pub unverified: i32,
    /// Over their threshold, and waiting for the hub.
    #[serde(default)]
    pub offenders: i32,
    /// With sources that contradict each other.
    #[serde(default)]
    pub conflicts: i32,
    /// Rows that were left out, since an object has room for only so many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: i32,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// One attachment of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRow {
    /// Name of the endpoint (`namespace/pod`); none: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The pod's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The pod's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Id of its sandbox (or container), whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The host side of its interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Addresses that are bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// MACs that are bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// The mode of its endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::mode")]
    pub mode: Option<Mode>,
    /// How it stands.
    #[schemars(schema_with = "schema::map_state")]
    pub state: MapState,
    /// Why, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// `GatePolicy` objects that match it, the first to be asked first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What becomes of it over its threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::response")]
    pub response: Option<Response>,
    /// Where sources contradict each other, and what holds meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
}

/// A pod over its threshold, that the hub is to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Offender {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID: never another pod of that name.
    pub uid: String,
    /// Its endpoint.
    pub endpoint: String,
    /// Hostile attempts within the window when the threshold was reached.
    pub attempts: u32,
    /// The threshold.
    pub threshold: u32,
    /// The window.
    #[schemars(schema_with = "schema::span")]
    pub window: String,
    /// Packets by hostile reason, as of then.
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
    /// The `GatePolicy` that says terminate.
    pub policy: String,
    /// When the kernel saw the frame that was one too many (RFC 3339).
    #[schemars(schema_with = "schema::date_time")]
    pub time: String,
}

/// A gate policy as an agent applies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedPolicy {
    /// Name of the `GatePolicy`.
    pub name: String,
    /// Its generation.
    pub generation: i64,
    /// Why it is not applied, where it is not: one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

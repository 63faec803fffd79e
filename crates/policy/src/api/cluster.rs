//! A cluster as the hub shows it: the agents' objects, each with the node that it is of.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Event, MapRow};
use crate::guard::Response;
use crate::model::Mode;

/// Something of one node: the same object that its agent's API has, and `node` beside its properties.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OfNode<T> {
    /// Name of the node.
    pub node: String,
    /// What an agent says.
    #[serde(flatten)]
    pub of: T,
}

/// `GET /api/v1/map` of a hub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterMap {
    /// The rows of every node's map.
    pub rows: Vec<OfNode<MapRow>>,
    /// Every node: one that is away is a gap that shows.
    pub nodes: Vec<NodeStatus>,
}

/// `GET /api/v1/endpoints` of a hub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterEndpoints {
    /// The endpoints of every node that answered.
    pub endpoints: Vec<OfNode<Endpoint>>,
    /// Every node that was asked.
    pub nodes: Vec<NodeStatus>,
}

/// `GET /api/v1/status` of a hub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HubStatus {
    /// Version of the hub.
    pub version: String,
    /// Pod of the hub that answered.
    pub pod: String,
    /// When it was started (RFC 3339).
    pub started: String,
    /// Whether it leads: only the leader ends pods and writes the policies' status.
    pub leader: bool,
    /// Who leads; none: nobody does just now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub holder: Option<String>,
    /// Nothing is ended; it is only said what would be.
    pub dry_run: bool,
    /// Most pods that are ended in a minute.
    pub terminations_per_minute: u16,
    /// Pods that this hub has ended since it was started.
    pub terminated: u64,
    /// Nodes by state.
    pub nodes: NodeTotals,
    /// Rows of all maps.
    pub endpoints: u64,
    /// Of these, in quarantine.
    pub quarantined: u64,
    /// Pods over their threshold that wait to be ended.
    pub offenders: Vec<OffenderStatus>,
    /// Conditions that an operator should know of, one sentence each.
    pub warnings: Vec<String>,
}

/// Nodes by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeTotals {
    /// All.
    pub total: u32,
    /// Whose agent answers.
    pub present: u32,
    /// Whose agent does not answer.
    pub away: u32,
    /// Without an agent.
    pub missing: u32,
}

/// A pod over its threshold, and why it is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OffenderStatus {
    /// Its node.
    pub node: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// Why it is not ended: a word (`exempt`, `limit`, `budget`, …); none: it is about to be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The same as one sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// When the threshold was reached (RFC 3339).
    pub time: String,
}

/// A `GatePolicy`, as `GET /api/v1/policies` of a hub lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterPolicy {
    /// Its name.
    pub name: String,
    /// Higher is asked first.
    pub priority: i32,
    /// The mode that it states.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<Mode>,
    /// The response that it states.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub response: Option<Response>,
    /// Only says what would be done.
    pub dry_run: bool,
    /// Pods that it selects.
    pub pods: u32,
    /// Nodes that apply it as it is now.
    pub nodes: u32,
    /// Pods that were ended because of it.
    pub terminated: u64,
    /// Whether it holds.
    pub accepted: bool,
    /// What is to be known of it: why it was refused, what contradicts it, ….
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<String>,
}

/// An event of a node, as `GET /api/v1/events` of a hub streams them.
pub type NodeEvent = OfNode<Event>;

/// A node as the hub sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Name of the node.
    pub node: String,
    /// How its agent stands.
    pub state: NodeState,
    /// Why, where it is not present: one sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Version of its agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// Since when it has been in that state (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
    /// Endpoints that its map has.
    pub endpoints: u32,
    /// Of these, in quarantine.
    pub quarantined: u32,
    /// When its map was last published (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub published: Option<String>,
}

/// How a node's agent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It answered when it was asked last.
    Present,
    /// It published a map, and does not answer: what is known of it may be old. Its gate stays as it was.
    Away,
    /// The node exists, and no agent ever published a map of it.
    Missing,
}

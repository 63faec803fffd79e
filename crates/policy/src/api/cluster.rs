//! A cluster as the hub shows it: the agents' objects, each with the node that it is of.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Event, MapRow};

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

//! `GatePolicy`: what holds for the pods that it selects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use portcullis_policy::guard::Response;
use portcullis_policy::model::{Mode, Permission};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What holds for the pods that it selects, beyond what runtimes and CNI say, and what becomes of those that
/// keep forging.
///
/// Cluster-scoped: whoever may edit a namespace must not be able to open the gate of its pods. Policies are asked from
/// the highest priority to the lowest, those of one priority by name; of each property the first that states
/// it decides; `allow` and `addresses` of all that match add up.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "portcullis.dev",
    version = "v1alpha1",
    kind = "GatePolicy",
    plural = "gatepolicies",
    shortname = "gp",
    category = "portcullis",
    status = "GatePolicyStatus",
    derive = "PartialEq",
    printcolumn(json_path = ".spec.mode", name = "Mode", type_ = "string"),
    printcolumn(json_path = ".spec.response", name = "Response", type_ = "string"),
    printcolumn(json_path = ".spec.priority", name = "Priority", type_ = "integer"),
    printcolumn(json_path = ".status.pods", name = "Pods", type_ = "integer"),
    printcolumn(
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        name = "Accepted",
        type_ = "string"
    ),
    printcolumn(
        json_path = ".status.conditions[?(@.type==\"Accepted\")].message",
        name = "Message",
        type_ = "string",
        priority = 1
    ),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date")
)]
#[serde(rename_all = "camelCase")]
pub struct GatePolicySpec {
    /// Higher is asked first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Namespaces by name; `*` stands for any text. Without this and `namespaceSelector`: all namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::namespaces")]
    pub namespaces: Vec<String>,
    /// Namespaces by their labels. Together with `namespaces`: both must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Pods by their labels; without it all pods of these namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// What becomes of frames that break the binding: `enforce` drops them, `audit` counts and reports them,
    /// `off` does not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::mode")]
    pub mode: Option<Mode>,
    /// What pods may do beyond their addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::permissions")]
    pub allow: Vec<Permission>,
    /// Addresses and prefixes that pods may use beyond their own (a shared service address, say).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::addresses")]
    pub addresses: Vec<String>,
    /// How many hostile attempts are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// What happens then: `report` says so, `quarantine` drops everything from and to the pod from the next frame
    /// on, `terminate` does so and has the hub end the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::response")]
    pub response: Option<Response>,
    /// How `terminate` is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<PodTermination>,
    /// Time after which a quarantine that this response began ends by itself (`10m`); none: it ends by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::span")]
    pub release_after: Option<String>,
    /// Only say what would be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// How many hostile attempts are too many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// Hostile attempts within `window` that are one too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::attempts")]
    pub attempts: Option<u16>,
    /// The sliding window (`60s`); 100 ms to 24 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::span")]
    pub window: Option<String>,
}

/// How the hub ends a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTermination {
    /// By which way.
    #[serde(default)]
    pub method: TerminationMethod,
    /// Seconds that its containers have to end by themselves; none: as the pod says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::grace_period")]
    pub grace_period_seconds: Option<i64>,
}

/// By which way a pod is ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum TerminationMethod {
    /// Deleted. (Disruption budgets are not asked: the pod is cut off already.)
    #[default]
    Delete,
    /// Evicted: disruption budgets are respected; meanwhile its quarantine holds.
    Evict,
}

/// What the hub says of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatePolicyStatus {
    /// The generation that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that it holds for now.
    #[serde(default)]
    pub pods: i32,
    /// Nodes whose agent applies this generation.
    #[serde(default)]
    pub nodes: i32,
    /// Pods that were ended because of it.
    #[serde(default)]
    pub terminated: i64,
    /// `Accepted`, `Matching`, `Conflicting`, `Applied`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

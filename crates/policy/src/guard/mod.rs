//! Gate policies: what holds for the endpoints that a selector finds, beyond what their source says, and
//! what becomes of one that keeps forging.
//!
//! Policies are asked from the highest `priority` to the lowest, those of one priority by name. Of each
//! property the first policy that states it decides; permissions and addresses of all that match are added
//! up. How a container is ended and how long a quarantine lasts go with the response: the policy that
//! decides on that decides on them.

mod selector;
mod terms;
mod validate;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::AddressBinding;
use crate::model::{Mode, Permission};
use crate::span::Span;

pub use selector::glob;
pub use terms::Policies;
pub use validate::{MAX_POLICIES, PolicyError, PolicyErrors, PolicyMistake};

/// Pods of this namespace keep a cluster alive: they are ended only by a policy that names it.
pub const VITAL_NAMESPACE: &str = "kube-system";

/// What holds for the endpoints that it matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GatePolicy {
    /// Unique name; as an endpoint's.
    pub name: String,
    /// Which endpoints.
    #[serde(rename = "match")]
    pub selector: Selector,
    /// Higher is asked first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Mode of endpoints that a source found. (Whoever binds by hand says the mode there.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Permissions of endpoints that a source found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Permission>,
    /// Addresses of endpoints that a source found, beyond those that the source tells of (a shared service
    /// address, say).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressBinding>,
    /// Hostile attempts within `window` that are one too many; 1 to 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u16>,
    /// The sliding window; 100 ms to 24 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// What happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// How `terminate` is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminate: Option<Termination>,
    /// Time after which a quarantine that this response began ends by itself; none: it ends by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_after: Option<Span>,
    /// Say what would be done, and do nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// Which endpoints: everything that is stated must hold. One that states nothing is refused; `name = "*"`
/// is for all.
///
/// Texts are patterns: `*` stands for any text, also an empty one; everything else for itself. What an endpoint
/// does not have matches no pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// Name of the endpoint, of the container, or of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels, all of them; the value is a pattern.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Name of the container network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Runtime (`docker`, `podman`, `containerd`, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Kubernetes namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Kubernetes namespaces: one of these patterns must fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// What else must hold for its labels, all of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expressions: Vec<LabelExpression>,
}

/// A condition on one label, as Kubernetes' label selectors have it (`matchExpressions`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelExpression {
    /// The label.
    pub key: String,
    /// What must hold for its value.
    pub operator: LabelOperator,
    /// Values, of `In` and `NotIn`; of the others none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What must hold for a label's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum LabelOperator {
    /// It is there, and is one of the values.
    In,
    /// It is not there, or is none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl LabelExpression {
    /// Whether it holds for these labels.
    #[must_use]
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelOperator::In => value.is_some_and(|value| self.values.contains(value)),
            LabelOperator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

/// What happens to an endpoint over its threshold, in order of severity; each includes those before it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// An event says so.
    #[default]
    Report,
    /// The kernel drops everything from and to it, from the next frame on.
    Quarantine,
    /// Its container is ended.
    Terminate,
}

/// How a container is ended.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Termination {
    /// SIGKILL (of a pod: its sandbox is stopped).
    #[default]
    Kill,
    /// The runtime's `stop`, with its grace period.
    Stop,
    /// Killed and started anew: a clean one takes its place.
    Restart,
}

/// What becomes of an endpoint that keeps forging: what policies and defaults come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// Hostile attempts within `window` that are one too many.
    pub attempts: u16,
    /// The sliding window.
    pub window: Span,
    /// What happens then.
    pub response: Response,
    /// How `terminate` is done.
    pub terminate: Termination,
    /// Time after which the quarantine ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_after: Option<Span>,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            attempts: 10,
            window: Span::from_secs(60),
            response: Response::Report,
            terminate: Termination::Kill,
            release_after: None,
            dry_run: false,
        }
    }
}

/// All that policies say of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Mode, where a policy states one.
    pub mode: Option<Mode>,
    /// Further permissions.
    pub allow: Vec<Permission>,
    /// Further addresses.
    pub addresses: Vec<AddressBinding>,
    /// The answer.
    pub answer: Answer,
    /// The policy that stated `answer.response`.
    pub decided_by: Option<String>,
    /// Why that policy's response is softened, where it is: one sentence.
    pub spared: Option<String>,
    /// All policies that match, in the order in which they are asked.
    pub policies: Vec<String>,
}

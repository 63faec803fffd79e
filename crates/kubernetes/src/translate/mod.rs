//! From custom resources to desired state. Pure.

mod gate_policy;
mod labels;

use std::collections::BTreeMap;

use kube::Resource;

pub use gate_policy::{local_name, object_name};
pub use labels::matches;

/// What a translation needs to know of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Every namespace with its labels.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// A custom resource that says what should hold.
pub trait Intent: Resource {
    /// What it says, as the agent (or the hub) keeps it.
    type Desired;

    /// What it comes to in this cluster.
    fn translate(&self, cluster: &Cluster) -> Translation<Self::Desired>;
}

/// What a resource comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Translation<T> {
    /// This should hold.
    Holds(T),
    /// It concerns nothing in this cluster as it is now: one sentence.
    Nothing(String),
    /// It cannot hold: one sentence that says why, and what to do.
    Refused(String),
}

impl<T> Translation<T> {
    /// What should hold, if anything.
    pub fn desired(self) -> Option<T> {
        match self {
            Self::Holds(desired) => Some(desired),
            Self::Nothing(_) | Self::Refused(_) => None,
        }
    }

    /// Why it cannot hold.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused(why) => Some(why),
            _ => None,
        }
    }
}

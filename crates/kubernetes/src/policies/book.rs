//! The objects, and what they come to. Pure.

use std::collections::BTreeMap;

use portcullis_policy::guard::{self, Policies};
use serde::Deserialize;
use serde_json::Value;

use super::PolicySet;
use crate::crd::{AppliedPolicy, GatePolicy, GatePolicySpec};
use crate::rest::cut;
use crate::translate::{Cluster, Intent, Translation};

/// A policy as the API has it. Its specification is read for itself, so that one of another release takes no other along.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stored {
    metadata: Meta,
    spec: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
    generation: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Namespace {
    metadata: NamespaceMeta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NamespaceMeta {
    name: String,
    labels: Option<BTreeMap<String, String>>,
}

/// A policy, read.
#[derive(Debug)]
struct Known {
    generation: i64,
    object: Result<GatePolicy, String>,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    policies: Option<BTreeMap<String, Known>>,
    cluster: Option<Cluster>,
    /// Namespaces could not be read: those that need none hold without them.
    given_up: bool,
}

const LONGEST: usize = 200;
/// An agent takes no more.
const MOST_POLICIES: usize = 1024;

impl Book {
    pub fn all(&mut self, all: Vec<Stored>) {
        self.policies = Some(all.into_iter().map(Known::read).collect());
    }

    pub fn put(&mut self, one: Stored) {
        let (name, known) = Known::read(one);
        self.policies.get_or_insert_default().insert(name, known);
    }

    pub fn gone(&mut self, one: &Stored) {
        self.policies.get_or_insert_default().remove(&one.metadata.name);
    }

    pub fn all_namespaces(&mut self, all: Vec<Namespace>) {
        let entry = |one: Namespace| (one.metadata.name, one.metadata.labels.unwrap_or_default());
        self.cluster = Some(Cluster { namespaces: all.into_iter().map(entry).collect() });
    }

    pub fn put_namespace(&mut self, one: Namespace) {
        let cluster = self.cluster.get_or_insert_default();
        cluster.namespaces.insert(one.metadata.name, one.metadata.labels.unwrap_or_default());
    }

    pub fn namespace_gone(&mut self, one: &Namespace) {
        self.cluster.get_or_insert_default().namespaces.remove(&one.metadata.name);
    }

    pub fn forget_namespaces(&mut self) {
        self.cluster = None;
        self.given_up = false;
    }

    /// They cannot be read. Whether that changes anything.
    pub fn give_up_on_namespaces(&mut self) -> bool {
        self.cluster.is_none() && !std::mem::replace(&mut self.given_up, true)
    }

    /// Whether some policy selects by namespaces' labels.
    pub fn needs_namespaces(&self) -> bool {
        self.policies.iter().flatten().any(|(_, known)| known.by_labels())
    }

    /// What they come to; none: not everything is known yet.
    pub fn set(&self) -> Option<PolicySet> {
        let policies = self.policies.as_ref()?;
        if self.needs_namespaces() && self.cluster.is_none() && !self.given_up {
            return None;
        }
        let nowhere = Cluster::default();
        let cluster = self.cluster.as_ref().unwrap_or(&nowhere);
        let mut set = PolicySet::default();
        for (name, known) in policies {
            let translated = if known.by_labels() && self.cluster.is_none() {
                Err("the labels of namespaces, by which it selects, cannot be read".to_owned())
            } else {
                known.translate(cluster)
            };
            let (policy, trouble) = match translated {
                Ok(policy) => (policy, None),
                Err(why) => (None, Some(cut(&why, LONGEST))),
            };
            set.policies.extend(policy);
            set.applied.push(AppliedPolicy { name: name.clone(), generation: known.generation, trouble });
        }
        set.leave_out_what_does_not_go_together();
        Some(set)
    }
}

impl Known {
    fn read(stored: Stored) -> (String, Self) {
        let Stored { metadata: Meta { name, generation }, spec } = stored;
        let object = serde_json::from_value::<GatePolicySpec>(spec)
            .map(|spec| GatePolicy::new(&name, spec))
            .map_err(|error| format!("its spec cannot be read ({error}): is it of another release?"));
        (name, Self { generation, object })
    }

    fn by_labels(&self) -> bool {
        self.object.as_ref().is_ok_and(|object| object.spec.namespace_selector.is_some())
    }

    fn translate(&self, cluster: &Cluster) -> Result<Option<guard::GatePolicy>, String> {
        match self.object.as_ref().map_err(Clone::clone)?.translate(cluster) {
            Translation::Holds(policy) => Ok(Some(policy)),
            Translation::Nothing(_) => Ok(None),
            Translation::Refused(why) => Err(why),
        }
    }
}

impl PolicySet {
    /// Each of them is good; all of them together may not be.
    fn leave_out_what_does_not_go_together(&mut self) {
        let mut holding = Vec::new();
        let mut refused = Vec::new();
        let most = MOST_POLICIES.min(self.policies.len());
        let too_many = format!("there are more than {MOST_POLICIES} policies: the first by name hold");
        refused
            .extend(self.policies.split_off(most).into_iter().map(|policy| (policy.name, too_many.clone())));
        add(&mut holding, std::mem::take(&mut self.policies), &mut refused);
        for (name, why) in refused {
            let of = |applied: &&mut AppliedPolicy| crate::translate::local_name(&applied.name) == name;
            if let Some(applied) = self.applied.iter_mut().find(of) {
                applied.trouble = Some(cut(&why, LONGEST));
            }
        }
        self.policies = holding;
    }
}

/// Adds what goes with those that hold; halves what does not, until it is one.
fn add(
    holding: &mut Vec<guard::GatePolicy>,
    mut more: Vec<guard::GatePolicy>,
    refused: &mut Vec<(String, String)>,
) {
    let both = holding.iter().chain(&more).cloned().collect();
    match Policies::new(both) {
        Ok(_) => holding.extend(more),
        Err(errors) if more.len() == 1 => {
            refused.extend(more.into_iter().map(|policy| (policy.name, errors.to_string())));
        }
        Err(_) => {
            let second = more.split_off(more.len() / 2);
            add(holding, more, refused);
            add(holding, second, refused);
        }
    }
}

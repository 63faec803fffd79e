//! What the cluster's policies say, evaluated by the hub itself: it believes no node's word for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_kubernetes::crd::{GatePolicy, PodTermination};
use portcullis_kubernetes::translate::{Cluster, Intent, Translation, local_name, object_name};
use portcullis_policy::guard::{self, Answer, Policies, Terms};
use portcullis_policy::model::{EndpointSpec, InterfaceRef, Workload};

/// A `GatePolicy`, and what it comes to in this cluster.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The object.
    pub object: Arc<GatePolicy>,
    /// What it comes to.
    pub translation: Translation<guard::GatePolicy>,
}

/// All policies, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// By name.
    pub rules: BTreeMap<String, Rule>,
    /// Those that hold.
    pub policies: Policies,
    /// Why not all that could hold do; one sentence.
    pub trouble: Option<String>,
}

impl Rules {
    /// What these objects come to.
    #[must_use]
    pub fn new(objects: &BTreeMap<String, Arc<GatePolicy>>, cluster: &Cluster) -> Self {
        let rule = |object: &Arc<GatePolicy>| Rule {
            object: Arc::clone(object),
            translation: object.translate(cluster),
        };
        let rules: BTreeMap<String, Rule> =
            objects.iter().map(|(name, object)| (name.clone(), rule(object))).collect();
        let holding: Vec<guard::GatePolicy> =
            rules.values().filter_map(|rule| rule.translation.clone().desired()).collect();
        let (policies, trouble) = match Policies::new(holding) {
            Ok(policies) => (policies, None),
            // Each alone holds; that leaves there being too many.
            Err(errors) => {
                (Policies::default(), Some(format!("the policies do not hold together: {errors}")))
            }
        };
        Self { rules, policies, trouble }
    }

    /// Whether they mean the same, whatever statuses say.
    #[must_use]
    pub fn say_the_same(&self, other: &Self) -> bool {
        let edition = |rule: &Rule| (rule.object.metadata.uid.clone(), rule.object.metadata.generation);
        let same =
            |one: &Rule, other: &Rule| edition(one) == edition(other) && one.translation == other.translation;
        self.trouble == other.trouble
            && self.policies == other.policies
            && self.rules.len() == other.rules.len()
            && self
                .rules
                .iter()
                .zip(&other.rules)
                .all(|((one, rule), (two, before))| one == two && same(rule, before))
    }

    /// What they say of a pod.
    #[must_use]
    pub fn terms(&self, namespace: &str, pod: &str, labels: &BTreeMap<String, String>) -> Terms {
        self.policies.terms(&endpoint(namespace, pod, labels), &Answer::default())
    }

    /// How pods are ended that this policy ends; by the name that agents have for it.
    #[must_use]
    pub fn termination(&self, decided_by: &str) -> PodTermination {
        let rule = object_name(decided_by).and_then(|name| self.rules.get(name));
        rule.and_then(|rule| rule.object.spec.termination.clone()).unwrap_or_default()
    }

    /// Whether a policy that holds is for a pod.
    #[must_use]
    pub fn selects(&self, name: &str, namespace: &str, pod: &str, labels: &BTreeMap<String, String>) -> bool {
        let spec = endpoint(namespace, pod, labels);
        self.holding(name).is_some_and(|policy| policy.selector.matches(&spec))
    }

    /// A policy that holds, by the name of its object.
    #[must_use]
    pub fn holding(&self, name: &str) -> Option<&guard::GatePolicy> {
        self.policies.get(&local_name(name))
    }
}

/// A pod as policies look at it.
fn endpoint(namespace: &str, pod: &str, labels: &BTreeMap<String, String>) -> EndpointSpec {
    EndpointSpec {
        name: format!("{namespace}/{pod}"),
        interface: InterfaceRef { name: String::new(), netns: None },
        direction: Default::default(),
        addresses: Vec::new(),
        macs: Vec::new(),
        mode: Default::default(),
        allow: Vec::new(),
        vlans: Vec::new(),
        ethertypes: Vec::new(),
        quarantined: false,
        workload: Workload {
            pod: Some(pod.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: labels.clone(),
            ..Workload::default()
        },
        network: None,
        inside: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_no_news() {
        let policy = |generation, pods| {
            let policy = serde_json::json!({
                "apiVersion": "portcullis.dev/v1alpha1", "kind": "GatePolicy",
                "metadata": {"name": "strict", "uid": "u", "generation": generation},
                "spec": {"mode": "enforce"}, "status": {"pods": pods, "nodes": 1, "terminated": 0},
            });
            Arc::new(serde_json::from_value::<GatePolicy>(policy).unwrap())
        };
        let rules =
            |policy| Rules::new(&BTreeMap::from([("strict".to_owned(), policy)]), &Cluster::default());
        assert!(rules(policy(1, 1)).say_the_same(&rules(policy(1, 2))));
        assert!(!rules(policy(2, 1)).say_the_same(&rules(policy(1, 1))));
        assert!(!rules(policy(1, 1)).say_the_same(&Rules::default()));
    }
}

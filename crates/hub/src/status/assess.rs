//! What there is to be said of the policies. Pure.

use std::collections::BTreeMap;

use portcullis_kubernetes::translate::Translation;
use portcullis_policy::guard::{Response, VITAL_NAMESPACE, glob};

use super::conflicts;
use crate::map::{Digest, Matched, NodeMap};
use crate::rules::{Rule, Rules};

/// Nodes that are named in a sentence.
const MOST_NAMED: usize = 3;

/// A pod of ours, by which it is seen whether a policy means it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPod {
    /// `the hub's`, `the agents'`.
    pub whose: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What the nodes say of all policies.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// Pods by the policies that match them.
    pub matched: Vec<Matched>,
    /// Nodes whose agent told of itself.
    pub nodes: u32,
    applied: BTreeMap<String, Vec<Applied>>,
}

#[derive(Clone, Debug)]
struct Applied {
    node: String,
    generation: i64,
    trouble: Option<String>,
}

impl Picture {
    /// From what they say.
    #[must_use]
    pub fn new<'a>(maps: impl Iterator<Item = &'a NodeMap> + Clone) -> Self {
        let told = maps.filter(|map| map.told);
        let (matched, _) = Digest::sum(told.clone().map(|map| &map.digest));
        let mut picture = Self { matched, ..Self::default() };
        for map in told {
            picture.nodes += 1;
            for policy in &map.policies {
                picture.applied.entry(policy.name.clone()).or_default().push(Applied {
                    node: map.node.to_string(),
                    generation: policy.generation,
                    trouble: policy.trouble.clone(),
                });
            }
        }
        picture
    }
}

/// What is to be said of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The generation that this is about.
    pub generation: Option<i64>,
    /// Pods that it matches.
    pub pods: i32,
    /// Nodes that apply this generation.
    pub nodes: i32,
    /// Type, status, reason, message.
    pub conditions: Vec<Said>,
}

/// A condition, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// `Accepted`, ….
    pub kind: &'static str,
    /// `True`, `False`, `Unknown`.
    pub status: &'static str,
    /// In one word.
    pub reason: &'static str,
    /// In one sentence.
    pub message: String,
}

fn said(kind: &'static str, status: &'static str, reason: &'static str, message: impl Into<String>) -> Said {
    Said { kind, status, reason, message: message.into() }
}

/// Assesses all policies.
#[must_use]
pub fn assess(rules: &Rules, picture: &Picture, own: &[OwnPod]) -> BTreeMap<String, Assessment> {
    let conflicts = conflicts::find(rules, &picture.matched);
    let assess = |(name, rule): (&String, &Rule)| {
        let pods: u32 = picture
            .matched
            .iter()
            .filter(|matched| matched.policies.iter().any(|policy| **policy == **name))
            .map(|matched| matched.pods)
            .sum();
        let (nodes, applied) = applied(name, rule, picture);
        let conflicting = match conflicts.get(name) {
            Some(why) => said("Conflicting", "True", "SamePriority", why.clone()),
            None => {
                said("Conflicting", "False", "NoConflict", "no policy of the same priority contradicts it")
            }
        };
        let conditions =
            vec![accepted(rule), matching(rule, pods), conflicting, spared(rules, name, own), applied];
        let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let generation = rule.object.metadata.generation;
        (name.clone(), Assessment { generation, pods: number(pods), nodes: number(nodes), conditions })
    };
    rules.rules.iter().map(assess).collect()
}

fn accepted(rule: &Rule) -> Said {
    match &rule.translation {
        Translation::Refused(why) => said("Accepted", "False", "Refused", why.clone()),
        Translation::Holds(_) | Translation::Nothing(_) => said("Accepted", "True", "Accepted", "it holds"),
    }
}

fn matching(rule: &Rule, pods: u32) -> Said {
    match (&rule.translation, pods) {
        (Translation::Refused(_), _) => {
            said("Matching", "False", "Refused", "it was refused, and matches nothing")
        }
        (Translation::Nothing(why), _) => said("Matching", "False", "NothingMatches", why.clone()),
        (Translation::Holds(_), 0) => said(
            "Matching",
            "False",
            "NothingMatches",
            "no pod that any node tells of is one that it selects",
        ),
        (Translation::Holds(_), _) => said("Matching", "True", "Matches", "there are pods that it selects"),
    }
}

/// Pods that it seems to end, and never does.
fn spared(rules: &Rules, name: &str, own: &[OwnPod]) -> Said {
    let none = || said("Spared", "False", "Nothing", "nothing that it selects is spared");
    let Some(policy) = rules.holding(name).filter(|policy| policy.response == Some(Response::Terminate))
    else {
        return none();
    };
    let mut parts = Vec::new();
    for pod in own {
        if rules.selects(name, &pod.namespace, &pod.name, &pod.labels) {
            parts.push(format!(
                "{} own pods ({}/{}), which are never ended",
                pod.whose, pod.namespace, pod.name
            ));
        }
    }
    let ours = !parts.is_empty();
    let selector = &policy.selector;
    let vital = selector.namespaces.iter().any(|pattern| glob(pattern, VITAL_NAMESPACE));
    if vital && !selector.names_namespace(VITAL_NAMESPACE) {
        parts.push(format!(
            "pods of {VITAL_NAMESPACE}, which are only put in quarantine, unless the policy names it in `namespaces`"
        ));
    }
    let reason = match (ours, parts.is_empty()) {
        (true, _) => "SelectsPortcullis",
        (false, false) => "SelectsVital",
        (false, true) => return none(),
    };
    said("Spared", "True", reason, format!("it selects {}", parts.join(", and ")))
}

fn applied(name: &str, rule: &Rule, picture: &Picture) -> (u32, Said) {
    let generation = rule.object.metadata.generation.unwrap_or_default();
    let nothing = Vec::new();
    let told = picture.applied.get(name).unwrap_or(&nothing);
    let applies = |one: &&Applied| one.generation >= generation && one.trouble.is_none();
    let count = told.iter().filter(applies).count();
    let nodes = u32::try_from(count).unwrap_or(u32::MAX);
    let of = picture.nodes;
    let share = format!("{nodes} of {of} nodes apply generation {generation}");
    if rule.translation.refusal().is_some() {
        return (0, said("Applied", "False", "Refused", "it was refused, and is applied nowhere"));
    }
    if of == 0 {
        return (0, said("Applied", "Unknown", "NoNodes", "no node has told anything yet"));
    }
    if nodes >= of {
        return (nodes, said("Applied", "True", "AllNodes", share));
    }
    let troubled = told.iter().filter_map(|one| Some((one, one.trouble.as_ref()?)));
    let troubled: Vec<String> =
        troubled.take(MOST_NAMED).map(|(one, trouble)| format!("{}: {trouble}", one.node)).collect();
    let reason = if troubled.is_empty() { "Pending" } else { "Troubled" };
    let message = if troubled.is_empty() { share } else { format!("{share}; {}", troubled.join("; ")) };
    (nodes, said("Applied", "False", reason, message))
}

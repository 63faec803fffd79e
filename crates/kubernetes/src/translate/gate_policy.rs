//! `GatePolicy` → a policy of the agent.

use std::collections::BTreeMap;

use kube::ResourceExt;
use portcullis_policy::address::AddressBinding;
use portcullis_policy::guard::{self, Policies, Response, Selector, Termination, glob};
use portcullis_policy::span::Span;

use super::labels::{expressions, matches};
use super::{Cluster, Intent, Translation};
use crate::crd::{GatePolicy, GatePolicySpec};

/// What the agent's policies of the cluster are called by: never the name of one that somebody put by hand.
const PREFIX: &str = "gatepolicy/";

/// The agent's name for a `GatePolicy`.
#[must_use]
pub fn local_name(object: &str) -> String {
    format!("{PREFIX}{object}")
}

/// The `GatePolicy` that an agent's policy comes from; none: it is of another source.
#[must_use]
pub fn object_name(policy: &str) -> Option<&str> {
    policy.strip_prefix(PREFIX)
}

impl Intent for GatePolicy {
    type Desired = guard::GatePolicy;

    fn translate(&self, cluster: &Cluster) -> Translation<guard::GatePolicy> {
        match policy(&self.name_any(), &self.spec, cluster) {
            Ok(Some(policy)) => match Policies::new(vec![policy.clone()]) {
                Ok(_) => Translation::Holds(policy),
                Err(errors) => Translation::Refused(in_words(&errors)),
            },
            Ok(None) => Translation::Nothing("no namespace fits its selectors".to_owned()),
            Err(why) => Translation::Refused(why),
        }
    }
}

/// Without the name, which whoever reads the object's status knows.
fn in_words(errors: &guard::PolicyErrors) -> String {
    let each: Vec<String> =
        errors.0.iter().map(|error| format!("{}: {}", error.key, error.mistake)).collect();
    each.join("; ")
}

fn policy(name: &str, spec: &GatePolicySpec, cluster: &Cluster) -> Result<Option<guard::GatePolicy>, String> {
    let Some(namespaces) = namespaces(spec, cluster)? else { return Ok(None) };
    let pods = spec.pod_selector.clone().unwrap_or_default();
    let labels: BTreeMap<String, String> = pods.match_labels.clone().unwrap_or_default();
    let selector = Selector {
        namespaces,
        labels,
        expressions: expressions(&pods).map_err(|why| format!("podSelector: {why}"))?,
        ..Selector::default()
    };
    let threshold = spec.threshold.clone().unwrap_or_default();
    if spec.termination.is_some() && spec.response != Some(Response::Terminate) {
        return Err("termination goes with response: terminate: state both, or neither".to_owned());
    }
    Ok(Some(guard::GatePolicy {
        name: local_name(name),
        selector,
        priority: spec.priority,
        mode: spec.mode,
        allow: spec.allow.clone(),
        addresses: addresses(&spec.addresses)?,
        attempts: threshold.attempts,
        window: span("threshold.window", threshold.window.as_deref())?,
        response: spec.response,
        // Pods are ended by the hub, in its own way; where the agent runs without one, by the runtime.
        terminate: (spec.response == Some(Response::Terminate)).then_some(Termination::Kill),
        release_after: span("releaseAfter", spec.release_after.as_deref())?,
        dry_run: spec.dry_run,
    }))
}

/// Patterns of the namespaces that it is for; none: there is no such namespace.
///
/// Names stay patterns, so that a new namespace is covered from its first pod on; only labels have to be looked up.
fn namespaces(spec: &GatePolicySpec, cluster: &Cluster) -> Result<Option<Vec<String>>, String> {
    let named = |name: &str| spec.namespaces.is_empty() || spec.namespaces.iter().any(|it| glob(it, name));
    let Some(selector) = &spec.namespace_selector else {
        let all = || vec!["*".to_owned()];
        return Ok(Some(if spec.namespaces.is_empty() { all() } else { spec.namespaces.clone() }));
    };
    let mut fitting = Vec::new();
    for (name, labels) in &cluster.namespaces {
        let fits = matches(selector, labels).map_err(|why| format!("namespaceSelector: {why}"))?;
        if fits && named(name) {
            fitting.push(name.clone());
        }
    }
    // A vital namespace counts as named only where the policy itself names it.
    let vital = guard::VITAL_NAMESPACE;
    if let Some(found) = fitting.iter_mut().find(|name| *name == vital)
        && !spec.namespaces.iter().any(|name| name == vital)
    {
        *found = format!("{vital}*");
    }
    Ok((!fitting.is_empty()).then_some(fitting))
}

fn addresses(texts: &[String]) -> Result<Vec<AddressBinding>, String> {
    let parse = |text: &String| text.parse().map_err(|error| format!("addresses: {error}"));
    texts.iter().map(parse).collect()
}

fn span(key: &str, text: Option<&str>) -> Result<Option<Span>, String> {
    text.map(|text| text.parse().map_err(|error| format!("{key}: {error}"))).transpose()
}

#[cfg(test)]
mod tests {
    use portcullis_policy::guard::Answer;
    use portcullis_policy::model::{EndpointSpec, Mode, Workload};

    use super::*;

    fn object(spec: &str) -> GatePolicy {
        GatePolicy::new("strict", serde_yaml_ng::from_str(spec).unwrap())
    }

    fn cluster() -> Cluster {
        let labels = |tier: &str| BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
        let namespaces = [("shop", "front"), ("db", "back"), ("kube-system", "front")];
        Cluster {
            namespaces: namespaces.into_iter().map(|(name, tier)| (name.to_owned(), labels(tier))).collect(),
        }
    }

    fn pod(namespace: &str, app: &str) -> EndpointSpec {
        let mut spec: EndpointSpec = serde_json::from_str(
            r#"{"name": "p", "interface": {"name": "veth0"}, "addresses": ["10.0.0.2"]}"#,
        )
        .unwrap();
        spec.workload = Workload {
            pod: Some("p".to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
            ..Workload::default()
        };
        spec
    }

    fn holds(spec: &str) -> Policies {
        Policies::new(vec![object(spec).translate(&cluster()).desired().unwrap()]).unwrap()
    }

    #[test]
    fn selectors_mean_what_kubernetes_means_by_them() {
        for (spec, namespace, app, fits) in [
            ("mode: audit", "shop", "web", true),
            ("{mode: audit, namespaces: [shop]}", "db", "web", false),
            ("{mode: audit, namespaces: [sh*]}", "shop", "web", true),
            ("{mode: audit, podSelector: {matchLabels: {app: web}}}", "new", "web", true),
            ("{mode: audit, podSelector: {matchLabels: {app: web}}}", "new", "api", false),
            (
                "{mode: audit, podSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}}",
                "db",
                "web",
                true,
            ),
            ("{mode: audit, namespaceSelector: {matchLabels: {tier: front}}}", "shop", "web", true),
            ("{mode: audit, namespaceSelector: {matchLabels: {tier: front}}}", "db", "web", false),
            (
                "{mode: audit, namespaces: [d*], namespaceSelector: {matchExpressions: [{key: tier, operator: Exists}]}}",
                "shop",
                "web",
                false,
            ),
        ] {
            let matched = holds(spec).matching(&pod(namespace, app)).count() == 1;
            assert_eq!(matched, fits, "{spec} on {namespace}/{app}");
        }
        let mut by_hand = pod("shop", "web");
        by_hand.workload.namespace = None;
        assert_eq!(holds("mode: audit").matching(&by_hand).count(), 0, "what is no pod is not a cluster's");
    }

    #[test]
    fn what_cannot_hold_is_said_in_one_sentence() {
        for (spec, word) in [
            ("{mode: audit, addresses: [10.0.0.300]}", "10.0.0.300"),
            ("{releaseAfter: 10m}", "releaseAfter"),
            ("{threshold: {window: soon}}", "threshold.window"),
            ("{response: report, termination: {method: evict}}", "termination"),
            ("{}", "no effect"),
            ("{mode: audit, podSelector: {matchExpressions: [{key: a, operator: Like}]}}", "Like"),
            ("{mode: audit, podSelector: {matchExpressions: [{key: a, operator: In}]}}", "values"),
            ("{mode: audit, addresses: [127.0.0.1]}", "loopback"),
        ] {
            let translation = object(spec).translate(&cluster());
            let why = translation.refusal().unwrap_or_else(|| panic!("{spec}: {translation:?}"));
            assert!(
                why.contains(word) || word == "releaseAfter" && why.contains("release_after"),
                "{spec}: {why}"
            );
            assert!(!why.contains('\n'), "{why}");
        }
        let nothing = object("{mode: audit, namespaceSelector: {matchLabels: {tier: none}}}");
        assert!(matches!(nothing.translate(&cluster()), Translation::Nothing(_)));
    }

    #[test]
    fn a_cluster_is_kept_alive_unless_a_policy_names_it() {
        for (spec, response) in [
            ("{response: terminate}", Response::Quarantine),
            ("{response: terminate, namespaces: ['kube-*']}", Response::Quarantine),
            ("{response: terminate, namespaceSelector: {matchLabels: {tier: front}}}", Response::Quarantine),
            ("{response: terminate, namespaces: [kube-system]}", Response::Terminate),
        ] {
            let terms = holds(spec).terms(&pod("kube-system", "dns"), &Answer::default());
            assert_eq!(terms.answer.response, response, "{spec}");
        }
    }

    #[test]
    fn everything_that_is_said_arrives() {
        let spec = "{priority: 5, mode: enforce, allow: [router], addresses: [10.9.9.9/32], threshold: {attempts: 3, window: 5s},
            response: terminate, termination: {method: evict, gracePeriodSeconds: 3}, releaseAfter: 10m, dryRun: true}";
        let policy = object(spec).translate(&cluster()).desired().unwrap();
        assert_eq!((policy.name.as_str(), object_name(&policy.name)), ("gatepolicy/strict", Some("strict")));
        assert_eq!((policy.priority, policy.mode, policy.dry_run), (5, Some(Mode::Enforce), Some(true)));
        assert_eq!((policy.attempts, policy.window), (Some(3), Some(Span::from_secs(5))));
        assert_eq!((policy.response, policy.addresses.len()), (Some(Response::Terminate), 1));
        assert_eq!((policy.release_after, policy.allow.len()), (Some(Span::from_secs(600)), 1));
    }
}

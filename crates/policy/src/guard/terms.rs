//! What all policies together say of an endpoint.

use super::validate::PolicyErrors;
use super::{Answer, GatePolicy, Response, Terms, VITAL_NAMESPACE};
use crate::model::EndpointSpec;

/// Valid policies, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies(Vec<GatePolicy>);

impl Policies {
    /// Validates and sorts.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn new(mut policies: Vec<GatePolicy>) -> Result<Self, PolicyErrors> {
        PolicyErrors::check(&policies)?;
        policies.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        Ok(Self(policies))
    }

    /// All of them, the first to be asked first.
    pub fn iter(&self) -> std::slice::Iter<'_, GatePolicy> {
        self.0.iter()
    }

    /// The one of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&GatePolicy> {
        self.0.iter().find(|policy| policy.name == name)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that match `spec`, the first to be asked first.
    pub fn matching<'a>(&'a self, spec: &'a EndpointSpec) -> impl Iterator<Item = &'a GatePolicy> {
        self.0.iter().filter(|policy| policy.selector.matches(spec))
    }

    /// All that they say of `spec`; `defaults` hold where none says anything. A dry run in `defaults` is
    /// for everybody.
    #[must_use]
    pub fn terms(&self, spec: &EndpointSpec, defaults: &Answer) -> Terms {
        let mut terms = Terms { answer: *defaults, ..Terms::default() };
        let (mut attempts, mut window, mut dry_run, mut responsible) = (None, None, None, None);
        for policy in self.matching(spec) {
            terms.policies.push(policy.name.clone());
            terms.mode = terms.mode.or(policy.mode);
            add(&mut terms.allow, &policy.allow);
            add(&mut terms.addresses, &policy.addresses);
            attempts = attempts.or(policy.attempts);
            window = window.or(policy.window);
            dry_run = dry_run.or(policy.dry_run);
            responsible = responsible.or(policy.response.map(|response| (policy, response)));
        }
        let answer = &mut terms.answer;
        answer.attempts = attempts.unwrap_or(defaults.attempts);
        answer.window = window.unwrap_or(defaults.window);
        answer.dry_run = defaults.dry_run || dry_run.unwrap_or_default();
        if let Some((policy, response)) = responsible {
            answer.response = response;
            answer.terminate = policy.terminate.unwrap_or(defaults.terminate);
            answer.release_after = policy.release_after;
            terms.decided_by = Some(policy.name.clone());
            spare_the_vital(spec, policy, &mut terms);
        }
        terms
    }
}

/// A policy for everybody must not take a cluster down with it.
fn spare_the_vital(spec: &EndpointSpec, policy: &GatePolicy, terms: &mut Terms) {
    let vital = spec.workload.namespace.as_deref() == Some(VITAL_NAMESPACE);
    let named = policy.selector.names_namespace(VITAL_NAMESPACE);
    if vital && !named && terms.answer.response == Response::Terminate {
        terms.answer.response = Response::Quarantine;
        terms.spared = Some(format!(
            "policy \"{}\" says terminate, but pods of {VITAL_NAMESPACE} are ended only by a policy that selects namespace = \"{VITAL_NAMESPACE}\"",
            policy.name
        ));
    }
}

fn add<T: Copy + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !all.contains(item) {
            all.push(*item);
        }
    }
}

impl<'a> IntoIterator for &'a Policies {
    type Item = &'a GatePolicy;
    type IntoIter = std::slice::Iter<'a, GatePolicy>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::spec;
    use crate::guard::Termination;
    use crate::model::{Mode, Permission};
    use crate::span::Span;

    fn policies(texts: &[&str]) -> Policies {
        Policies::new(texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()).unwrap()
    }

    fn web() -> EndpointSpec {
        let mut web = spec("web", "veth0", &["10.0.0.1"]);
        web.network = Some("front".into());
        web
    }

    #[test]
    fn without_a_policy_the_defaults_hold() {
        let defaults = Answer { attempts: 3, ..Answer::default() };
        let terms = policies(&[]).terms(&web(), &defaults);
        assert_eq!(terms, Terms { answer: defaults, ..Terms::default() });
    }

    #[test]
    fn the_first_that_states_a_property_decides_and_grants_add_up() {
        let policies = policies(&[
            r#"{"name": "b", "match": {"name": "*"}, "attempts": 5, "allow": ["router"], "mode": "enforce"}"#,
            r#"{"name": "a", "match": {"name": "*"}, "attempts": 6, "window": "5s", "allow": ["tunnel", "router"],
                "addresses": ["10.9.9.9"]}"#,
            r#"{"name": "top", "match": {"network": "front"}, "priority": 10, "mode": "audit"}"#,
            r#"{"name": "other", "match": {"network": "back"}, "priority": 20, "mode": "off"}"#,
        ]);
        let terms = policies.terms(&web(), &Answer::default());
        assert_eq!(terms.policies, ["top", "a", "b"]);
        assert_eq!(terms.mode, Some(Mode::Audit));
        assert_eq!((terms.answer.attempts, terms.answer.window), (6, Span::from_secs(5)));
        assert_eq!(terms.allow, [Permission::Tunnel, Permission::Router]);
        assert_eq!(terms.addresses.len(), 1);
        assert_eq!((terms.answer.response, terms.decided_by), (Response::Report, None));
        let names: Vec<_> = policies.iter().map(|policy| policy.name.as_str()).collect();
        assert_eq!(names, ["other", "top", "a", "b"]);
    }

    #[test]
    fn how_and_how_long_go_with_the_response() {
        let policies = policies(&[
            r#"{"name": "low", "match": {"name": "*"}, "response": "quarantine", "release_after": "10m"}"#,
            r#"{"name": "high", "match": {"name": "w*"}, "priority": 1, "response": "terminate", "terminate": "stop"}"#,
        ]);
        let terms = policies.terms(&web(), &Answer::default());
        assert_eq!(terms.decided_by.as_deref(), Some("high"));
        assert_eq!((terms.answer.response, terms.answer.terminate), (Response::Terminate, Termination::Stop));
        assert_eq!(terms.answer.release_after, None, "a quarantine that nobody limited ends by hand");
        let terms = policies.terms(&spec("db", "v", &["10.0.0.1"]), &Answer::default());
        assert_eq!(terms.answer.release_after, Some(Span::from_secs(600)));
    }

    #[test]
    fn a_dry_run_for_all_is_for_all() {
        let policies = policies(&[r#"{"name": "a", "match": {"name": "*"}, "dry_run": false}"#]);
        assert!(policies.terms(&web(), &Answer { dry_run: true, ..Answer::default() }).answer.dry_run);
        assert!(!policies.terms(&web(), &Answer::default()).answer.dry_run);
    }

    #[test]
    fn a_policy_for_all_does_not_end_what_keeps_a_cluster_alive() {
        let mut dns = web();
        dns.workload.namespace = Some("kube-system".into());
        let all = r#"{"name": "all", "match": {"name": "*"}, "response": "terminate"}"#;
        let terms = policies(&[all]).terms(&dns, &Answer::default());
        assert_eq!(terms.answer.response, Response::Quarantine);
        assert!(terms.spared.is_some_and(|why| why.contains("kube-system")));
        assert_eq!(policies(&[all]).terms(&web(), &Answer::default()).answer.response, Response::Terminate);
        let named = r#"{"name": "it", "match": {"namespace": "kube-system"}, "response": "terminate"}"#;
        assert_eq!(policies(&[named]).terms(&dns, &Answer::default()).answer.response, Response::Terminate);
        let pattern = r#"{"name": "it", "match": {"namespace": "*"}, "response": "terminate"}"#;
        assert_eq!(
            policies(&[pattern]).terms(&dns, &Answer::default()).answer.response,
            Response::Quarantine
        );
    }
}

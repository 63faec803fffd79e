//! What a policy must keep to.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

use super::{GatePolicy, LabelExpression, LabelOperator, Response, Selector};
use crate::address::AddressBinding;
use crate::span::Span;
use crate::validate::{MAX_ADDRESSES, check_name};

/// Most policies: each is asked for each endpoint.
pub const MAX_POLICIES: usize = 1024;
/// Longest pattern, in bytes.
const MAX_PATTERN_LEN: usize = 512;
/// Most labels that one selector names.
const MAX_LABELS: usize = 64;
/// Most namespaces, or values of one expression, that one selector names.
const MAX_VALUES: usize = 4096;
/// Attempts that may be a threshold.
const ATTEMPTS: std::ops::RangeInclusive<u16> = 1..=10_000;
/// Windows: the kernel counts in milliseconds, and nobody remembers for longer than a day.
const WINDOW: std::ops::RangeInclusive<Span> = Span::from_millis(100)..=Span::from_millis(86_400_000);
/// A shorter quarantine could be over before its cause is known.
const SHORTEST_RELEASE: Span = Span::from_secs(1);

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyMistake {
    /// Not a name.
    #[error(
        "{0} cannot be a policy's name: use 1 to 253 letters, digits, - _ . / : with a letter or digit in front"
    )]
    Name(String),
    /// The name of a policy before it.
    #[error("this name stands twice: give each policy its own")]
    NameTwice,
    /// A selector that states nothing.
    #[error("it does not say which endpoints: write match = {{ name = \"*\" }} if it is for all")]
    MatchesNothing,
    /// A pattern that no name can fit.
    #[error("{key} = {pattern:?} can fit nothing: {why}")]
    Pattern {
        /// What it is a pattern for.
        key: String,
        /// The pattern, shortened.
        pattern: String,
        /// Why, and what to write.
        why: &'static str,
    },
    /// No effect at all.
    #[error(
        "it has no effect: state at least one of mode, allow, addresses, attempts, window, response, dry_run"
    )]
    NoEffect,
    /// An address that no container sends from.
    #[error("{0} is a loopback address, which never leaves its host: leave it out")]
    Loopback(AddressBinding),
    /// A threshold out of range.
    #[error("write a number from {} to {}", ATTEMPTS.start(), ATTEMPTS.end())]
    Attempts,
    /// A window out of range.
    #[error("write a length of time from {} to {}", WINDOW.start(), WINDOW.end())]
    Window,
    /// A release before its time.
    #[error("write a length of time of at least {SHORTEST_RELEASE}")]
    Release,
    /// A detail of a response that is not this policy's.
    #[error("{0} goes with its response: state {1} in this policy, or leave it out")]
    WithoutResponse(&'static str, &'static str),
    /// More than anybody writes.
    #[error("{0} are too many (at most {1}): write several policies, or patterns")]
    TooMany(usize, usize),
}

/// What is wrong with which key of which policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Place of the policy in the list, from 0.
    pub index: usize,
    /// Its name, as written.
    pub policy: String,
    /// The key, as in the file.
    pub key: &'static str,
    /// What is wrong.
    pub mistake: PolicyMistake,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.policy.chars().take(80).collect();
        write!(f, "policy {name:?}: {}: {}", self.key, self.mistake)
    }
}

/// Everything that is wrong with a list of policies; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct PolicyErrors(pub Vec<PolicyError>);

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl PolicyErrors {
    pub(super) fn check(policies: &[GatePolicy]) -> Result<(), Self> {
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        for (index, policy) in policies.iter().enumerate() {
            let mut found = Vec::new();
            if !names.insert(policy.name.as_str()) {
                found.push(("name", PolicyMistake::NameTwice));
            }
            check(policy, &mut found);
            errors.extend(found.into_iter().map(|(key, mistake)| PolicyError {
                index,
                policy: policy.name.clone(),
                key,
                mistake,
            }));
        }
        if policies.len() > MAX_POLICIES {
            let mistake = PolicyMistake::TooMany(policies.len(), MAX_POLICIES);
            errors.push(PolicyError {
                index: MAX_POLICIES,
                policy: policies[MAX_POLICIES].name.clone(),
                key: "name",
                mistake,
            });
        }
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }
}

type Found = Vec<(&'static str, PolicyMistake)>;

fn check(policy: &GatePolicy, found: &mut Found) {
    if check_name(&policy.name).is_err() {
        found.push(("name", PolicyMistake::Name(shown(&policy.name))));
    }
    check_selector(&policy.selector, found);
    let answers = policy.attempts.is_some()
        || policy.window.is_some()
        || policy.response.is_some()
        || policy.terminate.is_some()
        || policy.release_after.is_some()
        || policy.dry_run.is_some();
    if policy.mode.is_none() && policy.allow.is_empty() && policy.addresses.is_empty() && !answers {
        found.push(("name", PolicyMistake::NoEffect));
    }
    if policy.addresses.len() > MAX_ADDRESSES {
        found.push(("addresses", PolicyMistake::TooMany(policy.addresses.len(), MAX_ADDRESSES)));
    }
    if let Some(address) = policy.addresses.iter().find(|address| address.is_loopback()) {
        found.push(("addresses", PolicyMistake::Loopback(*address)));
    }
    if policy.attempts.is_some_and(|attempts| !ATTEMPTS.contains(&attempts)) {
        found.push(("attempts", PolicyMistake::Attempts));
    }
    if policy.window.is_some_and(|window| !WINDOW.contains(&window)) {
        found.push(("window", PolicyMistake::Window));
    }
    if policy.terminate.is_some() && policy.response != Some(Response::Terminate) {
        let mistake = PolicyMistake::WithoutResponse("terminate", "response = \"terminate\"");
        found.push(("terminate", mistake));
    }
    if policy.release_after.is_some() && policy.response.is_none_or(|r| r < Response::Quarantine) {
        let mistake = PolicyMistake::WithoutResponse("release_after", "response = \"quarantine\"");
        found.push(("release_after", mistake));
    }
    if policy.release_after.is_some_and(|after| after < SHORTEST_RELEASE) {
        found.push(("release_after", PolicyMistake::Release));
    }
}

fn check_selector(selector: &Selector, found: &mut Found) {
    if selector.is_empty() {
        found.push(("match", PolicyMistake::MatchesNothing));
    }
    if selector.labels.len() > MAX_LABELS {
        found.push(("match", PolicyMistake::TooMany(selector.labels.len(), MAX_LABELS)));
    }
    let Selector { name, labels: _, network, image, runtime, namespace, namespaces, expressions } = selector;
    let texts = [
        ("name", name),
        ("network", network),
        ("image", image),
        ("runtime", runtime),
        ("namespace", namespace),
    ];
    let texts = texts.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?)));
    for (key, pattern) in texts.chain(namespaces.iter().map(|text| ("namespaces", text.as_str()))) {
        let why = match pattern {
            "" => "it is empty: leave the key out, or write \"*\" for any",
            _ => match too_odd(pattern) {
                Some(why) => why,
                None => continue,
            },
        };
        found.push(("match", pattern_mistake(key.to_owned(), pattern, why)));
    }
    for (key, pattern) in &selector.labels {
        let why = if key.is_empty() || key.contains('*') {
            Some("a label's key is written out; only its value is a pattern")
        } else {
            too_odd(key).or_else(|| too_odd(pattern))
        };
        if let Some(why) = why {
            found.push(("match", pattern_mistake(format!("labels.{}", shown(key)), pattern, why)));
        }
    }
    if namespaces.len() > MAX_VALUES {
        found.push(("match", PolicyMistake::TooMany(namespaces.len(), MAX_VALUES)));
    }
    check_expressions(expressions, found);
}

fn check_expressions(expressions: &[LabelExpression], found: &mut Found) {
    if expressions.len() > MAX_LABELS {
        found.push(("match", PolicyMistake::TooMany(expressions.len(), MAX_LABELS)));
    }
    for LabelExpression { key, operator, values } in expressions {
        let wants = matches!(operator, LabelOperator::In | LabelOperator::NotIn);
        let why = match values.is_empty() {
            true if wants => Some("In and NotIn need values to compare with"),
            false if !wants => Some("Exists and DoesNotExist take no values"),
            _ if values.len() > MAX_VALUES => Some("more values than anybody writes: use several policies"),
            _ if key.is_empty() => Some("a label's key is written out"),
            _ => too_odd(key).or_else(|| values.iter().find_map(|value| too_odd(value))),
        };
        if let Some(why) = why {
            let mistake = pattern_mistake(format!("expressions.{}", shown(key)), &values.join(", "), why);
            found.push(("match", mistake));
        }
    }
}

fn pattern_mistake(key: String, pattern: &str, why: &'static str) -> PolicyMistake {
    PolicyMistake::Pattern { key, pattern: pattern.chars().take(80).collect(), why }
}

fn too_odd(text: &str) -> Option<&'static str> {
    if text.len() > MAX_PATTERN_LEN {
        Some("it is over 512 bytes long: write * for a part of it")
    } else if text.chars().any(char::is_control) {
        Some("it has control characters: write * in their place")
    } else if text.trim() != text {
        Some("it has a blank at its end: take it away")
    } else {
        None
    }
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Policies;

    fn errors(texts: &[&str]) -> String {
        let policies = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        Policies::new(policies).unwrap_err().to_string()
    }

    #[test]
    fn each_mistake_says_what_to_write() {
        let all = r#""match": {"name": "*"}"#;
        for (text, says) in [
            (
                r#"{"name": "", "match": {"name": "*"}, "mode": "audit"}"#.to_owned(),
                "cannot be a policy's name",
            ),
            (r#"{"name": "a", "match": {}, "mode": "audit"}"#.into(), r#"match = { name = "*" }"#),
            (format!(r#"{{"name": "a", {all}}}"#), "it has no effect: state at least one of mode"),
            (format!(r#"{{"name": "a", {all}, "addresses": ["::1"]}}"#), "::1 is a loopback address"),
            (format!(r#"{{"name": "a", {all}, "attempts": 0}}"#), "attempts: write a number from 1 to 10000"),
            (format!(r#"{{"name": "a", {all}, "attempts": 10001}}"#), "from 1 to 10000"),
            (format!(r#"{{"name": "a", {all}, "window": "99ms"}}"#), "from 100ms to 1d"),
            (format!(r#"{{"name": "a", {all}, "window": "25h"}}"#), "from 100ms to 1d"),
            (format!(r#"{{"name": "a", {all}, "terminate": "kill"}}"#), r#"state response = "terminate""#),
            (
                format!(r#"{{"name": "a", {all}, "response": "quarantine", "terminate": "kill"}}"#),
                "terminate goes with its response",
            ),
            (
                format!(r#"{{"name": "a", {all}, "response": "report", "release_after": "1m"}}"#),
                "release_after goes with its response",
            ),
            (
                format!(r#"{{"name": "a", {all}, "response": "quarantine", "release_after": "10ms"}}"#),
                "of at least 1s",
            ),
            (r#"{"name": "a", "match": {"image": ""}, "mode": "audit"}"#.into(), "leave the key out"),
            (r#"{"name": "a", "match": {"labels": {"a*": "x"}}, "mode": "audit"}"#.into(), "is written out"),
            (r#"{"name": "a", "match": {"name": "x "}, "mode": "audit"}"#.into(), "blank at its end"),
        ] {
            let error = errors(&[&text]);
            assert!(error.contains(says) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn all_mistakes_are_told_with_their_place() {
        let bad = r#"{"name": "a", "match": {}, "attempts": 0}"#;
        let policies = [bad, bad].map(|text| serde_json::from_str(text).unwrap()).to_vec();
        let PolicyErrors(errors) = Policies::new(policies).unwrap_err();
        let places: Vec<_> = errors.iter().map(|error| (error.index, error.key)).collect();
        assert_eq!(places, [(0, "match"), (0, "attempts"), (1, "name"), (1, "match"), (1, "attempts")]);
    }

    #[test]
    fn limits_are_part_of_what_is_allowed() {
        let text = r#"{"name": "a", "match": {"labels": {"a.b/c": ""}}, "attempts": 10000, "window": "1d",
            "response": "terminate", "terminate": "restart", "release_after": "1s"}"#;
        Policies::new(vec![serde_json::from_str(text).unwrap()]).unwrap();
        let many = (0..=MAX_POLICIES)
            .map(|i| {
                serde_json::from_str(&format!(
                    r#"{{"name": "p{i}", "match": {{"name": "*"}}, "mode": "audit"}}"#
                ))
                .unwrap()
            })
            .collect();
        assert!(Policies::new(many).unwrap_err().to_string().contains("too many"));
    }
}

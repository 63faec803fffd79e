//! Policies that contradict each other: of one priority, for the same pods, with different words for one property.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_kubernetes::crd::GatePolicySpec;

use crate::map::Matched;
use crate::rules::Rules;

/// What a policy is in conflict with: one sentence for each policy.
pub type Conflicts = BTreeMap<String, String>;

/// A property that only one policy can decide, as text.
type Property = (&'static str, fn(&GatePolicySpec) -> Option<String>);

const PROPERTIES: [Property; 5] = [
    ("mode", |spec| spec.mode.map(|mode| mode.to_string())),
    ("response", |spec| spec.response.map(|response| response.to_string())),
    ("threshold.attempts", |spec| spec.threshold.as_ref()?.attempts.map(|attempts| attempts.to_string())),
    ("threshold.window", |spec| spec.threshold.as_ref()?.window.clone()),
    ("dryRun", |spec| spec.dry_run.map(|dry| dry.to_string())),
];

/// Looks at every set of policies that some pod has.
pub fn find(rules: &Rules, matched: &[Matched]) -> Conflicts {
    let mut conflicts = Conflicts::new();
    for matched in matched {
        for (property, value) in PROPERTIES {
            contradiction(rules, matched, property, value, &mut conflicts);
        }
    }
    conflicts
}

fn contradiction(
    rules: &Rules,
    matched: &Matched,
    property: &str,
    value: fn(&GatePolicySpec) -> Option<String>,
    conflicts: &mut Conflicts,
) {
    let spec =
        |name: &Arc<str>| rules.holding(name).and(rules.rules.get(&**name)).map(|rule| &rule.object.spec);
    let mut stating: Vec<(&str, i32, String)> = matched
        .policies
        .iter()
        .filter_map(|name| spec(name).and_then(|spec| Some((&**name, spec.priority, value(spec)?))))
        .collect();
    // Nodes name them in this order; what they say may be older than the policies.
    stating.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let Some(((ruler, priority, says), others)) = stating.split_first() else { return };
    for (other, _, differs) in others.iter().filter(|(_, p, text)| p == priority && text != says) {
        let sentence = |to: &str, own: &str, theirs: &str| {
            format!(
                "{property}: {own} here and {theirs} in {to}, which has the same priority {priority} and matches the same \
                 pods, such as {}; {ruler} decides, since it is the first by name",
                matched.example
            )
        };
        conflicts.entry((*ruler).to_owned()).or_insert_with(|| sentence(other, says, differs));
        conflicts.entry((*other).to_owned()).or_insert_with(|| sentence(ruler, differs, says));
    }
}

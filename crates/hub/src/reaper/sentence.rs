//! What is said about a pod over its threshold: one sentence.

use portcullis_kubernetes::crd::{Offender, TerminationMethod};

use super::decide::End;

/// Names and numbers come from a node, and are shown to people.
const MOST_REASONS: usize = 6;

/// What it did.
pub fn deed(offender: &Offender) -> String {
    let mut reasons: Vec<(&String, &u64)> =
        offender.reasons.iter().filter(|(_, count)| **count > 0).collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let reasons: Vec<String> =
        reasons.iter().take(MOST_REASONS).map(|(reason, count)| format!("{reason} {count}")).collect();
    let kinds = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!("{} hostile attempts within {}{kinds}", offender.attempts, offender.window)
}

/// It was ended.
pub fn ended(offender: &Offender, end: &End) -> String {
    let what = match end.method {
        TerminationMethod::Delete => "deleted",
        TerminationMethod::Evict => "evicted",
    };
    let next = match &end.controller {
        Some(controller) => format!("{} {} makes a new one", controller.kind, controller.name),
        None => "it has no controller, and stays gone".to_owned(),
    };
    format!("{what} after {}, as GatePolicy {} says; {next}", deed(offender), end.policy)
}

/// It is not ended.
pub fn withheld(offender: &Offender, why: &str) -> String {
    format!("not ended after {}: {why}; its quarantine holds", deed(offender))
}

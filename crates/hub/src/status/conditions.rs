//! From what is to be said to what is written: only changes, and only changes of the status have a new time.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use portcullis_kubernetes::crd::GatePolicyStatus;

use super::assess::{Assessment, Said};

/// What the API server takes.
const MOST_MESSAGE: usize = 1024;

/// The status that says so; `before` is what it is now.
pub fn status(
    assessment: &Assessment,
    before: Option<&GatePolicyStatus>,
    terminated: i64,
    now: Timestamp,
) -> GatePolicyStatus {
    let known = before.map_or(&[][..], |status| &status.conditions[..]);
    let condition = |said: &Said| {
        let before = known.iter().find(|condition| condition.type_ == said.kind);
        let same = before.filter(|condition| condition.status == said.status);
        Condition {
            last_transition_time: same
                .map_or(Time(whole_seconds(now)), |condition| condition.last_transition_time.clone()),
            message: said.message.chars().take(MOST_MESSAGE).collect(),
            observed_generation: assessment.generation,
            reason: said.reason.to_owned(),
            status: said.status.to_owned(),
            type_: said.kind.to_owned(),
        }
    };
    GatePolicyStatus {
        observed_generation: assessment.generation,
        pods: assessment.pods,
        nodes: assessment.nodes,
        terminated,
        conditions: assessment.conditions.iter().map(condition).collect(),
    }
}

/// What the API server keeps of a time.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Whether nothing but the order of conditions differs.
pub fn is_same(a: &GatePolicyStatus, b: &GatePolicyStatus) -> bool {
    let sorted = |status: &GatePolicyStatus| {
        let mut status = status.clone();
        status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        status
    };
    sorted(a) == sorted(b)
}

/// What somebody should hear of: conditions that are not as they should be, and were not so (or not for that
/// reason) before.
pub fn news<'a>(
    before: Option<&'a GatePolicyStatus>,
    now: &'a GatePolicyStatus,
) -> impl Iterator<Item = &'a Condition> {
    let bad = |condition: &&Condition| {
        matches!(
            (condition.type_.as_str(), condition.status.as_str()),
            ("Accepted" | "Matching", "False") | ("Conflicting" | "Spared", "True")
        ) && condition.reason != "Refused"
            || condition.type_ == "Accepted" && condition.status == "False"
    };
    let known = before.map_or(&[][..], |status| &status.conditions[..]);
    let same = |a: &Condition, b: &Condition| {
        (&a.type_, &a.status, &a.reason) == (&b.type_, &b.status, &b.reason)
            && (a.type_ != "Accepted" || a.message == b.message)
    };
    now.conditions.iter().filter(bad).filter(move |condition| !known.iter().any(|old| same(old, condition)))
}

//! What fits into an object, and what counts as a change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use crate::crd::{EndpointMapStatus, EndpointRow, MOST_OFFENDERS, MOST_ROWS};
use crate::rest::cut;

/// Messages are cut there, in characters.
pub const LONGEST_MESSAGE: usize = 200;
/// etcd takes 1.5 MB, with who owns what, and JSON is what the API server counts.
const MOST_BYTES: usize = 1_000_000;
const MOST_ADDRESSES: usize = 64;
const MOST_CONFLICTS: usize = 8;
const MOST_POLICIES: usize = 1024;
const MOST_CONDITIONS: usize = 16;

/// Sorts it and makes it as small as it has to be. The rest is counted.
pub fn fit(status: &mut EndpointMapStatus) {
    status.endpoints.sort_by(|one, other| order(one).cmp(&order(other)));
    status.endpoints.iter_mut().for_each(fit_row);
    status.offenders.sort_by(|one, other| (&one.time, &one.uid).cmp(&(&other.time, &other.uid)));
    status.offenders.truncate(MOST_OFFENDERS);
    status.policies.sort_by(|one, other| one.name.cmp(&other.name));
    status.policies.truncate(MOST_POLICIES);
    status.policies.iter_mut().for_each(|policy| shorten(&mut policy.trouble));
    status.conditions.truncate(MOST_CONDITIONS);
    for condition in &mut status.conditions {
        condition.message = cut(&condition.message, LONGEST_MESSAGE);
        if condition.message.is_empty() {
            condition.message.clone_from(&condition.reason); // see `without_empty`
        }
    }
    let size = |row: &EndpointRow| serde_json::to_vec(row).map_or(0, |text| text.len() + 1);
    let mut room = MOST_BYTES;
    let fitting = status.endpoints.iter().take(MOST_ROWS).take_while(|row| {
        let left = room.checked_sub(size(row));
        room = left.unwrap_or_default();
        left.is_some()
    });
    let kept = fitting.count();
    let dropped = status.endpoints.len() - kept;
    status.endpoints.truncate(kept);
    if dropped > 0 {
        status.summary.left_out = i32::try_from(dropped).unwrap_or(i32::MAX);
    }
}

/// API servers of 1.20 take an empty text, list or object in a custom resource for null, and refuse the whole.
pub(super) fn without_empty(value: &mut Value) {
    let is_empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        _ => false,
    };
    match value {
        Value::Array(values) => {
            values.iter_mut().for_each(without_empty);
            values.retain(|value| !is_empty(value));
        }
        Value::Object(values) => {
            values.values_mut().for_each(without_empty);
            values.retain(|_, value| !is_empty(value));
        }
        _ => {}
    }
}

type Order<'a> = [Option<&'a str>; 5];

fn order(row: &EndpointRow) -> Order<'_> {
    [&row.namespace, &row.pod, &row.uid, &row.interface, &row.name].map(Option::as_deref)
}

fn fit_row(row: &mut EndpointRow) {
    row.addresses.truncate(MOST_ADDRESSES);
    row.macs.truncate(MOST_ADDRESSES);
    row.policies.truncate(MOST_ADDRESSES);
    row.conflicts.truncate(MOST_CONFLICTS);
    for conflict in &mut row.conflicts {
        *conflict = cut(conflict, LONGEST_MESSAGE);
    }
    shorten(&mut row.message);
}

fn shorten(message: &mut Option<String>) {
    if let Some(message) = message {
        *message = cut(message, LONGEST_MESSAGE);
    }
}

/// Whether they say the same, whenever it was said.
#[must_use]
pub fn same_content(one: &EndpointMapStatus, other: &EndpointMapStatus) -> bool {
    let EndpointMapStatus { agent, published: _, summary, endpoints, offenders, policies, conditions } = one;
    (agent, summary, endpoints, offenders, policies)
        == (&other.agent, &other.summary, &other.endpoints, &other.offenders, &other.policies)
        && conditions.len() == other.conditions.len()
        && conditions.iter().zip(&other.conditions).all(|(one, other)| same_condition(one, other))
}

fn same_condition(one: &Condition, other: &Condition) -> bool {
    (&one.type_, &one.status, &one.reason, &one.message)
        == (&other.type_, &other.status, &other.reason, &other.message)
        && one.observed_generation == other.observed_generation
}

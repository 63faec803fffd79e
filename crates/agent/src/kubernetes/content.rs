//! What the node's map says: pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use portcullis_kubernetes::crd::{EndpointRow, Offender, Summary};
use portcullis_kubernetes::translate::object_name;
use portcullis_policy::api::{ContainerMap, Endpoint, MapRow, MapState, SourceState, SourceStatus};
use portcullis_policy::guard::Response;

use crate::core::Offence;

/// Longest message of a row or a condition, in characters.
const MOST_LETTERS: usize = 300;

/// The rows of the map, each with what is known of its endpoint.
pub(super) fn rows(map: &ContainerMap, endpoints: &[Endpoint]) -> Vec<EndpointRow> {
    let find = |name: &str| endpoints.iter().find(|endpoint| endpoint.name == name);
    let mut rows: Vec<EndpointRow> =
        map.rows.iter().map(|row| one_row(row, row.endpoint.as_deref().and_then(find))).collect();
    rows.sort_by(|a, b| {
        (&a.namespace, &a.pod, &a.name, &a.interface).cmp(&(&b.namespace, &b.pod, &b.name, &b.interface))
    });
    rows
}

fn one_row(row: &MapRow, endpoint: Option<&Endpoint>) -> EndpointRow {
    let policies = endpoint.into_iter().flat_map(|endpoint| &endpoint.policies);
    EndpointRow {
        name: row.endpoint.clone().or_else(|| row.container.clone()),
        namespace: row.workload.namespace.clone(),
        pod: row.workload.pod.clone(),
        uid: row.workload.uid.clone(),
        container: row.workload.container.clone(),
        interface: row.interface.as_ref().map(|interface| interface.name.clone()),
        addresses: row.addresses.clone(),
        macs: row.macs.clone(),
        mode: endpoint.map(|endpoint| endpoint.mode),
        state: row.state,
        message: row.message.as_deref().map(short),
        policies: policies.filter_map(|name| object_name(name)).map(str::to_owned).collect(),
        response: endpoint.map(|endpoint| endpoint.answer.response).filter(|it| *it != Response::Report),
        conflicts: endpoint
            .map(|endpoint| endpoint.conflicts.iter().map(|text| short(text)).collect())
            .unwrap_or_default(),
    }
}

/// The map in numbers.
pub(super) fn summary(rows: &[EndpointRow], offenders: usize) -> Summary {
    let count = |fits: &dyn Fn(&EndpointRow) -> bool| number(rows.iter().filter(|row| fits(row)).count());
    Summary {
        endpoints: number(rows.len()),
        bound: count(&|row| row.state == MapState::Bound),
        quarantined: count(&|row| row.state == MapState::Quarantined),
        held: count(&|row| row.state == MapState::Held),
        unverified: count(&|row| {
            matches!(row.state, MapState::Unbound | MapState::HostNetwork | MapState::NotProtectable)
        }),
        offenders: number(offenders),
        conflicts: count(&|row| !row.conflicts.is_empty()),
        left_out: 0,
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A pod that the hub is to end.
pub(super) fn offender(offence: &Offence) -> Option<Offender> {
    let policy = offence.policy.as_deref()?;
    Some(Offender {
        namespace: offence.workload.namespace.clone()?,
        pod: offence.workload.pod.clone()?,
        uid: offence.workload.uid.clone()?,
        endpoint: offence.endpoint.clone(),
        attempts: offence.attempts,
        threshold: u32::from(offence.answer.attempts),
        window: offence.answer.window.to_string(),
        reasons: offence.reasons.clone(),
        policy: object_name(policy).unwrap_or(policy).to_owned(),
        time: offence.since.to_string(),
    })
}

/// A condition as it is now; what it was before tells since when.
pub(super) fn condition(
    before: &[Condition],
    kind: &str,
    trouble: Option<(&str, String)>,
    good: (&str, &str),
    now: Timestamp,
) -> Condition {
    let status = if trouble.is_none() { "True" } else { "False" };
    let (reason, message) = trouble.unwrap_or((good.0, good.1.to_owned()));
    let same = before.iter().find(|it| it.type_ == kind && it.status == status);
    // Seconds, as the API server keeps it: finer ones would always differ.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: short(&message),
        last_transition_time: same.map_or_else(|| Time(now), |it| it.last_transition_time.clone()),
        observed_generation: None,
    }
}

/// What keeps the runtimes from being followed.
pub(super) fn runtimes_trouble(sources: &[SourceStatus]) -> Option<(&'static str, String)> {
    let failing: Vec<String> = sources
        .iter()
        .filter(|source| source.state == SourceState::Failing)
        .map(|source| format!("{}: {}", source.name, source.message.as_deref().unwrap_or("it fails")))
        .collect();
    if !failing.is_empty() {
        return Some(("SourceFailing", failing.join("; ")));
    }
    let speaks = |source: &SourceStatus| source.state == SourceState::Connected && source.socket.is_some();
    if sources.iter().any(speaks) {
        return None;
    }
    let why = "no container runtime answers: pods are known through the CNI plugin and the API alone (set agent.runtimeSockets)";
    Some(("NoRuntime", why.to_owned()))
}

fn short(text: &str) -> String {
    if text.chars().count() <= MOST_LETTERS {
        return text.to_owned();
    }
    text.chars().take(MOST_LETTERS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_while_it_is_the_same() {
        let (then, later) = (Timestamp::from_second(100).unwrap(), Timestamp::from_second(200).unwrap());
        let good = ("AllGood", "all is good");
        let first = condition(&[], "Ready", None, good, then);
        let second = condition(std::slice::from_ref(&first), "Ready", None, good, later);
        assert_eq!(first, second);
        let bad = condition(&[second], "Ready", Some(("Bad", "it is not".to_owned())), good, later);
        assert_eq!((bad.status.as_str(), bad.reason.as_str()), ("False", "Bad"));
        assert_eq!(bad.last_transition_time, Time(later));
    }

    #[test]
    fn long_messages_are_cut() {
        assert_eq!(short("short"), "short");
        assert_eq!(short(&"ü".repeat(1000)).chars().count(), MOST_LETTERS);
    }
}

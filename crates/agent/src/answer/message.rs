//! An action in one sentence.

use portcullis_policy::api::ActionOutcome;
use portcullis_policy::guard::{Response, Termination};

use super::decide::Plan;
use super::{Case, Trip};

/// What was done, and why.
pub(super) fn sentence(
    trip: &Trip,
    case: &Case,
    plan: &Plan,
    outcome: ActionOutcome,
    trouble: Option<&str>,
) -> String {
    let (endpoint, attempts) = (&trip.endpoint, trip.within_window());
    let plural = if attempts == 1 { "" } else { "s" };
    let mut text = format!(
        "endpoint \"{endpoint}\" made {attempts} hostile attempt{plural} within {}: {}",
        case.answer.window,
        done(case, plan, outcome)
    );
    for remark in plan.remark.as_deref().into_iter().chain(trouble) {
        text.push_str(", ");
        text.push_str(remark);
    }
    text
}

fn done(case: &Case, plan: &Plan, outcome: ActionOutcome) -> String {
    let quarantine = match case.answer.release_after {
        Some(after) => format!("quarantined for {after}"),
        None => "quarantined until it is released".to_owned(),
    };
    let container = match &plan.end {
        Some(end) => format!("container {}", end.tenant.name),
        None if case.is_of_cluster => "the pod".to_owned(),
        None => "its container".to_owned(),
    };
    let ended = match case.answer.terminate {
        _ if case.is_of_cluster => "ended",
        Termination::Kill => "killed",
        Termination::Stop => "stopped",
        Termination::Restart => "killed and started anew",
    };
    match (case.answer.response, outcome) {
        (Response::Report, _) => "reported".to_owned(),
        (Response::Quarantine, ActionOutcome::DryRun) => format!("it would have been {quarantine}"),
        (Response::Quarantine, ActionOutcome::Failed) => "its quarantine was not recorded".to_owned(),
        (Response::Quarantine, _) => quarantine,
        (Response::Terminate, ActionOutcome::DryRun) => format!("{container} would have been {ended}"),
        (Response::Terminate, ActionOutcome::Done) => format!("{container} {ended}"),
        (Response::Terminate, ActionOutcome::Requested) => {
            format!("{quarantine}, and the hub is asked to end the pod")
        }
        (Response::Terminate, _) => format!("{quarantine}, but {container} was not {ended}"),
    }
}

/// Why a workload is in quarantine.
pub(super) fn cause(trip: &Trip, case: &Case) -> String {
    let reasons: Vec<&str> = case.reasons.keys().map(String::as_str).collect();
    format!(
        "{} hostile attempts within {} ({})",
        trip.within_window(),
        case.answer.window,
        reasons.join(", ")
    )
}

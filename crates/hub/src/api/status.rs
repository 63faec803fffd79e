//! `/api/v1/status` and `/api/v1/policies`.

use std::sync::PoisonError;

use axum::Json;
use portcullis_policy::api::{ClusterPolicy, HubStatus};

use super::{App, Shared};
use crate::clock::now;

/// Addresses that are named in a warning.
const MOST_NAMED: usize = 5;

/// The hub, its nodes, and what an operator should know of.
#[utoipa::path(get, path = "/api/v1/status", operation_id = "getStatus", tag = "hub", responses((status = 200, body = HubStatus)))]
pub(super) async fn show(app: Shared) -> Json<HubStatus> {
    let map = app.world.map();
    let (mut endpoints, mut quarantined) = (0_u64, 0_u64);
    for told in map.maps() {
        endpoints += u64::from(told.endpoints());
        quarantined += u64::from(told.quarantined());
    }
    let terminated = app
        .counters
        .terminations()
        .iter()
        .filter(|((_, outcome), _)| *outcome == "done")
        .map(|(_, n)| n)
        .sum();
    let leader = app.leadership.is_certain(now());
    let term = app.leadership.term();
    // What becomes of them only the leader knows.
    let offenders = app.offenders.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Json(HubStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pod: app.about.pod.clone(),
        started: app.about.started.clone(),
        leader,
        holder: term.holder,
        dry_run: app.about.dry_run,
        terminations_per_minute: app.about.per_minute,
        terminated,
        nodes: app.liveness.count(&map),
        endpoints,
        quarantined,
        offenders,
        warnings: warnings(&app, &map),
    })
}

fn warnings(app: &App, map: &crate::map::Store) -> Vec<String> {
    let mut warnings: Vec<String> = app.troubles.all().into_values().map(|trouble| trouble.why).collect();
    let shared: Vec<String> = map.shared().take(MOST_NAMED + 1).map(|address| address.to_string()).collect();
    if !shared.is_empty() {
        let more = if shared.len() > MOST_NAMED { ", …" } else { "" };
        let named = shared[..shared.len().min(MOST_NAMED)].join(", ");
        warnings.push(format!(
            "pods of several nodes have the same address: {named}{more} (see the map's messages)"
        ));
    }
    warnings
}

/// Every `GatePolicy`, in the order in which they are asked.
#[utoipa::path(get, path = "/api/v1/policies", operation_id = "listPolicies", tag = "policies",
    responses((status = 200, body = Vec<ClusterPolicy>)))]
pub(super) async fn policies(app: Shared) -> Json<Vec<ClusterPolicy>> {
    let rules = app.world.rules();
    let mut policies: Vec<ClusterPolicy> = rules
        .rules
        .iter()
        .map(|(name, rule)| {
            let spec = &rule.object.spec;
            let status = rule.object.status.clone().unwrap_or_default();
            let refusal = rule.translation.refusal();
            let notable = status.conditions.iter().filter(|condition| {
                matches!(
                    (condition.type_.as_str(), condition.status.as_str()),
                    ("Matching" | "Applied", "False") | ("Conflicting" | "Spared", "True")
                )
            });
            let warnings = match refusal {
                Some(why) => vec![why.to_owned()],
                None => notable.map(|condition| condition.message.clone()).collect(),
            };
            ClusterPolicy {
                name: name.clone(),
                priority: spec.priority,
                mode: spec.mode,
                response: spec.response,
                dry_run: spec.dry_run.unwrap_or_default(),
                pods: u32::try_from(status.pods).unwrap_or(0),
                nodes: u32::try_from(status.nodes).unwrap_or(0),
                terminated: u64::try_from(status.terminated).unwrap_or(0),
                accepted: refusal.is_none(),
                warnings,
            }
        })
        .collect();
    policies.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
    Json(policies)
}

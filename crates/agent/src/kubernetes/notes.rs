//! Events on pods, as `kubectl describe pod` shows them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use portcullis_abi::DropReason;
use portcullis_kubernetes::events::{self, PodRef, Reporter};
use portcullis_policy::api::{Action, ActionOutcome, Endpoint, Event, Notice};
use portcullis_policy::guard::Response;
use portcullis_policy::model::Workload;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use crate::control::Control;

/// Forged frames are counted up this often.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Tells for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut events = shared.agent.bus().subscribe();
    let client = super::client(&shared, |why| tracing::debug!(why, "no client yet")).await;
    let (reporter, writer) = events::reporter(client, &shared.section.node);
    let told = |trouble: Option<String>| {
        if let Some(why) = trouble {
            tracing::warn!(why, "an event on a pod cannot be written");
        }
    };
    let writing = writer.run(told);
    tokio::pin!(writing);
    let mut forging: BTreeSet<String> = BTreeSet::new();
    let mut ticks = interval(COUNT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event.as_deref() {
                Ok(Event::Drop(drop)) => {
                    if let Some(endpoint) = drop.endpoint.as_ref().filter(|_| is_hostile(&drop.reason)) {
                        forging.insert(endpoint.clone());
                    }
                }
                Ok(Event::Action(action)) => act(&reporter, action),
                Ok(Event::Notice(notice)) => note(&shared, &reporter, notice),
                // What was lost is counted all the same, with the next one.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            () = &mut writing => return,
            _ = ticks.tick(), if !forging.is_empty() => {
                for endpoint in std::mem::take(&mut forging) {
                    count(&shared, &reporter, &endpoint);
                }
            }
        }
    }
}

fn count(shared: &Shared, reporter: &Reporter, endpoint: &str) {
    let Ok(endpoint) = shared.agent.endpoint(endpoint) else { return };
    let Some(pod) = pod(&endpoint.workload) else { return };
    let Endpoint { counters, mode, .. } = endpoint;
    let counts =
        counters.reasons.into_iter().filter(|(name, count)| *count > 0 && is_hostile(name)).collect();
    reporter.spoofed(&pod, &counts, mode);
}

fn is_hostile(reason: &str) -> bool {
    reason.parse::<DropReason>().is_ok_and(DropReason::is_hostile)
}

fn act(reporter: &Reporter, action: &Action) {
    let Some(pod) = pod(&action.workload) else { return };
    let cut_off = action.response >= Response::Quarantine && action.outcome != ActionOutcome::DryRun;
    if cut_off {
        reporter.quarantined(&pod, &action.message);
    }
}

fn note(shared: &Shared, reporter: &Reporter, notice: &Notice) {
    if notice.topic != "released" {
        return;
    }
    let Some(endpoint) = notice.endpoint.as_deref().and_then(|name| shared.agent.endpoint(name).ok()) else {
        return;
    };
    if let Some(pod) = pod(&endpoint.workload) {
        reporter.released(&pod, &notice.message);
    }
}

fn pod(workload: &Workload) -> Option<PodRef> {
    Some(PodRef {
        namespace: workload.namespace.clone()?,
        name: workload.pod.clone()?,
        uid: workload.uid.clone()?,
    })
}

//! Events on pods, as `kubectl describe pod` shows them.

use std::collections::BTreeMap;
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
    let mut forging = Forging::default();
    let mut ticks = interval(COUNT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event.as_deref() {
                Ok(Event::Drop(drop)) => {
                    if let Some(endpoint) = drop.endpoint.as_ref().filter(|_| is_hostile(&drop.reason)) {
                        forging.heard(endpoint);
                    }
                }
                Ok(Event::Action(action)) => act(&reporter, action),
                Ok(Event::Notice(notice)) => note(&shared, &reporter, notice),
                // Whom that was about is not known: it may be whoever forged lately.
                Err(RecvError::Lagged(_)) => {
                    let all = shared.agent.endpoints();
                    all.iter().filter(|it| it.attempts > 0).for_each(|it| forging.heard(&it.name));
                }
                Err(RecvError::Closed) => return,
            },
            () = &mut writing => return,
            _ = ticks.tick(), if !forging.is_empty() => {
                for endpoint in forging.names() {
                    match shared.agent.endpoint(&endpoint) {
                        Ok(found) => if let Some(counts) = forging.count(&endpoint, &found.counters.reasons) {
                            spoofed(&reporter, &found, &counts);
                        },
                        Err(_gone) => forging.forget(&endpoint),
                    }
                }
            }
        }
    }
}

type Counts = BTreeMap<String, u64>;

/// Endpoints that forge just now. The kernel tells of samples only, so that the last frames of a burst may come without a word: an
/// endpoint is counted until its counters stand still.
#[derive(Debug, Default)]
struct Forging(BTreeMap<String, Counts>);

impl Forging {
    fn heard(&mut self, endpoint: &str) {
        if !self.0.contains_key(endpoint) {
            self.0.insert(endpoint.to_owned(), Counts::new());
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn forget(&mut self, endpoint: &str) {
        self.0.remove(endpoint);
    }

    /// What is new of it; nothing, and it is forgotten, where nothing is.
    fn count(&mut self, endpoint: &str, reasons: &Counts) -> Option<Counts> {
        let hostile = |(name, count): &(&String, &u64)| **count > 0 && is_hostile(name);
        let counts: Counts =
            reasons.iter().filter(hostile).map(|(name, count)| (name.clone(), *count)).collect();
        if self.0.get(endpoint) == Some(&counts) {
            self.forget(endpoint);
            return None;
        }
        self.0.insert(endpoint.to_owned(), counts.clone());
        Some(counts)
    }
}

fn spoofed(reporter: &Reporter, endpoint: &Endpoint, counts: &Counts) {
    if let Some(pod) = pod(&endpoint.workload) {
        reporter.spoofed(&pod, counts, endpoint.mode);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_burst_is_counted_though_nobody_tells_of_it() {
        let mut forging = Forging::default();
        forging.heard("web");
        let mut count = |spoofed| {
            let reasons = [("spoofed-ipv4".to_owned(), spoofed), ("vlan".to_owned(), 3)].into();
            forging.count("web", &reasons).map(|counts| counts["spoofed-ipv4"])
        };
        assert_eq!([count(120), count(200), count(200)], [Some(120), Some(200), None]);
        assert!(forging.is_empty());
    }
}

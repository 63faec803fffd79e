//! Endpoints that reached their threshold, for those who answer.

use std::collections::BTreeMap;

use portcullis_abi::DropReason;
use portcullis_policy::guard::{Answer, Response, Termination};
use portcullis_policy::model::{Mode, Workload};
use portcullis_runtimes::source::Request;
use tokio::sync::{mpsc, oneshot};

use super::{Core, Entry};
use crate::answer::{Case, Tenant, Trip};
use crate::fleet::Source;
use portcullis_policy::container::Networking;

impl Core {
    /// Whether this is news of the endpoint with a counter slot; from now on it is not.
    pub(super) fn note_trip(&mut self, slot: u32, tripped_ns: u64) -> Option<String> {
        let name = self.names_by_slot.get(&slot)?.clone();
        let entry = self.entries.get_mut(&name)?;
        if tripped_ns <= entry.tripped_ns {
            return None;
        }
        entry.tripped_ns = tripped_ns;
        Some(name)
    }

    /// Nobody could take it: the next look finds it again, where the kernel has stopped the endpoint.
    pub(super) fn put_off_trip(&mut self, endpoint: &str) {
        if let Some(entry) = self.entries.get_mut(endpoint) {
            entry.tripped_ns = 0;
        }
    }

    /// Quarantines that the kernel began and whose event was lost.
    pub(super) fn missed_trips(&mut self) -> Vec<Trip> {
        let missed: Vec<u32> = self
            .entries
            .values()
            .filter(|entry| !entry.record.spec.quarantined && self.is_stopped(entry))
            .map(|entry| entry.record.slot)
            .collect();
        missed.into_iter().filter_map(|slot| self.missed_trip(slot)).collect()
    }

    fn is_stopped(&self, entry: &Entry) -> bool {
        let endpoint = entry.bound.as_ref().and_then(|bound| self.tables.endpoint(bound.binding));
        endpoint.is_some_and(|endpoint| endpoint.quarantine != 0)
    }

    fn missed_trip(&mut self, slot: u32) -> Option<Trip> {
        let conduct = self.tables.conduct(slot).ok()?;
        let endpoint = self.note_trip(slot, conduct.tripped_ns)?;
        let threshold = u32::from(self.entries.get(&endpoint)?.terms.answer.attempts);
        let attempts = u32::try_from(conduct.outstanding()).unwrap_or(u32::MAX);
        Some(Trip { endpoint, attempts, threshold, timestamp_ns: conduct.tripped_ns, cgroup: None })
    }

    /// What is known of an endpoint when it has to be judged.
    pub(super) fn case(&self, endpoint: &str) -> Option<Case> {
        let entry = self.entries.get(endpoint)?;
        let spec = &entry.record.spec;
        Some(Case {
            workload: spec.workload.clone(),
            mode: spec.mode,
            answer: entry.terms.answer,
            policy: entry.terms.decided_by.clone(),
            spared: entry.terms.spared.clone(),
            reasons: self.hostile_reasons(entry.record.slot),
            is_of_cluster: self.config.kubernetes.enabled && spec.workload.pod.is_some(),
            tenants: self.tenants(entry),
        })
    }

    fn hostile_reasons(&self, slot: u32) -> BTreeMap<String, u64> {
        let Ok(counters) = self.tables.counters(slot) else { return BTreeMap::new() };
        let hostile = DropReason::ALL.iter().filter(|reason| reason.is_hostile());
        hostile
            .map(|reason| (reason, counters.reasons.get(usize::from(reason.number())).copied().unwrap_or(0)))
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.name().to_owned(), count))
            .collect()
    }

    /// Containers that send through an endpoint and that some source can end, the namespace's owner first.
    fn tenants(&self, entry: &Entry) -> Vec<Tenant> {
        let claimed = entry.bound.as_ref().map(|bound| self.fleet.claims(bound.anchor)).unwrap_or_default();
        let owners = claimed.iter().filter(|claim| claim.source.can_end()).map(|claim| claim.container);
        let mut tenants: Vec<Tenant> = Vec::new();
        let mut add = |id: &str, name: &str| {
            if !tenants.iter().any(|tenant| tenant.id == id) {
                tenants.push(Tenant { id: id.to_owned(), name: name.to_owned() });
            }
        };
        for owner in owners {
            add(&owner.id, &owner.name);
            let all = self.fleet.sources().flat_map(|source| source.containers.values());
            let sharing = all.filter(
                |known| matches!(&known.container.networking, Networking::Shared { with } if *with == owner.id),
            );
            sharing.for_each(|known| add(&known.container.id, &known.container.name));
        }
        tenants
    }

    /// Where a container's end can be asked for.
    pub(super) fn who_ends(&self, container: &str) -> Option<mpsc::Sender<Request>> {
        let knows = |source: &&Source| source.can_end() && source.containers.contains_key(container);
        self.fleet.sources().find(knows)?.requests()
    }
}

/// A pod in quarantine that its policy says to end: the hub's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Its endpoint.
    pub endpoint: String,
    /// The pod.
    pub workload: Workload,
    /// What policies come to.
    pub answer: Answer,
    /// The policy that decided so.
    pub policy: Option<String>,
    /// Hostile attempts, up to the threshold.
    pub attempts: u32,
    /// Packets by hostile reason.
    pub reasons: BTreeMap<String, u64>,
    /// When it was put into quarantine.
    pub since: jiff::Timestamp,
}

impl Core {
    /// Pods that the hub is to end. A quarantine by hand is nobody's offence.
    pub(super) fn offences(&self) -> Vec<Offence> {
        let quarantined = self.entries.values().filter(|entry| {
            let spec = &entry.record.spec;
            spec.quarantined && spec.workload.pod.is_some() && entry.bound.is_some()
        });
        quarantined.filter_map(|entry| self.offence(entry)).collect()
    }

    fn offence(&self, entry: &Entry) -> Option<Offence> {
        let (spec, answer) = (&entry.record.spec, entry.terms.answer);
        let sentence = self.sentences.of(spec).filter(|sentence| sentence.policy.is_some())?;
        let ends = answer.response == Response::Terminate && !answer.dry_run && spec.mode == Mode::Enforce;
        ends.then(|| Offence {
            endpoint: spec.name.clone(),
            workload: spec.workload.clone(),
            answer,
            policy: entry.terms.decided_by.clone(),
            attempts: u32::from(answer.attempts),
            reasons: self.hostile_reasons(entry.record.slot),
            since: sentence.since,
        })
    }
}

/// Has a container's source end it.
pub(super) async fn end(
    source: Option<mpsc::Sender<Request>>,
    container: &str,
    how: Termination,
) -> Result<(), String> {
    let Some(source) = source else {
        return Err(format!("no source that could end it knows container {container}"));
    };
    let (answer, answered) = oneshot::channel();
    let gone = |what: &str| format!("the source of container {container} {what}");
    let request = Request::Terminate { id: container.to_owned(), how, answer };
    source.send(request).await.map_err(|_| gone("has ended"))?;
    answered.await.map_err(|_| gone("gave no answer"))?
}

//! The pods that are known, and what was said of each. Pure: it learns the time from its callers.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_policy::container::{Attachment, Container, Networking};
use portcullis_runtimes::source::Report;
use tokio::time::Instant;

use super::find::{Found, Spot, Wanted};
use super::pod::{Facts, Pod};

/// New pods seldom come alone.
const SOON: Duration = Duration::from_millis(100);
/// What was not found is sought again: after this, and doubled each time.
const AGAIN: Duration = Duration::from_secs(1);
/// So often; then only when something changes.
const MOST_SEARCHES: u32 = 7;

/// All pods of the node.
#[derive(Debug, Default)]
pub(super) struct Pods {
    by_uid: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    facts: Facts,
    spot: Option<Spot>,
    /// The last sandbox that was found.
    sandbox: Option<String>,
    /// What was told last.
    said: Option<Container>,
    /// When its interface is sought.
    search: Option<Instant>,
    searches: u32,
}

impl Pods {
    /// These are all.
    pub fn all(&mut self, pods: Vec<Pod>, now: Instant) -> Report {
        let mut before = std::mem::take(&mut self.by_uid);
        for facts in pods.into_iter().filter(|pod| !pod.is_over()).filter_map(Pod::facts) {
            let Some(uid) = facts.workload.uid.clone() else { continue };
            let mut known = before.remove(&uid).unwrap_or_else(|| Known::new(facts.clone()));
            known.learn(facts, now);
            self.by_uid.insert(uid, known);
        }
        self.snapshot()
    }

    /// Everything once more.
    pub fn snapshot(&mut self) -> Report {
        let mut containers = Vec::new();
        for known in self.by_uid.values_mut() {
            let container = known.container();
            known.said = Some(container.clone());
            containers.push(container);
        }
        Report::Snapshot { containers, networks: Vec::new() }
    }

    /// New, or changed.
    pub fn put(&mut self, pod: Pod, now: Instant) -> Vec<Report> {
        if pod.is_over() {
            return self.gone(&pod.metadata.uid);
        }
        let Some(facts) = pod.facts() else { return Vec::new() };
        let Some(uid) = facts.workload.uid.clone() else { return Vec::new() };
        let known = self.by_uid.entry(uid).or_insert_with(|| Known::new(facts.clone()));
        known.learn(facts, now);
        known.tell()
    }

    /// Gone, or over.
    pub fn gone(&mut self, uid: &str) -> Vec<Report> {
        let said = self.by_uid.remove(uid).and_then(|known| known.said);
        said.map(|said| Report::Gone { id: said.id, removed: true }).into_iter().collect()
    }

    /// A search is over.
    pub fn found(&mut self, found: Vec<Found>, now: Instant) -> Vec<Report> {
        let mut reports = Vec::new();
        for Found { uid, spot } in found {
            let Some(known) = self.by_uid.get_mut(&uid) else { continue };
            known.searches += 1;
            if spot.is_none() && known.search.is_none() && known.searches < MOST_SEARCHES {
                known.search = Some(now + AGAIN * (1 << known.searches.min(6)));
            }
            let sandbox = spot.as_ref().and_then(|spot| spot.sandbox.clone());
            known.sandbox = sandbox.or_else(|| known.sandbox.take());
            known.spot = spot;
            reports.extend(known.tell());
        }
        reports
    }

    /// Something is not as it was with this one.
    pub fn look_at(&mut self, id: &str, now: Instant) {
        let is_it = |known: &&mut Known| known.said.as_ref().is_some_and(|said| said.id == id);
        if let Some(known) = self.by_uid.values_mut().find(is_it) {
            known.seek(now);
        }
    }

    /// When the next search is due.
    pub fn due(&self) -> Option<Instant> {
        self.by_uid.values().filter_map(|known| known.search).min()
    }

    /// What is to be sought now.
    pub fn wanted(&mut self, now: Instant) -> Vec<Wanted> {
        let due = |(_, known): &(&String, &mut Known)| known.search.is_some_and(|search| search <= now);
        let wanted = self.by_uid.iter_mut().filter(due).map(|(uid, known)| {
            known.search = None;
            Wanted {
                uid: uid.clone(),
                cgroup: known.facts.cgroup.clone(),
                containers: known.facts.containers.clone(),
                addresses: known.facts.addresses.clone(),
            }
        });
        wanted.collect()
    }
}

impl Known {
    fn new(facts: Facts) -> Self {
        Self { facts, spot: None, sandbox: None, said: None, search: None, searches: 0 }
    }

    fn learn(&mut self, facts: Facts, now: Instant) {
        let sandbox_may_be_new = self.facts.addresses != facts.addresses;
        // A container that is new (or is known only now) was started in what may be a new sandbox, too.
        let started = self.spot.is_none() && self.facts.containers != facts.containers;
        let first = self.said.is_none();
        self.facts = facts;
        if !self.is_sought() {
            self.search = None;
        } else if first || sandbox_may_be_new || started {
            self.seek(now);
        }
    }

    /// Without an address there is nothing to bind.
    fn is_sought(&self) -> bool {
        !self.facts.host_network && !self.facts.addresses.is_empty()
    }

    fn seek(&mut self, now: Instant) {
        if self.is_sought() {
            self.searches = 0;
            self.search = Some(now + SOON);
        }
    }

    /// What is told of it, where that is news.
    fn tell(&mut self) -> Vec<Report> {
        let container = self.container();
        if self.said.as_ref() == Some(&container) {
            return Vec::new();
        }
        let before = self.said.replace(container.clone());
        let renamed = before.filter(|before| before.id != container.id);
        let gone = renamed.map(|before| Report::Gone { id: before.id, removed: true });
        gone.into_iter().chain([Report::Changed(Box::new(container))]).collect()
    }

    fn container(&self) -> Container {
        let Facts { workload, name, addresses, since, host_network, .. } = &self.facts;
        let spot = self.spot.as_ref().filter(|_| self.is_sought());
        let uid = workload.uid.clone().unwrap_or_default();
        let id = self.sandbox.clone().unwrap_or(uid);
        let attachments = spot.map(|spot| Attachment {
            network: None,
            inside: Some(spot.inside.clone()),
            place: spot.place.clone(),
            addresses: addresses.clone(),
            macs: Vec::new(),
        });
        let mut workload = workload.clone();
        workload.container = Some(id.clone());
        Container {
            id,
            name: name.clone(),
            workload,
            netns: None,
            networking: if *host_network { Networking::Host } else { Networking::Own },
            attachments: attachments.into_iter().collect(),
            since: since.clone(),
            trouble: None,
        }
    }
}

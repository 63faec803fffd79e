//! The hubs, as far as the API server has to do with them: what they hear, what the leader writes, whom it ends.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use portcullis_kubernetes::crd::MOST_OFFENDERS;

use super::node::Object;
use super::story::{GRACE, POLICY_SIZE};
use super::{Event, Fleet};
use crate::content::POLICIES;
use crate::ledger::{Bytes, Kind};

/// Replicas.
const REPLICAS: u64 = 2;
/// Statuses of policies are summed up at most this often (`SETTLE`); so soon after a change of a policy (`SOON`).
const SETTLE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(300);
/// From writing a status to hearing of it by the hub's own watch.
const ECHO: Duration = Duration::from_millis(50);
/// The policy because of which pods are ended here.
const ENDS: usize = 1;
/// Between two attempts at the lease, and its size.
const RETRY: Duration = Duration::from_millis(2200);
const LEASE_SIZE: u64 = 500;
/// An Event of Kubernetes.
const EVENT_SIZE: u64 = 1000;
/// Events at once, and in a second then (`announce`).
const BURST: f64 = 50.0;
const RATE: f64 = 5.0;
/// Pods that are ended in a minute.
const PER_MINUTE: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// One that is being ended is looked at again after this.
const GOING: Duration = Duration::from_secs(10);

/// What a hub does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Everything about the lease.
    Lease,
    /// Sums up what nodes say of the policies.
    Sum,
    /// Examines an offender.
    Examine(u32, u64),
}

/// Both of them.
pub struct Hub {
    nodes: u64,
    /// Pods by policy, of all nodes, and of how many nodes' agents each generation is known.
    matched: Vec<i64>,
    applied: BTreeMap<i64, i64>,
    /// What was written of them, and of pods that were ended.
    written: (Vec<i64>, BTreeMap<i64, i64>, u64),
    /// When that was, and when it is to be next.
    summed: Option<Instant>,
    due: Option<Instant>,
    ended: VecDeque<Instant>,
    terminated: u64,
    /// When the next Event may be written, were there no burst.
    said: Option<Instant>,
    offenders: BTreeMap<(u32, u64), Offender>,
}

/// A pod that is to be ended.
#[derive(Clone, Copy, Debug)]
struct Offender {
    /// When it is looked at next.
    due: Instant,
    /// It is being ended.
    going: bool,
    /// It was said that it has to wait.
    told: bool,
}

impl Hub {
    pub fn new(nodes: u64) -> Self {
        let matched = vec![0; POLICIES.len()];
        Self {
            nodes,
            written: (matched.clone(), BTreeMap::new(), 0),
            matched,
            applied: BTreeMap::new(),
            summed: None,
            due: None,
            ended: VecDeque::new(),
            terminated: 0,
            said: None,
            offenders: BTreeMap::new(),
        }
    }

    /// How many watch all maps.
    pub const fn watchers(&self) -> u64 {
        REPLICAS
    }

    fn permit(&mut self, now: Instant) -> Result<(), Duration> {
        while self.ended.front().is_some_and(|then| now - *then >= MINUTE) {
            self.ended.pop_front();
        }
        if self.ended.len() < PER_MINUTE {
            self.ended.push_back(now);
            return Ok(());
        }
        Err(self.ended.front().map_or(MINUTE, |then| *then + MINUTE - now))
    }
}

impl Fleet<'_> {
    /// A node's object was written.
    pub(super) fn heard(&mut self, number: u32, before: Option<&Object>) {
        self.settle();
        let Some(object) = self.nodes[number as usize].object.as_ref() else { return };
        let hub = &mut self.hub;
        for (object, sign) in before.map(|before| (before, -1)).into_iter().chain([(object, 1)]) {
            for (sum, pods) in hub.matched.iter_mut().zip(&object.matched) {
                *sum += sign * i64::from(*pods);
            }
            let generation = object.status.policies.first().map_or(0, |policy| policy.generation);
            *hub.applied.entry(generation).or_default() += sign;
        }
        hub.applied.retain(|_, nodes| *nodes != 0);
        if object.status.offenders.is_empty()
            && before.is_none_or(|before| before.status.offenders.is_empty())
        {
            return;
        }
        let told = self.nodes[number as usize].content.offenders.iter().take(MOST_OFFENDERS);
        let pods: Vec<u64> = told.copied().collect();
        hub.offenders.retain(|(node, pod), _| *node != number || pods.contains(pod));
        let new: Vec<u64> =
            pods.into_iter().filter(|pod| !hub.offenders.contains_key(&(number, *pod))).collect();
        let due = self.now + ECHO;
        for pod in new {
            self.hub.offenders.insert((number, pod), Offender { due, going: false, told: false });
            self.queue.add(due, Event::Hub(Work::Examine(number, pod)));
        }
    }

    pub(super) fn work(&mut self, work: Work) {
        match work {
            Work::Lease => {
                let at = self.at();
                if !self.is_away() {
                    self.told.ledger.request(at, Kind::hub("update", "leases"));
                    self.told.ledger.request(at, Kind::hub("get", "leases"));
                    self.told.ledger.bytes(at, Bytes::Etcd, LEASE_SIZE);
                }
                self.later(RETRY, Event::Hub(Work::Lease));
            }
            Work::Sum => {
                let now = self.now;
                if self.hub.due.take_if(|due| *due == now).is_some() {
                    self.hub.summed = Some(now);
                    // What fails is tried again with the next change.
                    if !self.is_away() {
                        self.sum();
                    }
                }
            }
            Work::Examine(node, pod) => self.examine(node, pod),
        }
    }

    /// A node's word is summed up with those of others (`status::run`).
    fn settle(&mut self) {
        let soon = self.now + SOON;
        self.sum_by(self.hub.summed.map_or(soon, |summed| soon.max(summed + SETTLE)));
    }

    /// By then at the latest.
    pub(super) fn sum_by(&mut self, at: Instant) {
        if self.hub.due.is_none_or(|due| at < due) {
            self.hub.due = Some(at);
            self.queue.add(at, Event::Hub(Work::Sum));
        }
    }

    /// Writes the status of each policy whose numbers have changed; every agent hears of it.
    fn sum(&mut self) {
        let at = self.at();
        let hub = &mut self.hub;
        let (matched, applied, terminated) = &hub.written;
        let all = hub.applied != *applied;
        let differs = |policy: usize| {
            all || hub.matched.get(policy) != matched.get(policy)
                || policy == ENDS && hub.terminated != *terminated
        };
        let changed = (0..POLICIES.len()).filter(|policy| differs(*policy)).count() as u64;
        hub.written = (hub.matched.clone(), hub.applied.clone(), hub.terminated);
        let listeners = hub.nodes + REPLICAS;
        let ledger = &mut self.told.ledger;
        for _ in 0..changed {
            ledger.request(at, Kind::hub("patch", "gatepolicies/status"));
            ledger.bytes(at, Bytes::Etcd, POLICY_SIZE);
            ledger.bytes(at, Bytes::ToAgents, POLICY_SIZE * self.hub.nodes);
            ledger.bytes(at, Bytes::ToHubs, POLICY_SIZE * REPLICAS);
            ledger.heard(at, listeners);
        }
    }

    fn examine(&mut self, number: u32, pod: u64) {
        let (now, key) = (self.now, (number, pod));
        let known = self.hub.offenders.get(&key).filter(|offender| offender.due == now);
        let Some(Offender { going, told, .. }) = known.copied() else { return };
        if self.is_away() {
            return self.examined(key, going, told, GOING);
        }
        let at = self.at();
        self.told.ledger.request(at, Kind::hub("get", "pods"));
        self.told.ledger.request(at, Kind::hub("get", "namespaces"));
        if going {
            return self.examined(key, going, told, GOING);
        }
        match self.hub.permit(now) {
            Ok(()) => {
                self.told.ledger.request(at, Kind::hub("delete", "pods"));
                self.announce();
                self.hub.terminated += 1;
                self.sum_by(now + SOON);
                let grace = self.chance.between(GRACE.0, GRACE.1);
                self.later(grace, Event::Gone(number, pod));
                let successor = self.chance.number() >> 24;
                self.later(grace, Event::Come(None, successor));
                self.examined(key, true, told, GOING);
            }
            Err(wait) => {
                if !told {
                    self.announce();
                }
                self.examined(key, false, true, wait);
            }
        }
    }

    fn examined(&mut self, key: (u32, u64), going: bool, told: bool, again: Duration) {
        let due = self.now + again;
        self.hub.offenders.insert(key, Offender { due, going, told });
        self.queue.add(due, Event::Hub(Work::Examine(key.0, key.1)));
    }

    /// An Event on a pod, by the hub: at once, or when it is its turn.
    fn announce(&mut self) {
        let each = Duration::from_secs_f64(1.0 / RATE);
        let burst = each.mul_f64(BURST);
        let turn = self.hub.said.map_or(self.now, |turn| turn.max(self.now));
        self.hub.said = Some(turn + each);
        let wait = turn.saturating_duration_since(self.now).saturating_sub(burst);
        let at = self.at().map(|at| at + wait);
        self.told.ledger.request(at, Kind::hub("create", "events"));
        self.told.ledger.bytes(at, Bytes::Etcd, EVENT_SIZE);
    }
}

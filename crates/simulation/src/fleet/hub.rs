//! The hubs, as far as the API server has to do with them: what they hear, what the leader writes, whom it ends.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::node::Object;
use super::story::{GRACE, POLICY_SIZE};
use super::{Event, Fleet};
use crate::content::POLICIES;
use crate::ledger::{Bytes, Kind};

/// Replicas.
const REPLICAS: u64 = 2;
/// Statuses of policies are summed up this often (`SETTLE`).
const SETTLE: Duration = Duration::from_secs(5);
/// Between two attempts at the lease, and its size.
const RETRY: Duration = Duration::from_millis(2200);
const LEASE_SIZE: u64 = 500;
/// An Event of Kubernetes.
const EVENT_SIZE: u64 = 1000;
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
    written: (Vec<i64>, BTreeMap<i64, i64>),
    ended: VecDeque<Instant>,
    /// Offenders: whether they are being ended, and were said to have to wait.
    offenders: BTreeMap<(u32, u64), (bool, bool)>,
}

impl Hub {
    pub fn new(nodes: u64) -> Self {
        let matched = vec![0; POLICIES.len()];
        Self {
            nodes,
            written: (matched.clone(), BTreeMap::new()),
            matched,
            applied: BTreeMap::new(),
            ended: VecDeque::new(),
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
        let pods = self.nodes[number as usize].content.offenders.clone();
        hub.offenders.retain(|(node, pod), _| *node != number || pods.contains(pod));
        let new: Vec<u64> =
            pods.into_iter().filter(|pod| !hub.offenders.contains_key(&(number, *pod))).collect();
        for pod in new {
            self.hub.offenders.insert((number, pod), (false, false));
            self.later(Duration::from_millis(50), Event::Hub(Work::Examine(number, pod)));
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
                if !self.is_away() {
                    self.sum();
                }
                self.later(SETTLE, Event::Hub(Work::Sum));
            }
            Work::Examine(node, pod) => self.examine(node, pod),
        }
    }

    /// Writes the status of each policy whose numbers have changed; every agent hears of it.
    fn sum(&mut self) {
        let at = self.at();
        let hub = &mut self.hub;
        let all = hub.applied != hub.written.1;
        let changed =
            hub.matched.iter().zip(&hub.written.0).filter(|(now, then)| all || now != then).count() as u64;
        hub.written = (hub.matched.clone(), hub.applied.clone());
        let listeners = hub.nodes + REPLICAS;
        let ledger = &mut self.told.ledger;
        for _ in 0..changed {
            ledger.request(at, Kind::hub("patch", "gatepolicies/status"));
            ledger.bytes(at, Bytes::Etcd, POLICY_SIZE);
            ledger.bytes(at, Bytes::ToAgents, POLICY_SIZE * listeners);
            ledger.heard(at, listeners);
        }
    }

    fn examine(&mut self, number: u32, pod: u64) {
        let now = self.now;
        let Some(&(going, told)) = self.hub.offenders.get(&(number, pod)) else { return };
        let again = Event::Hub(Work::Examine(number, pod));
        if self.is_away() {
            return self.later(GOING, again);
        }
        let at = self.at();
        self.told.ledger.request(at, Kind::hub("get", "pods"));
        self.told.ledger.request(at, Kind::hub("get", "namespaces"));
        if going {
            return self.later(GOING, again);
        }
        match self.hub.permit(now) {
            Ok(()) => {
                self.told.ledger.request(at, Kind::hub("delete", "pods"));
                self.hub.offenders.insert((number, pod), (true, told));
                self.announce();
                let grace = self.chance.between(GRACE.0, GRACE.1);
                self.later(grace, Event::Gone(number, pod));
                let successor = self.chance.number() >> 24;
                self.later(grace, Event::Come(None, successor));
                self.later(GOING, again);
            }
            Err(wait) => {
                self.hub.offenders.insert((number, pod), (false, true));
                if !told {
                    self.announce();
                }
                self.later(wait, again);
            }
        }
    }

    /// An Event on a pod, by the hub.
    fn announce(&mut self) {
        let at = self.at();
        self.told.ledger.request(at, Kind::hub("create", "events"));
        self.told.ledger.bytes(at, Bytes::Etcd, EVENT_SIZE);
    }
}

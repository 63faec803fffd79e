//! What happens on the nodes.

use std::time::Duration;

use super::{Event, Fleet, STARTS, hub};
use crate::chance::Chance;
use crate::followers::{Cut, POD_SIZE};
use crate::ledger::{Bytes, Kind};
use crate::plan::{BEGINS, Happening};

/// From a pod's going to its successor's coming.
const SUCCESSION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// From the plugin's word to that of runtime and API.
const GROWTH: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(1500));
/// From a policy's edition to its being known on a node: the watch, and 100 ms for others.
const SPREADING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));
/// Pods of a node that was rebooted come within this.
const SETTLING: Duration = Duration::from_secs(90);
/// A pod that is ended goes within this.
pub(super) const GRACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Pods that overlap in a rolling update.
const OVERLAP: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// What a node's agent hears of a pod by its watch: that it was bound, and four times its status; that it is to be deleted, its
/// status, and that it is gone.
const COMING: u64 = 5;
const GOING: u64 = 3;
/// A policy, with its status.
pub(super) const POLICY_SIZE: u64 = 3000;

impl Fleet<'_> {
    /// Everything that is certain to happen.
    pub(super) fn begin(&mut self, cuts: &[Cut]) {
        for number in 0..self.plan.nodes {
            let late = self.chance.between(Duration::ZERO, STARTS);
            self.later(late, Event::Start(number));
        }
        let begins = self.zero + BEGINS;
        match self.plan.happening {
            Happening::Rolling(time) => self.roll(time),
            Happening::Forging(pods) => {
                for number in 0..pods {
                    let node = number % self.plan.nodes;
                    let pod = self.nodes[node as usize].content.pods[0];
                    self.queue.add(begins, Event::Forge(node, pod));
                }
            }
            Happening::Flooding => {
                let pods = self.nodes[0].content.pods.clone();
                for (count, pod) in (0_u32..).zip(pods) {
                    self.queue.add(begins + Duration::from_millis(500) * count, Event::Forge(0, pod));
                }
            }
            Happening::Policy => {
                for number in 0..self.plan.nodes {
                    let late = self.chance.between(SPREADING.0, SPREADING.1);
                    self.queue.add(begins + late, Event::Generation(number, 2));
                }
                let all = u64::from(self.plan.nodes);
                self.told.ledger.bytes(Some(BEGINS), Bytes::ToAgents, all * POLICY_SIZE);
                self.told.ledger.heard(Some(BEGINS), all + self.hub.watchers());
            }
            Happening::Nothing
            | Happening::Outage(_)
            | Happening::Rollout
            | Happening::Reboots(..)
            | Happening::Failover => {}
        }
        for restart in self.plan.restarts() {
            self.queue.add(self.zero + restart.from, Event::Stop(restart.node));
            self.queue.add(self.zero + restart.to, Event::Start(restart.node));
        }
        if self.plan.tells_of_outages {
            for cut in cuts {
                self.queue.add(self.zero + cut.at, Event::CutOff(cut.node, cut.off));
            }
        }
        self.queue.add(self.zero, Event::Traffic);
        self.queue.add(self.zero, Event::Replace);
        self.queue.add(self.now, Event::Hub(hub::Work::Lease));
    }

    fn roll(&mut self, time: Duration) {
        let mut chance = Chance::new(self.plan.seed ^ 0x0110);
        for number in 0..self.plan.nodes {
            for pod in self.nodes[number as usize].content.pods.clone() {
                let at = self.zero + chance.between(Duration::ZERO, time);
                self.queue.add(at, Event::ReplaceThis(number, pod));
            }
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        match event {
            Event::Start(number) => self.start(number),
            Event::Stop(number) => self.stop(number),
            Event::Traffic => self.traffic(),
            Event::Replace => self.replace_some(),
            Event::ReplaceThis(node, pod) => {
                let successor = self.new_pod();
                self.later(Duration::ZERO, Event::Come(None, successor));
                let overlap = self.chance.between(OVERLAP.0, OVERLAP.1);
                self.later(overlap, Event::Gone(node, pod));
            }
            Event::Gone(node, pod) => self.gone(node, pod),
            Event::Come(node, pod) => self.come(node, pod),
            Event::Grown(node, pod) => {
                self.node(node).content.young.retain(|young| *young != pod);
                self.changed(node);
            }
            Event::Generation(node, generation) => {
                self.node(node).content.generation = generation;
                self.changed(node);
            }
            Event::Forge(node, pod) => {
                let content = &mut self.node(node).content;
                if content.pods.contains(&pod) {
                    content.offenders.push(pod);
                    self.note(node, pod);
                    self.changed(node);
                }
            }
            Event::CutOff(node, off) => {
                self.node(node).content.cut_off = off;
                self.changed(node);
            }
            Event::Wake(..)
            | Event::Look(..)
            | Event::Answer(..)
            | Event::Count(_)
            | Event::Post(_)
            | Event::Hub(_) => {}
        }
    }

    fn start(&mut self, number: u32) {
        let seed = self.chance.number();
        let interval = self.plan.interval;
        let at = self.at();
        // Which pods the hub is to end already (`publish::offenders`).
        self.told.ledger.request(at, Kind::agent("get", "endpointmaps"));
        let node = self.node(number);
        let size = node.object.as_ref().map_or(0, |object| object.rows);
        node.start(interval, seed);
        // Policies are read anew.
        let generation = std::mem::take(&mut node.content.generation).max(1);
        let gone = self.plan.takes_pods_along() && size > 0;
        let pods = if gone { std::mem::take(&mut self.node(number).content.pods) } else { Vec::new() };
        for pod in pods {
            // The same pod, in another sandbox.
            let late = self.chance.between(Duration::from_secs(2), SETTLING);
            self.later(late, Event::Come(Some(number), pod ^ 1 << 48));
        }
        let size = self.sizes.object(size, 0);
        self.told.ledger.bytes(at, Bytes::Answered, size);
        let late = self.chance.between(GROWTH.0, GROWTH.1);
        self.later(late, Event::Generation(number, generation));
        self.changed(number);
    }

    fn stop(&mut self, number: u32) {
        self.node(number).stop();
        if !self.plan.takes_pods_along() {
            // Whether it was dismissed (`leave::is_dismissed`).
            self.told.ledger.request(self.at(), Kind::agent("get", "daemonsets"));
        }
    }

    /// Frames are dropped somewhere, and the agent says once more what it said before.
    fn traffic(&mut self) {
        let per_second = self.plan.traffic * f64::from(self.plan.nodes);
        if per_second <= 0.0 || self.now >= self.end {
            return;
        }
        let number = u32::try_from(self.traffic.below(self.nodes.len())).unwrap_or(0);
        self.node(number).repeat();
        self.turn(number);
        let pause = self.traffic.until_next(per_second);
        self.later(pause, Event::Traffic);
    }

    fn replace_some(&mut self) {
        let pods = f64::from(self.plan.nodes) * f64::from(self.plan.pods);
        let per_second = pods * self.plan.churn / 60.0;
        if per_second <= 0.0 || self.now >= self.end {
            return;
        }
        // Without an API server nothing is replaced.
        if self.now > self.zero && !self.is_away() {
            let node = self.chance.below(self.nodes.len());
            let pods = &self.nodes[node].content.pods;
            if let Some(&pod) = pods.get(self.chance.below(pods.len())) {
                let number = u32::try_from(node).unwrap_or(0);
                self.gone(number, pod);
                let successor = self.new_pod();
                let late = self.chance.between(SUCCESSION.0, SUCCESSION.1);
                self.later(late, Event::Come(None, successor));
            }
        }
        let pause = self.chance.until_next(per_second);
        self.later(pause, Event::Replace);
    }

    fn new_pod(&mut self) -> u64 {
        self.pods += 1;
        self.pods
    }

    pub(super) fn gone(&mut self, node: u32, pod: u64) {
        let content = &mut self.node(node).content;
        let before = content.pods.len();
        content.pods.retain(|known| *known != pod);
        content.young.retain(|known| *known != pod);
        content.offenders.retain(|known| *known != pod);
        if content.pods.len() != before {
            self.hear_of_pod(GOING);
            self.changed(node);
        }
    }

    /// Where pods change, nothing but their own node's agent hears of it.
    fn hear_of_pod(&mut self, times: u64) {
        if self.now < self.end && !self.is_away() {
            let at = self.at();
            self.told.ledger.bytes(at, Bytes::OfPods, times * POD_SIZE);
            self.told.ledger.heard(at, times);
        }
    }

    fn come(&mut self, node: Option<u32>, pod: u64) {
        let node = node.unwrap_or_else(|| u32::try_from(self.chance.below(self.nodes.len())).unwrap_or(0));
        let content = &mut self.node(node).content;
        content.pods.push(pod);
        content.young.push(pod);
        self.hear_of_pod(COMING);
        let growth = self.chance.between(GROWTH.0, GROWTH.1);
        self.later(growth, Event::Grown(node, pod));
        self.changed(node);
    }
}

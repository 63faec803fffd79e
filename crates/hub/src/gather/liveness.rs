//! Which agents answer: each is asked every half minute, spread over it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_policy::api::{Counters, NodeState, NodeStatus, NodeTotals};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::peers::{Peers, Unreachable};
use super::totals::Totals;
use crate::bus::Bus;
use crate::clock::wall;
use crate::dice;
use crate::map::{NodeEntry, NodeMap, Store};
use crate::world::World;

/// Each agent is asked so often.
const EVERY: Duration = Duration::from_secs(30);
/// One that is new is asked soon.
const ROUND: Duration = Duration::from_secs(1);

/// As much of an agent's status as is needed.
#[derive(Debug, Deserialize)]
struct Pulse {
    version: String,
    counters: Counters,
}

/// How a node's agent answered last.
#[derive(Clone, Debug)]
struct Seen {
    answers: Result<String, String>,
    since: String,
}

/// What is known of all agents; shared.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    seen: BTreeMap<String, Seen>,
    totals: Totals,
}

impl Liveness {
    /// Asks all agents again and again, for ever.
    pub async fn run(self, world: World, peers: Peers, bus: Bus) {
        let mut due: BTreeMap<String, tokio::time::Instant> = BTreeMap::new();
        let mut tasks: JoinSet<(String, Result<Pulse, Unreachable>)> = JoinSet::new();
        loop {
            let present = tokio::time::Instant::now();
            let nodes: Vec<String> = {
                let map = world.map();
                let told = map.nodes().filter(|(_, entry)| entry.map.is_some());
                told.map(|(node, _)| node.to_string()).collect()
            };
            due.retain(|node, _| nodes.binary_search(node).is_ok());
            for node in &nodes {
                // The first time soon, and spread; then on its own beat.
                let first = nodes.len() > 100 && !due.contains_key(node);
                let spread = if first { dice::up_to(EVERY / 3) } else { Duration::ZERO };
                let at = due.entry(node.clone()).or_insert(present + spread);
                if *at > present {
                    continue;
                }
                *at = present + EVERY.mul_f64(0.9) + dice::up_to(EVERY / 5);
                let (peers, node) = (peers.clone(), node.clone());
                tasks.spawn(async move {
                    let pulse = peers.get::<Pulse>(&node, "/api/v1/status").await;
                    (node, pulse)
                });
            }
            let round = tokio::time::sleep(ROUND);
            tokio::pin!(round);
            loop {
                tokio::select! {
                    () = &mut round => break,
                    Some(Ok((node, pulse))) = tasks.join_next() => self.told(&bus, &node, pulse),
                }
            }
            self.sweep(&world);
            peers.sweep();
        }
    }

    fn told(&self, bus: &Bus, node: &str, pulse: Result<Pulse, Unreachable>) {
        let mut inner = self.lock();
        let answers = match pulse {
            Ok(Pulse { version, counters }) => {
                inner.totals.told(node, counters);
                Ok(version)
            }
            Err(why) => Err(why.to_string()),
        };
        let before = inner.seen.get(node);
        let changed = before.is_none_or(|seen| seen.answers.is_ok() != answers.is_ok());
        let since = before.filter(|_| !changed).map_or_else(wall, |seen| seen.since.clone());
        let first = before.is_none();
        let notice = match &answers {
            Ok(_) if !first => Some(("node-back", format!("the agent of node {node} answers again"))),
            Err(why) => Some(("node-away", format!("{why}; its gate stays as it was"))),
            Ok(_) => None,
        };
        inner.seen.insert(node.to_owned(), Seen { answers, since });
        drop(inner);
        if let Some((topic, message)) = notice.filter(|_| changed) {
            bus.notice(node, topic, message);
        }
    }

    fn sweep(&self, world: &World) {
        let map = world.map();
        let mut inner = self.lock();
        inner.seen.retain(|node, _| map.get(node).is_some());
        inner.totals.retain(|node| map.get(node).is_some());
    }

    /// A node's agent has answered so.
    #[cfg(test)]
    pub fn tell(&self, node: &str, counters: Counters) {
        self.told(&Bus::default(), node, Ok(Pulse { version: "0.1.0".to_owned(), counters }));
    }

    /// Sums of what the agents count.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.lock().totals.clone()
    }

    /// How the nodes stand that `wanted` says.
    #[must_use]
    pub fn nodes(&self, map: &Store, wanted: impl Fn(&str) -> bool) -> Vec<NodeStatus> {
        let inner = self.lock();
        let nodes = map.nodes().filter(|(node, _)| wanted(node));
        nodes.map(|(node, entry)| status(node, entry, inner.seen.get(&**node))).collect()
    }

    /// How many nodes stand how.
    #[must_use]
    pub fn count(&self, map: &Store) -> NodeTotals {
        let inner = self.lock();
        let mut totals = NodeTotals::default();
        for (node, entry) in map.nodes() {
            totals.total += 1;
            match state(entry, inner.seen.get(&**node)) {
                NodeState::Present => totals.present += 1,
                NodeState::Away => totals.away += 1,
                NodeState::Missing => totals.missing += 1,
            }
        }
        totals
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state(entry: &NodeEntry, seen: Option<&Seen>) -> NodeState {
    match (&entry.map, seen) {
        (None, _) => NodeState::Missing,
        (Some(_), Some(Seen { answers: Ok(_), .. })) => NodeState::Present,
        (Some(_), _) => NodeState::Away,
    }
}

fn status(node: &str, entry: &NodeEntry, seen: Option<&Seen>) -> NodeStatus {
    let map = entry.map.as_ref();
    let message = match (map, seen) {
        (None, _) => Some("no agent ever published a map of it".to_owned()),
        (_, Some(Seen { answers: Err(why), .. })) => Some(why.clone()),
        (_, None) => Some("it was not asked yet".to_owned()),
        (Some(_), Some(_)) if !entry.exists => {
            Some("there is no Node object of this name any more".to_owned())
        }
        (Some(_), Some(_)) => None,
    };
    let answered = seen.and_then(|seen| seen.answers.clone().ok());
    NodeStatus {
        node: node.to_owned(),
        state: state(entry, seen),
        message,
        version: answered
            .or_else(|| map.map(|map| map.agent.version.clone()))
            .filter(|version| !version.is_empty()),
        since: seen.map(|seen| seen.since.clone()),
        endpoints: map.map_or(0, NodeMap::endpoints),
        quarantined: map.map_or(0, NodeMap::quarantined),
        published: map.and_then(|map| map.published.clone()),
    }
}

//! What is simulated.

use std::time::Duration;

use crate::chance::Chance;
use crate::content::Detail;

/// Agents that a rolling update takes at a time (the chart's `maxUnavailable`).
const AT_A_TIME: f64 = 0.1;
/// From the end of an agent to its pod's successor being ready, with its image on the node.
const EXCHANGE: Duration = Duration::from_secs(15);
/// A node that is rebooted is away for this.
pub const BOOT: Duration = Duration::from_secs(60);

/// A simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: u32,
    /// Pods of each at the beginning.
    pub pods: u32,
    /// Between two writes of a node (`publish_interval`).
    pub interval: Duration,
    /// Of all chance.
    pub seed: u64,
    /// How long is measured.
    pub time: Duration,
    /// Part of all pods that is replaced in a minute.
    pub churn: f64,
    /// What happens besides.
    pub happening: Happening,
    /// Forged frames of each node in a second, which agents hear of.
    pub traffic: f64,
    /// How much of the content is made.
    pub detail: Detail,
    /// Writes that the API server takes in a second; more are turned away with 429. None: all.
    pub capacity: Option<u32>,
    /// Whether agents tell in their maps that they cannot follow the API.
    pub tells_of_outages: bool,
}

/// What happens at some point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Happening {
    /// Nothing.
    Nothing,
    /// Every pod is replaced within this time.
    Rolling(Duration),
    /// This part of the nodes is rebooted within this time.
    Reboots(f64, Duration),
    /// The API server is away for this time.
    Outage(Duration),
    /// So many pods, each on another node, are over their threshold at once.
    Forging(u32),
    /// Every pod of one node, one every half second.
    Flooding,
    /// One policy is edited.
    Policy,
    /// The agents are updated.
    Rollout,
    /// Both hubs are started anew, one after the other.
    Failover,
}

/// When it begins.
pub const BEGINS: Duration = Duration::from_secs(60);

impl Plan {
    /// A quiet cluster of this size, for ten minutes.
    #[must_use]
    pub const fn quiet(nodes: u32, pods: u32) -> Self {
        Self {
            nodes,
            pods,
            interval: Duration::from_secs(10),
            seed: 1,
            time: Duration::from_secs(600),
            churn: 0.001,
            happening: Happening::Nothing,
            traffic: 0.0,
            detail: Detail::Slim,
            capacity: None,
            tells_of_outages: true,
        }
    }

    /// The same with something that happens.
    #[must_use]
    pub const fn with(self, happening: Happening) -> Self {
        Self { happening, ..self }
    }

    /// While the API server is away.
    #[must_use]
    pub fn away(&self) -> Option<(Duration, Duration)> {
        match self.happening {
            Happening::Outage(time) => Some((BEGINS, BEGINS + time)),
            _ => None,
        }
    }

    /// Which agents are started anew: when they end, and when the next one begins.
    #[must_use]
    pub fn restarts(&self) -> Vec<Restart> {
        let mut chance = Chance::new(self.seed ^ 0x0a11);
        let restart = |node, from, away| Restart { node, from, to: from + away };
        match self.happening {
            Happening::Rollout => {
                let at_a_time = (f64::from(self.nodes) * AT_A_TIME).max(1.0);
                let place = |node| EXCHANGE.mul_f64(f64::from(node) / at_a_time);
                let late = |chance: &mut Chance| chance.between(Duration::ZERO, EXCHANGE / 2);
                (0..self.nodes)
                    .map(|node| restart(node, BEGINS + place(node) + late(&mut chance), EXCHANGE))
                    .collect()
            }
            Happening::Reboots(share, time) => {
                let mut all: Vec<Restart> = Vec::new();
                for node in 0..self.nodes {
                    let late = chance.between(Duration::ZERO, time);
                    if chance.fraction() < share {
                        all.push(restart(node, BEGINS + late, BOOT));
                    }
                }
                all.sort_by_key(|restart| restart.from);
                all
            }
            _ => Vec::new(),
        }
    }

    /// Whether a node's pods go with its agent.
    #[must_use]
    pub const fn takes_pods_along(&self) -> bool {
        matches!(self.happening, Happening::Reboots(..))
    }
}

/// An agent that is started anew.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    /// Where.
    pub node: u32,
    /// It ends.
    pub from: Duration,
    /// The next one begins.
    pub to: Duration,
}

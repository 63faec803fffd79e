//! What a cluster asks of its API server anyhow, and what R5's design would ask: so that a reader can judge.
//!
//! By what Kubernetes documents of itself, at its defaults; sizes are those of plain pods.

use crate::content::{Content, Sizes};
use crate::ledger::number;
use crate::plan::Plan;

/// Kubelets renew their node's Lease this often (`nodeLeaseRenewIntervalFraction` of 40 s).
const LEASE_EVERY: f64 = 10.0;
/// And write their node's status, where nothing changes (`nodeStatusReportFrequency`).
const STATUS_EVERY: f64 = 300.0;
const LEASE_SIZE: f64 = 300.0;
const NODE_SIZE: f64 = 8000.0;
/// Requests that write for each pod that is replaced: create, bind, four times its status, delete, its status again, delete
/// for good; six Events, two EndpointSlices, a token, the ReplicaSet twice.
const WRITES_OF_POD: f64 = 20.0;
/// What of that etcd keeps: nine times the pod (as protobuf), six Events, two EndpointSlices of 30 addresses,
/// two ReplicaSets.
const BYTES_OF_POD: f64 = 9.0 * 3500.0 + 6.0 * 600.0 + 2.0 * 5000.0 + 2.0 * 2500.0;
/// A pod, listed as JSON.
const POD_LISTED: f64 = 8000.0;
const PAGE: f64 = 500.0;

/// The cluster itself.
#[derive(Clone, Copy, Debug)]
pub struct Anyhow {
    /// Renewals of Leases in a second.
    pub leases: f64,
    /// All writes in a second: Leases, nodes, and what pods that are replaced take.
    pub writes: f64,
    /// Bytes for etcd in a second.
    pub etcd: f64,
}

/// R5: a job lists all pods each minute.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Requests in a second, on average.
    pub requests: f64,
    /// Bytes answered in a second, on average.
    pub bytes: f64,
}

impl Anyhow {
    /// With so many pods replaced in a second.
    #[must_use]
    pub fn new(nodes: u32, replaced: f64) -> Self {
        let nodes = f64::from(nodes);
        let (leases, statuses) = (nodes / LEASE_EVERY, nodes / STATUS_EVERY);
        Self {
            leases,
            writes: leases + statuses + replaced * WRITES_OF_POD,
            etcd: leases * LEASE_SIZE + statuses * NODE_SIZE + replaced * BYTES_OF_POD,
        }
    }
}

impl Job {
    /// With so many pods.
    #[must_use]
    pub fn new(pods: f64) -> Self {
        Self { requests: (pods / PAGE).ceil() / 60.0, bytes: pods * POD_LISTED / 60.0 }
    }
}

/// What docs/scale.md reckons with; a test holds it to the simulation.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// Writes of maps in a second.
    pub writes: f64,
    /// Bytes for etcd in a second.
    pub etcd: f64,
    /// Bytes of all objects.
    pub at_rest: f64,
}

/// What an agent watches: its pods, policies, namespaces (if a policy selects by their labels), the hubs' certificates.
const WATCHES: f64 = 4.0;
/// A watch ends after 232 to 290 s (`Timing` of what follows collections).
const WATCH: f64 = 261.0;

impl Estimate {
    /// Watches that are opened again, in a second.
    #[must_use]
    pub fn watches(nodes: u32) -> f64 {
        f64::from(nodes) * WATCHES / WATCH
    }

    /// Of a plan in which nothing happens but pods coming and going.
    ///
    /// A node changes `c = 2 × churn × pods` times a second: one goes, one comes. After a change it waits for
    /// `d = 1 s + interval / 4` on average, and writes are never closer than the interval:
    /// `writes = nodes / max(interval, 1 / c + d)`.
    #[must_use]
    pub fn new(plan: &Plan, sizes: &Sizes) -> Self {
        let (nodes, interval) = (f64::from(plan.nodes), plan.interval.as_secs_f64());
        let changes = 2.0 * plan.churn / 60.0 * f64::from(plan.pods);
        let writes = nodes / (1.0 / changes + 1.0 + interval / 4.0).max(interval);
        let object = number(sizes.object(plan.pods as usize, Content::default().offenders.len()));
        Self { writes, etcd: writes * object, at_rest: nodes * object }
    }
}

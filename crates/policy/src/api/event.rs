//! What happens, as it is streamed and kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::guard::{Response, Termination};
use crate::model::Workload;
use crate::span::Span;

/// An event, as `GET /api/v1/events` streams them (server-sent events, one JSON object each).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// A frame broke a binding.
    Drop(Box<DropRecord>),
    /// Something changed or was repaired.
    Notice(Notice),
    /// An endpoint reached its threshold, and this became of it.
    Action(Box<Action>),
}

/// The answer to a repeat offender, with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Action {
    /// When it was done (RFC 3339, nanoseconds).
    pub time: String,
    /// Endpoint.
    pub endpoint: String,
    /// The workload behind it.
    pub workload: Workload,
    /// What was (to be) done.
    pub response: Response,
    /// How, of `terminate`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub terminate: Option<Termination>,
    /// What came of it.
    pub outcome: ActionOutcome,
    /// One sentence that says all this.
    pub message: String,
    /// The policy that decided on the response; none: the default.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// Hostile attempts counted within the window when the threshold was reached.
    pub attempts: u32,
    /// The threshold.
    pub threshold: u32,
    /// The window.
    pub window: Span,
    /// Packets by hostile reason since the endpoint was bound.
    pub reasons: BTreeMap<String, u64>,
    /// The last frames that counted, oldest first, as far as they were sampled.
    pub frames: Vec<DropRecord>,
    /// When the kernel saw the frame that reached the threshold (RFC 3339, nanoseconds).
    pub threshold_time: String,
    /// Milliseconds from then to the end of the action.
    pub took_ms: f64,
}

/// What came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActionOutcome {
    /// Done.
    Done,
    /// It would have been done: this is a dry run, or the endpoint is in audit mode.
    DryRun,
    /// Not done, because too many were ended in the last minute. (A quarantine holds.)
    Withheld,
    /// It failed; `message` says why. (A quarantine holds.)
    Failed,
    /// It is the hub's to do (Kubernetes), which was asked. (A quarantine holds.)
    Requested,
}

/// A frame that broke a binding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DropRecord {
    /// When (RFC 3339, nanoseconds).
    pub time: String,
    /// Endpoint name; none for an interface without a binding.
    pub endpoint: Option<String>,
    /// Interface name where it is known.
    pub interface: Option<String>,
    /// Its index.
    pub ifindex: u32,
    /// Inode of its network namespace.
    pub netns: u32,
    /// Reason.
    pub reason: String,
    /// `dropped`, `audited` where the frame passed, or `logged` where a rule of the shield reports it.
    pub verdict: String,
    /// The shield's rule behind it, where it was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// What the frame claimed.
    pub claimed: Claimed,
    /// What is bound: addresses and MACs.
    pub bound: Vec<String>,
    /// The sender, as far as it can be told.
    pub sender: Sender,
    /// Length of the frame in bytes.
    pub length: u32,
    /// One line that says what the frame is.
    pub summary: String,
    /// The first bytes, hexadecimal.
    pub frame: String,
}

/// What a frame claimed to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Claimed {
    /// Ethernet source.
    pub mac: Option<String>,
    /// Source address (ARP: sender; ND: target where that is the forgery).
    pub address: Option<String>,
}

/// The process behind a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sender {
    /// cgroup v2 id.
    pub cgroup_id: u64,
    /// Its path below the cgroup mount.
    pub cgroup: Option<String>,
    /// Process id, where one process can be named.
    pub pid: Option<u32>,
    /// Its command name.
    pub command: Option<String>,
}

/// Something that an operator should see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// When (RFC 3339).
    pub time: String,
    /// Machine-readable topic: `source`, `bound`, `unbound`, `repaired`, `displaced`, `waiting`, `quarantined`, `released`, …
    pub topic: String,
    /// Endpoint, where it concerns one.
    pub endpoint: Option<String>,
    /// One sentence.
    pub message: String,
}

//! The answer to an endpoint that keeps forging.
//!
//! The kernel counts hostile attempts and, where the policy says so, drops everything from the next frame on;
//! a [`Trip`] tells of it. What is left to do here: end the container, have the quarantine recorded, release
//! it in time, and say what was done on what evidence. [`decide`](mod@decide) is pure; [`Responder`] carries
//! out, through [`Hands`]. It never touches tables: it asks for changes of the desired state like everybody else.

pub mod decide;
mod evidence;
mod limit;
mod message;
mod own;
mod responder;
mod sentence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;

use jiff::Timestamp;
use portcullis_policy::api::Event;
use portcullis_policy::guard::{Answer, Termination};
use portcullis_policy::model::{Mode, Workload};

pub use evidence::Evidence;
pub use limit::Limiter;
pub use own::Own;
pub use responder::Responder;
pub use sentence::Sentences;

use crate::control::Fault;
use crate::store::Sentence;

/// An endpoint reached its threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    /// Its name.
    pub endpoint: String,
    /// Hostile attempts since the endpoint was bound or released last, that one included.
    pub attempts: u32,
    /// How many were one too many.
    pub threshold: u32,
    /// `CLOCK_MONOTONIC` of the frame that was one too many.
    pub timestamp_ns: u64,
    /// Path of the cgroup that sent it, where that could be told without a search.
    pub cgroup: Option<String>,
}

impl Trip {
    /// Hostile attempts within the window: the kernel tells at the first frame that makes them too many.
    fn within_window(&self) -> u32 {
        self.attempts.min(self.threshold)
    }
}

/// What is known of an endpoint when it has to be judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// The workload behind it.
    pub workload: Workload,
    /// Its mode.
    pub mode: Mode,
    /// What policies and defaults come to.
    pub answer: Answer,
    /// The policy that decided on the response.
    pub policy: Option<String>,
    /// Why that response is softened.
    pub spared: Option<String>,
    /// Packets by hostile reason since it was bound.
    pub reasons: BTreeMap<String, u64>,
    /// It is a cluster's pod: only the hub may end it.
    pub is_of_cluster: bool,
    /// Containers that send through it, the owner of the network namespace first; empty: no source that could
    /// end one knows of any.
    pub tenants: Vec<Tenant>,
}

/// A container that sends through an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id, whole.
    pub id: String,
    /// What people call it.
    pub name: String,
}

/// What the responder can do; the agent's core has these hands.
pub trait Hands: Send + Sync + 'static {
    /// What is known of an endpoint; none: it is gone.
    fn case(&self, endpoint: &str) -> Option<Case>;

    /// Records that an endpoint is in quarantine, for its workload and not only for its interface. The kernel
    /// drops already; what goes to the endpoint is stopped from now on too.
    fn quarantine(&self, endpoint: &str, sentence: Sentence) -> Result<(), Fault>;

    /// Ends a quarantine, as after a fresh start. One that is not there is none to end.
    fn release(&self, endpoint: &str) -> Result<(), Fault>;

    /// Ends every quarantine whose time has come; answers when the next one is due.
    fn release_due(&self, now: Timestamp) -> Option<Timestamp>;

    /// Has a container's source end it; an error is one sentence.
    fn terminate(&self, container: &str, how: Termination)
    -> impl Future<Output = Result<(), String>> + Send;

    /// Tells everyone.
    fn publish(&self, event: Event);
}

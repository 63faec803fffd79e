//! Ends pods that forge, where a policy says so: the only part of Portcullis that may.
//!
//! [`mod@decide`] is pure. Nothing is done because something happened, only because it is so: an offender stays in its
//! node's map until it is gone or released, and is examined on every change and every few seconds.

mod ask;
mod decide;
mod facts;
#[cfg(test)]
mod faults;
mod limit;
mod owners;
mod sentence;
mod task;
#[cfg(test)]
pub(crate) mod tests;
mod work;

use std::sync::{Arc, Mutex};

use portcullis_kubernetes::crd::TerminationMethod;
use portcullis_policy::api::OffenderStatus;

pub use decide::{Case, End, Order, Reason, Verdict, decide};
pub use facts::{Controller, Facts, Own};
pub use limit::Limiter;
pub use owners::Owners;
pub use task::{Reaper, run};

/// Offenders as the reaper sees them, for whoever asks.
pub type Board = Arc<Mutex<Vec<OffenderStatus>>>;

/// The word for a way to end a pod.
#[must_use]
pub const fn method_name(method: TerminationMethod) -> &'static str {
    match method {
        TerminationMethod::Delete => "delete",
        TerminationMethod::Evict => "evict",
    }
}

//! What the hub counts of itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by two words of fixed lists each.
pub type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// All counts, shared.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<Inner>>);

#[derive(Clone, Debug, Default)]
struct Inner {
    terminations: Counts,
    requests: BTreeMap<(String, u16), u64>,
    offenders: usize,
}

impl Counters {
    /// A pod was (not) ended: by which way, and what came of it.
    pub fn termination(&self, method: &'static str, outcome: &'static str) {
        *self.lock().terminations.entry((method, outcome)).or_insert(0) += 1;
    }

    /// A request was answered: by its route, never by what a client wrote.
    pub fn request(&self, route: &str, status: u16) {
        *self.lock().requests.entry((route.to_owned(), status)).or_insert(0) += 1;
    }

    /// So many offenders there are.
    pub fn set_offenders(&self, count: usize) {
        self.lock().offenders = count;
    }

    /// What was counted of terminations.
    #[must_use]
    pub fn terminations(&self) -> Counts {
        self.lock().terminations.clone()
    }

    /// What was counted of requests.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<(String, u16), u64> {
        self.lock().requests.clone()
    }

    /// How many offenders there are.
    #[must_use]
    pub fn offenders(&self) -> usize {
        self.lock().offenders
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

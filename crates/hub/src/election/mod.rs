//! Who leads: by a Lease, as Kubernetes' own components do it.
//!
//! [`Candidate`] decides and knows nothing of the API; [`run`] asks the API server for it. Clocks of machines may differ
//! as they like: only how long ago *this* process saw a record change counts. Whoever leads is certain of it for less
//! time ([`Timing::renew`]) than others wait ([`Timing::lease`]), counted from before its renewal was sent.

mod candidate;
mod task;
#[cfg(test)]
mod tests;

use tokio::sync::watch;

pub use candidate::{Answer, Ask, Candidate, Record, Timing};
pub use task::{LEASE, run};

use crate::clock::Moment;

/// What is known of the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// Until when this process leads for certain.
    pub until: Option<Moment>,
    /// Who holds the lease.
    pub holder: Option<String>,
    /// How often it changed hands.
    pub transitions: i32,
}

/// Whether this process leads; asked before anything that only a leader may do.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Term>);

impl Leadership {
    /// One to be given out, and what keeps it up to date.
    #[must_use]
    pub fn new() -> (watch::Sender<Term>, Self) {
        let (sender, receiver) = watch::channel(Term::default());
        (sender, Self(receiver))
    }

    /// Whether nobody else can lead at this moment.
    #[must_use]
    pub fn is_certain(&self, now: Moment) -> bool {
        self.0.borrow().until.is_some_and(|until| now < until)
    }

    /// What is known of the lease.
    #[must_use]
    pub fn term(&self) -> Term {
        self.0.borrow().clone()
    }

    /// Waits until something about it changes; for ever, once nobody keeps it up to date.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

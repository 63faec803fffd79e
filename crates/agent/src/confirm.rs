//! Changes that are taken back by themselves unless somebody confirms them: whoever cuts himself off gets in again.
//!
//! The state to go back to is on the disk, so that neither a crash nor a restart makes a change last that nobody confirmed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portcullis_policy::api::State;
use portcullis_policy::span::Span;
use serde::{Deserialize, Serialize};

use crate::bus::Bus;
use crate::control::{Control, Fault};
use crate::store::Store;

/// What waits for a confirmation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// When it is taken back.
    pub until: Timestamp,
    /// The state to go back to.
    pub state: State,
}

/// At most one change waits.
#[derive(Debug)]
pub struct Confirmation {
    store: Arc<Store>,
    bus: Arc<Bus>,
    pending: Mutex<Option<Pending>>,
}

impl Confirmation {
    /// With what waited when the agent ended.
    pub fn load(store: Arc<Store>, bus: Arc<Bus>) -> Result<Self, Fault> {
        let pending = store.pending().map_err(|error| Fault::Failed(error.to_string()))?;
        Ok(Self { store, bus, pending: Mutex::new(pending) })
    }

    fn pending(&self) -> MutexGuard<'_, Option<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when the last change waits.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        self.pending().as_ref().map(|pending| pending.until)
    }

    /// Remembers what to go back to, before the change is made.
    pub fn begin(&self, before: State, within: Span) -> Result<Timestamp, Fault> {
        let mut pending = self.pending();
        if let Some(pending) = pending.as_ref() {
            return Err(Fault::Conflict(format!(
                "another change waits for its confirmation until {}: confirm it first (`portcullis confirm`), or wait",
                pending.until
            )));
        }
        let until = Timestamp::now().checked_add(within.duration());
        let until = until.map_err(|_| Fault::Invalid("that is too long".to_owned()))?;
        let fresh = Pending { until, state: before };
        self.keep(Some(&fresh))?;
        *pending = Some(fresh);
        Ok(until)
    }

    /// The change stays; answers whether one waited.
    pub fn confirm(&self) -> Result<bool, Fault> {
        let mut pending = self.pending();
        if pending.is_none() {
            return Ok(false);
        }
        self.keep(None)?;
        *pending = None;
        self.bus.notice("confirmed", None, "the last change was confirmed".to_owned());
        Ok(true)
    }

    /// Nothing waits any more: the change was not made after all.
    pub fn cancel(&self) -> Result<(), Fault> {
        self.keep(None)?;
        *self.pending() = None;
        Ok(())
    }

    /// Takes back what nobody has confirmed in time.
    pub fn check(&self, control: &dyn Control) {
        let due = self.pending().clone().filter(|pending| pending.until <= Timestamp::now());
        let Some(due) = due else { return };
        match control.apply(due.state, true) {
            Ok((created, updated, removed)) => {
                let message = format!(
                    "nobody confirmed the last change: the state before it is there again ({created} created, {updated} updated, {removed} removed)"
                );
                self.bus.notice("taken-back", None, message);
            }
            Err(fault) => {
                // Tried again at the next look.
                tracing::error!(%fault, "a change that nobody confirmed could not be taken back");
                return;
            }
        }
        if let Err(fault) = self.keep(None) {
            tracing::warn!(%fault, "what was taken back waits on the disk still");
        }
        *self.pending() = None;
    }

    fn keep(&self, pending: Option<&Pending>) -> Result<(), Fault> {
        self.store.put_pending(pending).map_err(|error| Fault::Failed(error.to_string()))
    }
}

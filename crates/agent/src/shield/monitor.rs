//! The monitor: on while somebody looks.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::kernel::failed;
use super::{Keeper, Shield};
use crate::control::Fault;

/// Somebody looks; dropping it ends that.
#[derive(Debug)]
pub struct Look {
    shield: Arc<Shield>,
    id: u64,
}

impl Look {
    /// Begins. Of so many packets, counted by each processor, one is shown; of several who look the one who wants most
    /// decides.
    pub fn begin(shield: &Arc<Shield>, every: NonZeroU32) -> Result<Self, Fault> {
        let id = shield.act(|keeper, _| keeper.look(every))?;
        Ok(Self { shield: Arc::clone(shield), id })
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        // What drops this may be an async task, which must not wait for a list that is being imported.
        let (shield, id) = (Arc::clone(&self.shield), self.id);
        std::thread::spawn(move || shield.act(|keeper, _| keeper.look_away(id)));
    }
}

impl Keeper {
    fn look(&mut self, every: NonZeroU32) -> Result<u64, Fault> {
        if self.kernel.is_none() || self.places.is_empty() {
            return Err(Fault::NotFound(
                "there is nothing to see, because the shield stands nowhere: `portcullis shield attach` puts it up".to_owned(),
            ));
        }
        let id = self.next_look;
        self.next_look += 1;
        self.looks.insert(id, every);
        if let Err(fault) = self.write_monitor() {
            self.looks.remove(&id);
            return Err(fault);
        }
        Ok(id)
    }

    fn look_away(&mut self, id: u64) {
        self.looks.remove(&id);
        if let Err(fault) = self.write_monitor() {
            tracing::warn!(%fault, "the monitor is still on");
        }
    }

    /// Also at the start: whoever looked at an agent that was killed does so no more.
    pub(super) fn write_monitor(&self) -> Result<(), Fault> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        kernel.shield.monitor(kernel.profile(), self.looks.values().min().copied()).map_err(failed)
    }
}

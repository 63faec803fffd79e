//! How endpoints behave: what the kernel programs counted, and the quarantine that they began.

use std::mem::offset_of;

use portcullis_abi::Conduct;

use super::Tables;
use crate::error::{Error, Result};

impl Tables {
    /// The conduct of a slot's endpoint. Each field is sound by itself; the kernel goes on writing.
    pub fn conduct(&self, slot: u32) -> Result<Conduct> {
        self.conduct.read(slot).ok_or_else(|| self.no_slot())
    }

    /// Lets bygones be bygones: attempts up to now do not count any more, and a quarantine that the kernel
    /// began for them is not kept ([`Self::keep_quarantine`]). Comes before the release.
    pub fn forgive(&self, slot: u32) -> Result<()> {
        let attempts = self.conduct.load_at(slot, offset_of!(Conduct, attempts));
        let attempts = attempts.ok_or_else(|| self.no_slot())?;
        self.conduct.store_at(slot, offset_of!(Conduct, forgiven), attempts);
        self.conduct.store_at(slot, offset_of!(Conduct, tripped_ns), 0);
        self.conduct.store_at(slot, offset_of!(Conduct, quiet), 0);
        Ok(())
    }

    /// Begins anew: for a slot that is given to a new endpoint. No anchor may lead to it.
    pub fn reset_conduct(&self, slot: u32) -> Result<()> {
        self.set_conduct(slot, &Conduct::default())
    }

    /// Sets it to what it was elsewhere. No anchor may lead to the slot.
    pub fn set_conduct(&self, slot: u32, conduct: &Conduct) -> Result<()> {
        if self.conduct.write(slot, conduct) { Ok(()) } else { Err(self.no_slot()) }
    }

    /// Gives a binding the quarantine that the kernel began for its slot, if it did; answers whether.
    ///
    /// [`Self::point`] does this when it flips an anchor. A program that was running on the old entry
    /// then may reach the threshold a moment later, so it is to be done once more when the old entry
    /// expires.
    pub fn keep_quarantine(&self, binding: u32) -> bool {
        let endpoint = self.endpoint(binding);
        let Some(endpoint) = endpoint.filter(|endpoint| endpoint.slot != portcullis_abi::UNBOUND_SLOT) else {
            return false;
        };
        // What cannot be read may have been in quarantine.
        let conduct = self.conduct.read::<Conduct>(endpoint.slot);
        conduct.is_none_or(|conduct| conduct.is_quarantined()) && self.set_quarantine(binding, true)
    }

    const fn no_slot(&self) -> Error {
        Error::Full { table: "CONDUCT", capacity: self.slots }
    }
}

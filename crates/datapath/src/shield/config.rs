//! What a firewall is told beside its lists and rules.

use std::num::NonZeroU32;

use portcullis_abi::shield::guard::GuardConfig;
use portcullis_abi::shield::{Config, Parts};
use zerocopy::IntoBytes as _;

use super::{Profile, Shield};
use crate::error::{Error, Result};
use crate::sys;

/// Events that a firewall may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBudget {
    /// A second, in the long run.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

impl Shield {
    /// Tells a firewall how many events it may send, and its flood guard what to do, which is off without.
    pub fn configure(&self, profile: Profile, events: EventBudget, guard: Option<GuardConfig>) -> Result<()> {
        if guard.is_none() {
            self.set_part(profile, Parts::GUARD, false)?;
        }
        self.change_config(profile, |config| Config {
            event_rate: events.per_second,
            event_burst: events.burst,
            guard: guard.unwrap_or_default(),
            ..config
        })?;
        self.set_part(profile, Parts::GUARD, guard.is_some())
    }

    /// Has a firewall show one of so many frames as they arrive, whatever becomes of them; none: it shows nothing.
    /// Events of [`portcullis_abi::DropEvent::MONITOR_REASON`] tell of them, [`portcullis_abi::shield::MONITOR_RATE`] a
    /// second at the most, beside the budget of [`Self::configure`].
    pub fn monitor(&self, profile: Profile, every: Option<NonZeroU32>) -> Result<()> {
        if every.is_none() {
            self.set_part(profile, Parts::MONITOR, false)?;
        }
        let monitor_every = every.map_or(0, NonZeroU32::get);
        self.change_config(profile, |config| Config { monitor_every, ..config })?;
        self.set_part(profile, Parts::MONITOR, every.is_some())
    }

    /// Nobody else writes this.
    fn change_config(&self, profile: Profile, change: impl FnOnce(Config) -> Config) -> Result<()> {
        let error = |source| Error::system("table SHIELD_CONFIG", source);
        let table = self.table("SHIELD_CONFIG")?;
        let mut config = Config::default();
        sys::map_lookup(table, &profile.number(), config.as_mut_bytes()).map_err(error)?;
        sys::map_update(table, &profile.number(), &change(config)).map_err(error)
    }
}

//! Patience with a controller whose every new pod forges again: ending them in a loop helps nobody, and their quarantine
//! holds without it.
//!
//! Pods that were there before the first of their controller was ended are ended at once. Each one that was made
//! since waits longer than the one before it.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Moment;

const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(3600);
/// Creation times and the server's clock have whole seconds, and a pod is made a moment after its predecessor was deleted.
const ROUNDING: Duration = Duration::from_secs(2);
/// More than this are not remembered.
const MOST: usize = 10_000;

#[derive(Clone, Copy, Debug)]
struct Strikes {
    /// When the last one was ended.
    last: Moment,
    /// Replacements that were ended.
    count: u32,
}

/// What is remembered of controllers.
#[derive(Clone, Debug, Default)]
pub struct Owners(HashMap<String, Strikes>);

impl Strikes {
    fn pause(self) -> Duration {
        FIRST.saturating_mul(1 << self.count.min(16)).min(LAST)
    }

    /// Was made after another one had been ended.
    fn is_replacement(self, created: Moment) -> bool {
        created + ROUNDING >= self.last
    }

    /// Nothing happened for long.
    fn is_over(self, now: Moment) -> bool {
        now.saturating_sub(self.last) >= 2 * self.pause() + LAST / 6
    }
}

impl Owners {
    /// Whether a pod of this controller that is so old may be ended now.
    ///
    /// # Errors
    /// How long to wait, and how many replacements were ended before.
    pub fn permit(&self, owner: &str, age: Option<Duration>, now: Moment) -> Result<(), (Duration, u32)> {
        let Some(strikes) = self.0.get(owner).filter(|strikes| !strikes.is_over(now)) else { return Ok(()) };
        // Of one whose age nobody told it is taken that it is new.
        let created = now.saturating_sub(age.unwrap_or_default());
        let due = strikes.last + strikes.pause();
        if strikes.is_replacement(created) && now < due {
            return Err((due - now, strikes.count));
        }
        Ok(())
    }

    /// A pod of this controller that was so old has been ended.
    pub fn ended(&mut self, owner: &str, age: Option<Duration>, now: Moment) {
        self.0.retain(|_, strikes| !strikes.is_over(now));
        let created = now.saturating_sub(age.unwrap_or_default());
        let room = self.0.len() < MOST;
        match self.0.get_mut(owner) {
            Some(strikes) if strikes.is_replacement(created) => {
                *strikes = Strikes { last: now, count: strikes.count + 1 };
            }
            // An older one beside it: what is new is judged by the first.
            Some(_) => {}
            None if room => _ = self.0.insert(owner.to_owned(), Strikes { last: now, count: 0 }),
            None => {}
        }
    }
}

//! When to look at which sandbox again.
//!
//! A runtime tells that something began before it would answer a question about it (containerd: a few
//! milliseconds), and that something ended before it took note itself. So one event means several looks, ever
//! further apart, until one shows what the event said.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// What a look is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// That it is there.
    Appear,
    /// That it is not there any more.
    Vanish,
    /// Whatever there is.
    Renew,
}

impl Aim {
    /// Milliseconds before each look. Of [`Renew`](Self::Renew) all but the first are for looks that failed or
    /// left something open; what they do not settle waits for the next resync.
    fn delays(self) -> &'static [u64] {
        match self {
            Self::Appear => &[0, 2, 4, 8, 15, 30, 60, 120, 250, 500],
            Self::Vanish => &[0, 5, 15, 40, 100, 250, 500],
            Self::Renew => &[0, 100, 400, 1600],
        }
    }
}

/// A look to come.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    step: usize,
    aim: Aim,
}

/// Looks to come, one for each sandbox.
#[derive(Debug, Default)]
pub(super) struct Schedule(HashMap<String, Due>);

impl Schedule {
    /// Looks at it as soon as possible.
    pub fn start(&mut self, id: String, aim: Aim) {
        self.0.insert(id, Due { at: Instant::now(), step: 0, aim });
    }

    /// The look is due, or to be repeated: `false` where nobody asked for another.
    pub fn again(&mut self, id: String, aim: Aim, step: usize) -> bool {
        let Some(&delay) = aim.delays().get(step) else { return false };
        // What was asked for meanwhile is sooner.
        self.0.entry(id).or_insert(Due { at: Instant::now() + Duration::from_millis(delay), step, aim });
        true
    }

    /// Nothing is to be seen of it any more.
    pub fn forget(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// Whether somebody waits for it.
    pub fn holds(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// When the next look is due.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().map(|due| due.at).min()
    }

    /// Takes up to `most` looks that are due: id, aim, step.
    pub fn take(&mut self, most: usize) -> Vec<(String, Aim, usize)> {
        let now = Instant::now();
        let due = self.0.iter().filter(|(_, due)| due.at <= now).take(most);
        let taken: Vec<_> = due.map(|(id, due)| (id.clone(), due.aim, due.step)).collect();
        for (id, ..) in &taken {
            self.0.remove(id);
        }
        taken
    }
}

#[cfg(test)]
mod tests;

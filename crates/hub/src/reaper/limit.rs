//! How many pods may be ended in a minute: a bug, or a node that lies, must not empty a cluster.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;

const WINDOW: Duration = Duration::from_secs(60);

/// A sliding window over all that were ended.
#[derive(Clone, Debug)]
pub struct Limiter {
    most: usize,
    granted: VecDeque<Moment>,
}

impl Limiter {
    /// So many in any minute; 0: none at all.
    #[must_use]
    pub fn per_minute(most: u16) -> Self {
        Self { most: usize::from(most), granted: VecDeque::new() }
    }

    /// Whether one more may be ended now, which then counts; else how long it takes until one may.
    ///
    /// # Errors
    /// How long to wait.
    pub fn permit(&mut self, now: Moment) -> Result<(), Duration> {
        while self.granted.front().is_some_and(|then| now.saturating_sub(*then) >= WINDOW) {
            self.granted.pop_front();
        }
        if self.granted.len() < self.most {
            self.granted.push_back(now);
            return Ok(());
        }
        Err(self.granted.front().map_or(WINDOW, |then| (*then + WINDOW).saturating_sub(now)))
    }

    /// Nothing came of what was granted last.
    pub fn give_back(&mut self) {
        self.granted.pop_back();
    }

    /// How many there may be.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.most
    }
}

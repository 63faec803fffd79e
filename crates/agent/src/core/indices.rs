//! Which counter slots and binding entries are in use.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Time after which no program that was running when an index was given back still reads it.
/// Programs run for microseconds; this is generous.
const GRACE: Duration = Duration::from_millis(200);

/// Indices from 1 to a limit. One given back is not given out again before the grace is over.
#[derive(Debug)]
pub struct Indices {
    limit: u32,
    next: u32,
    free: BTreeSet<u32>,
    used: BTreeSet<u32>,
    retired: VecDeque<(Instant, u32)>,
}

impl Indices {
    /// Indices below `limit`.
    pub const fn new(limit: u32) -> Self {
        Self { limit, next: 1, free: BTreeSet::new(), used: BTreeSet::new(), retired: VecDeque::new() }
    }

    /// Marks an index as used; `false` where it cannot be had.
    pub fn reserve(&mut self, index: u32) -> bool {
        if index == 0 || index >= self.limit || self.used.contains(&index) {
            return false;
        }
        while self.next <= index {
            self.free.insert(self.next);
            self.next += 1;
        }
        self.free.remove(&index);
        self.used.insert(index)
    }

    /// An index of one's own; `None` where all are in use.
    pub fn take(&mut self) -> Option<u32> {
        let index = match self.free.pop_first() {
            Some(index) => index,
            None if self.next < self.limit => {
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        self.used.insert(index);
        Some(index)
    }

    /// Gives an index back; it is free after the grace.
    pub fn retire(&mut self, index: u32) {
        self.retired.push_back((Instant::now(), index));
    }

    /// Indices whose grace is over; they are free now.
    pub fn expire(&mut self) -> Vec<u32> {
        let mut expired = Vec::new();
        while let Some(&(since, index)) = self.retired.front()
            && since.elapsed() >= GRACE
        {
            self.retired.pop_front();
            self.used.remove(&index);
            self.free.insert(index);
            expired.push(index);
        }
        expired
    }

    /// Whether an index is in use (or in its grace).
    pub fn is_used(&self, index: u32) -> bool {
        self.used.contains(&index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_given_once() {
        let mut indices = Indices::new(4);
        assert!(indices.reserve(2));
        assert!(!indices.reserve(2) && !indices.reserve(0) && !indices.reserve(4));
        assert_eq!((indices.take(), indices.take(), indices.take()), (Some(1), Some(3), None));
        indices.retire(1);
        assert_eq!(indices.take(), None, "not before its grace is over");
        std::thread::sleep(GRACE);
        assert_eq!(indices.expire(), [1]);
        assert_eq!(indices.take(), Some(1));
    }
}

//! How many containers may be ended in a minute: a bug, or a forger of noise, must not empty a host.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// A sliding window over all terminations.
#[derive(Debug)]
pub struct Limiter {
    most: usize,
    granted: VecDeque<Instant>,
}

impl Limiter {
    /// So many in any minute; 0: none at all.
    #[must_use]
    pub fn per_minute(most: u16) -> Self {
        Self { most: usize::from(most), granted: VecDeque::new() }
    }

    /// Whether one more may be ended now; if so, it counts.
    pub fn permit(&mut self, now: Instant) -> bool {
        while self.granted.front().is_some_and(|then| now.saturating_duration_since(*then) >= WINDOW) {
            self.granted.pop_front();
        }
        let room = self.granted.len() < self.most;
        if room {
            self.granted.push_back(now);
        }
        room
    }

    /// How many there may be.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut limiter = Limiter::per_minute(2);
        assert!(limiter.permit(at(0)) && limiter.permit(at(30)));
        assert!(!limiter.permit(at(59)));
        assert!(limiter.permit(at(60)), "the first is a minute old");
        assert!(!limiter.permit(at(89)));
        assert!(limiter.permit(at(90)));
        assert!(!Limiter::per_minute(0).permit(start));
    }

    proptest! {
        /// Never more than so many in any minute, and never fewer than there is room for.
        #[test]
        fn it_agrees_with_counting(most in 0..5u16, steps in prop::collection::vec(0..40u64, 0..60)) {
            let start = Instant::now();
            let (mut limiter, mut granted, mut clock) = (Limiter::per_minute(most), Vec::new(), 0);
            for step in steps {
                clock += step;
                let recent = granted.iter().filter(|then| clock - **then < 60).count();
                let permit = limiter.permit(start + Duration::from_secs(clock));
                prop_assert_eq!(permit, recent < usize::from(most));
                if permit {
                    granted.push(clock);
                }
            }
        }
    }
}

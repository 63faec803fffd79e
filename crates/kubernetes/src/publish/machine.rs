//! When a node writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{fit, offenders_differ, same_content};
use crate::crd::EndpointMapStatus;
use crate::dice::{Backoff, Dice};

/// Changes seldom come alone.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// Between two writes because the hub is to end a pod. (Other writes do not hold one up.)
const URGENT: Duration = Duration::from_secs(1);
/// After failures.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// The same, if the hub is to end a pod.
const LAST_URGENT: Duration = Duration::from_secs(5);
/// After an outage.
const SPREAD: Duration = Duration::from_secs(30);
/// Somebody may have deleted the object, or etcd was restored from a backup.
const VERIFY: Duration = Duration::from_secs(600);

/// Decides when what is written. Pure: it learns the time from its callers.
#[derive(Debug)]
pub struct Publisher {
    interval: Duration,
    dice: Dice,
    backoff: Backoff,
    /// What should be there; none: nothing was offered yet.
    wanted: Option<Arc<EndpointMapStatus>>,
    /// What is there, as far as is known.
    present: Option<Arc<EndpointMapStatus>>,
    /// What is being written.
    writing: Option<Arc<EndpointMapStatus>>,
    /// What differs is to be written; none: nothing differs.
    due: Option<Due>,
    /// The last attempt, whatever became of it.
    last: Option<Instant>,
    /// The last one because of pods that the hub is to end.
    pressed: Option<Instant>,
    /// After a failure: not before this, and not before that if the hub is to end a pod.
    blocked: Option<(Instant, Instant)>,
    verify: Option<Instant>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Next {
    /// Nothing, until something is offered.
    Idle,
    /// Nothing until then.
    At(Instant),
    /// Write this now, and say what became of it.
    Write(Arc<EndpointMapStatus>),
    /// Look whether the object still is as it was written, and say so.
    Verify,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is written.
    Written,
    /// It failed.
    Failed {
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The object is as it was left.
    Same,
    /// This is what the object has; none: there is none.
    Present(Option<Arc<EndpointMapStatus>>),
}

impl Publisher {
    /// Nothing is known yet. The interval is at least a second.
    #[must_use]
    pub fn new(interval: Duration, seed: u64) -> Self {
        let dice = Dice::seeded(seed);
        Self {
            interval: interval.max(URGENT),
            backoff: Backoff::new(FIRST_PAUSE, LAST_PAUSE, Dice::seeded(!seed)),
            dice,
            wanted: None,
            present: None,
            writing: None,
            due: None,
            last: None,
            pressed: None,
            blocked: None,
            verify: None,
        }
    }

    /// This should be there from now on.
    pub fn offer(&mut self, status: Arc<EndpointMapStatus>, now: Instant) {
        let mut status = status;
        fit(Arc::make_mut(&mut status));
        self.wanted = Some(status);
        self.plan(now);
    }

    /// The API server is there again after an outage: nodes should not all write at once.
    pub fn outage_over(&mut self, now: Instant) {
        let spread = now + self.dice.up_to(SPREAD);
        if let Some(due) = &mut self.due {
            due.plain = due.plain.max(spread);
        }
    }

    /// What is to be done now.
    pub fn next(&mut self, now: Instant) -> Next {
        if self.writing.is_some() {
            return Next::Idle; // whoever writes tells when it is done
        }
        let at = self.earliest();
        if let Some(wanted) = self.wanted.clone()
            && at.is_some_and(|at| at <= now)
        {
            self.last = Some(now);
            if self.is_urgent(&wanted) {
                self.pressed = Some(now);
            }
            self.due = None;
            self.writing = Some(Arc::clone(&wanted));
            return Next::Write(wanted);
        }
        match self.verify {
            Some(verify) if verify <= now => Next::Verify,
            verify => at.into_iter().chain(verify).min().map_or(Next::Idle, Next::At),
        }
    }

    /// What became of what [`Publisher::next`] asked for.
    pub fn done(&mut self, outcome: Outcome, now: Instant) {
        let writing = self.writing.take();
        match outcome {
            Outcome::Written => {
                self.present = writing;
                self.recovered(now);
            }
            Outcome::Same => self.recovered(now),
            Outcome::Present(present) => {
                if writing.is_some() {
                    (self.last, self.pressed) = (None, None); // looked at instead
                }
                self.present = present;
                self.recovered(now);
            }
            Outcome::Failed { retry_after } => {
                let pause = self.backoff.pause(retry_after);
                let asked = retry_after.unwrap_or_default();
                self.blocked = Some((now + pause, now + pause.min(LAST_URGENT).max(asked)));
                self.verify = self.verify.map(|_| now + pause + self.dice.around(VERIFY));
            }
        }
        self.plan(now);
    }

    fn recovered(&mut self, now: Instant) {
        self.backoff.reset();
        self.blocked = None;
        self.verify = Some(now + self.dice.around(VERIFY));
    }

    /// Whether something has to be written, and when.
    fn plan(&mut self, now: Instant) {
        let Some(wanted) = &self.wanted else { return };
        let there = self.writing.as_ref().or(self.present.as_ref());
        if there.is_some_and(|there| same_content(there, wanted)) {
            self.due = None;
        } else if self.due.is_none() {
            let soon = now + DEBOUNCE + self.dice.up_to(self.interval / 2);
            let plain = self.last.map_or(soon, |last| soon.max(last + self.interval));
            self.due = Some(Due { since: now, plain });
        }
    }

    fn is_urgent(&self, wanted: &EndpointMapStatus) -> bool {
        offenders_differ(self.present.as_deref(), wanted)
    }

    /// When the difference may be written.
    fn earliest(&self) -> Option<Instant> {
        let due = self.due?;
        let wanted = self.wanted.as_ref()?;
        let urgent = self.is_urgent(wanted);
        let at = match (urgent, self.pressed) {
            (false, _) => due.plain,
            (true, None) => due.since,
            (true, Some(pressed)) => due.since.max(pressed + URGENT),
        };
        let blocked = self.blocked.map(|(plain, pressing)| if urgent { pressing } else { plain });
        Some(blocked.map_or(at, |blocked| at.max(blocked)))
    }
}

/// There is a difference to be written.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// Since when.
    since: Instant,
    /// When, unless it is urgent.
    plain: Instant,
}

//! Which offenders there are, and which is to be examined when. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_kubernetes::crd::Offender;

use super::decide::Reason;
use crate::clock::Moment;

/// The same is not said again before this.
const SILENCE: Duration = Duration::from_secs(300);
/// Pauses after failures: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The node that says so, and the pod's UID.
pub type Key = (Arc<str>, String);

/// An offender.
#[derive(Clone, Debug)]
struct Item {
    offender: Arc<Offender>,
    /// When it is to be examined; none: it is being examined.
    due: Option<Moment>,
    /// It changed while it was being examined.
    again: bool,
    told: Option<(Reason, String, Moment)>,
    failures: u32,
}

/// All offenders.
#[derive(Clone, Debug, Default)]
pub struct Work(BTreeMap<Key, Item>);

impl Work {
    /// These are all there are now.
    pub fn set<'a>(&mut self, now: Moment, offenders: impl Iterator<Item = (&'a Arc<str>, &'a Offender)>) {
        let mut before = std::mem::take(&mut self.0);
        for (node, offender) in offenders {
            let key = (Arc::clone(node), offender.uid.clone());
            let item = match before.remove(&key) {
                Some(known) if *known.offender == *offender => known,
                Some(known) => {
                    let due = known.due.map(|_| now);
                    Item { offender: Arc::new(offender.clone()), again: due.is_none(), due, ..known }
                }
                None => Item {
                    offender: Arc::new(offender.clone()),
                    due: Some(now),
                    again: false,
                    told: None,
                    failures: 0,
                },
            };
            self.0.insert(key, item);
        }
    }

    /// Something changed that bears on all of them.
    pub fn touch(&mut self, now: Moment) {
        for item in self.0.values_mut() {
            match &mut item.due {
                Some(due) => *due = now.min(*due),
                None => item.again = true,
            }
        }
    }

    /// Some that are to be examined now; they are not given again before [`Self::done`].
    pub fn take(&mut self, now: Moment, most: usize) -> Vec<(Key, Arc<Offender>)> {
        let mut due: Vec<(Moment, &Key)> = self
            .0
            .iter()
            .filter_map(|(key, item)| Some((item.due.filter(|due| *due <= now)?, key)))
            .collect();
        due.sort();
        let keys: Vec<Key> = due.into_iter().take(most).map(|(_, key)| key.clone()).collect();
        keys.into_iter()
            .filter_map(|key| {
                let item = self.0.get_mut(&key)?;
                (item.due, item.again) = (None, false);
                Some((key, Arc::clone(&item.offender)))
            })
            .collect()
    }

    /// When the next one is to be examined.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        self.0.values().filter_map(|item| item.due).min()
    }

    /// One was examined; `again` is when to do so next, if nothing changes before.
    pub fn done(&mut self, key: &Key, now: Moment, again: Duration) {
        if let Some(item) = self.0.get_mut(key) {
            item.due = Some(if item.again { now } else { now + again });
            item.failures = 0;
        }
    }

    /// Examining one, or ending it, failed.
    pub fn failed(&mut self, key: &Key, now: Moment, at_least: Duration) {
        if let Some(item) = self.0.get_mut(key) {
            let pause = FIRST_PAUSE.saturating_mul(1 << item.failures.min(8)).min(LAST_PAUSE);
            item.failures = item.failures.saturating_add(1);
            item.due = Some(now + pause.max(at_least));
        }
    }

    /// Whether that should be said of it: it is new, or was said long ago. It counts as said then.
    pub fn tell(&mut self, key: &Key, now: Moment, reason: Reason, why: &str) -> bool {
        let Some(item) = self.0.get_mut(key) else { return false };
        // Sentences with times and counts in them change all the time; the reason is what matters then.
        let again = item.told.as_ref().is_some_and(|(known, _, at)| *known == reason && now < *at + SILENCE);
        if !again {
            item.told = Some((reason, why.to_owned(), now));
        }
        !again
    }

    /// What was said last of each: node, offender, reason, sentence.
    pub fn told(&self) -> impl Iterator<Item = (&str, &Offender, Option<(Reason, &str)>)> {
        self.0.iter().map(|((node, _), item)| {
            let told = item.told.as_ref().map(|(reason, why, _)| (*reason, why.as_str()));
            (&**node, &*item.offender, told)
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

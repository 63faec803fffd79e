//! Events on pods, by agents: when they are written is decided by the real [`Book`] of each node.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portcullis_kubernetes::events::{Book, Next, Note, Outcome, PodRef};
use portcullis_policy::model::Mode;

use super::{Event, Fleet};
use crate::content;
use crate::ledger::{Bytes, Kind};

/// Forged frames are counted up this often (`COUNT_EVERY` of the agent).
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// An Event, as it is kept.
const EVENT_SIZE: u64 = 1100;
/// Frames that a pod forges in a second.
const FORGED: u64 = 1000;

/// The nodes that have something to say.
#[derive(Default)]
pub struct Notes(HashMap<u32, Desk>);

struct Desk {
    book: Book,
    counts: BTreeMap<u64, u64>,
    counting: bool,
}

impl Fleet<'_> {
    /// A pod was put in quarantine.
    pub(super) fn note(&mut self, number: u32, pod: u64) {
        let (now, wall) = (self.now, wall(self.now, self.zero));
        let desk = self.notes.0.entry(number).or_insert_with(|| Desk {
            book: Book::new(&content::node_name(number)),
            counts: BTreeMap::new(),
            counting: false,
        });
        desk.counts.insert(pod, 10);
        desk.book.tell(reference(pod), Note::Quarantined("10 forged frames in 60 s".to_owned()), now, wall);
        desk.book.tell(reference(pod), forged(10), now, wall);
        if !std::mem::replace(&mut desk.counting, true) {
            self.later(COUNT_EVERY, Event::Count(number));
        }
        self.post(number);
    }

    /// Pods go on forging for as long as they are there.
    pub(super) fn count(&mut self, number: u32) {
        let (now, wall) = (self.now, wall(self.now, self.zero));
        let present = self.nodes[number as usize].content.offenders.clone();
        let over = now >= self.end;
        let Some(desk) = self.notes.0.get_mut(&number) else { return };
        desk.counts.retain(|pod, _| present.contains(pod));
        for (pod, count) in &mut desk.counts {
            *count += FORGED;
            desk.book.tell(reference(*pod), forged(*count), now, wall);
        }
        desk.counting = !desk.counts.is_empty() && !over;
        if desk.counting {
            self.later(COUNT_EVERY, Event::Count(number));
        }
        self.post(number);
    }

    pub(super) fn post(&mut self, number: u32) {
        let (now, at, away) = (self.now, self.at(), self.is_away());
        let Some(desk) = self.notes.0.get_mut(&number) else { return };
        loop {
            match desk.book.next(now) {
                Next::Post(_) if away => {
                    self.told.ledger.failed(at);
                    desk.book.done(Outcome::Failed { retry_after: None }, now);
                }
                Next::Post(post) => {
                    let verb = if post.create { "create" } else { "patch" };
                    self.told.ledger.request(at, Kind::agent(verb, "events"));
                    self.told.ledger.bytes(at, Bytes::Etcd, EVENT_SIZE);
                    desk.book.done(Outcome::Written, now);
                }
                Next::At(due) => return self.queue.add(due, Event::Post(number)),
                Next::Idle => return,
            }
        }
    }
}

fn forged(count: u64) -> Note {
    Note::Spoofed { counts: BTreeMap::from([("spoofed-ipv4".to_owned(), count)]), mode: Mode::Enforce }
}

fn reference(pod: u64) -> PodRef {
    let row = content::row(pod);
    PodRef {
        namespace: row.namespace.unwrap_or_default(),
        name: row.pod.unwrap_or_default(),
        uid: row.uid.unwrap_or_default(),
    }
}

fn wall(now: Instant, zero: Instant) -> Timestamp {
    let seconds = now.saturating_duration_since(zero).as_secs();
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default()
}

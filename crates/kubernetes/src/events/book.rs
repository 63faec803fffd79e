//! When what is said. Pure: it learns the time from its callers.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use portcullis_policy::model::Mode;
use serde_json::{Value, json};

use super::{Note, PodRef};
use crate::dice::{Backoff, Dice};
use crate::rest::cut;

/// Between two writes about the same pod and reason: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// After this silence it is another story, with an Event of its own.
const STORY: Duration = Duration::from_secs(1800);
/// A node's writes: a burst, then one a second.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(1);
/// Stories that are kept in mind.
const MOST_STORIES: usize = 1024;
/// The API takes 1024 bytes.
const LONGEST_NOTE: usize = 500;
const MOST_REASONS: usize = 6;
/// Who we are.
const CONTROLLER: &str = "portcullis.dev/agent";
const COMPONENT: &str = "portcullis-agent";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reason {
    // The order in which they are written if not all can be.
    Quarantined,
    Released,
    SpoofedSource,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Quarantined => "Quarantined",
            Self::Released => "Released",
            Self::SpoofedSource => "SpoofedSource",
        }
    }

    fn kind(self) -> &'static str {
        if self == Self::Released { "Normal" } else { "Warning" }
    }
}

type Key = (Reason, PodRef);

/// What was, and is to be, said of one pod for one reason.
#[derive(Clone, Debug)]
struct Story {
    name: String,
    first: Timestamp,
    last: Timestamp,
    heard: Instant,
    note: String,
    count: u64,
    /// Packets by reason, as they were told last, and as they were when this story began.
    counts: BTreeMap<String, u64>,
    base: BTreeMap<String, u64>,
    /// It is in the API.
    made: bool,
    /// Something is to be written.
    dirty: bool,
    /// Not before this.
    due: Instant,
    pause: Duration,
}

/// Decides what is written when.
#[derive(Debug)]
pub struct Book {
    node: String,
    stories: BTreeMap<Key, Story>,
    writing: Option<Key>,
    tokens: u32,
    refilled: Option<Instant>,
    backoff: Backoff,
    blocked: Option<Instant>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing, until something is told.
    Idle,
    /// Nothing until then.
    At(Instant),
    /// Write this now, and say what became of it.
    Post(Post),
}

/// A write.
#[derive(Clone, Debug, PartialEq)]
pub struct Post {
    /// It is made; else it is changed.
    pub create: bool,
    /// Where.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object, or what of it changes.
    pub object: Value,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is written.
    Written,
    /// There is no such object (any more): Events are deleted after an hour.
    Missing,
    /// There is one of that name.
    Exists,
    /// It never will be.
    Refused,
    /// It may be another time.
    Failed {
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl Book {
    /// Nothing was said yet.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            stories: BTreeMap::new(),
            writing: None,
            tokens: BURST,
            refilled: None,
            backoff: Backoff::new(REFILL, FIRST_PAUSE, Dice::new()),
            blocked: None,
        }
    }

    /// Something is said of a pod. How many notes are lost by that, for want of room.
    pub fn tell(&mut self, pod: PodRef, note: Note, now: Instant, wall: Timestamp) -> u64 {
        let reason = match note {
            Note::Spoofed { .. } => Reason::SpoofedSource,
            Note::Quarantined(_) => Reason::Quarantined,
            Note::Released(_) => Reason::Released,
        };
        let key = (reason, pod);
        if let (Some(story), Note::Spoofed { counts, .. }) = (self.stories.get(&key), &note)
            && sum(counts) <= sum(&story.counts)
        {
            return 0;
        }
        let lost = if self.stories.contains_key(&key) { 0 } else { self.make_room(now) };
        let fresh = Story::new(name(&key, wall), now, wall);
        let story = self.stories.entry(key).or_insert_with(|| fresh.clone());
        if story.is_over(now) {
            let base = std::mem::take(&mut story.counts);
            *story = Story { base, ..fresh };
        }
        match note {
            Note::Spoofed { counts, mode } => {
                let mut since = counts.clone();
                since.iter_mut().for_each(|(reason, count)| {
                    *count = count.saturating_sub(story.base.get(reason).copied().unwrap_or_default());
                });
                story.counts = counts;
                story.count = sum(&since);
                story.note = in_words(&since, story.count, mode, story.first);
            }
            Note::Quarantined(text) | Note::Released(text) => {
                story.count += 1;
                story.note = cut(&text, LONGEST_NOTE);
            }
        }
        (story.last, story.heard, story.dirty) = (wall, now, true);
        lost
    }

    /// What is to be done now.
    pub fn next(&mut self, now: Instant) -> Next {
        if self.writing.is_some() {
            return Next::Idle; // whoever writes tells when it is done
        }
        self.refill(now);
        let due = self.stories.values().filter(|story| story.dirty).map(|story| story.due).min();
        let Some(due) = due else { return Next::Idle };
        let token = if self.tokens > 0 { None } else { self.refilled.map(|last| last + REFILL) };
        let at = [Some(due), self.blocked, token].into_iter().flatten().max().unwrap_or(due);
        if at > now {
            return Next::At(at);
        }
        // Keys are in order of importance; of one reason, what was never said comes first.
        let ready = self.stories.iter_mut().filter(|(_, story)| story.dirty && story.due <= now);
        let Some((key, story)) = ready.min_by_key(|((reason, _), story)| (*reason, story.made, story.due))
        else {
            return Next::Idle;
        };
        self.tokens -= 1;
        story.dirty = false;
        let post = post(key, story, &self.node);
        self.writing = Some(key.clone());
        Next::Post(post)
    }

    /// What became of it. How many notes are lost by that.
    pub fn done(&mut self, outcome: Outcome, now: Instant) -> u64 {
        let Some(key) = self.writing.take() else { return 0 };
        if !matches!(outcome, Outcome::Failed { .. }) {
            self.backoff.reset();
            self.blocked = None;
        }
        let Some(story) = self.stories.get_mut(&key) else { return 0 };
        match outcome {
            Outcome::Written => {
                story.made = true;
                story.due = now + story.pause;
                story.pause = (story.pause * 2).min(LAST_PAUSE);
            }
            Outcome::Exists if !story.made => (story.made, story.dirty) = (true, true),
            Outcome::Missing if story.made => {
                // The same name may not be free yet.
                let began = Timestamp::now();
                (story.made, story.dirty, story.name) = (false, true, name(&key, began));
            }
            // Its namespace is gone, or we have no right: it will not be better for trying.
            Outcome::Missing | Outcome::Exists | Outcome::Refused => {
                story.due = now + story.pause;
                story.pause = (story.pause * 2).min(LAST_PAUSE);
                return 1;
            }
            Outcome::Failed { retry_after } => {
                story.dirty = true;
                self.blocked = Some(now + self.backoff.pause(retry_after));
            }
        }
        0
    }

    fn refill(&mut self, now: Instant) {
        let last = *self.refilled.get_or_insert(now);
        let whole = (now.saturating_duration_since(last).as_millis() / REFILL.as_millis()).min(BURST.into());
        let earned = u32::try_from(whole).unwrap_or(BURST);
        if earned == BURST || self.tokens + earned >= BURST {
            (self.tokens, self.refilled) = (BURST, Some(now));
        } else if earned > 0 {
            (self.tokens, self.refilled) = (self.tokens + earned, Some(last + REFILL * earned));
        }
    }

    fn make_room(&mut self, now: Instant) -> u64 {
        if self.stories.len() < MOST_STORIES {
            return 0;
        }
        let writing = self.writing.clone();
        self.stories.retain(|key, story| writing.as_ref() == Some(key) || story.dirty || !story.is_over(now));
        if self.stories.len() < MOST_STORIES {
            return 0;
        }
        let others = self.stories.iter().filter(|(key, _)| writing.as_ref() != Some(key));
        let oldest = others.min_by_key(|(_, story)| (story.dirty, story.heard)).map(|(key, _)| key.clone());
        let dropped = oldest.and_then(|key| self.stories.remove(&key));
        u64::from(dropped.is_some_and(|story| story.dirty))
    }
}

impl Story {
    fn new(name: String, now: Instant, wall: Timestamp) -> Self {
        Self {
            name,
            first: wall,
            last: wall,
            heard: now,
            note: String::new(),
            count: 0,
            counts: BTreeMap::new(),
            base: BTreeMap::new(),
            made: false,
            dirty: false,
            due: now,
            pause: FIRST_PAUSE,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        !self.dirty && now.saturating_duration_since(self.heard) > STORY
    }
}

/// The same for the same pod and reason, and another for its next story.
fn name(key: &Key, wall: Timestamp) -> String {
    let mut hasher = DefaultHasher::new();
    (key, wall.as_nanosecond()).hash(&mut hasher);
    // Names are no longer than 253.
    let pod: String = key.1.name.chars().take(230).collect();
    format!("{}.{:016x}", pod.trim_end_matches(['.', '-']), hasher.finish())
}

fn sum(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().fold(0, |sum, count| sum.saturating_add(*count))
}

fn in_words(counts: &BTreeMap<String, u64>, total: u64, mode: Mode, since: Timestamp) -> String {
    let mut sorted: Vec<(&String, &u64)> = counts.iter().filter(|(_, count)| **count > 0).collect();
    sorted.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
    let mut reasons: Vec<String> =
        sorted.iter().take(MOST_REASONS).map(|(reason, count)| format!("{reason} {count}")).collect();
    if sorted.len() > MOST_REASONS {
        reasons.push("and others".to_owned());
    }
    let frames = if total == 1 { "frame" } else { "frames" };
    let became = match mode {
        Mode::Enforce => "dropped",
        Mode::Audit | Mode::Off => "seen, and let pass (audit)",
    };
    let since = since.strftime("%H:%M");
    cut(&format!("{total} forged {frames} {became}: {}; since {since} UTC", reasons.join(", ")), LONGEST_NOTE)
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn post((reason, pod): &Key, story: &Story, node: &str) -> Post {
    let count = i32::try_from(story.count).unwrap_or(i32::MAX);
    let object = if story.made {
        json!({"message": story.note, "count": count, "lastTimestamp": time(story.last)})
    } else {
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": story.name, "namespace": pod.namespace},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid
            },
            "type": reason.kind(),
            "reason": reason.name(),
            "message": story.note,
            "count": count,
            "firstTimestamp": time(story.first),
            "lastTimestamp": time(story.last),
            "source": {"component": COMPONENT, "host": node},
            "action": "Verify",
            "reportingComponent": CONTROLLER,
            "reportingInstance": cut(node, 120),
        })
    };
    Post { create: !story.made, namespace: pod.namespace.clone(), name: story.name.clone(), object }
}

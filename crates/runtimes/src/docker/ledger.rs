//! What was reported of each container, and which answers are still to be believed.
//!
//! Pure: events and answers come in, in whatever order the runtime sends them; reports come out.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use portcullis_policy::container::{Attachment, Container};

use crate::source::Report;

/// A container whose description has trouble is looked at again after this, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_DOUBLINGS: u32 = 6;
/// Another look follows a look that found nothing new only after this, or a restless container would have
/// the runtime asked without end.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of a look at a container.
#[derive(Debug)]
pub(super) enum Found {
    /// It runs.
    Running {
        /// Whole.
        container: Box<Container>,
        /// Since when.
        started: Option<Timestamp>,
    },
    /// It does not.
    Down,
    /// There is none (any more).
    Missing,
    /// What the runtime says of it makes no sense; this much is known of it, with the trouble.
    Garbled(Box<Container>),
    /// The runtime did not say: one sentence.
    Unclear(String),
}

#[derive(Debug)]
struct Known {
    container: Container,
    /// When it was started; none: unknown, or it is only being started.
    started: Option<Timestamp>,
    running: bool,
    /// The fingerprint of its entry in the last list.
    listed: Option<u64>,
}

/// A look that is under way.
#[derive(Debug, Default)]
struct Look {
    /// Something happened meanwhile: another look follows.
    again: bool,
    /// It stopped meanwhile.
    down: Option<Down>,
}

#[derive(Clone, Copy, Debug)]
enum Down {
    At(Timestamp),
    Sometime,
}

/// The account of all containers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    known: BTreeMap<String, Known>,
    looks: BTreeMap<String, Look>,
    /// Containers that joined a network while they did not run, each with the number of that start.
    starts: BTreeMap<String, u64>,
    started_last: u64,
    attempts: BTreeMap<String, u32>,
}

/// What follows from the answer of a look.
#[derive(Debug, Default)]
pub(super) struct Next {
    pub(super) report: Option<Report>,
    /// Look again, after this time.
    pub(super) look: Option<Duration>,
}

impl Ledger {
    /// Whether a look at this container has to be begun; one that is under way is followed by another.
    pub(super) fn begin(&mut self, id: &str) -> bool {
        if let Some(look) = self.looks.get_mut(id) {
            look.again = true;
            return false;
        }
        self.looks.insert(id.to_owned(), Look::default());
        true
    }

    /// How often the last looks at it failed.
    pub(super) fn attempts(&self, id: &str) -> u32 {
        self.attempts.get(id).copied().unwrap_or(0)
    }

    /// Takes the answer of a look.
    pub(super) fn looked(&mut self, id: &str, found: Found) -> Next {
        let look = self.looks.remove(id).unwrap_or_default();
        let unchanged = look.down.is_none() && matches!(found, Found::Running { .. });
        let mut next = Next { report: None, look: look.again.then_some(Duration::ZERO) };
        match found {
            Found::Running { started, .. } if look.down.is_some_and(|down| down.is_after(started)) => {}
            Found::Running { container, started } => {
                if container.trouble.is_some() {
                    next.look = next.look.or(Some(self.retry(id)));
                } else {
                    self.attempts.remove(id);
                }
                next.report = self.keep(*container, started);
            }
            Found::Garbled(_) if look.down.is_some() => {}
            Found::Garbled(bare) => {
                next.look = next.look.or(Some(self.retry(id)));
                let before = self.known.get(id).map(|known| (known.container.clone(), known.started));
                let (container, started) = match before {
                    Some((before, at)) => {
                        (Container { attachments: Vec::new(), trouble: bare.trouble, ..before }, at)
                    }
                    None => (*bare, None),
                };
                next.report = self.keep(container, started);
            }
            Found::Unclear(why) => {
                next.look = next.look.or(Some(self.retry(id)));
                tracing::debug!(container = id, why, "looking again later");
            }
            // What comes next knows better.
            Found::Down | Found::Missing if look.again => {}
            Found::Down => next.report = self.gone(id, false),
            Found::Missing => next.report = self.gone(id, true),
        }
        if look.again && next.report.is_none() && unchanged {
            next.look = Some(PAUSE);
        }
        next
    }

    fn retry(&mut self, id: &str) -> Duration {
        let attempts = self.attempts.entry(id.to_owned()).or_default();
        *attempts += 1;
        RETRY_FIRST * 2u32.pow((*attempts - 1).min(RETRY_DOUBLINGS))
    }

    /// Keeps a container that runs; the report, if it says anything new.
    pub(super) fn keep(&mut self, container: Container, started: Option<Timestamp>) -> Option<Report> {
        self.starts.remove(&container.id);
        let before = self.known.get(&container.id);
        let listed = before.and_then(|known| known.listed);
        let news = before.is_none_or(|known| !known.running || known.container != container);
        let report = news.then(|| Report::Changed(Box::new(container.clone())));
        self.known.insert(container.id.clone(), Known { container, started, running: true, listed });
        report
    }

    fn gone(&mut self, id: &str, removed: bool) -> Option<Report> {
        self.starts.remove(id);
        self.attempts.remove(id);
        self.known.remove(id).map(|_| Report::Gone { id: id.to_owned(), removed })
    }

    /// It stopped, says an event. True: the event is older than what is known; look again.
    pub(super) fn down(&mut self, id: &str, at: Option<Timestamp>) -> (Option<Report>, bool) {
        let down = at.map_or(Down::Sometime, Down::At);
        if let Some(look) = self.looks.get_mut(id) {
            look.down = Some(down);
        }
        // Events wait in line while everything is listed, and may tell of a run before this one.
        match self.known.get(id) {
            Some(known) if known.running && !down.is_after(known.started) => (None, true),
            _ => (self.gone(id, false), false),
        }
    }

    /// It was removed.
    pub(super) fn removed(&mut self, id: &str) -> Report {
        if let Some(look) = self.looks.get_mut(id) {
            look.down = Some(Down::Sometime);
        }
        self.gone(id, true);
        Report::Gone { id: id.to_owned(), removed: true }
    }

    /// It joined a network. None: it runs, look at it. Otherwise the number of the start that is under way.
    pub(super) fn joined(&mut self, id: &str) -> Option<u64> {
        if self.runs(id) {
            return None;
        }
        self.started_last += 1;
        Some(*self.starts.entry(id.to_owned()).or_insert(self.started_last))
    }

    /// It left a network. True: it runs, look at it.
    pub(super) fn left(&mut self, id: &str) -> (Option<Report>, bool) {
        if self.runs(id) {
            return (None, true);
        }
        // Its start failed, unless it stopped before.
        (self.gone(id, false), false)
    }

    /// Takes what is expected of a container that is being started.
    pub(super) fn expect(
        &mut self,
        start: u64,
        mut container: Container,
        attachment: Attachment,
    ) -> Option<Report> {
        // It runs by now, or its start has failed.
        if self.starts.get(&container.id) != Some(&start) {
            return None;
        }
        if let Some(before) = self.known.get(&container.id) {
            container.attachments.clone_from(&before.container.attachments);
        }
        container.attachments.retain(|other| other.network != attachment.network);
        container.attachments.push(attachment);
        let report = Report::Changed(Box::new(container.clone()));
        let known = Known { container, started: None, running: false, listed: None };
        self.known.insert(known.container.id.clone(), known);
        Some(report)
    }

    fn runs(&self, id: &str) -> bool {
        self.known.get(id).is_some_and(|known| known.running)
    }

    /// Compares with a list of all that run: whom to look at, and which of them no event has told of.
    pub(super) fn compare(&mut self, list: impl Iterator<Item = (String, u64)>) -> Compared {
        let mut compared = Compared::default();
        let mut listed = BTreeMap::new();
        for (id, fingerprint) in list {
            match self.known.get_mut(&id) {
                Some(known) if known.running && known.listed == Some(fingerprint) => {}
                Some(known) => {
                    known.listed = Some(fingerprint);
                    compared.look.push(id.clone());
                }
                None => {
                    compared.look.push(id.clone());
                    compared.unheard.push(id.clone());
                }
            }
            listed.insert(id, fingerprint);
        }
        for (id, known) in &self.known {
            if !listed.contains_key(id) {
                compared.look.push(id.clone());
                if known.running {
                    compared.unheard.push(id.clone());
                }
            }
        }
        compared.unheard.retain(|id| !self.looks.contains_key(id));
        compared
    }

    /// The containers with an attachment at this interface.
    pub(super) fn at(&self, netns: u32, index: u32) -> Vec<String> {
        use portcullis_policy::container::AttachmentPlace;
        let there = |attachment: &Attachment| match &attachment.place {
            AttachmentPlace::Pair { host } => host.netns == netns && host.index == index,
            _ => false,
        };
        let all = self.known.values().map(|known| &known.container);
        all.filter(|container| container.attachments.iter().any(there)).map(|c| c.id.clone()).collect()
    }
}

/// What a list says beyond what was known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) look: Vec<String>,
    pub(super) unheard: Vec<String>,
}

impl Down {
    /// Whether a run that began at `started` has ended by this.
    fn is_after(self, started: Option<Timestamp>) -> bool {
        match (self, started) {
            (Self::At(at), Some(started)) => at >= started,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;

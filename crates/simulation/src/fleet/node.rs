//! A node: the real [`Publisher`], and around it what `publish::run` and the agent do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_kubernetes::crd::EndpointMapStatus;
use portcullis_kubernetes::publish::{Next, Outcome, Publisher, fit, same_content};

use crate::content::{self, Content, Detail};

/// An agent puts its map together at most this often (`PAUSE` of the agent), but at once when a pod is to be ended.
const PAUSE: Duration = Duration::from_millis(500);

/// What a node's object is, at the API server.
#[derive(Clone, Debug)]
pub struct Object {
    /// What it says.
    pub status: Arc<EndpointMapStatus>,
    /// Changes with each write.
    pub version: u64,
    /// Pods by the policies that match them.
    pub matched: Vec<u32>,
    /// Rows.
    pub rows: usize,
}

/// What is to be asked of the API server.
#[derive(Clone, Debug)]
pub enum Ask {
    /// What the object is.
    Look,
    /// That it becomes this.
    Write(Arc<EndpointMapStatus>),
}

/// What the agent has to do next.
pub enum Turn {
    /// Ask this.
    Ask(Ask),
    /// Wait, until then at the latest.
    Wait(Option<Instant>),
}

/// A node.
pub struct Node {
    /// What is so.
    pub content: Content,
    /// The object that the API server has.
    pub object: Option<Object>,
    /// Its agent was started so often; answers to one before are not heard.
    pub life: u32,
    /// Its agent runs.
    pub up: bool,
    /// Since when what is so is not written; none: it is.
    pub stale: Option<Instant>,
    number: u32,
    publisher: Publisher,
    /// What it was before is known (`publish::run`).
    known: bool,
    /// The version that was last seen (`publish::Object`).
    pub version: Option<u64>,
    asking: bool,
    offer: Option<Arc<EndpointMapStatus>>,
    offered: Option<Instant>,
    said: Option<Arc<EndpointMapStatus>>,
    /// The agent will look at what is so once more.
    pub look_due: bool,
    offenders: Vec<u64>,
    /// When it is woken up.
    pub wake: Option<Instant>,
}

impl Node {
    /// One that is about to be started.
    pub fn new(number: u32, content: Content, interval: Duration, seed: u64) -> Self {
        Self {
            content,
            object: None,
            life: 0,
            up: false,
            stale: None,
            number,
            publisher: Publisher::new(interval, seed),
            known: false,
            version: None,
            asking: false,
            offer: None,
            offered: None,
            said: None,
            look_due: false,
            offenders: Vec::new(),
            wake: None,
        }
    }

    /// Its agent starts, again.
    pub fn start(&mut self, interval: Duration, seed: u64) {
        self.publisher = Publisher::new(interval, seed);
        self.life += 1;
        self.content.starts += 1;
        (self.up, self.known, self.version, self.asking) = (true, false, None, false);
        (self.offer, self.offered, self.said, self.look_due) = (None, None, None, false);
        self.wake = None;
    }

    /// Its agent ends.
    pub fn stop(&mut self) {
        self.up = false;
        self.life += 1;
    }

    /// Something may be new. When it is to be looked at again, if it is too soon now.
    pub fn changed(&mut self, now: Instant, detail: Detail) -> Option<Instant> {
        if !self.up {
            return None;
        }
        // A new one is told of by an `Action`; that one is gone, by what waits.
        let urgent = self.content.offenders.iter().any(|pod| !self.offenders.contains(pod));
        let due = self.offered.map(|last| last + PAUSE).filter(|due| *due > now && !urgent);
        if due.is_some() {
            let first = !std::mem::replace(&mut self.look_due, true);
            return due.filter(|_| first);
        }
        self.look_due = false;
        self.offered = Some(now);
        self.offenders.clone_from(&self.content.offenders);
        let said = self.wanted(detail);
        // What goes back to what it was needs no writing.
        let written = self.object.as_ref().is_some_and(|object| same_content(&object.status, &said));
        self.stale = if written { None } else { self.stale.or(Some(now)) };
        self.said = Some(Arc::new(said));
        self.offer.clone_from(&self.said);
        None
    }

    /// The agent says the same again.
    pub fn repeat(&mut self) {
        if self.up && self.offer.is_none() {
            self.offer.clone_from(&self.said);
        }
    }

    /// What `publish::run` does until it has to wait.
    pub fn turn(&mut self, now: Instant) -> Turn {
        if self.asking || !self.up {
            return Turn::Wait(None);
        }
        loop {
            let due = match self.publisher.next(now) {
                Next::Write(status) if self.known => {
                    self.asking = true;
                    return Turn::Ask(Ask::Write(status));
                }
                Next::Write(_) | Next::Verify => {
                    self.asking = true;
                    return Turn::Ask(Ask::Look);
                }
                Next::At(due) => Some(due),
                Next::Idle => None,
            };
            match self.offer.take() {
                Some(offer) => self.publisher.offer(offer, now),
                None => return Turn::Wait(due),
            }
        }
    }

    /// What became of what it asked.
    pub fn answered(&mut self, outcome: Outcome, now: Instant) {
        self.asking = false;
        if matches!(outcome, Outcome::Same | Outcome::Present(_)) {
            self.known = true;
        }
        self.publisher.done(outcome, now);
    }

    /// What is so now, as it would be written.
    pub fn wanted(&self, detail: Detail) -> EndpointMapStatus {
        let mut wanted = content::status(self.number, &self.content, detail);
        fit(&mut wanted);
        wanted
    }
}

//! What the sources say, side by side: who tells of which container, and which interface that comes to.
//!
//! Nothing is decided here. A source's word stays as it was given until that source says otherwise; where
//! several speak of one interface, [`Fleet::claims`] gives all of them, in order of precedence.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portcullis_datapath::Anchor;
use portcullis_policy::api::SourceState;
use portcullis_policy::container::{Attachment, Container, Network};
use portcullis_policy::model::{Mode, Owner};
use portcullis_runtimes::source::Request;
use tokio::sync::mpsc;

/// How the operator wants a source's endpoints treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// Their mode, where no policy says another.
    pub mode: Mode,
    /// Whether interfaces of its networks that nobody claims are held shut.
    pub hold: bool,
    /// Whether attachments without a host side are bound from inside.
    pub inside: bool,
}

impl Default for Treatment {
    fn default() -> Self {
        Self { mode: Mode::Enforce, hold: true, inside: false }
    }
}

/// A source, and all that it says.
#[derive(Debug)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Owner,
    /// Its socket, where it has one.
    pub socket: Option<String>,
    /// How its endpoints are treated.
    pub treatment: Treatment,
    /// How it stands.
    pub state: SourceState,
    /// Since when.
    pub since: jiff::Timestamp,
    /// Why it stands so.
    pub message: Option<String>,
    /// Full lists that it gave.
    pub resyncs: u64,
    /// Its containers by id.
    pub containers: BTreeMap<String, Known>,
    /// Its networks.
    pub networks: Vec<Network>,
    requests: Option<mpsc::Sender<Request>>,
}

/// A container as its source told of it.
#[derive(Debug)]
pub struct Known {
    /// What was told.
    pub container: Container,
    /// The interface of each attachment, where it is known and there.
    pub anchors: Vec<Option<Anchor>>,
}

/// One source's word on one interface.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Who says so.
    pub source: &'a Source,
    /// Of which container.
    pub container: &'a Container,
    /// And of which attachment.
    pub attachment: &'a Attachment,
}

/// Owner first: owners are in order of precedence.
type ClaimKey = (Owner, String, String, usize);

/// All sources.
#[derive(Debug, Default)]
pub struct Fleet {
    sources: BTreeMap<String, Source>,
    by_anchor: HashMap<Anchor, BTreeSet<ClaimKey>>,
}

impl Source {
    /// A source that has said nothing yet.
    pub fn new(name: &str, kind: Owner, socket: Option<String>, treatment: Treatment) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            socket,
            treatment,
            state: SourceState::Connecting,
            since: jiff::Timestamp::now(),
            message: None,
            resyncs: 0,
            containers: BTreeMap::new(),
            networks: Vec::new(),
            requests: None,
        }
    }

    /// Where it takes requests.
    pub fn ask_on(&mut self, requests: mpsc::Sender<Request>) {
        self.requests = Some(requests);
    }

    /// Changes its state; whether that is news.
    pub fn enter(&mut self, state: SourceState, message: Option<String>) -> bool {
        let news = self.state != state || self.message != message;
        if self.state != state {
            self.since = jiff::Timestamp::now();
        }
        self.state = state;
        self.message = message;
        news
    }

    /// Asks something of it. A source that is too busy to be asked reads everything anew sooner or later.
    pub fn ask(&self, request: Request) {
        if let Some(requests) = &self.requests
            && let Err(error) = requests.try_send(request)
        {
            tracing::debug!(source = self.name, %error, "a source was not asked");
        }
    }

    /// Whether it can end containers.
    #[must_use]
    pub fn can_end(&self) -> bool {
        self.requests.is_some()
    }

    /// Where it takes requests, for whoever wants to wait for an answer.
    #[must_use]
    pub fn requests(&self) -> Option<mpsc::Sender<Request>> {
        self.requests.clone()
    }

    /// Whether it wants ports of its bridges held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.treatment.hold && self.treatment.mode == Mode::Enforce
    }

    /// Whether it can be asked about an interface that nobody claims. The plugin tells by itself; a runtime that is not there
    /// knows nothing.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.can_end() && self.state != SourceState::Absent
    }

    /// Whether it guards this bridge: what appears there is held until a container claims it.
    #[must_use]
    pub fn has_bridge(&self, bridge: Anchor) -> bool {
        self.networks
            .iter()
            .filter_map(|network| network.bridge.as_ref())
            .any(|host| host.netns == bridge.netns && host.index == bridge.ifindex)
    }
}

impl Known {
    /// What its source could not see this time stays as it was, as far as its interface is there.
    fn keep_unseen(&mut self, before: &Self) {
        let seen = self.container.attachments.len();
        for (attachment, anchor) in before.container.attachments.iter().zip(&before.anchors) {
            let is_same = |other: &Attachment| {
                other == attachment
                    || other.inside.is_some() && other.inside == attachment.inside
                    || other.network.is_some() && other.network == attachment.network
            };
            let told = self.container.attachments.iter().take(seen).any(is_same);
            if !told && anchor.is_some() && !self.anchors.contains(anchor) {
                self.container.attachments.push(attachment.clone());
                self.anchors.push(*anchor);
            }
        }
    }
}

impl Fleet {
    /// A further source.
    pub fn add(&mut self, source: Source) {
        self.sources.insert(source.name.clone(), source);
    }

    /// All sources, by name.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.values()
    }

    /// The source of this name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.get(name)
    }

    /// The same, to be changed in all but its containers.
    pub fn source_mut(&mut self, name: &str) -> Option<&mut Source> {
        self.sources.get_mut(name)
    }

    /// What is said of an interface, the first to be believed first.
    #[must_use]
    pub fn claims(&self, anchor: Anchor) -> Vec<Claim<'_>> {
        let keys = self.by_anchor.get(&anchor).into_iter().flatten();
        keys.filter_map(|(_, source, container, index)| {
            let source = self.sources.get(source)?;
            let container = &source.containers.get(container)?.container;
            Some(Claim { source, container, attachment: container.attachments.get(*index)? })
        })
        .collect()
    }

    /// A container is now like this. What its source could not see stays as it was.
    /// Answers the interfaces that it concerns.
    pub fn put(&mut self, source: &str, mut known: Known) -> BTreeSet<Anchor> {
        let id = known.container.id.clone();
        let mut touched = BTreeSet::new();
        if known.container.trouble.is_some()
            && let Some(before) = self.sources.get(source).and_then(|source| source.containers.get(&id))
        {
            known.keep_unseen(before);
        }
        touched.extend(self.take(source, &id));
        let Some(there) = self.sources.get_mut(source) else { return touched };
        for (index, anchor) in known.anchors.iter().enumerate() {
            if let Some(anchor) = anchor {
                let key = (there.kind, source.to_owned(), id.clone(), index);
                self.by_anchor.entry(*anchor).or_default().insert(key);
                touched.insert(*anchor);
            }
        }
        there.containers.insert(id, known);
        touched
    }

    /// A container is gone. Answers the interfaces that it concerns.
    pub fn take(&mut self, source: &str, id: &str) -> BTreeSet<Anchor> {
        let Some(known) = self.sources.get_mut(source).and_then(|source| source.containers.remove(id)) else {
            return BTreeSet::new();
        };
        let anchors: BTreeSet<Anchor> = known.anchors.into_iter().flatten().collect();
        for anchor in &anchors {
            self.unclaim(*anchor, |(_, who, container, _)| who == source && container == id);
        }
        anchors
    }

    /// An interface is gone, and with it what was said of it. Answers who should look again.
    pub fn lose(&mut self, anchor: Anchor) -> Vec<(String, String)> {
        let keys = self.by_anchor.remove(&anchor).unwrap_or_default();
        keys.into_iter()
            .map(|(_, source, container, index)| {
                let known = self.sources.get_mut(&source).and_then(|it| it.containers.get_mut(&container));
                if let Some(lost) = known.and_then(|known| known.anchors.get_mut(index)) {
                    *lost = None;
                }
                (source, container)
            })
            .collect()
    }

    fn unclaim(&mut self, anchor: Anchor, gone: impl Fn(&ClaimKey) -> bool) {
        if let Some(keys) = self.by_anchor.get_mut(&anchor) {
            keys.retain(|key| !gone(key));
            if keys.is_empty() {
                self.by_anchor.remove(&anchor);
            }
        }
    }
}

#[cfg(test)]
mod tests;

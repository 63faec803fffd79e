//! What sources tell, taken in.

use std::collections::BTreeSet;

use portcullis_datapath::Anchor;
use portcullis_policy::api::SourceState;
use portcullis_policy::container::{Attachment, AttachmentPlace, Container, Network};
use portcullis_policy::model::Workload;
use portcullis_runtimes::source::{Report, Request};
use tokio::sync::mpsc;

use super::Core;
use crate::fleet::Known;

impl Core {
    /// A source takes requests here.
    pub(super) fn ask_source_on(&mut self, source: &str, requests: mpsc::Sender<Request>) {
        if let Some(source) = self.fleet.source_mut(source) {
            source.ask_on(requests);
        }
    }

    /// A source tells something.
    pub(super) fn report(&mut self, source: &str, report: Report) {
        match report {
            Report::Absent => self.source_is(source, SourceState::Absent, None),
            Report::Connecting => self.source_is(source, SourceState::Connecting, None),
            Report::Failing(why) => self.source_is(source, SourceState::Failing, Some(why)),
            Report::Snapshot { containers, networks } => self.snapshot(source, containers, networks),
            Report::Changed(container) => {
                let expects = |there: &Attachment| matches!(there.place, AttachmentPlace::Expected { .. });
                let expected = container.attachments.iter().any(expects);
                let touched = self.know(source, *container);
                self.settle_all(touched);
                if expected {
                    self.meet_all_expected();
                }
            }
            Report::Gone { id, removed } => {
                let known = self.fleet.source(source).and_then(|source| source.containers.get(&id));
                let workload = known.map(|known| known.container.workload.clone());
                let workload = workload
                    .unwrap_or_else(|| Workload { container: Some(id.clone()), ..Workload::default() });
                let touched = self.fleet.take(source, &id);
                self.settle_all(touched);
                if removed {
                    self.pardon_removed(&workload);
                }
            }
            Report::Networks(networks) => self.networks(source, networks),
        }
    }

    fn source_is(&mut self, name: &str, state: SourceState, message: Option<String>) {
        let Some(source) = self.fleet.source_mut(name) else { return };
        if state == SourceState::Connecting && source.state == SourceState::Connected {
            // What it says anew replaces what it said; until then that stands.
            return;
        }
        if !source.enter(state, message.clone()) {
            return;
        }
        let words = match state {
            SourceState::Absent => "has no socket; it is watched for",
            SourceState::Connecting => "is being connected to",
            SourceState::Connected => "is connected",
            SourceState::Failing => "fails; what it said before holds until it is back",
        };
        let why = message.map_or_else(String::new, |message| format!(": {message}"));
        self.bus.notice("source", None, format!("source {name} {words}{why}"));
    }

    /// The whole truth of a source: what it does not name is gone.
    fn snapshot(&mut self, name: &str, containers: Vec<Container>, networks: Vec<Network>) {
        self.keep_networks(name, networks);
        let Some(source) = self.fleet.source_mut(name) else { return };
        source.resyncs += 1;
        let named: BTreeSet<&str> = containers.iter().map(|container| container.id.as_str()).collect();
        let gone: Vec<String> =
            source.containers.keys().filter(|id| !named.contains(id.as_str())).cloned().collect();
        let mut touched = BTreeSet::new();
        for id in gone {
            touched.extend(self.fleet.take(name, &id));
        }
        for container in containers {
            touched.extend(self.know(name, container));
        }
        // Endpoints of an earlier life of this agent, which the source has not named.
        let unclaimed =
            |anchor: &Anchor| self.fleet.claims(*anchor).is_empty() && !self.is_unseen(name, *anchor);
        touched.extend(self.sourced_by(name).into_iter().filter(unclaimed));
        self.settle_all(touched);
        self.refresh_ports();
        self.meet_all_expected();
        self.source_is(name, SourceState::Connected, None);
    }

    fn networks(&mut self, name: &str, networks: Vec<Network>) {
        if self.keep_networks(name, networks) {
            self.refresh_ports();
        }
    }

    /// Takes in a source's networks; whether they are others than before. They are kept for the next start:
    /// what appears at their bridges is to be held before the source has spoken.
    fn keep_networks(&mut self, name: &str, networks: Vec<Network>) -> bool {
        let Some(source) = self.fleet.source_mut(name) else { return false };
        if source.networks == networks {
            return false;
        }
        if let Err(error) = self.store.put_networks(name, &networks) {
            self.bus.notice("failed", None, error.to_string());
        }
        source.networks = networks;
        true
    }

    /// Takes in what a source says of a container; answers the interfaces that it concerns.
    pub(super) fn know(&mut self, source: &str, container: Container) -> BTreeSet<Anchor> {
        let Some(there) = self.fleet.source(source) else { return BTreeSet::new() };
        let inside = there.treatment.inside
            || container.workload.labels.get(INSIDE_LABEL).is_some_and(|value| value == "inside");
        let container = self.keep_found(source, container);
        self.sentences.came(&container.workload);
        let anchors =
            container.attachments.iter().map(|attachment| self.anchor_of(attachment, inside)).collect();
        let known = Known { container, anchors };
        if self.is_settled(source, &known) {
            return BTreeSet::new();
        }
        self.fleet.put(source, known)
    }

    /// Whether this was said before, and is so. Full lists say little that is new.
    fn is_settled(&self, source: &str, known: &Known) -> bool {
        let before = self.fleet.source(source).and_then(|source| source.containers.get(&known.container.id));
        let bound = |anchor: &Option<Anchor>| {
            let name = anchor.and_then(|anchor| self.sourced.get(&anchor));
            let entry = name.and_then(|name| self.entries.get(name));
            entry.is_some_and(|entry| entry.bound.is_some() && entry.trouble.is_none())
        };
        before.is_some_and(|before| {
            before.container == known.container
                && before.anchors == known.anchors
                && before.anchors.iter().all(bound)
        })
    }

    /// An attachment that a source still expects may have been found here already.
    fn keep_found(&self, source: &str, mut container: Container) -> Container {
        let before = self.fleet.source(source).and_then(|source| source.containers.get(&container.id));
        let Some(before) = before else { return container };
        for attachment in &mut container.attachments {
            let AttachmentPlace::Expected { .. } = attachment.place else { continue };
            let found = before.container.attachments.iter().zip(&before.anchors).find(|(known, anchor)| {
                let bound = anchor.is_some_and(|anchor| self.sourced.contains_key(&anchor));
                bound && known.macs == attachment.macs && known.network == attachment.network
            });
            if let Some((known, _)) = found {
                attachment.place = known.place.clone();
            }
        }
        container
    }

    fn anchor_of(&mut self, attachment: &Attachment, inside: bool) -> Option<Anchor> {
        match &attachment.place {
            AttachmentPlace::Pair { host } => Some(Anchor { netns: host.netns, ifindex: host.index }),
            AttachmentPlace::Expected { .. } => None,
            AttachmentPlace::Inside { .. } if !inside => None,
            AttachmentPlace::Inside { netns, interface, .. } => {
                let space = self.spaces.get(Some(netns)).ok()?;
                let link = space.link_by_name(interface).ok()??;
                Some(Anchor { netns: space.inode(), ifindex: link.index })
            }
        }
    }

    /// Whether an endpoint's container is there, and its source could not see all of it: what is bound stays.
    fn is_unseen(&self, source: &str, anchor: Anchor) -> bool {
        let entry = self.sourced.get(&anchor).and_then(|name| self.entries.get(name));
        let id = entry.and_then(|entry| entry.record.spec.workload.container.as_ref());
        let known = id.and_then(|id| self.fleet.source(source)?.containers.get(id));
        known.is_some_and(|known| known.container.trouble.is_some())
    }

    /// Interfaces with endpoints of this source.
    fn sourced_by(&self, source: &str) -> Vec<Anchor> {
        let of = |name: &String| self.entries.get(name).and_then(|entry| entry.record.origin.as_ref());
        let mine =
            self.sourced.iter().filter(|(_, name)| of(name).is_some_and(|origin| origin.source == source));
        mine.map(|(anchor, _)| *anchor).collect()
    }
}

/// With the value `inside`, a container asks to be bound from inside where there is no host side. It can only
/// make things stricter for itself.
const INSIDE_LABEL: &str = "portcullis.dev/bind";

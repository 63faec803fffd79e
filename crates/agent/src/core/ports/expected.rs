//! Interfaces that a source has announced before they were there.

use portcullis_datapath::Anchor;
use portcullis_policy::container::{AttachmentPlace, HostInterface};

use super::super::Core;
use crate::fleet::Known;

impl Core {
    /// Is this the interface that a source has announced? Its other end's MAC tells.
    pub(super) fn meet_expected(&mut self, anchor: Anchor) {
        let Some(port) = self.ports.get(&anchor) else { return };
        let expected: Vec<(String, String)> = self
            .fleet
            .sources()
            .flat_map(|source| source.containers.values().map(move |known| (source, known)))
            .filter(|(_, known)| port.bridge.is_some_and(|bridge| expects(known, bridge).next().is_some()))
            .map(|(source, known)| (source.name.clone(), known.container.id.clone()))
            .collect();
        if expected.is_empty() {
            return;
        }
        let Ok(Some(link)) = port.space.link_by_index(anchor.ifindex) else { return };
        // In its container already, where nothing has run yet; before, its MAC is a random one.
        if link.peer.is_none_or(|peer| peer.netnsid.is_none()) {
            return;
        }
        let Some(mac) = port.space.peer_mac(&link) else { return };
        let host = HostInterface {
            netns: anchor.netns,
            netns_path: port.space.path(),
            index: anchor.ifindex,
            name: link.name.clone(),
        };
        let Some(bridge) = port.bridge else { return };
        for (source, id) in expected {
            let Some(known) = self.fleet.source(&source).and_then(|source| source.containers.get(&id)) else {
                continue;
            };
            let has_mac = |index: &usize| {
                let attachment = known.container.attachments.get(*index);
                attachment.is_some_and(|attachment| attachment.macs.iter().any(|known| known.mac() == mac))
            };
            let found = expects(known, bridge).find(has_mac);
            if let Some(index) = found {
                let mut container = known.container.clone();
                if let Some(attachment) = container.attachments.get_mut(index) {
                    attachment.place = AttachmentPlace::Pair { host };
                }
                let touched = self.know(&source, container);
                self.settle_all(touched);
                return;
            }
        }
    }

    /// Looks whether announced interfaces are among the ports.
    pub(in crate::core) fn meet_all_expected(&mut self) {
        let ports: Vec<Anchor> = self.ports.keys().copied().collect();
        ports.into_iter().for_each(|anchor| self.meet_expected(anchor));
    }

    /// Whether a container is about to appear at this bridge.
    pub(super) fn is_awaited(&self, bridge: Anchor) -> bool {
        let known = self.fleet.sources().flat_map(|source| source.containers.values());
        known.into_iter().any(|known| expects(known, bridge).next().is_some())
    }
}

/// Attachments that are still to be found at a port of this bridge.
fn expects(known: &Known, bridge: Anchor) -> impl Iterator<Item = usize> {
    let attachments = known.container.attachments.iter().enumerate();
    attachments
        .filter(move |(_, attachment)| {
            matches!(&attachment.place, AttachmentPlace::Expected { bridge: wanted }
                if wanted.netns == bridge.netns && wanted.index == bridge.ifindex)
        })
        .map(|(index, _)| index)
}

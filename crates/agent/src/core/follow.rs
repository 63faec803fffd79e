//! The network changes: interfaces and addresses come and go.

use portcullis_datapath::Anchor;
use portcullis_inventory::Change;

use super::Core;

impl Core {
    /// Follows what the network says has changed in a namespace.
    pub(super) fn follow(&mut self, netns: u32, changes: &[Change]) {
        for change in changes {
            match change {
                Change::LinkGone { index, .. } => self.link_gone(Anchor { netns, ifindex: *index }),
                Change::LinkChanged { index, name } => {
                    self.link_changed(Anchor { netns, ifindex: *index }, name);
                }
                Change::PeerLinkChanged { ifindex, netns_hint } => {
                    self.learn_again(netns, |peer| peer == (*ifindex, Some(*netns_hint)));
                }
                Change::AddressChanged { ifindex, netns_hint: Some(hint) } => {
                    self.learn_again(netns, |peer| peer == (*ifindex, Some(*hint)));
                }
                Change::AddressChanged { netns_hint: None, .. } => {
                    self.refresh_nodes();
                    self.learn_again_own(netns);
                }
                Change::Overrun => self.look_at_all(netns),
                Change::PeerOverrun => self.learn_again(netns, |_| true),
            }
        }
    }

    fn link_gone(&mut self, anchor: Anchor) {
        if let Some((space, attachment)) = self.unbound.remove(&anchor) {
            self.detach(&space, attachment);
        }
        let Some(name) = self.names_by_anchor.get(&anchor).cloned() else {
            return;
        };
        if let Some(mut entry) = self.entries.remove(&name) {
            self.look_again(&mut entry);
            self.entries.insert(name, entry);
        }
    }

    fn link_changed(&mut self, anchor: Anchor, interface: &str) {
        if self.names_by_anchor.contains_key(&anchor) {
            return;
        }
        let own = self.spaces.own().inode();
        let waiting: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry.bound.is_none()
                    && entry.record.spec.interface.name == interface
                    && (entry.record.spec.interface.netns.is_some() || anchor.netns == own)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in waiting {
            if let Some(mut entry) = self.entries.remove(&name) {
                self.look_again(&mut entry);
                self.entries.insert(name, entry);
            }
        }
        self.cover_unbound(anchor, interface);
    }

    /// Changes were lost: every endpoint of the namespace is looked at.
    fn look_at_all(&mut self, netns: u32) {
        self.check_hooks();
        let waiting: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.bound.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for name in waiting {
            if let Some(mut entry) = self.entries.remove(&name) {
                self.look_again(&mut entry);
                self.entries.insert(name, entry);
            }
        }
        if netns == self.spaces.own().inode() {
            self.refresh_unbound();
            self.refresh_nodes();
        }
    }

    /// A workload's interface got an address, or came up for the first time.
    pub(super) fn learn_again(&mut self, netns: u32, matches: impl Fn((u32, Option<i32>)) -> bool) {
        let names: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry.bound.as_ref().is_some_and(|bound| bound.anchor.netns == netns)
                    && entry.peer.is_some_and(|peer| matches((peer.ifindex, peer.netnsid)))
            })
            .map(|(name, _)| name.clone())
            .collect();
        names.iter().for_each(|name| self.learn_one_again(name));
    }

    fn learn_again_own(&mut self, netns: u32) {
        let names: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry.scope.is_some_and(|scope| scope.private.is_some() && scope.netns == netns)
            })
            .map(|(name, _)| name.clone())
            .collect();
        names.iter().for_each(|name| self.learn_one_again(name));
    }

    /// Learns an endpoint's addresses anew. Its MAC is learned only until its interface has been
    /// up: whoever changes it later forges.
    pub(super) fn learn_one_again(&mut self, name: &str) {
        let Some(mut entry) = self.entries.remove(name) else {
            return;
        };
        if let Ok(super::apply::Located::Here(found)) = self.locate(&entry) {
            let (place, mut known) = *found;
            if entry.settled {
                known.learned.macs.clone_from(&entry.learned.macs);
                known.settled = true;
            }
            if (known.learned != entry.learned || known.settled != entry.settled)
                && let Err(fault) = self.apply_at(&mut entry, &place, known)
            {
                self.bus.notice("failed", Some(name), fault.to_string());
            }
        }
        self.entries.insert(name.to_owned(), entry);
    }
}

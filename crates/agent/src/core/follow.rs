//! The network changes: interfaces and addresses come and go.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use portcullis_datapath::Anchor;
use portcullis_inventory::Change;
use portcullis_runtimes::source::Request;

use super::Core;

/// Looks at a workload's addresses that its own changes may cause at once, and time in which one
/// more is earned. A workload that flaps its addresses pays with its own patience.
const LOOKS_AT_ONCE: u8 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often an endpoint may still have its addresses learned anew.
#[derive(Debug)]
pub(super) struct Looks {
    left: u8,
    since: Instant,
    /// A look that was put off to the next tick.
    pub(super) due: bool,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { left: LOOKS_AT_ONCE, since: Instant::now(), due: false }
    }

    /// Takes one look; none left: it is due later.
    pub(super) fn take(&mut self) -> bool {
        let earned = self.since.elapsed().as_millis() / LOOK_EVERY.as_millis();
        if earned > 0 {
            let earned = u8::try_from(earned).unwrap_or(LOOKS_AT_ONCE);
            self.left = self.left.saturating_add(earned).min(LOOKS_AT_ONCE);
            self.since = Instant::now();
        }
        self.due = self.left == 0;
        self.left = self.left.saturating_sub(1);
        !self.due
    }
}

impl Core {
    /// Follows what the network says has changed in a namespace. What many changes ask for is done
    /// once.
    pub(super) fn follow(&mut self, netns: u32, changes: &[Change]) {
        let mut peers = HashSet::new();
        let (mut all_peers, mut own_addresses, mut lost) = (false, false, false);
        for change in changes {
            match change {
                Change::LinkGone { index, .. } => self.link_gone(Anchor { netns, ifindex: *index }),
                Change::LinkChanged { index, name } => {
                    self.link_changed(Anchor { netns, ifindex: *index }, name);
                }
                Change::PeerLinkChanged { ifindex, netns_hint: hint }
                | Change::AddressChanged { ifindex, netns_hint: Some(hint) } => {
                    peers.insert((*ifindex, Some(*hint)));
                }
                Change::AddressChanged { netns_hint: None, .. } => own_addresses = true,
                Change::Overrun => lost = true,
                Change::PeerOverrun => all_peers = true,
            }
        }
        if lost {
            self.look_at_all(netns);
        }
        if own_addresses {
            self.refresh_nodes();
            self.learn_again_own(netns);
        }
        if all_peers || !peers.is_empty() {
            self.learn_again(netns, |peer| all_peers || peers.contains(&peer));
            self.port_peers_changed(netns, |peer| all_peers || peers.contains(&peer));
        }
    }

    fn link_gone(&mut self, anchor: Anchor) {
        if let Some(name) = self.sourced.get(&anchor) {
            // Late news of an interface whose index has another by now: that one's program stands.
            let bound = self.entries.get(name).and_then(|entry| entry.bound.as_ref());
            if !bound.is_some_and(|bound| self.is_alive(bound)) {
                self.sourced_link_gone(anchor);
            }
            return;
        }
        // What sources said of it must not hold for whoever gets its index.
        self.lose(anchor);
        let Some(name) = self.names_by_anchor.get(&anchor).cloned() else {
            self.port_gone(anchor);
            return;
        };
        if let Some(mut entry) = self.entries.remove(&name) {
            self.look_again(&mut entry);
            self.entries.insert(name, entry);
            self.look_at_port(anchor);
        }
    }

    fn link_changed(&mut self, anchor: Anchor, interface: &str) {
        if let Some(name) = self.names_by_anchor.get(&anchor).cloned() {
            self.network_changed(&name, anchor);
            self.interface_renamed(&name, interface);
            return;
        }
        let own = self.spaces.own().inode();
        let waiting: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry.bound.is_none()
                    && entry.record.origin.is_none()
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
        self.look_at_port(anchor);
        self.cover_unbound(anchor, interface);
    }

    /// A sourced endpoint hangs on an interface, not on a name.
    fn interface_renamed(&mut self, name: &str, interface: &str) {
        let Some(entry) = self.entries.get(name) else { return };
        if entry.record.origin.is_some()
            && entry.record.spec.interface.name != interface
            && let Some(mut entry) = self.entries.remove(name)
        {
            if let Err(fault) = self.apply(&mut entry) {
                self.bus.notice("failed", Some(name), fault.to_string());
            }
            self.entries.insert(name.to_owned(), entry);
        }
    }

    /// A bound interface that joined or left a bridge is in another network now, where other
    /// addresses are taken.
    fn network_changed(&mut self, name: &str, anchor: Anchor) {
        let Some(scope) = self.entries.get(name).and_then(|entry| entry.scope) else { return };
        let Some(bound) = self.entries.get(name).and_then(|entry| entry.bound.as_ref()) else { return };
        if let Ok(Some(link)) = bound.space.link_by_index(anchor.ifindex)
            && link.master != scope.master
        {
            self.learn_one_again(name);
        }
    }

    /// Changes were lost: every endpoint of the namespace is looked at.
    fn look_at_all(&mut self, netns: u32) {
        self.check_hooks();
        self.evict_dead();
        self.refresh_ports();
        self.fleet.sources().for_each(|source| source.ask(Request::Resync));
        let waiting: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.bound.is_none() && entry.record.origin.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for name in waiting {
            if let Some(mut entry) = self.entries.remove(&name) {
                self.look_again(&mut entry);
                self.entries.insert(name, entry);
            }
        }
        self.settle_failed();
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
        for name in names {
            if self.entries.get_mut(&name).is_some_and(|entry| entry.looks.take()) {
                self.learn_one_again(&name);
            }
        }
    }

    /// Looks that were put off.
    pub(super) fn learn_due(&mut self) {
        let names: Vec<String> = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| entry.looks.due)
            .map(|(name, entry)| {
                entry.looks.due = false;
                name.clone()
            })
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
            let moved = entry.scope != Some(place.scope);
            if (known.learned != entry.learned || known.settled != entry.settled || moved)
                && let Err(fault) = self.apply_at(&mut entry, &place, known)
            {
                self.bus.notice("failed", Some(name), fault.to_string());
            }
        }
        self.entries.insert(name.to_owned(), entry);
    }
}

//! Others touch what is ours: whatever they took away or displaced is put back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portcullis_abi::{Endpoint, Ipv6};
use portcullis_datapath::{Attachment, HookState};
use portcullis_inventory::all_addresses;

use super::place::{Space, Spaces};
use super::{Bound, Core, Entry, Trouble};

/// Ticks between two looks at the node's addresses.
const NODES_EVERY: u32 = 16;

/// What a look at an endpoint's hook asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    PutFirst,
    AttachAnew,
    LookAgain,
}

impl Core {
    /// Looks whether everything of ours is where it was put, and puts it back.
    pub(super) fn check(&mut self) {
        self.check_pins();
        self.check_hooks();
        self.check_inward();
        self.check_unbound();
        self.check_tables();
        self.check_spaces();
        self.check_ports();
        self.refresh_identities();
        self.learn_due();
        // Changes are heard; this is for those that were not.
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(NODES_EVERY) {
            self.refresh_nodes();
            self.settle_failed();
        }
        self.expire();
    }

    fn repaired(&mut self, endpoint: Option<&str>, message: String) {
        self.repairs += 1;
        self.bus.notice("repaired", endpoint, message);
    }

    fn check_pins(&mut self) {
        if !self.datapath.pins_changed() {
            return;
        }
        match self.datapath.repair_table_pins() {
            Ok(names) => {
                for name in names {
                    self.repaired(None, format!("the pin of table {name} had been removed and was put back"));
                }
            }
            Err(error) => tracing::error!(%error, "cannot put back a table's pin"),
        }
        let unbound = self.unbound.values().map(|(_, attachment)| attachment);
        let bound = self.entries.values().filter_map(|entry| entry.bound.as_ref()).flat_map(attachments);
        let attachments = bound.chain(unbound);
        match self.datapath.repair_link_pins(attachments) {
            Ok(0) => {}
            Ok(count) => {
                self.repaired(None, format!("{count} pins of links had been removed and were put back"))
            }
            Err(error) => tracing::error!(%error, "cannot put back a link's pin"),
        }
    }

    pub(super) fn check_hooks(&mut self) {
        for (name, state) in self.hooks_to_mend() {
            self.mend_hook(&name, state);
        }
    }

    /// The programs that stop what goes to endpoints in quarantine.
    fn check_inward(&mut self) {
        let has_inward = |entry: &Entry| entry.bound.as_ref().is_some_and(|bound| bound.inward.is_some());
        let quarantined: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| has_inward(entry))
            .map(|(name, _)| name.clone())
            .collect();
        for name in quarantined {
            let Some(mut entry) = self.entries.remove(&name) else { continue };
            if let Some(bound) = &mut entry.bound
                && let Some(inward) = &mut bound.inward
            {
                self.mend(&bound.space, inward, Some(&name));
            }
            self.entries.insert(name, entry);
        }
    }

    /// The programs on interfaces without a binding.
    fn check_unbound(&mut self) {
        let mut unbound = std::mem::take(&mut self.unbound);
        unbound.retain(|_, (space, attachment)| self.mend(space, attachment, None));
        self.unbound = unbound;
    }

    /// Puts a program that verifies nothing bound back where it was; `false` where its interface is
    /// gone.
    fn mend(&mut self, space: &Space, attachment: &mut Attachment, endpoint: Option<&str>) -> bool {
        let states = self.datapath.states(&space.namespace, &[&*attachment]);
        let result = match states.ok().and_then(|mut states| states.pop()) {
            Some(HookState::First) | None => return true,
            Some(HookState::NoInterface) => return false,
            Some(HookState::Behind(_)) => self.datapath.put_first(&space.namespace, attachment),
            Some(HookState::Missing) => {
                let (site, gate) = (attachment.site(), attachment.gate());
                self.datapath.attach(&space.namespace, site, gate).map(|(fresh, _)| *attachment = fresh)
            }
        };
        match result {
            Ok(()) => {
                let ifindex = attachment.site().ifindex;
                self.repaired(
                    endpoint,
                    format!("the program on interface index {ifindex} was put back first"),
                );
                true
            }
            Err(portcullis_datapath::Error::NoInterface { .. }) => false,
            Err(error) => {
                self.bus.notice("bypassed", endpoint, error.to_string());
                true
            }
        }
    }

    /// Endpoints whose hook is not as it is known to be. Quiet where all is well: it runs several
    /// times a second.
    fn hooks_to_mend(&self) -> Vec<(String, HookState)> {
        let mut spaces: BTreeMap<u32, Vec<(&String, &Bound)>> = BTreeMap::new();
        for (name, entry) in &self.entries {
            if let Some(bound) = &entry.bound {
                spaces.entry(bound.anchor.netns).or_default().push((name, bound));
            }
        }
        let mut to_mend = Vec::new();
        for members in spaces.values() {
            let Some((_, first)) = members.first() else { continue };
            let attachments: Vec<&Attachment> = members.iter().map(|(_, bound)| &bound.attachment).collect();
            match self.datapath.states(&first.space.namespace, &attachments) {
                Ok(states) => to_mend.extend(
                    members
                        .iter()
                        .zip(states)
                        .filter(|((_, bound), state)| {
                            *state != HookState::First || bound.hook != HookState::First
                        })
                        .map(|((name, _), state)| ((*name).clone(), state)),
                ),
                Err(error) => tracing::warn!(%error, "cannot look at the hooks of a namespace"),
            }
        }
        to_mend
    }

    fn mend_hook(&mut self, name: &str, state: HookState) {
        let Some(mut entry) = self.entries.remove(name) else {
            return;
        };
        let need = match &state {
            HookState::First => Need::Nothing,
            HookState::Behind(_) => Need::PutFirst,
            HookState::Missing if self.is_same_interface(&entry) => Need::AttachAnew,
            HookState::Missing | HookState::NoInterface => Need::LookAgain,
        };
        if need == Need::LookAgain
            && entry.record.origin.is_some()
            && let Some(anchor) = entry.bound.as_ref().map(|bound| bound.anchor)
        {
            self.entries.insert(name.to_owned(), entry);
            self.sourced_link_gone(anchor);
            return;
        }
        match need {
            Need::Nothing => set_hook(&mut entry, state),
            Need::LookAgain => self.look_again(&mut entry),
            Need::PutFirst | Need::AttachAnew => self.put_back(&mut entry, &state, need),
        }
        self.entries.insert(name.to_owned(), entry);
    }

    /// Somebody detached our program, or put another before it.
    fn put_back(&mut self, entry: &mut Entry, state: &HookState, need: Need) {
        let name = entry.record.spec.name.clone();
        let Some(bound) = &mut entry.bound else {
            return;
        };
        let result = if need == Need::PutFirst {
            self.datapath.put_first(&bound.space.namespace, &mut bound.attachment)
        } else {
            let (site, gate) = (bound.attachment.site(), bound.attachment.gate());
            self.datapath
                .attach(&bound.space.namespace, site, gate)
                .map(|(attachment, _)| bound.attachment = attachment)
        };
        let message = match (state, need) {
            (HookState::Behind(others), _) => {
                format!("another program ({}) ran before the gate; the gate is first again", list(others))
            }
            _ => "the gate had been taken off its hook and was put back".to_owned(),
        };
        match result {
            Ok(()) => {
                let now = self.state_of(entry);
                let first = now == Some(HookState::First);
                if let Some(now) = now {
                    set_hook(entry, now);
                }
                if first {
                    self.repaired(Some(&name), message);
                }
            }
            Err(error) => {
                set_hook(entry, state.clone());
                self.bus.notice(
                    "bypassed",
                    Some(&name),
                    format!("the gate is not first on its hook: {error}"),
                );
            }
        }
    }

    fn state_of(&self, entry: &Entry) -> Option<HookState> {
        let bound = entry.bound.as_ref()?;
        self.datapath.states(&bound.space.namespace, &[&bound.attachment]).ok()?.pop()
    }

    /// Whether the index still belongs to the interface that was bound: it may be another's by now.
    fn is_same_interface(&self, entry: &Entry) -> bool {
        let Some(bound) = &entry.bound else {
            return false;
        };
        let link = bound.space.link_by_index(bound.anchor.ifindex);
        matches!(link, Ok(Some(link)) if link.name == entry.record.spec.interface.name && link.peer == entry.peer)
    }

    /// The interface is gone or another: out of the kernel, and bound again where it is now.
    pub(super) fn look_again(&mut self, entry: &mut Entry) {
        let name = entry.record.spec.name.clone();
        let was_bound = entry.bound.is_some();
        self.release(entry);
        match self.apply(entry) {
            Ok(()) => match (&entry.trouble, was_bound) {
                (Some(Trouble::Waiting(why)), true) => {
                    self.bus.notice(
                        "waiting",
                        Some(&name),
                        format!("{why}; it is bound again when it returns"),
                    );
                }
                (None, _) => {
                    self.bus.notice("bound", Some(&name), format!("endpoint \"{name}\" is bound again"));
                }
                _ => {}
            },
            Err(fault) => {
                self.bus.notice("failed", Some(&name), fault.to_string());
                entry.trouble = Some(Trouble::Failed(fault.to_string()));
            }
        }
    }

    /// Compares the tables with what was written into them.
    fn check_tables(&mut self) {
        let mut broken = Vec::new();
        for (name, entry) in &self.entries {
            let Some(bound) = &entry.bound else { continue };
            let intact = self.tables.anchor(bound.anchor).is_ok_and(|binding| binding == bound.binding)
                && self
                    .tables
                    .endpoint(bound.binding)
                    .is_some_and(|now| same(&now, &bound.compiled.endpoint))
                && self.tables.has_all(&bound.compiled.further, &bound.compiled.prefixes).unwrap_or(false);
            if !intact {
                broken.push(name.clone());
            }
        }
        for name in broken {
            let Some(entry) = self.entries.get(&name) else { continue };
            let Some(bound) = &entry.bound else { continue };
            let compiled = &bound.compiled;
            let result = self
                .tables
                .write_binding(bound.binding, &compiled.endpoint, &compiled.further, &compiled.prefixes)
                .and_then(|()| self.tables.point(bound.anchor, bound.binding));
            match result {
                Ok(()) => self
                    .repaired(Some(&name), "its table entries had been changed and were put back".to_owned()),
                Err(error) => self.bus.notice("failed", Some(&name), error.to_string()),
            }
        }
    }

    /// Namespaces that endpoints name by path may have come, gone, or be others by now.
    fn check_spaces(&mut self) {
        let moved: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                if entry.record.origin.is_some() {
                    return false;
                }
                let path = entry.record.spec.interface.netns.as_deref();
                match (&entry.bound, &entry.trouble) {
                    (Some(bound), _) => !Spaces::is_still(path, bound.anchor.netns),
                    (None, Some(Trouble::Waiting(_))) => {
                        path.is_some_and(|path| std::path::Path::new(path).exists())
                    }
                    _ => false,
                }
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in moved {
            if let Some(mut entry) = self.entries.remove(&name) {
                self.look_again(&mut entry);
                self.entries.insert(name, entry);
            }
        }
        self.spaces.prune();
    }

    /// Removes the entries of bindings that no program can still be reading.
    fn expire(&mut self) {
        for binding in self.bindings.expire() {
            self.keep_quarantines(binding);
            if let Some(compiled) = self.retired.remove(&binding)
                && let Err(error) = self.tables.clear_binding(binding, &compiled.further, &compiled.prefixes)
            {
                tracing::warn!(%error, "cannot clear a retired binding");
            }
        }
        self.slots.expire();
    }

    /// A program that still ran with a retired entry may have set its quarantine there.
    fn keep_quarantines(&self, retired: u32) {
        let Some(slot) = self.retired.get(&retired).map(|compiled| compiled.endpoint.slot) else { return };
        let entry = self.names_by_slot.get(&slot).and_then(|name| self.entries.get(name));
        if let Some(bound) = entry.and_then(|entry| entry.bound.as_ref()) {
            self.tables.keep_quarantine(bound.binding);
        }
    }

    /// Tells the kernel which addresses are this node's own.
    pub(super) fn refresh_nodes(&mut self) {
        let addresses = match all_addresses(&self.spaces.own().netns) {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(%error, "cannot list the node's addresses");
                return;
            }
        };
        let nodes: Vec<Ipv6> = addresses
            .into_iter()
            .map(|address| address.ip)
            .filter(|ip: &IpAddr| !ip.is_loopback())
            .map(Ipv6::from)
            .collect();
        if let Err(error) = self.tables.set_nodes(&nodes) {
            self.bus.notice("failed", None, error.to_string());
        }
    }
}

fn attachments(bound: &super::Bound) -> impl Iterator<Item = &Attachment> {
    std::iter::once(&bound.attachment).chain(bound.inward.as_ref())
}

fn set_hook(entry: &mut Entry, state: HookState) {
    if let Some(bound) = &mut entry.bound {
        bound.hook = state;
    }
}

/// The kernel may set the quarantine by itself.
fn same(now: &Endpoint, written: &Endpoint) -> bool {
    Endpoint { quarantine: written.quarantine, ..*now } == *written && now.quarantine >= written.quarantine
}

fn list(programs: &[u32]) -> String {
    let ids: Vec<String> = programs.iter().map(|id| format!("id {id}")).collect();
    ids.join(", ")
}

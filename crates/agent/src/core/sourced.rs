//! Endpoints that sources found: from what is said of an interface to a binding on it.
//!
//! A sourced endpoint hangs on one interface, by index, and ends with it: a name or an index that is used
//! again belongs to somebody else. Whoever binds by hand rules over sources; among sources the order of
//! [`Owner`] decides, and what they do not agree on is said.

use std::collections::BTreeSet;

use portcullis_datapath::{Anchor, HookState};
use portcullis_policy::model::{EndpointSpec, Owner};
use portcullis_runtimes::source::Request;

use super::follow::Looks;
use super::merge::{agreed, agreed_macs, fill, renew, wished_name};
use super::plugin::CNI;
use super::{Core, Entry, Trouble};
use crate::control::Fault;
use crate::store::Origin;

/// What the sources' claims on an interface come to.
struct Wanted {
    spec: EndpointSpec,
    owner: Owner,
    origin: Origin,
    conflicts: Vec<String>,
}

/// Containers of which it is remembered how often they were asked about.
const MOST_ASKED: usize = 4096;

impl Core {
    /// Makes the endpoints of these interfaces what the sources say now.
    pub(super) fn settle_all(&mut self, anchors: BTreeSet<Anchor>) {
        // What goes makes room for what comes: an address may have moved from one to the other.
        let (gone, here): (Vec<_>, Vec<_>) =
            anchors.into_iter().partition(|anchor| self.fleet.claims(*anchor).is_empty());
        let _expedited = portcullis_datapath::Expedited::for_attachments(here.len());
        gone.into_iter().chain(here).for_each(|anchor| self.settle(anchor));
    }

    fn settle(&mut self, anchor: Anchor) {
        let wanted = self.wanted(anchor);
        let by_hand = self.names_by_anchor.get(&anchor).filter(|name| self.is_by_hand(name)).cloned();
        match (wanted, by_hand) {
            (wanted, Some(name)) => {
                self.drop_sourced(anchor, "it is bound by hand now");
                let conflicts =
                    wanted.map_or_else(Vec::new, |wanted| self.against_hand(&name, anchor, &wanted));
                self.tell_conflicts(&name, conflicts);
            }
            (None, None) => self.drop_sourced(anchor, "its container is gone"),
            (Some(wanted), None) => self.bind_sourced(anchor, wanted),
        }
    }

    fn is_by_hand(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.record.origin.is_none())
    }

    /// The endpoint that the claims on an interface come to; nothing where there are none.
    fn wanted(&self, anchor: Anchor) -> Option<Wanted> {
        let claims = self.fleet.claims(anchor);
        let (first, others) = claims.split_first()?;
        let (addresses, mut conflicts) = agreed(first, others);
        let (macs, about_macs) = agreed_macs(first, others);
        conflicts.extend(about_macs);
        let (interface, direction) = first.place()?;
        let netns = claims.iter().find_map(|claim| claim.container.netns.clone());
        let mut workload = first.container.workload.clone();
        others.iter().for_each(|claim| fill(&mut workload, &claim.container.workload));
        renew(&mut workload, &claims);
        let before = self.sourced.get(&anchor).and_then(|name| self.entries.get(name));
        let before = before.filter(|entry| entry.record.spec.workload.container == workload.container);
        let mode = before.and_then(|entry| entry.record.origin.as_ref()).and_then(|origin| origin.mode);
        let mut spec = EndpointSpec {
            name: self.name_for(anchor, &wished_name(first)),
            interface,
            direction,
            addresses,
            macs,
            mode: first.source.treatment.mode,
            allow: Vec::new(),
            vlans: Vec::new(),
            ethertypes: Vec::new(),
            quarantined: false,
            network: claims.iter().find_map(|claim| claim.attachment.network.clone()),
            inside: claims.iter().find_map(|claim| claim.attachment.inside.clone()),
            workload,
        };
        let terms = self.policies.terms(&spec, &self.config.answer.answer());
        spec.mode = mode.or(terms.mode).unwrap_or(spec.mode);
        spec.allow.extend(terms.allow);
        spec.addresses.extend(terms.addresses);
        spec.quarantined =
            before.map_or_else(|| self.is_sentenced(&spec), |entry| entry.record.spec.quarantined);
        let (source, addresses) = (first.source.name.clone(), first.attachment.addresses.clone());
        let origin = Origin { source, index: anchor.ifindex, netns, addresses, mode };
        Some(Wanted { spec, owner: first.source.kind, origin, conflicts })
    }

    /// A name that no other endpoint has.
    fn name_for(&self, anchor: Anchor, wished: &str) -> String {
        let free = |name: &String| {
            !self.entries.contains_key(name) || self.sourced.get(&anchor).is_some_and(|mine| mine == name)
        };
        let claims = self.fleet.claims(anchor);
        let owner = claims.first().map_or("", |claim| claim.source.kind.name());
        let id: String = claims.first().map_or("", |claim| &claim.container.id).chars().take(12).collect();
        [wished.to_owned(), format!("{owner}:{wished}"), format!("{owner}:{wished}:{id}")]
            .into_iter()
            .find(free)
            .unwrap_or_else(|| format!("{owner}:{id}:{}-{}", anchor.netns, anchor.ifindex))
    }

    fn bind_sourced(&mut self, anchor: Anchor, mut wanted: Wanted) {
        let validated = wanted.spec.clone().validate().or_else(|errors| {
            // What a policy grants too much must not cut a container off.
            let mut spec = wanted.spec.clone();
            if wanted.origin.addresses.is_empty() {
                return Err(errors);
            }
            spec.addresses.retain(|address| wanted.origin.addresses.contains(address));
            let valid = spec.validate().map_err(|_| errors.clone())?;
            wanted.conflicts.push(format!("no policy's addresses are granted: {errors}"));
            Ok(valid)
        });
        let spec = match validated {
            Ok(spec) => spec.into_inner(),
            Err(errors) => {
                self.tell_failed(&wanted.spec.name, &errors.to_string());
                self.hold_failed(anchor);
                return;
            }
        };
        let existing = self.sourced.get(&anchor).cloned().and_then(|name| self.entries.remove(&name));
        let same = |entry: &Entry| entry.record.spec.workload.container == spec.workload.container;
        let existing = match existing {
            Some(entry) if same(&entry) => Some(entry),
            Some(entry) => {
                self.end(anchor, entry, "its interface is another container's now");
                None
            }
            None => None,
        };
        let (mut entry, fresh) = match existing {
            Some(entry) => (entry, false),
            None => match self.new_entry(spec.clone(), wanted.owner) {
                Ok(entry) => (entry, true),
                Err(fault) => {
                    self.tell_failed(&spec.name, &fault.to_string());
                    self.hold_failed(anchor);
                    return;
                }
            },
        };
        let changed = fresh
            || entry.record.spec != spec
            || entry.record.owner != wanted.owner
            || entry.record.origin.as_ref() != Some(&wanted.origin);
        self.rename(&mut entry, &spec.name);
        entry.record.owner = wanted.owner;
        entry.record.origin = Some(wanted.origin);
        entry.record.spec = spec;
        self.release_if_dead(&mut entry);
        let result = self.apply_or_evict(&mut entry);
        self.keep_sourced(anchor, entry, result, changed.then_some(fresh));
        if let Some(name) = self.sourced.get(&anchor).cloned() {
            wanted.conflicts.extend(self.granted_of_others(&name));
            self.tell_conflicts(&name, wanted.conflicts);
        }
    }

    /// What became of a sourced endpoint is recorded and told. Where it could not be bound, its interface is
    /// held shut.
    fn keep_sourced(
        &mut self,
        anchor: Anchor,
        mut entry: Entry,
        result: Result<(), Fault>,
        news: Option<bool>,
    ) {
        let name = entry.record.spec.name.clone();
        let failure = result.err().map(|fault| fault.to_string());
        let known =
            matches!(&entry.trouble, Some(Trouble::Failed(before)) if failure.as_ref() == Some(before));
        if let Some(why) = &failure {
            entry.trouble = Some(Trouble::Failed(why.clone()));
        }
        if matches!(entry.trouble, Some(Trouble::Waiting(_))) {
            // It went before we came to it; its source tells again where it is now.
            self.lose(anchor);
            self.end(anchor, entry, "its interface is gone");
            return;
        }
        self.names_by_id.insert(entry.record.id.clone(), name.clone());
        self.sourced.insert(anchor, name.clone());
        let (failed, interface) = (entry.bound.is_none(), entry.record.spec.interface.name.clone());
        let addresses: Vec<String> = entry.record.spec.addresses.iter().map(ToString::to_string).collect();
        let owner = entry.record.owner;
        self.entries.insert(name.clone(), entry);
        if failed {
            self.hold_failed(anchor);
        }
        if let Some(why) = failure {
            // Each full list of its source tries again: said once is enough.
            if !known {
                self.tell_failed(&name, &why);
            }
        } else if news == Some(true) {
            let message = format!(
                "endpoint \"{name}\" bound for {owner}: interface {interface}, {}",
                addresses.join(", ")
            );
            self.bus.notice("bound", Some(&name), message);
        }
        if news.is_some()
            && let Err(fault) = self.save(&[name.as_str()])
        {
            self.bus.notice("failed", Some(&name), fault.to_string());
        }
    }

    fn tell_failed(&self, name: &str, why: &str) {
        self.bus.notice("failed", Some(name), format!("endpoint \"{name}\" cannot be bound: {why}"));
    }

    /// An index may have been used again before we heard that its interface went: our program tells, since
    /// it goes with its interface.
    fn release_if_dead(&mut self, entry: &mut Entry) {
        let Some(bound) = &entry.bound else { return };
        if !self.is_alive(bound) {
            self.release(entry);
        }
    }

    pub(super) fn is_alive(&self, bound: &super::Bound) -> bool {
        let states = self.datapath.states(&bound.space.namespace, &[&bound.attachment]);
        states.is_ok_and(|states| matches!(states.first(), Some(HookState::First | HookState::Behind(_))))
    }

    /// Binds. An address that a dead interface still has is taken from it.
    fn apply_or_evict(&mut self, entry: &mut Entry) -> Result<(), Fault> {
        let first = self.apply(entry);
        if !matches!(first, Err(Fault::Conflict(_))) || !self.evict_dead() {
            return first;
        }
        self.apply(entry)
    }

    /// Ends sourced endpoints whose interface is gone, though nobody said so yet; whether there were some.
    pub(super) fn evict_dead(&mut self) -> bool {
        let dead: Vec<Anchor> = self
            .sourced
            .iter()
            .filter(|(_, name)| {
                let bound = self.entries.get(*name).and_then(|entry| entry.bound.as_ref());
                bound.is_some_and(|bound| !self.is_alive(bound) && !is_there(bound))
            })
            .map(|(anchor, _)| *anchor)
            .collect();
        dead.iter().for_each(|anchor| self.sourced_link_gone(*anchor));
        !dead.is_empty()
    }

    /// Tries again what could not be bound.
    pub(super) fn settle_failed(&mut self) {
        let has_failed = |name: &String| self.entries.get(name).is_some_and(|entry| entry.trouble.is_some());
        let failed = self.sourced.iter().filter(|(_, name)| has_failed(name)).map(|(anchor, _)| *anchor);
        let failed: BTreeSet<Anchor> = failed.collect();
        self.settle_all(failed);
    }

    /// Takes an endpoint that was bound by hand away. Where sources claim its interface it becomes theirs, and its
    /// frames never meet anything in between: they are asked next, and settle the rest.
    pub(super) fn give_to_sources(&mut self, anchor: Option<Anchor>, mut entry: Entry) {
        let claimed = anchor.and_then(|anchor| Some((anchor, *self.fleet.claims(anchor).first()?)));
        let Some((anchor, claim)) = claimed else {
            self.forget(entry);
            return;
        };
        entry.record.spec.workload.clone_from(&claim.container.workload);
        entry.record.origin = Some(Origin {
            source: claim.source.name.clone(),
            index: anchor.ifindex,
            netns: claim.container.netns.clone(),
            addresses: claim.attachment.addresses.clone(),
            mode: None,
        });
        let name = entry.record.spec.name.clone();
        self.sourced.insert(anchor, name.clone());
        self.entries.insert(name, entry);
    }

    /// The interface of a sourced endpoint is gone: so is the endpoint, and its source looks again.
    pub(super) fn sourced_link_gone(&mut self, anchor: Anchor) {
        self.lose(anchor);
        self.drop_sourced(anchor, "its interface is gone");
    }

    /// Nobody speaks of an interface that is gone; its sources look again.
    pub(super) fn lose(&mut self, anchor: Anchor) {
        for (source, container) in self.fleet.lose(anchor) {
            if source == CNI {
                self.cni_lost(&container);
            } else {
                self.ask_again(&source, container);
            }
        }
    }

    /// Has a source look at a container again, unless it was asked too often lately: then its next full list
    /// will have to do.
    fn ask_again(&mut self, source: &str, container: String) {
        if self.asked.len() > MOST_ASKED {
            self.asked.clear();
        }
        if self.asked.entry(container.clone()).or_insert_with(Looks::new).take()
            && let Some(source) = self.fleet.source(source)
        {
            source.ask(Request::LookAt(container));
        }
    }

    fn drop_sourced(&mut self, anchor: Anchor, why: &str) {
        self.forgive_port(anchor);
        if let Some(entry) = self.sourced.get(&anchor).cloned().and_then(|name| self.entries.remove(&name)) {
            self.end(anchor, entry, why);
        }
    }

    /// Removes a sourced endpoint that is out of the list already.
    fn end(&mut self, anchor: Anchor, entry: Entry, why: &str) {
        self.sourced.remove(&anchor);
        let (name, id) = (entry.record.spec.name.clone(), entry.record.id.clone());
        if let Err(error) = self.store.forget(&[id.as_str()]) {
            self.bus.notice("failed", Some(&name), error.to_string());
        }
        self.forget(entry);
        self.bus.notice("unbound", Some(&name), format!("endpoint \"{name}\" unbound: {why}"));
        self.look_at_port(anchor);
    }

    /// Gives an endpoint that is out of the list another name.
    pub(super) fn rename(&mut self, entry: &mut Entry, name: &str) {
        let before = std::mem::replace(&mut entry.record.spec.name, name.to_owned());
        if before == name {
            return;
        }
        self.claims.release(&before);
        if let Some(bound) = &entry.bound {
            self.names_by_anchor.insert(bound.anchor, name.to_owned());
            self.names_by_slot.insert(entry.record.slot, name.to_owned());
            self.bus.notice("renamed", Some(name), format!("endpoint \"{before}\" is \"{name}\" now"));
        }
    }

    /// What sources say against a binding that was made by hand.
    fn against_hand(&self, name: &str, anchor: Anchor, wanted: &Wanted) -> Vec<String> {
        let Some(entry) = self.entries.get(name) else { return Vec::new() };
        let spec = &entry.record.spec;
        let mut conflicts = wanted.conflicts.clone();
        for claim in self.fleet.claims(anchor) {
            let missing: Vec<String> = claim
                .attachment
                .addresses
                .iter()
                .filter(|address| !spec.addresses.iter().any(|bound| bound.overlaps(address)))
                .map(ToString::to_string)
                .collect();
            if !missing.is_empty() {
                conflicts.push(format!(
                    "{} gives it {} (container {}), but the binding by hand ({}) does not: the binding by hand rules",
                    claim.source.name,
                    missing.join(", "),
                    claim.container.name,
                    entry.record.owner,
                ));
            }
        }
        conflicts
    }

    fn tell_conflicts(&mut self, name: &str, conflicts: Vec<String>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.conflicts == conflicts {
            return;
        }
        entry.conflicts.clone_from(&conflicts);
        for conflict in conflicts {
            self.bus.notice("conflict", Some(name), format!("endpoint \"{name}\": {conflict}"));
        }
    }
}

/// Whether the interface itself is there, whatever stands on its hook.
fn is_there(bound: &super::Bound) -> bool {
    matches!(bound.space.link_by_index(bound.anchor.ifindex), Ok(Some(_)))
}

//! Making the kernel agree with one endpoint's record.

use std::sync::Arc;

use portcullis_abi::{FurtherKind, HELD_BINDING, Ipv6, Mac};
use portcullis_datapath::{Anchor, Attachment, Gate, Hook, HookState, LinkLayer, Method, Site};
use portcullis_policy::compile::{CompiledBinding, Learned, compile, effective_macs};
use portcullis_policy::conflict::Resolved;
use portcullis_policy::guard::Response;
use portcullis_policy::model::Mode;

use super::place::{Known, Place, missing};
use super::policies::own;
use super::{Bound, Core, Entry, Trouble};
use crate::control::Fault;

/// What [`Core::locate`] found.
pub(super) enum Located {
    /// The interface.
    Here(Box<(Place, Known)>),
    /// It is not there, and why.
    Missing(Fault),
}

impl Core {
    /// Finds an endpoint's interface and what is behind it.
    pub(super) fn locate(&mut self, entry: &Entry) -> Result<Located, Fault> {
        let spec = &entry.record.spec;
        // A sourced endpoint's namespace may outlive the path that it was found under.
        let held = entry.bound.as_ref().filter(|_| entry.record.origin.is_some());
        let found = match held {
            Some(bound) => Ok(Arc::clone(&bound.space)),
            None => self.spaces.get(spec.interface.netns.as_deref()),
        };
        let space = match found {
            Ok(space) => space,
            Err(fault @ Fault::NotFound(_)) => return Ok(Located::Missing(fault)),
            Err(fault) => return Err(fault),
        };
        let tcx = self.datapath.features().tcx;
        let index = entry.record.origin.as_ref().map(|origin| origin.index);
        let Some(place) = Place::find(&space, spec, index, tcx)? else {
            return Ok(Located::Missing(missing(&spec.interface)));
        };
        let mut known = place.learn(spec.direction)?;
        self.withhold(entry, &place, &mut known.learned);
        Ok(Located::Here(Box::new((place, known))))
    }

    /// A workload may give its own interface any address; what it cannot get that way is a
    /// neighbour's or the host's. Declared addresses were checked when they were declared.
    fn withhold(&self, entry: &Entry, place: &Place, learned: &mut Learned) {
        // What the kernel derives from a MAC is as much one's own as the MAC, whose claim is checked.
        let derived: Vec<std::net::Ipv6Addr> = effective_macs(&entry.record.spec, learned)
            .iter()
            .map(|mac| mac.eui64_link_local().into())
            .collect();
        if place.scope.private.is_some() || learned.link_local.iter().all(|address| derived.contains(address))
        {
            return;
        }
        let host: Vec<_> = portcullis_inventory::all_addresses(&place.space.netns)
            .map(|all| all.into_iter().map(|address| address.ip).collect())
            .unwrap_or_default();
        let taken = |address: std::net::Ipv6Addr| {
            host.contains(&std::net::IpAddr::V6(address))
                || self.holders(entry, place).any(|other| {
                    other.bound.as_ref().is_some_and(|bound| {
                        bound.compiled.endpoint.link_local == address.into()
                            || bound
                                .compiled
                                .further
                                .iter()
                                .any(|key| key.value == portcullis_abi::Ipv6::from(address).words())
                    })
                })
        };
        learned.link_local.retain(|&address| derived.contains(&address) || !taken(address));
    }

    /// Other endpoints of the same network.
    fn holders<'a>(&'a self, entry: &'a Entry, place: &'a Place) -> impl Iterator<Item = &'a Entry> {
        self.entries.values().filter(move |other| {
            other.record.id != entry.record.id
                && other.scope.is_some_and(|scope| scope.is_shared_with(&place.scope))
        })
    }

    /// Makes the kernel agree with a record: finds its interface, claims its addresses, publishes
    /// its binding and attaches the program. What is right already is left alone.
    pub(super) fn apply(&mut self, entry: &mut Entry) -> Result<(), Fault> {
        match self.locate(entry)? {
            Located::Missing(fault) => {
                self.release(entry);
                self.claim_waiting(entry)?;
                entry.trouble = Some(Trouble::Waiting(fault.to_string()));
                Ok(())
            }
            Located::Here(found) => {
                let (place, known) = *found;
                if entry.record.origin.is_some() {
                    entry.record.spec.interface.name.clone_from(&place.link.name);
                }
                self.apply_at(entry, &place, known)
            }
        }
    }

    fn claim_waiting(&mut self, entry: &Entry) -> Result<(), Fault> {
        if entry.record.origin.is_some() {
            // Its interface is gone for good, and whatever has that name now is another's.
            self.claims.release(&entry.record.spec.name);
            return Ok(());
        }
        self.claims
            .claim(&Resolved::waiting(&entry.record.spec))
            .map_err(|conflict| Fault::Conflict(conflict.to_string()))
    }

    /// Claims, publishes and attaches at a place.
    pub(super) fn apply_at(&mut self, entry: &mut Entry, place: &Place, known: Known) -> Result<(), Fault> {
        let spec = &entry.record.spec;
        let anchor = Anchor { netns: place.space.inode(), ifindex: place.link.index };
        let loopback = place.link.loopback;
        let macs = effective_macs(spec, &known.learned);
        if place.layer == LinkLayer::Ethernet && macs.is_empty() && !is_zero_mac_device(loopback, &known) {
            return Err(Fault::Invalid(format!(
                "the MAC behind interface {} cannot be learned (nothing answers for its other end): name it with --mac",
                spec.interface.name
            )));
        }
        self.claims
            .claim(&Resolved::found(&own(&entry.record), &known.learned, place.scope, place.link.index))
            .map_err(|conflict| Fault::Conflict(conflict.to_string()))?;
        if entry
            .bound
            .as_ref()
            .is_some_and(|bound| bound.anchor != anchor || bound.attachment.site() != place.site)
        {
            self.release(entry);
        }
        if entry.peer != known.peer {
            entry.workload.take();
        }
        entry.terms = self.policies.terms(&entry.record.spec, &self.config.answer.answer());
        entry.scope = Some(place.scope);
        entry.learned = known.learned;
        entry.settled = known.settled;
        entry.peer = known.peer;
        self.publish(entry, place, anchor)?;
        entry.trouble = None;
        Ok(())
    }

    /// Writes the binding under an index that no frame meets, flips the anchor to it, and sees to
    /// the programs.
    fn publish(&mut self, entry: &mut Entry, place: &Place, anchor: Anchor) -> Result<(), Fault> {
        let slot = entry.record.slot;
        let unchanged = entry.bound.as_ref().is_some_and(|bound| {
            compiled(entry, bound.binding) == bound.compiled
                && self.tables.anchor(anchor).is_ok_and(|binding| binding == bound.binding)
        });
        if !unchanged {
            let binding = self.bindings.take().ok_or_else(|| {
                Fault::Failed(format!(
                    "all {} table entries are in use: raise `endpoints` under [limits] in the configuration and restart the agent",
                    self.tables.bindings()
                ))
            })?;
            let fresh = compiled(entry, binding);
            if let Err(error) = self.write_and_point(anchor, binding, &fresh) {
                let _best_effort = self.tables.clear_binding(binding, &fresh.further, &fresh.prefixes);
                self.bindings.retire(binding);
                return Err(error);
            }
            self.identify(&fresh);
            self.names_by_slot.insert(slot, entry.record.spec.name.clone());
            match &mut entry.bound {
                Some(bound) => {
                    let old = std::mem::replace(&mut bound.binding, binding);
                    let old_compiled = std::mem::replace(&mut bound.compiled, fresh);
                    self.retire(old, old_compiled);
                }
                None => {
                    let attachment = match self.attach(place, anchor) {
                        Ok(attachment) => attachment,
                        Err(error) => {
                            let before = if self.is_held(anchor) { HELD_BINDING } else { 0 };
                            let _best_effort = self.tables.point(anchor, before);
                            self.retire(binding, fresh);
                            return Err(error);
                        }
                    };
                    let space = Arc::clone(&place.space);
                    let hook = HookState::First;
                    entry.bound = Some(Bound {
                        anchor,
                        space,
                        compiled: fresh,
                        binding,
                        attachment,
                        inward: None,
                        hook,
                    });
                    self.names_by_anchor.insert(anchor, entry.record.spec.name.clone());
                    self.port_bound(anchor);
                }
            }
        }
        self.apply_quarantine(entry)
    }

    fn write_and_point(&self, anchor: Anchor, binding: u32, compiled: &CompiledBinding) -> Result<(), Fault> {
        self.tables.write_binding(binding, &compiled.endpoint, &compiled.further, &compiled.prefixes)?;
        Ok(self.tables.point(anchor, binding)?)
    }

    /// Puts the program on its hook, taking over one that stands there for lack of a binding.
    fn attach(&mut self, place: &Place, anchor: Anchor) -> Result<Attachment, Fault> {
        let gate = match place.layer {
            LinkLayer::Ethernet => Gate::Ethernet,
            LinkLayer::None => Gate::Layer3,
        };
        let (attachment, _) = self.datapath.attach(&place.space.namespace, place.site, gate)?;
        self.unbound.remove(&anchor);
        Ok(attachment)
    }

    /// A second program stops what goes to an endpoint in quarantine. Where the kernel may begin that by
    /// itself, the program stands there in advance.
    fn apply_quarantine(&mut self, entry: &mut Entry) -> Result<(), Fault> {
        let answer = &entry.terms.answer;
        let by_kernel = answer.response >= Response::Quarantine
            && !answer.dry_run
            && entry.record.spec.mode == Mode::Enforce;
        let quarantined = entry.record.spec.quarantined || by_kernel;
        let Some(bound) = &mut entry.bound else {
            return Ok(());
        };
        match (quarantined, bound.inward.take()) {
            (true, None) => {
                let site = Site { hook: opposite(bound.attachment.site().hook), ..bound.attachment.site() };
                let (attachment, _) = self.datapath.attach(&bound.space.namespace, site, Gate::Quarantine)?;
                bound.inward = Some(attachment);
            }
            (false, Some(attachment)) => self.datapath.detach(Some(&bound.space.namespace), attachment)?,
            (_, inward) => bound.inward = inward,
        }
        Ok(())
    }

    /// Takes an endpoint out of the kernel; its record and counters stay.
    pub(super) fn release(&mut self, entry: &mut Entry) {
        let Some(bound) = entry.bound.take() else {
            return;
        };
        self.names_by_anchor.remove(&bound.anchor);
        // A port of a guarded bridge falls shut.
        let guarded = entry.scope.is_some_and(|scope| self.is_guarded_port(&scope))
            || self.is_guarded_door(&bound.space, bound.anchor);
        entry.scope = None;
        let ingress = bound.attachment.site().hook == Hook::Ingress;
        let keep = (self.wants_unbound_programs() || guarded) && ingress;
        let next = if guarded { HELD_BINDING } else { 0 };
        if let Err(error) = self.tables.point(bound.anchor, next) {
            self.bus.notice("failed", Some(&entry.record.spec.name), error.to_string());
        }
        if let Some(inward) = bound.inward {
            self.detach(&bound.space, inward);
        }
        if keep {
            self.unbound.insert(bound.anchor, (bound.space, bound.attachment));
        } else {
            self.detach(&bound.space, bound.attachment);
        }
        self.retire(bound.binding, bound.compiled);
    }

    pub(super) fn detach(&self, space: &super::Space, attachment: Attachment) {
        // A filter on an interface that is gone is gone too.
        let filter = attachment.site().method == Method::Clsact;
        if let Err(error) = self.datapath.detach(Some(&space.namespace), attachment)
            && !filter
        {
            tracing::warn!(%error, "cannot detach a program");
        }
    }

    /// Whoever claims a link-local address of somebody's forges; one that is nobody's is mere noise.
    fn identify(&mut self, compiled: &CompiledBinding) {
        for address in link_locals(compiled) {
            if let Err(error) = self.tables.set_identity(address, true) {
                tracing::warn!(%error, "cannot tell the kernel whose a link-local address is");
            }
        }
    }

    /// The same for all endpoints, where some are gone.
    pub(super) fn refresh_identities(&mut self) {
        if !std::mem::take(&mut self.identities_stale) {
            return;
        }
        let bound = self.entries.values().filter_map(|entry| entry.bound.as_ref());
        let all: Vec<Ipv6> = bound.flat_map(|bound| link_locals(&bound.compiled)).collect();
        if let Err(error) = self.tables.set_identities(&all) {
            tracing::warn!(%error, "cannot tell the kernel whose link-local addresses are");
        }
    }

    pub(super) fn retire(&mut self, binding: u32, compiled: CompiledBinding) {
        self.identities_stale = true;
        self.retired.insert(binding, compiled);
        self.bindings.retire(binding);
    }
}

fn compiled(entry: &Entry, binding: u32) -> CompiledBinding {
    let answer = &entry.terms.answer;
    compile(&entry.record.spec, &entry.learned, answer, entry.record.slot, binding)
}

/// The link-local addresses of a binding.
fn link_locals(compiled: &CompiledBinding) -> impl Iterator<Item = Ipv6> {
    let further = compiled.further.iter().filter(|key| key.kind == FurtherKind::Address as u32);
    let further = further.map(|key| Ipv6::from_words(key.value));
    std::iter::once(compiled.endpoint.link_local)
        .chain(further)
        .filter(|address| std::net::Ipv6Addr::from(*address).is_unicast_link_local())
}

const fn opposite(hook: Hook) -> Hook {
    match hook {
        Hook::Ingress => Hook::Egress,
        Hook::Egress => Hook::Ingress,
    }
}

/// Loopback and L3 netkit carry Ethernet headers of zeros: that is their MAC.
fn is_zero_mac_device(loopback: bool, known: &Known) -> bool {
    loopback || known.learned.macs.contains(&Mac::ZERO)
}

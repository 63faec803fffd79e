//! Changes of the desired state, asked for by somebody.

use portcullis_abi::Counters;
use portcullis_datapath::{Anchor, Expedited};
use portcullis_policy::api::{Endpoint, EndpointPatch};
use portcullis_policy::model::{EndpointSpec, InterfaceRef, Owner};

use super::{Core, Entry, Trouble};
use crate::control::{BindOptions, Fault, Outcome};
use crate::store::{Record, Sentence};

impl Core {
    /// Binds an endpoint, or changes the one of that name. Nothing is left behind where it fails.
    pub(super) fn bind(
        &mut self,
        spec: EndpointSpec,
        owner: Owner,
        options: BindOptions,
    ) -> Result<(Endpoint, Outcome), Fault> {
        let outcome = self.bind_unsaved(spec, owner, options)?;
        let (name, outcome, before) = outcome;
        if outcome != Outcome::Unchanged
            && let Err(fault) = self.save(&[name.as_str()])
        {
            self.undo(&name, before);
            return Err(fault);
        }
        let verb = match outcome {
            Outcome::Created => "bound",
            Outcome::Updated => "changed",
            Outcome::Unchanged => return Ok((self.view_by_name(&name)?, outcome)),
        };
        let endpoint = self.view_by_name(&name)?;
        self.bus.notice("bound", Some(&name), format!("endpoint \"{name}\" {verb}: {}", describe(&endpoint)));
        Ok((endpoint, outcome))
    }

    /// Binds many with one write to the disk. Each succeeds or fails by itself.
    pub(super) fn bind_many(
        &mut self,
        specs: Vec<EndpointSpec>,
        owner: Owner,
        options: BindOptions,
    ) -> Vec<Result<(Endpoint, Outcome), Fault>> {
        let _expedited = Expedited::for_attachments(specs.len());
        let results: Vec<_> = specs.into_iter().map(|spec| self.bind_unsaved(spec, owner, options)).collect();
        let changed: Vec<&str> = results
            .iter()
            .flatten()
            .filter(|(_, outcome, _)| *outcome != Outcome::Unchanged)
            .map(|(name, ..)| name.as_str())
            .collect();
        let saved = self.save(&changed);
        if !changed.is_empty() {
            self.bus.notice("bound", None, format!("{} endpoints bound or changed", changed.len()));
        }
        results
            .into_iter()
            .map(|result| {
                let (name, outcome, before) = result?;
                if let Err(fault) = &saved
                    && outcome != Outcome::Unchanged
                {
                    self.undo(&name, before);
                    return Err(fault.clone());
                }
                Ok((self.view_by_name(&name)?, outcome))
            })
            .collect()
    }

    fn bind_unsaved(
        &mut self,
        spec: EndpointSpec,
        owner: Owner,
        options: BindOptions,
    ) -> Result<(String, Outcome, Option<Record>), Fault> {
        let spec = spec.validate().map_err(|errors| Fault::Invalid(errors.to_string()))?.into_inner();
        let name = spec.name.clone();
        let before = self.entries.get(&name).map(|entry| entry.record.clone());
        let (mut entry, outcome) = match self.entries.remove(&name) {
            Some(mut entry) => {
                if entry.record.owner != owner {
                    let fault = owned_by_other(&name, entry.record.owner);
                    self.entries.insert(name, entry);
                    return Err(fault);
                }
                // Quarantine is a response to the workload, not a property of its binding.
                let spec =
                    EndpointSpec { quarantined: entry.record.spec.quarantined || spec.quarantined, ..spec };
                let outcome = if entry.record.spec == spec { Outcome::Unchanged } else { Outcome::Updated };
                entry.record.spec = spec;
                (entry, outcome)
            }
            None => (
                self.take_from_source(&spec, owner).map_or_else(|| self.new_entry(spec, owner), Ok)?,
                Outcome::Created,
            ),
        };
        let result =
            self.apply(&mut entry).and_then(|()| match (&entry.trouble, outcome, options.allow_missing) {
                (Some(Trouble::Waiting(why)), Outcome::Created, false) => Err(Fault::NotFound(format!(
                    "{why}; to bind it before it exists, allow that (--allow-missing)"
                ))),
                _ => Ok(()),
            });
        let id = entry.record.id.clone();
        self.names_by_id.insert(id, name.clone());
        self.entries.insert(name.clone(), entry);
        match result {
            Ok(()) => {
                self.hear_sources(&name);
                self.inherit_sentence(&name);
                Ok((name, outcome, before))
            }
            Err(fault) => {
                self.undo(&name, before);
                Err(fault)
            }
        }
    }

    /// Whoever binds by hand rules over sources: the endpoint that a source has at this interface becomes the
    /// new one, and its frames never meet anything in between.
    fn take_from_source(&mut self, spec: &EndpointSpec, owner: Owner) -> Option<Entry> {
        let anchor = self.anchor_named(&spec.interface)?;
        let name = self.sourced.remove(&anchor)?;
        let mut entry = self.entries.remove(&name)?;
        self.rename(&mut entry, &spec.name);
        let quarantined = entry.record.spec.quarantined || spec.quarantined;
        entry.record.spec = EndpointSpec { quarantined, ..spec.clone() };
        entry.record.owner = owner;
        entry.record.origin = None;
        Some(entry)
    }

    fn anchor_named(&mut self, interface: &InterfaceRef) -> Option<Anchor> {
        let space = self.spaces.get(interface.netns.as_deref()).ok()?;
        let link = space.link_by_name(&interface.name).ok()??;
        Some(Anchor { netns: space.inode(), ifindex: link.index })
    }

    fn anchor_of_entry(&self, name: &str) -> Option<Anchor> {
        self.entries.get(name)?.bound.as_ref().map(|bound| bound.anchor)
    }

    /// What sources say of an interface that is bound by hand now is compared with that.
    fn hear_sources(&mut self, name: &str) {
        if let Some(anchor) = self.anchor_of_entry(name)
            && !self.fleet.claims(anchor).is_empty()
        {
            self.settle_all([anchor].into());
        }
    }

    /// An endpoint as the sources would have it: who its sentence is found by, when it is not bound by hand.
    fn as_told(&self, name: &str) -> Vec<EndpointSpec> {
        let Some(entry) = self.entries.get(name) else { return Vec::new() };
        let claims = entry.bound.as_ref().map(|bound| self.fleet.claims(bound.anchor)).unwrap_or_default();
        let told = claims.iter().map(|claim| EndpointSpec {
            workload: claim.container.workload.clone(),
            network: claim.attachment.network.clone(),
            ..entry.record.spec.clone()
        });
        told.collect()
    }

    /// Whoever is in quarantine stays so, and as long, when the binding is made by hand.
    fn inherit_sentence(&mut self, name: &str) {
        let Some(spec) = self.entries.get(name).map(|entry| &entry.record.spec) else { return };
        if !spec.quarantined || self.sentences.of(spec).is_some() {
            return;
        }
        let sentence = self.as_told(name).iter().find_map(|told| self.sentences.of(told)).cloned();
        if sentence.is_some()
            && let Err(fault) = self.sentence(name, sentence)
        {
            self.bus.notice("failed", Some(name), fault.to_string());
        }
    }

    /// Ends a sentence: the endpoint's own, and what its workload would come back to without the binding by
    /// hand.
    fn lift_sentence(&mut self, name: &str) -> Result<(), Fault> {
        for told in self.as_told(name) {
            self.sentences.lift(&self.store, &told).map_err(|error| Fault::Failed(error.to_string()))?;
        }
        self.sentence(name, None)
    }

    pub(super) fn new_entry(&mut self, spec: EndpointSpec, owner: Owner) -> Result<Entry, Fault> {
        let slot = self.slots.take().ok_or_else(|| {
            Fault::Failed(format!(
                "there is room for {} endpoints, and all are in use: raise `endpoints` under [limits] in the configuration and restart the agent",
                self.tables.slots().saturating_sub(1)
            ))
        })?;
        self.tables.set_counters(slot, &Counters::default())?;
        self.tables.reset_conduct(slot)?;
        let since = jiff::Timestamp::now();
        let record = Record { id: fresh_id(), spec, owner, since, slot, origin: None };
        Ok(Entry::new(record))
    }

    /// Puts an endpoint back to what it was before a change that failed.
    fn undo(&mut self, name: &str, before: Option<Record>) {
        let Some(mut entry) = self.entries.remove(name) else {
            return;
        };
        match before {
            None => {
                let anchor = self.anchor_named(&entry.record.spec.interface);
                self.forget(entry);
                self.ask_sources_of(anchor);
            }
            Some(record) => {
                entry.record = record;
                if let Err(fault) = self.apply(&mut entry) {
                    entry.trouble = Some(Trouble::Failed(fault.to_string()));
                }
                self.entries.insert(name.to_owned(), entry);
            }
        }
    }

    /// Takes an endpoint away.
    pub(super) fn unbind(&mut self, id_or_name: &str) -> Result<Endpoint, Fault> {
        let name = self.resolve(id_or_name)?;
        let endpoint = self.view_by_name(&name)?;
        self.forbid_others(&name)?;
        let anchor = self.anchor_of_entry(&name);
        self.store.remove(&[endpoint.id.as_str()]).map_err(|error| Fault::Failed(error.to_string()))?;
        if let Some(entry) = self.entries.remove(&name) {
            let workload = &entry.record.spec.workload;
            if workload.uid.is_none() && workload.container.is_none() {
                // It was this binding's alone, and not a workload's that comes back.
                if let Err(error) = self.sentences.lift(&self.store, &entry.record.spec) {
                    self.bus.notice("failed", Some(&name), error.to_string());
                }
            }
            self.give_to_sources(anchor, entry);
        }
        self.bus.notice("unbound", Some(&name), format!("endpoint \"{name}\" unbound"));
        self.ask_sources_of(anchor);
        Ok(endpoint)
    }

    /// What sources say of an interface that is not bound by hand any more counts now.
    fn ask_sources_of(&mut self, anchor: Option<Anchor>) {
        let Some(anchor) = anchor else { return };
        self.settle_all([anchor].into());
        self.look_at_port(anchor);
    }

    /// Removes every trace of an endpoint but its record on disk.
    pub(super) fn forget(&mut self, mut entry: Entry) {
        self.release(&mut entry);
        let Record { id, spec, slot, .. } = &entry.record;
        self.claims.release(&spec.name);
        self.names_by_id.remove(id);
        self.names_by_slot.remove(slot);
        if let Err(error) = self.tables.write_journal(*slot, &[]) {
            tracing::warn!(%error, "cannot clear the kernel's journal");
        }
        self.slots.retire(*slot);
    }

    /// Changes single properties.
    pub(super) fn patch(&mut self, id_or_name: &str, patch: &EndpointPatch) -> Result<Endpoint, Fault> {
        let name = self.resolve(id_or_name)?;
        self.change(&name, |record| {
            if let Some(mode) = patch.mode {
                record.spec.mode = mode;
                if let Some(origin) = &mut record.origin {
                    origin.mode = Some(mode);
                }
            }
        })?;
        let endpoint = self.view_by_name(&name)?;
        self.bus.notice("changed", Some(&name), format!("endpoint \"{name}\" is in mode {}", endpoint.mode));
        Ok(endpoint)
    }

    /// Puts an endpoint into quarantine, or releases it where there is no sentence.
    pub(super) fn quarantine(
        &mut self,
        id_or_name: &str,
        sentence: Option<Sentence>,
    ) -> Result<Endpoint, Fault> {
        let name = self.resolve(id_or_name)?;
        let quarantined = sentence.is_some();
        if !quarantined && let Some(entry) = self.entries.get(&name) {
            // First, or the kernel's own flag would be carried over to the new entry.
            self.tables.forgive(entry.record.slot)?;
        }
        self.change(&name, |record| record.spec.quarantined = quarantined)?;
        if let Some(bound) = self.entries.get(&name).and_then(|entry| entry.bound.as_ref()) {
            // The kernel may have set it by itself, and then the entry did not change just now.
            let _there = self.tables.set_quarantine(bound.binding, quarantined);
        }
        match sentence {
            Some(sentence) => self.sentence(&name, Some(Sentence { endpoint: name.clone(), ..sentence }))?,
            None => self.lift_sentence(&name)?,
        }
        let (topic, words) = if quarantined {
            ("quarantined", "in quarantine")
        } else {
            ("released", "released from quarantine")
        };
        self.bus.notice(topic, Some(&name), format!("endpoint \"{name}\" {words}"));
        self.view_by_name(&name)
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Record)) -> Result<(), Fault> {
        let Some(mut entry) = self.entries.remove(name) else {
            return Err(no_such(name));
        };
        let before = entry.record.clone();
        change(&mut entry.record);
        let result = self.apply(&mut entry);
        self.entries.insert(name.to_owned(), entry);
        result.and_then(|()| self.save(&[name])).inspect_err(|_| self.undo(name, Some(before)))
    }

    /// Writes records to disk and to the kernel's journal.
    pub(super) fn save(&mut self, names: &[&str]) -> Result<(), Fault> {
        let records: Vec<Record> = names
            .iter()
            .filter_map(|name| self.entries.get(*name))
            .map(|entry| entry.record.clone())
            .collect();
        if records.is_empty() {
            return Ok(());
        }
        // What sources say they say again: it need not reach the disk before anything else happens.
        let (told, by_hand): (Vec<Record>, Vec<Record>) =
            records.iter().cloned().partition(|record| record.origin.is_some());
        let failed = |error: crate::store::StoreError| Fault::Failed(error.to_string());
        self.store.put(&by_hand).map_err(failed)?;
        self.store.put_volatile(&told).map_err(failed)?;
        for record in &records {
            let written = record.encode().map_err(|error| error.to_string()).and_then(|text| {
                self.tables.write_journal(record.slot, &text).map_err(|error| error.to_string())
            });
            if let Err(error) = written {
                tracing::warn!(%error, "cannot write the kernel's journal");
            }
        }
        Ok(())
    }

    /// The name of an endpoint by id or name.
    pub(super) fn resolve(&self, id_or_name: &str) -> Result<String, Fault> {
        if self.entries.contains_key(id_or_name) {
            return Ok(id_or_name.to_owned());
        }
        self.names_by_id.get(id_or_name).cloned().ok_or_else(|| no_such(id_or_name))
    }

    fn forbid_others(&self, name: &str) -> Result<(), Fault> {
        match self.entries.get(name).map(|entry| entry.record.owner) {
            None | Some(Owner::Api) => Ok(()),
            Some(owner) => Err(owned_by_other(name, owner)),
        }
    }
}

fn no_such(id_or_name: &str) -> Fault {
    Fault::NotFound(format!("there is no endpoint \"{id_or_name}\": `portcullis endpoint list` shows all"))
}

fn owned_by_other(name: &str, owner: Owner) -> Fault {
    let where_to = match owner {
        Owner::File => "it is declared in the configuration file: change it there and restart the agent",
        Owner::Api => {
            "it was bound through the API: unbind it first, or take it out of the configuration file"
        }
        Owner::Cni | Owner::Cri | Owner::Docker | Owner::Podman | Owner::Kubernetes => {
            "its container does, and it goes with it; to treat it otherwise, write a [[policy]]"
        }
    };
    Fault::Conflict(format!("endpoint \"{name}\" belongs to another owner; {where_to}"))
}

/// Twelve random hexadecimal digits: unique, not secret.
fn fresh_id() -> String {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    let random = RandomState::new().build_hasher().finish();
    format!("{:012x}", random & 0xffff_ffff_ffff)
}

fn describe(endpoint: &Endpoint) -> String {
    format!("interface {}, {}", endpoint.interface.name, endpoint.addresses.join(", "))
}

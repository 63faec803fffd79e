//! The start: from disk, configuration and pinned kernel state to a working core.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use portcullis_abi::{Counters, HELD_BINDING, Mode};
use portcullis_datapath::{Anchor, Datapath, EventStream, Expedited, Gate, Settings, Tables};
use portcullis_policy::conflict::Claims;
use portcullis_policy::guard::Policies;
use portcullis_policy::model::Owner;

use super::indices::Indices;
use super::place::Spaces;
use super::policies::POLICIES_SLOT;
use super::{Core, Entry, Trouble};
use crate::answer::Sentences;
use crate::bus::Bus;
use crate::config::Config;
use crate::control::{BindOptions, Fault};
use crate::fleet::Fleet;
use crate::store::{Opened, Record, Store, StoreError};

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel side.
    #[error(transparent)]
    Kernel(#[from] portcullis_datapath::Error),
    /// Anything else.
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl Core {
    /// Starts: adopts what is pinned, and makes it agree with the desired state. Whatever stands on
    /// a hook goes on enforcing while this works.
    pub(super) fn start(config: Config, bus: Arc<Bus>) -> Result<(Self, EventStream), StartError> {
        let (store, found) = Store::open(&config.state_dir)?;
        let opened = Datapath::open(&config.bpffs, settings(&config))?;
        let mut warnings = Vec::new();
        if let Some(why) = &opened.replaced {
            bus.notice("replaced", None, format!("the pinned tables were made anew: {why}"));
        }
        let (records, lost) = match found {
            Opened::Fresh => (from_journal(&opened.tables), Some("there was no state file".to_owned())),
            Opened::Existing(records) => (with_journal(records, &opened), None),
            Opened::Damaged { kept_as, why } => (
                from_journal(&opened.tables),
                Some(format!("the state file was damaged ({why}); it is kept as {}", kept_as.display())),
            ),
        };
        let lost_all = lost.is_some();
        if let Some(why) = lost.filter(|why| !records.is_empty() || why.contains("damaged")) {
            let message = format!("{why}: {} endpoints were taken over from the kernel", records.len());
            bus.notice("damaged", None, message.clone());
            warnings.push(message);
        }
        let mut core = Self {
            slots: Indices::new(opened.tables.slots()),
            bindings: Indices::new(opened.tables.bindings()),
            config,
            datapath: opened.datapath,
            tables: opened.tables,
            store: Arc::new(store),
            bus,
            entries: BTreeMap::new(),
            names_by_id: HashMap::new(),
            names_by_slot: HashMap::new(),
            names_by_anchor: HashMap::new(),
            claims: Claims::default(),
            retired: HashMap::new(),
            spaces: Spaces::new()?,
            unbound: HashMap::new(),
            fleet: Fleet::default(),
            sourced: HashMap::new(),
            asked: HashMap::new(),
            ports: HashMap::new(),
            kept_held: HashSet::new(),
            surveyed: false,
            identities_stale: true,
            policies: Policies::default(),
            policy_owners: BTreeMap::new(),
            sentences: Sentences::default(),
            repairs: 0,
            ticks: 0,
            warnings,
            started: jiff::Timestamp::now(),
        };
        core.begin(records, lost_all)?;
        core.datapath.retire_older();
        Ok((core, opened.events))
    }

    /// Makes the kernel agree with what is desired. `lost`: the state file has nothing to say.
    fn begin(&mut self, records: Vec<Record>, lost: bool) -> Result<(), StartError> {
        // Loaded now, so that the first endpoint need not wait for the verifier.
        let own = Arc::clone(self.spaces.own());
        self.datapath.preload(&own.namespace, Gate::Ethernet)?;
        self.datapath.preload(&own.namespace, Gate::Quarantine)?;
        self.load_policies(lost)?;
        self.add_plugin();
        self.add_sources()?;
        let before = self.reserve_pinned()?;
        self.load_all(records)?;
        self.refresh_nodes();
        self.refresh_unbound();
        self.refresh_ports();
        self.sweep(&before)?;
        Ok(())
    }

    /// Bindings that anchors point to stay as they are until their anchors are flipped.
    fn reserve_pinned(&mut self) -> Result<Vec<(Anchor, u32)>, Fault> {
        let anchors = self.tables.all_anchors()?;
        self.bindings.reserve(HELD_BINDING);
        for (_, binding) in &anchors {
            self.bindings.reserve(*binding);
        }
        Ok(anchors)
    }

    /// By hand first: it rules over what sources said.
    fn load_all(&mut self, mut records: Vec<Record>) -> Result<(), Fault> {
        let _expedited = Expedited::for_attachments(records.len());
        records.retain_mut(|record| self.reserve_slot(record));
        let (sourced, by_hand): (Vec<Record>, Vec<Record>) =
            records.into_iter().partition(|record| record.origin.is_some());
        by_hand.into_iter().for_each(|record| self.load(record));
        self.load_file()?;
        self.restore_sourced(sourced);
        self.forget_lost()?;
        // The journal must agree with the disk, and the disk with moved slots.
        let names: Vec<String> = self.entries.keys().cloned().collect();
        self.save(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Of what sources found, a kill may have left records on the disk that the kernel's journal knew better.
    fn forget_lost(&mut self) -> Result<(), Fault> {
        let failed = |error: StoreError| Fault::Failed(error.to_string());
        let all = self.store.all().map_err(failed)?;
        let lost = all.iter().filter(|record| record.origin.is_some());
        let lost: Vec<&str> =
            lost.map(|record| record.id.as_str()).filter(|id| !self.names_by_id.contains_key(*id)).collect();
        self.store.forget(&lost).map_err(failed)
    }

    /// Keeps a record's counter slot for it, or gives it another; `false` where there is no room.
    fn reserve_slot(&mut self, record: &mut Record) -> bool {
        if self.slots.reserve(record.slot) {
            return true;
        }
        let Some(slot) = self.slots.take() else {
            self.warnings.push(format!(
                "there is no room for endpoint \"{}\": raise `endpoints` under [limits]",
                record.spec.name
            ));
            return false;
        };
        record.slot = slot;
        // What somebody else did there before is not held against it.
        let emptied = self.tables.set_counters(slot, &Counters::default());
        if let Err(error) = emptied.and_then(|()| self.tables.reset_conduct(slot)) {
            tracing::warn!(%error, "cannot empty a counter slot");
        }
        true
    }

    fn load(&mut self, record: Record) {
        let name = record.spec.name.clone();
        self.names_by_id.insert(record.id.clone(), name.clone());
        let mut entry = Entry::new(record);
        if let Err(fault) = self.apply(&mut entry) {
            self.bus.notice("failed", Some(&name), fault.to_string());
            entry.trouble = Some(Trouble::Failed(fault.to_string()));
        }
        self.entries.insert(name, entry);
    }

    /// Endpoints of the configuration file: those that are not in it any more go.
    fn load_file(&mut self) -> Result<(), Fault> {
        let specs = std::mem::take(&mut self.config.endpoints);
        let wanted: BTreeSet<String> = specs.iter().map(|spec| spec.name.clone()).collect();
        let gone: Vec<String> = self
            .entries
            .values()
            .filter(|entry| entry.record.owner == Owner::File && !wanted.contains(&entry.record.spec.name))
            .map(|entry| entry.record.spec.name.clone())
            .collect();
        for name in gone {
            if let Some(entry) = self.entries.remove(&name) {
                self.store
                    .remove(&[entry.record.id.as_str()])
                    .map_err(|error| Fault::Failed(error.to_string()))?;
                self.forget(entry);
            }
        }
        for result in self.bind_many(specs, Owner::File, BindOptions { allow_missing: true }) {
            if let Err(fault) = result {
                self.warnings.push(format!("an endpoint of the configuration file is not bound: {fault}"));
                self.bus.notice("failed", None, fault.to_string());
            }
        }
        Ok(())
    }

    /// Removes what an earlier agent left for endpoints that are not ours any more.
    fn sweep(&mut self, before: &[(Anchor, u32)]) -> Result<(), Fault> {
        for (anchor, binding) in before {
            let now = self.tables.anchor(*anchor)?;
            if *binding == HELD_BINDING && self.stays_held(*anchor) {
                continue;
            }
            if !self.names_by_anchor.contains_key(anchor) && now != 0 {
                self.tables.point(*anchor, 0)?;
            }
            if *binding != HELD_BINDING && (now != *binding || !self.names_by_anchor.contains_key(anchor)) {
                self.bindings.retire(*binding);
            }
        }
        let attachments = self
            .entries
            .values()
            .filter_map(|entry| entry.bound.as_ref())
            .flat_map(|bound| std::iter::once(&bound.attachment).chain(bound.inward.as_ref()))
            .chain(self.unbound.values().map(|(_, attachment)| attachment));
        self.datapath.sweep_links(attachments);
        let bindings = &self.bindings;
        self.tables.sweep(|binding| bindings.is_used(binding))?;
        let known: BTreeSet<u32> = self.entries.values().map(|entry| entry.record.slot).collect();
        let unknown = |slot: &u32| !known.contains(slot) && *slot != POLICIES_SLOT;
        for slot in self.tables.journal()?.into_keys().filter(unknown) {
            self.tables.write_journal(slot, &[])?;
        }
        Ok(())
    }
}

/// What sources found is written to the disk without haste: the kernel's journal knows better, where there is
/// one.
fn with_journal(records: Vec<Record>, opened: &portcullis_datapath::Opened) -> Vec<Record> {
    if !opened.adopted {
        return records;
    }
    let told = from_journal(&opened.tables).into_iter().filter(|record| record.origin.is_some());
    records.into_iter().filter(|record| record.origin.is_none()).chain(told).collect()
}

/// What the kernel remembers of the desired state.
fn from_journal(tables: &Tables) -> Vec<Record> {
    match tables.journal() {
        Ok(texts) => texts.values().filter_map(|text| Record::decode(text).ok()).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot read the kernel's journal");
            Vec::new()
        }
    }
}

/// What the kernel programs are told.
pub(crate) fn settings(config: &Config) -> Settings {
    Settings {
        unbound: Mode::from(config.unbound),
        event_rate: config.events.per_second,
        event_burst: config.events.burst,
        endpoints: config.limits.endpoints,
    }
}

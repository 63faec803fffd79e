//! Gate policies and sentences: what holds beyond single endpoints.

use std::borrow::Cow;
use std::collections::BTreeSet;

use portcullis_datapath::Anchor;
use portcullis_policy::address::AddressBinding;
use portcullis_policy::api::PolicyView;
use portcullis_policy::guard::{GatePolicy, Policies};
use portcullis_policy::model::{EndpointSpec, Owner, Workload};

use portcullis_kubernetes::translate::object_name;

use super::{Core, Entry, Trouble};
use crate::answer::Sentences;
use crate::control::{Fault, Outcome};
use crate::store::{PolicyBook, Record, Sentence, StoreError};

/// Place of the policies in the kernel's journal: the counter slot that is no endpoint's.
pub(super) const POLICIES_SLOT: u32 = portcullis_abi::UNBOUND_SLOT;
/// Until a release that failed is tried again.
const RELEASE_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

impl Core {
    /// Every policy, in the order in which they are asked.
    pub(super) fn policy_views(&self) -> Vec<PolicyView> {
        self.policies.iter().map(|policy| self.policy_view(policy)).collect()
    }

    fn policy_view(&self, policy: &GatePolicy) -> PolicyView {
        let matched = |name: &String| -> bool {
            self.entries.get(name).is_some_and(|entry| entry.terms.policies.contains(&policy.name))
        };
        let endpoints: Vec<String> = self.entries.keys().filter(|name| matched(name)).cloned().collect();
        let warning = endpoints.is_empty().then(|| {
            "it matches no endpoint now; it holds for those that come (`portcullis endpoint list -o wide` shows names, networks, images)"
                .to_owned()
        });
        let owner = self.policy_owner(&policy.name);
        PolicyView { policy: policy.clone(), owner, endpoints, warning }
    }

    /// Puts a policy, or replaces the one of that name.
    pub(super) fn put_policy(&mut self, policy: GatePolicy) -> Result<(PolicyView, Outcome), Fault> {
        let name = policy.name.clone();
        let before = self.policies.get(&name).cloned();
        self.forbid_foreign_policy(&name)?;
        if before.as_ref() == Some(&policy) {
            return Ok((self.policy_view(&policy), Outcome::Unchanged));
        }
        let others = self.policies.iter().filter(|other| other.name != name).cloned();
        let policies = Policies::new(others.chain([policy.clone()]).collect())
            .map_err(|errors| Fault::Invalid(errors.to_string()))?;
        self.store.put_policies(std::slice::from_ref(&policy)).map_err(failed)?;
        self.policies = policies;
        self.policy_owners.insert(name.clone(), Owner::Api);
        self.policies_changed();
        self.bus.notice("policy", None, format!("policy \"{name}\" was put"));
        let outcome = if before.is_some() { Outcome::Updated } else { Outcome::Created };
        Ok((self.policy_view(&policy), outcome))
    }

    /// Takes a policy away; answers what it was.
    pub(super) fn remove_policy(&mut self, name: &str) -> Result<PolicyView, Fault> {
        let Some(policy) = self.policies.get(name).cloned() else {
            return Err(Fault::NotFound(format!(
                "there is no policy \"{name}\": `portcullis policy list` shows all"
            )));
        };
        self.forbid_foreign_policy(name)?;
        let view = self.policy_view(&policy);
        self.store.remove_policies(&[name]).map_err(failed)?;
        let others = self.policies.iter().filter(|other| other.name != name).cloned().collect();
        self.policies = Policies::new(others).map_err(|errors| Fault::Invalid(errors.to_string()))?;
        self.policy_owners.remove(name);
        self.policies_changed();
        self.bus.notice("policy", None, format!("policy \"{name}\" was removed"));
        Ok(view)
    }

    /// Makes the API's policies these, whole or not at all; answers how many came, changed and went.
    pub(super) fn replace_policies(&mut self, policies: Vec<GatePolicy>) -> Result<(u32, u32, u32), Fault> {
        for policy in &policies {
            self.forbid_foreign_policy(&policy.name)?;
        }
        self.replace_policies_of(Owner::Api, policies)
    }

    /// Makes an owner's policies these, whole or not at all; answers how many came, changed and went.
    pub(super) fn replace_policies_of(
        &mut self,
        owner: Owner,
        policies: Vec<GatePolicy>,
    ) -> Result<(u32, u32, u32), Fault> {
        let of_others =
            self.policies.iter().filter(|policy| self.policy_owner(&policy.name) != owner).cloned();
        let next = Policies::new(of_others.chain(policies.iter().cloned()).collect())
            .map_err(|errors| Fault::Invalid(errors.to_string()))?;
        let gone: Vec<String> =
            self.policies.iter().map(|p| p.name.clone()).filter(|name| next.get(name).is_none()).collect();
        let (mut created, mut updated) = (0, 0);
        for policy in &policies {
            match self.policies.get(&policy.name) {
                None => created += 1,
                Some(before) if before != policy => updated += 1,
                Some(_) => {}
            }
        }
        if created + updated == 0 && gone.is_empty() {
            return Ok((0, 0, 0));
        }
        let names: Vec<&str> = gone.iter().map(String::as_str).collect();
        self.store.change_policies(&policies, &names).map_err(failed)?;
        self.policy_owners.retain(|name, _| !gone.contains(name));
        self.policy_owners.extend(policies.into_iter().map(|policy| (policy.name, owner)));
        self.policies = next;
        self.policies_changed();
        Ok((created, updated, gone.len() as u32))
    }

    /// Whose policy this is, or would be.
    pub(super) fn policy_owner(&self, name: &str) -> Owner {
        let known = self.policy_owners.get(name).copied();
        known.unwrap_or_else(|| if object_name(name).is_some() { Owner::Kubernetes } else { Owner::Api })
    }

    fn forbid_foreign_policy(&self, name: &str) -> Result<(), Fault> {
        match self.policy_owner(name) {
            Owner::File => Err(Fault::Conflict(format!(
                "policy \"{name}\" is declared in the configuration file: change it there and restart the agent"
            ))),
            Owner::Kubernetes => Err(Fault::Conflict(format!(
                "policy \"{name}\" is the cluster's: change it there (`kubectl edit gatepolicy {}`)",
                object_name(name).unwrap_or(name)
            ))),
            _ => Ok(()),
        }
    }

    /// What the kernel's journal remembers of the API's policies.
    fn journalled_policies(&self) -> Vec<GatePolicy> {
        let text = self.tables.journal().ok().and_then(|mut texts| texts.remove(&POLICIES_SLOT));
        text.and_then(|text| PolicyBook::decode(&text).ok()).unwrap_or_default()
    }

    fn write_journal(&self) {
        let is_kept = |policy: &&GatePolicy| self.policy_owner(&policy.name) != Owner::File;
        let policies: Vec<GatePolicy> = self.policies.iter().filter(is_kept).cloned().collect();
        let written = PolicyBook::encode(&policies).map_err(|error| error.to_string()).and_then(|text| {
            self.tables.write_journal(POLICIES_SLOT, &text).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(%error, "cannot write the policies into the kernel's journal");
        }
    }

    /// Every endpoint may be treated otherwise now.
    fn policies_changed(&mut self) {
        self.write_journal();
        // Those too that could not be bound under the policies that held until now.
        let known = self.fleet.sources().flat_map(|source| source.containers.values());
        let claimed = known.flat_map(|known| known.anchors.iter().flatten());
        let sourced: BTreeSet<Anchor> = self.sourced.keys().chain(claimed).copied().collect();
        self.settle_all(sourced);
        let by_hand: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.record.origin.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        for name in by_hand {
            let Some(mut entry) = self.entries.remove(&name) else { continue };
            if let Err(fault) = self.apply(&mut entry) {
                self.bus.notice("failed", Some(&name), fault.to_string());
                entry.trouble = Some(Trouble::Failed(fault.to_string()));
            }
            self.entries.insert(name, entry);
        }
    }

    /// Addresses that a policy grants an endpoint and that are another's own: meant so, or a slip.
    pub(super) fn granted_of_others(&self, name: &str) -> Vec<String> {
        let Some(entry) = self.entries.get(name) else { return Vec::new() };
        let mine = own(&entry.record);
        let granted = entry.record.spec.addresses.iter().filter(|address| !mine.addresses.contains(address));
        let is_near = |other: &Entry| {
            other.record.id != entry.record.id
                && entry.scope.zip(other.scope).is_some_and(|(ours, theirs)| ours.is_shared_with(&theirs))
        };
        granted
            .filter_map(|address| {
                let holds =
                    |other: &Entry| own(&other.record).addresses.iter().any(|own| own.overlaps(address));
                let (holder, _) = self.entries.iter().find(|(_, other)| is_near(other) && holds(other))?;
                Some(format!(
                    "a policy grants it {address}, which is also endpoint \"{holder}\"'s: both may use it"
                ))
            })
            .collect()
    }

    /// The policies of the configuration file and of the store.
    pub(super) fn load_policies(&mut self, lost: bool) -> Result<(), Fault> {
        let of_file = std::mem::take(&mut self.config.policies);
        let mut stored = self.store.policies().map_err(failed)?;
        if lost && stored.is_empty() {
            stored = self.journalled_policies();
            self.store.put_policies(&stored).map_err(failed)?;
        }
        let mut owners = std::collections::BTreeMap::new();
        owners.extend(stored.iter().map(|policy| (policy.name.clone(), self.policy_owner(&policy.name))));
        owners.extend(of_file.iter().map(|policy| (policy.name.clone(), Owner::File)));
        // The file wins over what was put under the same name by the API.
        let stored = stored.into_iter().filter(|policy| owners.get(&policy.name) != Some(&Owner::File));
        // What the cluster said is the cluster's: it holds while the API server is away, and not outside of a cluster.
        let in_cluster = self.config.kubernetes.enabled;
        let stored =
            stored.filter(|policy| in_cluster || owners.get(&policy.name) != Some(&Owner::Kubernetes));
        let all: Vec<GatePolicy> = stored.chain(of_file).collect();
        self.policies = Policies::new(all).map_err(|errors| Fault::Invalid(errors.to_string()))?;
        self.policy_owners = owners;
        self.sentences = Sentences::load(&self.store).map_err(failed)?;
        Ok(())
    }

    /// Whether an endpoint's workload is to be in quarantine from its first frame on.
    pub(super) fn is_sentenced(&self, spec: &EndpointSpec) -> bool {
        self.sentences.of(spec).is_some()
    }

    /// Records a quarantine so that it outlives its container's restart; none: it is over.
    pub(super) fn sentence(&mut self, name: &str, sentence: Option<Sentence>) -> Result<(), Fault> {
        let Some(entry) = self.entries.get(name) else { return Ok(()) };
        let spec = &entry.record.spec;
        match sentence {
            Some(sentence) => self.sentences.impose(&self.store, spec, sentence).map_err(failed),
            None => self.sentences.lift(&self.store, spec).map(drop).map_err(failed),
        }
    }

    /// Releases those whose sentence is served; answers when the next one is.
    pub(super) fn release_due(&mut self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        if let Err(error) = self.sentences.forget_lost(&self.store, std::time::Instant::now()) {
            self.bus.notice("failed", None, error.to_string());
        }
        let mut again = None;
        for key in self.sentences.due(now) {
            if let Err(fault) = self.release_served(&key) {
                self.bus.notice("failed", None, fault.to_string());
                again = now.checked_add(RELEASE_AGAIN).ok();
            }
        }
        again.or_else(|| self.sentences.next())
    }

    /// Releases whoever a sentence is for. Their names may have changed since.
    fn release_served(&mut self, key: &str) -> Result<(), Fault> {
        let is_for = |spec: &EndpointSpec| spec.quarantined && Sentences::key_of(spec) == key;
        let names: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| is_for(&entry.record.spec))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.quarantine(&name, None)?;
        }
        // Last: an agent that is killed in between must find it, and release them.
        self.sentences.served(&self.store, key).map_err(failed)
    }

    /// A container was removed: nobody comes back under its id.
    pub(super) fn pardon_removed(&mut self, workload: &Workload) {
        if let Err(error) = self.sentences.removed(&self.store, workload, std::time::Instant::now()) {
            self.bus.notice("failed", None, error.to_string());
        }
    }
}

/// What is an endpoint's alone. What a policy grants beyond may be given to several: a shared service address.
pub(super) fn own(record: &Record) -> Cow<'_, EndpointSpec> {
    let Some(origin) = record.origin.as_ref().filter(|origin| !origin.addresses.is_empty()) else {
        return Cow::Borrowed(&record.spec);
    };
    let told = |address: &AddressBinding| origin.addresses.contains(address);
    if record.spec.addresses.iter().all(told) {
        return Cow::Borrowed(&record.spec);
    }
    let mut spec = record.spec.clone();
    spec.addresses.retain(told);
    Cow::Owned(spec)
}

fn failed(error: StoreError) -> Fault {
    Fault::Failed(error.to_string())
}

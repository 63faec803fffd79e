//! What the hub knows of the cluster, and who hears of changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use portcullis_kubernetes::crd::GatePolicy;
use portcullis_kubernetes::translate::Cluster;
use tokio::sync::watch;

use crate::map::{NodeMap, Store};
use crate::rules::Rules;

/// Everything, shared.
#[derive(Clone, Debug)]
pub struct World(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: RwLock<Store>,
    /// Counts changes of the store.
    changes: watch::Sender<u64>,
    /// What rules are made of.
    sources: Mutex<Sources>,
    /// Counts changes of these.
    drafts: watch::Sender<u64>,
    rules: watch::Sender<Arc<Rules>>,
    read: [AtomicBool; 4],
    /// The policies may have changed without us.
    policies_stale: AtomicBool,
}

#[derive(Debug, Default)]
struct Sources {
    policies: BTreeMap<String, Arc<GatePolicy>>,
    namespaces: Cluster,
}

/// What is read before anything may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `EndpointMaps`.
    Maps,
    /// Nodes.
    Nodes,
    /// `GatePolicies`.
    Policies,
    /// Namespaces.
    Namespaces,
}

impl Default for World {
    fn default() -> Self {
        Self(Arc::new(Inner {
            store: RwLock::default(),
            changes: watch::channel(0).0,
            sources: Mutex::default(),
            drafts: watch::channel(0).0,
            rules: watch::channel(Arc::default()).0,
            read: Default::default(),
            policies_stale: AtomicBool::new(false),
        }))
    }
}

impl World {
    /// The map, to be read; not across anything that waits.
    pub fn map(&self) -> RwLockReadGuard<'_, Store> {
        self.0.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the map.
    pub fn change(&self, change: impl FnOnce(&mut Store)) {
        change(&mut self.0.store.write().unwrap_or_else(PoisonError::into_inner));
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// A node says this.
    pub fn put(&self, map: NodeMap) {
        self.change(|store| store.put(map));
    }

    /// Follows changes of the map.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The policies as they are now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.rules.borrow())
    }

    /// Follows the policies.
    #[must_use]
    pub fn follow_rules(&self) -> watch::Receiver<Arc<Rules>> {
        self.0.rules.subscribe()
    }

    /// Changes the policies' objects.
    pub fn change_policies(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<GatePolicy>>)) {
        change(&mut self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).policies);
        self.0.drafts.send_modify(|count| *count += 1);
    }

    /// Changes what is known of namespaces.
    pub fn change_namespaces(&self, change: impl FnOnce(&mut BTreeMap<String, BTreeMap<String, String>>)) {
        let mut sources = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources.namespaces.namespaces);
        // Only selectors of namespaces ask for them.
        let asked = sources.policies.values().any(|policy| policy.spec.namespace_selector.is_some());
        drop(sources);
        if asked {
            self.0.drafts.send_modify(|count| *count += 1);
        }
    }

    /// Follows what rules are made of.
    #[must_use]
    pub fn drafts(&self) -> watch::Receiver<u64> {
        self.0.drafts.subscribe()
    }

    /// Works out what the policies come to.
    pub fn renew_rules(&self) -> Arc<Rules> {
        let sources = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = Arc::new(Rules::new(&sources.policies, &sources.namespaces));
        drop(sources);
        let common = rules.policies.iter().flat_map(|policy| policy.addresses.iter().copied()).collect();
        self.change(|store| store.set_common(common));
        // Every status that we write comes back by the watch. Whoever looked again because of it would write the next one.
        self.0.rules.send_if_modified(|known| {
            let news = !rules.say_the_same(known);
            *known = Arc::clone(&rules);
            news
        });
        rules
    }

    /// A part has been read.
    pub fn set_read(&self, part: Part) {
        if let Some(read) = self.0.read.get(part as usize) {
            read.store(true, Ordering::Release);
        }
    }

    /// Whether a part has been read.
    #[must_use]
    pub fn is_read(&self, part: Part) -> bool {
        self.0.read.get(part as usize).is_some_and(|read| read.load(Ordering::Acquire))
    }

    /// A part is (not) followed just now.
    pub fn set_followed(&self, part: Part, followed: bool) {
        if part == Part::Policies && self.0.policies_stale.swap(!followed, Ordering::AcqRel) == followed {
            // Whoever waited for it looks again, even if the rules are those of before.
            self.0.rules.send_modify(|_| ());
        }
    }

    /// Whether everything has been read that decisions need, and the policies are as they are now.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.0.policies_stale.load(Ordering::Acquire)
            && [Part::Maps, Part::Policies, Part::Namespaces].into_iter().all(|part| self.is_read(part))
    }
}

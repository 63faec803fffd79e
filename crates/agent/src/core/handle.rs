//! The core behind a lock, as the API and the agent's tasks see it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_datapath::EventStream;
use portcullis_inventory::{Change, Netns};
use portcullis_policy::api::{Endpoint, EndpointPatch, Event, State, Status};
use portcullis_policy::model::{Direction, EndpointSpec, Owner};
use tokio::sync::broadcast;

use super::adopt::StartError;
use super::{Core, Entry};
use crate::bus::Bus;
use crate::config::Config;
use crate::control::{BindOptions, Control, Fault, Outcome};

/// What an event needs to know of the endpoint that caused it.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// What is bound to it.
    pub bound: Vec<String>,
    /// Whether its frames have no Ethernet header.
    pub layer3: bool,
    /// The network namespace of the workload.
    pub workload: Option<u32>,
}

/// The agent's core.
#[derive(Debug)]
pub struct Agent {
    core: Mutex<Core>,
    bus: Arc<Bus>,
}

impl Agent {
    /// Starts the core: adopts, loads, attaches. Kernel events come from the stream.
    pub fn start(config: Config) -> Result<(Arc<Self>, EventStream), StartError> {
        let bus = Arc::new(Bus::new(config.events.history));
        let (core, events) = Core::start(config, Arc::clone(&bus))?;
        Ok((Arc::new(Self { core: Mutex::new(core), bus }), events))
    }

    /// Where events go.
    #[must_use]
    pub const fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// Looks after everything of ours.
    pub fn check(&self) {
        self.core().check();
    }

    /// Follows changes of a namespace.
    pub fn follow(&self, netns: u32, changes: &[Change]) {
        self.core().follow(netns, changes);
    }

    /// Namespaces whose changes must be followed.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Netns> {
        let core = self.core();
        let mut seen = HashSet::from([core.spaces.own().inode()]);
        let own = core.spaces.own().netns.clone();
        let bound = core.entries.values().filter_map(|entry| entry.bound.as_ref());
        let others =
            bound.filter(|bound| seen.insert(bound.anchor.netns)).map(|bound| bound.space.netns.clone());
        std::iter::once(own).chain(others).collect()
    }

    /// Who sends from a counter slot.
    #[must_use]
    pub fn suspect(&self, slot: u32) -> Option<Suspect> {
        let core = self.core();
        let name = core.names_by_slot.get(&slot)?;
        let entry = core.entries.get(name)?;
        let endpoint = core.view_by_name(name).ok()?;
        let bound = endpoint.addresses.into_iter().chain(endpoint.learned).chain(endpoint.macs).collect();
        Some(Suspect {
            name: name.clone(),
            interface: endpoint.interface.name,
            bound,
            layer3: entry
                .bound
                .as_ref()
                .is_some_and(|bound| bound.attachment.gate() == portcullis_datapath::Gate::Layer3),
            workload: *entry.workload.get_or_init(|| workload(entry)),
        })
    }

    /// Learns the addresses of an endpoint anew: one of its own may have been taken for forged.
    pub fn learn_again(&self, name: &str) {
        self.core().learn_one_again(name);
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // A panic elsewhere leaves the kernel side as it was; going on is safer than stopping.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The namespace behind an endpoint: a look at every namespace there is, so it is done once.
fn workload(entry: &Entry) -> Option<u32> {
    let bound = entry.bound.as_ref()?;
    let direction = entry.record.spec.direction;
    if direction == Direction::Egress {
        return Some(bound.anchor.netns);
    }
    let link = bound.space.link_by_index(bound.anchor.ifindex).ok()??;
    let learned = portcullis_inventory::learn(&bound.space.netns, &link, direction).ok()?;
    learned.workload_netns.map(|(id, _)| id.0)
}

impl Control for Agent {
    fn status(&self) -> Status {
        self.core().status()
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.core().views()
    }

    fn endpoint(&self, id_or_name: &str) -> Result<Endpoint, Fault> {
        let core = self.core();
        core.view_by_name(&core.resolve(id_or_name)?)
    }

    fn bind(
        &self,
        spec: EndpointSpec,
        owner: Owner,
        options: BindOptions,
    ) -> Result<(Endpoint, Outcome), Fault> {
        self.core().bind(spec, owner, options)
    }

    fn bind_many(
        &self,
        specs: Vec<EndpointSpec>,
        owner: Owner,
        options: BindOptions,
    ) -> Vec<Result<(Endpoint, Outcome), Fault>> {
        self.core().bind_many(specs, owner, options)
    }

    fn unbind(&self, id_or_name: &str) -> Result<Endpoint, Fault> {
        self.core().unbind(id_or_name)
    }

    fn patch(&self, id_or_name: &str, patch: EndpointPatch) -> Result<Endpoint, Fault> {
        self.core().patch(id_or_name, &patch)
    }

    fn quarantine(&self, id_or_name: &str, quarantined: bool) -> Result<Endpoint, Fault> {
        self.core().quarantine(id_or_name, quarantined)
    }

    fn state(&self) -> State {
        self.core().state()
    }

    fn apply(&self, state: State) -> Result<(u32, u32, u32), Fault> {
        self.core().apply_state(state)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.bus.subscribe()
    }

    fn history(&self, limit: usize) -> Vec<Arc<Event>> {
        self.bus.history(limit)
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

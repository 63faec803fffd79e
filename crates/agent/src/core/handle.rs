//! The core behind a lock, as the API and the agent's tasks see it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use portcullis_datapath::EventStream;
use portcullis_inventory::{Change, Netns};
use portcullis_policy::api::{
    ActionOutcome, CniAttachment, CniGarbage, ContainerMap, Endpoint, EndpointPatch, Event, PolicyView,
    State, Status,
};
use portcullis_policy::guard::{GatePolicy, Response, Termination};
use portcullis_policy::model::{Direction, EndpointSpec, Owner};
use portcullis_runtimes::source::{Report, Request};
use tokio::sync::{broadcast, mpsc};

use super::adopt::StartError;
use super::{Core, Entry, Offence};
use crate::answer::{Case, Hands, Trip};
use crate::bus::Bus;
use crate::config::Config;
use crate::confirm::Confirmation;
use crate::control::{BindOptions, Control, Fault, Outcome};
use crate::shield::Shield;
use crate::store::Sentence;

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
    /// Set once, when it has been taken up.
    shield: OnceLock<Arc<Shield>>,
    confirmation: OnceLock<Arc<Confirmation>>,
}

impl Agent {
    /// Starts the core: adopts, loads, attaches. Kernel events come from the stream.
    pub fn start(config: Config) -> Result<(Arc<Self>, EventStream), StartError> {
        let bus = Arc::new(Bus::new(config.events.history));
        let (core, events) = Core::start(config, Arc::clone(&bus))?;
        Ok((
            Arc::new(Self {
                core: Mutex::new(core),
                bus,
                shield: OnceLock::new(),
                confirmation: OnceLock::new(),
            }),
            events,
        ))
    }

    /// Takes up the shield; what stands goes on meanwhile.
    pub fn start_shield(self: &Arc<Self>) -> Result<Arc<Shield>, Fault> {
        let shield = Arc::new(Shield::start(Arc::clone(self))?);
        let confirmation = Arc::new(Confirmation::load(self.store(), Arc::clone(&self.bus))?);
        self.confirmation.get_or_init(|| confirmation);
        Ok(Arc::clone(self.shield.get_or_init(|| shield)))
    }

    /// Where events go.
    #[must_use]
    pub const fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// A source takes requests here.
    pub fn ask_source_on(&self, source: &str, requests: mpsc::Sender<Request>) {
        self.core().ask_source_on(source, requests);
    }

    /// A source tells something.
    pub fn report(&self, source: &str, report: Report) {
        self.core().report(source, report);
    }

    /// Looks after everything of ours. Answers endpoints that reached their threshold, and whose event was lost.
    pub fn check(&self) -> Vec<Trip> {
        let mut core = self.core();
        core.check();
        core.missed_trips()
    }

    /// Whether it is news that the endpoint with this counter slot reached its threshold; its name.
    #[must_use]
    pub fn note_trip(&self, slot: u32, tripped_ns: u64) -> Option<String> {
        self.core().note_trip(slot, tripped_ns)
    }

    /// Whoever answers is too busy for an endpoint that reached its threshold.
    pub fn put_off_trip(&self, endpoint: &str) {
        self.core().put_off_trip(endpoint);
    }

    /// Follows changes of a namespace.
    pub fn follow(&self, netns: u32, changes: &[Change]) {
        self.core().follow(netns, changes);
    }

    /// Namespaces whose changes must be followed.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Netns> {
        let mut core = self.core();
        let mut seen = HashSet::from([core.spaces.own().inode()]);
        let own = core.spaces.own().netns.clone();
        let bridges: Vec<Netns> = core.bridge_spaces().iter().map(|space| space.netns.clone()).collect();
        let bound = core.entries.values().filter_map(|entry| entry.bound.as_ref());
        let others = bound.map(|bound| bound.space.netns.clone()).chain(bridges);
        let others: Vec<Netns> = others.filter(|netns| seen.insert(netns.id.0)).collect();
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

    /// Pods that the hub is to end.
    #[must_use]
    pub fn offences(&self) -> Vec<Offence> {
        self.core().offences()
    }

    /// The cluster's gate policies are now these.
    ///
    /// # Errors
    /// What is wrong with them; then those of before hold.
    pub fn follow_policies(&self, policies: Vec<GatePolicy>) -> Result<(), Fault> {
        let (created, updated, removed) = self.core().replace_policies_of(Owner::Kubernetes, policies)?;
        if created + updated + removed > 0 {
            let message =
                format!("the cluster's gate policies: {created} new, {updated} changed, {removed} gone");
            self.bus.notice("policy", None, message);
        }
        Ok(())
    }

    /// What was written without haste reaches the disk.
    pub fn settle(&self) {
        if let Err(error) = self.core().store.settle() {
            tracing::warn!(%error, "the last changes may be missing on the disk");
        }
    }

    /// How people name an interface without an endpoint.
    #[must_use]
    pub fn interface_name(&self, netns: u32, ifindex: u32) -> Option<String> {
        self.core().interface_name(portcullis_datapath::Anchor { netns, ifindex })
    }

    /// Learns the addresses of an endpoint anew: one of its own may have been taken for forged.
    pub fn learn_again(&self, name: &str) {
        self.core().learn_one_again(name);
    }

    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        // A panic elsewhere leaves the kernel side as it was; going on is safer than stopping.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands for Agent {
    fn case(&self, endpoint: &str) -> Option<Case> {
        self.core().case(endpoint)
    }

    fn quarantine(&self, endpoint: &str, sentence: Sentence) -> Result<(), Fault> {
        self.core().quarantine(endpoint, Some(sentence)).map(drop)
    }

    fn release_due(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        self.core().release_due(now)
    }

    fn release(&self, endpoint: &str) -> Result<(), Fault> {
        self.core().quarantine(endpoint, None).map(drop)
    }

    async fn terminate(&self, container: &str, how: Termination) -> Result<(), String> {
        let source = self.core().who_ends(container);
        super::tripped::end(source, container, how).await
    }

    fn publish(&self, event: Event) {
        self.bus.publish(event);
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

    fn summary(&self) -> Status {
        self.core().summary()
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
        let sentence = quarantined.then(|| Sentence {
            endpoint: id_or_name.to_owned(),
            since: jiff::Timestamp::now(),
            until: None,
            policy: None,
            message: "put into quarantine by hand".to_owned(),
        });
        self.core().quarantine(id_or_name, sentence)
    }

    fn shield(&self) -> Option<Arc<Shield>> {
        self.shield.get().cloned()
    }

    fn map(&self) -> ContainerMap {
        self.core().map()
    }

    fn policies(&self) -> Vec<PolicyView> {
        self.core().policy_views()
    }

    fn put_policy(&self, policy: GatePolicy) -> Result<(PolicyView, Outcome), Fault> {
        self.core().put_policy(policy)
    }

    fn remove_policy(&self, name: &str) -> Result<PolicyView, Fault> {
        self.core().remove_policy(name)
    }

    fn cni_attach(&self, interface: &str, attachment: CniAttachment) -> Result<Endpoint, Fault> {
        self.core().cni_attach(interface, attachment)
    }

    fn cni_get(&self, container: &str, interface: &str) -> Result<Endpoint, Fault> {
        self.core().cni_get(container, interface)
    }

    fn cni_detach(&self, container: &str, interface: &str) -> bool {
        self.core().cni_detach(container, interface)
    }

    fn cni_collect(&self, garbage: CniGarbage) -> u32 {
        self.core().cni_collect(&garbage)
    }

    fn state(&self) -> State {
        let state = self.core().state();
        State { shield: self.shield.get().map(|shield| shield.section()).unwrap_or_default(), ..state }
    }

    fn apply(&self, mut state: State, force: bool) -> Result<(u32, u32, u32), Fault> {
        let section = std::mem::take(&mut state.shield);
        let before = self.core().state();
        let gate = self.core().apply_state(state)?;
        let shield = match self.shield.get() {
            Some(shield) => shield.apply(section, force),
            None if section.is_empty() => Ok((0, 0, 0)),
            None => Err(Fault::Failed("this agent has no shield".to_owned())),
        };
        match shield {
            Ok(shield) => Ok((gate.0 + shield.0, gate.1 + shield.1, gate.2 + shield.2)),
            Err(fault) => {
                self.core().apply_state(before)?;
                Err(fault)
            }
        }
    }

    fn confirmation(&self) -> Option<Arc<Confirmation>> {
        self.confirmation.get().cloned()
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.bus.subscribe()
    }

    fn history(&self, limit: usize) -> Vec<Arc<Event>> {
        self.bus.history(limit)
    }

    fn actions(&self) -> Vec<(Response, ActionOutcome, u64)> {
        self.bus.actions()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

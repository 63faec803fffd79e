//! The shield as the agent keeps it: what was asked for, on disk and in the kernel.
//!
//! It stands apart from the gate's core: a list of a million entries must not hold a container's start up. All calls are
//! blocking, up to a second for the largest lists; none is made from an async task.

mod blocklist;
mod failsafe;
mod guard;
mod import;
mod kernel;
mod monitor;
mod places;
mod rules;
mod signs;
mod target;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use jiff::Timestamp;
use portcullis_datapath::shield::Profile;
use portcullis_policy::api::{
    AddressTest, BlocklistChange, BlocklistChanged, BlocklistPage, Counters, GuardSpec, GuardView,
    ImportOutcome, PacketRecord, PacketSpec, PacketVerdict, PlaceSpec, PlaceView, RuleSpec, RuleView,
    ShieldSection, ShieldView,
};
use portcullis_policy::shield::book::Book;

use tokio::sync::broadcast;

use crate::bus::Bus;
use crate::control::{Fault, Outcome};
use crate::core::Agent;
use crate::store::{Journal, KeptBlock, KeptRule, Store, StoreError};
use kernel::Kernel;
use places::Place;

pub use blocklist::ListQuery;
pub use import::{ImportRequest, Imported};
pub use monitor::Look;
pub use signs::{Sign, Signs};

/// How a change is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Even where it cuts off what keeps this host reachable.
    pub force: bool,
    /// Only said, not done.
    pub dry_run: bool,
}

/// The shield behind a lock.
pub struct Shield {
    agent: Arc<Agent>,
    keeper: Mutex<Keeper>,
    signs: RwLock<Arc<Signs>>,
}

impl std::fmt::Debug for Shield {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shield").finish_non_exhaustive()
    }
}

/// Everything that was asked for, and what of it is in the kernel.
struct Keeper {
    store: Arc<Store>,
    journal: Journal,
    bus: Arc<Bus>,
    /// Opened when there is something for it to hold.
    kernel: Option<Kernel>,
    book: Book,
    /// When each source last changed.
    changed: BTreeMap<String, Timestamp>,
    rules: BTreeMap<String, RuleSpec>,
    guard: Option<GuardSpec>,
    places: Vec<Place>,
    failsafe: failsafe::Watch,
    /// Whom the kernel's guard was told not to block.
    protecting: Option<BTreeSet<([u64; 2], u32)>>,
    /// Who was blocked when it was last looked, and since when.
    blocked: BTreeMap<String, u64>,
    /// Who looks at the monitor: one of how many packets.
    looks: BTreeMap<u64, NonZeroU32>,
    next_look: u64,
    warnings: Vec<String>,
    started: Instant,
}

impl Shield {
    /// Takes up what was kept; what stands goes on meanwhile.
    pub fn start(agent: Arc<Agent>) -> Result<Self, Fault> {
        let store = agent.store();
        let mut journal = Journal::open(&agent.config().state_dir).map_err(unkept)?;
        store.fold(&mut journal).map_err(unkept)?;
        let kept = store.shield().map_err(unkept)?;
        let now = Timestamp::now();
        let mut keeper = Keeper {
            bus: Arc::clone(agent.bus()),
            kernel: None,
            changed: kept.book.sources().map(|(name, _)| (name.to_owned(), now)).collect(),
            book: kept.book,
            rules: kept.rules.iter().map(|kept| (kept.rule.name.clone(), kept.rule.clone())).collect(),
            guard: kept.guard,
            places: kept.places.into_iter().map(Place::new).collect(),
            failsafe: failsafe::Watch::of(&agent.config()),
            protecting: None,
            blocked: BTreeMap::new(),
            looks: BTreeMap::new(),
            next_look: 0,
            warnings: Vec::new(),
            started: Instant::now(),
            journal,
            store,
        };
        let is_wanted = !keeper.book.is_empty()
            || !keeper.rules.is_empty()
            || keeper.guard.is_some()
            || !keeper.places.is_empty();
        // The gate must not fall with the shield: what is wrong is said, and stays to be mended.
        if is_wanted && let Err(fault) = keeper.begin(&agent, &kept.rules, &kept.blocks) {
            let message = format!("the shield could not be taken up: {fault}");
            tracing::error!("{message}");
            keeper.bus.notice("shield", None, message.clone());
            keeper.warnings.push(message);
        }
        let signs = RwLock::new(Arc::new(keeper.signs()));
        Ok(Self { agent, keeper: Mutex::new(keeper), signs })
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        // As with the core: the kernel side is as it was, and going on is safer than stopping.
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something, and makes its names known.
    fn act<T>(&self, act: impl FnOnce(&mut Keeper, &Agent) -> T) -> T {
        let mut keeper = self.keeper();
        let done = act(&mut keeper, &self.agent);
        let signs = Arc::new(keeper.signs());
        *self.signs.write().unwrap_or_else(PoisonError::into_inner) = signs;
        done
    }

    /// Names as of the last change. Never waits for a change that is being made.
    #[must_use]
    pub fn signs(&self) -> Arc<Signs> {
        Arc::clone(&self.signs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the monitor shows from now on, while somebody looks ([`Look`]).
    #[must_use]
    pub fn packets(&self) -> broadcast::Receiver<Arc<PacketRecord>> {
        self.agent.bus().packets()
    }

    /// What was asked for by hand.
    #[must_use]
    pub fn section(&self) -> ShieldSection {
        self.keeper().section()
    }

    /// Has what was asked for by hand be this, whole or not at all; answers how many things were created, updated and
    /// removed.
    pub fn apply(&self, section: ShieldSection, force: bool) -> Result<(u32, u32, u32), Fault> {
        self.act(|keeper, agent| keeper.apply(agent, section, force))
    }

    /// Looks after everything: expired entries, places, blocked sources. To be called once a second.
    pub fn check(&self) {
        self.act(|keeper, agent| keeper.tick(agent));
    }

    /// The shield as a whole.
    #[must_use]
    pub fn view(&self) -> ShieldView {
        let keeper = self.keeper();
        ShieldView {
            places: keeper.place_views(),
            blocklist: keeper.source_views(),
            rules: u32::try_from(keeper.rules.len()).unwrap_or(u32::MAX),
            guard: keeper.guard.is_some(),
            counters: keeper.counters(),
            warnings: keeper.warnings.clone(),
        }
    }

    /// Puts it up somewhere; what is there just so stays.
    pub fn attach(&self, spec: PlaceSpec) -> Result<(PlaceView, Outcome), Fault> {
        self.act(|keeper, agent| keeper.attach(agent, spec))
    }

    /// Takes it away from a place, by id.
    pub fn detach(&self, id: &str) -> Result<PlaceView, Fault> {
        self.act(|keeper, _| keeper.detach(id))
    }

    /// Changes entries of the blocklist.
    pub fn change_blocklist(&self, change: BlocklistChange) -> Result<BlocklistChanged, Fault> {
        self.act(|keeper, agent| keeper.change_blocklist(agent, change))
    }

    /// A part of the blocklist.
    pub fn blocklist(&self, query: &ListQuery) -> Result<BlocklistPage, Fault> {
        self.keeper().list(query)
    }

    /// What the blocklist says of an address.
    #[must_use]
    pub fn test_address(&self, address: std::net::IpAddr) -> AddressTest {
        blocklist::test(&self.keeper().book, address)
    }

    /// Has a source say what was read, and nothing else.
    pub fn put_import(&self, request: &ImportRequest, imported: Imported) -> Result<ImportOutcome, Fault> {
        self.act(|keeper, agent| keeper.put_import(agent, request, imported))
    }

    /// Takes a source's entries away; answers how many.
    pub fn remove_source(&self, source: &str) -> Result<u64, Fault> {
        self.keeper().remove_source(source)
    }

    /// All rules, in the order in which they are asked.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleView> {
        self.keeper().rule_views()
    }

    /// Puts a rule; where there is another of that name, only if it may be `replace`d.
    pub fn put_rule(
        &self,
        rule: RuleSpec,
        replace: bool,
        manner: Manner,
    ) -> Result<(RuleView, Outcome), Fault> {
        self.act(|keeper, agent| keeper.put_rule(agent, rule, replace, manner))
    }

    /// Takes a rule away; answers what it was.
    pub fn remove_rule(&self, name: &str, manner: Manner) -> Result<RuleView, Fault> {
        self.act(|keeper, agent| keeper.remove_rule(agent, name, manner))
    }

    /// Has the rules be these, and no others; answers how many were created, updated, removed.
    pub fn replace_rules(&self, rules: Vec<RuleSpec>, manner: Manner) -> Result<(u32, u32, u32), Fault> {
        self.act(|keeper, agent| keeper.replace_rules(agent, rules, manner))
    }

    /// What would become of a packet.
    #[must_use]
    pub fn test_packet(&self, packet: &PacketSpec) -> PacketVerdict {
        self.keeper().test_packet(packet)
    }

    /// The flood guard.
    pub fn guard(&self) -> Result<GuardView, Fault> {
        self.keeper().guard_view(&self.agent)
    }

    /// Has the flood guard do this; none: it is off.
    pub fn put_guard(&self, guard: Option<GuardSpec>) -> Result<GuardView, Fault> {
        self.act(|keeper, agent| keeper.put_guard(agent, guard))
    }

    /// Lets a source go that the guard has blocked.
    pub fn unblock(&self, source: &str) -> Result<(), Fault> {
        self.keeper().unblock(source)
    }
}

impl Keeper {
    /// Has the kernel hold what was kept.
    fn begin(&mut self, agent: &Agent, rules: &[KeptRule], blocks: &[KeptBlock]) -> Result<(), Fault> {
        self.book.expire(seconds(Timestamp::now()));
        let kernel = self.open(agent)?;
        rules.iter().for_each(|kept| kernel.remember_counter(&kept.rule.name, kept.counter));
        self.write_all()?;
        self.write_monitor()?;
        if self.guard.is_some() {
            self.protect(agent)?;
        }
        self.restore_blocks(blocks);
        self.look_after(agent);
        Ok(())
    }

    /// The kernel side, opened if need be.
    fn open(&mut self, agent: &Agent) -> Result<&mut Kernel, Fault> {
        let kernel = match self.kernel.take() {
            Some(kernel) => kernel,
            None => {
                let profile =
                    Profile::new(0).ok_or_else(|| Fault::Failed("there is no firewall 0".to_owned()))?;
                let kernel = Kernel::new(agent.open_shield().map_err(kernel::failed)?, profile);
                // Without its settings it may send no events.
                kernel.put_guard(self.guard.as_ref().map(guard::meant).transpose()?.as_ref())?;
                kernel
            }
        };
        Ok(self.kernel.insert(kernel))
    }

    /// Has the kernel hold everything that was asked for.
    fn write_all(&mut self) -> Result<(), Fault> {
        let lists = self.book.lists();
        let rules = rules::compiled(self.rules.values())?;
        let guard = self.guard.as_ref().map(guard::meant).transpose()?;
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        kernel.put_lists(lists)?;
        kernel.put_rules(&rules)?;
        kernel.put_guard(guard.as_ref())
    }

    /// Brings the last changes to the database.
    fn fold(&mut self) {
        let folded = self.store.fold(&mut self.journal).and_then(|()| {
            if self.store.has_long_lists()? {
                let lists: Vec<_> = self.book.sources().map(|(name, list)| (name, Some(list))).collect();
                self.store.put_lists(&lists, true)?;
            }
            Ok(())
        });
        if let Err(error) = folded {
            tracing::warn!(%error, "the last changes of the shield would not survive a power cut");
        }
    }

    /// Keeps lists as a whole, behind all changes that were made before.
    fn keep_list(&mut self, source: &str) -> Result<(), Fault> {
        self.store.fold(&mut self.journal).map_err(unkept)?;
        self.store.put_lists(&[(source, self.book.source(source))], false).map_err(unkept)
    }

    /// What was dropped.
    fn counters(&self) -> Counters {
        let kernel = self.kernel.as_ref().map(Kernel::counters);
        kernel.map(|counters| crate::core::counters_view(&counters)).unwrap_or_default()
    }

    fn tick(&mut self, agent: &Agent) {
        if self.kernel.is_none() {
            return;
        }
        self.fold();
        self.expire();
        self.look_after(agent);
        self.keep_blocks(agent);
        if let Some(kernel) = &mut self.kernel {
            kernel.clean();
        }
    }
}

/// Seconds since 1970.
fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(0)
}

fn unkept(error: StoreError) -> Fault {
    Fault::Failed(error.to_string())
}

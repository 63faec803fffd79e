//! The state of the agent, and everything that changes it.
//!
//! [`Core`] holds the desired state (records) and what is in the kernel for each of them
//! (bound). All changes go through [`Core::apply`], which is idempotent: it compares, and does
//! what is missing.

mod adopt;
mod apply;
mod change;
mod doorstep;
mod follow;
mod handle;
mod indices;
mod map;
mod merge;
mod place;
mod plugin;
mod policies;
mod ports;
mod repair;
mod report;
mod restore;
mod sourced;
mod tripped;
mod unbound;
mod view;
mod whole;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use portcullis_datapath::{Anchor, Attachment, Datapath, Error as KernelError, HookState, Tables};
use portcullis_inventory::PeerRef;
use portcullis_policy::api::EndpointState;
use portcullis_policy::compile::{CompiledBinding, Learned};
use portcullis_policy::conflict::{Claims, NetworkScope};
use portcullis_policy::guard::{Policies, Terms};
use portcullis_policy::model::Owner;

pub use adopt::StartError;
pub(crate) use adopt::settings;
pub use doorstep::Doorstep;
pub use handle::{Agent, Suspect};
pub(crate) use restore::KUBERNETES;
pub(crate) use restore::named_sources;
pub use tripped::Offence;
pub(crate) use view::counted as counters_view;

use crate::answer::Sentences;
use crate::bus::Bus;
use crate::config::Config;
use crate::control::Fault;
use crate::fleet::Fleet;
use crate::store::{Record, Store};
use indices::Indices;
use place::{Space, Spaces};

/// Everything the agent knows.
#[derive(Debug)]
pub struct Core {
    config: Config,
    datapath: Datapath,
    tables: Tables,
    store: Arc<Store>,
    bus: Arc<Bus>,
    entries: BTreeMap<String, Entry>,
    names_by_id: HashMap<String, String>,
    names_by_slot: HashMap<u32, String>,
    names_by_anchor: HashMap<Anchor, String>,
    claims: Claims,
    slots: Indices,
    bindings: Indices,
    /// Table entries of retired bindings, to be removed with them.
    retired: HashMap<u32, CompiledBinding>,
    spaces: Spaces,
    /// Programs on interfaces without a binding.
    unbound: HashMap<Anchor, (Arc<Space>, Attachment)>,
    /// What the sources say.
    fleet: Fleet,
    /// Endpoints that sources found, by their interface.
    sourced: HashMap<Anchor, String>,
    /// How often sources were asked to look at containers again.
    asked: HashMap<String, follow::Looks>,
    /// Ports of the runtimes' bridges that no container claims.
    ports: HashMap<Anchor, ports::Port>,
    /// Interfaces that an earlier agent held, until the sources have said whose bridges they are ports of.
    kept_held: HashSet<Anchor>,
    /// Ports were looked for once: what appears from now on is new.
    surveyed: bool,
    /// Some endpoint is gone whose link-local addresses the kernel still knows.
    identities_stale: bool,
    policies: Policies,
    policy_owners: BTreeMap<String, Owner>,
    /// Who stays in quarantine, whatever becomes of its container.
    sentences: Sentences,
    repairs: u64,
    ticks: u32,
    warnings: Vec<String>,
    started: jiff::Timestamp,
}

/// One endpoint.
#[derive(Debug)]
struct Entry {
    record: Record,
    learned: Learned,
    settled: bool,
    peer: Option<PeerRef>,
    /// Inode number of the workload's network namespace; looked up when first asked for.
    workload: OnceCell<Option<u32>>,
    /// How often its workload may still have us look at its addresses.
    looks: follow::Looks,
    scope: Option<NetworkScope>,
    bound: Option<Bound>,
    /// Why it is not bound.
    trouble: Option<Trouble>,
    /// What the sources do not agree on.
    conflicts: Vec<String>,
    /// What policies say of it.
    terms: Terms,
    /// `CLOCK_MONOTONIC` of the last time that it reached its threshold, as far as that was answered.
    tripped_ns: u64,
}

/// What is in the kernel for an endpoint.
#[derive(Debug)]
struct Bound {
    anchor: Anchor,
    space: Arc<Space>,
    compiled: CompiledBinding,
    binding: u32,
    attachment: Attachment,
    /// The program that stops what goes to it, while it is in quarantine.
    inward: Option<Attachment>,
    hook: HookState,
}

/// Why an endpoint is not bound.
#[derive(Debug, Clone)]
enum Trouble {
    /// Its interface or namespace is not there.
    Waiting(String),
    /// It cannot be.
    Failed(String),
}

impl Entry {
    fn new(record: Record) -> Self {
        Self {
            record,
            learned: Learned { macs: Vec::new(), link_local: Vec::new(), local: Vec::new() },
            settled: false,
            peer: None,
            workload: OnceCell::new(),
            looks: follow::Looks::new(),
            scope: None,
            bound: None,
            trouble: None,
            conflicts: Vec::new(),
            terms: Terms::default(),
            tripped_ns: 0,
        }
    }

    fn state(&self) -> EndpointState {
        match (&self.bound, &self.trouble) {
            (Some(_), _) if self.record.spec.quarantined => EndpointState::Quarantined,
            (Some(bound), _) if matches!(bound.hook, HookState::Behind(_)) => EndpointState::Bypassed,
            (Some(_), Some(Trouble::Failed(_))) => EndpointState::Failed,
            (Some(_), _) => EndpointState::Active,
            (None, Some(Trouble::Failed(_))) => EndpointState::Failed,
            (None, _) => EndpointState::Waiting,
        }
    }
}

impl From<KernelError> for Fault {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::NoInterface { .. } => Self::NotFound(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

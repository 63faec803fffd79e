//! The kernel side as a whole: tables made or adopted, programs loaded, one set for each network
//! namespace.
//!
//! An interface index means something only inside its namespace, and programs cannot ask which
//! namespace they run in (before Linux 6.15). So each namespace has its own load of the programs,
//! with its inode number in `.rodata`; all of them share the tables.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::Map;
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader};
use portcullis_abi::{ABI_VERSION, Meta, Mode};

use crate::attach::Hook;
use crate::clsact;
use crate::error::{Error, Result};
use crate::events::EventStream;
use crate::expedite::Expedited;
use crate::features::Features;
use crate::namespace::Namespace;
use crate::pins::Pins;
use crate::tables::{Tables, layout};
use crate::{OBJECT, sys};

/// What the programs are told when they are loaded, and how large the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What interfaces without a binding may do: `Off` lets them do everything.
    pub unbound: Mode,
    /// Events a second that each endpoint may cause.
    pub event_rate: u32,
    /// Events that each endpoint may cause at once.
    pub event_burst: u32,
    /// Endpoints that there may be.
    pub endpoints: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { unbound: Mode::Off, event_rate: 10, event_burst: 20, endpoints: 1024 }
    }
}

/// A kernel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Verifies frames that begin with an Ethernet header.
    Ethernet,
    /// Verifies packets of interfaces without Ethernet headers.
    Layer3,
    /// Drops what goes to an endpoint in quarantine.
    Quarantine,
    /// Does nothing: the measure of all measurements.
    Empty,
}

impl Gate {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ethernet, Self::Layer3, Self::Quarantine, Self::Empty];

    /// Name in the object.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "gate_ethernet",
            Self::Layer3 => "gate_layer3",
            Self::Quarantine => "gate_quarantine",
            Self::Empty => "bench_empty",
        }
    }
}

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program {
    pub fd: OwnedFd,
    pub id: u32,
}

/// The programs of one namespace, loaded when first needed.
///
/// A hook refuses a program that is on it already, so putting ourselves first again takes
/// another load: there may be two copies of each.
#[derive(Debug, Default)]
struct Loaded {
    copies: HashMap<(Gate, u8), Program>,
}

/// Facts about a loaded program.
#[derive(Clone, Debug)]
pub struct ProgramReport {
    /// Its name.
    pub name: &'static str,
    /// Instructions that the verifier looked at (Linux 5.16; 0 before).
    pub verified_instructions: u32,
    /// Bytes of machine code.
    pub jited_len: u32,
}

/// The kernel side.
#[derive(Debug)]
pub struct Datapath {
    pins: Pins,
    settings: Settings,
    features: Features,
    primary: u32,
    loaded: HashMap<u32, Loaded>,
    maps: HashMap<&'static str, OwnedFd>,
    pins_seen: [Option<(i64, i64)>; 2],
    pins_look_again: bool,
}

/// What [`Datapath::open`] found and made.
#[derive(Debug)]
pub struct Opened {
    /// Programs and attachments.
    pub datapath: Datapath,
    /// Tables.
    pub tables: Tables,
    /// Events of the kernel programs.
    pub events: EventStream,
    /// Whether pinned tables were there and are in use.
    pub adopted: bool,
    /// Why pinned tables that were there are not in use.
    pub replaced: Option<String>,
}

impl Datapath {
    /// Adopts what is pinned below `base`, or makes it. Tables of another size are made anew and
    /// their counters and journal carried over; links go on with the old programs, which enforce
    /// the old tables, until [`Self::attach`] replaces them.
    pub fn open(base: &Path, settings: Settings) -> Result<Opened> {
        if !Features::is_permitted() {
            return Err(Error::Permission { what: "the bpf system call".to_owned() });
        }
        let pins = Pins::open(base)?;
        Expedited::watch_over(base);
        let namespace = Namespace::current()?;
        let found = layout::inspect(&pins, &settings)?;
        if found.unusable.is_some() {
            for table in layout::NAMES {
                Pins::remove(&pins.map(table));
            }
        }
        let mut datapath = Self {
            pins,
            settings,
            features: Features::detect(),
            primary: namespace.inode(),
            loaded: HashMap::new(),
            maps: HashMap::new(),
            pins_seen: [None; 2],
            pins_look_again: true,
        };
        let mut ebpf = datapath.load_object(namespace.inode())?;
        let events = take_events(&mut ebpf)?;
        drop(ebpf);
        for table in layout::NAMES {
            let fd = Pins::get(&datapath.pins.map(table))?.ok_or(Error::MissingTable { name: table })?;
            datapath.maps.insert(table, fd);
        }
        let tables = Tables::open(&datapath.maps, &mut datapath.primary)?;
        let adopted = found.complete && found.unusable.is_none();
        if let Some(old) = &found.carry {
            tables.carry_over(old)?;
        }
        Ok(Opened { datapath, tables, events, adopted, replaced: found.unusable })
    }

    /// What this kernel can do.
    #[must_use]
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// Inode number of the namespace whose anchors are found by array index.
    #[must_use]
    pub const fn primary(&self) -> u32 {
        self.primary
    }

    /// The ring buffer of events.
    pub(crate) fn events(&self) -> Result<BorrowedFd<'_>> {
        table_fd(&self.maps, "EVENTS")
    }

    pub(crate) const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Whether pins came or went since the last such question, whoever did it.
    pub fn pins_changed(&mut self) -> bool {
        let now = [Pins::changed_at(&self.pins.maps()), Pins::changed_at(&self.pins.links())];
        // A directory's time has the kernel's tick as its grain: what changed within the last one
        // may change again without a trace, so it is looked at once more.
        let settled = self.pins_seen == now;
        self.pins_seen = now;
        let again = std::mem::replace(&mut self.pins_look_again, !settled);
        !settled || again || now.contains(&None)
    }

    /// Puts back pins of tables that somebody removed; answers their names.
    pub fn repair_table_pins(&self) -> Result<Vec<&'static str>> {
        let there = Pins::names(&self.pins.maps());
        let mut repaired = Vec::new();
        for (name, fd) in &self.maps {
            if !there.iter().any(|pinned| pinned == name) {
                Pins::put(fd.as_fd(), &self.pins.map(name))?;
                repaired.push(*name);
            }
        }
        Ok(repaired)
    }

    /// Removes what an agent of an older layout left: its pinned programs go off their hooks, and its tables
    /// with them. Comes when every endpoint has its program of this layout: until then both stand on the
    /// hooks, and there is no moment without a gate. Answers how many links there were.
    ///
    /// (Filters on clsact need no such step: attaching takes their place.)
    pub fn retire_older(&self) -> usize {
        let older = self.pins.older();
        let _expedited = Expedited::for_attachments(older.len());
        older.iter().map(Pins::remove_all).sum()
    }

    /// Takes everything of ours out of the kernel: bindings, filters, pins, those of older layouts too.
    /// Filters in other network namespaces than this process's stay, without a binding.
    pub fn take_down(&self, tables: &Tables) -> Result<()> {
        for (anchor, _) in tables.all_anchors()? {
            tables.point(anchor, 0)?;
        }
        let filters = if self.features.tcx { Ok(()) } else { take_filters_off() };
        self.retire_older();
        self.unpin_all();
        filters
    }

    /// Removes all pins: with the last descriptor the gate is gone.
    pub fn unpin_all(&self) {
        let _expedited = Expedited::for_attachments(1);
        self.pins.remove_all();
    }

    /// Forgets the programs of namespaces that are gone.
    pub fn forget_namespaces(&mut self, keep: impl Fn(u32) -> bool) {
        self.loaded.retain(|&netns, _| keep(netns));
    }

    /// Loads every program afresh and tells what the verifier had to do.
    pub fn report(&mut self) -> Result<Vec<ProgramReport>> {
        let netns = self.primary;
        Gate::ALL
            .iter()
            .map(|&gate| {
                let program = self.program(netns, gate, 0)?;
                let info = sys::program_info(program.fd.as_fd())
                    .map_err(|source| Error::system(gate.name(), source))?;
                Ok(ProgramReport {
                    name: gate.name(),
                    verified_instructions: info.verified_instructions,
                    jited_len: info.jited_len,
                })
            })
            .collect()
    }

    /// Loads a program of a namespace ahead of its first use.
    pub fn preload(&mut self, namespace: &Namespace, gate: Gate) -> Result<()> {
        self.program(namespace.inode(), gate, 0).map(drop)
    }

    /// A program of a namespace's set, loaded if need be.
    pub(crate) fn program(&mut self, netns: u32, gate: Gate, copy: u8) -> Result<&Program> {
        let loaded_already =
            self.loaded.get(&netns).is_some_and(|loaded| loaded.copies.contains_key(&(gate, copy)));
        if !loaded_already {
            self.repair_table_pins()?;
            let mut ebpf = self.load_object(netns)?;
            let program = load_program(&mut ebpf, gate)?;
            self.loaded.entry(netns).or_default().copies.insert((gate, copy), program);
        }
        self.loaded
            .get(&netns)
            .and_then(|loaded| loaded.copies.get(&(gate, copy)))
            .ok_or(Error::MissingTable { name: gate.name() })
    }

    /// Relocates the object against the pinned tables, for one namespace.
    fn load_object(&self, netns: u32) -> Result<Ebpf> {
        let primary = u32::from(netns == self.primary);
        let unbound = self.settings.unbound as u32;
        let mut loader = EbpfLoader::new();
        // No CO-RE relocations, so the kernel's own type information (megabytes) is not needed.
        loader.btf(None);
        loader
            .override_global("NETNS", &netns, true)
            .override_global("PRIMARY", &primary, true)
            .override_global("UNBOUND_MODE", &unbound, true)
            .override_global("EVENT_RATE", &self.settings.event_rate, true)
            .override_global("EVENT_BURST", &self.settings.event_burst, true);
        for table in layout::tables(&self.settings) {
            loader.map_max_entries(table.name, table.max_entries);
            loader.map_pin_path(table.name, self.pins.map(table.name));
        }
        loader.load(OBJECT).map_err(|source| load_error("tables", source))
    }
}

/// Takes our filters off all interfaces of this namespace, those of older layouts too; says what went wrong
/// first.
fn take_filters_off() -> Result<()> {
    let mut outcome = Ok(());
    for ifindex in Namespace::current()?.interfaces()? {
        for hook in [Hook::Ingress, Hook::Egress] {
            let off = clsact::detach(clsact::GATE, ifindex, hook);
            outcome = outcome.and(off.map_err(|source| Error::system("taking a filter off", source)));
        }
    }
    outcome
}

fn load_program(ebpf: &mut Ebpf, gate: Gate) -> Result<Program> {
    let missing = Error::MissingTable { name: gate.name() };
    let program: &mut SchedClassifier = ebpf
        .program_mut(gate.name())
        .ok_or(missing)?
        .try_into()
        .map_err(|source: ProgramError| load_error(gate.name(), source))?;
    load_patiently(program).map_err(|source| load_error(gate.name(), source))?;
    let fd = program
        .fd()
        .and_then(|fd| Ok(fd.as_fd().try_clone_to_owned()?))
        .map_err(|source| load_error(gate.name(), source))?;
    let info = sys::program_info(fd.as_fd()).map_err(|source| Error::system(gate.name(), source))?;
    Ok(Program { fd, id: info.id })
}

/// The verifier gives up with EAGAIN when a signal is pending; like libbpf, we try again.
fn load_patiently(program: &mut SchedClassifier) -> std::result::Result<(), ProgramError> {
    const TRIES: u32 = 5;
    let mut tries = 1;
    loop {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.raw_os_error() == Some(libc::EAGAIN) && tries < TRIES =>
            {
                tries += 1;
            }
            result => return result,
        }
    }
}

fn take_events(ebpf: &mut Ebpf) -> Result<EventStream> {
    let map: Map = ebpf.take_map("EVENTS").ok_or(Error::MissingTable { name: "EVENTS" })?;
    EventStream::new(map)
}

/// Finds the reason at the bottom, and whether it is one of privileges.
pub(crate) fn load_error(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>()
            && io.raw_os_error() == Some(libc::EPERM)
        {
            return Error::Permission { what: format!("loading the kernel programs ({what})") };
        }
        cause = current.source();
    }
    Error::Load { what: what.to_owned(), source: Box::new(error) }
}

/// The value of the meta table for a fresh set of tables.
pub(crate) const fn fresh_meta(primary: u32) -> Meta {
    Meta { abi_version: ABI_VERSION, primary_netns: primary }
}

/// A borrowed table descriptor by name.
pub(crate) fn table_fd<'a>(
    maps: &'a HashMap<&'static str, OwnedFd>,
    name: &'static str,
) -> Result<BorrowedFd<'a>> {
    maps.get(name).map(AsFd::as_fd).ok_or(Error::MissingTable { name })
}

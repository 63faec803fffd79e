//! The user side of the shield: its tables, its programs, and where they stand.
//!
//! A [`Shield`] has [`PROFILES`] firewalls, each with lists and rules of its own; an interface is protected by
//! one of them. A list is written into a fresh [`Table`], which [`Shield::publish`] then puts in the place of the
//! one in use, in one step. Single entries can be changed in the table in use.

mod attach;
mod config;
mod filter;
mod foreign;
mod guard;
mod test_run;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya::EbpfLoader;
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use portcullis_abi::shield::{LineStore, PROFILES, Parts, RULE_COUNTERS, list4, rules};
use portcullis_abi::{Count, Counters};
use zerocopy::IntoBytes;

pub use crate::sys::XdpMode;
pub use attach::{Ground, Placed, Spot};
pub use config::EventBudget;

use crate::SHIELD_OBJECT;
use crate::error::{Error, Result};
use crate::expedite::Expedited;
use crate::features::{Features, possible_cpus};
use crate::object::{Datapath, ProgramReport, load_error};
use crate::pins::Pins;
use crate::sys::{self, Length, MappedLines};

/// Names of all tables.
const TABLES: [&str; 16] = [
    "LISTS4",
    "LISTS6",
    "RULES",
    "SHIELD_PARTS",
    "SHIELD_CONFIG",
    "SHIELD_COUNTERS",
    "RULE_COUNTERS",
    "RULE_BUCKETS",
    "SOURCES",
    "DESTINATIONS",
    "BLOCKS",
    "PROTECTED",
    "BUDGETS",
    "SKIPS",
    "BLOCK_COUNTS",
    "EVENTS",
];

/// One of the firewalls: below [`PROFILES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Profile(u32);

impl Profile {
    /// The firewall with this number, if there may be one.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number < PROFILES { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// A kernel program of the shield.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// On XDP.
    Xdp,
    /// At tc.
    Tc,
    /// For measurements: does nothing.
    Empty,
    /// For measurements: drops everything.
    Drop,
    /// For measurements: sends everything back.
    Send,
    /// For measurements: writes a random source into the frame.
    RandomBase,
    /// For measurements: does so, and then what [`Self::Xdp`] does.
    Random,
    /// For measurements: writes a source from the list of [`portcullis_abi::shield::sample`].
    ListedBase,
    /// For measurements: does so, and then what [`Self::Xdp`] does.
    Listed,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "shield_xdp",
            Self::Tc => "shield_tc",
            Self::Empty => "bench_xdp_empty",
            Self::Drop => "bench_drop",
            Self::Send => "bench_send",
            Self::RandomBase => "bench_random_base",
            Self::Random => "bench_random",
            Self::ListedBase => "bench_listed_base",
            Self::Listed => "bench_listed",
        }
    }
}

/// What a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Blocklist of IPv4 addresses, laid out as [`list4`] says.
    List4,
    /// Blocklist of IPv6 addresses, laid out as [`portcullis_abi::shield::list6`] says, of so many lines.
    List6(u32),
    /// Rules, laid out as [`rules`] says.
    Rules,
}

impl Kind {
    const fn outer(self) -> &'static str {
        match self {
            Self::List4 => "LISTS4",
            Self::List6(_) => "LISTS6",
            Self::Rules => "RULES",
        }
    }

    const fn part(self) -> u64 {
        match self {
            Self::List4 => Parts::LIST4,
            Self::List6(_) => Parts::LIST6,
            Self::Rules => Parts::RULES,
        }
    }

    const fn size(self) -> (u32, Length) {
        match self {
            Self::List4 => (list4::LINES, Length::Fixed),
            Self::List6(lines) => (lines, Length::Any),
            Self::Rules => (rules::LINES, Length::Fixed),
        }
    }
}

/// A table of lines, written as memory.
#[derive(Debug)]
pub struct Table {
    kind: Kind,
    lines: MappedLines,
}

impl Table {
    /// A fresh table, all zero, that no program reads.
    pub fn new(kind: Kind) -> Result<Self> {
        let (lines, length) = kind.size();
        let made = MappedLines::create(kind.outer(), lines, length);
        let lines =
            made.map_err(|source| Error::system(format!("making a table for {}", kind.outer()), source))?;
        Ok(Self { kind, lines })
    }
}

impl LineStore for Table {
    #[inline]
    fn get(&self, line: u32, word: u32) -> u64 {
        self.lines.get(line, word)
    }

    #[inline]
    fn set(&mut self, line: u32, word: u32, value: u64) {
        self.lines.set(line, word, value);
    }
}

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Loaded {
    fd: OwnedFd,
    id: u32,
}

/// The shield's kernel side.
#[derive(Debug)]
pub struct Shield {
    pins: Pins,
    tables: HashMap<&'static str, OwnedFd>,
    loaded: HashMap<(Profile, u32, Program), Loaded>,
    cpus: usize,
    features: Features,
}

impl Shield {
    /// Adopts what is pinned below `base`, or makes it. Nothing of it depends on the gate's kernel side.
    pub fn open(base: &Path) -> Result<Self> {
        Self::open_with(base, None)
    }

    /// The same, with events in the gate's ring buffer. Programs that stand already report there when they are attached
    /// again.
    pub fn beside(base: &Path, gate: &Datapath) -> Result<Self> {
        Self::open_with(base, Some(gate))
    }

    fn open_with(base: &Path, gate: Option<&Datapath>) -> Result<Self> {
        if !Features::is_permitted() {
            return Err(Error::Permission { what: "the bpf system call".to_owned() });
        }
        let pins = Pins::open_shield(base)?;
        Expedited::watch_over(base);
        if let Some(gate) = gate {
            Pins::put(gate.events()?, &pins.map("EVENTS"))?;
        }
        let mut shield = Self {
            pins,
            tables: HashMap::new(),
            loaded: HashMap::new(),
            cpus: possible_cpus(),
            features: Features::detect(),
        };
        drop(shield.load_object(Profile(0), 0, false)?);
        for name in TABLES {
            let fd = Pins::get(&shield.pins.map(name))?.ok_or(Error::MissingTable { name })?;
            shield.tables.insert(name, fd);
        }
        Ok(shield)
    }

    /// Puts a table in the place of the firewall's one of the same kind, in one step. When this returns, no program
    /// reads the old one any more.
    pub fn publish(&self, profile: Profile, table: &Table) -> Result<()> {
        let name = table.kind.outer();
        let _expedited = Expedited::for_attachments(1);
        sys::put_inner(self.table(name)?, profile.0, table.lines.as_fd())
            .map_err(|source| Error::system(format!("publishing a table in {name}"), source))?;
        self.set_part(profile, table.kind.part(), true)
    }

    /// Takes the firewall's table of a kind away, in one step; answers whether there was one.
    pub fn withdraw(&self, profile: Profile, kind: Kind) -> Result<bool> {
        let name = kind.outer();
        self.set_part(profile, kind.part(), false)?;
        let _expedited = Expedited::for_attachments(1);
        sys::map_delete(self.table(name)?, &profile.0)
            .map_err(|source| Error::system(format!("withdrawing a table from {name}"), source))
    }

    /// Says whether the firewall has a part. Nobody else writes this.
    fn set_part(&self, profile: Profile, part: u64, there: bool) -> Result<()> {
        let error = |source| Error::system("table SHIELD_PARTS", source);
        let table = self.table("SHIELD_PARTS")?;
        let mut parts = 0u64;
        sys::map_lookup(table, &profile.0, parts.as_mut_bytes()).map_err(error)?;
        let now = if there { parts | part } else { parts & !part };
        if now == parts { Ok(()) } else { sys::map_update(table, &profile.0, &now).map_err(error) }
    }

    /// What a firewall has counted, on all CPUs. What it merely passes is not counted.
    pub fn counters(&self, profile: Profile) -> Result<Counters> {
        let mut values = vec![Counters::default(); self.cpus];
        sys::map_lookup(self.table("SHIELD_COUNTERS")?, &profile.0, values.as_mut_bytes())
            .map_err(|source| Error::system("reading table SHIELD_COUNTERS", source))?;
        let mut sum = Counters::default();
        values.iter().for_each(|value| sum.add(value));
        Ok(sum)
    }

    /// What a rule's counter has counted, on all CPUs.
    pub fn rule_count(&self, counter: u16) -> Result<Count> {
        let mut values = vec![Count::default(); self.cpus];
        sys::map_lookup(self.table("RULE_COUNTERS")?, &u32::from(counter), values.as_mut_bytes())
            .map_err(|source| Error::system("reading table RULE_COUNTERS", source))?;
        let mut sum = Count::default();
        values.iter().for_each(|value| sum.add(value));
        Ok(sum)
    }

    /// Sets a rule's counter to zero: it is given to a new rule.
    pub fn reset_rule_count(&self, counter: u16) -> Result<()> {
        if u32::from(counter) >= RULE_COUNTERS {
            return Err(Error::Full { table: "RULE_COUNTERS", capacity: RULE_COUNTERS });
        }
        let zero = vec![Count::default(); self.cpus];
        sys::map_update(self.table("RULE_COUNTERS")?, &u32::from(counter), zero.as_slice())
            .map_err(|source| Error::system("writing to table RULE_COUNTERS", source))
    }

    /// Takes the shield out of the kernel, wherever it stands; answers whether there was one.
    pub fn take_down(base: &Path) -> Result<bool> {
        if !Pins::has_shield(base) {
            return Ok(false);
        }
        let shield = Self::open(base)?;
        shield.sweep(std::iter::empty());
        shield.unpin_all();
        Ok(true)
    }

    /// Removes all pins: with the last descriptor the shield is gone.
    pub fn unpin_all(&self) {
        let _expedited = Expedited::for_attachments(1);
        if let Err(error) = self.sweep_filters(&[]) {
            tracing::warn!(%error, "cannot take the shield's filters off");
        }
        self.pins.remove_all();
    }

    /// Loads the programs that are attached, and tells what the verifier had to do.
    pub fn report(&mut self) -> Result<Vec<ProgramReport>> {
        [Program::Xdp, Program::Tc]
            .into_iter()
            .map(|program| {
                let loaded = self.program(Profile(0), 0, program)?;
                let info = sys::program_info(loaded.fd.as_fd())
                    .map_err(|source| Error::system(program.name(), source))?;
                Ok(ProgramReport {
                    name: program.name(),
                    verified_instructions: info.verified_instructions,
                    jited_len: info.jited_len,
                })
            })
            .collect()
    }

    fn table(&self, name: &'static str) -> Result<std::os::fd::BorrowedFd<'_>> {
        crate::object::table_fd(&self.tables, name)
    }

    /// A firewall's program for a namespace, loaded if need be.
    fn program(&mut self, profile: Profile, netns: u32, program: Program) -> Result<&Loaded> {
        let key = (profile, netns, program);
        if !self.loaded.contains_key(&key) {
            let loaded = self.load(profile, netns, program)?;
            self.loaded.insert(key, loaded);
        }
        self.loaded.get(&key).ok_or(Error::MissingTable { name: program.name() })
    }

    fn load(&self, profile: Profile, netns: u32, program: Program) -> Result<Loaded> {
        let name = program.name();
        // At tc there is nothing that answers.
        let cookies = self.features.syn_cookies && program != Program::Tc;
        let mut ebpf = self.load_object(profile, netns, cookies)?;
        let found = ebpf.program_mut(name).ok_or(Error::MissingTable { name })?;
        let refused = |source: ProgramError| load_error(name, source);
        let fd = if program == Program::Tc {
            let tc: &mut SchedClassifier = found.try_into().map_err(refused)?;
            tc.load().and_then(|()| Ok(tc.fd()?.as_fd().try_clone_to_owned()?)).map_err(refused)?
        } else {
            let xdp: &mut Xdp = found.try_into().map_err(refused)?;
            xdp.load().and_then(|()| Ok(xdp.fd()?.as_fd().try_clone_to_owned()?)).map_err(refused)?
        };
        let info = sys::program_info(fd.as_fd()).map_err(|source| Error::system(name, source))?;
        Ok(Loaded { fd, id: info.id })
    }

    fn load_object(&self, profile: Profile, netns: u32, cookies: bool) -> Result<aya::Ebpf> {
        let has_cookies = u32::from(cookies);
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        loader.override_global("PROFILE", &profile.0, true).override_global("NETNS", &netns, true);
        loader.override_global("HAS_COOKIES", &has_cookies, true);
        for name in TABLES {
            loader.map_pin_path(name, self.pins.map(name));
        }
        loader.load(SHIELD_OBJECT).map_err(|source| load_error("tables of the shield", source))
    }
}

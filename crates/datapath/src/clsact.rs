//! The fallback before TCX: a `cls_bpf` filter on the clsact qdisc, through netlink.
//!
//! All functions work in the calling thread's network namespace. Filters of others are never
//! touched. What holds here:
//!
//! - Filters run by priority (1 first); within one priority `cls_bpf` runs the newest first
//!   (`list_add_rcu` in `cls_bpf_change`), and a replaced filter keeps its place.
//! - A priority belongs to one kind of classifier and one protocol. If another kind has
//!   priority 1, we take the next that we can have, and [`state`] says that we are behind.
//! - Getting in front of others of our kind takes a second filter beside the old one, so there are
//!   two handles, of which one is in use. At no moment is the hook without a gate.

pub mod wire;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::attach::{Hook, HookState};
use wire::{Connection, Request};

/// Whose filters they are, and where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What they are called.
    name: &'static [u8],
    /// Their handles.
    handles: [u32; 2],
    /// Priorities that they may have, the best first.
    priorities: (u16, u16),
}

/// The gate: before all others.
pub const GATE: Owner = Owner { name: b"portcullis", handles: [0x7063, 0x7064], priorities: (1, u16::MAX) };
/// The shield: behind all others. Who asks for no priority gets 0xc000 or less.
pub const SHIELD: Owner =
    Owner { name: b"portcullis-shield", handles: [0x7065, 0x7066], priorities: (0xd000, u16::MAX) };

/// Classifier kind of bpf filters.
const BPF: &[u8] = b"bpf";
/// The only qdisc kind that has both hooks.
const CLSACT: &[u8] = b"clsact";
/// The older qdisc kind in its place, which has the ingress hook only. It takes filters for the
/// egress hook too, and runs them on ingress.
const INGRESS: &[u8] = b"ingress";

/// Handle of the clsact qdisc (`TC_H_MAKE(TC_H_CLSACT, 0)`).
const QDISC_HANDLE: u32 = 0xffff_0000;
/// Where the clsact and ingress qdiscs hang (`TC_H_CLSACT`).
const QDISC_PARENT: u32 = 0xffff_fff1;
/// `ETH_P_ALL` in network order, as the lower half of `tcm_info` has it.
const PROTOCOL_ALL: u16 = 3u16.to_be();

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// The program's return value is the action.
const ACT_DIRECT: u32 = 1;

const EXCLUSIVE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const IN_PLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;

/// Puts the program on the hook, where its owner belongs, in place of an earlier filter of ours (`true`: there was one).
pub fn attach(owner: Owner, ifindex: u32, hook: Hook, program: BorrowedFd<'_>) -> io::Result<bool> {
    let mut device = Device::open(owner, ifindex, hook)?;
    device.ensure_qdisc()?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match device.attach(program) {
            // Somebody took the place between our look and our request.
            Err(error) if attempts < 3 && errno(&error).is_some_and(is_race) => {}
            other => return other,
        }
    }
}

/// Takes our filter off the hook; none there is fine.
pub fn detach(owner: Owner, ifindex: u32, hook: Hook) -> io::Result<()> {
    let mut device = Device::open(owner, ifindex, hook)?;
    match device.filters() {
        Ok(filters) => device.remove(filters.iter().filter(|filter| filter.of(owner))),
        Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(()),
        Err(error) => Err(error),
    }
}

/// How our filter stands.
pub fn state(owner: Owner, ifindex: u32, hook: Hook, program_id: u32) -> HookState {
    match Device::open(owner, ifindex, hook).and_then(|mut device| device.filters()) {
        Ok(filters) => standing(owner, &filters, program_id),
        Err(error) if errno(&error) == Some(libc::ENODEV) => HookState::NoInterface,
        Err(error) => {
            // Attaching again is harmless, and tells the reason if it persists.
            tracing::warn!(ifindex, ?hook, %error, "cannot list the filters of an interface");
            HookState::Missing
        }
    }
}

fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| wire::refusal(error))
}

const fn is_race(errno: i32) -> bool {
    matches!(errno, libc::EEXIST | libc::EINVAL | libc::ENOENT)
}

/// The place of our filter among those of a hook, in the order they run.
fn standing(owner: Owner, filters: &[Filter], program_id: u32) -> HookState {
    let ours = |filter: &Filter| filter.of(owner) && filter.enforces(program_id);
    match filters.iter().position(ours) {
        None => HookState::Missing,
        Some(position) => {
            let before = filters.iter().take(position).filter(|filter| !filter.of(owner));
            let ids: Vec<u32> = before.map(|filter| filter.program_id).collect();
            if ids.is_empty() { HookState::First } else { HookState::Behind(ids) }
        }
    }
}

/// A filter on a hook, or all filters of a kind that has no programs (those count as one).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter {
    priority: u16,
    protocol: u16,
    handle: u32,
    bpf: bool,
    name: Vec<u8>,
    direct: bool,
    program_id: u32,
}

impl Filter {
    /// From what follows the header of an `RTM_NEWTFILTER`; `None` for those that do not run by
    /// themselves and for the head of a list of bpf filters.
    fn parse(payload: &[u8]) -> Option<Self> {
        let tcm = wire::Tcm::parse(payload)?;
        let mut filter = Self {
            priority: (tcm.info >> 16) as u16,
            protocol: tcm.info as u16,
            handle: tcm.handle,
            ..Self::default()
        };
        let mut options: &[u8] = &[];
        for (kind, value) in wire::attributes(payload.get(wire::Tcm::LENGTH..)?) {
            match kind {
                TCA_KIND => filter.bpf = wire::text(value) == BPF,
                TCA_OPTIONS => options = value,
                // Other chains run only when a filter of chain 0 goes there.
                TCA_CHAIN if wire::number(value) != Some(0) => return None,
                _ => {}
            }
        }
        // Each priority has a head with handle 0. Of kinds other than bpf what comes after it
        // need not be filters (u32 has tables, for one), so their head stands for all.
        if filter.bpf == (filter.handle == 0) {
            return None;
        }
        for (kind, value) in wire::attributes(if filter.bpf { options } else { &[] }) {
            match kind {
                TCA_BPF_NAME => filter.name = wire::text(value).to_vec(),
                TCA_BPF_FLAGS => filter.direct = wire::number(value)? & ACT_DIRECT != 0,
                TCA_BPF_ID => filter.program_id = wire::number(value)?,
                _ => {}
            }
        }
        Some(filter)
    }

    fn of(&self, owner: Owner) -> bool {
        self.bpf && self.name == owner.name && owner.handles.contains(&self.handle)
    }

    /// Whether every frame goes through this program and obeys it.
    const fn enforces(&self, program_id: u32) -> bool {
        self.direct && self.protocol == PROTOCOL_ALL && self.program_id == program_id
    }
}

/// Where our filter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    priority: u16,
    handle: u32,
    /// It is there already and nothing we could get in front of is before it.
    replace: bool,
}

/// The best place there is, given what is on the hook.
fn place(owner: Owner, filters: &[Filter]) -> Option<Place> {
    let (best, worst) = owner.priorities;
    (best..=worst).find_map(|priority| {
        let mut here = filters.iter().filter(|filter| filter.priority == priority).peekable();
        if let Some(first) = here.peek()
            && first.of(owner)
            && first.protocol == PROTOCOL_ALL
        {
            return Some(Place { priority, handle: first.handle, replace: true });
        }
        let here: Vec<&Filter> = here.collect();
        let usable = here.iter().all(|filter| filter.bpf && filter.protocol == PROTOCOL_ALL);
        let free = owner
            .handles
            .into_iter()
            .find(|handle| usable && here.iter().all(|filter| filter.handle != *handle));
        free.map(|handle| Place { priority, handle, replace: false })
    })
}

/// One hook of one interface, with a connection to ask about it.
struct Device {
    connection: Connection,
    owner: Owner,
    ifindex: u32,
    hook: Hook,
}

impl Device {
    fn open(owner: Owner, ifindex: u32, hook: Hook) -> io::Result<Self> {
        Ok(Self { connection: Connection::open()?, owner, ifindex, hook })
    }

    const fn parent(&self) -> u32 {
        match self.hook {
            Hook::Ingress => 0xffff_fff2,
            Hook::Egress => 0xffff_fff3,
        }
    }

    /// A request about the qdisc that has the hooks.
    fn qdisc(&self, kind: u16, flags: u16) -> Request {
        let tcm = wire::Tcm { ifindex: self.ifindex, handle: QDISC_HANDLE, parent: QDISC_PARENT, info: 0 };
        Request::new(kind, flags, tcm)
    }

    /// A request about a filter of ours.
    fn filter(&self, kind: u16, flags: u16, handle: u32, priority: u16, protocol: u16) -> Request {
        let info = u32::from(priority) << 16 | u32::from(protocol);
        let tcm = wire::Tcm { ifindex: self.ifindex, handle, parent: self.parent(), info };
        Request::new(kind, flags, tcm).text(TCA_KIND, BPF)
    }

    fn ensure_qdisc(&mut self) -> io::Result<()> {
        let request = self.qdisc(libc::RTM_NEWQDISC, EXCLUSIVE).text(TCA_KIND, CLSACT);
        match self.connection.ask(request) {
            Ok(_) => Ok(()),
            Err(error) if errno(&error) == Some(libc::EEXIST) => self.require_hook(),
            Err(error) => Err(error),
        }
    }

    /// What is in the place of the clsact qdisc; nothing if there is none.
    fn qdisc_kind(&mut self) -> io::Result<Vec<u8>> {
        let request = self.qdisc(libc::RTM_GETQDISC, libc::NLM_F_ECHO as u16);
        let answers = match self.connection.ask(request) {
            Err(error) if matches!(errno(&error), Some(libc::ENOENT | libc::EINVAL)) => Vec::new(),
            other => other?,
        };
        let kind = answers
            .iter()
            .filter(|answer| answer.kind == libc::RTM_NEWQDISC)
            .filter_map(|answer| answer.payload.get(wire::Tcm::LENGTH..))
            .flat_map(wire::attributes)
            .find(|(kind, _)| *kind == TCA_KIND);
        Ok(kind.map(|(_, value)| wire::text(value).to_vec()).unwrap_or_default())
    }

    /// Refuses a qdisc that would run our filter elsewhere.
    fn require_hook(&mut self) -> io::Result<()> {
        let kind = self.qdisc_kind()?;
        if self.has_hook(&kind) {
            return Ok(());
        }
        let ifindex = self.ifindex;
        Err(io::Error::other(format!(
            "interface index {ifindex} has the qdisc \"{}\", which has no {} hook: replace it with `tc qdisc del dev … ingress; tc qdisc add dev … clsact`",
            String::from_utf8_lossy(&kind),
            match self.hook {
                Hook::Ingress => "ingress",
                Hook::Egress => "egress",
            },
        )))
    }

    fn has_hook(&self, qdisc: &[u8]) -> bool {
        qdisc == CLSACT || (qdisc == INGRESS && self.hook == Hook::Ingress)
    }

    /// The filters of the hook in the order they run.
    fn filters(&mut self) -> io::Result<Vec<Filter>> {
        let kind = self.qdisc_kind()?;
        if !self.has_hook(&kind) {
            return Ok(Vec::new());
        }
        let tcm = wire::Tcm { ifindex: self.ifindex, handle: 0, parent: self.parent(), info: 0 };
        let answers =
            self.connection.ask(Request::new(libc::RTM_GETTFILTER, libc::NLM_F_DUMP as u16, tcm))?;
        let mut filters: Vec<Filter> = answers
            .iter()
            .filter(|answer| answer.kind == libc::RTM_NEWTFILTER)
            .filter_map(|answer| Filter::parse(&answer.payload))
            .collect();
        // Stable: within a priority the kernel lists in the order of running.
        filters.sort_by_key(|filter| filter.priority);
        Ok(filters)
    }

    fn attach(&mut self, program: BorrowedFd<'_>) -> io::Result<bool> {
        let filters = self.filters()?;
        let owner = self.owner;
        let Some(place) = place(owner, &filters) else {
            return Err(io::Error::other(format!(
                "no filter priority is free on interface index {}: remove filters with `tc filter del`",
                self.ifindex
            )));
        };
        let flags = if place.replace { IN_PLACE } else { EXCLUSIVE };
        let fd = program.as_raw_fd().cast_unsigned();
        let request = self
            .filter(libc::RTM_NEWTFILTER, flags, place.handle, place.priority, PROTOCOL_ALL)
            .nested(TCA_OPTIONS, |options| {
                options
                    .number(TCA_BPF_FD, fd)
                    .text(TCA_BPF_NAME, owner.name)
                    .number(TCA_BPF_FLAGS, ACT_DIRECT)
            });
        self.connection.ask(request)?;
        let replaced = filters.iter().any(|filter| filter.of(owner));
        let new = |filter: &Filter| (filter.priority, filter.handle) == (place.priority, place.handle);
        self.remove(filters.iter().filter(|filter| filter.of(owner) && !new(filter)))?;
        Ok(replaced)
    }

    /// Removes filters; those that are gone already are fine.
    fn remove<'a>(&mut self, filters: impl Iterator<Item = &'a Filter>) -> io::Result<()> {
        for Filter { handle, priority, protocol, .. } in filters {
            let request = self.filter(libc::RTM_DELTFILTER, 0, *handle, *priority, *protocol);
            match self.connection.ask(request) {
                Err(error) if !matches!(errno(&error), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

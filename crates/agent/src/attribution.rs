//! Who sent a frame: from the cgroup id in a kernel event to a path and, where it is certain, to a
//! process.
//!
//! The kernel tells the cgroup of the sending socket. Which process that was can only be inferred
//! afterwards, from `/proc`: the one process of the cgroup in the workload's network namespace, or
//! the one that holds a packet or raw socket there. Where several could have been it, none is
//! named; a wrong name is worse than none. The work per event and per second is bounded, so that a
//! flood of events costs little; names and paths are made printable, as the workload chose them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis_policy::api::Sender;

mod cgroup;
mod process;
#[cfg(test)]
mod tests;

use cgroup::Cgroups;
use process::Processes;

/// Processes and threads looked at per second over all events; beyond them only cgroups are told.
const PROCESSES_PER_SECOND: u32 = 20_000;

/// Finds senders. Keeps what it learned of cgroups; what processes do it looks up every time.
#[derive(Debug)]
pub struct Attribution {
    cgroups: Option<Cgroups>,
    processes: Processes,
    budget: Budget,
}

impl Attribution {
    /// Looks for the cgroup v2 hierarchy of this machine. Where there is none, senders stay unknown.
    #[must_use]
    pub fn new() -> Self {
        let mount =
            std::fs::read_to_string("/proc/self/mountinfo").ok().and_then(|m| cgroup::mount_point(&m));
        Self::at(mount, Path::new("/proc"))
    }

    fn at(mount: Option<PathBuf>, proc: &Path) -> Self {
        let budget = Budget { left: PROCESSES_PER_SECOND, since: Instant::now() };
        Self { cgroups: mount.map(Cgroups::new), processes: Processes::new(proc), budget }
    }

    /// Where the cgroup v2 hierarchy is mounted.
    #[must_use]
    pub fn mount_point(&self) -> Option<&Path> {
        self.cgroups.as_ref().map(Cgroups::mount)
    }

    /// The sender of a frame: `cgroup_id` as the kernel's event has it (0: unknown), `netns` the
    /// inode number of the workload's network namespace where that is known.
    pub fn sender(&mut self, cgroup_id: u64, netns: Option<u32>) -> Sender {
        let mut sender = Sender { cgroup_id, ..Sender::default() };
        let Some(cgroups) = self.cgroups.as_mut().filter(|_| cgroup_id != 0) else { return sender };
        let Some(found) = cgroups.find(cgroup_id) else { return sender };
        sender.cgroup = Some(printable(&found.path.to_string_lossy()));
        // A cgroup that is gone has no processes, and its path may be another's by now.
        if found.exists {
            let dir = cgroups.dir(&found.path);
            let shared = found.path == Path::new("/");
            let netns = netns.map(u64::from);
            if let Some(process) = self.processes.sender(&dir, shared, netns, &mut self.budget) {
                sender.pid = Some(process.pid);
                sender.command = process.command.as_deref().map(printable);
            }
        }
        sender
    }
}

impl Default for Attribution {
    fn default() -> Self {
        Self::new()
    }
}

/// How much may still be looked at in this second.
#[derive(Debug)]
struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    /// Takes one look, if there is one left.
    fn take(&mut self) -> Result<(), TooMuch> {
        if self.left == 0 && self.since.elapsed() >= Duration::from_secs(1) {
            *self = Self { left: PROCESSES_PER_SECOND, since: Instant::now() };
        }
        self.left = self.left.checked_sub(1).ok_or(TooMuch)?;
        Ok(())
    }
}

/// Not everything was looked at, so nobody can be named: whoever was left out may have been it.
#[derive(Debug)]
struct TooMuch;

/// A text that a workload chose, without what a terminal would obey.
fn printable(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        // Direction marks can make a name read as another.
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            result.extend(c.escape_default());
        } else {
            result.push(c);
        }
    }
    result
}

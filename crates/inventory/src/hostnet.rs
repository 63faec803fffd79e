//! Containers that share the agent's network namespace: nothing on an interface tells them apart
//! from the host's own programs, so they can only be named.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use crate::error::Result;
use crate::netns::pids;

/// A container on the host's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNetworkProcess {
    /// Its first process, in the agent's numbering.
    pub pid: u32,
    /// The command of that process.
    pub command: String,
}

/// Containers on the host's network, by pid.
///
/// A process counts if it shares our network namespace, and if both its mount and its pid
/// namespace differ from ours and from those of process 1 (we may be in a container ourselves).
/// One with the host's pid namespace (`--pid host`) is not found.
pub fn host_network_processes() -> Result<Vec<HostNetworkProcess>> {
    let own = Namespaces::of("self");
    let init = Namespaces::of("1");
    let host: Vec<Namespaces> = own.into_iter().chain(init).collect();
    let Some(own) = host.first() else { return Ok(Vec::new()) };
    let mut first: BTreeMap<u64, u32> = BTreeMap::new();
    for pid in pids()? {
        let Some(of) = Namespaces::of(&pid.to_string()) else { continue };
        if of.net == own.net && host.iter().all(|h| h.mnt != of.mnt && h.pid != of.pid) {
            let lowest = first.entry(of.pid).or_insert(pid);
            *lowest = pid.min(*lowest);
        }
    }
    let mut found: Vec<_> =
        first.into_values().map(|pid| HostNetworkProcess { pid, command: command(pid) }).collect();
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// Inode numbers of the namespaces of a process.
struct Namespaces {
    net: u64,
    mnt: u64,
    pid: u64,
}

impl Namespaces {
    /// None: the process is gone, or a zombie.
    fn of(pid: &str) -> Option<Self> {
        let inode = |kind: &str| std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|m| m.ino());
        Some(Self { net: inode("net")?, mnt: inode("mnt")?, pid: inode("pid")? })
    }
}

fn command(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // The process chose these bytes: nothing that a terminal would obey.
    name.trim_end().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

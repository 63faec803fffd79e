//! From pods to their interfaces: by cgroup to processes, by these to the network namespace, by that to the host side.
//!
//! Everything here asks the kernel and blocks: call it from a thread that may.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use portcullis_inventory::{LinkKind, Netns, NetnsId};
use portcullis_policy::address::AddressBinding;
use portcullis_policy::container::AttachmentPlace;
use portcullis_runtimes::resolve::{HostSpaces, InsideLink, resolve};

use super::cgroup;

/// Processes of one pod that are looked at.
const MOST_PROCESSES: usize = 64;
/// Namespaces of one pod: its own, and those that its processes made.
const MOST_NAMESPACES: usize = 4;
/// What runtimes call the interface in the cluster's own network.
const INTERFACE: &str = "eth0";

/// A pod whose interface is sought.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub uid: String,
    /// The UID that its cgroup has.
    pub cgroup: String,
    /// Its containers, as far as the API knows them: what else is in its cgroup is its sandbox.
    pub containers: BTreeSet<String>,
    pub addresses: Vec<AddressBinding>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub uid: String,
    pub spot: Option<Spot>,
}

/// Where a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// Its sandbox, where a process of it runs.
    pub sandbox: Option<String>,
    /// The interface inside.
    pub inside: String,
    /// Where it can be bound.
    pub place: AttachmentPlace,
}

/// A process of a pod.
#[derive(Clone, Debug)]
struct Process {
    /// When it was started, in the kernel's ticks.
    started: u64,
    pid: u32,
    netns: NetnsId,
    container: Option<String>,
    /// It is called as what keeps a sandbox.
    pause: bool,
}

/// Searches for all of them at once.
pub(super) fn find(wanted: &[Wanted], hosts: &HostSpaces) -> Vec<Found> {
    let processes = processes(wanted);
    let spot = |pod: &Wanted| processes.get(&pod.cgroup).and_then(|processes| spot(pod, processes, hosts));
    wanted.iter().map(|pod| Found { uid: pod.uid.clone(), spot: spot(pod) }).collect()
}

/// The processes of these pods, oldest first.
fn processes(wanted: &[Wanted]) -> BTreeMap<String, Vec<Process>> {
    let mut found: BTreeMap<String, Vec<Process>> =
        wanted.iter().map(|pod| (pod.cgroup.clone(), Vec::new())).collect();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        // Those that end meanwhile are skipped.
        let Ok(cgroups) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else { continue };
        let Some(place) = cgroup::place(&cgroups) else { continue };
        let Some(of_pod) = found.get_mut(&place.uid()) else { continue };
        let container = place.container.map(str::to_owned);
        if of_pod.len() < MOST_PROCESSES {
            of_pod.extend(process(pid, container));
        }
    }
    for of_pod in found.values_mut() {
        of_pod.sort_by_key(|process| (process.started, process.pid));
    }
    found
}

fn process(pid: u32, container: Option<String>) -> Option<Process> {
    let inode = std::fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may contain any; the time is the 22nd field, the 20th behind it.
    let (before, behind) = stat.rsplit_once(')')?;
    let started = behind.split_whitespace().nth(19)?.parse().ok()?;
    let pause = before.ends_with("(pause");
    Some(Process { started, pid, netns: NetnsId(u32::try_from(inode).ok()?), container, pause })
}

/// The sandbox is older than all that runs in it, and never leaves its namespace; others may make some of their own.
fn spot(pod: &Wanted, processes: &[Process], hosts: &HostSpaces) -> Option<Spot> {
    let is_sandbox = |process: &&Process| {
        process.pause && process.container.as_ref().is_some_and(|id| !pod.containers.contains(id))
    };
    // It was there before the first container. (CRI-O keeps a sandbox without a process; its id stays unknown then.)
    let sandbox = processes.first().filter(is_sandbox);
    let mut tried = BTreeSet::new();
    for process in processes {
        if hosts.is_host(process.netns) || !tried.insert(process.netns) || tried.len() > MOST_NAMESPACES {
            continue;
        }
        let opened = Netns::open(format!("/proc/{}/ns/net", process.pid)).ok();
        let Some(netns) = opened.filter(|netns| netns.id == process.netns) else { continue };
        let Ok(links) = resolve(&netns, hosts) else { continue };
        let Some(link) = choose(&links, &pod.addresses) else { continue };
        let path = netns.path.clone().unwrap_or_default();
        let Some(place) = link.place(&path) else { continue };
        let sandbox = sandbox.filter(|sandbox| sandbox.netns == process.netns);
        let sandbox = sandbox.and_then(|sandbox| sandbox.container.clone());
        return Some(Spot { sandbox, inside: link.name.clone(), place });
    }
    None
}

/// The interface in the cluster's network. Only what leads outside counts: a workload can make all others itself.
fn choose<'a>(links: &'a [InsideLink], addresses: &[AddressBinding]) -> Option<&'a InsideLink> {
    let outside = |link: &&InsideLink| link.outside || matches!(link.kind, LinkKind::Physical);
    let candidates: Vec<&InsideLink> = links.iter().filter(outside).collect();
    if let [only] = candidates.as_slice() {
        return Some(only);
    }
    let usual = candidates.iter().find(|link| link.name == INTERFACE);
    usual.or_else(|| candidates.iter().find(|link| has_one_of(link, addresses))).copied()
}

fn has_one_of(link: &InsideLink, addresses: &[AddressBinding]) -> bool {
    let same = |ip: IpAddr| AddressBinding::try_from(ip).is_ok_and(|binding| addresses.contains(&binding));
    link.addresses.iter().any(|address| same(address.ip))
}

//! Which process of a cgroup it was, from `/proc` alone. Every process may vanish at any moment.
//!
//! All limits here bound the work that a workload can cause. Whoever runs into one is not named,
//! nor is anybody else: hiding behind a limit must not put the blame on a neighbour.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Budget, TooMuch};

/// Processes of one cgroup that are looked at.
const MAX_PROCESSES: usize = 2048;
/// Threads of one process that are looked at.
const MAX_THREADS: usize = 1024;
/// Processes whose descriptors are looked at.
const MAX_HOLDERS: usize = 256;
/// Descriptors of one process that are looked at.
const MAX_DESCRIPTORS: usize = 1024;
/// Bytes of a table of sockets, or of a list of processes, that are read.
const MAX_TABLE: u64 = 1 << 20;

/// The processes of this machine.
#[derive(Debug)]
pub(super) struct Processes {
    proc: PathBuf,
}

/// A process that sent something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: u32,
    pub command: Option<String>,
}

/// A process, or one thread of it, that may have been the sender.
#[derive(Clone, Debug)]
struct Candidate {
    pid: u32,
    /// `/proc/PID`, or `/proc/PID/task/TID` where only a thread is in the namespace.
    dir: PathBuf,
    netns: Option<u64>,
}

impl Processes {
    pub(super) fn new(proc: &Path) -> Self {
        Self { proc: proc.into() }
    }

    /// The one process in the cgroup at `dir` that can have sent something from `netns`. In a cgroup
    /// that is `shared` by all that nobody put elsewhere, being alone proves little: whoever sent
    /// may have gone since, so a socket that could have sent it is asked for.
    pub(super) fn sender(
        &self,
        dir: &Path,
        shared: bool,
        netns: Option<u64>,
        budget: &mut Budget,
    ) -> Option<Process> {
        let candidates = self.candidates(dir, netns, budget).ok()?;
        let chosen = match &candidates[..] {
            [] => return None,
            [only] if !shared => only,
            several => only_socket_holder(several, budget).ok()??,
        };
        let comm = self.proc.join(chosen.pid.to_string()).join("comm");
        let command = read(&comm).map(|text| text.trim_end_matches('\n').to_owned());
        // Gone by now, and its number perhaps another's: still the truth about who it was, but
        // there is no name to be had.
        Some(Process { pid: chosen.pid, command })
    }

    fn candidates(
        &self,
        dir: &Path,
        netns: Option<u64>,
        budget: &mut Budget,
    ) -> Result<Vec<Candidate>, TooMuch> {
        let mut pids = self.members(dir);
        pids.sort_unstable();
        pids.dedup();
        if pids.len() > MAX_PROCESSES {
            return Err(TooMuch);
        }
        let found = pids.into_iter().map(|pid| self.candidate(pid, netns, budget));
        found.filter_map(Result::transpose).collect()
    }

    /// The process, if it or one of its threads is in `netns`. Namespaces belong to threads.
    fn candidate(
        &self,
        pid: u32,
        netns: Option<u64>,
        budget: &mut Budget,
    ) -> Result<Option<Candidate>, TooMuch> {
        budget.take()?;
        let dir = self.proc.join(pid.to_string());
        let own = namespace(&dir);
        let Some(wanted) = netns else {
            return Ok(dir.is_dir().then_some(Candidate { pid, dir, netns: own }));
        };
        if own == Some(wanted) {
            return Ok(Some(Candidate { pid, dir, netns: own }));
        }
        let Ok(threads) = fs::read_dir(dir.join("task")) else { return Ok(None) };
        for (examined, thread) in threads.filter_map(Result::ok).enumerate() {
            // The first thread is the process itself, whose namespace is known.
            if examined > 0 {
                budget.take()?;
            }
            if examined == MAX_THREADS {
                return Err(TooMuch);
            }
            let dir = thread.path();
            if namespace(&dir) == Some(wanted) {
                return Ok(Some(Candidate { pid, dir, netns }));
            }
        }
        Ok(None)
    }

    /// Process ids in the cgroup at `dir`; of a threaded cgroup, which lists threads only, those of
    /// their processes (cgroup-v2.rst, "Threads").
    fn members(&self, dir: &Path) -> Vec<u32> {
        let processes = numbers(read(&dir.join("cgroup.procs")));
        if !processes.is_empty() {
            return processes;
        }
        let threads = numbers(read(&dir.join("cgroup.threads")));
        threads.into_iter().take(MAX_PROCESSES).filter_map(|thread| self.process_of(thread)).collect()
    }

    fn process_of(&self, thread: u32) -> Option<u32> {
        let status = read(&self.proc.join(thread.to_string()).join("status"))?;
        status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
    }
}

/// The one candidate that holds a packet or raw socket; `None` where none does, or several.
fn only_socket_holder<'a>(
    candidates: &'a [Candidate],
    budget: &mut Budget,
) -> Result<Option<&'a Candidate>, TooMuch> {
    if candidates.len() > MAX_HOLDERS {
        return Err(TooMuch);
    }
    let mut sockets: HashMap<Option<u64>, HashSet<u64>> = HashMap::new();
    let mut holder = None;
    for candidate in candidates {
        budget.take()?;
        // One table of sockets per namespace, whoever it is read from.
        let sockets = sockets.entry(candidate.netns).or_insert_with(|| forging_sockets(&candidate.dir));
        if !sockets.is_empty()
            && holds_one_of(&candidate.dir, sockets)?
            && holder.replace(candidate).is_some()
        {
            return Ok(None);
        }
    }
    Ok(holder)
}

/// Inode numbers of the packet and raw sockets in the namespace of the process at `dir`.
fn forging_sockets(dir: &Path) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    // Which word of a line is the inode number: packet_seq_show() and raw_sock_seq_show().
    for (table, column) in [("packet", 8), ("raw", 9), ("raw6", 9)] {
        let text = read(&dir.join("net").join(table)).unwrap_or_default();
        let lines = text.lines().skip(1);
        inodes
            .extend(lines.filter_map(|line| line.split_ascii_whitespace().nth(column)?.parse::<u64>().ok()));
    }
    // An orphan has none.
    inodes.remove(&0);
    inodes
}

fn holds_one_of(dir: &Path, sockets: &HashSet<u64>) -> Result<bool, TooMuch> {
    let Ok(descriptors) = fs::read_dir(dir.join("fd")) else { return Ok(false) };
    for (examined, descriptor) in descriptors.filter_map(Result::ok).enumerate() {
        if examined == MAX_DESCRIPTORS {
            return Err(TooMuch);
        }
        let socket = fs::read_link(descriptor.path()).ok().and_then(|target| bracketed(&target, "socket"));
        if socket.is_some_and(|inode| sockets.contains(&inode)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Inode number of the network namespace of the process or thread at `dir`.
fn namespace(dir: &Path) -> Option<u64> {
    bracketed(&fs::read_link(dir.join("ns/net")).ok()?, "net")
}

/// The number in `kind:[number]`.
fn bracketed(target: &Path, kind: &str) -> Option<u64> {
    target.to_str()?.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse().ok()
}

/// The numbers in a text, one a line; 0 stands for a process that cannot be seen from here.
fn numbers(text: Option<String>) -> Vec<u32> {
    let text = text.unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|number| *number != 0).collect()
}

/// The beginning of a file, as text.
fn read(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_TABLE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

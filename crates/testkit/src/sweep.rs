//! Cleaning up: after a lab, and after labs of processes that are no more.

mod ground;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup;
use crate::namespace::{Namespace, ip_batch};
use crate::wait::wait_until;
pub use ground::ground;

/// Where bpffs is mounted.
pub const BPFFS: &str = "/sys/fs/bpf";
/// Where named network namespaces are.
const NETNS: &str = "/run/netns";

/// Sweeps, the first time that it is called in this process.
pub fn once() {
    static ONCE: Once = Once::new();
    // Nothing is this process's own yet: what carries its id is of an earlier one that had the same.
    ONCE.call_once(|| sweep_where(|pid| pid == std::process::id() || is_dead(pid)));
}

/// Takes away what labs of dead processes left: namespaces and the processes in them, pins, cgroups,
/// temporary directories, container runtimes. Everything of a lab carries the process id in its name.
pub fn sweep() {
    sweep_where(is_dead);
}

fn is_dead(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn sweep_where(gone: impl Fn(u32) -> bool) {
    let leftovers = |directory: &Path| leftovers(directory, &gone);
    let names = leftovers(Path::new(NETNS));
    let cgroups: Vec<PathBuf> = cgroup::hierarchies()
        .iter()
        .flat_map(|root| leftovers(root).into_iter().map(|name| root.join(name)))
        .collect();
    let temporary = std::env::temp_dir();
    let directories: Vec<PathBuf> =
        leftovers(&temporary).into_iter().map(|name| temporary.join(name)).collect();
    processes_in(&names);
    ground::all(&directories, &cgroups);
    namespaces(&names);
    for name in leftovers(Path::new(BPFFS)) {
        pins(&Path::new(BPFFS).join(name));
    }
    for directory in directories {
        let _left = fs::remove_dir_all(directory);
    }
}

/// Kills what runs in these namespaces, and waits until it is gone.
pub fn processes_in(names: &[String]) {
    let inodes: BTreeSet<u64> = names
        .iter()
        .filter_map(|name| fs::metadata(Path::new(NETNS).join(name)).ok())
        .map(|m| m.ino())
        .collect();
    if inodes.is_empty() {
        return;
    }
    let find = || -> Vec<Pid> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
            .filter(|pid| {
                // A zombie has no namespace any more.
                fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| inodes.contains(&m.ino()))
            })
            .collect()
    };
    // Killed, shims do not take their sockets along.
    let opened = names.iter().filter_map(|name| Namespace::open(name).ok());
    let sockets: Vec<PathBuf> = opened.flat_map(|namespace| ground::shim_sockets(&namespace)).collect();
    let found = find();
    for pid in &found {
        let _gone = kill_process(*pid, Signal::KILL);
    }
    if !found.is_empty() {
        let _stuck = wait_until("processes of a lab to end", || find().is_empty());
    }
    ground::remove_files(&sockets);
}

/// Deletes namespaces, as many as can be.
pub fn namespaces(names: &[String]) {
    if names.is_empty() {
        return;
    }
    let lines: String = names.iter().map(|name| format!("netns del {name}\n")).collect();
    let _left = ip_batch(Command::new("ip").arg("-force"), &lines);
}

/// Removes a directory of pins. bpffs knows no recursive deletion but this.
pub fn pins(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for path in paths {
        if path.is_dir() {
            pins(&path);
        } else {
            let _left = fs::remove_file(&path);
        }
    }
    let _left = fs::remove_dir(directory);
}

/// Names in a directory that belong to labs of processes that are gone.
fn leftovers(directory: &Path, gone: &impl Fn(u32) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| owner(name).is_some_and(gone))
        .collect()
}

/// The process that a name such as `pc-PID-0-host` or `pc-test-PID-0` belongs to.
fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("pc-test-").or_else(|| name.strip_prefix("pc-"))?;
    let (pid, _) = rest.split_once('-')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn names_tell_their_owner() {
        assert_eq!(owner("pc-123-0-host"), Some(123));
        assert_eq!(owner("pc-test-123-0"), Some(123));
        assert_eq!(owner("pc-abc-0"), None);
        assert_eq!(owner("portcullis"), None);
    }
}

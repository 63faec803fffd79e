//! Clearing away a container runtime, in whatever state it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cgroup;
use crate::namespace::Namespace;
use crate::wait::wait_until;

/// Where shims of containerd put their sockets, wherever its own state is.
const SHIM_SOCKETS: &str = "/run/containerd/s/";
/// Where Podman pins the namespaces of its containers.
const NETNS: &str = "/run/netns/";

/// Where the CNI library remembers what it gave to which container.
const CNI_RESULTS: &str = "/var/lib/cni/results";

/// Takes away a runtime: its processes, then what they leave.
pub fn ground(cgroup: &str, directory: &Path, host: &Namespace) {
    let sockets = shim_sockets(host);
    let cgroups: Vec<PathBuf> = cgroup::hierarchies().iter().map(|root| root.join(cgroup)).collect();
    all(&[directory.to_owned()], &cgroups);
    remove_files(&sockets);
}

/// The same of several, without knowing their host namespaces.
pub fn all(directories: &[PathBuf], cgroups: &[PathBuf]) {
    let mut files: Vec<PathBuf> = directories.iter().flat_map(|path| pinned_namespaces(path)).collect();
    let namespaces = files.clone();
    files.extend(directories.iter().flat_map(|path| cni_results(path)));
    kill(directories, cgroups);
    for path in namespaces.into_iter().chain(directories.iter().flat_map(|path| mounts_below(path))) {
        let _gone = unmount(&path, UnmountFlags::DETACH);
    }
    remove_files(&files);
    for path in cgroups {
        cgroup::remove_tree(path);
    }
}

/// Sockets of shims that were made in a network namespace.
pub fn shim_sockets(namespace: &Namespace) -> Vec<PathBuf> {
    let table = namespace.within(|| fs::read_to_string("/proc/thread-self/net/unix"));
    let Ok(Ok(table)) = table else { return Vec::new() };
    let paths = table.lines().filter_map(|line| line.split_whitespace().nth(7));
    paths.filter(|path| path.starts_with(SHIM_SOCKETS)).map(PathBuf::from).collect()
}

/// Removes files, as many as are there.
pub fn remove_files(paths: &[PathBuf]) {
    for path in paths {
        let _gone = fs::remove_file(path);
    }
}

/// Kills what is in the cgroups or has a directory in its command line, until there is nothing: what
/// ends may start something that cleans up behind it.
fn kill(directories: &[PathBuf], cgroups: &[PathBuf]) {
    let find = || {
        let mut found = BTreeSet::new();
        cgroups.iter().for_each(|path| found.extend(members(path)));
        found.extend(mentioning(directories));
        found.remove(&std::process::id());
        found
    };
    let mut quiet = 0;
    let _stuck = wait_until("processes of a container runtime to end", || {
        // A frozen process (a container that was paused) does not even die.
        cgroups.iter().for_each(|path| thaw(path));
        let found = find();
        for pid in found.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            let _gone = kill_process(pid, Signal::KILL);
        }
        quiet = if found.is_empty() { quiet + 1 } else { 0 };
        quiet > 1
    });
}

/// Thaws a cgroup and those below it, of either version.
fn thaw(cgroup: &Path) {
    for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let file = cgroup.join(file);
        if file.exists() {
            let _gone = fs::write(file, word);
        }
    }
    let Ok(entries) = fs::read_dir(cgroup) else { return };
    let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.for_each(|entry| thaw(&entry.path()));
}

/// Processes of a cgroup and of those below it.
fn members(cgroup: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(cgroup) else { return Vec::new() };
    let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found: Vec<u32> = below.flat_map(|entry| members(&entry.path())).collect();
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    found.extend(own.lines().filter_map(|line| line.parse::<u32>().ok()));
    // 0 is a process of another pid namespace.
    found.retain(|pid| *pid > 0);
    found
}

/// Processes whose command line speaks of one of the directories.
fn mentioning(directories: &[PathBuf]) -> Vec<u32> {
    let wanted: Vec<&str> = directories.iter().filter_map(|directory| directory.to_str()).collect();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            wanted.iter().any(|wanted| line.contains(wanted))
        })
        .collect()
}

/// Named namespaces that containers of a runtime use, as their bundles tell.
fn pinned_namespaces(directory: &Path) -> Vec<PathBuf> {
    let mut bundles = Vec::new();
    find_bundles(directory, 7, &mut bundles);
    let namespace_of = |bundle: &PathBuf| -> Option<PathBuf> {
        let bundle: Value = serde_json::from_slice(&fs::read(bundle).ok()?).ok()?;
        let all = bundle["linux"]["namespaces"].as_array()?;
        let path = all.iter().find(|one| one["type"] == "network")?["path"].as_str()?;
        let name = path.strip_prefix(NETNS)?;
        // Those of labs have owners of their own.
        (!name.starts_with("pc-")).then(|| PathBuf::from(path))
    };
    bundles.iter().filter_map(namespace_of).collect()
}

/// What the CNI library remembers of containers with namespaces below the directory. containerd forgets to tell
/// it of their end where the network was exchanged meanwhile.
fn cni_results(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(CNI_RESULTS) else { return Vec::new() };
    let wanted = format!("\"sandbox\":\"{}/", directory.display());
    let of_ours = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(&wanted));
    entries.flatten().map(|entry| entry.path()).filter(of_ours).collect()
}

fn find_bundles(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name() == "config.json" {
            found.push(path);
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_file_system(&path) {
            find_bundles(&path, depth - 1, found);
        }
    }
}

/// A container's own files, which may be many.
fn is_file_system(path: &Path) -> bool {
    ["rootfs", "merged", "diff", "work", "fs"].iter().any(|name| path.ends_with(name))
}

/// Mount points below a directory, the deepest first.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(directory)).collect();
    found.reverse();
    found
}

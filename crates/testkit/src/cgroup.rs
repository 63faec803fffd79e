//! cgroups, to tell senders apart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// A cgroup (v2), removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one of this name.
    pub fn new(name: &str) -> Result<Self> {
        let path = root().context("no cgroup v2 is mounted")?.join(name);
        fs::create_dir(&path).with_context(|| format!("making the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that will run inside it and inside a namespace.
    #[must_use]
    pub fn command(&self, namespace: &Namespace, program: &str) -> Command {
        let mut command = namespace.command("sh");
        command.arg("-c").arg("echo $$ >\"$0\"/cgroup.procs && exec \"$@\"").arg(&self.path).arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Where cgroup v2 is mounted: by itself, or beside v1.
pub fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    line.split(' ').nth(1).map(PathBuf::from)
}

/// Removes a cgroup, after killing what is in it.
pub fn remove(path: &Path) {
    let _old_kernel = fs::write(path.join("cgroup.kill"), "1");
    for _ in 0..200 {
        if fs::remove_dir(path).is_ok() || !path.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Where cgroups are mounted: v2 and every hierarchy of v1.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of_cgroups = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    of_cgroups
        .filter(|fields| matches!(fields.get(2), Some(&("cgroup" | "cgroup2"))))
        .filter_map(|fields| fields.get(1).map(PathBuf::from))
        .collect()
}

/// Removes a cgroup with those below it, after killing what is in them.
pub fn remove_tree(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    remove(path);
}

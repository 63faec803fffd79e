//! What a daemon stands on: a directory, a network namespace, a cgroup; and clearing it all away.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::programs::{program, search_path};
use crate::namespace::Namespace;
use crate::sweep;

/// Grounds that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A place for one daemon and its containers. Dropped, everything of it is gone: processes, mounts, cgroups.
#[derive(Debug)]
pub struct Ground {
    tag: String,
    host: Namespace,
    directory: TempDir,
}

impl Ground {
    /// Prepares one in this network namespace.
    pub fn new(host: &Namespace) -> Result<Self> {
        sweep::once();
        let tag = format!("pc-{}-r{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        // Short, since paths of sockets are: 107 bytes.
        let directory =
            TempDir::with_prefix(format!("{tag}-")).context("making a directory for a runtime")?;
        Ok(Self { tag, host: Namespace::open(host.name())?, directory })
    }

    /// What the cgroup of its containers is called.
    pub fn cgroup(&self) -> &str {
        &self.tag
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A path in its directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command that will run one of the runtimes' programs in its namespace.
    pub fn command(&self, name: &str) -> Result<Command> {
        let mut command = self.host.command(program(name)?);
        command.env("PATH", search_path()).env("HOME", self.path()).env("TMPDIR", self.path());
        Ok(command)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        sweep::ground(&self.tag, self.path(), &self.host);
    }
}

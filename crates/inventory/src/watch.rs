//! Names of namespaces coming and going.
//!
//! Named namespaces are mounts, and the kernel tells whoever polls /proc/self/mountinfo of every
//! change of the mount table (proc(5)). That covers every directory that a runtime may use, and
//! unlike a watch on /run/netns it speaks when the name is usable: `ip netns add` makes the file
//! first and mounts the namespace on it later.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Error, Result};
use crate::netns::{NetnsId, named_namespaces};

/// A name that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsChange {
    /// There is a new name for a namespace.
    Appeared(NetnsId, PathBuf),
    /// A name is gone, or stands for another namespace now.
    Vanished(NetnsId, PathBuf),
}

/// Follows the names of namespaces.
#[derive(Debug)]
pub struct NetnsWatch {
    table: AsyncFd<OwnedFd>,
    known: BTreeSet<(NetnsId, PathBuf)>,
}

impl NetnsWatch {
    /// Starts with the names there are. Must be called within a tokio runtime.
    pub fn new() -> Result<Self> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::NoRuntime);
        }
        let fail = |source| Error::Proc { what: "/proc/self/mountinfo".into(), source };
        let table = File::open("/proc/self/mountinfo").map_err(fail)?;
        let table = crate::sys::watched(table.into(), Interest::PRIORITY | Interest::ERROR).map_err(fail)?;
        Ok(Self { table, known: named_namespaces()?.into_iter().collect() })
    }

    /// Waits for names that come or go. Cancel safe.
    pub async fn next(&mut self) -> Result<Vec<NetnsChange>> {
        loop {
            let ready = self.table.ready(Interest::PRIORITY | Interest::ERROR).await;
            match ready {
                Ok(mut guard) => guard.clear_ready(),
                // The runtime is shutting down.
                Err(_) => std::future::pending().await,
            }
            let now: BTreeSet<_> = named_namespaces()?.into_iter().collect();
            let gone = self.known.difference(&now).cloned().map(|(id, path)| NetnsChange::Vanished(id, path));
            let new = now.difference(&self.known).cloned().map(|(id, path)| NetnsChange::Appeared(id, path));
            let changes: Vec<_> = gone.chain(new).collect();
            self.known = now;
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }
}

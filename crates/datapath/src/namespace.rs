//! Network namespaces, as far as attaching needs them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

use crate::error::{Error, Result};
use crate::sys;

/// A network namespace, held open.
#[derive(Debug)]
pub struct Namespace {
    handle: OwnedFd,
    inode: u32,
    current: bool,
}

impl Namespace {
    /// The one that this process was started in.
    pub fn current() -> Result<Self> {
        Self::open(Path::new("/proc/self/ns/net")).map(|namespace| Self { current: true, ..namespace })
    }

    /// The one at a path (`/run/netns/…`, `/proc/PID/ns/net`).
    pub fn open(path: &Path) -> Result<Self> {
        let handle = File::open(path)
            .map_err(|source| Error::system(format!("network namespace {}", path.display()), source))?;
        Self::from_handle(handle.into())
    }

    /// The one behind a descriptor.
    pub fn from_handle(handle: OwnedFd) -> Result<Self> {
        let inode = sys::inode(&handle).map_err(|source| Error::system("network namespace", source))?;
        let own = File::open("/proc/self/ns/net")
            .and_then(sys::inode)
            .map_err(|source| Error::system("/proc/self/ns/net", source))?;
        Ok(Self { handle, inode, current: own == inode })
    }

    /// Its inode number: what names it in the kernel's tables.
    #[must_use]
    pub const fn inode(&self) -> u32 {
        self.inode
    }

    /// Indices of its interfaces.
    pub(crate) fn interfaces(&self) -> Result<Vec<u32>> {
        self.within(|| {
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
            let names = table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
            // One that has gone since has no index.
            Ok(names.filter_map(|name| name_to_index(&socket, name).ok()).collect())
        })?
        .map_err(|source| Error::system("listing interfaces", source))
    }

    /// Runs `f` inside: on a thread of its own, unless it is the process's own namespace.
    pub fn within<R: Send>(&self, f: impl FnOnce() -> R + Send) -> Result<R> {
        if self.current {
            return Ok(f());
        }
        let entered =
            thread::scope(|scope| scope.spawn(|| sys::enter_netns(self.handle.as_fd()).map(|()| f())).join());
        match entered {
            Ok(result) => result.map_err(|source| Error::system("entering a network namespace", source)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

//! What can go wrong when the kernel is asked who is here.

use std::io;
use std::path::PathBuf;

/// The result of a question to the kernel.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a question to the kernel has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path of a namespace leads nowhere.
    #[error("network namespace {}: no such file (see `ip netns list`, or /proc/PID/ns/net of a process in it)", .path.display())]
    NoSuchNetns {
        /// The path that was named.
        path: PathBuf,
    },
    /// The path leads to something else.
    #[error("{} is not a network namespace but {found}; name a file such as /run/netns/NAME or /proc/PID/ns/net", .path.display())]
    NotANetns {
        /// The path that was named.
        path: PathBuf,
        /// What lies there.
        found: String,
    },
    /// The path exists and cannot be opened.
    #[error("cannot open network namespace {}: {source}", .path.display())]
    OpenNetns {
        /// The path that was named.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// `setns` was refused, or no thread could be started for it.
    #[error("cannot enter network namespace {netns}: {source} (this needs CAP_SYS_ADMIN)")]
    EnterNetns {
        /// The namespace.
        netns: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A netlink socket could not be made or set up.
    #[error("cannot {what} in network namespace {netns}: {source}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The namespace.
        netns: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a question.
    #[error("cannot read {what} in network namespace {netns}: {source}")]
    Query {
        /// What was asked for.
        what: String,
        /// The namespace.
        netns: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A name that no interface can have.
    #[error("{name:?} is not an interface name: 1 to 15 bytes, without `/` and blanks")]
    BadInterfaceName {
        /// The name that was given.
        name: String,
    },
    /// The monitor was made outside a tokio runtime with I/O enabled.
    #[error("following changes needs a running tokio runtime with I/O enabled")]
    NoRuntime,
    /// /proc cannot be read.
    #[error("cannot read {what}: {source} (is /proc mounted?)")]
    Proc {
        /// The file or directory.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// Whether the thing asked for is simply not there (any more).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::NoSuchNetns { .. } => true,
            Self::Query { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::ENXIO))
            }
            _ => false,
        }
    }
}

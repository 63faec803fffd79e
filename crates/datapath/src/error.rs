//! What can go wrong, with what it concerns and what to do.

use std::io;
use std::path::PathBuf;

/// An error of the kernel side.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process lacks privileges.
    #[error(
        "no permission for {what}: run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (CAP_SYS_ADMIN before Linux 5.8)"
    )]
    Permission {
        /// What was tried.
        what: String,
    },
    /// The BPF file system is not there.
    #[error(
        "{path} is not on a BPF file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or name another directory with --bpffs"
    )]
    NoBpffs {
        /// The directory asked for.
        path: PathBuf,
    },
    /// Somebody else could put tables of theirs in the place of ours.
    #[error(
        "{path} belongs to user {owner} or can be written by others: remove it, or name another directory with --bpffs"
    )]
    ForeignPins {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// The programs could not be loaded.
    #[error(
        "the kernel refused the programs ({what}): {source}. `portcullis doctor` tells what this kernel lacks"
    )]
    Load {
        /// Which program or step.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A table is not in the object: the build is broken.
    #[error("table {name} is not in the kernel object: this build of portcullis is broken")]
    MissingTable {
        /// Its name.
        name: &'static str,
    },
    /// A table is full.
    #[error("the kernel table {table} is full ({capacity} entries): raise [limits] in the configuration")]
    Full {
        /// Its name.
        table: &'static str,
        /// Its size.
        capacity: u32,
    },
    /// Entries that every set of tables has for its own use.
    #[error("table entry {binding} is reserved: this is a fault of portcullis")]
    ReservedBinding {
        /// Its index.
        binding: u32,
    },
    /// The interface is not there (any more).
    #[error("interface index {ifindex} does not exist in its network namespace")]
    NoInterface {
        /// Its index.
        ifindex: u32,
    },
    /// Somebody else's XDP program is on the interface.
    #[error(
        "interface index {ifindex} has another XDP program already{}, and there is room for one only: `ip link set DEV xdp off` removes it, unless a program holds it by a link; the tc hook needs no such room",
        named(program.as_ref())
    )]
    XdpBusy {
        /// Its index.
        ifindex: u32,
        /// The program's id and name, where the kernel tells. The name may be empty.
        program: Option<(u32, String)>,
    },
    /// Before 6.6 the shield stands at tc in our own network namespace only.
    #[error(
        "interface index {ifindex} is in another network namespace, and there the shield's tc hook needs Linux 6.6: use XDP, which has a generic mode for any interface, or the host's side of the pair"
    )]
    TcForeignNamespace {
        /// Its index.
        ifindex: u32,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried, on what.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// Wraps a failed system call, telling missing privileges apart.
    pub(crate) fn system(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.raw_os_error() {
            Some(libc::EPERM) => Self::Permission { what },
            _ => Self::System { what, source },
        }
    }

    /// The error number of the failed system call, where it was one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            Self::Permission { .. } => Some(libc::EPERM),
            Self::NoInterface { .. } => Some(libc::ENODEV),
            _ => None,
        }
    }
}

fn named(program: Option<&(u32, String)>) -> String {
    match program {
        Some((id, name)) if name.is_empty() => format!(" (id {id})"),
        Some((id, name)) => format!(" (\"{name}\", id {id})"),
        None => String::new(),
    }
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

//! Network namespaces: opening them, acting inside them, finding them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;

use crate::error::{Error, Result};

/// `f_type` of nsfs (`NSFS_MAGIC` in linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;
/// Enough for a socket call; the default of 2 MB would count against the agent.
const THREAD_STACK_BYTES: usize = 256 * 1024;

/// What tells namespaces apart: the inode number in nsfs, as `net:[4026531840]` shows it.
///
/// The kernel may give the number of a namespace that is gone to a new one; holding a [`Netns`]
/// keeps the namespace and so its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NetnsId(pub u32);

impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.0)
    }
}

/// A network namespace, held open. Clones share the handle.
#[derive(Clone, Debug)]
pub struct Netns {
    handle: Arc<OwnedFd>,
    /// Its identity.
    pub id: NetnsId,
    /// The path it was found under; none: the caller's own.
    pub path: Option<PathBuf>,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        let mut netns = Self::open("/proc/thread-self/ns/net")?;
        netns.path = None;
        Ok(netns)
    }

    /// Opens the namespace that a path stands for: a name made by `ip netns add`, a runtime's
    /// sandbox file, `/proc/PID/ns/net`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // NONBLOCK: a FIFO or a device named by mistake must not hang or act.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let handle = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| open_error(path, e.into()))?;
        let wrong = |found: &str| Error::NotANetns { path: path.to_owned(), found: found.to_owned() };
        let status = rustix::fs::fstatfs(&handle)
            .map_err(|e| Error::OpenNetns { path: path.into(), source: e.into() })?;
        if status.f_type as u64 != NSFS_MAGIC {
            // What `ip netns add` leaves behind when its mount is undone is an empty plain file.
            return Err(wrong("an ordinary file or directory (a namespace that was removed leaves one)"));
        }
        match crate::sys::namespace_type(handle.as_fd()) {
            Ok(libc::CLONE_NEWNET) => {}
            Ok(_) => return Err(wrong("a namespace of another kind")),
            Err(source) => return Err(Error::OpenNetns { path: path.into(), source }),
        }
        let id = id_of(&handle).map_err(|source| Error::OpenNetns { path: path.into(), source })?;
        Ok(Self { handle: Arc::new(handle), id, path: Some(path.to_owned()) })
    }

    /// How people name it: its path, else `net:[inode]`.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => self.id.to_string(),
        }
    }

    /// Runs `f` inside the namespace, on a thread of its own: the caller's thread never moves,
    /// so no runtime's worker can be left behind in another namespace.
    ///
    /// Blocks until `f` is done; a panic in `f` goes on in the caller.
    pub fn enter<R: Send>(&self, f: impl FnOnce() -> R + Send) -> Result<R> {
        let fail = |source| Error::EnterNetns { netns: self.label(), source };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("netns".into())
                .stack_size(THREAD_STACK_BYTES)
                .spawn_scoped(scope, || {
                    rustix::thread::move_into_link_name_space(
                        self.handle.as_fd(),
                        Some(LinkNameSpaceType::Network),
                    )
                    .map(|()| f())
                })
                .map_err(fail)?;
            match thread.join() {
                Ok(result) => result.map_err(|e| fail(e.into())),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Makes a socket in the namespace. Sockets keep the namespace they were made in, so only the
    /// making needs a thread, and not even that in the caller's own namespace.
    pub(crate) fn with_socket<R: Send>(&self, make: impl FnOnce() -> R + Send) -> Result<R> {
        if std::fs::metadata("/proc/thread-self/ns/net").is_ok_and(|own| own.ino() == u64::from(self.id.0)) {
            return Ok(make());
        }
        self.enter(make)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

fn open_error(path: &Path, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ESRCH) => Error::NoSuchNetns { path: path.to_owned() },
        _ => Error::OpenNetns { path: path.to_owned(), source },
    }
}

fn id_of(handle: &OwnedFd) -> io::Result<NetnsId> {
    // Inode numbers in nsfs are 32 bits wide (proc_alloc_inum).
    let status = rustix::fs::fstat(handle)?;
    u32::try_from(status.st_ino).map(NetnsId).map_err(|_| io::Error::from_raw_os_error(libc::ERANGE))
}

/// Every distinct namespace that has a name in our mount namespace or a process in /proc,
/// the caller's own first, then by path.
///
/// Named ones are read from the mount table, which knows them wherever a runtime puts them
/// (/run/netns, Docker's and Podman's directories). Processes that end meanwhile are skipped.
/// Must be called rarely: it looks at every process.
pub fn discover() -> Result<Vec<Netns>> {
    let own = Netns::current()?;
    let mut paths = process_namespaces()?;
    for (id, path) in named_namespaces()? {
        let better = paths.get(&id).is_none_or(|known| rank(&path) < rank(known));
        if better {
            paths.insert(id, path);
        }
    }
    let own_id = own.id;
    let mut found = vec![Netns { path: paths.get(&own_id).filter(|p| rank(p).0 < 2).cloned(), ..own }];
    let mut others: Vec<Netns> =
        paths.into_values().filter_map(|path| Netns::open(path).ok()).filter(|n| n.id != own_id).collect();
    others.sort_by(|a, b| a.path.cmp(&b.path));
    // A path may have changed hands between reading and opening.
    let mut seen = BTreeSet::new();
    others.retain(|n| seen.insert(n.id));
    found.extend(others);
    Ok(found)
}

/// Which path of a namespace to show: names made by people, names made by runtimes, processes.
fn rank(path: &Path) -> (u8, usize) {
    let class = match path {
        p if p.starts_with("/run/netns") => 0,
        p if p.starts_with("/proc") => 2,
        _ => 1,
    };
    (class, path.as_os_str().len())
}

/// The namespaces with names: bind mounts of nsfs files.
pub(crate) fn named_namespaces() -> Result<Vec<(NetnsId, PathBuf)>> {
    let what = "/proc/self/mountinfo";
    let table = std::fs::read_to_string(what).map_err(|source| Error::Proc { what: what.into(), source })?;
    Ok(table.lines().filter_map(parse_mount).collect())
}

/// A line of mountinfo(5), if it is a network namespace: `ID PARENT DEV ROOT MOUNTPOINT …`.
fn parse_mount(line: &str) -> Option<(NetnsId, PathBuf)> {
    let mut fields = line.split(' ').skip(3);
    let id = fields.next()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()?;
    Some((NetnsId(id), PathBuf::from(unescape(fields.next()?))))
}

/// Blanks and backslashes stand as `\040` in mountinfo.
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        match after.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                text.push('\\');
                rest = after;
            }
        }
    }
    text + rest
}

/// The namespaces of processes, each with the lowest process id in it.
fn process_namespaces() -> Result<BTreeMap<NetnsId, PathBuf>> {
    let mut found: BTreeMap<NetnsId, u32> = BTreeMap::new();
    for pid in pids()? {
        let Ok(status) = std::fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        let Ok(id) = u32::try_from(status.ino()) else { continue };
        let lowest = found.entry(NetnsId(id)).or_insert(pid);
        *lowest = pid.min(*lowest);
    }
    Ok(found.into_iter().map(|(id, pid)| (id, PathBuf::from(format!("/proc/{pid}/ns/net")))).collect())
}

/// The process ids in /proc.
pub(crate) fn pids() -> Result<impl Iterator<Item = u32>> {
    let entries =
        std::fs::read_dir("/proc").map_err(|source| Error::Proc { what: "/proc".into(), source })?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_of_namespaces_are_read() {
        let line = "512 23 0:4 net:[4026532600] /run/netns/my\\040web rw shared:9 - nsfs nsfs rw";
        assert_eq!(parse_mount(line), Some((NetnsId(4_026_532_600), "/run/netns/my web".into())));
        for other in
            ["", "1 2 3", "25 1 0:23 / /run rw - tmpfs tmpfs rw", "9 9 0:4 mnt:[4026532600] /m rw - nsfs"]
        {
            assert_eq!(parse_mount(other), None, "{other}");
        }
        assert_eq!(unescape("a\\134b\\0\\"), "a\\b\\0\\");
    }

    #[test]
    fn what_is_not_a_network_namespace_is_said_to_be_none() {
        let error = Netns::open("/run/netns/no-such-namespace").unwrap_err();
        assert!(matches!(error, Error::NoSuchNetns { .. }) && error.is_gone(), "{error}");
        for path in ["/etc/passwd", "/", "/proc/self/ns/mnt", "/dev/null"] {
            let error = Netns::open(path).unwrap_err();
            assert!(matches!(error, Error::NotANetns { .. }), "{path}: {error}");
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[test]
    fn names_come_before_processes() {
        let mut paths = ["/proc/1/ns/net", "/run/docker/netns/a", "/proc/20/ns/net", "/run/netns/web"];
        paths.sort_by_key(|p| rank(Path::new(p)));
        assert_eq!(paths, ["/run/netns/web", "/run/docker/netns/a", "/proc/1/ns/net", "/proc/20/ns/net"]);
    }
}

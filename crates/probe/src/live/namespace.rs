//! Network namespaces, entered on threads of their own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::ProbeError;

/// An open network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    name: String,
}

impl Namespace {
    /// The namespace at this path, such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> Result<Self, ProbeError> {
        let file =
            File::open(path).map_err(|source| ProbeError::Namespace { path: path.to_owned(), source })?;
        Ok(Self { file, name: path.display().to_string() })
    }

    /// The calling thread's own.
    pub fn current() -> Result<Self, ProbeError> {
        let namespace = Self::open(Path::new("/proc/thread-self/ns/net"))?;
        Ok(Self { name: "the caller's".to_owned(), ..namespace })
    }

    /// The path, or words for the caller's own.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether both are one namespace.
    pub fn is(&self, other: &Self) -> bool {
        let id = |f: &File| f.metadata().map(|m| (m.dev(), m.ino())).ok();
        id(&self.file).is_some() && id(&self.file) == id(&other.file)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs `work` inside, on a thread made for it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T, ProbeError> {
        let failed = |source| ProbeError::Namespace { path: PathBuf::from(&self.name), source };
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            entered.join().unwrap_or_else(|_| Err(io::Error::other("the thread inside panicked")))
        })
        .map_err(failed)
    }

    /// The namespaces where the other end of a pair may be: the caller's, the named ones, the first process's.
    pub fn candidates() -> Vec<Self> {
        let mut all: Vec<Self> = Self::current().into_iter().collect();
        let named = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
        paths.sort();
        paths.push(PathBuf::from("/proc/1/ns/net"));
        for namespace in paths.iter().filter_map(|path| Self::open(path).ok()) {
            if !all.iter().any(|known| known.is(&namespace)) {
                all.push(namespace);
            }
        }
        all
    }
}

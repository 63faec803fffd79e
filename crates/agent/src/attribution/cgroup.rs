//! From the id of a cgroup to its path.
//!
//! The id is the inode number of the cgroup's directory, and is never used twice (kernfs counts a
//! generation in its upper half since Linux 5.5). So what was found once stays true, and an id that
//! is not there will not come.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::DirEntry;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Cgroups that are remembered; beyond them the oldest are forgotten.
const MAX_KNOWN: usize = 4096;
/// Ids without a cgroup that are remembered.
const MAX_GONE: usize = 1024;
/// Directories that one search looks into.
const MAX_VISITED: usize = 16_384;

/// The cgroup v2 hierarchy.
#[derive(Debug)]
pub(super) struct Cgroups {
    mount: PathBuf,
    root: Option<u64>,
    /// Paths below the mount, absolute as a process sees them in `/proc/PID/cgroup`.
    known: HashMap<u64, PathBuf>,
    /// Keys of `known` in the order in which they came.
    known_order: VecDeque<u64>,
    gone: HashSet<u64>,
}

/// A cgroup that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its path, `/` for the root.
    pub path: PathBuf,
    /// Whether it is still there.
    pub exists: bool,
}

impl Cgroups {
    pub(super) fn new(mount: PathBuf) -> Self {
        let root = mount.metadata().ok().map(|m| m.ino());
        Self { mount, root, known: HashMap::new(), known_order: VecDeque::new(), gone: HashSet::new() }
    }

    pub(super) fn mount(&self) -> &Path {
        &self.mount
    }

    /// The directory of a cgroup.
    pub(super) fn dir(&self, path: &Path) -> PathBuf {
        self.mount.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn find(&mut self, id: u64) -> Option<Found> {
        if self.root == Some(id) {
            return Some(Found { path: "/".into(), exists: true });
        }
        if let Some(path) = self.known.get(&id) {
            let exists = self.dir(path).metadata().is_ok_and(|m| m.ino() == id);
            return Some(Found { path: path.clone(), exists });
        }
        if self.gone.contains(&id) {
            return None;
        }
        match self.search(id) {
            Searched::Found(path) => Some(Found { path, exists: true }),
            Searched::Nowhere => {
                if self.gone.len() >= MAX_GONE {
                    self.gone.clear();
                }
                self.gone.insert(id);
                None
            }
            Searched::GaveUp => None,
        }
    }

    /// Walks the hierarchy, the upper levels first, and remembers what it meets.
    fn search(&mut self, id: u64) -> Searched {
        let mut waiting = VecDeque::from([PathBuf::from("/")]);
        let mut visited = 0;
        while let Some(path) = waiting.pop_front() {
            visited += 1;
            if visited > MAX_VISITED {
                return Searched::GaveUp;
            }
            // It may have vanished since its parent was read.
            let Ok(entries) = std::fs::read_dir(self.dir(&path)) else { continue };
            let mut found = None;
            for entry in entries.filter_map(Result::ok).filter(is_dir) {
                let child = path.join(entry.file_name());
                // The number in the directory entry is the one that stat would tell (kernfs).
                let child_id = entry.ino();
                if child_id == id {
                    found = Some(child.clone());
                }
                self.remember(child_id, child.clone());
                waiting.push_back(child);
            }
            if let Some(path) = found {
                self.remember(id, path.clone());
                return Searched::Found(path);
            }
        }
        Searched::Nowhere
    }

    fn remember(&mut self, id: u64, path: PathBuf) {
        if self.known.insert(id, path).is_none() {
            self.known_order.push_back(id);
        }
        while self.known_order.len() > MAX_KNOWN {
            if let Some(oldest) = self.known_order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

enum Searched {
    Found(PathBuf),
    /// It is nowhere.
    Nowhere,
    /// There are too many cgroups to look at in one go.
    GaveUp,
}

fn is_dir(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// Where the cgroup v2 hierarchy is mounted, from `/proc/self/mountinfo` (proc(5)). The mount of its
/// root is preferred to a bind mount of a part; of several, the last one covers the others.
pub(super) fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let mut best: Option<(bool, PathBuf)> = None;
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        if after.split(' ').next() != Some("cgroup2") {
            continue;
        }
        let mut fields = before.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        let whole = root == "/";
        if best.as_ref().is_none_or(|(best_whole, _)| whole || !best_whole) {
            best = Some((whole, unescape(point)));
        }
    }
    best.map(|(_, point)| point)
}

/// Undoes the octal escapes of mountinfo (`\040` for a space).
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let (mut result, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 8).ok()).filter(|_| *byte == b'\\') {
            Some(escaped) => {
                result.push(escaped);
                at += 4;
            }
            None => {
                result.push(*byte);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(result).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_in_every_layout() {
        let unified = "24 30 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let bound = "50 1 0:38 /a/b /mnt/x rw - cgroup2 cgroup2 rw\n";
        let odd = "51 1 0:38 / /mnt/a\\040b\\134c rw - cgroup2 none rw\n";
        for (text, want) in [
            (unified.to_owned(), Some("/sys/fs/cgroup")),
            (hybrid.to_owned(), Some("/sys/fs/cgroup/unified")),
            (format!("{hybrid}{bound}"), Some("/sys/fs/cgroup/unified")),
            (format!("{bound}{unified}"), Some("/sys/fs/cgroup")),
            (bound.to_owned(), Some("/mnt/x")),
            (odd.to_owned(), Some("/mnt/a b\\c")),
            (
                "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\nnonsense - cgroup2\n"
                    .to_owned(),
                None,
            ),
        ] {
            assert_eq!(mount_point(&text).as_deref(), want.map(Path::new), "{text}");
        }
    }

    #[test]
    fn paths_are_found_remembered_and_seen_to_vanish() {
        let tree = tempfile::tempdir().unwrap();
        let inner = tree.path().join("a.slice/b.scope");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(tree.path().join("cgroup.procs"), "").unwrap();
        let id = inner.metadata().unwrap().ino();
        let mut cgroups = Cgroups::new(tree.path().into());
        let root = tree.path().metadata().unwrap().ino();
        assert_eq!(cgroups.find(root), Some(Found { path: "/".into(), exists: true }));
        let path = PathBuf::from("/a.slice/b.scope");
        assert_eq!(cgroups.find(id), Some(Found { path: path.clone(), exists: true }));
        assert_eq!(cgroups.dir(&path), inner);
        std::fs::remove_dir(&inner).unwrap();
        assert_eq!(cgroups.find(id), Some(Found { path, exists: false }));
        let file = tree.path().join("cgroup.procs").metadata().unwrap().ino();
        assert_eq!(cgroups.find(file), None, "a file is no cgroup");
        assert!(cgroups.gone.contains(&file));
    }

    #[test]
    fn memory_is_bounded() {
        let mut cgroups = Cgroups::new("/nonexistent".into());
        for id in 0..20_000 {
            cgroups.remember(id, "/x".into());
            assert_eq!(cgroups.find(100_000 + id), None);
        }
        assert_eq!((cgroups.known.len(), cgroups.known_order.len()), (MAX_KNOWN, MAX_KNOWN));
        assert!(cgroups.gone.len() <= MAX_GONE);
        assert!(cgroups.known.contains_key(&19_999) && !cgroups.known.contains_key(&0));
    }
}

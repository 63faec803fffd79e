//! Where things are pinned: `BASE/v1/maps/NAME`, `BASE/v1/links/NETNS-IFINDEX-SITE`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use portcullis_abi::ABI_VERSION;
use portcullis_abi::shield::SHIELD_VERSION;
use rustix::fs::statfs;

use crate::error::{Error, Result};
use crate::sys;

/// Magic number of the BPF file system (`BPF_FS_MAGIC`).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

fn make_directory(directory: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| Error::system(format!("making {}", directory.display()), source))?;
    check_owner(directory)
}

/// The BPF file system lets everybody make directories at its root: one that somebody else made
/// first could hold tables of theirs.
fn check_owner(directory: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(directory)
        .map_err(|source| Error::system(directory.display().to_string(), source))?;
    let own = rustix::process::geteuid().as_raw();
    if !meta.is_dir() || (meta.uid() != own && meta.uid() != 0) || meta.mode() & 0o022 != 0 {
        return Err(Error::ForeignPins { path: directory.to_owned(), owner: meta.uid() });
    }
    Ok(())
}

/// The directory of our pins, of this layout version.
#[derive(Clone, Debug)]
pub struct Pins {
    base: PathBuf,
}

impl Pins {
    /// Makes the directories where they are missing.
    pub fn open(base: &Path) -> Result<Self> {
        Self::make(base, Self::of_version(base, ABI_VERSION))
    }

    /// The same for the shield, which has a life of its own.
    pub fn open_shield(base: &Path) -> Result<Self> {
        Self::make(base, Self::of_shield(base))
    }

    /// Whether there are any of the shield.
    pub fn has_shield(base: &Path) -> bool {
        Self::of_shield(base).base.exists()
    }

    fn of_shield(base: &Path) -> Self {
        Self { base: base.join(format!("shield-v{SHIELD_VERSION}")) }
    }

    fn make(base: &Path, pins: Self) -> Result<Self> {
        let parent = base.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let magic =
            statfs(parent).map_err(|error| Error::system(parent.display().to_string(), error.into()))?;
        if magic.f_type as u64 & 0xffff_ffff != BPF_FS_MAGIC {
            return Err(Error::NoBpffs { path: base.to_owned() });
        }
        for directory in [base.to_owned(), pins.base.clone(), pins.maps(), pins.links()] {
            make_directory(&directory)?;
        }
        Ok(pins)
    }

    fn of_version(base: &Path, version: u32) -> Self {
        Self { base: base.join(format!("v{version}")) }
    }

    /// What agents of older layouts have left here, the newest first.
    pub fn older(&self) -> Vec<Self> {
        let Some(base) = self.base.parent() else {
            return Vec::new();
        };
        let older = (1..ABI_VERSION).rev().map(|version| Self::of_version(base, version));
        older.filter(|pins| check_owner(&pins.base).is_ok()).collect()
    }

    /// Directory of the tables.
    pub fn maps(&self) -> PathBuf {
        self.base.join("maps")
    }

    /// Directory of the links.
    pub fn links(&self) -> PathBuf {
        self.base.join("links")
    }

    /// Path of a table.
    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Path of a link.
    pub fn link(&self, name: &str) -> PathBuf {
        self.links().join(name)
    }

    /// Opens what is pinned at a path.
    pub fn get(path: &Path) -> Result<Option<OwnedFd>> {
        sys::open_pin(path).map_err(|source| Error::system(format!("opening pin {}", path.display()), source))
    }

    /// Pins an object, in the place of whatever was there: never a moment without a pin. Makes the
    /// directory where somebody removed it.
    pub fn put(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
        let error = |source: io::Error| Error::system(format!("pinning {}", path.display()), source);
        match sys::pin(object.as_fd(), path) {
            Err(gone) if gone.raw_os_error() == Some(libc::ENOENT) => {
                if let Some(directory) = path.parent() {
                    make_directory(directory)?;
                }
                sys::pin(object, path).map_err(error)
            }
            Err(exists) if exists.raw_os_error() == Some(libc::EEXIST) => {
                // The file system refuses names with a dot.
                let mut fresh = path.as_os_str().to_owned();
                fresh.push("-new");
                let fresh = PathBuf::from(fresh);
                Self::remove(&fresh);
                sys::pin(object, &fresh).map_err(error)?;
                fs::rename(&fresh, path).map_err(error)
            }
            other => other.map_err(error),
        }
    }

    /// Removes a pin; one that is gone already is fine.
    pub fn remove(path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(pin = %path.display(), %error, "cannot remove a pin");
        }
    }

    /// Removes the pin of a link. It is held meanwhile, so that its program is off the hook when this returns:
    /// the kernel takes its time with a link that nobody holds (`bpf_link_put`).
    pub fn remove_link(path: &Path) {
        let held = Self::get(path);
        Self::remove(path);
        drop(held);
    }

    /// Names of all pins in a directory.
    pub fn names(directory: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(directory) else {
            return Vec::new();
        };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// When a directory last gained or lost a pin.
    pub fn changed_at(directory: &Path) -> Option<(i64, i64)> {
        let meta = fs::metadata(directory).ok()?;
        Some((meta.mtime(), meta.mtime_nsec()))
    }

    /// Removes everything of ours, this version's directory included; answers how many links there were.
    pub fn remove_all(&self) -> usize {
        let links = Self::names(&self.links());
        links.iter().for_each(|name| Self::remove_link(&self.link(name)));
        Self::names(&self.maps()).iter().for_each(|name| Self::remove(&self.map(name)));
        for directory in [self.links(), self.maps(), self.base.clone()] {
            let _already_gone = fs::remove_dir(&directory);
        }
        links.len()
    }
}

//! Reading and replacing files so that nobody sees half of one.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::InstallError;

/// What a backup's name ends in: not one of the endings that runtimes read.
pub const BACKUP_SUFFIX: &str = ".portcullis-backup";

/// More than any configuration.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a configuration.
pub(super) fn read(path: &Path) -> Result<String, InstallError> {
    let failed = |source| InstallError::Io { what: "read", path: path.to_owned(), source };
    // Opening a FIFO would wait for a writer, and reading a device might never end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    let file = File::from(file);
    if !file.metadata().map_err(failed)?.is_file() {
        let why = "not a plain file".to_owned();
        return Err(InstallError::Refused { path: path.to_owned(), why });
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    let refused = |why: &str| InstallError::Refused { path: path.to_owned(), why: why.to_owned() };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refused("larger than any network configuration"));
    }
    String::from_utf8(bytes).map_err(|_| refused("not a text (UTF-8)"))
}

/// Replaces or makes a file in one step; `finish` gives the new one its mode and owner.
pub(super) fn replace(
    path: &Path,
    content: &[u8],
    finish: impl FnOnce(&File) -> io::Result<()>,
) -> Result<(), InstallError> {
    replace_with(path, |new| {
        new.write_all(content)?;
        finish(new)
    })
}

/// The same with whatever `write` puts into it.
pub(super) fn replace_with(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), InstallError> {
    let failed = |source| InstallError::Io { what: "write", path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("/"));
    // The name has none of the endings that runtimes read.
    let mut new = tempfile::Builder::new()
        .prefix(".portcullis-")
        .suffix(".new")
        .tempfile_in(directory)
        .map_err(failed)?;
    write(new.as_file_mut()).map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    new.persist(path).map_err(|error| failed(error.error))?;
    // The rename itself lasts when the directory is written; where that fails the file is there all the same.
    let _unsynced = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

/// Replaces or makes a file with the mode and owner of another.
pub(super) fn replace_like(path: &Path, content: &[u8], model: &Metadata) -> Result<(), InstallError> {
    replace(path, content, |new| {
        fchown(new, Some(model.uid()), Some(model.gid()))?;
        new.set_permissions(model.permissions())
    })
}

/// What is known of a file.
pub(super) fn metadata(path: &Path) -> Result<Metadata, InstallError> {
    fs::metadata(path).map_err(|source| InstallError::Io { what: "read", path: path.to_owned(), source })
}

/// The path of a file's backup.
pub(super) fn backup_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(BACKUP_SUFFIX);
    name.into()
}

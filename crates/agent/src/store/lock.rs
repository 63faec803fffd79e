//! One agent per state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::StoreError;

/// The lock of a directory; ends with this value, or with the process.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that is being started has it open too until it
        // executes its program. An error leaves the lock to the end of the process.
        let _ended = self.0.unlock();
    }
}

/// Takes the lock of `dir`.
///
/// A lock of its own, besides the database's: it must hold while the database is looked at, put
/// aside and made anew, and it can say who has it.
pub(super) fn take(dir: &Path) -> Result<Lock, StoreError> {
    let unusable = |e: &dyn std::fmt::Display| StoreError::Directory {
        dir: dir.into(),
        why: format!("the lock file in it: {e}: check its permissions"),
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(dir.join("lock")).map_err(|e| unusable(&e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::InUse { dir: dir.into(), pid: holder(&mut file) });
        }
        Err(TryLockError::Error(e)) => return Err(unusable(&e)),
    }
    // Only a courtesy to whoever comes second; the lock holds without it.
    let _said = say_who(&mut file);
    Ok(Lock(file))
}

fn say_who(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

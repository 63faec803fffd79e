//! Is a state file sound? Found out on a copy in memory, so that nothing is ever repaired, and
//! thereby changed, before a damaged file is put aside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend};

use super::{ReadError, Record, StoreError, builder, failed, read_all, shelf};

/// What is under the name of the state file.
pub(super) enum Found {
    Nothing,
    Sound(Vec<Record>),
    Damaged(String),
}

/// Larger files are none of ours: a million endpoints take half of this.
const MAX_LEN: u64 = 1 << 30;

pub(super) fn inspect(path: &Path) -> Result<Found, StoreError> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(failed(path, e)),
    };
    if !metadata.is_file() {
        return Ok(Found::Damaged("it is not a plain file".into()));
    }
    match metadata.len() {
        0 => return Ok(Found::Damaged("it is empty".into())),
        len if len > MAX_LEN => return Ok(Found::Damaged(format!("it is {len} bytes long"))),
        _ => {}
    }
    let bytes = std::fs::read(path).map_err(|e| failed(path, e))?;
    // A database that is damaged in a way its reader did not think of may panic there.
    let read = quiet::silently(|| catch_unwind(AssertUnwindSafe(|| read(bytes))));
    match read {
        Ok(Ok(records)) => Ok(Found::Sound(records)),
        Ok(Err(ReadError::Newer(version))) => Err(StoreError::Newer { path: path.into(), version }),
        Ok(Err(ReadError::Other(why))) => Ok(Found::Damaged(why)),
        Err(_panic) => Ok(Found::Damaged("its structure contradicts itself".into())),
    }
}

fn read(bytes: Vec<u8>) -> Result<Vec<Record>, ReadError> {
    let other = |e: &dyn std::fmt::Display| ReadError::Other(e.to_string());
    let backend = InMemoryBackend::new();
    backend.set_len(bytes.len() as u64).map_err(|e| other(&e))?;
    backend.write(0, &bytes).map_err(|e| other(&e))?;
    drop(bytes);
    let mut database: Database = builder().create_with_backend(backend).map_err(|e| other(&e))?;
    match database.check_integrity() {
        Ok(true) => {}
        // It could be made readable again by falling back to an older state. That is no state to
        // go on with in silence: the kernel still has the newer one.
        Ok(false) => return Err(ReadError::Other("a checksum is wrong".into())),
        Err(e) => return Err(other(&e)),
    }
    shelf::check(&database)?;
    read_all(&database)
}

/// Keeps an expected panic off the terminal.
mod quiet {
    use std::cell::Cell;
    use std::sync::Once;

    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static INSTALL: Once = Once::new();

    /// Runs `f`; what panics on this thread meanwhile is not reported.
    pub(super) fn silently<T>(f: impl FnOnce() -> T) -> T {
        INSTALL.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if !QUIET.get() {
                    usual(info);
                }
            }));
        });
        QUIET.set(true);
        let result = f();
        QUIET.set(false);
        result
    }
}

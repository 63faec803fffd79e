//! The desired state on disk: one embedded database file, safe against a kill at any moment.
//!
//! A change is on disk when the call that makes it returns, whole or not at all. A file that is
//! damaged is put aside, never overwritten. One agent at a time: the directory is locked.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_policy::model::Owner;
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};

mod inspect;
mod journal;
mod lock;
mod record;
mod shelf;
mod shield;
#[cfg(test)]
mod tests;

pub use journal::{Journal, ShieldChange};
pub use record::{Origin, Record, RecordError};
pub use shelf::{PolicyBook, Sentence};
pub use shield::{KeptBlock, KeptRule, KeptShield, ListChange, meant, written};

/// Name of the database in the state directory.
const FILE: &str = "state.redb";
/// Endpoints by id, each as [`Record::encode`] writes it.
const ENDPOINTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("endpoints");
/// So many writes that need not be durable are made between two durable ones: the database gives space free
/// again only then.
const VOLATILE_RUN: u32 = 256;
/// Bytes of the file that are kept in memory: the agent reads everything once and then only writes.
const CACHE_LEN: usize = 1 << 20;

/// The open store.
#[derive(Debug)]
pub struct Store {
    database: Database,
    path: PathBuf,
    /// Writes since the last durable one.
    volatile: AtomicU32,
    /// Held as long as the store is open.
    _lock: lock::Lock,
}

/// What was there when the store was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: this is the first start with this directory.
    Fresh,
    /// A sound file with these records.
    Existing(Vec<Record>),
    /// A file that cannot be trusted. It was put aside, and the store is empty.
    Damaged {
        /// Where it is now.
        kept_as: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Store {
    /// Opens the store in `dir`, and makes both where they do not exist.
    pub fn open(dir: &Path) -> Result<(Self, Opened), StoreError> {
        make_dir(dir)?;
        let lock = lock::take(dir)?;
        let path = dir.join(FILE);
        // Looked at without a write, so that a damaged file is put aside just as it was found.
        let opened = match inspect::inspect(&path)? {
            inspect::Found::Nothing => Opened::Fresh,
            inspect::Found::Sound(records) => Opened::Existing(records),
            inspect::Found::Damaged(why) => Opened::Damaged { kept_as: put_aside(&path)?, why },
        };
        let database = match opened {
            Opened::Existing(_) => builder().open(&path).map_err(|e| failed(&path, e))?,
            Opened::Fresh | Opened::Damaged { .. } => make(&path)?,
        };
        Ok((Self { database, path, volatile: AtomicU32::new(0), _lock: lock }, opened))
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds records, or replaces those of the same id: all of them or, on an error, none.
    pub fn put(&self, records: &[Record]) -> Result<(), StoreError> {
        self.change(records, &[])
    }

    /// Takes records away: all of them or, on an error, none. Ids that are not there do no harm.
    pub fn remove(&self, ids: &[&str]) -> Result<(), StoreError> {
        self.change(&[], ids)
    }

    /// Makes the records of one owner these, whole or not at all.
    pub fn replace(&self, owner: Owner, records: &[Record]) -> Result<(), StoreError> {
        let kept: std::collections::HashSet<&str> = records.iter().map(|r| r.id.as_str()).collect();
        let all = self.all()?;
        let gone = all.iter().filter(|r| r.owner == owner && !kept.contains(r.id.as_str()));
        let gone: Vec<&str> = gone.map(|r| r.id.as_str()).collect();
        self.change(records, &gone)
    }

    /// Puts and removes in one transaction.
    pub fn change(&self, put: &[Record], remove: &[&str]) -> Result<(), StoreError> {
        self.change_records(put, remove, Durability::Immediate)
    }

    /// Adds or replaces records whose source tells of them again whenever it is asked: no write waits for the
    /// disk. What a power cut takes is at most what the last few writes said; a kill of the agent takes those
    /// of the last moments too.
    pub fn put_volatile(&self, records: &[Record]) -> Result<(), StoreError> {
        self.change_volatile(records, &[])
    }

    /// Takes such records away. Ids that are not there do no harm.
    pub fn forget(&self, ids: &[&str]) -> Result<(), StoreError> {
        self.change_volatile(&[], ids)
    }

    /// Makes everything that was written so far durable.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.write(Durability::Immediate, |_| Ok(()))
    }

    /// Puts and removes such records in one transaction.
    fn change_volatile(&self, put: &[Record], remove: &[&str]) -> Result<(), StoreError> {
        let due = self.volatile.fetch_add(1, Ordering::Relaxed) >= VOLATILE_RUN;
        self.change_records(put, remove, if due { Durability::Immediate } else { Durability::None })
    }

    fn change_records(
        &self,
        put: &[Record],
        remove: &[&str],
        durability: Durability,
    ) -> Result<(), StoreError> {
        if put.is_empty() && remove.is_empty() {
            return Ok(());
        }
        self.write(durability, |transaction| {
            let mut table = transaction.open_table(ENDPOINTS).map_err(|e| e.to_string())?;
            for id in remove {
                table.remove(*id).map_err(|e| e.to_string())?;
            }
            for record in put {
                let bytes = record.encode().map_err(|e| e.to_string())?;
                table.insert(record.id.as_str(), bytes.as_slice()).map_err(|e| e.to_string())?;
            }
            Ok(())
        })
    }

    /// Every record, by id.
    pub fn all(&self) -> Result<Vec<Record>, StoreError> {
        read_all(&self.database).map_err(|e| self.unread(e))
    }

    /// One transaction. With [`Durability::Immediate`] what a caller was told is true after a power cut as
    /// well.
    fn write(
        &self,
        durability: Durability,
        edit: impl FnOnce(&WriteTransaction) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let failed = |e: &dyn std::fmt::Display| failed(&self.path, e);
        let mut transaction = self.database.begin_write().map_err(|e| failed(&e))?;
        transaction.set_durability(durability).map_err(|e| failed(&e))?;
        edit(&transaction).map_err(|e| failed(&e))?;
        transaction.commit().map_err(|e| failed(&e))?;
        if matches!(durability, Durability::Immediate) {
            self.volatile.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn unread(&self, error: ReadError) -> StoreError {
        match error {
            ReadError::Newer(version) => StoreError::Newer { path: self.path.clone(), version },
            ReadError::Other(why) => failed(&self.path, why),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_LEN);
    builder
}

/// Makes an empty database. It gets its name only when it is whole, so that an empty or half-made
/// file under that name is always damage.
fn make(path: &Path) -> Result<Database, StoreError> {
    let failed = |e: &dyn std::fmt::Display| failed(path, e);
    let draft = path.with_extension("new");
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).clone();
    let file = options.open(&draft).map_err(|e| failed(&e))?;
    let database = builder().create_file(file).map_err(|e| failed(&e))?;
    let transaction = database.begin_write().map_err(|e| failed(&e))?;
    transaction.open_table(ENDPOINTS).map(drop).map_err(|e| failed(&e))?;
    transaction.commit().map_err(|e| failed(&e))?;
    std::fs::rename(&draft, path).map_err(|e| failed(&e))?;
    sync_dir(path).map_err(|e| failed(&e))?;
    Ok(database)
}

/// Makes a rename durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Renames a damaged file to a name that nothing has yet.
fn put_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let stamp = jiff::Timestamp::now().as_second();
    let mut kept_as = path.with_file_name(format!("{FILE}.damaged-{stamp}"));
    let mut next = 2;
    while kept_as.symlink_metadata().is_ok() {
        kept_as = path.with_file_name(format!("{FILE}.damaged-{stamp}-{next}"));
        next += 1;
    }
    std::fs::rename(path, &kept_as).map_err(|e| failed(path, e))?;
    sync_dir(path).map_err(|e| failed(path, e))?;
    Ok(kept_as)
}

fn make_dir(dir: &Path) -> Result<(), StoreError> {
    let unusable = |why: String| StoreError::Directory { dir: dir.into(), why };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            unusable("a part of the path is a file: choose another with state_dir or --state-dir".into())
        }
        io::ErrorKind::PermissionDenied => unusable(
            "no permission: run the agent as root, or choose another with state_dir or --state-dir".into(),
        ),
        _ => unusable(format!("{e}: choose another with state_dir or --state-dir")),
    })?;
    let mode = dir.metadata().map_err(|e| unusable(e.to_string()))?.mode();
    if mode & 0o002 != 0 {
        // Whoever can write there can say what every workload may claim.
        return Err(unusable("every user may write to it: chmod 0700, or choose another".into()));
    }
    Ok(())
}

/// Why records could not be read.
enum ReadError {
    Newer(u32),
    Other(String),
}

fn read_all(database: &Database) -> Result<Vec<Record>, ReadError> {
    let other = |e: &dyn std::fmt::Display| ReadError::Other(e.to_string());
    let transaction = database.begin_read().map_err(|e| other(&e))?;
    let table = match transaction.open_table(ENDPOINTS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(e) => return Err(other(&e)),
    };
    let mut records = Vec::new();
    for entry in table.iter().map_err(|e| other(&e))? {
        let (id, bytes) = entry.map_err(|e| other(&e))?;
        let record = Record::decode(bytes.value()).map_err(|e| match e {
            RecordError::Newer(version) => ReadError::Newer(version),
            RecordError::Unreadable(_) => ReadError::Other(format!("the entry {:?} is {e}", id.value())),
        })?;
        if record.id != id.value() {
            return Err(ReadError::Other(format!("the entry {:?} holds {:?}", id.value(), record.id)));
        }
        records.push(record);
    }
    Ok(records)
}

fn failed(path: &Path, why: impl std::fmt::Display) -> StoreError {
    StoreError::Failed { path: path.into(), why: why.to_string() }
}

/// Why the store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another agent has it.
    #[error(
        "{}: another agent{} uses this state directory: stop that one, or give this one its own with --state-dir",
        dir.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The state directory.
        dir: PathBuf,
        /// The other agent, where it said.
        pid: Option<u32>,
    },
    /// The directory cannot be used.
    #[error("{}: cannot use the state directory: {why}", dir.display())]
    Directory {
        /// The state directory.
        dir: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// A newer agent wrote the file.
    #[error(
        "{}: a newer agent wrote this state (form {version}): start that version, or move the file away",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Reading or writing failed.
    #[error("{}: the state could not be read or written: {why}: check the disk, nothing was changed", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system or the database says.
        why: String,
    },
}

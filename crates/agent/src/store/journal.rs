//! Changes that come by the hundred a second: written to a file of their own at once, which survives a kill, and to the
//! database, which survives a power cut, once a second.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::shelf::{decode, encode};
use super::shield::{KeptRule, ListChange};
use super::{RecordError, StoreError, failed};

/// Name of the file in the state directory.
const FILE: &str = "shield.journal";

/// A change of the shield.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ShieldChange {
    /// Of the blocklist.
    List(ListChange),
    /// A rule is there.
    PutRule(KeptRule),
    /// It is not.
    RemoveRule(String),
}

/// The file, and what is in it.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Changes that the database does not have.
    pending: Vec<ShieldChange>,
}

impl Journal {
    /// Opens the file in the state directory, and reads what the agent before did not bring to the database.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let unusable = |error: io::Error| failed(&path, error);
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        let mut file = options.open(&path).map_err(unusable)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unusable)?;
        let pending = read(&bytes).map_err(|error| failed(&path, error))?;
        Ok(Self { file, path, pending })
    }

    /// Changes that the database does not have, oldest first. To make them again does no harm.
    #[must_use]
    pub fn pending(&self) -> &[ShieldChange] {
        &self.pending
    }

    /// Adds changes: all of them or, on an error, none.
    pub fn append(&mut self, changes: Vec<ShieldChange>) -> Result<(), StoreError> {
        let mut lines = Vec::new();
        for change in &changes {
            lines.extend(encode(change).map_err(|error| failed(&self.path, error))?);
            lines.push(b'\n');
        }
        let end = self.file.stream_position().map_err(|error| failed(&self.path, error))?;
        if let Err(error) = self.file.write_all(&lines) {
            // What was written of it must not be read as a change.
            let _also_broken =
                self.file.set_len(end).and_then(|()| self.file.seek(SeekFrom::Start(end)).map(drop));
            return Err(failed(&self.path, error));
        }
        self.pending.extend(changes);
        Ok(())
    }

    /// Empties it: the database has everything.
    pub fn clear(&mut self) -> Result<(), StoreError> {
        self.pending.clear();
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|error| failed(&self.path, error))
    }
}

/// Whole lines. The last one may be half a line, of an agent that was killed while it wrote: nobody was told of it.
fn read(bytes: &[u8]) -> Result<Vec<ShieldChange>, RecordError> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str) -> ShieldChange {
        ShieldChange::RemoveRule(name.to_owned())
    }

    #[test]
    fn changes_outlive_the_writer_and_half_a_line_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.append(vec![change("a"), change("b")]).unwrap();
        journal.append(vec![change("c")]).unwrap();
        drop(journal);
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.pending(), [change("a"), change("b")]);
        journal.clear().unwrap();
        journal.append(vec![change("d")]).unwrap();
        drop(journal);
        assert_eq!(Journal::open(dir.path()).unwrap().pending(), [change("d")]);
        std::fs::write(&path, "{\"version\":9,\"is\":{}}\n").unwrap();
        assert!(Journal::open(dir.path()).unwrap_err().to_string().contains("newer"));
    }
}

//! The desired state, kept in the kernel beside the tables: what a lost state file is made from.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use portcullis_abi::{Conduct, Counters, JOURNAL_CHUNK_LEN, JournalKey};
use zerocopy::IntoBytes;

use super::Tables;
use super::layout::CarryOver;
use crate::error::{Error, Result};
use crate::sys;

/// Bytes of payload in a chunk; two bytes before it tell how many are used.
const PAYLOAD_LEN: usize = JOURNAL_CHUNK_LEN - 2;

impl Tables {
    /// Keeps `text` for a slot, in place of what was kept.
    pub fn write_journal(&self, slot: u32, text: &[u8]) -> Result<()> {
        let mut chunk = 0;
        for part in text.chunks(PAYLOAD_LEN) {
            let mut value = [0u8; JOURNAL_CHUNK_LEN];
            let (len, payload) = value.split_at_mut(2);
            len.copy_from_slice(&(part.len() as u16).to_be_bytes());
            payload[..part.len()].copy_from_slice(part);
            self.journal.insert(&JournalKey { slot, chunk }, &value)?;
            chunk += 1;
        }
        while self.journal.remove(&JournalKey { slot, chunk })? {
            chunk += 1;
        }
        Ok(())
    }

    /// Everything kept, by slot.
    pub fn journal(&self) -> Result<BTreeMap<u32, Vec<u8>>> {
        let mut keys = self.journal.keys::<JournalKey>()?;
        keys.sort_unstable_by_key(|key| (key.slot, key.chunk));
        let mut texts: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for key in keys {
            let Some(value) = self.journal.get::<_, [u8; JOURNAL_CHUNK_LEN]>(&key)? else {
                continue;
            };
            let (len, payload) = value.split_at(2);
            let len = len.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)).min(PAYLOAD_LEN);
            texts.entry(key.slot).or_default().extend_from_slice(&payload[..len]);
        }
        Ok(texts)
    }

    /// Brings counters, conduct and journal over from tables of another size, or of an older layout.
    pub(crate) fn carry_over(&self, old: &CarryOver) -> Result<()> {
        for slot in 0..old.counters_len.min(self.slots) {
            self.carry_slot(old, slot)?;
        }
        let Some(journal) = &old.journal else {
            return Ok(());
        };
        let keys: Vec<JournalKey> = sys::map_keys(journal.as_fd(), usize::MAX)
            .map_err(|source| Error::system("reading the old journal", source))?;
        for key in keys {
            let mut value = [0u8; JOURNAL_CHUNK_LEN];
            if sys::map_lookup(journal.as_fd(), &key, &mut value)
                .map_err(|source| Error::system("reading the old journal", source))?
            {
                self.journal.insert(&key, &value)?;
            }
        }
        Ok(())
    }

    fn carry_slot(&self, old: &CarryOver, slot: u32) -> Result<()> {
        let mut bytes = vec![0u8; old.counters_size * self.cpus];
        let there = sys::map_lookup(old.counters.as_fd(), &slot, &mut bytes)
            .map_err(|source| Error::system("reading old counters", source))?;
        if there && bytes.iter().any(|byte| *byte != 0) {
            let mut values = vec![Counters::default(); self.cpus];
            for (value, old) in values.iter_mut().zip(bytes.chunks(old.counters_size)) {
                value.as_mut_bytes().iter_mut().zip(old).for_each(|(to, from)| *to = *from);
            }
            sys::map_update(self.counters.as_fd(), &slot, values.as_slice())
                .map_err(|source| Error::system("carrying counters over", source))?;
        }
        let Some(conduct) = &old.conduct else {
            return Ok(());
        };
        let mut value = Conduct::default();
        let there = sys::map_lookup(conduct.as_fd(), &slot, value.as_mut_bytes())
            .map_err(|source| Error::system("reading old conduct", source))?;
        // A quarantine that the kernel began must not end by this.
        if there {
            self.set_conduct(slot, &value)?;
        }
        Ok(())
    }
}

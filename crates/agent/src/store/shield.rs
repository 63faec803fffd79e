//! What is kept of the shield: lists as a whole, single changes since then, rules, and the rest.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portcullis_abi::shield::Class;
use portcullis_policy::api::{BlocklistEntry, EntryAction, EntryKey, GuardSpec, PlaceSpec, RuleSpec};
use portcullis_policy::shield::book::{BadBytes, Book, Entry, SourceList};
use redb::{Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::journal::{Journal, ShieldChange};
use super::shelf::{decode, encode};
use super::{Store, StoreError};
use crate::confirm::Pending;

/// Lists by source, as [`SourceList::to_bytes`] has them.
const LISTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("shield-lists");
/// Changes since then, in order.
const CHANGES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("shield-changes");
/// Rules by name.
const RULES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("shield-rules");
/// Everything else, by what it is.
const SETTINGS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("shield-settings");
/// So many changes are kept before lists are written as a whole again.
const MOST_CHANGES: u64 = 10_000;

/// A change of the blocklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ListChange {
    /// An entry is there.
    Put(BlocklistEntry),
    /// It is not.
    Remove(EntryKey),
}

/// A rule, and where its packets are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRule {
    /// The rule.
    pub rule: RuleSpec,
    /// Number of its counters.
    pub counter: u16,
}

/// A source that the flood guard has blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptBlock {
    /// Its address as two numbers, the first byte the highest.
    pub address: [u64; 2],
    /// 4 or 6.
    pub family: u16,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Blocks one after the other.
    pub offences: u32,
    /// Number of the reason.
    pub reason: u32,
}

/// All that is kept of the shield.
#[derive(Clone, Debug, Default)]
pub struct KeptShield {
    /// The blocklist.
    pub book: Book,
    /// Rules.
    pub rules: Vec<KeptRule>,
    /// The flood guard.
    pub guard: Option<GuardSpec>,
    /// Where it stands.
    pub places: Vec<PlaceSpec>,
    /// Sources that are blocked.
    pub blocks: Vec<KeptBlock>,
}

/// The kept form of an entry.
#[must_use]
pub fn written(source: &str, entry: &Entry) -> BlocklistEntry {
    BlocklistEntry {
        prefix: entry.net,
        action: if entry.allow { EntryAction::Allow } else { EntryAction::Block },
        protocol: portcullis_policy::api::EntryProtocol::of(entry.protocol),
        expires: entry.expires.and_then(|at| Timestamp::from_second(i64::try_from(at).ok()?).ok()),
        expires_in: None,
        comment: entry.comment.clone(),
        source: source.to_owned(),
    }
}

/// The entry behind its written form. (`expires_in` is a request's, and must have been resolved.)
#[must_use]
pub fn meant(entry: &BlocklistEntry) -> Entry {
    let allow = entry.action == EntryAction::Allow;
    Entry {
        net: entry.prefix,
        allow,
        protocol: entry.protocol.map_or(Class::ANY, portcullis_policy::api::EntryProtocol::class),
        expires: entry.expires.map(|at| u64::try_from(at.as_second()).unwrap_or(1).max(1)),
        comment: entry.comment.clone().filter(|text| !text.is_empty()),
    }
}

impl Store {
    /// Brings the journal's changes to the database, and empties it.
    pub fn fold(&self, journal: &mut Journal) -> Result<(), StoreError> {
        if journal.pending().is_empty() {
            return Ok(());
        }
        self.write(Durability::Immediate, |transaction| {
            let mut lists = transaction.open_table(CHANGES).map_err(|e| e.to_string())?;
            let mut rules = transaction.open_table(RULES).map_err(|e| e.to_string())?;
            let mut next = lists.last().map_err(|e| e.to_string())?.map_or(0, |(key, _)| key.value() + 1);
            for change in journal.pending() {
                match change {
                    ShieldChange::List(change) => {
                        let bytes = encode(change).map_err(|e| e.to_string())?;
                        lists.insert(next, bytes.as_slice()).map_err(|e| e.to_string())?;
                        next += 1;
                    }
                    ShieldChange::PutRule(rule) => {
                        let bytes = encode(rule).map_err(|e| e.to_string())?;
                        rules.insert(rule.rule.name.as_str(), bytes.as_slice()).map_err(|e| e.to_string())?;
                    }
                    ShieldChange::RemoveRule(name) => {
                        rules.remove(name.as_str()).map_err(|e| e.to_string())?;
                    }
                }
            }
            Ok(())
        })?;
        journal.clear()
    }

    /// Whether so many changes are kept that lists should be written as a whole again.
    pub fn has_long_lists(&self) -> Result<bool, StoreError> {
        let count = || -> Result<u64, String> {
            let transaction = self.database.begin_read().map_err(|e| e.to_string())?;
            match transaction.open_table(CHANGES) {
                Ok(table) => table.len().map_err(|e| e.to_string()),
                Err(TableError::TableDoesNotExist(_)) => Ok(0),
                Err(error) => Err(error.to_string()),
            }
        };
        Ok(count().map_err(|why| super::failed(self.path(), why))? > MOST_CHANGES)
    }

    /// Everything that is kept of the shield.
    pub fn shield(&self) -> Result<KeptShield, StoreError> {
        self.read_shield().map_err(|why| super::failed(self.path(), why))
    }

    fn read_shield(&self) -> Result<KeptShield, String> {
        let transaction = self.database.begin_read().map_err(|e| e.to_string())?;
        let mut kept = KeptShield::default();
        match transaction.open_table(LISTS) {
            Ok(table) => {
                for entry in table.iter().map_err(|e| e.to_string())? {
                    let (name, bytes) = entry.map_err(|e| e.to_string())?;
                    let list = SourceList::from_bytes(bytes.value());
                    kept.book.replace(
                        name.value(),
                        list.map_err(|e: BadBytes| format!("the list {:?}: {e}", name.value()))?,
                    );
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        match transaction.open_table(CHANGES) {
            Ok(table) => {
                for entry in table.iter().map_err(|e| e.to_string())? {
                    let (_, bytes) = entry.map_err(|e| e.to_string())?;
                    replay(&mut kept.book, decode(bytes.value()).map_err(|e| e.to_string())?);
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        kept.rules = all(&transaction, RULES)?;
        let settings = settings(&transaction)?;
        kept.guard = setting(&settings, "guard")?;
        kept.places = setting(&settings, "places")?.unwrap_or_default();
        kept.blocks = setting(&settings, "blocks")?.unwrap_or_default();
        Ok(kept)
    }

    /// Keeps lists as a whole: those of these sources (none: the source is gone). Changes so far are in them, for all
    /// sources, where `all`; else the changes of these sources go.
    pub fn put_lists(&self, lists: &[(&str, Option<&SourceList>)], all: bool) -> Result<(), StoreError> {
        let bytes: Vec<_> =
            lists.iter().map(|(name, list)| (*name, list.map(SourceList::to_bytes))).collect();
        self.write(Durability::Immediate, |transaction| {
            let mut table = transaction.open_table(LISTS).map_err(|e| e.to_string())?;
            for (name, bytes) in &bytes {
                match bytes {
                    Some(bytes) => drop(table.insert(*name, bytes.as_slice()).map_err(|e| e.to_string())?),
                    None => drop(table.remove(*name).map_err(|e| e.to_string())?),
                }
            }
            let mut changes = transaction.open_table(CHANGES).map_err(|e| e.to_string())?;
            let goes = |bytes: &[u8]| match decode(bytes) {
                Ok(ListChange::Put(entry)) => bytes_of(lists, &entry.source),
                Ok(ListChange::Remove(key)) => bytes_of(lists, &key.source),
                Err(_) => true,
            };
            changes.retain(|_, bytes| !(all || goes(bytes))).map_err(|e| e.to_string())
        })
    }

    /// Keeps the flood guard.
    pub fn put_shield_guard(&self, guard: Option<&GuardSpec>) -> Result<(), StoreError> {
        self.put_setting("guard", &guard)
    }

    /// Keeps where it stands.
    pub fn put_shield_places(&self, places: &[PlaceSpec]) -> Result<(), StoreError> {
        self.put_setting("places", &places)
    }

    /// Keeps which sources are blocked.
    pub fn put_shield_blocks(&self, blocks: &[KeptBlock]) -> Result<(), StoreError> {
        self.put_setting("blocks", &blocks)
    }

    /// The change that waits for a confirmation.
    pub fn pending(&self) -> Result<Option<Pending>, StoreError> {
        let read = || -> Result<Option<Pending>, String> {
            let transaction = self.database.begin_read().map_err(|e| e.to_string())?;
            setting(&settings(&transaction)?, "pending")
        };
        read().map_err(|why| super::failed(self.path(), why))
    }

    /// Keeps the change that waits for a confirmation.
    pub fn put_pending(&self, pending: Option<&Pending>) -> Result<(), StoreError> {
        self.put_setting("pending", &pending)
    }

    fn put_setting<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        self.write(Durability::Immediate, |transaction| {
            let mut table = transaction.open_table(SETTINGS).map_err(|e| e.to_string())?;
            let bytes = encode(value).map_err(|e| e.to_string())?;
            table.insert(name, bytes.as_slice()).map(drop).map_err(|e| e.to_string())
        })
    }
}

fn bytes_of(lists: &[(&str, Option<&SourceList>)], source: &str) -> bool {
    lists.iter().any(|(name, _)| *name == source)
}

fn replay(book: &mut Book, change: ListChange) {
    match change {
        ListChange::Put(entry) => drop(book.put(&entry.source, &meant(&entry))),
        ListChange::Remove(key) => {
            drop(book.remove(&key.source, key.prefix, key.action == EntryAction::Allow))
        }
    }
}

fn settings(transaction: &redb::ReadTransaction) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut settings = BTreeMap::new();
    match transaction.open_table(SETTINGS) {
        Ok(table) => {
            for entry in table.iter().map_err(|e| e.to_string())? {
                let (name, bytes) = entry.map_err(|e| e.to_string())?;
                settings.insert(name.value().to_owned(), bytes.value().to_vec());
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.to_string()),
    }
    Ok(settings)
}

fn setting<T: DeserializeOwned>(
    settings: &BTreeMap<String, Vec<u8>>,
    name: &str,
) -> Result<Option<T>, String> {
    let Some(bytes) = settings.get(name) else { return Ok(None) };
    decode::<Option<T>>(bytes).map_err(|e| format!("the entry {name:?}: {e}"))
}

fn all<T: DeserializeOwned>(
    transaction: &redb::ReadTransaction,
    table: TableDefinition<'static, &str, &[u8]>,
) -> Result<Vec<T>, String> {
    let table = match transaction.open_table(table) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut found = Vec::new();
    for entry in table.iter().map_err(|e| e.to_string())? {
        let (name, bytes) = entry.map_err(|e| e.to_string())?;
        found.push(decode(bytes.value()).map_err(|e| format!("the entry {:?}: {e}", name.value()))?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: &str, prefix: &str) -> BlocklistEntry {
        serde_json::from_value(serde_json::json!({"prefix": prefix, "source": source, "comment": "why"}))
            .unwrap()
    }

    fn rule(name: &str) -> KeptRule {
        let rule = serde_json::from_value(serde_json::json!({"name": name, "action": "drop"})).unwrap();
        KeptRule { rule, counter: 7 }
    }

    fn prefixes(kept: &KeptShield) -> Vec<String> {
        let all = kept
            .book
            .sources()
            .flat_map(|(name, list)| list.iter().map(move |entry| (name.to_owned(), entry)));
        all.map(|(name, entry)| format!("{name} {}", entry.net)).collect()
    }

    #[test]
    fn changes_are_replayed_on_the_lists_they_came_after() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (store, _) = Store::open(dir.path()).unwrap();
            let mut journal = Journal::open(dir.path()).unwrap();
            let put = |source, prefix| ShieldChange::List(ListChange::Put(entry(source, prefix)));
            journal.append(vec![put("api", "192.0.2.1"), put("feed", "192.0.2.9")]).unwrap();
            store.fold(&mut journal).unwrap();
            // A list as a whole takes the place of what its source said before, and of nothing else.
            let mut feed = SourceList::default();
            feed.put(&meant(&entry("feed", "2001:db8::/32")));
            store.put_lists(&[("feed", Some(&feed))], false).unwrap();
            let key = EntryKey {
                prefix: "192.0.2.1/32".parse().unwrap(),
                action: EntryAction::Block,
                source: "api".to_owned(),
            };
            let remove = ShieldChange::List(ListChange::Remove(key));
            journal.append(vec![put("api", "192.0.2.2"), remove, ShieldChange::PutRule(rule("a"))]).unwrap();
            let remove = |name: &str| ShieldChange::RemoveRule(name.to_owned());
            journal.append(vec![ShieldChange::PutRule(rule("b")), remove("a"), remove("nobody")]).unwrap();
            store.fold(&mut journal).unwrap();
            assert!(journal.pending().is_empty());
            store.put_shield_guard(Some(&GuardSpec::default())).unwrap();
        }
        let (store, _) = Store::open(dir.path()).unwrap();
        let kept = store.shield().unwrap();
        assert_eq!(prefixes(&kept), ["api 192.0.2.2/32", "feed 2001:db8::/32"]);
        assert_eq!(
            (kept.rules, kept.guard, kept.places.len()),
            (vec![rule("b")], Some(GuardSpec::default()), 0)
        );
        let lists: Vec<_> = kept.book.sources().map(|(name, list)| (name, Some(list))).collect();
        store.put_lists(&lists, true).unwrap();
        store.put_lists(&[("feed", None)], false).unwrap();
        assert_eq!(prefixes(&store.shield().unwrap()), ["api 192.0.2.2/32"]);
        assert_eq!(store.pending().unwrap(), None);
    }

    #[test]
    fn a_state_file_without_a_shield_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let kept = store.shield().unwrap();
        assert!(kept.book.is_empty() && kept.rules.is_empty() && kept.guard.is_none());
    }

    #[test]
    fn entries_survive_their_written_form() {
        let text = serde_json::json!({"prefix": "192.0.2.0/24", "action": "block", "protocol": "tcp",
            "expires": "2030-01-01T00:00:00Z", "comment": "why", "source": "feed"});
        let entry: BlocklistEntry = serde_json::from_value(text).unwrap();
        assert_eq!(written("feed", &meant(&entry)), entry);
    }
}

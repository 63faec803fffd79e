//! What is kept besides endpoints: gate policies that the API was given, and quarantines that outlive the
//! interface they began at.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portcullis_policy::container::Network;
use portcullis_policy::guard::GatePolicy;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ReadError, RecordError, Store, StoreError};

type Shelf = TableDefinition<'static, &'static str, &'static [u8]>;

/// Policies by name.
const POLICIES: Shelf = TableDefinition::new("policies");
/// Sentences by whom they hold for.
const SENTENCES: Shelf = TableDefinition::new("sentences");
/// Networks of runtimes, by source.
const NETWORKS: Shelf = TableDefinition::new("networks");
/// Version of the forms in bytes. A form that an older agent could not read gets a new number.
const VERSION: u32 = 1;

/// A quarantine that holds for a workload, whichever interface it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sentence {
    /// Name of the endpoint that it began at.
    pub endpoint: String,
    /// When it began.
    pub since: Timestamp,
    /// When it ends by itself; none: by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The policy behind it; none: somebody put it there by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Why, in one sentence.
    pub message: String,
}

/// A list of policies as bytes, for the kernel's journal.
#[derive(Debug)]
pub struct PolicyBook;

impl PolicyBook {
    /// Writes.
    pub fn encode(policies: &[GatePolicy]) -> Result<Vec<u8>, RecordError> {
        encode(&policies)
    }

    /// Reads.
    pub fn decode(bytes: &[u8]) -> Result<Vec<GatePolicy>, RecordError> {
        decode(bytes)
    }
}

/// The version comes first, so that it can be read before all else.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<T> {
    version: u32,
    is: T,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

pub(super) fn encode<T: Serialize>(is: &T) -> Result<Vec<u8>, RecordError> {
    serde_json::to_vec(&Written { version: VERSION, is }).map_err(|e| RecordError::Unreadable(e.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    let unreadable = |e: serde_json::Error| RecordError::Unreadable(e.to_string());
    let Versioned { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if version > VERSION {
        return Err(RecordError::Newer(version));
    }
    serde_json::from_slice(bytes).map(|written: Written<T>| written.is).map_err(unreadable)
}

impl Store {
    /// Every policy that was kept, by name.
    pub fn policies(&self) -> Result<Vec<GatePolicy>, StoreError> {
        let policies = read(&self.database, POLICIES).map_err(|e| self.unread(e))?;
        Ok(policies.into_iter().map(|(_, policy)| policy).collect())
    }

    /// Adds policies, or replaces those of the same name.
    pub fn put_policies(&self, policies: &[GatePolicy]) -> Result<(), StoreError> {
        self.change_policies(policies, &[])
    }

    /// Takes policies away. Names that are not there do no harm.
    pub fn remove_policies(&self, names: &[&str]) -> Result<(), StoreError> {
        self.change_policies(&[], names)
    }

    /// Puts and removes policies in one transaction.
    pub fn change_policies(&self, put: &[GatePolicy], remove: &[&str]) -> Result<(), StoreError> {
        self.change_shelf(POLICIES, put.iter().map(|policy| (policy.name.as_str(), policy)), remove)
    }

    /// Every sentence, by whom it holds for.
    pub fn sentences(&self) -> Result<BTreeMap<String, Sentence>, StoreError> {
        Ok(read(&self.database, SENTENCES).map_err(|e| self.unread(e))?.into_iter().collect())
    }

    /// Adds a sentence, or replaces it.
    pub fn put_sentence(&self, key: &str, sentence: &Sentence) -> Result<(), StoreError> {
        self.change_shelf(SENTENCES, std::iter::once((key, sentence)), &[])
    }

    /// Takes sentences away. Keys that are not there do no harm.
    pub fn remove_sentences(&self, keys: &[&str]) -> Result<(), StoreError> {
        self.change_shelf(SENTENCES, std::iter::empty::<(&str, &Sentence)>(), keys)
    }

    /// The networks that sources told of last.
    pub fn networks(&self) -> Result<BTreeMap<String, Vec<Network>>, StoreError> {
        Ok(read(&self.database, NETWORKS).map_err(|e| self.unread(e))?.into_iter().collect())
    }

    /// Keeps the networks of a source.
    pub fn put_networks(&self, source: &str, networks: &Vec<Network>) -> Result<(), StoreError> {
        self.change_shelf(NETWORKS, std::iter::once((source, networks)), &[])
    }

    fn change_shelf<'a, T: Serialize + 'a>(
        &self,
        shelf: Shelf,
        put: impl ExactSizeIterator<Item = (&'a str, &'a T)>,
        remove: &[&str],
    ) -> Result<(), StoreError> {
        if put.len() == 0 && remove.is_empty() {
            return Ok(());
        }
        self.write(Durability::Immediate, |transaction| {
            let mut table = transaction.open_table(shelf).map_err(|e| e.to_string())?;
            for key in remove {
                table.remove(*key).map_err(|e| e.to_string())?;
            }
            for (key, value) in put {
                let bytes = encode(value).map_err(|e| e.to_string())?;
                table.insert(key, bytes.as_slice()).map_err(|e| e.to_string())?;
            }
            Ok(())
        })
    }
}

/// Whether everything here can be read.
pub(super) fn check(database: &Database) -> Result<(), ReadError> {
    read::<GatePolicy>(database, POLICIES)?;
    read::<Sentence>(database, SENTENCES)?;
    read::<Vec<Network>>(database, NETWORKS)?;
    Ok(())
}

fn read<T: DeserializeOwned>(database: &Database, shelf: Shelf) -> Result<Vec<(String, T)>, ReadError> {
    let other = |e: &dyn std::fmt::Display| ReadError::Other(e.to_string());
    let transaction = database.begin_read().map_err(|e| other(&e))?;
    let table = match transaction.open_table(shelf) {
        Ok(table) => table,
        // Older agents kept none.
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(e) => return Err(other(&e)),
    };
    let mut found = Vec::new();
    for entry in table.iter().map_err(|e| other(&e))? {
        let (key, bytes) = entry.map_err(|e| other(&e))?;
        let value = decode(bytes.value()).map_err(|e| match e {
            RecordError::Newer(version) => ReadError::Newer(version),
            RecordError::Unreadable(why) => ReadError::Other(format!("the entry {:?}: {why}", key.value())),
        })?;
        found.push((key.value().to_owned(), value));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::super::{FILE, Opened};
    use super::*;

    fn policy(name: &str, attempts: u16) -> GatePolicy {
        let value = serde_json::json!({"name": name, "match": {"name": "*"}, "attempts": attempts});
        serde_json::from_value(value).unwrap()
    }

    fn sentence(endpoint: &str) -> Sentence {
        Sentence {
            endpoint: endpoint.into(),
            since: "2026-11-21T10:00:00Z".parse().unwrap(),
            until: Some("2026-11-21T10:10:00Z".parse().unwrap()),
            policy: Some("strict".into()),
            message: "10 attempts".into(),
        }
    }

    #[test]
    fn policies_and_sentences_are_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (store, _) = Store::open(dir.path()).unwrap();
            assert_eq!((store.policies().unwrap().len(), store.sentences().unwrap().len()), (0, 0));
            store.change_policies(&[policy("b", 1), policy("a", 2)], &["nobody"]).unwrap();
            store.change_policies(&[policy("a", 3)], &["b"]).unwrap();
            store.put_policies(&[policy("c", 1)]).unwrap();
            store.remove_policies(&["c", "nobody"]).unwrap();
            store.put_sentence("x", &sentence("web")).unwrap();
            store.put_sentence("y", &sentence("db")).unwrap();
            store.remove_sentences(&["y", "nobody"]).unwrap();
            store.put(&[record(1)]).unwrap();
        }
        let (store, opened) = Store::open(dir.path()).unwrap();
        assert_eq!(opened, Opened::Existing(vec![record(1)]));
        assert_eq!(store.policies().unwrap(), [policy("a", 3)]);
        assert_eq!(store.sentences().unwrap(), [("x".to_owned(), sentence("web"))].into());
    }

    #[test]
    fn volatile_writes_are_read_and_a_durable_one_takes_them_along() {
        let dir = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        store.put_volatile(&[record(1), record(2)]).unwrap();
        store.forget(&[record(2).id.as_str()]).unwrap();
        assert_eq!(store.all().unwrap(), [record(1)]);
        // What a kill would leave behind.
        let left = |name: &str| {
            let dir = copy.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            std::fs::copy(store.path(), dir.join(FILE)).unwrap();
            Store::open(&dir).unwrap().0.all().unwrap()
        };
        assert_eq!(left("before"), []);
        store.put(&[record(3)]).unwrap();
        assert_eq!(left("after"), [record(1), record(3)]);
    }

    /// Thousands of containers that come and go must not make the file grow.
    #[test]
    fn churn_does_not_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        for n in 0..3000 {
            store.put_volatile(&[record(n)]).unwrap();
            store.forget(&[record(n).id.as_str()]).unwrap();
        }
        let len = store.path().metadata().unwrap().len();
        assert!(len < 8 << 20, "{len} bytes for nothing");
        assert_eq!(store.all().unwrap(), []);
    }

    #[test]
    fn the_form_is_a_promise_to_later_versions() {
        let text = br#"{"version":1,"is":{"endpoint":"web","since":"2026-11-21T10:00:00Z","message":"m"}}"#;
        let sentence: Sentence = decode(text).unwrap();
        assert_eq!((sentence.endpoint.as_str(), sentence.until), ("web", None));
        let book = PolicyBook::encode(&[policy("a", 3)]).unwrap();
        assert_eq!(PolicyBook::decode(&book).unwrap(), [policy("a", 3)]);
        assert_eq!(PolicyBook::decode(br#"{"version":2}"#), Err(RecordError::Newer(2)));
        assert!(matches!(PolicyBook::decode(b"\0"), Err(RecordError::Unreadable(_))));
    }
}

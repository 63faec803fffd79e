//! The blocklist as it was asked for: what each source says, by name.
//!
//! What holds for a prefix is what all sources together say of it ([`Book::listing`]).

mod bytes;
mod column;
mod list;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use portcullis_abi::shield::Class;

use super::{Listing, Lists};
pub use bytes::BadBytes;
pub use list::{Builder, SourceList};

/// Entries of all sources together.
pub const MAX_ENTRIES: usize = 4 << 20;
/// Entries that allow, of all sources together: the flood guard must know each of them.
pub const MAX_ALLOWED: usize = 50_000;
/// Sources.
pub const MAX_SOURCES: usize = 256;

/// An entry of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its prefix, without bits beyond its length.
    pub net: IpNet,
    /// It allows, and does not block.
    pub allow: bool,
    /// The protocols that it blocks.
    pub protocol: Class,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// What somebody wrote about it.
    pub comment: Option<String>,
}

impl Entry {
    const fn listing(&self) -> Listing {
        if self.allow { Listing::ALLOW } else { Listing::block(self.protocol) }
    }
}

/// What the blocklist says of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// What blocks, of the entries that decide; none where it is allowed, or not listed.
    pub blocks: Class,
    /// Whether an entry allows it.
    pub is_allowed: bool,
    /// The entries that decide, with their sources.
    pub decisive: Vec<(String, Entry)>,
    /// All other entries around it, the longest prefix first.
    pub others: Vec<(String, Entry)>,
}

/// What all sources say.
#[derive(Clone, Debug, Default)]
pub struct Book {
    sources: BTreeMap<String, SourceList>,
}

impl Book {
    /// All sources, by name.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &SourceList)> {
        self.sources.iter().map(|(name, list)| (name.as_str(), list))
    }

    /// The entries of a source.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&SourceList> {
        self.sources.get(name)
    }

    /// Number of entries of all sources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sources.values().map(SourceList::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.values().all(SourceList::is_empty)
    }

    /// Puts an entry of a source; answers the one that was there.
    pub fn put(&mut self, source: &str, entry: &Entry) -> Option<Entry> {
        self.sources.entry(source.to_owned()).or_default().put(entry)
    }

    /// Takes an entry away; answers it.
    pub fn remove(&mut self, source: &str, net: IpNet, allow: bool) -> Option<Entry> {
        let list = self.sources.get_mut(source)?;
        let before = list.get(net, allow)?;
        list.remove(net, allow);
        if list.is_empty() {
            self.sources.remove(source);
        }
        Some(before)
    }

    /// Has a source say this, and nothing else; answers what it said before.
    pub fn replace(&mut self, source: &str, list: SourceList) -> Option<SourceList> {
        if list.is_empty() {
            return self.sources.remove(source);
        }
        self.sources.insert(source.to_owned(), list)
    }

    /// What all sources together say of exactly this prefix.
    #[must_use]
    pub fn listing(&self, net: IpNet) -> Listing {
        let said = self.sources.values().flat_map(|list| [list.get(net, false), list.get(net, true)]);
        said.flatten().fold(Listing::NOTHING, |all, entry| all.union(entry.listing()))
    }

    /// All that sources say, as it is compiled.
    #[must_use]
    pub fn lists(&self) -> Lists {
        let said = self.sources.values().flat_map(SourceList::listings);
        said.map(|(net, allow, class)| (net, if allow { Listing::ALLOW } else { Listing::block(class) }))
            .collect()
    }

    /// Takes away what has expired by now (seconds since 1970); answers sources with the prefixes of theirs that went.
    pub fn expire(&mut self, now: u64) -> Vec<(String, Vec<IpNet>)> {
        let mut all = Vec::new();
        self.sources.retain(|name, list| {
            let gone = list.expire(now);
            if !gone.is_empty() {
                all.push((name.clone(), gone));
            }
            !list.is_empty()
        });
        all
    }

    /// Prefixes that an entry allows.
    pub fn allowed(&self) -> impl Iterator<Item = IpNet> {
        let said = self.sources.values().flat_map(SourceList::listings);
        said.filter(|(_, allow, _)| *allow).map(|(net, ..)| net)
    }

    /// When the next entry expires, or before that (seconds since 1970).
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.sources.values().filter_map(SourceList::next_expiry).min()
    }

    /// What is said of an address, and which entries decide.
    #[must_use]
    pub fn explain(&self, address: IpAddr) -> Explained {
        let address = address.to_canonical();
        let mut all: Vec<(String, Entry)> = self
            .sources
            .iter()
            .flat_map(|(name, list)| list.around(address).into_iter().map(|entry| (name.clone(), entry)))
            .collect();
        all.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.net.prefix_len()));
        let is_allowed = all.iter().any(|(_, entry)| entry.allow);
        let longest =
            all.iter().filter(|(_, entry)| entry.allow == is_allowed).map(|(_, entry)| entry.net).next();
        let (decisive, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, entry)| entry.allow == is_allowed && Some(entry.net) == longest);
        let blocks = match is_allowed {
            true => Class::NONE,
            false => decisive.iter().fold(Class::NONE, |all, (_, entry)| all.union(entry.protocol)),
        };
        Explained { blocks, is_allowed, decisive, others }
    }
}

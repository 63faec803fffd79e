//! The entries of one source, twelve bytes each where they say nothing more than their prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_abi::shield::Class;

use super::Entry;
use super::column::Column;

/// Comments of one source take no more than this; those beyond it are left out.
const COMMENTS_MAX_BYTES: usize = 32 << 20;

/// Address, length, and whether it allows, as a number that sorts in this order.
pub(super) type Key4 = u64;

/// The same of IPv6; bytes sort as the address does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key6 {
    pub address: [u8; 16],
    pub len: u8,
    pub allow: bool,
}

/// What an entry says beyond its prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// Seconds since 1970; 0: never.
    pub expires: u64,
    /// Where its comment begins.
    pub comment_at: u32,
    /// Its length in bytes.
    pub comment_len: u16,
    /// Protocols.
    pub class: u8,
}

/// The entries of one source.
#[derive(Clone, Debug, Default)]
pub struct SourceList {
    pub(super) v4: Column<Key4>,
    pub(super) v6: Column<Key6>,
    pub(super) metas: Vec<Meta>,
    pub(super) comments: String,
    /// Seconds since 1970 when the first entry expires, or before; 0: none does.
    pub(super) next_expiry: u64,
}

pub(super) fn key4(net: Ipv4Net, allow: bool) -> Key4 {
    u64::from(net.addr().to_bits()) << 32 | u64::from(net.prefix_len()) << 8 | u64::from(allow)
}

pub(super) fn net4(key: Key4) -> (IpNet, bool) {
    let len = ((key >> 8) as u8).min(32);
    (Ipv4Net::new_assert(Ipv4Addr::from_bits((key >> 32) as u32), len).into(), key & 1 != 0)
}

pub(super) fn key6(net: Ipv6Net, allow: bool) -> Key6 {
    Key6 { address: net.addr().octets(), len: net.prefix_len(), allow }
}

pub(super) fn net6(key: Key6) -> (IpNet, bool) {
    (Ipv6Net::new_assert(Ipv6Addr::from(key.address), key.len.min(128)).into(), key.allow)
}

/// Collects entries in any order.
#[derive(Debug, Default)]
pub struct Builder {
    list: SourceList,
    v4: Vec<(Key4, u32)>,
    v6: Vec<(Key6, u32)>,
    taken: u64,
    comments_left_out: u64,
}

impl Builder {
    /// Takes an entry. Of one that is there already the later counts.
    pub fn push(
        &mut self,
        net: IpNet,
        allow: bool,
        protocol: Class,
        expires: Option<u64>,
        comment: Option<&str>,
    ) {
        self.taken += 1;
        let meta = self.list.meta(protocol, expires, comment);
        if comment.is_some() && self.list.metas.get(meta as usize).is_some_and(|meta| meta.comment_len == 0) {
            self.comments_left_out += 1;
        }
        match net {
            IpNet::V4(net) => self.v4.push((key4(net.trunc(), allow), meta)),
            IpNet::V6(net) => self.v6.push((key6(net.trunc(), allow), meta)),
        }
    }

    /// Entries that were taken.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Comments that there was no room for.
    #[must_use]
    pub const fn comments_left_out(&self) -> u64 {
        self.comments_left_out
    }

    /// The list, in order.
    #[must_use]
    pub fn finish(self) -> SourceList {
        let Self { mut list, v4, v6, .. } = self;
        (list.v4, list.v6) = (Column::of(v4), Column::of(v6));
        list
    }
}

impl SourceList {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number for what an entry says; the same as before where that is the same.
    fn meta(&mut self, protocol: Class, expires: Option<u64>, comment: Option<&str>) -> u32 {
        let comment = comment.filter(|text| !text.is_empty() && text.len() <= usize::from(u16::MAX));
        let comment = comment.filter(|text| self.comments.len() + text.len() <= COMMENTS_MAX_BYTES);
        let mut meta = Meta { expires: expires.unwrap_or(0), class: protocol.bits(), ..Meta::default() };
        if let Some(expires) = expires {
            self.next_expiry = if self.next_expiry == 0 { expires } else { self.next_expiry.min(expires) };
        }
        if let (Some(last), number) = (self.metas.last(), self.metas.len() as u32) {
            let said = self.comment_of(last);
            if last.expires == meta.expires && last.class == meta.class && said == comment {
                return number - 1;
            }
        }
        if let Some(text) = comment {
            (meta.comment_at, meta.comment_len) = (self.comments.len() as u32, text.len() as u16);
            self.comments.push_str(text);
        }
        self.metas.push(meta);
        (self.metas.len() - 1) as u32
    }

    fn comment_of(&self, meta: &Meta) -> Option<&str> {
        let at = meta.comment_at as usize;
        self.comments.get(at..at + usize::from(meta.comment_len)).filter(|text| !text.is_empty())
    }

    pub(super) fn entry(&self, (net, allow): (IpNet, bool), meta: u32) -> Entry {
        let meta = self.metas.get(meta as usize).copied().unwrap_or_default();
        Entry {
            net,
            allow,
            protocol: Class::from_bits(meta.class),
            expires: (meta.expires != 0).then_some(meta.expires),
            comment: self.comment_of(&meta).map(str::to_owned),
        }
    }

    /// The entry of exactly this prefix.
    #[must_use]
    pub fn get(&self, net: IpNet, allow: bool) -> Option<Entry> {
        let meta = match net {
            IpNet::V4(net) => self.v4.get(key4(net, allow)),
            IpNet::V6(net) => self.v6.get(key6(net, allow)),
        }?;
        Some(self.entry((net, allow), meta))
    }

    /// Puts an entry; answers the one that was there.
    pub fn put(&mut self, entry: &Entry) -> Option<Entry> {
        let before = self.get(entry.net, entry.allow);
        if before.as_ref() == Some(entry) {
            return before;
        }
        self.tidy();
        let meta = self.meta(entry.protocol, entry.expires, entry.comment.as_deref());
        match entry.net {
            IpNet::V4(net) => self.v4.put(key4(net, entry.allow), meta),
            IpNet::V6(net) => self.v6.put(key6(net, entry.allow), meta),
        };
        before
    }

    /// Takes an entry away; answers whether it was there.
    pub fn remove(&mut self, net: IpNet, allow: bool) -> bool {
        match net {
            IpNet::V4(net) => self.v4.remove(key4(net, allow)),
            IpNet::V6(net) => self.v6.remove(key6(net, allow)),
        }
    }

    /// Takes away what has expired by now (seconds since 1970); answers the prefixes.
    pub fn expire(&mut self, now: u64) -> Vec<IpNet> {
        if self.next_expiry == 0 || self.next_expiry > now {
            return Vec::new();
        }
        let metas = &self.metas;
        let expiry = |meta: u32| metas.get(meta as usize).map_or(0, |meta| meta.expires);
        let stays = |meta: u32| expiry(meta) == 0 || expiry(meta) > now;
        let gone4 = self.v4.retain(stays);
        let gone6 = self.v6.retain(stays);
        let left = self.v4.metas.iter().chain(&self.v6.metas).map(|meta| expiry(*meta));
        self.next_expiry = left.filter(|expires| *expires != 0).min().unwrap_or(0);
        let gone4 = gone4.into_iter().map(|key| net4(key).0);
        gone4.chain(gone6.into_iter().map(|key| net6(key).0)).collect()
    }

    /// When the next entry expires, or before that (seconds since 1970).
    #[must_use]
    pub const fn next_expiry(&self) -> Option<u64> {
        if self.next_expiry == 0 { None } else { Some(self.next_expiry) }
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.iter_from(0).map(|(_, entry)| entry)
    }

    /// Entries from a place on, each with its place.
    pub fn iter_from(&self, place: usize) -> impl Iterator<Item = (usize, Entry)> + '_ {
        let v4 = self.v4.iter().map(|(key, meta)| (net4(key), meta));
        let v6 = self.v6.iter().map(|(key, meta)| (net6(key), meta));
        let skipped = v4.skip(place).chain(v6.skip(place.saturating_sub(self.v4.len())));
        (place..).zip(skipped.map(|(net, meta)| self.entry(net, meta)))
    }

    /// Prefixes with what they say, without comments.
    pub(super) fn listings(&self) -> impl Iterator<Item = (IpNet, bool, Class)> + '_ {
        let class = |meta: u32| Class::from_bits(self.metas.get(meta as usize).map_or(0, |meta| meta.class));
        let v4 = self.v4.iter().map(move |(key, meta)| (net4(key), class(meta)));
        let v6 = self.v6.iter().map(move |(key, meta)| (net6(key), class(meta)));
        v4.chain(v6).map(|((net, allow), class)| (net, allow, class))
    }

    /// Entries that hold an address, the longest prefix first.
    pub fn around(&self, address: IpAddr) -> Vec<Entry> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let nets = (0..=most).rev().filter_map(|len| IpNet::new(address, len).ok()).map(|net| net.trunc());
        nets.flat_map(|net| [true, false].into_iter().filter_map(move |allow| self.get(net, allow))).collect()
    }

    /// Entries that are here and not there.
    #[must_use]
    pub fn count_beyond(&self, other: &Self) -> u64 {
        self.v4.count_beyond(&other.v4) + self.v6.count_beyond(&other.v6)
    }

    /// Puts what entries say beyond their prefixes together anew, when much of it belongs to none any more.
    fn tidy(&mut self) {
        const SLACK: usize = 1024;
        if self.metas.len() <= 2 * self.len() + SLACK {
            return;
        }
        let mut builder = Builder::default();
        for entry in self.iter() {
            builder.push(entry.net, entry.allow, entry.protocol, entry.expires, entry.comment.as_deref());
        }
        *self = builder.finish();
    }
}

//! The blocklist of IPv6 addresses: the desired entries, and their table.

use std::collections::BTreeMap;

use portcullis_abi::shield::list6::{self as layout, REMOVED, Shape};
use portcullis_abi::shield::{Class, LineStore};

use super::{Listing, NotInPlace, Prefix6};

/// The desired entries.
#[derive(Clone, Debug, Default)]
pub struct List6 {
    entries: BTreeMap<Prefix6, Listing>,
    by_len: BTreeMap<u8, u32>,
}

/// What is known of a table beside its content.
#[derive(Clone, Debug, Default)]
pub struct Book6 {
    shape: Shape,
    lengths: Vec<u8>,
    removed: Vec<(u32, u32)>,
}

impl Book6 {
    /// Whether there is something to clean.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.removed.is_empty()
    }
}

impl FromIterator<(Prefix6, Listing)> for List6 {
    /// Entries of the same prefix are joined.
    fn from_iter<I: IntoIterator<Item = (Prefix6, Listing)>>(entries: I) -> Self {
        let mut list = Self::default();
        for (prefix, listing) in entries {
            let joined = list.get(prefix).union(listing);
            list.set(prefix, joined);
        }
        list
    }
}

impl List6 {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix6, Listing)> {
        self.entries.iter().map(|(prefix, listing)| (*prefix, *listing))
    }

    /// What is listed of exactly this prefix.
    #[must_use]
    pub fn get(&self, prefix: Prefix6) -> Listing {
        self.entries.get(&prefix).copied().unwrap_or_default()
    }

    /// Sets what is listed of this prefix; answers what was.
    pub fn set(&mut self, prefix: Prefix6, listing: Listing) -> Listing {
        let before = if listing.is_nothing() {
            self.entries.remove(&prefix)
        } else {
            self.entries.insert(prefix, listing)
        };
        let count = self.by_len.entry(prefix.bits()).or_default();
        match (before.is_some(), listing.is_nothing()) {
            (false, false) => *count += 1,
            (true, true) => *count -= 1,
            _ => {}
        }
        if *count == 0 {
            self.by_len.remove(&prefix.bits());
        }
        before.unwrap_or_default()
    }

    /// The entry that decides about an address.
    #[must_use]
    pub fn decisive(&self, address: u128) -> Option<(Prefix6, Listing)> {
        let mut blocking = None;
        for len in self.by_len.keys().rev() {
            let prefix = Prefix6::of(address, *len);
            let listing = self.get(prefix);
            if listing.allow {
                return Some((prefix, listing));
            }
            if !listing.block.is_none() && blocking.is_none() {
                blocking = Some((prefix, listing));
            }
        }
        blocking
    }

    /// Whom the list blocks of an address.
    #[must_use]
    pub fn class_of(&self, address: u128) -> Class {
        match self.decisive(address) {
            Some((_, listing)) if !listing.allow => listing.block,
            _ => Class::NONE,
        }
    }

    /// How large a table for it is to be: a quarter as many entries again find room.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape::of(u32::try_from(self.len() + self.len() / 4).unwrap_or(u32::MAX / 4))
    }

    /// Writes the list into a table of zeros that nobody reads yet, of [`Self::shape`].
    pub fn compile(&self, table: &mut (impl LineStore + ?Sized)) -> Result<Book6, NotInPlace> {
        let lengths: Vec<u8> = self.by_len.keys().rev().copied().collect();
        let mut writer = Writer { table, book: Book6 { shape: self.shape(), lengths, removed: Vec::new() } };
        writer.header();
        for (prefix, listing) in &self.entries {
            if listing.allow || !self.is_allowed_within(*prefix) {
                writer.put(*prefix, effect(*listing))?;
            }
        }
        Ok(writer.book)
    }

    /// Sets what is listed of a prefix, here and in the table in use, in an order in which every look-up meets the
    /// old or the new verdict. Where that is not possible nothing changes.
    pub fn change(
        &mut self,
        prefix: Prefix6,
        listing: Listing,
        table: &mut (impl LineStore + ?Sized),
        book: &mut Book6,
    ) -> Result<Listing, NotInPlace> {
        let before = self.get(prefix);
        if before == listing {
            return Ok(before);
        }
        let mut writer = Writer { table, book: std::mem::take(book) };
        let outcome = self.write_change(prefix, before, listing, &mut writer);
        *book = writer.book;
        outcome?;
        self.set(prefix, listing);
        Ok(before)
    }

    fn write_change<S: LineStore + ?Sized>(
        &self,
        prefix: Prefix6,
        before: Listing,
        listing: Listing,
        writer: &mut Writer<'_, S>,
    ) -> Result<(), NotInPlace> {
        if before.allow != listing.allow && self.has_blocks_within(prefix) {
            // Many entries come or go with it.
            return Err(NotInPlace);
        }
        if !writer.book.lengths.contains(&prefix.bits()) {
            return Err(NotInPlace);
        }
        if listing.is_nothing() {
            writer.remove(prefix);
        } else if listing.allow || !self.is_allowed_within(prefix) {
            writer.put(prefix, effect(listing))?;
        }
        Ok(())
    }

    /// Makes room of what changes have removed. No program may be running any more that was when the last of them was
    /// made: a fifth of a second later will do.
    pub fn clean(&self, table: &mut (impl LineStore + ?Sized), book: &mut Book6) {
        let mut writer = Writer { table, book: std::mem::take(book) };
        for (line, slot) in std::mem::take(&mut writer.book.removed) {
            writer.set_meta(line, slot, 0);
        }
        *book = writer.book;
    }

    /// Whether a shorter prefix around it is allowed.
    fn is_allowed_within(&self, prefix: Prefix6) -> bool {
        self.by_len
            .keys()
            .take_while(|len| **len < prefix.bits())
            .any(|len| self.get(Prefix6::of(prefix.address(), *len)).allow)
    }

    fn has_blocks_within(&self, prefix: Prefix6) -> bool {
        // In this order a prefix comes before those within it.
        self.entries
            .range(prefix..)
            .take_while(|(within, _)| within.address() <= prefix.last())
            .any(|(within, listing)| *within != prefix && !listing.block.is_none())
    }
}

/// What the table says of an entry: what is allowed blocks nothing.
const fn effect(listing: Listing) -> Class {
    if listing.allow { Class::NONE } else { listing.block }
}

struct Writer<'a, S: ?Sized> {
    table: &'a mut S,
    book: Book6,
}

impl<S: LineStore + ?Sized> Writer<'_, S> {
    fn header(&mut self) {
        let lengths = self.book.lengths.clone();
        for (word, chunk) in (0u32..).zip(lengths.chunks(8)) {
            let bytes = chunk.iter().rev().fold(0u64, |all, len| all << 8 | u64::from(*len));
            self.table.set(layout::LENGTHS_AT + word / 8, word % 8, bytes);
        }
        let long = lengths.iter().filter(|len| **len >= 32).count();
        self.table.set(0, 1, lengths.len() as u64);
        self.table.set(0, 2, long as u64);
        self.table.set(0, 0, self.book.shape.word());
    }

    fn meta(&self, line: u32, slot: u32) -> u32 {
        (self.table.get(line, 6 + slot / 2) >> (slot % 2 * 32)) as u32
    }

    fn set_meta(&mut self, line: u32, slot: u32, meta: u32) {
        let (word, shift) = (6 + slot / 2, slot % 2 * 32);
        let others = self.table.get(line, word) & !(u64::from(u32::MAX) << shift);
        self.table.set(line, word, others | u64::from(meta) << shift);
    }

    /// The lines that an entry may be in.
    fn lines(&self, prefix: Prefix6) -> impl Iterator<Item = u32> + use<S> {
        let (high, low) = words(prefix);
        let shape = self.book.shape;
        (0..layout::PROBES).map(move |probe| shape.bucket_at(high, low, u32::from(prefix.bits()), probe))
    }

    fn find(&self, prefix: Prefix6) -> Option<(u32, u32)> {
        let (high, low) = words(prefix);
        let slots = self.lines(prefix).flat_map(|line| (0..layout::PER_BUCKET).map(move |slot| (line, slot)));
        slots.into_iter().find(|(line, slot)| {
            let meta = self.meta(*line, *slot);
            meta >> 31 != 0
                && layout::meta_len(meta) == u32::from(prefix.bits())
                && self.table.get(*line, slot * 2) == high
                && self.table.get(*line, slot * 2 + 1) == low
        })
    }

    fn put(&mut self, prefix: Prefix6, class: Class) -> Result<(), NotInPlace> {
        let meta = layout::meta(u32::from(prefix.bits()), class);
        if let Some((line, slot)) = self.find(prefix) {
            self.set_meta(line, slot, meta);
            return Ok(());
        }
        let (high, low) = words(prefix);
        if prefix.bits() >= 32 {
            let place = self.book.shape.filter_at(high);
            let word = self.table.get(place.line, place.word);
            self.table.set(place.line, place.word, word | 1 << place.shift);
        }
        for line in self.lines(prefix).collect::<Vec<_>>() {
            if let Some(slot) = (0..layout::PER_BUCKET).find(|slot| self.meta(line, *slot) == 0) {
                self.table.set(line, slot * 2, high);
                self.table.set(line, slot * 2 + 1, low);
                self.set_meta(line, slot, meta);
                return Ok(());
            }
            let last = self.table.get(line, 7);
            self.table.set(line, 7, last | 1 << 32);
        }
        Err(NotInPlace)
    }

    fn remove(&mut self, prefix: Prefix6) {
        if let Some((line, slot)) = self.find(prefix) {
            self.set_meta(line, slot, REMOVED);
            self.book.removed.push((line, slot));
        }
    }
}

fn words(prefix: Prefix6) -> (u64, u64) {
    ((prefix.address() >> 64) as u64, prefix.address() as u64)
}

#[cfg(test)]
mod tests;

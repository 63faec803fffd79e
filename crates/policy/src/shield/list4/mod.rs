//! The blocklist of IPv4 addresses: the desired entries, in order, eight bytes each.

mod cell;
mod paint;
mod sweep;

#[cfg(test)]
mod tests;

use portcullis_abi::shield::{Class, LineStore};

use super::{Listing, NotInPlace, Prefix4};
pub use paint::Book;
use paint::Painter;

/// Prefixes shorter than this stand beside the others: they reach over several chunks.
const SHORT: u8 = 8;
const CELLS: u32 = portcullis_abi::shield::list4::CELLS;

/// An entry as one number, which sorts by address, then by length: address, length, listing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Item(u64);

impl Item {
    const fn new(prefix: Prefix4, listing: Listing) -> Self {
        Self((prefix.address() as u64) << 32 | (prefix.bits() as u64) << 8 | listing.bits() as u64)
    }

    const fn address(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn len(self) -> u8 {
        (self.0 >> 8) as u8
    }

    const fn prefix(self) -> Prefix4 {
        Prefix4::of(self.address(), self.len())
    }

    const fn listing(self) -> Listing {
        Listing::from_bits(self.0 as u8)
    }

    const fn key(self) -> u64 {
        self.0 >> 8
    }
}

/// The desired entries.
#[derive(Clone, Debug)]
pub struct List4 {
    /// By first byte, each in order. A change moves a chunk's entries only.
    chunks: Vec<Vec<Item>>,
    short: Vec<Item>,
    by_len: [u32; 33],
}

impl Default for List4 {
    fn default() -> Self {
        Self { chunks: vec![Vec::new(); 256], short: Vec::new(), by_len: [0; 33] }
    }
}

impl FromIterator<(Prefix4, Listing)> for List4 {
    /// Entries of the same prefix are joined.
    fn from_iter<I: IntoIterator<Item = (Prefix4, Listing)>>(entries: I) -> Self {
        let mut list = Self::default();
        for (prefix, listing) in entries {
            if !listing.is_nothing() {
                list.chunk_mut(prefix).push(Item::new(prefix, listing));
            }
        }
        let Self { chunks, short, by_len } = &mut list;
        for chunk in chunks.iter_mut().chain([short]) {
            chunk.sort_unstable();
            chunk.dedup_by(|again, first| {
                let same = again.key() == first.key();
                if same {
                    first.0 |= again.0;
                }
                same
            });
            chunk.iter().for_each(|item| by_len[usize::from(item.len())] += 1);
        }
        list
    }
}

impl List4 {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_len.iter().map(|count| *count as usize).sum()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries; in the order of their addresses but for the very short prefixes, which come first.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix4, Listing)> {
        let items = self.short.iter().chain(self.chunks.iter().flatten());
        items.map(|item| (item.prefix(), item.listing()))
    }

    /// What is listed of exactly this prefix.
    #[must_use]
    pub fn get(&self, prefix: Prefix4) -> Listing {
        if self.by_len[usize::from(prefix.bits())] == 0 {
            return Listing::NOTHING;
        }
        let chunk = self.chunk(prefix);
        find(chunk, prefix).ok().and_then(|at| chunk.get(at)).map_or(Listing::NOTHING, |item| item.listing())
    }

    /// Sets what is listed of this prefix; answers what was.
    pub fn set(&mut self, prefix: Prefix4, listing: Listing) -> Listing {
        let chunk = self.chunk_mut(prefix);
        let item = Item::new(prefix, listing);
        let (before, change) = match find(chunk, prefix) {
            Ok(at) if listing.is_nothing() => (chunk.remove(at).listing(), -1),
            Ok(at) => (std::mem::replace(&mut chunk[at], item).listing(), 0),
            Err(_) if listing.is_nothing() => (Listing::NOTHING, 0),
            Err(at) => {
                chunk.insert(at, item);
                (Listing::NOTHING, 1)
            }
        };
        let count = &mut self.by_len[usize::from(prefix.bits())];
        *count = count.saturating_add_signed(change);
        before
    }

    /// The entry that decides about an address.
    #[must_use]
    pub fn decisive(&self, address: u32) -> Option<(Prefix4, Listing)> {
        let covering = (0..=32u8).rev().map(|len| Prefix4::of(address, len));
        let mut blocking = None;
        for prefix in covering {
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
    pub fn class_of(&self, address: u32) -> Class {
        match self.decisive(address) {
            Some((_, listing)) if !listing.allow => listing.block,
            _ => Class::NONE,
        }
    }

    /// Writes the list into a table of zeros that nobody reads yet.
    pub fn compile(&self, table: &mut (impl LineStore + ?Sized)) -> Result<Book, NotInPlace> {
        let mut book = Book::new(self.favoured());
        let mut painter = Painter::fresh(table, &mut book);
        painter.begin();
        self.sweep(0..CELLS, &mut painter)?;
        Ok(book)
    }

    /// Sets what is listed of a prefix, here and in the table in use, in an order in which every look-up meets the
    /// old or the new verdict. Where that is not possible nothing changes.
    pub fn change(
        &mut self,
        prefix: Prefix4,
        listing: Listing,
        table: &mut (impl LineStore + ?Sized),
        book: &mut Book,
    ) -> Result<Listing, NotInPlace> {
        let before = self.set(prefix, listing);
        if before == listing {
            return Ok(before);
        }
        let first = prefix.address() >> 8;
        let cells = first..first + (1u32 << 24u8.saturating_sub(prefix.bits()));
        if let Err(full) = self.sweep(cells.clone(), &mut Painter::in_use(table, book)) {
            self.set(prefix, before);
            // What this needs is in the table still.
            let _restored = self.sweep(cells, &mut Painter::in_use(table, book));
            return Err(full);
        }
        Ok(before)
    }

    /// Removes from the table what changes have left behind. No program may be running any more that was when the
    /// last of them was made: a fifth of a second later will do.
    pub fn clean(&self, table: &mut (impl LineStore + ?Sized), book: &mut Book) {
        Painter::in_use(table, book).clean();
    }

    /// What most entries block: those take the fewest steps.
    fn favoured(&self) -> Class {
        let mut counts = [0u32; 16];
        for (_, listing) in self.iter() {
            counts[usize::from(listing.block.bits())] += 1;
        }
        let most = (1..16u8).max_by_key(|bits| counts[usize::from(*bits)]);
        most.filter(|bits| counts[usize::from(*bits)] > 0).map_or(Class::ANY, Class::from_bits)
    }

    fn chunk(&self, prefix: Prefix4) -> &[Item] {
        match prefix.bits() {
            ..SHORT => &self.short,
            _ => self.chunks.get((prefix.address() >> 24) as usize).map_or(&[], Vec::as_slice),
        }
    }

    fn chunk_mut(&mut self, prefix: Prefix4) -> &mut Vec<Item> {
        match prefix.bits() {
            ..SHORT => &mut self.short,
            _ => &mut self.chunks[(prefix.address() >> 24) as usize],
        }
    }
}

fn find(chunk: &[Item], prefix: Prefix4) -> Result<usize, usize> {
    let key = Item::new(prefix, Listing::NOTHING).key();
    chunk.binary_search_by_key(&key, |item| item.key())
}

//! Writing cells into the table.
//!
//! In a table that programs are reading, what a new verdict needs is written before the cell's two bits turn to it,
//! and what the old one needed stays until [`Painter::clean`], or goes where its absence is the new verdict.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use portcullis_abi::shield::list4::{self as layout, Home, Place, Record, State};
use portcullis_abi::shield::{Class, LineStore};

use super::cell::{Bitmap, Content, content, is_plain};
use super::sweep::{Around, Visitor};
use super::{Item, NotInPlace};

const ONES: u64 = 0x0001_0001_0001_0001;
const CELLS_PER_WORD: u32 = 32;
const FULL: Bitmap = [u64::MAX; 4];

/// What is known of a table beside its content.
#[derive(Clone, Debug)]
pub struct Book {
    favoured: Class,
    bitmaps: HashMap<Bitmap, u32>,
    /// Cells that may have tags, or records, that they do not use any more.
    stale_tags: BTreeSet<u32>,
    stale_records: BTreeSet<u32>,
}

impl Book {
    pub(super) fn new(favoured: Class) -> Self {
        Self {
            favoured,
            bitmaps: HashMap::new(),
            stale_tags: BTreeSet::new(),
            stale_records: BTreeSet::new(),
        }
    }

    /// Whether there is something to clean.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.stale_tags.is_empty() || !self.stale_records.is_empty()
    }
}

pub(super) struct Painter<'a, S: ?Sized> {
    table: &'a mut S,
    book: &'a mut Book,
    fresh: bool,
    /// Tags in each line, of a fresh table: each goes behind the last.
    fill: Vec<u8>,
}

/// Lines of tags.
const TAG_LINES: usize = (layout::RECORDS_AT - layout::TAGS_AT) as usize;
const TAGS_PER_LINE: u8 = 32;

impl<'a, S: LineStore + ?Sized> Painter<'a, S> {
    /// Into a table of zeros that nobody reads.
    pub fn fresh(table: &'a mut S, book: &'a mut Book) -> Self {
        Self { table, book, fresh: true, fill: vec![0; TAG_LINES] }
    }

    /// Into the table in use.
    pub fn in_use(table: &'a mut S, book: &'a mut Book) -> Self {
        Self { table, book, fresh: false, fill: Vec::new() }
    }

    pub fn begin(&mut self) {
        self.table.set(layout::HEADER_AT, 0, u64::from(self.book.favoured.bits()));
    }

    /// Removes tags and records of cells that do not use them any more.
    pub fn clean(&mut self) {
        for cell in std::mem::take(&mut self.book.stale_tags) {
            if self.state(cell) != State::Hosts {
                self.keep_tags(cell, &[]);
            }
        }
        for cell in std::mem::take(&mut self.book.stale_records) {
            if self.state(cell) != State::Records {
                self.remove_records(cell);
            }
        }
    }

    /// Takes note of what a cell leaves behind when it turns from one state to another.
    fn leave(&mut self, cell: u32, from: State, to: State) {
        if self.fresh || from == to {
            return;
        }
        match from {
            State::Hosts => self.book.stale_tags.insert(cell),
            State::Records => self.book.stale_records.insert(cell),
            State::Clear | State::Whole => false,
        };
    }

    fn state(&self, cell: u32) -> State {
        State::from_bits(self.field(layout::cell_at(cell)))
    }

    fn field(&self, place: Place) -> u64 {
        self.table.get(place.line, place.word) >> place.shift
    }

    fn set_field(&mut self, place: Place, bits: u32, value: u64) {
        let mask = ((1u64 << bits) - 1) << place.shift;
        let word = self.table.get(place.line, place.word);
        self.table.set(place.line, place.word, word & !mask | value << place.shift);
    }

    /// Has look-ups go beyond the filter for some cells. It stays so: that costs a look, no more.
    fn show(&mut self, cells: Range<u32>) {
        for cell in cells.step_by(layout::CELLS_PER_BIT as usize) {
            let place = layout::filter_at(cell);
            let word = self.table.get(place.line, place.word);
            if word >> place.shift & 1 == 0 {
                self.table.set(place.line, place.word, word | 1 << place.shift);
            }
        }
    }

    /// Turns a cell to what has been written for it.
    fn turn(&mut self, cell: u32, state: State) {
        self.leave(cell, self.state(cell), state);
        self.show(cell..cell + 1);
        self.set_field(layout::cell_at(cell), 2, state as u64);
    }

    /// Turns all cells of a range, word by word.
    fn turn_all(&mut self, cells: Range<u32>, state: State) {
        let whole = ONES * 0x5555 * state as u64;
        let mut cell = cells.start;
        while cell < cells.end {
            let place = layout::cell_at(cell);
            let count = (CELLS_PER_WORD - cell % CELLS_PER_WORD).min(cells.end - cell);
            let mask = u64::MAX >> (64 - 2 * count) << place.shift;
            let before = self.table.get(place.line, place.word);
            if !self.fresh && before & mask & (ONES * 0xaaaa) != 0 {
                for cell in cell..cell + count {
                    self.leave(cell, State::from_bits(before >> layout::cell_at(cell).shift), state);
                }
            }
            let after = before & !mask | whole & mask;
            if after != before {
                if state != State::Clear {
                    let first = cell - cell % layout::CELLS_PER_BIT;
                    self.show(first..cell + count);
                }
                self.table.set(place.line, place.word, after);
            }
            cell += count;
        }
    }

    /// Whole cells of a class that is not the favoured one.
    fn wide(&mut self, cells: Range<u32>, class: Class) -> Result<(), NotInPlace> {
        let mut cell = cells.start;
        while cell < cells.end {
            let end = ((cell | 0xff) + 1).min(cells.end);
            let place = layout::wide_at(cell);
            if end - cell == 256 {
                let busy: Vec<u32> = if self.fresh {
                    Vec::new()
                } else {
                    (cell..end).filter(|cell| self.state(*cell) == State::Records).collect()
                };
                // While the last but one of several records goes, addresses of it would meet nothing.
                if busy.iter().any(|cell| self.records_of(*cell).len() > 1) {
                    return Err(NotInPlace);
                }
                self.set_field(place, 4, u64::from(class.bits()));
                self.turn_all(cell..end, State::Records);
                busy.into_iter().for_each(|cell| self.remove_records(cell));
            } else {
                for cell in cell..end {
                    self.records(cell, &[(class, FULL)])?;
                }
            }
            cell = end;
        }
        Ok(())
    }

    fn hosts(&mut self, cell: u32, hosts: &[u8]) -> bool {
        if !self.fresh && self.state(cell) != State::Hosts {
            // Unseen now, and not to be seen then.
            self.keep_tags(cell, hosts);
        }
        for host in hosts {
            if !self.add_tag(cell << 8 | u32::from(*host)) {
                self.book.stale_tags.insert(cell);
                return false;
            }
        }
        self.turn(cell, State::Hosts);
        if !self.fresh {
            self.keep_tags(cell, hosts);
        }
        true
    }

    fn add_tag(&mut self, address: u32) -> bool {
        let (line, tag) = layout::tag_of(address);
        if let Some(fill) = self.fill.get_mut((line - layout::TAGS_AT) as usize) {
            let slot = u32::from(*fill);
            if tag == 0 || *fill == TAGS_PER_LINE {
                return false;
            }
            *fill += 1;
            let place = Place { line, word: slot / 4, shift: slot % 4 * 16 };
            self.set_field(place, 16, u64::from(tag));
            return true;
        }
        if tag == 0 || self.tag_at(line, tag).is_some() {
            return tag != 0;
        }
        match self.tag_at(line, 0) {
            Some(place) => {
                self.set_field(place, 16, u64::from(tag));
                true
            }
            None => false,
        }
    }

    fn tag_at(&self, line: u32, tag: u16) -> Option<Place> {
        for word in 0..8 {
            let lanes = self.table.get(line, word) ^ (u64::from(tag) * ONES);
            let zero = lanes.wrapping_sub(ONES) & !lanes & (ONES << 15);
            if zero != 0 {
                // Borrows go upwards, so the lowest is right.
                return Some(Place { line, word, shift: zero.trailing_zeros() & !15 });
            }
        }
        None
    }

    /// Removes the tags of all other addresses of a cell.
    fn keep_tags(&mut self, cell: u32, hosts: &[u8]) {
        for host in (0..=255u8).filter(|host| !hosts.contains(host)) {
            let (line, tag) = layout::tag_of(cell << 8 | u32::from(host));
            if tag != 0
                && let Some(place) = self.tag_at(line, tag)
            {
                self.set_field(place, 16, 0);
            }
        }
    }

    fn records(&mut self, cell: u32, bitmaps: &[(Class, Bitmap)]) -> Result<(), NotInPlace> {
        let mut wanted = Vec::with_capacity(bitmaps.len());
        for (class, bitmap) in bitmaps {
            wanted.push((*class, self.bitmap(bitmap)?));
        }
        let old = if self.fresh { Vec::new() } else { self.records_of(cell) };
        let shown = self.state(cell) == State::Records;
        if !self.fresh && shown && old.is_empty() && wanted.len() > 1 {
            // Part of a whole /16: with the first record the others would meet nothing for a moment.
            return Err(NotInPlace);
        }
        if let ([old], [(class, bitmap)]) = (&old[..], &wanted[..]) {
            let key = Record(self.field(*old) as u32).key();
            self.set_field(*old, 32, u64::from(Record::new(key, *class, *bitmap).0));
        } else {
            let home = layout::home_of(cell).line;
            let mut after = old.iter().filter(|_| shown).map(|place| position(*place, home)).max();
            for (class, bitmap) in &wanted {
                after = Some(self.add_record(cell, *class, *bitmap, after)?);
            }
            old.iter().for_each(|place| self.set_field(*place, 32, u64::from(Record::REMOVED.0)));
        }
        self.turn(cell, State::Records);
        Ok(())
    }

    /// Behind a position, so that whoever finds the old record gone has the new one still ahead.
    fn add_record(
        &mut self,
        cell: u32,
        class: Class,
        bitmap: u32,
        after: Option<(u32, u32)>,
    ) -> Result<(u32, u32), NotInPlace> {
        let home = layout::home_of(cell);
        for number in 0..layout::CHOICES {
            let Home { line, key } = home.choice(number);
            for index in 0..layout::RECORDS_PER_LINE {
                let place = record_at(line, index);
                let is_free = !Record(self.field(place) as u32).is_used();
                if is_free && after.is_none_or(|after| after < (number, index)) {
                    self.set_field(place, 32, u64::from(Record::new(key, class, bitmap).0));
                    return Ok((number, index));
                }
            }
        }
        Err(NotInPlace)
    }

    /// Where the records of a cell are.
    fn records_of(&self, cell: u32) -> Vec<Place> {
        let home = layout::home_of(cell);
        let all = (0..layout::CHOICES).map(|number| home.choice(number)).flat_map(|home| {
            (0..layout::RECORDS_PER_LINE).map(move |index| (record_at(home.line, index), home.key))
        });
        all.filter(|(place, key)| Record(self.field(*place) as u32).key() == *key)
            .map(|(place, _)| place)
            .collect()
    }

    fn remove_records(&mut self, cell: u32) {
        for place in self.records_of(cell) {
            self.set_field(place, 32, u64::from(Record::REMOVED.0));
        }
    }

    /// The number of a bitmap, which is written if no other cell has it.
    fn bitmap(&mut self, bitmap: &Bitmap) -> Result<u32, NotInPlace> {
        if let Some(number) = self.book.bitmaps.get(bitmap) {
            return Ok(*number);
        }
        let number = u32::try_from(self.book.bitmaps.len()).unwrap_or(u32::MAX);
        if number >= layout::BITMAPS {
            return Err(NotInPlace);
        }
        for (word, bits) in (0u32..).zip(bitmap) {
            let place = layout::bitmap_at(number, word * 64);
            self.table.set(place.line, place.word, *bits);
        }
        self.book.bitmaps.insert(*bitmap, number);
        Ok(number)
    }
}

impl<S: LineStore + ?Sized> Visitor for Painter<'_, S> {
    fn run(&mut self, cells: Range<u32>, class: Class) -> Result<(), NotInPlace> {
        match class {
            Class::NONE if self.fresh => {}
            Class::NONE => self.turn_all(cells, State::Clear),
            class if class == self.book.favoured => self.turn_all(cells, State::Whole),
            class => self.wide(cells, class)?,
        }
        Ok(())
    }

    fn cell(&mut self, cell: u32, around: Around, items: &[Item]) -> Result<(), NotInPlace> {
        if let ([item], true) = (items, self.fresh && around.is_nothing()) {
            // Most cells of most lists.
            if is_plain(*item, self.book.favoured) && self.add_tag(item.address()) {
                self.turn(cell, State::Hosts);
                return Ok(());
            }
        }
        match content(around, items, self.book.favoured) {
            Content::Whole(class) => self.run(cell..cell + 1, class),
            Content::Bitmaps(bitmaps) => self.records(cell, &bitmaps),
            Content::Hosts(hosts) if self.hosts(cell, &hosts) => Ok(()),
            Content::Hosts(hosts) => {
                let mut bitmap = FULL.map(|_| 0);
                hosts.iter().for_each(|host| bitmap[usize::from(host / 64)] |= 1 << (host % 64));
                self.records(cell, &[(self.book.favoured, bitmap)])
            }
        }
    }
}

fn record_at(line: u32, index: u32) -> Place {
    Place { line, word: index / 2, shift: (index % 2) * 32 }
}

/// Where a look-up for a cell of this home meets a record: in which line, how far in it.
fn position(place: Place, home: u32) -> (u32, u32) {
    ((place.line - layout::RECORDS_AT) ^ (home - layout::RECORDS_AT), place.word * 2 + place.shift / 32)
}

//! Going through the cells in order, with what each inherits from the prefixes around it.

use std::ops::Range;

use portcullis_abi::shield::Class;

use super::{Item, List4, NotInPlace};
use crate::shield::{Listing, Prefix4};

/// What the prefixes around a place come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Around {
    /// One of them allows.
    pub allowed: bool,
    /// Whom the longest of those that block does.
    pub class: Class,
}

impl Around {
    const NOTHING: Self = Self { allowed: false, class: Class::NONE };

    /// Whether nothing is listed around.
    pub const fn is_nothing(self) -> bool {
        !self.allowed && self.class.is_none()
    }

    pub const fn within(self, listing: Listing) -> Self {
        let class = if listing.block.is_none() { self.class } else { listing.block };
        Self { allowed: self.allowed || listing.allow, class }
    }

    /// Whom it comes to be blocked.
    pub const fn effect(self) -> Class {
        if self.allowed { Class::NONE } else { self.class }
    }
}

/// Who is told of each cell once, in order.
pub(super) trait Visitor {
    /// Cells that are as a whole.
    fn run(&mut self, cells: Range<u32>, class: Class) -> Result<(), NotInPlace>;

    /// A cell with entries of its own that are longer than 24 bits, in order.
    fn cell(&mut self, cell: u32, around: Around, items: &[Item]) -> Result<(), NotInPlace>;
}

/// The prefixes around where the sweep is, the shortest first, each with its end.
struct Sweep<'a, V> {
    visitor: &'a mut V,
    next: u32,
    around: Vec<(u32, Around)>,
}

impl<V: Visitor> Sweep<'_, V> {
    fn now(&self) -> Around {
        self.around.last().map_or(Around::NOTHING, |(_, around)| *around)
    }

    /// Goes up to a cell.
    fn advance(&mut self, to: u32) -> Result<(), NotInPlace> {
        loop {
            let end = self.around.last().map_or(u32::MAX, |(end, _)| *end);
            let stop = end.min(to);
            if self.next < stop {
                self.visitor.run(self.next..stop, self.now().effect())?;
                self.next = stop;
            }
            if end > to {
                return Ok(());
            }
            self.around.pop();
        }
    }

    /// A prefix of 24 bits or less begins.
    fn enter(&mut self, item: Item) -> Result<(), NotInPlace> {
        let first = item.address() >> 8;
        self.advance(first)?;
        let end = first + (1u32 << (24 - item.len().min(24)));
        self.around.push((end, self.now().within(item.listing())));
        Ok(())
    }

    fn cell(&mut self, cell: u32, items: &[Item]) -> Result<(), NotInPlace> {
        self.advance(cell)?;
        self.visitor.cell(cell, self.now(), items)?;
        self.next = cell + 1;
        Ok(())
    }
}

impl List4 {
    /// Tells the visitor of the cells of a range, each once and in order.
    pub(super) fn sweep(&self, cells: Range<u32>, visitor: &mut impl Visitor) -> Result<(), NotInPlace> {
        let mut sweep = Sweep { visitor, next: cells.start, around: self.around(cells.start) };
        let (first, last) = (cells.start >> 16, (cells.end - 1) >> 16);
        for octet in first..=last {
            // What is shorter than a chunk begins where one does, and comes before what is within.
            for item in self.short.iter().filter(|item| item.address() >> 24 == octet) {
                if cells.contains(&(item.address() >> 8)) {
                    sweep.enter(*item)?;
                }
            }
            let mut rest = within(self.chunks.get(octet as usize).map_or(&[], Vec::as_slice), &cells);
            while let Some(item) = rest.first() {
                let cell = item.address() >> 8;
                let many = match item.len() {
                    ..=24 => {
                        sweep.enter(*item)?;
                        1
                    }
                    _ => {
                        let same = rest.iter().take_while(|item| item.address() >> 8 == cell).count();
                        sweep.cell(cell, rest.get(..same).unwrap_or(rest))?;
                        same
                    }
                };
                rest = rest.get(many..).unwrap_or(&[]);
            }
        }
        sweep.advance(cells.end)
    }

    /// The prefixes that begin before a cell and hold it.
    fn around(&self, cell: u32) -> Vec<(u32, Around)> {
        let mut all = Vec::new();
        let mut around = Around::NOTHING;
        for len in 0..24 {
            let prefix = Prefix4::of(cell << 8, len);
            let listing = self.get(prefix);
            if prefix.address() >> 8 != cell && !listing.is_nothing() {
                around = around.within(listing);
                all.push(((prefix.address() >> 8) + (1 << (24 - len)), around));
            }
        }
        all
    }
}

/// The entries that begin in these cells.
fn within<'a>(chunk: &'a [Item], cells: &Range<u32>) -> &'a [Item] {
    let from = chunk.partition_point(|item| item.address() >> 8 < cells.start);
    let to = chunk.partition_point(|item| item.address() >> 8 < cells.end);
    chunk.get(from..to).unwrap_or(&[])
}

//! How the shield's tables are read.

use portcullis_abi::shield::{Line, list4::Place};

/// A table of lines. User space may be changing it: every word is read once.
pub trait Lines {
    /// A line of it.
    type Row: Row;

    /// The line with this number; none beyond the table's end.
    fn row(&self, line: u32) -> Option<Self::Row>;

    /// The word that holds a bit field, with the field's lowest bit at the bottom.
    #[inline(always)]
    fn field(&self, place: Place) -> Option<u64> {
        Some(self.row(place.line)?.word_at(place.word) >> (place.shift & 63))
    }
}

/// A line of eight words.
pub trait Row {
    /// A word whose number the compiler knows; it counts modulo eight.
    fn word(&self, word: u32) -> u64;

    /// A word whose number is computed; it counts modulo eight.
    #[inline(always)]
    fn word_at(&self, word: u32) -> u64 {
        self.word(word)
    }
}

impl<'a> Lines for &'a [Line] {
    type Row = &'a Line;

    fn row(&self, line: u32) -> Option<&'a Line> {
        self.get(line as usize)
    }
}

impl Row for &Line {
    fn word(&self, word: u32) -> u64 {
        let [a, b, c, d, e, f, g, h] = self.0;
        match word & 7 {
            0 => a,
            1 => b,
            2 => c,
            3 => d,
            4 => e,
            5 => f,
            6 => g,
            _ => h,
        }
    }
}

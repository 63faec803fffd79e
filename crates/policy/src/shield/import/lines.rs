//! A list line by line, without holding more of it than a line.

use std::io::{self, BufRead, ErrorKind};
use std::ops::ControlFlow::{Break, Continue};

use super::ItemError;
use super::sink::{Flow, Sink, Stop};

/// The longest line, in bytes; a longer one is an error, and skipped.
pub const LONGEST_LINE: usize = 64 * 1024;

/// How much of a line that is too long is kept for the error.
const KEPT: usize = 256;

/// A format in which each line is for itself, or nearly.
pub(super) trait LineFormat {
    /// A line, without its end.
    fn line(&mut self, number: u64, text: &[u8], sink: &mut Sink<'_>) -> Flow;

    /// All lines were read.
    fn end(&mut self, sink: &mut Sink<'_>) -> Flow {
        let _ = sink;
        Continue(())
    }
}

/// The next piece; empty at the end.
pub(super) fn fill<R: BufRead + ?Sized>(reader: &mut R) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
            // Asked again because a loop may not return what it borrowed; this gives the same.
            Ok(_) => return reader.fill_buf(),
        }
    }
}

/// Takes the beginning out of the reader: as much as the longest line.
pub(super) fn head<R: BufRead + ?Sized>(reader: &mut R) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < LONGEST_LINE {
        let piece = fill(reader)?;
        if piece.is_empty() {
            break;
        }
        let taken = piece.len().min(LONGEST_LINE - head.len());
        head.extend_from_slice(&piece[..taken]);
        reader.consume(taken);
    }
    Ok(head)
}

/// A line that is not yet complete.
#[derive(Default)]
struct Begun {
    text: Vec<u8>,
    too_long: bool,
}

impl Begun {
    fn push(&mut self, piece: &[u8]) {
        if self.too_long {
            return;
        }
        // A line may have its CR beyond its length.
        if self.text.len() + piece.len() > LONGEST_LINE + 1 {
            self.too_long = true;
            let room = KEPT.saturating_sub(self.text.len());
            self.text.extend_from_slice(&piece[..piece.len().min(room)]);
            self.text.truncate(KEPT);
        } else {
            self.text.extend_from_slice(piece);
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.too_long
    }
}

/// Gives each line to the format.
pub(super) fn each(reader: &mut impl BufRead, format: &mut impl LineFormat, sink: &mut Sink<'_>) -> Flow {
    let mut begun = Begun::default();
    loop {
        let piece = match fill(reader) {
            Ok(piece) => piece,
            Err(error) => return Break(Stop::Failed(error.into())),
        };
        if piece.is_empty() {
            break;
        }
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if begun.is_empty() {
                line(&rest[..end], false, format, sink)?;
            } else {
                begun.push(&rest[..end]);
                line(&begun.text, begun.too_long, format, sink)?;
                begun.text.clear();
                begun.too_long = false;
            }
            rest = &rest[end + 1..];
        }
        begun.push(rest);
        let length = piece.len();
        reader.consume(length);
    }
    if !begun.is_empty() {
        line(&begun.text, begun.too_long, format, sink)?;
    }
    format.end(sink)
}

fn line(text: &[u8], too_long: bool, format: &mut impl LineFormat, sink: &mut Sink<'_>) -> Flow {
    sink.summary.lines += 1;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let number = sink.summary.lines;
    if too_long || text.len() > LONGEST_LINE {
        return sink.bad(number, &text[..text.len().min(KEPT)], ItemError::TooLong);
    }
    format.line(number, text, sink)
}

//! JSON: objects with an address under a usual key, or arrays of addresses, at any depth; as a document or as one value
//! on each line.
//!
//! Nothing is built of a document: what is found goes to the caller while it is being parsed.

mod object;
mod visit;

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::ops::ControlFlow::{Break, Continue};

use serde::de::{DeserializeSeed, IgnoredAny};

use super::lines::{LONGEST_LINE, LineFormat, fill};
use super::names::wanted;
use super::sink::{Flow, Sink, Stop};
use super::{ItemError, ReadError};
use visit::{Place, State, Value};

/// Whether each line is a value: the first is a whole object, and the next one begins another.
pub(super) fn is_lines(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return false };
    first.starts_with(b"{") && second.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(first).is_ok()
}

/// A list with a value on each line.
pub(super) struct JsonLines<'o> {
    /// The only key that holds addresses, where there is one.
    pub column: Option<&'o str>,
}

impl LineFormat for JsonLines<'_> {
    fn line(&mut self, number: u64, text: &[u8], sink: &mut Sink<'_>) -> Flow {
        let text = text.trim_ascii();
        if text.is_empty() {
            return Continue(());
        }
        // Whole, before anything of it is taken.
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(text) {
            return sink.bad(number, text, ItemError::Json(reason(&error)));
        }
        let line = Cell::new(number);
        let before = given(sink);
        let mut state = State::new(sink, &line, self.column);
        let parsed =
            Value::new(&mut state, Place::Top).deserialize(&mut serde_json::Deserializer::from_slice(text));
        let (stop, is_metadata) = (state.stop.take(), state.is_metadata);
        match (stop, parsed) {
            (Some(stop), _) => Break(stop),
            (None, Err(error)) => sink.bad(number, text, ItemError::Json(reason(&error))),
            (None, Ok(())) if given(sink) == before && !is_metadata => {
                sink.bad(number, text, ItemError::Missing)
            }
            (None, Ok(())) => Continue(()),
        }
    }
}

fn given(sink: &Sink<'_>) -> u64 {
    sink.summary.items + sink.summary.errors
}

/// Reads a document (or several, one after the other).
pub(super) fn read_document(reader: &mut impl BufRead, column: Option<&str>, sink: &mut Sink<'_>) -> Flow {
    let counts = Counts { line: Cell::new(1), last: Cell::new(b'\n'), too_long: Cell::new(false) };
    let counting = Counting { inner: reader, counts: &counts, token: 0, quoted: false, escaped: false };
    let mut parser = serde_json::Deserializer::from_reader(counting);
    let mut state = State::new(sink, &counts.line, column);
    let result = loop {
        match parser.end() {
            Ok(()) => break Ok(()),
            Err(error) if error.is_io() => break Err(error),
            Err(_) => (),
        }
        if let Err(error) = Value::new(&mut state, Place::Top).deserialize(&mut parser) {
            break Err(error);
        }
    };
    let (stop, bare) = (state.stop.take(), state.bare.take());
    sink.summary.lines = counts.line.get() - u64::from(counts.last.get() == b'\n');
    match (stop, result) {
        (Some(stop), _) => Break(stop),
        (None, Err(error)) => Break(Stop::Failed(failure(error, &counts))),
        (None, Ok(())) => match bare {
            Some(keys) if given(sink) == 0 => {
                Break(Stop::Failed(ReadError::NoKey { wanted: wanted(column), keys }))
            }
            _ => Continue(()),
        },
    }
}

fn failure(error: serde_json::Error, counts: &Counts) -> ReadError {
    let line = counts.line.get();
    if counts.too_long.get() {
        return ReadError::Json {
            line,
            what: format!("a text or number is longer than {LONGEST_LINE} bytes"),
        };
    }
    if error.is_io() {
        return ReadError::Io(error.into());
    }
    ReadError::Json { line, what: reason(&error) }
}

/// Why, without where: the parser does not know in which line of the list it is.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

/// What is known of what the parser has read so far.
struct Counts {
    line: Cell<u64>,
    last: Cell<u8>,
    too_long: Cell<bool>,
}

/// Counts lines, and refuses a text or number that the parser would have to hold in memory.
struct Counting<'a, R> {
    inner: &'a mut R,
    counts: &'a Counts,
    /// Bytes of the present text or number.
    token: usize,
    quoted: bool,
    escaped: bool,
}

impl<R: BufRead> Read for Counting<'_, R> {
    /// The parser takes one byte at a time, so that the line is always the one it is in.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = fill(self.inner)?;
        let (Some(byte), Some(to)) = (piece.first().copied(), into.first_mut()) else { return Ok(0) };
        *to = byte;
        self.inner.consume(1);
        self.count(byte)?;
        Ok(1)
    }
}

impl<R> Counting<'_, R> {
    fn count(&mut self, byte: u8) -> io::Result<()> {
        self.counts.last.set(byte);
        self.counts.line.set(self.counts.line.get() + u64::from(byte == b'\n'));
        let ends = match byte {
            _ if self.escaped => {
                self.escaped = false;
                false
            }
            b'\\' if self.quoted => {
                self.escaped = true;
                false
            }
            b'"' => {
                self.quoted = !self.quoted;
                true
            }
            b',' | b':' | b'{' | b'}' | b'[' | b']' | b' ' | b'\t' | b'\r' | b'\n' => !self.quoted,
            _ => false,
        };
        self.token = if ends { 0 } else { self.token + 1 };
        if self.token > LONGEST_LINE {
            self.counts.too_long.set(true);
            return Err(io::Error::other("a text or number that is too long"));
        }
        Ok(())
    }
}

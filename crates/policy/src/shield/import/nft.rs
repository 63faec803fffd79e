//! What nft lists and reads: sets with elements, and commands that add elements.
//!
//! Read byte by byte, not line by line: all elements of a set may stand on one line.

use std::collections::HashSet;
use std::io::BufRead;
use std::ops::ControlFlow::{Break, Continue};

use super::address::{Entry, read_entry, read_range};
use super::lines::fill;
use super::sink::{Extra, Flow, Sink, Stop};
use super::words::{Words, nft_span, permanent};
use super::{ItemError, LONGEST_LINE};
use crate::span::Span;

/// How much of a statement is looked at, in bytes: its beginning says what it is.
const STATEMENT: usize = 1024;

/// How many sets of something else than addresses are remembered for commands that add to them.
const SETS: usize = 4096;

#[derive(Default)]
struct Nft {
    line: u64,
    /// What is being read, without what it begins with.
    text: Vec<u8>,
    /// Where that begins.
    begun_at: u64,
    too_long: bool,
    quoted: bool,
    comment: bool,
    /// How many blocks are open, without that of elements.
    depth: usize,
    set: Option<Set>,
    /// Of which the elements are not addresses.
    others: HashSet<Vec<u8>>,
    elements: Option<Elements>,
}

/// The set whose block is open.
#[derive(Default)]
struct Set {
    name: Vec<u8>,
    /// How many blocks are open within it, itself included.
    depth: usize,
    /// Its elements are something else.
    other: bool,
    timeout: Option<Span>,
}

/// What to do with elements.
#[derive(Clone, Copy)]
enum Elements {
    /// Read them; those without a timeout have this.
    Take(Option<Span>),
    Skip,
}

/// Reads a list of this format.
pub(super) fn read(reader: &mut impl BufRead, sink: &mut Sink<'_>) -> Flow {
    let mut nft = Nft { line: 1, ..Nft::default() };
    let mut last = b'\n';
    loop {
        let piece = match fill(reader) {
            Ok(piece) => piece,
            Err(error) => return Break(Stop::Failed(error.into())),
        };
        let Some(end) = piece.last() else { break };
        last = *end;
        for byte in piece {
            sink.summary.lines = nft.line;
            nft.byte(*byte, sink)?;
        }
        let length = piece.len();
        reader.consume(length);
    }
    sink.summary.lines = nft.line - u64::from(last == b'\n');
    nft.end(sink)
}

impl Nft {
    fn byte(&mut self, byte: u8, sink: &mut Sink<'_>) -> Flow {
        let flow = if byte == b'\n' {
            self.comment = false;
            self.quoted = false;
            self.meaning(byte, sink)
        } else if self.comment {
            Continue(())
        } else if self.quoted {
            self.quoted = byte != b'"';
            self.push(byte);
            Continue(())
        } else {
            self.meaning(byte, sink)
        };
        self.line += u64::from(byte == b'\n');
        flow
    }

    fn meaning(&mut self, byte: u8, sink: &mut Sink<'_>) -> Flow {
        match (byte, self.elements) {
            (b'#', _) => self.comment = true,
            (b'}', Some(elements)) => {
                self.elements = None;
                return self.element(elements, sink);
            }
            (b',', Some(elements)) => return self.element(elements, sink),
            (b'{', None) => return self.open(sink),
            (b'}', None) => {
                self.statement(sink)?;
                self.close();
            }
            (b'\n', None) if self.text.last() == Some(&b'\\') => {
                self.text.pop();
            }
            (b';' | b'\n', None) => return self.statement(sink),
            (byte, _) => {
                self.quoted = byte == b'"';
                self.push(byte);
            }
        }
        Continue(())
    }

    fn push(&mut self, byte: u8) {
        if self.text.is_empty() {
            if byte.is_ascii_whitespace() {
                return;
            }
            self.begun_at = self.line;
        }
        let most = match self.elements {
            None => STATEMENT,
            Some(Elements::Take(_)) => LONGEST_LINE,
            Some(Elements::Skip) => 0,
        };
        if self.text.len() < most {
            self.text.push(byte);
        } else {
            self.too_long = true;
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.too_long = false;
    }

    /// A block begins; what stands before it says which.
    fn open(&mut self, sink: &mut Sink<'_>) -> Flow {
        let text = std::mem::take(&mut self.text);
        let begun_at = self.begun_at;
        let words: Vec<&[u8]> = words(&text);
        let verb =
            matches!(words.first(), Some(&(b"add" | b"create" | b"delete" | b"destroy" | b"get" | b"reset")));
        let (kind, name) = (words.get(usize::from(verb)).copied(), words.last().copied().unwrap_or_default());
        match (kind, &self.set) {
            (Some(b"elements" | b"elements="), Some(set)) => {
                self.elements = Some(if set.other { Elements::Skip } else { Elements::Take(set.timeout) });
            }
            // Of a piece of a list, without the set around it.
            (Some(b"elements" | b"elements="), None) => self.elements = Some(Elements::Take(None)),
            (Some(b"element"), _) if matches!(words.first(), Some(&(b"add" | b"create" | b"element"))) => {
                let other = self.others.contains(name);
                self.elements = Some(if other { Elements::Skip } else { Elements::Take(None) });
            }
            (Some(b"element"), _) => {
                self.elements = Some(Elements::Skip);
                sink.bad(begun_at, &text, ItemError::Removal)?;
            }
            (Some(b"define" | b"redefine"), _) => {
                self.elements = Some(Elements::Skip);
                sink.bad(begun_at, &text, ItemError::Variable)?;
            }
            (Some(kind @ (b"set" | b"map")), None) => {
                self.depth += 1;
                let other = kind == b"map";
                self.set = Some(Set { name: name.to_vec(), depth: self.depth, other, timeout: None });
                if other {
                    self.remember_other();
                }
            }
            _ => self.depth = self.depth.saturating_add(1),
        }
        self.too_long = false;
        Continue(())
    }

    fn close(&mut self) {
        if self.set.as_ref().is_some_and(|set| set.depth >= self.depth) {
            self.set = None;
        }
        self.depth = self.depth.saturating_sub(1);
    }

    fn remember_other(&mut self) {
        if let Some(set) = &self.set
            && self.others.len() < SETS
        {
            self.others.insert(set.name.clone());
        }
    }

    /// A statement ends that has no block.
    fn statement(&mut self, sink: &mut Sink<'_>) -> Flow {
        let text = std::mem::take(&mut self.text);
        let words = words(&text);
        let flow = match (words.first(), &mut self.set) {
            (Some(&(b"type" | b"typeof")), Some(set)) => {
                set.other = set.other || !is_of_addresses(&words);
                if set.other {
                    self.remember_other();
                }
                Continue(())
            }
            (Some(&b"timeout"), Some(set)) => {
                match words.get(1).map_or(Err(ItemError::Timeout), |span| nft_span(span)) {
                    Ok(span) => set.timeout = permanent(span),
                    Err(what) => return sink.bad(self.begun_at, &text, what),
                }
                Continue(())
            }
            (Some(&(b"elements" | b"elements=")), _) => sink.bad(self.begun_at, &text, ItemError::Variable),
            (Some(&(b"add" | b"create")), _) if words.get(1) == Some(&&b"element"[..]) => {
                sink.bad(self.begun_at, &text, ItemError::Variable)
            }
            _ => Continue(()),
        };
        self.text = text;
        self.clear();
        flow
    }

    /// An element ends.
    fn element(&mut self, elements: Elements, sink: &mut Sink<'_>) -> Flow {
        let flow = match elements {
            Elements::Take(_) if self.too_long => sink.bad(self.begun_at, &self.text, ItemError::TooLong),
            Elements::Take(timeout) if !self.text.is_empty() => {
                let key = Words(&self.text).next_key();
                match element(&self.text, timeout) {
                    Ok((entry, extra)) => sink.take(self.begun_at, key, Ok(entry), extra),
                    Err(what) => sink.bad(self.begun_at, &self.text, what),
                }
            }
            _ => Continue(()),
        };
        self.clear();
        flow
    }

    /// The list ends. An element that is not followed by anything may be cut off: `192.0.2.1` of `192.0.2.17`.
    fn end(&mut self, sink: &mut Sink<'_>) -> Flow {
        match self.elements {
            Some(Elements::Take(_)) => {
                let text = if self.text.is_empty() { b"elements" } else { &self.text[..] };
                sink.bad(self.line, text, ItemError::Unclosed)
            }
            Some(Elements::Skip) => Continue(()),
            None => self.statement(sink),
        }
    }
}

fn words(text: &[u8]) -> Vec<&[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect()
}

/// Of `type ipv4_addr`, `typeof ip saddr` and the like, alone or with something else.
fn is_of_addresses(words: &[&[u8]]) -> bool {
    let of_packet = words
        .windows(2)
        .any(|pair| matches!(pair[0], b"ip" | b"ip6") && matches!(pair[1], b"saddr" | b"daddr"));
    of_packet || words.iter().any(|word| matches!(*word, b"ipv4_addr" | b"ipv6_addr"))
}

impl<'a> Words<'a> {
    fn next_key(mut self) -> &'a [u8] {
        self.bare().unwrap_or_default()
    }
}

fn element(text: &[u8], timeout: Option<Span>) -> Result<(Entry, Extra<'_>), ItemError> {
    let mut words = Words(text);
    let first = words.bare().ok_or(ItemError::NotAddress)?;
    let entry = entry(first, &mut words)?;
    let mut extra = Extra { comment: &[], timeout };
    let mut expires = None;
    while words.0.iter().any(|byte| !byte.is_ascii_whitespace()) {
        match words.text()? {
            b"timeout" => {
                extra.timeout = match words.text()? {
                    b"never" => None,
                    span => permanent(nft_span(span)?),
                };
            }
            b"expires" => {
                expires = match words.text()? {
                    b"never" => None,
                    span => Some(nft_span(span)?),
                };
            }
            b"comment" => extra.comment = words.text()?,
            b"counter" | b"last" | b"never" => (),
            b"packets" | b"bytes" | b"used" => {
                words.text()?;
            }
            b"." | b":" => return Err(ItemError::NotAlone),
            _ => return Err(ItemError::NotUnderstood),
        }
    }
    // What is left of the timeout.
    extra.timeout = expires.or(extra.timeout);
    Ok((entry, extra))
}

/// The key of an element; a range may have spaces around its dash.
fn entry(first: &[u8], words: &mut Words<'_>) -> Result<Entry, ItemError> {
    let mut ahead = *words;
    let dash = ahead.bare().filter(|word| word.starts_with(b"-"));
    let (first, last) = match (first.strip_suffix(b"-"), dash) {
        (Some(first), _) => (first, None),
        (None, Some(dash)) => {
            *words = ahead;
            (first, dash.get(1..).filter(|last| !last.is_empty()))
        }
        (None, None) => return read_entry(first),
    };
    let last = last.or_else(|| words.bare()).ok_or(ItemError::Range)?;
    read_range(first, last)
}

//! Comma-, semicolon- or tab-separated values (RFC 4180) with a header. The header may stand in a `#` comment, as
//! abuse.ch has it.

use std::borrow::Cow;
use std::ops::ControlFlow::{Break, Continue};

use super::address::{read_entry, without_port};
use super::error::excerpt;
use super::lines::LineFormat;
use super::names::{address_rank, comment_rank, is_mask, wanted, with_mask};
use super::sink::{Extra, Flow, Sink, Stop};
use super::{ItemError, LONGEST_LINE, ReadError};

/// How many columns an error names.
const COLUMNS_SHOWN: usize = 20;

/// A list of this format.
pub(super) struct Csv<'o> {
    column: Option<&'o str>,
    header: Option<Header>,
    /// What the last comment that may be one says.
    commented: Option<Header>,
    /// A record of which a quoted field goes on in the next line; its number is of its first line.
    begun: Vec<u8>,
    begun_at: Option<u64>,
}

/// Where to find what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    delimiter: u8,
    /// Number of columns.
    columns: usize,
    /// The columns with addresses, from 0 on, in their order.
    addresses: Vec<usize>,
    /// The column with their length or netmask, where they have none themselves.
    mask: Option<usize>,
    comment: Option<usize>,
}

impl LineFormat for Csv<'_> {
    fn line(&mut self, number: u64, text: &[u8], sink: &mut Sink<'_>) -> Flow {
        if let Some(first) = self.begun_at {
            return self.go_on(first, text, sink);
        }
        if text.trim_ascii().is_empty() {
            return Continue(());
        }
        if text.starts_with(b"#") {
            if self.header.is_none() {
                self.commented = Header::of_comment(text, self.column).or(self.commented.take());
            }
            return Continue(());
        }
        if self.header.is_none() {
            if let Some(header) = Header::of(text, self.column) {
                self.header = Some(header);
                return Continue(());
            }
            self.header = self.commented.take();
        }
        let Some(header) = &self.header else {
            return Break(Stop::Failed(no_column(number, text, self.column)));
        };
        if header.is_open(text) {
            self.begun.extend_from_slice(text);
            self.begun_at = Some(number);
            return Continue(());
        }
        header.record(number, text, sink)
    }

    fn end(&mut self, sink: &mut Sink<'_>) -> Flow {
        match self.begun_at {
            Some(first) => sink.bad(first, &self.begun, ItemError::Unclosed),
            None => Continue(()),
        }
    }
}

impl<'o> Csv<'o> {
    pub fn new(column: Option<&'o str>) -> Self {
        Self { column, header: None, commented: None, begun: Vec::new(), begun_at: None }
    }

    fn go_on(&mut self, first: u64, text: &[u8], sink: &mut Sink<'_>) -> Flow {
        let Some(header) = &self.header else { return Continue(()) };
        self.begun.push(b'\n');
        self.begun.extend_from_slice(text);
        // Only a line with a quotation mark can end the field.
        let flow = if self.begun.len() > LONGEST_LINE {
            sink.bad(first, &self.begun, ItemError::Unclosed)
        } else if !text.contains(&b'"') || header.is_open(&self.begun) {
            return Continue(());
        } else {
            header.record(first, &self.begun, sink)
        };
        self.begun.clear();
        self.begun_at = None;
        flow
    }
}

impl Header {
    /// The header of a line: with the delimiter that makes the most of it.
    pub fn of(text: &[u8], column: Option<&str>) -> Option<Self> {
        let headers = b",;\t".iter().filter_map(|delimiter| Self::with(text, *delimiter, column));
        headers.max_by_key(|header| header.columns)
    }

    /// The header of a comment: of more than one column, as many a comment is the word `address`.
    pub fn of_comment(text: &[u8], column: Option<&str>) -> Option<Self> {
        let signs = text.iter().take_while(|byte| matches!(byte, b'#' | b' ')).count();
        Self::of(&text[signs..], column).filter(|header| header.columns > 1)
    }

    fn with(text: &[u8], delimiter: u8, column: Option<&str>) -> Option<Self> {
        let names = || Fields::new(text, delimiter).enumerate();
        let rank = |field: &Field<'_>| address_rank(field.text, column);
        let best = names().filter_map(|(_, field)| rank(&field)).min()?;
        let addresses = names().filter(|(_, field)| rank(field) == Some(best)).map(|(at, _)| at).collect();
        let comments = names().filter_map(|(at, field)| Some((comment_rank(field.text)?, at)));
        let comment = comments.min().map(|(_, at)| at);
        let mask = names().find(|(_, field)| is_mask(field.text)).map(|(at, _)| at);
        Some(Self { delimiter, columns: names().count(), addresses, mask, comment })
    }

    /// Whether a line may be a record: it has as many fields.
    pub fn fits(&self, text: &[u8]) -> bool {
        Fields::new(text, self.delimiter).count() == self.columns
    }

    fn is_open(&self, text: &[u8]) -> bool {
        text.contains(&b'"') && Fields::new(text, self.delimiter).last().is_some_and(|field| field.open)
    }

    fn record(&self, number: u64, text: &[u8], sink: &mut Sink<'_>) -> Flow {
        let fields = || Fields::new(text, self.delimiter);
        let comment = self.comment.and_then(|column| fields().nth(column));
        let comment = comment.map_or(Cow::Borrowed(&[][..]), |field| field.unquoted());
        let mask = self.mask.and_then(|column| fields().nth(column)).map_or(&[][..], |field| field.text);
        let mut found = false;
        for (_, field) in fields().enumerate().filter(|(column, _)| self.addresses.contains(column)) {
            let value = field.text.trim_ascii();
            if value.is_empty() {
                continue;
            }
            found = true;
            let whole = with_mask(bare(value), mask.trim_ascii());
            sink.take(number, &whole, read_entry(&whole), Extra { comment: &comment, timeout: None })?;
        }
        if found { Continue(()) } else { sink.bad(number, text, ItemError::Missing) }
    }
}

/// Without a port or the brackets around IPv6.
fn bare(value: &[u8]) -> &[u8] {
    let bracketed = || value.strip_prefix(b"[")?.strip_suffix(b"]");
    without_port(value).or_else(bracketed).unwrap_or(value)
}

/// The columns of a line, for an error; none if it looks like no line of columns.
fn columns(text: &[u8]) -> Option<String> {
    let fields = |delimiter: &u8| Fields::new(text, *delimiter).count();
    let delimiter = b",;\t".iter().copied().max_by_key(fields)?;
    let shown = Fields::new(text, delimiter).take(COLUMNS_SHOWN).map(|field| excerpt(field.text));
    (fields(&delimiter) > 1).then(|| shown.collect::<Vec<_>>().join(", "))
}

/// Whether a line has columns at all.
pub(super) fn has_columns(text: &[u8]) -> bool {
    columns(text).is_some()
}

fn no_column(line: u64, text: &[u8], column: Option<&str>) -> ReadError {
    let columns = columns(text).unwrap_or_else(|| excerpt(text));
    ReadError::NoColumn { line, wanted: wanted(column), columns }
}

/// A field of a record.
struct Field<'a> {
    /// Without the quotation marks around it; those within are still doubled.
    text: &'a [u8],
    quoted: bool,
    /// The second quotation mark is missing.
    open: bool,
}

impl<'a> Field<'a> {
    fn unquoted(&self) -> Cow<'a, [u8]> {
        if !self.quoted || !self.text.contains(&b'"') {
            return Cow::Borrowed(self.text);
        }
        let mut before = false;
        let kept = self.text.iter().filter(|byte| {
            before = **byte == b'"' && !before;
            !before
        });
        Cow::Owned(kept.copied().collect())
    }
}

/// The fields of a record.
struct Fields<'a> {
    rest: Option<&'a [u8]>,
    delimiter: u8,
}

impl<'a> Fields<'a> {
    const fn new(text: &'a [u8], delimiter: u8) -> Self {
        Self { rest: Some(text), delimiter }
    }

    /// Up to the next delimiter; what follows it is the rest.
    fn cut(&mut self, text: &'a [u8]) -> &'a [u8] {
        let end = text.iter().position(|byte| *byte == self.delimiter);
        self.rest = end.map(|end| &text[end + 1..]);
        &text[..end.unwrap_or(text.len())]
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let rest = self.rest.take()?;
        // abuse.ch has a space behind each comma.
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        let Some(inner) = rest[spaces..].strip_prefix(b"\"") else {
            return Some(Field { text: self.cut(rest).trim_ascii(), quoted: false, open: false });
        };
        match closing(inner) {
            Some(end) => {
                self.cut(&inner[end + 1..]);
                Some(Field { text: &inner[..end], quoted: true, open: false })
            }
            None => Some(Field { text: inner, quoted: true, open: true }),
        }
    }
}

/// Where the quotation mark stands that ends a field: the first that is not doubled.
fn closing(inner: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += inner.get(at..)?.iter().position(|byte| *byte == b'"')?;
        if inner.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

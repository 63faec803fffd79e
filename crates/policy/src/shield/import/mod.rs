//! Blocklists in the formats in which they are published.
//!
//! [`read`] streams: it holds one line (or one element, or one token of JSON) in memory, at most [`LONGEST_LINE`] bytes
//! of it, however long the list is. What it finds goes to the caller at once. A list that turns out to be broken (cut
//! off, say) has therefore already given entries: who wants all or nothing keeps them until [`read`] returns.
//!
//! Nothing is guessed. A name, a port, a zone, an octet with a leading zero or an entry with a condition is an error of
//! its line; the caller decides whether to go on. `0.0.0.0/0` and `::/0` are entries like all others: whether they may
//! be listed is for the caller to judge. IPv4 written as IPv6 (`::ffff:192.0.2.1`) is IPv4.

mod address;
mod csv;
mod detect;
mod dshield;
mod error;
mod format;
mod ipset;
mod json;
mod lines;
mod names;
mod nft;
mod p2p;
mod plain;
mod sink;
mod words;

#[cfg(test)]
mod tests;

use std::io::{BufRead, Read};
use std::ops::ControlFlow;

use ipnet::IpNet;

pub use error::{ItemError, LineError, ReadError};
pub use format::{Format, UnknownFormat};
pub use lines::LONGEST_LINE;

use crate::span::Span;
use sink::{Sink, Stop};

/// The longest comment that an [`Item`] carries, in characters; what is longer is cut off.
pub const LONGEST_COMMENT: usize = 256;

/// An entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The prefix, without bits beyond its length. A range of addresses gives several items of the same line.
    pub net: IpNet,
    /// Such bits were there: perhaps something else was meant.
    pub had_host_bits: bool,
    /// What the list says about the entry: one line without control characters, at most [`LONGEST_COMMENT`] characters.
    pub comment: Option<&'a str>,
    /// How long the entry is to stay, from the moment at which the list was written: `timeout` of ipset, `expires` (or
    /// without it `timeout`) of nft. `None`: for ever. Longer than a [`Span`] can be is the longest span.
    pub timeout: Option<Span>,
}

/// How to read a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The format; `None` means to recognise it from the first lines.
    pub format: Option<Format>,
    /// An entry with bits beyond its prefix length is an error.
    pub strict: bool,
    /// The CSV column, or the key of JSON objects, that holds the addresses. `None` means to look for one with a usual
    /// name. Upper and lower case, `_`, `-` and spaces make no difference.
    pub column: Option<String>,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Lines, those without entries too.
    pub lines: u64,
    /// Items given to the caller.
    pub items: u64,
    /// Errors given to the caller.
    pub errors: u64,
    /// The format, whether named or recognised.
    pub format: Format,
    /// How many of the items had bits beyond their prefix length; none with [`Options::strict`], where they are errors.
    pub with_host_bits: u64,
    /// The line of the first of these, from 1 on.
    pub first_host_bits_line: Option<u64>,
}

/// Reads a list. `on_item` gets each entry and each error in the order of the list, with the number of the line, from 1
/// on; with [`ControlFlow::Break`] it ends the reading, which is no error.
///
/// Without a single line that is no comment, the list is empty (and of format [`Format::Plain`], unless named).
///
/// # Errors
///
/// What makes it impossible to read the list at all, or to read on: see [`ReadError`]. `on_item` may have been called
/// before.
pub fn read(
    mut reader: impl BufRead,
    options: &Options,
    mut on_item: impl FnMut(u64, Result<Item<'_>, LineError>) -> ControlFlow<()>,
) -> Result<Summary, ReadError> {
    let head = lines::head(&mut reader)?;
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
    detect::refuse_foreign(head)?;
    let format = match options.format {
        Some(format) => format,
        None => detect::detect(head, options.column.is_some())?,
    };
    let mut sink = Sink::new(&mut on_item, options.strict, format);
    let column = options.column.as_deref();
    let source = &mut head.chain(reader);
    let flow = match format {
        Format::Plain => lines::each(source, &mut plain::Plain, &mut sink),
        Format::Csv => lines::each(source, &mut csv::Csv::new(column), &mut sink),
        Format::Ipset => lines::each(source, &mut ipset::Ipset::default(), &mut sink),
        Format::P2p => lines::each(source, &mut p2p::P2p, &mut sink),
        Format::Dshield => lines::each(source, &mut dshield::Dshield, &mut sink),
        Format::Nft => nft::read(source, &mut sink),
        Format::Json if json::is_lines(head) => {
            lines::each(source, &mut json::JsonLines { column }, &mut sink)
        }
        Format::Json => json::read_document(source, column, &mut sink),
    };
    match flow {
        ControlFlow::Break(Stop::Failed(error)) => Err(error),
        ControlFlow::Break(Stop::Caller) | ControlFlow::Continue(()) => Ok(sink.summary),
    }
}

//! Where the formats put what they find.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::ControlFlow;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::address::Entry;
use super::error::excerpt;
use super::{Format, Item, ItemError, LONGEST_COMMENT, LineError, ReadError, Summary};
use crate::shield::Written;
use crate::span::Span;

/// Why the reading ends before the list does.
pub(super) enum Stop {
    /// The caller wants no more.
    Caller,
    /// It cannot go on.
    Failed(ReadError),
}

/// Whether the reading goes on.
pub(super) type Flow = ControlFlow<Stop>;

/// What the caller gave.
type OnItem<'c> = dyn FnMut(u64, Result<Item<'_>, LineError>) -> ControlFlow<()> + 'c;

/// What a list says of an entry.
#[derive(Clone, Copy, Default)]
pub(super) struct Extra<'a> {
    /// As it stands there; empty where there is none.
    pub comment: &'a [u8],
    /// How long it stays.
    pub timeout: Option<Span>,
}

/// Gives to the caller, and counts.
pub(super) struct Sink<'c> {
    on_item: &'c mut OnItem<'c>,
    strict: bool,
    pub summary: Summary,
}

impl<'c> Sink<'c> {
    pub fn new(on_item: &'c mut OnItem<'c>, strict: bool, format: Format) -> Self {
        let summary =
            Summary { lines: 0, items: 0, errors: 0, format, with_host_bits: 0, first_host_bits_line: None };
        Self { on_item, strict, summary }
    }

    /// What stands at a line, where `text` is what was read.
    pub fn take(&mut self, line: u64, text: &[u8], read: Result<Entry, ItemError>, extra: Extra<'_>) -> Flow {
        match read {
            Ok(entry) => self.entry(line, text, entry, extra),
            Err(what) => self.bad(line, text, what),
        }
    }

    fn entry(&mut self, line: u64, text: &[u8], entry: Entry, extra: Extra<'_>) -> Flow {
        if extra.comment.is_empty() {
            return self.nets(line, text, entry, None, extra.timeout);
        }
        let comment = clean(extra.comment);
        self.nets(line, text, entry, Some(&*comment).filter(|comment| !comment.is_empty()), extra.timeout)
    }

    fn nets(
        &mut self,
        line: u64,
        text: &[u8],
        entry: Entry,
        comment: Option<&str>,
        timeout: Option<Span>,
    ) -> Flow {
        let item = |net: IpNet| Item { net, had_host_bits: false, comment, timeout };
        match entry {
            Entry::One(Written { net, had_host_bits }) if had_host_bits && self.strict => {
                self.bad(line, text, ItemError::HostBits(net))
            }
            Entry::One(Written { net, had_host_bits }) => {
                self.item(line, Item { had_host_bits, ..item(net) })
            }
            Entry::Range(IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(first, last, 0).try_for_each(|net| self.item(line, item(net.into())))
            }
            Entry::Range(IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(first, last, 0).try_for_each(|net| self.item(line, item(net.into())))
            }
            Entry::Range(..) => self.bad(line, text, ItemError::Range),
        }
    }

    fn item(&mut self, line: u64, item: Item<'_>) -> Flow {
        self.summary.items += 1;
        if item.had_host_bits {
            self.summary.with_host_bits += 1;
            self.summary.first_host_bits_line.get_or_insert(line);
        }
        (self.on_item)(line, Ok(item)).map_break(|()| Stop::Caller)
    }

    /// Something that cannot be taken.
    #[cold]
    pub fn bad(&mut self, line: u64, text: &[u8], what: ItemError) -> Flow {
        self.summary.errors += 1;
        let error = LineError { line, what, text: excerpt(text) };
        (self.on_item)(line, Err(error)).map_break(|()| Stop::Caller)
    }
}

/// A comment as an item carries it.
pub(super) fn clean(text: &[u8]) -> Cow<'_, str> {
    const MOST_BYTES: usize = 4 * LONGEST_COMMENT;
    let text = text.trim_ascii();
    let cut = match text.get(..MOST_BYTES) {
        // A character that is cut in two is left out.
        Some(head) => head.utf8_chunks().next().map_or(head, |chunk| match chunk.invalid().len() {
            invalid @ 1..4 if chunk.valid().len() + invalid == head.len() => chunk.valid().as_bytes(),
            _ => head,
        }),
        None => text,
    };
    let mut clean = String::from_utf8_lossy(cut);
    if let Some((end, _)) = clean.char_indices().nth(LONGEST_COMMENT) {
        clean = match clean {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        };
    }
    // They would act on the terminal on which the comment is shown.
    if clean.contains(char::is_control) {
        clean = Cow::Owned(clean.replace(char::is_control, " ").trim().to_owned());
    }
    clean
}

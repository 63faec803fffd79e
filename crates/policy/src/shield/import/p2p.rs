//! `name:first-last` on each line. The name may itself have colons.

use std::ops::ControlFlow::Continue;

use super::ItemError;
use super::address::{Entry, read_entry};
use super::lines::LineFormat;
use super::sink::{Extra, Flow, Sink};

/// A list of this format.
pub(super) struct P2p;

impl LineFormat for P2p {
    fn line(&mut self, number: u64, text: &[u8], sink: &mut Sink<'_>) -> Flow {
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            return Continue(());
        }
        let Some((name, range)) = split(text) else {
            return sink.bad(number, text, ItemError::Range);
        };
        // A single address or prefix behind a colon may be the end of an IPv6 address.
        let read = read_entry(range).and_then(|entry| match entry {
            Entry::Range(..) => Ok(entry),
            Entry::One(_) => Err(ItemError::Range),
        });
        sink.take(number, range, read, Extra { comment: name, timeout: None })
    }
}

fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().rposition(|byte| *byte == b':')?;
    Some((&text[..colon], text[colon + 1..].trim_ascii()))
}

/// Whether a line is surely of this format.
pub(super) fn resembles(text: &[u8]) -> bool {
    split(text).is_some_and(|(_, range)| matches!(read_entry(range), Ok(Entry::Range(..))))
}

//! Where in a file something is wrong, and the parser's messages in words that help.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;

/// A line and the key there, such as `12: events.burst`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// The key with its tables, as far as it can be told.
    pub key: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.line)?;
        match &self.key {
            Some(key) => write!(f, ": {key}"),
            None => Ok(()),
        }
    }
}

/// The place of the bytes that an error points at.
pub(super) fn by_span(text: &str, span: Option<Range<usize>>) -> Place {
    let Some(span) = span else { return Place { line: 1, key: None } };
    let line = line_of(text, span.start);
    // A file with a syntax error has keys too, up to the error.
    let (table, _) = DeTable::parse_recoverable(text);
    let mut best = None;
    visit(table.get_ref(), "", &mut |key, at, value| {
        let covers = |r: &Range<usize>| r.start <= span.start && span.start < r.end.max(r.start + 1);
        // Later visits are deeper: the last one that covers the error is the innermost.
        if covers(&at) || covers(&value) {
            best = Some(key.to_owned());
        }
    });
    Place { line, key: best }
}

/// The place of a key such as `endpoint[1].name`; line 1 where the file does not have it.
pub(super) fn by_key(text: &str, key: &str) -> Place {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut line = 1;
    visit(table.get_ref(), "", &mut |candidate, at, _| {
        if candidate == key {
            line = line_of(text, at.start);
        }
    });
    Place { line, key: Some(key.to_owned()) }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Sees the path, the key's bytes and the value's bytes of a key.
type See<'a> = dyn FnMut(&str, Range<usize>, Range<usize>) + 'a;

/// Shows every key to `see`, parents first.
fn visit(table: &DeTable<'_>, prefix: &str, see: &mut See<'_>) {
    for (key, value) in table {
        let path =
            if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        see(&path, key.span(), value.span());
        visit_value(value, &path, see);
    }
}

fn visit_value(value: &Spanned<DeValue<'_>>, path: &str, see: &mut See<'_>) {
    match value.get_ref() {
        DeValue::Table(table) => visit(table, path, see),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                see(&path, item.span(), item.span());
                visit_value(item, &path, see);
            }
        }
        _ => {}
    }
}

/// A parser's message on one line, with the word that was probably meant.
pub(super) fn explain(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    for (what, noun) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        if let Some(rest) = message.strip_prefix(what) {
            return unknown(noun, rest);
        }
    }
    match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        Some(field) => format!("the key {field:?} is missing here: add it"),
        None => message,
    }
}

/// Explains ``word`, expected one of `a`, `b``.
fn unknown(noun: &str, rest: &str) -> String {
    let mut quoted = rest.split('`');
    let word = quoted.next().unwrap_or_default();
    // Every other piece stands between backquotes.
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("unknown {noun} {word:?}: did you mean {meant:?}?"),
        None if known.is_empty() => format!("unknown {noun} {word:?}: nothing is known here, take it out"),
        None => format!("unknown {noun} {word:?}: known here are {}", known.join(", ")),
    }
}

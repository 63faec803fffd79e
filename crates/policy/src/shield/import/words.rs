//! What ipset and nft have in common: words, quoted text and lengths of time behind an entry.

use super::ItemError;
use crate::span::Span;

/// A word, or what stands between quotation marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// Without white space.
    Bare(&'a [u8]),
    /// Without the quotation marks.
    Quoted(&'a [u8]),
    /// There is no second quotation mark.
    Unclosed,
}

/// The words of a line.
#[derive(Clone, Copy)]
pub(super) struct Words<'a>(pub &'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        self.0 = self.0.trim_ascii_start();
        let (first, behind) = self.0.split_first()?;
        if *first != b'"' {
            let end = self.0.iter().position(u8::is_ascii_whitespace).unwrap_or(self.0.len());
            let (word, rest) = self.0.split_at(end);
            self.0 = rest;
            return Some(Word::Bare(word));
        }
        let Some(end) = behind.iter().position(|byte| *byte == b'"') else {
            self.0 = &[];
            return Some(Word::Unclosed);
        };
        self.0 = &behind[end + 1..];
        Some(Word::Quoted(&behind[..end]))
    }
}

impl<'a> Words<'a> {
    /// The next word, which may not be quoted.
    pub fn bare(&mut self) -> Option<&'a [u8]> {
        match self.next()? {
            Word::Bare(word) => Some(word),
            Word::Quoted(_) | Word::Unclosed => None,
        }
    }

    /// The next word, quoted or not.
    pub fn text(&mut self) -> Result<&'a [u8], ItemError> {
        match self.next() {
            Some(Word::Bare(text) | Word::Quoted(text)) => Ok(text),
            Some(Word::Unclosed) => Err(ItemError::Unclosed),
            None => Err(ItemError::NotUnderstood),
        }
    }
}

/// Whole seconds.
pub(super) fn seconds(text: &[u8]) -> Result<Span, ItemError> {
    if !text.is_empty() && text.iter().all(u8::is_ascii_digit) {
        return Ok(millis(number(text), 1000));
    }
    Err(ItemError::Timeout)
}

/// A timeout of zero is none: the entry stays for ever.
pub(super) fn permanent(span: Span) -> Option<Span> {
    Some(span).filter(|span| span.millis() > 0)
}

/// As nft writes it: `1d2h3m4s500ms`, or whole seconds.
pub(super) fn nft_span(text: &[u8]) -> Result<Span, ItemError> {
    if text.iter().all(u8::is_ascii_digit) {
        return seconds(text);
    }
    let (mut rest, mut sum) = (text, 0_u32);
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (value, behind) = rest.split_at(digits);
        let letters = behind.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (unit, behind) = behind.split_at(letters);
        let factor = match unit {
            b"ms" => 1,
            b"s" => 1000,
            b"m" => 60_000,
            b"h" => 3_600_000,
            b"d" => 86_400_000,
            b"w" => 604_800_000,
            _ => return Err(ItemError::Timeout),
        };
        if value.is_empty() {
            return Err(ItemError::Timeout);
        }
        sum = sum.saturating_add(millis(number(value), factor).millis());
        rest = behind;
    }
    Ok(Span::from_millis(sum))
}

fn millis(value: u32, factor: u32) -> Span {
    Span::from_millis(value.saturating_mul(factor))
}

/// Of digits; the greatest number where it is greater.
fn number(digits: &[u8]) -> u32 {
    digits
        .iter()
        .fold(0, |value: u32, digit| value.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
}

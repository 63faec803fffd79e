//! `ipset save`.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::ControlFlow::{Break, Continue};

use ipnet::{IpNet, Ipv4Net};

use super::address::{Entry, read_entry};
use super::error::LARGEST_SETS;
use super::lines::LineFormat;
use super::sink::{Extra, Flow, Sink, Stop};
use super::words::{Words, permanent, seconds};
use super::{ItemError, ReadError};
use crate::shield::Written;
use crate::span::Span;

/// The longest name of a set, in bytes (`IPSET_MAXNAMELEN` without the zero at its end).
const LONGEST_NAME: usize = 31;

/// A list of this format: the sets whose options change what their entries mean.
#[derive(Default)]
pub(super) struct Ipset(HashMap<Box<[u8]>, Set>);

/// What a set says of all its entries.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Set {
    /// Addresses stand for networks of this length.
    len: Option<u8>,
    /// For entries without one of their own.
    timeout: Option<Span>,
    /// They stand for something that a prefix cannot say.
    unreadable: bool,
}

impl LineFormat for Ipset {
    fn line(&mut self, number: u64, text: &[u8], sink: &mut Sink<'_>) -> Flow {
        let text = text.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            return Continue(());
        }
        let mut words = Words(text);
        let mut command = words.bare();
        while let Some(b"-exist" | b"-!") = command {
            command = words.bare();
        }
        match command {
            Some(b"add" | b"-A" | b"--add") => self.add(number, text, words, sink),
            Some(b"create" | b"-N" | b"--create") => self.create(number, text, words, sink),
            Some(b"del" | b"-D" | b"--del") => sink.bad(number, text, ItemError::Removal),
            // They are there before what is added, and say nothing of it.
            Some(b"flush" | b"destroy" | b"swap" | b"rename" | b"COMMIT" | b"quit") => Continue(()),
            _ => sink.bad(number, text, ItemError::NotUnderstood),
        }
    }
}

impl Ipset {
    fn create(&mut self, number: u64, text: &[u8], mut words: Words<'_>, sink: &mut Sink<'_>) -> Flow {
        let Some(name) = words.bare().filter(|name| name.len() <= LONGEST_NAME) else {
            return sink.bad(number, text, ItemError::NotUnderstood);
        };
        let read = set(words);
        if let Err(what) = &read {
            sink.bad(number, text, what.clone())?;
        }
        let set = read.unwrap_or(Set { unreadable: true, ..Set::default() });
        if set == Set::default() {
            self.0.remove(name);
        } else if self.0.len() < LARGEST_SETS {
            self.0.insert(name.into(), set);
        } else {
            return Break(Stop::Failed(ReadError::TooManySets { line: number }));
        }
        Continue(())
    }

    fn add(&self, number: u64, text: &[u8], mut words: Words<'_>, sink: &mut Sink<'_>) -> Flow {
        let (Some(name), Some(element)) = (words.bare(), words.bare()) else {
            return sink.bad(number, text, ItemError::NotUnderstood);
        };
        let set = self.0.get(name).copied().unwrap_or_default();
        let read = options(words, set).and_then(|extra| Ok((entry(element, set)?, extra)));
        match read {
            Ok((entry, extra)) => sink.take(number, element, Ok(entry), extra),
            Err(what @ (ItemError::Exception | ItemError::NotUnderstood)) => sink.bad(number, text, what),
            Err(what) => sink.bad(number, element, what),
        }
    }
}

/// The options of a set, behind its name.
fn set(mut words: Words<'_>) -> Result<Set, ItemError> {
    let mut set = Set::default();
    while words.0.iter().any(|byte| !byte.is_ascii_whitespace()) {
        match words.text()? {
            b"timeout" => set.timeout = seconds(words.text()?).map(permanent)?,
            b"netmask" => set.len = Some(netmask(words.text()?)?),
            b"bitmask" => return Err(ItemError::NotUnderstood),
            _ => (),
        }
    }
    Ok(set)
}

/// `24` or `255.255.255.0`.
fn netmask(text: &[u8]) -> Result<u8, ItemError> {
    let text = str::from_utf8(text).map_err(|_| ItemError::Netmask)?;
    let of_mask = || {
        let mask: Ipv4Addr = text.parse().ok()?;
        Ipv4Net::with_netmask(mask, mask).ok().map(|net| net.prefix_len())
    };
    text.parse().ok().or_else(of_mask).ok_or(ItemError::Netmask)
}

fn entry(element: &[u8], set: Set) -> Result<Entry, ItemError> {
    if set.unreadable {
        return Err(ItemError::NotUnderstood);
    }
    match (read_entry(element)?, set.len) {
        (Entry::One(Written { net, .. }), Some(len)) if !element.contains(&b'/') => {
            let whole = IpNet::new(net.addr(), len).map_err(|_| ItemError::Length)?;
            let had_host_bits = whole.trunc().addr() != net.addr();
            Ok(Entry::One(Written { net: whole.trunc(), had_host_bits }))
        }
        (entry, _) => Ok(entry),
    }
}

/// What follows an element.
fn options<'a>(mut words: Words<'a>, set: Set) -> Result<Extra<'a>, ItemError> {
    let mut extra = Extra { comment: &[], timeout: set.timeout };
    while words.0.iter().any(|byte| !byte.is_ascii_whitespace()) {
        match words.text()? {
            b"timeout" => extra.timeout = seconds(words.text()?).map(permanent)?,
            b"comment" => extra.comment = words.text()?,
            b"nomatch" => return Err(ItemError::Exception),
            b"packets" | b"bytes" | b"skbmark" | b"skbprio" | b"skbqueue" => {
                words.text()?;
            }
            b"-exist" | b"-!" => (),
            _ => return Err(ItemError::NotUnderstood),
        }
    }
    Ok(extra)
}

//! Addresses, prefixes and ranges as lists write them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::ItemError;
use crate::shield::{PrefixError, Written, parse_prefix};

/// What a list blocks at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// An address or a prefix.
    One(Written),
    /// From the first to the last address, both included; of one family, and in order.
    Range(IpAddr, IpAddr),
}

/// IPv4 with or without a length at the beginning of a text, in its usual spelling, and how many bytes that is. `None`
/// is no verdict: [`read_entry`] gives one.
pub(super) fn fast4(text: &[u8]) -> Option<(Entry, usize)> {
    let (mut address, mut at) = octet(text, 0)?;
    for _ in 0..3 {
        if text.get(at) != Some(&b'.') {
            return None;
        }
        let (value, end) = octet(text, at + 1)?;
        address = address << 8 | value;
        at = end;
    }
    let mut len = 32;
    if text.get(at) == Some(&b'/') {
        (len, at) = octet(text, at + 1)?;
    }
    let len = u8::try_from(len).ok()?;
    let net = Ipv4Net::new(Ipv4Addr::from_bits(address), len).ok()?.trunc();
    let had_host_bits = net.addr().to_bits() != address;
    Some((Entry::One(Written { net: IpNet::V4(net), had_host_bits }), at))
}

/// A number up to 255 without leading zeros, and where it ends.
fn octet(text: &[u8], start: usize) -> Option<(u32, usize)> {
    let mut value = 0;
    let mut at = start;
    while let Some(digit @ b'0'..=b'9') = text.get(at) {
        if at - start >= 3 || (at > start && value == 0) {
            return None;
        }
        value = value * 10 + u32::from(digit - b'0');
        at += 1;
    }
    (at > start && value <= 255).then_some((value, at))
}

/// Reads all of a text.
pub(super) fn read_entry(text: &[u8]) -> Result<Entry, ItemError> {
    if let Some((entry, used)) = fast4(text)
        && used == text.len()
    {
        return Ok(entry);
    }
    let text = str::from_utf8(text).map_err(|_| ItemError::NotAddress)?;
    if let Some((first, last)) = text.split_once('-')
        && (first.trim().parse::<IpAddr>().is_ok() || resembles_address(text.as_bytes()))
    {
        return read_range(first.trim().as_bytes(), last.trim().as_bytes());
    }
    if let Some((address, mask)) = text.split_once('/')
        && mask.contains('.')
        && let Ok(address) = address.parse()
    {
        return netmask(address, mask).map(Entry::One);
    }
    parse_prefix(text).map(Entry::One).map_err(|error| match error {
        PrefixError::Length(_) => ItemError::Length,
        PrefixError::Address(_) => explain(text),
    })
}

/// Reads a range of its ends.
pub(super) fn read_range(first: &[u8], last: &[u8]) -> Result<Entry, ItemError> {
    match (read_address(first)?, read_address(last)?) {
        (first, last) if first.is_ipv4() == last.is_ipv4() && first <= last => Ok(Entry::Range(first, last)),
        _ => Err(ItemError::Range),
    }
}

fn read_address(text: &[u8]) -> Result<IpAddr, ItemError> {
    let text = str::from_utf8(text).map_err(|_| ItemError::Range)?;
    text.parse().map(|address: IpAddr| address.to_canonical()).map_err(|_| match explain(text) {
        ItemError::NotAddress => ItemError::Range,
        what => what,
    })
}

fn netmask(address: Ipv4Addr, mask: &str) -> Result<Written, ItemError> {
    let mask: Ipv4Addr = mask.parse().map_err(|_| ItemError::Netmask)?;
    let net = Ipv4Net::with_netmask(address, mask).map_err(|_| ItemError::Netmask)?;
    Ok(Written { net: IpNet::V4(net.trunc()), had_host_bits: net.trunc().addr() != address })
}

/// What a text is that is no address.
fn explain(text: &str) -> ItemError {
    let host = text.split('/').next().unwrap_or(text);
    if text.contains(',') {
        ItemError::NotAlone
    } else if text.contains('%') {
        ItemError::Zone
    } else if has_leading_zero(host) {
        ItemError::LeadingZero
    } else if without_port(text.as_bytes()).is_some() {
        ItemError::Port
    } else if text.contains("://") || is_name(host) {
        ItemError::Name
    } else {
        ItemError::NotAddress
    }
}

fn has_leading_zero(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let zero = text.split('.').any(|part| part.len() > 1 && part.starts_with('0'));
    zero && text.split('.').count() == 4 && text.split('.').all(is_number)
}

/// A name with a dot, so that a mere word is not called one.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let host = text.split_once(':').map_or(text, |(host, _)| host);
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*');
    let last = host.rsplit_once('.').map_or("", |(_, last)| last);
    host.bytes().all(in_name) && last.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// The address of `192.0.2.1:80` or `[2001:db8::1]:80`, where a text is such.
pub(super) fn without_port(text: &[u8]) -> Option<&[u8]> {
    let is_port = |port: &[u8]| str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok());
    let colon = text.iter().rposition(|byte| *byte == b':')?;
    let (address, port) = (&text[..colon], text.get(colon + 1..)?);
    let inner = address.strip_prefix(b"[").and_then(|inner| inner.strip_suffix(b"]"));
    let address = inner.unwrap_or(address);
    let of_family = address.contains(&b':') == inner.is_some();
    let is_address = str::from_utf8(address).is_ok_and(|address| address.parse::<IpAddr>().is_ok());
    (is_port(port) && of_family && is_address).then_some(address)
}

/// Whether a text is meant as an address, be it a right one: only what addresses are written with, and a dot or colon.
pub(super) fn resembles_address(text: &[u8]) -> bool {
    let within = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'/' | b'-' | b'%');
    let first = text.first().is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':');
    first && text.iter().all(within) && text.iter().any(|byte| matches!(byte, b'.' | b':'))
}

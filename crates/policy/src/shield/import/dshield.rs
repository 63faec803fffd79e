//! `block.txt` of DShield: first address, last address, prefix length, number of attacks, name and more, separated by
//! tabs.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow::Continue;

use ipnet::{IpNet, Ipv4Net};

use super::ItemError;
use super::address::{Entry, read_entry};
use super::lines::LineFormat;
use super::sink::{Extra, Flow, Sink};
use crate::shield::Written;

/// A list of this format.
pub(super) struct Dshield;

/// The column with the name of the network's owner, from 0 on.
const NAME: usize = 4;

impl LineFormat for Dshield {
    fn line(&mut self, number: u64, text: &[u8], sink: &mut Sink<'_>) -> Flow {
        if text.trim_ascii().is_empty() || text.starts_with(b"#") || is_header(text) {
            return Continue(());
        }
        let comment = text.split(|byte| *byte == b'\t').nth(NAME).unwrap_or_default();
        sink.take(number, text, entry(text), Extra { comment, timeout: None })
    }
}

fn entry(text: &[u8]) -> Result<Entry, ItemError> {
    let mut columns = text.split(|byte| *byte == b'\t').map(<[u8]>::trim_ascii);
    let (Some(first), Some(last), Some(len)) = (columns.next(), columns.next(), columns.next()) else {
        return Err(ItemError::Missing);
    };
    let (first, last) = (address(first)?, address(last)?);
    let len = str::from_utf8(len).ok().and_then(|len| len.parse().ok()).ok_or(ItemError::Length)?;
    let net = Ipv4Net::new(first, len).map_err(|_| ItemError::Length)?;
    if net.broadcast() != last || net.network() != first {
        return Err(ItemError::Mismatch);
    }
    Ok(Entry::One(Written { net: IpNet::V4(net), had_host_bits: false }))
}

fn address(text: &[u8]) -> Result<Ipv4Addr, ItemError> {
    match read_entry(text)? {
        Entry::One(Written { net, .. }) if !text.contains(&b'/') => match net.addr() {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(_) => Err(ItemError::NotAddress),
        },
        _ => Err(ItemError::NotAddress),
    }
}

fn is_header(text: &[u8]) -> bool {
    let mut columns = text.split(|byte| *byte == b'\t').map(<[u8]>::trim_ascii);
    let names = [columns.next(), columns.next()];
    names.map(|name| name.map(<[u8]>::to_ascii_lowercase)) == [Some(b"start".to_vec()), Some(b"end".to_vec())]
}

/// Whether a line is surely of this format.
pub(super) fn resembles(text: &[u8]) -> bool {
    is_header(text) || entry(text).is_ok()
}

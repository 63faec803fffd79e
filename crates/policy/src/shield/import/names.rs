//! What columns of CSV and keys of JSON are called.

use std::borrow::Cow;

/// Names of what holds an address. The first row of which there is one decides; all of this row count. A row of names
/// that may also stand for something else (`source` for the feed, say) comes late.
const ADDRESSES: &[&[&str]] = &[
    &["ip"],
    &["ipaddress"],
    &["address"],
    &["addr"],
    &["cidr"],
    &["ipprefix", "ipv4prefix", "ipv6prefix"],
    &["prefix"],
    &["iprange"],
    &["subnet"],
    &["network"],
    &["net"],
    &["range"],
    &["ipv4", "ipv6"],
    &["srcip"],
    &["sourceip"],
    &["dstip"],
    &["destip"],
    &["indicator"],
    &["ioc"],
    &["iocvalue"],
    &["src"],
    &["source"],
];

/// Names of what says something of an address, the best first.
const COMMENTS: &[&str] = &["comment", "description", "reason", "malware", "name", "sblid"];

/// Names of what holds the length or the netmask for an address in another field.
const MASKS: &[&str] = &["netmask", "mask", "subnetmask", "masklen", "prefixlen", "prefixlength"];

/// What is looked for, as an error says it.
pub(super) fn wanted(column: Option<&str>) -> String {
    match column {
        Some(column) => format!("\"{}\"", super::error::excerpt(column.as_bytes())),
        None => "of a usual name, such as ip, address, cidr, network, range, src_ip or indicator".to_owned(),
    }
}

/// How well a name fits for addresses, the lower the better; `column` is the only one that does, where it is given.
pub(super) fn address_rank(name: &[u8], column: Option<&str>) -> Option<usize> {
    match column {
        Some(column) => same(name, column.as_bytes()).then_some(0),
        None => ADDRESSES.iter().position(|row| row.iter().any(|known| same(name, known.as_bytes()))),
    }
}

/// How well a name fits for comments, the lower the better.
pub(super) fn comment_rank(name: &[u8]) -> Option<usize> {
    COMMENTS.iter().position(|known| same(name, known.as_bytes()))
}

/// Whether a name fits for a prefix length or netmask.
pub(super) fn is_mask(name: &[u8]) -> bool {
    MASKS.iter().any(|known| same(name, known.as_bytes()))
}

/// An address with the length or netmask of another field, where it has none of its own.
pub(super) fn with_mask<'a>(address: &'a [u8], mask: &[u8]) -> Cow<'a, [u8]> {
    if mask.is_empty() || address.iter().any(|byte| matches!(byte, b'/' | b'-')) {
        Cow::Borrowed(address)
    } else {
        Cow::Owned([address, b"/", mask].concat())
    }
}

/// `IP-Address`, `ip_address` and `ipAddress` are the same.
pub(super) fn same(name: &[u8], known: &[u8]) -> bool {
    bare(name).eq(bare(known))
}

fn bare(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().filter(|byte| !matches!(byte, b'_' | b'-' | b' ')).map(u8::to_ascii_lowercase)
}

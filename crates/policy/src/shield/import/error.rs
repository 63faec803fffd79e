//! What can be wrong with a list.

use std::io;

use ipnet::IpNet;
use thiserror::Error;

use super::LONGEST_LINE;

/// The longest piece of a list that an error repeats, in characters.
const EXCERPT_CHARS: usize = 60;

/// An entry that cannot be taken. The other lines are not concerned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: \"{text}\" {what}")]
pub struct LineError {
    /// The line, from 1 on.
    pub line: u64,
    /// What is wrong.
    pub what: ItemError,
    /// What stands there, at most 60 characters of it; control characters and quotation marks are escaped.
    pub text: String,
}

/// What is wrong with an entry. The text of each says it of the entry: it goes on after what stands there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ItemError {
    /// Not an address.
    #[error("is not an IPv4 or IPv6 address")]
    NotAddress,
    /// A prefix length that there is not.
    #[error("has a prefix length that its family does not have: write 0-32 for IPv4, 0-128 for IPv6")]
    Length,
    /// An object of JSON that has an address of its own, with others below it.
    #[error(
        "is in an object with other addresses below it, which were taken too: say which key has the addresses"
    )]
    Nested,
    /// `10.0.0.0/0.255.255.255`, say.
    #[error("has a netmask that is none: write the ones first, such as 255.255.255.0, or a prefix length")]
    Netmask,
    /// `010.1.2.3`: 8 or 10?
    #[error("has an octet with a leading zero, which some programs read as octal: write it without")]
    LeadingZero,
    /// Not from a lower to a higher address of one family.
    #[error("is not a range: write the first and the last address, both of one family, the lower one first")]
    Range,
    /// A host name or a URL.
    #[error("is about a name, and a blocklist holds only addresses: resolve the name, or remove the line")]
    Name,
    /// `fe80::1%eth0`.
    #[error("has a zone (what follows %), which packets do not carry: write the address alone")]
    Zone,
    /// `192.0.2.1:80`.
    #[error("has a port, and an entry blocks all ports: write the address alone, or make a rule")]
    Port,
    /// An entry of addresses and something else, or several at once.
    #[error(
        "is not an address alone: write one address, prefix or range, without anything that belongs to it"
    )]
    NotAlone,
    /// Bits beyond the prefix length, where that is an error.
    #[error("has bits set beyond its prefix length: write {0}, or the address alone")]
    HostBits(IpNet),
    /// An exception within a set, such as `nomatch` of ipset.
    #[error("is an exception to other entries, which a blocklist cannot say: put it on an allowlist instead")]
    Exception,
    /// A command that removes an entry.
    #[error(
        "removes entries, which a blocklist cannot do: remove both, this command and what adds the entries"
    )]
    Removal,
    /// Addresses by way of a variable.
    #[error("is a variable, and variables are not read: write the addresses where they are used")]
    Variable,
    /// Something else of the format that has no meaning here.
    #[error("is not understood here: remove it, or correct it")]
    NotUnderstood,
    /// Not a length of time.
    #[error("is not a length of time: write whole seconds, or for nft such as 1h30m")]
    Timeout,
    /// There should be an address, and there is nothing.
    #[error("has no address where the other entries have theirs: add it, or remove the entry")]
    Missing,
    /// The first and last address are not those of the prefix.
    #[error("has a last address that does not fit its first address and prefix length: correct it")]
    Mismatch,
    /// Longer than what is read at once.
    #[error("begins a line or an entry that is longer than {LONGEST_LINE} bytes: break it into several")]
    TooLong,
    /// A quoted field or a list of elements that was begun only.
    #[error("does not end: the closing quotation mark or bracket is missing, or the list was cut off")]
    Unclosed,
    /// A line of JSON lines that is none; why not.
    #[error("is not a line of JSON ({0}): correct it, or remove it")]
    Json(String),
}

/// Why a list cannot be read, or not any further.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The reader failed.
    #[error("the list cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Nothing that is known; what the first lines hold.
    #[error(
        "the format of the list is not recognised (it begins with \"{0}\"): \
         name it, one of plain, csv, ipset, nft, json, p2p, dshield"
    )]
    Unrecognised(String),
    /// Something that is no list at all; what it is, and what to do.
    #[error("this is not a list but {0}")]
    Foreign(&'static str),
    /// No column with a usual name, or not the one that was named.
    #[error("line {line}: no column {wanted} (there are: {columns}): say which column has the addresses")]
    NoColumn {
        /// The line of the header, from 1 on.
        line: u64,
        /// What was looked for.
        wanted: String,
        /// The columns there are, the first twenty.
        columns: String,
    },
    /// Objects without addresses under a usual key, or under the one that was named.
    #[error(
        "no object has addresses under {wanted} (the first has: {keys}): say which key has the addresses"
    )]
    NoKey {
        /// What was looked for.
        wanted: String,
        /// The keys of the first object that was expected to hold an address, the first twenty.
        keys: String,
    },
    /// Broken JSON; where and why.
    #[error("line {line}: the JSON is broken ({what}): fetch the list again, or correct it")]
    Json {
        /// The line, from 1 on.
        line: u64,
        /// What is wrong there.
        what: String,
    },
    /// JSON of nft.
    #[error("this is the JSON of nft: write the list with nft list ruleset or nft list set, without -j")]
    NftJson,
    /// More sets with a netmask or a timeout of their own than the kernel can have.
    #[error("line {line}: this is set {LARGEST_SETS} with options of its own, more than ipset can have")]
    TooManySets {
        /// The line, from 1 on.
        line: u64,
    },
}

/// How many sets ipset can have.
pub(super) const LARGEST_SETS: usize = 65_534;

/// The beginning of a text as an error shows it, on one line.
pub(super) fn excerpt(text: &[u8]) -> String {
    let mut shown = String::new();
    let mut left = EXCERPT_CHARS;
    let text = text.trim_ascii();
    let head = &text[..text.len().min(4 * EXCERPT_CHARS)];
    for c in String::from_utf8_lossy(head).chars() {
        let escaped = c.escape_debug();
        let (plain, chars) = if c == '\'' { (true, 1) } else { (false, escaped.len()) };
        // The last place is for the sign that something is missing.
        if chars >= left {
            shown.push('…');
            break;
        }
        left -= chars;
        if plain { shown.push(c) } else { shown.extend(escaped) }
    }
    shown
}

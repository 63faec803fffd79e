//! Which format a list has, by its first lines.

use super::address::{read_entry, resembles_address};
use super::csv::{Header, has_columns};
use super::error::excerpt;
use super::plain::{is_comment, token_end};
use super::{Format, LONGEST_LINE, ReadError, dshield, p2p};

/// How many lines without a clear sign are looked at.
const LINES: usize = 20;

/// What lists come packed in, by its first bytes.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "data packed with gzip: unpack it before (gunzip)"),
    (b"PK\x03\x04", "a zip archive: unpack it before (unzip)"),
    (b"BZh", "data packed with bzip2: unpack it before (bunzip2)"),
    (b"\xfd7zXZ\x00", "data packed with xz: unpack it before (unxz)"),
    (b"\x28\xb5\x2f\xfd", "data packed with zstd: unpack it before (unzstd)"),
    (b"\xff\xfe", "text in UTF-16: write it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16: write it as UTF-8"),
];

/// Refuses what is a list in no format.
pub(super) fn refuse_foreign(head: &[u8]) -> Result<(), ReadError> {
    let foreign = FOREIGN.iter().find(|(signature, _)| head.starts_with(signature));
    if let Some((_, what)) = foreign {
        return Err(ReadError::Foreign(what));
    }
    let head = head.trim_ascii_start();
    let markup = |start: &[u8]| head.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    if [&b"<!"[..], b"<?xml", b"<html"].into_iter().any(markup) {
        return Err(ReadError::Foreign("a web page or XML: check the address that it was fetched from"));
    }
    Ok(())
}

/// The format of a list with these first bytes. `column`: the caller named one.
pub(super) fn detect(head: &[u8], column: bool) -> Result<Format, ReadError> {
    if is_json(head) {
        return Ok(Format::Json);
    }
    let lines = || complete(head).split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    if lines().any(|line| line.starts_with(b"#!") && line.windows(3).any(|part| part == b"nft")) {
        return Ok(Format::Nft);
    }
    let Some(first) = lines().find(|line| !line.is_empty() && !is_comment(line)) else {
        return Ok(Format::Plain);
    };
    if let Some(format) = clear(first) {
        return Ok(format);
    }
    let comments = lines().take_while(|line| line.is_empty() || is_comment(line));
    let commented = comments.filter_map(|line| Header::of_comment(line, None)).last();
    if column || Header::of(first, None).is_some() || commented.is_some_and(|header| header.fits(first)) {
        return Ok(Format::Csv);
    }
    let mut entries = lines().filter(|line| !line.is_empty() && !is_comment(line)).take(LINES);
    match entries.find_map(|line| clear(line).or_else(|| is_plain(line).then_some(Format::Plain))) {
        Some(format) => Ok(format),
        // Its error says which columns there are.
        None if has_columns(first) => Ok(Format::Csv),
        None => Err(ReadError::Unrecognised(excerpt(first))),
    }
}

/// Without a last line that may be cut off.
fn complete(head: &[u8]) -> &[u8] {
    match head.iter().rposition(|byte| *byte == b'\n') {
        Some(end) if head.len() + 4 > LONGEST_LINE => &head[..end],
        _ => head,
    }
}

fn is_json(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    let inner = |head: &[u8]| head.first().copied();
    match head.split_first() {
        Some((b'{', rest)) => matches!(inner(rest.trim_ascii_start()), Some(b'"' | b'}')),
        Some((b'[', rest)) => {
            matches!(inner(rest.trim_ascii_start()), None | Some(b'"' | b'{' | b'[' | b']'))
        }
        _ => false,
    }
}

/// The format of a line that can only be of one.
fn clear(line: &[u8]) -> Option<Format> {
    command(line)
        .or_else(|| dshield::resembles(line).then_some(Format::Dshield))
        .or_else(|| p2p::resembles(line).then_some(Format::P2p))
}

/// ipset and nft begin with the same words.
fn command(line: &[u8]) -> Option<Format> {
    const OF_NFT: [&[u8]; 8] =
        [b"element", b"set", b"table", b"chain", b"map", b"rule", b"ruleset", b"flowtable"];
    let words: Vec<&[u8]> =
        line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).take(3).collect();
    let second = words.get(1).copied()?;
    let third = words.get(2).copied();
    let entry = third.is_some_and(|third| read_entry(third).is_ok());
    let of_nft = OF_NFT.contains(&second) && !entry;
    match *words.first()? {
        b"add" | b"flush" | b"delete" | b"destroy" if of_nft => Some(Format::Nft),
        b"create" if of_nft && !third.is_some_and(|kind| kind.contains(&b':')) => Some(Format::Nft),
        b"table" | b"elements" | b"set" | b"map" | b"element" | b"define" | b"include" => Some(Format::Nft),
        b"add" | b"create" | b"-A" | b"-N" | b"-exist" | b"-!" if third.is_some() => Some(Format::Ipset),
        b"flush" | b"destroy" => Some(Format::Ipset),
        _ => None,
    }
}

/// Whether a line begins with what is meant as an address.
fn is_plain(line: &[u8]) -> bool {
    let token = &line[..token_end(line)];
    read_entry(token).is_ok() || resembles_address(token)
}

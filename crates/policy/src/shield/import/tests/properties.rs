//! What holds of any list.

use std::fmt::Write;
use std::io::BufReader;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Format, Options, of};
use crate::shield::import::address::{Entry, fast4, read_entry};
use crate::shield::import::{LONGEST_COMMENT, LineError, read};
use crate::shield::parse_prefix;

/// Pieces of which lists are made, so that the parsers get beyond the first byte.
const PIECES: &[&str] = &[
    "192.0.2.1",
    "10.0.0.0/8",
    "2001:db8::/32",
    "::",
    "-",
    " - ",
    "\n",
    "\r\n",
    "\n",
    ",",
    ";",
    "\t",
    " ",
    "#",
    "//",
    "\"",
    "\"\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    "\\",
    "ip",
    "ip,comment\n",
    "add element ip t s {",
    "elements = {",
    "set s {",
    "type ipv4_addr",
    "timeout 1h",
    " expires ",
    "comment",
    "create a hash:net netmask 24\n",
    "add a ",
    "nomatch",
    "{\"ip\":\"192.0.2.1\"}\n",
    "\"ip\":",
    "[{\"by\":{",
    "\"ip\":\"192.0.2.1\"}",
    "\"mask\":24",
    "\"x\":[\"::\"]",
    "null",
    "1e999",
    "x:1.2.3.4-1.2.3.5\n",
    "192.0.2.0\t192.0.2.255\t24\n",
    "\u{feff}",
    "é",
    "255.255.255.0",
    "0",
    "/",
];

fn lists() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..5),
    ];
    prop_oneof![vec(any::<u8>(), 0..300), vec(piece, 0..60).prop_map(|pieces| pieces.concat())]
}

fn options() -> impl Strategy<Value = Options> {
    let format = prop_oneof![Just(None), select(Format::ALL).prop_map(Some)];
    let column = prop_oneof![Just(None), Just(Some("ip".to_owned()))];
    (format, any::<bool>(), column).prop_map(|(format, strict, column)| Options { format, strict, column })
}

type Found = Vec<(u64, Result<(IpNet, bool, Option<String>, Option<u32>), LineError>)>;

/// What is found through a buffer of a size, and how it ended.
fn found(list: &[u8], capacity: usize, options: &Options) -> (Found, String) {
    let mut found = Vec::new();
    let reader = BufReader::with_capacity(capacity, list);
    let summary = read(reader, options, |line, item| {
        let item = item.map(|item| {
            let comment = item.comment.map(str::to_owned);
            (item.net, item.had_host_bits, comment, item.timeout.map(|span| span.millis()))
        });
        found.push((line, item));
        ControlFlow::Continue(())
    });
    (found, summary.map_or_else(|error| error.to_string(), |summary| format!("{summary:?}")))
}

fn nets() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0..=32_u8);
    let v4 = v4.prop_map(|(bits, len)| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), len)));
    let v6 = (any::<u128>(), 0..=128_u8);
    let v6 = v6.prop_map(|(bits, len)| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), len)));
    prop_oneof![v4, v6].prop_filter("mapped", |net| net.addr() == net.addr().to_canonical())
}

proptest! {
    /// It ends, keeps its word about lines and texts, and does not depend on how the bytes arrive.
    #[test]
    fn any_list_is_read(list in lists(), options in options(), capacity in 1..40_usize) {
        let (items, end) = found(&list, 1 << 20, &options);
        let lines = list.split(|byte| *byte == b'\n').count() as u64;
        for (line, item) in &items {
            prop_assert!((1..=lines).contains(line));
            match item {
                Ok((net, host_bits, comment, _)) => {
                    prop_assert_eq!(net.trunc(), *net);
                    prop_assert!(!(*host_bits && options.strict));
                    let comment = comment.as_deref().unwrap_or("x");
                    prop_assert!(!comment.is_empty() && !comment.contains(char::is_control));
                    prop_assert!(comment.chars().count() <= LONGEST_COMMENT);
                }
                Err(error) => {
                    prop_assert!(error.text.chars().count() <= 60);
                    prop_assert!(!error.to_string().contains(char::is_control));
                }
            }
        }
        prop_assert_eq!((items, end), found(&list, capacity, &options));
    }

    /// What is written plainly is read as it was.
    #[test]
    fn plain_lists_round_trip(entries in vec((nets(), "[ #;]{1,2}[a-z]{0,8}|"), 0..40)) {
        let mut list = String::new();
        for (net, comment) in &entries {
            writeln!(list, "{net}{}", comment).unwrap();
        }
        let (items, _) = found(list.as_bytes(), 64, &Options { format: Some(Format::Plain), ..Options::default() });
        prop_assert_eq!(items.len(), entries.len());
        for ((number, (net, _)), (line, item)) in (1..).zip(&entries).zip(items) {
            let (read, host_bits, ..) = item.unwrap();
            prop_assert_eq!((line, read, host_bits), (number, net.trunc(), net.trunc().addr() != net.addr()));
        }
    }

    /// The fast way says what the slow one says.
    #[test]
    fn both_ways_agree(text in "[0-9]{1,4}(\\.[0-9]{1,4}){3}(/[0-9]{1,3})?|[0-9./]{0,20}") {
        match (fast4(text.as_bytes()), parse_prefix(&text)) {
            (Some((Entry::One(fast), used)), slow) if used == text.len() => prop_assert_eq!(Ok(fast), slow),
            (Some((Entry::Range(..), _)), _) => prop_assert!(false),
            (_, Ok(slow)) => prop_assert_eq!(read_entry(text.as_bytes()), Ok(Entry::One(slow))),
            // A netmask is only known to one of them.
            (_, Err(_)) if text.split('/').skip(1).any(|mask| mask.contains('.')) => (),
            (_, Err(_)) => prop_assert!(read_entry(text.as_bytes()).is_err()),
        }
    }

    /// The prefixes of a range are next to each other, from its first to its last address.
    #[test]
    fn ranges_are_covered(a in any::<u32>(), b in any::<u32>(), narrow in 0..32_u32) {
        let b = a.saturating_add(b >> narrow);
        let list = format!("{}-{}", Ipv4Addr::from_bits(a), Ipv4Addr::from_bits(b));
        let (items, _) = found(list.as_bytes(), 64, &Options::default());
        prop_assert!(items.len() <= 62);
        let mut next = u64::from(a);
        for (_, item) in items {
            let IpNet::V4(net) = item.unwrap().0 else { unreachable!() };
            prop_assert_eq!(u64::from(net.network().to_bits()), next);
            next = u64::from(net.broadcast().to_bits()) + 1;
        }
        prop_assert_eq!(next, u64::from(b) + 1);
    }

    /// Whatever stands in the other fields, as long as it is quoted.
    #[test]
    fn quoted_csv_round_trips(rows in vec((any::<[u8; 4]>(), "[ -~\n]{0,20}"), 1..20)) {
        let mut list = "other,ip,comment\n".to_owned();
        for (address, other) in &rows {
            let other = other.replace('"', "\"\"");
            writeln!(list, "\"{other}\",{},\"{other}\"", IpAddr::from(*address)).unwrap();
        }
        let (items, _) = found(list.as_bytes(), 16, &Options::default());
        prop_assert_eq!(items.len(), rows.len());
        for ((address, other), (_, item)) in rows.iter().zip(items) {
            let (net, _, comment, _) = item.unwrap();
            prop_assert_eq!(net, IpNet::from(IpAddr::from(*address)));
            prop_assert_eq!(comment.unwrap_or_default(), other.trim_ascii().replace('\n', " "));
        }
    }

    /// ipset and nft say the same of the same.
    #[test]
    fn sets_round_trip(nets in vec(nets(), 1..20), seconds in 1..2_147_483_u32) {
        let mut ipset = String::new();
        let mut nft = "add element inet t s { ".to_owned();
        for net in &nets {
            writeln!(ipset, "add s {net} timeout {seconds} comment \"x\"").unwrap();
            writeln!(nft, "{net} timeout {seconds}s comment \"x\",").unwrap();
        }
        nft.push('}');
        let (ipset, nft) = (of(Format::Ipset, ipset), of(Format::Nft, nft));
        prop_assert_eq!(ipset.lines().count(), nets.len());
        prop_assert_eq!(ipset, nft);
    }
}

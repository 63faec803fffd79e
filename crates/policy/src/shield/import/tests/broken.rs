//! Lists that are none, or not whole.

use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;

use super::{Format, Options, detected, refused, shown};
use crate::shield::import::{ItemError, LONGEST_COMMENT, LONGEST_LINE, ReadError, read};

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(*format));
        assert_eq!(serde_json::to_string(format).unwrap(), format!("\"{format}\""));
    }
    let error = "xml".parse::<Format>().unwrap_err().to_string();
    assert_eq!(error, "unknown format \"xml\": write one of plain, csv, ipset, nft, json, p2p, dshield");
}

#[test]
fn what_is_no_list_is_refused() {
    for (list, why) in [
        (&b"\x1f\x8b\x08\x00"[..], "this is not a list but data packed with gzip: unpack it before (gunzip)"),
        (b"\n <!DOCTYPE html>", "this is not a list but a web page or XML: check the address"),
        (b"\xff\xfe1\x00", "this is not a list but text in UTF-16: write it as UTF-8"),
        (b"# x\nhello world\n", "the format of the list is not recognised (it begins with \"hello world\")"),
        (b"# x\ndate,dest\n2026-01-15,192.0.2.1\n", "line 2: no column of a usual name, such as ip, "),
        (b"{\"nftables\":[{\"metainfo\":{}}]}", "this is the JSON of nft"),
        (b"[{\"where\":\"192.0.2.1\",\"n\":1}]", "no object has addresses under"),
        (b"[\"192.0.2.1\",\n\"192.0.2.2", "line 2: the JSON is broken (EOF while parsing a string)"),
        (b"[\"192.0.2.1\" \"192.0.2.2\"]", "line 1: the JSON is broken (expected `,` or `]`)"),
    ] {
        let error = refused(list, &Options::default());
        assert!(error.starts_with(why), "{error}");
    }
    let options = Options { column: Some("dest".to_owned()), ..Options::default() };
    let error = refused(b"a,b\n1,2\n", &options);
    assert_eq!(error, "line 1: no column \"dest\" (there are: a, b): say which column has the addresses");
    let error = refused(b"[{\"ip\":\"192.0.2.1\"}]", &options);
    assert_eq!(
        error,
        "no object has addresses under \"dest\" (the first has: ip): say which key has the addresses"
    );
}

#[test]
fn nothing_is_an_empty_list() {
    for list in ["", "\n\n", "# none today\n", "\u{feff}"] {
        assert_eq!(detected(list), (Format::Plain, String::new()));
    }
    for format in Format::ALL.iter().copied() {
        let (text, summary) = shown(b"", &Options { format: Some(format), ..Options::default() });
        assert_eq!((text.as_str(), summary.unwrap().lines), ("", 0));
    }
}

#[test]
fn a_line_that_is_too_long_is_only_that() {
    for excess in [0, 1, LONGEST_LINE, 40 * LONGEST_LINE] {
        let pad = " ".repeat(LONGEST_LINE - 9 + excess);
        let list = format!("192.0.2.1{pad}\r\n192.0.2.2\n");
        for capacity in [1, 1000, 1 << 20] {
            let mut found = Vec::new();
            let reader = BufReader::with_capacity(capacity, list.as_bytes());
            let summary = read(reader, &Options::default(), |line, item| {
                found.push((line, item.map(|item| item.net.to_string()).map_err(|error| error.what)));
                ControlFlow::Continue(())
            });
            let first = if excess == 0 { Ok("192.0.2.1/32".to_owned()) } else { Err(ItemError::TooLong) };
            assert_eq!(found, [(1, first), (2, Ok("192.0.2.2/32".to_owned()))]);
            assert_eq!(summary.unwrap().lines, 2);
        }
    }
}

#[test]
fn long_texts_are_cut() {
    let comment = "ä".repeat(3 * LONGEST_COMMENT);
    let (_, text) = detected(format!("192.0.2.1 # {comment}\n"));
    assert_eq!(text.trim_end(), format!("1 192.0.2.1/32 # {}", "ä".repeat(LONGEST_COMMENT)));
    let (_, text) = detected(format!("192.0.2.1\n{}\n", "\u{7}x".repeat(100)));
    let error = text.lines().nth(1).unwrap();
    let quoted = error.split('"').nth(1).unwrap();
    assert!(quoted.ends_with('…') && quoted.chars().count() <= 60, "{quoted}");
    assert!(!error.contains(char::is_control));
    let list = format!("[\"{}\"]", "1".repeat(2 * LONGEST_LINE));
    assert!(refused(list, &Options::default()).contains("longer than 65536 bytes"));
    let list = format!("add element ip t s {{ {}, 192.0.2.1 }}", "1".repeat(2 * LONGEST_LINE));
    assert!(detected(list).1.ends_with("break it into several\n1 192.0.2.1/32\n"));
}

#[test]
fn the_caller_can_stop() {
    let lists = [
        "192.0.2.1\nfoo\n192.0.2.3\n",
        "ip\n192.0.2.1\nfoo\n",
        "add a 192.0.2.1\nadd a foo\n",
        "elements = { 192.0.2.1,\nfoo }\n",
        "[\"192.0.2.1\",\n\"foo\"]\n",
        "{\"ip\":\"192.0.2.1\"}\n{\"ip\":\"foo\"}\n",
        "x:192.0.2.1-192.0.2.9\nfoo\n",
    ];
    for list in lists {
        for after in 1..=2_u64 {
            let mut calls = 0;
            let summary = read(list.as_bytes(), &Options::default(), |_, _| {
                calls += 1;
                if calls == after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let summary = summary.unwrap();
            assert_eq!((calls, summary.items + summary.errors), (after, after), "{list}");
        }
    }
}

/// Gives a text, then fails.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into) {
            Ok(0) => Err(io::Error::other("the disk is gone")),
            read => read,
        }
    }
}

#[test]
fn a_reader_that_fails_is_an_error() {
    for (list, unit) in [
        ("192.0.2.1\n", "192.0.2.1\n"),
        ("[\"192.0.2.1\"", ",\n\"192.0.2.1\""),
        ("elements = { ", "192.0.2.1,\n"),
    ] {
        let list = list.to_owned() + &unit.repeat(10_000);
        let mut items = 0;
        let error = read(BufReader::new(Failing(list.as_bytes())), &Options::default(), |_, _| {
            items += 1;
            ControlFlow::Continue(())
        });
        assert!(matches!(error, Err(ReadError::Io(_))));
        assert!(items >= 10_000, "{items}");
        let error = read(BufReader::new(Failing(b"192.0.2.1\n")), &Options::default(), |_, _| {
            ControlFlow::Continue(())
        });
        assert_eq!(error.unwrap_err().to_string(), "the list cannot be read: the disk is gone");
    }
}

//! Each fixture is recognised, and gives what it says.

use super::{Format, Options, detected, shown};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/blocklists/", $name))
    };
}

fn gives(list: &[u8], format: Format, lines: &[&str]) {
    let (recognised, text) = detected(list);
    assert_eq!(recognised, format);
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn firehol() {
    gives(
        fixture!("firehol.netset"),
        Format::Plain,
        &["16 0.0.0.0/8", "17 192.0.2.0/24", "18 198.51.100.7/32", "19 203.0.113.128/25"],
    );
}

#[test]
fn spamhaus_as_text() {
    gives(
        fixture!("drop.txt"),
        Format::Plain,
        &["5 192.0.2.0/24 # SBL256894", "6 198.51.100.0/25 # SBL434604", "7 2001:db8::/32 # SBL999999"],
    );
}

#[test]
fn spamhaus_as_json() {
    gives(
        fixture!("drop_v4.json"),
        Format::Json,
        &["1 192.0.2.0/24 # SBL256894", "2 198.51.100.0/25 # SBL434604", "3 203.0.113.0/24 # SBL434605"],
    );
}

#[test]
fn addresses_with_more_columns() {
    let rest = "#4#2#Malicious Host#US#Example City#37.7,-122.4#3";
    gives(
        fixture!("reputation.data"),
        Format::Plain,
        &[
            &format!("1 192.0.2.44/32 # {}", &rest[1..]),
            "2 198.51.100.9/32 # 3#2#Scanning Host;Spamming#DE##51.0,9.0#3;12",
        ],
    );
}

/// The comment with the columns' names is as good as a header.
#[test]
fn ipsum() {
    let addresses = ["6 192.0.2.11/32", "7 192.0.2.12/32", "8 198.51.100.3/32"];
    gives(fixture!("ipsum.txt"), Format::Csv, &addresses);
    let (text, _) =
        shown(fixture!("ipsum.txt"), &Options { format: Some(Format::Plain), ..Options::default() });
    assert_eq!(text, "6 192.0.2.11/32 # 10\n7 192.0.2.12/32 # 9\n8 198.51.100.3/32 # 9\n");
}

#[test]
fn abuse_ch() {
    gives(fixture!("feodo.csv"), Format::Csv, &["10 192.0.2.10/32 # Emotet", "11 198.51.100.20/32 # QakBot"]);
    gives(fixture!("sslbl.csv"), Format::Csv, &["7 192.0.2.77/32", "8 198.51.100.78/32"]);
    gives(
        fixture!("threatfox.csv"),
        Format::Csv,
        &[
            "6 192.0.2.5/32 # win.example",
            "line 7: \"bad.example\" is about a name, and a blocklist holds only addresses: \
             resolve the name, or remove the line",
            "8 198.51.100.6/32 # elf.example",
        ],
    );
}

#[test]
fn ipset() {
    gives(
        fixture!("ipset.save"),
        Format::Ipset,
        &[
            "2 192.0.2.0/24 # a scanner; see ticket (10m)",
            "3 198.51.100.1/32",
            "3 198.51.100.2/32",
            "5 2001:db8::/32",
            "line 7: \"192.0.2.1,tcp:80\" is not an address alone: write one address, prefix or range, \
             without anything that belongs to it",
            "line 8: \"add bad4 192.0.2.7 nomatch\" is an exception to other entries, which a blocklist \
             cannot say: put it on an allowlist instead",
        ],
    );
}

#[test]
fn nft_ruleset() {
    gives(
        fixture!("ruleset.nft"),
        Format::Nft,
        &[
            "7 192.0.2.1/32",
            "7 198.51.100.0/24 (30m)",
            "8 10.0.0.1/32",
            "8 10.0.0.2/32",
            "8 203.0.113.9/32 # x, y } (1d)",
            "14 2001:db8::/32",
            "15 2001:db9::1/128",
        ],
    );
}

#[test]
fn nft_commands() {
    gives(
        fixture!("commands.nft"),
        Format::Nft,
        &[
            "4 192.0.2.1/32",
            "4 192.0.2.2/32 (90s)",
            "7 198.51.100.4/31",
            "line 8: \"http.example\" is about a name, and a blocklist holds only addresses: \
             resolve the name, or remove the line",
            "line 9: \"192.0.2.9 . 80\" is not an address alone: write one address, prefix or range, \
             without anything that belongs to it",
            "line 11: \"delete element inet filter bad\" removes entries, which a blocklist cannot do: \
             remove both, this command and what adds the entries",
        ],
    );
}

#[test]
fn cloud_providers() {
    gives(
        fixture!("ip-ranges.json"),
        Format::Json,
        &["6 192.0.2.0/24", "12 198.51.100.0/25", "20 2001:db8::/36"],
    );
    gives(fixture!("cloud.json"), Format::Json, &["5 192.0.2.0/24", "9 2001:db8:100::/44"]);
    gives(
        fixture!("meta.json"),
        Format::Json,
        &[
            "5 192.0.2.0/24",
            "5 2001:db8::/48",
            "6 198.51.100.0/24",
            "line 6: \"192.0.2.300\" is not an IPv4 or IPv6 address",
        ],
    );
}

#[test]
fn peerguardian() {
    gives(
        fixture!("level1.p2p"),
        Format::P2p,
        &[
            "2 192.0.2.0/24 # Example Corp: the second",
            "3 198.51.100.3/32 # Caf\u{fffd} Example",
            "3 198.51.100.4/32 # Caf\u{fffd} Example",
            "line 4: \"198.51.100.3\" is not a range: write the first and the last address, both of one \
             family, the lower one first",
        ],
    );
}

#[test]
fn dshield() {
    gives(
        fixture!("block.txt"),
        Format::Dshield,
        &[
            "13 192.0.2.0/24 # EXAMPLE-NET",
            "14 198.51.100.0/24",
            "line 15: \"203.0.113.0\\t203.0.113.254\\t24\\t1\\tODD\\tDE\" has a last address that does not fit its \
             first address and prefix length: correct it",
        ],
    );
}

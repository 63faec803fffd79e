//! Details of the formats.

use super::{Format, Options, detected, of, shown};

/// What each line of a plain list gives.
fn plain(line: &str) -> String {
    of(Format::Plain, line).trim_end().to_owned()
}

#[test]
fn plain_lines() {
    for (line, gives) in [
        ("192.0.2.1", "1 192.0.2.1/32"),
        ("  192.0.2.1/24\t", "1 192.0.2.0/24!"),
        ("192.0.2.1 # why", "1 192.0.2.1/32 # why"),
        ("192.0.2.1// why", "1 192.0.2.1/32 # why"),
        ("192.0.2.0/24// why", "1 192.0.2.0/24 # why"),
        ("192.0.2.1;why", "1 192.0.2.1/32 # why"),
        ("192.0.2.1 5 2026-01-01", "1 192.0.2.1/32 # 5 2026-01-01"),
        ("192.0.2.1 - a comment", "1 192.0.2.1/32 # - a comment"),
        ("192.0.2.1 scanner.example", "1 192.0.2.1/32 # scanner.example"),
        ("192.0.2.1 # \x1b[31mred", "1 192.0.2.1/32 # [31mred"),
        ("2001:db8:://why", "1 2001:db8::/128 # why"),
        ("2001:DB8::1", "1 2001:db8::1/128"),
        ("::ffff:192.0.2.1", "1 192.0.2.1/32"),
        ("::ffff:192.0.2.0/120 # mapped", "1 192.0.2.0/24 # mapped"),
        ("10.0.0.0/255.0.0.0", "1 10.0.0.0/8"),
        ("10.1.0.0/255.0.0.0", "1 10.0.0.0/8!"),
        ("0.0.0.0/0", "1 0.0.0.0/0"),
        ("::/0", "1 ::/0"),
        ("0.0.0.0", "1 0.0.0.0/32"),
        ("0.0.0.0 # any", "1 0.0.0.0/32 # any"),
        ("192.0.2.0-192.0.2.255", "1 192.0.2.0/24"),
        ("192.0.2.0 - 192.0.2.255 # why", "1 192.0.2.0/24 # why"),
        ("192.0.2.0- 192.0.2.255", "1 192.0.2.0/24"),
        ("192.0.2.0 -192.0.2.255", "1 192.0.2.0/24"),
        ("0.0.0.0-255.255.255.255", "1 0.0.0.0/0"),
        ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "1 ::/0"),
        ("2001:db8::-2001:db8::1", "1 2001:db8::/127"),
        ("::ffff:192.0.2.0-::ffff:192.0.2.1", "1 192.0.2.0/31"),
        ("", ""),
        ("# only", ""),
        (" ; only", ""),
        ("// only", ""),
    ] {
        assert_eq!(plain(line), gives, "{line}");
    }
}

#[test]
fn what_is_no_entry() {
    for (line, what) in [
        ("foo", "\"foo\" is not an IPv4 or IPv6 address"),
        ("192.0.2", "\"192.0.2\" is not an IPv4 or IPv6 address"),
        ("192.0.2.256", "\"192.0.2.256\" is not an IPv4 or IPv6 address"),
        ("192.0.2.1/33", "\"192.0.2.1/33\" has a prefix length"),
        ("192.0.2.1/", "\"192.0.2.1/\" has a prefix length"),
        ("2001:db8::/129", "\"2001:db8::/129\" has a prefix length"),
        ("10.0.0.0/0.255.255.255", "\"10.0.0.0/0.255.255.255\" has a netmask"),
        ("010.1.2.3", "\"010.1.2.3\" has an octet with a leading zero"),
        ("10.1.2.03/32", "\"10.1.2.03/32\" has an octet with a leading zero"),
        ("010.0.0.0-010.0.0.9", "\"010.0.0.0-010.0.0.9\" has an octet with a leading zero"),
        ("fe80::1%eth0", "\"fe80::1%eth0\" has a zone"),
        ("192.0.2.1:80", "\"192.0.2.1:80\" has a port"),
        ("[2001:db8::1]:80", "\"[2001:db8::1]:80\" has a port"),
        ("192.0.2.1,80", "\"192.0.2.1,80\" is not an address alone"),
        ("192.0.2.9-192.0.2.1", "\"192.0.2.9-192.0.2.1\" is not a range"),
        ("192.0.2.9 - 192.0.2.1", "\"192.0.2.9 - 192.0.2.1\" is not a range"),
        ("192.0.2.9 - 192.0.2", "\"192.0.2.9 - 192.0.2\" is not a range"),
        ("192.0.2.1-9", "\"192.0.2.1-9\" is not a range"),
        ("192.0.2.1-2001:db8::1", "\"192.0.2.1-2001:db8::1\" is not a range"),
        ("192.0.2.0/24-192.0.3.0/24", "\"192.0.2.0/24-192.0.3.0/24\" is not a range"),
        ("bad.example", "\"bad.example\" is about a name"),
        ("https://bad.example/x", "\"https://bad.example/x\" is about a name"),
        ("0.0.0.0 bad.example", "\"0.0.0.0 bad.example\" is about a name"),
        ("127.0.0.1\tlocalhost", "\"127.0.0.1\\tlocalhost\" is about a name"),
        ("::1 ip6-localhost", "\"::1 ip6-localhost\" is about a name"),
        ("fe80::1%lo0 localhost", "\"fe80::1%lo0 localhost\" is about a name"),
    ] {
        let gives = plain(line);
        assert!(gives.starts_with(&format!("line 1: {what}")), "{line}: {gives}");
    }
}

#[test]
fn lines_end_as_they_like() {
    let list = "\u{feff}192.0.2.1\r\n\r\n# x\r\n192.0.2.2 ; y\r\n192.0.2.3";
    let (text, summary) = shown(list.as_bytes(), &Options::default());
    assert_eq!(text, "1 192.0.2.1/32\n4 192.0.2.2/32 # y\n5 192.0.2.3/32\n");
    let summary = summary.unwrap();
    assert_eq!((summary.format, summary.lines, summary.items), (Format::Plain, 5, 3));
}

#[test]
fn host_bits_are_counted_or_refused() {
    let list = b"192.0.2.0/24\n192.0.2.1/24\n198.51.100.1/24\n";
    let summary = shown(list, &Options::default()).1.unwrap();
    assert_eq!((summary.items, summary.with_host_bits, summary.first_host_bits_line), (3, 2, Some(2)));
    let (text, summary) = shown(list, &Options { strict: true, ..Options::default() });
    let summary = summary.unwrap();
    assert_eq!((summary.items, summary.errors, summary.with_host_bits), (1, 2, 0));
    let error = "line 2: \"192.0.2.1/24\" has bits set beyond its prefix length: \
                 write 192.0.2.0/24, or the address alone";
    assert_eq!(text.lines().nth(1), Some(error));
}

#[test]
fn csv_columns() {
    let semicolons = "Country;IP Address;Reason\nDE;192.0.2.1;\"a; \"\"b\"\"\"\nDE;;x\n";
    let missing = "line 3: \"DE;;x\" has no address where the other entries have theirs: \
                   add it, or remove the entry\n";
    let expected = format!("2 192.0.2.1/32 # a; \"b\"\n{missing}");
    assert_eq!(detected(semicolons), (Format::Csv, expected));
    let tabs = "ipv4\tipv6\n192.0.2.1\t2001:db8::1\n\t2001:db8::2\n";
    let expected = "2 192.0.2.1/32\n2 2001:db8::1/128\n3 2001:db8::2/128\n";
    assert_eq!(detected(tabs), (Format::Csv, expected.to_owned()));
    let ports = "ioc\n192.0.2.1:80\n[2001:db8::1]:443\n[2001:db8::2]\n2001:db8::3\nfe80::1%1\n";
    let (_, text) = detected(ports);
    assert!(
        text.starts_with("2 192.0.2.1/32\n3 2001:db8::1/128\n4 2001:db8::2/128\n5 2001:db8::3/128\nline 6")
    );
    let source = "source,dst_ip\nsome feed,192.0.2.1\n";
    assert_eq!(detected(source).1, "2 192.0.2.1/32\n");
    let masks = "network,netmask\n192.0.2.0,255.255.255.0\n198.51.100.0,\n";
    assert_eq!(detected(masks).1, "2 192.0.2.0/24\n3 198.51.100.0/32\n");
    let abuseipdb = "ipAddress,countryCode,abuseConfidenceScore,lastReportedAt\n\
                     192.0.2.1,US,100,2026-01-15T03:00:00+00:00\n";
    assert_eq!(detected(abuseipdb).1, "2 192.0.2.1/32\n");
}

#[test]
fn a_csv_column_of_ones_own() {
    let list = b"uuid,event_id,category,type,value,comment,to_ids,date\n\
                 \"x\",1,\"Network activity\",\"ip-dst\",\"192.0.2.1\",\"C2\",1,20260115\n";
    let options = Options { column: Some("Value".to_owned()), ..Options::default() };
    assert_eq!(shown(list, &options).0, "2 192.0.2.1/32 # C2\n");
}

#[test]
fn csv_fields_over_several_lines() {
    let list = "ip,comment\n192.0.2.1,\"one\ntwo\r\n\"\"three\"\"\"\n192.0.2.2,x\n";
    assert_eq!(detected(list).1, "2 192.0.2.1/32 # one two \"three\"\n5 192.0.2.2/32 # x\n");
    let (_, text) = detected("ip,comment\n192.0.2.1,\"one\n192.0.2.2,x\n");
    assert!(text.starts_with("line 2: \"192.0.2.1,\\\"one\\n192.0.2.2,x\" does not end"), "{text}");
}

#[test]
fn ipset_details() {
    let list = "create a hash:ip family inet netmask 24 timeout 60\n\
                -exist add a 192.0.2.0\nadd a 198.51.100.1 timeout 0\nadd b 192.0.2.1 frobnicate\n\
                add b 192.0.2.1 timeout soon\nadd b 192.0.2.1 comment \"open\ndel b 192.0.2.1\nCOMMIT\n";
    let (format, text) = detected(list);
    assert_eq!(format, Format::Ipset);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["2 192.0.2.0/24 (1m)", "3 198.51.100.0/24!"]);
    for (line, what) in lines[2..].iter().zip(["understood", "length of time", "does not end", "removes"]) {
        assert!(line.contains(what), "{line}");
    }
    assert_eq!(lines.len(), 6);
    // In a set of ports there are no addresses.
    assert!(detected("create p bitmap:port range 0-1000\nadd p 80\n").1.starts_with("line 2: \"80\" is not"));
}

#[test]
fn nft_details() {
    let set = "table ip t {\n set s {\n typeof ip saddr\n timeout 2h\n elements={192.0.2.1,192.0.2.2 expires 0s,\n\
               192.0.2.3 timeout 1d2h, 192.0.2.4 - 192.0.2.5 timeout 0s}\n }\n}\n";
    let expected = "5 192.0.2.1/32 (2h)\n5 192.0.2.2/32 (0ms)\n6 192.0.2.3/32 (26h)\n6 192.0.2.4/31\n";
    assert_eq!(detected(set), (Format::Nft, expected.to_owned()));
    let pieces = "elements = { 192.0.2.1,\n 192.0.2.2 }\n";
    assert_eq!(detected(pieces), (Format::Nft, "1 192.0.2.1/32\n2 192.0.2.2/32\n".to_owned()));
    for (list, what) in [
        ("define bad = { 192.0.2.1 }\n", "\"define bad =\" is a variable"),
        ("add element ip t s $bad\n", "\"add element ip t s $bad\" is a variable"),
        ("add element ip t s { $bad }\n", "\"$bad\" is not an IPv4"),
        ("add element ip t s { 192.0.2.1 : drop }\n", "\"192.0.2.1 : drop\" is not an address alone"),
        ("add element ip t s { 192.0.2.1 frobnicate }\n", "\"192.0.2.1 frobnicate\" is not understood"),
        ("add element ip t s { 192.0.2.1, 192.0.2.1", "\"192.0.2.1\" does not end"),
        ("add element ip t s { 192.0.2.1 - }", "\"192.0.2.1 -\" is not a range"),
    ] {
        let text = of(Format::Nft, list);
        assert!(text.contains(&format!("line 1: {what}")), "{list}: {text}");
    }
}

#[test]
fn json_details() {
    for (list, expected) in [
        ("[]", ""),
        ("[\"192.0.2.1\",\n\"192.0.2.0/24\"]", "1 192.0.2.1/32\n2 192.0.2.0/24\n"),
        ("[{\"ip\":\"192.0.2.1\",\"comment\":\"x\",\"source\":\"feed\"}]", "1 192.0.2.1/32 # x\n"),
        ("[{\"comment\":\"x\",\n\"ips\":1,\"ip\":\n\"192.0.2.1\"\n}]", "3 192.0.2.1/32 # x\n"),
        ("{\"ipv4\":\"192.0.2.1\",\"ipv6\":\"2001:db8::1\"}", "1 192.0.2.1/32\n1 2001:db8::1/128\n"),
        ("{\"ip\":[\"192.0.2.1\"]}", "1 192.0.2.1/32\n"),
        ("{\"data\":[{\"ipAddress\":\"192.0.2.1\",\"abuseConfidenceScore\":100}]}", "1 192.0.2.1/32\n"),
        ("{\"properties\":{\"addressPrefixes\":[\"192.0.2.0/24\"]}}", "1 192.0.2.0/24\n"),
        ("{\"ip\":\"192.0.2.1\"}\n{\"ip\":\"192.0.2.2\"}", "1 192.0.2.1/32\n2 192.0.2.2/32\n"),
        ("{\"meta\":{\"generatedAt\":\"2026-01-15\"},\"data\":[]}", ""),
        // What is below an address, or called like one but is none, is not meant.
        (r#"[{"ip":"192.0.2.1","seen":["192.0.2.9"],"by":{"ip":"192.0.2.9"}}]"#, "1 192.0.2.1/32\n"),
        (r#"{"source":"https://feed.example","all":["192.0.2.1"]}"#, "1 192.0.2.1/32\n"),
        (r#"[{"network":"192.0.2.0","mask_len":25,"cidr":"192.0.2.0/25"}]"#, "1 192.0.2.0/25\n"),
        (r#"[{"network":"192.0.2.0","mask":"255.255.255.0"}]"#, "1 192.0.2.0/24\n"),
        (r#"[{"source":"a feed","ip":["192.0.2.1"]}]"#, "1 192.0.2.1/32\n"),
        (r#"[{"network":"192.0.2.0","prefix_length":24}]"#, "1 192.0.2.0/24\n"),
        ("[\"foo\"]", "line 1: \"foo\" is not an IPv4 or IPv6 address\n"),
    ] {
        assert_eq!(detected(list), (Format::Json, expected.to_owned()), "{list}");
    }
    let (_, text) = detected(r#"[{"by":{"ip":"192.0.2.9"},"ip":"192.0.2.1"}]"#);
    let expected = "1 192.0.2.9/32\n1 192.0.2.1/32\nline 1: \"192.0.2.1\" is in an object with other";
    assert!(text.starts_with(expected), "{text}");
    let options = Options { column: Some("hooks".to_owned()), ..Options::default() };
    let list = br#"{"hooks":["192.0.2.1"],"web":["192.0.2.2"]}"#;
    assert_eq!(shown(list, &options).0, "1 192.0.2.1/32\n");
    let options = Options { column: Some("value".to_owned()), ..Options::default() };
    let list = b"[{\"ip\":\"192.0.2.1\",\"value\":\"192.0.2.2\"}]";
    assert_eq!(shown(list, &options).0, "1 192.0.2.2/32\n");
}

#[test]
fn a_bad_line_of_json_is_only_that() {
    let (format, text) = detected("{\"ip\":\"192.0.2.1\"}\n{\"ip\":\n{\"x\":1}\n{\"ip\":\"192.0.2.2\"}\n");
    assert_eq!(format, Format::Json);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[3]), ("1 192.0.2.1/32", "4 192.0.2.2/32"));
    assert!(lines[1].starts_with("line 2: \"{\\\"ip\\\":\" is not a line of JSON (EOF"), "{}", lines[1]);
    assert!(lines[2].starts_with("line 3: \"{\\\"x\\\":1}\" has no address"), "{}", lines[2]);
}

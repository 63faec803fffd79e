use super::*;

fn net(text: &str) -> IpNet {
    super::super::parse_prefix(text).unwrap().net
}

fn entry(text: &str, allow: bool) -> Entry {
    Entry { net: net(text), allow, protocol: Class::ANY, expires: None, comment: None }
}

fn addresses(entries: &[(String, Entry)]) -> Vec<String> {
    entries.iter().map(|(source, entry)| format!("{source} {}", entry.net)).collect()
}

#[test]
fn sources_are_joined_and_taken_apart_again() {
    let mut book = Book::default();
    let tcp = Entry { protocol: Class::TCP, ..entry("192.0.2.0/24", false) };
    let udp = Entry { protocol: Class::UDP, comment: Some("why".into()), ..entry("192.0.2.0/24", false) };
    assert_eq!(book.put("a", &tcp), None);
    assert_eq!(book.put("b", &udp), None);
    assert_eq!(book.put("b", &udp), Some(udp.clone()));
    assert_eq!(book.listing(tcp.net), Listing::block(Class::TCP.union(Class::UDP)));
    assert_eq!(book.lists().get(tcp.net), Listing::block(Class::TCP.union(Class::UDP)));
    assert_eq!(book.remove("b", tcp.net, true), None);
    assert_eq!(book.remove("b", tcp.net, false), Some(udp));
    assert_eq!(book.listing(tcp.net), Listing::block(Class::TCP));
    assert_eq!((book.len(), book.sources().count()), (1, 1));
}

#[test]
fn the_deciding_entries_are_named() {
    let mut book = Book::default();
    for (source, text, allow) in [
        ("feed", "10.0.0.0/8", false),
        ("feed", "10.1.0.0/16", false),
        ("api", "10.1.0.0/16", false),
        ("api", "10.1.2.3", true),
        ("api", "::/0", false),
    ] {
        book.put(source, &entry(text, allow));
    }
    let found = book.explain("10.1.9.9".parse().unwrap());
    assert_eq!((found.blocks, found.is_allowed), (Class::ANY, false));
    assert_eq!(addresses(&found.decisive), ["api 10.1.0.0/16", "feed 10.1.0.0/16"]);
    assert_eq!(addresses(&found.others), ["feed 10.0.0.0/8"]);
    let found = book.explain("10.1.2.3".parse().unwrap());
    assert_eq!((found.blocks, found.is_allowed), (Class::NONE, true));
    assert_eq!(addresses(&found.decisive), ["api 10.1.2.3/32"]);
    assert_eq!(found.others.len(), 3);
    assert_eq!(book.explain("192.0.2.1".parse().unwrap()), Explained::default());
    assert_eq!(addresses(&book.explain("2001:db8::1".parse().unwrap()).decisive), ["api ::/0"]);
    assert_eq!(addresses(&book.explain("::ffff:10.9.9.9".parse().unwrap()).decisive), ["feed 10.0.0.0/8"]);
}

#[test]
fn entries_expire_once() {
    let mut book = Book::default();
    book.put("a", &Entry { expires: Some(100), ..entry("192.0.2.1", false) });
    book.put("a", &Entry { expires: Some(200), ..entry("2001:db8::1", false) });
    book.put("a", &entry("192.0.2.3", false));
    assert_eq!(book.next_expiry(), Some(100));
    assert_eq!(book.expire(99), []);
    assert_eq!(book.expire(100), [("a".to_owned(), vec![net("192.0.2.1")])]);
    assert_eq!(book.next_expiry(), Some(200));
    // Put again without an end, it stays.
    book.put("a", &entry("2001:db8::1", false));
    assert_eq!(book.expire(1000), []);
    assert_eq!((book.len(), book.next_expiry()), (2, None));
}

#[test]
fn bytes_and_back() {
    let mut builder = Builder::default();
    builder.push(net("198.51.100.0/24"), false, Class::ANY, None, Some("SBL1"));
    builder.push(net("192.0.2.1"), true, Class::ANY, Some(7), None);
    builder.push(net("2001:db8::/32"), false, Class::TCP, None, Some("ünï"));
    builder.push(net("198.51.100.7/24"), false, Class::UDP, None, Some("again"));
    assert_eq!(builder.taken(), 4);
    let list = builder.finish();
    let bytes = list.to_bytes();
    let back = SourceList::from_bytes(&bytes).unwrap();
    let entries: Vec<Entry> = back.iter().collect();
    assert_eq!(entries, list.iter().collect::<Vec<_>>());
    assert_eq!((entries.len(), back.next_expiry()), (3, Some(7)));
    assert_eq!(entries[1].comment.as_deref(), Some("again"));
    assert_eq!(entries[1].protocol, Class::UDP);
    for cut in 0..bytes.len() {
        assert!(SourceList::from_bytes(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(matches!(SourceList::from_bytes(&[2, 0, 0, 0]), Err(BadBytes::Newer(2))));
    assert_eq!(list.iter_from(1).map(|(place, _)| place).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(list.iter_from(2).count(), 1);
}

#[test]
fn lists_are_compared() {
    let list = |texts: &[&str]| {
        let mut builder = Builder::default();
        texts.iter().for_each(|text| builder.push(net(text), false, Class::ANY, None, None));
        builder.finish()
    };
    let (old, new) = (list(&["192.0.2.1", "192.0.2.3", "::1"]), list(&["192.0.2.2", "192.0.2.3"]));
    assert_eq!((new.count_beyond(&old), old.count_beyond(&new)), (1, 2));
}

#[test]
fn changes_leave_no_rubbish_behind() {
    let mut list = SourceList::default();
    for round in 0..10_000u64 {
        let comment = Some(format!("comment {round}"));
        list.put(&Entry { comment, expires: Some(round + 1), ..entry("192.0.2.1", false) });
    }
    assert!(list.metas.len() < 2048 && list.comments.len() < 64 * 1024, "{}", list.metas.len());
    assert_eq!(list.iter().next().unwrap().comment.as_deref(), Some("comment 9999"));
}

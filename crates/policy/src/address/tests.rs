use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn refusal(text: &str) -> String {
    match text.parse::<AddressBinding>() {
        Ok(binding) => panic!("{text:?} was taken for {binding}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn addresses_and_prefixes_become_canonical() {
    for (text, shown, host) in [
        ("10.0.0.2", "10.0.0.2", true),
        ("10.0.0.5/32", "10.0.0.5", true),
        ("10.0.1.0/24", "10.0.1.0/24", false),
        ("10.0.0.0/8", "10.0.0.0/8", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.0/8", "127.0.0.0/8", false),
        ("169.254.7.7", "169.254.7.7", true),
        ("FD00:0:0::2", "fd00::2", true),
        ("fd00::2/128", "fd00::2", true),
        ("fd00::/64", "fd00::/64", false),
        ("fd00::/8", "fd00::/8", false),
        ("2001:db8::1", "2001:db8::1", true),
        ("::1", "::1", true),
        ("::1/128", "::1", true),
        ("fe80::1", "fe80::1", true),
    ] {
        let binding: AddressBinding = text.parse().unwrap();
        assert_eq!((binding.to_string().as_str(), binding.is_host()), (shown, host), "{text}");
        assert_eq!(binding.to_string().parse(), Ok(binding), "{text}");
    }
}

#[test]
fn every_refusal_says_what_to_write_instead() {
    for (text, says) in [
        ("", "\"\" is not an address"),
        ("web-1", "\"web-1\" is not an address: write one such as"),
        ("10.0.0.256", "\"10.0.0.256\" is not an address"),
        ("10.0.0.01", "is not an address"),
        (" 10.0.0.1", "\" 10.0.0.1\" is not an address"),
        ("10.0.0.1\n", r#""10.0.0.1\n" is not an address"#),
        ("fe80::1%eth0", "names an interface after %"),
        ("10.0.0.0/33", "from 8 to 32"),
        ("10.0.0.0/", "from 8 to 32"),
        ("10.0.0.0/+24", "from 8 to 32"),
        ("10.0.0.0/24/24", "from 8 to 32"),
        ("fd00::/129", "from 8 to 128"),
        ("fd00::/999", "from 8 to 128"),
        (
            "0.0.0.0/0",
            "0.0.0.0/0 would let it use every address as its source: bind the prefixes it routes for",
        ),
        ("::/0", "::/0 would let it use every address as its source: bind the prefixes it routes for"),
        ("10.0.0.2/0", "every address"),
        (
            "10.0.0.2/24",
            "10.0.0.2/24 has host bits set: write 10.0.0.2 for that address alone, or 10.0.0.0/24 for the whole prefix",
        ),
        ("fd00::2/64", "write fd00::2 for that address alone, or fd00::/64"),
        ("127.0.0.1/8", "write 127.0.0.1 for that address alone, or 127.0.0.0/8"),
        ("0.0.0.0", "0.0.0.0 lies in 0.0.0.0/8"),
        ("0.1.2.3", "0.1.2.3 lies in 0.0.0.0/8"),
        ("0.0.0.0/1", "too wide"),
        ("64.0.0.0/2", "too wide"),
        ("128.0.0.0/1", "too wide"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("240.0.0.1", "reserved"),
        ("240.0.0.0/4", "reserved"),
        ("::", ":: is the unspecified address"),
        ("::ffff:10.0.0.2", "write the IPv4 address, 10.0.0.2"),
        ("::ffff:10.0.0.0/120", "write the IPv4 address, 10.0.0.0/24"),
        ("::2", "reserved"),
        ("::10.0.0.2", "reserved"),
        ("::/8", "reserved"),
        ("::1/64", "reserved"),
        ("64:ff9b::/96", "reserved"),
        ("2000::/3", "too wide"),
        ("8000::/1", "too wide"),
        ("::/1", "too wide"),
        ("ff02::1", "multicast"),
        ("ff00::/8", "multicast"),
        ("fe80::/64", "link-local"),
        ("fe80::1/64", "link-local"),
        ("fe00::/8", "link-local"),
    ] {
        let error = refusal(text);
        assert!(error.contains(says), "{text:?} gave: {error}");
        assert!(!error.contains('\n'), "{text:?} gave: {error}");
    }
}

#[test]
fn a_long_hostile_text_stays_one_short_line() {
    let error = refusal(&"é\u{1b}[2J\n".repeat(10_000));
    assert!(error.len() < 600 && !error.contains(['\n', '\u{1b}']), "{error}");
}

#[test]
fn prefixes_contain_and_overlap() {
    let binding = |text: &str| text.parse::<AddressBinding>().unwrap();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(binding("10.0.1.0/24").contains(address("10.0.1.255")));
    assert!(!binding("10.0.1.0/24").contains(address("10.0.2.0")));
    assert!(!binding("10.0.1.0/24").contains(address("::ffff:10.0.1.1")));
    assert!(binding("fd00::/64").contains(address("fd00::ffff")));
    for (a, b, overlap) in [
        ("10.0.0.2", "10.0.0.2", true),
        ("10.0.0.2", "10.0.0.3", false),
        ("10.0.0.2", "10.0.0.0/24", true),
        ("10.0.0.0/16", "10.0.3.0/24", true),
        ("10.0.0.0/24", "10.0.1.0/24", false),
        ("fd00::/64", "fd00::1", true),
        ("fd00::/64", "fd00:0:0:1::/64", false),
        ("10.0.0.0/8", "fd00::/8", false),
    ] {
        assert_eq!(binding(a).overlaps(&binding(b)), overlap, "{a} {b}");
        assert_eq!(binding(b).overlaps(&binding(a)), overlap, "{b} {a}");
    }
}

#[test]
fn the_mapped_form_counts_in_128_bits() {
    let mapped = |text: &str| {
        let (address, len) = text.parse::<AddressBinding>().unwrap().mapped();
        (address.to_string(), len)
    };
    assert_eq!(mapped("10.0.0.2"), ("::ffff:10.0.0.2".into(), 128));
    assert_eq!(mapped("10.0.1.0/24"), ("::ffff:10.0.1.0".into(), 120));
    assert_eq!(mapped("fd00::/64"), ("fd00::".into(), 64));
    assert_eq!(mapped("fd00::1"), ("fd00::1".into(), 128));
}

#[test]
fn macs() {
    let mac: MacAddress = "02-42-0A-00-00-02".parse().unwrap();
    assert_eq!(mac.to_string(), "02:42:0a:00:00:02");
    assert!("00:00:00:00:00:00".parse::<MacAddress>().unwrap().is_zero());
    for (text, says) in [
        ("02:42", "\"02:42\" is not a MAC address: write six"),
        ("ff:ff:ff:ff:ff:ff", "broadcast"),
        ("01:00:5e:00:00:01", "01:00:5e:00:00:01 is a multicast MAC"),
        ("33:33:00:00:00:01", "multicast"),
    ] {
        let error = text.parse::<MacAddress>().unwrap_err().to_string();
        assert!(error.contains(says), "{text:?} gave: {error}");
    }
}

#[test]
fn vlan_ids() {
    for good in [1, 42, 4094] {
        let id: VlanId = good.to_string().parse().unwrap();
        assert_eq!((id.number(), serde_json::to_string(&id).unwrap()), (good, good.to_string()));
        assert_eq!(serde_json::from_str::<VlanId>(&good.to_string()).unwrap(), id);
    }
    for bad in ["0", "4095", "65536", "-1"] {
        let error = serde_json::from_str::<VlanId>(bad).unwrap_err().to_string();
        assert!(error.contains(&format!("{bad} is not a VLAN id: write a number from 1 to 4094")), "{error}");
        assert!(bad.parse::<VlanId>().is_err());
    }
    assert!("x".parse::<VlanId>().is_err() && "+5".parse::<VlanId>().is_err());
}

#[test]
fn ethertypes() {
    for text in ["0x88cc", "0X88CC", "35020"] {
        assert_eq!(text.parse::<EtherType>().unwrap().to_string(), "0x88cc");
    }
    for json in ["\"0x88cc\"", "35020"] {
        assert_eq!(serde_json::from_str::<EtherType>(json).unwrap().number(), 0x88cc);
    }
    for (text, says) in [
        ("lldp", "\"lldp\" is not an ethertype"),
        ("0x10000", "is not an ethertype"),
        ("0x+800", "is not an ethertype"),
        ("-5", "is not an ethertype"),
        ("0x05ff", "0x05ff is a frame length"),
        ("0", "0x0000 is a frame length"),
        ("0x0800", "0x0800 (IPv4, ARP or IPv6) is always let through"),
        ("0x0806", "bind addresses"),
        ("0x86dd", "bind addresses"),
        ("0x8100", "any-vlan"),
        ("0x88a8", "any-vlan"),
        ("0x9100", "any-vlan"),
        ("0x8035", "RARP"),
    ] {
        let error = text.parse::<EtherType>().unwrap_err().to_string();
        assert!(error.contains(says), "{text:?} gave: {error}");
    }
}

#[test]
fn a_wrong_json_type_names_the_right_one() {
    let error = serde_json::from_str::<AddressBinding>("5").unwrap_err().to_string();
    assert!(error.contains("an address such as"), "{error}");
    let error = serde_json::from_str::<AddressBinding>("\"0.0.0.0/0\"").unwrap_err().to_string();
    assert!(error.contains("every address"), "{error}");
}

fn any_net() -> impl Strategy<Value = ipnet::IpNet> {
    prop_oneof![
        (any::<u32>(), 0..=32u8).prop_map(|(a, len)| (IpAddr::from(a.to_be_bytes()), len)),
        (any::<u128>(), 0..=128u8).prop_map(|(a, len)| (IpAddr::from(a.to_be_bytes()), len)),
        // Close together, so that overlaps happen.
        (0..64u8, 24..=32u8).prop_map(|(a, len)| (IpAddr::from([10, 0, 0, a]), len)),
    ]
    .prop_map(|(address, len)| ipnet::IpNet::new(address, len).unwrap().trunc())
}

proptest! {
    #[test]
    fn text_round_trips(net in any_net()) {
        if let Ok(binding) = AddressBinding::try_from(net) {
            prop_assert_eq!(binding.to_string().parse::<AddressBinding>(), Ok(binding));
            let json = serde_json::to_string(&binding).unwrap();
            prop_assert_eq!(serde_json::from_str::<AddressBinding>(&json).unwrap(), binding);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = text.parse::<AddressBinding>();
        let _ = text.parse::<MacAddress>();
        let _ = text.parse::<EtherType>();
        let _ = text.parse::<VlanId>();
    }

    #[test]
    fn no_binding_holds_an_impossible_source(net in any_net()) {
        let Ok(binding) = AddressBinding::try_from(net) else { return Ok(()) };
        for bad in ["0.0.0.0", "0.255.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "ff02::1", "::ffff:1.2.3.4"] {
            prop_assert!(!binding.contains(bad.parse().unwrap()), "{} holds {}", binding, bad);
        }
    }

    #[test]
    fn overlap_is_symmetric_and_is_what_the_ranges_say(a in any_net(), b in any_net()) {
        let (Ok(a), Ok(b)) = (AddressBinding::try_from(a), AddressBinding::try_from(b)) else { return Ok(()) };
        prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        let ((a0, a1), (b0, b1)) = (a.range(), b.range());
        prop_assert_eq!(a.overlaps(&b), a0 <= b1 && b0 <= a1);
        prop_assert!(a.overlaps(&a) && a.contains(a.ip()));
    }
}

//! Equal verdicts: rule by rule, and through the table by the engine's look-up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_abi::shield::Line;
use portcullis_abi::shield::rules::LINES;
use portcullis_engine::shield::facts::{Facts, Family, Fragment};
use portcullis_engine::shield::rules as engine;
use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        3 => (0u32..1 << 12).prop_map(|low| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | low << 6))),
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        3 => (0u128..1 << 8, 0u32..6).prop_map(|(low, step)| {
            IpAddr::V6(Ipv6Addr::from_bits(0xfd00_u128 << 112 | low << (step * 12)))
        }),
        1 => any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ]
}

fn net(address: IpAddr, shorter: u8) -> IpNet {
    match address {
        IpAddr::V4(address) => Ipv4Net::new(address, 32 - shorter % 33).unwrap().trunc().into(),
        IpAddr::V6(address) => Ipv6Net::new(address, 128 - shorter % 129).unwrap().trunc().into(),
    }
}

fn rule() -> impl Strategy<Value = Rule> {
    let net =
        || proptest::option::of((address(), prop_oneof![0u8..16, any::<u8>()]).prop_map(|(a, s)| net(a, s)));
    let protocol =
        proptest::option::of(prop::sample::select(vec![1u8, 6, 17, 58, 47, 132]).prop_map(Protocol));
    let ports = proptest::option::of((0u16..200, 0u16..300).prop_map(|(a, n)| Ports::new(a, a + n).unwrap()));
    let flags = proptest::option::of(
        (any::<u8>(), any::<u8>()).prop_map(|(mask, set)| FlagMatch { mask, set: set & mask }),
    );
    let icmp = proptest::option::of(0u8..16);
    let pieces = proptest::option::of(prop::sample::select(vec![
        Pieces::Any,
        Pieces::First,
        Pieces::Later,
        Pieces::None,
    ]));
    let action = prop_oneof![
        2 => Just(Action::Drop),
        2 => Just(Action::Pass),
        1 => Just(Action::Log),
        1 => Just(Action::Limit(Rate { unit: Unit::Packets, per_second: 100, burst: 5, per: Per::Total })),
    ];
    let rest = (flags, icmp, pieces, action);
    (0u32..20, net(), net(), protocol, ports, rest).prop_map(
        |(priority, source, destination, protocol, ports, (flags, icmp_type, pieces, action))| {
            let mut rule = Rule {
                name: String::new(),
                priority,
                source,
                destination,
                protocol,
                ports,
                flags,
                icmp_type,
                pieces,
                action,
                report: false,
            };
            // What makes no sense is left out.
            while let Err(error) = rule.check() {
                match error {
                    RuleError::NoPorts(_) => rule.ports = None,
                    RuleError::NoFlags | RuleError::BadFlags => rule.flags = None,
                    RuleError::NoType => rule.icmp_type = None,
                    RuleError::Headless => rule.pieces = None,
                    _ => rule.destination = None,
                }
            }
            rule
        },
    )
}

fn rules(most: usize) -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(rule(), 0..most).prop_map(|mut rules| {
        (0..).zip(&mut rules).for_each(|(number, rule)| rule.name = format!("rule-{number:04}"));
        rules
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let protocol = prop::sample::select(vec![1u8, 6, 17, 58, 47, 132, 2]);
    (address(), address(), protocol, 0u8..3, any::<u8>(), 0u16..600).prop_map(
        |(source, mut destination, protocol, piece, detail, port)| {
            if source.is_ipv4() != destination.is_ipv4() {
                destination = source;
            }
            // As it is read from a frame.
            let readable = piece != 2;
            let detail = if readable && matches!(protocol, 1 | 6 | 58) { detail } else { 0 };
            let port = if readable && Protocol(protocol).has_ports() { port } else { 0 };
            Packet { source, destination, protocol, piece, detail, port }
        },
    )
}

fn facts(packet: &Packet) -> Facts {
    let words = |address| match address {
        IpAddr::V4(address) => [0, u64::from(Ipv4Addr::to_bits(address))],
        IpAddr::V6(address) => [(Ipv6Addr::to_bits(address) >> 64) as u64, Ipv6Addr::to_bits(address) as u64],
    };
    Facts {
        family: if packet.source.is_ipv4() { Family::V4 } else { Family::V6 },
        source: words(packet.source),
        destination: words(packet.destination),
        protocol: packet.protocol,
        fragment: [Fragment::Whole, Fragment::First, Fragment::Later][usize::from(packet.piece)],
        detail: packet.detail,
        port: packet.port,
        len: 100,
    }
}

fn table(rules: &[Rule]) -> (Vec<Line>, Compiled) {
    let mut table = vec![Line::default(); LINES as usize];
    let compiled = Compiled::write(rules, |_| 7, table.as_mut_slice()).unwrap();
    (table, compiled)
}

fn check(rules: &[Rule], packets: &[Packet]) {
    let (table, compiled) = table(rules);
    let ordered = in_order(rules);
    for packet in packets {
        let (deciding, logging) = met(&ordered, packet);
        let table = table.as_slice();
        let found = engine::met(&table, engine::classes_of(&table, &facts(packet)).unwrap());
        let name = |number: Option<u32>| number.map(|number| compiled.names[number as usize].as_str());
        let expected = (deciding.map(|rule| rule.name.as_str()), logging.map(|rule| rule.name.as_str()));
        assert_eq!((name(found.deciding), name(found.logging)), expected, "{packet:?} of {ordered:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_rules_say_the_same(rules in rules(30), packets in prop::collection::vec(packet(), 60)) {
        check(&rules, &packets);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn a_thousand_rules_say_the_same(
        rules in prop::collection::vec(rule(), 1024),
        packets in prop::collection::vec(packet(), 300),
    ) {
        let mut rules = rules;
        (0..).zip(&mut rules).for_each(|(number, rule)| rule.name = format!("rule-{number:04}"));
        check(&rules, &packets);
    }
}

#[test]
fn a_bucket_gives_what_its_rate_says() {
    let rate = portcullis_abi::shield::rules::Rate { cost: 640, burst: 3200 };
    let mut bucket = 0;
    let mut passed = 0;
    for tick in (1_000_000..1_064_000).step_by(10) {
        if let Some(next) = engine::charge(bucket, tick, rate, 1) {
            bucket = next;
            passed += 1;
        }
    }
    // A burst of five, and one for every 640 ticks of 64,000.
    assert!((104..=105).contains(&passed), "{passed}");
}

#[test]
fn a_rule_keeps_its_number() {
    let named = |names: &[&str]| -> Vec<Rule> {
        let rule = |name: &&str| Rule {
            name: (*name).to_owned(),
            priority: 0,
            source: None,
            destination: None,
            protocol: None,
            ports: None,
            flags: None,
            icmp_type: None,
            pieces: None,
            action: Action::Drop,
            report: false,
        };
        names.iter().map(rule).collect()
    };
    let mut numbers = Numbers::default();
    assert_eq!(numbers.assign(0, &named(&["a", "b"])).unwrap().fresh, [0, 1]);
    assert_eq!(numbers.assign(1, &named(&["a"])).unwrap().fresh, [2]);
    assert_eq!(numbers.assign(0, &named(&["b", "c"])).unwrap().fresh, [3]);
    assert_eq!((numbers.of(0, "a"), numbers.of(0, "b"), numbers.of(1, "a")), (None, Some(1), Some(2)));
    assert_eq!(numbers.name_of(3), Some((0, "c")));
    let many: Vec<String> = (0..9000).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(numbers.assign(0, &named(&many)).is_err());
    assert_eq!(numbers.of(0, "b"), Some(1), "nothing has changed");
    // Numbers that were given back are used when no others are left.
    numbers.assign(0, &named(&many[..8000])).unwrap();
    assert_eq!(numbers.assign(1, &named(&["a", "x"])).unwrap().fresh.len(), 1);
}

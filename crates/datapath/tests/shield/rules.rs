//! Rules.

use std::net::{IpAddr, Ipv6Addr};

use portcullis_abi::DropReason;
use portcullis_policy::shield::rules::{
    Action, FlagMatch, Packet, Per, Ports, Protocol, Rate, Rule, Unit, in_order, met,
};

use crate::lab::{DROP, Lab, PASS, Wrap, frame, from, rule, v4};

#[test]
fn rules_say_in_the_kernel_what_they_say_here() {
    let mut lab = Lab::new("rules");
    let mut rules: Vec<Rule> = (0..1000u32)
        .map(|n| {
            let mut rule = rule(n, if n % 3 == 0 { Action::Drop } else { Action::Pass });
            rule.source =
                format!("10.{}.{}.0/{}", n % 5, n % 7 * 16, 20 + n % 5).parse().ok().filter(|_| n % 4 != 0);
            rule.protocol = [Some(Protocol::TCP), Some(Protocol::UDP), None][(n % 3) as usize];
            rule.ports = Ports::new((n * 13 % 900) as u16, (n * 13 % 900 + n % 60) as u16);
            rule
        })
        .collect();
    rules.push(Rule {
        source: "2001:db8::/32".parse().ok(),
        protocol: Some(Protocol::ICMPV6),
        icmp_type: Some(128),
        ..rule(1, Action::Drop)
    });
    rules.push(Rule {
        protocol: Some(Protocol::TCP),
        flags: Some(FlagMatch { mask: 0x3f, set: 0x29 }),
        ..rule(0, Action::Drop)
    });
    (0..).zip(&mut rules).for_each(|(n, rule): (u32, _)| rule.name = format!("rule-{n:04}"));
    rules.push(Rule { name: "log".into(), ports: Ports::new(80, 80), ..rule(2, Action::Log) });
    lab.publish_rules(&rules);
    let ordered = in_order(&rules);
    let mut counted = vec![0u64; rules.len()];
    let mut check = |lab: &mut Lab, packet: Packet| {
        let (deciding, logging) = met(&ordered, &packet);
        for rule in deciding.iter().chain(&logging) {
            counted[rules.iter().position(|other| other.name == rule.name).unwrap()] += 1;
        }
        let action = if deciding.is_some_and(|rule| rule.action == Action::Drop) { DROP } else { PASS };
        assert_eq!(lab.run(&frame(&packet, Wrap::Plain)), action, "{packet:?} {deciding:?}");
    };
    for n in 0..3000u32 {
        let source = v4(0x0a00_0000 | (n % 6) << 16 | (n * 7 % 128) << 8 | (n % 256));
        let protocol = [6, 17, 1, 132][(n % 4) as usize];
        let piece = if n % 10 == 0 { (n / 10 % 3) as u8 } else { 0 };
        let readable = piece != 2;
        let port = if readable && protocol != 1 { (n * 31 % 1000) as u16 } else { 0 };
        let detail = if protocol == 6 && readable { [0x12, 0x29, 2][(n % 3) as usize] } else { 0 };
        check(&mut lab, Packet { piece, port, detail, ..from(source, protocol) });
    }
    let v6 = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | 9));
    for detail in [127, 128, 129] {
        check(&mut lab, Packet { detail, ..from(v6, 58) });
    }
    for (number, expected) in (0..).zip(counted) {
        assert_eq!(
            lab.shield.rule_count(number).unwrap().packets,
            expected,
            "{}",
            rules[usize::from(number)].name
        );
    }
}

#[test]
fn a_limit_lets_its_burst_pass() {
    let mut lab = Lab::new("limit");
    let rate = |per| Rate { unit: Unit::Packets, per_second: 1, burst: 5, per };
    let limit =
        |number, per, port| Rule { ports: Ports::new(port, port), ..rule(number, Action::Limit(rate(per))) };
    lab.publish_rules(&[limit(0, Per::Total, 80), limit(1, Per::Source(24, 64), 81)]);
    let mut passed = |source: u32, port| {
        let packet = Packet { port, ..from(v4(source), 17) };
        (0..20).filter(|_| lab.run(&frame(&packet, Wrap::Plain)) == PASS).count()
    };
    // A second may go by meanwhile.
    assert!((5..=6).contains(&passed(0x0a00_0001, 80)));
    assert!(passed(0x0b00_0001, 80) <= 1);
    assert!((5..=6).contains(&passed(0x0a00_0001, 81)));
    assert!((5..=6).contains(&passed(0x0b00_0001, 81)));
    assert!(passed(0x0b00_0002, 81) <= 1, "the same /24");
    assert!(lab.dropped(DropReason::RateLimited) >= 60);
}

#[test]
fn what_would_be_a_way_round_is_dropped() {
    let mut lab = Lab::new("broken");
    let tcp = Packet { piece: 1, ..from(v4(0x0a00_0001), 6) };
    let good = frame(&tcp, Wrap::Plain);
    lab.publish_rules(&[rule(0, Action::Pass)]);
    assert_eq!(lab.run(&good), PASS);
    // A first fragment that ends within the TCP header, and a later one that overlaps it.
    let mut short = good.clone();
    short[17] = 28;
    assert_eq!(lab.run(&short), DROP);
    let mut overlapping = good.clone();
    overlapping[20..22].copy_from_slice(&[0, 1]);
    assert_eq!(lab.run(&overlapping), DROP);
    let mut header = good.clone();
    header[14] = 0x44;
    assert_eq!(lab.run(&header), DROP);
    let mut len = good.clone();
    len[16..18].copy_from_slice(&[1, 0]);
    assert_eq!(lab.run(&len), DROP);
    let mut v6 = frame(&from(IpAddr::V6(Ipv6Addr::from_bits(0xfd << 120 | 2)), 6), Wrap::Plain);
    assert_eq!(lab.run(&v6), PASS);
    v6[18..20].copy_from_slice(&[0, 200]);
    assert_eq!(lab.run(&v6), DROP);
    assert_eq!(lab.dropped(DropReason::Malformed), 5);
    let mut arp = vec![0xff; 12];
    arp.extend([8, 6]);
    arp.extend([0; 28]);
    assert_eq!(lab.run(&arp), PASS);
    assert_eq!(lab.run(&arp[..20]), PASS, "short, but none of our business");
}

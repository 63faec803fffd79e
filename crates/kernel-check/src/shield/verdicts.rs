//! Verdicts by test run.

use anyhow::{Result, bail};
use portcullis_abi::DropReason;
use portcullis_abi::shield::Class;
use portcullis_abi::shield::guard::GuardConfig;
use portcullis_abi::shield::rules::TICKS_PER_NS;
use portcullis_datapath::shield::EventBudget;
use portcullis_policy::shield::rules::{Action, Per, Ports, Protocol, Rate, Rule, Unit};
use portcullis_policy::shield::{Listing, Prefix4, Prefix6};

use super::Fort;
use super::frames::{Asked, TCP, UDP, Wrap};
use crate::Report;

pub fn check(report: &mut Report) {
    report.check("shield-list4", list4);
    report.check("shield-list6", list6);
    report.check("shield-rules", rules);
    report.check("shield-limit", limit);
    report.check("shield-malformed", malformed);
    report.check("shield-guard", guard);
}

fn list4() -> Result<()> {
    let mut fort = Fort::open("shield-list4")?;
    let entries = [
        (Prefix4::of(0x0a00_0000, 8), Listing::BLOCK),
        (Prefix4::of(0x0a01_0203, 32), Listing::ALLOW),
        (Prefix4::of(0xc000_0201, 32), Listing::BLOCK),
        (Prefix4::of(0xc612_0000, 28), Listing::block(Class::TCP)),
    ];
    fort.block4(&entries.into_iter().collect())?;
    for wrap in [Wrap::Plain, Wrap::Tagged, Wrap::Snap] {
        for (source, protocol, drops) in [
            ("10.1.2.3", UDP, false),
            ("10.1.2.4", UDP, true),
            ("11.1.2.4", UDP, false),
            ("192.0.2.1", TCP, true),
            ("192.0.2.2", TCP, false),
            ("198.18.0.15", TCP, true),
            ("198.18.0.15", UDP, false),
            ("198.18.0.16", TCP, false),
        ] {
            let asked = Asked::new(source, protocol, 80).wrapped(wrap);
            fort.expect(source, &asked.frame(), drops)?;
            fort.expect(source, &asked.piece(2).frame(), drops)?;
        }
    }
    Ok(())
}

fn list6() -> Result<()> {
    let mut fort = Fort::open("shield-list6")?;
    let base = 0x2001_0db8_u128 << 96;
    let entries = [
        (Prefix6::of(base, 32), Listing::block(Class::TCP)),
        (Prefix6::of(base | 5 << 80, 48), Listing::BLOCK),
        (Prefix6::of(base | 5 << 80 | 7, 128), Listing::ALLOW),
    ];
    fort.block6(&entries.into_iter().collect())?;
    for wrap in [Wrap::Plain, Wrap::Tagged] {
        for piece in [0, 1, 2] {
            for (source, protocol, drops) in [
                ("2001:db8::1", TCP, true),
                ("2001:db8::1", UDP, false),
                ("2001:db8:5::1", UDP, true),
                ("2001:db8:5::7", UDP, false),
                ("2001:db9::1", TCP, false),
            ] {
                let asked = Asked::new(source, protocol, 80).wrapped(wrap).piece(piece);
                fort.expect(source, &asked.frame(), drops)?;
            }
        }
    }
    Ok(())
}

fn rule(name: &str, action: Action) -> Rule {
    Rule {
        name: name.to_owned(),
        priority: 0,
        source: None,
        destination: None,
        protocol: None,
        ports: None,
        flags: None,
        icmp_type: None,
        pieces: None,
        action,
        report: false,
    }
}

fn rules() -> Result<()> {
    let mut fort = Fort::open("shield-rules")?;
    // Many boundaries in one /16: they are looked up by the third byte; few: by a search.
    let many = (0..40u32).map(|n| Rule {
        source: format!("10.9.{}.{}/31", n * 6, n * 2).parse().ok(),
        ..rule(&format!("many-{n:02}"), Action::Drop)
    });
    let mut all: Vec<Rule> = many.collect();
    all.extend([
        Rule { protocol: Some(Protocol::UDP), ports: Ports::new(53, 60), ..rule("port", Action::Drop) },
        Rule { source: "10.8.0.64/26".parse().ok(), ..rule("few", Action::Drop) },
        Rule { source: "2001:db8:7::/48".parse().ok(), ..rule("six", Action::Drop) },
        rule("log", Action::Log),
    ]);
    fort.rule(&all)?;
    for (source, protocol, port, piece, drops) in [
        ("10.0.0.9", UDP, 53, 0, true),
        ("10.0.0.9", UDP, 60, 1, true),
        ("10.0.0.9", UDP, 53, 2, false),
        ("10.0.0.9", UDP, 61, 0, false),
        ("10.0.0.9", TCP, 53, 0, false),
        ("10.9.120.41", TCP, 1, 0, true),
        ("10.9.120.42", TCP, 1, 0, false),
        ("10.8.0.64", TCP, 1, 0, true),
        ("10.8.0.127", TCP, 1, 2, true),
        ("10.8.0.128", TCP, 1, 0, false),
        ("2001:db8:7::9", TCP, 1, 0, true),
        ("2001:db8:8::9", UDP, 53, 0, true),
        ("2001:db8:8::9", TCP, 1, 1, false),
    ] {
        for wrap in [Wrap::Plain, Wrap::Tagged] {
            let asked = Asked::new(source, protocol, port).piece(piece).wrapped(wrap);
            fort.expect(&format!("{source} {port}"), &asked.frame(), drops)?;
        }
    }
    let logged = fort.shield.rule_count(43)?.packets;
    if logged == 0 {
        bail!("the rule that logs has counted nothing");
    }
    Ok(())
}

fn limit() -> Result<()> {
    let mut fort = Fort::open("shield-limit")?;
    let rate = Rate { unit: Unit::Packets, per_second: 1, burst: 4, per: Per::Source(32, 64) };
    fort.rule(&[rule("limit", Action::Limit(rate))])?;
    for source in ["10.0.0.9", "2001:db8::9"] {
        let frame = Asked::new(source, UDP, 80).frame();
        // Two runs each; emulation may take seconds for them.
        let mut passed = 0;
        for _ in 0..40 {
            passed += usize::from(
                fort.shield.test(fort.profile, portcullis_datapath::shield::Program::Xdp, &frame, 1)?.action
                    == 2,
            );
        }
        if !(4..=30).contains(&passed) {
            bail!("{passed} of 40 packets of {source} passed");
        }
    }
    Ok(())
}

fn malformed() -> Result<()> {
    let mut fort = Fort::open("shield-malformed")?;
    fort.rule(&[rule("pass", Action::Pass)])?;
    let good = Asked::new("10.0.0.9", TCP, 80).piece(1).frame();
    fort.expect("a first fragment", &good, false)?;
    let mut short = good.clone();
    short[17] = 32;
    fort.expect("a first fragment that ends within the TCP header", &short, true)?;
    let mut overlapping = good;
    overlapping[20..22].copy_from_slice(&[0, 1]);
    fort.expect("a later one that overlaps it", &overlapping, true)?;
    let mut arp = vec![0xff; 12];
    arp.extend([8, 6]);
    arp.extend([0; 28]);
    fort.expect("ARP", &arp, false)?;
    match fort.dropped(DropReason::Malformed)? {
        4 => Ok(()),
        other => bail!("{other} are malformed, of four"),
    }
}

fn guard() -> Result<()> {
    const HOUR: u64 = 3_600_000_000_000;
    let mut fort = Fort::open("shield-guard")?;
    let guard = GuardConfig {
        source_cost: HOUR / 10 * TICKS_PER_NS,
        source_burst: HOUR * TICKS_PER_NS,
        syn_cost: HOUR / 4 * TICKS_PER_NS,
        syn_burst: HOUR * TICKS_PER_NS,
        block_ns: HOUR,
        block_max_ns: HOUR,
        forget_ns: HOUR,
        window_ns: HOUR,
        strikes: 2,
        ..GuardConfig::default()
    };
    let silent = EventBudget { per_second: 0, burst: 0 };
    fort.shield.configure(fort.profile, silent, Some(guard))?;
    for source in ["10.0.0.9", "2001:db8::9"] {
        let frame = Asked::new(source, UDP, 80).frame();
        // Each is asked twice.
        for _ in 0..5 {
            fort.expect(source, &frame, false)?;
        }
        fort.expect(source, &frame, true)?;
    }
    let blocks = fort.shield.blocks()?;
    if blocks.len() != 2 {
        bail!("{} sources are blocked, of two", blocks.len());
    }
    let syn = |last: u8| Asked::new(&format!("10.1.0.{last}"), TCP, 80).frame();
    fort.expect("the first", &syn(1), false)?;
    fort.expect("the second", &syn(2), false)?;
    fort.expect("the third", &syn(3), true)?;
    match fort.dropped(DropReason::SynFlood)? {
        2 => Ok(()),
        other => bail!("{other} SYNs are a flood, of two"),
    }
}

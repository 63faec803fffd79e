//! The flood guard.

use std::net::{IpAddr, Ipv6Addr};

use portcullis_abi::DropReason;
use portcullis_abi::shield::guard::GuardConfig;
use portcullis_abi::shield::rules::TICKS_PER_NS;
use portcullis_datapath::shield::EventBudget;
use portcullis_policy::shield::rules::Packet;

use crate::lab::{Lab, PASS, Wrap, frame, from, v4};

#[test]
fn the_guard_blocks_who_goes_on_but_nobody_protected() {
    const SECOND: u64 = 1_000_000_000;
    let mut lab = Lab::new("guard");
    let guard = GuardConfig {
        source_cost: 10 * SECOND * TICKS_PER_NS,
        source_burst: 100 * SECOND * TICKS_PER_NS,
        syn_cost: 10 * SECOND * TICKS_PER_NS,
        syn_burst: 50 * SECOND * TICKS_PER_NS,
        block_ns: 1000 * SECOND,
        block_max_ns: 10_000 * SECOND,
        forget_ns: 10_000 * SECOND,
        window_ns: SECOND,
        strikes: 3,
        ..GuardConfig::default()
    };
    lab.shield.configure(lab.profile, EventBudget { per_second: 0, burst: 0 }, Some(guard)).unwrap();
    let protected = 0x0a00_0009;
    lab.shield.protect(lab.profile, [0, 0xffff_0000_0000 | u64::from(protected)], 128).unwrap();
    let passed = |lab: &mut Lab, packet: Packet, times: usize| {
        let bytes = frame(&packet, Wrap::Plain);
        (0..times).filter(|_| lab.run(&bytes) == PASS).count()
    };
    assert_eq!(passed(&mut lab, from(v4(0x0a00_0001), 17), 30), 10);
    assert_eq!(passed(&mut lab, from(v4(0x0a00_0002), 17), 5), 5);
    assert_eq!(passed(&mut lab, from(v4(protected), 17), 30), 10);
    let v6 = |low: u128| IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | low));
    assert_eq!(passed(&mut lab, from(v6(1), 17), 8), 8);
    assert_eq!(passed(&mut lab, from(v6(2), 17), 8), 2, "one /64");
    let blocks = lab.shield.blocks().unwrap();
    let mut blocked: Vec<[u64; 2]> = blocks.iter().map(|(key, _)| key.address).collect();
    blocked.sort_unstable();
    assert_eq!(blocked, [[0, 0x0a00_0001], [0x2001_0db8_0000_0000, 0]]);
    let length = |block: &portcullis_abi::shield::guard::Block| block.until_ns - block.since_ns;
    assert!(blocks.iter().all(|(_, block)| length(block) == 1000 * SECOND && block.offences == 1));
    // Its bucket is as full as before, but it is told from a block.
    let before = lab.dropped(DropReason::Blocklisted);
    assert_eq!(passed(&mut lab, from(v4(0x0a00_0001), 17), 1), 0);
    assert_eq!(lab.dropped(DropReason::Blocklisted), before + 1);
    for (key, _) in &blocks {
        assert!(lab.shield.unblock(key).unwrap());
    }
    assert!(lab.shield.blocks().unwrap().is_empty());
    // SYNs from everywhere to one port; whoever has gone on with a handshake may begin another.
    let syn = |source: u32| Packet { detail: 2, ..from(v4(source), 6) };
    let ack = |source: u32| Packet { detail: 16, ..from(v4(source), 6) };
    assert_eq!(passed(&mut lab, syn(0x0b00_0001), 1) + passed(&mut lab, ack(0x0b00_0001), 1), 2);
    let others: usize = (0..20).map(|n| passed(&mut lab, syn(0x0c00_0000 + n), 1)).sum();
    assert_eq!(others, 4, "the burst, less the first");
    assert_eq!(passed(&mut lab, syn(0x0b00_0001), 1), 1);
    assert_eq!(lab.dropped(DropReason::SynFlood), 16);
    assert_eq!(passed(&mut lab, Packet { port: 81, ..syn(0x0c00_0100) }, 1), 1, "another port");
}

#[test]
fn a_firewall_blocks_no_more_than_its_share() {
    const SECOND: u64 = 1_000_000_000;
    let mut lab = Lab::new("share");
    let guard = GuardConfig {
        source_cost: 10 * SECOND * TICKS_PER_NS,
        source_burst: 20 * SECOND * TICKS_PER_NS,
        block_ns: 1000 * SECOND,
        block_max_ns: 10_000 * SECOND,
        forget_ns: 10_000 * SECOND,
        strikes: 1,
        block_most: 4,
        ..GuardConfig::default()
    };
    lab.shield.configure(lab.profile, EventBudget { per_second: 0, burst: 0 }, Some(guard)).unwrap();
    let flood = |lab: &mut Lab, source: u32| {
        let bytes = frame(&from(v4(source), 17), Wrap::Plain);
        (0..10).filter(|_| lab.run(&bytes) == PASS).count()
    };
    for source in 0..8 {
        assert_eq!(flood(&mut lab, 0x0a00_0001 + source), 2, "it is limited in any case");
    }
    let blocks = lab.shield.blocks().unwrap();
    assert_eq!(blocks.len(), 4);
    assert!(lab.dropped(DropReason::RateLimited) >= 4 * 8);
    // One is let go: there is room for another.
    assert!(lab.shield.unblock(&blocks[0].0).unwrap());
    lab.shield.recount_blocks(&lab.shield.blocks().unwrap()).unwrap();
    for source in 8..12 {
        flood(&mut lab, 0x0a00_0001 + source);
    }
    assert_eq!(lab.shield.blocks().unwrap().len(), 4);
    lab.shield.set_block_count(lab.profile, 0).unwrap();
    for source in 12..20 {
        flood(&mut lab, 0x0a00_0001 + source);
    }
    assert_eq!(lab.shield.blocks().unwrap().len(), 8);
}

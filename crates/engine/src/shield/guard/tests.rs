extern crate std;

use std::vec::Vec;

use super::*;

const MS: u64 = 1_000_000;

fn now(ms: u64) -> Now {
    Now { ns: ms * MS, ticks: ms * MS * 64 }
}

fn config() -> GuardConfig {
    GuardConfig {
        source_cost: 10 * MS * 64,
        source_burst: 50 * MS * 64,
        syn_cost: MS * 64,
        syn_burst: 20 * MS * 64,
        half_open_least: 10,
        half_open_share: 50,
        window_ns: 1000 * MS,
        block_ns: 1000 * MS,
        block_max_ns: 60_000 * MS,
        forget_ns: 10_000 * MS,
        strikes: 3,
        strict: 0,
        block_most: 0,
        cookies: 0,
    }
}

#[test]
fn a_source_is_struck_when_it_goes_on() {
    let mut source = Source::default();
    let mut all =
        |n| (0..n).map(|_| note_source(&mut source, &config(), Part::None, now(5000))).last().unwrap();
    assert_eq!(all(5), Standing::Within);
    assert_eq!(all(2), Standing::Over);
    assert_eq!(all(1), Standing::Struck);
    assert_eq!(note_source(&mut source, &config(), Part::None, now(5011)), Standing::Within);
}

#[test]
fn blocks_double_and_are_capped_and_forgotten() {
    let reason = DropReason::RateLimited;
    let mut before = None;
    let mut at = 100;
    let mut lengths = Vec::new();
    for _ in 0..9 {
        let block = block(before, &config(), reason, now(at));
        lengths.push((block.until_ns - block.since_ns) / (1000 * MS));
        assert!(is_blocked(&block, now(at)) && !is_blocked(&block, Now { ns: block.until_ns, ticks: 0 }));
        at = block.until_ns / MS + 1;
        before = Some(block);
    }
    assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    let again = block(before, &config(), reason, now(at + 10_001));
    assert_eq!((again.offences, again.until_ns - again.since_ns), (1, 1000 * MS));
    let long = GuardConfig { block_ns: u64::MAX, block_max_ns: u64::MAX, ..config() };
    assert!(block(before, &long, reason, now(at)).until_ns > at);
}

#[test]
fn whom_to_block() {
    let strict = GuardConfig { strict: 1, ..config() };
    let forged = Source { flags: Source::BEGAN | Source::ANSWERED, ..Source::default() };
    let real = Source { flags: Source::PROVED, ..Source::default() };
    assert!(may_block(&forged, &config(), false) && !may_block(&forged, &config(), true));
    assert!(!may_block(&forged, &strict, false) && may_block(&real, &strict, false));
    assert!(!may_block(&real, &strict, true));
}

#[test]
fn a_destination_is_flooded_by_rate_or_by_what_stays_open() {
    let mut destination = Destination::default();
    let mut dropped = 0;
    for _ in 0..100 {
        dropped += u32::from(note_destination(&mut destination, &config(), Part::Begins, false, now(5000)));
    }
    assert_eq!(dropped, 91, "half of ten may stay open, and not one of them has been answered");
    let mut destination = Destination::default();
    let quiet = GuardConfig { half_open_least: 0, ..config() };
    let passed =
        (0..100).filter(|_| !note_destination(&mut destination, &quiet, Part::Begins, false, now(5000)));
    assert_eq!(passed.count(), 20, "the burst");
    let mut destination = Destination::default();
    for ms in 5000..5100 {
        assert!(!note_destination(&mut destination, &config(), Part::Begins, false, now(ms)));
        assert!(!note_destination(&mut destination, &config(), Part::GoesOn, true, now(ms)));
    }
}

#[test]
fn a_share_of_blocks_comes_back_when_they_are_over() {
    let config = GuardConfig { block_most: 3, ..config() };
    let mut count = BlockCount::default();
    let mut taken = |ms: u64, n: usize| (0..n).filter(|_| take_share(&mut count, &config, now(ms))).count();
    assert_eq!(taken(100_000, 2), 2);
    assert_eq!(taken(130_000, 5), 1);
    // The longest block takes a minute: the last of these may hold until 190 s.
    assert_eq!(taken(161_000, 5), 0);
    assert_eq!(taken(189_000, 5), 0);
    assert_eq!(taken(222_000, 5), 3);
    let any = GuardConfig { block_most: 0, ..config };
    assert!((0..1000).all(|_| take_share(&mut count, &any, now(223_000))));
}

#[test]
fn cookies_are_looked_at_where_they_may_be() {
    let known = |flags| Source { flags, ..Source::default() };
    assert!(may_prove(&known(0), Part::GoesOn, true, false), "it may have been forgotten meanwhile");
    assert!(may_prove(&known(Source::BEGAN | Source::ANSWERED), Part::GoesOn, false, true));
    assert!(may_prove(&known(Source::ANSWERED | Source::ASKED), Part::GoesOn, false, false));
    assert!(!may_prove(&known(Source::BEGAN | Source::ANSWERED), Part::GoesOn, false, false));
    assert!(!may_prove(&known(Source::ASKED | Source::PROVED), Part::GoesOn, true, true));
    assert!(!may_prove(&known(Source::ASKED), Part::Begins, true, false));
}

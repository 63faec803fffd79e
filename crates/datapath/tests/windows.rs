//! The table of conduct is mapped by windows: every slot is where the kernel has it. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may panic")]

mod common;

use std::fs;

use common::Kernel;
use portcullis_abi::Conduct;
use portcullis_datapath::{Datapath, Settings};

/// More than fit into a few windows, and no multiple of any.
const ENDPOINTS: u32 = 1009;

fn conduct(slot: u32) -> Conduct {
    Conduct { attempts: 1 + u64::from(slot), tripped_ns: u64::from(slot) << 32, ..Conduct::default() }
}

/// Kilobytes of BPF tables that are mapped into this process.
fn mapped_kb() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut of_bpf, mut total) = (false, 0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Rss:") {
            total += if of_bpf { rest.trim().trim_end_matches(" kB").parse::<u64>().unwrap() } else { 0 };
        } else if line.contains('-') && line.contains(" rw-s ") {
            of_bpf = line.ends_with("bpf-map");
        } else if line.contains('-') && !line.contains(": ") {
            of_bpf = false;
        }
    }
    total
}

#[test]
fn every_slot_is_its_own_wherever_it_lies() {
    let settings = Settings { endpoints: ENDPOINTS, ..Settings::default() };
    let kernel = Kernel::with("windows", settings);
    let tables = &kernel.opened.tables;
    assert_eq!(tables.slots(), ENDPOINTS + 1);
    let before = mapped_kb();
    // Backwards, so that the last window, which is shorter, is mapped first.
    for slot in (0..tables.slots()).rev() {
        tables.set_conduct(slot, &conduct(slot)).unwrap();
    }
    let all = u64::from(tables.slots()) * size_of::<Conduct>() as u64 / 1024;
    assert!(mapped_kb() >= before + all * 9 / 10, "{before} kB and {all} kB");
    for slot in 0..tables.slots() {
        let found = tables.conduct(slot).unwrap();
        assert_eq!((found.attempts, found.tripped_ns), (1 + u64::from(slot), u64::from(slot) << 32));
    }
    assert!(tables.conduct(tables.slots()).is_err());

    // Another process's view of the same table.
    let other = Datapath::open(&kernel.base, settings).expect("opening it again");
    for slot in [0, 1, 113, 127, 128, 500, ENDPOINTS - 1, ENDPOINTS] {
        assert_eq!(other.tables.conduct(slot).unwrap().attempts, 1 + u64::from(slot));
        other.tables.forgive(slot).unwrap();
        assert_eq!(tables.conduct(slot).unwrap().forgiven, 1 + u64::from(slot));
    }
}

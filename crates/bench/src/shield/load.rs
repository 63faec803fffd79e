//! Loading a million prefixes: from memory to the table in use.

use std::time::Instant;

use anyhow::Result;
use portcullis_abi::shield::list4::LINES;
use portcullis_abi::shield::sample;
use portcullis_datapath::shield::{Kind, Table};
use portcullis_policy::shield::list4::List4;
use portcullis_policy::shield::{Listing, Prefix4};

use super::{Kernel, MILLION, entries};
use crate::measure::median;
use crate::report::{Measure, Target};

pub const NAME: &str = "shield/load-million";
pub const MEMORY: &str = "shield/memory-million";
pub const CHANGE: &str = "shield/change-one-of-a-million";

const ROUNDS: usize = 5;
/// Addresses that are added to the table in use, and then removed again.
const CHANGES: u32 = 2000;

pub fn measure(kernel: &Kernel, wants: impl Fn(&str) -> bool) -> Result<Vec<Measure>> {
    let profile = kernel.profile(3)?;
    let entries: Vec<_> = entries().collect();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let list: List4 = entries.iter().copied().collect();
        let mut table = Table::new(Kind::List4)?;
        list.compile(&mut table)?;
        kernel.shield.borrow().publish(profile, &table)?;
        times.push(started.elapsed().as_secs_f64());
    }
    let mut measures = Vec::new();
    if wants(NAME) {
        measures.push(Measure::alone(NAME, median(times), "s", Some(Target::AtMost(0.5))));
    }
    if wants(MEMORY) {
        // The table in use, the one that is being written, and the ordered list.
        let bytes = 2 * u64::from(LINES) * 64 + entries.len() as u64 * 8;
        measures.push(Measure::alone(MEMORY, bytes as f64 / 1e6, "MB", Some(Target::AtMost(64.0))));
    }
    if wants(CHANGE) {
        measures.push(Measure::alone(CHANGE, change(kernel, &entries)?, "µs", Some(Target::AtMost(1000.0))));
    }
    Ok(measures)
}

/// Microseconds for a change in the table in use.
fn change(kernel: &Kernel, entries: &[(Prefix4, Listing)]) -> Result<f64> {
    let mut list: List4 = entries.iter().copied().collect();
    let mut table = Table::new(Kind::List4)?;
    let mut book = list.compile(&mut table)?;
    kernel.shield.borrow().publish(kernel.profile(3)?, &table)?;
    let mut times = Vec::new();
    for listing in [Listing::BLOCK, Listing::NOTHING] {
        for entry in MILLION..MILLION + CHANGES {
            let started = Instant::now();
            list.change(Prefix4::of(sample(entry), 32), listing, &mut table, &mut book)?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(median(times))
}

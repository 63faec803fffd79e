//! A thousand rules with prefixes and ports.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use portcullis_datapath::shield::{Kind, Profile, Table};
use portcullis_policy::shield::rules::{Action, Compiled, Ports, Protocol, Rule};

use super::{Kernel, frame};
use crate::measure::median;
use crate::report::{Measure, Target};

pub const CHANGE: &str = "shield/change-one-of-1024-rules";

const RULES: u32 = 1024;
const CHANGES: usize = 50;

/// Milliseconds for a change: all rules are compiled aside, and take the place of those in use.
pub fn change(kernel: &Kernel, profile: Profile) -> Result<Measure> {
    let mut times = Vec::new();
    for _ in 0..CHANGES {
        let started = Instant::now();
        publish(kernel, profile)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Measure::alone(CHANGE, median(times), "ms", Some(Target::AtMost(3.0))))
}

/// Publishes them; answers a frame that meets the last one only.
pub fn publish(kernel: &Kernel, profile: Profile) -> Result<Vec<u8>> {
    let mut rules = Vec::new();
    for number in 0..RULES {
        let [high, low] = (number as u16).to_be_bytes();
        let last = number == RULES - 1;
        // Prefixes around the source of the frame, so that it has to be searched for among them.
        let source = if last { "10.0.0.0/8".to_owned() } else { format!("10.0.{low}.{}/28", high * 64) };
        rules.push(Rule {
            name: format!("rule-{number:04}"),
            priority: number,
            source: Some(source.parse().context("a prefix")?),
            destination: Some(if last { "10.0.0.0/24" } else { "10.0.0.0/16" }.parse().context("a prefix")?),
            protocol: Some(Protocol::TCP),
            ports: Ports::new(
                if last { 80 } else { 1000 + number as u16 },
                if last { 80 } else { 2000 + number as u16 },
            ),
            flags: None,
            icmp_type: None,
            pieces: None,
            action: Action::Drop,
            report: false,
        });
    }
    let mut table = Table::new(Kind::Rules)?;
    let number = |name: &str| name.strip_prefix("rule-").and_then(|number| number.parse().ok()).unwrap_or(0);
    let compiled = Compiled::write(&rules, number, &mut table)?;
    if compiled.names.len() != rules.len() {
        bail!("{} rules were written", compiled.names.len());
    }
    kernel.shield.borrow().publish(profile, &table)?;
    Ok(frame(0x0a00_3c05))
}
